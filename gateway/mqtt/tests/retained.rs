//! Retained messages: over the end of the gateway, and on their way to who subscribes.

#![expect(clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lamppost_mqtt::Limits;
use support::raw::{Raw, connect_v5, publish_v4, publish_v5, subscribe_v4, subscribe_v5};
use support::sessions::{again, retained, start, stay, subscribed, tell};
use support::{HandIntake, Running};
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn retained_messages_survive_the_gateway_and_their_removal_does_too() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let mut publisher = Raw::v5(front.address, "p").await;
    for (topic, payload) in [("a/1", &b"one"[..]), ("a/2", b"two"), ("a/1", b"new")] {
        publisher.send(&retained(publish_v5(topic, 1, b"\x26\0\x01k\0\x01v", payload))).await;
        publisher.receive().await;
    }
    publisher.send(&retained(publish_v5("a/2", 1, &[], b""))).await;
    publisher.receive().await;
    let journal = journal.after_a_crash(None);
    let front = start(&journal).await;
    let mut subscriber = Raw::v5(front.address, "s").await;
    subscriber.send(&subscribe_v5(1, "a/#", 1)).await;
    assert_eq!(subscriber.receive().await, [0x90, 4, 0, 1, 0, 1]);
    assert_eq!(subscriber.receive().await, retained(publish_v5("a/1", 1, b"\x26\0\x01k\0\x01v", b"new")));
    subscriber.expect_silence().await;
}

#[tokio::test]
async fn a_retained_message_is_sent_when_it_is_on_disk_and_the_one_before_until_then() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let mut publisher = Raw::v4(front.address, "p").await;
    publisher.send(&retained(publish_v4("a", 1, b"old"))).await;
    publisher.receive().await;
    journal.by_hand_from_now();
    publisher.send(&retained(publish_v4("a", 2, b"new"))).await;
    journal.arrived(2).await;
    let mut subscriber = Raw::v4(front.address, "s").await;
    subscriber.send(&subscribe_v4(1, "a", 0)).await;
    subscriber.receive().await;
    assert_eq!(subscriber.receive().await, retained(publish_v4("a", 0, b"old")));
    journal.release(u64::MAX);
    publisher.receive().await;
    assert_eq!(subscriber.receive().await, publish_v4("a", 0, b"new"));
    subscriber.send(&subscribe_v4(2, "a", 0)).await;
    subscriber.receive().await;
    assert_eq!(subscriber.receive().await, retained(publish_v4("a", 0, b"new")));
}

#[tokio::test]
async fn who_subscribes_while_a_retained_message_is_on_its_way_to_the_disk_gets_that_one() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let mut operator = Raw::v4(front.address, "operator").await;
    operator.send(&retained(publish_v4("a", 1, b"old"))).await;
    operator.receive().await;
    let (mut device, _) = stay(&front, "pump").await;
    let before = journal.notes_put() as u64;
    journal.by_hand_from_now();
    operator.send(&retained(publish_v4("a", 2, b"new"))).await;
    operator.expect_silence().await;
    device.send(&subscribe_v4(1, "a", 1)).await;
    device.expect_silence().await;
    (before..before + 9).for_each(|commit| journal.release(commit));
    assert_eq!(device.receive().await, [0x90, 3, 0, 1, 1]);
    let delivered = device.receive().await;
    assert!(delivered.ends_with(b"new"), "{delivered:?}");
    device.expect_silence().await;
}

