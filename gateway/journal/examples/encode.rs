//! What an event costs the processor, by stage: taking it in (append), and putting the frame together (commit), on a disk that takes
//! everything and does nothing.
//!
//! `cargo run --release -p lamppost-journal --example encode [-- --rounds 20]`
//!
//! The last line is one JSON object.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a measuring tool prints and reads the clock")]

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lamppost_event::{BootId, Clock, ClockQuality, Monotonic, Now, Partition, StoredRecord, Topic, WallTime};
use lamppost_journal::{Access, Compression, Disk, DiskFile, DiskLock, Entry, Journal, Options, TopicOptions};

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Now {
        let (wall, monotonic) = (WallTime(1_700_000_000_000), Monotonic(1));
        Now { wall, monotonic, boot: BootId(1), quality: ClockQuality::Synced }
    }
}

/// Takes everything, does nothing.
struct Nowhere;

impl Disk for Nowhere {
    fn list(&self) -> io::Result<Vec<Entry>> {
        Ok(Vec::new())
    }
    fn open(&self, _: &str, _: Access) -> io::Result<Arc<dyn DiskFile>> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn create_zeroed(&self, _: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(NoFile(AtomicU64::new(bytes))))
    }
    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn flush_dir(&self) -> io::Result<()> {
        Ok(())
    }
    fn lock(&self) -> io::Result<Option<DiskLock>> {
        Ok(Some(Box::new(())))
    }
    fn place(&self) -> String {
        "nowhere".to_owned()
    }
}

struct NoFile(AtomicU64);

impl DiskFile for NoFile {
    fn read_at(&self, buffer: &mut [u8], _: u64) -> io::Result<()> {
        buffer.fill(0);
        Ok(())
    }
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.fetch_max(at + bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }
    fn write_pieces_at(&self, pieces: &[&[u8]], mut at: u64) -> io::Result<()> {
        for piece in pieces {
            self.write_at(piece, at)?;
            at += piece.len() as u64;
        }
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
    fn shorten(&self, bytes: u64) -> io::Result<()> {
        self.0.fetch_min(bytes, Ordering::Relaxed);
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.load(Ordering::Relaxed))
    }
    fn forget_cache(&self) {}
}

type Outcome<T> = Result<T, Box<dyn Error>>;

const PARTITIONS: u16 = 4;
const DEVICES: u64 = 16;
/// Events of one measurement.
const EVENTS: usize = 1 << 14;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let mut rounds = 20_usize;
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or("each flag takes a value")?;
        match flag.as_str() {
            "--rounds" => rounds = value.parse()?,
            other => return Err(format!("unknown flag {other}; there is --rounds").into()),
        }
    }
    let mut last = String::new();
    for batch in [1024, 64] {
        for (compression, name) in [(Compression::None, "none"), (Compression::Lz4, "lz4"), (Compression::Zstd, "zstd")]
        {
            let cost = measure(batch, compression, rounds)?;
            println!(
                "batch {batch:4}, {name:4}: append {:6.1} ns, commit {:6.1} ns, {:6.1} bytes an event ({:.3} of what was given)",
                cost.append_ns,
                cost.commit_ns,
                cost.bytes,
                cost.bytes / cost.given
            );
            last += &format!(
                "\"append_ns_{name}_{batch}\":{:.1},\"commit_ns_{name}_{batch}\":{:.1},\"bytes_ratio_{name}_{batch}\":{:.3},",
                cost.append_ns,
                cost.commit_ns,
                cost.bytes / cost.given
            );
        }
    }
    println!("{{{last}\"rounds\":{rounds}}}");
    Ok(())
}

/// Of one event.
struct Cost {
    append_ns: f64,
    commit_ns: f64,
    /// Written, padding included.
    bytes: f64,
    /// Key, value and header.
    given: f64,
}

