//! Who is connected. One client id has one connection at a time: whoever comes later makes the earlier one leave, and waits until it
//! has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lamppost_event::DeviceId;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::{Instant, timeout_at};

use crate::Cause;
use crate::cause::Close;

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
    ///
    /// # Errors
    /// [`Cause::Busy`]: they have not left by `deadline`; [`Cause::TakenOver`]: a later one has come meanwhile.
    pub(crate) async fn claim(self: &Arc<Self>, device: &DeviceId, deadline: Instant) -> Result<Claim, Close> {
        let entry = self.entry(device);
        let ticket = Ticket::next(&entry);
        let place = Arc::clone(&entry.place);
        let mut claim = Claim { registry: Arc::clone(self), device: device.clone(), entry, place: None, ticket };
        let busy = |_| Close::new(Cause::Busy, "the earlier connection of the same client id does not end");
        claim.place = Some(timeout_at(deadline, place.lock_owned()).await.map_err(busy)?);
        if claim.ticket.is_superseded() {
            return Err(Close::new(Cause::TakenOver, "the same client id connected again"));
        }
        Ok(claim)
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
    /// The next one. Its number is taken where it is counted up: two that come at once have two numbers.
    fn next(entry: &Arc<Entry>) -> Self {
        let mut ticket = 0;
        entry.latest.send_modify(|latest| {
            *latest += 1;
            ticket = *latest;
        });
        Self { ticket, latest: entry.latest.subscribe(), _entry: Arc::clone(entry) }
    }

    fn is_superseded(&self) -> bool {
        *self.latest.borrow() > self.ticket
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

    /// Claims, and waits for as long as it takes.
    async fn claim(registry: &Arc<Registry>, device: &DeviceId) -> Claim {
        let deadline = Instant::now() + Duration::from_secs(60);
        registry.claim(device, deadline).await.unwrap_or_else(|close| panic!("{close}"))
    }

    #[test]
    fn two_that_come_at_once_have_two_numbers() {
        let (registry, device) = (Registry::default(), DeviceId::new("d").unwrap());
        let entry = registry.entry(&device);
        let mut numbers: Vec<u64> = std::thread::scope(|scope| {
            let come = || (0..5_000).map(|_| Ticket::next(&entry).ticket).collect::<Vec<_>>();
            let all: Vec<_> = (0..4).map(|_| scope.spawn(come)).collect();
            all.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=20_000).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn who_was_overtaken_while_it_waited_is_not_let_in_and_who_waits_too_long_is_not_either() {
        let (registry, device) = (Arc::new(Registry::default()), DeviceId::new("d").unwrap());
        let first = claim(&registry, &device).await;
        let soon = Instant::now() + Duration::from_millis(20);
        assert_eq!(registry.claim(&device, soon).await.err().map(|close| close.cause), Some(Cause::Busy));
        let late = Instant::now() + Duration::from_secs(60);
        let (mut second, mut third) =
            (Box::pin(registry.claim(&device, late)), Box::pin(registry.claim(&device, late)));
        for waiting in [&mut second, &mut third] {
            assert!(timeout(Duration::from_millis(5), waiting).await.is_err());
        }
        drop(first);
        assert_eq!(second.await.err().map(|close| close.cause), Some(Cause::TakenOver));
        assert!(third.await.is_ok());
    }

    #[tokio::test]
    async fn a_later_connection_waits_until_the_earlier_one_has_left() {
        let (registry, device) = (Arc::new(Registry::default()), DeviceId::new("d").unwrap());
        let mut first = claim(&registry, &device).await;
        let second = tokio::spawn({
            let (registry, device) = (Arc::clone(&registry), device.clone());
            async move { claim(&registry, &device).await }
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
    async fn a_ticket_outlives_its_connection_and_hears_of_the_next() {
        let (registry, device) = (Arc::new(Registry::default()), DeviceId::new("d").unwrap());
        let mut kept = claim(&registry, &device).await.ticket.clone();
        drop(claim(&registry, &device).await);
        timeout(Duration::from_secs(5), kept.superseded()).await.expect("was not told");
        drop(kept);
        registry.tidy();
        assert!(registry.lock().is_empty());
    }
}
