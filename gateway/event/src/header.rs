//! The Kafka headers of a delivered event: CloudEvents 1.0 in binary mode (Kafka protocol binding, section 3.2), written by
//! the forwarder and read by the audit, which know nothing else of each other. All values are UTF-8.

/// Always `1.0`.
pub const SPEC_VERSION: &str = "ce_specversion";
/// [`crate::EventId`]: the same on every retry, so what was *delivered* twice can be recognised anywhere.
pub const ID: &str = "ce_id";
/// `/lamppost/<gateway>/<source kind>`.
pub const SOURCE: &str = "ce_source";
/// [`EVENT_TYPE`].
pub const TYPE: &str = "ce_type";
/// [`crate::Event::address`]: for MQTT the topic it was published to.
pub const SUBJECT: &str = "ce_subject";
/// When the gateway received it, RFC 3339, corrected (see [`crate::EventTime::corrected`]); the time of sending where that can't
/// be known.
pub const TIME: &str = "ce_time";
/// The payload's media type; left out where the sender did not say. Without the prefix, by the binding.
pub const CONTENT_TYPE: &str = "content-type";
/// Where the schema of what is encoded by one can be read; left out of payloads that go as received.
pub const DATA_SCHEMA: &str = "ce_dataschema";
/// Extension: who reported.
pub const DEVICE: &str = "ce_device";
/// Extension: the sender's own id, so what was *sent* twice can be recognised.
pub const SENDER_ID: &str = "ce_senderid";
/// Extension: the sender's boot, decimal.
pub const SENDER_BOOT: &str = "ce_senderboot";
/// Extension: the sender's sequence within that boot, decimal.
pub const SENDER_SEQUENCE: &str = "ce_senderseq";
/// Extension: the quality of the gateway's clock at reception (`unset`, `holdover`, `synced`), or `forwarded` where the
/// record's timestamp is the time of sending, since the event's own could not be known or the cluster refused it.
pub const CLOCK: &str = "ce_clock";
/// Extension: the device's own time, RFC 3339.
pub const DEVICE_TIME: &str = "ce_devicetime";
/// Extension: why it is a dead letter.
pub const REASON: &str = "ce_reason";
/// Extension: the payload's whole length in bytes, on a dead letter that was cut to what the cluster takes. The journal keeps the whole.
pub const PAYLOAD_BYTES: &str = "ce_payloadbytes";

/// Extension: in which lane it came, while a topic's backlog is delivered beside what comes in: [`BACKFILL`] or [`LIVE`]. Left out where a topic
/// goes in one lane: then all that is older in its partition of the journal had been delivered before.
pub const LANE: &str = "ce_lane";
/// Of the backlog. What is newer may stand before it.
pub const BACKFILL: &str = "backfill";
/// Of what came in since. What is older may come behind it, marked [`BACKFILL`].
pub const LIVE: &str = "live";

/// What a record of our own beside the events is; no event has it. Only [`CURSOR`] so far.
pub const KIND: &str = "lamppost_kind";
/// A cursor of the forwarder's, in exactly-once mode.
pub const CURSOR: &str = "cursor";

/// The CloudEvents type of every event.
pub const EVENT_TYPE: &str = "lamppost.event.v1";
