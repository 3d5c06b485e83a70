//! The routing table: from an arrival to an event and its partition.
//!
//! **Invariant:** what a counting sender sent keeps the sender's own device, whatever the rules say: device, boot and
//! sequence mean the same before and after routing, so a resend is recognised on either side.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use lamppost_event::{
    Arrival, ContentType, DeviceId, Event, EventTime, Now, Origin, Partition, Topic, TopicShape, partition_of,
};

use crate::bound::{BoundRule, Values};
use crate::rule::{Rule, RuleError};
use crate::{Captures, KEY_BYTES_MAX};

/// The topic of what has no legal place.
pub const DEAD_LETTERS: &str = "dead-letters";
/// The topic of what no rule is for, unless configured.
pub const DEFAULT_TOPIC: &str = "events";
/// The partitions of a topic, unless configured.
pub const PARTITIONS_DEFAULT: u16 = 4;
/// How many topics templates may bring into being, unless configured.
pub const TOPICS_MAX_DEFAULT: usize = 64;

/// The longest reason that a dead letter gives, in bytes.
const REASON_BYTES_MAX: usize = 512;

/// What a routing table is made of.
#[derive(Debug, Clone)]
pub struct RouteSettings {
    /// The rules; the first that fits decides.
    pub rules: Vec<Rule>,
    /// The topic of what no rule is for.
    pub default_topic: Topic,
    /// The configured topics.
    pub topics: Vec<TopicShape>,
    /// The partitions of all other topics, 1 to [`Partition::COUNT_MAX`].
    pub partitions_default: u16,
    /// Whether only configured topics (and the default one, and [`DEAD_LETTERS`]) may be used.
    pub topics_closed: bool,
    /// How many topics templates may bring into being; what goes beyond is a dead letter.
    pub topics_max: usize,
    /// The topics that the journal already holds. Those that are not configured count against `topics_max`, stay
    /// allowed, and keep their partitions.
    pub existing: Vec<TopicShape>,
}

impl RouteSettings {
    /// No rules: everything goes to `default_topic`.
    #[must_use]
    pub const fn new(default_topic: Topic) -> Self {
        Self {
            rules: Vec::new(),
            default_topic,
            topics: Vec::new(),
            partitions_default: PARTITIONS_DEFAULT,
            topics_closed: false,
            topics_max: TOPICS_MAX_DEFAULT,
            existing: Vec::new(),
        }
    }
}

/// Why a routing table can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoutesError {
    /// A rule is wrong.
    #[error("rule {}: {error}", index + 1)]
    Rule {
        /// Which rule, from 0.
        index: usize,
        /// What is wrong with it.
        #[source]
        error: RuleError,
    },
    /// A rule names a topic that is not configured, and only configured ones may be used.
    #[error("rule {}: topic {topic:?} is not configured; add [topics.{topic}], or leave the set of topics open", index + 1)]
    NotConfigured {
        /// Which rule, from 0.
        index: usize,
        /// The topic.
        topic: Topic,
    },
    /// A topic that belongs to the journal or that Kafka refuses.
    #[error("topic {topic:?} is reserved: '.', '..' and names that begin with '__' can't be configured")]
    Reserved {
        /// The topic.
        topic: Topic,
    },
    /// A topic with no or too many partitions.
    #[error("topic {topic:?} has {partitions} partitions; allowed are 1 to {}", Partition::COUNT_MAX)]
    Partitions {
        /// The topic.
        topic: Topic,
        /// Its partitions.
        partitions: u16,
    },
}

/// An event and where in its topic it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// The event.
    pub event: Event,
    /// Its partition: Kafka's murmur2 of its key.
    pub partition: Partition,
}

/// The routing table.
#[derive(Debug)]
pub struct Routes {
    rules: Vec<BoundRule>,
    default: TopicShape,
    dead_letters: TopicShape,
    configured: HashMap<Box<str>, TopicShape>,
    made: RwLock<HashMap<Box<str>, TopicShape>>,
    made_max: usize,
    closed: bool,
    partitions_default: u16,
}

