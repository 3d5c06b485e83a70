//! Bounds that serve thousands of devices, and that who uses them up feels himself: nobody else does.

#![expect(clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lamppost_mqtt::{Cause, Limits, SubscriptionCause};
use support::raw::{Raw, connect_v4, packet, publish_v4, publish_v5, subscribe_v4, text};
use support::{HandIntake, Running};
use tokio::time::{Instant, sleep, timeout};

async fn front(limits: Limits) -> Running {
    Running::start(HandIntake::automatic(), limits).await
}

/// Connects with a session that stays, and says whether it was there.
async fn stay(front: &Running, client_id: &str) -> (Raw, bool) {
    let mut client = Raw::open(front.address).await;
    client.send(&connect_v4(client_id, false)).await;
    let connack = client.receive().await;
    assert_eq!((connack[0], connack[3]), (0x20, 0), "{client_id}");
    (client, connack[2] == 1)
}

async fn leave(mut client: Raw) {
    client.send(&[0xE0, 0]).await;
    client.expect_end().await;
}

fn retained(mut publish: Vec<u8>) -> Vec<u8> {
    publish[0] |= 1;
    publish
}

#[tokio::test]
async fn every_one_of_thousands_of_devices_has_a_filter_of_its_own() {
    let front = front(Limits { connections_max: 3_000, connects_per_s: 0, ..Limits::default() }).await;
    let mut devices = Vec::new();
    for number in 0..1_500 {
        let mut device = Raw::v4(front.address, &format!("pump-{number}")).await;
        device.send(&subscribe_v4(1, &format!("cmd/pump-{number}"), 1)).await;
        assert_eq!(device.receive().await, [0x90, 3, 0, 1, 1], "device {number}");
        devices.push(device);
    }
    let mut operator = Raw::v4(front.address, "operator").await;
    for number in [0, 1_200, 1_499_usize] {
        operator.send(&publish_v4(&format!("cmd/pump-{number}"), 0, b"open")).await;
        assert_eq!(devices[number].receive().await, publish_v4(&format!("cmd/pump-{number}"), 0, b"open"));
    }
}

#[tokio::test]
async fn filters_that_nobody_has_any_more_make_room_for_others() {
    let front = front(Limits { subscribes_per_s: 0, ..Limits::default() }).await;
    for client in ["first", "second"] {
        let mut device = Raw::v4(front.address, client).await;
        for number in 0..900_u16 {
            let filter = format!("{client}/{number}/{}", "x".repeat(200));
            device.send(&subscribe_v4(1, &filter, 0)).await;
            assert_eq!(device.receive().await, [0x90, 3, 0, 1, 0], "filter {number} of {client}");
            device.send(&packet(0xA2, &[&[0, 2][..], &text(&filter)].concat())).await;
            assert_eq!(device.receive().await, [0xB0, 2, 0, 2]);
        }
        leave(device).await;
    }
}

#[tokio::test]
async fn a_connack_that_waits_for_the_disk_too_long_is_a_refusal() {
    let limits = Limits { connect_timeout: Duration::from_millis(300), ..Limits::default() };
    let front = Running::start(HandIntake::by_hand(), limits).await;
    let mut device = Raw::open(front.address).await;
    device.send(&connect_v4("pump", false)).await;
    assert_eq!(device.receive().await, [0x20, 2, 0, 3]);
    device.expect_end().await;
    let mut device = Raw::open(front.address).await;
    device.send(&support::raw::connect_v5("pump", false, &[17, 0, 0, 0, 60])).await;
    assert_eq!(device.receive().await[3], 0x89);
    device.expect_end().await;
}

