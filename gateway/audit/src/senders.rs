//! What senders mark their events with, so that what was sent twice shows, and what the count of a (device, boot) lacks. Pure.
//!
//! A sender is a (device, boot) that counts, or whatever stands before the number at the end of an id, within its topic: of `dev-3:17` the sender is
//! `dev-3:`, and 17 its number. Numbers are kept as ranges, so that a sender takes the same few bytes however much it sends. An id without a
//! number at its end (a random one) is a sender of its own.
//!
//! - **Invariant:** it takes no more than it was given. Where that is too little, it looks at every second sender only, then at every fourth and so on, chosen by
//!   a hash, and [`Senders::one_of`] says so. Of those that it looks at it knows all, of the others it says nothing.

use std::collections::HashMap;

use crate::intervals::Intervals;
use crate::judge::{MarkRef, hash};
use crate::report::{Examples, Report};

/// The names that are kept for examples, and their longest, in characters.
const NAMES_MAX: usize = 1_000;
const NAME_CHARS_MAX: usize = 200;

/// In a sender's hash: it is a (device, boot). In other senders' numbers holes mean nothing.
const COUNTS: u64 = 1 << 63;

/// Of which sender an event is, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbered {
    sender: u64,
    number: u64,
}

impl Numbered {
    /// The number at the end of an id is its last digits, without zeros before them, as many as surely fit; so sender and number together are the id again.
    pub(crate) fn of(mark: MarkRef<'_>, topic: &str) -> Self {
        const DIGITS_MAX: usize = 19;
        match mark {
            MarkRef::Sequence { device, boot, sequence } => {
                Self { sender: hash(&(device, boot)) | COUNTS, number: sequence }
            }
            MarkRef::Id(id) => {
                let digits = id.bytes().rev().take(DIGITS_MAX).take_while(u8::is_ascii_digit).count();
                let zeros = id.bytes().skip(id.len() - digits).take_while(|digit| *digit == b'0').count();
                let digits = if zeros == digits { digits.min(1) } else { digits - zeros };
                let (before, number) = id.split_at(id.len() - digits);
                Self { sender: hash(&(topic, before, digits > 0)) & !COUNTS, number: number.parse().unwrap_or(0) }
            }
        }
    }
}

/// All senders that are looked at.
#[derive(Debug)]
pub(crate) struct Senders {
    known: HashMap<u64, Intervals>,
    /// The highest number of a (device, boot) in a place.
    highest: HashMap<(u64, u32), u64>,
    /// What the ranges of `known` take beside it, in bytes.
    heap_bytes: usize,
    pub(crate) bytes_max: usize,
    /// So often the senders that are looked at were halved.
    halvings: u32,
    names: HashMap<u64, String>,
}

impl Senders {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let (known, highest, names) = Default::default();
        Self { known, highest, heap_bytes: 0, bytes_max, halvings: 0, names }
    }

    /// One of so many senders is looked at.
    pub(crate) const fn one_of(&self) -> u64 {
        1 << self.halvings
    }

    fn looks_at(&self, sender: u64) -> bool {
        sender.trailing_zeros() >= self.halvings
    }

    /// Whether an event was there before; false too if its sender is not looked at.
    pub(crate) fn is_again(&mut self, Numbered { sender, number }: Numbered, mark: MarkRef<'_>) -> bool {
        if !self.looks_at(sender) {
            return false;
        }
        let numbers = self.known.entry(sender).or_default();
        let before = numbers.heap_bytes();
        let first = numbers.insert(number);
        self.heap_bytes = self.heap_bytes + numbers.heap_bytes() - before;
        if numbers.heap_bytes() > 0 && sender & COUNTS != 0 && self.names.len() < NAMES_MAX {
            self.names.entry(sender).or_insert_with(|| name(mark));
        }
        self.keep_within();
        !first
    }

    /// A first occurrence of a (device, boot) stands in that place; the higher number that stands there before it, if there is one.
    pub(crate) fn stands(&mut self, Numbered { sender, number }: Numbered, place: u32) -> Option<u64> {
        if sender & COUNTS == 0 || !self.looks_at(sender) {
            return None;
        }
        let highest = self.highest.entry((sender, place)).or_insert(number);
        let before = Some(*highest).filter(|highest| number < *highest);
        *highest = number.max(*highest);
        self.keep_within();
        before
    }

    /// What it takes, in bytes, also while the next one is let in: a full table is copied to one of twice its size.
    fn bytes(&self) -> usize {
        grown(&self.known) + grown(&self.highest) + self.heap_bytes
    }

    fn keep_within(&mut self) {
        while self.bytes() > self.bytes_max && self.halvings < u64::BITS - 2 {
            self.halvings += 1;
            let bits = self.halvings;
            self.known.retain(|sender, _| sender.trailing_zeros() >= bits);
            self.highest.retain(|(sender, _), _| sender.trailing_zeros() >= bits);
            self.heap_bytes = self.known.values().map(Intervals::heap_bytes).sum();
        }
    }

    /// Counts the holes of each (device, boot), into the report.
    pub(crate) fn judge(self, report: &mut Report) {
        report.senders_one_of = self.one_of();
        let mut examples = Vec::new();
        for (sender, numbers) in self.known.iter().filter(|(sender, _)| **sender & COUNTS != 0) {
            report.sequences += 1;
            for (first, last) in numbers.holes() {
                report.sequence_holes = report.sequence_holes.saturating_add((last - first).saturating_add(1));
            }
            if let (Some(name), Some((first, last))) = (self.names.get(sender), numbers.holes().next()) {
                examples.push(format!("{name}: {first} to {last}"));
            }
        }
        examples.sort_unstable();
        examples.truncate(Examples::MAX);
        report.examples.sequence_holes = examples;
    }
}

