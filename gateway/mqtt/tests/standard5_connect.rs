//! MQTT 5.0: from CONNECT to CONNACK. Each test names the statements that it would notice the loss of; `CONFORMANCE.md` is made of these
//! names.

#![expect(clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use lamppost_mqtt::Limits;
use support::raw::{Raw, connect_v5, packet, publish_v5, text};
use support::v5::{
    CLEAN, CONNACK_CODES, EXPIRY_60_S, connect, duplicate, leave, open, properties, property, puback, stay, subscribed,
    tell, text_property,
};
use support::{HandIntake, Running};

const PING: [u8; 2] = [0xC0, 0];
const PONG: [u8; 2] = [0xD0, 0];

async fn front() -> Running {
    Running::start(HandIntake::automatic(), Limits::default()).await
}

/// Is refused with this reason code, and closed.
async fn is_refused(front: &Running, connect: &[u8], code: u8) {
    let (mut client, connack) = open(front.address, connect).await;
    assert_eq!(connack[2..4], [0, code], "{connack:02x?}");
    assert!(CONNACK_CODES.contains(&code));
    client.expect_end().await;
}

// MQTT 5.0: 3.1.2-1, 3.1.2-2
#[tokio::test]
async fn another_protocol_is_closed_and_another_version_is_told() {
    let front = front().await;
    for name in [&b"\0\x04HTTP"[..], b"\0\x04mqtt", b"\0\x05MQTT5"] {
        let mut client = Raw::open(front.address).await;
        client.send(&packet(0x10, &[name, b"\x05\x02\0\x3c\0\0\x01d"].concat())).await;
        client.expect_end().await;
    }
    for version in [6, 7, 0xFF] {
        is_refused(&front, &packet(0x10, &[b"\0\x04MQTT", &[version][..], b"\x02\0\x3c\0\0\x01d"].concat()), 0x84)
            .await;
    }
}

// MQTT 5.0: 3.1.2-28, 3.1.4-5, 3.2.0-1, 3.2.2-1, 3.2.2-2, 3.2.2-9, 3.2.2-20, 3.2.2-22, 4.12.0-6, 3.12.4-1
#[tokio::test]
async fn who_is_let_in_is_told_the_servers_limits_and_nothing_else() {
    let front = front().await;
    // Receive Maximum 64, Maximum QoS 1, Maximum Packet Size 256 KiB, Topic Alias Maximum 16, no shared subscriptions.
    let told = [33, 0, 64, 36, 1, 39, 0, 4, 0, 0, 34, 0, 16, 42, 0];
    // Nothing, response information: no and yes, problem information: no, a user property.
    for asked in [&[][..], &[25, 0], &[25, 1], &[23, 0], b"\x26\0\x01k\0\x01v"] {
        let mut client = Raw::open(front.address).await;
        client.send(&[&connect_v5("d", true, asked)[..], &PING].concat()).await;
        assert_eq!(client.receive().await, [&[0x20, 18, 0, 0, 15][..], &told].concat(), "{asked:?}");
        assert_eq!(client.receive().await, PONG);
    }
}

// MQTT 5.0: 3.1.3-5
#[tokio::test]
async fn client_ids_that_any_server_must_allow_are_let_in() {
    let front = front().await;
    for client_id in ["0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ", "a"] {
        let (mut client, connack) = open(front.address, &connect_v5(client_id, true, &[])).await;
        assert_eq!((connack[3], property(&connack, 18)), (0, None), "{client_id}");
        client.send(&PING).await;
        assert_eq!(client.receive().await, PONG);
    }
}

// MQTT 5.0: 3.1.3-6, 3.1.3-7, 3.2.2-16
#[tokio::test]
async fn an_empty_client_id_is_replaced_by_one_that_nobody_has_and_that_works_like_any() {
    let front = front().await;
    let mut given = BTreeSet::new();
    for flags in [CLEAN, 0, CLEAN, 0] {
        let (mut client, connack) = open(front.address, &connect(flags, &EXPIRY_60_S, &text(""))).await;
        assert_eq!(connack[2..4], [0, 0]);
        let client_id = String::from_utf8(property(&connack, 18).expect("no id was assigned")[2..].to_vec()).unwrap();
        subscribed(&mut client, "a", 1).await;
        drop(client);
        let (client, present) = stay(front.address, &client_id).await;
        assert!(present, "{client_id} has no session");
        drop(client);
        assert!(given.insert(client_id));
    }
}

