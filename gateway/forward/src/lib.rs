//! From the journal to Kafka: at least once, or exactly once, in order per key, without end. How, and what it costs: `README.md` beside this.
//!
//! ```text
//! Outlet ── read ──► Reading ──► Window ── send ──► librdkafka ──► cluster
//!        ◄─ commit ─ cursors ◄── contiguous ◄─ delivery reports ──┘
//! ```
//!
//! - The journal is the queue: two chunks are read ahead and [`ForwardConfig::in_flight_bytes_max`] is in flight, whatever the
//!   backlog.
//! - A cursor passes an event once the cluster has acknowledged it and all before it in its partition, or it is durable among
//!   the dead letters, or the journal has lost it (a gap). Offsets that are missing without a gap are looked for again, three
//!   times from the cursors on, before they are passed and counted as one. A gap is passed once it is told ([`AuditTrail`]), durably.
//! - When anything fails for good, the producer is purged and closed, and a new one goes on at the cursors. So in every
//!   partition of the cluster the *first* occurrences of events are in order; later ones carry the same `ce_id`.
//! - Live first ([`LiveFirst`]) means a second forwarder of this kind while a backlog is delivered: each lane in order, the backlog marked.
//! - Exactly once ([`Delivery::ExactlyOnce`]) means transactions: a cursor passes what is committed, and lies in the cluster too.
//! - A topic that can't be written to is set apart and tried with one event at a time; the others go on. Where a batch was
//!   refused, its events go one at a time until the one that was meant is found and buried.
//! - What the cluster refuses for its time (`message.timestamp.before.max.ms`, `message.timestamp.after.max.ms`) is sent once more
//!   with the time of sending, at its own place; `ce_clock` says so, and `ce_time` still tells when it was received. The cluster is then asked
//!   for the topic's bounds, and what lies beyond them goes with the time of sending at once, for a while: then they are asked for again.
//! - An event's partition is Kafka's murmur2 of its key over the partitions that the *cluster* has. Where that is another
//!   number than the journal's, events of one key still keep their order, since a key has one partition on both sides.
//! - The number of partitions is asked for once, and again when the cluster refuses one: partitions that are added while the
//!   gateway runs are used after its next start.
//! - Payloads go as received, but for the topics that have a schema ([`Schemas`]): those go in the wire format of a schema registry, and what does
//!   not fit goes to the dead letters.
//! - With a ceiling ([`ForwardConfig::bandwidth_max`]) what goes out is kept to it by what librdkafka says it has written, and the window shrinks
//!   to two seconds of it.
//!
//! Not covered: if somebody deletes a topic while events of it are in flight and it is made anew within milliseconds, an event
//! may be written before an earlier one of its partition.

mod alone;
mod backoff;
mod batch_size;
mod bounds;
mod burial;
mod care;
mod config;
mod counters;
mod credentials;
mod cursors;
mod denial;
mod doubt;
mod ending;
mod engine;
mod enlist;
mod exactly_once;
mod failure;
mod forwarder;
mod handshake;
mod kafka;
mod keyring;
mod lane;
mod live;
mod outcome;
mod pace;
mod places;
mod probe;
mod reach;
mod reading;
mod record;
mod register;
mod renewal;
mod reports;
mod resolve;
#[cfg(test)]
mod sample;
mod schema;
mod security;
mod session;
mod solo;
mod split;
mod stamp;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod steady;
mod target;
mod telling;
mod transaction;
mod transactional;
mod window;
mod wire;

pub use config::{
    Compression, Delivery, ForwardConfig, ForwardConfigError, LiveFirst, TopicTemplate, TopicTemplateError,
};
pub use counters::Counters;
pub use credentials::{CredentialError, Examination, examine};
pub use denial::{Denial, DenialCounts};
pub use forwarder::{AuditTrail, DeadLetters, ForwardError, Forwarder, Poison, Undelivered};
pub use kafka::{check_property, producer_properties};
pub use keyring::Keyring;
pub use probe::{ClusterSeen, probe};
pub use schema::{
    RegistryError, RegistryLogin, RegistrySettings, RegistryUrl, RegistryUrlError, SchemaFault, SchemaFormat,
    SchemaRule, Schemas, SubjectTemplate, SubjectTemplateError, look_at_registry, look_at_schema,
};
pub use security::{ClientTls, Login, Mechanism, OwnCertificate, Security, said_otherwise};
pub use split::{LaneGroups, Lanes};
