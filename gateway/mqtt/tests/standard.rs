//! What MQTT 3.1.1 asks of a server and no other test holds already. Each test names the statements that it would notice the loss of;
//! `CONFORMANCE.md` is made of these names.

#![expect(clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

mod support;

use std::time::Duration;

use lamppost_mqtt::Limits;
use support::raw::{Raw, connect_v4, packet, publish_v4, subscribe_v4, text};
use support::{HandIntake, Running};

async fn front() -> Running {
    Running::start(HandIntake::automatic(), Limits::default()).await
}

/// CONNECT with these flags and this payload.
fn connect(flags: u8, payload: &[u8]) -> Vec<u8> {
    packet(0x10, &[&b"\0\x04MQTT\x04"[..], &[flags, 0, 60], payload].concat())
}

async fn puback(client: &mut Raw, packet_id: u8) {
    assert_eq!(client.receive().await, [0x40, 2, 0, packet_id]);
}

fn retained(mut publish: Vec<u8>) -> Vec<u8> {
    publish[0] |= 1;
    publish
}

// MQTT 3.1.1: 1.5.3-1, 1.5.3-2, 2.2.2-1, 2.2.2-2, 2.3.1-1, 3.1.0-2, 3.3.1-2, 3.3.1-4, 3.3.2-1, 3.3.2-2, 3.6.1-1, 3.8.1-1, 3.8.3-1
// MQTT 3.1.1: 3.8.3-3, 3-8.3-4, 3.10.1-1, 3.10.3-1, 3.10.3-2, 3.14.1-1, 4.7.1-1, 4.7.3-1, 4.7.3-2, 4.8.0-1
#[tokio::test]
async fn a_packet_that_is_against_the_standard_closes_the_connection() {
    let front = front().await;
    let cases: &[(&str, &[u8])] = &[
        ("a second CONNECT", &connect_v4("d", true)),
        ("a topic that is not UTF-8", &[0x30, 4, 0, 1, 0xFF, 0]),
        ("a surrogate in a topic", &[0x30, 6, 0, 3, 0xED, 0xA0, 0x80, 0]),
        ("U+0000 in a topic", &[0x30, 4, 0, 1, 0, 0]),
        ("no topic at all", &[0x30, 0]),
        ("an empty topic", &[0x30, 2, 0, 0]),
        ("a wildcard in a topic", &[0x30, 5, 0, 3, b'a', b'/', b'+']),
        ("# in a topic", &[0x30, 5, 0, 3, b'a', b'/', b'#']),
        ("DUP with QoS 0", &[0x38, 4, 0, 1, b'a', b'x']),
        ("both QoS bits", &[0x36, 5, 0, 1, b'a', 0, 1]),
        ("PUBLISH with packet id 0", &[0x32, 5, 0, 1, b'a', 0, 0]),
        ("SUBSCRIBE with packet id 0", &[0x82, 6, 0, 0, 0, 1, b'a', 0]),
        ("UNSUBSCRIBE with packet id 0", &[0xA2, 5, 0, 0, 0, 1, b'a']),
        ("reserved flags of SUBSCRIBE", &[0x80, 6, 0, 1, 0, 1, b'a', 0]),
        ("reserved flags of UNSUBSCRIBE", &[0xA0, 5, 0, 1, 0, 1, b'a']),
        ("reserved flags of PINGREQ", &[0xC1, 0]),
        ("reserved flags of DISCONNECT", &[0xE1, 0]),
        ("reserved flags of PUBACK", &[0x41, 2, 0, 1]),
        ("reserved flags of PUBREL", &[0x60, 2, 0, 1]),
        ("SUBSCRIBE without a filter", &[0x82, 2, 0, 1]),
        ("UNSUBSCRIBE without a filter", &[0xA2, 2, 0, 1]),
        ("a filter that is not UTF-8 in SUBSCRIBE", &[0x82, 6, 0, 1, 0, 1, 0xFF, 0]),
        ("a filter that is not UTF-8 in UNSUBSCRIBE", &[0xA2, 5, 0, 1, 0, 1, 0xFF]),
        ("reserved bits of a requested QoS", &[0x82, 6, 0, 1, 0, 1, b'a', 4]),
        ("a requested QoS of 3", &[0x82, 6, 0, 1, 0, 1, b'a', 3]),
    ];
    for (what, bytes) in cases {
        let mut client = Raw::v4(front.address, "d").await;
        client.send(bytes).await;
        assert_eq!(client.receive_or_end().await, None, "{what}");
    }
    assert!(front.intake.arrivals().is_empty());
}

