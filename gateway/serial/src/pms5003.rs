//! Plantower PMS5003 and its kin: dust, on a serial line of its own (`lamppost-pms5003` has the protocol).
//!
//! ```text
//! port ── bytes ──► Parser ── reading, about each second ──► Gathering ── means, each interval ──► Intake::offer ──► journal
//! ```
//!
//! The sensor sends on its own and knows no acknowledgement: what has come since the last interval's end is lost with the gateway.
//! What is stored is the mean of an interval, of the masses for the atmosphere. Readings of the first half minute after the port was
//! opened, or after a silence in which the sensor may have slept, are not to be used (data manual 2016): they are counted and passed over.

mod gathering;
mod source;
mod status;

use std::time::Duration;

use lamppost_event::DeviceId;

pub use source::DustSource;
pub use status::DustStatus;

/// How a dust sensor is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DustOptions {
    /// Who reports.
    pub device: DeviceId,
    /// Over how long means are taken. 10 s.
    pub every: Duration,
    /// How long after its start the sensor is not to be believed. 30 s.
    pub warm_up: Duration,
}

impl DustOptions {
    /// Means over 10 s, of a sensor that warms up for 30 s.
    #[must_use]
    pub const fn new(device: DeviceId) -> Self {
        Self { device, every: Duration::from_secs(10), warm_up: Duration::from_secs(30) }
    }
}
