//! What packets of MQTT 5.0 are made of, and what a server's are taken apart to.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::net::SocketAddr;

use super::raw::{Raw, packet, text};

/// Session Expiry Interval: 60 s.
pub const EXPIRY_60_S: [u8; 5] = [17, 0, 0, 0, 60];
/// CONNECT's flag Clean Start.
pub const CLEAN: u8 = 0x02;
/// The reason codes that a server's CONNACK may have (table 3-1 of the standard).
pub const CONNACK_CODES: [u8; 22] = [
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B,
    0x9C, 0x9D, 0x9F,
];
/// The reason codes that a server's DISCONNECT may have (table 3-10).
pub const DISCONNECT_CODES: [u8; 28] = [
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
    0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];

/// CONNECT with a keepalive of 60 s; `payload` begins with the client id. Properties below 128 bytes.
pub fn connect(flags: u8, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    packet(0x10, &[&b"\0\x04MQTT\x05"[..], &[flags, 0, 60, properties.len() as u8], properties, payload].concat())
}

/// A property that is text.
pub fn text_property(id: u8, value: &str) -> Vec<u8> {
    [&[id][..], &text(value)].concat()
}

/// A user property.
pub fn user(name: &str, value: &str) -> Vec<u8> {
    [&[38][..], &text(name), &text(value)].concat()
}

/// SUBSCRIBE with these properties, filters and options.
pub fn subscribe(packet_id: u8, properties: &[u8], filters: &[(&str, u8)]) -> Vec<u8> {
    let filters = filters.iter().map(|(filter, options)| [&text(filter)[..], &[*options]].concat());
    let head = [&[0, packet_id, properties.len() as u8][..], properties].concat();
    packet(0x82, &[head, filters.collect::<Vec<_>>().concat()].concat())
}

pub fn unsubscribe(packet_id: u8, filters: &[&str]) -> Vec<u8> {
    let filters = filters.iter().map(|filter| text(filter)).collect::<Vec<_>>().concat();
    packet(0xA2, &[&[0, packet_id, 0][..], &filters].concat())
}

pub fn puback(packet_id: u8) -> [u8; 4] {
    [0x40, 2, 0, packet_id]
}

pub fn duplicate(mut publish: Vec<u8>) -> Vec<u8> {
    publish[0] |= 8;
    publish
}

pub fn retained(mut publish: Vec<u8>) -> Vec<u8> {
    publish[0] |= 1;
    publish
}

/// Connects as asked, and returns the CONNACK as well.
pub async fn open(address: SocketAddr, connect: &[u8]) -> (Raw, Vec<u8>) {
    let mut client = Raw::open(address).await;
    client.send(connect).await;
    let connack = client.receive().await;
    assert_eq!(connack[0], 0x20, "{connack:02x?}");
    (client, connack)
}

/// Connects with a session that stays for 60 s, and says whether it was there.
pub async fn stay(address: SocketAddr, client_id: &str) -> (Raw, bool) {
    let (client, connack) = open(address, &connect(0, &EXPIRY_60_S, &text(client_id))).await;
    assert_eq!(connack[3], 0);
    (client, connack[2] == 1)
}

/// Leaves, and its session stays. What is published from now on is sent to it when it is back, and not before.
pub async fn leave(mut client: Raw) {
    client.send(&[0xE0, 0]).await;
    client.expect_end().await;
}

/// Subscribes to one filter with these options and is granted its QoS.
pub async fn subscribed(client: &mut Raw, filter: &str, options: u8) {
    client.send(&subscribe(1, &[], &[(filter, options)])).await;
    assert_eq!(client.receive().await, [0x90, 4, 0, 1, 0, options & 1]);
}

/// Publishes with QoS 1 and waits for the PUBACK.
pub async fn tell(publisher: &mut Raw, publish: &[u8]) {
    publisher.send(publish).await;
    let answer = publisher.receive().await;
    assert_eq!((answer[0], answer.len()), (0x40, 4), "{answer:02x?}");
}

/// A property of a server's packet by its identifier, with its bytes.
pub type Property = (u8, Vec<u8>);

/// The properties of a server's CONNACK, DISCONNECT or PUBLISH, in their order. Short ones: a packet below 16,384 bytes.
pub fn properties(packet: &[u8]) -> Vec<Property> {
    let body = &packet[if packet[1] < 0x80 { 2 } else { 3 }..];
    let length_at = match packet[0] >> 4 {
        2 => 2,
        14 => 1,
        3 => 2 + usize::from(u16::from_be_bytes([body[0], body[1]])) + if packet[0] & 6 == 0 { 0 } else { 2 },
        kind => panic!("packet type {kind}"),
    };
    let (length, from) = varint(&body[length_at..]);
    let mut rest = &body[length_at + from..][..length];
    let mut found = Vec::new();
    while let Some(id) = rest.first() {
        let text_length = |at: usize| 2 + usize::from(u16::from_be_bytes([rest[at], rest[at + 1]]));
        let length = match id {
            1 | 36 | 37 | 40 | 41 | 42 => 1,
            19 | 33 | 34 | 35 => 2,
            2 | 17 | 39 => 4,
            11 => varint(&rest[1..]).1,
            3 | 8 | 9 | 18 | 21 | 22 | 26 | 28 | 31 => text_length(1),
            38 => text_length(1) + text_length(1 + text_length(1)),
            id => panic!("property {id}"),
        };
        found.push((*id, rest[1..=length].to_vec()));
        rest = &rest[1 + length..];
    }
    found
}

/// The value of a property, if it is there.
pub fn property(packet: &[u8], id: u8) -> Option<Vec<u8>> {
    properties(packet).into_iter().find(|(found, _)| *found == id).map(|(_, value)| value)
}

/// The value, and how many bytes it took.
fn varint(bytes: &[u8]) -> (usize, usize) {
    if bytes[0] < 0x80 { (bytes[0].into(), 1) } else { (usize::from(bytes[0] & 0x7F) | usize::from(bytes[1]) << 7, 2) }
}