// MQTT 3.1.1: 3.1.2-3, 3.1.2-9, 3.1.2-11, 3.1.2-13, 3.1.2-14, 3.1.2-15, 3.1.2-18, 3.1.2-19, 3.1.2-20, 3.1.2-21, 3.1.2-22, 3.1.3-1
// MQTT 3.1.1: 3.1.3-3, 3.1.3-4, 3.1.3-10, 3.1.3-11, 3.1.4-1, 3.2.2-6
#[tokio::test]
async fn a_connect_that_is_against_the_standard_is_closed_without_an_answer() {
    let front = front().await;
    let (id, will) = (text("d"), [text("w"), text("x")].concat());
    let bad = b"\0\x01\xFF";
    let cases: &[(&str, u8, Vec<u8>)] = &[
        ("the reserved flag", 0x03, id.clone()),
        ("no client id", 0x02, vec![]),
        ("a client id that is not UTF-8", 0x02, bad.to_vec()),
        ("a will that is not there", 0x06, id.clone()),
        ("a will without its message", 0x06, [&id[..], &text("w")].concat()),
        ("a will topic that is not UTF-8", 0x06, [&id[..], bad, &text("x")].concat()),
        ("a will that was not announced", 0x02, [&id[..], &will].concat()),
        ("a will QoS without a will", 0x0A, id.clone()),
        ("will retain without a will", 0x22, id.clone()),
        ("a will QoS of 3", 0x1E, [&id[..], &will].concat()),
        ("a user name that is not there", 0x82, id.clone()),
        ("a user name that is not UTF-8", 0x82, [&id[..], bad].concat()),
        ("a user name that was not announced", 0x02, [&id[..], &text("u")].concat()),
        ("a password that is not there", 0xC2, [&id[..], &text("u")].concat()),
        ("a password that was not announced", 0x82, [&id[..], &text("u"), &text("p")].concat()),
        ("a password without a user name", 0x42, [&id[..], &text("p")].concat()),
    ];
    for (what, flags, payload) in cases {
        let mut client = Raw::open(front.address).await;
        client.send(&connect(*flags, payload)).await;
        assert_eq!(client.receive_or_end().await, None, "{what}");
    }
}

// MQTT 3.1.1: 3.1.0-1
#[tokio::test]
async fn whatever_comes_before_connect_closes_the_connection() {
    let front = front().await;
    for first in [publish_v4("a", 1, b"x"), subscribe_v4(1, "a", 0), vec![0xC0, 0], vec![0xE0, 0]] {
        let mut client = Raw::open(front.address).await;
        client.send(&first).await;
        client.expect_end().await;
    }
    assert!(front.intake.arrivals().is_empty());
}

// MQTT 3.1.1: 3.1.4-5, 3.2.2-4, 3.2.2-5, 3.1.3-9
#[tokio::test]
async fn what_follows_a_refused_connect_is_not_processed() {
    let front = front().await;
    let mut client = Raw::open(front.address).await;
    client.send(&[connect_v4("a\u{7}b", true), publish_v4("a", 1, b"x")].concat()).await;
    assert_eq!(client.receive().await, [0x20, 2, 0, 2]);
    client.expect_end().await;
    assert!(front.intake.arrivals().is_empty());
}

// MQTT 3.1.1: 3.1.3-5, 3.1.4-4, 3.2.0-1, 3.2.2-1, 3.12.4-1
#[tokio::test]
async fn client_ids_that_any_server_must_allow_are_let_in() {
    let front = front().await;
    for client_id in ["0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ", "a"] {
        let mut client = Raw::open(front.address).await;
        client.send(&[connect_v4(client_id, true), vec![0xC0, 0]].concat()).await;
        assert_eq!(client.receive().await, [0x20, 2, 0, 0], "{client_id}");
        assert_eq!(client.receive().await, [0xD0, 0]);
    }
}

