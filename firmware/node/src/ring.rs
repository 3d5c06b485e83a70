//! Readings, kept in RAM until they are acknowledged: first in, first out. 32 bytes each.

use heapless::Deque;
use lamppost_wire::{Boot, MeasureIndex, Millis, Reading, Sequence, Value};

/// At most `CAPACITY` readings, from 1 (0 does not compile). Boots lie one after another, sequences rise within a boot.
#[derive(Debug, Clone)]
pub struct Ring<const CAPACITY: usize> {
    readings: Deque<Reading, CAPACITY>,
    boot: Boot,
    last: Sequence,
    dropped: u64,
}

impl<const CAPACITY: usize> Ring<CAPACITY> {
    /// An empty ring for the life numbered `boot`.
    #[must_use]
    pub const fn new(boot: Boot) -> Self {
        Self { readings: Deque::new(), boot, last: Sequence::NONE, dropped: 0 }
    }

    /// Keeps a new reading under the next sequence. Where the ring is full, the oldest is dropped, counted and returned.
    pub fn push(&mut self, measure: MeasureIndex, uptime: Millis, value: Value) -> Option<Reading> {
        self.last = self.last.next();
        let reading = Reading { boot: self.boot, sequence: self.last, measure, uptime, value };
        let dropped = if self.readings.is_full() { self.readings.pop_front() } else { None };
        // There is room now, since a capacity of 0 does not compile; were there none, the new one would be dropped.
        let dropped = self.readings.push_back(reading).err().or(dropped);
        self.dropped += u64::from(dropped.is_some());
        dropped
    }

    /// The reading at `position`, counted from the oldest.
    #[must_use]
    pub fn kept(&self, position: usize) -> Option<Reading> {
        self.readings.get(position).copied()
    }

    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.readings.len()
    }

    /// Nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.readings.is_empty()
    }

    /// The highest sequence given out.
    #[must_use]
    pub const fn last(&self) -> Sequence {
        self.last
    }

    /// How many were dropped for want of room.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Forgets the oldest reading if it is of `boot` and not above `sequence`, and returns it. Call it until it
    /// returns `None`.
    pub fn forget(&mut self, boot: Boot, sequence: Sequence) -> Option<Reading> {
        let oldest = self.readings.front()?;
        if oldest.boot == boot && oldest.sequence <= sequence { self.readings.pop_front() } else { None }
    }

    /// This life's number is `to`: what was kept under `from` is of that life.
    pub fn renumber(&mut self, from: Boot, to: Boot) {
        for reading in self.readings.iter_mut().filter(|reading| reading.boot == from) {
            reading.boot = to;
        }
        if self.boot == from {
            self.boot = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn full() -> Ring<4> {
        let mut ring = Ring::new(Boot(3));
        for value in 1..=4 {
            assert_eq!(ring.push(MeasureIndex(0), Millis(0), Value(value)), None);
        }
        ring
    }

    fn sequences<const CAPACITY: usize>(ring: &Ring<CAPACITY>) -> Vec<u64> {
        (0..ring.len()).map(|position| ring.kept(position).unwrap().sequence.0).collect()
    }

    #[test]
    fn a_full_ring_drops_the_oldest_and_counts_it() {
        let mut ring = full();
        assert_eq!(ring.push(MeasureIndex(0), Millis(9), Value(5)).unwrap().sequence, Sequence(1));
        assert_eq!((sequences(&ring), ring.dropped(), ring.last()), (Vec::from([2, 3, 4, 5]), 1, Sequence(5)));
    }

    #[test]
    fn what_is_acknowledged_is_forgotten_and_no_more() {
        let mut ring = full();
        assert_eq!(ring.forget(Boot(2), Sequence(9)), None);
        assert_eq!(ring.forget(Boot(3), Sequence(2)).unwrap().sequence, Sequence(1));
        assert_eq!(ring.forget(Boot(3), Sequence(2)).unwrap().sequence, Sequence(2));
        assert_eq!(ring.forget(Boot(3), Sequence(2)), None);
        assert_eq!((sequences(&ring), ring.dropped()), (Vec::from([3, 4]), 0));
    }

    #[test]
    fn a_new_boot_number_leaves_order_and_sequences_alone() {
        let mut ring = full();
        ring.renumber(Boot(3), Boot(77));
        ring.push(MeasureIndex(0), Millis(9), Value(5));
        assert_eq!(sequences(&ring), [2, 3, 4, 5]);
        assert!((0..4).all(|position| ring.kept(position).unwrap().boot == Boot(77)));
    }
}
