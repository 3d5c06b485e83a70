//! Live first, backlog after: where the live lane began, and what of the journal lies below. Pure.
//!
//! ```text
//! cursor c          horizon H             live cursor L          end
//!    │── backfill ──────►│── delivered live ────►│── live lane ──────►│
//! ```
//!
//! Three groups of the journal's cursors hold it: the sink's own is `c`, and holds back what is not delivered; `<sink>.horizon` is `H`, and
//! `<sink>.live` is `L`. What lies below `c`, and between `H` and `L`, is delivered. When the backfill has come to `H` in all partitions, `c` becomes
//! `L`, and the other two are forgotten.

use std::collections::{BTreeMap, HashMap};

use lamppost_event::{Cursor, Gap, Group, Item, NameError, Offset, Partition, Topic, TopicPartition};

use crate::doubt::place;

/// The groups of the journal that stand beside a sink's own while its topics are split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneGroups {
    /// Where the live lane began.
    pub horizon: Group,
    /// How far it has come.
    pub live: Group,
}

const HORIZON: &str = ".horizon";
const LIVE: &str = ".live";

impl LaneGroups {
    /// Those of a sink.
    ///
    /// # Errors
    /// [`NameError`] if the sink's name is longer than 56 bytes: theirs would be too long.
    pub fn of(sink: &Group) -> Result<Self, NameError> {
        Ok(Self { horizon: Group::new(&format!("{sink}{HORIZON}"))?, live: Group::new(&format!("{sink}{LIVE}"))? })
    }

    /// The sink that a group of that name stands beside, if it is a lane's. No sink has such a name.
    #[must_use]
    pub fn sink_of(name: &str) -> Option<&str> {
        [HORIZON, LIVE].iter().find_map(|end| name.strip_suffix(end))
    }
}

/// What is split, as the journal's cursors tell it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lanes {
    horizons: HashMap<Topic, Horizon>,
}

/// The offsets of a topic where the live lane began; 0 in a partition that is not listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Horizon(BTreeMap<Partition, Offset>);

impl Horizon {
    pub(crate) fn of(&self, partition: Partition) -> Offset {
        self.0.get(&partition).copied().unwrap_or(Offset(0))
    }

    /// What of an item lies below.
    pub(crate) fn below(&self, item: Item) -> Option<Item> {
        let (_, partition, first) = place(&item);
        let horizon = self.of(partition);
        match item {
            _ if first >= horizon => None,
            Item::Gap(gap) => Some(Item::Gap(Gap { to: gap.to.min(horizon), ..gap })),
            event @ Item::Event(_) => Some(event),
        }
    }
}

impl Lanes {
    /// Split now: where each partition ends, of the topics that go live first. One without any event is not split: a horizon of 0 is not kept on disk,
    /// and after a restart all of it would come again.
    pub(crate) fn at(ends: &[Cursor], goes_live_first: impl Fn(&Topic) -> bool) -> Self {
        let mut lanes = Self::default();
        for end in ends.iter().filter(|end| end.next.0 > 0 && goes_live_first(&end.at.topic)) {
            lanes.horizons.entry(end.at.topic.clone()).or_default().0.insert(end.at.partition, end.next);
        }
        lanes
    }

    /// What a sink's three groups say; `None`: nothing is split.
    ///
    /// A topic with a cursor beyond its horizon is not split any more: while it is, none passes it.
    #[must_use]
    pub fn found(cursors: &[Cursor], horizon: &[Cursor], live: &[Cursor]) -> Option<Self> {
        let done = by_place(cursors);
        let done = |at: &TopicPartition| done.get(at).copied().unwrap_or(Offset(0));
        let mut lanes = Self::at(horizon, |_| true);
        lanes.horizons.retain(|topic, horizon| {
            let at = |partition: &Partition| TopicPartition { topic: topic.clone(), partition: *partition };
            horizon.0.iter().all(|(partition, horizon)| done(&at(partition)) <= *horizon)
        });
        let is_behind = !lanes.is_reached(|at| Some(done(at)));
        let was_live = live.iter().any(|live| lanes.horizon(&live.at.topic).is_some() && live.next > done(&live.at));
        (is_behind || was_live).then_some(lanes)
    }

    /// Of a topic; `None`: it is not split.
    pub(crate) fn horizon(&self, topic: &Topic) -> Option<&Horizon> {
        self.horizons.get(topic)
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.horizons.keys()
    }