// MQTT 3.1.1: 3.1.4-2, 3.1.3-2
#[tokio::test]
async fn a_client_that_connects_again_ends_its_earlier_connection_and_no_other() {
    let front = front().await;
    let mut first = Raw::v4(front.address, "d1").await;
    let mut other = Raw::v4(front.address, "d2").await;
    let mut second = Raw::v4(front.address, "d1").await;
    first.expect_end().await;
    for client in [&mut second, &mut other] {
        client.send(&[0xC0, 0]).await;
        assert_eq!(client.receive().await, [0xD0, 0]);
    }
}

// MQTT 3.1.1: 3.1.2-24
#[tokio::test]
async fn a_client_that_is_silent_for_one_and_a_half_keepalives_is_let_go() {
    let front = front().await;
    let mut client = Raw::open(front.address).await;
    client.send(&packet(0x10, b"\0\x04MQTT\x04\x02\0\x03\0\x01d")).await;
    client.receive().await;
    // Of three seconds: a busy machine has more than one to hear it in.
    tokio::time::sleep(Duration::from_millis(3_200)).await;
    client.send(&[0xC0, 0]).await;
    assert_eq!(client.receive().await, [0xD0, 0], "not before 1.5 times the keepalive");
    let told = std::time::Duration::from_millis(6_500);
    assert!(tokio::time::timeout(told, client.expect_end()).await.is_ok());
}

// MQTT 3.1.1: 3.1.2-8, 3.1.2-10, 3.1.2-12, 3.1.2-16, 3.1.2-17, 3.14.4-3
#[tokio::test]
async fn a_will_is_published_once_when_a_connection_breaks_and_not_after_a_disconnect() {
    let front = front().await;
    let mut watcher = Raw::v4(front.address, "watcher").await;
    watcher.send(&subscribe_v4(1, "w/#", 0)).await;
    watcher.receive().await;
    let mortal = async |client_id: &str, flags: u8, topic: &str| {
        let payload = [text(client_id), text(topic), text("gone")].concat();
        let mut client = Raw::open(front.address).await;
        client.send(&connect(flags, &payload)).await;
        assert_eq!(client.receive().await, [0x20, 2, 0, 0]);
        client
    };
    let mut leaving = mortal("leaving", 0x06, "w/leaving").await;
    leaving.send(&[0xE0, 0]).await;
    leaving.expect_end().await;
    drop(Raw::v4(front.address, "without").await);
    watcher.expect_silence().await;

    drop(mortal("plain", 0x06, "w/plain").await);
    assert_eq!(watcher.receive().await, publish_v4("w/plain", 0, b"gone"));
    drop(mortal("kept", 0x26, "w/kept").await);
    assert_eq!(watcher.receive().await, publish_v4("w/kept", 0, b"gone"));
    // Once: coming and going without a will publishes nothing more.
    for client_id in ["plain", "kept"] {
        drop(Raw::v4(front.address, client_id).await);
    }
    watcher.expect_silence().await;
    let mut late = Raw::v4(front.address, "late").await;
    late.send(&subscribe_v4(1, "w/#", 0)).await;
    late.receive().await;
    assert_eq!(late.receive().await, retained(publish_v4("w/kept", 0, b"gone")));
    late.expect_silence().await;
}

// MQTT 3.1.1: 1.5.3-3, 4.7.3-4
#[tokio::test]
async fn topics_are_compared_byte_by_byte_and_kept_as_they_came() {
    let front = front().await;
    let mut subscriber = Raw::v4(front.address, "s").await;
    // One letter with its accent; the byte order mark is a letter like any other.
    for (packet_id, filter) in [(1, "caf\u{e9}"), (2, "\u{feff}a")] {
        subscriber.send(&subscribe_v4(packet_id, filter, 0)).await;
        subscriber.receive().await;
    }
    let mut publisher = Raw::v4(front.address, "p").await;
    for topic in ["cafe\u{301}", "a", "\u{feff}a", "caf\u{e9}"] {
        publisher.send(&publish_v4(topic, 0, b"x")).await;
    }
    assert_eq!(subscriber.receive().await, publish_v4("\u{feff}a", 0, b"x"));
    assert_eq!(subscriber.receive().await, publish_v4("caf\u{e9}", 0, b"x"));
    subscriber.expect_silence().await;
    assert_eq!(front.intake.arrived(4).await[2].address.as_str(), "\u{feff}a");
}

