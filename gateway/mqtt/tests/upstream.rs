//! Reading a broker elsewhere, played by hand: when and in which order it is acknowledged, and what becomes of that when
//! the connection, the journal or the source ends.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use lamppost_event::{Origin, SourceKind};
use lamppost_mqtt::{Broker, BrokerCause, BrokerFilter, BrokerLogin, BrokerVersion, KeptSession, KeptSubscription};
use support::HandIntake;
use support::broker::{Kept, Peer, Reading, VERSIONS, listen, settings};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

const QOS_1: u8 = 0x02;
const DUP: u8 = 0x08;
const RETAINED: u8 = 0x01;

#[tokio::test]
async fn a_message_is_acknowledged_once_it_is_on_disk_and_in_order() {
    for version in VERSIONS {
        let ((listener, address), intake) = (listen().await, HandIntake::by_hand());
        let reading = Reading::start(settings(address, version), intake.clone());
        let (mut peer, connect) = Peer::meet(&listener, version, false).await;
        assert_eq!(connect[7] & 0x02, 0, "the session is to stay");
        for id in [7, 3, 5] {
            peer.publish(QOS_1, id, "city/air", b"21.5").await;
        }
        peer.publish(0, 0, "city/air", b"22").await;
        intake.arrived(4).await;
        peer.hears_no_puback().await;
        intake.release(2);
        assert_eq!(peer.pubacks(2).await, [7, 3]);
        peer.hears_no_puback().await;
        intake.release(4);
        assert_eq!(peer.pubacks(1).await, [5]);
        assert_eq!(reading.status.pubacks.load(Ordering::Relaxed), 3);
        let arrival = &intake.arrivals()[0];
        assert_eq!((arrival.source, arrival.address.as_str()), (SourceKind::Broker, "city/air"));
        assert_eq!((arrival.device.as_str(), &*arrival.payload), ("plant", &b"21.5"[..]));
        reading.end().await.unwrap();
    }
}

#[tokio::test]
async fn what_was_not_acknowledged_before_a_connection_ended_is_not_acknowledged_on_the_next_before_it_came_again() {
    for version in VERSIONS {
        let ((listener, address), intake) = (listen().await, HandIntake::by_hand());
        let reading = Reading::start(settings(address, version), intake.clone());
        let (mut first, _) = Peer::meet(&listener, version, false).await;
        first.publish(QOS_1, 1, "city/a", b"1").await;
        first.publish(QOS_1, 2, "city/a", b"2").await;
        intake.arrived(2).await;
        drop(first);
        let (mut second, _) = Peer::meet(&listener, version, true).await;
        // The same packet id for another message: an acknowledgement of the first life would lose it.
        second.publish(QOS_1, 1, "city/a", b"3").await;
        intake.arrived(3).await;
        intake.release(2);
        second.hears_no_puback().await;
        second.publish(QOS_1 | DUP, 2, "city/a", b"2").await;
        intake.arrived(4).await;
        intake.release(4);
        assert_eq!(second.pubacks(2).await, [1, 2]);
        let payloads: Vec<_> = intake.arrivals().iter().map(|arrival| arrival.payload[0]).collect();
        assert_eq!(payloads, *b"1232", "what is delivered again is stored again");
        assert_eq!(reading.status.sessions_resumed.load(Ordering::Relaxed), 1);
        reading.end().await.unwrap();
    }
}

