//! How a message travels through the router, as the payload of the router's own message:
//!
//! ```text
//! flags:u8        bit 0: QoS 1   bit 1: published with retain   bit 2: expires
//! number:u64      little-endian, of the message
//! expires         with bit 2: u64 little-endian, ms of this boot's clock
//! publisher       length:u8, UTF-8 client id
//! topic           length:u16 little-endian, UTF-8
//! properties      length:u32 little-endian, encoded v5 properties
//! payload         the rest
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use lamppost_event::{Address, DeviceId, Monotonic};

use crate::codec::Qos;
use crate::message::Message;

pub(super) fn seal(message: &Message, number: u64) -> Bytes {
    let (publisher, topic) = (message.publisher.as_str().as_bytes(), message.topic.as_str().as_bytes());
    let length = 24 + publisher.len() + topic.len() + message.properties.len() + message.payload.len();
    let mut sealed = BytesMut::with_capacity(length);
    let qos = u8::from(message.qos == Qos::AtLeastOnce);
    sealed.put_u8(qos | u8::from(message.retain) << 1 | u8::from(message.expires.is_some()) << 2);
    sealed.put_u64_le(number);
    if let Some(expires) = message.expires {
        sealed.put_u64_le(expires.0);
    }
    // A device id has at most 128 bytes, a topic comes with a length of 16 bits, a packet has at most 256 MiB.
    sealed.put_u8(publisher.len() as u8);
    sealed.put_slice(publisher);
    sealed.put_u16_le(topic.len() as u16);
    sealed.put_slice(topic);
    sealed.put_u32_le(message.properties.len() as u32);
    sealed.put_slice(&message.properties);
    sealed.put_slice(&message.payload);
    sealed.freeze()
}

/// The message and its number. `None`: not ours.
pub(super) fn unseal(mut sealed: Bytes) -> Option<(Message, u64)> {
    let flags = sealed.try_get_u8().ok()?;
    let number = sealed.try_get_u64_le().ok()?;
    let expires = if flags & 4 == 0 { None } else { Some(Monotonic(sealed.try_get_u64_le().ok()?)) };
    let publisher_bytes = usize::from(sealed.try_get_u8().ok()?);
    let publisher = DeviceId::new(std::str::from_utf8(&take(&mut sealed, publisher_bytes)?).ok()?).ok()?;
    let topic_bytes = usize::from(sealed.try_get_u16_le().ok()?);
    let topic = Address::new(std::str::from_utf8(&take(&mut sealed, topic_bytes)?).ok()?).ok()?;
    let properties_bytes = sealed.try_get_u32_le().ok()? as usize;
    let properties = take(&mut sealed, properties_bytes)?;
    let qos = if flags & 1 == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
    let retain = flags & 2 != 0;
    Some((Message { topic, payload: sealed, qos, retain, publisher, expires, properties }, number))
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
        let sealed = seal(&message, 5);
        assert_eq!(&sealed[..], b"\x03\x05\0\0\0\0\0\0\0\x02d1\x03\0a/b\x02\0\0\0\x01\x0121");
        assert_eq!(unseal(sealed.clone()), Some((message.clone(), 5)));
        let mortal = Message { expires: Some(Monotonic(258)), ..message.clone() };
        assert_eq!(&seal(&mortal, 5)[..17], [7, 5, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(unseal(seal(&mortal, 5)), Some((mortal, 5)));
        let empty = Message { payload: Bytes::new(), properties: Bytes::new(), ..message };
        assert!(!seal(&empty, 1).is_empty());
        // The last four before the properties' end are needed at the least.
        (0..sealed.len() - 4).for_each(|end| assert_eq!(unseal(sealed.slice(..end)), None, "{end}"));
    }
}
