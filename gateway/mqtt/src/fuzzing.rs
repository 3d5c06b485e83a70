//! Where bytes from outside come in, for the fuzzer (`fuzz/`) and for what it found (`tests/regressions/`). Only with the feature
//! `fuzzing`, which nothing but those turns on.
//!
//! Each function takes any bytes. It panics where the front would, and where what the front does contradicts what it promises.
//! It gives whether the bytes were taken for what they should be: seeds are.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a harness panics where something is wrong")]

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use lamppost_event::{Commit, DeviceId, Monotonic};

use crate::access::{Acl, Entry, IdentityFrom, Permissions, Rules, identity};
use crate::acks::{Pending, SUCCESS};
use crate::codec::{Connect, Packet, Secret, Version, decode, decode_connect, frame};
use crate::session::{Effect, Offer, Session};
use crate::{Limits, topic};

const PACKET_BYTES_MAX: usize = 64 * 1024;
const WINDOW: u16 = 3;
/// What the client of [`session`] may do, `%c` being `d`.
const RULES: &str =
    "deny * publish own/%c/secret\nallow * publish own/%c/#\ndeny * subscribe vault/#\nallow * subscribe +/#";

/// Bytes as a client's first packet.
pub fn connect(data: &[u8]) -> bool {
    let Ok(Ok(frame)) = frame(data, PACKET_BYTES_MAX) else { return false };
    assert!(frame.body <= frame.end && frame.end <= data.len());
    let Ok(connect) = decode_connect(frame, &data[frame.body..frame.end]) else { return false };
    let without = Connect { password: connect.password.map(|_| Secret(b"")), ..connect.clone() };
    assert_eq!(format!("{connect:?}"), format!("{without:?}"), "the password is in the debug form");
    let rules = Rules { passwords: Some(Arc::default()), acl: Arc::default() };
    let certified = DeviceId::new("d").unwrap();
    let base = Entry { anonymous: false, password: true, identity: None, client_id_is_user: true };
    for identity in [None, Some(IdentityFrom::CommonName)] {
        let entry = Entry { identity, ..base };
        let Ok(look) = entry.look(&connect, Some(&certified), &rules) else { continue };
        assert!(look.proof.is_some(), "let in without a proof");
        let bound = look.client_id.expect("bound to a name");
        assert!(connect.client_id.is_empty() || connect.client_id == bound.as_str());
    }
    true
}

/// Bytes as what a client sends after its CONNECT. The first: bit 0, version 5; bit 1, the window is told; bits 2 to 7, how many
/// packets later something is on disk.
pub fn session(data: &[u8]) -> bool {
    let Some((how, stream)) = data.split_first() else { return false };
    let version = if how & 1 == 1 { Version::V5 } else { Version::V4 };
    let lag = u64::from(how >> 2);
    let limits = Limits { window: WINDOW, window_strict: how & 2 == 2, topic_aliases_max: 2, ..Limits::default() };
    let bytes_max = limits.unacknowledged_bytes_max + PACKET_BYTES_MAX;
    let mut session = Session::new(version, DeviceId::new("d").unwrap(), Arc::new(limits));
    session.permissions = Permissions::new(Arc::new(Acl::parse(RULES).unwrap()), None);
    let mut model = Model { version, owed: VecDeque::new(), commit: 0, taken: 0 };
    let mut out = BytesMut::new();
    let mut rest = stream;
    loop {
        if !session.may_read() {
            session.durable(Commit(model.commit), &mut out, |_| ());
            model.check_answers(&mut out);
            assert!(session.may_read(), "all is on disk, and still nothing is read");
        }
        let Ok(Ok(found)) = frame(rest, PACKET_BYTES_MAX) else { break };
        let Ok(packet) = decode(version, found, &rest[found.body..found.end]) else { break };
        model.expect(&packet);
        match session.receive(packet, true, || Monotonic(0), &mut out) {
            Ok(effect) => model.act(effect, &mut session),
            Err(close) => {
                assert!(close.cause.reason() >= 0x80);
                break;
            }
        }
        assert!(session.acks.unacknowledged() <= usize::from(WINDOW) && session.acks.bytes() <= bytes_max);
        session.durable(Commit(model.commit.saturating_sub(lag)), &mut out, |publication| {
            assert!(is_allowed(publication.topic.as_str()), "{:?} goes to subscribers", publication.topic);
        });
        model.check_answers(&mut out);
        rest = &rest[found.end..];
    }
    model.taken > 0
}

