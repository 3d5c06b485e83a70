//! How a message travels through the router, as the payload of the router's own message:
//!
//! ```text
//! flags:u8        bit 0: QoS 1   bit 1: published with retain   bit 2: expires
//! expires         with bit 2: u64 little-endian, ms of this boot's clock
//! publisher       length:u8, UTF-8 client id
//! properties      length:u32 little-endian, encoded v5 properties
//! payload         the rest
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use lamppost_event::{Address, DeviceId, Monotonic};

use super::router::PREFIX;
use crate::codec::Qos;
use crate::message::Message;

/// A message as it leaves the router for one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) message: Message,
    /// The link's own number of the subscription; `None` where the router has lost it.
    pub(crate) subscription: Option<usize>,
}

pub(super) fn seal(message: &Message) -> Bytes {
    let publisher = message.publisher.as_str().as_bytes();
    let length = 14 + publisher.len() + message.properties.len() + message.payload.len();
    let mut sealed = BytesMut::with_capacity(length);
    let qos = u8::from(message.qos == Qos::AtLeastOnce);
    sealed.put_u8(qos | u8::from(message.retain) << 1 | u8::from(message.expires.is_some()) << 2);
    if let Some(expires) = message.expires {
        sealed.put_u64_le(expires.0);
    }
    // A device id has at most 128 bytes, a packet at most 256 MiB.
    sealed.put_u8(publisher.len() as u8);
    sealed.put_slice(publisher);
    sealed.put_u32_le(message.properties.len() as u32);
    sealed.put_slice(&message.properties);
    sealed.put_slice(&message.payload);
    sealed.freeze()
}

/// `topic` is the router's. `None`: not ours.
pub(super) fn unseal(topic: &[u8], mut sealed: Bytes) -> Option<Message> {
    let topic = Address::new(std::str::from_utf8(topic).ok()?.strip_prefix(PREFIX)?).ok()?;
    let flags = sealed.try_get_u8().ok()?;
    let expires = if flags & 4 == 0 { None } else { Some(Monotonic(sealed.try_get_u64_le().ok()?)) };
    let publisher_bytes = usize::from(sealed.try_get_u8().ok()?);
    let publisher = DeviceId::new(std::str::from_utf8(&take(&mut sealed, publisher_bytes)?).ok()?).ok()?;
    let properties_bytes = sealed.try_get_u32_le().ok()? as usize;
    let properties = take(&mut sealed, properties_bytes)?;
    let qos = if flags & 1 == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
    Some(Message { topic, payload: sealed, qos, retain: flags & 2 != 0, publisher, expires, properties })
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_has_these_bytes_and_is_never_empty() {
        let message = Message {
            topic: Address::new("a/b").unwrap(),
            payload: Bytes::from_static(b"21"),
            qos: Qos::AtLeastOnce,
            retain: true,
            publisher: DeviceId::new("d1").unwrap(),
            expires: None,
            properties: Bytes::from_static(&[1, 1]),
        };
        let sealed = seal(&message);
        assert_eq!(&sealed[..], b"\x03\x02d1\x02\0\0\0\x01\x0121");
        assert_eq!(unseal(b"t/a/b", sealed), Some(message.clone()));
        let mortal = Message { expires: Some(Monotonic(258)), ..message.clone() };
        assert_eq!(&seal(&mortal)[..9], [7, 2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(unseal(b"t/a/b", seal(&mortal)), Some(mortal));
        let empty = Message { payload: Bytes::new(), properties: Bytes::new(), ..message };
        assert!(!seal(&empty).is_empty());
        assert_eq!(unseal(b"t/a", Bytes::new()), None);
        assert_eq!(unseal(b"n", seal(&empty)), None);
    }
}
