//! Whose turn it is on the bus. Each slave is due at multiples of its interval, for ever in step; one that does not answer is asked
//! less and less often, and never takes more of the bus than its share. No clock: the time is handed in, as what has passed
//! since the source began.

use std::time::Duration;

/// The longest pause after repeated failures (where the interval itself is not longer).
const BACK_OFF_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
struct Turn {
    every: Duration,
    /// Due at this multiple of `every`.
    next: u64,
    failures: u32,
}

/// The turns of all slaves on one bus.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    turns: Vec<Turn>,
}

impl Turns {
    /// Everybody is due at 0.
    pub(crate) fn new(every: impl IntoIterator<Item = Duration>) -> Self {
        let turn = |every: Duration| Turn { every: every.max(Duration::from_millis(1)), next: 0, failures: 0 };
        Self { turns: every.into_iter().map(turn).collect() }
    }

    /// Who is due first, and when. None if there is nobody.
    pub(crate) fn next(&self) -> Option<(usize, Duration)> {
        self.turns.iter().map(Turn::due_at).enumerate().min_by_key(|(_, due)| *due)
    }

    /// Whether it did not answer last time: then it gets one try.
    pub(crate) fn is_failing(&self, slave: usize) -> bool {
        self.turns.get(slave).is_some_and(|turn| turn.failures > 0)
    }

    /// Takes the turn that is due at `now`: the latest, if several have become due. Returns how many were left out.
    pub(crate) fn take(&mut self, slave: usize, now: Duration) -> u64 {
        let Some(turn) = self.turns.get_mut(slave) else { return 0 };
        let latest = turn.number_at(now).max(turn.next);
        let skipped = latest - turn.next;
        turn.next = latest.saturating_add(1);
        skipped
    }

    /// When the slave is due again.
    pub(crate) fn due_at(&self, slave: usize) -> Duration {
        self.turns.get(slave).map_or(Duration::MAX, Turn::due_at)
    }

    /// The slave has answered: its interval holds.
    pub(crate) fn answered(&mut self, slave: usize) {
        if let Some(turn) = self.turns.get_mut(slave) {
            turn.failures = 0;
        }
    }

    /// It has not, and that took `cost` up to `now`. The pause doubles up to a minute, is at least so long that its silence takes no
    /// more than its share of the bus, and ends on a due time. Returns how many turns that leaves out.
    pub(crate) fn failed(&mut self, slave: usize, now: Duration, cost: Duration) -> u64 {
        let others = u32::try_from(self.turns.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let Some(turn) = self.turns.get_mut(slave) else { return 0 };
        let doubled = turn.every.saturating_mul(1_u32.checked_shl(turn.failures).unwrap_or(u32::MAX));
        let pause = doubled.min(BACK_OFF_MAX.max(turn.every));
        turn.failures = turn.failures.saturating_add(1).min(31);
        let due = now.saturating_sub(cost).saturating_add(pause).max(now.saturating_add(cost.saturating_mul(others)));
        // The first due time that is not earlier; one that begins a little before the pause is over is as good.
        let next = turn.number_at(due.saturating_sub(Duration::from_millis(1))).saturating_add(1).max(turn.next);
        let left_out = next - turn.next;
        turn.next = next;
        left_out
    }
}

impl Turn {
    fn due_at(&self) -> Duration {
        let nanos = self.every.as_nanos().saturating_mul(u128::from(self.next));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The last multiple that is due at `now`.
    fn number_at(&self, now: Duration) -> u64 {
        u64::try_from(now.as_nanos() / self.every.as_nanos()).unwrap_or(u64::MAX - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn everybody_is_asked_in_step_however_long_answers_take() {
        let mut turns = Turns::new([ms(100), ms(250)]);
        let (mut now, mut asked) = (ms(0), vec![Vec::new(), Vec::new()]);
        while now < ms(1_000) {
            let (slave, due) = turns.next().unwrap();
            now = now.max(due) + ms(7);
            assert_eq!(turns.take(slave, now - ms(7)), 0);
            turns.answered(slave);
            asked[slave].push(due.as_millis());
        }
        assert_eq!(asked[0][..10], [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
        assert_eq!(asked[1][..4], [0, 250, 500, 750]);
    }

    #[test]
    fn what_could_not_be_asked_in_time_is_counted_and_not_made_up_for() {
        let mut turns = Turns::new([ms(100)]);
        assert_eq!(turns.take(0, ms(0)), 0);
        assert_eq!(turns.take(0, ms(557)), 4);
        assert_eq!(turns.due_at(0), ms(600));
    }

    #[test]
    fn a_silent_slave_is_asked_ever_less_often_up_to_once_a_minute_and_one_answer_ends_that() {
        let mut turns = Turns::new([Duration::from_secs(10)]);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let due = turns.due_at(0);
            assert_eq!(turns.take(0, due), 0);
            turns.failed(0, due + ms(500), ms(500));
            pauses.push((turns.due_at(0) - due).as_secs());
        }
        assert_eq!(pauses, [10, 20, 40, 60, 60, 60]);
        assert!(turns.is_failing(0));
        let due = turns.due_at(0);
        turns.take(0, due);
        turns.answered(0);
        assert!(!turns.is_failing(0));
        assert_eq!(turns.due_at(0) - due, Duration::from_secs(10));
    }

    #[test]
    fn dead_slaves_take_no_more_than_their_share_of_the_bus() {
        // Ten slaves every 100 ms; nine of them are dead and cost half a second at each asking.
        let mut turns = Turns::new([ms(100); 10]);
        let (mut now, mut lost, mut answered) = (ms(0), ms(0), 0_u32);
        while now < Duration::from_secs(600) {
            let (slave, due) = turns.next().unwrap();
            now = now.max(due);
            turns.take(slave, now);
            if slave == 0 {
                now += ms(20);
                turns.answered(0);
                answered += 1;
            } else {
                now += ms(500);
                lost += ms(500);
                turns.failed(slave, now, ms(500));
            }
        }
        // Asked at full pace they would take all of it. With the pauses a minute long they take 4.5 s of a minute; the ten minutes
        // begin with shorter ones.
        assert!(lost < now / 6, "{lost:?} of {now:?}");
        assert!(answered > 5_000, "{answered}");
    }

    #[test]
    fn failures_for_ever_overflow_nothing() {
        let mut turns = Turns::new([Duration::MAX, ms(1)]);
        for _ in 0..100 {
            turns.failed(0, Duration::MAX, Duration::MAX);
            turns.failed(1, Duration::MAX, ms(500));
        }
        assert!(turns.next().is_some());
    }
}
