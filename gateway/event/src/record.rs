//! How an event is stored: as a Kafka record whose one header holds what Kafka has no field for.
//!
//! | record field | holds |
//! |---|---|
//! | timestamp | the wall time of reception, ms |
//! | key | the event's key |
//! | value | the payload, as received |
//! | header `lp` | the rest, as below |
//!
//! The header's bytes, version 1. Integers are little-endian; `varint` is base-128, least significant group first;
//! `text` is a varint length and UTF-8.
//!
//! ```text
//! u8      version = 1
//! u8      flags: bits 0-1 clock quality (0 unset, 1 holdover, 2 synced)
//!                bits 2-3 origin (0 none, 1 sequence, 2 id)
//!                bit 4    device time follows
//!                bit 5    device follows (else it is the key)
//!                bit 6    content type follows
//!                bit 7    reason follows (a dead letter)
//! u8      source (0 mqtt, 1 serial, 2 i2c, 3 broker, 4 gateway)
//! u64     boot id
//! varint  monotonic time, ms
//! text    address
//! varint  device time minus wall time, ms, zigzag       if bit 4
//! text    device                                        if bit 5
//! varint  boot, varint sequence                         if origin = 1
//! text    id                                            if origin = 2
//! text    content type                                  if bit 6
//! text    reason                                        if bit 7
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use crate::varint;
use crate::{
    Address, BootId, ClockQuality, ContentType, DeviceId, Event, EventTime, Monotonic, Origin, SourceKind, Topic,
    WallTime,
};

const VERSION: u8 = 1;
const DEVICE_TIME: u8 = 1 << 4;
const DEVICE: u8 = 1 << 5;
const CONTENT_TYPE: u8 = 1 << 6;
const REASON: u8 = 1 << 7;

/// An event as the journal stores it. The journal knows no more of an event than this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Milliseconds since 1970 UTC.
    pub timestamp: WallTime,
    /// The record's key.
    pub key: Bytes,
    /// The record's value; `None` is a tombstone (only in the journal's own partitions).
    pub value: Option<Bytes>,
    /// The value of the one header, `lp`; empty for none.
    pub header: Bytes,
}

impl StoredRecord {
    /// The header's key.
    pub const HEADER_KEY: &'static str = "lp";

    /// The bytes that count against bounds: key, value and header.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len) + self.header.len()
    }
}

/// Why stored bytes are not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A version that this program does not know.
    #[error("stored with header version {0}, this program knows up to {VERSION}")]
    Version(u8),
    /// The bytes end early, or hold what is not allowed at this field.
    #[error("the stored header is damaged at its field {0:?}")]
    Field(&'static str),
}

/// Encodes an event for the journal.
#[must_use]
pub fn encode_event(event: &Event) -> StoredRecord {
    let (timestamp, key, value) = (event.time.wall, event.key.clone(), Some(event.payload.clone()));
    StoredRecord { timestamp, key, value, header: encode_header(event) }
}

/// The same for an event that is not needed any more, with its topic.
#[must_use]
pub fn into_record(event: Event) -> (Topic, StoredRecord) {
    let header = encode_header(&event);
    let Event { topic, key, payload, time, .. } = event;
    (topic, StoredRecord { timestamp: time.wall, key, value: Some(payload), header })
}

fn encode_header(event: &Event) -> Bytes {
    let device_is_key = event.key == event.device.as_str().as_bytes();
    let mut flags = match event.time.quality {
        ClockQuality::Unset => 0,
        ClockQuality::Holdover => 1,
        ClockQuality::Synced => 2,
    };
    flags |= match event.origin {
        Origin::Unmarked => 0,
        Origin::Sequence { .. } => 1 << 2,
        Origin::Id(_) => 2 << 2,
    };
    flags |= if event.time.device.is_some() { DEVICE_TIME } else { 0 };
    flags |= if device_is_key { 0 } else { DEVICE };
    flags |= if event.content_type.is_some() { CONTENT_TYPE } else { 0 };
    flags |= if event.reason.is_some() { REASON } else { 0 };

    let mut out = BytesMut::with_capacity(64 + event.address.as_str().len());
    out.put_u8(VERSION);
    out.put_u8(flags);
    out.put_u8(match event.source {
        SourceKind::Mqtt => 0,
        SourceKind::Serial => 1,
        SourceKind::I2c => 2,
        SourceKind::Broker => 3,
        SourceKind::Gateway => 4,
    });
    out.put_u64_le(event.time.boot.0);
    varint::put(&mut out, event.time.monotonic.0);
    put_text(&mut out, event.address.as_str());
    if let Some(device_time) = event.time.device {
        varint::put(&mut out, varint::zigzag(device_time.0.wrapping_sub(event.time.wall.0)));
    }
    if !device_is_key {
        put_text(&mut out, event.device.as_str());
    }
    match &event.origin {
        Origin::Unmarked => {}
        Origin::Sequence { boot, sequence } => {
            varint::put(&mut out, *boot);
            varint::put(&mut out, *sequence);
        }
        Origin::Id(id) => put_text(&mut out, id),
    }
    if let Some(content_type) = &event.content_type {
        put_text(&mut out, content_type.as_str());
    }
    if let Some(reason) = &event.reason {
        put_text(&mut out, reason);
    }
    out.freeze()
}

