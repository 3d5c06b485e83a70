//! What the standards ask of a server, byte for byte.

mod support;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lamppost_mqtt::{Cause, Limits, SubscriptionCause};
use support::raw::{Raw, connect_v4, connect_v5, packet, publish_v4, publish_v5, subscribe_v4, subscribe_v5, text};
use support::{HandIntake, Running};

async fn front() -> Running {
    Running::start(HandIntake::automatic(), Limits::default()).await
}

#[tokio::test]
async fn a_v5_client_is_told_the_servers_limits() {
    let front = front().await;
    let mut client = Raw::open(front.address).await;
    client.send(&connect_v5("d1", true, &[])).await;
    // Receive Maximum 64, Maximum QoS 1, Maximum Packet Size 256 KiB, Topic Alias Maximum 16, no shared subscriptions.
    let properties = [33, 0, 64, 36, 1, 39, 0, 4, 0, 0, 34, 0, 16, 42, 0];
    assert_eq!(client.receive().await, [&[0x20, 18, 0, 0, 15][..], &properties].concat());
}

// MQTT 3.1.1: 3.1.3-6, 3.1.3-8
#[tokio::test]
async fn an_empty_client_id_is_given_one() {
    let front = front().await;
    let mut client = Raw::open(front.address).await;
    client.send(&connect_v5("", true, &[])).await;
    let connack = client.receive().await;
    let assigned = connack.windows(5).position(|window| window == b"auto-").expect("no assigned client id");
    assert_eq!(connack[assigned - 3], 18);

    let mut client = Raw::open(front.address).await;
    client.send(&connect_v4("", true)).await;
    assert_eq!(client.receive().await, [0x20, 2, 0, 0]);

    let mut client = Raw::open(front.address).await;
    client.send(&connect_v4("", false)).await;
    assert_eq!(client.receive().await, [0x20, 2, 0, 2]);
    client.expect_end().await;
}

#[tokio::test]
async fn a_client_id_that_can_not_be_a_device_is_refused() {
    let front = front().await;
    for client_id in ["x".repeat(129), "a\u{7}b".into()] {
        let mut client = Raw::open(front.address).await;
        client.send(&connect_v4(&client_id, true)).await;
        assert_eq!(client.receive().await, [0x20, 2, 0, 2]);
        client.expect_end().await;
        let mut client = Raw::open(front.address).await;
        client.send(&connect_v5(&client_id, true, &[])).await;
        assert_eq!(client.receive().await[3], 0x85);
        client.expect_end().await;
    }
    assert_eq!(front.counters.refusals(Cause::ClientId), 4);
}

// MQTT 3.1.1: 3.1.2-1, 3.1.2-2
#[tokio::test]
async fn other_versions_and_other_protocols_are_refused() {
    let front = front().await;
    for (connect, answer) in [
        (&b"\0\x06MQIsdp\x03\x02\0\x3c\0\x01a"[..], Some(vec![0x20, 2, 0, 1])),
        (b"\0\x04MQTT\x03\x02\0\x3c\0\x01a", Some(vec![0x20, 2, 0, 1])),
        (b"\0\x04HTTP\x04\x02\0\x3c\0\x01a", None),
    ] {
        let mut client = Raw::open(front.address).await;
        client.send(&packet(0x10, connect)).await;
        assert_eq!(client.receive_or_end().await, answer);
    }
    let mut client = Raw::open(front.address).await;
    client.send(&packet(0x10, b"\0\x04MQTT\x06\x02\0\x3c\0\0\x01a")).await;
    assert_eq!(client.receive().await[3], 0x84);
    let mut client = Raw::open(front.address).await;
    client.send(b"GET / HTTP/1.1\r\n\r\n").await;
    client.expect_end().await;
}