#[tokio::test]
async fn what_has_expired_is_not_delivered_and_what_has_not_says_what_is_left() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let mut device = Raw::open(front.address).await;
    device.send(&connect_v5("d", true, &[17, 0, 0, 0xFF, 0])).await;
    device.receive().await;
    device.send(&subscribe_v5(1, "a", 1)).await;
    device.receive().await;
    drop(device);
    let mut operator = Raw::v5(front.address, "operator").await;
    for (packet_id, expiry) in [(1, 10), (2, 100)] {
        operator.send(&retained(publish_v5("a", packet_id, &[2, 0, 0, 0, expiry], &[expiry]))).await;
        operator.receive().await;
    }
    journal.advance(20_000);
    let journal = journal.after_a_crash(Some(30_000));
    let front = start(&journal).await;
    let mut device = Raw::open(front.address).await;
    device.send(&connect_v5("d", false, &[17, 0, 0, 0xFF, 0])).await;
    assert_eq!(device.receive().await[2], 1);
    assert_eq!(device.receive().await, again(publish_v5("a", 2, &[2, 0, 0, 0, 50], &[100])));
    journal.advance(49_000);
    device.send(&subscribe_v5(2, "a", 1)).await;
    device.receive().await;
    assert_eq!(device.receive().await, retained(publish_v5("a", 3, &[2, 0, 0, 0, 1], &[100])));
    journal.advance(1_000);
    device.send(&subscribe_v5(3, "a", 1)).await;
    device.receive().await;
    device.expect_silence().await;
}

/// Retains one message under each of `a/0`, `a/1` and so on.
async fn retain(front: &Running, count: u8, payload: &[u8]) {
    let mut publisher = Raw::v4(front.address, "publisher").await;
    for number in 0..count {
        publisher.send(&retained(publish_v4(&format!("a/{number}"), 1, &[payload, &[number]].concat()))).await;
        publisher.receive().await;
    }
}

/// The PUBACK of a PUBLISH with QoS 1 and a topic below 256 bytes.
fn acknowledge(delivered: &[u8]) -> [u8; 4] {
    let body = 1 + delivered[1..].iter().position(|byte| byte & 0x80 == 0).unwrap_or_default() + 1;
    let id = body + 2 + usize::from(delivered[body + 1]);
    [0x40, 2, delivered[id], delivered[id + 1]]
}

#[tokio::test]
async fn what_is_retained_takes_no_room_from_live_messages_and_all_of_it_arrives_in_order() {
    let limits = Limits { window: 4, queue_messages_max: 5, queue_bytes_max: 2_000, ..Limits::default() };
    let front = Running::start(HandIntake::automatic(), limits).await;
    retain(&front, 30, &[b'x'; 200]).await;
    let (mut device, _) = stay(&front, "pump").await;
    subscribed(&mut device, "#").await;
    let mut operator = Raw::v4(front.address, "operator").await;
    for number in 0..5 {
        tell(&mut operator, "live", &[number]).await;
    }
    assert_eq!(front.counters.queue_shed.load(Relaxed), 0, "live messages found no room");
    let mut came = Vec::new();
    for _ in 0..35 {
        let delivered = device.receive().await;
        device.send(&acknowledge(&delivered)).await;
        came.push((delivered[0] & 1 == 1, delivered[delivered.len() - 1]));
    }
    // By topic, as they sort.
    let mut expected: Vec<u8> = (0..30).collect();
    expected.sort_by_key(u8::to_string);
    let expected: Vec<(bool, u8)> =
        expected.into_iter().map(|number| (true, number)).chain((0..5).map(|number| (false, number))).collect();
    assert_eq!(came, expected);
    device.expect_silence().await;
}

// MQTT 5.0: 4.6.0-5
#[tokio::test]
async fn a_live_message_with_qos_0_does_not_overtake_a_retained_one_that_waits() {
    for durable in [true, false] {
        let front = Running::start(HandIntake::automatic(), Limits { window: 1, ..Limits::default() }).await;
        retain(&front, 2, b"old").await;
        let mut device = if durable { stay(&front, "pump").await.0 } else { Raw::v4(front.address, "pump").await };
        subscribed(&mut device, "#").await;
        let first = device.receive().await;
        assert!(first.ends_with(b"old\0"));
        let mut operator = Raw::v4(front.address, "operator").await;
        operator.send(&publish_v4("a/1", 0, b"live")).await;
        device.expect_silence().await;
        device.send(&acknowledge(&first)).await;
        let second = device.receive().await;
        assert!(second.ends_with(b"old\x01"), "durable: {durable}");
        device.send(&acknowledge(&second)).await;
        assert!(device.receive().await.ends_with(b"live"));
    }
}

