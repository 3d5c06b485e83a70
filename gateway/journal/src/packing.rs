//! Whether a commit is compressed, and its batches if it is.
//!
//! The wear of a card comes before speed, but nobody is to wait for a processor where the disk is fast. So a commit is compressed
//! - if the writer has slept for longer than that takes, as nearly always: commits wait for company;
//! - else, with commits one behind the other, if the disk then keeps four fifths of its speed at least. A slow card gains by it: it has
//!   less to write. That is tried out, of each size of commits by itself, since neither the disk nor the events are known.
//!
//! What would save no whole page is left as it is, and not tried again at once.

use std::ops::Range;
use std::time::Duration;

use crate::format::batch::{BatchBuilder, Compression, Compressor};
use crate::format::{PAGE, padded};
use crate::sync::moment;

/// After so many commits one behind the other it is tried out again.
const CYCLE: u32 = 1024;
/// So many of them are compressed, and as many are not; the fastest of each count.
const TRIALS: u32 = 4;
/// Compressed ones may take so much of the others' time, in percent.
const PERCENT_MAX: u64 = 125;
/// What is not known yet: compressing takes so long, ns for each KiB.
const PACKING_NS: u64 = 8192;
/// The most commits that are passed over after some that nothing was saved in.
const PASSED_OVER_MAX: u32 = 63;
/// Sizes are told apart by their power of two, from a page up.
const CLASSES: usize = 12;

/// How the last commits of about the same size fared.
#[derive(Debug, Clone, Copy, Default)]
struct Class {
    /// How many of this cycle's came one behind the other.
    pressed: u32,
    /// The least time in this cycle, compressing included, ns for each KiB before it: compressed, and not.
    least: [Option<u64>; 2],
    /// What compressing took last, ns for each KiB.
    packing: Option<u64>,
    /// So many are passed over.
    pass_over: u32,
    /// The next time so many.
    pass_over_next: u32,
}

impl Class {
    /// Whether one that others wait behind is compressed.
    fn pays(&mut self) -> bool {
        let number = self.pressed;
        self.pressed = (number + 1) % CYCLE;
        if number == 0 {
            self.least = [None; 2];
        }
        match self.least {
            _ if number < TRIALS => true,
            _ if number < 2 * TRIALS => false,
            [Some(packed), Some(plain)] => packed * 100 <= plain * PERCENT_MAX,
            [packed, _] => packed.is_some(),
        }
    }

    /// Whether one is compressed that the writer had slept for so long before.
    fn wants(&mut self, raw: usize, slept: Option<Duration>) -> bool {
        if self.pass_over > 0 {
            self.pass_over -= 1;
            return false;
        }
        let takes = Duration::from_nanos(self.packing.unwrap_or(PACKING_NS) * kib(raw));
        slept.is_none_or(|slept| slept >= takes) || self.pays()
    }

    /// One of those that are compared took so long.
    fn note(&mut self, packed: bool, took: u64) {
        let [packed_least, plain_least] = &mut self.least;
        let least = if packed { packed_least } else { plain_least };
        *least = Some(least.map_or(took, |before| before.min(took)));
    }

    fn saved(&mut self, something: bool) {
        self.pass_over_next = if something { 0 } else { (2 * self.pass_over_next + 1).min(PASSED_OVER_MAX) };
        self.pass_over = self.pass_over_next;
    }
}

