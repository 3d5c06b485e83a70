//! Readings, kept in RAM until they are acknowledged: first in, first out. 32 bytes each. Where there is no more room the
//! oldest goes that is no alarm; an alarm goes only for another alarm.

use heapless::Deque;
use lamppost_wire::{Boot, MeasureIndex, Millis, Reading, Sequence, Value};

/// Marks an alarm, in the ring only: measures are counted to 8.
const ALARM: u8 = 0x80;

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

    /// Keeps a new reading under the next sequence. Where the ring is full, one is dropped, counted and returned with
    /// whether it was an alarm: the new one itself if it is bulk and all others are alarms.
    pub fn push(
        &mut self,
        measure: MeasureIndex,
        alarm: bool,
        uptime: Millis,
        value: Value,
    ) -> Option<(Reading, bool)> {
        let reading = self.number(measure, uptime, value);
        self.keep(reading, alarm)
    }

    /// The reading that is next, with its sequence, which is given out by this.
    pub(crate) fn number(&mut self, measure: MeasureIndex, uptime: Millis, value: Value) -> Reading {
        self.last = self.last.next();
        Reading { boot: self.boot, sequence: self.last, measure, uptime, value }
    }

    /// Keeps a reading that has its number: in the order of boots and sequences.
    pub(crate) fn keep(&mut self, reading: Reading, alarm: bool) -> Option<(Reading, bool)> {
        let dropped = if self.readings.is_full() { self.make_room(alarm) } else { None };
        let measure = MeasureIndex(reading.measure.0 & !ALARM | if alarm { ALARM } else { 0 });
        let marked = Reading { measure, ..reading };
        // A bulk reading among nothing but alarms finds no room.
        let dropped = self.readings.push_back(marked).err().map(plain).or(dropped);
        self.sort_last();
        self.dropped += u64::from(dropped.is_some());
        dropped
    }

    fn make_room(&mut self, for_alarm: bool) -> Option<(Reading, bool)> {
        let bulk = self.readings.iter().position(|reading| !is_alarm(reading));
        let mut at = if for_alarm { bulk.unwrap_or(0) } else { bulk? };
        while at > 0 {
            self.swap(at, at - 1);
            at -= 1;
        }
        self.readings.pop_front().map(plain)
    }

    /// Only what is restored comes out of order.
    fn sort_last(&mut self) {
        let key = |reading: &Reading| (reading.boot, reading.sequence);
        let mut at = self.readings.len().saturating_sub(1);
        while at > 0
            && let (Some(before), Some(last)) = (self.readings.get(at - 1), self.readings.get(at))
            && last.boot < self.boot
            && key(before) > key(last)
        {
            self.swap(at, at - 1);
            at -= 1;
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        let (a, b) = (self.readings.get(one).copied(), self.readings.get(other).copied());
        if let (Some(place), Some(b)) = (self.readings.get_mut(one), b) {
            *place = b;
        }
        if let (Some(place), Some(a)) = (self.readings.get_mut(other), a) {
            *place = a;
        }
    }

    /// The reading at `position`, counted from the oldest.
    #[must_use]
    pub fn kept(&self, position: usize) -> Option<Reading> {
        self.readings.get(position).copied().map(|reading| plain(reading).0)
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

    /// Forgets the oldest reading if it is of `boot` and not above `sequence`, and returns it with whether it was an
    /// alarm. Call it until it returns `None`.
    pub fn forget(&mut self, boot: Boot, sequence: Sequence) -> Option<(Reading, bool)> {
        let oldest = self.readings.front()?;
        let is_meant = oldest.boot == boot && oldest.sequence <= sequence;
        if is_meant { self.readings.pop_front().map(plain) } else { None }
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

const fn is_alarm(reading: &Reading) -> bool {
    reading.measure.0 & ALARM != 0
}

const fn plain(reading: Reading) -> (Reading, bool) {
    let measure = MeasureIndex(reading.measure.0 & !ALARM);
    (Reading { measure, ..reading }, is_alarm(&reading))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn full() -> Ring<4> {
        let mut ring = Ring::new(Boot(3));
        for value in 1..=4 {
            assert_eq!(ring.push(MeasureIndex(0), false, Millis(0), Value(value)), None);
        }
        ring
    }

    fn sequences<const CAPACITY: usize>(ring: &Ring<CAPACITY>) -> Vec<u64> {
        (0..ring.len()).map(|position| ring.kept(position).unwrap().sequence.0).collect()
    }

    #[test]
    fn a_full_ring_drops_the_oldest_and_counts_it() {
        let mut ring = full();
        assert_eq!(ring.push(MeasureIndex(0), false, Millis(9), Value(5)).unwrap().0.sequence, Sequence(1));
        assert_eq!((sequences(&ring), ring.dropped(), ring.last()), (Vec::from([2, 3, 4, 5]), 1, Sequence(5)));
    }

    #[test]
    fn what_is_acknowledged_is_forgotten_and_no_more() {
        let mut ring = full();
        assert_eq!(ring.forget(Boot(2), Sequence(9)), None);
        assert_eq!(ring.forget(Boot(3), Sequence(2)).unwrap().0.sequence, Sequence(1));
        assert_eq!(ring.forget(Boot(3), Sequence(2)).unwrap().0.sequence, Sequence(2));
        assert_eq!(ring.forget(Boot(3), Sequence(2)), None);
        assert_eq!((sequences(&ring), ring.dropped()), (Vec::from([3, 4]), 0));
    }

    #[test]
    fn a_new_boot_number_leaves_order_and_sequences_alone() {
        let mut ring = full();
        ring.renumber(Boot(3), Boot(77));
        ring.push(MeasureIndex(0), false, Millis(9), Value(5));
        assert_eq!(sequences(&ring), [2, 3, 4, 5]);
        assert!((0..4).all(|position| ring.kept(position).unwrap().boot == Boot(77)));
    }

    #[test]
    fn alarms_stay_while_there_is_bulk_to_drop_and_go_only_for_alarms() {
        let mut ring = Ring::<4>::new(Boot(3));
        let mut push = |alarm| ring.push(MeasureIndex(1), alarm, Millis(0), Value(0)).map(|(r, a)| (r.sequence.0, a));
        assert_eq!([true, false, true, false].map(&mut push), [None; 4]);
        assert_eq!(push(false), Some((2, false)));
        assert_eq!(push(true), Some((4, false)));
        assert_eq!(push(true), Some((5, false)));
        assert_eq!(push(false), Some((8, false)), "bulk finds no room among alarms");
        assert_eq!(push(true), Some((1, true)));
        assert_eq!((sequences(&ring), ring.dropped()), (Vec::from([3, 6, 7, 9]), 5));
        assert!((0..4).all(|position| ring.kept(position).unwrap().measure == MeasureIndex(1)));
    }

    #[test]
    fn what_is_restored_from_two_queues_lies_in_order() {
        let mut ring = Ring::<8>::new(Boot(9));
        let reading = |boot, sequence| Reading {
            boot: Boot(boot),
            sequence: Sequence(sequence),
            measure: MeasureIndex(0),
            uptime: Millis(0),
            value: Value(0),
        };
        for (boot, sequence) in [(7, 2), (7, 5), (8, 1)] {
            ring.keep(reading(boot, sequence), false);
        }
        for (boot, sequence) in [(7, 1), (7, 3), (8, 2)] {
            ring.keep(reading(boot, sequence), true);
        }
        ring.push(MeasureIndex(0), false, Millis(0), Value(0));
        let order: Vec<(u32, u64)> =
            (0..7).map(|at| ring.kept(at).unwrap()).map(|reading| (reading.boot.0, reading.sequence.0)).collect();
        assert_eq!(order, [(7, 1), (7, 2), (7, 3), (7, 5), (8, 1), (8, 2), (9, 1)]);
    }
}
