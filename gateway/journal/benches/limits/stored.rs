//! Ten million events in the journal: the memory of a process that holds it open, and the time to open it after the process was killed.
//!
//! The memory is that of a process of its own (this program again), between just before it opens the journal and its greatest ever: it
//! fills the journal; or opens the filled one, reads from it and appends to it; or fills one that has to keep everything for a group that is away.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use lamppost_event::{Group, Position};
use lamppost_journal::Options;

use crate::Outcome;
use crate::arguments::Arguments;
use crate::cache::{drop_pages, files, load_pages, read_through};
use crate::figures::Figures;
use crate::log::{Log, Spread, fresh, options};
use crate::telemetry::{Report, Telemetry};

/// The first word of the command line of this program's children.
pub(crate) const CHILD: &str = "--child";
/// Events that a child appends again and again; they belong to its base.
const CHILD_POOL: usize = 8192;
const BATCH: usize = 1024;

/// Measures `rss_above_base_mib` and `open_over_segment_read`.
pub(crate) fn measure(arguments: &Arguments, figures: &mut Figures) -> Outcome<()> {
    let events = if arguments.quick { 500_000 } else { 10_000_000 };
    let folder = arguments.dir.join("stored");
    fresh(&folder)?;
    println!("Memory, {events} events stored:");
    let mut filling = Kid::start("fill", &folder, events, arguments.seed)?;
    let filled = filling.report(&|text| println!("  {text}"))?;
    println!("  filled; now the process is killed");
    filling.kill()?;
    println!("Opening after the kill, {} MiB of files:", size_of(&folder)? >> 20);
    measure_opening(arguments, &folder, events, figures)?;
    let mut reading = Kid::start("read", &folder, events, arguments.seed)?;
    let read = reading.report(&|text| println!("  {text}"))?;
    reading.kill()?;
    fresh(&folder)?;
    println!("Memory while a required group is away and segments are moved to the cold tier, {} events:", events / 5);
    let mut cooling = Kid::start("cool", &folder, events / 5, arguments.seed)?;
    let cooled = cooling.report(&|text| println!("  {text}"))?;
    cooling.kill()?;
    figures.put("stored_events", events as f64);
    figures.put("rss_above_base_mib_filling", filled);
    figures.put("rss_above_base_mib_reading", read);
    figures.put("rss_above_base_mib_cooling", cooled);
    figures.put("rss_above_base_mib", filled.max(read).max(cooled));
    Ok(std::fs::remove_dir_all(folder)?)
}

/// The journal is dropped without being closed, so each opening is one after a cut: of a gateway that had run, or of one that had only
/// just been opened.
fn measure_opening(arguments: &Arguments, folder: &Path, events: u64, figures: &mut Figures) -> Outcome<()> {
    let rounds = if arguments.quick { 3 } else { 9 };
    let options = large(events)?;
    let pool = Telemetry::new(arguments.seed, 500)?.pool(CHILD_POOL);
    let (mut cold, mut again, mut warm) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=rounds {
        drop_pages(folder)?;
        let open_cold = open(folder, &options, &pool, false)?;
        drop_pages(folder)?;
        let read_cold = read_segment(folder)?;
        drop_pages(folder)?;
        let open_again = open(folder, &options, &pool, true)?;
        load_pages(folder)?;
        let open_warm = open(folder, &options, &pool, true)?;
        let read_warm = read_segment(folder)?;
        cold.push(open_cold / read_cold);
        again.push(open_again / read_cold);
        warm.push(open_warm / read_warm);
        println!(
            "  round {number} of {rounds}, ms: from the disk: opening {:.1}, at once again {:.1}, one segment {:.1}; in the page cache: \
             opening {:.1}, one segment {:.1}",
            open_cold * 1e3,
            open_again * 1e3,
            read_cold * 1e3,
            open_warm * 1e3,
            read_warm * 1e3
        );
    }
    println!("  open_over_segment_read is with the page cache empty, as after a power cut");
    figures.put_rounds("open_over_segment_read", &cold);
    figures.put_rounds("open_over_segment_read_again", &again);
    figures.put_rounds("open_over_segment_read_cached", &warm);
    Ok(())
}

