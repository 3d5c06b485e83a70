//! The node that is simulated: the firmware's own brain, with a reading for each of the numbers from 1 on.

use std::time::Duration;

use lamppost_node::{
    Board, Boot, Channel, Identity, MeasureIndex, Millis, Node, Range, Reading, Scale, SensorFault, Value,
};
use tokio::time::Instant;

use super::rounds::{Schedule, Sent};
use crate::pty::Line;

/// The device, by both ways.
pub(super) const DEVICE: &str = "bench-node";
/// The measure and its unit, likewise.
pub(super) const MEASURE: (&str, &str) = ("temperature", "Cel");
/// The node has been up for eleven days: its readings are not shorter than in the field.
pub(super) const UPTIME_MS: u64 = 1_000_000_000;

/// Readings kept until they are acknowledged.
const RING: usize = 1024;
/// How long the brain may rest although nothing comes.
const REST: Duration = Duration::from_millis(1);
/// A gateway that does not answer, or acknowledges nothing, for so long has failed the benchmark.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The value of the `n`th reading, which names it: so many thousandths of a degree.
fn value(n: u64) -> Value {
    Value(i64::try_from(n).unwrap_or(i64::MAX))
}

/// The same as text.
pub(super) fn value_text(n: u64) -> String {
    format!("{}.{:03}", n / 1000, n % 1000)
}

struct Pty<'a> {
    line: &'a Line,
    bytes_up: u64,
    /// The node's own account: the numbers of the readings that were acknowledged, in that order.
    ledger: Vec<u64>,
}

impl Board for Pty<'_> {
    /// The readings are recorded as they are due, not sampled.
    fn sample(&mut self, _: MeasureIndex) -> Result<Value, SensorFault> {
        Err(SensorFault)
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        let taken = self.line.write(bytes);
        self.bytes_up += taken as u64;
        taken
    }

    fn acknowledged(&mut self, reading: &Reading) {
        self.ledger.push(u64::try_from(reading.value.0).unwrap_or(0));
    }
}

/// A node that a gateway has welcomed.
pub(super) struct Welcomed<'a> {
    board: Pty<'a>,
    node: Box<Node<RING>>,
    started: Instant,
    bytes_down: u64,
}

impl<'a> Welcomed<'a> {
    /// Introduces itself. Blocks.
    pub(super) fn by(line: &'a Line) -> anyhow::Result<Self> {
        let started = Instant::now();
        let identity = Identity {
            device: DEVICE,
            firmware: concat!("bench ", env!("CARGO_PKG_VERSION")),
            boot: Boot::UNNUMBERED,
            nonce: u32::try_from(crate::clock::random_u64() >> 32).unwrap_or(1),
        };
        let (name, unit) = MEASURE;
        let range: Option<Range> = None;
        let channel = Channel { name, unit, scale: Scale(-3), range, interval_ms: u32::MAX };
        let node = Node::new(identity, &[channel], Millis(UPTIME_MS))
            .map_err(|error| anyhow::anyhow!("the benchmark's node can't be set up: {error}"))?;
        let board = Pty { line, bytes_up: 0, ledger: Vec::new() };
        let mut welcomed = Self { board, node: Box::new(node), started, bytes_down: 0 };
        while !welcomed.node.report().is_up {
            anyhow::ensure!(started.elapsed() < SILENCE_MAX, "the gateway does not welcome the node");
            welcomed.turn()?;
        }
        Ok(welcomed)
    }

    /// Hands so many readings over and waits until the last is acknowledged. Blocks.
    pub(super) fn send(mut self, readings: u64, schedule: Schedule) -> anyhow::Result<Sent> {
        let (began, up_before, down_before) = (Instant::now(), self.board.bytes_up, self.bytes_down);
        let (mut taken, mut acknowledged, mut heard) = (0, 0, began);
        while acknowledged < readings {
            let due = schedule.due(began.elapsed()).min(readings);
            // None is taken that has no room: none is dropped.
            while taken < due && self.node.report().kept < RING {
                taken += 1;
                let now = self.now();
                self.node.record(MeasureIndex(0), now, value(taken), &mut self.board);
            }
            self.turn()?;
            let so_far = self.board.ledger.len() as u64;
            if so_far > acknowledged {
                (acknowledged, heard) = (so_far, Instant::now());
            }
            let waits = taken > acknowledged && heard.elapsed() > SILENCE_MAX;
            anyhow::ensure!(!waits, "{acknowledged} of {readings} readings were acknowledged, and then nothing more");
        }
        Ok(Sent {
            elapsed: began.elapsed(),
            bytes_up: self.board.bytes_up - up_before,
            bytes_down: self.bytes_down - down_before,
            taken: acknowledged,
            ledger: self.board.ledger,
        })
    }

    /// Says what is to be said, waits a moment for an answer, and hears it.
    fn turn(&mut self) -> anyhow::Result<()> {
        let now = self.now();
        self.node.poll(now, &[], &mut self.board);
        self.board.line.wait_to_read(REST)?;
        let mut input = [0; 512];
        let received = self.board.line.read(&mut input)?;
        self.bytes_down += received as u64;
        let now = self.now();
        self.node.poll(now, input.get(..received).unwrap_or_default(), &mut self.board);
        Ok(())
    }

    fn now(&self) -> Millis {
        Millis(UPTIME_MS + u64::try_from(self.started.elapsed().as_millis()).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_as_the_gateway_writes_that_of_the_link() {
        assert_eq!([1, 21_500, 1_000_000].map(value_text), ["0.001", "21.500", "1000.000"]);
        assert_eq!(value(21_500), Value(21_500));
    }
}
