//! A clock with a battery: gives the time while the machine's own is not set, and is set by it while that is synchronised.
//!
//! | the machine's clock | what is done |
//! |---|---|
//! | not synchronised since this start | read each half minute until it answers; if it is ahead, the gateway's time is its, of quality *holdover*. A clock that is restored from a file at the start is behind |
//! | synchronised | the gateway's time is the machine's; each hour compared, and set if it is off by over 2 s, or has no time |
//! | no longer synchronised | nothing: the machine's runs on |
//!
//! Its time is whole seconds: what is taken from it may be 1 s late.

mod status;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lamppost_event::{ClockQuality, WallTime};
use lamppost_i2c::{BusOpener, Rtc, RtcError};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::clock::{EPOCH_OF_THIS_PROGRAM_MS, MachineClock};
use crate::config::Battery;

use status::Fault;
pub(super) use status::figures;
pub(crate) use status::{BatteryReport, BatteryStatus};

/// How long the bus may take.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How often the machine's clock is looked at, and the other one asked until it has answered.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// How often it is compared with a synchronised one: a DS1338 drifts by 0.1 s in that time at worst.
const COMPARE_LOOKS: u32 = 120;
/// By how much it may be off: its seconds are whole, and it was asked in the middle of one.
const OFF_MS_MAX: i64 = 2_000;

/// The clock with a battery, and the machine's.
pub(crate) struct Keeper {
    rtc: Rtc,
    clock: Arc<MachineClock>,
    status: Arc<BatteryStatus>,
    /// The machine's clock has been synchronised since this start.
    was_synced: bool,
    /// Looks until it is compared again.
    rests: u32,
    failing_with: Option<String>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// The gateway's time is its.
    Hold,
    /// It is set by the machine's.
    Set,
    Nothing,
}

/// `found_ms`: its time; none if it has none that is to be trusted.
fn decide(machine: WallTime, quality: ClockQuality, was_synced: bool, found_ms: Option<i64>) -> Decision {
    let off_ms = found_ms.map(|found| found.saturating_sub(machine.0));
    match (quality, off_ms) {
        (ClockQuality::Synced, None) => Decision::Set,
        (ClockQuality::Synced, Some(off)) if off.abs() > OFF_MS_MAX => Decision::Set,
        (ClockQuality::Unset | ClockQuality::Holdover, Some(off)) if !was_synced && off > OFF_MS_MAX => Decision::Hold,
        _ => Decision::Nothing,
    }
}

impl Keeper {
    pub(crate) fn new(battery: &Battery, clock: Arc<MachineClock>) -> Self {
        Self::of(Rtc::new(BusOpener::Linux(battery.bus.clone()), battery.chip), clock)
    }

    fn of(rtc: Rtc, clock: Arc<MachineClock>) -> Self {
        Self { rtc, clock, status: Arc::default(), was_synced: false, rests: 0, failing_with: None }
    }

    pub(crate) fn status(&self) -> Arc<BatteryStatus> {
        Arc::clone(&self.status)
    }

    /// Keeps both right until dropped.
    pub(crate) async fn run(mut self) {
        loop {
            sleep(LOOK_INTERVAL).await;
            self.look().await;
        }
    }

    /// Once, at the start before any event, and then now and then.
    pub(crate) async fn look(&mut self) {
        let (_, quality, _) = self.clock.machine();
        let is_synced = quality == ClockQuality::Synced;
        if is_synced && !self.was_synced {
            self.was_synced = true;
            self.clock.let_go();
            self.status.in_use.store(0, Ordering::Relaxed);
            self.rests = 0;
        }
        let is_held = self.status.in_use.load(Ordering::Relaxed) == 1;
        if self.rests > 0 || is_held || (self.was_synced && !is_synced) {
            self.rests = self.rests.saturating_sub(1);
            return;
        }
        let found_ms = self.read().await;
        let (machine, quality, monotonic) = self.clock.machine();
        if let Some(found) = found_ms {
            let mut last = self.status.last();
            (last.read, last.ahead_ms) = (Some(monotonic), Some(found.saturating_sub(machine.0)));
        }
        match decide(machine, quality, self.was_synced, found_ms) {
            Decision::Hold => {
                let found = found_ms.unwrap_or(machine.0);
                self.clock.hold(WallTime(found), monotonic);
                self.status.in_use.store(1, Ordering::Relaxed);
                tracing::info!(ahead_ms = found.saturating_sub(machine.0), "the time is the battery-backed clock's");
            }
            Decision::Set => self.set().await,
            Decision::Nothing => {}
        }
        if is_synced {
            self.rests = COMPARE_LOOKS;
        }
    }

    async fn read(&mut self) -> Option<i64> {
        let rtc = self.rtc.clone();
        let read = on_a_thread(move || rtc.read_s()).await.and_then(|found_s| {
            let found_ms = i64::try_from(found_s).unwrap_or(i64::MAX).saturating_mul(1_000);
            // Without the time: that moves, and the log says it once.
            let text = "its time is before this program was made: it was not set".to_owned();
            let too_early = Fault { is_present: true, has_stopped: false, text };
            if found_ms < EPOCH_OF_THIS_PROGRAM_MS { Err(too_early) } else { Ok(found_ms) }
        });
        self.note(read)
    }

    async fn set(&mut self) {
        let (machine, _, _) = self.clock.machine();
        // From one second to the next: its seconds begin when it is set.
        let next_s = u64::try_from(machine.0.div_euclid(1_000) + 1).unwrap_or(0);
        sleep(Duration::from_millis(u64::try_from(1_000 - machine.0.rem_euclid(1_000)).unwrap_or(0))).await;
        let rtc = self.rtc.clone();
        let set = on_a_thread(move || rtc.set_s(next_s)).await;
        if self.note(set).is_some() {
            self.status.sets.fetch_add(1, Ordering::Relaxed);
            tracing::info!("the battery-backed clock was set");
        }
    }

    /// Counts, and says once what is wrong.
    fn note<T>(&mut self, outcome: Result<T, Fault>) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.status.reads.fetch_add(1, Ordering::Relaxed);
                let mut last = self.status.last();
                (last.is_present, last.fault) = (true, None);
                drop(last);
                self.failing_with = None;
                Some(value)
            }
            Err(fault) => {
                self.status.failures.fetch_add(1, Ordering::Relaxed);
                if self.failing_with.as_ref() != Some(&fault.text) {
                    tracing::warn!(
                        error = fault.text,
                        "the battery-backed clock gives no time; where the kernel has a driver for it (dtoverlay=i2c-rtc), remove [clock]"
                    );
                    self.failing_with = Some(fault.text.clone());
                }
                let mut last = self.status.last();
                (last.is_present, last.fault) = (fault.is_present, Some(fault));
                None
            }
        }
    }
}

/// A thread of its own: one that hangs in the kernel must not hold up the program's end.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RtcError> + Send + 'static,
) -> Result<T, Fault> {
    let (answer, outcome) = oneshot::channel();
    let started = std::thread::Builder::new().name("battery clock".to_owned()).spawn(move || drop(answer.send(work())));
    started.map_err(|error| Fault::absent(error.to_string()))?;
    match timeout(ANSWER_MAX, outcome).await {
        Ok(Ok(outcome)) => outcome.map_err(Fault::from),
        Ok(Err(_)) => Err(Fault::absent("the thread that works the bus has ended".to_owned())),
        Err(_) => Err(Fault::absent("the bus hangs".to_owned())),
    }
}

#[cfg(test)]
mod tests;
