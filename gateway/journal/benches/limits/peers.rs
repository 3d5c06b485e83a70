//! Other engines used as the log, in rounds that take turns, on a modelled card: 5 ms a flush, 0.4 ms a write, 15 MB/s. The engines run in
//! a program of their own, which is told over a pipe what to do.
//!
//! An engine that keeps a log beside tables writes everything twice at least: to the log at once, to the tables later. A round is too short for
//! that to happen of itself in its due measure, so it is asked for at the end of each round and counts (`..._ratio_N`); the
//! ratios without it are given beside (`..._commits_alone`). Compactions beyond that first time are never waited for, nothing is ever deleted,
//! and the engines have their defaults: all of which spares them what the journal does within its time. The journal is as it is shipped but for
//! when a commit begins (`..._plain`: without its compression). All get the same records in the same order, an event's partition by its device.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use lamppost_journal::Options;

use crate::Outcome;
use crate::arguments::Arguments;
use crate::card::{Card, Pace};
use crate::figures::{Figures, median};
use crate::floor::Floor;
use crate::log::{Log, Spread, fresh, options};
use crate::telemetry::Report;

const CARD_BYTES: u64 = 8 << 30;
const ROUNDS: usize = 5;
const ENGINES: [&str; 4] = ["fjall", "redb", "rocksdb", "sqlite"];

/// Measures `peer_ratio_min_64`, `peer_ratio_min_1024` and `partition_files_ratio_32`, and the floor of the modelled card beside.
pub(crate) fn measure(
    arguments: &Arguments,
    card: &Path,
    program: &Path,
    pool: &[Report],
    figures: &mut Figures,
) -> Outcome<()> {
    let dir = arguments.dir.join("peers");
    fresh(&dir)?;
    let card = Card::put_up(card, &dir, CARD_BYTES, Pace::Sd)?;
    println!("Other engines as the log, on a modelled card (5 ms a flush, 0.4 ms a write, 15 MB/s):");
    println!("  making the segments of four journals beforehand, until they are recycled");
    let mut peers = Peers::start(program, arguments.seed)?;
    let open = |name: &str, options, spread| Log::with_threads(&card.folder.join(name), options, pool, spread);
    let shipped = |partitions| {
        Ok::<_, crate::Failed>(Options { compression: Options::default().compression, ..options(partitions)? })
    };
    let mut journals = Journals {
        shipped: open("journal", shipped(4)?, Spread::ByDevice)?,
        plain: open("journal-plain", options(4)?, Spread::ByDevice)?,
        four: open("journal-4", shipped(4)?, Spread::InTurn)?,
        many: open("journal-32", shipped(32)?, Spread::InTurn)?,
        floor: Floor::new(&card.folder)?,
    };
    for journal in [&mut journals.shipped, &mut journals.plain, &mut journals.four, &mut journals.many] {
        journal.settle()?;
    }
    for (batch, commits) in [(64, 100), (1024, 60)] {
        journals.plain.run(batch, 2)?;
        // Once round for what the journal tries out.
        journals.shipped.run(batch, 10)?;
        journals.floor.take_frames(&card.folder.join("journal-plain"), batch)?;
        against_engines(&mut peers, &card.folder, &mut journals, (batch, commits), figures)?;
    }
    against_files(&mut peers, &card.folder, &mut journals, figures)?;
    drop((journals, peers, card));
    Ok(std::fs::remove_dir_all(dir)?)
}

/// What the engines are compared with.
struct Journals<'a> {
    shipped: Log<'a>,
    plain: Log<'a>,
    four: Log<'a>,
    many: Log<'a>,
    floor: Floor,
}

/// Events a second of an engine in one round.
struct Speed {
    /// Over its commits alone.
    alone: f64,
    /// With what it put off.
    whole: f64,
}

