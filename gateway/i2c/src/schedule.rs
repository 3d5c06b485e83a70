//! When to poll: in step with the first poll for ever, whatever polls take, and less often while they fail. No clock: the
//! time is handed in, as what has passed since the source began.

use std::time::Duration;

/// The longest pause after repeated failures (where the interval itself is not longer).
const BACK_OFF_MAX: Duration = Duration::from_secs(60);

/// The schedule of one source.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    every: Duration,
    /// Polls are due at multiples of `every`; this is the next one's number.
    next: u64,
    failures: u32,
}

/// A poll that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// Polls that were due before it and did not take place.
    pub(crate) skipped: u64,
    /// When the poll after it is due.
    pub(crate) until: Duration,
}

impl Schedule {
    /// Polls at 0, `every`, 2 `every` and so on. `every` is not zero.
    pub(crate) fn new(every: Duration) -> Self {
        Self { every: every.max(Duration::from_millis(1)), next: 0, failures: 0 }
    }

    /// When the next poll is due.
    pub(crate) fn due_at(&self) -> Duration {
        self.at(self.next)
    }

    /// Takes the poll that is due at `now`: the latest, if several have become due since the last one.
    pub(crate) fn take(&mut self, now: Duration) -> Due {
        let latest = u64::try_from(now.as_nanos() / self.every.as_nanos()).unwrap_or(u64::MAX - 1);
        let taken = latest.max(self.next);
        let skipped = taken - self.next;
        self.next = taken.saturating_add(1);
        Due { skipped, until: self.due_at() }
    }

    /// The poll was good: the interval holds.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The poll failed: the pause doubles with each failure, up to a minute, and ends on a due time. Returns how many polls
    /// it leaves out.
    pub(crate) fn failed(&mut self) -> u64 {
        let periods_max = (BACK_OFF_MAX.as_nanos() / self.every.as_nanos()).max(1);
        let periods = 1_u128.checked_shl(self.failures).unwrap_or(u128::MAX).min(periods_max);
        self.failures = self.failures.saturating_add(1).min(64);
        let left_out = u64::try_from(periods - 1).unwrap_or(u64::MAX);
        self.next = self.next.saturating_add(left_out);
        left_out
    }

    fn at(&self, number: u64) -> Duration {
        let nanos = self.every.as_nanos().saturating_mul(u128::from(number));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn polls_stay_in_step_however_late_each_one_is() {
        let mut schedule = Schedule::new(ms(100));
        for poll in 0..1_000 {
            assert_eq!(schedule.due_at(), ms(poll * 100));
            let late_by = poll * 37 % 100;
            let due = schedule.take(ms(poll * 100 + late_by));
            assert_eq!(due, Due { skipped: 0, until: ms((poll + 1) * 100) });
            schedule.succeeded();
        }
    }

    #[test]
    fn polls_that_could_not_take_place_are_counted_and_not_made_up_for() {
        let mut schedule = Schedule::new(ms(100));
        schedule.take(ms(0));
        assert_eq!(schedule.take(ms(557)), Due { skipped: 4, until: ms(600) });
        assert_eq!(schedule.take(ms(600)), Due { skipped: 0, until: ms(700) });
    }

    #[test]
    fn failures_double_the_pause_up_to_a_minute_and_one_success_ends_it() {
        let mut schedule = Schedule::new(Duration::from_secs(10));
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let at = schedule.due_at();
            assert_eq!(schedule.take(at).skipped, 0, "the pause is no poll left out a second time");
            schedule.failed();
            pauses.push((schedule.due_at() - at).as_secs());
        }
        assert_eq!(pauses, [10, 20, 40, 60, 60, 60]);
        let at = schedule.due_at();
        schedule.take(at);
        schedule.succeeded();
        assert_eq!((schedule.due_at() - at).as_secs(), 10);
    }

    #[test]
    fn an_interval_above_a_minute_is_never_prolonged() {
        let mut schedule = Schedule::new(Duration::from_secs(3600));
        for _ in 0..100 {
            let at = schedule.due_at();
            schedule.take(at);
            assert_eq!(schedule.failed(), 0);
            assert_eq!(schedule.due_at() - at, Duration::from_secs(3600));
        }
    }

    #[test]
    fn a_hundred_failures_in_a_row_overflow_nothing() {
        let mut schedule = Schedule::new(ms(1));
        for _ in 0..100 {
            schedule.take(schedule.due_at());
            schedule.failed();
        }
        assert_eq!(schedule.failed() + 1, 60_000);
    }
}
