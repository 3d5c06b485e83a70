//! How a message travels through the router, as the payload of the router's own message:
//!
//! ```text
//! flags:u8        bit 0: QoS 1   bit 1: published with retain
//! publisher       length:u8, UTF-8 client id
//! properties      length:u32 little-endian, encoded v5 properties
//! payload         the rest
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Publication;
use crate::codec::Qos;

/// A message as it leaves the router for one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) topic: Bytes,
    /// As published.
    pub(crate) qos: Qos,
    /// As published.
    pub(crate) retain: bool,
    /// It was kept, and is sent because the subscription is new.
    pub(crate) retained: bool,
    pub(crate) publisher: Bytes,
    /// The link's own number of the subscription; `None` where the router has lost it.
    pub(crate) subscription: Option<usize>,
    pub(crate) message_expiry_s: Option<u32>,
    pub(crate) properties: Bytes,
    pub(crate) payload: Bytes,
}

pub(super) fn seal(publication: &Publication) -> Bytes {
    let publisher = publication.publisher.as_str().as_bytes();
    let length = 6 + publisher.len() + publication.properties.len() + publication.payload.len();
    let mut sealed = BytesMut::with_capacity(length);
    sealed.put_u8(u8::from(publication.qos == Qos::AtLeastOnce) | u8::from(publication.retain) << 1);
    // A device id has at most 128 bytes, a packet at most 256 MiB.
    sealed.put_u8(publisher.len() as u8);
    sealed.put_slice(publisher);
    sealed.put_u32_le(publication.properties.len() as u32);
    sealed.put_slice(&publication.properties);
    sealed.put_slice(&publication.payload);
    sealed.freeze()
}

/// `None`: not ours (the removal of a retained message is an empty one).
pub(super) fn unseal(topic: Bytes, mut sealed: Bytes) -> Option<Delivery> {
    let flags = sealed.try_get_u8().ok()?;
    let publisher_bytes = usize::from(sealed.try_get_u8().ok()?);
    let publisher = take(&mut sealed, publisher_bytes)?;
    let properties_bytes = sealed.try_get_u32_le().ok()? as usize;
    let properties = take(&mut sealed, properties_bytes)?;
    Some(Delivery {
        topic,
        qos: if flags & 1 == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce },
        retain: flags & 2 != 0,
        retained: false,
        publisher,
        subscription: None,
        message_expiry_s: None,
        properties,
        payload: sealed,
    })
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use lamppost_event::{Address, DeviceId};

    use super::*;

    #[test]
    fn an_envelope_has_these_bytes_and_is_never_empty() {
        let publication = Publication {
            topic: Address::new("a/b").unwrap(),
            payload: Bytes::from_static(b"21"),
            qos: Qos::AtLeastOnce,
            retain: true,
            publisher: DeviceId::new("d1").unwrap(),
            message_expiry_s: None,
            properties: Bytes::from_static(&[1, 1]),
        };
        let sealed = seal(&publication);
        assert_eq!(&sealed[..], b"\x03\x02d1\x02\0\0\0\x01\x0121");
        let delivery = unseal(Bytes::from_static(b"a/b"), sealed).unwrap();
        assert_eq!((delivery.qos, delivery.retain), (Qos::AtLeastOnce, true));
        assert_eq!((&delivery.publisher[..], &delivery.payload[..]), (&b"d1"[..], &b"21"[..]));
        let empty = Publication { payload: Bytes::new(), properties: Bytes::new(), ..publication };
        assert!(!seal(&empty).is_empty());
        assert_eq!(unseal(Bytes::new(), Bytes::new()), None);
    }
}
