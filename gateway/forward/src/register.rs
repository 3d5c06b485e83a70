//! The edge to the topic of the cursors: makes it, and reads the gateway's own partition of it to its end. Blocks; each call is
//! bounded in time.
//!
//! All of a gateway's records lie in one partition, murmur2 of its name, so that a start reads no more than a share of what all
//! gateways wrote. Where the number of partitions is changed, the records are no longer found, as if the topic had been lost.

use std::time::Duration;

use lamppost_event::partition_of;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message as _;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use crate::config::ForwardConfig;
use crate::cursors::{ClusterCursors, TooMany};
use crate::denial::Denial;
use crate::kafka::{self, client_config};
use crate::resolve::{self, Resolution};

/// Partitions of a topic that we make.
const PARTITIONS: u16 = 16;

/// Its settings. The newest segment is never compacted: small ones keep what a start has to read small. The brokers stamp the records:
/// a gateway's clock may be unset.
const SETTINGS: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("segment.bytes", "16777216"), ("message.timestamp.type", "LogAppendTime")];

/// How long an answer is waited for, and how long between two looks.
const REQUEST_MAX: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// So many broken connections are passed over while reading.
const TROUBLES_MAX: u32 = 100;

/// Where the gateway's cursors are, and how far they were read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Register {
    /// The partition; `None`: the topic was not looked for yet.
    pub(crate) partition: Option<i32>,
    next: i64,
}

/// Why the register was not read to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegisterError {
    /// It is not there and was not created, or we may not see it.
    #[error("the cursors' topic {topic:?}: {why}")]
    Topic { topic: String, why: String },
    /// It was made just now, or made anew, and not every broker knows of it.
    #[error("the cursors' topic {topic:?} was just made, and not every broker knows of it yet: {why}")]
    New { topic: String, why: String },
    /// There is more of this gateway than is kept.
    #[error("the cursors' topic {topic:?}: {why}")]
    TooMany { topic: String, why: TooMany },
    /// Nobody answers, or not in time.
    #[error("{0}")]
    Unreachable(String),
    /// Nobody lets us in.
    #[error("{why}")]
    Denied {
        /// What kind of proof was not enough.
        denial: Denial,
        /// The cluster's words.
        why: String,
    },
}

/// The same, before it is known what it means.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

impl Register {
    /// Looks for the topic, and makes it where that is allowed.
    pub(crate) fn find(&mut self, config: &ForwardConfig) -> Result<i32, RegisterError> {
        if let Some(partition) = self.partition {
            return Ok(partition);
        }
        let topic = &config.cursors_topic;
        let partitions = match resolve::resolve_with(config, topic, PARTITIONS, &SETTINGS) {
            Resolution::Found { partitions } => partitions,
            Resolution::Missing { why } => {
                let why = format!("{why} (it has to be there, with cleanup.policy=compact)");
                return Err(RegisterError::Topic { topic: topic.to_string(), why });
            }
            Resolution::Unreachable { why } => return Err(RegisterError::Unreachable(why)),
            Resolution::Denied { denial, why } => return Err(RegisterError::Denied { denial, why }),
        };
        let partition = i32::from(partition_of(config.gateway.as_str().as_bytes(), partitions).0);
        self.partition = Some(partition);
        Ok(partition)
    }

    /// Reads on to the end, as it is now. A record that another gateway's open transaction keeps back is waited for, up to twice the
    /// time after which the cluster ends that one.
    pub(crate) fn read_on(
        &mut self,
        config: &ForwardConfig,
        cursors: &mut ClusterCursors,
    ) -> Result<(), RegisterError> {
        let partition = self.find(config)?;
        let read = self.read_partition(config, partition, cursors);
        let topic = || config.cursors_topic.to_string();
        read.map_err(|error| match error {
            Unread::Kafka(error) => match error.rdkafka_error_code() {
                Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                    self.partition = None;
                    RegisterError::New { topic: topic(), why: error.to_string() }
                }
                Some(Code::TopicAuthorizationFailed) => {
                    RegisterError::Topic { topic: topic(), why: format!("can't be read: {error}") }
                }
                _ => RegisterError::Unreachable(format!("the cursors are not read: {error}")),
            },
            Unread::TooMany(why) => {
                // Half of them are worth nothing. Once there are fewer, all of them are read.
                cursors.forget();
                self.next = 0;
                RegisterError::TooMany { topic: topic(), why }
            }
        })
    }

    fn read_partition(
        &mut self,
        config: &ForwardConfig,
        partition: i32,
        cursors: &mut ClusterCursors,
    ) -> Result<(), Unread> {
        let topic = config.cursors_topic.as_str();
        let (low, high) = consumer(config, "read_uncommitted")?.fetch_watermarks(topic, partition, REQUEST_MAX)?;
        let committed = consumer(config, "read_committed")?;
        let looks_max = (2 * config.transaction_timeout).as_millis() / LOOK_AGAIN.as_millis();
        let mut looks = 0;
        // With this isolation the end is the last stable offset (KIP-98): behind it may lie records of ours that are committed.
        while committed.fetch_watermarks(topic, partition, REQUEST_MAX)?.1 < high {
            looks += 1;
            if looks > looks_max {
                return Err(KafkaError::Global(Code::OperationTimedOut).into());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        if self.next > high {
            tracing::error!(
                topic,
                partition,
                "the cluster has lost cursors: the topic was made anew, or its log was cut"
            );
            cursors.forget();
            self.next = low;
        }
        if self.next >= high {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(self.next.max(low)))?;
        committed.assign(&list)?;
        let mut troubles = 0;
        loop {
            match committed.poll(REQUEST_MAX) {
                None => return Err(KafkaError::Global(Code::OperationTimedOut).into()),
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                Some(Err(error)) if is_passing(&error) && troubles < TROUBLES_MAX => troubles += 1,
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(message)) => {
                    if !cursors.take(message.key().unwrap_or_default(), message.payload())? {
                        let offset = message.offset();
                        tracing::error!(
                            topic,
                            partition,
                            offset,
                            "a cursor of this gateway makes no sense and is passed over"
                        );
                    }
                    self.next = message.offset() + 1;
                }
            }
        }
        // Behind the last record there are marks of transactions, which nobody is shown.
        self.next = self.next.max(high);
        Ok(())
    }
}