#[tokio::test]
async fn a_full_journal_stops_the_reading_and_not_the_pings_and_nothing_is_lost() {
    let version = BrokerVersion::V311;
    let ((listener, address), intake) = (listen().await, HandIntake::automatic());
    intake.set_capacity(1);
    let reading = Reading::start(settings(address, version), intake.clone());
    let (peer, _) = Peer::meet(&listener, version, false).await;
    let (read, mut write) = peer.stream.into_split();
    const COUNT: u16 = 3000;
    // 24 MB: far more than all sockets between here and the journal hold.
    let flood = tokio::spawn(async move {
        for id in 1..=COUNT {
            let mut packet = vec![0x32, 0xC8, 0x3E, 0, 6];
            packet.extend(b"city/a");
            packet.extend(id.to_be_bytes());
            packet.resize(5 + 0x1F48 - 2, 0);
            write.write_all(&packet).await.unwrap();
        }
        write
    });
    let mut peer = Peer::new(tokio::io::join(read, tokio::io::sink()), version);
    // Its answers can't come through, and it does not take that for the broker's death.
    let mut pings = 0;
    while pings < 3 {
        match peer.packet().await {
            (0xC0, _) => pings += 1,
            (kind, _) => assert_eq!(kind, 0x40),
        }
    }
    assert!(!flood.is_finished(), "24 MB have gone into memory");
    assert_eq!(intake.arrivals().len(), 1);
    assert!(reading.status.stalls.load(Ordering::Relaxed) >= 1);
    intake.set_capacity(u64::MAX);
    let arrivals = timeout(Duration::from_secs(20), intake.arrived(u64::from(COUNT))).await.unwrap();
    assert_eq!(arrivals.len(), usize::from(COUNT));
    assert_eq!(reading.status.failures(BrokerCause::Silent), 0);
    drop(flood.await.unwrap());
    drop(peer);
    reading.end().await.unwrap();
}

#[tokio::test]
async fn a_source_that_stops_acknowledges_what_becomes_durable_then_leaves() {
    for version in VERSIONS {
        let ((listener, address), intake) = (listen().await, HandIntake::by_hand());
        let mut reading = Reading::start(settings(address, version), intake.clone());
        let (mut peer, _) = Peer::meet(&listener, version, false).await;
        peer.publish(QOS_1, 9, "city/a", b"1").await;
        intake.arrived(1).await;
        reading.begin_stop();
        peer.hears_no_puback().await;
        intake.release(1);
        assert_eq!(peer.pubacks(1).await, [9]);
        assert_eq!(peer.packet().await.0, 0xE0, "not a DISCONNECT");
        reading.end().await.unwrap();
    }
}

#[tokio::test]
async fn a_journal_that_has_stopped_ends_the_source_without_an_acknowledgement() {
    let ((listener, address), intake) = (listen().await, HandIntake::by_hand());
    let reading = Reading::start(settings(address, BrokerVersion::V5), intake.clone());
    let (mut peer, _) = Peer::meet(&listener, BrokerVersion::V5, false).await;
    peer.publish(QOS_1, 1, "city/a", b"1").await;
    intake.arrived(1).await;
    intake.stop();
    assert!(reading.ended_by_itself().await.is_err());
}

#[tokio::test]
async fn a_broker_whose_every_message_is_too_large_has_them_buried_acknowledged_and_goes_on_delivering() {
    for version in VERSIONS {
        let ((listener, address), intake) = (listen().await, HandIntake::automatic());
        let large = Broker { packet_bytes_max: 300_000, window_bytes_max: 1_000_000, ..settings(address, version) };
        let reading = Reading::start(large, intake.clone());
        let (mut peer, _) = Peer::meet(&listener, version, false).await;
        // mosquitto has 20 messages under way, and sends no other before one of them is acknowledged.
        const INFLIGHT: u16 = 20;
        for id in 1..=INFLIGHT {
            peer.publish(QOS_1, id, "city/a", &vec![b'x'; 150_000]).await;
        }
        peer.publish(0, 0, "city/b", &vec![b'y'; 150_000]).await;
        assert_eq!(peer.pubacks(usize::from(INFLIGHT)).await, (1..=INFLIGHT).collect::<Vec<_>>());
        peer.publish(QOS_1, 21, "city/a", b"1").await;
        assert_eq!(peer.pubacks(1).await, [21]);
        let (arrivals, reasons) = (intake.arrivals(), intake.reasons());
        assert_eq!(arrivals.len(), usize::from(INFLIGHT) + 2);
        assert_eq!(arrivals[0].payload, vec![b'x'; 100_000], "the beginning, as much as an event may have");
        assert_eq!((arrivals[20].address.as_str(), arrivals[20].payload.len()), ("city/b", 100_000));
        assert!(reasons.iter().all(|reason| reason.starts_with("an event of 150000 bytes")), "{reasons:?}");
        assert_eq!((reasons.len(), reading.status.buried.load(Ordering::Relaxed)), (21, 21));
        assert_eq!(reading.status.left_now.load(Ordering::Relaxed), 0);
        reading.end().await.unwrap();
    }
}

