//! MQTT 5.0: what is against the standard is answered with its reason and closed. Each test names the statements that it would notice the
//! loss of; `CONFORMANCE.md` is made of these names.

#![expect(clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

mod support;

use lamppost_mqtt::Limits;
use support::raw::{Raw, connect_v5, packet, publish_v5, text};
use support::v5::{connect, subscribe, text_property, unsubscribe, user};
use support::{HandIntake, Running};

async fn front() -> Running {
    Running::start(HandIntake::automatic(), Limits::default()).await
}

/// Each of these, sent by a client that was let in, is answered with DISCONNECT and its reason, then the connection ends.
async fn are_refused(cases: &[(&str, Vec<u8>, u8)]) {
    let front = front().await;
    for (what, bytes, reason) in cases {
        let mut client = Raw::v5(front.address, "d").await;
        // What comes after it is not looked at.
        client.send(&[&bytes[..], &publish_v5("after", 1, &[], b"x")].concat()).await;
        let answer = client.receive().await;
        assert_eq!((answer[0], answer[2]), (0xE0, *reason), "{what}: {answer:02x?}");
        assert_eq!(client.receive_or_end().await, None, "{what}");
    }
    assert!(front.intake.arrivals().is_empty());
}

// MQTT 5.0: 2.1.3-1, 3.1.0-2, 3.2.0-2, 3.3.1-2, 3.3.1-4, 3.6.1-1, 3.8.1-1, 3.10.1-1, 3.14.1-1, 3.15.1-1, 4.13.1-1, 4.13.2-1
#[tokio::test]
async fn packets_and_flags_that_can_not_be_are_refused() {
    are_refused(&[
        ("a second CONNECT", connect_v5("d", true, &[]), 0x82),
        ("packet type 0", vec![0x00, 0], 0x81),
        ("flags of PUBACK", vec![0x41, 2, 0, 1], 0x81),
        ("flags of PUBREL", vec![0x60, 2, 0, 1], 0x81),
        ("flags of SUBSCRIBE", vec![0x80, 7, 0, 1, 0, 0, 1, b'a', 0], 0x81),
        ("flags of UNSUBSCRIBE", vec![0xA0, 6, 0, 1, 0, 0, 1, b'a'], 0x81),
        ("flags of PINGREQ", vec![0xC8, 0], 0x81),
        ("flags of DISCONNECT", vec![0xE1, 0], 0x81),
        ("flags of AUTH", vec![0xF1, 0], 0x81),
        ("AUTH without a method", vec![0xF0, 0], 0x82),
        ("both QoS bits", vec![0x36, 7, 0, 1, b'a', 0, 1, 0, b'x'], 0x81),
        ("DUP with QoS 0", vec![0x38, 5, 0, 1, b'a', 0, b'x'], 0x81),
        ("QoS 2", vec![0x34, 7, 0, 1, b'a', 0, 1, 0, b'x'], 0x9B),
        ("CONNACK", vec![0x20, 3, 0, 0, 0], 0x82),
        ("SUBACK", vec![0x90, 4, 0, 1, 0, 0], 0x82),
        ("UNSUBACK", vec![0xB0, 4, 0, 1, 0, 0], 0x82),
        ("PINGRESP", vec![0xD0, 0], 0x82),
    ])
    .await;
}

