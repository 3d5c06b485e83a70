//! What is remembered over a restart, as bytes. Keys are read as they sort; values are little-endian.
//!
//! ```text
//! key                                     value
//! s client id                             a session: version:u8 expiry_s:u32 away:u8 [stamp]
//!                                           count:u16, each: length:u16 filter options:u8 subscription id:u32 (0: none)
//! m number:u64 (big-endian)               a message that waits for sessions
//! q length:u8 client id number:u64 (BE)   packet id:u16: the message waits for this session
//! r topic                                 a retained message
//! w client id                             delay_s:u32, a message: a will that waits for its delay
//!
//! message = version:u8 flags:u8 [stamp left_ms:u64] length:u8 publisher length:u16 topic length:u32 properties payload
//!           flags: 1 QoS 1, 2 published with retain, 4 expires (the stamp and what was left then)
//! options = as in SUBSCRIBE (MQTT 5.0, section 3.8.3.1)
//! ```
//!
//! What can't be understood is left out, never a reason not to start.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use lamppost_event::{Address, DeviceId, Monotonic, Now};

use crate::codec::Qos;
use crate::message::Message;
use crate::session::Wish;
use crate::stamp;

const VERSION: u8 = 1;
const FOR_EVER: u32 = u32::MAX;

/// A remembered session, without what waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SessionRecord {
    /// [`Duration::MAX`]: never ends.
    pub(super) expiry: Duration,
    /// Since when its client is away, where that was noted.
    pub(super) away: Option<Now>,
    pub(super) wishes: Vec<Wish>,
}

pub(super) fn session_key(device: &DeviceId) -> Vec<u8> {
    [b"s", device.as_str().as_bytes()].concat()
}

pub(super) fn message_key(number: u64) -> Vec<u8> {
    [&b"m"[..], &number.to_be_bytes()].concat()
}

pub(super) fn queue_key(device: &DeviceId, number: u64) -> Vec<u8> {
    let name = device.as_str().as_bytes();
    // A device id has at most 128 bytes.
    [&b"q"[..], &[name.len() as u8], name, &number.to_be_bytes()].concat()
}

pub(crate) fn retained_key(topic: &str) -> Vec<u8> {
    [b"r", topic.as_bytes()].concat()
}

pub(super) fn will_key(device: &DeviceId) -> Vec<u8> {
    [b"w", device.as_str().as_bytes()].concat()
}

/// The client id in a key of a session or will.
pub(super) fn device_in(key: &[u8]) -> Option<DeviceId> {
    DeviceId::new(std::str::from_utf8(key.get(1..)?).ok()?).ok()
}

/// Who waits for which message.
pub(super) fn read_queue_key(key: &[u8]) -> Option<(DeviceId, u64)> {
    let (length, rest) = key.get(1..)?.split_first()?;
    let (name, number) = rest.split_at_checked(usize::from(*length))?;
    let device = DeviceId::new(std::str::from_utf8(name).ok()?).ok()?;
    Some((device, u64::from_be_bytes(number.try_into().ok()?)))
}

pub(super) fn read_message_key(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..)?.try_into().ok()?))
}