    /// All partitions whose backlog is delivered apart, with the offset behind it.
    pub fn ends_of_backfill(&self) -> impl Iterator<Item = (TopicPartition, Offset)> + '_ {
        self.horizons.iter().flat_map(|(topic, horizon)| {
            horizon
                .0
                .iter()
                .map(|(partition, offset)| (TopicPartition { topic: topic.clone(), partition: *partition }, *offset))
        })
    }

    /// The offset behind a partition's backlog.
    #[must_use]
    pub fn end_of_backfill(&self, at: &TopicPartition) -> u64 {
        self.horizon(&at.topic).map_or(0, |horizon| horizon.of(at.partition).0)
    }

    /// Whether that topic is split.
    #[must_use]
    pub fn holds(&self, topic: &Topic) -> bool {
        self.horizons.contains_key(topic)
    }

    /// Whether the backfill has come to all horizons, by the cursors.
    pub(crate) fn is_reached(&self, cursor: impl Fn(&TopicPartition) -> Option<Offset>) -> bool {
        self.ends_of_backfill().all(|(at, horizon)| cursor(&at).unwrap_or(Offset(0)) >= horizon)
    }
}

fn by_place(cursors: &[Cursor]) -> HashMap<&TopicPartition, Offset> {
    cursors.iter().map(|cursor| (&cursor.at, cursor.next)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(topic: &str, partition: u16) -> TopicPartition {
        TopicPartition { topic: Topic::new(topic).unwrap(), partition: Partition(partition) }
    }

    fn cursors(of: &[(&str, u16, u64)]) -> Vec<Cursor> {
        of.iter().map(|(topic, partition, next)| Cursor { at: at(topic, *partition), next: Offset(*next) }).collect()
    }

    #[test]
    fn what_the_three_groups_say_is_split_until_the_cursors_have_passed_all_horizons() {
        let horizon = cursors(&[("air", 0, 100), ("air", 1, 40)]);
        let open = Lanes::at(&horizon, |_| true);
        for (done, live, split) in [
            (&[][..], &horizon, true),
            (&[("air", 0, 99), ("air", 1, 40)][..], &horizon, true),
            // All of the backlog is delivered, and what was delivered live is not taken over yet.
            (&[("air", 0, 100), ("air", 1, 40)][..], &cursors(&[("air", 0, 120), ("air", 1, 40)]), true),
            (&[("air", 0, 100), ("air", 1, 40)][..], &horizon, false),
            (&[("air", 0, 120), ("air", 1, 40)][..], &cursors(&[("air", 0, 120), ("air", 1, 40)]), false),
        ] {
            let found = Lanes::found(&cursors(done), &horizon, live);
            assert_eq!(found, split.then(|| open.clone()), "{done:?} {live:?}");
        }
        assert_eq!(Lanes::found(&cursors(&[("air", 0, 5)]), &[], &[]), None);
    }

    #[test]
    fn a_topic_that_went_on_since_an_earlier_split_is_not_in_this_one() {
        let horizon = cursors(&[("air", 0, 100), ("noise", 0, 7)]);
        let lanes = Lanes::found(&cursors(&[("air", 0, 3), ("noise", 0, 90)]), &horizon, &horizon).unwrap();
        assert!(lanes.holds(&Topic::new("air").unwrap()) && !lanes.holds(&Topic::new("noise").unwrap()));
    }

    #[test]
    fn of_a_gap_the_part_below_the_horizon_is_the_backfills_and_a_new_partition_is_all_live() {
        let lanes = Lanes::at(&cursors(&[("air", 0, 100), ("strict", 0, 9)]), |topic| topic.as_str() == "air");
        let horizon = lanes.horizon(&at("air", 0).topic).unwrap();
        let gap = |partition, from, to| {
            Item::Gap(Gap { at: at("air", partition), from: Offset(from), to: Offset(to), reason: String::new() })
        };
        assert_eq!(horizon.below(gap(0, 90, 100)), Some(gap(0, 90, 100)));
        assert_eq!(horizon.below(gap(0, 90, 130)), Some(gap(0, 90, 100)));
        assert_eq!(horizon.below(gap(0, 100, 130)), None);
        assert_eq!(horizon.below(gap(1, 0, 1)), None, "it came into being behind the split");
        assert!(!lanes.holds(&at("strict", 0).topic));
    }

    #[test]
    fn a_name_that_leaves_no_room_for_the_lanes_is_an_error() {
        assert!(LaneGroups::of(&Group::new(&"s".repeat(56)).unwrap()).is_ok());
        assert!(LaneGroups::of(&Group::new(&"s".repeat(57)).unwrap()).is_err());
    }
}
