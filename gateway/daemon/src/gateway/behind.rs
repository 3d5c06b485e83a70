//! How far a sink is behind, how fast that changes, and when it will be caught up. Pure.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use lamppost_event::Monotonic;

use super::figures::Figures;

/// How often it is looked at, ms.
pub(super) const LOOK_MS: u64 = 1_000;
/// Over how long a speed is taken, ms.
const SPAN_MS: u64 = 60_000;
/// Over less a speed says nothing, ms.
const SPAN_MS_MIN: u64 = 2_000;

#[derive(Debug, Clone, Copy)]
struct Look {
    at: Monotonic,
    events: u64,
    backlog: u64,
}

#[derive(Debug, Default)]
struct Seen {
    looks: VecDeque<Look>,
    /// The most that there was since all had been delivered.
    backlog_most: u64,
}

/// What was seen over the last minute. Bounded: one look a second.
#[derive(Debug, Default)]
pub(super) struct Behind(Mutex<Seen>);

/// Events a second over the last minute, or as long as there has been.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Speed {
    /// That the sink got, dead letters and gaps included.
    pub(super) forwarded_per_s: f64,
    /// That came in.
    pub(super) arriving_per_s: f64,
}

/// When it will be caught up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Done {
    /// It is.
    Now,
    /// In so many seconds, if all goes on as in the last minute.
    In(f64),
    /// Never, if all goes on as in the last minute: as much comes in as goes out, or more.
    Never,
    /// It was not looked at for long enough.
    Unknown,
}

impl Behind {
    /// Takes a look.
    pub(super) fn look(&self, at: Monotonic, figures: Figures) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Figures { events, backlog, .. } = figures;
        seen.backlog_most = if backlog == 0 { 0 } else { seen.backlog_most.max(backlog) };
        seen.looks.push_back(Look { at, events, backlog });
        // The first look that is old enough stays.
        while seen.looks.get(1).is_some_and(|second| at.0.saturating_sub(second.at.0) >= SPAN_MS) {
            seen.looks.pop_front();
        }
    }

    /// The speeds; `None` before there were two looks far enough apart.
    pub(super) fn speed(&self) -> Option<Speed> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, last) = (seen.looks.front()?, seen.looks.back()?);
        let ms = last.at.0.saturating_sub(first.at.0);
        if ms < SPAN_MS_MIN {
            return None;
        }
        let done = |look: &Look| look.events.saturating_sub(look.backlog);
        let per_s = |count: u64| as_f64(count) * 1000.0 / as_f64(ms);
        Some(Speed {
            forwarded_per_s: per_s(done(last).saturating_sub(done(first))),
            arriving_per_s: per_s(last.events.saturating_sub(first.events)),
        })
    }

    /// When `backlog` will be gone.
    pub(super) fn done(&self, backlog: u64) -> Done {
        if backlog == 0 {
            return Done::Now;
        }
        let Some(Speed { forwarded_per_s, arriving_per_s }) = self.speed() else { return Done::Unknown };
        let net = forwarded_per_s - arriving_per_s;
        if net > 0.0 { Done::In(as_f64(backlog) / net) } else { Done::Never }
    }

    /// The most that there was since all had been delivered: what a bar is drawn against.
    pub(super) fn backlog_most(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).backlog_most
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks each second; so many events come in and go out in each.
    fn run(behind: &Behind, from: (u64, Figures), seconds: u64, arriving: u64, forwarded: u64) -> (u64, Figures) {
        let (mut at, mut figures) = from;
        for _ in 0..seconds {
            at += 1_000;
            figures.events += arriving;
            figures.backlog = (figures.backlog + arriving).saturating_sub(forwarded);
            behind.look(Monotonic(at), figures);
        }
        (at, figures)
    }

    fn start() -> (u64, Figures) {
        (0, Figures { events: 1_000_000, backlog: 90_000, backfill: None })
    }

    #[test]
    fn what_comes_in_meanwhile_is_taken_off_the_speed() {
        let behind = Behind::default();
        let (_, figures) = run(&behind, start(), 10, 100, 400);
        assert_eq!(behind.speed(), Some(Speed { forwarded_per_s: 400.0, arriving_per_s: 100.0 }));
        assert_eq!(behind.done(figures.backlog), Done::In(290.0));
        assert_eq!(behind.backlog_most(), 89_700);
    }

    #[test]
    fn as_much_as_comes_in_or_less_is_never() {
        for forwarded in [0, 99, 100] {
            let behind = Behind::default();
            let (_, figures) = run(&behind, start(), 10, 100, forwarded);
            assert_eq!(behind.done(figures.backlog), Done::Never, "{forwarded}");
        }
    }

    #[test]
    fn a_minute_counts_and_what_was_before_does_not() {
        let behind = Behind::default();
        let later = run(&behind, start(), 300, 100, 0);
        let (_, figures) = run(&behind, later, 61, 0, 1_000);
        assert_eq!(behind.speed().map(|speed| speed.arriving_per_s), Some(0.0));
        assert_eq!(behind.done(figures.backlog), Done::In(figures.backlog as f64 / 1_000.0));
        assert!(behind.0.lock().unwrap().looks.len() <= 62, "bounded");
    }

    #[test]
    fn before_anything_is_known_nothing_is_promised_and_nothing_is_done_at_once() {
        let behind = Behind::default();
        assert_eq!((behind.done(5), behind.done(0)), (Done::Unknown, Done::Now));
        run(&behind, start(), 2, 0, 10);
        assert_eq!(behind.done(5), Done::Unknown);
    }

    #[test]
    fn a_new_backlog_has_a_bar_of_its_own() {
        let behind = Behind::default();
        let done = run(&behind, start(), 90, 0, 1_000);
        assert_eq!((done.1.backlog, behind.backlog_most()), (0, 0));
        run(&behind, done, 5, 10, 0);
        assert_eq!(behind.backlog_most(), 50);
    }
}
