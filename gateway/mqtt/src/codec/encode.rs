//! What goes to clients.

use bytes::{BufMut, BytesMut};

use super::properties::id;
use super::{Qos, Version};
use crate::cause::Close;

/// What a positive CONNACK tells a v5 client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted<'a> {
    pub(crate) session_present: bool,
    /// Only where it differs from what the client asked for.
    pub(crate) session_expiry_s: Option<u32>,
    pub(crate) receive_maximum: u16,
    pub(crate) packet_bytes_max: u32,
    pub(crate) topic_alias_maximum: u16,
    pub(crate) assigned_client_id: Option<&'a str>,
    /// In place of the client's own.
    pub(crate) keep_alive_s: Option<u16>,
}

/// A positive CONNACK: Maximum QoS 1, no shared subscriptions.
pub(crate) fn connack(version: Version, accepted: &Accepted<'_>, out: &mut BytesMut) {
    let mut properties = BytesMut::new();
    if version == Version::V5 {
        if let Some(seconds) = accepted.session_expiry_s {
            properties.put_u8(id::SESSION_EXPIRY);
            properties.put_u32(seconds);
        }
        properties.put_u8(id::RECEIVE_MAXIMUM);
        properties.put_u16(accepted.receive_maximum);
        properties.put_slice(&[id::MAXIMUM_QOS, 1]);
        properties.put_u8(id::MAXIMUM_PACKET_SIZE);
        properties.put_u32(accepted.packet_bytes_max);
        if let Some(client_id) = accepted.assigned_client_id {
            properties.put_u8(id::ASSIGNED_CLIENT_ID);
            put_text(client_id, &mut properties);
        }
        properties.put_u8(id::TOPIC_ALIAS_MAXIMUM);
        properties.put_u16(accepted.topic_alias_maximum);
        properties.put_slice(&[id::SHARED_SUBSCRIPTIONS, 0]);
        if let Some(seconds) = accepted.keep_alive_s {
            properties.put_u8(id::SERVER_KEEP_ALIVE);
            properties.put_u16(seconds);
        }
    }
    put_connack(version, accepted.session_present, 0, &properties, out);
}

/// A negative CONNACK. `reason` is of the version. `detail`: for a v5 client that may be told in words.
pub(crate) fn connack_refused(version: Version, reason: u8, detail: Option<&str>, out: &mut BytesMut) {
    let mut properties = BytesMut::new();
    if let (Version::V5, Some(detail)) = (version, detail) {
        put_reason_string(detail, &mut properties);
    }
    put_connack(version, false, reason, &properties, out);
}

fn put_connack(version: Version, session_present: bool, reason: u8, properties: &[u8], out: &mut BytesMut) {
    out.put_u8(0x20);
    match version {
        Version::V4 => out.put_slice(&[2, u8::from(session_present), reason]),
        Version::V5 => {
            put_varint(2 + varint_len(properties.len()) + properties.len(), out);
            out.put_slice(&[u8::from(session_present), reason]);
            put_varint(properties.len(), out);
            out.put_slice(properties);
        }
    }
}

/// PUBACK: success (0), or (v5 only) another reason. What could not be stored is not acknowledged at all.
pub(crate) fn puback(packet_id: u16, reason: u8, out: &mut BytesMut) {
    out.put_slice(&[0x40, if reason == 0 { 2 } else { 3 }]);
    out.put_u16(packet_id);
    if reason != 0 {
        out.put_u8(reason);
    }
}

/// SUBACK with one code a filter.
pub(crate) fn suback(version: Version, packet_id: u16, codes: &[u8], out: &mut BytesMut) {
    put_codes(0x90, version, packet_id, codes, out);
}

/// UNSUBACK; v3.1.1 has no codes.
pub(crate) fn unsuback(version: Version, packet_id: u16, codes: &[u8], out: &mut BytesMut) {
    put_codes(0xB0, version, packet_id, if version == Version::V4 { &[] } else { codes }, out);
}