#[tokio::test]
async fn a_message_above_the_packet_limit_is_buried_by_its_beginning_and_the_connection_stands() {
    for version in VERSIONS {
        let ((listener, address), intake) = (listen().await, HandIntake::by_hand());
        let reading = Reading::start(settings(address, version), intake.clone());
        let (mut peer, _) = Peer::meet(&listener, version, false).await;
        peer.publish(QOS_1, 1, "city/a", b"1").await;
        // Three megabytes, where 50 kB are allowed.
        peer.publish(QOS_1, 2, "city/b", &vec![b'x'; 3_000_000]).await;
        peer.publish(QOS_1, 3, "city/a", b"2").await;
        let arrivals = intake.arrived(3).await;
        peer.hears_no_puback().await;
        intake.release(3);
        assert_eq!(peer.pubacks(3).await, [1, 2, 3]);
        assert_eq!((arrivals[1].address.as_str(), &*arrivals[2].payload), ("city/b", &b"2"[..]));
        let kept = arrivals[1].payload.len();
        assert!((49_900..50_000).contains(&kept), "{kept} bytes of the beginning");
        let reasons = intake.reasons();
        assert!(reasons[0].starts_with("a packet of 30000") && reasons.len() == 1, "{reasons:?}");
        assert_eq!(
            (reading.status.connects.load(Ordering::Relaxed), reading.status.buried.load(Ordering::Relaxed)),
            (1, 1)
        );
        reading.end().await.unwrap();
    }
}

#[tokio::test]
async fn a_topic_that_can_t_be_an_address_is_buried_and_acknowledged() {
    let ((listener, address), intake) = (listen().await, HandIntake::automatic());
    let reading = Reading::start(settings(address, BrokerVersion::V311), intake.clone());
    let (mut peer, _) = Peer::meet(&listener, BrokerVersion::V311, false).await;
    peer.publish(QOS_1, 1, &format!("city/{}", "a".repeat(2_000)), b"1").await;
    assert_eq!(peer.pubacks(1).await, [1]);
    assert_eq!((intake.arrivals()[0].address.as_str().len(), &*intake.arrivals()[0].payload), (1_024, &b"1"[..]));
    assert_eq!(intake.reasons().len(), 1);
    reading.end().await.unwrap();
}

#[tokio::test]
async fn another_packet_above_the_limit_ends_the_connection_by_its_header_alone() {
    let ((listener, address), intake) = (listen().await, HandIntake::automatic());
    let reading = Reading::start(settings(address, BrokerVersion::V5), intake);
    let (mut peer, _) = Peer::meet(&listener, BrokerVersion::V5, false).await;
    peer.stream.write_all(&[0x90, 0xFF, 0xFF, 0xFF, 0x7F]).await.unwrap();
    let (_again, _) = Peer::meet(&listener, BrokerVersion::V5, true).await;
    assert_eq!(reading.status.failures(BrokerCause::PacketTooLarge), 1, "{:?}", reading.status.last_error());
    reading.end().await.unwrap();
}

#[tokio::test]
async fn what_5_0_says_beside_the_payload_is_kept() {
    let ((listener, address), intake) = (listen().await, HandIntake::automatic());
    let reading = Reading::start(settings(address, BrokerVersion::V5), intake.clone());
    let (mut peer, connect) = Peer::meet(&listener, BrokerVersion::V5, false).await;
    let properties = &connect[11..11 + usize::from(connect[10])];
    assert!(properties.windows(3).any(|bytes| bytes == [0x21, 0, 8]), "Receive Maximum: {properties:x?}");
    assert!(properties.windows(5).any(|bytes| bytes == [0x11, 0, 0, 0x0E, 0x10]), "Session Expiry: {properties:x?}");
    let said = b"\x03\x00\x10application/json\x26\x00\x02id\x00\x04ev-1";
    peer.publish_with(QOS_1, 1, "city/a", said, b"{}").await;
    let arrival = &intake.arrived(1).await[0];
    assert_eq!(arrival.content_type.as_ref().unwrap().as_str(), "application/json");
    assert_eq!(arrival.origin, Origin::Id("ev-1".into()));
    reading.end().await.unwrap();
}

