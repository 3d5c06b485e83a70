//! Where each partition begins and ends, by the log and by what a checkpoint knows; and what is missing at its end. One rule, by which a journal
//! is opened and looked at.

use std::collections::BTreeMap;

use lamppost_event::{Commit, Gap, Offset, TopicPartition};

use crate::book::Kept;
use crate::format::segment::NUMBER_MAX;
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
    /// See [`Account::doubts`].
    doubts: Vec<(Commit, u64)>,
}

impl Ends {
    /// What damaged places may have held is left out of the offsets: should they be readable again one day, no offset has two events.
    pub(crate) fn of(account: &Account) -> Self {
        let mut ends = Self { doubts: account.doubts.clone(), ..Self::default() };
        for (at, next) in &account.next {
            let first = account.first.get(at).copied().unwrap_or(*next);
            let to = Offset(next.0.saturating_add(account.doubt.get(at).copied().unwrap_or(0)));
            ends.kept.insert(at.clone(), Kept { first: first.min(to), next: *next });
            ends.reach(at, to, DOUBTED);
        }
        ends
    }

    /// Where a checkpoint (of the commit `covered`) knows of more offsets than the log holds, the log has lost them. Of a partition that only the
    /// checkpoint knows, a damaged place behind it may have held more.
    pub(crate) fn checkpoint(&mut self, at: TopicPartition, next: Offset, covered: Commit) {
        if self.kept.contains_key(&at) {
            return self.reach(&at, next, LOST);
        }
        let behind = self.doubts.iter().filter(|(to, _)| *to > covered.next());
        let doubt = behind.fold(0_u64, |sum, (_, events)| sum.saturating_add(*events));
        self.kept.insert(at.clone(), Kept { first: next, next });
        self.reach(&at, Offset(next.0.saturating_add(doubt)), DOUBTED);
    }

    /// A group has done with all before `next`, so all that was there once, whatever log and checkpoint still know of it: given again,
    /// offsets below would be passed by for delivered.
    pub(crate) fn passed(&mut self, at: &TopicPartition, next: Offset) {
        if (1..=NUMBER_MAX).contains(&next.0) {
            self.kept.entry(at.clone()).or_insert(Kept { first: next, next });
            self.reach(at, next, LOST);
        }
    }

    fn reach(&mut self, at: &TopicPartition, to: Offset, reason: &str) {
        let Some(kept) = self.kept.get_mut(at).filter(|kept| kept.next < to) else { return };
        let from = std::mem::replace(&mut kept.next, to);
        if !internal(at) {
            self.gaps.push(Gap { at: at.clone(), from, to, reason: reason.to_owned() });
        }
    }
}
