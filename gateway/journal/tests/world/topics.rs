//! The topics of a history: one that has to stay, or some that differ in what may become of their events.
//!
//! Their partitions are numbered from 0 to [`PARTITIONS`] over all topics: what the model calls a slot.

use std::collections::BTreeMap;
use std::time::Duration;

use lamppost_event::{Gap, Partition, Topic, TopicPartition};
use lamppost_journal::{Options, Policy, Priority, SplitMix64, TopicOptions, WhenFull};

use super::{PARTITIONS, at};

pub struct Topics {
    places: Vec<TopicPartition>,
    policies: BTreeMap<Topic, Policy>,
}

impl Default for Topics {
    /// One topic that has to stay.
    fn default() -> Self {
        Self { places: (0..PARTITIONS).map(at).collect(), policies: BTreeMap::new() }
    }
}

fn user(name: &str) -> Topic {
    Topic::user(name).unwrap()
}

fn keep_for(random: &mut SplitMix64, one_in: u64) -> Option<Duration> {
    random.chance(1, one_in).then(|| Duration::from_millis(4_000 + random.below(30_000)))
}

fn keep_bytes(random: &mut SplitMix64, one_in: u64) -> Option<u64> {
    random.chance(1, one_in).then(|| 5_000 + random.below(60_000))
}

fn when_full(random: &mut SplitMix64, give_up_one_in: u64) -> WhenFull {
    if random.chance(1, give_up_one_in) { WhenFull::GiveUpOldest } else { WhenFull::Refuse }
}

impl Topics {
    /// Two or three topics: bulk that may go, another that has to stay (or goes for its age or size, or for want of room once no bulk is
    /// left; maybe dead letters), and maybe alarms.
    pub fn draw(random: &mut SplitMix64) -> Self {
        let alarms = random.chance(2, 3);
        let names: [(&str, u16); 3] = [("bulk", 0), ("air", 0), if alarms { ("alarms", 0) } else { ("air", 1) }];
        let place =
            |(name, partition): (&str, u16)| TopicPartition { topic: user(name), partition: Partition(partition) };
        let mut policies = BTreeMap::new();
        let bulk = Policy {
            priority: Priority::Bulk,
            when_full: WhenFull::GiveUpOldest,
            keep_for: keep_for(random, 3),
            keep_bytes: keep_bytes(random, 3),
        };
        policies.insert(user("bulk"), bulk);
        let air = Policy {
            priority: if random.chance(1, 3) { Priority::DeadLetter } else { Priority::Normal },
            when_full: when_full(random, 4),
            keep_for: keep_for(random, 5),
            keep_bytes: keep_bytes(random, 5),
        };
        policies.insert(user("air"), air);
        if alarms {
            let when_full = when_full(random, 4);
            policies.insert(user("alarms"), Policy { priority: Priority::Alarm, when_full, ..Policy::default() });
        }
        Self { places: names.map(place).to_vec(), policies }
    }

    /// Tells the options.
    pub fn set(&self, options: &mut Options) {
        let mut topics: Vec<TopicOptions> = Vec::new();
        for place in &self.places {
            match topics.iter_mut().find(|entry| entry.topic == place.topic) {
                Some(entry) => entry.partitions += 1,
                None => topics.push(TopicOptions { topic: place.topic.clone(), partitions: 1, linger: None }),
            }
        }
        (options.topics, options.policies) = (topics, self.policies.clone());
        options.quota_bytes = options.quota_min();
    }

    pub fn at(&self, slot: u16) -> &TopicPartition {
        &self.places[usize::from(slot)]
    }

    /// `None` for the journal's own.
    pub fn slot(&self, at: &TopicPartition) -> Option<u16> {
        self.places.iter().position(|place| place == at).map(|slot| slot as u16)
    }

    pub fn policy(&self, slot: u16) -> Policy {
        self.policies.get(&self.at(slot).topic).copied().unwrap_or_default()
    }

    /// Its events are taken where others have to wait.
    pub fn has_reserve(&self, slot: u16) -> bool {
        self.policy(slot).priority >= Priority::DeadLetter
    }

    pub fn is_alarm(&self, slot: u16) -> bool {
        self.policy(slot).priority == Priority::Alarm
    }

    /// The slot of the alarms, if there are any.
    pub fn alarms(&self) -> Option<u16> {
        (0..PARTITIONS).find(|slot| self.is_alarm(*slot))
    }

    pub fn may_make_room(&self, slot: u16) -> bool {
        self.policy(slot).when_full == WhenFull::GiveUpOldest
    }

    /// Whether its events may be given up before they are delivered.
    pub fn may_go(&self, slot: u16) -> bool {
        let policy = self.policy(slot);
        self.may_make_room(slot) || policy.keep_for.is_some() || policy.keep_bytes.is_some()
    }

    /// Whether a gap says something that may be, without damage.
    pub fn explains(&self, gap: &Gap) -> bool {
        let Some(slot) = self.slot(&gap.at) else { return false };
        match gap.reason.as_str() {
            reason if reason.contains("recycled") => true,
            reason if reason.contains("for want of room") => self.may_make_room(slot),
            reason if is_beyond_bytes(reason) => self.policy(slot).keep_bytes.is_some(),
            reason if reason.contains("older than") => self.policy(slot).keep_for.is_some(),
            _ => false,
        }
    }
}

/// Whether a gap is there for its topic's bound in bytes.
pub fn is_beyond_bytes(reason: &str) -> bool {
    reason.contains("beyond the bytes")
}