#[tokio::test]
async fn a_retained_message_is_stored_for_a_new_subscription_and_not_at_each_connecting() {
    let version = BrokerVersion::V311;
    let ((listener, address), intake) = (listen().await, HandIntake::automatic());
    let kept = |filter: &str, settled| KeptSubscription { filter: filter.into(), settled };
    let before =
        KeptSession { subscriptions: vec![kept("city/#", true), kept("old/#", true)], ..KeptSession::default() };
    let memory = std::sync::Arc::new(Kept(before.into()));
    let two = ["city/#", "new/#"].map(|filter| BrokerFilter::at_least_once(filter).unwrap());
    let broker = Broker { filters: two.to_vec(), ..settings(address, version) };
    let reading = Reading::start_with(broker, intake.clone(), memory);
    let (stream, _) = listener.accept().await.unwrap();
    let mut peer = Peer::new(stream, version);
    peer.packet().await;
    peer.connack(true, 0).await;
    // SUBACK for both: one code each.
    let (kind, body) = peer.packet().await;
    assert_eq!(kind, 0xA2, "what is no longer configured is unsubscribed from");
    peer.write(0xB0, &body[..2]).await;
    let (_, body) = peer.packet().await;
    peer.write(0x90, &[body[0], body[1], 1, 1]).await;
    // What was stored before is not remembered here; then it is.
    peer.publish(QOS_1 | RETAINED, 1, "city/a", b"old").await;
    peer.publish(QOS_1 | RETAINED, 2, "city/a", b"old").await;
    assert_eq!(peer.pubacks(2).await, [1, 2]);
    peer.publish(QOS_1 | RETAINED, 3, "new/a", b"first").await;
    peer.publish(QOS_1, 4, "city/a", b"now").await;
    assert_eq!(peer.pubacks(2).await, [3, 4]);
    let stored: Vec<_> = intake.arrivals().iter().map(|arrival| arrival.payload.to_vec()).collect();
    assert_eq!(stored, [b"old".to_vec(), b"first".to_vec(), b"now".to_vec()]);
    assert_eq!(reading.status.retained_again.load(Ordering::Relaxed), 1);
    // Two answered pings without a retained message between them settle the new one.
    for _ in 0..3 {
        assert_eq!(peer.packet().await.0, 0xC0);
        peer.write(0xD0, &[]).await;
    }
    let memory = reading.kept.clone();
    reading.end().await.unwrap();
    let remembered = memory.0.lock().unwrap().clone();
    assert_eq!(remembered.subscriptions, [kept("city/#", true), kept("new/#", true)]);
    assert_eq!(remembered.contents.len(), 1, "something else came live of city/a: what it retains next is news");
}

#[tokio::test]
async fn the_password_is_read_at_each_connecting_and_is_in_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    let ((listener, address), intake) = (listen().await, HandIntake::automatic());
    let login = Some(BrokerLogin { user: "post".into(), password: Some(path.clone()) });
    let reading = Reading::start(Broker { login, ..settings(address, BrokerVersion::V311) }, intake);
    while reading.status.failures(BrokerCause::Files) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(reading.status.last_error().unwrap().contains("password: No such file"));
    tokio::fs::write(&path, "geheim\n").await.unwrap();
    let mut connect = Vec::new();
    let mut peer = None;
    // It may have been looked at between the two.
    while !connect.ends_with(b"\x00\x04post\x00\x06geheim") {
        let (stream, _) = listener.accept().await.unwrap();
        let mut next = Peer::new(stream, BrokerVersion::V311);
        connect = next.packet().await.1;
        next.connack(false, 5).await;
        peer = Some(next);
    }
    drop(peer);
    while reading.status.failures(BrokerCause::Refused) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!reading.status.last_error().unwrap().contains("geheim"));
    reading.end().await.unwrap();
}

