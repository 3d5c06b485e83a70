//! What is inside the router: never more than it keeps, so that it drops nothing without a word.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Transit {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    messages: u64,
    bytes: usize,
    /// The feeder waits.
    waited_for: bool,
    /// The exchange has seen the end of this router: nothing more goes in.
    over: bool,
    /// And has told the mailboxes.
    told: bool,
}

/// The router died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Over;

impl Transit {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until(&self, ready: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while !ready(&state) {
            state.waited_for = true;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waited_for = false;
        state
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        if state.waited_for {
            self.changed.notify_one();
        }
    }

    /// A message goes in. Waits while there is more inside than `bytes_max`.
    pub(super) fn enter(&self, bytes: usize, bytes_max: usize) -> Result<(), Over> {
        let mut state = self.wait_until(|state| state.over || state.bytes == 0 || state.bytes + bytes <= bytes_max);
        if state.over {
            return Err(Over);
        }
        state.messages += 1;
        state.bytes += bytes;
        Ok(())
    }

    /// A message came out.
    pub(super) fn leave(&self, bytes: usize) {
        self.change(|state| {
            state.messages -= 1;
            state.bytes -= bytes;
        });
    }

    /// Nothing more comes out, and nothing more may go in.
    pub(super) fn end(&self) {
        self.change(|state| state.over = true);
    }

    /// Everybody concerned knows.
    pub(super) fn told(&self) {
        self.change(|state| state.told = true);
    }

    pub(super) fn is_over(&self) -> bool {
        self.lock().over
    }

    /// Waits until everybody concerned knows of the end; then messages and bytes that never come out.
    pub(super) fn lost(&self) -> (u64, usize) {
        let state = self.wait_until(|state| state.told);
        (state.messages, state.bytes)
    }
}
