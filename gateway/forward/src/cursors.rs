//! The gateway's cursors as the cluster keeps them: records of one compacted topic, written in the same transaction as the events
//! they speak of. Pure.
//!
//! | key | value, JSON |
//! |---|---|
//! | `<gateway>/<group>/<topic>/<partition>` (the journal's) | `{"reached":[{"epoch":"0000000000000abc","next":1842}]}`: of that epoch, all below `next` is in the cluster; the newest epoch first |
//! | `<gateway>/<group>` | `{"instance":"9f…","since_ms":1800000000000}`: which process forwards, since when by its own clock |
//!
//! Invariants:
//! - What a record covers is in the cluster, committed: an event it covers is never sent again.
//! - What is kept of the topic is bounded in bytes, whatever is written there under the gateway's name. Nothing is left out to keep to that:
//!   an event whose cursor is not known would come twice.

use std::collections::HashMap;

use lamppost_event::{Epoch, GatewayId, Group, Offset, Partition, Topic, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::reach::{Reach, VALUE_BYTES_MAX};

/// What is kept of the cluster's cursors, bytes. A journal has at most some 13,000 partitions: with frames of the usual size (1 MiB), a
/// quarter of which must have room for 20 bytes of each. They fit, with the longest names and sixteen epochs each.
pub(crate) const REACHED_BYTES_MAX: usize = 8 << 20;

/// What a partition takes beside its topic's name and its epochs: table, handles, allocations.
const ENTRY_BYTES: usize = 96;
/// Which process forwards for a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Incumbent {
    /// Random, new with each start.
    pub(crate) instance: String,
    /// Its wall clock when it took over, milliseconds since 1970; may be wrong.
    pub(crate) since_ms: i64,
}

impl Incumbent {
    /// The record's value.
    pub(crate) fn to_value(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The topic has more cursors of one gateway than are kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it has more cursors of this gateway than any journal has partitions (over {} MiB in memory): somebody else writes there under its name, or they are of topics that are long gone. Delete those (records of the same key without a value), or name another cursors_topic",
    REACHED_BYTES_MAX >> 20
)]
pub(crate) struct TooMany;

/// What the cluster has of one gateway and group.
#[derive(Debug)]
pub(crate) struct ClusterCursors {
    prefix: String,
    reached: HashMap<TopicPartition, Reach>,
    /// What `reached` takes, about.
    bytes: usize,
    pub(crate) incumbent: Option<Incumbent>,
    /// Records of this gateway that were read.
    pub(crate) heard: u64,
}

impl ClusterCursors {
    pub(crate) fn new(gateway: &GatewayId, group: &Group) -> Self {
        let prefix = format!("{gateway}/{}", group.as_str());
        Self { prefix, reached: HashMap::new(), bytes: 0, incumbent: None, heard: 0 }
    }

    /// The key of the record that says who forwards.
    pub(crate) fn incumbent_key(&self) -> &str {
        &self.prefix
    }

    /// The key of a partition's record.
    pub(crate) fn key(&self, at: &TopicPartition) -> String {
        format!("{}/{}/{}", self.prefix, at.topic, at.partition)
    }

    /// Nothing is known any more: the topic was lost.
    pub(crate) fn forget(&mut self) {
        (self.reached, self.bytes) = (HashMap::new(), 0);
        self.incumbent = None;
    }

    /// Takes in a record of the topic; another gateway's says nothing. False if it is ours and makes no sense.
    ///
    /// # Errors
    /// [`TooMany`]; it is not taken in then, so nothing must be forwarded by what is known.
    pub(crate) fn take(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<bool, TooMany> {
        let Some(rest) = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(&self.prefix)) else {
            return Ok(true);
        };
        if rest.is_empty() {
            self.heard += 1;
            let fits = value.filter(|value| value.len() <= VALUE_BYTES_MAX);
            self.incumbent = fits.and_then(|value| serde_json::from_slice(value).ok());
            return Ok(value.is_none() || self.incumbent.is_some());
        }
        let Some(place) = rest.strip_prefix('/') else { return Ok(true) };
        self.heard += 1;
        let at = place.rsplit_once('/').and_then(|(topic, partition)| {
            let (topic, partition) = (Topic::new(topic).ok()?, Partition(partition.parse().ok()?));
            Some(TopicPartition { topic, partition })
        });
        let Some(at) = at else { return Ok(false) };
        let Some(value) = value else {
            self.remove(&at);
            return Ok(true);
        };
        // What can't be read is not believed, and not what stood there before either: at worst something is delivered twice.
        let reach = Reach::of_value(value);
        let (understood, reach) = (reach.is_some(), reach.unwrap_or_default());
        self.remove(&at);
        if self.bytes.saturating_add(cost(&at, &reach)) > REACHED_BYTES_MAX {
            return Err(TooMany);
        }
        self.reached(at, reach);
        Ok(understood)
    }