#[tokio::test]
async fn what_was_retained_anew_since_a_subscription_comes_once_and_after_it_nothing_older() {
    for durable in [true, false] {
        let front = Running::start(HandIntake::automatic(), Limits { window: 1, ..Limits::default() }).await;
        retain(&front, 2, b"old").await;
        let mut device = if durable { stay(&front, "pump").await.0 } else { Raw::v4(front.address, "pump").await };
        subscribed(&mut device, "#").await;
        let first = device.receive().await;
        let mut operator = Raw::v4(front.address, "operator").await;
        tell(&mut operator, "a/0", b"new 0").await;
        operator.send(&retained(publish_v4("a/1", 1, b"new 1"))).await;
        operator.receive().await;
        device.send(&acknowledge(&first)).await;
        for expected in [&b"new 0"[..], b"new 1"] {
            let delivered = device.receive().await;
            assert!(delivered.ends_with(expected), "durable: {durable}: {delivered:?}");
            device.send(&acknowledge(&delivered)).await;
        }
        device.expect_silence().await;
    }
}

#[tokio::test]
async fn who_unsubscribes_is_sent_no_more_of_what_is_retained() {
    let front = Running::start(HandIntake::automatic(), Limits { window: 1, ..Limits::default() }).await;
    retain(&front, 3, b"old").await;
    let (mut device, _) = stay(&front, "pump").await;
    subscribed(&mut device, "#").await;
    let first = device.receive().await;
    device.send(&support::raw::packet(0xA2, b"\0\x02\0\x01#")).await;
    assert_eq!(device.receive().await, [0xB0, 2, 0, 2]);
    device.send(&acknowledge(&first)).await;
    device.expect_silence().await;
}

#[tokio::test]
async fn what_is_retained_goes_on_where_it_was_when_its_client_comes_back() {
    let front = Running::start(HandIntake::automatic(), Limits { window: 1, ..Limits::default() }).await;
    retain(&front, 3, b"old").await;
    let (mut device, _) = stay(&front, "pump").await;
    subscribed(&mut device, "#").await;
    assert!(device.receive().await.ends_with(b"old\0"));
    drop(device);
    let (mut device, present) = stay(&front, "pump").await;
    assert!(present);
    for number in 0..3 {
        let delivered = device.receive().await;
        assert!(delivered.ends_with(&[&b"old"[..], &[number]].concat()), "{number}: {delivered:?}");
        assert_eq!(delivered[0] & 8 != 0, number == 0, "only the first had been sent before");
        device.send(&acknowledge(&delivered)).await;
    }
    device.expect_silence().await;
}

#[tokio::test]
async fn what_a_remembered_session_had_not_got_of_what_is_retained_comes_after_a_restart_behind_what_is_older() {
    let journal = HandIntake::automatic();
    let front = Running::start(Arc::clone(&journal), Limits { window: 1, ..Limits::default() }).await;
    retain(&front, 2, b"old").await;
    let (mut device, _) = stay(&front, "pump").await;
    subscribed(&mut device, "#").await;
    let delivered = device.receive().await;
    device.send(&acknowledge(&delivered)).await;
    assert!(device.receive().await.ends_with(b"old\x01"));
    let mut operator = Raw::v4(front.address, "operator").await;
    tell(&mut operator, "b", b"live").await;
    // The second is not acknowledged, and what is live waits behind it.
    let front = start(&journal.after_a_crash(None)).await;
    let (mut device, present) = stay(&front, "pump").await;
    assert!(present);
    for expected in [&b"live"[..], b"old\0", b"old\x01"] {
        let delivered = device.receive().await;
        assert!(delivered.ends_with(expected), "{delivered:?} where {expected:?} was next");
        device.send(&acknowledge(&delivered)).await;
    }
    device.expect_silence().await;
}

#[tokio::test]
async fn what_a_remembered_session_has_got_of_what_is_retained_does_not_come_again_after_a_restart() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    retain(&front, 1, b"old").await;
    let (mut device, _) = stay(&front, "pump").await;
    let (mut other, _) = stay(&front, "fan").await;
    subscribed(&mut device, "#").await;
    subscribed(&mut other, "nothing/#").await;
    let delivered = device.receive().await;
    let written = journal.notes_put();
    device.send(&acknowledge(&delivered)).await;
    // It is noted with what is tidied every few seconds, once; nothing of who was owed nothing.
    noted(&journal, written + 1).await;
    assert_eq!(journal.notes_put(), written + 1);
    let front = start(&journal.after_a_crash(None)).await;
    let (mut device, present) = stay(&front, "pump").await;
    assert!(present);
    device.expect_silence().await;
}

