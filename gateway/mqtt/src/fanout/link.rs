//! One client's way out of the router.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use super::mailbox::Mailbox;
use super::{Delivery, Held, Seat, Shared};

/// The router died. Its subscriptions are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the router of this link died")]
pub(crate) struct LinkEnded;

/// A link. Dropping it ends its subscriptions.
pub(crate) struct Link {
    mailbox: Arc<Mailbox>,
    filters: Vec<Box<str>>,
    shared: Arc<Shared>,
}

impl Link {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { mailbox: Arc::default(), filters: Vec::new(), shared }
    }

    /// Subscribes to what is published from now on. What is delivered for it carries `id`.
    pub(crate) fn subscribe(&mut self, filter: &str, id: usize) {
        let since = self.shared.last.load(Ordering::Acquire);
        let seat = Seat { mailbox: Arc::clone(&self.mailbox), id, since };
        self.shared.reseat(|seats| seats.insert(filter, seat));
        self.filters.push(filter.into());
    }

    pub(crate) fn unsubscribe(&mut self, filter: &str) {
        self.filters.retain(|of_ours| **of_ours != *filter);
        self.leave(filter);
    }

    fn leave(&self, filter: &str) {
        self.shared.reseat(|seats| seats.remove(filter, |seat| Arc::ptr_eq(&seat.mailbox, &self.mailbox)));
    }

    /// Takes bytes, of all that is on its way to subscribers, for a message that comes another way. `None`: there is no room now.
    pub(crate) fn hold(&self, bytes: usize) -> Option<Held> {
        self.mailbox.hold(bytes, &self.shared.pool)
    }

    /// The next message, or the task is woken when there may be one.
    pub(crate) fn poll_next(&self, context: &Context<'_>) -> Poll<Result<Delivery, LinkEnded>> {
        self.mailbox.poll_next(context)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.filters.iter().for_each(|filter| self.leave(filter));
    }
}