// MQTT 5.0: 1.5.4-1, 1.5.4-2, 1.5.5-1, 1.5.7-1, 2.2.2-1, 3.3.2-1, 3.3.2-2, 3.3.2-13, 3.3.2-14, 3.3.2-19, 3.3.4-6, 4.7.0-1, 4.7.3-1
// MQTT 5.0: 4.7.3-2
#[tokio::test]
async fn publishes_that_can_not_be_are_refused() {
    let with = |properties: &[u8]| publish_v5("a", 1, properties, b"x");
    let binary = |id: u8, bytes: &[u8]| [&[id, 0, bytes.len() as u8][..], bytes].concat();
    let pair = |name: &[u8], value: &[u8]| [binary(38, name), binary(0, value)[1..].to_vec()].concat();
    let surrogate = &[0xED, 0xA0, 0x80][..];
    are_refused(&[
        ("nothing at all", vec![0x30, 0], 0x81),
        ("a topic that is not UTF-8", vec![0x30, 5, 0, 1, 0xFF, 0, b'x'], 0x81),
        ("a surrogate in a topic", [&[0x30, 6, 0, 3][..], surrogate, &[0]].concat(), 0x81),
        ("U+0000 in a topic", vec![0x30, 4, 0, 1, 0, 0], 0x81),
        ("neither topic nor alias", publish_v5("", 0, &[], b"x"), 0x82),
        ("+ in a topic", publish_v5("a/+", 1, &[], b"x"), 0x90),
        ("# in a topic", publish_v5("#", 0, &[], b"x"), 0x90),
        ("packet id 0", vec![0x32, 7, 0, 1, b'a', 0, 0, 0, b'x'], 0x81),
        ("no length of properties", vec![0x30, 3, 0, 1, b'a'], 0x81),
        ("properties beyond the packet", vec![0x30, 4, 0, 1, b'a', 5], 0x81),
        ("a length of properties with a byte too many", vec![0x30, 6, 0, 1, b'a', 0x80, 0, b'x'], 0x81),
        ("a length of the packet with a byte too many", vec![0xC0, 0x80, 0], 0x81),
        ("an unknown property", with(&[99, 0]), 0x81),
        ("a property of CONNECT", with(&[33, 0, 1]), 0x82),
        ("a property twice", with(&[1, 1, 1, 1]), 0x82),
        ("a payload format of 2", with(&[1, 2]), 0x82),
        ("a subscription id", with(&[11, 1]), 0x82),
        ("a content type that is not UTF-8", with(&binary(3, &[0xFF])), 0x81),
        ("a content type with U+0000", with(&text_property(3, "\0")), 0x81),
        ("a response topic that is not UTF-8", with(&binary(8, surrogate)), 0x81),
        ("a response topic with a wildcard", with(&text_property(8, "a/#")), 0x82),
        ("a user property's name that is not UTF-8", with(&pair(&[0xC0, 0x80], b"v")), 0x81),
        ("a user property's value that is not UTF-8", with(&pair(b"k", surrogate)), 0x81),
        ("U+0000 in a user property's name", with(&user("\0", "v")), 0x81),
        ("U+0000 in a user property's value", with(&user("k", "\0")), 0x81),
        ("topic alias 0", with(&[35, 0, 0]), 0x94),
        ("a topic alias above what is announced", with(&[35, 0, 17]), 0x94),
        ("a topic alias that was never set", publish_v5("", 1, &[35, 0, 1], b"x"), 0x82),
    ])
    .await;
}

// MQTT 5.0: 3.8.3-1, 3.8.3-2, 3.8.3-4, 3.8.3-5, 3.10.3-1, 3.10.3-2
#[tokio::test]
async fn subscriptions_that_can_not_be_are_refused() {
    are_refused(&[
        ("SUBSCRIBE with packet id 0", subscribe(0, &[], &[("a", 0)]), 0x81),
        ("SUBSCRIBE without a filter", subscribe(1, &[], &[]), 0x82),
        ("SUBSCRIBE without options", vec![0x82, 6, 0, 1, 0, 0, 1, b'a'], 0x81),
        ("a filter that is not UTF-8 in SUBSCRIBE", vec![0x82, 7, 0, 1, 0, 0, 1, 0xFF, 0], 0x81),
        ("U+0000 in a filter", subscribe(1, &[], &[("\0", 0)]), 0x81),
        ("the first reserved bit of the options", subscribe(1, &[], &[("a", 0x40)]), 0x81),
        ("the second one", subscribe(1, &[], &[("ok", 0), ("a", 0x80)]), 0x81),
        ("a QoS of 3", subscribe(1, &[], &[("a", 3)]), 0x82),
        ("a Retain Handling of 3", subscribe(1, &[], &[("a", 0x30)]), 0x82),
        ("No Local on a shared subscription", subscribe(1, &[], &[("$share/g/a", 4)]), 0x82),
        ("a subscription id of 0", subscribe(1, &[11, 0], &[("a", 0)]), 0x82),
        ("UNSUBSCRIBE with packet id 0", unsubscribe(0, &["a"]), 0x81),
        ("UNSUBSCRIBE without a filter", unsubscribe(1, &[]), 0x82),
        ("a filter that is not UTF-8 in UNSUBSCRIBE", vec![0xA2, 6, 0, 1, 0, 0, 1, 0xFF], 0x81),
    ])
    .await;
}

