//! Who may knock: connections that are accepted, until they are let in.
//!
//! **Invariant:** what somebody who proves nothing can make grow has a bound: connections that are coming in (in all, and by
//! address), connections by address, addresses that are remembered. When too many are coming in, the one that has been at
//! it the longest goes: who is in earnest needs milliseconds.

mod addresses;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cause::Close;
use crate::{Cause, Limits};
use addresses::{Addresses, Network};

/// All that is at the door.
pub(crate) struct Porch {
    limits: Arc<Limits>,
    state: Mutex<State>,
}

struct State {
    addresses: Addresses,
    /// By the order of their coming.
    coming: BTreeMap<u64, Arc<Notify>>,
    knocks: u64,
}

impl Porch {
    pub(crate) fn new(limits: Arc<Limits>) -> Arc<Self> {
        let state = State { addresses: Addresses::default(), coming: BTreeMap::new(), knocks: 0 };
        Arc::new(Self { limits, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection was accepted. An error: it may not even come in.
    pub(crate) fn knock(self: &Arc<Self>, peer: SocketAddr, now: Instant) -> Result<Visit, Close> {
        let network = Network::of(peer.ip(), self.limits.trust_loopback);
        let mut state = self.lock();
        if let Some(network) = network {
            state.addresses.knock(network, &self.limits, now)?;
        }
        if state.coming.len() >= self.limits.coming_max
            && let Some((_, oldest)) = state.coming.pop_first()
        {
            oldest.notify_one();
        }
        state.knocks += 1;
        let number = state.knocks;
        let sent_away = Arc::new(Notify::new());
        state.coming.insert(number, Arc::clone(&sent_away));
        drop(state);
        Ok(Visit { porch: Arc::clone(self), network, coming: Some((number, sent_away)) })
    }
}

/// A connection, from its knock to its end.
pub(crate) struct Visit {
    porch: Arc<Porch>,
    /// `None`: an address that is not counted.
    network: Option<Network>,
    /// Until it is let in.
    coming: Option<(u64, Arc<Notify>)>,
}

impl Visit {
    /// Completes when it has to make room for later ones. Safe to cancel.
    pub(crate) async fn sent_away(&self) -> Close {
        match &self.coming {
            Some((_, sent_away)) => sent_away.notified().await,
            None => std::future::pending().await,
        }
        Close::new(Cause::Coming, "not let in yet, and made room for later ones")
    }

    /// It was let in.
    pub(crate) fn let_in(&mut self) {
        if let Some((number, _)) = self.coming.take() {
            let mut state = self.porch.lock();
            state.coming.remove(&number);
            if let Some(network) = self.network {
                state.addresses.let_in(network);
            }
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut state = self.porch.lock();
        let still_coming = self.coming.take().inspect(|(number, _)| drop(state.coming.remove(number))).is_some();
        if let Some(network) = self.network {
            state.addresses.leave(network, still_coming);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn porch(limits: Limits) -> Arc<Porch> {
        Porch::new(Arc::new(limits))
    }

    fn from(host: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, host], 1000))
    }

    #[tokio::test]
    async fn the_one_that_is_coming_in_the_longest_makes_room() {
        let porch = porch(Limits { coming_max: 2, ..Limits::default() });
        let now = Instant::now();
        let mut let_in = porch.knock(from(1), now).unwrap();
        let_in.let_in();
        let (oldest, second) = (porch.knock(from(2), now).unwrap(), porch.knock(from(3), now).unwrap());
        let _third = porch.knock(from(4), now).unwrap();
        assert_eq!(oldest.sent_away().await.cause, Cause::Coming);
        let soon = std::time::Duration::from_millis(10);
        assert!(tokio::time::timeout(soon, second.sent_away()).await.is_err());
        assert!(tokio::time::timeout(soon, let_in.sent_away()).await.is_err());
    }

    #[test]
    fn an_address_has_so_many_connections_and_gets_them_back() {
        let porch = porch(Limits { connections_per_address_max: 2, ..Limits::default() });
        let now = Instant::now();
        let mut first = porch.knock(from(1), now).unwrap();
        first.let_in();
        let _second = porch.knock(from(1), now).unwrap();
        assert_eq!(porch.knock(from(1), now).err().map(|close| close.cause), Some(Cause::Address));
        assert!(porch.knock(from(2), now).is_ok());
        drop(first);
        assert!(porch.knock(from(1), now).is_ok());
    }

    #[test]
    fn of_one_address_only_so_many_are_coming_in_at_a_time() {
        let porch = porch(Limits { coming_per_address_max: 1, ..Limits::default() });
        let now = Instant::now();
        let mut first = porch.knock(from(1), now).unwrap();
        assert_eq!(porch.knock(from(1), now).err().map(|close| close.cause), Some(Cause::Address));
        first.let_in();
        drop(porch.knock(from(1), now).unwrap());
        assert!(porch.knock(from(1), now).is_ok());
    }

    #[test]
    fn this_machine_is_counted_only_where_it_is_not_trusted() {
        let here = SocketAddr::from(([127, 0, 0, 1], 1));
        for (trust_loopback, taken) in [(true, 3), (false, 1)] {
            let porch = porch(Limits { trust_loopback, connections_per_address_max: 1, ..Limits::default() });
            let visits: Vec<_> = (0..3).filter_map(|_| porch.knock(here, Instant::now()).ok()).collect();
            assert_eq!(visits.len(), taken);
        }
    }
}
