//! What the journal's threads share state through: the standard library's locks and threads; or, under `--cfg shuttle`, models of
//! them whose scheduling a test chooses (`tests/interleavings.rs`).
//!
//! The figures ([`crate::Stats`]) stay with the standard library's atomics: nothing is decided by them.

#[cfg(not(shuttle))]
pub(crate) use std::{
    sync::atomic::{AtomicBool, AtomicU64},
    sync::{Condvar, Mutex, MutexGuard, OnceLock},
    thread::{Builder, JoinHandle, sleep},
};

#[cfg(shuttle)]
pub(crate) use model::{Condvar, Mutex, MutexGuard, OnceLock, sleep};
#[cfg(shuttle)]
pub(crate) use shuttle::{
    sync::atomic::{AtomicBool, AtomicU64},
    thread::{Builder, JoinHandle},
};

#[cfg(shuttle)]
mod model;

/// The time, for what takes microseconds: figures, and whether it pays to compress. Nothing else is decided by it.
#[cfg(not(shuttle))]
#[expect(clippy::disallowed_methods, reason = "the clock that is handed in counts milliseconds")]
pub(crate) fn moment() -> std::time::Instant {
    std::time::Instant::now()
}

/// Under shuttle it stands still: what is chosen there repeats.
#[cfg(shuttle)]
#[expect(clippy::disallowed_methods, reason = "any one moment will do")]
pub(crate) fn moment() -> std::time::Instant {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    *FIRST.get_or_init(std::time::Instant::now)
}
