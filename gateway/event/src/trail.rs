//! What a journal tells the cluster of itself, so that anyone can check it from there: the audit trail. Notices are events of one topic,
//! [`AUDIT_TRAIL`], from the gateway itself ([`crate::SourceKind::Gateway`]); their payload is JSON.
//!
//! | notice | written | says |
//! |---|---|---|
//! | gap | before a cursor passes it | these offsets will never come, and why |
//! | manifest | at each start, and now and then | how far each partition of a topic had come, and what was forwarded |
//!
//! Without manifests nobody sees from outside that the last events of a partition never came; without gaps, what a policy has dropped
//! looks like a loss.

use serde::{Deserialize, Serialize};

use crate::{EventId, Offset, Partition, Topic};

/// The journal's topic for notices.
pub const AUDIT_TRAIL: &str = "audit-trail";

/// How a dead letter's reason begins that stands for an event.
const BURIED: &str = "the cluster can't take ";

/// A notice's payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "lowercase")]
pub enum Notice {
    /// Offsets that will never be delivered.
    Gap {
        /// The journal's identity, in hexadecimal: offsets go on through its epochs.
        journal: String,
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: Partition,
        /// The first missing offset.
        from: Offset,
        /// The first offset behind them.
        to: Offset,
        /// Why, in words: the same words for the same cause.
        reason: String,
    },
    /// How far partitions had come when the notice was stored.
    Manifest {
        /// The journal's identity, in hexadecimal.
        journal: String,
        /// The topic.
        topic: Topic,
        /// Those of its partitions that have ever held an event; of a topic with many, some. None in the notice at each start that only
        /// says whose epoch it is.
        partitions: Vec<Extent>,
    },
}

/// The offsets that a partition held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The partition.
    pub partition: Partition,
    /// The first that was still kept.
    pub first: Offset,
    /// The one behind the last durable one.
    pub next: Offset,
    /// The first that the forwarder had not done with: what lies before it is in the cluster, or accounted for by an earlier notice.
    pub done: Offset,
}

/// The reason of a dead letter that stands for an event which the cluster can never accept.
#[must_use]
pub fn buried(id: &EventId, why: &str) -> String {
    format!("{BURIED}{id}: {why}")
}

/// The event that a dead letter with that reason stands for, if for any.
#[must_use]
pub fn buried_id(reason: &str) -> Option<EventId> {
    reason.strip_prefix(BURIED)?.split_once(": ")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Epoch, GatewayId};

    #[test]
    fn what_a_dead_letter_stands_for_is_read_from_its_reason() {
        let id = EventId {
            gateway: GatewayId::new("post-17").unwrap(),
            epoch: Epoch(0xabc),
            topic: Topic::new("air").unwrap(),
            partition: Partition(3),
            offset: Offset(42),
        };
        assert_eq!(buried_id(&buried(&id, "too large: 9 MB")), Some(id));
        for other in
            ["", "no route", "the cluster can't take it", "the cluster can't take a/b: c", "the cluster can't take "]
        {
            assert_eq!(buried_id(other), None, "{other}");
        }
    }
}
