//! MQTT 5.0: what is published, and how it is delivered. Each test names the statements that it would notice the loss of; `CONFORMANCE.md`
//! is made of these names.

mod support;

use lamppost_mqtt::Limits;
use support::raw::{Raw, connect_v5, publish_v5, text};
use support::v5::{
    CLEAN, EXPIRY_60_S, connect, duplicate, leave, open, property, puback, retained, stay, subscribe, subscribed, tell,
    text_property, user,
};
use support::{HandIntake, Running};

async fn front() -> Running {
    Running::start(HandIntake::automatic(), Limits::default()).await
}

// MQTT 5.0: 2.2.1-5, 3.3.4-1, 3.4.2-1, 3.4.2-2, 3.4.2-3, 4.3.2-4, 4.3.2-5, 3.1.2-29
#[tokio::test]
async fn a_publish_is_answered_as_its_qos_asks_when_it_is_owned_and_its_id_is_free_again() {
    let front = Running::start(HandIntake::by_hand(), Limits::default()).await;
    let mut client = open(front.address, &connect_v5("d", true, &[23, 0])).await.0;
    client.send(&publish_v5("a", 0, &[], b"unanswered")).await;
    client.send(&publish_v5("a", 0x0107, &user("k", "v"), b"first")).await;
    front.intake.arrived(2).await;
    client.expect_silence().await;
    front.intake.release(2);
    assert_eq!(client.receive().await, [0x40, 2, 1, 7]);
    // The same id again, with DUP: a message like any other.
    client.send(&duplicate(publish_v5("a", 0x0107, &[], b"second"))).await;
    front.intake.arrived(3).await;
    client.expect_silence().await;
    front.intake.release(3);
    assert_eq!(client.receive().await, [0x40, 2, 1, 7]);
    let payloads: Vec<_> = front.intake.arrivals().iter().map(|it| it.payload.clone()).collect();
    assert_eq!(payloads, [&b"unanswered"[..], b"first", b"second"]);
}

// MQTT 5.0: 2.2.1-2, 3.3.1-3, 4.3.1-1, 4.3.2-2, 3.8.4-8
#[tokio::test]
async fn messages_come_with_the_lower_qos_and_without_the_publishers_dup() {
    let front = front().await;
    let mut publisher = Raw::v5(front.address, "p").await;
    for granted in [0, 1] {
        let mut subscriber = Raw::v5(front.address, "s").await;
        subscribed(&mut subscriber, "a", granted).await;
        publisher.send(&publish_v5("a", 0, &[], b"zero")).await;
        assert_eq!(subscriber.receive().await, publish_v5("a", 0, &[], b"zero"));
        tell(&mut publisher, &duplicate(publish_v5("a", 9, &[], b"one"))).await;
        assert_eq!(subscriber.receive().await, publish_v5("a", granted.into(), &[], b"one"));
        subscriber.expect_silence().await;
    }
}

// MQTT 5.0: 2.2.2-1, 3.3.2-4, 3.3.2-15, 3.3.2-16, 3.3.2-17, 3.3.2-18, 3.3.2-20
#[tokio::test]
async fn what_a_publisher_says_beside_the_payload_goes_on_unchanged_and_in_its_order() {
    let front = front().await;
    let said = [
        user("b", "2"),
        vec![1, 1],
        text_property(8, "answers/to/me"),
        user("a", "1"),
        text_property(3, "text/plain; charset=\u{e9}"),
        user("b", ""),
        vec![9, 0, 3, 0, 0xFF, 7],
        user("a", "1"),
    ]
    .concat();
    let (mut here, _) = stay(front.address, "here").await;
    subscribed(&mut here, "a", 1).await;
    let mut plain = Raw::v5(front.address, "plain").await;
    subscribed(&mut plain, "a", 1).await;
    let (mut away, _) = stay(front.address, "away").await;
    subscribed(&mut away, "a", 1).await;
    leave(away).await;
    let mut publisher = Raw::v5(front.address, "p").await;
    for (packet_id, properties) in [(1, &said[..]), (2, &[])] {
        tell(&mut publisher, &retained(publish_v5("a", packet_id, properties, &[b'x'; 200]))).await;
        for subscriber in [&mut here, &mut plain] {
            assert_eq!(subscriber.receive().await, publish_v5("a", packet_id, properties, &[b'x'; 200]));
        }
    }
    tell(&mut publisher, &retained(publish_v5("a", 3, &said, b"kept"))).await;
    // Also for who comes later, after the gateway was killed.
    let front = Running::start(front.intake.after_a_crash(None), Limits::default()).await;
    let (mut away, _) = stay(front.address, "away").await;
    assert_eq!(away.receive().await, duplicate(publish_v5("a", 1, &said, &[b'x'; 200])));
    let mut late = Raw::v5(front.address, "late").await;
    subscribed(&mut late, "a", 1).await;
    assert_eq!(late.receive().await, retained(publish_v5("a", 1, &said, b"kept")));
}

