//! What is remembered over a restart, as bytes. Keys are read as they sort; values are little-endian.
//!
//! ```text
//! key                                     value
//! s client id                             a session: version:u8 expiry_s:u32 away:u8 [stamp [before_ms:u64]]
//!                                           away: 0 not noted, 1 since the stamp, 2 and for so long before it
//!                                           count:u16, each: length:u16 filter options:u8 subscription id:u32 (0: none)
//!                                           [since:u64 [owner:u64]]: messages up to this number were for a session before it; whose
//!                                           it is, as a hash
//! m number:u64 (big-endian)               a message that waits for sessions
//! q length:u8 client id number:u64 (BE)   packet id:u16: the message waits for this session
//! r topic                                 a retained message
//! w client id 0:u8 number:u64 (BE)        a will: delay_s:u32 2:u8 flags:u8 [silence_s:u32] [expiry_s:u32] [length:u16 user], a message
//!                                           flags: 1 its client is here, and may be silent for so long (0: for ever), 2 expires,
//!                                           4 its client was let in as this user; delay_s 0 and not 1: it is due
//! w client id                             as before 1.0: delay_s:u32, a message: a will that waits for its delay
//!
//! message = version:u8 flags:u8 [stamp left_ms:u64] length:u8 publisher length:u16 topic length:u32 properties payload
//!           flags: 1 QoS 1, 2 published with retain, 4 expires (the stamp and what was left then)
//! options = as in SUBSCRIBE (MQTT 5.0, section 3.8.3.1); 0x40: what is retained under the filter is still to come, or to be acknowledged
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
    pub(super) away: Option<Absence>,
    pub(super) wishes: Vec<Noted>,
    /// The last message that may have waited for a session of this client before this one; 0: none has.
    pub(super) since: u64,
    /// Whose it is; 0: nobody knows.
    pub(super) owner: u64,
}

/// A subscription, as it is noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) wish: Wish,
    /// What is retained under its filter has not all been acknowledged.
    pub(super) owed: bool,
}

/// In the options of a subscription, where SUBSCRIBE has a bit that is always 0. A version that does not know it does not look.
const OWED: u8 = 0x40;

/// How long a client has been away, on a machine whose clock may never be set: what can't be told from stamps is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Absence {
    pub(super) since: Now,
    /// What had passed before that, in ms.
    pub(super) before_ms: u64,
}

impl Absence {
    pub(super) const fn begun(since: Now) -> Self {
        Self { since, before_ms: 0 }
    }

    pub(super) fn passed_ms(self, now: Now) -> u64 {
        self.before_ms.saturating_add(stamp::passed_ms(self.since, now))
    }

    /// As it is reckoned from now on.
    pub(super) fn as_of(self, now: Now) -> Self {
        Self { since: now, before_ms: self.passed_ms(now) }
    }

    /// As it is found at a start: where nobody can tell how long the gateway was off, it goes on from here.
    pub(super) fn found(self, now: Now) -> Self {
        if stamp::can_tell(self.since, now) { self } else { self.as_of(now) }
    }
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

pub(super) fn will_key(device: &DeviceId, number: u64) -> Vec<u8> {
    if number == 0 {
        return [b"w", device.as_str().as_bytes()].concat();
    }
    [b"w", device.as_str().as_bytes(), &[0], &number.to_be_bytes()].concat()
}

/// Whose will it is, and its number; 0 where it has none. A client id has no control characters.
pub(super) fn read_will_key(key: &[u8]) -> Option<(DeviceId, u64)> {
    let rest = key.get(1..)?;
    let Some(end) = rest.iter().position(|byte| *byte == 0) else { return Some((device_in(key)?, 0)) };
    let number = u64::from_be_bytes(rest.get(end + 1..)?.try_into().ok()?);
    Some((device_in(key.get(..=end)?)?, number))
}

/// The client id in a key of a session.
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
        match self.away {
            None => out.put_u8(0),
            Some(Absence { since, before_ms: 0 }) => {
                out.put_u8(1);
                stamp::put(since, &mut out);
            }
            Some(Absence { since, before_ms }) => {
                out.put_u8(2);
                stamp::put(since, &mut out);
                out.put_u64_le(before_ms);
            }
        }
        out.put_u16_le(self.wishes.len() as u16);
        for Noted { wish, owed } in &self.wishes {
            out.put_u16_le(wish.filter.len() as u16);
            out.put_slice(wish.filter.as_bytes());
            let qos = u8::from(wish.qos == Qos::AtLeastOnce);
            let flags = u8::from(wish.no_local) << 2 | u8::from(wish.retain_as_published) << 3;
            out.put_u8(qos | flags | wish.retain_handling << 4 | if *owed { OWED } else { 0 });
            out.put_u32_le(wish.subscription_id.unwrap_or(0));
        }
        if self.since > 0 || self.owner > 0 {
            out.put_u64_le(self.since);
        }
        if self.owner > 0 {
            out.put_u64_le(self.owner);
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
        let away = match bytes.try_get_u8().ok()? {
            0 => None,
            1 => Some(Absence::begun(stamp::take(&mut bytes)?)),
            _ => Some(Absence { since: stamp::take(&mut bytes)?, before_ms: bytes.try_get_u64_le().ok()? }),
        };
        let mut wishes = Vec::new();
        for _ in 0..bytes.try_get_u16_le().ok()? {
            let length = usize::from(bytes.try_get_u16_le().ok()?);
            let filter = std::str::from_utf8(&take(&mut bytes, length)?).ok()?.into();
            let options = bytes.try_get_u8().ok()?;
            let subscription_id = Some(bytes.try_get_u32_le().ok()?).filter(|id| *id != 0);
            let wish = Wish {
                filter,
                qos: if options & 3 == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce },
                no_local: options & 4 != 0,
                retain_as_published: options & 8 != 0,
                retain_handling: options >> 4 & 3,
                subscription_id,
            };
            wishes.push(Noted { wish, owed: options & OWED != 0 });
        }
        let since = if bytes.is_empty() { 0 } else { bytes.try_get_u64_le().ok()? };
        let owner = if bytes.is_empty() { 0 } else { bytes.try_get_u64_le().ok()? };
        Some(Self { expiry, away, wishes, since, owner })
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

/// A will that is not published yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WillRecord {
    /// How long it waits once its client is gone.
    pub(crate) delay_s: u32,
    /// Its client is here, and may be silent for so long; 0: for ever. `None`: it is gone.
    pub(crate) silence_s: Option<u32>,
    /// Message Expiry Interval, from its publication on.
    pub(crate) expiry_s: Option<u32>,
    /// The name that its client was let in by: the rules may speak of it.
    pub(crate) user: Option<Box<str>>,
    pub(crate) message: Message,
}

