//! The demo's cluster: librdkafka's mock of three brokers. Real sockets and the real protocol; what it keeps is in memory, and at most
//! 5 MiB a partition, so whoever wants everything reads along.

use std::time::Duration;

use rdkafka::mocking::MockCluster;

use crate::config::Config;

const BROKERS: i32 = 3;

/// Three brokers in this process.
pub(crate) struct Cluster {
    mock: MockCluster<'static, rdkafka::producer::DefaultProducerContext>,
}

impl Cluster {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mock = MockCluster::new(BROKERS)?;
        // A cluster in a city is not in the same process: some of its distance.
        for broker in 1..=BROKERS {
            mock.broker_round_trip_time(broker, Duration::from_millis(2))?;
        }
        Ok(Self { mock })
    }

    pub(crate) fn bootstrap(&self) -> String {
        self.mock.bootstrap_servers()
    }

    /// Makes every topic that the routes lead to: the mock does not know the request by which the forwarder would.
    pub(crate) fn create_topics(&self, config: &Config) -> anyhow::Result<()> {
        for shape in crate::gateway::topics(config) {
            self.mock.create_topic(shape.topic.as_str(), i32::from(shape.partitions), BROKERS)?;
        }
        Ok(())
    }

    pub(crate) fn go_away(&self) -> anyhow::Result<()> {
        (1..=BROKERS).try_for_each(|broker| self.mock.broker_down(broker)).map_err(Into::into)
    }

    pub(crate) fn come_back(&self) -> anyhow::Result<()> {
        (1..=BROKERS).try_for_each(|broker| self.mock.broker_up(broker)).map_err(Into::into)
    }
}