    fn remove(&mut self, at: &TopicPartition) {
        if let Some(reach) = self.reached.remove(at) {
            self.bytes = self.bytes.saturating_sub(cost(at, &reach));
        }
    }

    /// How far a partition has come.
    pub(crate) fn reach(&self, at: &TopicPartition) -> Reach {
        self.reached.get(at).cloned().unwrap_or_default()
    }

    /// How far the partitions of a topic have come.
    pub(crate) fn reached_of(&self, topic: &Topic) -> HashMap<Partition, Reach> {
        let of_topic = self.reached.iter().filter(|(at, _)| at.topic == *topic);
        of_topic.map(|(at, reach)| (at.partition, reach.clone())).collect()
    }

    /// A transaction with that cursor is committed. It is of a partition of the journal: so many fit.
    pub(crate) fn reached(&mut self, at: TopicPartition, reach: Reach) {
        self.remove(&at);
        self.bytes = self.bytes.saturating_add(cost(&at, &reach));
        self.reached.insert(at, reach);
    }

    /// Whether the cursor of a partition can take in that epoch.
    pub(crate) fn takes(&self, at: &TopicPartition, epoch: Epoch) -> bool {
        self.reached.get(at).is_none_or(|reach| reach.takes(epoch))
    }

    /// The journal's own cursors are on disk: forgets the epochs that no crash brings back.
    pub(crate) fn passed(&mut self, cursor_of: impl Fn(&TopicPartition) -> Option<Offset>) {
        let mut bytes = 0_usize;
        for (at, reach) in &mut self.reached {
            reach.passed(cursor_of(at).unwrap_or(Offset(0)));
            bytes = bytes.saturating_add(cost(at, reach));
        }
        self.bytes = bytes;
    }

    /// An event of a new epoch is to go, before which all is done, on disk too: if there is still no room for it, the oldest epoch makes some. It
    /// is none of this journal's, where later epochs have higher offsets: of cards that were wiped, or tails that were cut.
    pub(crate) fn make_room(&mut self, at: &TopicPartition) {
        let mut reach = self.reach(at);
        if reach.make_room() {
            self.reached(at.clone(), reach);
        }
    }

    /// Whether that event is in the cluster, committed.
    pub(crate) fn covers(&self, at: &TopicPartition, epoch: Epoch, offset: Offset) -> bool {
        self.reached.get(at).is_some_and(|reach| reach.covers(epoch, offset))
    }

    /// Whether anything is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.reached.is_empty() && self.incumbent.is_none()
    }
}

