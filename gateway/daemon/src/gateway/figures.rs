//! The gateway's main figures at one moment.

use std::collections::BTreeMap;

use lamppost_event::{Cursor, Group, Interest, TopicPartition};
use lamppost_forward::{LaneGroups, Lanes};
use lamppost_journal::Journal;

use super::setup::{forward_group, is_of_users};

/// How much there is. Events, unless a name says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Figures {
    /// In the journal, durable, ever.
    pub(crate) events: u64,
    /// Durable and not yet forwarded; 0 without a cluster.
    pub(crate) backlog: u64,
    /// Where what is live goes first: of the backlog, what goes beside it.
    pub(crate) backfill: Option<u64>,
}

/// Takes the figures from the journal.
pub(crate) fn of(journal: &Journal, forwards: bool) -> Figures {
    let figures = of_sink(journal, &forward_group(), &Interest::all());
    Figures { backlog: if forwards { figures.backlog } else { 0 }, ..figures }
}

/// Those of a group's topics, and of these what it has not done with.
pub(crate) fn of_sink(journal: &Journal, group: &Group, interest: &Interest) -> Figures {
    let groups: BTreeMap<Group, Vec<Cursor>> = journal.groups().into_iter().collect();
    let of = |group: &Group| groups.get(group).map(Vec::as_slice).unwrap_or_default();
    let lanes = LaneGroups::of(group).ok().and_then(|names| {
        let lanes = Lanes::found(of(group), of(&names.horizon), of(&names.live))?;
        Some((lanes, by_place(of(&names.live))))
    });
    let done = by_place(of(group));
    let mut figures = Figures::default();
    let partitions = journal.partitions().into_iter();
    for bounds in partitions.filter(|bounds| is_of_users(&bounds.at.topic) && interest.takes(&bounds.at.topic)) {
        figures.events += bounds.next.0;
        let cursor = done.get(&bounds.at).copied().unwrap_or(0).max(bounds.first.0);
        let Some((lanes, live)) = lanes.as_ref().filter(|(lanes, _)| lanes.holds(&bounds.at.topic)) else {
            figures.backlog += bounds.next.0.saturating_sub(cursor);
            continue;
        };
        let horizon = lanes.end_of_backfill(&bounds.at);
        let live = live.get(&bounds.at).copied().unwrap_or(0).max(horizon);
        let backfill = horizon.saturating_sub(cursor);
        figures.backlog += backfill + bounds.next.0.saturating_sub(live.max(cursor));
        *figures.backfill.get_or_insert(0) += backfill;
    }
    figures
}

fn by_place(cursors: &[Cursor]) -> BTreeMap<&TopicPartition, u64> {
    cursors.iter().map(|cursor| (&cursor.at, cursor.next.0)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use lamppost_event::{
        BootId, Clock, ClockQuality, Monotonic, Now, Offset, Partition, StoredRecord, Topic, WallTime,
    };
    use lamppost_journal::sim::SimDisk;
    use lamppost_journal::{Options, TopicOptions};

    use super::*;

    /// A clock that nobody asks.
    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Now {
            let (wall, quality) = (WallTime(1_800_000_000_000), ClockQuality::Synced);
            Now { wall, monotonic: Monotonic(5), boot: BootId(7), quality }
        }
    }

    #[test]
    fn what_was_delivered_live_is_no_backlog_and_what_goes_beside_it_is_told_apart() {
        let topic = Topic::new("air").unwrap();
        let topics = vec![TopicOptions { topic: topic.clone(), partitions: 1, linger: None }];
        let mut options = Options { topics, segment_bytes: 1 << 20, ..Options::default() };
        (options.frame_bytes_max, options.event_bytes_max) = (128 << 10, 16 << 10);
        options.quota_bytes = options.quota_min();
        let (journal, hand, _) = Journal::open_by_hand(Arc::new(SimDisk::new(1)), options, Arc::new(Noon)).unwrap();
        for _ in 0..10 {
            let (key, value) = (Bytes::from_static(b"k"), Some(Bytes::from_static(b"v")));
            let record = StoredRecord { timestamp: WallTime(5), key, value, header: Bytes::new() };
            journal.append(&topic, Partition(0), record, None).unwrap();
        }
        hand.commit().unwrap();
        let sink = Group::new("forward").unwrap();
        let lanes = LaneGroups::of(&sink).unwrap();
        let seen = |group: &Group, next| {
            let at = TopicPartition { topic: topic.clone(), partition: Partition(0) };
            journal.commit_cursors(group, &[Cursor { at, next: Offset(next) }]).unwrap();
            let figures = of_sink(&journal, &sink, &Interest::all());
            (figures.backlog, figures.backfill)
        };
        assert_eq!(seen(&sink, 2), (8, None));
        assert_eq!(seen(&lanes.horizon, 6), (8, Some(4)));
        assert_eq!(seen(&lanes.live, 9), (5, Some(4)));
        assert_eq!(seen(&sink, 6), (1, Some(0)));
        assert_eq!(seen(&sink, 9), (1, None), "all in one lane again");
    }
}
