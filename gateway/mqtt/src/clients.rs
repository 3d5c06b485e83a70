//! Who is connected, for an operator who asks. Each connection has one entry of about 150 bytes, in which it leaves its figures without a
//! lock; of those that were refused or ended by the front, the last [`ENDINGS_MAX`] with a client id and as many without one are remembered with the
//! reason.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use lamppost_event::DeviceId;
use tokio::time::Instant;

use crate::Cause;
use crate::bell::Bell;
use crate::cause::{Close, cut};

/// How many refusals and endings are remembered, of those with a client id and of those without.
pub const ENDINGS_MAX: usize = 256;

/// A connected client at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSeen {
    /// Its client id.
    pub device: DeviceId,
    /// The name it was let in by, if it needed one.
    pub user: Option<Arc<str>>,
    /// Its address, if the system knew it.
    pub peer: Option<SocketAddr>,
    /// MQTT 5.0, or else 3.1.1.
    pub v5: bool,
    /// How long it has been connected.
    pub connected: Duration,
    /// Publishes that the journal took of this connection.
    pub events: u64,
    /// Of those, not on disk yet.
    pub in_flight: u64,
    /// It came back to a session that was remembered.
    pub session_present: bool,
    /// How long its session outlives the connection. Zero: not at all.
    pub session_expiry: Duration,
    /// It is not read from because the journal is full.
    pub stalled: bool,
}

/// A connection that the front refused or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndingSeen {
    /// Its client id; empty if it had not said one.
    pub device: Box<str>,
    /// Its address, if the system knew it.
    pub peer: Option<SocketAddr>,
    /// Why.
    pub cause: Cause,
    /// The same in words, cut to 200 bytes.
    pub reason: Box<str>,
    /// How long ago.
    pub ago: Duration,
}

/// The clients of a front, for whoever looks. Bounded by the number of connections.
#[derive(Debug, Default)]
pub struct Clients {
    connected: Mutex<HashMap<u64, Arc<Tally>>>,
    next: AtomicU64,
    endings: Mutex<Endings>,
}

/// Of each kind the last [`ENDINGS_MAX`].
#[derive(Debug, Default)]
struct Endings {
    /// Of those that had said a client id.
    named: VecDeque<Ending>,
    /// Whoever is refused at the door, however often, pushes out none of the others.
    nameless: VecDeque<Ending>,
}

/// What a connection says of itself when it is let in.
#[derive(Debug, Clone)]
pub(crate) struct Introduced {
    pub(crate) device: DeviceId,
    pub(crate) user: Option<Arc<str>>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) v5: bool,
    pub(crate) session_present: bool,
    pub(crate) session_expiry: Duration,
}

#[derive(Debug)]
struct Tally {
    introduced: Introduced,
    since: Instant,
    events: AtomicU64,
    in_flight: AtomicU64,
    stalled: AtomicBool,
    bell: Bell,
}

#[derive(Debug)]
struct Ending {
    device: Box<str>,
    peer: Option<SocketAddr>,
    cause: Cause,
    reason: Box<str>,
    at: Instant,
}

/// A connection's place among the clients; dropping it leaves.
#[derive(Debug)]
pub(crate) struct Presence {
    clients: Arc<Clients>,
    number: u64,
    tally: Arc<Tally>,
}

impl Clients {
    /// All that are connected, in the order of their ids. Costs a copy of each: for people who ask, not for a loop.
    #[must_use]
    pub fn connected(&self) -> Vec<ClientSeen> {
        let now = Instant::now();
        // What can't be done quickly is done without the lock.
        let tallies: Vec<Arc<Tally>> = lock(&self.connected).values().map(Arc::clone).collect();
        let mut seen: Vec<ClientSeen> = tallies.iter().map(|tally| tally.seen(now)).collect();
        seen.sort_by(|one, other| one.device.as_str().cmp(other.device.as_str()));
        seen
    }

    /// The last that were refused or ended by the front, the latest first.
    #[must_use]
    pub fn endings(&self) -> Vec<EndingSeen> {
        let now = Instant::now();
        let seen = |ending: &Ending| EndingSeen {
            device: ending.device.clone(),
            peer: ending.peer,
            cause: ending.cause,
            reason: ending.reason.clone(),
            ago: now.saturating_duration_since(ending.at),
        };
        let endings = lock(&self.endings);
        let mut all: Vec<&Ending> = endings.named.iter().chain(&endings.nameless).collect();
        all.sort_by_key(|ending| std::cmp::Reverse(ending.at));
        all.into_iter().map(seen).collect()
    }

