//! A PUBACK means "on disk": with a journal whose durability the test releases by hand.

mod support;

use std::sync::atomic::Ordering::Relaxed;

use lamppost_mqtt::{Cause, Limits};
use support::raw::{Raw, connect_v4, connect_v5, packet, publish_v4, publish_v5};
use support::{HandIntake, Running};

fn puback(packet_id: u8) -> Vec<u8> {
    vec![0x40, 2, 0, packet_id]
}

// MQTT 3.1.1: 4.6.0-2
#[tokio::test]
async fn a_puback_comes_after_the_commit_is_durable_and_in_order() {
    let front = Running::start(HandIntake::by_hand(), Limits::default()).await;
    let mut client = Raw::v4(front.address, "d1").await;
    for packet_id in 1..=4 {
        client.send(&publish_v4("city/air", packet_id, b"21.5")).await;
    }
    let arrivals = front.intake.arrived(4).await;
    assert_eq!((arrivals[0].device.as_str(), arrivals[0].address.as_str()), ("d1", "city/air"));
    client.expect_silence().await;
    front.intake.release(1);
    assert_eq!(client.receive().await, puback(1));
    client.expect_silence().await;
    front.intake.release(4);
    for packet_id in 2..=4 {
        assert_eq!(client.receive().await, puback(packet_id));
    }
    assert_eq!(front.counters.pubacks.load(Relaxed), 4);
}

// MQTT 3.1.1: 4.3.2-2
#[tokio::test]
async fn a_duplicate_is_stored_and_acknowledged_again() {
    let front = Running::start(HandIntake::automatic(), Limits::default()).await;
    let mut client = Raw::v4(front.address, "d1").await;
    let mut publish = publish_v4("a", 7, b"x");
    client.send(&publish).await;
    assert_eq!(client.receive().await, puback(7));
    publish[0] |= 0x08;
    client.send(&publish).await;
    assert_eq!(client.receive().await, puback(7));
    assert_eq!(front.intake.arrivals().len(), 2);
}

#[tokio::test]
async fn a_full_journal_stops_reading_and_loses_nothing() {
    let front = Running::start(HandIntake::automatic(), Limits::default()).await;
    front.intake.set_capacity(2);
    let mut client = Raw::v4(front.address, "d1").await;
    for packet_id in 1..=5 {
        client.send(&publish_v4("a", packet_id, &[packet_id as u8])).await;
    }
    assert_eq!(client.receive().await, puback(1));
    assert_eq!(client.receive().await, puback(2));
    client.expect_silence().await;
    assert_eq!(front.counters.stalled_now.load(Relaxed), 1);
    front.intake.set_capacity(100);
    for packet_id in 3..=5 {
        assert_eq!(client.receive().await, puback(packet_id));
    }
    let payloads: Vec<u8> = front.intake.arrivals().iter().map(|arrival| arrival.payload[0]).collect();
    assert_eq!(payloads, [1, 2, 3, 4, 5]);
    assert_eq!(front.counters.stalled_now.load(Relaxed), 0);
}

#[tokio::test]
async fn a_full_journal_does_not_time_out_a_client_whose_ping_it_does_not_read() {
    let front = Running::start(HandIntake::automatic(), Limits::default()).await;
    front.intake.set_capacity(0);
    let mut client = Raw::open(front.address).await;
    let mut connect = connect_v4("d1", true);
    connect[11] = 1;
    client.send(&connect).await;
    client.receive().await;
    client.send(&publish_v4("a", 1, b"x")).await;
    client.send(&[0xC0, 0]).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_800)).await;
    front.intake.set_capacity(10);
    assert_eq!(client.receive().await, [0xD0, 0]);
    assert_eq!(client.receive().await, puback(1));
}

