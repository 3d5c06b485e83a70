//! A set of numbers as ranges: memory grows with the holes, not with the numbers.

use std::collections::BTreeMap;

/// A set of `u64`, kept as disjoint ranges that do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Intervals {
    /// The highest range, first to last, both within: almost every number comes at its end, and most sets have no other.
    top: Option<(u64, u64)>,
    /// The others.
    below: BTreeMap<u64, u64>,
}

/// A node of the tree, bytes; each but one of a tree holds [`NODE_RANGES_MIN`] ranges or more.
const NODE_BYTES: usize = 208;
const NODE_RANGES_MIN: usize = 5;

impl Intervals {
    /// Adds `n`; false if it was there.
    pub(crate) fn insert(&mut self, n: u64) -> bool {
        let Some((first, last)) = self.top else {
            self.top = Some((n, n));
            return true;
        };
        if n > last {
            if last + 1 == n {
                self.top = Some((first, n));
            } else {
                self.below.insert(first, last);
                self.top = Some((n, n));
            }
            return true;
        }
        n < first && self.insert_below(n, (first, last))
    }

    /// Adds `n`, which is below the highest range.
    fn insert_below(&mut self, n: u64, top: (u64, u64)) -> bool {
        let before = self.below.range(..=n).next_back().map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| last >= n) {
            return false;
        }
        let first = before.filter(|(_, last)| last + 1 == n).map_or(n, |(first, _)| first);
        if n + 1 == top.0 {
            self.below.remove(&first);
            self.top = Some((first, top.1));
        } else {
            let last = self.below.remove(&(n + 1)).unwrap_or(n);
            self.below.insert(first, last);
        }
        true
    }

    /// Adds all from `first` to `last`, both within.
    pub(crate) fn insert_range(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        self.below.extend(self.top.take());
        let touches = |(from, to): (u64, u64)| to.saturating_add(1) >= first && from <= last.saturating_add(1);
        let (mut from, mut to) = (first, last);
        while let Some(other) = self
            .below
            .range(..=last.saturating_add(1))
            .next_back()
            .map(|(a, b)| (*a, *b))
            .filter(|other| touches(*other))
        {
            self.below.remove(&other.0);
            (from, to) = (from.min(other.0), to.max(other.1));
        }
        self.below.insert(from, to);
        self.top = self.below.pop_last();
    }

    /// How many from `first` to `last`, both within, are in it.
    pub(crate) fn count_in(&self, first: u64, last: u64) -> u64 {
        self.parts_in(first, last).fold(0, |sum, (from, to)| sum.saturating_add((to - from).saturating_add(1)))
    }

    /// What is not in it, from `first` to `last`, both within; as ranges, first to last.
    pub(crate) fn lacking(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let (mut lacking, mut from) = (Vec::new(), Some(first));
        for (there, to) in self.parts_in(first, last) {
            if let Some(from) = from.filter(|from| *from < there) {
                lacking.push((from, there - 1));
            }
            from = to.checked_add(1);
        }
        lacking.extend(from.filter(|from| *from <= last).map(|from| (from, last)));
        lacking
    }

    /// Its ranges between, cut to what was asked for.
    fn parts_in(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let begins = self.below.range(..=first).next_back().map_or(first, |(from, _)| *from);
        let below = self.below.range(begins.min(last)..=last).map(|(from, to)| (*from, *to));
        let parts = below.chain(self.top).map(move |(from, to)| (from.max(first), to.min(last)));
        parts.filter(|(from, to)| from <= to)
    }

    pub(crate) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.below.iter().map(|(first, last)| (*first, *last)).chain(self.top)
    }

    pub(crate) fn first(&self) -> Option<u64> {
        self.ranges().next().map(|(first, _)| first)
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.top.map(|(_, last)| last)
    }

    /// How many numbers are in it.
    pub(crate) fn count(&self) -> u64 {
        self.ranges().fold(0, |sum, (first, last)| sum.saturating_add((last - first).saturating_add(1)))
    }

    /// The holes between the first and the last number, first to last.
    pub(crate) fn holes(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges().zip(self.ranges().skip(1)).map(|((_, last), (next, _))| (last + 1, next - 1))
    }

    /// What it takes beside itself, at most, in bytes: nothing without a hole.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.below.len().div_ceil(NODE_RANGES_MIN) * NODE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_melt_into_one_range() {
        let mut set = Intervals::default();
        for n in [5, 7, 6, 0, u64::MAX, u64::MAX - 1] {
            assert!(set.insert(n), "{n}");
        }
        assert!(!set.insert(6) && !set.insert(u64::MAX));
        assert_eq!(set.ranges().collect::<Vec<_>>(), [(0, 0), (5, 7), (u64::MAX - 1, u64::MAX)]);
        assert_eq!(set.holes().collect::<Vec<_>>(), [(1, 4), (8, u64::MAX - 2)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_holds_what_a_plain_set_holds(numbers in prop::collection::vec(0_u64..64, 0..200)) {
            let (mut set, mut plain) = (Intervals::default(), BTreeSet::new());
            for n in numbers {
                prop_assert_eq!(set.insert(n), plain.insert(n));
            }
            prop_assert_eq!((set.first(), set.last()), (plain.first().copied(), plain.last().copied()));
            prop_assert_eq!(set.count(), plain.len() as u64);
            let holes: BTreeSet<u64> = set.holes().flat_map(|(first, last)| first..=last).collect();
            let all = plain.first().copied().unwrap_or(1)..plain.last().copied().unwrap_or(0);
            prop_assert_eq!(holes, all.filter(|n| !plain.contains(n)).collect::<BTreeSet<_>>());
        }

        #[test]
        fn ranges_are_taken_counted_and_left_out_as_in_a_plain_set(
            ranges in prop::collection::vec((0_u64..64, 0_u64..8), 0..20), (first, more) in (0_u64..64, 0_u64..64),
        ) {
            let (mut set, mut plain) = (Intervals::default(), BTreeSet::new());
            for (from, length) in ranges {
                set.insert_range(from, from + length);
                plain.extend(from..=from + length);
            }
            prop_assert_eq!(set.count(), plain.len() as u64);
            let touching = set.ranges().zip(set.ranges().skip(1)).any(|((_, last), (next, _))| last + 1 >= next);
            prop_assert!(!touching, "ranges that touch are one");
            let last = first + more;
            prop_assert_eq!(set.count_in(first, last), plain.range(first..=last).count() as u64);
            let lacking: Vec<u64> = set.lacking(first, last).into_iter().flat_map(|(from, to)| from..=to).collect();
            prop_assert_eq!(lacking, (first..=last).filter(|n| !plain.contains(n)).collect::<Vec<_>>());
        }
    }
}
