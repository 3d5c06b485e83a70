//! MQTT 5.0: how connections and sessions end, and what wills do then. Each test names the statements that it would notice the loss of;
//! `CONFORMANCE.md` is made of these names.

#![expect(clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use lamppost_mqtt::{Limits, Listener, Rules};
use support::raw::{Raw, connect_v5, packet, publish_v5, text};
use support::v5::{
    CLEAN, DISCONNECT_CODES, EXPIRY_60_S, connect, open, properties, puback, retained, stay, subscribe, subscribed,
    tell, user,
};
use support::{ANY_PORT, HandIntake, Running};

async fn front() -> Running {
    Running::start(HandIntake::automatic(), Limits::default()).await
}

/// A client with a will for `topic`, `flags` of it besides, its properties and those of the CONNECT.
async fn mortal(front: &Running, flags: u8, topic: &str, will_properties: &[u8], properties: &[u8]) -> Raw {
    let length = [will_properties.len() as u8];
    let payload = [&text("mortal")[..], &length, will_properties, &text(topic), &text("gone")].concat();
    let (client, connack) = open(front.address, &connect(CLEAN | 4 | flags, properties, &payload)).await;
    assert_eq!(connack[3], 0);
    client
}

async fn watcher(front: &Running) -> Raw {
    let mut watcher = Raw::v5(front.address, "watcher").await;
    subscribed(&mut watcher, "w/#", 1).await;
    watcher
}

// MQTT 5.0: 3.1.2-7, 3.1.2-8, 3.1.2-10, 3.14.4-3
#[tokio::test]
async fn a_will_is_published_once_when_a_connection_breaks_or_says_so_and_not_after_a_normal_disconnect() {
    let front = front().await;
    let mut watcher = watcher(&front).await;
    for (topic, farewell) in [
        ("w/normal", Some(&[0xE0, 0][..])),
        ("w/normal", Some(&[0xE0, 1, 0])),
        ("w/normal", Some(&[0xE0, 2, 0, 0])),
        ("w/with-will", Some(&[0xE0, 1, 4])),
        ("w/error", Some(&[0xE0, 2, 0x80, 0])),
        ("w/malformed", Some(&[0x00, 0])),
        ("w/broken", None),
    ] {
        let mut client = mortal(&front, 0, topic, &[], &[]).await;
        if let Some(farewell) = farewell {
            client.send(farewell).await;
        }
        drop(client);
        if topic == "w/normal" {
            watcher.expect_silence().await;
        } else {
            assert_eq!(watcher.receive().await, publish_v5(topic, 0, &[], b"gone"));
        }
        // It is over with that: coming and going without a will publishes nothing.
        drop(Raw::v5(front.address, "mortal").await);
        watcher.expect_silence().await;
    }
}

// MQTT 5.0: 3.1.2-14, 3.1.2-15, 3.1.3-10
#[tokio::test]
async fn a_will_is_published_with_all_it_came_with() {
    let front = front().await;
    let mut watcher = watcher(&front).await;
    let said = [user("b", "2"), user("a", "1"), vec![3, 0, 1, b't'], user("b", "1")].concat();
    drop(mortal(&front, 0x08, "w/plain", &said, &[]).await);
    assert_eq!(watcher.receive().await, publish_v5("w/plain", 1, &said, b"gone"));
    drop(mortal(&front, 0x28, "w/kept", &said, &[]).await);
    assert_eq!(watcher.receive().await, publish_v5("w/kept", 2, &said, b"gone"));
    let mut late = Raw::v5(front.address, "late").await;
    subscribed(&mut late, "w/#", 1).await;
    assert_eq!(late.receive().await, retained(publish_v5("w/kept", 1, &said, b"gone")));
    late.expect_silence().await;
}

