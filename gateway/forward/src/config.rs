//! What the forwarder is told, parsed once.

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU8, NonZeroU16, NonZeroU64};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use lamppost_event::{AUDIT_TRAIL, GatewayId, Group, Interest, NameError, Topic};

use crate::keyring::Keyring;
use crate::schema::Schemas;

/// How batches are compressed on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Zstandard: the smallest.
    #[default]
    Zstd,
    /// LZ4: the least work.
    Lz4,
    /// None.
    None,
}

impl Compression {
    /// The name that librdkafka's `compression.codec` takes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::None => "none",
        }
    }
}

/// What a consumer of the cluster may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// After a crash the last events may come again, with the same `ce_id`.
    #[default]
    AtLeastOnce,
    /// Kafka transactions with the cursors in them: who reads with `isolation.level=read_committed` sees each event once.
    ExactlyOnce,
}

/// A pattern for the names of the cluster's topics: `{topic}` stands for the journal's topic and must occur, `{gateway}`
/// for the gateway's name. The rest is taken as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTemplate(String);

/// Why a text is not a [`TopicTemplate`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicTemplateError {
    /// `{topic}` is missing: all topics would become one.
    #[error("the topic template {0:?} lacks {{topic}}")]
    NoTopic(String),
    /// It would make names that Kafka does not allow.
    #[error("the topic template {template:?} can't make a topic name: {source}")]
    Name {
        /// The template.
        template: String,
        /// What is wrong with the name.
        source: NameError,
    },
}

impl TopicTemplate {
    /// The cluster's name for `topic`.
    ///
    /// # Errors
    /// [`NameError`] if the name comes out longer than Kafka allows (249 bytes).
    pub fn name(&self, gateway: &GatewayId, topic: &Topic) -> Result<Topic, NameError> {
        if self.0 == "{topic}" {
            return Ok(topic.clone());
        }
        Topic::user(&self.0.replace("{topic}", topic.as_str()).replace("{gateway}", gateway.as_str()))
    }
}

impl Default for TopicTemplate {
    fn default() -> Self {
        Self("{topic}".to_owned())
    }
}

impl fmt::Display for TopicTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TopicTemplate {
    type Err = TopicTemplateError;

    fn from_str(text: &str) -> Result<Self, TopicTemplateError> {
        if !text.contains("{topic}") {
            return Err(TopicTemplateError::NoTopic(text.to_owned()));
        }
        Topic::user(&text.replace("{topic}", "t").replace("{gateway}", "g"))
            .map_err(|source| TopicTemplateError::Name { template: text.to_owned(), source })?;
        Ok(Self(text.to_owned()))
    }
}

/// Live first, backlog after: which topics, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveFirst {
    /// The topics. The audit trail never is one of them.
    pub topics: Interest,
    /// So old the oldest event that is being delivered has to be, at least.
    pub after: Duration,
}

impl LiveFirst {
    /// Whether that topic goes live first.
    #[must_use]
    pub fn takes(&self, topic: &Topic) -> bool {
        topic.as_str() != AUDIT_TRAIL && self.topics.takes(topic)
    }
}

