//! The gateway's main figures at one moment.

use std::collections::BTreeMap;

use lamppost_event::{Group, Interest, TopicPartition};
use lamppost_journal::Journal;

use super::setup::{forward_group, is_of_users};

/// How much there is. Events, unless a name says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Figures {
    /// In the journal, durable, ever.
    pub(crate) events: u64,
    /// Durable and not yet forwarded; 0 without a cluster.
    pub(crate) backlog: u64,
}

/// Takes the figures from the journal.
pub(crate) fn of(journal: &Journal, forwards: bool) -> Figures {
    let figures = of_sink(journal, &forward_group(), &Interest::all());
    Figures { backlog: if forwards { figures.backlog } else { 0 }, ..figures }
}

/// Those of a group's topics, and of these what it has not done with.
pub(crate) fn of_sink(journal: &Journal, group: &Group, interest: &Interest) -> Figures {
    let cursors = journal.groups().into_iter().find(|(name, _)| name == group).map(|(_, cursors)| cursors);
    let done: BTreeMap<TopicPartition, u64> =
        cursors.unwrap_or_default().into_iter().map(|cursor| (cursor.at, cursor.next.0)).collect();
    let mut figures = Figures::default();
    let partitions = journal.partitions().into_iter();
    for bounds in partitions.filter(|bounds| is_of_users(&bounds.at.topic) && interest.takes(&bounds.at.topic)) {
        figures.events += bounds.next.0;
        let cursor = done.get(&bounds.at).copied().unwrap_or(0).max(bounds.first.0);
        figures.backlog += bounds.next.0.saturating_sub(cursor);
    }
    figures
}
