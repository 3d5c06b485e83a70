//! The QoS 1 messages that wait for a session: in order, once, on disk before they are promised, and within bounds.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lamppost_mqtt::{Limits, QUEUE_PLACE_BYTES};
use support::raw::{Raw, connect_v5, packet, publish_v4, publish_v5, text};
use support::sessions::{EXPIRY_60_S, again, retained, start, stay, subscribed, tell};
use support::{HandIntake, Running};
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn a_puback_waits_until_the_message_is_queued_and_retained_on_disk() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let (mut device, _) = stay(&front, "pump").await;
    subscribed(&mut device, "a").await;
    drop(device);
    let before = journal.notes_put() as u64;
    journal.by_hand_from_now();
    let mut operator = Raw::v4(front.address, "operator").await;
    operator.send(&retained(publish_v4("a", 1, b"x"))).await;
    // The event, the retained message, the message, and that it waits for the pump.
    for commit in before + 1..before + 4 {
        operator.expect_silence().await;
        journal.release(commit);
    }
    operator.expect_silence().await;
    assert_eq!(journal.notes_put() as u64, before + 3);
    journal.release(before + 4);
    assert_eq!(operator.receive().await, [0x40, 2, 0, 1]);
}

#[tokio::test]
async fn what_expires_while_its_client_is_away_is_never_delivered() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let (mut device, _) = stay(&front, "pump").await;
    subscribed(&mut device, "a").await;
    drop(device);
    let mut operator = Raw::v5(front.address, "operator").await;
    for (packet_id, expiry) in [(1, 10), (2, 100)] {
        operator.send(&publish_v5("a", packet_id, &[2, 0, 0, 0, expiry], &[expiry])).await;
        operator.receive().await;
    }
    journal.advance(20_000);
    let (mut device, _) = stay(&front, "pump").await;
    assert_eq!(device.receive().await, publish_v4("a", 2, &[100]));
    device.expect_silence().await;
    assert_eq!(front.counters.queued_now.load(Relaxed), 1);
}

#[tokio::test]
async fn a_queue_that_is_full_keeps_the_first_and_takes_no_more() {
    let journal = HandIntake::automatic();
    let limits = Limits { queue_messages_max: 3, ..Limits::default() };
    let front = Running::start(Arc::clone(&journal), limits).await;
    let (mut device, _) = stay(&front, "pump").await;
    subscribed(&mut device, "a").await;
    drop(device);
    let mut operator = Raw::v4(front.address, "operator").await;
    for number in 1..=5 {
        tell(&mut operator, "a", &[number]).await;
    }
    assert_eq!(front.counters.queue_shed.load(Relaxed), 2);
    assert_eq!(front.counters.queued_now.load(Relaxed), 3);
    let (mut device, _) = stay(&front, "pump").await;
    for number in 1..=3 {
        assert_eq!(device.receive().await, publish_v4("a", number.into(), &[number]));
    }
    device.expect_silence().await;
}

#[tokio::test]
async fn bytes_of_all_queues_are_bounded_and_of_those_with_as_much_the_longest_away_pays() {
    let journal = HandIntake::automatic();
    let limits = Limits { queues_bytes_max: 3_000, ..Limits::default() };
    let front = Running::start(Arc::clone(&journal), limits).await;
    let mut operator = Raw::v4(front.address, "operator").await;
    for (client, topic) in [("first", "1"), ("second", "2")] {
        let (mut device, _) = stay(&front, client).await;
        subscribed(&mut device, topic).await;
        device.send(&[0xE0, 0]).await;
        device.expect_end().await;
        journal.advance(1_000);
    }
    for topic in ["1", "1", "2"] {
        tell(&mut operator, topic, &[0; 1_000]).await;
    }
    assert!(stay(&front, "second").await.1);
    assert!(!stay(&front, "first").await.1);
    assert_eq!(front.counters.queued_now.load(Relaxed), 1);
}

/// Sessions of so many clients, all of them away, with this filter.
async fn all_away(front: &Running, count: usize, filter: &str) {
    for number in 0..count {
        let (mut device, _) = stay(front, &format!("pump-{number}")).await;
        subscribed(&mut device, filter).await;
        device.send(&[0xE0, 0]).await;
        device.expect_end().await;
    }
}

