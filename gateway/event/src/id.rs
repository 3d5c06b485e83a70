//! An event's outward identity: the CloudEvents `ce_id`, the same on every retry.

use std::fmt;
use std::str::FromStr;

use crate::{Epoch, GatewayId, Offset, Partition, Topic};

/// `gateway/epoch/topic/partition/offset`: names one event for ever. None of the parts can contain a slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId {
    /// The gateway whose journal holds it.
    pub gateway: GatewayId,
    /// The journal's epoch when it was stored.
    pub epoch: Epoch,
    /// Its topic in the journal.
    pub topic: Topic,
    /// Its partition in the journal.
    pub partition: Partition,
    /// Its offset in that partition.
    pub offset: Offset,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}/{}", self.gateway, self.epoch, self.topic, self.partition, self.offset)
    }
}

/// The text is not an event id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an event id (gateway/epoch/topic/partition/offset): {0:?}")]
pub struct ParseEventIdError(pub String);

impl FromStr for EventId {
    type Err = ParseEventIdError;

    fn from_str(text: &str) -> Result<Self, ParseEventIdError> {
        let parse = || {
            let mut parts = text.split('/');
            let id = Self {
                gateway: parts.next()?.parse().ok()?,
                epoch: Epoch(u64::from_str_radix(parts.next().filter(|hex| hex.len() == 16)?, 16).ok()?),
                topic: parts.next()?.parse().ok()?,
                partition: Partition(parts.next()?.parse().ok()?),
                offset: Offset(parts.next()?.parse().ok()?),
            };
            parts.next().is_none().then_some(id)
        };
        parse().ok_or_else(|| ParseEventIdError(text.chars().take(200).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_as_it_was_written() {
        let text = "post-17/00c0ffee00000001/air-quality/3/42";
        let id: EventId = text.parse().unwrap();
        assert_eq!((id.partition, id.offset), (Partition(3), Offset(42)));
        assert_eq!(id.to_string(), text);
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in ["", "a/b", "g/00c0ffee00000001/t/1/2/3", "g/ffee/t/1/2", "g/00c0ffee00000001/t/-1/2"] {
            assert!(text.parse::<EventId>().is_err(), "{text}");
        }
    }
}