#[tokio::test]
async fn who_does_not_connect_in_time_is_let_go() {
    let limits = Limits { connect_timeout: Duration::from_millis(100), ..Limits::default() };
    let front = Running::start(HandIntake::automatic(), limits).await;
    let mut client = Raw::open(front.address).await;
    client.send(&[0x10]).await;
    client.expect_end().await;
    assert_eq!(front.counters.refusals(Cause::ConnectTimeout), 1);
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_the_others_go_on() {
    let front = Running::start(HandIntake::automatic(), Limits { connections_max: 1, ..Limits::default() }).await;
    let mut first = Raw::v4(front.address, "d1").await;
    let mut second = Raw::open(front.address).await;
    second.expect_end().await;
    first.send(&[0xC0, 0]).await;
    assert_eq!(first.receive().await, [0xD0, 0]);
    assert_eq!(front.counters.refusals(Cause::Connections), 1);
}

#[tokio::test]
async fn the_same_client_id_again_takes_over() {
    let front = front().await;
    let mut first = Raw::v5(front.address, "d1").await;
    let mut second = Raw::v5(front.address, "d1").await;
    first.expect_disconnect(0x8E).await;
    second.send(&[0xC0, 0]).await;
    assert_eq!(second.receive().await, [0xD0, 0]);
}

#[tokio::test]
async fn qos_2_is_refused_with_its_reason() {
    let front = front().await;
    let mut v5 = Raw::v5(front.address, "d5").await;
    v5.send(&packet(0x34, b"\0\x01a\0\x01\0x")).await;
    v5.expect_disconnect(0x9B).await;
    let mut v4 = Raw::v4(front.address, "d4").await;
    v4.send(&packet(0x34, b"\0\x01a\0\x01x")).await;
    v4.expect_end().await;
    let mut will = Raw::open(front.address).await;
    will.send(&packet(0x10, b"\0\x04MQTT\x05\x16\0\x3c\0\0\x01w\0\0\x01a\0\x01x")).await;
    assert_eq!(will.receive().await[3], 0x9B);
    assert_eq!(front.counters.refusals(Cause::QosTwo), 3);
    assert!(front.intake.arrivals().is_empty());
}

#[tokio::test]
async fn topics_that_can_not_be_published_to_end_the_connection() {
    let front = front().await;
    for (topic, reason) in [("a/+", 0x90), ("#", 0x90), ("$SYS/x", 0x90), ("", 0x82)] {
        let mut client = Raw::v5(front.address, "d1").await;
        client.send(&publish_v5(topic, 1, &[], b"x")).await;
        client.expect_disconnect(reason).await;
    }
    for alias in [b"\x23\0\0", b"\x23\0\x11"] {
        let mut client = Raw::v5(front.address, "d1").await;
        client.send(&publish_v5("a", 1, alias, b"x")).await;
        client.expect_disconnect(0x94).await;
    }
    assert!(front.intake.arrivals().is_empty());
}

#[tokio::test]
async fn malformed_packets_end_the_connection() {
    let front = front().await;
    for (bytes, reason) in [
        (&[0x31, 0x80, 0x80, 0x80, 0x80, 1][..], 0x81), // Remaining length of five bytes.
        (&[0x36, 2, 0, 0], 0x81),                       // QoS 3.
        (&[0x38, 4, 0, 1, b'a', 0], 0x81),              // DUP with QoS 0.
        (&[0x32, 6, 0, 1, b'a', 0, 0, 0], 0x81),        // Packet id 0.
        (&[0x30, 5, 0, 2, b'a', 0, 0], 0x81),           // U+0000.
        (&[0x30, 4, 0, 1, 0xff, 0], 0x81),              // Not UTF-8.
        (&[0x80, 7, 0, 1, 0, 0, 1, b'a', 0], 0x81),     // Reserved flags of SUBSCRIBE.
        (&[0x82, 3, 0, 1, 0], 0x82),                    // No filter.
        (&[0x82, 7, 0, 1, 0, 0, 1, b'a', 3], 0x82),     // QoS 3 asked for.
        (&[0x00, 0], 0x81),                             // Packet type 0.
        (&[0x20, 3, 0, 0, 0], 0x82),                    // CONNACK from a client.
        (&[0xF0, 0], 0x82),                             // AUTH.
        (&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 0x95),        // 256 MiB announced.
    ] {
        let mut client = Raw::v5(front.address, "d1").await;
        client.send(bytes).await;
        let packet = client.receive().await;
        assert_eq!((packet[0], packet[2]), (0xE0, reason), "{bytes:02x?}");
        client.expect_end().await;
    }
    let mut client = Raw::v5(front.address, "d1").await;
    client.send(&connect_v5("d1", true, &[])).await;
    client.expect_disconnect(0x82).await;
}

#[tokio::test]
async fn a_silent_client_is_let_go_and_its_will_is_stored() {
    let front = front().await;
    let mut client = Raw::open(front.address).await;
    client.send(&packet(0x10, b"\0\x04MQTT\x05\x06\0\x01\0\0\x02d1\0\0\x01w\0\x01x")).await;
    client.receive().await;
    let packet = client.receive().await;
    assert_eq!((packet[0], packet[2]), (0xE0, 0x8D));
    assert_eq!(front.intake.arrived(1).await[0].address.as_str(), "w");
}

#[tokio::test]
async fn a_delayed_will_is_withdrawn_by_coming_back() {
    let front = front().await;
    let connect = |delay: u8, clean: u8| {
        let properties = [17, 0, 0, 0, 60];
        let will = [&[5, 24, 0, 0, 0, delay][..], &text("w"), &text("x")].concat();
        packet(0x10, &[&b"\0\x04MQTT\x05"[..], &[4 | clean, 0, 60, 5], &properties, &text("d1"), &will].concat())
    };
    let mut client = Raw::open(front.address).await;
    client.send(&connect(1, 2)).await;
    client.receive().await;
    drop(client);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut client = Raw::open(front.address).await;
    client.send(&connect(1, 0)).await;
    assert_eq!(client.receive().await[2..4], [1, 0]);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert!(front.intake.arrivals().is_empty());
    drop(client);
    front.intake.arrived(1).await;
}

// MQTT 3.1.1: 3.3.2-3, 3.8.4-6
#[tokio::test]
async fn a_subscriber_gets_what_is_published_with_the_lower_qos() {
    let front = front().await;
    let mut subscriber = Raw::v4(front.address, "s").await;
    subscriber.send(&subscribe_v4(9, "city/+/é", 1)).await;
    assert_eq!(subscriber.receive().await, [0x90, 3, 0, 9, 1]);
    let mut publisher = Raw::v5(front.address, "p").await;
    publisher.send(&publish_v5("city/north/é", 0, b"\x26\0\x01k\0\x01v", b"zero")).await;
    publisher.send(&publish_v5("city/north/é", 1, &[], b"")).await;
    assert_eq!(subscriber.receive().await, publish_v4("city/north/é", 0, b"zero"));
    assert_eq!(subscriber.receive().await, publish_v4("city/north/é", 1, b""));
    subscriber.send(&[0x40, 2, 0, 1]).await;
    subscriber.send(&packet(0xA2, &[&[0, 10][..], &text("city/+/é")].concat())).await;
    assert_eq!(subscriber.receive().await, [0xB0, 2, 0, 10]);
    publisher.send(&publish_v5("city/north/é", 2, &[], b"unheard")).await;
    subscriber.expect_silence().await;
    assert_eq!(front.counters.delivered.load(Relaxed), 2);
}

#[tokio::test]
async fn a_topic_that_begins_with_more_than_one_byte_does_not_harm_the_router() {
    let front = front().await;
    let mut subscriber = Raw::v4(front.address, "s").await;
    subscriber.send(&subscribe_v4(1, "#", 0)).await;
    subscriber.receive().await;
    let mut publisher = Raw::v4(front.address, "p").await;
    publisher.send(&publish_v4("日本", 0, b"x")).await;
    assert_eq!(subscriber.receive().await, publish_v4("日本", 0, b"x"));
    assert_eq!(front.counters.router_restarts.load(Relaxed), 0);
}

#[tokio::test]
async fn v5_properties_and_subscription_options_reach_a_v5_subscriber() {
    let front = front().await;
    let mut subscriber = Raw::v5(front.address, "s").await;
    // Subscription id 5; QoS 1, No Local, Retain As Published.
    subscriber.send(&packet(0x82, &[&[0, 1, 2, 11, 5][..], &text("a/#"), &[0x0D]].concat())).await;
    assert_eq!(subscriber.receive().await, [0x90, 4, 0, 1, 0, 1]);
    subscriber.send(&publish_v5("a/own", 1, &[], b"own")).await;
    assert_eq!(subscriber.receive().await[0], 0x40);
    let mut publisher = Raw::v5(front.address, "p").await;
    let mut publish = publish_v5("a/b", 1, b"\x01\x01\x26\0\x01k\0\x01v", b"x");
    publish[0] |= 1;
    publisher.send(&publish).await;
    let mut expected = publish_v5("a/b", 1, b"\x0b\x05\x01\x01\x26\0\x01k\0\x01v", b"x");
    expected[0] |= 1;
    assert_eq!(subscriber.receive().await, expected);
}

// MQTT 3.1.1: 3.3.1-10, 3.3.1-11, 3.3.1-12
#[tokio::test]
async fn retained_messages_come_with_a_new_subscription_until_they_are_removed() {
    let front = front().await;
    let mut publisher = Raw::v4(front.address, "p").await;
    let mut publish = publish_v4("a/b", 1, b"kept");
    publish[0] |= 1;
    publisher.send(&publish).await;
    publisher.receive().await;
    publisher.send(&publish_v4("a/b", 2, b"")).await;
    publisher.receive().await;

    let mut subscriber = Raw::v4(front.address, "s").await;
    for packet_id in 1..=2 {
        subscriber.send(&subscribe_v4(packet_id, "a/#", 0)).await;
        subscriber.receive().await;
        let mut expected = publish_v4("a/b", 0, b"kept");
        expected[0] |= 1;
        assert_eq!(subscriber.receive().await, expected, "an empty message that is not retained removes nothing");
    }
    let mut remove = publish_v4("a/b", 3, b"");
    remove[0] |= 1;
    publisher.send(&remove).await;
    assert_eq!(subscriber.receive().await, publish_v4("a/b", 0, b""));
    let mut late = Raw::v4(front.address, "l").await;
    late.send(&subscribe_v4(1, "a/#", 0)).await;
    late.receive().await;
    late.expect_silence().await;
}

#[tokio::test]
async fn retain_handling_2_sends_no_retained_messages() {
    let front = front().await;
    let mut publisher = Raw::v4(front.address, "p").await;
    let mut publish = publish_v4("a", 1, b"kept");
    publish[0] |= 1;
    publisher.send(&publish).await;
    publisher.receive().await;
    let mut subscriber = Raw::v5(front.address, "s").await;
    subscriber.send(&subscribe_v5(1, "a", 0x20)).await;
    subscriber.receive().await;
    subscriber.expect_silence().await;
}

#[tokio::test]
async fn subscriptions_that_are_not_served_are_refused_one_by_one() {
    let front = Running::start(HandIntake::automatic(), Limits { subscriptions_max: 1, ..Limits::default() }).await;
    let filters = |options: u8| {
        let filter = |path| [text(path), vec![options]].concat();
        [filter("$share/g/a"), filter("a#"), filter("ok"), filter("more")].concat()
    };
    let mut v5 = Raw::v5(front.address, "d5").await;
    v5.send(&packet(0x82, &[&[0, 1, 0][..], &filters(0)].concat())).await;
    assert_eq!(v5.receive().await[5..], [0x9E, 0x8F, 0, 0x97]);
    let mut v4 = Raw::v4(front.address, "d4").await;
    v4.send(&packet(0x82, &[&[0, 1][..], &filters(2)].concat())).await;
    assert_eq!(v4.receive().await[4..], [0x80, 0x80, 1, 0x80]);
    let refused = SubscriptionCause::ALL.map(|cause| front.counters.subscription_refusals(cause));
    assert_eq!(refused.iter().sum::<u64>(), 6);
}

#[tokio::test]
async fn a_persistent_session_keeps_messages_while_its_client_is_away() {
    let front = front().await;
    let mut subscriber = Raw::open(front.address).await;
    subscriber.send(&connect_v4("s", false)).await;
    assert_eq!(subscriber.receive().await, [0x20, 2, 0, 0]);
    subscriber.send(&subscribe_v4(1, "a", 1)).await;
    subscriber.receive().await;
    let mut publisher = Raw::v4(front.address, "p").await;
    publisher.send(&publish_v4("a", 1, b"unacknowledged")).await;
    assert_eq!(subscriber.receive().await, publish_v4("a", 1, b"unacknowledged"));
    drop(subscriber);
    publisher.receive().await;
    // What is sent to a connection that is gone, before that is seen, comes again marked as a duplicate.
    while front.counters.connections_now.load(Relaxed) > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    publisher.send(&publish_v4("a", 2, b"missed")).await;
    publisher.receive().await;

    let mut subscriber = Raw::open(front.address).await;
    subscriber.send(&connect_v4("s", false)).await;
    assert_eq!(subscriber.receive().await, [0x20, 2, 1, 0]);
    let mut again = publish_v4("a", 1, b"unacknowledged");
    again[0] |= 8;
    assert_eq!(subscriber.receive().await, again);
    assert_eq!(subscriber.receive().await, publish_v4("a", 2, b"missed"));
    drop(subscriber);

    let mut subscriber = Raw::open(front.address).await;
    subscriber.send(&connect_v4("s", true)).await;
    assert_eq!(subscriber.receive().await, [0x20, 2, 0, 0]);
    publisher.send(&publish_v4("a", 3, b"nobody")).await;
    subscriber.expect_silence().await;
}

#[tokio::test]
async fn a_slow_subscriber_slows_nobody() {
    let front = front().await;
    let mut subscriber = Raw::v4(front.address, "s").await;
    subscriber.send(&subscribe_v4(1, "#", 0)).await;
    subscriber.receive().await;
    let mut publisher = Raw::v4(front.address, "p").await;
    for round in 0..100 {
        for packet_id in 1..=20 {
            publisher.send(&publish_v4("a", packet_id, &[round; 10_000])).await;
        }
        for packet_id in 1..=20 {
            assert_eq!(publisher.receive().await, [0x40, 2, 0, packet_id as u8]);
        }
    }
    assert_eq!(front.intake.arrivals().len(), 2_000);
}

#[tokio::test]
async fn a_client_takes_no_more_deliveries_than_its_receive_maximum() {
    let front = front().await;
    let mut subscriber = Raw::open(front.address).await;
    subscriber.send(&connect_v5("s", true, &[33, 0, 1])).await;
    subscriber.receive().await;
    subscriber.send(&subscribe_v5(1, "a", 1)).await;
    subscriber.receive().await;
    let mut publisher = Raw::v5(front.address, "p").await;
    for packet_id in 1..=2 {
        publisher.send(&publish_v5("a", packet_id, &[], b"x")).await;
    }
    assert_eq!(subscriber.receive().await[5..7], [0, 1]);
    subscriber.expect_silence().await;
    subscriber.send(&[0x40, 2, 0, 1]).await;
    assert_eq!(subscriber.receive().await[5..7], [0, 2]);
}

#[tokio::test]
async fn a_resumed_client_is_sent_again_no_more_at_a_time_than_it_takes() {
    let front = front().await;
    let expiry = [17, 0, 0, 0, 60];
    let mut subscriber = Raw::open(front.address).await;
    subscriber.send(&connect_v5("s", true, &expiry)).await;
    subscriber.receive().await;
    subscriber.send(&subscribe_v5(1, "a", 1)).await;
    subscriber.receive().await;
    let mut publisher = Raw::v5(front.address, "p").await;
    for packet_id in 1..=3 {
        publisher.send(&publish_v5("a", packet_id, &[], b"x")).await;
        subscriber.receive().await;
    }
    drop(subscriber);
    let mut subscriber = Raw::open(front.address).await;
    subscriber.send(&connect_v5("s", false, &[&expiry[..], &[33, 0, 2]].concat())).await;
    assert_eq!(subscriber.receive().await[2], 1);
    for packet_id in [1, 2] {
        let again = subscriber.receive().await;
        assert_eq!((again[0], again[6]), (0x3A, packet_id));
    }
    subscriber.expect_silence().await;
    subscriber.send(&[0x40, 2, 0, 1]).await;
    assert_eq!(subscriber.receive().await[6], 3);
}