/// An event of a (device, boot) in words.
pub(crate) fn event(mark: MarkRef<'_>) -> String {
    match mark {
        MarkRef::Sequence { sequence, .. } => format!("{}: {sequence}", name(mark)),
        MarkRef::Id(_) => name(mark),
    }
}

/// A (device, boot) in words.
fn name(mark: MarkRef<'_>) -> String {
    match mark {
        MarkRef::Sequence { device, boot, .. } => {
            format!("{} in boot {boot}", device.chars().take(NAME_CHARS_MAX).collect::<String>())
        }
        MarkRef::Id(id) => id.chars().take(NAME_CHARS_MAX).collect(),
    }
}

/// What a table takes once it has one entry more, in bytes: hashbrown keeps one byte beside an entry, an eighth of its places free, and copies a full
/// table to one of twice its size.
fn grown<K, V>(table: &HashMap<K, V>) -> usize {
    let bytes = table.capacity().div_ceil(7) * 8 * (size_of::<(K, V)>() + 1);
    if table.len() < table.capacity() { bytes } else { bytes * 3 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(id: &str) -> Numbered {
        Numbered::of(MarkRef::Id(id), "air")
    }

    #[test]
    fn the_number_at_the_end_of_an_id_counts_and_what_is_before_it_sends() {
        let one = id("dev-3:17");
        for (other, same, number) in [
            ("dev-3:18", true, 18),
            ("dev-3:0", true, 0),
            ("dev-3:017", false, 17),
            ("dev-3:00", false, 0),
            ("dev-4:17", false, 17),
            ("17", false, 17),
            ("dev-3:", false, 0),
            ("", false, 0),
            ("dev-3:10000000000000000000000001", false, 1),
        ] {
            assert_eq!((id(other).sender == one.sender, id(other).number), (same, number), "{other}");
        }
        assert_ne!(Numbered::of(MarkRef::Id("dev-3:17"), "energy").sender, one.sender, "an id is unique in its topic");
        assert_ne!(id("dev-3:").sender, id("dev-3:0").sender);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn two_ids_are_two_events(one in "[a:]{0,2}[0-9]{0,24}", two in "[a:]{0,2}[0-9]{0,24}") {
            prop_assert_eq!(id(&one) == id(&two), one == two);
        }
    }

    /// Sees so many senders with so many events each, every `step`th number.
    fn seen(bytes_max: usize, senders: u64, each: u64, step: u64) -> Senders {
        let mut seen = Senders::new(bytes_max);
        for number in 0..each {
            for sender in 0..senders {
                let device = format!("node-{sender}");
                let mark = MarkRef::Sequence { device: &device, boot: 1, sequence: number * step };
                assert!(!seen.is_again(Numbered::of(mark, "air"), mark));
                seen.stands(Numbered::of(mark, "air"), 0);
                assert!(seen.bytes() <= bytes_max, "{} bytes", seen.bytes());
            }
        }
        seen
    }

    #[test]
    fn a_sender_takes_the_same_bytes_however_much_it_sends_and_where_bytes_run_out_fewer_are_looked_at() {
        assert_eq!(seen(1 << 20, 1_000, 1, 1).bytes(), seen(1 << 20, 1_000, 100, 1).bytes());
        assert_eq!(seen(1 << 20, 1_000, 100, 1).one_of(), 1);
        for (senders, each, step) in [(20_000, 2, 1), (100, 1_000, 2)] {
            let mut seen = seen(1 << 20, senders, each, step);
            let one_of = seen.one_of();
            assert!(one_of > 1, "{senders}");
            // Of those that are looked at nothing is forgotten, and nothing is made up of the others.
            let mut again = 0;
            for sender in 0..senders {
                let device = format!("node-{sender}");
                let mark = MarkRef::Sequence { device: &device, boot: 1, sequence: 0 };
                again += u64::from(seen.is_again(Numbered::of(mark, "air"), mark));
            }
            let mut report = Report::default();
            seen.judge(&mut report);
            assert_eq!((report.sequences, report.senders_one_of), (again, one_of));
            assert_eq!(report.sequence_holes, again * (each - 1) * (step - 1));
            let share = senders / one_of;
            assert!((share / 2..=share * 2).contains(&again), "{again} of {senders}, one of {one_of}");
        }
    }
}