fn kib(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(1024).max(1)
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A commit that is being written.
#[derive(Debug, Clone, Copy, Default)]
struct Current {
    class: usize,
    raw: usize,
    /// It is among those that are compared.
    compared: bool,
    packed: bool,
    packing: Duration,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Packing {
    compressor: Compressor,
    classes: [Class; CLASSES],
    /// The compressed batches, one behind the other.
    bytes: Vec<u8>,
    /// Where each lies; none if it is smaller as it is.
    places: Vec<Option<Range<usize>>>,
    current: Option<Current>,
}

impl Packing {
    /// Whether the batches of a commit, in whose frame `head` bytes come before them, are to be compressed. `slept` is how long the
    /// writer had nothing to do before; `None` if that does not matter, and time is to decide nothing.
    pub(crate) fn wants(
        &mut self,
        head: usize,
        batches: &[&mut BatchBuilder],
        compression: Compression,
        slept: Option<Duration>,
    ) -> bool {
        self.places.clear();
        self.current = None;
        let raw = head + batches.iter().map(|batch| batch.bytes()).sum::<usize>();
        // What fills no more than a page either way is left readable as it is.
        if compression == Compression::None || raw <= PAGE {
            return false;
        }
        let number = ((raw / PAGE).ilog2() as usize).min(CLASSES - 1);
        let Some(class) = self.classes.get_mut(number) else { return false };
        let before = class.pressed;
        let wanted = class.wants(raw, slept);
        let compared = class.pressed != before;
        self.current = Some(Current { class: number, raw, compared, ..Current::default() });
        wanted
    }

    /// Compresses them.
    pub(crate) fn pack(&mut self, head: usize, batches: &mut [&mut BatchBuilder], compression: Compression) {
        let Some(mut current) = self.current.take() else { return };
        current.packing = self.pack_all(head, current.raw, batches, compression);
        current.packed = !self.places.is_empty();
        if let Some(class) = self.classes.get_mut(current.class) {
            class.packing = Some(ns(current.packing) / kib(current.raw));
            class.saved(current.packed);
        }
        self.current = Some(current);
    }

    fn pack_all(
        &mut self,
        head: usize,
        raw: usize,
        batches: &mut [&mut BatchBuilder],
        compression: Compression,
    ) -> Duration {
        let begun = moment();
        self.bytes.clear();
        let mut length = head;
        for batch in batches {
            let start = self.bytes.len();
            let smaller = batch.pack_to(&mut self.bytes, compression, &mut self.compressor);
            length += if smaller { self.bytes.len() - start } else { batch.bytes() };
            self.places.push(smaller.then_some(start..self.bytes.len()));
        }
        if padded(length) >= padded(raw) {
            self.places.clear();
        }
        begun.elapsed()
    }

    /// The compressed batch with that number, if it is to be written so.
    pub(crate) fn packed(&self, number: usize) -> Option<&[u8]> {
        self.bytes.get(self.places.get(number)?.clone()?)
    }

    /// The commit is on the disk, which took so long.
    pub(crate) fn written(&mut self, disk: Duration) {
        let Some(current) = self.current.take().filter(|current| current.compared) else { return };
        let Some(class) = self.classes.get_mut(current.class) else { return };
        let took = ns(current.packing + disk) / kib(current.raw);
        class.note(current.packed, took);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lamppost_event::{Offset, StoredRecord, WallTime};

    use super::*;
    use crate::random::SplitMix64;

    const RAW: usize = 200 << 10;

    /// Of so many commits one behind the other, how many are compressed on a disk (and processor) that take so long for either kind.
    fn packed_of(commits: u32, class: &mut Class, packed_ns: u64, plain_ns: u64) -> u32 {
        let mut count = 0;
        for _ in 0..commits {
            let packed = class.wants(RAW, Some(Duration::ZERO));
            class.note(packed, if packed { packed_ns } else { plain_ns });
            count += u32::from(packed);
        }
        count
    }

    #[test]
    fn commits_one_behind_the_other_are_compressed_where_the_disk_keeps_four_fifths_of_its_speed() {
        for (packed_ns, all) in [(400, true), (1000, true), (1250, true), (1260, false), (9000, false)] {
            let count = packed_of(2 * CYCLE, &mut Class::default(), packed_ns, 1000);
            // Each cycle tries both kinds.
            assert_eq!(count, if all { 2 * (CYCLE - TRIALS) } else { 2 * TRIALS }, "{packed_ns}");
        }
    }

    #[test]
    fn a_disk_that_becomes_slow_is_noticed_with_the_next_trials() {
        let mut class = Class::default();
        assert_eq!(packed_of(CYCLE, &mut class, 5000, 1000), TRIALS);
        assert_eq!(packed_of(CYCLE, &mut class, 6000, 9000), CYCLE - TRIALS);
    }

    #[test]
    fn one_slow_commit_among_the_trials_decides_nothing() {
        let mut class = Class::default();
        for number in 0..2 * TRIALS {
            let packed = class.wants(RAW, Some(Duration::ZERO));
            assert_eq!(packed, number < TRIALS);
            class.note(packed, if number == 1 { 1_000_000 } else { 1000 });
        }
        assert_eq!(packed_of(100, &mut class, 1000, 1000), 100);
    }

    #[test]
    fn a_commit_that_the_writer_has_slept_long_enough_for_is_compressed_whatever_else_is_known() {
        let mut class = Class { packing: Some(1000), ..Class::default() };
        packed_of(2 * TRIALS, &mut class, 9000, 1000);
        let takes = Duration::from_nanos(1000 * kib(RAW));
        assert!(class.wants(RAW, Some(takes)) && class.wants(RAW, None));
        assert!(!class.wants(RAW, Some(takes - Duration::from_nanos(1))));
    }

    fn batch(value: Vec<u8>) -> BatchBuilder {
        let mut builder = BatchBuilder::default();
        builder.begin(Offset(0), WallTime(0));
        builder.push(&StoredRecord {
            timestamp: WallTime(0),
            key: Bytes::new(),
            value: Some(value.into()),
            header: Bytes::new(),
        });
        builder
    }

    fn pack(packing: &mut Packing, values: &[Vec<u8>]) -> bool {
        let mut builders: Vec<BatchBuilder> = values.iter().cloned().map(batch).collect();
        let mut builders = builders.iter_mut().collect::<Vec<_>>();
        if packing.wants(100, &builders, Compression::Zstd, None) {
            packing.pack(100, &mut builders, Compression::Zstd);
        }
        (0..values.len()).any(|number| packing.packed(number).is_some())
    }

    #[test]
    fn what_saves_no_page_is_left_as_it_is_and_what_does_not_become_smaller_too() {
        let mut random = SplitMix64::new(1);
        let noise: Vec<u8> = (0..5000).map(|_| random.next_u64() as u8).collect();
        let mut packing = Packing::default();
        assert!(!pack(&mut packing, &[vec![7; 3000]]), "a page either way");
        assert!(pack(&mut packing, &[vec![7; 5000]]), "two pages become one");
        assert!(!pack(&mut packing, &[noise.clone(), vec![7; 2000]]), "two pages stay two");
        let mut packing = Packing::default();
        assert!(pack(&mut packing, &[noise, vec![7; 4000]]), "three pages become two");
        assert!(packing.packed(0).is_none() && packing.packed(1).is_some());
    }

    #[test]
    fn events_that_nothing_is_saved_in_are_tried_less_and_less() {
        let mut random = SplitMix64::new(2);
        let mut packing = Packing::default();
        let mut tried = 0;
        for _ in 0..1000 {
            let noise: Vec<u8> = (0..5000).map(|_| random.next_u64() as u8).collect();
            let pass_over = packing.classes[0].pass_over;
            assert!(!pack(&mut packing, &[noise]));
            tried += u32::from(pass_over == 0);
        }
        assert!((15..30).contains(&tried), "{tried}");
        while !pack(&mut packing, &[vec![7; 5000]]) {
            tried += 1;
        }
        assert!(tried < 100 && pack(&mut packing, &[vec![7; 5000]]), "what can be compressed again is, at once then");
    }
}