#[tokio::test]
async fn a_message_for_more_sessions_than_there_are_places_goes_to_as_many_as_there_are() {
    // The message itself, of 130 bytes, and five places.
    let limits = Limits { queues_bytes_max: 130 + 5 * QUEUE_PLACE_BYTES + 100, ..Limits::default() };
    let front = Running::start(HandIntake::automatic(), limits).await;
    all_away(&front, 8, "a").await;
    let mut operator = Raw::v4(front.address, "operator").await;
    tell(&mut operator, "a", b"x").await;
    assert_eq!((front.counters.queue_shed.load(Relaxed), front.counters.sessions_evicted.load(Relaxed)), (3, 0));
    let mut got = 0;
    for number in 0..8 {
        let (mut device, present) = stay(&front, &format!("pump-{number}")).await;
        assert!(present);
        if let Ok(packet) = timeout(Duration::from_millis(100), device.receive()).await {
            assert_eq!(packet, publish_v4("a", 1, b"x"));
            got += 1;
        }
    }
    assert_eq!(got, 5);
}

#[tokio::test]
async fn a_small_bound_of_all_queues_holds_small_messages_by_their_bytes_and_places() {
    let limits = Limits { queues_bytes_max: 16 * 1024, ..Limits::default() };
    let front = Running::start(HandIntake::automatic(), limits).await;
    all_away(&front, 1, "a").await;
    let mut operator = Raw::v4(front.address, "operator").await;
    for _ in 0..60 {
        tell(&mut operator, "a", b"x").await;
    }
    // 130 and 192 bytes each are 50 in 16 KiB; who has much waiting leaves a tenth of it to others.
    let queued = front.counters.queued_now.load(Relaxed);
    assert!((40..=50).contains(&queued), "{queued}");
    assert_eq!(queued + front.counters.queue_shed.load(Relaxed), 60);
    assert_eq!(front.counters.sessions_evicted.load(Relaxed), 0);
}

#[tokio::test]
async fn what_two_sessions_wait_for_is_kept_once_and_until_both_have_it() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let (mut here, _) = stay(&front, "here").await;
    subscribed(&mut here, "a/+").await;
    let (mut away, _) = stay(&front, "away").await;
    subscribed(&mut away, "#").await;
    drop(away);
    let mut operator = Raw::v4(front.address, "operator").await;
    tell(&mut operator, "a/b", &[7; 1_000]).await;
    let kept = |journal: &HandIntake| journal.noted().values().filter(|value| value.len() > 900).count();
    assert_eq!(kept(&journal), 1);
    assert_eq!(here.receive().await[0], 0x32);
    here.send(&[0x40, 2, 0, 1]).await;
    here.send(&[0xE0, 0]).await;
    here.expect_end().await;
    // What is over is removed at the latest now.
    front.stop().await;
    let journal = journal.after_a_crash(None);
    assert_eq!(kept(&journal), 1);
    let front = start(&journal).await;
    let (mut here, present) = stay(&front, "here").await;
    assert!(present);
    here.expect_silence().await;
    let (mut away, _) = stay(&front, "away").await;
    assert_eq!(away.receive().await[0], 0x3A);
    away.send(&[0x40, 2, 0, 1]).await;
    away.send(&[0xE0, 0]).await;
    away.expect_end().await;
    front.stop().await;
    assert_eq!(kept(&journal), 0);
}

#[tokio::test]
async fn overlapping_subscriptions_of_a_session_bring_one_copy_with_all_their_ids() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let mut device = Raw::open(front.address).await;
    device.send(&connect_v5("d", true, &EXPIRY_60_S)).await;
    device.receive().await;
    for (packet_id, filter) in [(1, "a/#"), (2, "a/b")] {
        let body = [&[0, packet_id, 2, 11, packet_id][..], &text(filter), &[1]].concat();
        device.send(&packet(0x82, &body)).await;
        device.receive().await;
    }
    let mut operator = Raw::v4(front.address, "operator").await;
    tell(&mut operator, "a/b", b"x").await;
    assert_eq!(device.receive().await, publish_v5("a/b", 1, &[11, 1, 11, 2], b"x"));
    device.expect_silence().await;
}

