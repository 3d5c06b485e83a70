//! The ceiling on what goes out: so many bytes a second on the wire, as a metered link is paid for. Pure.
//!
//! What went out is told by librdkafka now and then ([`crate::wire`]), and only afterwards: what was handed over since then is counted by
//! what its like took before.
//!
//! ```text
//! spent      what was told, and what a producer that is gone may have sent since
//! owed       what was handed over and was not acknowledged when it was told, times the ratio
//! allowed    the ceiling times the time, growing up to [`BURST`] ahead of what is spent and owed
//! ```
//!
//! Events go while `spent + owed` is below `allowed`. Whatever the estimate misses is made good at the next telling, since `spent` is
//! then the truth again: an error of the estimate shifts what goes out in time and never adds up. Once nothing may go, a [`PORTION`] is waited for,
//! so that batches stay worth compressing.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::Instant;

/// So much may be saved up while there is little to send, in time of the ceiling.
const BURST: Duration = Duration::from_millis(250);
/// So much at most of what was taken for sent and was not, likewise.
const GIVEN_BACK: Duration = Duration::from_millis(600);
/// So much goes at a time, likewise.
const PORTION: Duration = Duration::from_millis(100);
/// So much may be in flight, likewise: what comes in now is not behind more than that.
const IN_FLIGHT: Duration = Duration::from_secs(2);
/// A batch is at most so much, likewise, and before it is compressed.
const BATCH: Duration = Duration::from_secs(1);
/// But never less than these, in bytes: some events at once, whatever the ceiling.
const IN_FLIGHT_MIN: usize = 64 << 10;
const BATCH_MIN: usize = 16 << 10;
/// How often librdkafka is to tell.
pub(crate) const TOLD_EVERY: Duration = Duration::from_millis(500);
/// What is older counts less with each telling by this factor.
const FADE: f64 = 0.9;
/// From less nothing is concluded, in bytes of the window.
const SAMPLE_MIN: f64 = 16_384.0;
const RATIO_MIN: f64 = 0.01;
const RATIO_MAX: f64 = 4.0;

/// The ceiling, and how far it is used.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_s: f64,
    allowed: f64,
    spent: f64,
    at: Option<Instant>,
    open: bool,
    /// Bytes on the wire for each byte as the window counts them.
    ratio: f64,
    sample_wire: f64,
    sample_window: f64,
    /// As the window counts: all that was handed over, and what of it was acknowledged when last told.
    handed: u64,
    acknowledged: u64,
    told: u64,
}

impl Pace {
    /// `told`: what had gone out in all before.
    pub(crate) fn new(bytes_per_s: NonZeroU64, told: u64) -> Self {
        Self {
            bytes_per_s: as_f64(bytes_per_s.get()),
            allowed: 0.0,
            spent: 0.0,
            at: None,
            open: true,
            // Until something is known: as if nothing were compressed, and the window's overhead went out too.
            ratio: 1.0,
            sample_wire: 0.0,
            sample_window: 0.0,
            handed: 0,
            acknowledged: 0,
            told,
        }
    }

    /// Whether an event may go now.
    pub(crate) fn admits(&mut self, now: Instant) -> bool {
        let balance = self.balance(now);
        self.open = if self.open { balance > 0.0 } else { balance >= self.of(PORTION) };
        self.open
    }

    /// When to ask again; `None` while events may go.
    pub(crate) fn ask_again(&mut self, now: Instant) -> Option<Instant> {
        if self.open {
            return None;
        }
        let missing = (self.of(PORTION) - self.balance(now)).max(0.0);
        // Nobody who has nothing to send is woken again and again.
        self.open = missing <= 0.0;
        let wait = Duration::try_from_secs_f64(missing / self.bytes_per_s).unwrap_or(TOLD_EVERY);
        Some(now + wait.clamp(Duration::from_millis(1), TOLD_EVERY))
    }

    /// An event of so many bytes, as the window counts them, was handed over.
    pub(crate) fn handed(&mut self, bytes: usize) {
        self.handed = self.handed.saturating_add(bytes as u64);
    }

    /// So many bytes have gone out in all, and so many of the window are in flight.
    pub(crate) fn told(&mut self, wire_bytes: u64, in_flight_bytes: usize) {
        let gone = as_f64(wire_bytes.saturating_sub(self.told));
        self.told = wire_bytes;
        let acknowledged = self.handed.saturating_sub(in_flight_bytes as u64).max(self.acknowledged);
        let done = as_f64(acknowledged - self.acknowledged);
        self.acknowledged = acknowledged;
        self.spent += gone;
        self.sample_wire = self.sample_wire * FADE + gone;
        self.sample_window = self.sample_window * FADE + done;
        if self.sample_window >= SAMPLE_MIN {
            self.ratio = (self.sample_wire / self.sample_window).clamp(RATIO_MIN, RATIO_MAX);
        }
    }

    /// So many bytes went out beside these: they are of the same ceiling.
    pub(crate) fn others_wrote(&mut self, wire_bytes: u64) {
        self.spent += as_f64(wire_bytes);
    }

    /// The producer is gone, and with it what it would have told: what it was given counts as sent.
    pub(crate) fn write_off(&mut self) {
        self.spent += self.owed();
        self.acknowledged = self.handed;
    }

    /// The most that may be in flight, as the window counts: some seconds of the ceiling.
    pub(crate) fn in_flight_max(&self, configured: usize) -> usize {
        configured.min(as_bytes(self.of(IN_FLIGHT) / self.ratio).max(IN_FLIGHT_MIN))
    }

    /// The largest batch, in bytes before compression.
    pub(crate) fn batch_max(&self, configured: usize) -> usize {
        configured.min(as_bytes(self.of(BATCH)).max(BATCH_MIN))
    }

    fn balance(&mut self, now: Instant) -> f64 {
        let since = self.at.replace(now).map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let used = self.spent + self.owed();
        let room = (used + self.of(BURST) - self.allowed).max(0.0);
        // What an estimate took in vain and a telling gave back is not saved up: it stays, up to a bound.
        self.allowed =
            (self.allowed + (since.as_secs_f64() * self.bytes_per_s).min(room)).min(used + self.of(GIVEN_BACK));
        self.allowed - used
    }

    fn owed(&self) -> f64 {
        as_f64(self.handed - self.acknowledged) * self.ratio
    }

    fn of(&self, time: Duration) -> f64 {
        self.bytes_per_s * time.as_secs_f64()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of bytes below 2^53")]
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is not negative")]
fn as_bytes(bytes: f64) -> usize {
    bytes as usize
}

#[cfg(test)]
mod tests;
