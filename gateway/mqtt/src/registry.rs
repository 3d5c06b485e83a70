//! Who is connected, and the sessions of those who are away. One client id has one connection at a time: whoever comes
//! later makes the earlier one leave, and waits until it has.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lamppost_event::DeviceId;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::Instant;

use crate::counters::{Counters, add};
use crate::outbound::Outbound;

/// A session whose client is away.
struct Away {
    outbound: Outbound,
    expires: Instant,
}

struct Entry {
    /// The ticket of the latest connection.
    latest: watch::Sender<u64>,
    /// Held by the connection that is served.
    session: Arc<tokio::sync::Mutex<Option<Away>>>,
}

/// All client ids that are connected or remembered.
pub(crate) struct Registry {
    entries: Mutex<HashMap<DeviceId, Arc<Entry>>>,
    sessions_max: usize,
    counters: Arc<Counters>,
}

impl Registry {
    pub(crate) fn new(sessions_max: usize, counters: Arc<Counters>) -> Self {
        Self { entries: Mutex::default(), sessions_max, counters }
    }

    /// Makes earlier connections of the client leave, waits until they have, and holds its place.
    pub(crate) async fn claim(self: &Arc<Self>, device: &DeviceId) -> Claim {
        let (entry, ticket, latest) = {
            let mut entries = self.lock();
            let entry = entries
                .entry(device.clone())
                .or_insert_with(|| Arc::new(Entry { latest: watch::Sender::new(0), session: Arc::default() }));
            entry.latest.send_modify(|latest| *latest += 1);
            let latest = entry.latest.subscribe();
            let ticket = *latest.borrow();
            (Arc::clone(entry), ticket, latest)
        };
        let mut claim = Claim {
            registry: Arc::clone(self),
            device: device.clone(),
            entry,
            place: None,
            ticket: Ticket { ticket, latest },
        };
        claim.place = Some(Arc::clone(&claim.entry.session).lock_owned().await);
        claim
    }

    /// Ends the sessions that were remembered long enough.
    pub(crate) fn expire(&self, now: Instant) {
        let mut ended = Vec::new();
        self.lock().retain(|_, entry| {
            if let Ok(mut session) = entry.session.try_lock()
                && session.as_ref().is_some_and(|away| away.expires <= now)
            {
                ended.extend(session.take());
            }
            // Whoever waits for the place holds the entry as well.
            Arc::strong_count(entry) > 1 || entry.session.try_lock().is_ok_and(|session| session.is_some())
        });
        self.counters.sessions_away_now.fetch_sub(ended.len() as u64, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the order of a client's connections.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    ticket: u64,
    latest: watch::Receiver<u64>,
}

impl Ticket {
    /// Completes when the client has connected again. Safe to cancel.
    pub(crate) async fn superseded(&mut self) {
        let ticket = self.ticket;
        if self.latest.wait_for(|latest| *latest > ticket).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The right to serve a client. Dropping it lets the next connection in.
pub(crate) struct Claim {
    registry: Arc<Registry>,
    device: DeviceId,
    entry: Arc<Entry>,
    place: Option<OwnedMutexGuard<Option<Away>>>,
    pub(crate) ticket: Ticket,
}

impl Claim {
    /// The session that was left, if it is not too late.
    pub(crate) fn resume(&mut self) -> Option<Outbound> {
        let away = self.place.as_mut()?.take()?;
        self.registry.counters.sessions_away_now.fetch_sub(1, Ordering::Relaxed);
        (away.expires > Instant::now()).then_some(away.outbound)
    }

    /// Leaves the session to be resumed until `expires`, if there is room for one more.
    pub(crate) fn leave(mut self, outbound: Outbound, expires: Instant) {
        let away_now = &self.registry.counters.sessions_away_now;
        if away_now.load(Ordering::Relaxed) >= self.registry.sessions_max as u64 {
            return;
        }
        if let Some(place) = self.place.as_mut() {
            add(away_now, 1);
            **place = Some(Away { outbound, expires });
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Never let in: whether a session is remembered is not known, and `expire` clears up later.
        let remembered = self.place.take().is_none_or(|place| place.is_some());
        let mut entries = self.registry.lock();
        // The map's own and this one: nobody waits.
        if !remembered && Arc::strong_count(&self.entry) == 2 {
            entries.remove(&self.device);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn registry(sessions_max: usize) -> (Arc<Registry>, DeviceId, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        (Arc::new(Registry::new(sessions_max, Arc::clone(&counters))), DeviceId::new("d").unwrap(), counters)
    }

    fn in_an_hour() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[tokio::test]
    async fn a_later_connection_waits_until_the_earlier_one_has_left() {
        let (registry, device, _) = registry(1);
        let mut first = registry.claim(&device).await;
        let second = tokio::spawn({
            let (registry, device) = (Arc::clone(&registry), device.clone());
            async move { registry.claim(&device).await }
        });
        timeout(Duration::from_secs(5), first.ticket.superseded()).await.expect("the first was not told");
        assert!(!second.is_finished());
        drop(first);
        let mut second = timeout(Duration::from_secs(5), second).await.expect("the second was not let in").unwrap();
        assert!(timeout(Duration::from_millis(20), second.ticket.superseded()).await.is_err());
        drop(second);
        assert!(registry.lock().is_empty());
    }

    #[tokio::test]
    async fn sessions_are_remembered_until_they_expire_and_no_more_than_allowed() {
        let (registry, device, counters) = registry(1);
        registry.claim(&device).await.leave(Outbound::default(), in_an_hour());
        let other = DeviceId::new("other").unwrap();
        registry.claim(&other).await.leave(Outbound::default(), in_an_hour());
        assert!(registry.claim(&other).await.resume().is_none());
        assert_eq!(counters.sessions_away_now.load(Ordering::Relaxed), 1);

        registry.expire(Instant::now());
        assert!(registry.claim(&device).await.resume().is_some());
        registry.claim(&device).await.leave(Outbound::default(), in_an_hour());
        registry.expire(in_an_hour());
        assert!(registry.claim(&device).await.resume().is_none());
        assert_eq!(counters.sessions_away_now.load(Ordering::Relaxed), 0);
        assert!(registry.lock().is_empty());
    }
}
