//! Health means progress, not life: a part that has work and does not get on is ill, however alive its task is.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lamppost_event::Monotonic;

use crate::gateway::BatteryReport;

/// One part at the moment of asking: what it has done, and whether it has work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Rises whenever the part gets on.
    pub(crate) done: u64,
    /// There is something to do now.
    pub(crate) has_work: bool,
    /// How long it may have work without getting on, ms; 0: it is ill as soon as it has some.
    pub(crate) patience_ms: u64,
    /// A part outside the gateway (the cluster, a chip): a restart of the gateway would not help it.
    pub(crate) elsewhere: bool,
}

/// What a slave, sensor or chip that does not answer is given beyond three of its intervals, ms: longer than the pauses between tries grow.
const POLLED_PATIENCE_MS: u64 = 90_000;

impl Progress {
    /// Of what is to bring something so often.
    pub(crate) fn polled(done: u64, every: Duration) -> Self {
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        let patience_ms = every_ms.saturating_mul(3).saturating_add(POLLED_PATIENCE_MS);
        Self { done, has_work: true, patience_ms, elsewhere: true }
    }
}

/// How a part gets on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It gets on, or has nothing to do.
    Ok,
    /// It has work and has not got on for longer than it may.
    Stalled,
}

/// What one part is reported as.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Part {
    status: Verdict,
    /// Since when it has had work without getting on, ms.
    waiting_ms: u64,
    /// What keeps it, where that is known; or what else there is to say of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip)]
    elsewhere: bool,
}

/// How all parts get on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Report {
    status: Verdict,
    parts: BTreeMap<String, Part>,
    /// Of the clock with a battery, where there is one. It judges nothing: a gateway goes on without.
    #[serde(skip_serializing_if = "Option::is_none")]
    battery_clock: Option<BatteryReport>,
}

impl Report {
    /// The same, with how the clock with a battery does.
    pub(crate) fn with_battery_clock(self, battery_clock: Option<BatteryReport>) -> Self {
        Self { battery_clock, ..self }
    }

    /// No part is stalled.
    pub(crate) fn well(&self) -> bool {
        self.status == Verdict::Ok
    }

    /// No part *of the gateway itself* is stalled: what the watchdog is told.
    pub(crate) fn well_here(&self) -> bool {
        self.parts.values().all(|part| part.elsewhere || part.status == Verdict::Ok)
    }

    /// Says why a part waits, or what else its operator should know. `for_somebody`: it waits for a person, so no patience helps.
    pub(crate) fn explain(&mut self, name: &str, reason: String, for_somebody: bool) {
        let Some(part) = self.parts.get_mut(name) else { return };
        part.reason = Some(reason);
        if for_somebody {
            (part.status, self.status) = (Verdict::Stalled, Verdict::Stalled);
        }
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"status\":\"stalled\",\"error\":\"{error}\"}}"))
    }
}

/// A part as it was when it was looked at last.
#[derive(Debug, Clone, Copy)]
struct Seen {
    done: u64,
    had_work: bool,
    /// When it last got on, or was found to have work after it had none.
    since: Monotonic,
}

/// Remembers when each part last got on.
#[derive(Debug, Default)]
pub(crate) struct Health {
    seen: Mutex<BTreeMap<String, Seen>>,
}

impl Health {
    /// Judges all parts at this moment.
    pub(crate) fn judge(&self, now: Monotonic, parts: impl IntoIterator<Item = (String, Progress)>) -> Report {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let judged: BTreeMap<String, Part> = parts
            .into_iter()
            .map(|(name, progress)| {
                let Progress { done, has_work, patience_ms, .. } = progress;
                let fresh = Seen { done, had_work: has_work, since: now };
                let last = seen.entry(name.clone()).or_insert(fresh);
                // Whoever asks does so seldom: work that was not there the last time may have come this moment.
                if last.done != done || !has_work || !last.had_work {
                    *last = fresh;
                }
                let waiting_ms = now.0.saturating_sub(last.since.0);
                let stalled = waiting_ms > patience_ms || (has_work && patience_ms == 0);
                let status = if stalled { Verdict::Stalled } else { Verdict::Ok };
                (name, Part { status, waiting_ms, reason: None, elsewhere: progress.elsewhere })
            })
            .collect();
        let stalled = judged.values().any(|part| part.status == Verdict::Stalled);
        let status = if stalled { Verdict::Stalled } else { Verdict::Ok };
        Report { status, parts: judged, battery_clock: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(health: &Health, at_ms: u64, done: u64, has_work: bool) -> Report {
        let progress = Progress { done, has_work, patience_ms: 1_000, elsewhere: false };
        health.judge(Monotonic(at_ms), [("journal".to_owned(), progress)])
    }

    #[test]
    fn a_part_with_work_that_does_not_get_on_is_stalled_until_it_does() {
        let health = Health::default();
        assert!(judge(&health, 0, 7, true).well());
        assert!(judge(&health, 1_000, 7, true).well());
        assert!(!judge(&health, 1_001, 7, true).well());
        assert!(judge(&health, 1_002, 8, true).well());
    }

    #[test]
    fn what_is_polled_has_three_intervals_however_long_they_are() {
        let patience_ms = |every| Progress::polled(0, every).patience_ms;
        assert_eq!(patience_ms(Duration::from_secs(10)), 120_000);
        // The last is more milliseconds than a number holds.
        for every in [Duration::from_millis(u64::MAX / 3), Duration::from_millis(u64::MAX), Duration::MAX] {
            assert_eq!(patience_ms(every), u64::MAX);
        }
    }

    #[test]
    fn a_part_without_work_may_rest() {
        let health = Health::default();
        for at in [0, 10_000, 20_000] {
            assert!(judge(&health, at, 7, false).well());
        }
    }

    #[test]
    fn a_part_that_had_nothing_to_do_when_it_was_looked_at_last_has_all_its_patience() {
        let health = Health::default();
        assert!(judge(&health, 0, 7, false).well());
        // The watchdog looks each half minute, and the work came just before.
        assert!(judge(&health, 30_000, 7, true).well());
        assert!(judge(&health, 31_000, 7, true).well());
        assert!(!judge(&health, 31_001, 7, true).well());
    }

    #[test]
    fn a_part_that_waits_for_somebody_is_ill_at_once_and_says_why() {
        let health = Health::default();
        let forward = Progress { done: 1, has_work: true, patience_ms: 1_000, elsewhere: true };
        let mut report = health.judge(Monotonic(0), [("forward".to_owned(), forward)]);
        assert!(report.well());
        report.explain("forward", "a topic waits".to_owned(), false);
        assert!(report.well());
        report.explain("forward", "wrong password".to_owned(), true);
        assert!(!report.well() && report.well_here());
        assert!(report.json().contains("\"reason\":\"wrong password\""), "{}", report.json());
    }

    #[test]
    fn a_part_elsewhere_is_reported_and_does_not_trip_the_watchdog() {
        let health = Health::default();
        let forward = Progress { done: 1, has_work: true, patience_ms: 10, elsewhere: true };
        health.judge(Monotonic(0), [("forward".to_owned(), forward)]);
        let report = health.judge(Monotonic(11), [("forward".to_owned(), forward)]);
        assert!(!report.well() && report.well_here());
        assert!(report.json().contains("\"forward\":{\"status\":\"stalled\",\"waiting_ms\":11}"), "{}", report.json());
    }
}
