//! Every refusal is told once for its cause, and counted each time.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use lamppost_mqtt::{Acl, Cause, Limits, Listener, Rules, SubscriptionCause};
use support::log::Log;
use support::raw::{Raw, connect_v4, packet, publish_v5, subscribe_v4, subscribe_v5, text};
use support::{ANY_PORT, HandIntake, Running};

/// Asks for `filter` three times, and is refused with `code`, which 3.1.1 does not know.
async fn refused(front: &Running, filter: &str, code: u8) {
    for of_v5 in [true, true, false] {
        let (mut client, subscribe, expected) = if of_v5 {
            (Raw::v5(front.address, "v5").await, subscribe_v5(7, filter, 0), code)
        } else {
            (Raw::v4(front.address, "v4").await, subscribe_v4(7, filter, 0), 0x80)
        };
        client.send(&subscribe).await;
        assert_eq!(client.receive().await.last(), Some(&expected), "{filter}");
        // Not taken over: it leaves first.
        client.send(&[0xE0, 0]).await;
        client.expect_end().await;
    }
}

/// There is one line, with the client that was the first, the cause and what was asked for; and three were refused.
fn told_once(log: &Log, front: &Running, cause: SubscriptionCause, client: &str, filter: &str) {
    let lines = log.take();
    let expected = [format!("client={client:?}"), format!("cause={:?}", cause.as_str()), format!("filter={filter:?}")];
    assert_eq!(lines.len(), 1, "{cause:?}: {lines:?}");
    assert!(lines[0].starts_with("WARN subscription refused"), "{lines:?}");
    assert!(expected.iter().all(|field| lines[0].contains(field)) && lines[0].contains(" reason=\""), "{lines:?}");
    assert_eq!(front.counters.subscription_refusals(cause), 3, "{cause:?}");
}

#[tokio::test]
async fn each_cause_of_a_refused_subscription_is_told_once_and_counted_each_time() {
    let log = Log::begin();
    let start = async |limits: Limits| Running::start(HandIntake::automatic(), limits).await;

    let front = start(Limits::default()).await;
    refused(&front, "$share/g/a", 0x9E).await;
    told_once(&log, &front, SubscriptionCause::Shared, "v5", "$share/g/a");
    refused(&front, "a/#/b", 0x8F).await;
    told_once(&log, &front, SubscriptionCause::Filter, "v5", "a/#/b");

    let front = start(Limits { subscriptions_max: 0, ..Limits::default() }).await;
    refused(&front, "a/b", 0x97).await;
    told_once(&log, &front, SubscriptionCause::Subscriptions, "v5", "a/b");

    let front = start(Limits { filters_bytes_max: 1, ..Limits::default() }).await;
    refused(&front, "a/b", 0x97).await;
    told_once(&log, &front, SubscriptionCause::Filters, "v5", "a/b");

    // The three sessions are noted, and then there is no more room for notes.
    let front = start(Limits::default()).await;
    front.intake.set_notes_max(0);
    for (number, client) in ["s-0", "s-1", "s-2"].into_iter().enumerate() {
        front.intake.set_notes_max(u64::MAX);
        let mut device = Raw::open(front.address).await;
        device.send(&connect_v4(client, false)).await;
        device.receive().await;
        front.intake.set_notes_max(0);
        device.send(&subscribe_v4(1, "a/b", 1)).await;
        assert_eq!(device.receive().await[4], 0x80);
        assert_eq!(front.counters.subscriptions_unnoted.load(Relaxed), number as u64 + 1);
    }
    told_once(&log, &front, SubscriptionCause::Unnoted, "s-0", "a/b");

    // By a packet with more filters than are looked at.
    let front = start(Limits::default()).await;
    let mut client = Raw::v4(front.address, "many").await;
    let filters: Vec<u8> = (0..67).flat_map(|_| [text("a/b"), vec![0]].concat()).collect();
    client.send(&packet(0x82, &[&[0, 1][..], &filters].concat())).await;
    assert_eq!(client.receive().await[4 + 63..], [0, 0x80, 0x80, 0x80]);
    told_once(&log, &front, SubscriptionCause::Packet, "many", "");
}

