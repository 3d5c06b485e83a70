//! Sessions over the end of the gateway: what was promised was on disk. What waits for them is in `queues`, what is retained in `retained`.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lamppost_mqtt::{Cause, Limits};
use support::raw::{Raw, connect_v4, connect_v5, packet, publish_v4, subscribe_v4, text};
use support::sessions::{EXPIRY_60_S, again, retained, start, stay, subscribed, tell};
use support::{HandIntake, Running};

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
async fn whoever_makes_up_client_ids_pays_with_sessions_of_its_own_also_after_a_restart() {
    let journal = HandIntake::automatic();
    let limits = Limits { sessions_max: 4, ..Limits::default() };
    let make_up = async |front: &Running, name: &str| {
        for number in 0..20 {
            let mut client = Raw::open_from([127, 0, 0, 2].into(), front.address).await;
            client.send(&connect_v4(&format!("{name}-{number}"), false)).await;
            assert_eq!(client.receive().await, [0x20, 2, 0, 0]);
            client.send(&[0xE0, 0]).await;
            client.expect_end().await;
            front.intake.advance(1_000);
        }
    };
    let front = Running::start(Arc::clone(&journal), limits.clone()).await;
    for client in ["first", "second"] {
        let (mut device, _) = stay(&front, client).await;
        subscribed(&mut device, "command").await;
        device.send(&[0xE0, 0]).await;
        device.expect_end().await;
        journal.advance(1_000);
    }
    let (mut publisher, _) = stay(&front, "operator").await;
    tell(&mut publisher, "command", b"open").await;
    publisher.send(&[0xE0, 0]).await;
    publisher.expect_end().await;
    // The operator's makes three: the fourth is free, and so is one of who has more than an even share.
    make_up(&front, "x-made-up").await;
    assert_eq!(front.counters.sessions_evicted.load(Relaxed), 19);
    front.stop().await;
    let front = Running::start(journal.after_a_crash(None), limits).await;
    make_up(&front, "y-made-up").await;
    let mut kept = 0;
    for client in ["first", "second"] {
        let (mut device, present) = stay(&front, client).await;
        if present {
            kept += 1;
            assert_eq!(device.receive().await[..2], [0x32 | 8, 15], "the command, which may have been sent before");
        }
    }
    assert_eq!(kept, 1, "of four sessions two are an even share: the third was lost, and of these the longest away");
}

#[tokio::test]
async fn what_waited_for_a_session_that_made_room_is_counted() {
    let journal = HandIntake::automatic();
    let front = Running::start(Arc::clone(&journal), Limits { sessions_max: 1, ..Limits::default() }).await;
    let (mut device, _) = stay(&front, "device").await;
    subscribed(&mut device, "command").await;
    device.send(&[0xE0, 0]).await;
    device.expect_end().await;
    let mut publisher = Raw::open(front.address).await;
    publisher.send(&connect_v4("operator", true)).await;
    publisher.receive().await;
    tell(&mut publisher, "command", b"open").await;
    tell(&mut publisher, "command", b"close").await;
    let (_other, _) = stay(&front, "other").await;
    let counters = &front.counters;
    assert_eq!((counters.sessions_evicted.load(Relaxed), counters.queue_shed.load(Relaxed)), (1, 2));
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
async fn a_connect_that_is_refused_changes_nothing_of_the_session() {
    for connect in [connect_v4("pump", true), connect_v5("pump", false, &[]), connect_v5("pump", true, &EXPIRY_60_S)] {
        let journal = HandIntake::automatic();
        let limits = Limits { connect_timeout: Duration::from_millis(300), ..Limits::default() };
        let front = Running::start(Arc::clone(&journal), limits).await;
        let (mut device, _) = stay(&front, "pump").await;
        subscribed(&mut device, "a").await;
        device.send(&[0xE0, 0]).await;
        device.expect_end().await;
        let mut operator = Raw::v4(front.address, "operator").await;
        tell(&mut operator, "a", b"missed").await;
        journal.by_hand_from_now();
        let mut refused = Raw::open(front.address).await;
        refused.send(&connect).await;
        assert_ne!(refused.receive().await[3], 0);
        refused.expect_end().await;
        journal.release(u64::MAX);
        let mut front = front;
        for restarted in [false, true] {
            if restarted {
                front = start(&front.intake.after_a_crash(None)).await;
            }
            let (mut device, present) = stay(&front, "pump").await;
            assert!(present, "restarted: {restarted}, {connect:?}");
            assert!(device.receive().await.ends_with(b"missed"));
        }
    }
}

#[tokio::test]
async fn a_session_that_a_refused_connect_had_begun_is_none() {
    let journal = HandIntake::by_hand();
    let limits = Limits { connect_timeout: Duration::from_millis(300), ..Limits::default() };
    let front = Running::start(Arc::clone(&journal), limits).await;
    let mut refused = Raw::open(front.address).await;
    refused.send(&connect_v4("pump", false)).await;
    assert_eq!(refused.receive().await, [0x20, 2, 0, 3]);
    refused.expect_end().await;
    journal.release(u64::MAX);
    let (_device, present) = stay(&front, "pump").await;
    assert!(!present);
}

/// "pump" wanted the topic "a", and has gone. Gives who may publish there.
async fn session_left_behind(front: &Running) -> Raw {
    let (mut device, _) = stay(front, "pump").await;
    subscribed(&mut device, "a").await;
    device.send(&[0xE0, 0]).await;
    device.expect_end().await;
    Raw::v4(front.address, "operator").await
}

/// "pump" comes with a clean start, and waits for the disk.
async fn clean_start(front: &Running) -> Raw {
    let mut device = Raw::open(front.address).await;
    device.send(&connect_v5("pump", true, &EXPIRY_60_S)).await;
    device.expect_silence().await;
    device
}

/// The new session is on disk after so many commits, and what is removed of the one before is not: after a crash nobody gets it.
async fn assert_nothing_comes_back(journal: Arc<HandIntake>, mut device: Raw, commits: u64) {
    journal.release(commits);
    assert_eq!(device.receive().await.get(2..4), Some(&[0, 0][..]));
    let journal = journal.after_a_crash(None);
    assert!(journal.noted().keys().any(|key| key.starts_with(b"q")));
    journal.release(u64::MAX);
    let front = start(&journal).await;
    let (mut device, present) = stay(&front, "pump").await;
    assert!(present);
    device.expect_silence().await;
}

#[tokio::test]
async fn what_waited_for_the_session_before_a_clean_start_does_not_come_back_with_a_crash() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let mut operator = session_left_behind(&front).await;
    tell(&mut operator, "a", b"missed").await;
    let before = journal.commits();
    journal.by_hand_from_now();
    let device = clean_start(&front).await;
    assert_nothing_comes_back(journal, device, before + 1).await;
}

