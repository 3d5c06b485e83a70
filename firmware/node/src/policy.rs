//! Which samples of a measure become readings.

use lamppost_wire::{MeasureIndex, Millis, Value};

/// How the samples of one measure are kept. The default keeps each, as bulk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Its readings are alarms: where the ring is full, bulk makes room for them.
    pub alarm: bool,
    /// A sample that differs from the last reading by less than this, in steps of the measure's scale, is none; 0 keeps
    /// each.
    pub deadband: u32,
    /// Even so a reading at least every so many ms; 0: only when it moves.
    pub at_least_every_ms: u32,
    /// Where the ring is three quarters full, until it is half empty: so many samples become one reading, their mean
    /// with the uptime of the last; 0 or 1: each stays one. Not for alarms.
    pub aggregate: u16,
    /// The measure that gets the lowest of an aggregate's samples; it has no samples of its own.
    pub lowest: Option<MeasureIndex>,
    /// The measure that gets the highest, likewise.
    pub highest: Option<MeasureIndex>,
}

/// Samples put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Aggregate {
    count: u16,
    sum: i64,
    pub(crate) lowest: Value,
    pub(crate) highest: Value,
}

impl Aggregate {
    /// To the nearest, halves away from zero.
    pub(crate) const fn mean(&self) -> Value {
        let count = if self.count == 0 { 1 } else { self.count as i64 };
        let half = if self.sum < 0 { -(count / 2) } else { count / 2 };
        Value(self.sum.saturating_add(half) / count)
    }
}

/// What was seen of one measure.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gate {
    pub(crate) policy: Policy,
    last: Option<(Millis, Value)>,
    aggregate: Option<Aggregate>,
}

/// What a sample becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Nothing,
    Reading,
    Aggregate(Aggregate),
}

impl Gate {
    /// The sample is worth a reading.
    pub(crate) fn moved(&mut self, now: Millis, value: Value) -> bool {
        let policy = self.policy;
        let moved = self.last.is_none_or(|(at, last)| {
            let due = policy.at_least_every_ms > 0 && at.plus_ms(policy.at_least_every_ms) <= now;
            due || last.0.abs_diff(value.0) >= u64::from(policy.deadband)
        });
        if moved {
            self.last = Some((now, value));
        }
        moved
    }

    /// Puts a sample to those before it, if they are to become one reading while the ring is crowded.
    pub(crate) fn gather(&mut self, value: Value, crowded: bool) -> Outcome {
        if self.policy.alarm || self.policy.aggregate < 2 || (!crowded && self.aggregate.is_none()) {
            return Outcome::Reading;
        }
        let next = match self.aggregate {
            None => Aggregate { count: 1, sum: value.0, lowest: value, highest: value },
            Some(so_far) => Aggregate {
                count: so_far.count.saturating_add(1),
                sum: so_far.sum.saturating_add(value.0),
                lowest: so_far.lowest.min(value),
                highest: so_far.highest.max(value),
            },
        };
        // A sum at its limit must not take more.
        let full = next.count >= self.policy.aggregate || next.sum.unsigned_abs() > u64::MAX / 4;
        if full || !crowded {
            self.aggregate = None;
            return Outcome::Aggregate(next);
        }
        self.aggregate = Some(next);
        Outcome::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(policy: Policy) -> Gate {
        Gate { policy, ..Gate::default() }
    }

    #[test]
    fn within_the_deadband_a_sample_is_no_reading_unless_one_is_due() {
        let mut gate = gate(Policy { deadband: 10, at_least_every_ms: 1_000, ..Policy::default() });
        let samples = [
            (0, 100),
            (100, 109),
            (200, 91),
            (300, 110),
            (1_200, 111),
            (1_300, 111),
            (2_000, 101),
            (2_299, 101),
            (2_300, 102),
        ];
        let kept = samples.map(|(at, value)| gate.moved(Millis(at), Value(value)));
        assert_eq!(kept, [true, false, false, true, false, true, true, false, false]);
        assert!(gate.moved(Millis(3_000), Value(101)));
        assert!(gate.moved(Millis(3_001), Value(i64::MIN)) && gate.moved(Millis(3_002), Value(i64::MAX)));
    }

    #[test]
    fn while_the_ring_is_crowded_samples_become_one_reading_with_mean_lowest_and_highest() {
        let mut gate = gate(Policy { aggregate: 4, ..Policy::default() });
        assert_eq!(gate.gather(Value(5), false), Outcome::Reading);
        for value in [-3, 10, 2] {
            assert_eq!(gate.gather(Value(value), true), Outcome::Nothing);
        }
        let Outcome::Aggregate(aggregate) = gate.gather(Value(-4), true) else { panic!("four are one") };
        assert_eq!((aggregate.mean(), aggregate.lowest, aggregate.highest), (Value(1), Value(-4), Value(10)));
        assert_eq!(gate.gather(Value(7), true), Outcome::Nothing);
        let Outcome::Aggregate(rest) = gate.gather(Value(8), false) else { panic!("there is room again") };
        assert_eq!((rest.mean(), rest.lowest), (Value(8), Value(7)));
        assert_eq!(gate.gather(Value(9), false), Outcome::Reading);
    }

    #[test]
    fn a_mean_is_rounded_to_the_nearest_and_a_sum_does_not_overflow() {
        for (sum, count, mean) in [(7, 2, 4), (-7, 2, -4), (1, 3, 0), (-5, 3, -2), (i64::MAX, 1, i64::MAX)] {
            let aggregate = Aggregate { count, sum, lowest: Value(0), highest: Value(0) };
            assert_eq!(aggregate.mean(), Value(mean), "{sum} / {count}");
        }
        let mut gate = gate(Policy { aggregate: 100, ..Policy::default() });
        let outcome = gate.gather(Value(i64::MAX), true);
        assert!(matches!(outcome, Outcome::Aggregate(one) if one.mean() == Value(i64::MAX)));
    }

    #[test]
    fn alarms_are_never_put_together() {
        let mut gate = gate(Policy { alarm: true, aggregate: 4, ..Policy::default() });
        assert_eq!(gate.gather(Value(1), true), Outcome::Reading);
    }
}
