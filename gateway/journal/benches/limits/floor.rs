//! The disk's own floor: the journal's own frames, byte for byte, written with one pwrite and one fdatasync each into a file that was
//! written full of zeros before.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use lamppost_journal::{Directory, Disk, Options};

use crate::Outcome;
use crate::arguments::Arguments;
use crate::cache::files;
use crate::figures::Figures;
use crate::log::{Log, SEGMENTS, Spread, Took, fresh, options};
use crate::processors::Processors;
use crate::telemetry::Report;
use crate::watched::Call;

const PAGE: usize = 4096;
/// As much as the journal's segments together: both write to as many different places.
const FLOOR_FILE_BYTES: u64 = SEGMENTS * (16 << 20);
/// A round is so many slices of each, in turns, each of a few commits: the speed of a disk changes from moment to moment, and not
/// for one of them alone.
const SLICES: usize = 6;
/// Commits of a slice, batch 64 and above.
const SLICE_64: usize = 200;
const SLICE_1024: usize = 40;

/// So many different events: what has just been received is still in the processor's cache.
const WARM_EVENTS: usize = 4096;

/// Measures the rows of the floor, batch 64 and 1024, and of many partitions.
pub(crate) fn measure(arguments: &Arguments, pool: &[Report], figures: &mut Figures) -> Outcome<()> {
    let pool = pool.get(..WARM_EVENTS).ok_or("too few events")?;
    for (batch, slice) in [(64, SLICE_64), (1024, SLICE_1024)] {
        println!(
            "The floor, batch {batch}, 4 partitions; a round is {SLICES} times {slice} commits of each, in turns:"
        );
        measure_batch(arguments, pool, (batch, slice), figures)?;
    }
    println!("32 partitions against 4, batch 64, every commit touching all of them:");
    measure_partitions(arguments, pool, figures)
}

/// A journal that takes part in the rounds.
struct Contender<'a> {
    suffix: &'static str,
    log: Log<'a>,
    ratios: Vec<f64>,
    split: u64,
    /// Bytes of events, and of the files.
    bytes: [u64; 2],
    /// What the writer spent in calls to the disk, and all that the rounds took.
    disk: [Duration; 2],
}

impl<'a> Contender<'a> {
    fn all(folder: &Path, pool: &'a [Report]) -> Outcome<Vec<Self>> {
        let entrant =
            |suffix, log| Self { suffix, log, ratios: Vec::new(), split: 0, bytes: [0; 2], disk: [Duration::ZERO; 2] };
        let mut all = vec![
            entrant("", Log::with_threads(&folder.join("threads"), options(4)?, pool, Spread::InTurn)?),
            entrant("_by_hand", Log::by_hand(&folder.join("hand"), options(4)?, pool, Spread::InTurn)?),
        ];
        let shipped = Options { compression: Options::default().compression, ..options(4)? };
        let folder = folder.join("shipped");
        all.push(entrant("_shipped", Log::with_threads(&folder, shipped, pool, Spread::ByDevice)?));
        Ok(all)
    }

    fn is_by_hand(&self) -> bool {
        self.suffix == "_by_hand"
    }

    fn run(&mut self, batch: usize, commits: usize) -> Outcome<Took> {
        let in_disk = |log: &Log<'_>| Call::ALL.map(|call| log.watch.writer(call)).iter().sum::<Duration>();
        let (written, before) = (self.log.journal.stats().bytes_written, in_disk(&self.log));
        let took = self.log.run(batch, commits)?;
        let written = self.log.journal.stats().bytes_written - written;
        self.bytes = [self.bytes[0] + took.bytes as u64, self.bytes[1] + written];
        // With threads one more went ahead.
        let flushed = if self.is_by_hand() { commits } else { commits + 1 };
        let in_disk = (in_disk(&self.log) - before).mul_f64(commits as f64 / flushed as f64);
        self.disk = [self.disk[0] + in_disk, self.disk[1] + took.elapsed];
        Ok(took)
    }
}

