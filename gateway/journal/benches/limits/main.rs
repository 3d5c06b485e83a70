//! The journal at the limit of its disk: ratios in one run, on this machine, against the disk's own floor, against other engines, and
//! against the bytes that came in. `cargo bench -p lamppost-journal [-- --help]`. The last line is one JSON object.
//!
//! Machines like this one are noisy: whatever is compared is measured in turns, the median of the rounds counts, and the spread is
//! printed beside it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a measuring tool prints, reads the clock and makes files; it may stop on its own mistakes"
)]

mod arguments;
mod cache;
mod card;
mod clock;
mod cold;
mod compressed;
mod device;
mod devices;
mod figures;
mod floor;
mod log;
mod peers;
mod priority;
mod processors;
mod programs;
mod reading;
mod stored;
mod telemetry;
mod watched;

use std::error::Error;
use std::process::ExitCode;

use arguments::Arguments;
use figures::Figures;
use programs::Programs;
use telemetry::Telemetry;

/// What can be asked for with `--only`.
const PARTS: [&str; 7] = ["floor", "device", "peers", "reading", "stored", "devices", "cold"];
/// As many different events are made beforehand: more than a segment of them.
const POOL: usize = 65_536;

type Failed = Box<dyn Error>;
type Outcome<T> = Result<T, Failed>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((stored::CHILD, rest)) = words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return ended(stored::child(rest));
    }
    let arguments = match Arguments::parse(words.into_iter()) {
        Ok(arguments) => arguments,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    ended(measure(&arguments).map(|figures| println!("{}", figures.last_line())))
}

fn ended(outcome: Outcome<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Outcome<Figures> {
    let mut figures = Figures::new();
    arguments.left_out().iter().for_each(|what| println!("Left out: {what}"));
    // Building must not run ahead of the machine's other work.
    let programs = Programs::build(arguments)?;
    std::fs::create_dir_all(&arguments.dir)?;
    priority::raise();
    println!("Measuring in {}, seed {}", arguments.dir.display(), arguments.seed);
    let pool = Telemetry::new(arguments.seed, 500)?.pool(POOL);
    let bytes: usize = pool.iter().map(|report| report.record.bytes()).sum();
    let payload: usize = pool.iter().filter_map(|report| report.record.value.as_ref()).map(bytes::Bytes::len).sum();
    println!("Events: JSON telemetry of {} devices, for example {}", telemetry::DEVICES, example(&pool));
    figures.put("event_bytes", bytes as f64 / pool.len() as f64);
    figures.put("payload_bytes", payload as f64 / pool.len() as f64);
    if arguments.wants("floor") {
        floor::measure(arguments, &pool, &mut figures)?;
    }
    if let Some(card) = programs.card.as_deref().filter(|_| arguments.wants("device")) {
        device::measure(arguments, card, &pool, &mut figures)?;
        compressed::measure(arguments, card, &pool, &mut figures)?;
    }
    if let (Some(card), Some(peers)) = (&programs.card, &programs.peers) {
        peers::measure(arguments, card, peers, &pool, &mut figures)?;
    }
    if arguments.wants("reading") {
        reading::measure(arguments, &pool, &mut figures)?;
    }
    if arguments.wants("stored") {
        stored::measure(arguments, &mut figures)?;
    }
    if arguments.wants("devices") {
        devices::measure(arguments, &mut figures)?;
    }
    if arguments.wants("cold") {
        cold::measure(arguments, &mut figures)?;
    }
    Ok(figures)
}

fn example(pool: &[telemetry::Report]) -> String {
    let value = pool.first().and_then(|report| report.record.value.clone()).unwrap_or_default();
    String::from_utf8_lossy(&value).into_owned()
}
