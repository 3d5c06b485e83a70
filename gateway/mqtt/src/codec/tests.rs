//! The codec against rumqttc's, which others wrote: each reads what the other writes.

use bytes::BytesMut;
use proptest::prelude::*;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use super::*;

fn decode_all(version: Version, bytes: &[u8]) -> Packet<'_> {
    let frame = frame(bytes, 1 << 20).unwrap().unwrap();
    assert_eq!(frame.end, bytes.len());
    decode(version, frame, &bytes[frame.body..]).unwrap()
}

fn written_v5(packet: v5::Packet) -> BytesMut {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, None).unwrap();
    bytes
}

fn read_v5(bytes: &BytesMut) -> v5::Packet {
    v5::Packet::read(&mut bytes.clone(), Some(1 << 20)).unwrap()
}

#[test]
fn a_connect_of_rumqttc_is_understood() {
    let mut connect = v4::Connect::new("d1");
    connect.keep_alive = 30;
    connect.clean_session = false;
    connect.last_will = Some(v4::LastWill::new("w", "gone", rumqttc::mqttbytes::QoS::AtLeastOnce, true));
    connect.set_login("user", "secret");
    let mut bytes = BytesMut::new();
    connect.write(&mut bytes).unwrap();
    let frame = frame(&bytes, 1000).unwrap().unwrap();
    let decoded = decode_connect(frame, &bytes[frame.body..]).unwrap();
    assert_eq!(
        (decoded.version, decoded.client_id, decoded.keep_alive_s, decoded.clean),
        (Version::V4, "d1", 30, false)
    );
    let will = decoded.will.unwrap();
    assert_eq!((will.topic, will.payload, will.qos, will.retain), ("w", &b"gone"[..], 1, true));
}

#[test]
fn a_publish_of_rumqttc_v5_is_understood_with_its_properties() {
    let properties = v5::PublishProperties {
        topic_alias: Some(3),
        message_expiry_interval: Some(60),
        content_type: Some("text/plain".into()),
        user_properties: vec![("id".into(), "ev-1".into()), ("k".into(), "v".into())],
        ..v5::PublishProperties::default()
    };
    let mut publish = v5::Publish::new("a/b", rumqttc::v5::mqttbytes::QoS::AtLeastOnce, "x", Some(properties));
    publish.pkid = 258;
    let bytes = written_v5(v5::Packet::Publish(publish));
    let Packet::Publish(decoded) = decode_all(Version::V5, &bytes) else { panic!("not a PUBLISH") };
    assert_eq!((decoded.topic, decoded.packet_id, decoded.payload), ("a/b", 258, &b"x"[..]));
    let properties = decoded.properties;
    assert_eq!((properties.topic_alias, properties.message_expiry_s), (Some(3), Some(60)));
    assert_eq!((properties.content_type, properties.sender_id), (Some("text/plain"), Some("ev-1")));
    // Alias and expiry are the server's business; the other three go on.
    assert_eq!(properties.forwarded.len(), 3);
}

