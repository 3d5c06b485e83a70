//! Who may knock: connections that are accepted, until they are let in.
//!
//! **Invariant:** what somebody who proves nothing can make grow has a bound: connections that are coming in (in all, and by
//! address), connections by address, addresses that are remembered. When as many are coming in as may, no more are accepted:
//! after a power cut all devices come at once, and what was begun for one is not thrown away for the next. Who is in earnest
//! has its CONNECT here within milliseconds; who has not after a while makes room.

mod addresses;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::cause::Close;
use crate::{Cause, Limits};
use addresses::Addresses;
pub(crate) use addresses::Network;

/// All that is at the door.
pub(crate) struct Porch {
    limits: Arc<Limits>,
    state: Mutex<State>,
    /// Somebody who was coming in is in, or gone.
    freed: Notify,
}

struct State {
    addresses: Addresses,
    /// By the order of their coming.
    coming: BTreeMap<u64, Coming>,
    knocks: u64,
}

struct Coming {
    sent_away: Arc<Notify>,
    since: Instant,
    /// Its CONNECT is here.
    heard: bool,
}

impl Porch {
    pub(crate) fn new(limits: Arc<Limits>) -> Arc<Self> {
        let state = State { addresses: Addresses::default(), coming: BTreeMap::new(), knocks: 0 };
        Arc::new(Self { limits, state: Mutex::new(state), freed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no more are to be accepted.
    pub(crate) fn is_full(&self) -> bool {
        self.lock().coming.len() >= self.limits.coming_max
    }

    /// Completes when more may be accepted. Safe to cancel.
    pub(crate) async fn room(&self) {
        while self.is_full() {
            let silent = self.lock().coming.values().find(|coming| !coming.heard).map(|coming| coming.since);
            let patience = silent.map_or(self.limits.connect_timeout, |since| {
                (since + self.limits.coming_patience).saturating_duration_since(Instant::now())
            });
            if timeout(patience, self.freed.notified()).await.is_err() {
                self.send_one_away(Instant::now());
            }
        }
    }

    fn send_one_away(&self, now: Instant) {
        let mut state = self.lock();
        let too_long = |coming: &Coming| now.saturating_duration_since(coming.since) >= self.limits.coming_patience;
        let silent = state.coming.iter().find(|(_, coming)| !coming.heard && too_long(coming));
        if let Some(number) = silent.map(|(number, _)| *number)
            && let Some(coming) = state.coming.remove(&number)
        {
            coming.sent_away.notify_one();
        }
    }

    /// A connection was accepted. An error: it may not even come in.
    pub(crate) fn knock(self: &Arc<Self>, peer: SocketAddr, now: Instant) -> Result<Visit, Close> {
        let from = Network::of(peer.ip());
        let network = Some(from).filter(|network| network.is_counted(self.limits.trust_loopback));
        let mut state = self.lock();
        if let Some(network) = network {
            let free = self.limits.coming_max.saturating_sub(state.coming.len());
            state.addresses.knock(network, free, &self.limits, now)?;
        }
        state.knocks += 1;
        let number = state.knocks;
        let sent_away = Arc::new(Notify::new());
        state.coming.insert(number, Coming { sent_away: Arc::clone(&sent_away), since: now, heard: false });
        drop(state);
        Ok(Visit { porch: Arc::clone(self), from, network, coming: Some((number, sent_away)) })
    }
}

/// A connection, from its knock to its end.
pub(crate) struct Visit {
    porch: Arc<Porch>,
    from: Network,
    /// `None`: an address that is not counted.
    network: Option<Network>,
    /// Until it is let in.
    coming: Option<(u64, Arc<Notify>)>,
}

impl Visit {
    /// Where it came from.
    pub(crate) fn from(&self) -> Network {
        self.from
    }

    /// Completes when it has to make room for later ones. Safe to cancel.
    pub(crate) async fn sent_away(&self) -> Close {
        match &self.coming {
            Some((_, sent_away)) => sent_away.notified().await,
            None => std::future::pending().await,
        }
        Close::new(Cause::Coming, "not let in yet, and made room for later ones")
    }

    /// Its CONNECT is here: it is in earnest.
    pub(crate) fn heard(&self) {
        if let Some((number, _)) = &self.coming
            && let Some(coming) = self.porch.lock().coming.get_mut(number)
        {
            coming.heard = true;
        }
    }

    /// It was let in.
    pub(crate) fn let_in(&mut self) {
        if let Some((number, _)) = self.coming.take() {
            let mut state = self.porch.lock();
            state.coming.remove(&number);
            if let Some(network) = self.network {
                state.addresses.let_in(network);
            }
            drop(state);
            self.porch.freed.notify_one();
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
        drop(state);
        if still_coming {
            self.porch.freed.notify_one();
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
    async fn with_no_room_the_next_waits_until_one_is_in_or_has_said_nothing_for_too_long() {
        let coming_patience = std::time::Duration::from_millis(50);
        let porch = porch(Limits { coming_max: 2, coming_patience, ..Limits::default() });
        let soon = std::time::Duration::from_millis(10);
        let mut first = porch.knock(from(1), Instant::now()).unwrap();
        assert!(!porch.is_full());
        let second = porch.knock(from(2), Instant::now()).unwrap();
        assert!(porch.is_full() && timeout(soon, porch.room()).await.is_err());
        first.let_in();
        assert!(timeout(soon, porch.room()).await.is_ok());
        let third = porch.knock(from(3), Instant::now()).unwrap();
        // The second is in earnest: it is the third that goes, and not before its time.
        second.heard();
        assert!(timeout(soon, porch.room()).await.is_err());
        let patient = std::time::Duration::from_secs(5);
        assert!(timeout(patient, porch.room()).await.is_ok());
        assert_eq!(third.sent_away().await.cause, Cause::Coming);
        assert!(timeout(soon, second.sent_away()).await.is_err());
        assert!(timeout(soon, first.sent_away()).await.is_err());
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
