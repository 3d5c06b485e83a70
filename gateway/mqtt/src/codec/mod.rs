//! MQTT 3.1.1 and 5.0 as a server meets it: what clients send is decoded, what goes to them is encoded.
//!
//! ```text
//! packet  = type:4 flags:4, remaining length:varint (1 to 4 bytes), body
//! string  = length:u16 big-endian, UTF-8 without U+0000
//! binary  = length:u16 big-endian, bytes
//! v5 only: properties = length:varint, (identifier:u8, value)*      after the variable header
//! ```
//!
//! A decoded packet borrows from the bytes it was read from. Decoding is strict where the standard says "malformed" or
//! "protocol error": reserved flags and bits, packet id 0, duplicate properties, trailing bytes. No byte makes it panic.

mod connect;
mod decode;
mod encode;
mod properties;
mod reader;
#[cfg(test)]
mod tests;

pub(crate) use connect::{Connect, Secret, Will, decode_connect};
pub(crate) use decode::{Filter, Publish, Subscribe, Unsubscribe, decode};
pub(crate) use encode::{
    Accepted, Outgoing, connack, connack_refused, disconnect, pingresp, puback, publish, suback, unsuback,
};
pub(crate) use properties::PublishProperties;
pub(crate) use reader::Reader;

use crate::Cause;
use crate::cause::Close;

/// The protocol version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// 3.1.1, protocol level 4.
    V4,
    /// 5.0.
    V5,
}

/// The delivery guarantee of a message that is taken or delivered: QoS 2 is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Qos {
    AtMostOnce,
    AtLeastOnce,
}

/// Why bytes are not a packet that a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    #[error("a packet of {bytes} bytes is above the limit of {bytes_max}")]
    TooLarge { bytes: usize, bytes_max: usize },
    #[error("protocol {name:?} level {level} is not served: 3.1.1 (level 4) and 5.0 (level 5) are")]
    Version { name: &'static str, level: u8 },
    #[error("QoS 2 is not served: publish with QoS 0 or 1")]
    QosTwo,
}

impl From<DecodeError> for Close {
    fn from(error: DecodeError) -> Self {
        let cause = match error {
            DecodeError::Malformed(_) => Cause::Malformed,
            DecodeError::Protocol(_) => Cause::Protocol,
            DecodeError::TooLarge { .. } => Cause::PacketTooLarge,
            DecodeError::Version { .. } => Cause::Version,
            DecodeError::QosTwo => Cause::QosTwo,
        };
        Self::new(cause, error.to_string())
    }
}

/// A packet that a client may send after its CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    Publish(Publish<'a>),
    /// The client has what was delivered to it with this packet id.
    PubAck(u16),
    Subscribe(Subscribe<'a>),
    Unsubscribe(Unsubscribe<'a>),
    PingReq,
    Disconnect {
        /// 0x00: normally, without the will.
        reason: u8,
        /// In seconds, if the client changes it.
        session_expiry_s: Option<u32>,
    },
}

/// Where the first packet of a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) header: u8,
    pub(crate) body: usize,
    pub(crate) end: usize,
}

impl Frame {
    /// Its length takes more bytes than it needs, which v3.1.1 does not forbid [MQTT-1.5.5-1].
    fn is_overlong(self) -> bool {
        let (length, bytes) = (self.end.saturating_sub(self.body), self.body.saturating_sub(1));
        bytes > 1 && length >> (7 * (bytes - 1)) == 0
    }
}

/// Looks for a whole packet at the start of `bytes`. `Ok(Err(n))`: at least `n` bytes are needed in all.
pub(crate) fn frame(bytes: &[u8], packet_bytes_max: usize) -> Result<Result<Frame, usize>, DecodeError> {
    let Some((header, rest)) = bytes.split_first() else {
        return Ok(Err(2));
    };
    let mut length = 0_usize;
    for (at, byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let body = 2 + at;
            let end = body + length;
            if end > packet_bytes_max {
                return Err(DecodeError::TooLarge { bytes: end, bytes_max: packet_bytes_max });
            }
            return Ok(if bytes.len() < end { Err(end) } else { Ok(Frame { header: *header, body, end }) });
        }
    }
    if rest.len() >= 4 { Err(DecodeError::Malformed("remaining length")) } else { Ok(Err(bytes.len() + 1)) }
}