// MQTT 3.1.1: 4.8.0-2
#[tokio::test]
async fn a_stopped_journal_acknowledges_nothing_and_refuses_clients() {
    let front = Running::start(HandIntake::by_hand(), Limits::default()).await;
    let mut v4 = Raw::v4(front.address, "d4").await;
    let mut v5 = Raw::v5(front.address, "d5").await;
    v4.send(&publish_v4("a", 1, b"x")).await;
    v5.send(&publish_v5("a", 1, &[], b"x")).await;
    front.intake.arrived(2).await;
    front.intake.stop();
    v4.expect_end().await;
    v5.expect_disconnect(0x97).await;
    assert_eq!(front.counters.pubacks.load(Relaxed), 0);
    assert_eq!(front.counters.refusals(Cause::JournalStopped), 2);

    let mut late = Raw::open(front.address).await;
    late.send(&connect_v4("d6", true)).await;
    assert_eq!(late.receive().await, [0x20, 2, 0, 3]);
    late.expect_end().await;
    let mut late = Raw::open(front.address).await;
    late.send(&connect_v5("d7", true, &[])).await;
    assert_eq!(late.receive().await[3], 0x88);
    late.expect_end().await;
}

#[tokio::test]
async fn an_event_above_the_journals_limit_ends_the_connection_with_its_reason() {
    let front = Running::start(HandIntake::automatic(), Limits::default()).await;
    let mut client = Raw::v5(front.address, "d1").await;
    let mut publish = vec![0x32, 0xA4, 0x93, 0x06];
    publish.extend(b"\0\x01a\0\x01\0");
    publish.resize(4 + 100_772, 7);
    client.send(&publish).await;
    client.expect_disconnect(0x95).await;
    assert_eq!(front.counters.refusals(Cause::EventTooLarge), 1);
    assert!(front.intake.arrivals().is_empty());
}

#[tokio::test]
async fn a_will_above_an_event_is_refused_with_its_connect_and_v5_is_told_what_fits() {
    let limits = Limits { event_bytes_max: 50, ..Limits::default() };
    let front = Running::start(HandIntake::automatic(), limits).await;
    let id = &[0, 1, b'd'][..];
    let will = |bytes: u8| [&[0, 1, b'w', 0, bytes][..], &vec![7; usize::from(bytes)]].concat();
    let v4 = |bytes| packet(0x10, &[&b"\0\x04MQTT\x04\x06\0\x3C"[..], id, &will(bytes)].concat());
    let v5 = |bytes| packet(0x10, &[&b"\0\x04MQTT\x05\x06\0\x3C\0"[..], id, &[0], &will(bytes)].concat());
    let answer = async |connect: Vec<u8>| {
        let mut client = Raw::open(front.address).await;
        client.send(&connect).await;
        client.receive().await
    };
    assert_eq!(answer(v4(50)).await, [0x20, 2, 0, 3]);
    assert_eq!(answer(v5(50)).await[3], 0x95);
    assert_eq!(front.counters.refusals(Cause::EventTooLarge), 2);
    assert_eq!(answer(v4(49)).await, [0x20, 2, 0, 0]);
    let connack = answer(v5(49)).await;
    assert_eq!(connack[3], 0);
    let told = [39_u8, 0, 0, 0x10, 50];
    assert!(connack.windows(5).any(|bytes| bytes == told), "Maximum Packet Size of 4096 + 50: {connack:x?}");
}

#[tokio::test]
async fn a_v4_client_beyond_its_window_is_not_read_and_a_v5_client_is_told() {
    let limits = Limits { window: 2, window_strict: true, ..Limits::default() };
    let front = Running::start(HandIntake::by_hand(), limits).await;
    let mut v4 = Raw::v4(front.address, "d4").await;
    for packet_id in 1..=3 {
        v4.send(&publish_v4("a", packet_id, b"x")).await;
    }
    front.intake.arrived(2).await;
    v4.expect_silence().await;
    assert_eq!(front.intake.arrivals().len(), 2);
    front.intake.release(2);
    assert_eq!(v4.receive().await, puback(1));
    assert_eq!(v4.receive().await, puback(2));
    assert_eq!(front.intake.arrived(3).await.len(), 3);

    let mut v5 = Raw::v5(front.address, "d5").await;
    for packet_id in 1..=3 {
        v5.send(&publish_v5("a", packet_id, &[], b"x")).await;
    }
    v5.expect_disconnect(0x93).await;
    assert_eq!(front.counters.refusals(Cause::Window), 1);
}