/// What the client is owed, in order.
struct Model {
    version: Version,
    owed: VecDeque<u16>,
    commit: u64,
    taken: u64,
}

impl Model {
    fn expect(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::Publish(publish) if publish.packet_id != 0 => self.owed.push_back(publish.packet_id),
            _ => {}
        }
        self.taken += 1;
    }

    fn act(&mut self, effect: Effect, session: &mut Session) {
        match effect {
            Effect::Offer(offer) => {
                assert!(is_allowed(offer.arrival.address.as_str()), "{:?} is stored", offer.arrival.address);
                self.commit += 1;
                let Offer { arrival, packet_id, message } = *offer;
                let bytes = arrival.payload.len();
                let pending = Pending { packet_id, bytes, answer: Bytes::new(), message, reason: SUCCESS };
                session.taken(Commit(self.commit), pending);
            }
            Effect::Subscribe(request) => {
                for wish in request.filters.into_iter().flatten() {
                    assert!(!topic::covers(&wish.filter, "vault/x"), "{} is subscribed to", wish.filter);
                }
            }
            _ => {}
        }
    }

    /// PUBACKs come in the order of the publishes, and nothing is said that is not owed.
    fn check_answers(&mut self, out: &mut BytesMut) {
        while !out.is_empty() {
            let found = frame(out, PACKET_BYTES_MAX).unwrap().unwrap();
            let answer = out.split_to(found.end);
            match answer[0] {
                0x40 => {
                    let packet_id = u16::from_be_bytes([answer[2], answer[3]]);
                    assert_eq!(Some(packet_id), self.owed.pop_front(), "out of order");
                    assert!(answer.len() == 4 || (answer[4] == 0x87 && self.version == Version::V5));
                }
                0xD0 => assert_eq!(answer.len(), 2),
                other => panic!("{other:02x} was not asked for"),
            }
        }
    }
}

/// [`RULES`] for a publish, said another way.
fn is_allowed(topic: &str) -> bool {
    (topic == "own/d" || topic.starts_with("own/d/")) && topic != "own/d/secret"
}

/// Bytes as a certificate.
pub fn certificate(data: &[u8]) -> bool {
    let names = [IdentityFrom::CommonName, IdentityFrom::DnsName, IdentityFrom::Uri].map(|from| identity(data, from));
    for name in names.iter().flatten() {
        assert!(!name.as_str().is_empty() && !name.as_str().contains(char::is_control));
    }
    names.iter().any(Result::is_ok)
}

/// Bytes as a note of an earlier life: the length of its key, the key, the value.
pub fn note(data: &[u8]) -> bool {
    let Some((length, rest)) = data.split_first() else { return false };
    let Some((key, value)) = rest.split_at_checked(usize::from(*length)) else { return false };
    crate::sessions::read_note(key, &Bytes::copy_from_slice(value))
}

/// Packets: header and body of each.
type Stream = &'static [(u8, &'static [u8])];

