//! Messages: what a frame carries. The first byte is the type, the rest is the body in postcard's encoding (varint
//! integers, zigzag for signed ones, length-prefixed texts and lists, structures as their fields in order).
//!
//! | type | towards | body |
//! |---|---|---|
//! | 0x01 | gateway | [`Hello`] |
//! | 0x02 | gateway | [`Step`], [`Reading`] |
//! | 0x03 | gateway | [`Heartbeat`] |
//! | 0x04 | gateway | [`TimeAsked`] |
//! | 0x05 | gateway | [`Answer`] to an order |
//! | 0x06, 0x07 | gateway | kept for: log line, several readings |
//! | 0x81 | node | [`Welcome`] |
//! | 0x82 | node | [`Ack`] |
//! | 0x83 | node | [`Resend`] |
//! | 0x84 | node | introduce yourself (no body) |
//! | 0x85 | node | [`Time`] |
//! | 0x86 | node | [`Order`] |
//! | 0x87 | node | kept for: update |
//!
//! The top bit tells the direction, so an end that hears its own echo knows it. A type that an end does not know is
//! counted and skipped. Bytes after the last known field are skipped too: a later version adds fields at the end.

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::frame::{FrameBuffer, MESSAGE_BYTES_MAX, seal};
use crate::{Answer, Boot, MeasureIndex, Millis, Order, Sequence, Time, TimeAsked, Value};

/// The version of the protocol that this crate speaks.
pub const VERSION: u8 = 1;
/// The most measures that a node can describe.
pub const MEASURES_MAX: usize = 8;

const HELLO: u8 = 0x01;
const READING: u8 = 0x02;
const HEARTBEAT: u8 = 0x03;
const TIME_ASKED: u8 = 0x04;
const ANSWER: u8 = 0x05;
const WELCOME: u8 = 0x81;
const ACK: u8 = 0x82;
const RESEND: u8 = 0x83;
const INTRODUCE: u8 = 0x84;
const TIME: u8 = 0x85;
const ORDER: u8 = 0x86;

/// Why a whole frame's content is not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageError {
    /// A type that this end does not know, or that goes the other way.
    Unknown {
        /// The type.
        kind: u8,
    },
    /// The body is not what the type asks for.
    Malformed {
        /// The type.
        kind: u8,
    },
}

impl core::fmt::Display for MessageError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Unknown { kind } => write!(f, "a message of the unknown type {kind:#04x}"),
            Self::Malformed { kind } => write!(f, "a message of type {kind:#04x} with a body that does not fit"),
        }
    }
}

impl core::error::Error for MessageError {}

/// A text is longer than its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextError {
    /// The text's length.
    pub bytes: usize,
    /// The field's.
    pub bytes_max: usize,
}

impl core::fmt::Display for TextError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "a text of {} bytes in a field of at most {}", self.bytes, self.bytes_max)
    }
}

impl core::error::Error for TextError {}

/// A text for a field of at most `BYTES` bytes.
///
/// # Errors
/// [`TextError`] if it is longer.
pub fn text<const BYTES: usize>(text: &str) -> Result<String<BYTES>, TextError> {
    String::try_from(text).map_err(|_| TextError { bytes: text.len(), bytes_max: BYTES })
}

/// A power of ten: a measure of scale -3 counts thousandths of its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Scale(pub i8);

/// The lowest and highest value that a sensor can report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Range {
    /// The lowest.
    pub low: Value,
    /// The highest.
    pub high: Value,
}

/// One thing that a node measures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// What it is called, for example `temperature`. At most 24 bytes; not empty, without `/`, `+`, `#` and control
    /// characters.
    pub name: String<24>,
    /// Its unit, as SenML (RFC 8428, section 12.1) or UCUM code: `Cel`, `Pa`, `%RH`, `uT`, `W`. At most 12 bytes.
    pub unit: String<12>,
    /// What one step of the integer is.
    pub scale: Scale,
    /// What the sensor can report, if known.
    pub range: Option<Range>,
}

