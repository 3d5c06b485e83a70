//! A forwarder that runs against librdkafka's mock cluster: what the tests of this folder share.

use std::sync::Arc;
use std::time::Duration;

use lamppost_event::{Clock, GatewayId, Outlet};
use lamppost_forward::{Counters, DeadLetters, Delivery, ForwardConfig, Forwarder, Undelivered};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::journal::{PARTITIONS, Still};

pub type Cluster = MockCluster<'static, DefaultProducerContext>;

pub fn cluster(topics: &[&str]) -> Cluster {
    let cluster = MockCluster::new(3).unwrap();
    for topic in topics {
        cluster.create_topic(topic, i32::from(PARTITIONS), 3).unwrap();
    }
    cluster
}

pub fn config(cluster: &Cluster) -> ForwardConfig {
    let mut config = ForwardConfig::new(GatewayId::new("post-17").unwrap(), &cluster.bootstrap_servers());
    config.commit_interval = Duration::from_millis(20);
    config.retry_delay_min = Duration::from_millis(20);
    config.retry_delay_max = Duration::from_millis(400);
    config
}

/// The same, exactly once.
pub fn exactly_once(mut config: ForwardConfig) -> ForwardConfig {
    config.delivery = Delivery::ExactlyOnce;
    config.transaction_linger = Duration::from_millis(20);
    config.transaction_timeout = Duration::from_secs(5);
    config
}

pub struct Running {
    pub counters: Arc<Counters>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Undelivered>,
}

impl Running {
    pub fn start(config: ForwardConfig, outlet: &Arc<impl Outlet>, dead_letters: Option<Arc<dyn DeadLetters>>) -> Self {
        Self::start_at(config, outlet, dead_letters, Arc::new(Still))
    }

    pub fn start_at(
        config: ForwardConfig,
        outlet: &Arc<impl Outlet>,
        dead_letters: Option<Arc<dyn DeadLetters>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let outlet = Arc::clone(outlet) as Arc<dyn Outlet>;
        Self::launch(Forwarder::new(config, outlet, clock, dead_letters).unwrap())
    }

    pub fn launch(forwarder: Forwarder) -> Self {
        let counters = forwarder.counters();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move { drop(stopped.await) };
        let task = tokio::spawn(async move { forwarder.run(shutdown).await.unwrap() });
        Self { counters, stop, task }
    }

    /// As a crash: nothing is waited for.
    pub async fn abort(self) {
        self.task.abort();
        drop(self.task.await);
    }

    pub async fn stop(self) -> Undelivered {
        drop(self.stop);
        self.task.await.unwrap()
    }
}

/// Waits until it is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 30 s: {what}");
}
