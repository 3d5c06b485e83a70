//! What a journal tells the cluster of itself, so that anyone can check it from there: the audit trail. Notices are events of one topic,
//! [`AUDIT_TRAIL`], from the gateway itself ([`crate::SourceKind::Gateway`]); their payload is JSON.
//!
//! | notice | written | says |
//! |---|---|---|
//! | gap | before a cursor passes it | these offsets will never come, and why |
//! | manifest | at each start, and now and then | how far each partition of a topic had come, and what was forwarded |
//!
//! Where several sinks read one journal, each has its own notices: what one has lost or has had says nothing of another. They all go the
//! way of all events, so that a cluster gets the others' too, and says which it means by the sink's name.
//!
//! Without manifests nobody sees from outside that the last events of a partition never came; without gaps, what a policy has dropped
//! looks like a loss.

use serde::{Deserialize, Serialize};

use crate::{EventId, Group, Offset, Partition, Topic};

/// The journal's topic for notices.
pub const AUDIT_TRAIL: &str = "audit-trail";

/// The sink that notices without a name are of: the one of `[kafka]`.
pub const MAIN_SINK: &str = "forward";

/// How a dead letter's reason begins that stands for an event: the main sink's, and another's.
const BURIED: &str = "the cluster can't take ";
const BURIED_BY: (&str, &str) = ("the cluster of sink ", " can't take ");

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
        /// Whose cursor passes it, if it is not [`MAIN_SINK`]'s.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sink: Option<Group>,
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
        /// Whose cursor [`Extent::done`] is, if it is not [`MAIN_SINK`]'s.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sink: Option<Group>,
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
    /// The first that the sink had not done with: what lies before it is in the cluster, or accounted for by an earlier notice.
    pub done: Offset,
}

impl Notice {
    /// Whether it is of that sink.
    #[must_use]
    pub fn is_of(&self, wanted: &str) -> bool {
        let (Self::Gap { sink, .. } | Self::Manifest { sink, .. }) = self;
        sink.as_ref().map_or(MAIN_SINK, Group::as_str) == wanted
    }
}

/// The reason of a dead letter that stands for an event which that sink's cluster can never accept.
#[must_use]
pub fn buried(sink: &Group, id: &EventId, why: &str) -> String {
    let (before, behind) = BURIED_BY;
    if sink.as_str() == MAIN_SINK {
        format!("{BURIED}{id}: {why}")
    } else {
        format!("{before}{sink}{behind}{id}: {why}")
    }
}

/// The event that a dead letter with that reason stands for in that sink's cluster, if for any.
#[must_use]
pub fn buried_id(sink: &str, reason: &str) -> Option<EventId> {
    let id = if sink == MAIN_SINK {
        reason.strip_prefix(BURIED)?
    } else {
        let (before, behind) = BURIED_BY;
        reason.strip_prefix(before)?.strip_prefix(sink)?.strip_prefix(behind)?
    };
    id.split_once(": ")?.0.parse().ok()
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
        let (main, other) = (Group::new(MAIN_SINK).unwrap(), Group::new("analytics").unwrap());
        let by = |sink| buried(sink, &id, "too large: 9 MB");
        assert_eq!(by(&main), format!("the cluster can't take {id}: too large: 9 MB"));
        assert_eq!(by(&other), format!("the cluster of sink analytics can't take {id}: too large: 9 MB"));
        for (told, asked, found) in
            [(&main, &main, true), (&other, &other, true), (&main, &other, false), (&other, &main, false)]
        {
            assert_eq!(buried_id(asked.as_str(), &by(told)), found.then(|| id.clone()), "{told} {asked}");
        }
        for other in
            ["", "no route", "the cluster can't take it", "the cluster can't take a/b: c", "the cluster can't take "]
        {
            assert_eq!(buried_id(MAIN_SINK, other), None, "{other}");
        }
    }

    #[test]
    fn a_notice_without_a_name_is_the_main_sinks_and_its_bytes_are_as_before_there_were_others() {
        let notice = |sink| Notice::Manifest {
            journal: "ab".to_owned(),
            topic: Topic::new("air").unwrap(),
            partitions: Vec::new(),
            sink,
        };
        let text = serde_json::to_string(&notice(None)).unwrap();
        assert_eq!(text, r#"{"notice":"manifest","journal":"ab","topic":"air","partitions":[]}"#);
        assert_eq!(serde_json::from_str::<Notice>(&text).unwrap(), notice(None));
        let other = notice(Some(Group::new("analytics").unwrap()));
        assert!(notice(None).is_of(MAIN_SINK) && !notice(None).is_of("analytics"));
        assert!(other.is_of("analytics") && !other.is_of(MAIN_SINK));
    }
}