// MQTT 5.0: 3.3.2-7, 3.3.2-12
#[tokio::test]
async fn every_topic_alias_that_is_announced_is_taken_and_ends_with_its_connection() {
    let front = front().await;
    let (mut client, connack) = open(front.address, &connect_v5("d", true, &[])).await;
    let announced = property(&connack, 34).unwrap()[1];
    assert_eq!(announced, 16);
    for alias in 1..=announced {
        client.send(&publish_v5(&format!("t/{alias}"), 0, &[35, 0, alias], b"named")).await;
    }
    for alias in 1..=announced {
        client.send(&publish_v5("", 0, &[35, 0, alias], b"by alias")).await;
    }
    // One is given to another topic.
    client.send(&publish_v5("other", 0, &[35, 0, 3], b"named")).await;
    client.send(&publish_v5("", 0, &[35, 0, 3], b"by alias")).await;
    let arrivals = front.intake.arrived(34).await;
    for (number, arrival) in arrivals[16..32].iter().enumerate() {
        assert_eq!(arrival.address.as_str(), format!("t/{}", number + 1));
    }
    assert_eq!(arrivals[33].address.as_str(), "other");
    let mut again = Raw::v5(front.address, "d").await;
    client.expect_disconnect(0x8E).await;
    again.send(&publish_v5("", 1, &[35, 0, 1], b"x")).await;
    again.expect_disconnect(0x82).await;
    assert_eq!(front.intake.arrivals().len(), 34);
}

// MQTT 5.0: 3.1.2-26, 3.1.2-27, 3.3.2-8, 3.3.2-11, 3.3.2-7
#[tokio::test]
async fn topic_aliases_towards_a_client_are_as_many_as_it_takes_and_new_on_each_connection() {
    let front = front().await;
    let mut publisher = Raw::v5(front.address, "p").await;
    for (takes, aliases) in [(None, [0; 5]), (Some(0), [0; 5]), (Some(2), [1, 2, 0, 1, 2])] {
        let takes = takes.map_or_else(Vec::new, |count| vec![34, 0, count]);
        for _ in 0..2 {
            let (mut subscriber, connack) = open(front.address, &connect(CLEAN, &takes, &text("s"))).await;
            assert_eq!(connack[3], 0);
            subscribed(&mut subscriber, "#", 0).await;
            for (topic, (alias, known)) in ["a", "b", "c", "a", "b"].iter().zip(aliases.iter().zip([0, 0, 0, 1, 1])) {
                publisher.send(&publish_v5(topic, 0, &[], b"x")).await;
                let expected = match (alias, known) {
                    (0, _) => publish_v5(topic, 0, &[], b"x"),
                    (alias, 0) => publish_v5(topic, 0, &[35, 0, *alias], b"x"),
                    (alias, _) => publish_v5("", 0, &[35, 0, *alias], b"x"),
                };
                assert_eq!(subscriber.receive().await, expected, "{topic} to who takes {takes:?}");
            }
        }
    }
}

// MQTT 5.0: 3.3.2-5, 3.3.2-6
#[tokio::test]
async fn a_message_that_waits_says_what_is_left_of_its_expiry_and_one_that_is_over_is_dropped() {
    let front = front().await;
    let (mut device, _) = stay(front.address, "d").await;
    subscribed(&mut device, "a", 1).await;
    let mut publisher = Raw::v5(front.address, "p").await;
    let expiring = |seconds: u8, payload: &[u8]| publish_v5("a", 1, &[2, 0, 0, 0, seconds], payload);
    tell(&mut publisher, &expiring(30, b"at once")).await;
    assert_eq!(device.receive().await, expiring(30, b"at once"));
    device.send(&puback(1)).await;
    leave(device).await;
    tell(&mut publisher, &expiring(5, b"over")).await;
    tell(&mut publisher, &expiring(50, b"in time")).await;
    tell(&mut publisher, &publish_v5("a", 1, &[], b"for ever")).await;
    front.intake.advance(20_000);
    let (mut device, present) = stay(front.address, "d").await;
    assert!(present);
    let mut expected = expiring(30, b"in time");
    let (first, second) = (device.receive().await, device.receive().await);
    expected[6] = first[6];
    assert_eq!(first, expected);
    assert_eq!(second[7..], publish_v5("a", 1, &[], b"for ever")[7..]);
    device.expect_silence().await;
}