#[tokio::test]
async fn who_comes_while_its_earlier_connection_can_not_end_is_refused_in_time() {
    let limits = Limits {
        connect_timeout: Duration::from_millis(300),
        drain_timeout: Duration::from_secs(60),
        ..Limits::default()
    };
    let front = Running::start(HandIntake::by_hand(), limits).await;
    let mut earlier = Raw::v4(front.address, "pump").await;
    earlier.send(&publish_v4("a", 1, b"x")).await;
    front.intake.arrived(1).await;
    let mut later = Raw::open(front.address).await;
    later.send(&connect_v4("pump", true)).await;
    assert_eq!(later.receive().await, [0x20, 2, 0, 3]);
    later.expect_end().await;
    // Once the earlier one's event is on disk, the place is free.
    front.intake.release(1);
    sleep(Duration::from_millis(100)).await;
    drop(Raw::v4(front.address, "pump").await);
}

#[tokio::test]
async fn a_journal_that_says_room_and_has_none_is_not_asked_in_a_circle() {
    let front = front(Limits::default()).await;
    let (mut device, _) = stay(&front, "pump").await;
    device.send(&subscribe_v4(1, "a", 1)).await;
    device.receive().await;
    let mut operator = Raw::v4(front.address, "operator").await;
    // The event finds room, and what is noted of it does not.
    front.intake.set_notes_max(front.intake.notes_put() as u64);
    operator.send(&publish_v4("a", 1, b"x")).await;
    front.intake.arrived(1).await;
    let before = front.intake.notes_refused();
    sleep(Duration::from_millis(500)).await;
    let asked = front.intake.notes_refused() - before;
    assert!(asked < 40, "asked {asked} times in half a second");
    front.intake.set_notes_max(u64::MAX);
    assert_eq!(operator.receive().await, [0x40, 2, 0, 1]);
}

#[tokio::test]
async fn a_publish_that_waits_for_room_is_one_that_was_refused_however_often_it_is_offered() {
    let front = front(Limits::default()).await;
    front.intake.set_capacity(0);
    let mut device = Raw::v4(front.address, "pump").await;
    device.send(&publish_v4("a", 1, b"x")).await;
    let again = async {
        while front.intake.refusals()[1] < 3 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), again).await.expect("it is offered again");
    assert_eq!(front.intake.refusals()[0], 1);
    front.intake.set_capacity(1);
    assert_eq!(device.receive().await, [0x40, 2, 0, 1]);
}

#[tokio::test]
async fn what_waits_for_room_counts_as_waiting_for_the_disk() {
    let front = front(Limits { inflight_bytes_max: 1_000, ..Limits::default() }).await;
    front.intake.set_capacity(0);
    let (mut first, mut second) = (Raw::v4(front.address, "first").await, Raw::v4(front.address, "second").await);
    first.send(&publish_v4("a", 1, &[b'x'; 2_000])).await;
    while front.counters.stalled_now.load(Relaxed) == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    sleep(Duration::from_millis(50)).await;
    second.send(&publish_v4("a", 1, &[b'x'; 2_000])).await;
    second.expect_silence().await;
    assert_eq!(front.counters.stalls.load(Relaxed), 1, "the second was read as well");
    front.intake.set_capacity(10);
    assert_eq!(first.receive().await, [0x40, 2, 0, 1]);
    assert_eq!(second.receive().await, [0x40, 2, 0, 1]);
}

#[tokio::test]
async fn what_can_not_be_retained_is_said_with_v5_and_is_an_event_all_the_same() {
    let front = front(Limits { retained_bytes_max: 1_000, ..Limits::default() }).await;
    let mut client = Raw::v5(front.address, "d").await;
    client.send(&retained(publish_v5("a", 1, &[], &[b'x'; 700]))).await;
    assert_eq!(client.receive().await, [0x40, 2, 0, 1]);
    client.send(&retained(publish_v5("b", 2, &[], &[b'x'; 700]))).await;
    assert_eq!(client.receive().await, [0x40, 3, 0, 2, 0x97]);
    // v3.1.1 has no word for it: its PUBACK says that the event is on disk, and it is.
    let mut old = Raw::v4(front.address, "old").await;
    old.send(&retained(publish_v4("b", 3, &[b'x'; 700]))).await;
    assert_eq!(old.receive().await, [0x40, 2, 0, 3]);
    assert_eq!(front.intake.arrivals().len(), 3);
    assert_eq!(front.counters.retained_refused.load(Relaxed), 2);
    client.send(&retained(publish_v5("a", 4, &[], b"smaller"))).await;
    assert_eq!(client.receive().await, [0x40, 2, 0, 4]);
}

