//! Time sync: what the gateway's clocks say, told to a node with an error that both ends have measured.
//!
//! ```text
//! gateway   time: number ─┐                                 ┌─► time: number, asked = uptime, wall
//! node                    └─► asked: uptime, heard = number ─┘
//! ```
//!
//! Between the first and the second the gateway has measured a round trip, between the second and the third the node:
//! each knows to within half of it what the other's clock said. The gateway begins after a welcome and when its clock has
//! jumped; every now and then the node does, with a question that answers nothing.

use serde::{Deserialize, Serialize};

use crate::{Boot, Millis};

/// A node's clock of uptime keeps within so many millionths: any crystal does. A resonator of ceramic or RC may not, and
/// then the errors stated are too small.
pub const DRIFT_PPM_MAX: u32 = 250;

/// After a welcome the gateway begins; one that doesn't is asked.
pub(crate) const FIRST_MS: u32 = 1_000;
/// Between two rounds.
const INTERVAL_MS: u32 = 600_000;
/// Before an unanswered question is asked again.
const UNANSWERED_MS: u32 = 10_000;
/// An answer that took longer says too little.
const ROUND_TRIP_MS_MAX: u64 = 10_000;

/// Milliseconds since 1970-01-01 00:00 UTC, leap seconds left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Wall(pub i64);

/// How far the gateway's wall clock can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Quality {
    /// Not set since the gateway's boot: its time is meaningless.
    Unset,
    /// Set once, not synchronised now.
    Holdover,
    /// Synchronised.
    Synced,
}

/// A node asks for the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeAsked {
    /// This life.
    pub boot: Boot,
    /// Now.
    pub uptime: Millis,
    /// The number of the time to which this is an answer, sent at once; 0 if it is none.
    pub heard: u32,
}

/// What the gateway's clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Time {
    /// The node's life.
    pub boot: Boot,
    /// Another one each time, as random as the gateway can make the first; not 0.
    pub number: u32,
    /// The question's uptime; none where nothing was asked.
    pub asked: Option<Millis>,
    /// The wall clock.
    pub wall: Wall,
    /// How good it is.
    pub quality: Quality,
    /// Another number whenever the clock has been set or has jumped: what was known under another one is wrong.
    pub epoch: u32,
}

/// A wall time and how wrong it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WallNow {
    /// The time.
    pub wall: Wall,
    /// By so much it may be wrong either way, in ms, the gateway's own error left out.
    pub error_ms: u32,
    /// How good the gateway's clock was.
    pub quality: Quality,
}

/// How much `span_ms` counted by a node may be wrong, in ms.
#[must_use]
pub const fn drift_ms(span_ms: u64) -> u64 {
    // Thousandths of parts in a million, without leaving 64 bits.
    (span_ms / 1_000).saturating_mul(DRIFT_PPM_MAX as u64) / 1_000 + if span_ms == 0 { 0 } else { 1 }
}

/// One measured moment.
#[derive(Debug, Clone, Copy)]
struct Known {
    uptime: Millis,
    wall: Wall,
    error_ms: u32,
    quality: Quality,
    epoch: u32,
}

impl Known {
    fn at(&self, now: Millis) -> WallNow {
        let apart_ms = apart_ms(now, self.uptime);
        let error_ms = u64::from(self.error_ms).saturating_add(drift_ms(apart_ms.unsigned_abs()));
        WallNow {
            wall: Wall(self.wall.0.saturating_add(apart_ms)),
            error_ms: u32::try_from(error_ms).unwrap_or(u32::MAX),
            quality: self.quality,
        }
    }
}

fn apart_ms(later: Millis, earlier: Millis) -> i64 {
    i64::try_from(later.0.abs_diff(earlier.0)).map_or(i64::MAX, |apart| if later < earlier { -apart } else { apart })
}

/// What a node knows of the time, and when it asks for it.
#[derive(Debug, Clone)]
pub(crate) struct Timekeeper {
    known: Option<Known>,
    ask_at: Millis,
    asked: Option<Millis>,
    heard: u32,
}

impl Timekeeper {
    pub(crate) const fn new(now: Millis) -> Self {
        Self { known: None, ask_at: now, asked: None, heard: 0 }
    }

    pub(crate) fn welcomed(&mut self, now: Millis) {
        (self.ask_at, self.asked, self.heard) = (now.plus_ms(FIRST_MS), None, 0);
    }

    pub(crate) const fn ask_at(&self) -> Millis {
        self.ask_at
    }

    /// The question, if it is due.
    pub(crate) fn ask(&mut self, boot: Boot, now: Millis) -> Option<TimeAsked> {
        if now < self.ask_at {
            return None;
        }
        self.ask_at = now.plus_ms(UNANSWERED_MS);
        if self.asked.replace(now).is_some() {
            // Asked again: the round trip that the gateway would measure is long. It is to tell the time anew.
            self.heard = 0;
        }
        Some(TimeAsked { boot, uptime: now, heard: self.heard })
    }

    /// Takes what the gateway says.
    pub(crate) fn hear(&mut self, time: &Time, now: Millis) {
        let jumped = self.known.is_some_and(|known| known.epoch != time.epoch);
        let Some(asked) = time.asked else {
            self.known = self.known.filter(|_| !jumped);
            (self.asked, self.heard, self.ask_at) = (None, time.number, now);
            return;
        };
        if self.asked != Some(asked) {
            return;
        }
        self.asked = None;
        if core::mem::take(&mut self.heard) == 0 {
            // The node began: an answer to this tells the gateway its round trip.
            (self.heard, self.ask_at) = (time.number, now);
        } else {
            self.ask_at = now.plus_ms(INTERVAL_MS);
        }
        self.learn(time, asked, now, jumped);
    }

    fn learn(&mut self, time: &Time, asked: Millis, now: Millis, jumped: bool) {
        let round_trip_ms = now.0.saturating_sub(asked.0);
        if time.quality == Quality::Unset {
            self.known = None;
            return;
        }
        if round_trip_ms > ROUND_TRIP_MS_MAX {
            self.known = self.known.filter(|_| !jumped);
            return;
        }
        let half_ms = u32::try_from(round_trip_ms / 2).unwrap_or(u32::MAX);
        let known = Known {
            uptime: now,
            wall: Wall(time.wall.0.saturating_add(i64::from(half_ms))),
            // What halving and two clocks of whole milliseconds leave out.
            error_ms: half_ms.saturating_add(2),
            quality: time.quality,
            epoch: time.epoch,
        };
        let better = self
            .known
            .is_none_or(|before| jumped || time.quality > before.quality || known.error_ms <= before.at(now).error_ms);
        if better {
            self.known = Some(known);
        }
    }

    pub(crate) fn wall(&self, now: Millis) -> Option<WallNow> {
        self.known.map(|known| known.at(now))
    }
}