    /// A client was let in.
    pub(crate) fn enter(self: &Arc<Self>, introduced: Introduced) -> Presence {
        let tally = Arc::new(Tally {
            introduced,
            since: Instant::now(),
            events: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            bell: Bell::default(),
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.connected).insert(number, Arc::clone(&tally));
        Presence { clients: Arc::clone(self), number, tally }
    }

    /// Has all connections look at what concerns all of them.
    pub(crate) fn ring(&self) {
        let tallies: Vec<Arc<Tally>> = lock(&self.connected).values().map(Arc::clone).collect();
        tallies.iter().for_each(|tally| tally.bell.ring());
    }

    /// A connection was refused or ended.
    pub(crate) fn ended(&self, device: &str, peer: Option<SocketAddr>, close: &Close) {
        let reason = cut(&close.detail).into();
        let ending = Ending { device: device.into(), peer, cause: close.cause, reason, at: Instant::now() };
        let mut all = lock(&self.endings);
        let endings = if device.is_empty() { &mut all.nameless } else { &mut all.named };
        if endings.len() >= ENDINGS_MAX {
            endings.pop_front();
        }
        endings.push_back(ending);
    }
}

impl Presence {
    /// The connection's figures now: what only it changes, so that no other is in the way.
    pub(crate) fn tell(&self, events: u64, in_flight: usize, stalled: bool) {
        self.tally.events.store(events, Ordering::Relaxed);
        self.tally.in_flight.store(in_flight as u64, Ordering::Relaxed);
        self.tally.stalled.store(stalled, Ordering::Relaxed);
    }
}

impl Presence {
    /// Whether all connections were told to look since this was last so. Else the task is woken when they are.
    pub(crate) fn poll_rung(&self, context: &Context<'_>) -> Poll<()> {
        self.tally.bell.poll(context)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let left = lock(&self.clients.connected).remove(&self.number);
        debug_assert!(left.is_some(), "a client that left twice");
    }
}

impl Tally {
    fn seen(&self, now: Instant) -> ClientSeen {
        let Introduced { device, user, peer, v5, session_present, session_expiry } = self.introduced.clone();
        ClientSeen {
            device,
            user,
            peer,
            v5,
            session_present,
            session_expiry,
            connected: now.saturating_duration_since(self.since),
            events: self.events.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            stalled: self.stalled.load(Ordering::Relaxed),
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn introduced(device: &str) -> Introduced {
        Introduced {
            device: DeviceId::new(device).unwrap(),
            user: None,
            peer: Some("192.0.2.7:5000".parse().unwrap()),
            v5: true,
            session_present: false,
            session_expiry: Duration::from_secs(60),
        }
    }

    #[test]
    fn who_is_connected_is_listed_with_its_latest_figures_and_no_longer_than_it_stays() {
        let clients = Arc::new(Clients::default());
        let (later, first) = (clients.enter(introduced("b")), clients.enter(introduced("a")));
        later.tell(7, 2, true);
        let seen = clients.connected();
        assert_eq!(seen.iter().map(|it| it.device.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((seen[1].events, seen[1].in_flight, seen[1].stalled), (7, 2, true));
        // The same client again, before its earlier connection has left.
        let again = clients.enter(introduced("b"));
        drop(later);
        assert_eq!(clients.connected().len(), 2);
        drop((first, again));
        assert_eq!(clients.connected(), []);
    }

    #[test]
    fn the_last_endings_are_remembered_and_no_more_and_no_longer_ones() {
        let clients = Clients::default();
        for number in 0..ENDINGS_MAX + 3 {
            clients.ended(&format!("d{number}"), None, &Close::new(Cause::KeepAlive, "ü".repeat(300)));
        }
        let endings = clients.endings();
        assert_eq!(endings.len(), ENDINGS_MAX);
        assert_eq!(&*endings[0].device, format!("d{}", ENDINGS_MAX + 2));
        assert_eq!(&*endings[0].reason, "ü".repeat(100));
    }

    #[test]
    fn whoever_is_refused_without_a_name_pushes_out_none_that_has_one() {
        let clients = Clients::default();
        clients.ended("d1", None, &Close::new(Cause::KeepAlive, "silent"));
        for _ in 0..2 * ENDINGS_MAX {
            clients.ended("", None, &Close::new(Cause::Connections, "as many as allowed"));
        }
        let endings = clients.endings();
        assert_eq!((endings.len(), &*endings[ENDINGS_MAX].device), (ENDINGS_MAX + 1, "d1"));
        assert!(endings.is_sorted_by_key(|ending| ending.ago));
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Tally>() <= 160, "{} bytes", size_of::<Tally>());
    }
}
