//! Sessions, what waits for them, and retained messages, over the end of the gateway: what was promised was on disk.

#![expect(clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lamppost_mqtt::{Cause, Limits};
use support::raw::{Raw, connect_v4, connect_v5, packet, publish_v4, publish_v5, subscribe_v4, subscribe_v5, text};
use support::{HandIntake, Running};

const EXPIRY_60_S: [u8; 5] = [17, 0, 0, 0, 60];

async fn start(journal: &Arc<HandIntake>) -> Running {
    Running::start(Arc::clone(journal), Limits::default()).await
}

/// Connects with a session that stays, and says whether it was there.
async fn stay(front: &Running, client_id: &str) -> (Raw, bool) {
    let mut client = Raw::open(front.address).await;
    client.send(&connect_v4(client_id, false)).await;
    let connack = client.receive().await;
    assert_eq!((connack[0], connack[3]), (0x20, 0));
    (client, connack[2] == 1)
}

async fn subscribed(client: &mut Raw, filter: &str) {
    client.send(&subscribe_v4(1, filter, 1)).await;
    assert_eq!(client.receive().await, [0x90, 3, 0, 1, 1]);
}

/// Publishes, and waits for the PUBACK.
async fn tell(publisher: &mut Raw, topic: &str, payload: &[u8]) {
    publisher.send(&publish_v4(topic, 1, payload)).await;
    assert_eq!(publisher.receive().await, [0x40, 2, 0, 1]);
}

fn again(mut publish: Vec<u8>) -> Vec<u8> {
    publish[0] |= 8;
    publish
}

fn retained(mut publish: Vec<u8>) -> Vec<u8> {
    publish[0] |= 1;
    publish
}

// MQTT 3.1.1: 3.1.2-4, 3.1.2-5, 3.2.2-2, 3.2.2-3, 4.1.0-1, 4.5.0-1, 4.6.0-1
#[tokio::test]
async fn a_session_survives_the_gateway_with_what_its_client_missed() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let (mut device, present) = stay(&front, "pump").await;
    assert!(!present);
    subscribed(&mut device, "cmd/pump").await;
    let mut operator = Raw::v4(front.address, "operator").await;
    tell(&mut operator, "cmd/pump", b"unacknowledged").await;
    assert_eq!(device.receive().await, publish_v4("cmd/pump", 1, b"unacknowledged"));
    drop(device);
    tell(&mut operator, "cmd/pump", b"missed").await;
    tell(&mut operator, "cmd/other", b"not for it").await;

    let journal = journal.after_a_crash(None);
    let front = start(&journal).await;
    let (mut device, present) = stay(&front, "pump").await;
    assert!(present);
    assert_eq!(device.receive().await, again(publish_v4("cmd/pump", 1, b"unacknowledged")));
    assert_eq!(device.receive().await, again(publish_v4("cmd/pump", 2, b"missed")));
    device.send(&[0x40, 2, 0, 1]).await;
    device.send(&[0x40, 2, 0, 2]).await;
    let mut operator = Raw::v4(front.address, "operator").await;
    tell(&mut operator, "cmd/pump", b"live").await;
    assert_eq!(device.receive().await, publish_v4("cmd/pump", 3, b"live"));
    device.expect_silence().await;
}

#[tokio::test]
async fn a_connack_and_a_suback_wait_until_what_they_promise_is_on_disk() {
    let journal = HandIntake::by_hand();
    let front = start(&journal).await;
    let mut device = Raw::open(front.address).await;
    device.send(&connect_v4("pump", false)).await;
    device.expect_silence().await;
    journal.release(1);
    assert_eq!(device.receive().await, [0x20, 2, 0, 0]);
    device.send(&subscribe_v4(1, "a", 1)).await;
    device.expect_silence().await;
    journal.release(2);
    assert_eq!(device.receive().await, [0x90, 3, 0, 1, 1]);
    device.send(&packet(0xA2, &[&[0, 2][..], &text("a")].concat())).await;
    device.expect_silence().await;
    journal.release(3);
    assert_eq!(device.receive().await, [0xB0, 2, 0, 2]);
}