#[tokio::test]
async fn whatever_bytes_a_broker_sends_the_source_connects_again() {
    // A small generator is enough: the seed is fixed, and each failure can be repeated.
    let mut state = 0x1234_5678_9ABC_DEF1_u64;
    let mut draw = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    for version in VERSIONS {
        let ((listener, address), intake) = (listen().await, HandIntake::automatic());
        let reading = Reading::start(settings(address, version), intake);
        for _ in 0..100 {
            let (mut peer, _) = Peer::meet(&listener, version, true).await;
            let mut garbage = vec![(draw()[0] & 0xF0) | (draw()[1] & 0x02), 1 + draw()[0] % 60];
            garbage.extend((0..10).flat_map(|_| draw()));
            drop(peer.stream.write_all(&garbage).await);
        }
        let connects = reading.status.connects.load(Ordering::Relaxed);
        assert!(connects >= 99, "{connects} connections, at last {:?}", reading.status.last_error());
        assert_eq!(reading.status.failures(BrokerCause::Client), 0, "rumqttc panicked");
        reading.end().await.unwrap();
    }
}

#[tokio::test]
async fn a_filter_that_is_refused_or_granted_with_less_is_counted_and_the_others_are_read() {
    for (version, refusal) in VERSIONS.into_iter().zip([0x80, 0x87]) {
        let ((listener, address), intake) = (listen().await, HandIntake::automatic());
        let three = ["secret/#", "poor/#", "city/#"].map(|filter| BrokerFilter::at_least_once(filter).unwrap());
        let reading = Reading::start(Broker { filters: three.to_vec(), ..settings(address, version) }, intake.clone());
        let (stream, _) = listener.accept().await.unwrap();
        let mut peer = Peer::new(stream, version);
        peer.packet().await;
        peer.connack(false, 0).await;
        let (_, subscribe) = peer.packet().await;
        let none: &[u8] = if version == BrokerVersion::V5 { &[0] } else { &[] };
        peer.write(0x90, &[&subscribe[..2], none, &[refusal, 0, 1]].concat()).await;
        peer.publish(QOS_1, 1, "city/a", b"1").await;
        assert_eq!(peer.pubacks(1).await, [1]);
        assert_eq!(reading.status.filters_refused_now.load(Ordering::Relaxed), 2);
        let held: Vec<_> =
            reading.kept.0.lock().unwrap().subscriptions.iter().map(|kept| kept.filter.clone()).collect();
        assert_eq!(held, ["poor/#", "city/#"]);
        reading.end().await.unwrap();
    }
}

#[tokio::test]
async fn a_broker_that_wants_no_keep_alive_is_not_flooded_with_pings() {
    let ((listener, address), intake) = (listen().await, HandIntake::automatic());
    let reading = Reading::start(settings(address, BrokerVersion::V5), intake.clone());
    let (stream, _) = listener.accept().await.unwrap();
    let mut peer = Peer::new(stream, BrokerVersion::V5);
    peer.packet().await;
    // Server Keep Alive 0 (section 3.2.2.3.14).
    peer.write(0x20, &[0, 0, 3, 0x13, 0, 0]).await;
    let mut pings = 0;
    let heard = timeout(Duration::from_millis(500), async {
        loop {
            pings += u32::from(peer.packet().await.0 == 0xC0);
        }
    });
    assert!(heard.await.is_err());
    assert!(pings <= 1, "{pings} pings in half a second");
    peer.publish(QOS_1, 1, "city/a", b"1").await;
    intake.arrived(1).await;
    reading.end().await.unwrap();
}

#[tokio::test]
async fn a_broker_that_is_away_holds_no_other_up() {
    let (nobody, away) = listen().await;
    drop(nobody);
    let ((listener, address), intake) = (listen().await, HandIntake::automatic());
    let lost = Reading::start(settings(away, BrokerVersion::V311), intake.clone());
    let reading = Reading::start(settings(address, BrokerVersion::V5), intake.clone());
    let (mut peer, _) = Peer::meet(&listener, BrokerVersion::V5, false).await;
    peer.publish(QOS_1, 1, "city/a", b"1").await;
    assert_eq!(peer.pubacks(1).await, [1]);
    while lost.status.failures(BrokerCause::Connect) < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!lost.status.connected_now.load(Ordering::Relaxed));
    lost.end().await.unwrap();
    reading.end().await.unwrap();
}

