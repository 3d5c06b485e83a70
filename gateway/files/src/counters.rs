//! What the file sink counts; the daemon exports it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// What the file sink counts since its start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Events that are on disk and whose cursors have passed them.
    pub delivered: AtomicU64,
    /// Bytes written to files, as they lie there.
    pub bytes: AtomicU64,
    /// Files finished.
    pub finished: AtomicU64,
    /// Finished files that were deleted because the folder was full.
    pub deleted: AtomicU64,
    /// Their bytes.
    pub deleted_bytes: AtomicU64,
    /// Times that something failed on the disk, or the folder was found full.
    pub retries: AtomicU64,
    /// Gaps of the journal that cursors passed; each is a line.
    pub gaps: AtomicU64,
    /// Events that those gaps swallowed.
    pub gap_events: AtomicU64,
    /// Bytes of `.part` files that were cut off behind the last whole line.
    pub torn_bytes: AtomicU64,
    /// Bytes in the folder now.
    pub folder_bytes: AtomicU64,
    paused: Mutex<Option<String>>,
}

impl Counters {
    /// Why nothing moves, in words for a human; `None`: nothing is paused.
    #[must_use]
    pub fn paused_reason(&self) -> Option<String> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the reason, and says so in the log if it is another than before.
    pub(crate) fn set_paused(&self, reason: Option<String>) {
        let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        if *paused == reason {
            return;
        }
        match &reason {
            Some(reason) => tracing::error!(reason, "the file sink is paused; nothing is dropped, it is tried again"),
            None => tracing::info!("the file sink goes on"),
        }
        *paused = reason;
    }

    pub(crate) fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Relaxed);
    }
}
