//! Which times a topic of the cluster takes (Kafka 3.6, KIP-937: `message.timestamp.before.max.ms`, `message.timestamp.after.max.ms`; before that
//! `message.timestamp.difference.max.ms`). Pure.
//!
//! Who knows them stamps what would be refused with the time of sending at once, and no batch is refused for it. They are only a help: where the
//! cluster does not tell, or refuses all the same, each event is tried with its own time first.

use lamppost_event::WallTime;

/// Kafka's names, with what each bounds.
const BEFORE: &str = "message.timestamp.before.max.ms";
const AFTER: &str = "message.timestamp.after.max.ms";
const BOTH: &str = "message.timestamp.difference.max.ms";
/// Kafka's default for all of them, but for `AFTER` from 4.0 on.
const UNSET: u64 = i64::MAX.unsigned_abs();
/// Where the broker stamps records itself, it takes any time.
const TYPE: &str = "message.timestamp.type";
/// What clocks may differ by and the way may take, ms: what lies as near to a bound counts as beyond it; and of a narrow bound no more than a part.
const MARGIN_MS: u64 = 60_000;
const MARGIN_PART: u64 = 100;

/// How far from the broker's clock a record's time may lie; `None` where nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Bounds {
    before_ms: Option<u64>,
    after_ms: Option<u64>,
}

impl Bounds {
    /// From a topic's configuration.
    pub(crate) fn of<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Self {
        if value(TYPE) == Some("LogAppendTime") {
            return Self::default();
        }
        let number = |name| value(name)?.parse::<u64>().ok();
        // Where all three are there, the old one counts only where the new one is not set.
        let newer = |name| number(name).filter(|bound| *bound != UNSET);
        let both = number(BOTH);
        Self { before_ms: newer(BEFORE).or(both), after_ms: newer(AFTER).or(both) }
    }

    /// Whether a record of that time is taken, as far as is known.
    pub(crate) fn take(&self, time: WallTime, now: WallTime) -> bool {
        let within = |bound: Option<u64>, by: i64| {
            let margin = |bound: u64| MARGIN_MS.min(bound / MARGIN_PART);
            bound.is_none_or(|bound| i128::from(by) <= i128::from(bound - margin(bound)))
        };
        within(self.before_ms, now.0.saturating_sub(time.0)) && within(self.after_ms, time.0.saturating_sub(now.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const NOW: WallTime = WallTime(1_700_000_000_000);

    fn bounds(entries: &[(&'static str, &'static str)]) -> Bounds {
        Bounds::of(|name| entries.iter().find(|(entry, _)| *entry == name).map(|(_, value)| *value))
    }

    fn takes(bounds: Bounds, by_ms: i64) -> bool {
        bounds.take(WallTime(NOW.0 + by_ms), NOW)
    }

    #[test]
    fn a_time_is_taken_within_the_bounds_and_what_is_near_them_is_not_risked() {
        let bounds = bounds(&[(BEFORE, "86400000"), (AFTER, "3600000")]);
        for (by_ms, taken) in [
            (0, true),
            (-23 * HOUR_MS, true),
            (-24 * HOUR_MS + 30_000, false),
            (-25 * HOUR_MS, false),
            (HOUR_MS - 40_000, true),
            (HOUR_MS - 30_000, false),
            (2 * HOUR_MS, false),
        ] {
            assert_eq!(takes(bounds, by_ms), taken, "{by_ms} ms");
        }
    }

    #[test]
    fn the_old_bound_counts_both_ways_where_the_new_one_is_not_set() {
        let old = bounds(&[(BOTH, "3600000")]);
        assert!(!takes(old, 2 * HOUR_MS) && !takes(old, -2 * HOUR_MS) && takes(old, HOUR_MS / 2));
        let both = bounds(&[(BOTH, "7200000"), (BEFORE, "86400000"), (AFTER, "9223372036854775807")]);
        assert!(takes(both, -20 * HOUR_MS) && !takes(both, 3 * HOUR_MS));
    }

    #[test]
    fn what_is_not_known_or_not_asked_of_records_refuses_nothing() {
        let stamped_there = bounds(&[(TYPE, "LogAppendTime"), (BEFORE, "1")]);
        for unknown in [Bounds::default(), bounds(&[(BEFORE, "soon")]), stamped_there] {
            assert!(unknown.take(WallTime(i64::MIN), NOW) && unknown.take(WallTime(i64::MAX), NOW));
        }
    }
}
