//! A power cut: what is on the card afterwards, made from what was recorded before it.
//!
//! Everything that was flushed is there. Of what was written since, any 512-byte sector may be there or not, whatever the order
//! of the writes; and now and then a 4 KiB page that was being written holds garbage.
//!
//! The pages without which ext4 can't find its journal are never torn or garbled, only there or not: without them nothing could be
//! mounted, and nothing be said of the store.

use std::ops::Range;

use lamppost_journal::SplitMix64;

use crate::card::{Record, Step};
use crate::ext4::{anchors, is_journal_superblock};
use crate::image::{Image, PAGE};

/// What is written whole or not at all, in bytes.
pub const SECTOR: usize = 512;

/// What became of the writes that were not flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// None is there.
    Dropped,
    /// All are there.
    Kept,
    /// They are there in their order up to one, which is torn at a sector.
    Torn,
    /// Of each sector of each write a coin is thrown.
    Scattered,
}

/// What a cut did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// To what was not flushed.
    pub fate: Fate,
    /// How many writes were not flushed.
    pub unflushed: usize,
    /// How many pages hold garbage.
    pub garbage_pages: usize,
}

/// The card after a cut behind the first `steps` steps of the record. The same record, number and randomness give the same bytes.
#[must_use]
pub fn cut(record: &Record, steps: usize, random: &mut SplitMix64) -> (Image, Damage) {
    let before = record.steps.get(..steps).unwrap_or(&record.steps);
    let flushed = before.iter().rposition(|step| *step == Step::Flush).map_or(0, |last| last + 1);
    let (safe, open) = before.split_at(flushed);
    let mut image = record.start.clone();
    for (at, bytes) in writes(safe) {
        put(&mut image, at, bytes);
    }
    let fate = match random.below(8) {
        0 => Fate::Dropped,
        1 => Fate::Kept,
        2..=3 => Fate::Torn,
        _ => Fate::Scattered,
    };
    let open: Vec<(u64, &[u8])> = writes(open).collect();
    let is_whole = is_whole(&record.start);
    apply(&mut image, &open, fate, &is_whole, random);
    let garbage_pages = if random.chance(1, 4) { garble(&mut image, &open, &is_whole, random) } else { 0 };
    (image, Damage { fate, unflushed: open.len(), garbage_pages })
}

/// The card after a cut behind all of a record that has no flush in it, with this fate; with garbage in a page at least where `garbled`
/// says so and there is one that may hold it.
#[must_use]
pub fn cut_open(record: &Record, fate: Fate, garbled: bool, random: &mut SplitMix64) -> (Image, Damage) {
    let open: Vec<(u64, &[u8])> = writes(&record.steps).collect();
    let (mut image, is_whole) = (record.start.clone(), is_whole(&record.start));
    apply(&mut image, &open, fate, &is_whole, random);
    let mut garbage_pages = 0;
    for _ in 0..GARBLE_TRIES {
        if garbled && garbage_pages == 0 {
            garbage_pages = garble(&mut image, &open, &is_whole, random);
        }
    }
    (image, Damage { fate, unflushed: open.len(), garbage_pages })
}

/// Each try fills a page with one chance in four; where none is filled after so many, there is none that may be.
const GARBLE_TRIES: usize = 64;

fn is_whole(start: &Image) -> impl Fn(u64, &[u8]) -> bool {
    let anchors = anchors(start);
    move |at, page| anchors.contains(&(at / PAGE as u64)) || is_journal_superblock(page)
}

