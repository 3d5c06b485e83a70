//! A million devices, each with its mark: what the state's checkpoints take on the disk and cost for an event, the memory of a process that
//! holds such a journal open, and the time to open it after the process was killed. With the quota and the bound of marks as shipped.
//!
//! Each device is heard once; then devices that are known are heard again, in an order that leaps. Commits are of 256 events.

use std::cell::RefCell;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use lamppost_event::{Commit, DeviceId, Partition, StoredRecord, WallTime};
use lamppost_journal::{AppendError, Directory, Journal, Mark, Options, TopicOptions};

use crate::Outcome;
use crate::arguments::Arguments;
use crate::cache::{drop_pages, files};
use crate::clock::MachineClock;
use crate::figures::Figures;
use crate::log::{fresh, topic, wait};
use crate::stored::{Kid, memory, wait_to_be_killed};

const BATCH: u64 = 256;
const PARTITIONS: u16 = 4;
/// As the gateway has it, and so a quarter of it for marks.
const QUOTA_BYTES: u64 = 256 << 20;
const MARKS_BYTES_MAX: u64 = QUOTA_BYTES / 4;
/// Leaps over the devices that are known: it has no divisor but 1 in common with their number.
const LEAP: u64 = 611_953;

/// Measures the rows that begin with `devices_`.
pub(crate) fn measure(arguments: &Arguments, figures: &mut Figures) -> Outcome<()> {
    let devices = if arguments.quick { 100_000 } else { 1_000_000 };
    let folder = arguments.dir.join("devices");
    fresh(&folder)?;
    println!("{devices} devices, a quota of {} MiB:", QUOTA_BYTES >> 20);
    let mut kid = Kid::start("devices", &folder, devices, arguments.seed)?;
    let told = RefCell::new(Vec::new());
    let mib = kid.report(&|line| match line.split_once(" = ").map(|(key, value)| (key, value.parse())) {
        Some((key, Ok(value))) => told.borrow_mut().push((key.to_owned(), value)),
        _ => println!("  {line}"),
    })?;
    kid.kill()?;
    told.into_inner().into_iter().for_each(|(key, value): (String, f64)| figures.put(key, value));
    figures.put("devices_rss_above_base_mib", mib);
    drop_pages(&folder)?;
    let start = Instant::now();
    let journal = open(&folder)?;
    figures.put("devices_open_ms", start.elapsed().as_secs_f64() * 1e3);
    drop(journal);
    Ok(std::fs::remove_dir_all(folder)?)
}

fn open(folder: &Path) -> Outcome<Journal> {
    let options = Options {
        quota_bytes: QUOTA_BYTES,
        marks_bytes_max: Some(MARKS_BYTES_MAX),
        topics: vec![TopicOptions { topic: topic()?, partitions: PARTITIONS, linger: None }],
        ..Options::default()
    };
    let disk = Arc::new(Directory::create(folder)?);
    Ok(Journal::open(disk, options, Arc::new(MachineClock::new()))?.0)
}

/// What the child does.
pub(crate) fn child(folder: &Path, devices: u64) -> Outcome<()> {
    let base = memory("VmRSS:")?;
    let journal = open(folder)?;
    let mut state_bytes = 0_u64;
    for (round, name) in [(1, "new"), (2, "known")] {
        let before = journal.stats();
        for first in (0..devices).step_by(BATCH as usize) {
            let last = (first..devices.min(first + BATCH)).try_fold(Commit(0), |_, number| {
                let device = if round == 1 { number } else { number * LEAP % devices };
                append(&journal, device, round)
            })?;
            journal.commit_now();
            let mut durable = journal.durable()?;
            while durable < last {
                durable = wait(journal.durable_after(durable))?;
            }
            if first % (BATCH * 64) == 0 {
                state_bytes = state_bytes.max(state_files(folder)?);
            }
        }
        let after = journal.stats();
        let written = after.checkpoint_bytes_written - before.checkpoint_bytes_written;
        let checkpoints = after.checkpoints - before.checkpoints;
        println!("{devices} events of {name} devices: {checkpoints} checkpoints, {} MiB of them", written >> 20);
        println!("devices_checkpoint_bytes_per_event_{name} = {}", written as f64 / devices as f64);
    }
    let mut marks = 0_u64;
    journal.marks(&mut |_| marks += 1)?;
    println!("devices_marks = {marks}");
    println!("devices_state_mib = {}", state_files(folder)? as f64 / f64::from(1 << 20));
    println!("devices_state_mib_max = {}", state_bytes as f64 / f64::from(1 << 20));
    println!("mib {:.3}", memory("VmHWM:")? - base);
    std::io::stdout().flush()?;
    wait_to_be_killed()
}

/// Bytes of the checkpoints' files, those among them that others stand for.
fn state_files(folder: &Path) -> Outcome<u64> {
    // One may go while they are looked at.
    Ok(files(folder, "checkpoint-")?.iter().filter_map(|path| Some(std::fs::metadata(path).ok()?.len())).sum())
}

fn append(journal: &Journal, number: u64, sequence: u64) -> Outcome<Commit> {
    let device = DeviceId::new(&format!("lamp-{number:07}"))?;
    let value = format!("{{\"device\":\"{device}\",\"lux\":{}}}", number % 1000);
    let mut record = StoredRecord {
        timestamp: WallTime(1_772_431_200_000),
        key: Bytes::copy_from_slice(device.as_str().as_bytes()),
        value: Some(value.into()),
        header: Bytes::new(),
    };
    let mark = Mark { device, boot: 1, sequence };
    let partition = Partition((number % u64::from(PARTITIONS)) as u16);
    loop {
        match journal.append(&topic()?, partition, record, Some(&mark)) {
            Ok(appended) => return Ok(appended.commit),
            Err(AppendError::Full(refused)) => {
                record = *refused;
                wait(journal.room());
            }
            Err(error) => return Err(error.into()),
        }
    }
}
