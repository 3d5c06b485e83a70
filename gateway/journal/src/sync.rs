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
