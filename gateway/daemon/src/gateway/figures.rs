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
    let group = forward_group();
    let cursors = journal.groups().into_iter().find(|(name, _)| *name == group).map(|(_, cursors)| cursors);
    let done: BTreeMap<TopicPartition, u64> =
        cursors.unwrap_or_default().into_iter().map(|cursor| (cursor.at, cursor.next.0)).collect();
    let mut figures = Figures::default();
    for bounds in journal.partitions().into_iter().filter(|bounds| is_of_users(&bounds.at.topic)) {
        figures.events += bounds.next.0;
        if forwards {
            let cursor = done.get(&bounds.at).copied().unwrap_or(0).max(bounds.first.0);
            figures.backlog += bounds.next.0.saturating_sub(cursor);
        }
    }
    figures
}

/// Events of these topics that are durable and that a group has not done with.
pub(crate) fn lag(journal: &Journal, group: &Group, interest: &Interest) -> u64 {
    let cursors = journal.groups().into_iter().find(|(name, _)| name == group).map(|(_, cursors)| cursors);
    let done: BTreeMap<TopicPartition, u64> =
        cursors.unwrap_or_default().into_iter().map(|cursor| (cursor.at, cursor.next.0)).collect();
    let partitions = journal.partitions().into_iter();
    let wanted = partitions.filter(|bounds| is_of_users(&bounds.at.topic) && interest.takes(&bounds.at.topic));
    wanted
        .map(|bounds| {
            let cursor = done.get(&bounds.at).copied().unwrap_or(0).max(bounds.first.0);
            bounds.next.0.saturating_sub(cursor)
        })
        .sum()
}
