//! The sessions whose clients are away, ordered so that the one that makes room is found at once, however many there are.
//!
//! They stand by what waits for them, as a power of two, and within that by how long they have been away: what is looked at for one answer
//! is the head of each of some thirty classes, never all sessions.

use std::collections::{BTreeMap, BTreeSet};

use lamppost_event::DeviceId;

/// Of the class of which only some have as much as is asked for, so many are looked at.
const LOOKED_AT_MAX: usize = 32;

/// Where a session stands: the class of what waits for it, and when it began to be away, in ms of this boot's clock (below 0: before the boot).
pub(super) type Place = (u8, i64);

#[derive(Debug, Default)]
pub(super) struct Absent {
    classes: BTreeMap<u8, BTreeSet<(i64, DeviceId)>>,
}

/// 0 for nothing, else one more than the power of two below.
pub(super) fn class(bytes: usize) -> u8 {
    // At most 64.
    (usize::BITS - bytes.leading_zeros()) as u8
}

impl Absent {
    pub(super) fn put(&mut self, device: &DeviceId, (class, since): Place) {
        self.classes.entry(class).or_default().insert((since, device.clone()));
    }

    pub(super) fn take(&mut self, device: &DeviceId, (class, since): Place) {
        let Some(members) = self.classes.get_mut(&class) else { return };
        members.remove(&(since, device.clone()));
        if members.is_empty() {
            self.classes.remove(&class);
        }
    }

    /// Who has been away longest of those that have at least `bytes` waiting, as `waiting` says.
    pub(super) fn longest(&self, bytes: usize, waiting: impl Fn(&DeviceId) -> usize) -> Option<DeviceId> {
        let own = class(bytes);
        let of_own = self.classes.get(&own).into_iter().flatten().take(LOOKED_AT_MAX);
        let of_own = of_own.filter(|(_, device)| waiting(device) >= bytes).take(1);
        let heads = self.classes.range(own + 1..).filter_map(|(_, members)| members.first());
        heads.chain(of_own).min().map(|(_, device)| device.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_been_away_longest_of_those_with_enough_is_found_and_those_with_less_are_let_be() {
        let mut absent = Absent::default();
        let of = |number: usize| DeviceId::new(&format!("d{number}")).unwrap();
        // Away since, and what waits.
        let sessions = [(5_i64, 0_usize), (1, 0), (4, 100), (3, 120), (2, 90), (6, 5_000)];
        let waiting = |device: &DeviceId| sessions[device.as_str()[1..].parse::<usize>().unwrap()].1;
        for (number, (since, bytes)) in sessions.iter().enumerate() {
            absent.put(&of(number), (class(*bytes), *since));
        }
        let longest = |absent: &Absent, bytes| absent.longest(bytes, waiting);
        assert_eq!(longest(&absent, 0), Some(of(1)));
        assert_eq!(longest(&absent, 1), Some(of(4)));
        assert_eq!(longest(&absent, 95), Some(of(3)));
        assert_eq!(longest(&absent, 121), Some(of(5)));
        assert_eq!(longest(&absent, 5_001), None);
        absent.take(&of(3), (class(120), 3));
        assert_eq!(longest(&absent, 95), Some(of(2)));
        for (number, (since, bytes)) in sessions.iter().enumerate() {
            absent.take(&of(number), (class(*bytes), *since));
        }
        assert!(absent.classes.is_empty());
    }

    #[test]
    fn one_answer_costs_a_few_looks_among_ten_thousand() {
        let mut absent = Absent::default();
        for number in 0..10_000 {
            absent.put(&DeviceId::new(&format!("d{number}")).unwrap(), (class(100), number));
        }
        let looks = std::cell::Cell::new(0);
        let little = |_: &DeviceId| {
            looks.set(looks.get() + 1);
            99
        };
        assert_eq!(absent.longest(100, little), None);
        assert!(looks.get() <= LOOKED_AT_MAX, "{}", looks.get());
    }
}