/// Inputs to begin with: the target's name and the bytes.
#[must_use]
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let connects: [&[u8]; 5] = [
        b"\0\x04MQTT\x04\x02\0\x3c\0\x01d",
        b"\0\x04MQTT\x05\x02\0\x3c\0\0\x01d",
        b"\0\x04MQTT\x04\xc2\0\x3c\0\x01d\0\x01d\0\x05xyzzy",
        b"\0\x04MQTT\x05\xee\0\x3c\x05\x11\0\0\0\x09\0\x01d\0\0\x01t\0\x02by\0\x01d\0\x03pwd",
        b"\0\x04MQTT\x05\x02\0\x3c\x0f\x21\0\x05\x27\0\0\x20\0\x26\0\x01k\0\x01v\0\x01d",
    ];
    let sessions: [(u8, Stream); 7] = [
        (0, &[(0x32, b"\0\x05own/d\0\x01x")]),
        (1, &[(0x32, b"\0\x05own/d\0\x01\0x"), (0x32, b"\0\x05own/e\0\x02\0y"), (0x32, b"\0\x05own/d\0\x03\0z")]),
        (0x0d, &[(0x32, b"\0\x05own/d\0\x01\x03\x23\0\x01x"), (0x32, b"\0\0\0\x02\x03\x23\0\x01y")]),
        (0xff, &[(0x32, b"\0\x05own/d\0\x01\0x"), (0x32, b"\0\x05own/d\0\x02\0x"), (0x3a, b"\0\x05own/d\0\x02\0x")]),
        (
            0,
            &[
                (0x82, b"\0\x01\0\x01#\0"),
                (0x82, b"\0\x02\0\x05own/+\x01"),
                (0xa2, b"\0\x03\0\x01#"),
                (0xc0, b""),
                (0xe0, b""),
            ],
        ),
        (
            1,
            &[
                (0x82, b"\0\x01\0\0\x03+/#\0"),
                (0x40, b"\0\x01"),
                (0x31, b"\0\x05own/d\x02\x01\x01xy"),
                (0xe0, b"\x04\0"),
            ],
        ),
        (1, &[(0x30, b"\0\x0cown/d/secret\x0b\x26\0\x02id\0\x04ev-1x")]),
    ];
    let mut seeds = Vec::new();
    seeds.extend(connects.map(|body| ("connect", packet(0x10, body))));
    seeds.extend(sessions.map(|(how, packets)| {
        let stream = packets.iter().flat_map(|(header, body)| packet(*header, body));
        ("session", std::iter::once(how).chain(stream).collect())
    }));
    let notes: [(&[u8], &[u8]); 7] = [
        (b"spump", b"\x01\x58\x02\0\0\0\x01\0\x05\0cmd/+\x25\x05\0\0\0"),
        (b"spump", b"\x01\x58\x02\0\0\x02\x01\0\0\0\0\0\0\0\x28\x23\0\0\0\0\0\0\0\x50\x5c\x18\xa3\x01\0\0\x02\x09\0\0\0\0\0\0\0\0\0"),
        (b"m\0\0\0\0\0\0\0\x07", b"\x01\x03\x02d1\x03\0a/b\x02\0\0\0\x01\x01on"),
        (b"q\x04pump\0\0\0\0\0\0\0\x07", b"\x05\0"),
        (b"ra/b", b"\x01\x03\x02d1\x03\0a/b\x02\0\0\0\x01\x01on"),
        (b"wpump\0\0\0\0\0\0\0\0\x05", b"\x1e\0\0\0\x02\x03\x5a\0\0\0\x07\0\0\0\x01\x01\x02d1\x03\0a/b\0\0\0\0on"),
        (b"wpump", b"\x1e\0\0\0\x01\x01\x02d1\x03\0a/b\0\0\0\0on"),
    ];
    seeds.extend(notes.map(|(key, value)| ("note", [&[key.len() as u8], key, value].concat())));
    seeds.push(("certificate", include_bytes!("fuzzing/lamp-7.der").to_vec()));
    seeds
}

/// A packet with a short body.
fn packet(header: u8, body: &[u8]) -> Vec<u8> {
    [&[header, u8::try_from(body.len()).unwrap()], body].concat()
}

#[cfg(test)]
mod tests;
