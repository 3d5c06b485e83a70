//! A set of numbers as ranges: memory grows with the holes, not with the numbers.

use std::collections::BTreeMap;

/// A set of `u64`, kept as disjoint ranges that do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Intervals {
    /// First to last, both within.
    ranges: BTreeMap<u64, u64>,
}

impl Intervals {
    /// Adds `n`; false if it was there.
    pub(crate) fn insert(&mut self, n: u64) -> bool {
        let before = self.ranges.range(..=n).next_back().map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| last >= n) {
            return false;
        }
        let first = before.filter(|(_, last)| last.checked_add(1) == Some(n)).map_or(n, |(first, _)| first);
        let last = n.checked_add(1).and_then(|next| self.ranges.remove(&next)).unwrap_or(n);
        self.ranges.insert(first, last);
        true
    }

    pub(crate) fn first(&self) -> Option<u64> {
        self.ranges.first_key_value().map(|(first, _)| *first)
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.ranges.last_key_value().map(|(_, last)| *last)
    }

    /// How many numbers are in it.
    pub(crate) fn count(&self) -> u64 {
        self.ranges.iter().fold(0, |sum, (first, last)| sum.saturating_add((last - first).saturating_add(1)))
    }

    /// The holes between the first and the last number, first to last.
    pub(crate) fn holes(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let nexts = self.ranges.keys().skip(1);
        self.ranges.values().zip(nexts).map(|(last, next)| (last + 1, next - 1))
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
        assert_eq!(set.ranges, BTreeMap::from([(0, 0), (5, 7), (u64::MAX - 1, u64::MAX)]));
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
    }
}
