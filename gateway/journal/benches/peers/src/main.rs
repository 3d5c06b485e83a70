//! Other engines used as the log, told what to do over stdin: one line, one round. For the journal's benchmark, which starts it.
//!
//! ```text
//! ENGINE FOLDER PARTITIONS SPREAD BATCH COMMITS SEED
//!                                                  in: a round of COMMITS durable commits of BATCH events each; by SPREAD an event's
//!                                                  partition is that of its `device`, or they take `turns`
//! seconds SECONDS EVENTS DEFERRED                  out: how long they took; how long the engine then took to bring what it had
//!                                                  put off (its memory tables, its WAL) to where it stays
//! failed TEXT                                      or out
//! ```
//!
//! A folder stays open from round to round, and grows: nothing is deleted, which spares the engines what the journal does. All have their
//! defaults but for the durability: a commit is on the disk before the next begins.

#![allow(clippy::disallowed_methods, reason = "a measuring tool reads the clock and makes files")]

#[path = "../../limits/telemetry.rs"]
#[allow(dead_code, reason = "the benchmark uses more of it")]
mod telemetry;

mod engine;
mod fjall_log;
mod partition_files;
mod redb_log;
mod rocksdb_c;
mod rocksdb_log;
mod sqlite_log;

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use engine::{Engine, Entry, Outcome};
use telemetry::{Report, Telemetry};

/// As many different events as the journal is measured with, made at the same rate.
const POOL: usize = 65_536;
const EVENTS_PER_S: u32 = 500;

struct Open {
    engine: Box<dyn Engine>,
    next: usize,
    offsets: Vec<u64>,
}

#[derive(Default)]
struct Peers {
    pools: HashMap<u64, Vec<Report>>,
    open: HashMap<String, Open>,
}

fn main() -> Outcome<()> {
    let mut peers = Peers::default();
    for line in std::io::stdin().lock().lines() {
        let answer = match peers.round(&line?) {
            Ok(answer) => answer,
            Err(error) => format!("failed {}", error.to_string().replace('\n', " ")),
        };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

impl Peers {
    fn round(&mut self, line: &str) -> Outcome<String> {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, folder, partitions, spread, batch, commits, seed] = words[..] else {
            return Err(format!("seven words are expected, not {line:?}").into());
        };
        let by_device = match spread {
            "device" => true,
            "turns" => false,
            other => return Err(format!("there is no spread {other:?}").into()),
        };
        let (partitions, batch, commits) = (partitions.parse::<u16>()?, batch.parse::<usize>()?, commits.parse()?);
        let seed = seed.parse()?;
        let pool = match self.pools.entry(seed) {
            MapEntry::Occupied(pool) => pool.into_mut(),
            MapEntry::Vacant(place) => place.insert(Telemetry::new(seed, EVENTS_PER_S)?.pool(POOL)),
        };
        let open = match self.open.entry(folder.to_owned()) {
            MapEntry::Occupied(open) => open.into_mut(),
            MapEntry::Vacant(place) => {
                let engine = engine_of(name, Path::new(folder), partitions)?;
                place.insert(Open { engine, next: 0, offsets: vec![0; usize::from(partitions)] })
            }
        };
        let start = Instant::now();
        for _ in 0..commits {
            let entries = open.gather(pool, batch, by_device);
            open.engine.commit(&entries)?;
        }
        let (seconds, start) = (start.elapsed().as_secs_f64(), Instant::now());
        open.engine.settle()?;
        let deferred = start.elapsed().as_secs_f64();
        Ok(format!("seconds {seconds} {} {deferred}", batch * commits))
    }
}

impl Open {
    /// The next events, spread over the partitions as the journal gets them.
    fn gather<'a>(&mut self, pool: &'a [Report], batch: usize, by_device: bool) -> Vec<Entry<'a>> {
        let mut entries = Vec::with_capacity(batch);
        for _ in 0..batch {
            let report = &pool[self.next % pool.len()];
            let partition = if by_device { report.device } else { self.next } % self.offsets.len();
            let (offset, record) = (self.offsets[partition], &report.record);
            entries.push(Entry { partition: partition as u16, offset, record });
            self.offsets[partition] += 1;
            self.next += 1;
        }
        entries
    }
}

fn engine_of(name: &str, folder: &Path, partitions: u16) -> Outcome<Box<dyn Engine>> {
    std::fs::create_dir_all(folder)?;
    Ok(match name {
        "fjall" => Box::new(fjall_log::FjallLog::open(folder)?),
        "redb" => Box::new(redb_log::RedbLog::open(folder)?),
        "rocksdb" => Box::new(rocksdb_log::RocksDbLog::open(folder)?),
        "sqlite" => Box::new(sqlite_log::SqliteLog::open(folder)?),
        "files" => Box::new(partition_files::PartitionFiles::open(folder, partitions)?),
        other => return Err(format!("there is no engine {other:?}").into()),
    })
}
