//! What a source hands over, and what becomes of it by routing.

use bytes::Bytes;

use crate::{Address, ContentType, DeviceId, EventTime, Topic, WallTime};

/// The kind of source that an event came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// Our MQTT server.
    Mqtt,
    /// A serial port.
    Serial,
    /// A polled I2C chip.
    I2c,
    /// An MQTT broker that stands elsewhere.
    Broker,
    /// The gateway itself (gap records, manifests).
    Gateway,
}

impl SourceKind {
    /// The word used in headers, metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Serial => "serial",
            Self::I2c => "i2c",
            Self::Broker => "broker",
            Self::Gateway => "gateway",
        }
    }
}

/// The sender's own mark on what it sent, by which a resend can be recognised.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// None: a resend can't be told from a new event.
    Unmarked,
    /// A sequence that rises within a boot of the sender. One at or below the highest stored one of the same device and boot is a
    /// resend, and is not stored again. A hole is what the sender itself had to drop.
    Sequence {
        /// Which boot of the sender.
        boot: u64,
        /// Rises by one with each event that the sender made in that boot.
        sequence: u64,
    },
    /// An id of the sender's choosing, at most 255 bytes. Passed on; not used to drop anything.
    Id(Box<str>),
}

/// What a source hands over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The kind of source.
    pub source: SourceKind,
    /// Who reported.
    pub device: DeviceId,
    /// Where it came in; what routing looks at.
    pub address: Address,
    /// The sender's own mark.
    pub origin: Origin,
    /// The device's own time, if it has a clock.
    pub device_time: Option<WallTime>,
    /// The payload's media type, if the sender said.
    pub content_type: Option<ContentType>,
    /// The payload, as received.
    pub payload: Bytes,
    /// It was offered before, and refused for want of room. The intake says so of what it gives back, to count it once.
    pub refused: bool,
}

/// What a device reported, with its identity and times: what the journal stores and the cluster receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The kind of source.
    pub source: SourceKind,
    /// Who reported.
    pub device: DeviceId,
    /// Where it came in.
    pub address: Address,
    /// The stream it belongs to.
    pub topic: Topic,
    /// What decides its partition, and so its order. By default the device.
    pub key: Bytes,
    /// The sender's own mark.
    pub origin: Origin,
    /// Its times.
    pub time: EventTime,
    /// The payload's media type, if the sender said.
    pub content_type: Option<ContentType>,
    /// Why it is a dead letter, if it is one.
    pub reason: Option<Box<str>>,
    /// The payload.
    pub payload: Bytes,
}

impl Event {
    /// The same with key and payload in memory of their own. What is read from the journal shares its memory with what was read with it, which
    /// stays as long as any of it: this is for who keeps one for long.
    #[must_use]
    pub fn apart(&self) -> Self {
        let (key, payload) = (Bytes::copy_from_slice(&self.key), Bytes::copy_from_slice(&self.payload));
        Self { key, payload, ..self.clone() }
    }
}