/// What fails is returned by the call that it fails. librdkafka's events tell of it again, and of each end of a partition as of an error.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        kafka::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason, "the cursors' reader");
    }
}

impl ConsumerContext for Quiet {}

fn consumer(config: &ForwardConfig, isolation: &str) -> KafkaResult<BaseConsumer<Quiet>> {
    let mut client: ClientConfig = client_config(config);
    client
        // Never joined: partitions are assigned by hand.
        .set("group.id", format!("lamppost-cursors-{}", config.gateway))
        .set("isolation.level", isolation)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .set("queued.max.messages.kbytes", "4096")
        .set("fetch.wait.max.ms", "50");
    BaseConsumer::from_config_and_context(&client, Quiet)
}

/// librdkafka tells of these and goes on by itself.
fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        // Of our group nothing is wanted: it need not be allowed.
        Some(
            Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::OperationTimedOut
                | Code::Resolve
                | Code::GroupAuthorizationFailed
        )
    )
}

#[cfg(test)]
mod tests {
    use lamppost_event::{GatewayId, Group};
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;

    #[test]
    fn a_group_that_is_not_allowed_is_not_missed_since_nothing_is_wanted_of_it() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("lamppost-cursors", 1, 1).unwrap();
        let (gateway, group) = (GatewayId::new("post").unwrap(), Group::new("forward").unwrap());
        let config = ForwardConfig::new(gateway.clone(), &cluster.bootstrap_servers());
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
        let value = br#"{"reached":[{"epoch":"5","next":4}]}"#;
        for _ in 0..100 {
            let record = BaseRecord::to("lamppost-cursors").key("post/forward/air/0").payload(&value[..]);
            producer.send(record).map_err(|(error, _)| error).unwrap();
            producer.flush(Duration::from_secs(10)).unwrap();
        }
        let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
        cluster.request_errors(RDKafkaApiKey::FindCoordinator, &[refused; 100]);
        // The answer about the group comes before the records do.
        cluster.request_errors(RDKafkaApiKey::Fetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE; 3]);
        let mut cursors = ClusterCursors::new(&gateway, &group);
        Register::default().read_on(&config, &mut cursors).unwrap();
        assert_eq!(cursors.heard, 100);
    }

    /// A topic of that many partitions, and a producer.
    fn topic_of(
        partitions: i32,
    ) -> (MockCluster<'static, rdkafka::producer::DefaultProducerContext>, ForwardConfig, BaseProducer) {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("lamppost-cursors", partitions, 1).unwrap();
        let config = ForwardConfig::new(GatewayId::new("post").unwrap(), &cluster.bootstrap_servers());
        // The mock cluster keeps 5 MiB of a partition, as they come.
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", cluster.bootstrap_servers()).set("compression.codec", "zstd");
        (cluster, config, client.create().unwrap())
    }

    #[test]
    fn a_partition_that_no_broker_knows_yet_is_no_cluster_out_of_reach_and_is_looked_for_again() {
        let (_cluster, config, _) = topic_of(1);
        let mut cursors = ClusterCursors::new(&config.gateway, &config.group);
        let mut register = Register { partition: Some(7), next: 0 };
        let error = register.read_on(&config, &mut cursors).unwrap_err();
        assert!(matches!(error, RegisterError::New { .. }), "{error:?}");
        assert!(error.to_string().contains("\"lamppost-cursors\" was just made"), "{error}");
        assert_eq!(register.read_on(&config, &mut cursors), Ok(()));
        assert_eq!(register.partition, Some(0));
    }

    #[test]
    fn more_cursors_than_are_kept_are_an_error_that_says_what_to_do_and_fewer_are_read_from_the_first_on() {
        let (cluster, config, producer) = topic_of(1);
        let mut cursors = ClusterCursors::new(&config.gateway, &config.group);
        let value = br#"{"reached":[{"epoch":"5","next":4}]}"#;
        let put = |n: u32, value: Option<&[u8]>| {
            let key = format!("post/forward/{}-{n}/0", "t".repeat(200));
            let record = BaseRecord::to("lamppost-cursors").key(&key);
            let record = if let Some(value) = value { record.payload(value) } else { record };
            producer.send(record).map_err(|(error, _)| error).unwrap();
        };
        let most = u32::try_from(crate::cursors::REACHED_BYTES_MAX / 200).unwrap();
        (0..most).for_each(|n| put(n, Some(value)));
        producer.flush(Duration::from_secs(60)).unwrap();
        let mut register = Register::default();
        let error = register.read_on(&config, &mut cursors).unwrap_err();
        assert!(matches!(error, RegisterError::TooMany { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("\"lamppost-cursors\": it has more cursors of this gateway"), "{text}");
        assert!(cursors.is_empty() && register.next == 0, "half of them count for nothing");
        drop((producer, cluster));
    }
}
