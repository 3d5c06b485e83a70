//! What clients send after their CONNECT.

use super::properties::{Value, id, walk};
use super::reader::OVERLONG;
use super::{DecodeError, Frame, Packet, PublishProperties, Qos, Reader, Version};

/// A message from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publish<'a> {
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    /// Empty where a topic alias stands in.
    pub(crate) topic: &'a str,
    /// 0 with QoS 0.
    pub(crate) packet_id: u16,
    pub(crate) properties: PublishProperties<'a>,
    pub(crate) payload: &'a [u8],
}

/// A wish to be sent messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscribe<'a> {
    pub(crate) packet_id: u16,
    /// v5; not 0.
    pub(crate) subscription_id: Option<u32>,
    pub(crate) filters: Vec<Filter<'a>>,
}

/// One filter of a SUBSCRIBE. The last three are v5's; v3.1.1 has them as `false`, `false` and 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Filter<'a> {
    pub(crate) path: &'a str,
    /// 0 to 2, as asked for.
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    /// 0: send retained messages; 1: only if the subscription is new; 2: don't.
    pub(crate) retain_handling: u8,
}

/// A wish to be sent no more of some messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unsubscribe<'a> {
    pub(crate) packet_id: u16,
    pub(crate) filters: Vec<&'a str>,
}

/// Decodes one packet of a connected client.
pub(crate) fn decode(version: Version, frame: Frame, body: &[u8]) -> Result<Packet<'_>, DecodeError> {
    let (kind, flags) = (frame.header >> 4, frame.header & 0x0f);
    let expected_flags = match kind {
        3 => flags,
        6 | 8 | 10 => 2,
        _ => 0,
    };
    if flags != expected_flags {
        return Err(DecodeError::Malformed("reserved flags of the fixed header"));
    }
    if version == Version::V5 && frame.is_overlong() {
        return Err(OVERLONG);
    }
    let reader = Reader::new(body);
    match kind {
        1 => Err(DecodeError::Protocol("a second CONNECT")),
        3 => publish(version, flags, reader).map(Packet::Publish),
        4 => puback(version, reader).map(Packet::PubAck),
        // Nothing is ever delivered with QoS 2, and no QoS 2 publish is ever taken.
        5..=7 => Err(DecodeError::QosTwo),
        8 => subscribe(version, reader).map(Packet::Subscribe),
        10 => unsubscribe(version, reader).map(Packet::Unsubscribe),
        12 => reader.finish("bytes after PINGREQ").map(|()| Packet::PingReq),
        14 => disconnect(version, reader),
        15 if version == Version::V5 => Err(DecodeError::Protocol("AUTH without an authentication method")),
        0 | 15 => Err(DecodeError::Malformed("packet type")),
        _ => Err(DecodeError::Protocol("a packet that only servers send")),
    }
}

fn publish(version: Version, flags: u8, mut reader: Reader<'_>) -> Result<Publish<'_>, DecodeError> {
    let qos = match (flags >> 1) & 3 {
        0 if flags & 0x08 != 0 => return Err(DecodeError::Malformed("DUP with QoS 0")),
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        2 => return Err(DecodeError::QosTwo),
        _ => return Err(DecodeError::Malformed("QoS 3")),
    };
    let topic = reader.string()?;
    let packet_id = if qos == Qos::AtMostOnce { 0 } else { reader.packet_id()? };
    let properties = match version {
        Version::V4 => PublishProperties::default(),
        Version::V5 => PublishProperties::of_publish(reader.block()?)?,
    };
    Ok(Publish { qos, retain: flags & 1 != 0, topic, packet_id, properties, payload: reader.rest() })
}

fn puback(version: Version, mut reader: Reader<'_>) -> Result<u16, DecodeError> {
    let packet_id = reader.packet_id()?;
    if version == Version::V5 && !reader.is_empty() {
        reader.u8()?;
        if !reader.is_empty() {
            walk(reader.block()?, &[id::REASON_STRING, id::USER], |_| Ok(()))?;
        }
    }
    reader.finish("bytes after PUBACK")?;
    Ok(packet_id)
}

fn subscribe(version: Version, mut reader: Reader<'_>) -> Result<Subscribe<'_>, DecodeError> {
    let packet_id = reader.packet_id()?;
    let mut subscription_id = None;
    if version == Version::V5 {
        walk(reader.block()?, &[id::SUBSCRIPTION_ID, id::USER], |property| {
            match property.value {
                Value::Long(0) => return Err(DecodeError::Protocol("subscription id 0")),
                Value::Long(given) => subscription_id = Some(given),
                _ => {}
            }
            Ok(())
        })?;
    }
    let mut filters = Vec::new();
    while !reader.is_empty() {
        let path = reader.string()?;
        filters.push(filter(version, path, reader.u8()?)?);
    }
    if filters.is_empty() {
        return Err(DecodeError::Protocol("SUBSCRIBE without a filter"));
    }
    Ok(Subscribe { packet_id, subscription_id, filters })
}

fn filter(version: Version, path: &str, options: u8) -> Result<Filter<'_>, DecodeError> {
    let reserved = if version == Version::V4 { 0xFC } else { 0xC0 };
    let (qos, retain_handling) = (options & 3, (options >> 4) & 3);
    if options & reserved != 0 {
        return Err(DecodeError::Malformed("reserved bits of the subscription options"));
    }
    if qos == 3 || retain_handling == 3 {
        return Err(DecodeError::Protocol("a QoS or Retain Handling of 3"));
    }
    let no_local = options & 0x04 != 0;
    if no_local && path.starts_with("$share/") {
        return Err(DecodeError::Protocol("No Local on a shared subscription"));
    }
    Ok(Filter { path, qos, no_local, retain_as_published: options & 0x08 != 0, retain_handling })
}

fn unsubscribe(version: Version, mut reader: Reader<'_>) -> Result<Unsubscribe<'_>, DecodeError> {
    let packet_id = reader.packet_id()?;
    if version == Version::V5 {
        walk(reader.block()?, &[id::USER], |_| Ok(()))?;
    }
    let mut filters = Vec::new();
    while !reader.is_empty() {
        filters.push(reader.string()?);
    }
    if filters.is_empty() {
        return Err(DecodeError::Protocol("UNSUBSCRIBE without a filter"));
    }
    Ok(Unsubscribe { packet_id, filters })
}

fn disconnect(version: Version, mut reader: Reader<'_>) -> Result<Packet<'_>, DecodeError> {
    let (mut reason, mut session_expiry_s) = (0, None);
    if version == Version::V5 && !reader.is_empty() {
        reason = reader.u8()?;
        if !reader.is_empty() {
            walk(reader.block()?, &[id::SESSION_EXPIRY, id::REASON_STRING, id::USER], |property| {
                if let Value::Long(seconds) = property.value {
                    session_expiry_s = Some(seconds);
                }
                Ok(())
            })?;
        }
    }
    reader.finish("bytes after DISCONNECT")?;
    Ok(Packet::Disconnect { reason, session_expiry_s })
}