/// Chooses a moment for a cut within `range`, or up to the flush behind it: half of all where it fell, so that little or much
/// is not flushed; the others where at least two writes are not, if there is such a place.
#[must_use]
pub fn moment(steps: &[Step], range: Range<usize>, random: &mut SplitMix64) -> usize {
    let within = steps.get(range.clone()).unwrap_or_default();
    if random.chance(1, 2) {
        let flushes = within.iter().enumerate().filter(|(_, step)| **step == Step::Flush).map(|(at, _)| at);
        let mut behind = 0;
        let mut wide: Vec<Range<usize>> = Vec::new();
        for flush in flushes {
            if flush >= behind + 2 {
                wide.push(behind + 2..flush + 1);
            }
            behind = flush + 1;
        }
        if let Some(window) = wide.get(below(random, wide.len())) {
            return range.start + window.start + below(random, window.len());
        }
    }
    let fell = range.start + below(random, within.len() + 1);
    // Just behind a flush there is nothing to lose: few cuts need that.
    let idle = fell == 0 || steps.get(fell - 1) == Some(&Step::Flush);
    if idle && !random.chance(1, 8) {
        let rest = steps.get(fell..).unwrap_or_default();
        return fell + rest.iter().position(|step| *step == Step::Flush).unwrap_or(rest.len());
    }
    fell
}

fn below(random: &mut SplitMix64, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).unwrap_or(0)
}

fn writes(steps: &[Step]) -> impl Iterator<Item = (u64, &[u8])> {
    steps.iter().filter_map(|step| match step {
        Step::Write { at, bytes } => Some((*at, &**bytes)),
        Step::Flush => None,
    })
}

/// Whether the page at a place, with this content, is there whole or not at all.
type Whole<'a> = dyn Fn(u64, &[u8]) -> bool + 'a;

fn apply(image: &mut Image, open: &[(u64, &[u8])], fate: Fate, is_whole: &Whole<'_>, random: &mut SplitMix64) {
    let whole = match fate {
        Fate::Dropped | Fate::Scattered => 0,
        Fate::Kept => open.len(),
        Fate::Torn => below(random, open.len()),
    };
    for (number, (at, bytes)) in open.iter().enumerate() {
        let sectors = bytes.len().div_ceil(SECTOR) as u64;
        match fate {
            Fate::Dropped => {}
            _ if number < whole => put(image, *at, bytes),
            Fate::Torn if number == whole => {
                let kept = random.below(sectors);
                by_sectors(image, *at, bytes, is_whole, &mut |sector| sector < kept);
            }
            Fate::Scattered => by_sectors(image, *at, bytes, is_whole, &mut |_| random.chance(1, 2)),
            Fate::Torn | Fate::Kept => {}
        }
    }
}

/// Puts those sectors that `kept` says. What is whole goes with its first sector.
fn by_sectors(image: &mut Image, at: u64, bytes: &[u8], is_whole: &Whole<'_>, kept: &mut dyn FnMut(u64) -> bool) {
    let (mut at, mut sector) = (at, 0);
    for page in bytes.chunks(PAGE) {
        let whole = is_whole(at, page).then(|| kept(sector));
        for piece in page.chunks(SECTOR) {
            if whole.unwrap_or_else(|| kept(sector)) {
                put(image, at, piece);
            }
            (at, sector) = (at + piece.len() as u64, sector + 1);
        }
    }
}

/// Fills some of the pages that were being written with garbage. Gives how many.
fn garble(image: &mut Image, open: &[(u64, &[u8])], is_whole: &Whole<'_>, random: &mut SplitMix64) -> usize {
    let mut garbled = 0;
    for (start, bytes) in open {
        for (number, page) in bytes.chunks(PAGE).enumerate() {
            let at = start + (number * PAGE) as u64;
            if is_whole(at, page) || !random.chance(1, 4) {
                continue;
            }
            let garbage: Vec<u8> = (0..page.len()).map(|_| random.next_u64().to_le_bytes()[0]).collect();
            put(image, at, &garbage);
            garbled += 1;
        }
    }
    garbled
}

/// What is in a record fitted onto the card when it was written.
fn put(image: &mut Image, at: u64, bytes: &[u8]) {
    assert!(image.write(bytes, at).is_ok(), "a recorded write lies beyond the end of the card");
}

#[cfg(test)]
mod tests;