// MQTT 5.0: 1.5.4-3, 4.7.3-4, 3.3.2-3
#[tokio::test]
async fn topics_are_compared_byte_by_byte_and_only_what_matches_is_delivered() {
    let front = front().await;
    let mut subscriber = Raw::v5(front.address, "s").await;
    // One letter with its accent; the byte order mark is a letter like any other.
    for filter in ["caf\u{e9}", "\u{feff}a", "x/+/z"] {
        subscribed(&mut subscriber, filter, 0).await;
    }
    let mut publisher = Raw::v5(front.address, "p").await;
    for topic in ["cafe\u{301}", "a", "CAF\u{c9}", "\u{feff}a", "x/z", "x/y", "x/y/z/", "x//z", "caf\u{e9}"] {
        publisher.send(&publish_v5(topic, 0, &[], b"x")).await;
    }
    for topic in ["\u{feff}a", "x//z", "caf\u{e9}"] {
        assert_eq!(subscriber.receive().await, publish_v5(topic, 0, &[], b"x"));
    }
    subscriber.expect_silence().await;
    assert_eq!(front.intake.arrived(9).await[3].address.as_str(), "\u{feff}a");
}

// MQTT 5.0: 4.5.0-1, 4.6.0-5, 4.6.0-6
#[tokio::test]
async fn every_subscriber_gets_all_of_a_publisher_in_order_those_that_are_away_later() {
    let front = front().await;
    let mut plain = Raw::v5(front.address, "plain").await;
    subscribed(&mut plain, "+/#", 1).await;
    let (mut here, _) = stay(front.address, "here").await;
    subscribed(&mut here, "#", 1).await;
    let (mut away, _) = stay(front.address, "away").await;
    subscribed(&mut away, "t/+", 1).await;
    leave(away).await;
    let mut publisher = Raw::v5(front.address, "p").await;
    let topic = |number: u8| format!("t/{}", number % 3);
    let all: Vec<_> = (0..60).map(|number| publish_v5(&topic(number), u16::from(number) + 1, &[], &[number])).collect();
    publisher.send(&all.concat()).await;
    for number in 0..60 {
        assert_eq!(publisher.receive().await, puback(number + 1));
    }
    let (away, present) = stay(front.address, "away").await;
    assert!(present);
    for (mut subscriber, who) in [(plain, "plain"), (here, "here"), (away, "away")] {
        for number in 0..60 {
            let received = subscriber.receive().await;
            assert_eq!(received, publish_v5(&topic(number), u16::from(number) + 1, &[], &[number]), "{who}");
            subscriber.send(&puback(number + 1)).await;
        }
    }
}

// MQTT 5.0: 3.1.2-24, 3.1.2-25
#[tokio::test]
async fn what_is_larger_than_a_client_takes_is_left_out_and_done_with() {
    let front = front().await;
    let (large, fits) = (publish_v5("a", 1, &[], &[7; 58]), publish_v5("a", 1, &[], &[7; 57]));
    assert_eq!((large.len(), fits.len()), (66, 65));
    let mut publisher = Raw::v5(front.address, "p").await;
    for expiry in [&[][..], &EXPIRY_60_S] {
        // It takes one at a time: what is left out must not keep its place.
        let takes = [expiry, &[39, 0, 0, 0, 65, 33, 0, 1]].concat();
        let (mut subscriber, _) = open(front.address, &connect(CLEAN, &takes, &text("s"))).await;
        subscribed(&mut subscriber, "a", 1).await;
        for _ in 0..3 {
            tell(&mut publisher, &large).await;
        }
        tell(&mut publisher, &fits).await;
        let received = subscriber.receive().await;
        assert_eq!((received.len(), received[0], &received[8..]), (65, 0x32, &fits[8..]));
        subscriber.send(&[0x40, 2, received[5], received[6]]).await;
        drop(subscriber);
        if !expiry.is_empty() {
            // Nor does it come when the client takes more.
            let (mut subscriber, present) = stay(front.address, "s").await;
            assert!(present);
            subscriber.expect_silence().await;
        }
    }
}

