//! What each address has open and how often it comes. Pure.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use tokio::time::Instant;

use crate::cause::Close;
use crate::pace::Bucket;
use crate::{Cause, Limits};

/// Addresses that are remembered beside those with an open connection. Who comes from another one while all are in use is refused.
const ADDRESSES_MAX: usize = 4_096;
/// Seconds' worth of connects that may come at once.
const BURST_S: u64 = 10;

/// Whose address it is: one of IPv4, or the /64 that a host of IPv6 can choose its addresses in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Network(pub(crate) IpAddr);

impl Network {
    pub(crate) fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self(match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(six) if six.is_loopback() => address,
            IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() >> 64 << 64)),
        })
    }

    /// What it has open and how often it comes is counted.
    pub(super) fn is_counted(self, trust_loopback: bool) -> bool {
        !(trust_loopback && self.0.is_loopback())
    }
}

#[derive(Debug)]
struct Peer {
    open: usize,
    coming: usize,
    connects: Bucket,
}

#[derive(Debug, Default)]
pub(super) struct Addresses {
    peers: HashMap<Network, Peer>,
}

impl Addresses {
    /// Whether there is room to remember it.
    fn has_room(&mut self, network: Network, limits: &Limits, now: Instant) -> bool {
        let most = limits.connections_max.saturating_add(ADDRESSES_MAX);
        if self.peers.contains_key(&network) || self.peers.len() < most {
            return true;
        }
        // Of who has nothing open and has not come for a while there is nothing to remember.
        self.peers.retain(|_, peer| peer.open > 0 || !peer.connects.is_full(now));
        self.peers.len() < most
    }

    /// `free`: how many more may be coming in, of all addresses. One may have as many as it leaves to others.
    pub(super) fn knock(&mut self, network: Network, free: usize, limits: &Limits, now: Instant) -> Result<(), Close> {
        if !self.has_room(network, limits, now) {
            return Err(Close::new(Cause::Address, "connections of too many addresses at once"));
        }
        let per_s = limits.connects_per_s_per_address;
        let new = || Peer { open: 0, coming: 0, connects: Bucket::new(per_s, per_s.saturating_mul(BURST_S), now) };
        let peer = self.peers.entry(network).or_insert_with(new);
        if per_s > 0 && !peer.connects.take(now) {
            return Err(Close::new(Cause::ConnectRate, "connects of one address come faster than allowed"));
        }
        if peer.open >= limits.connections_per_address_max {
            return Err(Close::new(Cause::Address, "as many connections of one address as allowed"));
        }
        if peer.coming >= limits.coming_per_address_max.min(free.max(1)) {
            return Err(Close::new(Cause::Address, "too many connections of one address are not let in yet"));
        }
        peer.open += 1;
        peer.coming += 1;
        Ok(())
    }

    pub(super) fn let_in(&mut self, network: Network) {
        if let Some(peer) = self.peers.get_mut(&network) {
            peer.coming = peer.coming.saturating_sub(1);
        }
    }

    pub(super) fn leave(&mut self, network: Network, was_coming: bool) {
        if let Some(peer) = self.peers.get_mut(&network) {
            peer.open = peer.open.saturating_sub(1);
            peer.coming = peer.coming.saturating_sub(usize::from(was_coming));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn network(text: &str) -> Network {
        Network::of(text.parse().unwrap())
    }

    #[test]
    fn a_host_of_ipv6_is_its_64_bits_and_a_mapped_address_is_ipv4() {
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert!(!Network::of("::ffff:127.0.0.1".parse().unwrap()).is_counted(true));
    }

    #[test]
    fn who_comes_too_often_is_refused_until_time_has_passed() {
        let limits = Limits { connects_per_s_per_address: 2, ..Limits::default() };
        let (mut addresses, start) = (Addresses::default(), Instant::now());
        let mut come = |at| {
            let came = addresses.knock(network("192.0.2.1"), 9, &limits, at);
            came.map(|()| addresses.leave(network("192.0.2.1"), true)).map_err(|close| close.cause)
        };
        assert_eq!((0..30).filter(|_| come(start).is_ok()).count(), 20);
        assert_eq!(come(start), Err(Cause::ConnectRate));
        assert_eq!(come(start + Duration::from_millis(500)), Ok(()));
    }

    #[test]
    fn of_those_that_may_come_in_an_address_leaves_as_many_as_it_has() {
        let limits = Limits { connects_per_s_per_address: 0, ..Limits::default() };
        let (mut addresses, start) = (Addresses::default(), Instant::now());
        let mut free = 32;
        for host in 1..=4 {
            while addresses.knock(network(&format!("192.0.2.{host}")), free, &limits, start).is_ok() {
                free -= 1;
            }
        }
        assert_eq!(free, 2);
        assert!(addresses.knock(network("192.0.2.9"), free, &limits, start).is_ok());
    }

    #[test]
    fn only_so_many_addresses_are_remembered_and_those_at_rest_are_forgotten() {
        let limits = Limits { connections_max: 1_000, ..Limits::default() };
        let most = 1_000 + ADDRESSES_MAX;
        let (mut addresses, start) = (Addresses::default(), Instant::now());
        let at = |number: u32| Network(IpAddr::V4(number.into()));
        for number in 0..most as u32 {
            addresses.knock(at(number), 9, &limits, start).unwrap();
        }
        assert_eq!(addresses.knock(at(9_999), 9, &limits, start).unwrap_err().cause, Cause::Address);
        assert!(addresses.knock(at(7), 9, &limits, start).is_ok(), "who is known comes in");
        addresses.leave(at(8), true);
        assert!(addresses.knock(at(9_999), 9, &limits, start + Duration::from_secs(60)).is_ok());
        assert_eq!(addresses.peers.len(), most);
    }
}
