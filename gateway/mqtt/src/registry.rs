//! Who is connected. One client id has one connection at a time: whoever comes later makes the earlier one leave, and waits until it
//! has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lamppost_event::DeviceId;
use tokio::sync::{OwnedMutexGuard, watch};

#[derive(Debug)]
struct Entry {
    latest: watch::Sender<Latest>,
    /// Held by the connection that is served.
    place: Arc<tokio::sync::Mutex<()>>,
}

/// Tickets of a client's connections, which are counted from 1.
#[derive(Debug, Clone, Copy, Default)]
struct Latest {
    ticket: u64,
    /// Of the latest that discarded the session. 0: none did.
    clean: u64,
}

/// All client ids that are connected, or whose next connection somebody waits for.
#[derive(Default)]
pub(crate) struct Registry {
    entries: Mutex<HashMap<DeviceId, Arc<Entry>>>,
}

impl Registry {
    /// Makes earlier connections of the client leave, waits until they have, and holds its place. `clean`: it discards its session.
    pub(crate) async fn claim(self: &Arc<Self>, device: &DeviceId, clean: bool) -> Claim {
        let entry = self.entry(device);
        entry.latest.send_modify(|latest| {
            latest.ticket += 1;
            if clean {
                latest.clean = latest.ticket;
            }
        });
        let ticket = Ticket::of(&entry);
        let place = Arc::clone(&entry.place);
        let mut claim = Claim { registry: Arc::clone(self), device: device.clone(), entry, place: None, ticket };
        claim.place = Some(place.lock_owned().await);
        claim
    }

    /// A ticket for a client that is away: superseded when it connects.
    pub(crate) fn ticket(&self, device: &DeviceId) -> Ticket {
        Ticket::of(&self.entry(device))
    }

    /// Forgets clients that nobody knows any more.
    pub(crate) fn tidy(&self) {
        self.lock().retain(|_, entry| Arc::strong_count(entry) > 1);
    }

    fn entry(&self, device: &DeviceId) -> Arc<Entry> {
        let fresh = || Arc::new(Entry { latest: watch::Sender::default(), place: Arc::default() });
        Arc::clone(self.lock().entry(device.clone()).or_insert_with(fresh))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the order of a client's connections.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    ticket: u64,
    latest: watch::Receiver<Latest>,
    /// Keeps the order from beginning anew.
    _entry: Arc<Entry>,
}

impl Ticket {
    fn of(entry: &Arc<Entry>) -> Self {
        let latest = entry.latest.subscribe();
        let ticket = latest.borrow().ticket;
        Self { ticket, latest, _entry: Arc::clone(entry) }
    }

    /// Completes when the client has connected again. Returns whether it has discarded its session since. Safe to cancel.
    pub(crate) async fn superseded(&mut self) -> bool {
        let ticket = self.ticket;
        let Ok(latest) = self.latest.wait_for(|latest| latest.ticket > ticket).await.map(|latest| *latest) else {
            return std::future::pending().await;
        };
        latest.clean > ticket
    }
}

/// The right to serve a client. Dropping it lets the next connection in.
pub(crate) struct Claim {
    registry: Arc<Registry>,
    device: DeviceId,
    entry: Arc<Entry>,
    place: Option<OwnedMutexGuard<()>>,
    pub(crate) ticket: Ticket,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.place = None;
        let mut entries = self.registry.lock();
        // The map's own, this one and its ticket's: nobody waits.
        if Arc::strong_count(&self.entry) == 3 {
            entries.remove(&self.device);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_later_connection_waits_until_the_earlier_one_has_left() {
        let (registry, device) = (Arc::new(Registry::default()), DeviceId::new("d").unwrap());
        let mut first = registry.claim(&device, false).await;
        let second = tokio::spawn({
            let (registry, device) = (Arc::clone(&registry), device.clone());
            async move { registry.claim(&device, true).await }
        });
        let discarded =
            timeout(Duration::from_secs(5), first.ticket.superseded()).await.expect("the first was not told");
        assert!(discarded);
        assert!(!second.is_finished());
        drop(first);
        let mut second = timeout(Duration::from_secs(5), second).await.expect("the second was not let in").unwrap();
        assert!(timeout(Duration::from_millis(20), second.ticket.superseded()).await.is_err());
        drop(second);
        assert!(registry.lock().is_empty());
    }

    #[tokio::test]
    async fn who_waits_for_a_client_that_is_away_hears_of_its_next_connection() {
        let (registry, device) = (Arc::new(Registry::default()), DeviceId::new("d").unwrap());
        let kept = registry.claim(&device, true).await.ticket.clone();
        let mut waiting = [kept, registry.ticket(&device)];
        drop(registry.claim(&device, false).await);
        for ticket in &mut waiting {
            let told = timeout(Duration::from_secs(5), ticket.superseded()).await;
            assert_eq!(told, Ok(false), "was not told, or of a session that was discarded before");
        }
        drop(waiting);
        registry.tidy();
        assert!(registry.lock().is_empty());
    }
}