#[tokio::test]
async fn a_v5_client_beyond_its_window_may_be_borne_with_instead() {
    let limits = Limits { window: 2, window_strict: false, ..Limits::default() };
    let front = Running::start(HandIntake::by_hand(), limits).await;
    let mut client = Raw::v5(front.address, "d5").await;
    for packet_id in 1..=3 {
        client.send(&publish_v5("a", packet_id, &[], b"x")).await;
    }
    front.intake.arrived(2).await;
    client.expect_silence().await;
    front.intake.release(3);
    for packet_id in 1..=3 {
        assert_eq!(client.receive().await, puback(packet_id));
    }
}

#[tokio::test]
async fn qos_0_is_stored_too_and_held_back_by_bytes() {
    let limits = Limits { unacknowledged_bytes_max: 300, ..Limits::default() };
    let front = Running::start(HandIntake::by_hand(), limits).await;
    let mut client = Raw::v4(front.address, "d1").await;
    for _ in 0..10 {
        client.send(&publish_v4("a", 0, &[0; 100])).await;
    }
    front.intake.arrived(2).await;
    client.expect_silence().await;
    assert_eq!(front.intake.arrivals().len(), 2);
    front.intake.release(u64::MAX);
    assert_eq!(front.intake.arrived(10).await.len(), 10);
    assert_eq!(front.counters.publishes_qos0.load(Relaxed), 10);
}

#[tokio::test]
async fn a_stop_gives_the_pubacks_that_are_due_and_then_says_why() {
    let mut front = Running::start(HandIntake::by_hand(), Limits::default()).await;
    let mut client = Raw::v5(front.address, "d1").await;
    client.send(&publish_v5("a", 1, &[], b"x")).await;
    front.intake.arrived(1).await;
    front.begin_stop();
    client.expect_silence().await;
    front.intake.release(1);
    assert_eq!(client.receive().await, puback(1));
    client.expect_disconnect(0x8B).await;
    front.stop().await;
}

#[tokio::test]
async fn the_properties_of_v5_become_those_of_the_event() {
    let front = Running::start(HandIntake::automatic(), Limits::default()).await;
    let mut client = Raw::v5(front.address, "d1").await;
    let properties = b"\x03\0\x10application/json\x26\0\x02id\0\x04ev-9\x23\0\x01";
    client.send(&publish_v5("city/air", 1, properties, b"{}")).await;
    client.send(&publish_v5("", 2, b"\x23\0\x01", b"{}")).await;
    let arrivals = front.intake.arrived(2).await;
    assert_eq!(arrivals[0].origin, lamppost_event::Origin::Id("ev-9".into()));
    assert_eq!(arrivals[0].content_type.as_ref().unwrap().as_str(), "application/json");
    assert_eq!(arrivals[1].address.as_str(), "city/air");
    assert_eq!((&arrivals[1].origin, &arrivals[1].content_type), (&lamppost_event::Origin::Unmarked, &None));
}

#[tokio::test]
async fn a_will_is_stored_when_the_client_vanishes_and_not_when_it_says_goodbye() {
    let front = Running::start(HandIntake::automatic(), Limits::default()).await;
    let with_will = packet(0x10, b"\0\x04MQTT\x04\x0e\0\x3c\0\x02d1\0\x06status\0\x04gone");
    let mut client = Raw::open(front.address).await;
    client.send(&with_will).await;
    client.receive().await;
    client.send(&[0xE0, 0]).await;
    client.expect_end().await;
    assert!(front.intake.arrivals().is_empty());

    let mut client = Raw::open(front.address).await;
    client.send(&with_will).await;
    client.receive().await;
    drop(client);
    let arrivals = front.intake.arrived(1).await;
    assert_eq!((arrivals[0].address.as_str(), &arrivals[0].payload[..]), ("status", &b"gone"[..]));
    assert_eq!(arrivals[0].device.as_str(), "d1");
}
