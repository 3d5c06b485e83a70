//! What a bus has seen and done, for metrics and for whoever looks after it.

use std::sync::{Mutex, PoisonError};

use crate::{Count, PortStatus};

/// Everything counted since the source was made.
#[derive(Debug, Default)]
pub struct ModbusStatus {
    /// The port's own.
    pub port: PortStatus,
    /// Requests sent, the repeated ones too.
    pub requests: Count,
    /// Of these: sent again because the answer before was none.
    pub retries: Count,
    /// Requests that were not answered in time.
    pub silent: Count,
    /// Requests whose answer had a wrong checksum, or was noise.
    pub garbled: Count,
    /// Requests that another slave answered, or that were answered with something else.
    pub wrong: Count,
    /// The slaves, in the order of the configuration.
    pub slaves: Vec<SlaveStatus>,
}

/// What was counted of one slave.
#[derive(Debug, Default)]
pub struct SlaveStatus {
    /// The device that it reports as.
    pub device: String,
    /// Its address on the bus.
    pub id: u8,
    /// Polls begun.
    pub polls: Count,
    /// Polls that brought nothing, or not all.
    pub errors: Count,
    /// Answers with values, a request each: what shows that it gets on, also where others of its registers don't.
    pub answers: Count,
    /// Answers that were exceptions.
    pub exceptions: Count,
    /// Values that are no numbers, infinite, or can't be scaled exactly; they are not stored.
    pub unusable: Count,
    /// Values that the journal took.
    pub stored: Count,
    /// Polls left out (late, or pausing after a failure), and values that the journal had no room for before the next was due.
    pub missed: Count,
    last_error: Mutex<Option<String>>,
}

impl SlaveStatus {
    pub(crate) fn new(device: &str, id: u8) -> Self {
        Self { device: device.to_owned(), id, ..Self::default() }
    }

    /// The last thing that went wrong, in words. It stays after the slave has recovered.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_error(&self, error: &str) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_owned());
    }
}
