//! Thousands of seeded histories of a journal on a disk that loses, tears, reorders and garbles what was not flushed, with the power failing
//! at any I/O, in recovery too. Nothing that was acknowledged may be missing.
//!
//! `cargo run --release -p lamppost-journal --example powercut -- [--seeds 10000] [--first 0] [--threads N] [--json]`
//! runs the seeds from `--first` on, and controls: a journal without flushes and one without padding must be caught losing
//! events, and one without padding on a disk that never makes garbage must not; a sample of seeds is run twice and must leave the
//! same bytes. `-- --seed N` repeats one history and tells what happens in it.
//!
//! The last line is one JSON object: `seeds`, `cuts`, `acknowledged` (events), `acknowledged_lost`, `out_of_order`, `offset_reused`,
//! `panics`, `other_failures`; `phases` with the cuts in each, `cuts_elsewhere` (in a read, in making a free segment, or between
//! two I/Os), `recovery_again` (cuts in the recovery from a cut in a recovery); `given_up` (events of topics that allow it, all named by a
//! gap), `cursors_set` (by hand), `alarms_asked` (offered while others had to wait), `layered` (lives that left a
//! checkpoint in layers), `times_asked`, `boots_without_time` (starts of a machine
//! whose clock is not set), `others_moved` (cursors of a second group), `slow_reads` (in which the keeper did something), `beyond_bytes` (gaps of
//! topics with a bound in bytes, as often as an opening met them); `damage_named` and `damage_at_end` (events that
//! misdirected writes and stale reads cost, named as a gap or lying at the log's end); the controls, and `failed_seed`. Exits
//! with 1 if anything was lost, if no cut fell in one of the phases, if one of those from `given_up` on is 0, or if a control was not caught.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool speaks to its user")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "it runs the tests' code, whose helper functions may panic"
)]

mod many;
mod verdict;
#[path = "../../tests/world/mod.rs"]
mod world;

use std::process::ExitCode;

use many::{Many, guarded};
use verdict::Verdict;
use world::history::{Journaling, Report};

struct Arguments {
    seeds: u64,
    first: u64,
    threads: usize,
    seed: Option<u64>,
    journaling: Journaling,
    json: bool,
}

const USAGE: &str =
    "powercut [--seeds N] [--first N] [--threads N] [--json] | --seed N [--control no-flush|no-padding]";

fn arguments() -> Result<Arguments, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all =
        Arguments { seeds: 10_000, first: 0, threads: cores, seed: None, journaling: Journaling::Sound, json: false };
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let mut value = || given.next().ok_or(format!("{flag} takes a value"));
        let number = |text: String| text.parse::<u64>().map_err(|error| format!("{flag} {text}: {error}"));
        match flag.as_str() {
            "--json" => all.json = true,
            "--seeds" => all.seeds = number(value()?)?,
            "--first" => all.first = number(value()?)?,
            "--threads" => all.threads = number(value()?)?.clamp(1, 1024) as usize,
            "--seed" => all.seed = Some(number(value()?)?),
            "--control" => {
                all.journaling = match value()?.as_str() {
                    "no-flush" => Journaling::WithoutFlushes,
                    "no-padding" => Journaling::WithoutPadding,
                    "no-padding-no-garbage" => Journaling::WithoutPaddingOrGarbage,
                    other => return Err(format!("there is no control {other}\n{USAGE}")),
                }
            }
            _ => return Err(format!("there is no {flag}\n{USAGE}")),
        }
    }
    Ok(all)
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    if let Some(seed) = arguments.seed {
        return one(seed, arguments.journaling);
    }
    let many = Many { threads: arguments.threads, first: arguments.first };
    let verdict = Verdict::reach(&many, arguments.seeds);
    if !arguments.json {
        println!("{}", verdict.in_words());
    }
    verdict.faults().iter().for_each(|fault| eprintln!("FAILED: {fault}"));
    println!("{}", verdict.json());
    if verdict.faults().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One history, told.
fn one(seed: u64, journaling: Journaling) -> ExitCode {
    let report = guarded(Report { seed, log: Some(Vec::new()), ..Report::default() }, journaling);
    for line in report.log.iter().flatten() {
        println!("{line}");
    }
    let (crc, ios) = report.digest;
    println!(
        "seed {seed}: {} cuts, {} events acknowledged, {ios} I/Os, files' CRC {crc:08x}",
        report.cuts, report.acknowledged
    );
    match report.failure {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            println!("FAILED: {:?}: {}", failure.wrong, failure.what);
            ExitCode::FAILURE
        }
    }
}
