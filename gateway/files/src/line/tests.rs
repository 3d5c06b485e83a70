use bytes::Bytes;
use lamppost_event::{
    Address, BootId, ClockQuality, ContentType, DeviceId, Epoch, Event, EventTime, Monotonic, Offset, Partition,
    SourceKind, Topic, TopicPartition,
};
use serde_json::{Value, json};

use super::*;

fn now(quality: ClockQuality) -> Now {
    Now { wall: WallTime(1_772_432_100_123), monotonic: Monotonic(9_000), boot: BootId(7), quality }
}

fn stored(key: &[u8], payload: &[u8]) -> Stored {
    let event = Event {
        source: SourceKind::Mqtt,
        device: DeviceId::new("node \"7\"").unwrap(),
        address: Address::new("city/air/7").unwrap(),
        topic: Topic::new("air").unwrap(),
        key: Bytes::copy_from_slice(key),
        origin: Origin::Id("node-7:1".into()),
        time: EventTime::received(now(ClockQuality::Synced), None),
        content_type: Some(ContentType::new("application/json").unwrap()),
        reason: None,
        payload: Bytes::copy_from_slice(payload),
    };
    Stored { partition: Partition(3), offset: Offset(42), epoch: Epoch(0xc0ffee), event }
}

fn line_of(stored: &Stored) -> Vec<u8> {
    let mut out = Vec::new();
    event(&mut out, &GatewayId::new("post-17").unwrap(), stored, now(ClockQuality::Synced));
    out
}

fn read(stored: &Stored) -> Value {
    let line = line_of(stored);
    assert!(is_line(&line) && !line[..line.len() - 1].contains(&b'\n'), "{}", String::from_utf8_lossy(&line));
    serde_json::from_slice(&line).unwrap()
}

#[test]
fn a_line_holds_the_whole_event() {
    let line = read(&stored(b"node-7", b"{\"c\": 21.50,\r\n \"n\": [1,\n2]}\n"));
    assert_eq!(
        line,
        json!({
            "ce_specversion": "1.0", "ce_id": "post-17/0000000000c0ffee/air/3/42", "ce_source": "/lamppost/post-17/mqtt",
            "ce_type": "lamppost.event.v1", "ce_subject": "city/air/7", "ce_time": "2026-03-02T06:15:00.123Z",
            "content-type": "application/json", "ce_device": "node \"7\"", "ce_senderid": "node-7:1", "ce_clock": "synced",
            "topic": "air", "partition": 3, "offset": 42, "key": "node-7", "data": {"c": 21.5, "n": [1, 2]},
        })
    );
    let bytes = line_of(&stored(b"", b" 21.500 "));
    assert!(bytes.ends_with(b",\"key\":\"\",\"data\":21.500}\n"), "numbers stay as they were written");
}

#[test]
fn what_is_not_json_that_any_reader_takes_goes_in_base64() {
    let deep = "[".repeat(65) + &"]".repeat(65);
    let long = "1".repeat(301);
    for payload in [
        &b""[..],
        b"\xff\xfe",
        b"21,5",
        b"{\"a\":}",
        b"\"\xff\"",
        b"NaN",
        deep.as_bytes(),
        long.as_bytes(),
        b"1 2",
        b"1e999",
        b"{\"c\":-1E+400}",
        b"\"\\ud800\"",
        b"{\"\\udc00\":1}",
        b"\"a\nb\"",
    ] {
        let line = read(&stored(b"k", payload));
        assert_eq!(line["data_base64"], json!(STANDARD.encode(payload)), "{payload:?}");
        assert!(line.get("data").is_none());
    }
    assert_eq!(read(&stored(b"\xff\x00", b"1"))["key_base64"], json!("/wA="));
    let fits = "[".repeat(64) + "\"]]\\\"[\"" + &"]".repeat(64);
    assert!(read(&stored(b"k", fits.as_bytes())).get("data").is_some());
}

#[test]
fn a_time_of_an_unset_clock_says_so_and_is_corrected_as_well_as_it_can_be() {
    let mut stored = stored(b"k", b"1");
    let dawn = Now { wall: WallTime(5), monotonic: Monotonic(8_000), ..now(ClockQuality::Unset) };
    stored.event.time = EventTime::received(dawn, Some(WallTime(0)));
    stored.event.reason = Some("no route".into());
    let line = read(&stored);
    assert_eq!(
        (line["ce_time"].as_str(), line["ce_clock"].as_str()),
        (Some("2026-03-02T06:14:59.123Z"), Some("unset"))
    );
    assert_eq!(
        (line["ce_devicetime"].as_str(), line["ce_reason"].as_str()),
        (Some("1970-01-01T00:00:00.000Z"), Some("no route"))
    );
}

#[test]
fn a_gap_is_a_line_of_its_own() {
    let at = TopicPartition { topic: Topic::new("air").unwrap(), partition: Partition(3) };
    let mut out = Vec::new();
    gap(&mut out, &Gap { at, from: Offset(5), to: Offset(9), reason: "a \"worn\"\ncard".into() });
    assert!(is_line(&out));
    let read: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        read,
        json!({"gap": {"topic": "air", "partition": 3, "from": 5, "to": 9, "reason": "a \"worn\"\ncard"}})
    );
}

#[test]
fn a_torn_line_is_none() {
    let line = line_of(&stored(b"k", b"{\"a\":1}"));
    for end in 0..line.len() {
        assert!(!is_line(&line[..end]), "{end}");
    }
    assert!(!is_line(b"\0\0\0\n") && !is_line(b"\n") && !is_line(b"12\n"));
}
