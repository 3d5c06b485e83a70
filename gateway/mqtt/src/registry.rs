//! Who is connected. One client id has one connection at a time: whoever comes later makes the earlier one leave, and waits until it
//! has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lamppost_event::DeviceId;
use tokio::sync::{OwnedMutexGuard, watch};

#[derive(Debug)]
struct Entry {
    /// The ticket of the latest connection.
    latest: watch::Sender<u64>,
    /// Held by the connection that is served.
    place: Arc<tokio::sync::Mutex<()>>,
}

/// All client ids that are connected, or whose next connection somebody waits for.
#[derive(Default)]
pub(crate) struct Registry {
    entries: Mutex<HashMap<DeviceId, Arc<Entry>>>,
}

impl Registry {
    /// Makes earlier connections of the client leave, waits until they have, and holds its place.
    pub(crate) async fn claim(self: &Arc<Self>, device: &DeviceId) -> Claim {
        let entry = self.entry(device);
        entry.latest.send_modify(|latest| *latest += 1);
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
        let fresh = || Arc::new(Entry { latest: watch::Sender::new(0), place: Arc::default() });
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
    latest: watch::Receiver<u64>,
    /// Keeps the order from beginning anew.
    _entry: Arc<Entry>,
}

impl Ticket {
    fn of(entry: &Arc<Entry>) -> Self {
        let latest = entry.latest.subscribe();
        let ticket = *latest.borrow();
        Self { ticket, latest, _entry: Arc::clone(entry) }
    }

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
    async fn who_waits_for_a_client_that_is_away_hears_of_its_next_connection() {
        let (registry, device) = (Arc::new(Registry::default()), DeviceId::new("d").unwrap());
        let kept = registry.claim(&device).await.ticket.clone();
        let mut waiting = [kept, registry.ticket(&device)];
        drop(registry.claim(&device).await);
        for ticket in &mut waiting {
            timeout(Duration::from_secs(5), ticket.superseded()).await.expect("was not told");
        }
        drop(waiting);
        registry.tidy();
        assert!(registry.lock().is_empty());
    }
}