fn measure_batch(
    arguments: &Arguments,
    pool: &[Report],
    (batch, slice): (usize, usize),
    figures: &mut Figures,
) -> Outcome<()> {
    let rounds = if arguments.quick { 3 } else { 15 };
    let folder = arguments.dir.join(format!("floor-{batch}"));
    fresh(&folder)?;
    println!("  making the segments beforehand, until they are recycled");
    let mut contenders = Contender::all(&folder, pool)?;
    contenders.iter_mut().try_for_each(|contender| contender.log.settle())?;
    contenders[0].log.run(batch, 100)?;
    let mut floor = Floor::new(&folder)?;
    floor.take_frames(&folder.join("threads"), batch)?;
    let processors = Processors::share_out(&mut floor)?;
    processors.place_writers()?;
    for number in 1..=rounds {
        let (mut bare, mut took) = (Took::default(), vec![Took::default(); contenders.len()]);
        for _ in 0..SLICES {
            bare.add(processors.at_the_disk(|| floor.run(batch, slice))?);
            for (contender, took) in contenders.iter_mut().zip(&mut took) {
                contender.log.prepare((slice + 1) * batch);
                let by_hand = contender.is_by_hand();
                let run = || contender.run(batch, slice);
                took.add(if by_hand { processors.at_the_disk(run) } else { processors.aside(run) }?);
            }
        }
        let mut line = format!("  round {number} of {rounds}, events/s: floor {:.0}", bare.events_per_s());
        for (contender, took) in contenders.iter_mut().zip(took) {
            contender.ratios.push(took.events_per_s() / bare.events_per_s());
            contender.split += took.split;
            line += &format!(", journal{} {:.0}", contender.suffix.replace('_', " "), took.events_per_s());
        }
        println!("{line}");
    }
    for contender in &contenders {
        if contender.split > 0 {
            println!("  {} commits too many: the journal had no room in the middle of a batch", contender.split);
        }
        figures.put_rounds(&format!("floor_ratio_{batch}{}", contender.suffix), &contender.ratios);
        let [events, files] = contender.bytes.map(|bytes| bytes as f64);
        figures.put(format!("floor_ratio_{batch}{}_bytes_written", contender.suffix), files / events);
        let [disk, whole] = contender.disk.map(|time| time.as_secs_f64());
        figures.put(format!("floor_ratio_{batch}{}_in_disk_calls", contender.suffix), disk / whole);
    }
    if arguments.detail {
        where_the_time_goes(&mut contenders[0].log, &mut floor, &processors, batch)?;
    }
    drop(contenders);
    Ok(std::fs::remove_dir_all(folder)?)
}

/// The writer's calls beside the same calls of the floor.
fn where_the_time_goes(log: &mut Log<'_>, floor: &mut Floor, processors: &Processors, batch: usize) -> Outcome<()> {
    const COMMITS: usize = 400;
    let calls = Call::ALL;
    let look = |log: &Log<'_>| (calls.map(|call| log.watch.writer(call)), calls.map(|call| log.watch.calls(call)));
    let (before, keeper) = (look(log), log.watch.keeper());
    log.prepare((COMMITS + 1) * batch);
    let took = processors.aside(|| log.run(batch, COMMITS))?;
    let (after, keeper) = (look(log), log.watch.keeper() - keeper);
    let a_commit = |time: Duration| time.as_secs_f64() * 1e6 / COMMITS as f64;
    let mut rest = took.elapsed;
    println!("  of {:.1} us a commit the writer spent", a_commit(took.elapsed));
    for (index, call) in calls.into_iter().enumerate() {
        let (spent, count) = (after.0[index] - before.0[index], after.1[index] - before.1[index]);
        rest = rest.saturating_sub(spent);
        let count = count as f64 / COMMITS as f64;
        println!("    {:.1} us in {call:?}, {count:.2} calls (the keeper's among them)", a_commit(spent));
    }
    println!(
        "    {:.1} us in none of these; the keeper spent {:.1} us a commit in them",
        a_commit(rest),
        a_commit(keeper)
    );
    let bare = processors.at_the_disk(|| floor.run(batch, COMMITS))?;
    let (write, flush) = (a_commit(floor.writing), a_commit(floor.flushing));
    println!("  the floor took {:.1} us a commit: {write:.1} in Write, {flush:.1} in Flush", a_commit(bare.elapsed));
    Ok(())
}