fn against_engines(
    peers: &mut Peers,
    card: &Path,
    journals: &mut Journals<'_>,
    (batch, commits): (usize, usize),
    figures: &mut Figures,
) -> Outcome<()> {
    let (mut floor, mut shipped, mut plain, mut engines) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 1..=ROUNDS {
        floor.push(journals.floor.run(batch, commits)?.events_per_s());
        shipped.push(journals.shipped.run(batch, commits)?.events_per_s());
        plain.push(journals.plain.run(batch, commits)?.events_per_s());
        let speeds =
            ENGINES.iter().map(|engine| peers.round(engine, &card.join(engine), (4, "device"), batch, commits));
        engines.push(speeds.collect::<Outcome<Vec<Speed>>>()?);
        let [floor, shipped, plain] = [&floor, &shipped, &plain].map(|speeds| speeds[number - 1]);
        let mut line = format!("  batch {batch}, round {number} of {ROUNDS}, events/s: floor {floor:.0}, ");
        line += &format!("journal {shipped:.0}, journal plain {plain:.0}");
        for (engine, speed) in ENGINES.iter().zip(&engines[number - 1]) {
            line += &format!(", {engine} {:.0} ({:.0})", speed.whole, speed.alone);
        }
        println!("{line}");
    }
    println!("  the engines: with the work that their commits put off; in brackets: over their commits alone");
    for (suffix, journal) in [("", &shipped), ("_plain", &plain)] {
        figures.put_rounds(&format!("card_floor_ratio_{batch}{suffix}"), &over(journal, floor.iter().copied()));
        let (mut least, mut least_alone) = (f64::INFINITY, f64::INFINITY);
        for (index, engine) in ENGINES.iter().enumerate() {
            let (whole, alone) =
                (engines.iter().map(|all| all[index].whole), engines.iter().map(|all| all[index].alone));
            least = least.min(figures.put_rounds(&format!("{engine}_ratio_{batch}{suffix}"), &over(journal, whole)));
            least_alone = least_alone.min(median(&over(journal, alone)));
        }
        figures.put(format!("peer_ratio_min_{batch}{suffix}"), least);
        figures.put(format!("peer_ratio_min_{batch}{suffix}_commits_alone"), least_alone);
    }
    Ok(())
}

/// Round by round.
fn over(journal: &[f64], others: impl Iterator<Item = f64>) -> Vec<f64> {
    journal.iter().zip(others).map(|(journal, other)| journal / other).collect()
}

fn against_files(peers: &mut Peers, card: &Path, journals: &mut Journals<'_>, figures: &mut Figures) -> Outcome<()> {
    println!("A file for each of 32 partitions with a flush each, batch 64:");
    let (mut files_ratios, mut partition_ratios) = (Vec::new(), Vec::new());
    for number in 1..=ROUNDS {
        let (four, many) = (journals.four.run(64, 60)?.events_per_s(), journals.many.run(64, 60)?.events_per_s());
        let files = peers.round("files", &card.join("files"), (32, "turns"), 64, 3)?.alone;
        println!(
            "  round {number} of {ROUNDS}, events/s: journal with 4 partitions {four:.0}, with 32 {many:.0}, files {files:.0}"
        );
        files_ratios.push(many / files);
        partition_ratios.push(many / four);
    }
    figures.put_rounds("partition_files_ratio_32", &files_ratios);
    figures.put_rounds("card_partitions_32_over_4", &partition_ratios);
    Ok(())
}

/// The program with the engines.
struct Peers {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    seed: u64,
}

impl Peers {
    fn start(program: &Path, seed: u64) -> Outcome<Self> {
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().ok_or("the peers have no output")?);
        Ok(Self { child, input, output, seed })
    }

    fn round(
        &mut self,
        engine: &str,
        folder: &Path,
        (partitions, spread): (u16, &str),
        batch: usize,
        commits: usize,
    ) -> Outcome<Speed> {
        let input = self.input.as_mut().ok_or("the peers have no input")?;
        writeln!(input, "{engine} {} {partitions} {spread} {batch} {commits} {}", folder.display(), self.seed)?;
        input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["seconds", seconds, events, deferred] = words[..] else {
            return Err(
                format!("{engine} as a peer: {}", if line.is_empty() { "it has ended" } else { line.trim() }).into()
            );
        };
        let (seconds, deferred): (f64, f64) = (seconds.parse()?, deferred.parse()?);
        let events: f64 = events.parse()?;
        Ok(Speed { alone: events / seconds, whole: events / (seconds + deferred) })
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        // Its input ends: it closes its engines and goes. They must be off the card before that is taken down.
        drop(self.input.take());
        drop(self.child.wait());
    }
}