/// Decodes what [`encode_event`] wrote. Never panics, whatever the bytes.
///
/// # Errors
/// [`RecordError`] if the header is of a newer version or damaged.
pub fn decode_event(topic: &Topic, record: StoredRecord) -> Result<Event, RecordError> {
    let (start, mut rest) = Start::decode(&record.key, &record.header)?;
    let Start { flags, source, boot, monotonic, address, device_time, device } = start;
    let quality = match flags & 0b11 {
        0 => ClockQuality::Unset,
        1 => ClockQuality::Holdover,
        2 => ClockQuality::Synced,
        _ => return Err(RecordError::Field("clock quality")),
    };
    let address = Address::new(address).map_err(|_| RecordError::Field("address"))?;
    let device_time = device_time.map(|delta| WallTime(record.timestamp.0.wrapping_add(delta)));
    let device = DeviceId::new(device).map_err(|_| RecordError::Field("device"))?;
    let origin = match (flags >> 2) & 0b11 {
        0 => Origin::Unmarked,
        1 => Origin::Sequence { boot: take_varint(&mut rest, "origin")?, sequence: take_varint(&mut rest, "origin")? },
        2 => Origin::Id(take_text(&mut rest, "origin")?.into()),
        _ => return Err(RecordError::Field("origin")),
    };
    let content_type = if flags & CONTENT_TYPE == 0 {
        None
    } else {
        let text = take_text(&mut rest, "content type")?;
        Some(ContentType::new(text).map_err(|_| RecordError::Field("content type"))?)
    };
    let reason = if flags & REASON == 0 { None } else { Some(take_text(&mut rest, "reason")?.into()) };
    if !rest.is_empty() {
        return Err(RecordError::Field("end"));
    }
    Ok(Event {
        source,
        device,
        address,
        topic: topic.clone(),
        key: record.key,
        origin,
        time: EventTime { device: device_time, wall: record.timestamp, monotonic, boot, quality },
        content_type,
        reason,
        payload: record.value.unwrap_or_default(),
    })
}

/// Who reported what is stored with this key and header, without decoding the rest.
///
/// # Errors
/// As [`decode_event`], for what comes before.
pub fn device_of<'a>(key: &'a [u8], header: &'a [u8]) -> Result<&'a str, RecordError> {
    Start::decode(key, header).map(|(start, _)| start.device)
}

/// A header up to the device, where it lies.
struct Start<'a> {
    flags: u8,
    source: SourceKind,
    boot: BootId,
    monotonic: Monotonic,
    address: &'a str,
    /// Beyond the wall time, ms.
    device_time: Option<i64>,
    device: &'a str,
}

impl<'a> Start<'a> {
    /// And what follows it.
    fn decode(key: &'a [u8], mut rest: &'a [u8]) -> Result<(Self, &'a [u8]), RecordError> {
        let version = take_u8(&mut rest, "version")?;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        let flags = take_u8(&mut rest, "flags")?;
        let source = match take_u8(&mut rest, "source")? {
            0 => SourceKind::Mqtt,
            1 => SourceKind::Serial,
            2 => SourceKind::I2c,
            3 => SourceKind::Broker,
            4 => SourceKind::Gateway,
            _ => return Err(RecordError::Field("source")),
        };
        let (boot, after_boot) = rest.split_first_chunk::<8>().ok_or(RecordError::Field("boot id"))?;
        let boot = BootId(u64::from_le_bytes(*boot));
        rest = after_boot;
        let monotonic = Monotonic(take_varint(&mut rest, "monotonic time")?);
        let address = take_text(&mut rest, "address")?;
        let device_time = if flags & DEVICE_TIME == 0 {
            None
        } else {
            Some(varint::unzigzag(take_varint(&mut rest, "device time")?))
        };
        let device = if flags & DEVICE == 0 {
            std::str::from_utf8(key).map_err(|_| RecordError::Field("device"))?
        } else {
            take_text(&mut rest, "device")?
        };
        Ok((Self { flags, source, boot, monotonic, address, device_time, device }, rest))
    }
}

fn put_text(out: &mut BytesMut, text: &str) {
    varint::put(out, text.len() as u64);
    out.put_slice(text.as_bytes());
}

fn take_u8(rest: &mut &[u8], field: &'static str) -> Result<u8, RecordError> {
    let (byte, after) = rest.split_first().ok_or(RecordError::Field(field))?;
    *rest = after;
    Ok(*byte)
}

fn take_varint(rest: &mut &[u8], field: &'static str) -> Result<u64, RecordError> {
    varint::take(rest).ok_or(RecordError::Field(field))
}

fn take_text<'a>(rest: &mut &'a [u8], field: &'static str) -> Result<&'a str, RecordError> {
    let length = usize::try_from(take_varint(rest, field)?).map_err(|_| RecordError::Field(field))?;
    let (text, after) = rest.split_at_checked(length).ok_or(RecordError::Field(field))?;
    *rest = after;
    std::str::from_utf8(text).map_err(|_| RecordError::Field(field))
}

#[cfg(test)]
mod tests;