/// Waits until so many notes were put.
async fn noted(journal: &HandIntake, count: usize) {
    timeout(Duration::from_secs(30), async {
        while journal.notes_put() < count {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("it is never noted");
}

#[tokio::test]
async fn what_is_owed_and_finds_no_room_to_be_noted_is_noted_when_there_is_some() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    retain(&front, 1, b"old").await;
    let (mut device, _) = stay(&front, "pump").await;
    subscribed(&mut device, "#").await;
    let delivered = device.receive().await;
    let written = journal.notes_put();
    journal.set_notes_max(written as u64);
    device.send(&acknowledge(&delivered)).await;
    timeout(Duration::from_secs(30), async {
        while journal.notes_refused() == 0 {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("nothing is tried");
    journal.set_notes_max(u64::MAX);
    noted(&journal, written + 1).await;
    let front = start(&journal.after_a_crash(None)).await;
    let (mut device, present) = stay(&front, "pump").await;
    assert!(present);
    device.expect_silence().await;
}

#[tokio::test]
async fn what_a_session_subscribed_to_again_and_did_not_acknowledge_of_what_is_retained_comes_after_a_restart() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let (mut device, _) = stay(&front, "pump").await;
    subscribed(&mut device, "#").await;
    retain(&front, 1, b"old").await;
    let live = device.receive().await;
    let written = journal.notes_put();
    device.send(&acknowledge(&live)).await;
    // The message, and that it waited, are removed.
    noted(&journal, written + 2).await;
    // It subscribes as it did before: of that nothing is noted at once.
    subscribed(&mut device, "#").await;
    assert!(device.receive().await.ends_with(b"old\0"));
    assert_eq!(journal.notes_put(), written + 2);
    noted(&journal, written + 3).await;
    let front = start(&journal.after_a_crash(None)).await;
    let (mut device, present) = stay(&front, "pump").await;
    assert!(present);
    let delivered = device.receive().await;
    assert!(delivered.ends_with(b"old\0"), "{delivered:?}");
    device.send(&acknowledge(&delivered)).await;
    device.expect_silence().await;
}

#[tokio::test]
async fn what_is_retained_and_waits_for_an_acknowledgement_is_bounded_over_all_sessions() {
    let limits = Limits { queues_bytes_max: 10_000, fanout_bytes_max: 20_000, ..Limits::default() };
    let front = Running::start(HandIntake::automatic(), limits).await;
    retain(&front, 5, &[b'x'; 1_000]).await;
    let mut came = [0, 0];
    let mut devices = Vec::new();
    for number in 0..20 {
        for (durable, came) in [false, true].into_iter().zip(&mut came) {
            let name = format!("pump-{durable}-{number}");
            let mut device = if durable { stay(&front, &name).await.0 } else { Raw::v4(front.address, &name).await };
            subscribed(&mut device, "#").await;
            while let Ok(delivered) = tokio::time::timeout(std::time::Duration::from_millis(20), device.receive()).await
            {
                *came += delivered.len();
            }
            devices.push(device);
        }
    }
    assert!((4_000..20_000).contains(&came[0]) && (4_000..10_000).contains(&came[1]), "{came:?}");
    // Who goes makes room.
    devices.clear();
    let mut device = Raw::v4(front.address, "late").await;
    subscribed(&mut device, "#").await;
    for _ in 0..5 {
        let delivered = device.receive().await;
        device.send(&acknowledge(&delivered)).await;
    }
}

#[tokio::test]
async fn what_is_handed_out_and_never_acknowledged_is_bounded_over_all_clients() {
    let limits = Limits { fanout_bytes_max: 64 * 1024, ..Limits::default() };
    let front = Running::start(HandIntake::automatic(), limits).await;
    let mut devices = Vec::new();
    for number in 0..10 {
        let mut device = Raw::v4(front.address, &format!("pump-{number}")).await;
        subscribed(&mut device, &format!("cmd/{number}")).await;
        devices.push(device);
    }
    let mut operator = Raw::v4(front.address, "operator").await;
    for _ in 0..8 {
        for number in 0..devices.len() {
            tell(&mut operator, &format!("cmd/{number}"), &[b'x'; 4_000]).await;
            // The router has a thread of its own.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    let delivered = front.counters.delivered.load(Relaxed);
    assert!((4..=16).contains(&delivered), "{delivered} messages of 4,000 bytes wait for their PUBACK");
    assert!(front.counters.fanout_shed.load(Relaxed) >= 64);
    // An acknowledgement makes room.
    let first = devices[0].receive().await;
    devices[0].send(&acknowledge(&first)).await;
    for device in &mut devices {
        device.send(&[0xE0, 0]).await;
    }
    let mut last = Raw::v4(front.address, "last").await;
    subscribed(&mut last, "last").await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    for _ in 0..50 {
        tell(&mut operator, "last", &[b'x'; 4_000]).await;
        let delivered = last.receive().await;
        last.send(&acknowledge(&delivered)).await;
    }
}

#[tokio::test]
async fn who_waits_in_vain_for_room_that_others_have_is_sent_what_is_live_in_the_end_however_busy_it_is() {
    for busy in [false, true] {
        let limits = Limits { fanout_bytes_max: 3_000, ..Limits::default() };
        let front = Running::start(HandIntake::automatic(), limits).await;
        retain(&front, 1, &[b'x'; 2_000]).await;
        let mut hoarder = Raw::v4(front.address, "hoarder").await;
        subscribed(&mut hoarder, "#").await;
        hoarder.receive().await;
        let mut waits = Raw::v4(front.address, "waits").await;
        subscribed(&mut waits, "#").await;
        let mut operator = Raw::v4(front.address, "operator").await;
        operator.send(&publish_v4("live", 0, b"now")).await;
        waits.expect_silence().await;
        let mut came = Vec::new();
        for _ in 0..50 {
            if busy {
                waits.send(&[0xC0, 0]).await;
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            came = waits.receive().await;
            if came != [0xD0, 0] {
                break;
            }
        }
        assert_eq!(came, publish_v4("live", 0, b"now"), "busy: {busy}");
        assert_eq!(front.counters.queue_shed.load(Relaxed), 1);
    }
}

#[tokio::test]
async fn what_is_live_and_waits_behind_what_is_retained_takes_no_room_from_it() {
    let limits = Limits { window: 1, queue_bytes_max: 2_000, ..Limits::default() };
    let front = Running::start(HandIntake::automatic(), limits).await;
    retain(&front, 3, &[b'x'; 500]).await;
    let (mut device, _) = stay(&front, "pump").await;
    subscribed(&mut device, "#").await;
    let first = device.receive().await;
    let mut operator = Raw::v4(front.address, "operator").await;
    for number in 0..3 {
        tell(&mut operator, "live", &[&[b'x'; 400][..], &[number]].concat()).await;
    }
    device.send(&acknowledge(&first)).await;
    for number in [1, 2, 0, 1, 2] {
        let delivered = device.receive().await;
        assert_eq!(delivered[delivered.len() - 1], number);
        device.send(&acknowledge(&delivered)).await;
    }
    assert_eq!(front.counters.queue_shed.load(Relaxed), 0);
}

#[tokio::test]
async fn what_is_retained_ends_no_session_that_is_away() {
    let limits = Limits { queues_bytes_max: 3_000, ..Limits::default() };
    let front = Running::start(HandIntake::automatic(), limits).await;
    retain(&front, 1, &[b'x'; 1_500]).await;
    let (mut away, _) = stay(&front, "away").await;
    subscribed(&mut away, "live").await;
    drop(away);
    let mut operator = Raw::v4(front.address, "operator").await;
    tell(&mut operator, "live", &[b'x'; 2_000]).await;
    let (mut device, _) = stay(&front, "pump").await;
    subscribed(&mut device, "#").await;
    device.expect_silence().await;
    let (mut away, present) = stay(&front, "away").await;
    assert!(present);
    let delivered = away.receive().await;
    away.send(&acknowledge(&delivered)).await;
    // That makes room.
    assert!(device.receive().await.ends_with(b"x\0"));
}
