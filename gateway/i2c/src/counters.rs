//! What a source has done, for metrics and for whoever looks after it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counts of one source, since it was made. Shared: the source counts, others read.
#[derive(Debug, Default)]
pub struct I2cCounters {
    pub(crate) polls: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) stored: AtomicU64,
    pub(crate) missed: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// The counts at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct I2cReport {
    /// Polls that were begun.
    pub polls: u64,
    /// Polls that failed: no bus, no chip, no answer in time, a wrong answer.
    pub errors: u64,
    /// Measured values that the journal took.
    pub stored: u64,
    /// What should have been measured or stored and was not, besides `errors`: polls left out (late, or pausing after a failure)
    /// and measured values that the journal had no room for before the next poll was due.
    pub missed: u64,
    /// The last failure, in words. It stays after the source has recovered.
    pub last_error: Option<String>,
}

impl I2cCounters {
    /// The counts now.
    #[must_use]
    pub fn report(&self) -> I2cReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        I2cReport {
            polls: read(&self.polls),
            errors: read(&self.errors),
            stored: read(&self.stored),
            missed: read(&self.missed),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    pub(crate) fn failed(&self, error: String) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    pub(crate) fn missed(&self, count: u64) {
        self.missed.fetch_add(count, Ordering::Relaxed);
    }
}