/// What the forwarder is told. [`ForwardConfig::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct ForwardConfig {
    /// `host:port,…` of some of the cluster's brokers.
    pub bootstrap: String,
    /// This gateway's name, part of every `ce_id`.
    pub gateway: GatewayId,
    /// Whose cursors these are. Default `forward`.
    pub group: Group,
    /// Which topics go live first after an outage, and from when on; `None`: all in strict order. Not with [`Delivery::ExactlyOnce`]. Default `None`.
    pub live_first: Option<LiveFirst>,
    /// How this client is called in the brokers' logs and quotas. Default `lamppost-<gateway>`.
    pub client_id: String,
    /// Default [`Compression::Zstd`].
    pub compression: Compression,
    /// The most that is handed to librdkafka and not delivered yet, in bytes, each event counted with its headers and its
    /// overhead in memory. Default 8 MiB.
    pub in_flight_bytes_max: usize,
    /// The most that goes out to the brokers, in bytes a second, as librdkafka counts what it writes; kept within some hundredths over ten
    /// seconds. What is in flight is then at most two seconds of it, or 64 KiB. From [`ForwardConfig::BANDWIDTH_MIN`]. Default: no limit.
    pub bandwidth_max: Option<NonZeroU64>,
    /// How much is read from the journal at once, in bytes, decompressed; two such chunks are held, with some 300 bytes more for each event. Default 256 KiB.
    pub read_bytes: usize,
    /// How long a batch may gather. Default 5 ms.
    pub linger: Duration,
    /// The largest record that the cluster takes (`max.message.bytes` of its topics), in bytes. What is larger goes to dead
    /// letters; and the largest batch. Default 1,000,000 (Kafka's own default is 1,048,588).
    pub message_bytes_max: usize,
    /// How the cluster's topics are called. Default `{topic}`.
    pub topic_template: TopicTemplate,
    /// Whether a missing topic is created. Default yes; else it pauses until it is there.
    pub create_topics: bool,
    /// Partitions of a created topic. Default: as many as in the journal.
    pub partitions: Option<NonZeroU16>,
    /// Replicas of a created topic; `None` is the cluster's default. Default `None`.
    pub replication: Option<NonZeroU8>,
    /// How long events stamped by an unset clock wait for the clock to become right. Default 10 minutes.
    pub clock_wait_max: Duration,
    /// How often cursors are committed. Default 500 ms (or 1,000 events, whichever is first).
    pub commit_interval: Duration,
    /// The first delay after a failure; doubled with each, jittered. Default 100 ms.
    pub retry_delay_min: Duration,
    /// The longest delay after a failure; lost connections are tried again after at most 5 s of it. Default 30 s.
    pub retry_delay_max: Duration,
    /// How long a stop waits for what is in flight. Default 5 s.
    pub stop_deadline: Duration,
    /// Default [`Delivery::AtLeastOnce`]. What follows only matters for [`Delivery::ExactlyOnce`].
    pub delivery: Delivery,
    /// How long a transaction gathers events. Default 150 ms; each adds about as much to the way of an event.
    pub transaction_linger: Duration,
    /// After so long the cluster aborts a transaction that nobody ends (`transaction.timeout.ms`, at least 1 s; the brokers' `transaction.max.timeout.ms` bounds
    /// it). Until then consumers that read committed records wait behind a gateway that has died in the middle. Default 30 s.
    pub transaction_timeout: Duration,
    /// The cluster's compacted topic that holds the cursors. Default `lamppost-cursors`.
    pub cursors_topic: Topic,
    /// A gateway that was fenced by another process of its name goes on once it has not heard of that one for so long. Default 1 h.
    pub fenced_wait: Duration,
    /// Which topics go in the wire format of a schema registry. Default: none, all go as received.
    pub schemas: Option<Arc<Schemas>>,
    /// How the cluster is spoken to, and who we are. Default: in the clear, nobody.
    pub keyring: Arc<Keyring>,
    /// Any property of librdkafka, but for what the promise rests on ([`ForwardConfig::RESERVED`]) and what `keyring` is for
    /// ([`said_otherwise`](crate::said_otherwise)).
    pub properties: BTreeMap<String, String>,
}

impl ForwardConfig {
    /// The properties that order and delivery rest on; setting them is refused.
    pub const RESERVED: &'static [&'static str] = &[
        "acks",
        "allow.auto.create.topics",
        "bootstrap.servers",
        "delivery.report.only.error",
        "enable.gapless.guarantee",
        "enable.idempotence",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "message.send.max.retries",
        "message.timeout.ms",
        "delivery.timeout.ms",
        "metadata.broker.list",
        "partitioner",
        "request.required.acks",
        "retries",
        "transaction.timeout.ms",
        "transactional.id",
    ];

    /// The least ceiling, bytes a second: below it requests without any event are a good part of what goes out.
    pub const BANDWIDTH_MIN: u64 = 1_000;

    /// The defaults, for that gateway and cluster.
    #[must_use]
    pub fn new(gateway: GatewayId, bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            client_id: format!("lamppost-{gateway}"),
            gateway,
            group: default_group(),
            compression: Compression::default(),
            in_flight_bytes_max: 8 << 20,
            bandwidth_max: None,
            live_first: None,
            read_bytes: 256 << 10,
            linger: Duration::from_millis(5),
            message_bytes_max: 1_000_000,
            topic_template: TopicTemplate::default(),
            create_topics: true,
            partitions: None,
            replication: None,
            clock_wait_max: Duration::from_secs(600),
            commit_interval: Duration::from_millis(500),
            retry_delay_min: Duration::from_millis(100),
            retry_delay_max: Duration::from_secs(30),
            stop_deadline: Duration::from_secs(5),
            delivery: Delivery::default(),
            transaction_linger: Duration::from_millis(150),
            transaction_timeout: Duration::from_secs(30),
            cursors_topic: default_cursors_topic(),
            fenced_wait: Duration::from_secs(3600),
            schemas: None,
            keyring: Arc::default(),
            properties: BTreeMap::new(),
        }
    }
}

