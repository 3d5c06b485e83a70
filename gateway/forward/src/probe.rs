//! A look at the cluster, as a gateway would meet it, without a producer's life: who answers, and which topics there are.

use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;

use crate::config::ForwardConfig;
use crate::kafka::client_config;

/// What a cluster says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSeen {
    /// Its brokers, as they name themselves: host:port. A gateway has to reach each of them.
    pub brokers: Vec<String>,
    /// Its topics with the number of their partitions.
    pub topics: Vec<(String, usize)>,
}

/// The last error that librdkafka told of a connection: metadata that does not come has no reason of its own.
#[derive(Default)]
struct Heard(std::sync::Mutex<Option<String>>);

impl ClientContext for Heard {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let mut heard = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // "All brokers are down" comes last and says least.
        if heard.is_none() || !reason.contains("brokers are down") {
            *heard = Some(if reason.is_empty() { error.to_string() } else { reason.to_owned() });
        }
    }
}

impl ConsumerContext for Heard {}

/// Asks the cluster of this configuration, with its security settings, and waits up to `patience`.
///
/// # Errors
/// Why it could not be asked, in words: a setting that librdkafka does not take, or the last error of a connection.
pub fn probe(config: &ForwardConfig, patience: Duration) -> Result<ClusterSeen, String> {
    config.keyring.refresh().map_err(|error| error.to_string())?;
    let consumer: BaseConsumer<Heard> =
        client_config(config).create_with_context(Heard::default()).map_err(|error| error.to_string())?;
    let metadata = consumer.fetch_metadata(None, patience).map_err(|error| {
        // The connection's error comes by an event, which is heard when asked for.
        drop(consumer.poll(Duration::from_millis(100)));
        let heard = consumer.context().0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        heard.unwrap_or_else(|| error.to_string())
    })?;
    let brokers = metadata.brokers().iter().map(|broker| format!("{}:{}", broker.host(), broker.port()));
    let topics = metadata.topics().iter().map(|topic| (topic.name().to_owned(), topic.partitions().len()));
    Ok(ClusterSeen { brokers: brokers.collect(), topics: topics.collect() })
}

#[cfg(test)]
mod tests {
    use lamppost_event::GatewayId;
    use rdkafka::mocking::MockCluster;

    use super::*;

    fn config(bootstrap: &str) -> ForwardConfig {
        ForwardConfig::new(GatewayId::new("post").unwrap(), bootstrap)
    }

    #[test]
    fn a_cluster_that_answers_is_seen_with_its_brokers_and_topics() {
        let cluster = MockCluster::new(3).unwrap();
        cluster.create_topic("air", 4, 3).unwrap();
        let seen = probe(&config(&cluster.bootstrap_servers()), Duration::from_secs(10)).unwrap();
        assert_eq!(seen.brokers.len(), 3, "{seen:?}");
        assert!(seen.topics.contains(&("air".to_owned(), 4)), "{seen:?}");
    }

    #[test]
    fn a_cluster_that_is_not_there_is_told_with_the_connections_own_error() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = probe(&config(&free.to_string()), Duration::from_secs(1)).unwrap_err();
        assert!(error.contains("refused"), "{error}");
    }
}