/// Seconds. Afterwards it may run for a while: events are stored, and the keeper gets done.
fn open(folder: &Path, options: &Options, pool: &[Report], run: bool) -> Outcome<f64> {
    let start = Instant::now();
    let mut log = Log::with_threads(folder, options.clone(), pool, Spread::InTurn)?;
    let elapsed = start.elapsed();
    if run {
        log.run(BATCH, 8)?;
        let patience = Instant::now();
        while log.journal.stats().segments_free == 0 {
            if patience.elapsed() > Duration::from_secs(60) {
                return Err("the keeper does not prepare a segment".into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(elapsed.as_secs_f64())
}

/// Seconds to read one full segment from its beginning to its end.
fn read_segment(folder: &Path) -> Outcome<f64> {
    let segments = files(folder, "hot-")?;
    let path = segments.get(segments.len() / 2).ok_or("the journal has no segment")?;
    let mut buffer = vec![0; 256 << 10];
    let start = Instant::now();
    read_through(path, &mut buffer, |piece| {
        std::hint::black_box(piece);
    })?;
    Ok(start.elapsed().as_secs_f64())
}

fn size_of(folder: &Path) -> Outcome<u64> {
    files(folder, "")?.iter().map(|path| Ok(std::fs::metadata(path)?.len())).sum()
}

/// Options with a quota for this many events.
fn large(events: u64) -> Outcome<Options> {
    let mut options = options(4)?;
    options.quota_bytes = options.quota_min() + events * 300;
    Ok(options)
}

/// This program, started once more.
pub(crate) struct Kid {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Kid {
    pub(crate) fn start(what: &str, folder: &Path, events: u64, seed: u64) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([CHILD, what]).arg(folder).args([events.to_string(), seed.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("a child without an output")?);
        Ok(Self { child, lines })
    }

    /// Passes its lines on until the one with its figure, MiB.
    pub(crate) fn report(&mut self, pass_on: &dyn Fn(&str)) -> Outcome<f64> {
        for line in self.lines.by_ref().lines() {
            let line = line?;
            match line.strip_prefix("mib ") {
                Some(figure) => return Ok(figure.parse()?),
                None => pass_on(&line),
            }
        }
        Err(format!("the child ended early: {}", self.child.wait()?).into())
    }

    pub(crate) fn kill(mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// What this program does as a child: its figure on a line of its own, then it waits to be killed.
pub(crate) fn child(words: &[String]) -> Outcome<()> {
    let [what, folder, events, seed] = words else { return Err("a child takes four words".into()) };
    let (folder, events) = (Path::new(folder), events.parse::<u64>()?);
    if what == "devices" {
        return crate::devices::child(folder, events);
    }
    let pool = Telemetry::new(seed.parse()?, 500)?.pool(CHILD_POOL);
    let base = memory("VmRSS:")?;
    let mut options = large(events)?;
    if what == "cool" {
        options.required.push(Group::new("cluster")?);
    }
    let mut log = Log::with_threads(folder, options, &pool, Spread::InTurn)?;
    if what != "read" {
        let step = events.div_ceil(10);
        for tenth in 1..=10 {
            let round = log.run(BATCH, step.div_ceil(BATCH as u64) as usize)?;
            let above = memory("VmRSS:")? - base;
            let (rate, cold) = (round.events_per_s(), log.journal.stats().segments_cold);
            println!(
                "{} events stored, {rate:.0}/s, {cold} cold segments, {above:.1} MiB above the base",
                tenth * step
            );
        }
    } else {
        let mut at = Position(0);
        loop {
            let chunk = log.journal.read(at, 1 << 20)?;
            at = chunk.next;
            if chunk.caught_up {
                break;
            }
        }
        println!("all read, {:.1} MiB above the base", memory("VmRSS:")? - base);
        log.run(BATCH, 64)?;
    }
    println!("mib {:.3}", memory("VmHWM:")? - base);
    std::io::stdout().flush()?;
    wait_to_be_killed()
}

pub(crate) fn wait_to_be_killed() -> Outcome<()> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(())
}

/// A line of `/proc/self/status`, MiB.
pub(crate) fn memory(field: &str) -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).ok_or("no such field in /proc/self/status")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}