/// What a node can do beyond readings, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// Bit 0: take another interval for a measure.
    pub const SET_INTERVAL: Self = Self(1);
    /// Bit 1: show which node it is.
    pub const IDENTIFY: Self = Self(2);
    /// Bit 2: reset itself.
    pub const RESET: Self = Self(4);

    /// These and those.
    #[must_use]
    pub const fn and(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// All of `these` are among them.
    #[must_use]
    pub const fn include(self, these: Self) -> bool {
        self.0 & these.0 == these.0
    }
}

/// A node introduces itself. Sent after a reset and whenever the gateway asks, until a [`Welcome`] answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The highest version that the node speaks, from 1.
    pub version: u8,
    /// Another one in each hello; the welcome repeats it, so a late answer is not taken for a new one.
    pub nonce: u32,
    /// The device's name, unique in the city. At most 32 bytes; not empty, without `/`, `+`, `#` and control characters.
    pub device: String<32>,
    /// This life of the node, or [`Boot::UNNUMBERED`].
    pub boot: Boot,
    /// The highest sequence of that boot that this life of the node has ever sent. A gateway that has stored a higher
    /// one knows that the number was used in an earlier life.
    pub sent: Sequence,
    /// The firmware's name and version, for people. At most 32 bytes.
    pub firmware: String<32>,
    /// What the node can do beyond readings.
    pub capabilities: Capabilities,
    /// What it measures. A reading names its measure by the place in this list.
    pub measures: Vec<Measure, MEASURES_MAX>,
}

/// One measured value, as a node keeps it until it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reading {
    /// The life in which it was measured.
    pub boot: Boot,
    /// Its number in that life.
    pub sequence: Sequence,
    /// What was measured.
    pub measure: MeasureIndex,
    /// When, since the reset that began that life.
    pub uptime: Millis,
    /// The value.
    pub value: Value,
}

/// How far a reading lies above the one before it that the node still keeps, of the same boot: 1 where none was dropped
/// between, 0 where none is kept before it. What lies between was dropped and will never come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Step(pub u64);

impl Step {
    /// Nothing before this reading is kept.
    pub const OLDEST: Self = Self(0);
}

/// A node lives, and how its store does. Sent every now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Heartbeat {
    /// This life.
    pub boot: Boot,
    /// Since its beginning.
    pub uptime: Millis,
    /// The highest sequence given out in it.
    pub last: Sequence,
    /// Readings kept now, of all boots.
    pub kept: u32,
    /// Readings dropped for want of room in this life, of all boots.
    pub dropped: u64,
    /// Measurements that failed in this life.
    pub faults: u64,
}

/// The gateway's answer to a [`Hello`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Welcome {
    /// The version to speak: the lower of the two ends'.
    pub version: u8,
    /// The hello's.
    pub nonce: u32,
    /// The number of this life. Where it is not the hello's, the node takes it on and says hello again.
    pub boot: Boot,
    /// The highest sequence of that boot that is on the gateway's disk.
    pub resume_after: Sequence,
    /// How many readings may be under way without acknowledgement, from 1.
    pub window: u16,
    /// How long to wait for an acknowledgement before sending again, in milliseconds.
    pub patience_ms: u32,
}

/// All readings of that boot up to that sequence are on the gateway's disk (or were dropped by the node).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ack {
    /// The boot.
    pub boot: Boot,
    /// The highest sequence.
    pub sequence: Sequence,
}

/// A reading is missing: send again what follows `after`. Promises nothing about what came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resend {
    /// The boot.
    pub boot: Boot,
    /// The last sequence that came in order.
    pub after: Sequence,
}

/// What a node says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is no heap to put a hello on, and one message lives at a time")]
pub enum FromNode {
    /// Who it is.
    Hello(Hello),
    /// What it measured.
    Reading(Step, Reading),
    /// That it lives.
    Heartbeat(Heartbeat),
    /// That it wants to know the time.
    TimeAsked(TimeAsked),
    /// What came of an order.
    Answer(Answer),
}