// MQTT 5.0: 3.1.2-25
#[tokio::test]
async fn a_topic_alias_makes_no_message_too_large() {
    let front = front().await;
    let mut publisher = Raw::v5(front.address, "p").await;
    for expiry in [&[][..], &EXPIRY_60_S] {
        let takes = [expiry, &[39, 0, 0, 0, 65, 34, 0, 1]].concat();
        let (mut subscriber, _) = open(front.address, &connect(CLEAN, &takes, &text("s"))).await;
        subscribed(&mut subscriber, "a", 1).await;
        // 65 bytes without an alias: it is given with a smaller one.
        for (bytes, properties) in [(57, &[][..]), (54, &[35, 0, 1]), (57, &[])] {
            tell(&mut publisher, &publish_v5("a", 1, &[], &vec![7; bytes])).await;
            let (received, expected) = (subscriber.receive().await, publish_v5("a", 1, properties, &vec![7; bytes]));
            assert_eq!((&received[..5], &received[7..]), (&expected[..5], &expected[7..]));
        }
    }
}

// MQTT 5.0: 2.2.1-4, 3.3.4-9, 3.3.4-10, 4.3.2-1, 4.3.2-3, 4.9.0-1, 4.9.0-2, 4.9.0-3
#[tokio::test]
async fn a_client_that_has_as_much_under_way_as_it_takes_gets_everything_but_publishes() {
    let front = front().await;
    let mut publisher = Raw::v5(front.address, "p").await;
    for expiry in [&[][..], &EXPIRY_60_S] {
        let takes = [expiry, &[33, 0, 3]].concat();
        let (mut client, _) = open(front.address, &connect(CLEAN, &takes, &text("s"))).await;
        subscribed(&mut client, "a", 1).await;
        for number in 0..8 {
            tell(&mut publisher, &publish_v5("a", 1, &[], &[number])).await;
        }
        let mut under_way = Vec::new();
        for number in 0..3 {
            let received = client.receive().await;
            assert_eq!((received[0], received[8]), (0x32, number));
            under_way.push(received[6]);
        }
        client.expect_silence().await;
        client.send(&[0xC0, 0]).await;
        assert_eq!(client.receive().await, [0xD0, 0]);
        client.send(&subscribe(5, &[], &[("b", 1)])).await;
        assert_eq!(client.receive().await, [0x90, 4, 0, 5, 0, 1]);
        client.send(&publish_v5("c", 6, &[], b"x")).await;
        assert_eq!(client.receive().await, puback(6));
        client.expect_silence().await;
        // The second first: its place is free, and the ids of the others are not taken again.
        for number in 3..8 {
            client.send(&puback(under_way.remove(under_way.len() / 2))).await;
            let received = client.receive().await;
            assert_eq!((received[0], received[8]), (0x32, number));
            assert!(received[6] != 0 && !under_way.contains(&received[6]), "{received:02x?} {under_way:?}");
            under_way.push(received[6]);
            client.expect_silence().await;
        }
        client.send(&[0xE0, 0]).await;
        client.expect_end().await;
    }
}

// MQTT 5.0: 3.3.1-1, 3.10.4-3, 4.3.2-3, 4.4.0-1, 4.4.0-2
#[tokio::test]
async fn what_is_unacknowledged_is_sent_again_on_the_next_connection_and_at_no_other_time() {
    let front = front().await;
    let (mut device, _) = stay(front.address, "d").await;
    subscribed(&mut device, "a", 1).await;
    let mut publisher = Raw::v5(front.address, "p").await;
    let message = |packet_id: u16| publish_v5("a", packet_id, &[], &[packet_id as u8]);
    for packet_id in 1..=4 {
        tell(&mut publisher, &message(packet_id)).await;
        assert_eq!(device.receive().await, message(packet_id));
    }
    // Taken; refused, in words; not in force any more.
    device.send(&puback(1)).await;
    device.send(&[&[0x40, 10, 0, 3, 0x97, 6, 31, 0, 3][..], b"why"].concat()).await;
    device.send(&support::v5::unsubscribe(9, &["a"])).await;
    assert_eq!(device.receive().await, [0xB0, 4, 0, 9, 0, 0]);
    device.expect_silence().await;
    drop(device);
    for _ in 0..2 {
        let (mut device, present) = stay(front.address, "d").await;
        assert!(present);
        for packet_id in [2, 4] {
            assert_eq!(device.receive().await, duplicate(message(packet_id)));
        }
        device.expect_silence().await;
    }
}