fn put_codes(header: u8, version: Version, packet_id: u16, codes: &[u8], out: &mut BytesMut) {
    let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
    out.put_u8(header);
    put_varint(2 + properties.len() + codes.len(), out);
    out.put_u16(packet_id);
    out.put_slice(properties);
    out.put_slice(codes);
}

/// PINGRESP.
pub(crate) fn pingresp(out: &mut BytesMut) {
    out.put_slice(&[0xD0, 0]);
}

/// The DISCONNECT of a server; v3.1.1 has none.
pub(crate) fn disconnect(version: Version, close: &Close, explain: bool, out: &mut BytesMut) {
    if version == Version::V4 {
        return;
    }
    let mut properties = BytesMut::new();
    if explain {
        put_reason_string(&close.detail, &mut properties);
    }
    out.put_u8(0xE0);
    put_varint(1 + varint_len(properties.len()) + properties.len(), out);
    out.put_u8(close.cause.disconnect_reason());
    put_varint(properties.len(), out);
    out.put_slice(&properties);
}

/// A message to a subscriber. `properties` are encoded already, without their length; v3.1.1 gets none.
pub(crate) struct Outgoing<'a> {
    pub(crate) duplicate: bool,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) topic: &'a [u8],
    /// Not looked at with QoS 0.
    pub(crate) packet_id: u16,
    /// Of the topic, which is empty where the client knows it already; v5 only.
    pub(crate) topic_alias: Option<u16>,
    pub(crate) message_expiry_s: Option<u32>,
    pub(crate) subscription_ids: &'a [u32],
    pub(crate) properties: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// PUBLISH. `false`, and nothing is written, where the packet would be above `packet_bytes_max`.
pub(crate) fn publish(version: Version, message: &Outgoing<'_>, packet_bytes_max: usize, out: &mut BytesMut) -> bool {
    let own = own_properties(version, message);
    let properties = if version == Version::V5 { message.properties } else { &[] };
    let properties_bytes = own.len() + properties.len();
    let length = 2
        + message.topic.len()
        + if message.qos == Qos::AtMostOnce { 0 } else { 2 }
        + if version == Version::V5 { varint_len(properties_bytes) + properties_bytes } else { 0 }
        + message.payload.len();
    if 1 + varint_len(length) + length > packet_bytes_max {
        return false;
    }
    let qos = u8::from(message.qos == Qos::AtLeastOnce);
    out.reserve(5 + length);
    out.put_u8(0x30 | u8::from(message.duplicate) << 3 | qos << 1 | u8::from(message.retain));
    put_varint(length, out);
    out.put_u16(u16::try_from(message.topic.len()).unwrap_or(u16::MAX));
    out.put_slice(message.topic);
    if qos == 1 {
        out.put_u16(message.packet_id);
    }
    if version == Version::V5 {
        put_varint(properties_bytes, out);
        out.put_slice(&own);
        out.put_slice(properties);
    }
    out.put_slice(message.payload);
    true
}

/// Topic alias, message expiry and subscription ids. Nothing is allocated where there are none.
fn own_properties(version: Version, message: &Outgoing<'_>) -> Vec<u8> {
    let mut own = Vec::new();
    if version == Version::V4 {
        return own;
    }
    if let Some(alias) = message.topic_alias {
        own.put_u8(id::TOPIC_ALIAS);
        own.put_u16(alias);
    }
    if let Some(seconds) = message.message_expiry_s {
        own.put_u8(id::MESSAGE_EXPIRY);
        own.put_u32(seconds);
    }
    for subscription_id in message.subscription_ids {
        own.put_u8(id::SUBSCRIPTION_ID);
        put_varint(*subscription_id as usize, &mut own);
    }
    own
}

fn put_reason_string(detail: &str, out: &mut BytesMut) {
    let end = (0..=detail.len().min(200)).rev().find(|end| detail.is_char_boundary(*end)).unwrap_or(0);
    out.put_u8(id::REASON_STRING);
    put_text(detail.get(..end).unwrap_or_default(), out);
}

fn put_text(text: &str, out: &mut BytesMut) {
    out.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
    out.put_slice(text.as_bytes());
}

fn put_varint(mut value: usize, out: &mut impl BufMut) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

const fn varint_len(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}