#[tokio::test]
async fn who_hoards_subscriptions_ends_no_session_of_who_has_few() {
    let limits = Limits { sessions_bytes_max: 4_200, subscribes_per_s: 0, ..Limits::default() };
    let front = front(limits).await;
    let (mut modest, _) = stay(&front, "modest").await;
    modest.send(&subscribe_v4(1, "cmd/modest", 1)).await;
    modest.receive().await;
    leave(modest).await;
    let mut hoarders = Vec::new();
    for name in ["hoarder-1", "hoarder-2", "hoarder-3"] {
        let (mut hoarder, _) = stay(&front, name).await;
        for number in 0..60 {
            hoarder.send(&subscribe_v4(1, &format!("{name}/{number}/{}", "x".repeat(40)), 1)).await;
            hoarder.receive().await;
        }
        hoarders.push(hoarder);
    }
    for number in 0..5 {
        let (mut device, _) = stay(&front, &format!("new-{number}")).await;
        device.send(&subscribe_v4(1, &format!("cmd/{number}"), 1)).await;
        assert_eq!(device.receive().await, [0x90, 3, 0, 1, 1]);
        leave(device).await;
    }
    assert!(stay(&front, "modest").await.1, "its session had to go for others' subscriptions");
    assert_eq!(front.counters.sessions_evicted.load(Relaxed), 0);
}

#[tokio::test]
async fn who_acknowledges_nothing_ends_no_session_of_who_has_one_message() {
    let front = front(Limits { queues_bytes_max: 20_000, ..Limits::default() }).await;
    let (mut modest, _) = stay(&front, "modest").await;
    modest.send(&subscribe_v4(1, "cmd/modest", 1)).await;
    modest.receive().await;
    leave(modest).await;
    let mut operator = Raw::v4(front.address, "operator").await;
    operator.send(&publish_v4("cmd/modest", 1, b"open")).await;
    operator.receive().await;
    let (mut hoarder, _) = stay(&front, "hoarder").await;
    hoarder.send(&subscribe_v4(1, "all/#", 1)).await;
    hoarder.receive().await;
    for _ in 0..40 {
        operator.send(&publish_v4("all/x", 1, &[b'x'; 1_000])).await;
        operator.receive().await;
    }
    assert!(front.counters.queue_shed.load(Relaxed) > 0, "there was room for all");
    let (mut modest, present) = stay(&front, "modest").await;
    assert!(present);
    assert_eq!(modest.receive().await[4..], *b"cmd/modest\0\x01open");
}