/// What devices send: numbers that wander, in JSON.
fn telemetry(events: usize) -> Vec<StoredRecord> {
    let mut state = 7_u64;
    let mut noise = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut levels: Vec<[i64; 4]> = (0..DEVICES).map(|_| [2150, 4480, 101_325, 3700]).collect();
    let mut all = Vec::with_capacity(events);
    for event in 0..events as u64 {
        let device = noise(DEVICES);
        let Some([temperature, humidity, pressure, battery]) = levels.get_mut(device as usize) else { continue };
        *temperature += noise(21) as i64 - 10;
        *humidity += noise(41) as i64 - 20;
        *pressure += noise(9) as i64 - 4;
        *battery -= i64::from(noise(50) == 0);
        let now = 1_700_000_000_000 + event as i64 * 5;
        let value = format!(
            "{{\"device\":\"press-{device:02}\",\"time\":{},\"sequence\":{event},\"temperature_c\":{:.2},\"humidity_percent\":{:.2},\
             \"pressure_pa\":{pressure},\"battery_mv\":{battery},\"vibration_mm_s\":[0.{:03},0.{:03},0.{:03}],\"state\":\"running\"}}",
            now - noise(900) as i64,
            *temperature as f64 / 100.0,
            *humidity as f64 / 100.0,
            noise(400),
            noise(400),
            noise(400),
        );
        let mut header = vec![1, 2 | 1 << 2 | 1 << 4, 0];
        header.extend_from_slice(&0x1234_5678_9abc_def0_u64.to_le_bytes());
        header.extend_from_slice(&(now as u32).to_le_bytes());
        header.extend_from_slice(format!("\u{17}factory/press-{device:02}/data").as_bytes());
        all.push(StoredRecord {
            timestamp: WallTime(now),
            key: Bytes::from(format!("press-{device:02}")),
            value: Some(value.into()),
            header: header.into(),
        });
    }
    all
}

fn made_anew(record: &StoredRecord) -> StoredRecord {
    StoredRecord {
        timestamp: record.timestamp,
        key: Bytes::copy_from_slice(&record.key),
        value: record.value.as_deref().map(Bytes::copy_from_slice),
        header: Bytes::copy_from_slice(&record.header),
    }
}

/// The fastest of all rounds, of each stage.
fn measure(batch: usize, compression: Compression, rounds: usize) -> Outcome<Cost> {
    let topic = Topic::user("measure")?;
    let options = Options {
        topics: vec![TopicOptions { topic: topic.clone(), partitions: PARTITIONS, linger: None }],
        compression,
        ..Options::default()
    };
    let (journal, hand, _) = Journal::open_by_hand(Arc::new(Nowhere), options, Arc::new(FixedClock))?;
    let records = telemetry(EVENTS);
    let given = records.iter().map(StoredRecord::bytes).sum::<usize>() as f64 / EVENTS as f64;
    let (mut best_append, mut best_commit, mut bytes) = (Duration::MAX, Duration::MAX, 0);
    for _ in 0..rounds {
        let (mut append, mut commit) = (Duration::ZERO, Duration::ZERO);
        bytes = 0;
        for records in records.chunks(batch) {
            // As from a source: just made, and given away.
            let records: Vec<StoredRecord> = records.iter().map(made_anew).collect();
            let begun = Instant::now();
            for (index, record) in records.into_iter().enumerate() {
                journal.append(&topic, Partition(index as u16 % PARTITIONS), record, None)?;
            }
            let (taken, before) = (Instant::now(), journal.stats().bytes_written);
            let between = Instant::now();
            hand.commit()?;
            append += taken - begun;
            commit += between.elapsed();
            bytes += journal.stats().bytes_written - before;
            hand.keep()?;
        }
        best_append = best_append.min(append);
        best_commit = best_commit.min(commit);
    }
    let ns = |time: Duration| time.as_nanos() as f64 / EVENTS as f64;
    Ok(Cost { append_ns: ns(best_append), commit_ns: ns(best_commit), bytes: bytes as f64 / EVENTS as f64, given })
}