// MQTT 5.0: 3.1.2-8, 3.1.3-9
#[tokio::test]
async fn a_delayed_will_waits_for_its_delay_or_the_end_of_its_session_and_is_taken_back_by_returning() {
    let front = front().await;
    let mut watcher = watcher(&front).await;
    let (delay_1_s, delay_60_s) = ([24, 0, 0, 0, 1], [24, 0, 0, 0, 60]);
    let expiry_1_s = [17, 0, 0, 0, 1];
    // Without a session that stays there is nothing to wait for.
    drop(mortal(&front, 0, "w/at-once", &delay_60_s, &[]).await);
    assert_eq!(watcher.receive().await, publish_v5("w/at-once", 0, &[], b"gone"));
    for (topic, delay, expiry) in [
        ("w/delay", &delay_1_s, &EXPIRY_60_S),
        ("w/session", &delay_60_s, &expiry_1_s),
        ("w/both", &delay_1_s, &expiry_1_s),
    ] {
        drop(mortal(&front, 0, topic, delay, expiry).await);
        tokio::time::sleep(Duration::from_millis(300)).await;
        watcher.expect_silence().await;
        assert_eq!(watcher.receive().await, publish_v5(topic, 0, &[], b"gone"));
    }
    drop(mortal(&front, 0, "w/returned", &delay_1_s, &EXPIRY_60_S).await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(stay(front.address, "mortal").await.1);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    watcher.expect_silence().await;
    assert_eq!(front.intake.arrivals().len(), 4);
}

// MQTT 5.0: 3.1.2-8
#[tokio::test]
async fn a_delayed_will_is_published_when_its_client_comes_with_clean_start_which_ends_the_session() {
    let front = front().await;
    let mut watcher = watcher(&front).await;
    let delay_60_s = [24, 0, 0, 0, 60];
    for away in [true, false] {
        let mut client = mortal(&front, 0, "w/d", &delay_60_s, &EXPIRY_60_S).await;
        if away {
            drop(client);
            watcher.expect_silence().await;
            drop(Raw::v5(front.address, "mortal").await);
        } else {
            drop(Raw::v5(front.address, "mortal").await);
            client.expect_disconnect(0x8E).await;
        }
        assert_eq!(watcher.receive().await, publish_v5("w/d", 0, &[], b"gone"), "{away}");
        watcher.expect_silence().await;
    }
}

// MQTT 5.0: 4.1.0-1, 4.1.0-2, 3.1.2-23
#[tokio::test]
async fn a_session_stays_while_its_client_is_here_and_as_long_after_as_was_asked() {
    let front = front().await;
    let (mut device, _) = stay(front.address, "d").await;
    subscribed(&mut device, "a", 1).await;
    // Here for a day, with an expiry of 60 s.
    front.intake.advance(86_400_000);
    let mut publisher = Raw::v5(front.address, "p").await;
    tell(&mut publisher, &publish_v5("a", 1, &[], b"x")).await;
    assert_eq!(device.receive().await, publish_v5("a", 1, &[], b"x"));
    device.send(&puback(1)).await;
    for (away_ms, present) in [(59_000, true), (59_000, true), (60_000, false)] {
        device.send(&[0xE0, 0]).await;
        device.expect_end().await;
        front.intake.advance(away_ms);
        let found;
        (device, found) = stay(front.address, "d").await;
        assert_eq!(found, present, "{away_ms}");
    }
    // A DISCONNECT changes it: longer, shorter, to nothing.
    for (expiry_s, away_ms, present) in [(100, 99_000, true), (10, 9_000, true), (10, 10_000, false), (0, 0, false)] {
        device.send(&[0xE0, 7, 0, 5, 17, 0, 0, 0, expiry_s]).await;
        device.expect_end().await;
        front.intake.advance(away_ms);
        let found;
        (device, found) = stay(front.address, "d").await;
        assert_eq!(found, present, "{expiry_s} {away_ms}");
    }
    // Without one nothing stays.
    drop(open(front.address, &connect_v5("brief", false, &[])).await);
    let (_, connack) = open(front.address, &connect_v5("brief", false, &[])).await;
    assert_eq!(connack[2], 0);
}

/// What ends a connection: bytes that its client sends.
fn offences() -> Vec<(&'static str, Vec<u8>, u8)> {
    vec![
        ("malformed", vec![0xC1, 0], 0x81),
        ("a protocol error", connect_v5("d", true, &[]), 0x82),
        ("QoS 2", packet(0x34, b"\0\x01a\0\x01\0x"), 0x9B),
        ("a topic name", publish_v5("a/#", 0, &[], b"x"), 0x90),
        ("a topic alias", publish_v5("a", 0, &[35, 0, 99], b"x"), 0x94),
        ("too large", vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F], 0x95),
    ]
}

