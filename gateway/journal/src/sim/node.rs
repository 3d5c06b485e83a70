//! One file: what the running system sees of it, what is on the platter, and what is on its way there.

use std::collections::{BTreeMap, BTreeSet};

use super::{PAGE, SECTOR};
use crate::random::SplitMix64;

/// One page in so many of those that were being written comes back as garbage.
const GARBAGE_ONE_IN: u64 = 6;

/// A write that has not been flushed: whole sectors, as they were after it.
struct Unflushed {
    sector: usize,
    bytes: Vec<u8>,
}

#[derive(Default)]
pub(super) struct Node {
    pub(super) name: String,
    /// What the running system reads.
    cache: Vec<u8>,
    platter: Vec<u8>,
    /// In the order of writing.
    unflushed: Vec<Unflushed>,
    /// The cache shows something that is neither on the platter nor on its way there.
    diverged: bool,
    /// The platter may have more of it than the cache.
    shortened: bool,
    /// What sectors held before they were last written.
    older: BTreeMap<usize, Vec<u8>>,
    /// So many reads will not fail by chance.
    pub(super) reads_spared: u32,
}

/// What survives of the unflushed sectors.
enum Fate {
    Coin,
    First(usize),
    Last(usize),
    WholeWrites,
}

impl Node {
    /// A file of zeros that are on the platter.
    pub(super) fn zeroed(name: &str, bytes: usize) -> Self {
        Self { name: name.to_owned(), cache: vec![0; bytes], platter: vec![0; bytes], ..Self::default() }
    }

    pub(super) fn cache(&self) -> &[u8] {
        &self.cache
    }

    /// Nothing can find the file any more.
    pub(super) fn forget(&mut self) {
        *self = Self { name: std::mem::take(&mut self.name), ..Self::default() };
    }

