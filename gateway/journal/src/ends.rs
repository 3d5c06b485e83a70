//! Where each partition begins and ends, by the log and by what a checkpoint knows; and what is missing at its end. One rule, by which a journal
//! is opened and looked at.

use std::collections::BTreeMap;

use lamppost_event::{Gap, Offset, TopicPartition};

use crate::book::Kept;
use crate::scan::Account;
use crate::stretch::internal;

const DOUBTED: &str = "a damaged place may have held some of these";
const LOST: &str = "lost at the end of the log";

/// See the module.
#[derive(Default)]
pub(crate) struct Ends {
    pub(crate) kept: BTreeMap<TopicPartition, Kept>,
    /// To be told behind all that the log holds.
    pub(crate) gaps: Vec<Gap>,
}

impl Ends {
    /// What damaged places may have held is left out of the offsets: should they be readable again one day, no offset has two events.
    pub(crate) fn of(account: &Account) -> Self {
        let mut ends = Self::default();
        for (at, next) in &account.next {
            let first = account.first.get(at).copied().unwrap_or(*next);
            let to = Offset(next.0.saturating_add(account.doubt.get(at).copied().unwrap_or(0)));
            ends.kept.insert(at.clone(), Kept { first: first.min(to), next: *next });
            ends.reach(at, to, DOUBTED);
        }
        ends
    }

    /// Where a checkpoint knows of more offsets than the log holds, the log has lost them.
    pub(crate) fn checkpoint(&mut self, at: TopicPartition, next: Offset) {
        self.kept.entry(at.clone()).or_insert(Kept { first: next, next });
        self.reach(&at, next, LOST);
    }

    fn reach(&mut self, at: &TopicPartition, to: Offset, reason: &str) {
        let Some(kept) = self.kept.get_mut(at).filter(|kept| kept.next < to) else { return };
        let from = std::mem::replace(&mut kept.next, to);
        if !internal(at) {
            self.gaps.push(Gap { at: at.clone(), from, to, reason: reason.to_owned() });
        }
    }
}
