//! MQTT 5.0 properties (section 2.2.2).

use super::{DecodeError, Reader};

/// Identifiers of the properties that mean something to the front.
pub(crate) mod id {
    pub(crate) const PAYLOAD_FORMAT: u8 = 1;
    pub(crate) const MESSAGE_EXPIRY: u8 = 2;
    pub(crate) const CONTENT_TYPE: u8 = 3;
    pub(crate) const RESPONSE_TOPIC: u8 = 8;
    pub(crate) const CORRELATION_DATA: u8 = 9;
    pub(crate) const SUBSCRIPTION_ID: u8 = 11;
    pub(crate) const SESSION_EXPIRY: u8 = 17;
    pub(crate) const ASSIGNED_CLIENT_ID: u8 = 18;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 19;
    pub(crate) const AUTHENTICATION_METHOD: u8 = 21;
    pub(crate) const AUTHENTICATION_DATA: u8 = 22;
    pub(crate) const REQUEST_PROBLEM_INFORMATION: u8 = 23;
    pub(crate) const WILL_DELAY: u8 = 24;
    pub(crate) const REQUEST_RESPONSE_INFORMATION: u8 = 25;
    pub(crate) const REASON_STRING: u8 = 31;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 33;
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 34;
    pub(crate) const TOPIC_ALIAS: u8 = 35;
    pub(crate) const MAXIMUM_QOS: u8 = 36;
    pub(crate) const USER: u8 = 38;
    pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 39;
    pub(crate) const SHARED_SUBSCRIPTIONS: u8 = 42;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Byte(u8),
    Short(u16),
    Long(u32),
    Text(&'a str),
    Binary(&'a [u8]),
    Pair(&'a str, &'a str),
}

/// One property: its identifier, its value, and its bytes as they stood there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Property<'a> {
    pub(crate) id: u8,
    pub(crate) value: Value<'a>,
    pub(crate) bytes: &'a [u8],
}

/// Walks a block of properties, each at most once but for user properties, and only those that `allowed` names.
pub(crate) fn walk<'a>(
    mut block: Reader<'a>,
    allowed: &[u8],
    mut each: impl FnMut(Property<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut seen = 0_u64;
    while !block.is_empty() {
        let start = block.rest();
        let id = block.u8()?;
        if !allowed.contains(&id) {
            return Err(if (1..=42).contains(&id) {
                DecodeError::Protocol("a property that does not belong to this packet")
            } else {
                DecodeError::Malformed("unknown property")
            });
        }
        if id != id::USER {
            if seen & (1 << id) != 0 {
                return Err(DecodeError::Protocol("a property is given twice"));
            }
            seen |= 1 << id;
        }
        let value = value(id, &mut block)?;
        let length = start.len() - block.rest().len();
        let bytes = start.get(..length).unwrap_or_default();
        each(Property { id, value, bytes })?;
    }
    Ok(())
}

fn value<'a>(id: u8, block: &mut Reader<'a>) -> Result<Value<'a>, DecodeError> {
    Ok(match id {
        id::PAYLOAD_FORMAT | id::REQUEST_PROBLEM_INFORMATION | id::REQUEST_RESPONSE_INFORMATION => match block.u8()? {
            flag @ 0..=1 => Value::Byte(flag),
            _ => return Err(DecodeError::Protocol("a property that must be 0 or 1 is neither")),
        },
        id::RECEIVE_MAXIMUM | id::TOPIC_ALIAS_MAXIMUM | id::TOPIC_ALIAS => Value::Short(block.u16()?),
        id::MESSAGE_EXPIRY | id::SESSION_EXPIRY | id::WILL_DELAY | id::MAXIMUM_PACKET_SIZE => Value::Long(block.u32()?),
        id::SUBSCRIPTION_ID => Value::Long(block.varint()?),
        id::CONTENT_TYPE | id::RESPONSE_TOPIC | id::AUTHENTICATION_METHOD | id::REASON_STRING => {
            Value::Text(block.string()?)
        }
        id::CORRELATION_DATA | id::AUTHENTICATION_DATA => Value::Binary(block.binary()?),
        id::USER => Value::Pair(block.string()?, block.string()?),
        _ => return Err(DecodeError::Malformed("unknown property")),
    })
}

/// What a message carries beside its payload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PublishProperties<'a> {
    pub(crate) topic_alias: Option<u16>,
    pub(crate) message_expiry_s: Option<u32>,
    pub(crate) content_type: Option<&'a str>,
    /// The user property `id`: the sender's own id of the event.
    pub(crate) sender_id: Option<&'a str>,
    /// In seconds; of a will only.
    pub(crate) will_delay_s: u32,
    /// The encoded properties that go to subscribers unchanged [MQTT-3.3.2-4], [MQTT-3.3.2-15 to 20].
    pub(crate) forwarded: Vec<&'a [u8]>,
}

const PUBLISH: &[u8] = &[
    id::PAYLOAD_FORMAT,
    id::MESSAGE_EXPIRY,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::TOPIC_ALIAS,
    id::USER,
];

const WILL: &[u8] = &[
    id::PAYLOAD_FORMAT,
    id::MESSAGE_EXPIRY,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::WILL_DELAY,
    id::USER,
];

impl<'a> PublishProperties<'a> {
    pub(crate) fn of_publish(block: Reader<'a>) -> Result<Self, DecodeError> {
        Self::read(block, PUBLISH)
    }

    pub(crate) fn of_will(block: Reader<'a>) -> Result<Self, DecodeError> {
        Self::read(block, WILL)
    }

    fn read(block: Reader<'a>, allowed: &[u8]) -> Result<Self, DecodeError> {
        let mut read = Self::default();
        walk(block, allowed, |property| {
            match (property.id, property.value) {
                (id::TOPIC_ALIAS, Value::Short(alias)) => read.topic_alias = Some(alias),
                (id::MESSAGE_EXPIRY, Value::Long(seconds)) => read.message_expiry_s = Some(seconds),
                (id::WILL_DELAY, Value::Long(seconds)) => read.will_delay_s = seconds,
                (id::RESPONSE_TOPIC, Value::Text(topic)) if topic.is_empty() || topic.contains(['+', '#']) => {
                    return Err(DecodeError::Protocol("a response topic that can't be published to"));
                }
                (id, value) => {
                    match (id, value) {
                        (id::CONTENT_TYPE, Value::Text(text)) => read.content_type = Some(text),
                        (id::USER, Value::Pair("id", text)) if read.sender_id.is_none() => read.sender_id = Some(text),
                        _ => {}
                    }
                    read.forwarded.push(property.bytes);
                }
            }
            Ok(())
        })?;
        Ok(read)
    }
}
