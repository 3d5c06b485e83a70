//! A gateway's clock that the test turns.

use std::sync::Mutex;

use lamppost_event::{BootId, Clock, ClockQuality, Monotonic, Now, WallTime};
use tokio::time::Instant;

struct Setting {
    skipped_ms: u64,
    /// What the wall clock says at the gateway's boot.
    began: i64,
    quality: ClockQuality,
}

pub(crate) struct TurnedClock {
    since: Instant,
    setting: Mutex<Setting>,
}

impl TurnedClock {
    /// Starts in 1970.
    pub(crate) fn new() -> Self {
        let setting = Setting { skipped_ms: 0, began: 0, quality: ClockQuality::Unset };
        Self { since: Instant::now(), setting: Mutex::new(setting) }
    }

    /// Time goes by.
    pub(crate) fn skip_to(&self, monotonic_ms: u64) {
        let ahead = monotonic_ms - self.now().monotonic.0;
        self.setting.lock().unwrap().skipped_ms += ahead;
    }

    /// The wall clock is set, so that it would have said `began` at boot.
    pub(crate) fn set(&self, began: i64, quality: ClockQuality) {
        let mut setting = self.setting.lock().unwrap();
        (setting.began, setting.quality) = (began, quality);
    }
}

impl Clock for TurnedClock {
    fn now(&self) -> Now {
        let setting = self.setting.lock().unwrap();
        let monotonic = setting.skipped_ms + self.since.elapsed().as_millis() as u64;
        Now {
            wall: WallTime(setting.began + monotonic as i64),
            monotonic: Monotonic(monotonic),
            boot: BootId(1),
            quality: setting.quality,
        }
    }
}
