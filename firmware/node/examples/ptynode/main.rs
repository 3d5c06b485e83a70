//! A node on a pseudo-terminal (or any serial device): the same brain as on a board, with a synthetic sensor and, if
//! asked for, a bad line. It writes a ledger of what the gateway has acknowledged, one JSON line each, on disk before
//! it goes on: an independent witness of what must not be lost.
//!
//! ```text
//! ptynode --ledger FILE [--port PATH] [--device NAME] [--readings N] [--interval-ms N] [--boot N]
//!         [--garbage SEED] [--link PATH] [--seconds N]
//! ```
//!
//! Without `--port` it makes a pseudo-terminal and prints `port PATH` (with `--link`, also makes that a symbolic link to
//! it). It ends with status 0 once N readings are acknowledged, with 1 if that takes longer than `--seconds` (120), and
//! prints one JSON line with its counts either way.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people and tests")]
#![expect(clippy::disallowed_methods, reason = "the clock and the files of this program are its own edge")]

mod line;
mod options;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lamppost_node::{
    Board, Boot, Channel, Identity, MeasureIndex, Millis, Node, NodeReport, Reading, Scale, SensorFault, Value,
};
use line::Line;
use options::Options;

type AnyError = Box<dyn std::error::Error>;

/// Readings kept; a small board has as many.
const CAPACITY: usize = 1024;

struct Terminal {
    line: Line,
    ledger: File,
    device: String,
    readings: u64,
    sampled: u64,
    acknowledged: u64,
    failed: Option<std::io::Error>,
}

impl Board for Terminal {
    fn sample(&mut self, _measure: MeasureIndex) -> Result<Value, SensorFault> {
        // A value that names the reading: the n-th is 20 degrees and n thousandths.
        self.sampled += 1;
        Ok(Value(20_000 + i64::try_from(self.sampled).unwrap_or(i64::MAX)))
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        self.line.send(bytes)
    }

    fn acknowledged(&mut self, reading: &Reading) {
        self.acknowledged += 1;
        let (boot, sequence, value) = (reading.boot.0, reading.sequence.0, reading.value.0);
        let entry = format!(
            "{{\"device\":\"{}\",\"boot\":{boot},\"sequence\":{sequence},\"measure\":\"temperature\",\"value\":{}.{:03}}}\n",
            self.device,
            value / 1000,
            value % 1000,
        );
        if let Err(error) = self.ledger.write_all(entry.as_bytes()) {
            self.failed.get_or_insert(error);
        }
    }
}

impl Terminal {
    /// No more than the readings asked for are taken, and none while the ring is full: then nothing is ever dropped, and
    /// the ledger must hold every one in the end.
    fn may_sample(&self, report: &NodeReport) -> bool {
        self.sampled < self.readings && report.kept < CAPACITY
    }
}

fn run(options: &Options) -> Result<bool, AnyError> {
    let mut board = Terminal {
        line: Line::open(options)?,
        ledger: OpenOptions::new().create(true).append(true).open(&options.ledger)?,
        device: options.device.clone(),
        readings: options.readings,
        sampled: 0,
        acknowledged: 0,
        failed: None,
    };
    let began = Instant::now();
    let now = || Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    // The brain keeps no schedule here: this program decides when to sample, so that it can stop at N.
    let channel = Channel { name: "temperature", unit: "Cel", scale: Scale(-3), range: None, interval_ms: u32::MAX };
    let identity = Identity {
        device: &options.device,
        firmware: concat!("ptynode ", env!("CARGO_PKG_VERSION")),
        boot: Boot(options.boot),
        nonce: std::process::id(),
    };
    // A schedule begins with a sample at once: it is the first reading.
    let mut node = Box::new(Node::<CAPACITY>::new(identity, &[channel], now())?);
    let mut next_at = Millis(u64::from(options.interval_ms));
    let mut bytes = [0; 512];
    while board.acknowledged < options.readings && began.elapsed() < Duration::from_secs(options.seconds) {
        let length = board.line.receive(&mut bytes)?;
        let acknowledged = board.acknowledged;
        node.poll(now(), bytes.get(..length).unwrap_or_default(), &mut board);
        while next_at <= now() && board.may_sample(&node.report()) {
            let value = board.sample(MeasureIndex(0)).map_err(|SensorFault| "the sensor failed")?;
            node.record(MeasureIndex(0), now(), value, &mut board);
            next_at = next_at.plus_ms(options.interval_ms);
        }
        if let Some(error) = board.failed.take() {
            return Err(error.into());
        }
        if board.acknowledged > acknowledged {
            board.ledger.sync_data()?;
        }
        board.line.flush()?;
        if length == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    print_counts(&board, &node.report(), node.boot());
    Ok(board.acknowledged >= options.readings)
}

fn print_counts(board: &Terminal, report: &NodeReport, boot: Boot) {
    println!(
        "{{\"device\":\"{}\",\"boot\":{},\"sampled\":{},\"acknowledged\":{},\"dropped\":{},\"kept\":{},\"sent\":{},\"timeouts\":{},\"harmed\":{}}}",
        board.device,
        boot.0,
        report.sampled,
        report.acknowledged,
        report.dropped,
        report.kept,
        report.session.readings_sent,
        report.session.timeouts,
        board.line.harmed(),
    );
}

fn main() -> ExitCode {
    let outcome = Options::parse(std::env::args().skip(1)).map_err(AnyError::from).and_then(|options| run(&options));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("ptynode: not all readings were acknowledged in time");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("ptynode: {error}");
            ExitCode::from(2)
        }
    }
}
