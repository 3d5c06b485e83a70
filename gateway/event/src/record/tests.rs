use proptest::prelude::*;

use super::*;

fn full() -> Event {
    Event {
        source: SourceKind::Serial,
        device: DeviceId::new("node-7").unwrap(),
        address: Address::new("link/node-7/temperature").unwrap(),
        topic: Topic::new("air-quality").unwrap(),
        key: Bytes::from_static(b"north"),
        origin: Origin::Sequence { boot: 3, sequence: 300 },
        time: EventTime {
            device: Some(WallTime(1_700_000_000_000)),
            wall: WallTime(1_700_000_000_250),
            monotonic: Monotonic(4_000),
            boot: BootId(0x0102_0304_0506_0708),
            quality: ClockQuality::Synced,
        },
        content_type: Some(ContentType::new("application/json").unwrap()),
        reason: Some("no route".into()),
        payload: Bytes::from_static(b"{\"v\":21.5}"),
    }
}

/// The bytes of version 1, pinned: they are on people's cards.
#[test]
fn the_header_of_version_1_keeps_its_bytes() {
    let golden = b"\x01\xf6\x01\x08\x07\x06\x05\x04\x03\x02\x01\xa0\x1f\x17link/node-7/temperature\xf3\x03\x06node-7\x03\xac\x02\
        \x10application/json\x08no route";
    let stored = encode_event(&full());
    assert_eq!(stored.header.as_ref(), golden);
    assert_eq!(decode_event(&full().topic, stored).unwrap(), full());
}

#[test]
fn an_event_keyed_by_its_device_stores_the_name_once() {
    let event = Event { key: Bytes::from_static(b"node-7"), ..full() };
    let stored = encode_event(&event);
    assert_eq!(stored.header.len() + 7, encode_event(&full()).header.len());
    assert_eq!(decode_event(&event.topic, stored).unwrap(), event);
}

#[test]
fn every_cut_of_a_header_is_refused_not_misread() {
    let stored = encode_event(&full());
    for length in 0..stored.header.len() {
        let cut = StoredRecord { header: stored.header.slice(..length), ..stored.clone() };
        assert!(decode_event(&full().topic, cut).is_err(), "cut to {length}");
    }
}

#[test]
fn a_newer_version_is_refused_by_its_number() {
    let stored = StoredRecord { header: Bytes::from_static(&[2, 0]), ..encode_event(&full()) };
    assert_eq!(decode_event(&full().topic, stored), Err(RecordError::Version(2)));
}

fn origins() -> impl Strategy<Value = Origin> {
    prop_oneof![
        Just(Origin::Unmarked),
        (any::<u64>(), any::<u64>()).prop_map(|(boot, sequence)| Origin::Sequence { boot, sequence }),
        "[a-z0-9-]{1,40}".prop_map(|id| Origin::Id(id.into())),
    ]
}

proptest! {
    #[test]
    fn any_event_reads_as_it_was_written(
        device in "[^\\p{C}]{1,40}", key in prop::collection::vec(any::<u8>(), 0..40), origin in origins(),
        device_time in any::<Option<i64>>(), wall in any::<i64>(), monotonic in any::<u64>(),
        payload in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        prop_assume!(device.len() <= DeviceId::BYTES_MAX && !device.chars().any(char::is_control));
        let event = Event {
            device: DeviceId::new(&device).unwrap(), key: key.into(), origin, payload: payload.into(), reason: None,
            time: EventTime {
                device: device_time.map(WallTime), wall: WallTime(wall), monotonic: Monotonic(monotonic), ..full().time
            },
            ..full()
        };
        let stored = encode_event(&event);
        prop_assert_eq!(device_of(&stored.key, &stored.header).unwrap(), event.device.as_str());
        prop_assert_eq!(decode_event(&event.topic, stored).unwrap(), event);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(header in prop::collection::vec(any::<u8>(), 0..80)) {
        let stored = StoredRecord { header: header.into(), ..encode_event(&full()) };
        // Either outcome is right; that there is one is the point.
        let outcome = decode_event(&full().topic, stored);
        prop_assert!(outcome.is_ok() || outcome.is_err());
    }
}
