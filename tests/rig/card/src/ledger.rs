//! The independent ledger: what a store owes, from what was told before the cut; and the verdict on what it has after it.

use std::collections::{BTreeMap, HashMap};
use std::ops::AddAssign;

use crate::words::Word;

/// A word, and the number of steps the card had recorded when it was heard: what it tells rests on steps below that.
pub type Heard = (usize, Word);

/// What a store owes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Acknowledged or served after a recovery: partition and offset, and the event's id.
    owed: BTreeMap<(u16, u64), u64>,
    /// What may have been given up: all below this offset.
    given_up: BTreeMap<u16, u64>,
}

/// What is wrong after a cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Owed, and not there.
    pub lost: u64,
    /// Not behind the event before it, or with a hole before it.
    pub out_of_order: u64,
    /// Another event where one was owed.
    pub offset_reused: u64,
    /// Events with bytes that were never written.
    pub garbled: u64,
    /// Damage and gaps that the store speaks of, though it lost nothing that it ever had flushed.
    pub false_damage: u64,
    /// Marks of senders that disagree with the events.
    pub marks_wrong: u64,
}

impl Verdict {
    /// Nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

impl AddAssign for Verdict {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.out_of_order += other.out_of_order;
        self.offset_reused += other.offset_reused;
        self.garbled += other.garbled;
        self.false_damage += other.false_damage;
        self.marks_wrong += other.marks_wrong;
    }
}

impl Ledger {
    /// What is owed if the power goes behind the first `steps` steps.
    #[must_use]
    pub fn at_cut(&self, heard: &[Heard], steps: usize) -> Self {
        let mut ledger = self.clone();
        for (_, word) in heard.iter().filter(|(at, _)| *at <= steps) {
            match *word {
                Word::Acknowledged(partition, offset, id) | Word::Kept(partition, offset, id) => {
                    ledger.owed.insert((partition, offset), id);
                }
                Word::Asking(partition, offset) => {
                    let given_up = ledger.given_up.entry(partition).or_default();
                    *given_up = offset.max(*given_up);
                }
                _ => {}
            }
        }
        ledger
    }

    /// How many events are owed.
    #[must_use]
    pub fn owed(&self) -> usize {
        self.owed.len()
    }

    /// Judges what a store told after a recovery, up to its word `read`.
    #[must_use]
    pub fn judge(&self, heard: &[Heard]) -> Verdict {
        let mut found = Found::default();
        for (_, word) in heard.iter().take_while(|(_, word)| *word != Word::Read) {
            found.take(word);
        }
        let mut verdict = found.verdict;
        for (place @ (partition, offset), id) in &self.owed {
            let first = found.first.get(partition).copied().unwrap_or(0);
            let given_up = *offset < first && *offset < self.given_up.get(partition).copied().unwrap_or(0);
            match found.events.get(place) {
                Some(other) if other == id => {}
                Some(_) => verdict.offset_reused += 1,
                None if given_up => {}
                None => verdict.lost += 1,
            }
        }
        for (partition, mark) in &found.marks {
            let newest = found.last.get(partition).map(|(_, id)| *id).filter(|id| *id > 0);
            let owed = self.owed.range((*partition, 0)..).take_while(|((at, _), _)| at == partition).map(|(_, id)| *id);
            let wrong = newest.is_some_and(|newest| newest != *mark) || owed.max().is_some_and(|owed| *mark < owed);
            verdict.marks_wrong += u64::from(wrong);
        }
        verdict
    }
}

#[derive(Default)]
struct Found {
    events: HashMap<(u16, u64), u64>,
    first: BTreeMap<u16, u64>,
    /// Of each partition the last event told: offset and id. Behind a gap it is the gap's last offset.
    last: BTreeMap<u16, (u64, u64)>,
    marks: BTreeMap<u16, u64>,
    verdict: Verdict,
}

impl Found {
    fn take(&mut self, word: &Word) {
        match *word {
            Word::First(partition, offset) => {
                // Told again: what lay before was recycled meanwhile, and what comes follows on that.
                self.first.insert(partition, offset);
                self.last.remove(&partition);
            }
            Word::Kept(partition, offset, id) => {
                let begins = self.first.get(&partition).copied().unwrap_or(offset);
                let follows = match self.last.insert(partition, (offset, id)) {
                    Some((before, id_before)) => offset == before.saturating_add(1) && id > id_before,
                    None => offset == begins,
                };
                self.verdict.out_of_order += u64::from(!follows);
                self.events.insert((partition, offset), id);
            }
            Word::Garbled(..) => self.verdict.garbled += 1,
            // What was recycled is not there any more; that is no damage.
            Word::Gap(partition, _, to) if to <= self.first.get(&partition).copied().unwrap_or(0) => {}
            Word::Gap(partition, _, to) => {
                self.verdict.false_damage += 1;
                // The hole is told of: it is no hole in the order besides.
                let id = self.last.get(&partition).map_or(0, |(_, id)| *id);
                self.last.insert(partition, (to.saturating_sub(1), id));
            }
            Word::Damage(count) => self.verdict.false_damage += count,
            Word::Mark(partition, id) => {
                self.marks.insert(partition, id);
            }
            Word::Opened
            | Word::Read
            | Word::Asking(..)
            | Word::Acknowledged(..)
            | Word::Turned(..)
            | Word::Failed(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