#[expect(clippy::expect_used, reason = "a literal that the test of this module parses too")]
fn default_group() -> Group {
    Group::new("forward").expect("a valid group name")
}

#[expect(clippy::expect_used, reason = "a literal that the test of this module parses too")]
fn default_cursors_topic() -> Topic {
    Topic::new("lamppost-cursors").expect("a valid topic name")
}

/// What is wrong with a [`ForwardConfig`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForwardConfigError {
    /// A property that the promise rests on.
    #[error("the property {0:?} can't be set: order and delivery rest on it")]
    Reserved(String),
    /// A property that has a place of its own in the configuration.
    #[error("the property {property:?} is not for here: {remedy}")]
    SaidOtherwise {
        /// The property.
        property: String,
        /// What says the same.
        remedy: &'static str,
    },
    /// librdkafka does not take it.
    #[error("librdkafka refuses the property {key:?} = {value:?}: {why}")]
    Property {
        /// The property.
        key: String,
        /// Its value (left out where it is a secret).
        value: String,
        /// librdkafka's words.
        why: String,
    },
    /// A transaction can't say which of two lanes its cursor is of.
    #[error("live first and exactly once don't go together: use one of them")]
    LiveFirstExactlyOnce,
    /// The lanes' groups are named after it.
    #[error("the group {0:?} is too long to go live first: 56 bytes at most")]
    GroupTooLong(String),
    /// librdkafka does not take the whole.
    #[error("librdkafka refuses the configuration: {0}")]
    Refused(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::{check_property, producer_properties};

    #[test]
    fn a_template_names_the_clusters_topics() {
        let gateway = GatewayId::new("post-17").unwrap();
        let topic = Topic::new("air").unwrap();
        let template: TopicTemplate = "city.{gateway}.{topic}".parse().unwrap();
        assert_eq!(template.name(&gateway, &topic).unwrap().as_str(), "city.post-17.air");
        assert_eq!(TopicTemplate::default().name(&gateway, &topic).unwrap(), topic);
        assert!(template.name(&gateway, &Topic::new(&"a".repeat(245)).unwrap()).is_err());
    }

    #[test]
    fn a_template_without_the_topic_or_with_a_space_is_refused() {
        assert!(matches!("city".parse::<TopicTemplate>(), Err(TopicTemplateError::NoTopic(_))));
        assert!(matches!("a city {topic}".parse::<TopicTemplate>(), Err(TopicTemplateError::Name { .. })));
    }

    #[test]
    fn the_default_group_is_forward() {
        let config = ForwardConfig::new(GatewayId::new("g").unwrap(), "localhost:9092");
        assert_eq!(config.group.as_str(), "forward");
        assert_eq!(config.client_id, "lamppost-g");
    }

    #[test]
    fn what_is_configured_under_another_name_of_librdkafkas_stands_alone() {
        let mut config = ForwardConfig::new(GatewayId::new("post").unwrap(), "localhost:1");
        let given = [("queue.buffering.max.ms", "50"), ("compression.type", "lz4"), ("client.id", "my-post")];
        for (key, value) in given {
            check_property(key, value).unwrap();
            config.properties.insert(key.into(), value.into());
        }
        let set = producer_properties(&config);
        for (key, value) in given {
            assert_eq!(set[key], value);
        }
        assert!(!set.contains_key("linger.ms") && !set.contains_key("compression.codec"), "{set:?}");
        for key in ["batch.size", "queue.buffering.max.kbytes", "delivery.report.only.error"] {
            assert!(check_property(key, "1000").is_err(), "{key} would be overwritten, or stop all");
        }
    }
}
