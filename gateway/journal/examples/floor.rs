//! How near the journal comes to the disk's own floor: events a second of the journal over those of a bare pwrite and
//! fdatasync of the same bytes into a file of zeros, alternating rounds, on a real folder.
//!
//! `cargo run --release -p lamppost-journal --example floor -- --dir /path/on/the/card [--rounds 5] [--events 20000]`
//!
//! The last line is one JSON object: `floor_ratio_64`, `floor_ratio_1024`, `bytes_per_event_64`, `bytes_per_event_1024`,
//! `flush_p50_us`, `event_bytes`, `partitions`, `rounds`.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a measuring tool prints and reads the clock")]

use std::error::Error;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use lamppost_event::{BootId, Clock, ClockQuality, Monotonic, Now, Partition, StoredRecord, Topic, WallTime};
use lamppost_journal::{AppendError, Directory, Hand, Journal, Options, TopicOptions};

const PARTITIONS: u16 = 4;
const EVENT_BYTES: usize = 200;

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Now {
        let (wall, monotonic) = (WallTime(1_700_000_000_000), Monotonic(1));
        Now { wall, monotonic, boot: BootId(1), quality: ClockQuality::Synced }
    }
}

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Round {
    journal_per_s: f64,
    floor_per_s: f64,
    bytes_per_event: f64,
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let (mut dir, mut rounds, mut events) = (None, 5_usize, 20_000_usize);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or("each flag takes a value")?;
        match flag.as_str() {
            "--dir" => dir = Some(PathBuf::from(value)),
            "--rounds" => rounds = value.parse()?,
            "--events" => events = value.parse()?,
            other => return Err(format!("unknown flag {other}; there are --dir, --rounds, --events").into()),
        }
    }
    let dir = dir.ok_or("--dir is missing: a folder on the disk to be measured")?.join("lamppost-floor");
    std::fs::create_dir_all(&dir)?;
    let (small, p50) = measure(&dir, 64, rounds, events)?;
    let (large, _) = measure(&dir, 1024, rounds, events * 4)?;
    std::fs::remove_dir_all(&dir)?;
    println!(
        "{{\"floor_ratio_64\":{:.3},\"floor_ratio_1024\":{:.3},\"bytes_per_event_64\":{:.1},\"bytes_per_event_1024\":{:.1},\
         \"flush_p50_us\":{p50},\"event_bytes\":{EVENT_BYTES},\"partitions\":{PARTITIONS},\"rounds\":{rounds}}}",
        small.journal_per_s / small.floor_per_s,
        large.journal_per_s / large.floor_per_s,
        small.bytes_per_event,
        large.bytes_per_event,
    );
    Ok(())
}

/// The round of middling ratio.
fn measure(dir: &Path, batch: usize, rounds: usize, events: usize) -> Outcome<(Round, u128)> {
    let topic = Topic::user("measure")?;
    let options = Options {
        topics: vec![TopicOptions { topic: topic.clone(), partitions: PARTITIONS, linger: None }],
        ..Options::default()
    };
    let disk = Arc::new(Directory::create(dir.join(format!("journal-{batch}")))?);
    let (journal, hand, _) = Journal::open_by_hand(disk, options, Arc::new(FixedClock))?;
    let mut all = Vec::new();
    for _ in 0..rounds {
        let before = journal.stats();
        let (journal_per_s, upkeep_bytes) = run_journal(&journal, &hand, &topic, batch, events)?;
        let after = journal.stats();
        let frame = (after.bytes_written - before.bytes_written - upkeep_bytes) as usize / (events / batch);
        // The heads of new segments make the average uneven: the floor writes whole pages as well.
        let floor_per_s = run_floor(dir, frame / 4096 * 4096, batch, events)?;
        let bytes_per_event = frame as f64 / batch as f64;
        println!(
            "batch {batch}: journal {journal_per_s:.0}/s, floor {floor_per_s:.0}/s, {bytes_per_event:.1} bytes an event"
        );
        all.push(Round { journal_per_s, floor_per_s, bytes_per_event });
    }
    let p50 = journal.stats().flush_p50.as_micros();
    journal.close()?;
    all.sort_by(|a, b| (a.journal_per_s / a.floor_per_s).total_cmp(&(b.journal_per_s / b.floor_per_s)));
    let middle = all.len() / 2;
    Ok((all.swap_remove(middle), p50))
}

/// Events a second, and the bytes that upkeep wrote beside.
fn run_journal(journal: &Journal, hand: &Hand, topic: &Topic, batch: usize, events: usize) -> Outcome<(f64, u64)> {
    let value = Bytes::from(vec![b'v'; EVENT_BYTES]);
    let key = Bytes::from_static(b"sensor-17");
    let start = Instant::now();
    let (mut upkeep, mut upkeep_bytes) = (std::time::Duration::ZERO, 0);
    for event in 0..events {
        let record = StoredRecord {
            timestamp: WallTime(1_700_000_000_000),
            key: key.clone(),
            value: Some(value.clone()),
            header: Bytes::new(),
        };
        let partition = Partition(event as u16 % PARTITIONS);
        match journal.append(topic, partition, record, None) {
            Ok(_) => {}
            Err(AppendError::Full(_)) => return Err("the journal is full: a frame is too small for the batch".into()),
            Err(error) => return Err(error.into()),
        }
        if (event + 1) % batch == 0 {
            hand.commit()?;
            // A thread of its own does this in the gateway: making zeros is not the path that is measured.
            let pause = Instant::now();
            let written = journal.stats().bytes_written;
            hand.keep()?;
            upkeep_bytes += journal.stats().bytes_written - written;
            upkeep += pause.elapsed();
        }
    }
    Ok((events as f64 / (start.elapsed() - upkeep).as_secs_f64(), upkeep_bytes))
}

/// The same number of writes of the same size, each flushed, into a file of zeros.
fn run_floor(dir: &Path, frame: usize, batch: usize, events: usize) -> Outcome<f64> {
    const FILE_BYTES: usize = 16 << 20;
    let path = dir.join("floor");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    let bytes = vec![b'v'; frame.max(4096)];
    let mut at = 0;
    let start = Instant::now();
    for _ in 0..events / batch {
        if at + bytes.len() > FILE_BYTES {
            at = 0;
        }
        file.write_all_at(&bytes, at as u64)?;
        file.sync_data()?;
        at += bytes.len();
    }
    let per_s = events as f64 / start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(per_s)
}