    pub(super) fn flip(&mut self, at: usize, mask: u8) {
        for bytes in [&mut self.cache, &mut self.platter] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8], at: usize) {
        self.see(bytes, at);
        self.send(at / SECTOR, at + bytes.len());
    }

    /// The running system sees it as it should be; on its way to the platter is one of its pages at another page's place.
    pub(super) fn write_astray(&mut self, bytes: &[u8], at: usize, random: &mut SplitMix64) {
        self.see(bytes, at);
        let (first, pages) = (at.div_ceil(PAGE), (self.cache.len() / PAGE) as u64);
        let whole = ((at + bytes.len()) / PAGE).saturating_sub(first) as u64;
        if whole == 0 {
            return self.send(at / SECTOR, at + bytes.len());
        }
        let (strayed, place) = (first + random.below(whole) as usize, random.below(pages) as usize);
        self.send(at / SECTOR, strayed * PAGE);
        self.send((strayed + 1) * PAGE / SECTOR, at + bytes.len());
        let page = self.cache.get(strayed * PAGE..(strayed + 1) * PAGE).unwrap_or_default().to_vec();
        self.unflushed.push(Unflushed { sector: place * PAGE / SECTOR, bytes: page });
        self.diverged = true;
    }

    pub(super) fn shorten(&mut self, size: usize) {
        self.shortened |= size < self.cache.len();
        self.cache.truncate(size);
        self.older.retain(|sector, _| sector * SECTOR < size);
        for write in &mut self.unflushed {
            write.bytes.truncate(size.saturating_sub(write.sector * SECTOR));
        }
        self.unflushed.retain(|write| !write.bytes.is_empty());
    }

    fn see(&mut self, bytes: &[u8], at: usize) {
        let end = at + bytes.len();
        if self.cache.len() < end {
            self.cache.resize(end, 0);
        }
        if let Some(place) = self.cache.get_mut(at..end) {
            place.copy_from_slice(bytes);
        }
    }

    /// The cache's bytes from a sector up to `end` are on their way.
    fn send(&mut self, sector: usize, end: usize) {
        let end = end.next_multiple_of(SECTOR).min(self.cache.len());
        if let Some(bytes) = self.cache.get(sector * SECTOR..end).filter(|bytes| !bytes.is_empty()) {
            self.unflushed.push(Unflushed { sector, bytes: bytes.to_vec() });
        }
    }

    pub(super) fn flush(&mut self, remember: bool) {
        for write in std::mem::take(&mut self.unflushed) {
            for (sector, bytes) in write.sectors() {
                self.land(sector, bytes, remember);
            }
        }
        self.platter.resize(self.cache.len(), 0);
        self.shortened = false;
    }

    /// Some sectors reach the platter; the cache counts as clean all the same.
    pub(super) fn fail_flush(&mut self, random: &mut SplitMix64) {
        self.diverged |= !self.unflushed.is_empty();
        self.survive(random);
    }

    /// What is read from now on comes from the platter, but for what is on its way there.
    pub(super) fn forget_cache(&mut self) {
        if !std::mem::take(&mut self.diverged) {
            return;
        }
        let size = self.cache.len();
        self.cache.clone_from(&self.platter);
        self.cache.resize(size, 0);
        for write in std::mem::take(&mut self.unflushed) {
            self.see(&write.bytes, write.sector * SECTOR);
            self.unflushed.push(write);
        }
    }

    /// The power fails.
    pub(super) fn lose(&mut self, garbles: bool, random: &mut SplitMix64) {
        if std::mem::take(&mut self.shortened) && random.chance(1, 2) {
            self.platter.truncate(self.cache.len());
        } else if self.unflushed.is_empty() && !self.diverged && self.cache.len() == self.platter.len() {
            return;
        }
        let sectors = self.unflushed.iter().flat_map(Unflushed::sectors);
        let written: BTreeSet<usize> = sectors.map(|(sector, _)| sector * SECTOR / PAGE).collect();
        self.survive(random);
        for page in written {
            if garbles && random.chance(1, GARBAGE_ONE_IN) {
                let end = ((page + 1) * PAGE).min(self.platter.len());
                let garbled = self.platter.get_mut(page * PAGE..end).into_iter().flatten();
                garbled.for_each(|byte| *byte = random.next_u64() as u8);
            }
        }
        self.cache.clone_from(&self.platter);
        self.diverged = false;
    }

    /// Any of the unflushed sectors reach the platter, any version of each.
    fn survive(&mut self, random: &mut SplitMix64) {
        let writes = std::mem::take(&mut self.unflushed);
        let count = writes.iter().map(|write| write.bytes.len().div_ceil(SECTOR)).sum::<usize>();
        let some = |random: &mut SplitMix64| random.below(count as u64 + 1) as usize;
        let fate = match random.below(8) {
            0..=3 => Fate::Coin,
            4 => Fate::First(some(random)),
            5 => Fate::Last(some(random)),
            6 => Fate::WholeWrites,
            _ if random.chance(1, 2) => Fate::First(count),
            _ => Fate::First(0),
        };
        let mut number = 0;
        for write in writes {
            let whole = random.chance(1, 2);
            for (sector, bytes) in write.sectors() {
                let lands = match fate {
                    Fate::Coin => random.chance(1, 2),
                    Fate::First(most) => number < most,
                    Fate::Last(most) => number + most >= count,
                    Fate::WholeWrites => whole,
                };
                number += 1;
                if lands {
                    self.land(sector, bytes, false);
                }
            }
        }
    }

    /// A sector reaches the platter.
    fn land(&mut self, sector: usize, bytes: &[u8], remember: bool) {
        let (start, end) = (sector * SECTOR, sector * SECTOR + bytes.len());
        if self.platter.len() < end {
            self.platter.resize(end, 0);
        }
        let Some(place) = self.platter.get_mut(start..end) else { return };
        if remember && *place != *bytes {
            self.older.insert(sector, place.to_vec());
        }
        place.copy_from_slice(bytes);
    }

    /// Fills `buffer`, in which one sector may be an older version of itself. `None`: the file ends before.
    pub(super) fn read(&mut self, buffer: &mut [u8], at: usize, stale: Option<&mut SplitMix64>) -> Option<()> {
        let end = at.checked_add(buffer.len())?;
        let bytes = self.cache.get(at..end)?;
        buffer.copy_from_slice(bytes);
        let Some(random) = stale else { return Some(()) };
        let first = at.div_ceil(SECTOR);
        let sectors = self.older.range(first..first.max(end / SECTOR));
        let count = sectors.clone().count() as u64;
        let chosen = sectors.map(|(sector, old)| (*sector, old.clone())).nth(random.below(count.max(1)) as usize);
        let Some((sector, old)) = chosen else { return Some(()) };
        let place = sector * SECTOR - at;
        if let Some(place) = buffer.get_mut(place..place + old.len()) {
            place.copy_from_slice(&old);
        }
        if random.chance(1, 2) {
            self.see(&old, sector * SECTOR);
            self.land(sector, &old, false);
        }
        Some(())
    }
}

impl Unflushed {
    fn sectors(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.bytes.chunks(SECTOR).enumerate().map(|(index, bytes)| (self.sector + index, bytes))
    }
}