#[tokio::test]
async fn a_repetition_is_not_acknowledged_before_what_it_repeats_is_on_disk() {
    let version = BrokerVersion::V311;
    let ((listener, address), intake) = (listen().await, HandIntake::by_hand());
    let subscriptions = vec![KeptSubscription { filter: "city/#".into(), settled: true }];
    let memory = std::sync::Arc::new(Kept(KeptSession { subscriptions, ..KeptSession::default() }.into()));
    let reading = Reading::start_with(settings(address, version), intake.clone(), memory);
    let (mut peer, _) = Peer::meet(&listener, version, true).await;
    peer.publish(QOS_1 | RETAINED, 1, "city/a", b"new").await;
    intake.arrived(1).await;
    // It is with the journal, and not on disk, when the connection ends.
    drop(peer);
    let (mut peer, _) = Peer::meet(&listener, version, true).await;
    peer.publish(QOS_1 | RETAINED | DUP, 1, "city/a", b"new").await;
    peer.hears_no_puback().await;
    intake.release(1);
    assert_eq!(peer.pubacks(1).await, [1]);
    assert_eq!((intake.arrivals().len(), reading.status.retained_again.load(Ordering::Relaxed)), (1, 1));
    reading.end().await.unwrap();
}

#[tokio::test]
async fn however_many_filters_are_no_longer_configured_the_new_ones_are_subscribed_to() {
    for version in VERSIONS {
        let ((listener, address), intake) = (listen().await, HandIntake::automatic());
        let old = |number| KeptSubscription { filter: format!("old/{number}"), settled: true };
        let before = KeptSession { subscriptions: (0..60).map(old).collect(), ..KeptSession::default() };
        let memory = std::sync::Arc::new(Kept(before.into()));
        let broker = Broker { window: 1, ..settings(address, version) };
        let reading = Reading::start_with(broker, intake.clone(), memory);
        let (stream, _) = listener.accept().await.unwrap();
        let mut peer = Peer::new(stream, version);
        peer.packet().await;
        peer.connack(true, 0).await;
        assert_eq!(peer.grant().await.len(), 60);
        peer.publish(QOS_1, 1, "city/a", b"1").await;
        assert_eq!(peer.pubacks(1).await, [1]);
        reading.end().await.unwrap();
    }
}

#[tokio::test]
async fn no_word_about_subscriptions_has_a_packet_id_that_another_has_still() {
    let version = BrokerVersion::V311;
    let ((listener, address), intake) = (listen().await, HandIntake::automatic());
    let old = |filter: &str| KeptSubscription { filter: filter.into(), settled: true };
    let before = KeptSession { subscriptions: vec![old("old/1"), old("old/2")], ..KeptSession::default() };
    let reading = Reading::start_with(settings(address, version), intake, std::sync::Arc::new(Kept(before.into())));
    let (stream, _) = listener.accept().await.unwrap();
    let mut peer = Peer::new(stream, version);
    peer.packet().await;
    peer.connack(true, 0).await;
    let (mut unanswered, mut kinds) = (Vec::new(), Vec::new());
    while kinds.len() < 3 {
        match timeout(Duration::from_millis(200), peer.packet()).await {
            Ok((0xC0, _)) => peer.write(0xD0, &[]).await,
            Ok((kind, body)) => {
                assert!(!unanswered.contains(&body[..2].to_vec()), "{body:?} while {unanswered:?}");
                unanswered.push(body[..2].to_vec());
                kinds.push(kind);
            }
            Err(_) if unanswered.is_empty() => {}
            Err(_) => peer.write(0xB0, &unanswered.remove(0)).await,
        }
    }
    assert_eq!(kinds, [0xA2, 0xA2, 0x82]);
    reading.end().await.unwrap();
}
