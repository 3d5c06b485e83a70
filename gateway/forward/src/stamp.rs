//! The time an event goes out with. Pure.
//!
//! Nothing is sent with a time from an unset clock: the cluster's retention would delete it at once. What can be corrected is
//! ([`lamppost_event::EventTime::corrected`]); what can't waits for the clock, once and for a limited time, and then goes with
//! the time of sending. So does what the cluster refused for its own time; that time still goes along, as `ce_time`.

use std::time::Duration;

use lamppost_event::{ClockQuality, EventTime, Monotonic, Now, WallTime};

use crate::bounds::Bounds;

/// `ce_clock` where the record's timestamp is the time of sending.
const FORWARDED: &str = "forwarded";

/// The clocks now, and at their best.
pub(crate) type Clocks = (Now, Now);

/// Which time an event is to go out with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timing {
    /// When the gateway received it, if the cluster takes that, as far as is known; else as below.
    Own(Bounds),
    /// The time of sending: its own was refused.
    Sending,
}

/// The time an event goes out with, and how it came about (`ce_clock`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The record's timestamp.
    pub(crate) time: WallTime,
    /// When the gateway received it (`ce_time`); the time of sending where that can't be known.
    pub(crate) received: WallTime,
    pub(crate) clock: &'static str,
}

impl Stamp {
    /// Whether the time of sending stands in.
    pub(crate) fn is_forwarded(self) -> bool {
        self.clock == FORWARDED
    }
}

/// Whether the forwarder still waits for the clock.
#[derive(Debug)]
pub(crate) struct ClockWait {
    wait_max: Duration,
    since: Option<Monotonic>,
    over: bool,
}

impl ClockWait {
    pub(crate) const fn new(wait_max: Duration) -> Self {
        Self { wait_max, since: None, over: false }
    }

    /// The time for an event that goes out now; `None`: it has to wait for the clock.
    pub(crate) fn stamp(&mut self, time: &EventTime, timing: Timing, (now, best): Clocks) -> Option<Stamp> {
        if now.quality != ClockQuality::Unset {
            // A clock that is lost again is waited for again.
            (self.since, self.over) = (None, false);
        }
        let received = time.corrected(best);
        if let (Timing::Own(bounds), Some(received)) = (timing, received)
            // A clock that is not set can't tell.
            && (now.quality == ClockQuality::Unset || bounds.take(received, now.wall))
        {
            return Some(Stamp { time: received, received, clock: time.quality.as_str() });
        }
        if now.quality == ClockQuality::Unset && !self.over {
            let since = *self.since.get_or_insert(now.monotonic);
            let waited = Duration::from_millis(now.monotonic.0.saturating_sub(since.0));
            if waited < self.wait_max {
                return None;
            }
            self.over = true;
        }
        Some(Stamp { time: now.wall, received: received.unwrap_or(now.wall), clock: FORWARDED })
    }

    /// Whether the wait ended without a right clock.
    pub(crate) const fn is_over(&self) -> bool {
        self.over
    }
}

#[cfg(test)]
mod tests {
    use lamppost_event::BootId;

    use super::*;

    fn now(seconds: u64, boot: u64, quality: ClockQuality) -> Now {
        Now {
            wall: WallTime(1_700_000_000_000 + i64::try_from(seconds).unwrap() * 1000),
            monotonic: Monotonic(seconds * 1000),
            boot: BootId(boot),
            quality,
        }
    }

    impl ClockWait {
        /// With a clock that was never better.
        fn stamp_now(&mut self, time: &EventTime, timing: Timing, now: Now) -> Option<Stamp> {
            self.stamp(time, timing, (now, now))
        }
    }

    #[test]
    fn a_clock_that_was_put_wrong_later_spoils_no_time() {
        let mut wait = ClockWait::new(Duration::from_secs(600));
        let unset = EventTime { wall: WallTime(5), ..EventTime::received(now(10, 1, ClockQuality::Unset), None) };
        let best = now(600, 1, ClockQuality::Synced);
        let back = |seconds: u64| now(seconds - 3600, 1, ClockQuality::Holdover);
        let back = |seconds| Now { monotonic: Monotonic(seconds * 1000), ..back(seconds) };
        let held = EventTime::received(back(4000), None);
        for (time, when, clock) in [(unset, 10, "unset"), (held, 4000, "holdover")] {
            let stamp = wait.stamp(&time, Timing::Own(Bounds::default()), (back(5000), best)).unwrap();
            assert_eq!(stamp, own(WallTime(1_700_000_000_000 + when * 1000), clock));
        }
    }

    fn own(time: WallTime, clock: &'static str) -> Stamp {
        Stamp { time, received: time, clock }
    }