/// What a partition's cursor takes in memory, about.
fn cost(at: &TopicPartition, reach: &Reach) -> usize {
    at.topic.as_str().len() + ENTRY_BYTES + reach.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reach::EPOCHS_MAX;

    fn at(topic: &str, partition: u16) -> TopicPartition {
        TopicPartition { topic: Topic::new(topic).unwrap(), partition: Partition(partition) }
    }

    fn cursors(gateway: &str) -> ClusterCursors {
        ClusterCursors::new(&GatewayId::new(gateway).unwrap(), &Group::new("forward").unwrap())
    }

    #[test]
    fn an_epoch_is_forgotten_once_the_journals_own_cursor_has_passed_it_and_the_newest_stays() {
        let (mut ours, air) = (cursors("post-1"), at("air", 0));
        ours.reached(air.clone(), Reach::from([(5, 40), (4, 30), (9, 1000), (3, 20)]));
        ours.reached(at("air", 1), Reach::from([(3, 20), (2, 10)]));
        let passed = |ours: &mut ClusterCursors, to: u64| {
            ours.passed(|at| (at.partition == Partition(0)).then_some(Offset(to)));
            ours.reach(&air)
        };
        assert_eq!(passed(&mut ours, 0), Reach::from([(5, 40), (4, 30), (9, 1000), (3, 20)]));
        assert_eq!(passed(&mut ours, 29), Reach::from([(5, 40), (4, 30), (9, 1000)]));
        assert_eq!(
            passed(&mut ours, 40),
            Reach::from([(5, 40), (9, 1000)]),
            "of an earlier card, perhaps put back one day"
        );
        assert_eq!(
            ours.reach(&at("air", 1)),
            Reach::from([(3, 20), (2, 10)]),
            "a cursor that is not known has passed nothing"
        );
        let bytes: usize = ours.reached.iter().map(|(at, reach)| cost(at, reach)).sum();
        assert_eq!(ours.bytes, bytes);
        ours.take(b"post-1/forward/air/0", None).unwrap();
        ours.take(b"post-1/forward/air/1", None).unwrap();
        assert_eq!(ours.bytes, 0);
    }

    #[test]
    fn epochs_of_earlier_cards_never_keep_a_new_one_waiting() {
        let (mut ours, air) = (cursors("post-1"), at("air", 0));
        ours.reached(air.clone(), (1..=EPOCHS_MAX as u64).rev().map(|card| (card, 1000 * card)).collect());
        ours.passed(|_| Some(Offset(0)));
        assert!(!ours.takes(&air, Epoch(99)) && ours.takes(&at("air", 1), Epoch(99)));
        ours.make_room(&air);
        assert!(ours.takes(&air, Epoch(99)));
        assert!(!ours.covers(&air, Epoch(1), Offset(0)) && ours.covers(&air, Epoch(2), Offset(0)), "the oldest goes");
        let before = ours.reach(&air);
        ours.make_room(&air);
        assert_eq!(ours.reach(&air), before, "no more than is needed");
    }

    /// A journal of one partition, and what the cluster has of it. As the engine goes about it, without Kafka.
    struct City {
        /// The epoch of each event.
        stored: Vec<Epoch>,
        /// The journal's own cursor, on disk and in memory.
        on_disk: usize,
        cursor: usize,
        cluster: ClusterCursors,
        sent: Vec<u32>,
    }

    impl City {
        fn settle(&mut self) {
            self.on_disk = self.cursor;
            self.cluster.passed(|_| Some(Offset(self.cursor as u64)));
        }

        /// One transaction of at most so many events; the power may fail behind it.
        fn commit(&mut self, events_max: usize, fails: bool) {
            let air = at("air", 0);
            let mut reach = self.cluster.reach(&air);
            let (mut to, mut sent) = (self.cursor, 0);
            while let Some(epoch) = self.stored.get(to).filter(|_| sent < events_max) {
                if !reach.covers(*epoch, Offset(to as u64)) {
                    if !reach.takes(*epoch) {
                        break;
                    }
                    reach.extend(*epoch, Offset(to as u64 + 1));
                    self.sent[to] += 1;
                    sent += 1;
                }
                to += 1;
            }
            self.cursor = to;
            self.cluster.reached(air.clone(), reach.clone());
            if fails {
                return;
            }
            if reach.is_long() {
                self.settle();
            }
            if self.stored.get(to).is_some_and(|epoch| !reach.takes(*epoch)) {
                self.settle();
                self.cluster.make_room(&air);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn whenever_the_power_fails_and_however_many_epochs_there_are_each_event_is_sent_once(
            starts in proptest::collection::vec((0..40_usize, 0..4_usize, 1..60_usize, 0..12_usize), 1..40),
            cards in 0..2 * EPOCHS_MAX as u64,
        ) {
            let mut cluster = cursors("post-1");
            let earlier = (0..cards).take(EPOCHS_MAX).map(|card| (1_000_000 + card, 100 * card)).collect();
            cluster.reached(at("air", 0), earlier);
            let mut city = City { stored: Vec::new(), on_disk: 0, cursor: 0, cluster, sent: Vec::new() };
            let mut epoch = 0;
            for (epochs, each, events_max, commits) in starts.into_iter().chain([(1, 1, 1, usize::MAX)]) {
                for _ in 0..epochs {
                    epoch += 1;
                    city.stored.extend(std::iter::repeat_n(Epoch(epoch), each));
                }
                city.sent.resize(city.stored.len(), 0);
                // What is on the disk counts after a crash, and the cursors that the cluster has are read anew.
                city.cursor = city.on_disk;
                let value = city.cluster.reach(&at("air", 0)).to_value();
                proptest::prop_assert!(city.cluster.take(b"post-1/forward/air/0", Some(&value)).unwrap());
                city.settle();
                let mut stood = false;
                for n in 0..commits {
                    if city.cursor == city.stored.len() {
                        break;
                    }
                    let before = city.cursor;
                    city.commit(events_max, n + 1 == commits);
                    // One that can't even begin makes room for the next.
                    let stands = city.cursor == before;
                    proptest::prop_assert!(!(stood && stands), "it stands still");
                    stood = stands;
                }
            }
            proptest::prop_assert!(city.sent.iter().all(|sent| *sent == 1), "{:?}", city.sent);
        }
    }

    #[test]
    fn the_key_of_a_cursor_is_the_one_that_is_documented() {
        assert_eq!(cursors("post-17").key(&at("air", 3)), "post-17/forward/air/3");
    }

    #[test]
    fn another_gateways_records_say_nothing_even_where_one_name_begins_with_the_other() {
        let mut ours = cursors("post-1");
        assert!(ours.take(b"post-17/forward/air/0", Some(b"not even json")).unwrap());
        assert!(ours.take(b"post-1/forwarder/air/0", Some(b"{}")).unwrap());
        assert!(ours.take(&[0xff, 0xfe], None).unwrap());
        assert!(ours.is_empty() && ours.heard == 0);
    }

    #[test]
    fn a_record_replaces_the_one_before_and_a_tombstone_removes_it() {
        let mut ours = cursors("post-1");
        let value = |next: u64| format!(r#"{{"reached":[{{"epoch":"5","next":{next}}}]}}"#).into_bytes();
        assert!(ours.take(b"post-1/forward/air/0", Some(&value(4))).unwrap());
        assert!(ours.take(b"post-1/forward/air/0", Some(&value(9))).unwrap());
        assert!(ours.covers(&at("air", 0), Epoch(5), Offset(8)));
        assert!(!ours.take(b"post-1/forward/air/0", Some(b"{")).unwrap(), "what makes no sense is said");
        assert!(!ours.covers(&at("air", 0), Epoch(5), Offset(0)), "and not believed");
        assert!(!ours.take(b"post-1/forward/air/x", Some(&value(9))).unwrap());
        assert!(ours.take(b"post-1/forward", Some(br#"{"instance":"a1","since_ms":5}"#)).unwrap());
        assert_eq!(ours.incumbent.as_ref().map(|one| one.instance.as_str()), Some("a1"));
        assert!(ours.take(b"post-1/forward/air/0", None).unwrap() && ours.take(b"post-1/forward", None).unwrap());
        assert!(ours.is_empty());
    }

    #[test]
    fn whatever_is_written_under_the_gateways_name_memory_is_bounded_and_what_does_not_fit_is_an_error() {
        let mut ours = cursors("post-1");
        let epochs = (0..EPOCHS_MAX).map(|epoch| format!(r#"{{"epoch":"{epoch:016x}","next":7}}"#)).collect::<Vec<_>>();
        let value = format!(r#"{{"reached":[{}]}}"#, epochs.join(",")).into_bytes();
        let topic = |n: usize| format!("post-1/forward/{}-{n}/0", "t".repeat(200));
        let each = cost(&at(&format!("{}-{}", "t".repeat(200), 10_000), 0), &Reach::of_value(&value).unwrap());
        let fit = (10_000..).take_while(|n| ours.take(topic(*n).as_bytes(), Some(&value)).is_ok()).count();
        assert_eq!(fit, REACHED_BYTES_MAX / each);
        assert!(TooMany.to_string().contains("over 8 MiB") && TooMany.to_string().contains("cursors_topic"));
        // A record that is there already, a tombstone, and room again.
        assert_eq!(ours.take(topic(10_000).as_bytes(), Some(&value)), Ok(true));
        assert_eq!(ours.take(topic(99_999).as_bytes(), Some(&value)), Err(TooMany));
        assert_eq!(ours.take(topic(10_000).as_bytes(), None), Ok(true));
        assert_eq!(ours.take(topic(99_999).as_bytes(), Some(&value)), Ok(true));
        ours.forget();
        assert_eq!(ours.bytes, 0);
        let long = format!(r#"{{"reached":[{}]}}"#, vec![epochs.join(","); 20].join(","));
        assert_eq!(ours.take(topic(10_000).as_bytes(), Some(long.as_bytes())), Ok(false), "a value is bounded, too");
        let long = format!(r#"{{"instance":"{}","since_ms":5}}"#, "a".repeat(VALUE_BYTES_MAX));
        assert_eq!(ours.take(b"post-1/forward", Some(long.as_bytes())), Ok(false));
    }

    #[test]
    fn all_partitions_that_a_journal_can_have_fit() {
        let most = (256 << 10) / 20;
        let reach = Reach::from([(1, 1); EPOCHS_MAX]);
        assert!(most * cost(&at(&"t".repeat(249), 0), &reach) <= REACHED_BYTES_MAX);
    }
}
