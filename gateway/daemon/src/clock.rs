//! The machine's clocks: the one place that reads them.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lamppost_event::{BootId, Clock, ClockQuality, Monotonic, Now, WallTime};

/// 2026-01-01 00:00 UTC, ms: a clock that says less has not been set, since this program is younger.
pub(crate) const EPOCH_OF_THIS_PROGRAM_MS: i64 = 1_767_225_600_000;

/// How long a reading of the kernel's clock discipline serves, ms.
const QUALITY_AGE_MS_MAX: u64 = 1_000;

/// The machine's clocks.
#[derive(Debug)]
pub(crate) struct MachineClock {
    boot: BootId,
    /// When the clock discipline was last asked (ms, shifted left by one) and whether it was synchronised (bit 0).
    asked: AtomicU64,
    /// What a clock with a battery says that it was when the monotonic clock began, ms; 0 while there is none to go by.
    held: AtomicI64,
    /// What they said when the wall clock was at its best.
    best: Mutex<Option<Now>>,
}

impl MachineClock {
    /// Reads which boot this is. A kernel without `/proc` gets a boot id by chance: times stay right within this run, and
    /// are not corrected across a restart of the program.
    pub(crate) fn new() -> Self {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let hex: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        let boot = u64::from_str_radix(&hex, 16).unwrap_or_else(|_| random_u64());
        Self { boot: BootId(boot), asked: AtomicU64::new(0), held: AtomicI64::new(0), best: Mutex::default() }
    }

    /// The machine's own clocks, whatever is held.
    pub(crate) fn machine(&self) -> (WallTime, ClockQuality, Monotonic) {
        #[expect(clippy::disallowed_methods, reason = "this is the adapter that everyone else is handed")]
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let wall = WallTime(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX));
        let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(since_boot.tv_sec).unwrap_or(0);
        let millis = u64::try_from(since_boot.tv_nsec / 1_000_000).unwrap_or(0);
        let monotonic = Monotonic(seconds * 1_000 + millis);
        (wall, self.quality(wall, monotonic), monotonic)
    }

    /// A clock with a battery said `wall` at `monotonic`: it is gone by while the machine's is behind it and not synchronised.
    pub(crate) fn hold(&self, wall: WallTime, monotonic: Monotonic) {
        self.held.store(wall.0.saturating_sub_unsigned(monotonic.0), Ordering::Relaxed);
    }

    /// The machine's clock is gone by alone.
    pub(crate) fn let_go(&self) {
        self.held.store(0, Ordering::Relaxed);
    }

    /// The clocks said that at a moment of this boot: perhaps it was a better one than any that this process has seen. Gives the best.
    pub(crate) fn learn(&self, now: Now) -> Now {
        let mut best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *best {
            Some(best) if (now.quality, now.monotonic) < (best.quality, best.monotonic) => *best,
            best => *best.insert(now),
        }
    }

    fn quality(&self, wall: WallTime, monotonic: Monotonic) -> ClockQuality {
        if wall.0 < EPOCH_OF_THIS_PROGRAM_MS {
            return ClockQuality::Unset;
        }
        let asked = self.asked.load(Ordering::Relaxed);
        let synchronised = if asked != 0 && monotonic.0.saturating_sub(asked >> 1) < QUALITY_AGE_MS_MAX {
            asked & 1 == 1
        } else {
            let synchronised = is_synchronised(wall);
            self.asked.store(monotonic.0 << 1 | u64::from(synchronised), Ordering::Relaxed);
            synchronised
        };
        if synchronised { ClockQuality::Synced } else { ClockQuality::Holdover }
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Now {
        let (wall, quality, monotonic) = self.machine();
        let held = Some(self.held.load(Ordering::Relaxed)).filter(|held| *held != 0);
        let (wall, quality) =
            chosen(wall, quality, held.map(|held| WallTime(held.saturating_add_unsigned(monotonic.0))));
        let now = Now { wall, monotonic, boot: self.boot, quality };
        self.learn(now);
        now
    }

    fn best(&self) -> Now {
        let now = self.now();
        self.learn(now)
    }
}