    #[test]
    fn an_event_waits_for_the_clock_and_is_corrected_by_it() {
        let mut wait = ClockWait::new(Duration::from_secs(600));
        let time = EventTime { wall: WallTime(5), ..EventTime::received(now(10, 1, ClockQuality::Unset), None) };
        assert_eq!(wait.stamp_now(&time, Timing::Own(Bounds::default()), now(20, 1, ClockQuality::Unset)), None);
        let stamp = wait.stamp_now(&time, Timing::Own(Bounds::default()), now(70, 1, ClockQuality::Synced)).unwrap();
        assert_eq!(stamp, own(WallTime(1_700_000_010_000), "unset"));
    }

    #[test]
    fn the_wait_ends_and_the_time_of_sending_stands_in() {
        let mut wait = ClockWait::new(Duration::from_secs(600));
        let time = EventTime::received(now(10, 1, ClockQuality::Unset), None);
        assert_eq!(wait.stamp_now(&time, Timing::Own(Bounds::default()), now(20, 1, ClockQuality::Unset)), None);
        assert_eq!(wait.stamp_now(&time, Timing::Own(Bounds::default()), now(619, 1, ClockQuality::Unset)), None);
        let late = now(620, 1, ClockQuality::Unset);
        assert_eq!(wait.stamp_now(&time, Timing::Own(Bounds::default()), late), Some(own(late.wall, FORWARDED)));
        assert!(wait.is_over());
        let next = EventTime::received(now(621, 1, ClockQuality::Unset), None);
        assert!(
            wait.stamp_now(&next, Timing::Own(Bounds::default()), now(622, 1, ClockQuality::Unset)).is_some(),
            "one wait, not one for each event"
        );
    }

    #[test]
    fn an_event_of_another_boot_with_an_unset_clock_does_not_wait_once_the_clock_is_right() {
        let mut wait = ClockWait::new(Duration::from_secs(600));
        let time = EventTime::received(now(10, 1, ClockQuality::Unset), None);
        let today = now(20, 2, ClockQuality::Holdover);
        assert_eq!(wait.stamp_now(&time, Timing::Own(Bounds::default()), today), Some(own(today.wall, FORWARDED)));
    }

    #[test]
    fn a_time_from_a_good_clock_never_waits() {
        let mut wait = ClockWait::new(Duration::from_secs(600));
        let time = EventTime::received(now(10, 1, ClockQuality::Synced), None);
        let stamp = wait.stamp_now(&time, Timing::Own(Bounds::default()), now(3, 2, ClockQuality::Unset)).unwrap();
        assert_eq!(stamp, own(time.wall, "synced"));
    }

    #[test]
    fn an_event_refused_for_its_time_goes_with_the_time_of_sending_and_still_tells_its_own() {
        let mut wait = ClockWait::new(Duration::from_secs(600));
        let time = EventTime::received(now(10, 1, ClockQuality::Synced), None);
        let today = now(900, 2, ClockQuality::Synced);
        let stamp = wait.stamp_now(&time, Timing::Sending, today).unwrap();
        assert_eq!(stamp, Stamp { time: today.wall, received: time.wall, clock: FORWARDED });
        assert!(stamp.is_forwarded());
    }

    #[test]
    fn a_time_beyond_what_the_cluster_takes_goes_with_the_time_of_sending_at_once() {
        let day = Bounds::of(|name| (name == "message.timestamp.before.max.ms").then_some("86400000"));
        let (mut wait, today) = (ClockWait::new(Duration::ZERO), now(10 * 86_400, 2, ClockQuality::Synced));
        for (age_s, clock) in [(3_600, "synced"), (90_000, FORWARDED)] {
            let time = EventTime::received(now(10 * 86_400 - age_s, 1, ClockQuality::Synced), None);
            let stamp = wait.stamp_now(&time, Timing::Own(day), today).unwrap();
            assert_eq!((stamp.clock, stamp.received), (clock, time.wall), "{age_s} s old");
        }
        let unset = now(10 * 86_400, 2, ClockQuality::Unset);
        let time = EventTime::received(now(5, 1, ClockQuality::Synced), None);
        assert_eq!(
            wait.stamp_now(&time, Timing::Own(day), unset).unwrap().clock,
            "synced",
            "who can't tell does not judge"
        );
    }

    #[test]
    fn the_time_of_sending_waits_for_the_clock_too() {
        let mut wait = ClockWait::new(Duration::from_secs(600));
        let time = EventTime::received(now(10, 1, ClockQuality::Synced), None);
        assert_eq!(wait.stamp_now(&time, Timing::Sending, now(3, 2, ClockQuality::Unset)), None);
        assert!(
            wait.stamp_now(&time, Timing::Own(Bounds::default()), now(4, 2, ClockQuality::Unset)).is_some(),
            "its own time need not"
        );
        assert!(wait.stamp_now(&time, Timing::Sending, now(603, 2, ClockQuality::Unset)).is_some());
    }
}
