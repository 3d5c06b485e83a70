use lamppost_event::{BootId, ClockQuality, WallTime};
use proptest::prelude::*;

use super::*;

const NOW: Now = Now {
    wall: WallTime(1_800_000_000_000),
    monotonic: Monotonic(7_000),
    boot: BootId(1),
    quality: ClockQuality::Synced,
};

fn record() -> SessionRecord {
    let wish = Wish {
        filter: "cmd/+".into(),
        qos: Qos::AtLeastOnce,
        no_local: true,
        retain_as_published: false,
        retain_handling: 2,
        subscription_id: Some(5),
    };
    SessionRecord {
        expiry: Duration::from_secs(600),
        away: None,
        wishes: vec![Noted { wish, owed: false }],
        since: 0,
        owner: 0,
    }
}

fn message() -> Message {
    Message {
        topic: Address::new("a/b").unwrap(),
        payload: Bytes::from_static(b"on"),
        qos: Qos::AtLeastOnce,
        retain: true,
        publisher: DeviceId::new("d1").unwrap(),
        expires: None,
        properties: Bytes::from_static(&[1, 1]),
    }
}

#[test]
fn a_session_has_these_bytes() {
    let bytes = record().encode();
    assert_eq!(&bytes[..], b"\x01\x58\x02\0\0\0\x01\0\x05\0cmd/+\x25\x05\0\0\0");
    assert_eq!(SessionRecord::decode(&bytes), Some(record()));
    let mut owing = record();
    owing.wishes[0].owed = true;
    assert_eq!(&owing.encode()[..], b"\x01\x58\x02\0\0\0\x01\0\x05\0cmd/+\x65\x05\0\0\0");
    assert_eq!(SessionRecord::decode(&owing.encode()), Some(owing));
    let away = SessionRecord {
        away: Some(Absence::begun(NOW)),
        expiry: Duration::MAX,
        wishes: Vec::new(),
        since: 0,
        owner: 0,
    };
    assert_eq!(SessionRecord::decode(&away.encode()), Some(away.clone()));
    let for_long = Some(Absence { since: NOW, before_ms: 3_600_000 });
    let away = SessionRecord { away: for_long, ..away };
    assert_eq!(away.encode().len(), 8 + 25 + 8);
    assert_eq!(SessionRecord::decode(&away.encode()), Some(away));
    let successor = SessionRecord { since: 258, ..record() };
    assert_eq!(&successor.encode()[bytes.len()..], b"\x02\x01\0\0\0\0\0\0");
    assert_eq!(SessionRecord::decode(&successor.encode()), Some(successor));
    let somebodys = SessionRecord { owner: 3, ..record() };
    assert_eq!(&somebodys.encode()[bytes.len()..], b"\0\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0");
    assert_eq!(SessionRecord::decode(&somebodys.encode()), Some(somebodys));
    assert_eq!(SessionRecord::decode(&Bytes::from_static(b"\x02\0\0\0\0\0\0\0")), None, "a newer version");
}

#[test]
fn a_message_has_these_bytes_and_its_expiry_goes_on_over_a_restart() {
    let bytes = encode_message(&message(), NOW);
    assert_eq!(&bytes[..], b"\x01\x03\x02d1\x03\0a/b\x02\0\0\0\x01\x01on");
    assert_eq!(decode_message(&bytes, NOW), Some(message()));
    let mortal = Message { expires: Some(Monotonic(67_000)), ..message() };
    let bytes = encode_message(&mortal, NOW);
    let later = Now { monotonic: Monotonic(17_000), ..NOW };
    assert_eq!(decode_message(&bytes, later), Some(mortal.clone()));
    let booted = Now { monotonic: Monotonic(1_000), boot: BootId(2), wall: WallTime(NOW.wall.0 + 20_000), ..NOW };
    assert_eq!(decode_message(&bytes, booted).unwrap().expires, Some(Monotonic(41_000)));
}

#[test]
fn a_will_has_these_bytes_and_those_of_before_are_read() {
    let gone = WillRecord { delay_s: 30, silence_s: None, expiry_s: None, user: None, message: message() };
    let bytes = gone.encode(NOW);
    assert_eq!(&bytes[..], b"\x1e\0\0\0\x02\0\x01\x03\x02d1\x03\0a/b\x02\0\0\0\x01\x01on");
    assert_eq!(WillRecord::decode(&bytes, NOW), Some(gone.clone()));
    let here = WillRecord { silence_s: Some(90), expiry_s: Some(7), ..gone.clone() };
    let bytes = here.encode(NOW);
    assert_eq!(&bytes[..14], b"\x1e\0\0\0\x02\x03\x5a\0\0\0\x07\0\0\0");
    assert_eq!(WillRecord::decode(&bytes, NOW), Some(here));
    let of_a_user = WillRecord { user: Some("anna".into()), ..gone.clone() };
    let bytes = of_a_user.encode(NOW);
    assert_eq!(&bytes[..14], b"\x1e\0\0\0\x02\x04\x04\0anna\x01\x03");
    assert_eq!(WillRecord::decode(&bytes, NOW), Some(of_a_user));
    let before = [&b"\x1e\0\0\0"[..], &encode_message(&message(), NOW)].concat();
    assert_eq!(WillRecord::decode(&before.into(), NOW), Some(gone));
}

#[test]
fn keys_are_read_back_and_a_sessions_messages_sort_by_number() {
    let device = DeviceId::new("pump-7").unwrap();
    assert_eq!(read_queue_key(&queue_key(&device, 300)), Some((device.clone(), 300)));
    assert!(queue_key(&device, 255) < queue_key(&device, 256));
    assert_eq!(device_in(&session_key(&device)), Some(device.clone()));
    assert_eq!(will_key(&device, 5), b"wpump-7\0\0\0\0\0\0\0\0\x05");
    for number in [0, 5, u64::MAX] {
        assert_eq!(read_will_key(&will_key(&device, number)), Some((device.clone(), number)));
    }
    assert_eq!(read_message_key(&message_key(9)), Some(9));
    assert_eq!(retained_key("a/b"), b"ra/b");
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), cut in 0_usize..60) {
        let bytes = Bytes::from(bytes);
        read_queue_key(&bytes);
        SessionRecord::decode(&bytes);
        decode_message(&bytes, NOW);
        read_will_key(&bytes);
        WillRecord::decode(&bytes, NOW);
        let mut begun = record().encode().to_vec();
        begun.truncate(cut);
        begun.extend(&bytes);
        SessionRecord::decode(&begun.into());
    }
}