#[test]
fn rumqttc_v5_understands_what_is_encoded() {
    let mut out = BytesMut::new();
    let accepted = Accepted {
        session_present: true,
        session_expiry_s: Some(60),
        receive_maximum: 64,
        packet_bytes_max: 1000,
        topic_alias_maximum: 16,
        assigned_client_id: Some("auto-1"),
        keep_alive_s: Some(600),
    };
    connack(Version::V5, &accepted, &mut out);
    let v5::Packet::ConnAck(read) = read_v5(&out) else { panic!("not a CONNACK") };
    let properties = read.properties.unwrap();
    assert!(read.session_present);
    assert_eq!(
        (properties.max_qos, properties.receive_max, properties.max_packet_size),
        (Some(1), Some(64), Some(1000))
    );
    assert_eq!(properties.server_keep_alive, Some(600));
    assert_eq!(
        (properties.assigned_client_identifier.as_deref(), properties.topic_alias_max),
        (Some("auto-1"), Some(16))
    );

    out.clear();
    disconnect(Version::V5, &Close::new(Cause::QosTwo, "é".repeat(150)), true, &mut out);
    let v5::Packet::Disconnect(read) = read_v5(&out) else { panic!("not a DISCONNECT") };
    assert_eq!(read.reason_code, v5::DisconnectReasonCode::QoSNotSupported);
    assert_eq!(read.properties.unwrap().reason_string.unwrap(), "é".repeat(100));

    out.clear();
    let message = Outgoing {
        duplicate: true,
        qos: Qos::AtLeastOnce,
        retain: true,
        topic: b"a/b",
        packet_id: 7,
        message_expiry_s: Some(9),
        topic_alias: Some(5),
        subscription_ids: &[300, 2],
        properties: b"\x03\0\x01t",
        payload: b"x",
    };
    assert!(publish(Version::V5, &message, 1000, &mut out));
    let v5::Packet::Publish(read) = read_v5(&out) else { panic!("not a PUBLISH") };
    let properties = read.properties.unwrap();
    assert!(read.dup && read.retain);
    assert_eq!((read.pkid, &read.topic[..], &read.payload[..]), (7, &b"a/b"[..], &b"x"[..]));
    assert_eq!((properties.message_expiry_interval, properties.topic_alias), (Some(9), Some(5)));
    assert_eq!(properties.subscription_identifiers, [300, 2]);
    assert!(!publish(Version::V5, &message, out.len() - 1, &mut BytesMut::new()));
}

#[test]
fn a_frame_is_found_wherever_it_is_cut() {
    let mut bytes = vec![0x30, 0x85, 0x01];
    bytes.resize(3 + 133, 0);
    for cut in 0..bytes.len() {
        let needed = frame(&bytes[..cut], 1000).unwrap().unwrap_err();
        assert!(needed > cut && needed <= bytes.len(), "{cut}: {needed}");
    }
    assert_eq!(frame(&bytes, 1000).unwrap().unwrap(), Frame { header: 0x30, body: 3, end: 136 });
    assert!(matches!(frame(&bytes[..3], 135), Err(DecodeError::TooLarge { bytes: 136, bytes_max: 135 })));
}

#[test]
fn a_property_given_twice_or_out_of_place_is_a_protocol_error() {
    for properties in [&b"\x0a\x02\0\0\0\x01\x02\0\0\0\x01"[..], b"\x02\x0b\x01"] {
        let body = [b"\0\x01a", properties].concat();
        let found = decode(Version::V5, Frame { header: 0x30, body: 0, end: 0 }, &body);
        assert!(matches!(found, Err(DecodeError::Protocol(_))), "{found:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), header in any::<u8>()) {
        prop_assert!(!matches!(frame(&bytes, 64), Ok(Ok(frame)) if frame.end > bytes.len()));
        let frame = Frame { header, body: 0, end: bytes.len() };
        drop(decode(Version::V4, frame, &bytes));
        drop(decode(Version::V5, frame, &bytes));
        let connect = [&b"\0\x04MQTT\x05"[..], &bytes].concat();
        let frame = Frame { header: 0x10, ..frame };
        drop(decode_connect(frame, &bytes));
        drop(decode_connect(frame, &connect));
    }

    #[test]
    fn a_publish_of_rumqttc_v4_is_understood(
        topic in "[a-zé/]{1,20}",
        packet_id in 1_u16..,
        payload in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut publish = v4::Publish::new(topic.clone(), rumqttc::mqttbytes::QoS::AtLeastOnce, payload.clone());
        publish.pkid = packet_id;
        let mut bytes = BytesMut::new();
        publish.write(&mut bytes).unwrap();
        let Packet::Publish(decoded) = decode_all(Version::V4, &bytes) else { panic!("not a PUBLISH") };
        prop_assert_eq!((decoded.topic, decoded.packet_id, decoded.payload), (&topic[..], packet_id, &payload[..]));
    }
}
