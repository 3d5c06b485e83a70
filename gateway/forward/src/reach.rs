//! How far one partition of the journal has come in the cluster, epoch by epoch. Pure.
//!
//! Invariants:
//! - An epoch that it does not name it says nothing of: of a wiped card or a cut tail nothing is taken for delivered.
//! - An epoch is forgotten only once the journal's own cursor *on disk* has passed all that is covered of it: no crash brings it back. Who would
//!   have to forget another waits until that cursor is on disk.

use lamppost_event::{Epoch, Offset};
use serde::{Deserialize, Serialize};

/// So many epochs are remembered of a partition: each start of the gateway makes one. There are more than two only while events of more than
/// one start are delivered at once.
pub(crate) const EPOCHS_MAX: usize = 16;

/// With so many a record is as it should be: the epoch that is written, and the one before.
const EPOCHS_USUAL: usize = 2;

/// No value of ours is that long: sixteen epochs have at most some 900 bytes.
pub(crate) const VALUE_BYTES_MAX: usize = 4096;

/// How far one partition of the journal has come in the cluster, epoch by epoch, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Reach(Vec<(Epoch, Offset)>);

#[derive(Serialize, Deserialize)]
struct Entry {
    epoch: String,
    next: u64,
}

#[derive(Serialize, Deserialize)]
struct Value {
    reached: Vec<Entry>,
}

impl Reach {
    /// Whether [`Reach::extend`] may be called for that epoch.
    pub(crate) fn takes(&self, epoch: Epoch) -> bool {
        self.0.len() < EPOCHS_MAX || self.0.iter().any(|(known, _)| *known == epoch)
    }

    /// All of that epoch up to `next` is delivered.
    pub(crate) fn extend(&mut self, epoch: Epoch, next: Offset) {
        if let Some((_, known)) = self.0.first_mut().filter(|(first, _)| *first == epoch) {
            *known = next.max(*known);
            return;
        }
        let known = self.0.iter().position(|(other, _)| *other == epoch).map(|at| self.0.remove(at).1);
        assert!(self.0.len() < EPOCHS_MAX, "room was made for a new epoch");
        self.0.insert(0, (epoch, known.map_or(next, |known| known.max(next))));
    }

    /// Whether there are epochs that can be forgotten once the journal's own cursor is on disk.
    pub(crate) fn is_long(&self) -> bool {
        let Some((_, newest)) = self.0.first() else { return false };
        self.0.len() > EPOCHS_USUAL && self.0.iter().skip(1).any(|(_, next)| next <= newest)
    }

    /// The journal's own cursor stands there on disk: forgets the epochs of which it has passed all that is covered. The newest stays, should
    /// the card have lost what it called written.
    pub(crate) fn passed(&mut self, cursor: Offset) {
        let mut is_newest = true;
        self.0.retain(|(_, next)| std::mem::take(&mut is_newest) || *next > cursor);
    }

    /// If there is no room for a new epoch, the oldest makes some: true then.
    pub(crate) fn make_room(&mut self) -> bool {
        self.0.len() == EPOCHS_MAX && self.0.pop().is_some()
    }

    /// What its epochs take in memory.
    pub(crate) const fn bytes(&self) -> usize {
        self.0.len() * size_of::<(Epoch, Offset)>()
    }

    /// Whether that event is in the cluster.
    pub(crate) fn covers(&self, epoch: Epoch, offset: Offset) -> bool {
        self.0.iter().any(|(known, next)| *known == epoch && offset < *next)
    }

    /// The record's value.
    pub(crate) fn to_value(&self) -> Vec<u8> {
        let entry = |(epoch, next): &(Epoch, Offset)| Entry { epoch: epoch.to_string(), next: next.0 };
        // Texts and numbers: it can't fail.
        serde_json::to_vec(&Value { reached: self.0.iter().map(entry).collect() }).unwrap_or_default()
    }