// MQTT 3.1.1: 3.3.1-3, 3.3.1-9, 2.3.1-5, 2.3.1-6, 4.3.1-1, 3.3.4-1
#[tokio::test]
async fn dup_and_retain_of_a_publisher_are_not_passed_on_to_who_subscribes_already() {
    let front = front().await;
    let mut subscriber = Raw::v4(front.address, "s").await;
    subscriber.send(&subscribe_v4(1, "a", 1)).await;
    subscriber.receive().await;
    let mut publisher = Raw::v4(front.address, "p").await;
    let mut publish = retained(publish_v4("a", 9, b"x"));
    publish[0] |= 8;
    publisher.send(&publish).await;
    puback(&mut publisher, 9).await;
    assert_eq!(subscriber.receive().await, publish_v4("a", 1, b"x"));
    publisher.send(&publish_v4("a", 0, b"y")).await;
    assert_eq!(subscriber.receive().await, publish_v4("a", 0, b"y"));
    publisher.expect_silence().await;
}

// MQTT 3.1.1: 3.3.1-5, 3.3.1-6, 3.3.1-7, 3.3.1-8, 3.1.2-7, 3.8.4-6
#[tokio::test]
async fn the_last_retained_message_is_kept_whatever_its_qos_and_whoever_leaves() {
    let front = front().await;
    let mut publisher = Raw::v4(front.address, "p").await;
    publisher.send(&retained(publish_v4("a", 1, b"first"))).await;
    puback(&mut publisher, 1).await;
    publisher.send(&retained(publish_v4("b", 2, b"with QoS 1"))).await;
    puback(&mut publisher, 2).await;
    publisher.send(&retained(publish_v4("a", 0, b"last"))).await;
    publisher.send(&[0xE0, 0]).await;
    publisher.expect_end().await;
    front.intake.arrived(3).await;
    let mut subscriber = Raw::v4(front.address, "s").await;
    subscriber.send(&subscribe_v4(1, "+", 1)).await;
    subscriber.receive().await;
    assert_eq!(subscriber.receive().await, retained(publish_v4("a", 0, b"last")));
    assert_eq!(subscriber.receive().await, retained(publish_v4("b", 1, b"with QoS 1")));
}

// MQTT 3.1.1: 3.3.5-1
#[tokio::test]
async fn overlapping_subscriptions_are_served_with_the_highest_qos_among_them() {
    let front = front().await;
    for (client_id, clean) in [("clean", true), ("stays", false)] {
        let mut subscriber = Raw::open(front.address).await;
        subscriber.send(&connect_v4(client_id, clean)).await;
        subscriber.receive().await;
        for (packet_id, filter, qos) in [(1, "a/#", 0), (2, "a/b", 1)] {
            subscriber.send(&subscribe_v4(packet_id, filter, qos)).await;
            subscriber.receive().await;
        }
        let mut publisher = Raw::v4(front.address, "p").await;
        publisher.send(&publish_v4("a/b", 1, b"x")).await;
        puback(&mut publisher, 1).await;
        let first = subscriber.receive().await;
        let highest = if clean { first[0].max(subscriber.receive().await[0]) } else { first[0] };
        assert_eq!(highest, 0x32, "{client_id}");
        subscriber.expect_silence().await;
    }
}

