//! Whatever the line brings: nothing panics, and no good frame after it is lost.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "outside `#[test]` functions too, a test fails by panicking"
)]

use lamppost_wire::{
    Boot, FRAME_BYTES_MAX, FrameDecoder, FromGateway, FromNode, GatewayEvent, GatewaySession, Heartbeat, Hello,
    MESSAGE_BYTES_MAX, MeasureIndex, Millis, NodeSession, Reading, Sequence, Step, Store, Value, text,
};
use proptest::collection::vec;
use proptest::prelude::*;

struct Nothing;

impl Store for Nothing {
    fn kept(&self, _position: usize) -> Option<Reading> {
        None
    }
    fn len(&self) -> usize {
        0
    }
    fn last(&self) -> Sequence {
        Sequence::NONE
    }
    fn dropped(&self) -> u64 {
        0
    }
    fn faults(&self) -> u64 {
        0
    }
    fn acknowledge(&mut self, _boot: Boot, _sequence: Sequence) {}
    fn renumber(&mut self, _from: Boot, _to: Boot) {}
}

fn hello() -> Hello {
    Hello {
        version: 1,
        nonce: 1,
        device: text("node").unwrap(),
        boot: Boot(1),
        sent: Sequence::NONE,
        firmware: text("f").unwrap(),
        capabilities: lamppost_wire::Capabilities(0),
        measures: heapless::Vec::new(),
    }
}

fn frame(message: &FromNode) -> Vec<u8> {
    let mut out = [0; FRAME_BYTES_MAX];
    let length = message.encode(&mut out);
    out[..length].to_vec()
}

fn beat(uptime: u64) -> Heartbeat {
    Heartbeat { boot: Boot(1), uptime: Millis(uptime), last: Sequence(0), kept: 0, dropped: 0, faults: 0 }
}

/// A frame with some of its bits flipped, some of its bytes missing.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    (any::<u64>(), any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..8_u32).prop_map(
        |(value, a, b, bit)| {
            let reading = Reading {
                boot: Boot(1),
                sequence: Sequence(value >> 1),
                measure: MeasureIndex(0),
                uptime: Millis(value),
                value: Value(value.cast_signed()),
            };
            let mut bytes = frame(&FromNode::Reading(Step(1), reading));
            let at = a.index(bytes.len());
            bytes[at] ^= 1 << bit;
            bytes.truncate(b.index(bytes.len()) + 1);
            bytes
        },
    )
}

fn noise() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..2000), vec(prop_oneof![Just(0_u8), Just(1), Just(255)], 0..300), damaged()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_good_frame_between_noise_comes_through(noises in vec(noise(), 1..12)) {
        let mut line = Vec::new();
        for (number, noise) in noises.iter().enumerate() {
            line.extend_from_slice(noise);
            line.extend(frame(&FromNode::Heartbeat(beat(1_000_000 + number as u64))));
        }
        let mut decoder = FrameDecoder::<MESSAGE_BYTES_MAX>::new();
        let mut beats = Vec::new();
        for byte in line {
            if let Some(Ok(message)) = decoder.take(byte)
                && let Ok(FromNode::Heartbeat(heartbeat)) = FromNode::decode(message)
            {
                beats.push(heartbeat.uptime.0);
            }
        }
        let expected: Vec<u64> = (0..noises.len() as u64).map(|number| 1_000_000 + number).collect();
        prop_assert_eq!(beats, expected);
    }

    #[test]
    fn neither_end_panics_and_both_still_understand(noises in vec(noise(), 1..6), messages in vec(vec(any::<u8>(), 1..60), 0..6)) {
        let mut gateway = GatewaySession::new();
        let mut node = NodeSession::new(hello(), Millis(0));
        let mut out = [0; FRAME_BYTES_MAX];
        for message in &messages {
            // Whole frames with any content, as a peer gone mad would send them.
            prop_assert!(FromNode::decode(message).is_ok() || FromNode::decode(message).is_err());
            prop_assert!(FromGateway::decode(message).is_ok() || FromGateway::decode(message).is_err());
        }
        for noise in &noises {
            let mut bytes = &noise[..];
            while gateway.take(&mut bytes).is_some() {}
            node.receive(noise, Millis(1), &mut Nothing);
            gateway.transmit(Millis(1), &mut out);
            node.transmit(Millis(1), &Nothing, &mut out);
        }
        let line = frame(&FromNode::Hello(hello()));
        let mut bytes = &line[..];
        prop_assert_eq!(gateway.take(&mut bytes), Some(GatewayEvent::Hello(hello())));
    }
}
