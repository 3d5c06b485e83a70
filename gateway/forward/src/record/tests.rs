use bytes::Bytes;
use lamppost_event::{
    Address, BootId, ClockQuality, ContentType, DeviceId, Epoch, Event, EventId, EventTime, Monotonic, Offset,
    Partition, SourceKind, Topic, WallTime,
};
use proptest::prelude::*;

use super::*;

fn stored(origin: Origin, reason: Option<&str>, payload: usize) -> Stored {
    let time = EventTime {
        device: Some(WallTime(1_700_000_000_500)),
        wall: WallTime(1_700_000_001_000),
        monotonic: Monotonic(7),
        boot: BootId(1),
        quality: ClockQuality::Synced,
    };
    Stored {
        partition: Partition(3),
        offset: Offset(42),
        epoch: Epoch(0x00c0_ffee_0000_0001),
        event: Event {
            source: SourceKind::Mqtt,
            device: DeviceId::new("dev-3").unwrap(),
            address: Address::new("city/air/3").unwrap(),
            topic: Topic::new("air-quality").unwrap(),
            key: Bytes::from_static(b"dev-3"),
            origin,
            time,
            content_type: Some(ContentType::new("application/json").unwrap()),
            reason: reason.map(Into::into),
            payload: Bytes::from(vec![b'x'; payload]),
        },
    }
}

fn written(stored: &Stored) -> Vec<(&'static str, String)> {
    let stamp =
        Stamp { time: WallTime(stored.event.time.wall.0 + 60_000), received: stored.event.time.wall, clock: "synced" };
    let (mut out, mut text) = (Vec::new(), String::new());
    let gateway = GatewayId::new("post-17").unwrap();
    headers(stored, &gateway, stamp, None, &mut text, &mut |key, value| out.push((key, value.to_owned())));
    out
}

#[test]
fn the_headers_of_an_event_are_these() {
    let expected = [
        ("ce_specversion", "1.0"),
        ("ce_id", "post-17/00c0ffee00000001/air-quality/3/42"),
        ("ce_source", "/lamppost/post-17/mqtt"),
        ("ce_type", "lamppost.event.v1"),
        ("ce_subject", "city/air/3"),
        ("ce_time", "2023-11-14T22:13:21.000Z"),
        ("content-type", "application/json"),
        ("ce_device", "dev-3"),
        ("ce_senderid", "dev-3:17"),
        ("ce_clock", "synced"),
        ("ce_devicetime", "2023-11-14T22:13:20.500Z"),
    ];
    let written = written(&stored(Origin::Id("dev-3:17".into()), None, 3));
    assert_eq!(written.iter().map(|(key, value)| (*key, value.as_str())).collect::<Vec<_>>(), expected);
}

#[test]
fn a_sequence_goes_as_boot_and_sequence_and_a_dead_letter_says_why() {
    let written = written(&stored(Origin::Sequence { boot: 3, sequence: 9 }, Some("no route"), 3));
    for expected in [("ce_senderboot", "3"), ("ce_senderseq", "9"), ("ce_reason", "no route")] {
        assert!(written.iter().any(|(key, value)| (*key, value.as_str()) == expected), "{expected:?} in {written:?}");
    }
}

#[test]
fn only_a_dead_letter_is_cut_and_only_when_it_does_not_fit() {
    assert_eq!(cut(&stored(Origin::Unmarked, None, 5000), 2000), None);
    assert_eq!(cut(&stored(Origin::Unmarked, Some("why"), 100), 2000), None);
    let room = cut(&stored(Origin::Unmarked, Some("why"), 5000), 2000).unwrap();
    assert!((1000..2000).contains(&room), "{room}");
}

#[test]
fn a_records_size_is_that_of_kafkas_format() {
    // KIP-98: lengths are zigzag varints, so 63 takes one byte and 64 takes two.
    assert_eq!(header_bytes("ce_id", &"x".repeat(63)), 1 + 5 + 1 + 63);
    assert_eq!(header_bytes("ce_id", &"x".repeat(64)), 1 + 5 + 2 + 64);
    assert_eq!(body_bytes(b"dev-3", &[0; 8_192]), 7 + 1 + 5 + 3 + 8_192);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_id_header_is_an_event_id_and_the_bytes_counted_cover_what_is_sent(
        id in "[ -~]{0,255}", offset in any::<u64>(), payload in 0_usize..5000,
    ) {
        let mut stored = stored(Origin::Id(id.into()), None, payload);
        stored.offset = Offset(offset);
        let written = written(&stored);
        let parsed: EventId = written.iter().find(|(key, _)| *key == header::ID).unwrap().1.parse().unwrap();
        prop_assert_eq!((parsed.offset, parsed.epoch), (stored.offset, stored.epoch));
        let sent = written.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() + 5 + payload;
        prop_assert!(sent <= bytes_besides_payload(&stored) + payload, "{sent}");
    }
}
