//! Where the forwarder reads: one chunk in hand, one ahead. What is held is bounded by two chunks.

use std::collections::VecDeque;

use lamppost_event::{Chunk, Item, Position};

/// The reader's place in the journal.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Where the next read begins.
    next: Position,
    /// Changes with each rewind: what was asked for before is of no use any more.
    pub(crate) generation: u64,
    /// A read is under way.
    pub(crate) busy: bool,
    /// All durable events were read.
    pub(crate) caught_up: bool,
    start: Position,
    items: VecDeque<Item>,
    ahead: Option<(Position, VecDeque<Item>)>,
}

impl Reading {
    pub(crate) const fn new(from: Position) -> Self {
        Self {
            next: from,
            generation: 0,
            busy: false,
            caught_up: false,
            start: from,
            items: VecDeque::new(),
            ahead: None,
        }
    }

    /// Where to read now; `None` while enough is held or a read is under way.
    pub(crate) const fn wanted(&self) -> Option<Position> {
        if self.busy || self.ahead.is_some() { None } else { Some(self.next) }
    }

    /// A read came back.
    pub(crate) fn arrived(&mut self, from: Position, chunk: Chunk) {
        self.busy = false;
        self.next = chunk.next;
        self.caught_up = chunk.caught_up;
        if !chunk.items.is_empty() {
            self.ahead = Some((from, chunk.items.into()));
        }
    }

    /// Begins with the chunk ahead, once the one in hand is used up. Returns where it was read.
    pub(crate) fn turn(&mut self) -> Option<Position> {
        debug_assert!(self.items.is_empty(), "the chunk in hand is used up first");
        let (start, items) = self.ahead.take()?;
        (self.start, self.items) = (start, items);
        Some(start)
    }

    /// The next item in hand.
    pub(crate) fn pop(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    /// The item that [`Reading::pop`] would give.
    pub(crate) fn front(&self) -> Option<&Item> {
        self.items.front().or_else(|| self.ahead.as_ref()?.1.front())
    }

    /// Puts back what [`Reading::pop`] gave.
    pub(crate) fn put_back(&mut self, item: Item) {
        self.items.push_front(item);
    }

    /// Whether all that was read has been used.
    pub(crate) fn is_used_up(&self) -> bool {
        self.items.is_empty() && self.ahead.is_none()
    }

    /// Where the first unused item was read.
    pub(crate) fn place(&self) -> Position {
        if !self.items.is_empty() {
            return self.start;
        }
        self.ahead.as_ref().map_or(self.next, |(start, _)| *start)
    }

    /// Where the chunk in hand was read, used up or not.
    pub(crate) const fn chunk_start(&self) -> Position {
        self.start
    }

    /// Reads on from `from`, or from the first unused item if that is earlier.
    pub(crate) fn rewind(&mut self, from: Position) {
        self.next = from.min(self.place());
        self.start = self.next;
        self.generation += 1;
        self.busy = false;
        self.caught_up = false;
        self.items.clear();
        self.ahead = None;
    }
}

#[cfg(test)]
mod tests {
    use lamppost_event::{Gap, Offset, Partition, Topic, TopicPartition};

    use super::*;

    fn chunk(next: u64, items: u64) -> Chunk {
        let at = TopicPartition { topic: Topic::new("t").unwrap(), partition: Partition(0) };
        let gap = |n| Item::Gap(Gap { at: at.clone(), from: Offset(n), to: Offset(n + 1), reason: String::new() });
        Chunk { items: (0..items).map(gap).collect(), next: Position(next), caught_up: false }
    }

    #[test]
    fn one_chunk_is_in_hand_and_one_ahead_and_no_more_is_wanted() {
        let mut reading = Reading::new(Position(0));
        reading.arrived(Position(0), chunk(10, 2));
        assert_eq!(reading.wanted(), None);
        assert_eq!(reading.turn(), Some(Position(0)));
        assert_eq!(reading.wanted(), Some(Position(10)));
        reading.arrived(Position(10), chunk(20, 1));
        assert_eq!(reading.wanted(), None);
        assert_eq!(reading.place(), Position(0));
        while reading.pop().is_some() {}
        assert_eq!(reading.place(), Position(10));
    }

    #[test]
    fn a_rewind_never_skips_what_is_unused() {
        let mut reading = Reading::new(Position(0));
        reading.arrived(Position(0), chunk(10, 2));
        assert_eq!(reading.turn(), Some(Position(0)));
        reading.rewind(Position(500));
        assert_eq!(reading.wanted(), Some(Position(0)));
        assert!(reading.is_used_up());
        reading.arrived(Position(0), chunk(10, 0));
        reading.rewind(Position(4));
        assert_eq!(reading.wanted(), Some(Position(4)));
    }
}
