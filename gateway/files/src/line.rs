//! An event, or a gap, as one line of JSON. Pure.
//!
//! | field | holds |
//! |---|---|
//! | `ce_…`, `content-type` | as the headers in Kafka ([`lamppost_event::header`]); all are texts |
//! | `topic`, `partition`, `offset` | its place in the journal |
//! | `key` or `key_base64` | the event's key: as text if it is UTF-8 |
//! | `data` or `data_base64` | the payload: as JSON if it is, else in base64 (RFC 4648, section 4) |
//! | `gap` | instead of all these: `topic`, `partition`, `from`, `to`, `reason`; offsets that will never come |
//!
//! The names `data` and `data_base64` are those of the CloudEvents JSON format 1.0, section 3.1.

use std::fmt::{self, Display};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lamppost_event::{Gap, GatewayId, Now, Origin, Rfc3339, Stored, WallTime, header};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A payload that is nested deeper is not put in as JSON: many readers would refuse the line.
const DEPTH_MAX: usize = 64;
/// Nor one with a longer number.
const DIGITS_MAX: usize = 300;

/// When the event was received, as well as is known now.
pub(crate) fn time_of(stored: &Stored, best: Now) -> WallTime {
    let time = &stored.event.time;
    time.corrected(best).unwrap_or(time.wall)
}

/// Appends an event's line.
pub(crate) fn event(out: &mut Vec<u8>, gateway: &GatewayId, stored: &Stored, best: Now) {
    let event = &stored.event;
    let (epoch, partition, offset) = (stored.epoch, stored.partition, stored.offset);
    out.extend_from_slice(b"{");
    let mut put = |name: &str, value: &dyn Display| {
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        text(out, name);
        out.push(b':');
        text(out, &value.to_string());
    };
    put(header::SPEC_VERSION, &"1.0");
    put(header::ID, &format_args!("{gateway}/{epoch}/{}/{partition}/{offset}", event.topic));
    put(header::SOURCE, &format_args!("/lamppost/{gateway}/{}", event.source.as_str()));
    put(header::TYPE, &header::EVENT_TYPE);
    put(header::SUBJECT, &event.address);
    if let Some(time) = Rfc3339::new(time_of(stored, best)) {
        put(header::TIME, &time);
    }
    if let Some(content_type) = &event.content_type {
        put(header::CONTENT_TYPE, content_type);
    }
    put(header::DEVICE, &event.device);
    match &event.origin {
        Origin::Unmarked => {}
        Origin::Id(id) => put(header::SENDER_ID, id),
        Origin::Sequence { boot, sequence } => {
            put(header::SENDER_BOOT, boot);
            put(header::SENDER_SEQUENCE, sequence);
        }
    }
    put(header::CLOCK, &event.time.quality.as_str());
    if let Some(time) = event.time.device.and_then(Rfc3339::new) {
        put(header::DEVICE_TIME, &time);
    }
    if let Some(reason) = &event.reason {
        put(header::REASON, reason);
    }
    put("topic", &event.topic);
    out.extend_from_slice(format!(",\"partition\":{partition},\"offset\":{offset}").as_bytes());
    match std::str::from_utf8(&event.key) {
        Ok(key) => {
            out.extend_from_slice(b",\"key\":");
            text(out, key);
        }
        Err(_) => binary(out, "key_base64", &event.key),
    }
    if is_plain_json(&event.payload) {
        out.extend_from_slice(b",\"data\":");
        // A line break in JSON stands between tokens only: a blank does as well.
        out.extend(
            event.payload.trim_ascii().iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }),
        );
    } else {
        binary(out, "data_base64", &event.payload);
    }
    out.extend_from_slice(b"}\n");
}

/// Appends a gap's line.
pub(crate) fn gap(out: &mut Vec<u8>, gap: &Gap) {
    out.extend_from_slice(b"{\"gap\":{\"topic\":");
    text(out, gap.at.topic.as_str());
    let (partition, from, to) = (gap.at.partition, gap.from, gap.to);
    out.extend_from_slice(format!(",\"partition\":{partition},\"from\":{from},\"to\":{to},\"reason\":").as_bytes());
    text(out, &gap.reason);
    out.extend_from_slice(b"}}\n");
}

/// Whether that is a whole line.
pub(crate) fn is_line(bytes: &[u8]) -> bool {
    let Some(line) = bytes.strip_suffix(b"\n") else { return false };
    line.first() == Some(&b'{')
        && std::str::from_utf8(line).is_ok()
        && serde_json::from_slice::<IgnoredAny>(line).is_ok()
}

fn text(out: &mut Vec<u8>, text: &str) {
    let quoted = serde_json::Value::from(text).to_string();
    out.extend_from_slice(quoted.as_bytes());
}

fn binary(out: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    out.extend_from_slice(format!(",\"{name}\":\"").as_bytes());
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}

/// JSON that every reader takes: neither nested too deep nor with endless numbers, no number beyond an f64, no half of a surrogate pair.
fn is_plain_json(payload: &[u8]) -> bool {
    let Ok(utf8) = std::str::from_utf8(payload) else { return false };
    let (mut depth, mut digits) = (0_usize, 0_usize);
    let (mut in_text, mut escaped) = (false, false);
    for byte in utf8.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        digits = if byte.is_ascii_digit() && !in_text { digits + 1 } else { 0 };
        if depth > DEPTH_MAX || digits > DIGITS_MAX {
            return false;
        }
    }
    serde_json::from_str::<Readable>(utf8).is_ok()
}

/// Reads every value and keeps none: `IgnoredAny` looks neither into texts nor at how large numbers are.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self, A::Error> {
        while values.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self, A::Error> {
        while fields.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
