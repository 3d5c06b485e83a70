//! The machine's clocks, and one that is turned by hand.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use lamppost_event::{BootId, Clock, ClockQuality, Monotonic, Now, WallTime};

/// The machine's.
pub(crate) struct MachineClock(Instant);

impl MachineClock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        let monotonic = Monotonic(self.0.elapsed().as_millis() as u64);
        Now { wall: WallTime(wall), monotonic, boot: BootId(1), quality: ClockQuality::Synced }
    }
}

/// Turned by hand: milliseconds since its boot, which was when the telemetry begins.
#[derive(Default)]
pub(crate) struct TurnedClock(AtomicU64);

impl TurnedClock {
    /// The wall time at its boot, ms since 1970.
    const BOOT_MS: i64 = 1_772_431_200_000;

    pub(crate) fn turn_to_wall(&self, wall: WallTime) {
        self.0.store(wall.0.saturating_sub(Self::BOOT_MS).max(0) as u64, Ordering::Relaxed);
    }
}

impl Clock for TurnedClock {
    fn now(&self) -> Now {
        let ms = self.0.load(Ordering::Relaxed);
        let wall = WallTime(Self::BOOT_MS + ms as i64);
        Now { wall, monotonic: Monotonic(ms), boot: BootId(1), quality: ClockQuality::Synced }
    }
}