// MQTT 3.1.1: 3.8.4-1, 3.8.4-2, 3.8.4-3, 3.8.4-4, 3.8.4-5, 3.9.3-1, 3.9.3-2, 2.3.1-7
#[tokio::test]
async fn a_subscription_replaces_the_one_with_the_same_filter_and_many_are_answered_at_once() {
    let front = front().await;
    let mut publisher = Raw::v4(front.address, "p").await;
    publisher.send(&retained(publish_v4("a", 1, b"kept"))).await;
    puback(&mut publisher, 1).await;
    let mut subscriber = Raw::v4(front.address, "s").await;
    let filters = [text("a"), vec![1], text("b/#/c"), vec![0], text("b"), vec![2], text("c"), vec![0]].concat();
    subscriber.send(&packet(0x82, &[&[1, 2][..], &filters].concat())).await;
    assert_eq!(subscriber.receive().await, [0x90, 6, 1, 2, 1, 0x80, 1, 0]);
    assert_eq!(subscriber.receive().await, retained(publish_v4("a", 1, b"kept")));
    subscriber.send(&subscribe_v4(7, "a", 0)).await;
    assert_eq!(subscriber.receive().await, [0x90, 3, 0, 7, 0]);
    assert_eq!(subscriber.receive().await, retained(publish_v4("a", 0, b"kept")));
    publisher.send(&publish_v4("a", 2, b"once")).await;
    puback(&mut publisher, 2).await;
    assert_eq!(subscriber.receive().await, publish_v4("a", 0, b"once"));
    subscriber.expect_silence().await;
}

// MQTT 3.1.1: 3.10.4-1, 3.10.4-2, 3.10.4-4, 3.10.4-5, 3.10.4-6
#[tokio::test]
async fn unsubscribing_takes_the_same_filter_out_and_is_answered_even_where_there_is_none() {
    let front = front().await;
    let mut subscriber = Raw::v4(front.address, "s").await;
    for (packet_id, filter) in [(1, "a/+"), (2, "b")] {
        subscriber.send(&subscribe_v4(packet_id, filter, 0)).await;
        subscriber.receive().await;
    }
    // Covers the same topics, and is another filter.
    subscriber.send(&packet(0xA2, &[&[0, 3][..], &text("a/#")].concat())).await;
    assert_eq!(subscriber.receive().await, [0xB0, 2, 0, 3]);
    let mut publisher = Raw::v4(front.address, "p").await;
    publisher.send(&publish_v4("a/b", 0, b"x")).await;
    assert_eq!(subscriber.receive().await, publish_v4("a/b", 0, b"x"));
    subscriber.send(&packet(0xA2, &[&[0, 4][..], &text("a/+"), &text("b")].concat())).await;
    assert_eq!(subscriber.receive().await, [0xB0, 2, 0, 4]);
    publisher.send(&publish_v4("a/b", 0, b"y")).await;
    publisher.send(&publish_v4("b", 0, b"y")).await;
    subscriber.expect_silence().await;
}

// MQTT 3.1.1: 3.10.4-3, 4.4.0-1, 2.3.1-3, 2.3.1-4, 3.3.1-1, 4.3.2-1, 4.1.0-2
#[tokio::test]
async fn what_was_begun_is_sent_again_with_its_packet_id_even_after_unsubscribing() {
    let front = front().await;
    let mut subscriber = Raw::open(front.address).await;
    subscriber.send(&connect_v4("s", false)).await;
    subscriber.receive().await;
    subscriber.send(&subscribe_v4(1, "a", 1)).await;
    subscriber.receive().await;
    let mut publisher = Raw::v4(front.address, "p").await;
    for packet_id in [1, 2] {
        publisher.send(&publish_v4("a", packet_id, b"x")).await;
        puback(&mut publisher, packet_id as u8).await;
        assert_eq!(subscriber.receive().await, publish_v4("a", packet_id, b"x"));
    }
    subscriber.send(&[0x40, 2, 0, 1]).await;
    subscriber.send(&packet(0xA2, &[&[0, 9][..], &text("a")].concat())).await;
    assert_eq!(subscriber.receive().await, [0xB0, 2, 0, 9]);
    drop(subscriber);
    let mut subscriber = Raw::open(front.address).await;
    subscriber.send(&connect_v4("s", false)).await;
    assert_eq!(subscriber.receive().await, [0x20, 2, 1, 0]);
    let mut again = publish_v4("a", 2, b"x");
    again[0] |= 8;
    assert_eq!(subscriber.receive().await, again);
    subscriber.expect_silence().await;
}
