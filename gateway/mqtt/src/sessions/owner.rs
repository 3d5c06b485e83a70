//! Whose sessions they are: whoever makes up client ids pays for the room of new sessions with old ones of its own.

use std::collections::{BTreeMap, BTreeSet};

use lamppost_event::DeviceId;
use ring::digest::{SHA256, digest};

use crate::door::Network;

/// The user that a client was let in as, or else the network it came from: as a hash that means the same at each start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Owner(pub(super) u64);

impl Owner {
    /// Nobody known: of a session that an earlier version has noted.
    pub(super) const NOBODY: Self = Self(0);

    pub(crate) fn of(user: Option<&str>, from: Network) -> Self {
        let hashed = match user {
            Some(user) => digest(&SHA256, &[b"user ", user.as_bytes()].concat()),
            None => digest(&SHA256, format!("from {}", from.0).as_bytes()),
        };
        // SHA-256 has 32 bytes.
        Self(hashed.as_ref().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
    }
}

/// What each owner has.
#[derive(Debug, Default)]
pub(super) struct Owners {
    of: BTreeMap<Owner, Estate>,
    /// Those with sessions whose clients are away, by how many they have in all.
    by_count: BTreeSet<(usize, Owner)>,
}

#[derive(Debug, Default)]
struct Estate {
    count: usize,
    /// Since when they are away.
    away: BTreeSet<(i64, DeviceId)>,
}

impl Owners {
    /// One session more.
    pub(super) fn add(&mut self, owner: Owner) {
        self.change(owner, |estate| estate.count += 1);
    }

    /// One less, which is not away.
    pub(super) fn remove(&mut self, owner: Owner) {
        self.change(owner, |estate| estate.count = estate.count.saturating_sub(1));
    }

    /// The client of one is away.
    pub(super) fn put(&mut self, owner: Owner, device: &DeviceId, since: i64) {
        self.change(owner, |estate| estate.away.extend([(since, device.clone())]));
    }

    /// It is no longer.
    pub(super) fn take(&mut self, owner: Owner, device: &DeviceId, since: i64) {
        self.change(owner, |estate| {
            estate.away.remove(&(since, device.clone()));
        });
    }

    fn change(&mut self, owner: Owner, change: impl FnOnce(&mut Estate)) {
        let estate = self.of.entry(owner).or_default();
        self.by_count.remove(&(estate.count, owner));
        change(estate);
        if !estate.away.is_empty() {
            self.by_count.insert((estate.count, owner));
        } else if estate.count == 0 {
            self.of.remove(&owner);
        }
    }

    /// Which session makes room for one more of `owner`: of those who have most (its own, where that is as many as others have) the one that has
    /// been away longest. So nobody loses one who has no more than an even share.
    pub(super) fn who_makes_room(&self, owner: Owner) -> Option<DeviceId> {
        let (most, richest) = self.by_count.last()?;
        let own = self.of.get(&owner).filter(|estate| estate.count >= *most && !estate.away.is_empty());
        let estate = own.or_else(|| self.of.get(richest))?;
        estate.away.first().map(|(_, device)| device.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> DeviceId {
        DeviceId::new(name).unwrap()
    }

    #[test]
    fn who_has_most_makes_room_and_among_equals_who_asks() {
        let (many, few, new) = (Owner(1), Owner(2), Owner(3));
        let mut owners = Owners::default();
        for (owner, name, since) in [(few, "few-1", 1), (many, "many-1", 5), (many, "many-2", 4), (few, "few-2", 2)] {
            owners.add(owner);
            owners.put(owner, &device(name), since);
        }
        assert_eq!(owners.who_makes_room(few), Some(device("few-1")), "both have two: its own");
        assert_eq!(owners.who_makes_room(many), Some(device("many-2")));
        owners.add(many);
        assert_eq!(owners.who_makes_room(few), Some(device("many-2")), "one that is connected counts as well");
        assert_eq!(owners.who_makes_room(new), Some(device("many-2")));
        owners.take(many, &device("many-2"), 4);
        owners.take(many, &device("many-1"), 5);
        assert_eq!(owners.who_makes_room(many), Some(device("few-1")), "it has none away");
        (0..3).for_each(|_| owners.remove(many));
        owners.take(few, &device("few-1"), 1);
        owners.take(few, &device("few-2"), 2);
        (0..2).for_each(|_| owners.remove(few));
        assert!(owners.of.is_empty() && owners.by_count.is_empty());
    }

    #[test]
    fn an_owner_is_the_user_and_without_one_the_network() {
        let from = |text: &str| Network::of(text.parse().unwrap());
        let (home, next_door) = (from("2001:db8::1"), from("2001:db8:0:1::1"));
        assert_eq!(Owner::of(Some("anna"), home), Owner::of(Some("anna"), next_door));
        assert_ne!(Owner::of(Some("anna"), home), Owner::of(Some("bert"), home));
        assert_eq!(Owner::of(None, home), Owner::of(None, from("2001:db8::2")));
        assert_ne!(Owner::of(None, home), Owner::of(None, next_door));
    }
}