#[tokio::test]
async fn subscriptions_are_paced() {
    let front = front(Limits { subscribes_per_s: 20, ..Limits::default() }).await;
    let mut client = Raw::v4(front.address, "d").await;
    let begun = Instant::now();
    let all: Vec<u8> = (0..250_u16).flat_map(|id| subscribe_v4(id + 1, "a", 0)).collect();
    client.send(&all).await;
    for _ in 0..250 {
        client.receive().await;
    }
    // Ten seconds' worth come at once, the rest at 20 a second.
    assert!(begun.elapsed() >= Duration::from_millis(2_400), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn who_is_refused_is_named_and_answers_are_not_counted_as_events() {
    let front = front(Limits { sessions_max: 0, ..Limits::default() }).await;
    let mut device = Raw::open(front.address).await;
    device.send(&connect_v4("pump", false)).await;
    assert_eq!(device.receive().await, [0x20, 2, 0, 3]);
    device.expect_end().await;
    let ending = front.clients.endings().remove(0);
    assert_eq!((&*ending.device, ending.cause), ("pump", Cause::SessionsFull));
    let front = self::front(Limits::default()).await;
    let (mut device, _) = stay(&front, "pump").await;
    device.send(&subscribe_v4(1, "a", 1)).await;
    device.receive().await;
    device.send(&publish_v4("b", 1, b"x")).await;
    device.receive().await;
    sleep(Duration::from_millis(50)).await;
    assert_eq!(front.clients.connected()[0].events, 1);
}

#[tokio::test]
async fn with_no_room_at_the_door_later_ones_wait_and_who_is_coming_in_is_not_disturbed() {
    let limits = Limits { coming_max: 2, ..Limits::default() };
    let front = Running::start(Arc::clone(&HandIntake::automatic()), limits).await;
    let mut slow = [Raw::open(front.address).await, Raw::open(front.address).await];
    sleep(Duration::from_millis(50)).await;
    let mut third = Raw::open(front.address).await;
    third.send(&connect_v4("third", true)).await;
    // A slow one finishes what it began.
    slow[0].expect_silence().await;
    slow[0].send(&connect_v4("slow", true)).await;
    assert_eq!(slow[0].receive().await, [0x20, 2, 0, 0]);
    assert_eq!(third.receive().await, [0x20, 2, 0, 0]);
    assert_eq!(front.counters.refusals(Cause::Coming), 0);
}

#[tokio::test]
async fn a_session_ends_in_time_on_a_machine_whose_clock_is_never_set() {
    let journal = HandIntake::automatic();
    journal.unset_clock();
    let front = Running::start(Arc::clone(&journal), Limits::default()).await;
    let mut device = Raw::open(front.address).await;
    // 120 s.
    device.send(&support::raw::connect_v5("d", true, &[17, 0, 0, 0, 120])).await;
    device.receive().await;
    leave(device).await;
    journal.advance(70_000);
    front.stop().await;
    let journal = journal.after_a_crash(Some(5_000));
    let front = Running::start(Arc::clone(&journal), Limits::default()).await;
    journal.advance(51_000);
    let mut device = Raw::open(front.address).await;
    device.send(&support::raw::connect_v5("d", false, &[17, 0, 0, 0, 120])).await;
    assert_eq!(device.receive().await[2], 0, "121 s away, and its session is still there");
}

#[tokio::test]
async fn who_comes_back_finds_room_for_the_filters_of_its_session_whatever_others_have() {
    let front = front(Limits { filters_bytes_max: 1_000, subscribes_per_s: 0, ..Limits::default() }).await;
    let (mut device, _) = stay(&front, "pump").await;
    device.send(&subscribe_v4(1, "cmd", 0)).await;
    assert_eq!(device.receive().await, [0x90, 3, 0, 1, 0]);
    leave(device).await;
    let mut other = Raw::v4(front.address, "other").await;
    for number in 0..10 {
        other.send(&subscribe_v4(1, &format!("{number}"), 0)).await;
        other.receive().await;
    }
    assert!(front.counters.subscription_refusals(SubscriptionCause::Filters) > 0, "there was room for all");
    let (mut device, present) = stay(&front, "pump").await;
    assert!(present);
    let mut operator = Raw::v4(front.address, "operator").await;
    operator.send(&publish_v4("cmd", 0, b"open")).await;
    assert_eq!(device.receive().await, publish_v4("cmd", 0, b"open"));
}

#[tokio::test]
async fn filters_with_qos_0_of_remembered_sessions_are_bounded_as_well() {
    let front = front(Limits { filters_bytes_max: 2_000, ..Limits::default() }).await;
    let mut refused = 0;
    for number in 0..20 {
        let (mut device, _) = stay(&front, &format!("pump-{number}")).await;
        device.send(&subscribe_v4(1, &format!("cmd-{number}"), 0)).await;
        refused += u32::from(device.receive().await[4] == 0x80);
        leave(device).await;
    }
    assert!((1..20).contains(&refused), "{refused} of 20 were refused");
}
