//! How old a reading is when it comes in. A node counts milliseconds since its reset and may keep a reading for days; what
//! the exchange of times has measured (`lamppost-wire`) tells where those lie on the gateway's monotonic clock. An age
//! needs no wall clock: it is as right before the gateway's clock is set, and after it has jumped, as it is between.

use std::collections::VecDeque;

use lamppost_wire::{Boot, Millis, drift_ms};

/// Lives of one node that are remembered: as many as the journal keeps marks of.
const LIVES_MAX: usize = 8;

/// How old, and how wrong that may be either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Age {
    pub(crate) ms: u64,
    pub(crate) error_ms: u64,
}

/// A moment on both clocks.
#[derive(Debug, Clone, Copy)]
struct Moment {
    boot: Boot,
    uptime: Millis,
    /// Of the gateway's monotonic clock.
    at: Millis,
    error_ms: u64,
}

impl Moment {
    fn error_at(&self, uptime: Millis) -> u64 {
        self.error_ms.saturating_add(drift_ms(self.uptime.0.abs_diff(uptime.0)))
    }
}

/// The last known lives of the node at one port.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ages {
    moments: VecDeque<Moment>,
}

impl Ages {
    /// In that life, `uptime` was between those moments of the gateway's monotonic clock.
    pub(crate) fn learn(&mut self, boot: Boot, uptime: Millis, after: Millis, before: Millis) {
        let apart_ms = before.0.saturating_sub(after.0);
        let at = Millis(after.0.saturating_add(apart_ms / 2));
        let moment = Moment { boot, uptime, at, error_ms: apart_ms / 2 + 2 };
        match self.moments.iter_mut().find(|known| known.boot == boot) {
            Some(known) if moment.error_ms <= known.error_at(uptime) => *known = moment,
            Some(_) => {}
            None => {
                if self.moments.len() == LIVES_MAX {
                    self.moments.pop_front();
                }
                self.moments.push_back(moment);
            }
        }
    }

    /// How old a reading of that life is now; none where nothing was measured in that life.
    pub(crate) fn age(&self, boot: Boot, uptime: Millis, now: Millis) -> Option<Age> {
        let known = self.moments.iter().find(|known| known.boot == boot)?;
        let since_known_ms = now.0.saturating_sub(known.at.0);
        let ms = since_known_ms.saturating_add(known.uptime.0).saturating_sub(uptime.0);
        Some(Age { ms, error_ms: known.error_at(uptime) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: Boot = Boot(3);

    #[test]
    fn a_reading_s_age_is_known_to_within_half_the_round_trip_and_the_drift_since() {
        let mut ages = Ages::default();
        assert_eq!(ages.age(BOOT, Millis(0), Millis(0)), None);
        ages.learn(BOOT, Millis(5_000), Millis(100_000), Millis(100_040));
        assert_eq!(ages.age(BOOT, Millis(5_000), Millis(100_040)), Some(Age { ms: 20, error_ms: 22 }));
        // Measured 1,000 s before the moment that is known, looked at 10 s after it.
        let uptime = Millis(1_005_000);
        ages.learn(BOOT, uptime, Millis(1_100_000), Millis(1_100_000));
        assert_eq!(ages.age(BOOT, Millis(5_000), Millis(1_110_000)), Some(Age { ms: 1_010_000, error_ms: 253 }));
        assert_eq!(ages.age(Boot(4), Millis(0), Millis(0)), None);
    }

    #[test]
    fn a_worse_measurement_does_not_take_the_place_of_a_better_one_until_drift_has() {
        let mut ages = Ages::default();
        ages.learn(BOOT, Millis(0), Millis(1_000), Millis(1_000));
        ages.learn(BOOT, Millis(1_000), Millis(2_000), Millis(4_000));
        assert_eq!(ages.age(BOOT, Millis(1_000), Millis(2_000)), Some(Age { ms: 0, error_ms: 3 }));
        ages.learn(BOOT, Millis(10_000_000), Millis(10_001_000), Millis(10_001_100));
        assert_eq!(ages.age(BOOT, Millis(10_000_000), Millis(10_001_100)), Some(Age { ms: 50, error_ms: 52 }));
    }

    #[test]
    fn the_lives_remembered_are_bounded() {
        let mut ages = Ages::default();
        for boot in 0..100 {
            ages.learn(Boot(boot), Millis(0), Millis(0), Millis(0));
        }
        assert_eq!(ages.moments.len(), LIVES_MAX);
        assert!(
            ages.age(Boot(91), Millis(0), Millis(0)).is_none() && ages.age(Boot(92), Millis(0), Millis(0)).is_some()
        );
    }
}
