//! What wakes one task, whoever has something for it.
//!
//! A connection waits for many things at once, of which nearly none ever happens. With futures of the runtime's each wait costs an entry in a
//! list that all connections share, and each time that it is given up, two neighbours' memory: with 10,000 connections that was a good
//! part of what an event cost. Here who waits leaves its waker, once, and looks for itself when it is woken.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// One that waits. It is heard by whoever polled last.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rung: bool,
    waker: Option<Waker>,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes who waits, or the next who would.
    pub(crate) fn ring(&self) {
        let mut state = self.lock();
        state.rung = true;
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Whether it was rung since this was last so. Else the task is woken when it is.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if std::mem::take(&mut state.rung) {
            return Poll::Ready(());
        }
        leave(&mut state.waker, context);
        Poll::Pending
    }
}

/// Leaves the task's waker, unless it is there.
pub(crate) fn leave(place: &mut Option<Waker>, context: &Context<'_>) {
    match place {
        Some(left) => left.clone_from(context.waker()),
        None => *place = Some(context.waker().clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn it_wakes_who_polled_last_and_is_heard_once() {
        let (bell, first, second) = (Bell::default(), Arc::new(Count::default()), Arc::new(Count::default()));
        let poll = |by: &Arc<Count>| bell.poll(&Context::from_waker(&Waker::from(Arc::clone(by)))).is_ready();
        bell.ring();
        assert!(poll(&first), "rung before anybody waited");
        assert!(!poll(&first) && !poll(&first) && !poll(&second));
        bell.ring();
        bell.ring();
        assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (0, 1));
        assert!(poll(&second) && !poll(&second));
    }
}
