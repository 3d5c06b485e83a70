//! From the journal's side of the front to subscribers: rumqttd's router behind a guard.
//!
//! The router is a thread of another crate that keeps everything in RAM, never shrinks some of its maps and can be made to
//! panic. So one feeder thread of ours owns all that is sent to it, and holds these invariants:
//!
//! - Nothing goes in before it is on disk, and ingest never waits for it: what finds no room is shed and counted.
//! - Every topic and filter goes in under the prefix `t/`: the router slices a topic's first byte, and would panic on `é`.
//! - Every message goes in as an [`envelope`], never empty: the router takes an empty payload for the removal of a retained
//!   message. It carries QoS, properties, expiry and publisher, which the router would lose or mix up.
//! - Nothing that must outlive it depends on it: retained messages, and what remembered sessions are to have with QoS 1, are kept and
//!   sent by ourselves.
//! - A link's end is sent only by the feeder, after its receiver is gone: a wake-up behind it would make the router panic.
//! - Links have names of ours from a bounded set; filters and topics are counted and bounded.
//! - When the router dies, another one is started, and the links of the old one report their end.

mod envelope;
mod feeder;
mod link;
mod router;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use tokio::sync::oneshot;

pub(crate) use envelope::Delivery;
pub(crate) use link::{Link, LinkEnded};

use crate::counters::{Counters, add};
use crate::message::Message;
use crate::{Limits, topic};

/// Why there is no link to the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("there are as many subscribers as allowed")]
    Full,
    #[error("the router does not answer")]
    Router,
}

/// What the feeder is told to do.
enum Command {
    Publish(Message),
    Open(oneshot::Sender<Result<Link, OpenError>>),
    Subscribe {
        link: link::Name,
        filter: String,
        id: usize,
    },
    Unsubscribe {
        link: link::Name,
        filter: String,
    },
    Close {
        link: link::Name,
    },
    Stop,
    #[cfg(test)]
    Panic,
}

/// The guarded router. Cloning is a reference count.
#[derive(Clone)]
pub(crate) struct Fanout {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

/// What the feeder and the connections share.
struct Shared {
    limits: Arc<Limits>,
    counters: Arc<Counters>,
    /// Bytes of publications in the queue.
    queued_bytes: AtomicUsize,
    /// Links that are open or being opened. Without any, nothing needs to go in.
    links: AtomicUsize,
    /// The filters that the present router has seen.
    filters: Mutex<HashSet<Box<str>>>,
}

impl Fanout {
    /// Starts the router and its feeder.
    pub(crate) fn start(limits: Arc<Limits>, counters: Arc<Counters>) -> std::io::Result<Self> {
        let (commands, queue) = mpsc::channel();
        let shared = Arc::new(Shared {
            limits,
            counters,
            queued_bytes: AtomicUsize::new(0),
            links: AtomicUsize::new(0),
            filters: Mutex::default(),
        });
        feeder::start(queue, commands.clone(), Arc::clone(&shared))?;
        Ok(Self { commands, shared })
    }

    /// Whether any client that is here subscribes to anything.
    pub(crate) fn wanted(&self) -> bool {
        self.shared.links.load(Ordering::Acquire) > 0
    }

    /// Sends a stored message on. Never blocks; without room it is shed and counted.
    pub(crate) fn publish(&self, message: Message) {
        let bytes = message.bytes();
        let before = self.shared.queued_bytes.fetch_add(bytes, Ordering::AcqRel);
        if before + bytes > self.shared.limits.fanout_bytes_max
            || self.commands.send(Command::Publish(message)).is_err()
        {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
            add(&self.shared.counters.fanout_shed, 1);
        }
    }

    /// A link for one client's subscriptions.
    pub(crate) async fn open(&self) -> Result<Link, OpenError> {
        // Before the answer, so that nothing published after the SUBACK is left out.
        self.shared.links.fetch_add(1, Ordering::AcqRel);
        let mut opened = self.ask_for_a_link().await;
        if matches!(opened, Err(OpenError::Router)) {
            // That it is dead was found by asking; now there is another.
            opened = self.ask_for_a_link().await;
        }
        if opened.is_err() {
            self.shared.links.fetch_sub(1, Ordering::AcqRel);
        }
        opened
    }

    async fn ask_for_a_link(&self) -> Result<Link, OpenError> {
        let (answer, answered) = oneshot::channel();
        match self.commands.send(Command::Open(answer)) {
            Ok(()) => answered.await.unwrap_or(Err(OpenError::Router)),
            Err(_) => Err(OpenError::Router),
        }
    }

    /// Ends the feeder. The router's thread can't be ended; it goes with the process.
    pub(crate) fn stop(&self) {
        // Without a feeder it is stopped already.
        drop(self.commands.send(Command::Stop));
    }

    /// Whether the router may be given this filter; it keeps each for ever.
    pub(crate) fn admits(&self, filter: &str) -> bool {
        let mut filters = self.shared.filters.lock().unwrap_or_else(PoisonError::into_inner);
        if filters.contains(filter) {
            return true;
        }
        let room = filters.len() < self.shared.limits.filters_max;
        if room {
            filters.insert(filter.into());
        }
        room
    }

    /// Makes the router panic, as its own defects can.
    #[cfg(test)]
    pub(crate) fn make_router_panic(&self) {
        self.commands.send(Command::Panic).unwrap();
    }
}

impl Shared {
    /// Whether a filter that the router knows covers the topic.
    fn covered(&self, name: &str) -> bool {
        let filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        filters.iter().any(|filter| topic::covers(filter, name))
    }

    fn forget_filters(&self) {
        self.filters.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
