//! What the field is without a vehicle: learnt while it is still, then followed slowly.

use crate::{Field, Millis};

/// Fractional bits of a followed baseline. With 16, a step of 1 nT over the longest time constant still moves it.
const FRACTION_BITS: u32 = 16;

/// Samples are never further apart where a baseline is followed: the settings' bound of `silence_ms_max`.
const STEP_MS_MAX: u32 = 10_000;
const LOWEST: i64 = (i32::MIN as i64) << FRACTION_BITS;
const HIGHEST: i64 = (i32::MAX as i64) << FRACTION_BITS;

/// A baseline that follows the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Baseline([i64; 3]);

impl Baseline {
    pub(crate) fn at(field: Field) -> Self {
        Self(field.0.map(|nanotesla| i64::from(nanotesla) << FRACTION_BITS))
    }

    /// The baseline now.
    pub(crate) fn field(&self) -> Field {
        // It lies between fields that were followed, and a shift is bounded to what fits.
        Field(self.0.map(|value| i32::try_from(value >> FRACTION_BITS).unwrap_or_default()))
    }

    /// Moves towards `field`, by the share `ms / time_constant_ms` of the way: at most all of it, and at most as in [`STEP_MS_MAX`].
    /// Returns by how much.
    pub(crate) fn follow(&mut self, field: Field, ms: u64, time_constant_ms: u32) -> Shift {
        let ms = u32::try_from(ms).unwrap_or(u32::MAX);
        let share = i64::from(ms.min(STEP_MS_MAX).min(time_constant_ms));
        let mut shift = [0; 3];
        for ((value, target), moved) in self.0.iter_mut().zip(field.0).zip(&mut shift) {
            let way = (i64::from(target) << FRACTION_BITS) - *value;
            // |way| <= 2^48 and share < 2^14: the product fits.
            *moved = way * share / i64::from(time_constant_ms.max(1));
            *value += *moved;
        }
        Shift(shift)
    }

    /// Moves as another baseline has moved.
    pub(crate) fn shift(&mut self, by: Shift) {
        for (value, moved) in self.0.iter_mut().zip(by.0) {
            *value = value.saturating_add(moved).clamp(LOWEST, HIGHEST);
        }
    }
}

/// How a baseline has moved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shift([i64; 3]);

/// Samples of a field that has been still since `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stillness {
    from: Option<Millis>,
    low: [i32; 3],
    high: [i32; 3],
    sum: [i64; 3],
    count: u32,
}

impl Stillness {
    /// Takes a sample; once the field has been still for `ms`, within `spread_nanotesla` along each axis, returns its mean.
    pub(crate) fn take(&mut self, now: Millis, field: Field, ms: u32, spread_nanotesla: u32) -> Option<Field> {
        let Some(from) = self.from else {
            *self = Self::starting(now, field);
            return None;
        };
        let mut is_still = true;
        for (((low, high), sum), value) in self.low.iter_mut().zip(&mut self.high).zip(&mut self.sum).zip(field.0) {
            *low = value.min(*low);
            *high = value.max(*high);
            *sum = sum.saturating_add(i64::from(value));
            is_still &= high.abs_diff(*low) <= spread_nanotesla;
        }
        self.count = self.count.saturating_add(1);
        if !is_still {
            *self = Self::starting(now, field);
            return None;
        }
        (now.since_ms(from) >= u64::from(ms)).then(|| self.mean())
    }

    fn starting(now: Millis, field: Field) -> Self {
        Self { from: Some(now), low: field.0, high: field.0, sum: field.0.map(i64::from), count: 1 }
    }

    fn mean(&self) -> Field {
        let count = i64::from(self.count.max(1));
        Field(self.sum.map(|sum| i32::try_from(sum / count).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_reaches_what_stays_and_tells_how_it_moved() {
        let mut baseline = Baseline::at(Field([0, 0, 0]));
        let mut follower = Baseline::at(Field([5_000, 0, 0]));
        for _ in 0..1_000 {
            let moved = baseline.follow(Field([1_000, -1_000, 1]), 10, 1_000);
            follower.shift(moved);
        }
        let Field([x, y, z]) = baseline.field();
        assert!((998..=1_000).contains(&x) && (-1_000..=-998).contains(&y) && (0..=1).contains(&z), "{x} {y} {z}");
        assert_eq!(follower.field(), Field([x + 5_000, y, z]));
    }

    #[test]
    fn after_one_time_constant_63_per_cent_of_the_way_are_done_whatever_the_rate() {
        for ms in [1, 10, 50] {
            let mut baseline = Baseline::at(Field([0, 0, 0]));
            for _ in 0..60_000 / ms {
                baseline.follow(Field([10_000, 0, 0]), ms, 60_000);
            }
            assert!((6_300..=6_350).contains(&baseline.field().0[0]), "{ms} ms: {:?}", baseline.field());
        }
    }

    #[test]
    fn the_ends_of_the_range_neither_wrap_nor_panic() {
        let mut baseline = Baseline::at(Field([i32::MIN; 3]));
        let part = baseline.follow(Field([i32::MAX; 3]), u64::MAX, 3_600_000);
        assert_eq!(part.0, [(0xffff_ffff << 16) * 10_000 / 3_600_000; 3]);
        baseline.follow(Field([i32::MAX; 3]), u64::MAX, 10_000);
        assert_eq!(baseline.field(), Field([i32::MAX; 3]));
        let back = baseline.follow(Field([i32::MIN; 3]), u64::MAX, 1_000);
        for _ in 0..5 {
            baseline.shift(back);
        }
        assert_eq!(baseline.field(), Field([i32::MIN; 3]));
    }

    #[test]
    fn only_a_field_that_was_still_for_the_whole_time_is_learnt() {
        let mut stillness = Stillness::default();
        let mut take = |ms, x| stillness.take(Millis(ms), Field([x, 0, 0]), 100, 50);
        assert_eq!((take(0, 0), take(50, 20), take(90, 71)), (None, None, None));
        assert_eq!((take(100, 71), take(189, 80)), (None, None));
        assert_eq!(take(190, 90), Some(Field([78, 0, 0])));
    }
}
