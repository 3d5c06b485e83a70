//! What the clock with a battery has said and been told, for `/healthz` and `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lamppost_event::Monotonic;
use lamppost_i2c::RtcError;

use crate::exposition::Exposition;

/// What it has said and been told.
#[derive(Debug, Default)]
pub(crate) struct BatteryStatus {
    pub(super) reads: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) sets: AtomicU64,
    pub(super) in_use: AtomicU64,
    last: Mutex<Last>,
}

/// What came of asking it last.
#[derive(Debug, Clone, Default)]
pub(super) struct Last {
    /// It did answer.
    pub(super) is_present: bool,
    /// When it gave a time that is to be trusted.
    pub(super) read: Option<Monotonic>,
    /// By how much that was ahead of the machine's clock, ms.
    pub(super) ahead_ms: Option<i64>,
    /// Why it gave or took none, if it did not.
    pub(super) fault: Option<Fault>,
}

/// Why it gave no time.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// Something answers at its address.
    pub(super) is_present: bool,
    /// It says itself that it has stopped since it was set, or never was.
    pub(super) has_stopped: bool,
    pub(super) text: String,
}

impl Fault {
    pub(super) fn absent(text: String) -> Self {
        Self { is_present: false, has_stopped: false, text }
    }
}

impl From<RtcError> for Fault {
    fn from(error: RtcError) -> Self {
        let text = error.to_string();
        match error {
            RtcError::NoAnswer(_) => Self::absent(text),
            RtcError::Stopped(_) => Self { is_present: true, has_stopped: true, text },
            RtcError::NoTime(_) => Self { is_present: true, has_stopped: false, text },
        }
    }
}

/// How it does, for `/healthz`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct BatteryReport {
    /// It answered when it was asked last.
    present: bool,
    /// Its oscillator has stopped since it was set, or it never was: its battery is empty, or missing.
    stopped: bool,
    /// The gateway's time is its.
    in_use: bool,
    /// How long ago it gave a time that is to be trusted, ms; none if it never did since the start.
    read_ms_ago: Option<u64>,
    /// By how much that was ahead of the machine's clock, ms.
    ahead_ms: Option<i64>,
    /// Why it gave or took no time when it was asked last.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl BatteryStatus {
    pub(crate) fn report(&self, now: Monotonic) -> BatteryReport {
        let Last { is_present, read, ahead_ms, fault } = self.last().clone();
        BatteryReport {
            present: is_present,
            stopped: fault.as_ref().is_some_and(|fault| fault.has_stopped),
            in_use: self.in_use.load(Ordering::Relaxed) == 1,
            read_ms_ago: read.map(|read| now.0.saturating_sub(read.0)),
            ahead_ms,
            reason: fault.map(|fault| fault.text),
        }
    }

    pub(super) fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn figures(out: &mut Exposition, status: &BatteryStatus, now: Monotonic) {
    let asked = "Times that the battery-backed clock was asked or told the time.";
    for (outcome, count) in [("ok", &status.reads), ("failed", &status.failures)] {
        out.counter(
            "lamppost_battery_clock_asked_total",
            asked,
            &[("outcome", outcome)],
            count.load(Ordering::Relaxed),
        );
    }
    let sets = status.sets.load(Ordering::Relaxed);
    out.counter("lamppost_battery_clock_sets_total", "Times that it was set.", &[], sets);
    let report = status.report(now);
    for (name, help, is_so) in [
        ("lamppost_battery_clock_in_use", "1 while the gateway's time is its.", report.in_use),
        ("lamppost_battery_clock_present", "1 if it answered when it was asked last.", report.present),
        (
            "lamppost_battery_clock_stopped",
            "1 if it says that it has stopped since it was set, or never was: without a battery, or with an empty one.",
            report.stopped,
        ),
    ] {
        out.level(name, help, &[], u64::from(is_so));
    }
    if let Some(ms) = report.read_ms_ago {
        let help = "How long ago it gave a time that is to be trusted; only once it did.";
        out.gauge("lamppost_battery_clock_read_ago_seconds", help, &[], seconds(i64::try_from(ms).unwrap_or(i64::MAX)));
    }
    if let Some(ms) = report.ahead_ms {
        let help = "By how much it was ahead of the machine's clock when they were compared last; only once they were.";
        out.gauge("lamppost_battery_clock_ahead_seconds", help, &[], seconds(ms));
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows only floating point")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}