/// The machine's time, or the held one, which is as good as a clock that nothing keeps right.
fn chosen(wall: WallTime, quality: ClockQuality, held: Option<WallTime>) -> (WallTime, ClockQuality) {
    match held {
        Some(held) if quality != ClockQuality::Synced && held > wall => (held, ClockQuality::Holdover),
        _ => (wall, quality),
    }
}

/// Where systemd-timesyncd notes that it has synchronised the clock; touched at each synchronisation (systemd-timesyncd(8)).
const TIMESYNCD_NOTE: &str = "/run/systemd/timesync/synchronized";
/// The longest pause between two synchronisations is 34 min 8 s (`PollIntervalMaxSec=`, timesyncd.conf(5)): three of them.
const TIMESYNCD_AGE_MAX: Duration = Duration::from_secs(3 * 2048);

/// What the kernel's clock discipline says (adjtimex(2): `TIME_ERROR` is "not synchronised"). Where that call is not allowed (the
/// unit's `ProtectClock=`), what systemd-timesyncd has noted.
fn is_synchronised(wall: WallTime) -> bool {
    // SAFETY: all zeros is a valid `timex`, with `modes` 0 the call only reads into it, and it lives through the call.
    let state = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut timex)
    };
    if state == -1 { timesyncd_is_recent(wall) } else { state != libc::TIME_ERROR }
}

fn timesyncd_is_recent(wall: WallTime) -> bool {
    let noted = std::fs::metadata(TIMESYNCD_NOTE).and_then(|note| note.modified()).ok();
    let noted = noted.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let now = Duration::from_millis(u64::try_from(wall.0).unwrap_or(0));
    noted.is_some_and(|noted| now.abs_diff(noted) < TIMESYNCD_AGE_MAX)
}

/// Microseconds since some moment, for measuring how long something takes.
pub(crate) fn monotonic_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec / 1_000).unwrap_or(0)
}

/// Random bits of the kernel's.
pub(crate) fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    // Eight bytes are never cut short (getrandom(2)); where there is no random source, the address space layout has some.
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(_) => u64::from_le_bytes(bytes),
        Err(_) => (&raw const bytes).addr() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_go_forward_and_know_their_boot() {
        let clock = MachineClock::new();
        let (first, second) = (clock.now(), clock.now());
        assert!(second.monotonic >= first.monotonic && first.monotonic.0 > 0);
        assert_eq!(first.boot, MachineClock::new().now().boot);
    }

    #[test]
    fn a_clock_that_was_right_once_in_this_boot_is_the_best_until_it_is_right_again() {
        let clock = MachineClock::new();
        let now = clock.now();
        let earlier = Now { monotonic: Monotonic(now.monotonic.0 - 1), quality: ClockQuality::Unset, ..now };
        assert_ne!(clock.learn(earlier), earlier, "what is worse teaches nothing");
        let right = Now { wall: WallTime(1), monotonic: Monotonic(u64::MAX), quality: ClockQuality::Synced, ..now };
        assert_eq!(clock.learn(right), right);
        assert_eq!(clock.best(), right);
    }

    #[test]
    fn a_held_time_is_gone_by_while_the_machine_is_behind_it_and_not_synchronised() {
        let (early, late) = (WallTime(5_000), WallTime(1_800_000_000_000));
        let (unset, holdover, synced) = (ClockQuality::Unset, ClockQuality::Holdover, ClockQuality::Synced);
        assert_eq!(chosen(early, unset, None), (early, unset));
        assert_eq!(chosen(early, unset, Some(late)), (late, holdover));
        assert_eq!(chosen(early, synced, Some(late)), (early, synced));
        assert_eq!(chosen(late, holdover, Some(early)), (late, holdover));
        let clock = MachineClock::new();
        let (wall, quality, monotonic) = clock.machine();
        clock.hold(WallTime(wall.0 + 86_400_000), monotonic);
        let ahead = clock.now().wall.0 - wall.0;
        assert_eq!(ahead >= 86_400_000, quality != synced, "{ahead} ms, {quality:?}");
        clock.let_go();
        assert!(clock.now().wall.0 - wall.0 < 60_000);
    }

    #[test]
    fn a_clock_before_this_program_was_made_counts_as_unset() {
        let clock = MachineClock::new();
        assert_eq!(clock.quality(WallTime(12_000), Monotonic(1)), ClockQuality::Unset);
    }
}