impl Routes {
    /// Makes the table.
    ///
    /// # Errors
    /// [`RoutesError`] names the first rule or topic that is wrong, and what would be right.
    pub fn new(settings: RouteSettings) -> Result<Self, RoutesError> {
        let partitions = settings.partitions_default;
        let mut configured = HashMap::new();
        for shape in settings.topics {
            check_shape(&shape)?;
            configured.insert(Box::from(shape.topic.as_str()), shape);
        }
        let mut fixed = |topic: Topic| -> Result<TopicShape, RoutesError> {
            let name = Box::from(topic.as_str());
            let shape = configured.entry(name).or_insert(TopicShape { topic, partitions }).clone();
            check_shape(&shape).map(|()| shape)
        };
        let default = fixed(settings.default_topic)?;
        let dead_letters = fixed(Topic::new(DEAD_LETTERS).expect("a legal name"))?;
        let mut rules = Vec::with_capacity(settings.rules.len());
        for (index, rule) in settings.rules.iter().enumerate() {
            rule.check().map_err(|error| RoutesError::Rule { index, error })?;
            rules.push(BoundRule::new(rule).map_err(|error| RoutesError::Rule { index, error })?);
            let Some(topic) = rule.topic.literal().and_then(|text| Topic::user(text).ok()) else { continue };
            if settings.topics_closed && !configured.contains_key(topic.as_str()) {
                return Err(RoutesError::NotConfigured { index, topic });
            }
            configured
                .entry(topic.as_str().into())
                .or_insert(TopicShape { topic, partitions: settings.partitions_default });
        }
        let made = settings.existing.into_iter().filter(|shape| !configured.contains_key(shape.topic.as_str()));
        Ok(Self {
            made: RwLock::new(made.map(|shape| (Box::from(shape.topic.as_str()), shape)).collect()),
            rules,
            default,
            dead_letters,
            configured,
            made_max: settings.topics_max,
            closed: settings.topics_closed,
            partitions_default: settings.partitions_default,
        })
    }

    /// Routes an arrival. Never fails: what has no legal place becomes a dead letter that says why.
    #[must_use]
    pub fn route(&self, arrival: Arrival, now: Now) -> Routed {
        for rule in &self.rules {
            if let Some(captures) = rule.matches(&arrival) {
                return match self.place(rule, &captures, &arrival) {
                    Ok(place) => finish(arrival, now, place, None),
                    Err(why) => {
                        let reason = bounded(format!("rule {:?}: {why}", rule.from.as_str()));
                        let place = Place::by_device(&self.dead_letters, &arrival);
                        finish(arrival, now, place, Some(reason))
                    }
                };
            }
        }
        let place = Place::by_device(&self.default, &arrival);
        finish(arrival, now, place, None)
    }

    /// The place of what its source could not decode: a dead letter that says why.
    #[must_use]
    pub fn bury(&self, arrival: Arrival, reason: &str, now: Now) -> Routed {
        let place = Place::by_device(&self.dead_letters, &arrival);
        finish(arrival, now, place, Some(bounded(reason.to_owned())))
    }

