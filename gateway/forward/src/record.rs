//! A stored event as the cluster receives it: CloudEvents 1.0 in binary mode (Kafka protocol binding, section 3.2). Pure.
//!
//! | Kafka | holds |
//! |---|---|
//! | key | the event's key |
//! | value | the payload, as received or [encoded](crate::schema) |
//! | timestamp | the time of reception, or of sending ([`Stamp`]), milliseconds |
//! | headers | as in [`lamppost_event::header`] |

use std::fmt::Write as _;

use lamppost_event::{GatewayId, Origin, Rfc3339, Stored, header};

use crate::schema::Encoder;
use crate::stamp::Stamp;

/// What an event in flight costs besides its bytes: librdkafka's message and header structures, its allocations' overhead and
/// our own bookkeeping (measured with librdkafka 2.12: about 250 bytes, and 48 a header).
const OVERHEAD_BYTES: usize = 800;

/// What Kafka's record format adds at most to key, value and headers, in bytes (varints of lengths and deltas).
const FRAMING_BYTES: usize = 128;

/// Writes the headers of an event: `put` takes each, in a fixed order. `text` is scratch space.
pub(crate) fn headers(
    stored: &Stored,
    gateway: &GatewayId,
    stamp: Stamp,
    encoder: Option<&Encoder>,
    text: &mut String,
    put: &mut dyn FnMut(&'static str, &str),
) {
    let event = &stored.event;
    let mut format = |key: &'static str, value: std::fmt::Arguments<'_>| {
        text.clear();
        if text.write_fmt(value).is_ok() {
            put(key, text);
        }
    };
    format(header::SPEC_VERSION, format_args!("1.0"));
    format(
        header::ID,
        format_args!("{gateway}/{}/{}/{}/{}", stored.epoch, event.topic, stored.partition, stored.offset),
    );
    format(header::SOURCE, format_args!("/lamppost/{gateway}/{}", event.source.as_str()));
    format(header::TYPE, format_args!("{}", header::EVENT_TYPE));
    format(header::SUBJECT, format_args!("{}", event.address));
    if let Some(time) = Rfc3339::new(stamp.received) {
        format(header::TIME, format_args!("{time}"));
    }
    // A dead letter goes as it was received, and what is empty goes as null.
    let encoder = encoder.filter(|_| event.reason.is_none() && !event.payload.is_empty());
    match (encoder.and_then(Encoder::content_type), &event.content_type) {
        (Some(content_type), _) => format(header::CONTENT_TYPE, format_args!("{content_type}")),
        (None, Some(content_type)) => format(header::CONTENT_TYPE, format_args!("{content_type}")),
        (None, None) => {}
    }
    if let Some(encoder) = encoder {
        format(header::DATA_SCHEMA, format_args!("{}", encoder.uri()));
    }
    format(header::DEVICE, format_args!("{}", event.device));
    match &event.origin {
        Origin::Unmarked => {}
        Origin::Id(id) => format(header::SENDER_ID, format_args!("{id}")),
        Origin::Sequence { boot, sequence } => {
            format(header::SENDER_BOOT, format_args!("{boot}"));
            format(header::SENDER_SEQUENCE, format_args!("{sequence}"));
        }
    }
    format(header::CLOCK, format_args!("{}", stamp.clock));
    if let Some(time) = event.time.device.and_then(Rfc3339::new) {
        format(header::DEVICE_TIME, format_args!("{time}"));
    }
    if let Some(reason) = &event.reason {
        format(header::REASON, format_args!("{reason}"));
    }
}

/// What a header takes in a record of Kafka's format (v2), in bytes: two lengths (varints) and two texts.
pub(crate) fn header_bytes(key: &str, value: &str) -> usize {
    varint_bytes(key.len()) + key.len() + varint_bytes(value.len()) + value.len()
}

/// What a record takes besides its headers, in bytes: key and value with their lengths, and some 7 bytes of its own length, attributes,
/// deltas of time and offset, number of headers.
pub(crate) fn body_bytes(key: &[u8], payload: &[u8]) -> usize {
    7 + varint_bytes(key.len()) + key.len() + varint_bytes(payload.len()) + payload.len()
}

/// Of a length, zigzag-coded.
const fn varint_bytes(length: usize) -> usize {
    match length {
        0..64 => 1,
        64..8192 => 2,
        8192..1_048_576 => 3,
        _ => 4,
    }
}

/// The bytes that an event occupies in flight, about: what is counted against the window's bound.
pub(crate) fn bytes_in_flight(stored: &Stored, payload: &[u8], encoder: Option<&Encoder>) -> usize {
    let schema = encoder.map_or(0, |encoder| 64 + encoder.uri().len());
    OVERHEAD_BYTES + bytes_besides_payload(stored) + schema + payload.len()
}

/// How much of a dead letter's payload fits into a record of `message_bytes_max`; `None` if all of it does, or if the event is
/// not a dead letter: then it must go whole or not at all.
pub(crate) fn cut(stored: &Stored, message_bytes_max: usize) -> Option<usize> {
    stored.event.reason.as_ref()?;
    let room = message_bytes_max.saturating_sub(bytes_besides_payload(stored) + FRAMING_BYTES);
    (stored.event.payload.len() > room).then_some(room)
}

fn bytes_besides_payload(stored: &Stored) -> usize {
    let event = &stored.event;
    // The names of the headers and the values that do not vary come to some 250 bytes.
    let origin = if let Origin::Id(id) = &event.origin { id.len() } else { 40 };
    320 + event.key.len()
        + event.topic.as_str().len()
        + event.address.as_str().len()
        + event.device.as_str().len()
        + event.content_type.as_ref().map_or(0, |text| text.as_str().len())
        + event.reason.as_ref().map_or(0, |text| text.len())
        + origin
        + 2 * GatewayId::BYTES_MAX
}

#[cfg(test)]
mod tests;
