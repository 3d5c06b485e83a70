//! What the link makes of a serial line: `cargo run -p lamppost-wire --example line`. Both ends, with a line between them
//! that carries so many bytes a second and a gateway whose flushes take their time; all by a simulated clock, so the
//! figures are the same everywhere.
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::collections::VecDeque;

use lamppost_wire::{
    Boot, Capabilities, FRAME_BYTES_MAX, FromNode, GatewayEvent, GatewaySession, Hello, MeasureIndex, Millis,
    NodeSession, Quality, Reading, Sequence, Step, Store, Value, Wall, text,
};

/// 115,200 baud, 8N1: ten bits a byte.
const BYTES_A_SECOND: u64 = 11_520;
const SECONDS: u64 = 10;
/// A life numbered by the gateway, which has been up for eleven days.
const BOOT: Boot = Boot(0x0512_3456);
const UPTIME_MS: u64 = 1_000_000_000;
const SEQUENCE: u64 = 1_000_000;
const WALL: Wall = Wall(1_795_000_000_000);

fn reading(number: u64) -> Reading {
    Reading {
        boot: BOOT,
        sequence: Sequence(SEQUENCE + number),
        measure: MeasureIndex(0),
        uptime: Millis(UPTIME_MS + number * 2),
        value: Value(21_500 + (number % 100).cast_signed()),
    }
}

/// There is always more.
struct Endless {
    acknowledged: u64,
}

impl Store for Endless {
    fn kept(&self, position: usize) -> Option<Reading> {
        Some(reading(self.acknowledged + 1 + position as u64))
    }
    fn len(&self) -> usize {
        1_000
    }
    fn last(&self) -> Sequence {
        Sequence(SEQUENCE + self.acknowledged + 1_000)
    }
    fn dropped(&self) -> u64 {
        0
    }
    fn faults(&self) -> u64 {
        0
    }
    fn acknowledge(&mut self, _boot: Boot, sequence: Sequence) {
        self.acknowledged = self.acknowledged.max(sequence.0.saturating_sub(SEQUENCE));
    }
    fn renumber(&mut self, _from: Boot, _to: Boot) {}
}

/// One direction: bytes arrive in tenths of a millisecond.
#[derive(Default)]
struct Wire {
    queued: VecDeque<u8>,
    carried: u64,
}

impl Wire {
    /// What goes over in the tenth of a millisecond that ends at `tenths`.
    fn pass(&mut self, tenths: u64) -> Vec<u8> {
        let so_far = |tenths: u64| tenths * BYTES_A_SECOND / 10_000;
        let room = usize::try_from(so_far(tenths) - so_far(tenths - 1)).unwrap_or(0).min(self.queued.len());
        self.carried += room as u64;
        self.queued.drain(..room).collect()
    }
}

/// How many readings a second are acknowledged, and how many bytes a second go up and down.
fn run(window: u16, flush_ms: u64) -> (u64, u64, u64) {
    let hello = Hello {
        version: 1,
        nonce: 1,
        device: text("lamp-0042").unwrap_or_default(),
        boot: BOOT,
        sent: Sequence::NONE,
        firmware: text("example").unwrap_or_default(),
        capabilities: Capabilities(0),
        measures: heapless::Vec::new(),
    };
    let (mut node, mut gateway) = (NodeSession::new(hello, Millis(UPTIME_MS)), GatewaySession::new());
    let mut store = Endless { acknowledged: 0 };
    let (mut up, mut down) = (Wire::default(), Wire::default());
    let mut flushes: VecDeque<(u64, Sequence)> = VecDeque::new();
    let mut out = [0; FRAME_BYTES_MAX];
    for tenths in 1..=SECONDS * 10_000 {
        let now = Millis(UPTIME_MS + tenths / 10);
        node.receive(&down.pass(tenths), now, &mut store);
        // As a UART with a buffer of one frame.
        while up.queued.len() < 32 {
            match node.transmit(now, &store, &mut out) {
                0 => break,
                length => up.queued.extend(out.iter().take(length)),
            }
        }
        let heard = up.pass(tenths);
        let mut bytes = &heard[..];
        while let Some(event) = gateway.take(&mut bytes) {
            match event {
                GatewayEvent::Hello(hello) => {
                    gateway.welcome(hello.boot, Sequence(SEQUENCE), window, 2_000);
                    gateway.tell_time(None, WALL, Quality::Synced, 1);
                }
                GatewayEvent::TimeAsked { asked, .. } => {
                    gateway.tell_time(Some(asked.uptime), WALL, Quality::Synced, 1)
                }
                GatewayEvent::Boot(boot) => gateway.open(boot, Sequence(SEQUENCE)),
                // One flush after another, each of what has come during the one before.
                GatewayEvent::Reading { reading, .. } => match flushes.back_mut() {
                    Some((at, last)) if *at > tenths + flush_ms * 10 => *last = reading.sequence,
                    Some((at, _)) => {
                        let at = *at + flush_ms * 10;
                        flushes.push_back((at, reading.sequence));
                    }
                    None => flushes.push_back((tenths + flush_ms * 10, reading.sequence)),
                },
                GatewayEvent::Heartbeat(_) | GatewayEvent::Answer(_) => {}
            }
        }
        while let Some((_, sequence)) = flushes.front().copied().filter(|(at, _)| *at <= tenths) {
            flushes.pop_front();
            gateway.acknowledge(BOOT, sequence);
        }
        loop {
            match gateway.transmit(now, &mut out) {
                0 => break,
                length => down.queued.extend(out.iter().take(length)),
            }
        }
    }
    (store.acknowledged / SECONDS, up.carried / SECONDS, down.carried / SECONDS)
}

/// How many readings a second the line has room for, without anything else.
fn limit() -> u64 {
    BYTES_A_SECOND / frame_bytes()
}

fn frame_bytes() -> u64 {
    FromNode::Reading(Step(1), reading(1)).encode(&mut [0; FRAME_BYTES_MAX]) as u64
}

fn main() {
    let mut out = [0; FRAME_BYTES_MAX];
    let frame = frame_bytes();
    let young = Reading { boot: Boot(3), sequence: Sequence(100), uptime: Millis(100_000), ..reading(1) };
    let young = FromNode::Reading(Step(1), young).encode(&mut out);
    let json = "{\"device\":\"lamp-0042\",\"boot\":85079126,\"sequence\":1000001,\"measure\":\"temperature\",\"value\":21.501,\"unit\":\"Cel\",\"uptime_ms\":1000000002}\n";
    println!(
        "a reading on the link: {frame} bytes ({young} in a young life that the node numbers), the same as a line of JSON: {}",
        json.len()
    );
    let limit = limit();
    println!(
        "115,200 baud carry {BYTES_A_SECOND} bytes a second: at most {limit} such readings, or {} such lines",
        BYTES_A_SECOND / json.len() as u64
    );
    for (window, flush_ms) in [(64, 20), (64, 60), (64, 100), (256, 60), (256, 100), (256, 200), (256, 400)] {
        let (readings, up, down) = run(window, flush_ms);
        let share = readings * 100 / limit;
        println!(
            "window {window:>3}, a flush of {flush_ms:>3} ms: {readings} readings a second, {share} % of the line's limit \
             ({up} bytes up, {down} down)"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_tenths_of_the_line_carry_readings_while_a_flush_takes_200_ms_at_most() {
        for flush_ms in [20, 60, 100, 200] {
            let (readings, ..) = run(256, flush_ms);
            assert!(readings * 10 >= limit() * 9, "{flush_ms} ms: {readings} of {} readings a second", limit());
        }
    }
}