const WILL_VERSION: u8 = 2;

impl WillRecord {
    pub(super) fn encode(&self, now: Now) -> Bytes {
        let mut out = BytesMut::with_capacity(14 + self.message.bytes());
        out.put_u32_le(self.delay_s);
        out.put_u8(WILL_VERSION);
        // A user name is an MQTT string, or a client id.
        let user = self.user.as_deref().and_then(|user| Some((u16::try_from(user.len()).ok()?, user)));
        let flags = u8::from(self.silence_s.is_some()) | u8::from(self.expiry_s.is_some()) << 1;
        out.put_u8(flags | u8::from(user.is_some()) << 2);
        self.silence_s.into_iter().chain(self.expiry_s).for_each(|seconds| out.put_u32_le(seconds));
        if let Some((length, user)) = user {
            out.put_u16_le(length);
            out.put_slice(user.as_bytes());
        }
        put_message(&self.message, now, &mut out);
        out.freeze()
    }

    pub(super) fn decode(bytes: &Bytes, now: Now) -> Option<Self> {
        let mut bytes = bytes.clone();
        let delay_s = bytes.try_get_u32_le().ok()?;
        if bytes.first() != Some(&WILL_VERSION) {
            let message = decode_message(&bytes, now)?;
            return Some(Self { delay_s, silence_s: None, expiry_s: None, user: None, message });
        }
        let flags = bytes.try_get_u16_le().ok()? >> 8;
        let mut seconds = |flag| if flags & flag == 0 { Some(None) } else { bytes.try_get_u32_le().ok().map(Some) };
        let (silence_s, expiry_s) = (seconds(1)?, seconds(2)?);
        let user = if flags & 4 == 0 {
            None
        } else {
            let length = usize::from(bytes.try_get_u16_le().ok()?);
            Some(std::str::from_utf8(&take(&mut bytes, length)?).ok()?.into())
        };
        Some(Self { delay_s, silence_s, expiry_s, user, message: decode_message(&bytes, now)? })
    }
}

/// Reads a note as a start does, for the fuzzer: what is understood is written and read again as the same. Gives whether it was understood.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_note(key: &[u8], value: &Bytes) -> bool {
    use lamppost_event::{BootId, ClockQuality, WallTime};
    let now = Now { wall: WallTime(0), monotonic: Monotonic(1_000), boot: BootId(1), quality: ClockQuality::Unset };
    match key.first() {
        Some(b's') => device_in(key).zip(SessionRecord::decode(value)).is_some_and(|(device, record)| {
            let again = SessionRecord::decode(&record.encode());
            assert_eq!((device_in(&session_key(&device)), again.as_ref()), (Some(device), Some(&record)));
            true
        }),
        Some(b'm') => read_message_key(key).zip(decode_message(value, now)).is_some_and(|(number, message)| {
            assert_eq!(message_key(number), key);
            assert_eq!(decode_message(&encode_message(&message, now), now), Some(message));
            true
        }),
        Some(b'q') => read_queue_key(key).is_some_and(|(device, number)| queue_key(&device, number) == key),
        Some(b'r') => decode_message(value, now).is_some(),
        Some(b'w') => {
            read_will_key(key).zip(WillRecord::decode(value, now)).is_some_and(|((device, number), record)| {
                assert_eq!(read_will_key(&will_key(&device, number)), Some((device, number)));
                assert_eq!(WillRecord::decode(&record.encode(now), now), Some(record));
                true
            })
        }
        _ => false,
    }
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
