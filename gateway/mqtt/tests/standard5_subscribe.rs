//! MQTT 5.0: subscriptions, and what they bring. Each test names the statements that it would notice the loss of; `CONFORMANCE.md` is made
//! of these names.

mod support;

use lamppost_mqtt::Limits;
use support::raw::{Raw, publish_v5};
use support::v5::{puback, retained, stay, subscribe, subscribed, tell, unsubscribe};
use support::{HandIntake, Running};

/// Options of a subscription.
const NO_LOCAL: u8 = 0x04;
const AS_PUBLISHED: u8 = 0x08;
const RETAINED_IF_NEW: u8 = 0x10;
const NOTHING_RETAINED: u8 = 0x20;

async fn front() -> Running {
    Running::start(HandIntake::automatic(), Limits::default()).await
}

/// A message on this topic with QoS 1 and packet id 1.
fn message(topic: &str, payload: &[u8]) -> Vec<u8> {
    publish_v5(topic, 1, &[], payload)
}

// MQTT 5.0: 2.2.1-6, 3.2.2-10, 3.8.4-1, 3.8.4-2, 3.8.4-5, 3.8.4-6, 3.8.4-7, 3.9.2-1, 3.9.2-2, 3.9.3-1, 3.9.3-2, 4.7.1-1, 4.7.1-2, 4.7.3-1
#[tokio::test]
async fn many_filters_are_answered_at_once_one_by_one_and_in_their_order() {
    let front = front().await;
    let mut client = Raw::v5(front.address, "s").await;
    let asked = [
        ("a", 1),
        ("b/#/c", 0),
        ("b", 2),
        ("b+", 1),
        ("c", 0),
        ("", 1),
        ("+/b/#", 1),
        ("c#", 1),
        ("+c", 1),
        ("#", 0),
        ("$share/g/a", 1),
    ];
    client.send(&subscribe(7, &[], &asked)).await;
    let codes = [1, 0x8F, 1, 0x8F, 0, 0x8F, 1, 0x8F, 0x8F, 0, 0x9E];
    assert_eq!(client.receive().await, [&[0x90, 14, 0, 7, 0][..], &codes].concat());
    // What was granted is in force.
    let mut publisher = Raw::v5(front.address, "p").await;
    tell(&mut publisher, &message("c", b"x")).await;
    for _ in ["c", "#"] {
        assert_eq!(client.receive().await, publish_v5("c", 0, &[], b"x"));
    }
    client.expect_silence().await;
}

// MQTT 5.0: 2.2.1-6, 3.10.4-1, 3.10.4-2, 3.10.4-4, 3.10.4-5, 3.10.4-6, 3.11.2-1, 3.11.2-2, 3.11.3-1, 3.11.3-2
#[tokio::test]
async fn unsubscribing_takes_the_same_filters_out_and_is_answered_one_by_one() {
    let front = front().await;
    let mut client = Raw::v5(front.address, "s").await;
    for filter in ["a/+", "b", "c"] {
        subscribed(&mut client, filter, 0).await;
    }
    let mut publisher = Raw::v5(front.address, "p").await;
    // Covers the same topics, and is another filter.
    client.send(&unsubscribe(3, &["a/#"])).await;
    assert_eq!(client.receive().await, [0xB0, 4, 0, 3, 0, 0x11]);
    publisher.send(&publish_v5("a/b", 0, &[], b"x")).await;
    assert_eq!(client.receive().await, publish_v5("a/b", 0, &[], b"x"));
    client.send(&unsubscribe(4, &["B", "a/+", "never/was", "b", "b"])).await;
    assert_eq!(client.receive().await, [0xB0, 8, 0, 4, 0, 0x11, 0, 0x11, 0, 0x11]);
    for topic in ["a/b", "b", "c"] {
        publisher.send(&publish_v5(topic, 0, &[], b"y")).await;
    }
    assert_eq!(client.receive().await, publish_v5("c", 0, &[], b"y"));
    client.expect_silence().await;
}