#[tokio::test]
async fn refused_connects_leave_the_note_of_a_session_though_there_was_no_room_for_it_for_a_while() {
    let journal = HandIntake::automatic();
    let limits = Limits { connect_timeout: Duration::from_millis(200), ..Limits::default() };
    let front = Running::start(Arc::clone(&journal), limits).await;
    let connect = |expiry_s: u8| connect_v5("d", false, &[17, 0, 0, 0, expiry_s]);
    let mut device = Raw::open(front.address).await;
    device.send(&connect(60)).await;
    device.receive().await;
    drop(device);
    tokio::time::sleep(Duration::from_millis(50)).await;
    journal.by_hand_from_now();
    for no_room in [true, false] {
        let notes = journal.notes_put() as u64;
        // For what the CONNECT changes, not for changing it back.
        journal.set_notes_max(if no_room { notes + 1 } else { u64::MAX });
        let mut refused = Raw::open(front.address).await;
        refused.send(&connect(50)).await;
        assert_eq!(refused.receive().await[3], 0x89);
        refused.expect_end().await;
    }
    journal.release(u64::MAX);
    let noted = journal.noted();
    assert!(noted.get(&b"sd"[..]).is_some_and(|value| value.get(1) == Some(&60)), "{noted:?}");
}

#[tokio::test]
async fn an_unsubscribe_that_can_not_be_noted_is_not_confirmed() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let unsubscribe = |properties: &[u8]| packet(0xA2, &[&[0, 2][..], properties, &text("a")].concat());
    let (mut old, _) = stay(&front, "old").await;
    subscribed(&mut old, "a").await;
    let mut new = Raw::open(front.address).await;
    new.send(&connect_v5("new", false, &EXPIRY_60_S)).await;
    new.receive().await;
    new.send(&support::raw::subscribe_v5(1, "a", 1)).await;
    assert_eq!(new.receive().await, [0x90, 4, 0, 1, 0, 1]);
    journal.set_notes_max(journal.notes_put() as u64);
    old.send(&unsubscribe(&[])).await;
    old.expect_end().await;
    new.send(&unsubscribe(&[0])).await;
    assert_eq!(new.receive().await, [0xB0, 4, 0, 2, 0, 0x83]);
    journal.set_notes_max(u64::MAX);
    let (mut old, present) = stay(&front, "old").await;
    assert!(present);
    old.send(&unsubscribe(&[])).await;
    assert_eq!(old.receive().await, [0xB0, 2, 0, 2]);
}

#[tokio::test]
async fn a_session_that_a_disconnect_ends_does_not_come_back_with_a_kill() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let mut device = Raw::open(front.address).await;
    device.send(&connect_v5("d", true, &EXPIRY_60_S)).await;
    device.receive().await;
    device.send(&packet(0xE0, &[&[0, 5][..], &[17, 0, 0, 0, 0]].concat())).await;
    device.expect_end().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let journal = journal.after_a_crash(None);
    assert!(journal.noted().is_empty(), "{:?}", journal.noted());
}

#[tokio::test]
async fn what_came_for_a_session_while_its_successor_was_on_its_way_to_the_disk_does_not_come_back_with_a_crash() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let mut operator = session_left_behind(&front).await;
    let before = journal.commits();
    journal.by_hand_from_now();
    let device = clean_start(&front).await;
    // For the session before: the event, the message, and that it waits.
    operator.send(&publish_v4("a", 1, b"missed")).await;
    operator.expect_silence().await;
    assert_nothing_comes_back(journal, device, before + 4).await;
}
