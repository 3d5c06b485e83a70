//! What is set for one topic, and the words that the journal's choices have in the file.

use std::time::Duration;

use lamppost_event::Topic;
use lamppost_journal::{Compression, Policy};
use serde::Deserialize;

use super::file;
use super::problem::Problem;
use super::value::Size;

/// The least time that a topic's events may be kept for: they go by whole segments, so less means nothing.
const KEEP_MIN: Duration = Duration::from_secs(60);

/// The least bytes that a topic's events may be kept up to: for the same reason, the smallest segment there is.
const KEEP_BYTES_MIN: Size = Size(1 << 20);

/// What is set for one topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TopicSettings {
    pub(crate) partitions: Option<u16>,
    pub(crate) linger: Option<Duration>,
    pub(crate) policy: Policy,
}

/// How batches are compressed on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Packing {
    None,
    Lz4,
    Zstd,
}

impl Default for Packing {
    fn default() -> Self {
        match lamppost_journal::Options::default().compression {
            Compression::None => Self::None,
            Compression::Lz4 => Self::Lz4,
            Compression::Zstd => Self::Zstd,
        }
    }
}

impl From<Packing> for Compression {
    fn from(packing: Packing) -> Self {
        match packing {
            Packing::None => Self::None,
            Packing::Lz4 => Self::Lz4,
            Packing::Zstd => Self::Zstd,
        }
    }
}

/// Which topics' events outlive which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Priority {
    Bulk,
    Normal,
    Alarm,
}

impl From<Priority> for lamppost_journal::Priority {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Bulk => Self::Bulk,
            Priority::Normal => Self::Normal,
            Priority::Alarm => Self::Alarm,
        }
    }
}

/// What becomes of a topic when the quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WhenFull {
    Refuse,
    GiveUpOldest,
}

impl From<WhenFull> for lamppost_journal::WhenFull {
    fn from(when_full: WhenFull) -> Self {
        match when_full {
            WhenFull::Refuse => Self::Refuse,
            WhenFull::GiveUpOldest => Self::GiveUpOldest,
        }
    }
}

/// What may become of the topic's events. The dead letters come before all but alarms, and have a reserve as those do: a full journal
/// must still be able to bury what the cluster can never accept, or nothing behind it would ever be delivered.
pub(super) fn policy(topic: &Topic, settings: &file::Topic, problems: &mut Vec<Problem>) -> Policy {
    let reserved = [lamppost_route::DEAD_LETTERS, lamppost_event::AUDIT_TRAIL].contains(&topic.as_str());
    if let Some(priority) = &settings.priority
        && reserved
        && *priority.get_ref() != Priority::Alarm
    {
        let what = format!("the priority of {topic}");
        problems.push(Problem::at(priority.span(), what, "it is always above all but \"alarm\": remove this line"));
    }
    if let Some(keep_for) = &settings.keep_for
        && keep_for.get_ref().0 < KEEP_MIN
    {
        problems.push(Problem::at(keep_for.span(), "kept for too short a time", "1min or more, as in \"7d\""));
    }
    if let Some(keep_bytes) = &settings.keep_bytes
        && *keep_bytes.get_ref() < KEEP_BYTES_MIN
    {
        problems.push(Problem::at(keep_bytes.span(), "too few bytes to keep", "1MiB or more, as in \"64MiB\""));
    }
    let priority = settings.priority.as_ref().map(|priority| (*priority.get_ref()).into());
    Policy {
        priority: if reserved { lamppost_journal::Priority::DeadLetter } else { priority.unwrap_or_default() },
        when_full: settings.when_full.map(Into::into).unwrap_or_default(),
        keep_for: settings.keep_for.as_ref().map(|span| span.get_ref().0),
        keep_bytes: settings.keep_bytes.as_ref().map(|size| size.get_ref().0),
    }
}