// MQTT 5.0: 3.3.1-9, 3.8.4-3, 3.8.4-8, 3.3.1-12
#[tokio::test]
async fn a_subscription_replaces_the_one_with_the_same_filter_with_all_its_options() {
    let front = front().await;
    let mut witness = Raw::v5(front.address, "w").await;
    subscribed(&mut witness, "a/b", 0).await;
    for durable in [false, true] {
        let mut publisher = Raw::v5(front.address, "p").await;
        tell(&mut publisher, &retained(message("a/b", b"kept"))).await;
        // Now nothing of it is on its way any more.
        assert_eq!(witness.receive().await, publish_v5("a/b", 0, &[], b"kept"));
        let mut client = if durable { stay(front.address, "s").await.0 } else { Raw::v5(front.address, "s").await };
        client.send(&subscribe(1, &[11, 5], &[("a/b", 1 | AS_PUBLISHED)])).await;
        assert_eq!(client.receive().await, [0x90, 4, 0, 1, 0, 1]);
        assert_eq!(client.receive().await, retained(publish_v5("a/b", 1, &[11, 5], b"kept")));
        client.send(&puback(1)).await;
        // Now with QoS 0, another id, and not as published.
        client.send(&subscribe(2, &[11, 6], &[("a/b", 0)])).await;
        assert_eq!(client.receive().await, [0x90, 4, 0, 2, 0, 0]);
        assert_eq!(client.receive().await, retained(publish_v5("a/b", 0, &[11, 6], b"kept")));
        tell(&mut publisher, &retained(message("a/b", b"once"))).await;
        assert_eq!(client.receive().await, publish_v5("a/b", 0, &[11, 6], b"once"));
        // And without an id.
        client.send(&subscribe(3, &[], &[("a/b", NOTHING_RETAINED)])).await;
        client.receive().await;
        tell(&mut publisher, &message("a/b", b"bare")).await;
        assert_eq!(client.receive().await, publish_v5("a/b", 0, &[], b"bare"));
        client.expect_silence().await;
        for payload in [&b"once"[..], b"bare"] {
            assert_eq!(witness.receive().await, publish_v5("a/b", 0, &[], payload));
        }
    }
}

// MQTT 5.0: 3.8.4-4
#[tokio::test]
async fn nothing_is_lost_to_a_subscription_that_is_replaced_again_and_again() {
    let front = front().await;
    for durable in [false, true] {
        let mut client = if durable { stay(front.address, "s").await.0 } else { Raw::v5(front.address, "s").await };
        subscribed(&mut client, "a", 1 | NOTHING_RETAINED).await;
        let mut publisher = Raw::v5(front.address, "p").await;
        for number in 0..40 {
            publisher.send(&publish_v5("a", u16::from(number) + 1, &[], &[number])).await;
            client.send(&subscribe(2, &[], &[("a", 1 | NOTHING_RETAINED)])).await;
        }
        let (mut heard, mut answers) = (Vec::new(), 0);
        while heard.len() < 40 || answers < 40 {
            let packet = client.receive().await;
            match packet[0] {
                0x32 => heard.push(*packet.last().unwrap()),
                0x90 => answers += 1,
                other => panic!("{other:#x}"),
            }
        }
        assert_eq!(heard, (0..40).collect::<Vec<u8>>());
        tell(&mut publisher, &retained(message("a", b"kept"))).await;
        client.receive().await;
        client.send(&subscribe(3, &[], &[("a", 1)])).await;
        client.receive().await;
        let again = client.receive().await;
        assert_eq!((again[0], &again[8..]), (0x33, &b"kept"[..]), "retained messages come again if asked for");
        tell(&mut publisher, &retained(message("a", b""))).await;
    }
}

// MQTT 5.0: 3.3.1-5, 3.3.1-6, 3.3.1-7, 3.3.1-8
#[tokio::test]
async fn the_last_retained_message_is_kept_and_an_empty_one_removes_it() {
    let front = front().await;
    let mut publisher = Raw::v5(front.address, "p").await;
    let mut watcher = Raw::v5(front.address, "w").await;
    subscribed(&mut watcher, "a", 0).await;
    let kept = async |expected: Option<&[u8]>| {
        let mut late = Raw::v5(front.address, "late").await;
        subscribed(&mut late, "a", 1).await;
        match expected {
            Some(payload) => assert_eq!(late.receive().await[6..], retained(message("a", payload))[6..]),
            None => late.expect_silence().await,
        }
    };
    for (payload, retain, left) in [
        (&b"first"[..], true, Some(&b"first"[..])),
        (b"not retained", false, Some(b"first")),
        (b"", false, Some(b"first")),
        (b"second", true, Some(b"second")),
        (b"", true, None),
        (b"", true, None),
        (b"third", true, Some(b"third")),
    ] {
        let publish = message("a", payload);
        tell(&mut publisher, &if retain { retained(publish) } else { publish }).await;
        // Who subscribes already gets it as usual, the empty ones too.
        assert_eq!(watcher.receive().await, publish_v5("a", 0, &[], payload));
        kept(left).await;
    }
    // Its QoS is kept with it.
    publisher.send(&retained(publish_v5("a", 0, &[], b"with QoS 0"))).await;
    assert_eq!(watcher.receive().await, publish_v5("a", 0, &[], b"with QoS 0"));
    let mut late = Raw::v5(front.address, "late").await;
    subscribed(&mut late, "+", 1).await;
    assert_eq!(late.receive().await, retained(publish_v5("a", 0, &[], b"with QoS 0")));
}