// MQTT 5.0: 3.1.2-24, 3.14.2-1, 3.14.2-2, 3.14.2-3, 3.14.2-4, 3.14.4-1, 3.14.4-2, 4.13.2-1
#[tokio::test]
async fn a_disconnect_has_a_reason_in_words_where_the_client_takes_them_and_is_the_last_word() {
    let front = front().await;
    for (what, bytes, code) in offences() {
        for (asked, in_words) in [(&[][..], true), (&[39, 0, 0, 0, 32], false), (&[39, 0, 0, 2, 0], true)] {
            let (mut client, connack) = open(front.address, &connect_v5("d", true, asked)).await;
            assert_eq!(connack[3], 0);
            subscribed(&mut client, "a", 0).await;
            client.send(&[&bytes[..], &[0xC0, 0], &publish_v5("a", 1, &[], b"x")].concat()).await;
            let answer = client.receive().await;
            assert_eq!((answer[0], answer[2]), (0xE0, code), "{what}");
            assert!(DISCONNECT_CODES.contains(&code), "{what}");
            let said: Vec<u8> = properties(&answer).into_iter().map(|(id, _)| id).collect();
            assert_eq!(said, if in_words { vec![31] } else { vec![] }, "{what} {asked:?}");
            assert!(in_words || answer.len() <= 32);
            client.expect_end().await;
        }
    }
}

// MQTT 5.0: 3.14.2-1
#[tokio::test]
async fn what_the_server_ends_by_itself_has_a_reason_of_the_table_too() {
    use lamppost_mqtt::{Acl, Entry, Passwords};
    let passwords = || {
        let line = Passwords::entry("anna", b"secret").unwrap();
        Some(Arc::new(Passwords::parse(&line).unwrap()))
    };
    let entry = Entry { anonymous: false, password: true, ..Entry::OPEN };
    let rules = |passwords, acl| Rules { passwords, acl: Arc::new(Acl::parse(acl).unwrap()) };
    let listeners = vec![Listener { entry, ..Listener::open(ANY_PORT) }];
    let mut front =
        Running::start_with(listeners, rules(passwords(), ""), HandIntake::automatic(), Limits::default()).await;
    let anna = async |front: &Running| {
        let connect = support::raw::connect_as(5, "d", Some("anna"), Some("secret"), None);
        let (mut client, connack) = open(front.address, &connect).await;
        assert_eq!(connack[3], 0);
        subscribed(&mut client, "a", 0).await;
        client
    };
    let mut codes = Vec::new();
    let mut ends = async |client: &mut Raw| {
        let answer = client.receive().await;
        assert_eq!(answer[0], 0xE0);
        client.expect_end().await;
        codes.push(answer[2]);
    };
    let mut first = anna(&front).await;
    let mut second = anna(&front).await;
    ends(&mut first).await;
    // The subscription is taken away, then the password.
    front.keys.set_rules(rules(front.keys.rules().passwords.clone(), "allow * publish a"));
    ends(&mut second).await;
    front.keys.set_rules(rules(front.keys.rules().passwords.clone(), ""));
    let mut third = anna(&front).await;
    front.keys.set_rules(rules(passwords(), ""));
    ends(&mut third).await;
    let mut fourth = anna(&front).await;
    front.begin_stop();
    ends(&mut fourth).await;
    // Taken over, not authorized any more, twice, and shutting down. Bad user name or password (0x86) is for CONNACK only.
    assert_eq!(codes, [0x8E, 0x87, 0x87, 0x8B]);
    assert!(codes.iter().all(|code| DISCONNECT_CODES.contains(code)));
}

// MQTT 5.0: 3.1.2-24
#[tokio::test]
async fn an_answer_that_is_larger_than_the_client_takes_ends_the_connection() {
    let front = front().await;
    for (many, answer) in [(15, 0x90), (16, 0xE0)] {
        let (mut client, connack) = open(front.address, &connect_v5("d", true, &[39, 0, 0, 0, 20])).await;
        assert_eq!(connack[3], 0);
        client.send(&subscribe(1, &[], &vec![("a", 0); many])).await;
        let packet = client.receive().await;
        assert_eq!(packet[0], answer, "{packet:02x?}");
        assert!(packet.len() <= 20);
        if answer == 0x90 {
            client.send(&support::v5::unsubscribe(2, &["a"; 16])).await;
            client.expect_disconnect(0x95).await;
        } else {
            assert_eq!(packet[2], 0x95);
            client.expect_end().await;
        }
    }
}

#[tokio::test]
async fn a_session_that_was_to_end_with_its_connection_can_not_be_prolonged_by_disconnect() {
    let front = front().await;
    let mut watcher = watcher(&front).await;
    let mut client = mortal(&front, 0, "w/d", &[], &[]).await;
    client.send(&[0xE0, 7, 0, 5, 17, 0, 0, 0, 60]).await;
    client.expect_disconnect(0x82).await;
    // That was no DISCONNECT: the will is not taken back.
    assert_eq!(watcher.receive().await, publish_v5("w/d", 0, &[], b"gone"));
}
