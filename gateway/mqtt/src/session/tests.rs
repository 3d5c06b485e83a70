use proptest::prelude::*;

use super::*;
use crate::acks::SUCCESS;
use crate::codec::{decode, frame};

fn session(version: Version, window: u16) -> Session {
    let limits = Limits { window, ..Limits::default() };
    Session::new(version, DeviceId::new("d1").unwrap(), Arc::new(limits))
}

fn publish(packet_id: u16, sender_id: Option<&'static str>) -> Packet<'static> {
    let qos = if packet_id == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
    let properties = PublishProperties { sender_id, ..PublishProperties::default() };
    Packet::Publish(Publish { qos, retain: false, topic: "a/b", packet_id, properties, payload: b"x" })
}

const NOW: fn() -> Monotonic = || Monotonic(5_000);

fn offered(effect: Effect) -> (Arrival, Pending) {
    match effect {
        Effect::Offer(offer) => {
            let (packet_id, bytes, answer, message) = (offer.packet_id, 1, Bytes::new(), offer.message);
            (offer.arrival, Pending { packet_id, bytes, answer, message, reason: SUCCESS })
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_publish_becomes_an_arrival_of_the_client() {
    let mut session = session(Version::V5, 64);
    let mut out = BytesMut::new();
    let (arrival, pending) = offered(session.receive(publish(7, Some("ev-1")), false, NOW, &mut out).unwrap());
    assert_eq!((arrival.source, arrival.device.as_str(), arrival.address.as_str()), (SourceKind::Mqtt, "d1", "a/b"));
    assert_eq!(arrival.origin, Origin::Id("ev-1".into()));
    assert_eq!((pending.packet_id, pending.message.is_some()), (Some(7), false));
    assert!(out.is_empty());
}

#[test]
fn a_sender_id_that_is_too_long_or_empty_is_no_mark() {
    let long: &'static str = Box::leak("x".repeat(256).into_boxed_str());
    for id in [long, ""] {
        let effect = session(Version::V5, 64).receive(publish(0, Some(id)), false, NOW, &mut BytesMut::new()).unwrap();
        assert_eq!(offered(effect).0.origin, Origin::Unmarked);
    }
}

#[test]
fn a_v4_session_with_a_full_window_is_not_read_until_something_is_durable() {
    let mut session = session(Version::V4, 1);
    let mut out = BytesMut::new();
    let (_, pending) = offered(session.receive(publish(1, None), false, NOW, &mut out).unwrap());
    assert!(session.may_read());
    session.taken(Commit(1), pending);
    assert!(!session.may_read());
    assert_eq!(session.durable(Commit(0), &mut out, |_| ()), 0);
    assert_eq!(session.durable(Commit(1), &mut out, |_| ()), 1);
    assert_eq!(&out[..], [0x40, 2, 0, 1]);
    assert!(session.may_read());
}

#[test]
fn a_message_for_subscribers_leaves_only_when_it_is_durable() {
    let mut session = session(Version::V4, 8);
    let mut out = BytesMut::new();
    let (_, pending) = offered(session.receive(publish(0, None), true, NOW, &mut out).unwrap());
    session.taken(Commit(4), pending);
    let mut left = Vec::new();
    session.durable(Commit(3), &mut out, |publication| left.push(publication));
    assert!(left.is_empty());
    session.durable(Commit(4), &mut out, |publication| left.push(publication));
    assert_eq!((left.len(), left[0].topic.as_str(), left[0].qos), (1, "a/b", Qos::AtMostOnce));
}

/// A packet with a plausible header, so that more than the first check is reached.
fn likely_packet() -> impl Strategy<Value = Vec<u8>> {
    let header = prop_oneof![
        Just(0x30_u8),
        Just(0x32),
        Just(0x33),
        Just(0x40),
        Just(0x82),
        Just(0xA2),
        Just(0xC0),
        Just(0xE0),
        any::<u8>()
    ];
    let piece = prop_oneof![
        Just(b"\0\x03a/b".to_vec()),
        Just(b"\0\x01\0".to_vec()),
        Just(b"\0\x01".to_vec()),
        Just(b"\x07\x23\0\x02\x26\0\0\0\0".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..6),
    ];
    (header, proptest::collection::vec(piece, 0..5)).prop_map(|(header, pieces)| {
        let body = pieces.concat();
        [vec![header, body.len() as u8], body].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_packets_make_the_session_panic_or_exceed_its_window(
        packets in proptest::collection::vec(likely_packet(), 1..20),
        v5 in any::<bool>(),
    ) {
        let version = if v5 { Version::V5 } else { Version::V4 };
        let mut session = session(version, 3);
        let mut out = BytesMut::new();
        for (at, bytes) in packets.iter().enumerate() {
            if !session.may_read() {
                session.durable(Commit(at as u64), &mut out, |_| ());
            }
            let Ok(Ok(frame)) = frame(bytes, 1000) else { continue };
            let Ok(packet) = decode(version, frame, &bytes[frame.body..frame.end]) else { continue };
            match session.receive(packet, true, NOW, &mut out) {
                Ok(effect @ Effect::Offer(_)) => {
                    let (arrival, pending) = offered(effect);
                    prop_assert!(!arrival.address.as_str().contains(['+', '#']));
                    session.taken(Commit(at as u64 + 2), pending);
                }
                Ok(_) => {}
                Err(close) => prop_assert!(close.cause.reason() >= 0x80),
            }
            prop_assert!(session.acks.unacknowledged() <= 3);
        }
    }
}
