//! When the magnetometer over a lane is looked at. No clock: times are handed in, and what a look brought.

use crate::Millis;

/// Between two looks, in milliseconds: a little longer than an LSM303DLHC takes for a result at 75 Hz.
pub const LOOK_INTERVAL_MS: u32 = 14;
/// Between two looks for a chip that failed twice in a row, in milliseconds.
pub const LOOK_AGAIN_MS: u32 = 1_000;
/// So many looks in a row without a new result: the chip was reset, or hangs. Shorter than the silence that a detector bears by default.
const NOTHING_NEW_MAX: u32 = 10;

/// What a look at the chip brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It was set up, and has its first result after so many milliseconds.
    SetUp(u32),
    /// It answers, without a new result.
    NothingNew,
    /// A new result.
    Result,
    /// It does not answer, or stands still, and has to be set up anew.
    Failed,
}

/// When the next look is due. Invariants:
/// - Looks do not drift, and what was missed is not made up for.
/// - After a single failure the chip is looked at again at once, before a detector misses it and cuts a passage in two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    due: Millis,
    nothing_new: u32,
    is_failing: bool,
}

impl Pace {
    /// The first look is due at `now`.
    #[must_use]
    pub const fn starting(now: Millis) -> Self {
        Self { due: now, nothing_new: 0, is_failing: false }
    }

    /// When the next look is due.
    #[must_use]
    pub const fn due(&self) -> Millis {
        self.due
    }

    /// The last look failed, or those since the last result but for setting the chip up.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// Whether a look that brings nothing new would be one too many: it is to be taken for [`Look::Failed`].
    #[must_use]
    pub const fn stands_still(&self) -> bool {
        self.nothing_new + 1 >= NOTHING_NEW_MAX
    }

    /// Takes what the look at `now` brought.
    pub fn looked(&mut self, now: Millis, look: Look) {
        match look {
            Look::SetUp(settles_ms) => self.due = now.plus_ms(settles_ms),
            Look::NothingNew | Look::Result => {
                let next = self.due.plus_ms(LOOK_INTERVAL_MS);
                self.due = if next > now { next } else { now.plus_ms(LOOK_INTERVAL_MS) };
            }
            Look::Failed => {
                self.due = now.plus_ms(if self.is_failing { LOOK_AGAIN_MS } else { LOOK_INTERVAL_MS });
            }
        }
        self.nothing_new = if look == Look::NothingNew { self.nothing_new.saturating_add(1) } else { 0 };
        match look {
            Look::Result => self.is_failing = false,
            Look::Failed => self.is_failing = true,
            Look::SetUp(_) | Look::NothingNew => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    fn due_after(looks: &[(u64, Look)]) -> u64 {
        let mut pace = Pace::starting(Millis(0));
        for (now, look) in looks {
            pace.looked(Millis(*now), *look);
        }
        pace.due().0
    }

    #[test]
    fn looks_stay_in_step_and_those_that_were_missed_are_left_out() {
        assert_eq!(due_after(&[(0, Look::Result), (14, Look::Result)]), 28);
        assert_eq!(due_after(&[(3, Look::Result), (20, Look::NothingNew)]), 28);
        assert_eq!(due_after(&[(0, Look::Result), (90, Look::Result)]), 104);
    }

    #[test]
    fn after_one_failure_the_chip_is_there_again_before_a_detector_misses_it_and_after_two_it_has_a_second() {
        let again = due_after(&[(0, Look::Result), (14, Look::Failed)]);
        assert_eq!(again, 28);
        let settled = due_after(&[(0, Look::Result), (14, Look::Failed), (28, Look::SetUp(27))]);
        assert!(settled < u64::from(Settings::default().silence_ms_max), "{settled}");
        assert_eq!(due_after(&[(0, Look::Failed), (14, Look::Failed)]), 1_014);
        assert_eq!(due_after(&[(0, Look::Failed), (14, Look::SetUp(27)), (41, Look::Failed)]), 1_041);
        assert_eq!(due_after(&[(0, Look::Failed), (14, Look::Result), (28, Look::Failed)]), 42);
    }

    #[test]
    fn a_chip_that_brings_nothing_new_ten_times_in_a_row_stands_still() {
        let mut pace = Pace::starting(Millis(0));
        for nth in 0..9 {
            assert!(!pace.stands_still(), "after {nth}");
            pace.looked(Millis(nth * 14), Look::NothingNew);
        }
        assert!(pace.stands_still());
        assert!(10 * LOOK_INTERVAL_MS < Settings::default().silence_ms_max);
        for other in [Look::Result, Look::Failed, Look::SetUp(27)] {
            let mut after = pace;
            after.looked(Millis(126), other);
            assert!(!after.stands_still(), "{other:?}");
        }
    }
}