// MQTT 5.0: 3.1.2-22, 3.2.2-22
#[tokio::test]
async fn a_client_that_is_silent_for_one_and_a_half_keepalives_is_told_and_let_go() {
    let front = front().await;
    let (mut client, connack) = open(front.address, &packet(0x10, b"\0\x04MQTT\x05\x02\0\x03\0\0\x01d")).await;
    assert_eq!(property(&connack, 19), None, "a keepalive of the server's");
    // Of three seconds: a busy machine has more than one to hear it in.
    tokio::time::sleep(Duration::from_millis(3_200)).await;
    client.send(&PING).await;
    assert_eq!(client.receive().await, PONG, "not before 1.5 times the keepalive");
    let told = Duration::from_millis(6_500);
    assert!(tokio::time::timeout(told, client.expect_disconnect(0x8D)).await.is_ok());
}

// MQTT 5.0: 3.1.3-2, 3.1.4-3
#[tokio::test]
async fn a_client_that_connects_again_ends_its_earlier_connection_and_no_other() {
    let front = front().await;
    let mut first = Raw::v5(front.address, "d1").await;
    let mut other = Raw::v5(front.address, "d2").await;
    let mut second = Raw::v5(front.address, "d1").await;
    first.expect_disconnect(0x8E).await;
    for client in [&mut second, &mut other] {
        client.send(&PING).await;
        assert_eq!(client.receive().await, PONG);
    }
}

// MQTT 5.0: 3.1.3-8, 3.1.4-2, 3.1.4-6, 3.2.2-6, 3.2.2-7, 3.2.2-8, 3.2.2-12, 4.12.0-1, 4.12.0-4, 4.13.2-1
#[tokio::test]
async fn a_refused_connect_is_told_why_and_nothing_after_it_is_processed() {
    let front = front().await;
    // There is a session, which a refusal does not speak of.
    drop(stay(front.address, "d").await);
    let will = |qos: u8, topic: &str| {
        connect(0x04 | qos << 3, &EXPIRY_60_S, &[&text("d")[..], &[0], &text(topic), &text("x")].concat())
    };
    let method = [&EXPIRY_60_S[..], &text_property(21, "SCRAM-SHA-256")].concat();
    for (what, connect, code) in [
        ("a client id with a control character", connect(0, &EXPIRY_60_S, &text("a\u{7}b")), 0x85),
        ("an authentication method", connect(0, &method, &text("d")), 0x8C),
        ("a will with QoS 2", will(2, "w"), 0x9B),
        ("a will for a filter", will(1, "w/#"), 0x90),
        ("a will below $", will(0, "$SYS/w"), 0x90),
    ] {
        let (mut client, connack) =
            open(front.address, &[connect, publish_v5("a", 1, &[], b"x"), vec![0xF0, 0]].concat()).await;
        assert_eq!(connack[2..4], [0, code], "{what}");
        assert!(CONNACK_CODES.contains(&code));
        assert!(properties(&connack).iter().all(|(id, _)| *id == 31), "{what}: {connack:02x?}");
        client.expect_end().await;
    }
    assert!(front.intake.arrivals().is_empty());
    assert!(stay(front.address, "d").await.1, "the session is still there");
}

