//! What a port with lines has seen and done, for metrics.

use crate::{Count, PortStatus};

/// Everything counted since the source was made.
#[derive(Debug, Default)]
pub struct LinesStatus {
    /// The port's own.
    pub port: PortStatus,
    /// Lines read, whatever became of them.
    pub lines: Count,
    /// Of these: passed over, as configured.
    pub skipped: Count,
    /// Of these: stored as dead letters, since they could not be decoded.
    pub undecodable: Count,
    /// Values that the journal took.
    pub stored: Count,
    /// Ends of lines whose beginning was not read: one at most for each opening and each overrun.
    pub partial: Count,
    /// Values or lines larger than an event may be.
    pub too_large: Count,
    /// Times that the journal had no room and reading stopped.
    pub stalls: Count,
    /// Times that the port's buffer ran full meanwhile: what it held was given up.
    pub overruns: Count,
}
