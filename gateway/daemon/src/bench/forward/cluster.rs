//! The cluster that is written to: a real one where one is named, else librdkafka's mock in this process.

use std::time::Duration;

use anyhow::Context;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::cli::ForwardBench;

const BROKERS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(30);

enum Kind {
    Mock(MockCluster<'static, DefaultProducerContext>),
    Real(AdminClient<DefaultClientContext>),
}

/// The cluster, with the topics that were made for the benchmark; those of a real one are deleted at the end.
pub(super) struct Cluster {
    kind: Kind,
    pub(super) bootstrap: String,
    replication: i32,
    made: Vec<String>,
    run: u128,
}

impl Cluster {
    pub(super) fn new(args: &ForwardBench, run: u128) -> anyhow::Result<Self> {
        let (kind, bootstrap) = match &args.bootstrap {
            Some(bootstrap) => {
                let admin = ClientConfig::new().set("bootstrap.servers", bootstrap).set("log_level", "2").create();
                (Kind::Real(admin.context("the cluster can't be administered")?), bootstrap.clone())
            }
            None => {
                let mock = MockCluster::new(BROKERS)?;
                let bootstrap = mock.bootstrap_servers();
                (Kind::Mock(mock), bootstrap)
            }
        };
        Ok(Self { kind, bootstrap, replication: args.replication, made: Vec::new(), run })
    }

    /// For people, and in the figures.
    pub(super) fn what(&self) -> String {
        match self.kind {
            Kind::Mock(_) => {
                format!("librdkafka's mock of {BROKERS} brokers, in memory: name a real one with --bootstrap")
            }
            Kind::Real(_) => format!("Kafka at {}", self.bootstrap),
        }
    }

    /// A topic that no earlier run has used.
    pub(super) async fn topic(&mut self, what: &str, partitions: u16) -> anyhow::Result<String> {
        let name = format!("lamppost-bench-{:x}-{what}", self.run);
        self.make(&name, partitions).await?;
        Ok(name)
    }

    /// A topic for the cursors of one gateway. In a real cluster the gateway makes it, with the settings that it has to have.
    pub(super) async fn cursors(&mut self, what: &str) -> anyhow::Result<String> {
        let name = format!("lamppost-bench-{:x}-{what}-cursors", self.run);
        match self.kind {
            Kind::Mock(_) => self.make(&name, 1).await?,
            Kind::Real(_) => self.made.push(name.clone()),
        }
        Ok(name)
    }

    async fn make(&mut self, name: &str, partitions: u16) -> anyhow::Result<()> {
        match &self.kind {
            Kind::Mock(mock) => mock.create_topic(name, i32::from(partitions), BROKERS)?,
            Kind::Real(admin) => {
                let new = NewTopic::new(name, i32::from(partitions), TopicReplication::Fixed(self.replication));
                let options = AdminOptions::new().request_timeout(Some(PATIENCE));
                let made = admin.create_topics([&new], &options).await.context("the cluster does not answer")?;
                for topic in made {
                    topic.map_err(|(name, code)| anyhow::anyhow!("the topic {name} can't be made: {code}"))?;
                }
            }
        }
        self.made.push(name.to_owned());
        Ok(())
    }

    /// The topics that every gateway has besides: the mock does not know the request by which the forwarder would make them.
    pub(super) async fn make_usual(&mut self, config: &crate::config::Config) -> anyhow::Result<()> {
        if let Kind::Mock(_) = self.kind {
            for shape in crate::gateway::topics(config) {
                if !self.made.iter().any(|made| made == shape.topic.as_str()) {
                    self.make(shape.topic.as_str(), shape.partitions).await?;
                }
            }
        }
        Ok(())
    }

    /// Deletes what was made in a real cluster.
    pub(super) async fn clean(&mut self) -> anyhow::Result<()> {
        let made: Vec<String> = std::mem::take(&mut self.made);
        if let Kind::Real(admin) = &self.kind {
            let names: Vec<&str> = made.iter().map(String::as_str).collect();
            let options = AdminOptions::new().request_timeout(Some(PATIENCE));
            admin.delete_topics(&names, &options).await.context("the benchmark's topics can't be deleted")?;
        }
        Ok(())
    }
}
