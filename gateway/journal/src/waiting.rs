//! Waiting without a runtime: a list of wakers, woken all at once. What is waited for is looked at again by each.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use crate::sync::{Mutex, MutexGuard};

/// Locks; a panic of another holder does not spread (each holder leaves its data in order at every step).
pub(crate) fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct List {
    next_id: u64,
    wakers: BTreeMap<u64, Waker>,
}

/// Those who wait for one thing.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<List>);

impl Waiters {
    /// Wakes all.
    pub(crate) fn wake(&self) {
        let woken = std::mem::take(&mut hold(&self.0).wakers);
        for waker in woken.into_values() {
            waker.wake();
        }
    }

    /// Completes once `look` gives something. It is called again after each [`Waiters::wake`].
    pub(crate) fn wait<T, F: FnMut() -> Option<T> + Send + Unpin>(&self, look: F) -> Wait<'_, F> {
        let mut list = hold(&self.0);
        list.next_id += 1;
        Wait { waiters: self, id: list.next_id, look }
    }
}

/// See [`Waiters::wait`].
pub(crate) struct Wait<'a, F> {
    waiters: &'a Waiters,
    id: u64,
    look: F,
}

impl<T, F: FnMut() -> Option<T> + Unpin> Future for Wait<'_, F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        if let Some(found) = (self.look)() {
            return Poll::Ready(found);
        }
        hold(&self.waiters.0).wakers.insert(self.id, context.waker().clone());
        // It may have happened between the look and the entry in the list.
        (self.look)().map_or(Poll::Pending, Poll::Ready)
    }
}

impl<F> Drop for Wait<'_, F> {
    fn drop(&mut self) {
        hold(&self.waiters.0).wakers.remove(&self.id);
    }
}
