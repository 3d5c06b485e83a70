//! The demo's serial node: the firmware's own brain at one end of a pseudo-terminal, the gateway's serial source at the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lamppost_node::{Board, Boot, Channel, Identity, MeasureIndex, Millis, Node, Reading, Scale, SensorFault, Value};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::pty::Line;

/// Readings kept until they are acknowledged: those of a good minute without a gateway.
const RING: usize = 1024;
/// A reading each, ms.
const INTERVAL_MS: u64 = 50;
/// How long the node waits for its last acknowledgements once it is told to stop, ms.
const PATIENCE_MS: u64 = 30_000;

/// The node's name.
pub(crate) const DEVICE: &str = "demo-node";

/// What the node has done.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) sampled: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) dropped: AtomicU64,
    /// Set from outside: take no more readings, wait for the acknowledgements, end.
    pub(crate) stop: AtomicBool,
}

struct Pty<'a> {
    line: &'a Line,
    count: &'a Count,
    ledger: &'a mpsc::Sender<Reading>,
}

impl Board for Pty<'_> {
    fn sample(&mut self, _: MeasureIndex) -> Result<Value, SensorFault> {
        Err(SensorFault)
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        // What the line does not take the node sends again.
        self.line.write(bytes)
    }

    fn acknowledged(&mut self, reading: &Reading) {
        self.count.acknowledged.fetch_add(1, Ordering::Relaxed);
        // Only a demo that is being torn down has no reader any more.
        if self.ledger.blocking_send(*reading).is_err() {
            self.count.stop.store(true, Ordering::Relaxed);
        }
    }

    fn dropped(&mut self, _: &Reading) {
        self.count.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs the node until it was told to stop and has been acknowledged everything. Blocks.
pub(crate) fn run(line: &Line, count: &Arc<Count>, ledger: &mpsc::Sender<Reading>) -> anyhow::Result<()> {
    let started = Instant::now();
    let now = || Millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
    let identity = Identity {
        device: DEVICE,
        firmware: concat!("demo ", env!("CARGO_PKG_VERSION")),
        boot: Boot::UNNUMBERED,
        nonce: u32::try_from(crate::clock::random_u64() >> 32).unwrap_or(1),
    };
    let channel = Channel { name: "temperature", unit: "Cel", scale: Scale(-3), range: None, interval_ms: u32::MAX };
    let mut node = Node::<RING>::new(identity, &[channel], now())
        .map_err(|error| anyhow::anyhow!("the demo's node can't be set up: {error:?}"))?;
    let mut board = Pty { line, count, ledger };
    let mut input = [0; 512];
    let (mut next_sample_ms, mut stop_since) = (0, None);
    loop {
        let received = line.read(&mut input)?;
        let next = node.poll(now(), input.get(..received).unwrap_or(&[]), &mut board);
        let at = now().0;
        if count.stop.load(Ordering::Relaxed) {
            let since = *stop_since.get_or_insert(at);
            let report = node.report();
            if report.kept == 0 {
                return Ok(());
            }
            let waited = at - since;
            anyhow::ensure!(waited < PATIENCE_MS, "{} readings were not acknowledged in {waited} ms", report.kept);
        } else if at >= next_sample_ms {
            next_sample_ms = at + INTERVAL_MS;
            node.record(MeasureIndex(0), Millis(at), temperature(at), &mut board);
            count.sampled.fetch_add(1, Ordering::Relaxed);
        }
        let wake = next.0.min(next_sample_ms).saturating_sub(at).clamp(1, INTERVAL_MS);
        line.wait_to_read(Duration::from_millis(wake))?;
    }
}

/// A day in a minute: from 12 to 20 degrees and back, in milli-degrees Celsius.
fn temperature(at_ms: u64) -> Value {
    let minute = i64::try_from(at_ms % 60_000).unwrap_or(0);
    Value(12_000 + if minute < 30_000 { minute } else { 60_000 - minute } * 8_000 / 30_000)
}