// MQTT 5.0: 3.1.2-3, 3.1.2-9, 3.1.2-11, 3.1.2-12, 3.1.2-13, 3.1.2-16, 3.1.2-17, 3.1.2-18, 3.1.2-19, 3.1.3-1, 3.1.3-3, 3.1.3-4, 3.1.3-11
// MQTT 5.0: 3.1.3-12, 3.1.4-1, 3.14.0-1
#[tokio::test]
async fn a_connect_that_is_against_the_standard_is_closed_without_an_answer() {
    let front = front().await;
    let (id, none) = (text("d"), vec![0]);
    let will = [&none[..], &text("w"), &text("x")].concat();
    let bad = b"\0\x01\xFF";
    let cases: &[(&str, Vec<u8>)] = &[
        ("flags of the fixed header", [&[0x11][..], &connect(2, &[], &id)[1..]].concat()),
        ("the reserved flag", connect(0x03, &[], &id)),
        ("no client id", connect(0x02, &[], &[])),
        ("a client id that is not UTF-8", connect(0x02, &[], bad)),
        ("U+0000 in a client id", connect(0x02, &[], &text("\0"))),
        ("a will that is not there", connect(0x06, &[], &id)),
        ("a will without its properties", connect(0x06, &[], &[&id[..], &text("w"), &text("x")].concat())),
        ("a will without its message", connect(0x06, &[], &[&id[..], &none, &text("w")].concat())),
        ("a will before the client id", connect(0x06, &[], &[&will[..], &id].concat())),
        ("a will topic that is not UTF-8", connect(0x06, &[], &[&id[..], &none, bad, &text("x")].concat())),
        ("a will that was not announced", connect(0x02, &[], &[&id[..], &will].concat())),
        ("a will QoS without a will", connect(0x0A, &[], &id)),
        ("will retain without a will", connect(0x22, &[], &id)),
        ("a will QoS of 3", connect(0x1E, &[], &[&id[..], &will].concat())),
        ("a will with a topic alias", connect(0x06, &[], &[&id[..], &[3, 35, 0, 1], &text("w"), &text("x")].concat())),
        ("a user name that is not there", connect(0x82, &[], &id)),
        ("a user name that is not UTF-8", connect(0x82, &[], &[&id[..], bad].concat())),
        ("a user name that was not announced", connect(0x02, &[], &[&id[..], &text("u")].concat())),
        ("a password that is not there", connect(0xC2, &[], &[&id[..], &text("u")].concat())),
        ("a password that was not announced", connect(0x82, &[], &[&id[..], &text("u"), &text("p")].concat())),
        ("a property of PUBLISH", connect(0x02, &[35, 0, 1], &id)),
        ("a property twice", connect(0x02, &[33, 0, 1, 33, 0, 1], &id)),
        ("a Receive Maximum of 0", connect(0x02, &[33, 0, 0], &id)),
        ("a Maximum Packet Size of 0", connect(0x02, &[39, 0, 0, 0, 0], &id)),
        ("problem information of 2", connect(0x02, &[23, 2], &id)),
        ("authentication data without a method", connect(0x02, &[22, 0, 1, 7], &id)),
        ("no properties, not even their length", packet(0x10, b"\0\x04MQTT\x05\x02\0\x3c\0\x01d")),
    ];
    for (what, bytes) in cases {
        let mut client = Raw::open(front.address).await;
        client.send(bytes).await;
        assert_eq!(client.receive_or_end().await, None, "{what}");
    }
    // What only v3.1.1 forbids: a password without a user name.
    let mut client = Raw::open(front.address).await;
    client.send(&connect(0x42, &[], &[&id[..], &text("p")].concat())).await;
    assert_eq!(client.receive().await[..4], [0x20, 18, 0, 0]);
}

// MQTT 5.0: 3.1.0-1
#[tokio::test]
async fn whatever_comes_before_connect_closes_the_connection() {
    let front = front().await;
    let publish = publish_v5("a", 1, &[], b"x");
    for first in [publish, subscribe(1, &[], &[("a", 0)]), vec![0xC0, 0], vec![0xE0, 0], vec![0xF0, 0]] {
        let mut client = Raw::open(front.address).await;
        client.send(&[first, connect_v5("d", true, &[])].concat()).await;
        client.expect_end().await;
    }
    assert!(front.intake.arrivals().is_empty());
}