#[tokio::test]
async fn an_answer_to_what_was_asked_for_before_waits_for_the_same_commit() {
    let journal = HandIntake::by_hand();
    let front = start(&journal).await;
    let mut device = Raw::open(front.address).await;
    device.send(&connect_v4("pump", false)).await;
    journal.release(1);
    device.receive().await;
    device.send(&[subscribe_v4(1, "a", 1), subscribe_v4(2, "a", 1)].concat()).await;
    device.expect_silence().await;
    journal.release(2);
    assert_eq!(device.receive().await, [0x90, 3, 0, 1, 1]);
    assert_eq!(device.receive().await, [0x90, 3, 0, 2, 1]);
    // On disk by now: nothing is waited for.
    device.send(&subscribe_v4(3, "a", 1)).await;
    assert_eq!(device.receive().await, [0x90, 3, 0, 3, 1]);
}

#[tokio::test]
async fn a_session_whose_client_is_refused_before_its_connack_makes_room_for_others() {
    let journal = HandIntake::by_hand();
    let connect_timeout = Duration::from_millis(300);
    let limits = Limits { sessions_max: 1, coming_max: 1, connect_timeout, ..Limits::default() };
    let front = Running::start(Arc::clone(&journal), limits).await;
    let mut first = Raw::open(front.address).await;
    first.send(&connect_v4("first", false)).await;
    first.expect_silence().await;
    // It comes while the first one's session is on its way to the disk.
    let mut second = Raw::open(front.address).await;
    assert_eq!(first.receive().await, [0x20, 2, 0, 3]);
    first.expect_end().await;
    (1..10).for_each(|commit| journal.release(commit));
    second.send(&connect_v4("second", false)).await;
    assert_eq!(second.receive().await, [0x20, 2, 0, 0]);
}

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
async fn a_session_that_changes_nothing_writes_nothing() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    drop(stay(&front, "meter").await);
    assert_eq!(journal.notes_put(), 1);
    for _ in 0..5 {
        let (mut meter, present) = stay(&front, "meter").await;
        assert!(present);
        tell(&mut meter, "a", b"21.5").await;
        meter.send(&[0xE0, 0]).await;
        meter.expect_end().await;
    }
    assert_eq!(journal.notes_put(), 1);
    let (mut meter, _) = stay(&front, "meter").await;
    for _ in 0..3 {
        subscribed(&mut meter, "cmd/meter").await;
    }
    assert_eq!(journal.notes_put(), 2);
    for _ in 0..3 {
        meter.send(&retained(publish_v4("state", 1, b"on"))).await;
        assert_eq!(meter.receive().await, [0x40, 2, 0, 1]);
    }
    assert_eq!(journal.notes_put(), 3);
}

// MQTT 3.1.1: 3.1.2-6, 3.1.4-3, 3.2.2-1
#[tokio::test]
async fn a_session_ends_when_its_client_wants_no_more_of_it() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let (mut device, _) = stay(&front, "pump").await;
    subscribed(&mut device, "a").await;
    drop(device);
    let mut operator = Raw::v4(front.address, "operator").await;
    tell(&mut operator, "a", b"missed").await;
    let mut clean = Raw::open(front.address).await;
    clean.send(&connect_v4("pump", true)).await;
    assert_eq!(clean.receive().await, [0x20, 2, 0, 0]);
    clean.expect_silence().await;
    drop(clean);
    let front = start(&journal.after_a_crash(None)).await;
    assert!(!stay(&front, "pump").await.1);
    assert_eq!(journal.noted().len(), 0, "{:?}", journal.noted());
}

#[tokio::test]
async fn a_session_ends_when_its_expiry_has_passed_whether_the_gateway_ran_or_not() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let connect = [connect_v5("d", true, &EXPIRY_60_S), connect_v5("d", false, &EXPIRY_60_S)];
    let mut device = Raw::open(front.address).await;
    device.send(&connect[0]).await;
    device.receive().await;
    let present = async |front: &Running| {
        let mut device = Raw::open(front.address).await;
        device.send(&connect[1]).await;
        let present = device.receive().await[2] == 1;
        device.send(&[0xE0, 0]).await;
        device.expect_end().await;
        present
    };
    device.send(&[0xE0, 0]).await;
    device.expect_end().await;
    journal.advance(59_000);
    assert!(present(&front).await);
    journal.advance(60_000);
    assert!(!present(&front).await);

    // Its absence is noted only in time; a gateway that knows of none reckons from its start.
    let journal = journal.after_a_crash(Some(3_600_000));
    let front = start(&journal).await;
    journal.advance(59_000);
    assert!(present(&front).await);
    drop(front);
    let front = start(&journal).await;
    journal.advance(61_000);
    assert!(!present(&front).await);
}