    /// What a record's value says; `None` if it makes no sense.
    pub(crate) fn of_value(value: &[u8]) -> Option<Self> {
        if value.len() > VALUE_BYTES_MAX {
            return None;
        }
        let Value { reached } = serde_json::from_slice(value).ok()?;
        let entry = |entry: Entry| Some((Epoch(u64::from_str_radix(&entry.epoch, 16).ok()?), Offset(entry.next)));
        reached.into_iter().take(EPOCHS_MAX).map(entry).collect::<Option<_>>().map(Self)
    }
}

#[cfg(test)]
impl<const N: usize> From<[(u64, u64); N]> for Reach {
    fn from(epochs: [(u64, u64); N]) -> Self {
        epochs.into_iter().collect()
    }
}

#[cfg(test)]
impl FromIterator<(u64, u64)> for Reach {
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(epochs: I) -> Self {
        Self(epochs.into_iter().map(|(epoch, next)| (Epoch(epoch), Offset(next))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_cursor_are_those_that_are_documented() {
        let mut reach = Reach::default();
        reach.extend(Epoch(0xabc), Offset(90));
        reach.extend(Epoch(0xdef), Offset(95));
        let bytes = reach.to_value();
        let golden = r#"{"reached":[{"epoch":"0000000000000def","next":95},{"epoch":"0000000000000abc","next":90}]}"#;
        assert_eq!(std::str::from_utf8(&bytes).unwrap(), golden);
        assert_eq!(Reach::of_value(golden.as_bytes()), Some(reach));
    }

    #[test]
    fn only_what_lies_below_the_cursor_of_its_own_epoch_is_covered() {
        let mut reach = Reach::default();
        reach.extend(Epoch(1), Offset(100));
        reach.extend(Epoch(2), Offset(95));
        assert!(reach.covers(Epoch(1), Offset(99)) && !reach.covers(Epoch(1), Offset(100)));
        assert!(reach.covers(Epoch(2), Offset(94)) && !reach.covers(Epoch(2), Offset(95)));
        assert!(!reach.covers(Epoch(3), Offset(0)), "a wiped card begins at 0 again");
    }

    #[test]
    fn a_cursor_never_goes_back_and_has_room_for_so_many_epochs() {
        let mut reach = Reach::default();
        reach.extend(Epoch(1), Offset(10));
        reach.extend(Epoch(1), Offset(5));
        assert!(reach.covers(Epoch(1), Offset(9)));
        for epoch in 2..=EPOCHS_MAX as u64 {
            assert!(reach.takes(Epoch(epoch)));
            reach.extend(Epoch(epoch), Offset(10 + epoch));
        }
        assert!(!reach.takes(Epoch(99)) && reach.takes(Epoch(1)) && reach.takes(Epoch(7)));
        assert!((1..=EPOCHS_MAX as u64).all(|epoch| reach.covers(Epoch(epoch), Offset(9))), "none is forgotten");
        reach.extend(Epoch(2), Offset(30));
        assert_eq!(reach.0.first(), Some(&(Epoch(2), Offset(30))));
    }

    #[test]
    fn a_record_is_long_only_while_there_is_something_to_forget() {
        assert!(!Reach::from([]).is_long() && !Reach::from([(2, 20), (1, 10)]).is_long());
        assert!(Reach::from([(3, 20), (2, 20), (1, 30)]).is_long());
        assert!(!Reach::from([(3, 20), (2, 40), (1, 30)]).is_long(), "of earlier cards");
    }

    #[test]
    fn the_longest_record_is_read_again_whole_and_of_a_longer_one_the_newest_epochs() {
        let of = |epochs: u64| Reach::from_iter((0..epochs).map(|epoch| (u64::MAX - epoch, u64::MAX)));
        let longest = of(EPOCHS_MAX as u64).to_value();
        assert!(longest.len() < 1000 && longest.len() <= VALUE_BYTES_MAX, "{} bytes", longest.len());
        assert_eq!(Reach::of_value(&longest), Some(of(EPOCHS_MAX as u64)));
        assert_eq!(Reach::of_value(&of(8).to_value()), Some(of(8)), "what earlier programs wrote");
        assert_eq!(Reach::of_value(&of(40).to_value()), Some(of(EPOCHS_MAX as u64)));
    }
}
