//! What a port with a dust sensor has seen and done, for metrics.

use crate::{Count, PortStatus};

/// Everything counted since the source was made.
#[derive(Debug, Default)]
pub struct DustStatus {
    /// The port's own.
    pub port: PortStatus,
    /// Readings received, whatever became of them.
    pub readings: Count,
    /// Of these: passed over, since the sensor was warming up.
    pub warming: Count,
    /// Of these: passed over, since the sensor said that something was wrong with it.
    pub faulty: Count,
    /// Frames with a wrong length or checksum.
    pub frames_bad: Count,
    /// Bytes that were part of no good frame.
    pub garbage_bytes: Count,
    /// Intervals, the sensor being warm, in which no reading could be used.
    pub empty: Count,
    /// Means that the journal took.
    pub stored: Count,
    /// Means that found no room in time.
    pub missed: Count,
}