// MQTT 5.0: 3.1.2-4, 3.1.2-5, 3.1.2-6, 3.1.2-23, 3.1.4-4, 3.2.2-3
#[tokio::test]
async fn a_session_goes_on_without_clean_start_and_begins_anew_with_it() {
    let front = front().await;
    let mut publisher = Raw::v5(front.address, "p").await;
    for (flags, present) in [(0, 0), (0, 1), (CLEAN, 0), (0, 1), (CLEAN, 0)] {
        let (mut client, connack) = open(front.address, &connect(flags, &EXPIRY_60_S, &text("d"))).await;
        assert_eq!(connack[2..4], [present, 0]);
        if present == 1 {
            assert_eq!(client.receive().await, publish_v5("a", 1, &[], b"missed"));
            client.send(&puback(1)).await;
        } else {
            client.expect_silence().await;
            subscribed(&mut client, "a", 1).await;
        }
        leave(client).await;
        tell(&mut publisher, &publish_v5("a", 1, &[], b"missed")).await;
    }
}

// MQTT 5.0: 3.2.0-1, 3.2.0-2, 3.3.1-1
#[tokio::test]
async fn connack_comes_first_and_once_whatever_waits_to_be_sent() {
    let front = front().await;
    let (mut client, _) = stay(front.address, "d").await;
    subscribed(&mut client, "a", 1).await;
    let mut publisher = Raw::v5(front.address, "p").await;
    tell(&mut publisher, &publish_v5("a", 1, &[], b"begun")).await;
    client.receive().await;
    leave(client).await;
    tell(&mut publisher, &publish_v5("a", 1, &[], b"missed")).await;
    let mut client = Raw::open(front.address).await;
    client.send(&[&connect(0, &EXPIRY_60_S, &text("d"))[..], &PING].concat()).await;
    assert_eq!(client.receive().await[..4], [0x20, 18, 1, 0]);
    let mut rest = Vec::new();
    for _ in 0..3 {
        rest.push(client.receive().await);
    }
    for expected in [PONG.to_vec(), duplicate(publish_v5("a", 1, &[], b"begun")), publish_v5("a", 2, &[], b"missed")] {
        assert!(rest.contains(&expected), "{expected:02x?} is missing in {rest:02x?}");
    }
    client.expect_silence().await;
}

// MQTT 5.0: 3.1.2-24, 3.2.2-19, 3.2.2-20
#[tokio::test]
async fn no_connack_is_larger_than_the_client_takes() {
    let front = front().await;
    let takes = |bytes: u8| [39, 0, 0, 0, bytes];
    // All that has to be said takes 20 bytes; who takes less is told so, if that.
    let mut client = open(front.address, &connect_v5("d", true, &takes(20))).await.0;
    client.send(&PING).await;
    assert_eq!(client.receive().await, PONG);
    for bytes in [5, 19] {
        is_refused(&front, &connect_v5("d", true, &takes(bytes)), 0x95).await;
    }
    let mut client = Raw::open(front.address).await;
    client.send(&connect_v5("d", true, &takes(4))).await;
    client.expect_end().await;
    // A refusal leaves its words out.
    for (bytes, words) in [(20, false), (127, false)] {
        let method = [&takes(bytes)[..], &text_property(21, &"M".repeat(90))].concat();
        let (mut client, connack) = open(front.address, &connect(CLEAN, &method, &text("d"))).await;
        assert_eq!((connack[3], property(&connack, 31).is_some()), (0x8C, words));
        assert!(connack.len() <= bytes.into());
        client.expect_end().await;
    }
    let method = text_property(21, &"M".repeat(90));
    let (_, connack) = open(front.address, &connect(CLEAN, &method, &text("d"))).await;
    assert!(property(&connack, 31).is_some(), "with room the reason is told in words");
}

// MQTT 5.0: 3.1.2-22
#[tokio::test]
async fn a_client_that_would_never_be_missed_is_told_a_keepalive_and_held_to_it() {
    let limits = Limits { keep_alive_max: Duration::from_secs(1), ..Limits::default() };
    let front = Running::start(HandIntake::automatic(), limits).await;
    let (mut client, connack) = open(front.address, &packet(0x10, b"\0\x04MQTT\x05\x02\0\0\0\0\x01d")).await;
    assert_eq!(property(&connack, 19).as_deref(), Some(&[0_u8, 1][..]), "Server Keep Alive");
    // Its own would be none.
    assert!(tokio::time::timeout(Duration::from_secs(10), client.expect_disconnect(0x8D)).await.is_ok());
}
