//! The clocks of a machine that starts anew with each power cut: its monotonic clock begins at zero, and its wall clock is right at once,
//! later, or for a while wrong.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lamppost_event::{BootId, Clock, ClockQuality, Monotonic, Now, WallTime};
use lamppost_journal::SplitMix64;

/// The true time is this, and the ms that have been turned.
const BEGAN: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;

/// What a machine's clocks are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// It goes on through everything, and its clock is right.
    Steady,
    /// Its clock is right, or not set.
    Forgetful,
    /// Its clock may be set and wrong by an hour, before it is right.
    Confused,
}

#[derive(Debug, Clone, Copy, Default)]
struct Boot {
    id: u64,
    began_ms: u64,
    /// Before that its clock says 1970.
    set_ms: u64,
    /// By how much its clock is wrong, up to when, and how good it says it is.
    wrong: Option<(i64, u64, ClockQuality)>,
}

pub struct Clocks {
    machine: Machine,
    ms: AtomicU64,
    boot: Mutex<Boot>,
}

impl Clocks {
    pub fn new(machine: Machine) -> Arc<Self> {
        let boot = Boot { id: 7, ..Boot::default() };
        Arc::new(Self { machine, ms: AtomicU64::new(1_000), boot: Mutex::new(boot) })
    }

    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// The true time, in ms from when the history began.
    pub fn ms(&self) -> u64 {
        self.ms.load(Ordering::Relaxed)
    }

    pub fn turn(&self, ms: u64) {
        self.ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// As a wall clock that is right says it.
    pub fn wall(ms: u64) -> WallTime {
        WallTime(BEGAN + ms as i64)
    }

    /// The machine starts anew. True if it wakes up without the time.
    pub fn reboot(&self, random: &mut SplitMix64) -> bool {
        if self.machine == Machine::Steady {
            return false;
        }
        let (mut boot, ms) = (self.boot.lock().unwrap(), self.ms());
        let set_ms = if random.chance(1, 2) { ms } else { ms + 1 + random.below(4_000) };
        let wrong = (self.machine == Machine::Confused && random.chance(1, 2)).then(|| {
            let by_ms = if random.chance(1, 2) { HOUR } else { -HOUR };
            let quality = if random.chance(1, 2) { ClockQuality::Holdover } else { ClockQuality::Synced };
            (by_ms, set_ms + random.below(4_000), quality)
        });
        *boot = Boot { id: boot.id + 1, began_ms: ms, set_ms, wrong };
        set_ms > ms
    }
}

impl Clock for Clocks {
    fn now(&self) -> Now {
        let (boot, ms) = (*self.boot.lock().unwrap(), self.ms());
        let uptime_ms = ms - boot.began_ms;
        let (wall, quality) = match boot.wrong {
            _ if ms < boot.set_ms => (WallTime(uptime_ms as i64), ClockQuality::Unset),
            Some((by_ms, until_ms, quality)) if ms < until_ms => (WallTime(Self::wall(ms).0 + by_ms), quality),
            _ => (Self::wall(ms), ClockQuality::Synced),
        };
        Now { wall, monotonic: Monotonic(uptime_ms), boot: BootId(boot.id), quality }
    }
}