impl SessionRecord {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        out.put_u32_le(u32::try_from(self.expiry.as_secs()).unwrap_or(FOR_EVER));
        out.put_u8(u8::from(self.away.is_some()));
        if let Some(away) = self.away {
            stamp::put(away, &mut out);
        }
        out.put_u16_le(self.wishes.len() as u16);
        for wish in &self.wishes {
            out.put_u16_le(wish.filter.len() as u16);
            out.put_slice(wish.filter.as_bytes());
            let qos = u8::from(wish.qos == Qos::AtLeastOnce);
            let flags = u8::from(wish.no_local) << 2 | u8::from(wish.retain_as_published) << 3;
            out.put_u8(qos | flags | wish.retain_handling << 4);
            out.put_u32_le(wish.subscription_id.unwrap_or(0));
        }
        out.freeze()
    }

    pub(super) fn decode(bytes: &Bytes) -> Option<Self> {
        let mut bytes = bytes.clone();
        if bytes.try_get_u8().ok()? != VERSION {
            return None;
        }
        let expiry_s = bytes.try_get_u32_le().ok()?;
        let expiry = if expiry_s == FOR_EVER { Duration::MAX } else { Duration::from_secs(expiry_s.into()) };
        let away = if bytes.try_get_u8().ok()? == 0 { None } else { Some(stamp::take(&mut bytes)?) };
        let mut wishes = Vec::new();
        for _ in 0..bytes.try_get_u16_le().ok()? {
            let length = usize::from(bytes.try_get_u16_le().ok()?);
            let filter = std::str::from_utf8(&take(&mut bytes, length)?).ok()?.into();
            let options = bytes.try_get_u8().ok()?;
            let subscription_id = Some(bytes.try_get_u32_le().ok()?).filter(|id| *id != 0);
            wishes.push(Wish {
                filter,
                qos: if options & 3 == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce },
                no_local: options & 4 != 0,
                retain_as_published: options & 8 != 0,
                retain_handling: options >> 4 & 3,
                subscription_id,
            });
        }
        Some(Self { expiry, away, wishes })
    }
}

pub(crate) fn encode_message(message: &Message, now: Now) -> Bytes {
    let mut out = BytesMut::with_capacity(message.bytes());
    put_message(message, now, &mut out);
    out.freeze()
}

fn put_message(message: &Message, now: Now, out: &mut BytesMut) {
    out.put_u8(VERSION);
    let qos = u8::from(message.qos == Qos::AtLeastOnce);
    out.put_u8(qos | u8::from(message.retain) << 1 | u8::from(message.expires.is_some()) << 2);
    if let Some(expires) = message.expires {
        stamp::put(now, out);
        out.put_u64_le(expires.0.saturating_sub(now.monotonic.0));
    }
    let (publisher, topic) = (message.publisher.as_str(), message.topic.as_str());
    out.put_u8(publisher.len() as u8);
    out.put_slice(publisher.as_bytes());
    out.put_u16_le(topic.len() as u16);
    out.put_slice(topic.as_bytes());
    out.put_u32_le(message.properties.len() as u32);
    out.put_slice(&message.properties);
    out.put_slice(&message.payload);
}

/// Reads a message back. What is left of its expiry is reckoned as of `now`.
pub(crate) fn decode_message(bytes: &Bytes, now: Now) -> Option<Message> {
    let mut bytes = bytes.clone();
    if bytes.try_get_u8().ok()? != VERSION {
        return None;
    }
    let flags = bytes.try_get_u8().ok()?;
    let expires = if flags & 4 == 0 {
        None
    } else {
        let then = stamp::take(&mut bytes)?;
        let left_ms = bytes.try_get_u64_le().ok()?.saturating_sub(stamp::passed_ms(then, now));
        Some(Monotonic(now.monotonic.0.saturating_add(left_ms)))
    };
    let length = usize::from(bytes.try_get_u8().ok()?);
    let publisher = DeviceId::new(std::str::from_utf8(&take(&mut bytes, length)?).ok()?).ok()?;
    let length = usize::from(bytes.try_get_u16_le().ok()?);
    let topic = Address::new(std::str::from_utf8(&take(&mut bytes, length)?).ok()?).ok()?;
    let length = bytes.try_get_u32_le().ok()? as usize;
    let properties = take(&mut bytes, length)?;
    let qos = if flags & 1 == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
    Some(Message { topic, payload: bytes, qos, retain: flags & 2 != 0, publisher, expires, properties })
}

pub(super) fn encode_will(delay_s: u32, message: &Message, now: Now) -> Bytes {
    let mut out = BytesMut::with_capacity(4 + message.bytes());
    out.put_u32_le(delay_s);
    put_message(message, now, &mut out);
    out.freeze()
}

pub(super) fn decode_will(bytes: &Bytes, now: Now) -> Option<(u32, Message)> {
    let mut bytes = bytes.clone();
    let delay_s = bytes.try_get_u32_le().ok()?;
    Some((delay_s, decode_message(&bytes, now)?))
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
