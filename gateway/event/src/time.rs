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
}

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

    /// The best known wall time of reception. What an unset clock stamped is corrected once the clock of the *same boot* is
    /// right, by the monotonic time between; what can't be corrected is `None`: such a time must not leave the gateway.
    #[must_use]
    pub fn corrected(&self, now: Now) -> Option<WallTime> {
        if self.quality != ClockQuality::Unset {
            return Some(self.wall);
        }
        if self.boot != now.boot || now.quality == ClockQuality::Unset {
            return None;
        }
        let elapsed_ms = now.monotonic.0.saturating_sub(self.monotonic.0);
        Some(WallTime(now.wall.0.saturating_sub(i64::try_from(elapsed_ms).unwrap_or(i64::MAX))))
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
    fn a_time_from_a_set_clock_is_left_alone() {
        let time = EventTime::received(Now { quality: ClockQuality::Holdover, ..DAWN }, None);
        assert_eq!(time.corrected(DAWN), Some(WallTime(12_000)));
    }
}