    /// All topics known now: the configured ones, those that rules name, the default, the dead letters, and those that
    /// templates made; by name.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicShape> {
        let made = self.made.read().unwrap_or_else(PoisonError::into_inner);
        let mut topics: Vec<_> = self.configured.values().chain(made.values()).cloned().collect();
        topics.sort_by(|a, b| a.topic.cmp(&b.topic));
        topics
    }

    fn place(&self, rule: &BoundRule, captures: &Captures<'_>, arrival: &Arrival) -> Result<Place, String> {
        rule.decode.check(&arrival.payload).map_err(|error| error.to_string())?;
        let values = Values { captures, device: &arrival.device, arrival };
        let device = match &rule.device {
            Some(template) if !matches!(arrival.origin, Origin::Sequence { .. }) => {
                let text = template.fill(&values);
                DeviceId::new(&text).map_err(|error| format!("the device {text:?} is not legal: {error}"))?
            }
            _ => arrival.device.clone(),
        };
        let values = Values { device: &device, ..values };
        let shape = self.topic(&rule.topic.fill(&values))?;
        let key = match &rule.key {
            Some(template) => legal_key(&template.fill(&values))?,
            None => Bytes::copy_from_slice(device.as_str().as_bytes()),
        };
        let content_type = rule.content_type.clone();
        Ok(Place { device, shape, key, content_type })
    }

    /// The topic of that name, made if it may be.
    fn topic(&self, name: &str) -> Result<TopicShape, String> {
        if let Some(shape) = self.configured.get(name) {
            return Ok(shape.clone());
        }
        if self.closed {
            return Err(format!("the topic {name:?} is not configured, and the set of topics is closed"));
        }
        if let Some(shape) = self.made.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(shape.clone());
        }
        let topic = Topic::user(name).map_err(|error| format!("the topic {name:?} is not legal: {error}"))?;
        let mut made = self.made.write().unwrap_or_else(PoisonError::into_inner);
        if made.len() >= self.made_max && !made.contains_key(name) {
            return Err(format!("the topic {name:?} would be one more than the {} that rules may make", self.made_max));
        }
        let shape = TopicShape { topic, partitions: self.partitions_default };
        Ok(made.entry(name.into()).or_insert(shape).clone())
    }
}

/// What routing decides.
struct Place {
    device: DeviceId,
    shape: TopicShape,
    key: Bytes,
    content_type: Option<ContentType>,
}

impl Place {
    fn by_device(shape: &TopicShape, arrival: &Arrival) -> Self {
        Self {
            device: arrival.device.clone(),
            shape: shape.clone(),
            key: Bytes::copy_from_slice(arrival.device.as_str().as_bytes()),
            content_type: None,
        }
    }
}

fn finish(arrival: Arrival, now: Now, place: Place, reason: Option<Box<str>>) -> Routed {
    let partition = partition_of(&place.key, place.shape.partitions);
    let event = Event {
        source: arrival.source,
        device: place.device,
        address: arrival.address,
        topic: place.shape.topic,
        key: place.key,
        origin: arrival.origin,
        time: EventTime::received(now, arrival.device_time),
        content_type: place.content_type.or(arrival.content_type),
        reason,
        payload: arrival.payload,
    };
    Routed { event, partition }
}

/// An empty key would put unrelated events in one order, so it is not one.
fn legal_key(text: &str) -> Result<Bytes, String> {
    match text.len() {
        0 => Err("the key is empty".to_owned()),
        bytes if bytes > KEY_BYTES_MAX => {
            Err(format!("the key has {bytes} bytes, at most {KEY_BYTES_MAX} are allowed"))
        }
        _ => Ok(Bytes::copy_from_slice(text.as_bytes())),
    }
}

fn check_shape(shape: &TopicShape) -> Result<(), RoutesError> {
    let TopicShape { topic, partitions } = shape;
    if Topic::user(topic.as_str()).is_err() {
        return Err(RoutesError::Reserved { topic: topic.clone() });
    }
    if *partitions == 0 || *partitions > Partition::COUNT_MAX {
        return Err(RoutesError::Partitions { topic: topic.clone(), partitions: *partitions });
    }
    Ok(())
}

fn bounded(mut reason: String) -> Box<str> {
    if reason.len() > REASON_BYTES_MAX {
        let room = REASON_BYTES_MAX - '…'.len_utf8();
        let fits = reason.char_indices().map(|(at, _)| at).take_while(|at| *at <= room).last();
        reason.truncate(fits.unwrap_or(0));
        reason.push('…');
    }
    reason.into()
}

#[cfg(test)]
mod tests;