#[tokio::test]
async fn a_long_queue_arrives_whole_through_a_small_bound_of_outgoing_bytes() {
    let journal = HandIntake::automatic();
    let limits = Limits { outgoing_bytes_max: 4_000, ..Limits::default() };
    let front = Running::start(Arc::clone(&journal), limits).await;
    let (mut device, _) = stay(&front, "pump").await;
    subscribed(&mut device, "a").await;
    let mut operator = Raw::v4(front.address, "operator").await;
    for number in 1..=50 {
        tell(&mut operator, "a", &[number; 4_000]).await;
        assert_eq!(device.receive().await[0], 0x32);
    }
    drop(device);
    let before = front.counters.bytes_out.load(Relaxed);
    let (mut device, _) = stay(&front, "pump").await;
    for number in 1..=50 {
        let expected = again(publish_v4("a", number.into(), &[number; 4_000]));
        assert_eq!(device.receive().await, expected);
    }
    assert!(front.counters.bytes_out.load(Relaxed) > before + 200_000);
}

/// Sessions that subscribe to "all" and whose clients are away.
async fn away(front: &Running, count: usize) {
    for number in 0..count {
        let (mut device, _) = stay(front, &format!("pump-{number}")).await;
        subscribed(&mut device, "all").await;
        device.send(&[0xE0, 0]).await;
        device.expect_end().await;
    }
}

#[tokio::test]
async fn a_message_for_more_sessions_than_a_commit_has_room_for_reaches_all_of_them() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    away(&front, 5).await;
    let mut operator = Raw::v4(front.address, "operator").await;
    let mut acknowledged = false;
    for commit in 0..8 {
        // In each, the message and two who wait for it find room.
        journal.set_notes_max(journal.notes_put() as u64 + 3);
        if commit == 0 {
            operator.send(&publish_v4("all", 1, b"x")).await;
        }
        acknowledged = acknowledged || timeout(Duration::from_millis(400), operator.receive()).await.is_ok();
    }
    assert!(acknowledged, "it begins anew each time");
    journal.set_notes_max(u64::MAX);
    assert_eq!(journal.arrivals().len(), 1);
    for number in 0..5 {
        let (mut device, _) = stay(&front, &format!("pump-{number}")).await;
        let delivered = device.receive().await;
        assert!(delivered.ends_with(b"x"), "pump-{number}: {delivered:?}");
        device.expect_silence().await;
    }
}

#[tokio::test]
async fn a_session_without_room_is_counted_once_however_often_a_message_is_tried() {
    let journal = HandIntake::automatic();
    let front = Running::start(Arc::clone(&journal), Limits { queue_messages_max: 1, ..Limits::default() }).await;
    away(&front, 1).await;
    let mut operator = Raw::v4(front.address, "operator").await;
    tell(&mut operator, "all", b"first").await;
    let (mut other, _) = stay(&front, "other").await;
    subscribed(&mut other, "all").await;
    journal.set_notes_max(journal.notes_put() as u64);
    operator.send(&publish_v4("all", 2, b"second")).await;
    sleep(Duration::from_millis(600)).await;
    journal.set_notes_max(u64::MAX);
    assert_eq!(operator.receive().await, [0x40, 2, 0, 2]);
    assert_eq!(front.counters.queue_shed.load(Relaxed), 1);
}

#[tokio::test]
async fn what_waits_for_many_sessions_counts_in_each_of_them() {
    let journal = HandIntake::automatic();
    let limits = Limits { queues_bytes_max: 20_000, ..Limits::default() };
    let front = Running::start(Arc::clone(&journal), limits).await;
    away(&front, 50).await;
    let mut operator = Raw::v4(front.address, "operator").await;
    for _ in 0..20 {
        tell(&mut operator, "all", b"x").await;
    }
    // Entry and note of one that waits take some 150 bytes, whatever else is counted.
    let places = journal.noted().keys().filter(|key| key[0] == b'q').count();
    assert!(places * 150 <= 20_000, "{places} places in queues of 20,000 bytes in all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_gets_on_disk_while_its_client_is_looked_after_is_sent_at_once() {
    // Without room for fan-out nothing but the commit and the queue itself wakes the device's connection.
    let limits = Limits { fanout_bytes_max: 100, ..Limits::default() };
    let front = Running::start(HandIntake::automatic(), limits).await;
    let (mut device, _) = stay(&front, "pump").await;
    subscribed(&mut device, "cmd").await;
    let mut operator = Raw::v4(front.address, "operator").await;
    for _ in 0..10_000 {
        operator.send(&publish_v4("cmd", 1, b"x")).await;
        let delivered = device.receive().await;
        let id = delivered.len() - 3;
        device.send(&[0x40, 2, delivered[id], delivered[id + 1]]).await;
        assert_eq!(operator.receive().await, [0x40, 2, 0, 1]);
    }
}