#[tokio::test]
async fn what_the_rules_do_not_allow_is_told_once_for_publishing_and_once_for_subscribing_and_counted_each_time() {
    let log = Log::begin();
    let acl = Arc::new(Acl::parse("deny * both vault/#\nallow * both #").unwrap());
    let rules = Rules { acl, ..Rules::default() };
    let front =
        Running::start_with(vec![Listener::open(ANY_PORT)], rules, HandIntake::automatic(), Limits::default()).await;
    let mut client = Raw::v5(front.address, "lamp").await;
    for packet_id in 1..=3 {
        client.send(&publish_v5("vault/x", packet_id, &[], b"")).await;
        assert_eq!(client.receive().await[4], 0x87);
    }
    let lines = log.take();
    assert!(lines.len() == 1 && lines[0].contains("client=\"lamp\" action=\"publish\" topic=\"vault/x\""), "{lines:?}");
    assert_eq!(front.counters.publishes_denied.load(Relaxed), 3);
    for packet_id in 1..=3 {
        client.send(&subscribe_v5(packet_id, "vault/#", 0)).await;
        assert_eq!(client.receive().await[5], 0x87);
    }
    let lines = log.take();
    let told = "client=\"lamp\" action=\"subscribe\" topic=\"vault/#\"";
    assert!(lines.len() == 1 && lines[0].contains(told), "{lines:?}");
    assert_eq!(front.counters.subscriptions_denied.load(Relaxed), 3);
    assert_eq!(front.counters.subscription_refusals(SubscriptionCause::NotAuthorized), 3);
}

/// By a client each: a CONNECT that is refused, and one that is let in and goes too far.
#[tokio::test]
async fn a_connection_that_is_refused_or_ended_is_told_once_with_its_client_and_counted_each_time() {
    let log = Log::begin();
    let front = Running::start(HandIntake::automatic(), Limits { packet_bytes_max: 1_000, ..Limits::default() }).await;
    let of_version_3 = packet(0x10, &[&b"\0\x06MQIsdp\x03\x02\0\x3c"[..], &text("old")].concat());
    let qos_2 = packet(0x34, &[&text("a")[..], &[0, 1]].concat());
    let wild = packet(0x32, &[&text("a/+")[..], &[0, 1]].concat());
    let long = [&[0x30, 0x80, 0x10][..], &[0; 100]].concat();
    let cases = [
        (Cause::Version, None, of_version_3),
        (Cause::ClientId, None, connect_v4("", false)),
        (Cause::QosTwo, Some("lamp-2"), qos_2),
        (Cause::TopicName, Some("lamp-3"), wild),
        (Cause::PacketTooLarge, Some("lamp-4"), long),
        (Cause::Malformed, Some("lamp-5"), vec![0x36, 2, 0, 0]),
        (Cause::Protocol, Some("lamp-6"), connect_v4("lamp-6", true)),
    ];
    for (cause, client, bytes) in cases {
        for _ in 0..3 {
            let mut line = match client {
                Some(client) => Raw::v4(front.address, client).await,
                None => Raw::open(front.address).await,
            };
            line.send(&bytes).await;
            while line.receive_or_end().await.is_some() {}
        }
        let lines = log.take();
        let expected = format!("client=\"{}", client.unwrap_or("@127.0.0.1"));
        assert_eq!(lines.len(), 1, "{cause:?}: {lines:?}");
        assert!(lines[0].starts_with("WARN connection refused or ended") && lines[0].contains(&expected), "{lines:?}");
        assert!(lines[0].contains(&format!("cause={:?} reason=\"", cause.as_str())), "{lines:?}");
        assert_eq!(front.counters.refusals(cause), 3, "{cause:?}");
    }
}
