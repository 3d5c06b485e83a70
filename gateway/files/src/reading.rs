//! How far each partition is read, written and committed. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use lamppost_event::{Cursor, Item, Offset, Partition, Topic, TopicPartition};

/// So many times is the journal read again before offsets that are missing without a word are believed to be missing.
const REREADS: u32 = 3;
/// The pause before the first; doubled with each.
const PAUSE: Duration = Duration::from_millis(100);

/// What to do with an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It lies below.
    Seen,
    /// It is next, from that offset on (of a gap, some may have been met).
    Next(Offset),
    /// Offsets are missing before it, without a word: read again from the cursors after that pause.
    Reread(Duration),
    /// They stay missing: they are a gap, from that offset up to the item's first.
    Missing(Offset),
}

/// The places in all partitions.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    next: HashMap<TopicPartition, Offset>,
    /// What moved since the lines were last written.
    made: BTreeMap<TopicPartition, Offset>,
    /// What is written and not committed.
    written: BTreeMap<TopicPartition, Offset>,
    doubt: Option<(TopicPartition, Offset, Offset, u32)>,
}

/// Where an item is, its first offset and the one behind it.
pub(crate) fn place(item: &Item) -> (&Topic, Partition, Offset, Offset) {
    match item {
        Item::Event(stored) => (&stored.event.topic, stored.partition, stored.offset, stored.offset.next()),
        Item::Gap(gap) => (&gap.at.topic, gap.at.partition, gap.from, gap.to),
    }
}

impl Reading {
    /// Begins at the cursors. What was in doubt stays so.
    pub(crate) fn begin(&mut self, cursors: Vec<Cursor>) {
        self.next = cursors.into_iter().map(|cursor| (cursor.at, cursor.next)).collect();
        self.made.clear();
        self.written.clear();
    }

    /// What to do with an item that is wanted.
    pub(crate) fn admit(&mut self, item: &Item) -> Admission {
        let (topic, partition, from, to) = place(item);
        let at = TopicPartition { topic: topic.clone(), partition };
        let next = self.next.get(&at).copied().unwrap_or(Offset(0));
        if to <= next {
            return Admission::Seen;
        }
        if from <= next {
            return Admission::Next(next);
        }
        let again = self.doubt.take().filter(|doubt| (&doubt.0, doubt.1, doubt.2) == (&at, next, from));
        let rereads = again.map_or(0, |doubt| doubt.3);
        if rereads >= REREADS {
            return Admission::Missing(next);
        }
        self.doubt = Some((at, next, from, rereads + 1));
        Admission::Reread(PAUSE * 2_u32.pow(rereads))
    }

    /// A line was made of everything before `to`, or none is wanted.
    pub(crate) fn pass(&mut self, topic: &Topic, partition: Partition, to: Offset) {
        let at = TopicPartition { topic: topic.clone(), partition };
        let next = self.next.entry(at.clone()).or_insert(Offset(0));
        if to > *next {
            *next = to;
            self.made.insert(at, to);
        }
    }

    /// All lines that were made are written.
    pub(crate) fn written(&mut self) {
        self.written.append(&mut self.made);
    }

    /// Whether something written is not committed.
    pub(crate) fn is_ahead(&self) -> bool {
        !self.written.is_empty()
    }

    /// The cursors of what was written; it is on disk.
    pub(crate) fn flushed(&mut self) -> Vec<Cursor> {
        std::mem::take(&mut self.written).into_iter().map(|(at, next)| Cursor { at, next }).collect()
    }
}

#[cfg(test)]
mod tests {
    use lamppost_event::Gap;

    use super::*;

    fn at() -> TopicPartition {
        TopicPartition { topic: Topic::new("air").unwrap(), partition: Partition(1) }
    }

    fn gap(from: u64, to: u64) -> Item {
        Item::Gap(Gap { at: at(), from: Offset(from), to: Offset(to), reason: String::new() })
    }

    fn reading(next: u64) -> Reading {
        let mut reading = Reading::default();
        reading.begin(vec![Cursor { at: at(), next: Offset(next) }]);
        reading
    }

    #[test]
    fn what_lies_below_is_passed_by_and_what_reaches_over_begins_at_the_cursor() {
        let mut reading = reading(5);
        assert_eq!(reading.admit(&gap(0, 5)), Admission::Seen);
        assert_eq!(reading.admit(&gap(0, 6)), Admission::Next(Offset(5)));
        assert_eq!(reading.admit(&gap(5, 6)), Admission::Next(Offset(5)));
    }

    #[test]
    fn a_jump_is_believed_after_three_rereads_and_only_if_it_stays_the_same() {
        let mut reading = reading(5);
        for ms in [100, 200, 400] {
            assert_eq!(reading.admit(&gap(7, 9)), Admission::Reread(Duration::from_millis(ms)));
        }
        assert_eq!(reading.admit(&gap(8, 9)), Admission::Reread(Duration::from_millis(100)), "another one");
        for _ in 0..3 {
            assert!(matches!(reading.admit(&gap(7, 9)), Admission::Reread(_)));
        }
        assert_eq!(reading.admit(&gap(7, 9)), Admission::Missing(Offset(5)));
    }

    #[test]
    fn a_cursor_is_told_of_only_once_its_lines_are_written() {
        let mut reading = reading(5);
        reading.pass(&at().topic, Partition(1), Offset(6));
        assert!(reading.flushed().is_empty());
        reading.written();
        reading.pass(&at().topic, Partition(1), Offset(9));
        assert_eq!(reading.flushed(), [Cursor { at: at(), next: Offset(6) }]);
        reading.pass(&at().topic, Partition(1), Offset(7));
        reading.written();
        assert_eq!(reading.flushed(), [Cursor { at: at(), next: Offset(9) }]);
    }
}
