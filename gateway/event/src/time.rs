//! Times and how far to trust them. A gateway without a clock battery wakes up in the past: so every event carries the
//! wall time it was received at, how good that clock was, and a monotonic time of this boot by which it can be
//! corrected later.

/// Milliseconds since 1970-01-01 00:00 UTC, leap seconds left out (Kafka's timestamp).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub i64);

/// Milliseconds since this boot (`CLOCK_BOOTTIME`): never jumps, goes on in suspend, starts anew at each boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Monotonic(pub u64);

/// Which boot of the machine a [`Monotonic`] belongs to (the first half of the kernel's `boot_id`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootId(pub u64);

/// How far the wall clock could be trusted. Ordered from worst to best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClockQuality {
    /// Not set since boot: the time is meaningless.
    Unset,
    /// Set once (a battery clock, an earlier synchronisation), not synchronised now.
    Holdover,
    /// Synchronised (the kernel's clock discipline says so).
    Synced,
}

impl ClockQuality {
    /// The word used in headers, metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Holdover => "holdover",
            Self::Synced => "synced",
        }
    }
}

/// What all clocks say at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Wall clock.
    pub wall: WallTime,
    /// Monotonic clock of this boot.
    pub monotonic: Monotonic,
    /// This boot.
    pub boot: BootId,
    /// How good the wall clock is.
    pub quality: ClockQuality,
}

/// The clocks, handed in: the daemon reads the machine's, a test turns its own.
pub trait Clock: Send + Sync {
    /// All clocks at this moment.
    fn now(&self) -> Now;

    /// What they said in this boot when the wall clock was at its best, and of those the last time: what times of this boot are corrected by. A
    /// clock that was right once is gone by after it was lost, or put wrong.
    fn best(&self) -> Now {
        self.now()
    }
}

/// What a clock may be put right by without being said to jump, ms: the clocks of a [`Now`] are not read at one moment.
const JUMP_MS: u64 = 1_000;

/// The times of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTime {
    /// When the device says it measured, if it has a clock.
    pub device: Option<WallTime>,
    /// When the gateway received it, by its wall clock of then.
    pub wall: WallTime,
    /// When the gateway received it, since that boot.
    pub monotonic: Monotonic,
    /// The boot that `monotonic` belongs to.
    pub boot: BootId,
    /// How good the wall clock was.
    pub quality: ClockQuality,
}

impl EventTime {
    /// The times of an event received now.
    #[must_use]
    pub const fn received(now: Now, device: Option<WallTime>) -> Self {
        Self { device, wall: now.wall, monotonic: now.monotonic, boot: now.boot, quality: now.quality }
    }

    /// The best known wall time of reception, by [`Clock::best`]. Within a boot the monotonic clock decides: what an unset clock stamped, or one
    /// no better than the best that has jumped before or since, is corrected by the monotonic time between. What can't be corrected is
    /// `None`: such a time must not leave the gateway.
    #[must_use]
    pub fn corrected(&self, best: Now) -> Option<WallTime> {
        let is_set = self.quality != ClockQuality::Unset;
        if self.boot != best.boot || best.quality == ClockQuality::Unset || best.quality < self.quality {
            return is_set.then_some(self.wall);
        }
        let began = best.wall.0.saturating_sub_unsigned(best.monotonic.0);
        let time = began.saturating_add_unsigned(self.monotonic.0);
        let as_stamped = is_set && self.wall.0.abs_diff(time) <= JUMP_MS;
        Some(if as_stamped { self.wall } else { WallTime(time) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAWN: Now =
        Now { wall: WallTime(12_000), monotonic: Monotonic(5_000), boot: BootId(1), quality: ClockQuality::Unset };

    #[test]
    fn a_time_from_an_unset_clock_is_corrected_once_the_clock_of_this_boot_is_right() {
        let time = EventTime::received(DAWN, None);
        let noon = Now {
            wall: WallTime(1_700_000_000_000),
            monotonic: Monotonic(65_000),
            quality: ClockQuality::Synced,
            ..DAWN
        };
        assert_eq!(time.corrected(noon), Some(WallTime(1_700_000_000_000 - 60_000)));
    }

    #[test]
    fn a_time_from_an_unset_clock_of_another_boot_stays_unknown() {
        let time = EventTime::received(DAWN, None);
        let noon = Now { boot: BootId(2), quality: ClockQuality::Synced, ..DAWN };
        assert_eq!(time.corrected(noon), None);
        assert_eq!(time.corrected(DAWN), None);
    }

    #[test]
    fn a_gateway_that_starts_in_1970_gets_the_time_and_jumps_back_an_hour_has_right_times_for_all_three_spans() {
        let at = |monotonic: u64, wall: i64, quality| Now {
            wall: WallTime(wall),
            monotonic: Monotonic(monotonic),
            quality,
            ..DAWN
        };
        // Ten minutes without a clock, twenty with one that is an hour ahead, then the right one.
        let right = 1_767_225_600_000_i64;
        let unset = at(60_000, 60_000, ClockQuality::Unset);
        let ahead = at(900_000, right + 900_000 + 3_600_000, ClockQuality::Holdover);
        let back = at(1_900_000, right + 1_900_000, ClockQuality::Holdover);
        let later = at(2_000_000, right + 2_000_400, ClockQuality::Synced);
        for (received, expected) in [(unset, 60_400), (ahead, 900_400), (back, 1_900_000)] {
            let time = EventTime::received(received, None);
            assert_eq!(time.corrected(later), Some(WallTime(right + expected)), "{received:?}");
        }
        let synced = EventTime::received(at(900_000, right + 900_000, ClockQuality::Synced), None);
        assert_eq!(synced.corrected(ahead), Some(WallTime(right + 900_000)), "a worse clock's jump moves nothing");
        // Right at ten minutes, put back an hour at thirty: by the clock that was right, what came before and after.
        let best = at(600_000, right + 600_000, ClockQuality::Synced);
        let put_back = at(1_900_000, right + 1_900_000 - 3_600_000, ClockQuality::Holdover);
        for (received, expected) in [(unset, 60_000), (put_back, 1_900_000)] {
            let time = EventTime::received(received, None);
            assert_eq!(time.corrected(best), Some(WallTime(right + expected)), "{received:?}");
        }
    }

    #[test]
    fn a_time_from_a_set_clock_is_left_alone() {
        let time = EventTime::received(Now { quality: ClockQuality::Holdover, ..DAWN }, None);
        assert_eq!(time.corrected(DAWN), Some(WallTime(12_000)));
    }
}
