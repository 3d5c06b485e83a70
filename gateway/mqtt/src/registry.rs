//! Who is connected. One client id has one connection at a time: whoever comes later makes the earlier one leave, and waits until it
//! has.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use lamppost_event::DeviceId;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout_at};

use crate::Cause;
use crate::cause::Close;

#[derive(Debug)]
struct Entry {
    /// The ticket of the latest connection.
    latest: AtomicU64,
    /// Who has one and waits for a later one. At most one for each ticket.
    waiting: Mutex<Vec<Waker>>,
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
        let ticket = &mut claim.ticket;
        let placed = async {
            tokio::select! {
                // Not only once it has the place: who came later may have got that first, and keep it.
                biased;
                () = poll_fn(|context| ticket.poll_superseded(context)) => None,
                place = place.lock_owned() => Some(place),
            }
        };
        let taken_over = || Close::new(Cause::TakenOver, "the same client id connected again");
        claim.place = Some(timeout_at(deadline, placed).await.map_err(busy)?.ok_or_else(taken_over)?);
        Ok(claim)
    }

    /// Forgets clients that nobody knows any more.
    pub(crate) fn tidy(&self) {
        self.lock().retain(|_, entry| Arc::strong_count(entry) > 1);
    }

    fn entry(&self, device: &DeviceId) -> Arc<Entry> {
        let fresh = || Arc::new(Entry { latest: AtomicU64::new(0), waiting: Mutex::default(), place: Arc::default() });
        Arc::clone(self.lock().entry(device.clone()).or_insert_with(fresh))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn waiting(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the order of a client's connections. It keeps the order from beginning anew.
#[derive(Debug)]
pub(crate) struct Ticket {
    ticket: u64,
    entry: Arc<Entry>,
    /// What was left to be woken by.
    left: Option<Waker>,
}

impl Ticket {
    /// The next one. Its number is taken where it is counted up: two that come at once have two numbers.
    fn next(entry: &Arc<Entry>) -> Self {
        let ticket = entry.latest.fetch_add(1, Ordering::SeqCst) + 1;
        let waiting = std::mem::take(&mut *entry.waiting());
        waiting.into_iter().for_each(Waker::wake);
        Self { ticket, entry: Arc::clone(entry), left: None }
    }

    fn is_superseded(&self) -> bool {
        self.entry.latest.load(Ordering::SeqCst) > self.ticket
    }

    /// Whether the client has connected again. Else the task is woken when it does. Cheap to ask again.
    pub(crate) fn poll_superseded(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.is_superseded() {
            return Poll::Ready(());
        }
        if self.left.as_ref().is_some_and(|left| left.will_wake(context.waker())) {
            return Poll::Pending;
        }
        self.forget();
        let mut waiting = self.entry.waiting();
        // Most clients have one connection: a list that grows in larger steps would cost each of them some.
        waiting.reserve_exact(1);
        waiting.push(context.waker().clone());
        drop(waiting);
        self.left = Some(context.waker().clone());
        // It may have connected in between, before the waker was there.
        if self.is_superseded() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn forget(&mut self) {
        if let Some(left) = self.left.take() {
            self.entry.waiting().retain(|waiting| !waiting.will_wake(&left));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.forget();
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

    async fn superseded(claim: &mut Claim) {
        std::future::poll_fn(|context| claim.ticket.poll_superseded(context)).await;
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
    async fn who_is_overtaken_while_it_waits_is_told_at_once_whoever_has_the_place() {
        let (registry, device) = (Arc::new(Registry::default()), DeviceId::new("d").unwrap());
        let first = claim(&registry, &device).await;
        let late = Instant::now() + Duration::from_secs(60);
        let mut second = Box::pin(registry.claim(&device, late));
        assert!(timeout(Duration::from_millis(5), &mut second).await.is_err());
        let mut third = Box::pin(registry.claim(&device, late));
        assert!(timeout(Duration::from_millis(5), &mut third).await.is_err());
        let told = timeout(Duration::from_secs(5), second).await.expect("the second waits for the first");
        assert_eq!(told.err().map(|close| close.cause), Some(Cause::TakenOver));
        drop(first);
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
        timeout(Duration::from_secs(5), superseded(&mut first)).await.expect("the first was not told");
        assert!(!second.is_finished());
        drop(first);
        let mut second = timeout(Duration::from_secs(5), second).await.expect("the second was not let in").unwrap();
        assert!(timeout(Duration::from_millis(20), superseded(&mut second)).await.is_err());
        drop(second);
        assert!(registry.lock().is_empty());
    }

    #[tokio::test]
    async fn who_has_left_is_not_woken_and_keeps_nothing() {
        let (registry, device) = (Arc::new(Registry::default()), DeviceId::new("d").unwrap());
        let entry = registry.entry(&device);
        let mut first = claim(&registry, &device).await;
        for _ in 0..3 {
            assert!(timeout(Duration::from_millis(1), superseded(&mut first)).await.is_err());
        }
        assert_eq!(entry.waiting().len(), 1);
        drop(first);
        assert!(entry.waiting().is_empty());
        drop(entry);
        registry.tidy();
        assert!(registry.lock().is_empty());
    }
}