impl FromNode {
    /// Encodes a frame into `out` and says how many bytes it has, both zero bytes included.
    #[must_use]
    pub fn encode(&self, out: &mut FrameBuffer) -> usize {
        match self {
            Self::Hello(hello) => encode_hello(hello, out),
            Self::Reading(step, reading) => encode(READING, &(step, reading), out),
            Self::Heartbeat(heartbeat) => encode(HEARTBEAT, heartbeat, out),
            Self::TimeAsked(asked) => encode(TIME_ASKED, asked, out),
            Self::Answer(answer) => encode(ANSWER, answer, out),
        }
    }

    /// Decodes what a frame carried. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// [`MessageError`] if the type is not one of these, or the body does not fit it.
    pub fn decode(message: &[u8]) -> Result<Self, MessageError> {
        let (kind, body) = message.split_first().ok_or(MessageError::Unknown { kind: 0 })?;
        match *kind {
            HELLO => decode(*kind, body).map(Self::Hello),
            READING => decode(*kind, body).map(|(step, reading)| Self::Reading(step, reading)),
            HEARTBEAT => decode(*kind, body).map(Self::Heartbeat),
            TIME_ASKED => decode(*kind, body).map(Self::TimeAsked),
            ANSWER => decode(*kind, body).map(Self::Answer),
            kind => Err(MessageError::Unknown { kind }),
        }
    }
}

/// What a gateway says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromGateway {
    /// Who the node is to be, and how fast it may send.
    Welcome(Welcome),
    /// What is on disk.
    Ack(Ack),
    /// What is missing.
    Resend(Resend),
    /// That it does not know the node.
    Introduce,
    /// What its clock says.
    Time(Time),
    /// What to do.
    Order(Order),
}

impl FromGateway {
    /// Encodes a frame into `out` and says how many bytes it has, both zero bytes included.
    #[must_use]
    pub fn encode(&self, out: &mut FrameBuffer) -> usize {
        match self {
            Self::Welcome(welcome) => encode(WELCOME, welcome, out),
            Self::Ack(ack) => encode(ACK, ack, out),
            Self::Resend(resend) => encode(RESEND, resend, out),
            Self::Introduce => encode(INTRODUCE, &(), out),
            Self::Time(time) => encode(TIME, time, out),
            Self::Order(order) => encode(ORDER, order, out),
        }
    }

    /// Decodes what a frame carried. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// [`MessageError`] if the type is not one of these, or the body does not fit it.
    pub fn decode(message: &[u8]) -> Result<Self, MessageError> {
        let (kind, body) = message.split_first().ok_or(MessageError::Unknown { kind: 0 })?;
        match *kind {
            WELCOME => decode(*kind, body).map(Self::Welcome),
            ACK => decode(*kind, body).map(Self::Ack),
            RESEND => decode(*kind, body).map(Self::Resend),
            INTRODUCE => Ok(Self::Introduce),
            TIME => decode(*kind, body).map(Self::Time),
            ORDER => decode(*kind, body).map(Self::Order),
            kind => Err(MessageError::Unknown { kind }),
        }
    }
}

/// As [`FromNode::encode`], without moving the hello.
pub(crate) fn encode_hello(hello: &Hello, out: &mut FrameBuffer) -> usize {
    encode(HELLO, hello, out)
}

fn encode<T: Serialize>(kind: u8, body: &T, out: &mut FrameBuffer) -> usize {
    let mut message = [0; MESSAGE_BYTES_MAX];
    let length = message.split_first_mut().and_then(|(first, rest)| {
        *first = kind;
        postcard::to_slice(body, rest).ok().map(|body| 1 + body.len())
    });
    let frame = length.and_then(|length| seal(&mut message, length, out));
    debug_assert!(frame.is_some(), "every message fits: a test encodes the longest");
    frame.unwrap_or(0)
}

fn decode<'a, T: Deserialize<'a>>(kind: u8, body: &'a [u8]) -> Result<T, MessageError> {
    postcard::take_from_bytes(body)
        .map(|(message, _later_fields)| message)
        .map_err(|_| MessageError::Malformed { kind })
}
