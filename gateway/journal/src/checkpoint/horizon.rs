//! Bounds the marks of all devices together: whoever may publish as any device could fill the quota with them.
//!
//! Once those that a whole layer would hold take too much, those that rose last are kept. How old a mark is, is told by the commit that it
//! last rose with; ages are counted by their power of two and its 64th parts, so that this takes the same memory for any number of marks.

use std::convert::Infallible;

use bytes::Bytes;
use lamppost_event::Commit;

use super::Change;
use crate::boots::Boots;
use crate::format::checkpoint::mark_commit;

/// What a mark costs in a layer beside its key and value, about.
const ENTRY_BYTES: u64 = 8;
/// The parts of a power of two, as a power of two.
const PARTS: u32 = 6;
/// Ages below `1 << PARTS` have one each.
const BUCKETS: usize = 64 * (65 - PARTS as usize);

/// How old a mark may be.
pub(super) struct Horizon {
    now: Commit,
    /// Younger ones are kept all.
    oldest: usize,
    /// Of those about as old, so many bytes.
    left: u64,
}

impl Horizon {
    /// So that of `marks`, which come by rising key, `bytes_max` bytes are kept, and of each device `boots_max` boots.
    pub(super) fn find<E>(
        now: Commit,
        bytes_max: u64,
        boots_max: usize,
        marks: impl Iterator<Item = Result<Change, E>>,
    ) -> Result<Self, E> {
        let mut ages = vec![0_u64; BUCKETS];
        let mut boots = Boots::new(boots_max);
        let mut drain = |boots: &mut Boots| {
            for (key, value) in boots.drain().0 {
                let Some(value) = value else { continue };
                if let Some(bytes) = ages.get_mut(bucket(now, &value)) {
                    *bytes += cost(&key, &value);
                }
            }
        };
        for mark in marks {
            let (key, value) = mark?;
            if !boots.is_same(&key) {
                drain(&mut boots);
            }
            boots.take(key, value);
        }
        drain(&mut boots);
        let (mut oldest, mut left) = (0, bytes_max);
        for bytes in ages {
            let Some(less) = left.checked_sub(bytes) else { break };
            (oldest, left) = (oldest + 1, less);
        }
        Ok(Self { now, oldest, left })
    }

    /// With nothing to forget.
    pub(super) fn none() -> Self {
        let nothing = std::iter::empty::<Result<Change, Infallible>>();
        let Ok(found) = Self::find(Commit(0), 0, 1, nothing);
        found
    }

    /// Whether this mark is kept. To be asked of each once.
    pub(super) fn keeps(&mut self, key: &[u8], value: &Bytes) -> bool {
        let bucket = bucket(self.now, value);
        if bucket != self.oldest {
            return bucket < self.oldest;
        }
        let left = self.left.checked_sub(cost(key, value));
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

fn cost(key: &[u8], value: &Bytes) -> u64 {
    (key.len() + value.len()) as u64 + ENTRY_BYTES
}

/// By rising age.
fn bucket(now: Commit, value: &[u8]) -> usize {
    let age = now.0.saturating_sub(mark_commit(value).0);
    let power = age.max(1).ilog2();
    let above = power.saturating_sub(PARTS);
    if power < PARTS { age as usize } else { (((u64::from(above) + 1) << PARTS) + ((age >> above) & 63)) as usize }
}

#[cfg(test)]
mod tests {
    use lamppost_event::DeviceId;

    use super::*;
    use crate::format::checkpoint::{mark_key, mark_value};

    const NOW: Commit = Commit(1 << 40);

    fn mark(device: u64, age: u64) -> (Bytes, Bytes) {
        let device = DeviceId::new(&format!("device-{device:06}")).unwrap();
        (mark_key(&device, 1).into(), mark_value(7, Commit(NOW.0 - age)).into())
    }

    /// The ages of those that are kept.
    fn kept(ages: &[u64], bytes_max: u64) -> Vec<u64> {
        let marks: Vec<_> = ages.iter().zip(0..).map(|(age, device)| mark(device, *age)).collect();
        let all = marks.iter().map(|(key, value)| Ok::<_, Infallible>((key.clone(), Some(value.clone()))));
        let Ok(mut horizon) = Horizon::find(NOW, bytes_max, 8, all);
        let kept = marks.iter().zip(ages).filter(|((key, value), _)| horizon.keeps(key, value));
        kept.map(|(_, age)| *age).collect()
    }

    #[test]
    fn an_older_mark_is_never_in_a_lower_bucket_and_there_is_one_for_every_age() {
        let value = |age| mark_value(1, Commit(u64::MAX - age));
        let mut last = 0;
        let powers = (8..64).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + (1 << (power - 3))]);
        for age in (0..100_u64).chain(powers).chain([u64::MAX]) {
            let bucket = bucket(Commit(u64::MAX), &value(age));
            assert!(last <= bucket && bucket < BUCKETS, "age {age}: {bucket} after {last}");
            assert!(age >= 64 || bucket as u64 == age, "young ones are told apart");
            last = bucket;
        }
    }

    #[test]
    fn those_that_rose_last_are_kept_as_far_as_there_is_room() {
        let (key, value) = mark(0, 0);
        let one = cost(&key, &value);
        let ages = [5, 900, 3, 1_000_000, 60, 0];
        assert_eq!(kept(&ages, 6 * one), ages, "there is room for all");
        assert_eq!(kept(&ages, 6 * one - 1), [5, 900, 3, 60, 0]);
        assert_eq!(kept(&ages, 3 * one), [5, 3, 0]);
        assert_eq!(kept(&ages, one - 1), []);
        assert_eq!(kept(&[9; 10], 4 * one), [9; 4], "of those of one age, as many as fit");
    }

    #[test]
    fn without_a_horizon_everything_is_kept() {
        let mut none = Horizon::none();
        for age in [0, 1, 1 << 30, 1 << 40] {
            let (key, value) = mark(1, age);
            assert!(none.keeps(&key, &value));
        }
    }
}