#[tokio::test]
async fn a_session_that_a_disconnect_ends_is_gone_after_a_restart_too() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let mut device = Raw::open(front.address).await;
    device.send(&connect_v5("d", true, &EXPIRY_60_S)).await;
    device.receive().await;
    device.send(&packet(0xE0, &[&[0, 5][..], &[17, 0, 0, 0, 0]].concat())).await;
    device.expect_end().await;
    front.stop().await;
    let journal = journal.after_a_crash(None);
    assert!(journal.noted().is_empty(), "{:?}", journal.noted());
}

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
async fn a_will_that_waits_for_its_delay_survives_the_gateway() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let will = [&[5, 24, 0, 0, 0, 1][..], &text("w"), &text("gone")].concat();
    let connect = [&b"\0\x04MQTT\x05"[..], &[0x0E, 0, 60, 5], &EXPIRY_60_S, &text("d"), &will].concat();
    let mut device = Raw::open(front.address).await;
    device.send(&packet(0x10, &connect)).await;
    device.receive().await;
    drop(device);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let journal = journal.after_a_crash(None);
    let front = start(&journal).await;
    let arrival = front.intake.arrived(1).await.remove(0);
    assert_eq!((arrival.device.as_str(), arrival.address.as_str(), &arrival.payload[..]), ("d", "w", &b"gone"[..]));
}

#[tokio::test]
async fn the_session_that_has_been_away_longest_makes_room() {
    let journal = HandIntake::automatic();
    let front = Running::start(Arc::clone(&journal), Limits { sessions_max: 2, ..Limits::default() }).await;
    for client in ["first", "second"] {
        let (mut device, _) = stay(&front, client).await;
        device.send(&[0xE0, 0]).await;
        device.expect_end().await;
        journal.advance(1_000);
    }
    let (third, _) = stay(&front, "third").await;
    let (second, present) = stay(&front, "second").await;
    assert!(present);
    assert_eq!(front.counters.sessions_evicted.load(Relaxed), 1);
    // Both are here: there is nobody to make room for one more.
    let mut fourth = Raw::open(front.address).await;
    fourth.send(&connect_v4("fourth", false)).await;
    assert_eq!(fourth.receive().await, [0x20, 2, 0, 3]);
    let mut fourth = Raw::open(front.address).await;
    fourth.send(&connect_v5("fourth", false, &EXPIRY_60_S)).await;
    assert_eq!(fourth.receive().await[3], 0x97);
    assert_eq!(front.counters.refusals(Cause::SessionsFull), 2);
    drop((second, third));
}

#[tokio::test]
async fn a_full_journal_refuses_new_sessions_and_goes_on_with_known_ones() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    drop(stay(&front, "known").await);
    journal.set_notes_max(1);
    let (mut known, present) = stay(&front, "known").await;
    assert!(present);
    known.send(&subscribe_v4(1, "a", 1)).await;
    assert_eq!(known.receive().await, [0x90, 3, 0, 1, 0x80]);
    let mut new = Raw::open(front.address).await;
    new.send(&connect_v4("new", false)).await;
    assert_eq!(new.receive().await, [0x20, 2, 0, 3]);
    journal.set_notes_max(100);
    subscribed(&mut known, "a").await;
    let mut operator = Raw::v4(front.address, "operator").await;
    journal.set_notes_max(journal.notes_put() as u64 + 1);
    operator.send(&publish_v4("a", 1, b"x")).await;
    operator.expect_silence().await;
    known.expect_silence().await;
    journal.set_notes_max(100);
    assert_eq!(operator.receive().await, [0x40, 2, 0, 1]);
    assert_eq!(known.receive().await[4..], *b"a\0\x02x");
    known.expect_silence().await;
    assert_eq!(journal.arrivals().len(), 1);
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
