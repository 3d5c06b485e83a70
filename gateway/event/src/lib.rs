//! What all rooms of the gateway share: the event, its identity and times, and the contracts through which
//! events enter and leave the journal. No I/O, no clock, no runtime.
//!
//! Glossary (the words of ARCHITECTURE.md, as types):
//!
//! | word | type |
//! |---|---|
//! | what a source hands over, before routing | [`Arrival`] |
//! | what is stored and delivered | [`Event`] |
//! | a named stream of events | [`Topic`] |
//! | an ordered part of a topic, chosen by the key | [`Partition`], [`partition_of`] |
//! | an event's place in its partition, dense from 0 | [`Offset`] |
//! | a group commit | [`Commit`] |
//! | a place in the journal | [`Position`] |
//! | the journal's incarnation, part of every outward id | [`Epoch`] |
//! | how sources hand over | [`Intake`] |
//! | how consumers read | [`Outlet`] |
//! | what a source remembers over a restart | [`Notes`] |

mod arrival;
mod flow;
pub mod header;
mod id;
mod interest;
mod murmur2;
mod names;
mod notes;
mod place;
mod record;
mod rfc3339;
mod time;
mod trail;
mod varint;

pub use arrival::{Arrival, Event, Origin, SourceKind};
pub use flow::{
    Chunk, Cursor, Gap, Intake, Item, JournalStopped, Outlet, Refusal, Resume, Stored, TopicShape, Waiting,
};
pub use id::{EventId, ParseEventIdError};
pub use interest::{Interest, InterestError};
pub use murmur2::{murmur2, partition_of};
pub use names::{Address, ContentType, DeviceId, GatewayId, Group, NameError, Topic};
pub use notes::{NoteRefusal, Notes, NotesUnreadable};
pub use place::{Commit, Epoch, Offset, Partition, Position, TopicPartition};
pub use record::{RecordError, StoredRecord, decode_event, device_of, encode_event, into_record};
pub use rfc3339::Rfc3339;
pub use time::{BootId, Clock, ClockQuality, EventTime, Monotonic, Now, WallTime};
pub use trail::{AUDIT_TRAIL, Extent, MAIN_SINK, Notice, buried, buried_id};
