//! Offsets that are missing without a word. The journal names what it has lost ([`lamppost_event::Gap`]); where an offset is
//! skipped and no gap says so, the events between may well be on disk, and no cursor passes them at once.
//!
//! Reading begins again at the group's resume position, after a pause. What shows now is delivered in order. Only when exactly
//! the same offsets are missing after [`REREADS`] such reads are they passed: counted as a gap, with an error in the log. If
//! others are missing each time, nothing is passed: the journal changes, and is asked until it does not.
//!
//! The price is that all since the oldest cursor is read again, up to three times: with a topic that is paused for days, days.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lamppost_event::{Gap, Group, Item, JournalStopped, Offset, Outlet, Partition, Resume, Topic, TopicPartition};

use crate::engine::{Done, Engine};

/// So many times is the journal read again before missing offsets are believed to be missing.
const REREADS: u32 = 3;

/// The pause before the first; doubled with each.
const PAUSE: Duration = Duration::from_millis(100);

/// Offsets that were skipped without a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Jump {
    pub(crate) at: TopicPartition,
    /// The first that is missing.
    pub(crate) from: Offset,
    /// The first that is there again.
    pub(crate) to: Offset,
}

impl Jump {
    /// The jump from `from` to what `item` begins with.
    pub(crate) fn to_item(item: &Item, from: Offset) -> Self {
        let (topic, partition, to) = place(item);
        Self { at: TopicPartition { topic: topic.clone(), partition }, from, to }
    }
}

/// Where an item is, and its first offset.
pub(crate) const fn place(item: &Item) -> (&Topic, Partition, Offset) {
    match item {
        Item::Event(stored) => (&stored.event.topic, stored.partition, stored.offset),
        Item::Gap(gap) => (&gap.at.topic, gap.at.partition, gap.from),
    }
}

/// What to do about a jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Read again from the resume position, after that pause; then ask again.
    Reread(Duration),
    /// It is not there.
    Pass,
}

#[derive(Debug)]
struct Doubt {
    from: Offset,
    to: Offset,
    rereads: u32,
}

/// The jumps that were met and are not settled; at most one a partition.
#[derive(Debug, Default)]
pub(crate) struct Doubts(HashMap<TopicPartition, Doubt>);

impl Doubts {
    /// Weighs a jump. After [`Verdict::Reread`] ask no more before reading has begun again.
    pub(crate) fn weigh(&mut self, jump: &Jump) -> Verdict {
        let fresh = Doubt { from: jump.from, to: jump.to, rereads: 0 };
        let mut entry = match self.0.entry(jump.at.clone()) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(vacant) => vacant.insert_entry(fresh),
        };
        let doubt = entry.get_mut();
        if (doubt.from, doubt.to) != (jump.from, jump.to) {
            *doubt = Doubt { from: jump.from, to: jump.to, rereads: 0 };
        }
        if doubt.rereads >= REREADS {
            entry.remove();
            return Verdict::Pass;
        }
        let pause = PAUSE * 2_u32.pow(doubt.rereads);
        doubt.rereads += 1;
        Verdict::Reread(pause)
    }

    /// The topic is read by another reader from now on: what was seen does not count.
    pub(crate) fn forget(&mut self, topic: &Topic) {
        self.0.retain(|at, _| at.topic != *topic);
    }
}

/// Who came upon a jump, and reads again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reader {
    Common,
    Lane(Topic),
}

/// Where the group goes on. Reads the disk, apart from the other tasks.
pub(crate) async fn resume(outlet: Arc<dyn Outlet>, group: Group) -> Result<Resume, JournalStopped> {
    let resumed = tokio::task::spawn_blocking(move || outlet.resume(&group)).await;
    resumed.unwrap_or_else(|error| Err(JournalStopped { reason: format!("in the forwarder: {error}") }))
}

impl Engine {
    /// Passes the jump, or begins to read again: false then.
    pub(crate) fn settle_jump(&mut self, jump: &Jump, reader: Reader) -> bool {
        let Jump { at, from, to } = jump;
        let (topic, partition) = (&at.topic, at.partition);
        match self.doubts.weigh(jump) {
            Verdict::Pass => {
                tracing::error!(%topic, %partition, %from, %to, rereads = REREADS, "offsets are missing in the journal without a word, and stay missing: they are passed over");
                let reason = "missing in the journal without a word".to_owned();
                self.tell(Gap { at: at.clone(), from: *from, to: *to, reason }, &reader)
            }
            Verdict::Reread(pause) => {
                tracing::warn!(%topic, %partition, %from, %to, "offsets are missing in the journal without a word: it is read again");
                self.counters.rereads.fetch_add(1, Relaxed);
                let (outlet, group) = (Arc::clone(&self.outlet), self.config.group.clone());
                self.rereading |= reader == Reader::Common;
                self.work.spawn(async move {
                    tokio::time::sleep(pause).await;
                    Done::Resumed { reader, resume: resume(outlet, group).await }
                });
                false
            }
        }
    }

    /// The position for reading again is known.
    pub(crate) fn resumed(&mut self, reader: &Reader, resume: &Resume) {
        match reader {
            Reader::Common => {
                self.rereading = false;
                self.rewind(resume.position);
            }
            Reader::Lane(topic) => {
                let Some(lane) = self.lanes.get_mut(topic) else { return };
                lane.busy = false;
                lane.at = lane.at.min(resume.position);
                if let Some(alone) = &mut lane.alone {
                    alone.rewind(lane.at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jump(topic: &str, from: u64, to: u64) -> Jump {
        let at = TopicPartition { topic: Topic::new(topic).unwrap(), partition: Partition(1) };
        Jump { at, from: Offset(from), to: Offset(to) }
    }

    fn rereads(doubts: &mut Doubts, jump: &Jump) -> Vec<Duration> {
        let pauses = (0..100).map_while(|_| match doubts.weigh(jump) {
            Verdict::Reread(pause) => Some(pause),
            Verdict::Pass => None,
        });
        pauses.collect()
    }

    #[test]
    fn the_same_jump_is_passed_after_three_rereads_each_later_than_the_last() {
        let mut doubts = Doubts::default();
        let pauses = rereads(&mut doubts, &jump("air", 5, 9));
        assert_eq!(pauses, [100, 200, 400].map(Duration::from_millis));
        assert!(doubts.0.is_empty(), "nothing is kept of what is settled");
        assert_eq!(rereads(&mut doubts, &jump("air", 9, 12)).len(), 3, "the next one is doubted anew");
    }

    #[test]
    fn a_jump_that_changes_is_doubted_anew_and_others_beside_it_do_not_count() {
        let mut doubts = Doubts::default();
        for _ in 0..3 {
            assert!(matches!(doubts.weigh(&jump("air", 5, 9)), Verdict::Reread(_)));
        }
        assert!(matches!(doubts.weigh(&jump("traffic", 5, 9)), Verdict::Reread(_)));
        assert!(matches!(doubts.weigh(&jump("air", 5, 8)), Verdict::Reread(_)));
        assert_eq!(rereads(&mut doubts, &jump("air", 5, 8)).len(), 2);
    }

    #[test]
    fn what_another_reader_saw_does_not_count() {
        let mut doubts = Doubts::default();
        for _ in 0..3 {
            assert!(matches!(doubts.weigh(&jump("air", 5, 9)), Verdict::Reread(_)));
        }
        doubts.forget(&Topic::new("air").unwrap());
        assert_eq!(rereads(&mut doubts, &jump("air", 5, 9)).len(), 3);
    }
}
