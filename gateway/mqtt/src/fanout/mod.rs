//! From the journal's side of the front to subscribers that are here: rumqttd's router, and who wants what.
//!
//! ```text
//! publish ──► feeder ──► rumqttd's router ──► exchange ──► mailboxes ──► connections
//!               (one link in, one link out)      └─ a tree of all filters
//! ```
//!
//! The router is a thread of another crate that keeps everything in RAM, never shrinks some of its maps and can be made to
//! panic. It would keep a log of its own for each filter, for as long as it lives, and a link with buffers for each subscriber. So it carries all messages under one topic to one link of ours, and the filters are ours:
//!
//! - Nothing goes in before it is on disk, or that nobody subscribes to, and ingest never waits for it: what finds no room is
//!   shed and counted, never dropped by the router without a word.
//! - Every message goes in as an [`envelope`], never empty: the router takes an empty payload for the removal of a retained
//!   message. It carries topic, QoS, properties, expiry and publisher, which the router would lose or mix up.
//! - Nothing that must outlive it depends on it: retained messages, and what remembered sessions are to have with QoS 1, are kept and
//!   sent by ourselves.
//! - All that is on its way has one bound in bytes; who does not read gets at most half of what is free of it.
//! - When the router dies, another one is started, and the links of that time report their end: what was in it is lost.

mod envelope;
mod exchange;
mod feeder;
mod link;
mod mailbox;
mod router;
#[cfg(test)]
mod tests;
mod transit;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};

pub(crate) use link::{Link, LinkEnded};
pub(crate) use mailbox::{Delivery, Held};
use mailbox::{Mailbox, Pool};

use crate::Limits;
use crate::counters::{Counters, add};
use crate::filters::{Filters, filter_bytes};
use crate::message::Message;

/// What the feeder is told to do.
enum Command {
    /// The message and its number.
    Publish(Message, u64),
    /// The router may have died.
    Look,
    Stop,
    /// Panic, and then do nothing until the other end is dropped.
    #[cfg(test)]
    Panic(mpsc::Receiver<()>),
}

/// The guarded router. Cloning is a reference count.
#[derive(Clone)]
pub(crate) struct Fanout {
    /// Bounded by the pool: messages have their bytes there.
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

/// A subscription's end in the tree.
struct Seat {
    mailbox: Arc<Mailbox>,
    /// The link's number of it.
    id: usize,
    /// What was published up to this number is not for it.
    since: u64,
}

/// What feeder, exchange and connections share.
struct Shared {
    limits: Arc<Limits>,
    counters: Arc<Counters>,
    pool: Arc<Pool>,
    /// The number of the last message.
    last: AtomicU64,
    seats: RwLock<Filters<Seat>>,
    /// How many those are. Without any, nothing needs to go in.
    seated: AtomicUsize,
}

impl Fanout {
    /// Starts the router and its feeder.
    pub(crate) fn start(limits: Arc<Limits>, counters: Arc<Counters>) -> std::io::Result<Self> {
        let (commands, queue) = mpsc::channel();
        let shared = Arc::new(Shared {
            pool: Pool::new(limits.fanout_bytes_max),
            limits,
            counters,
            last: AtomicU64::new(0),
            seats: RwLock::default(),
            seated: AtomicUsize::new(0),
        });
        feeder::start(queue, commands.clone(), Arc::clone(&shared))?;
        Ok(Self { commands, shared })
    }

    /// Whether any client that is here subscribes to anything.
    pub(crate) fn wanted(&self) -> bool {
        self.shared.seated.load(Ordering::Acquire) > 0
    }

    /// Sends a stored message on. Never blocks; without room it is shed and counted.
    pub(crate) fn publish(&self, message: Message) {
        let number = self.shared.last.fetch_add(1, Ordering::AcqRel) + 1;
        if !self.wanted() || !self.shared.seats().covers(message.topic.as_str()) {
            return;
        }
        let bytes = message.bytes();
        if !self.shared.pool.take(bytes) {
            add(&self.shared.counters.fanout_shed, 1);
        } else if self.commands.send(Command::Publish(message, number)).is_err() {
            self.shared.pool.give(bytes);
            add(&self.shared.counters.fanout_shed, 1);
        }
    }

    /// Of all that is on its way to subscribers.
    pub(crate) fn held_bytes(&self) -> usize {
        self.shared.pool.used()
    }

    /// A link for one client's subscriptions.
    pub(crate) fn open(&self) -> Link {
        Link::new(Arc::clone(&self.shared))
    }

    /// Ends the feeder. The router's thread can't be ended; it goes with the process.
    pub(crate) fn stop(&self) {
        // Without a feeder it is stopped already.
        drop(self.commands.send(Command::Stop));
    }

    /// Whether there is room for this filter, beside others with so many bytes that are about to come.
    pub(crate) fn admits(&self, filter: &str, others_bytes: usize) -> bool {
        let bytes = self.shared.seats().bytes() + others_bytes + filter_bytes(filter);
        bytes <= self.shared.limits.filters_bytes_max
    }

    /// Makes the router panic, as its own defects can. Another is not started before what is returned is dropped.
    #[cfg(test)]
    pub(crate) fn make_router_panic(&self) -> mpsc::Sender<()> {
        let (held, until_dropped) = mpsc::channel();
        self.commands.send(Command::Panic(until_dropped)).unwrap();
        held
    }
}

impl Shared {
    fn seats(&self) -> RwLockReadGuard<'_, Filters<Seat>> {
        self.seats.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes who wants what.
    fn reseat<T>(&self, change: impl FnOnce(&mut Filters<Seat>) -> T) -> T {
        let mut seats: RwLockWriteGuard<'_, _> = self.seats.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut seats);
        self.seated.store(seats.count(), Ordering::Release);
        changed
    }
}