fn measure_partitions(arguments: &Arguments, pool: &[Report], figures: &mut Figures) -> Outcome<()> {
    let rounds = if arguments.quick { 3 } else { 15 };
    let folder = arguments.dir.join("partitions");
    fresh(&folder)?;
    let mut few = Log::with_threads(&folder.join("4"), options(4)?, pool, Spread::InTurn)?;
    let mut many = Log::with_threads(&folder.join("32"), options(32)?, pool, Spread::InTurn)?;
    few.settle()?;
    many.settle()?;
    let mut floor = Floor::new(&folder)?;
    floor.take_frames(&folder.join("4"), 1024)?;
    let processors = Processors::share_out(&mut floor)?;
    processors.place_writers()?;
    let mut ratios = Vec::new();
    for number in 1..=rounds {
        let (mut four, mut thirty_two) = (Took::default(), Took::default());
        for _ in 0..SLICES {
            few.prepare((SLICE_64 + 1) * 64);
            four.add(processors.aside(|| few.run(64, SLICE_64))?);
            many.prepare((SLICE_64 + 1) * 64);
            thirty_two.add(processors.aside(|| many.run(64, SLICE_64))?);
        }
        let (four, thirty_two) = (four.events_per_s(), thirty_two.events_per_s());
        println!("  round {number} of {rounds}, events/s: 4 partitions {four:.0}, 32 partitions {thirty_two:.0}");
        ratios.push(thirty_two / four);
    }
    figures.put_rounds("partitions_32_over_4", &ratios);
    drop((few, many));
    Ok(std::fs::remove_dir_all(folder)?)
}

/// The bare file, and what is written to it.
pub(crate) struct Floor {
    file: File,
    frames: Vec<Vec<u8>>,
    warm: Vec<u8>,
    at: u64,
    next: usize,
    writing: Duration,
    flushing: Duration,
}

impl Floor {
    /// Makes the file of zeros, just as the journal makes its segments: how the page cache holds it is part of the speed.
    pub(crate) fn new(folder: &Path) -> Outcome<Self> {
        drop(Directory::existing(folder)?.create_zeroed("floor", FLOOR_FILE_BYTES)?);
        let file = OpenOptions::new().read(true).write(true).open(folder.join("floor"))?;
        let (writing, flushing) = (Duration::ZERO, Duration::ZERO);
        Ok(Self { file, frames: Vec::new(), warm: Vec::new(), at: 0, next: 0, writing, flushing })
    }

    /// Takes the frames of this many events that the journal in this folder wrote last.
    pub(crate) fn take_frames(&mut self, folder: &Path, batch: usize) -> Outcome<()> {
        let segments = files(folder, "hot-")?;
        // The last may have just begun.
        let last = segments.len().saturating_sub(2);
        self.frames = segments.iter().skip(last).flat_map(|path| frames(path, batch)).flatten().collect();
        if self.frames.is_empty() { Err("no frame is found in the journal's segments".into()) } else { Ok(()) }
    }

    /// Writes and flushes one frame for each commit. Only that is counted: a frame comes warm from the processor's cache, as the journal's
    /// does, and getting it there is not the disk's business.
    pub(crate) fn run(&mut self, batch: usize, commits: usize) -> Outcome<Took> {
        (self.writing, self.flushing) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..commits {
            let frame = &self.frames[self.next % self.frames.len()];
            self.warm.clear();
            self.warm.extend_from_slice(frame);
            if self.at + frame.len() as u64 > FLOOR_FILE_BYTES {
                self.at = 0;
            }
            let begun = Instant::now();
            self.file.write_all_at(&self.warm, self.at)?;
            let written = Instant::now();
            self.file.sync_data()?;
            self.writing += written - begun;
            self.flushing += written.elapsed();
            self.at += frame.len() as u64;
            self.next += 1;
        }
        Ok(Took { elapsed: self.writing + self.flushing, events: commits * batch, ..Took::default() })
    }
}

/// A segment's frames of so many events, padding included: the magic, the length in bytes 16 to 20, the number of records in bytes 84 to 88.
fn frames(path: &Path, batch: usize) -> std::io::Result<Vec<Vec<u8>>> {
    let bytes = std::fs::read(path)?;
    let (mut frames, mut at) = (Vec::new(), 2 * PAGE);
    while let Some(head) = bytes.get(at..at + 88).filter(|head| head.starts_with(b"LMPFRAME")) {
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let (length, events) = (number(16), number(84));
        let padded = length.next_multiple_of(PAGE).max(PAGE);
        let Some(frame) = bytes.get(at..at + padded) else { break };
        if events == batch {
            frames.push(frame.to_vec());
        }
        at += padded;
    }
    Ok(frames)
}