// MQTT 5.0: 3.3.1-9, 3.3.1-10, 3.3.1-11
#[tokio::test]
async fn retain_handling_says_whether_a_subscription_brings_what_is_retained() {
    let front = front().await;
    let mut publisher = Raw::v5(front.address, "p").await;
    for topic in ["a/1", "a/2", "b"] {
        tell(&mut publisher, &retained(message(topic, b"kept"))).await;
    }
    for (handling, first, again) in [(0, true, true), (RETAINED_IF_NEW, true, false), (NOTHING_RETAINED, false, false)]
    {
        let mut client = Raw::v5(front.address, "s").await;
        for brings in [first, again] {
            subscribed(&mut client, "a/+", handling).await;
            if brings {
                for topic in ["a/1", "a/2"] {
                    assert_eq!(client.receive().await, retained(publish_v5(topic, 0, &[], b"kept")), "{handling:#x}");
                }
            }
            client.expect_silence().await;
        }
        // It is new again.
        client.send(&unsubscribe(2, &["a/+"])).await;
        client.receive().await;
        subscribed(&mut client, "a/+", RETAINED_IF_NEW).await;
        assert_eq!(client.receive().await, retained(publish_v5("a/1", 0, &[], b"kept")));
    }
}

// MQTT 5.0: 3.3.1-12, 3.3.1-13
#[tokio::test]
async fn retain_as_published_says_whether_messages_keep_their_flag() {
    let front = front().await;
    let mut publisher = Raw::v5(front.address, "p").await;
    for durable in [false, true] {
        for (options, keeps) in [(1, false), (1 | AS_PUBLISHED, true)] {
            let mut client = if durable { stay(front.address, "s").await.0 } else { Raw::v5(front.address, "s").await };
            subscribed(&mut client, "a", options | NOTHING_RETAINED).await;
            tell(&mut publisher, &message("a", b"plain")).await;
            assert_eq!(client.receive().await[0], 0x32);
            tell(&mut publisher, &retained(message("a", b"retained"))).await;
            assert_eq!(client.receive().await[0], if keeps { 0x33 } else { 0x32 }, "{options} {durable}");
            // The session ends: what was not acknowledged is not sent again.
            client.send(&[0xE0, 7, 0, 5, 17, 0, 0, 0, 0]).await;
            client.expect_end().await;
        }
    }
}

// MQTT 5.0: 3.8.3-3
#[tokio::test]
async fn with_no_local_a_client_gets_what_others_publish_and_not_its_own() {
    let front = front().await;
    for durable in [false, true] {
        let mut client = if durable { stay(front.address, "s").await.0 } else { Raw::v5(front.address, "s").await };
        subscribed(&mut client, "a/#", 1 | NO_LOCAL).await;
        subscribed(&mut client, "b", 0).await;
        tell(&mut client, &message("a/own", b"own")).await;
        client.expect_silence().await;
        client.send(&publish_v5("b", 0, &[], b"own, and wanted")).await;
        assert_eq!(client.receive().await, publish_v5("b", 0, &[], b"own, and wanted"));
        let mut other = Raw::v5(front.address, "o").await;
        tell(&mut other, &message("a/other", b"other")).await;
        assert_eq!(client.receive().await[4..], message("a/other", b"other")[4..]);
    }
}

// MQTT 5.0: 3.3.4-2, 3.3.4-3, 3.3.4-5
#[tokio::test]
async fn overlapping_subscriptions_of_a_clean_session_bring_a_copy_for_each_with_its_id() {
    let front = front().await;
    let mut client = Raw::v5(front.address, "s").await;
    for (properties, filter, options) in [(&[11, 7][..], "a/#", 0), (&[11, 0xC8, 1], "a/b", 1), (&[], "+/b", 0)] {
        client.send(&subscribe(1, properties, &[(filter, options)])).await;
        assert_eq!(client.receive().await[5], options);
    }
    let mut publisher = Raw::v5(front.address, "p").await;
    tell(&mut publisher, &message("a/b", b"x")).await;
    let mut copies = Vec::new();
    for _ in 0..3 {
        copies.push(client.receive().await);
    }
    for expected in [
        publish_v5("a/b", 0, &[11, 7], b"x"),
        publish_v5("a/b", 1, &[11, 0xC8, 1], b"x"),
        publish_v5("a/b", 0, &[], b"x"),
    ] {
        assert!(copies.contains(&expected), "{expected:02x?} is missing in {copies:02x?}");
    }
    client.expect_silence().await;
}

// MQTT 5.0: 3.3.4-2, 3.3.4-3, 3.3.4-4
#[tokio::test]
async fn overlapping_subscriptions_of_a_session_that_stays_bring_one_copy_with_all_ids() {
    let front = front().await;
    let (mut client, _) = stay(front.address, "s").await;
    for (properties, filter, options) in [(&[11, 7][..], "a/#", 0), (&[11, 0xC8, 1], "a/b", 1), (&[], "+/b", 0)] {
        client.send(&subscribe(1, properties, &[(filter, options)])).await;
        assert_eq!(client.receive().await[5], options);
    }
    let mut publisher = Raw::v5(front.address, "p").await;
    tell(&mut publisher, &message("a/b", b"x")).await;
    assert_eq!(client.receive().await, publish_v5("a/b", 1, &[11, 7, 11, 0xC8, 1], b"x"));
    client.expect_silence().await;
}
