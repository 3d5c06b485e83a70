//! The cold tier: how many bytes it keeps for the bytes of telemetry that arrived, and for how long a gateway can be away from its cluster.
//!
//! Simulated: the clock is turned by hand to each event's time, a commit begins when the first event of it has lingered (50 ms, as by
//! default), a required group never commits its cursors, so the keeper has to move everything that leaves the hot segments to cold ones.
//! Bytes and events are real and counted in the files; only flushes are left out, as nothing here depends on how long they take.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lamppost_event::{Commit, Group, Partition, Position, Topic, WallTime};
use lamppost_journal::{AppendError, Directory, Hand, Inspect, Journal, Options, TopicOptions};

use crate::Outcome;
use crate::arguments::Arguments;
use crate::clock::TurnedClock;
use crate::figures::Figures;
use crate::log::{fresh, topic};
use crate::telemetry::{Report, Telemetry};
use crate::watched::Watched;

const PARTITIONS: u16 = 4;
/// What the offline time is told for.
const QUOTA_BYTES: u64 = 256 << 20;
const OFFLINE_EVENTS_PER_S: u32 = 5;
/// The forwarder's own, and what a reader may ask for who has little memory.
const LARGE_READ: usize = 256 << 10;
const SMALL_READ: usize = 16 << 10;

/// Measures `cold_bytes_ratio` (the greatest of the three rates) and `offline_hours_256mb_5hz`.
pub(crate) fn measure(arguments: &Arguments, figures: &mut Figures) -> Outcome<()> {
    let folder = arguments.dir.join("cold");
    println!("Cold bytes kept for each byte of telemetry (keys, values, headers) that arrived:");
    let cooled = if arguments.quick { 6 } else { 24 };
    let mut ratios = Vec::new();
    for events_per_s in [5, 50, 500] {
        fresh(&folder)?;
        let mut away = Away::open(&folder, events_per_s, arguments.seed)?;
        while away.journal.stats().cooled < cooled {
            if !away.step()? {
                return Err("the quota is used up before the cold tier has been measured".into());
            }
        }
        ratios.push(away.cold_ratio(&folder)?);
        if events_per_s == 500 {
            figures.put("cold_small_reads_over_large", away.small_reads_over_large()?);
        }
        figures.put(format!("cold_bytes_ratio_{events_per_s}_per_s"), ratios.last().copied().unwrap_or(f64::NAN));
    }
    figures.put("cold_bytes_ratio", ratios.into_iter().fold(0.0, f64::max));
    measure_offline(arguments, &folder, figures)?;
    Ok(std::fs::remove_dir_all(folder)?)
}

/// Until an event is refused for want of space; or a part of that, and the rest by the cold bytes of that part.
fn measure_offline(arguments: &Arguments, folder: &Path, figures: &mut Figures) -> Outcome<()> {
    println!("Away from the cluster at {OFFLINE_EVENTS_PER_S} events/s, quota {} MiB:", QUOTA_BYTES >> 20);
    fresh(folder)?;
    let mut away = Away::open(folder, OFFLINE_EVENTS_PER_S, arguments.seed)?;
    let enough = if arguments.quick { 12 } else { 64 };
    let (mut full, mut told) = (false, 0);
    while !full && (arguments.to_the_end || away.journal.stats().cooled < enough) {
        full = !away.step()?;
        let stats = away.journal.stats();
        if stats.cooled >= told + 32 {
            told = stats.cooled;
            let (events, hours, hot) = (away.events, away.hours(), stats.segments_used - stats.segments_cold);
            let (cold, files) = (stats.segments_cold, stats.disk_bytes >> 20);
            println!("  {events} events, {hours:.0} hours: {hot} hot and {cold} cold segments, {files} MiB of files");
        }
    }
    let hours = if full { away.hours() } else { away.hours_to_come(folder)? };
    if full {
        println!("  full: the next event was refused; none had been given up ({} gaps)", away.journal.stats().gaps);
    } else {
        println!("  {:.1} hours were simulated, the rest is reckoned by the cold bytes that they took", away.hours());
    }
    figures.put("offline_hours_256mb_5hz", hours);
    figures.put("offline_hours_simulated", away.hours());
    figures.put("offline_event_bytes", away.bytes() as f64 / away.events as f64);
    Ok(())
}

/// A gateway whose cluster is away.
struct Away {
    journal: Journal,
    hand: Hand,
    clock: Arc<TurnedClock>,
    telemetry: Telemetry,
    topic: Topic,
    linger_ms: i64,
    events_per_s: u32,
    events: u64,
    /// When the gathering commit is due.
    due: Option<WallTime>,
    /// Keys, values and headers up to and with each commit; the first is that before the first commit.
    bytes_to: Vec<u64>,
    gathered: u64,
    folder: PathBuf,
}

impl Away {
    fn open(folder: &Path, events_per_s: u32, seed: u64) -> Outcome<Self> {
        let options = Options {
            quota_bytes: QUOTA_BYTES,
            topics: vec![TopicOptions { topic: topic()?, partitions: PARTITIONS, linger: None }],
            required: vec![Group::new("cluster")?],
            ..Options::default()
        };
        let linger_ms = i64::try_from(options.linger.as_millis())?;
        let clock = Arc::new(TurnedClock::default());
        let disk = Arc::new(Watched::without_flushes(Directory::create(folder)?));
        let (journal, hand, _) = Journal::open_by_hand(disk, options, clock.clone())?;
        let (telemetry, topic) = (Telemetry::new(seed, events_per_s)?, topic()?);
        let (events, due, bytes_to, gathered) = (0, None, vec![0], 0);
        let folder = folder.to_owned();
        Ok(Self {
            journal,
            hand,
            clock,
            telemetry,
            topic,
            linger_ms,
            events_per_s,
            events,
            due,
            bytes_to,
            gathered,
            folder,
        })
    }

    /// The next event arrives; before it, the commit that was due. False if there is no room for it and none can be made.
    fn step(&mut self) -> Outcome<bool> {
        let Report { device, record } = self.telemetry.next();
        let (now, bytes) = (record.timestamp, record.bytes() as u64);
        if let Some(due) = self.due.filter(|due| *due <= now) {
            self.commit(due)?;
        }
        self.clock.turn_to_wall(now);
        let partition = Partition((device % usize::from(PARTITIONS)) as u16);
        let mut record = record;
        loop {
            match self.journal.append(&self.topic, partition, record, None) {
                Ok(_) => break,
                Err(AppendError::Full(refused)) => {
                    if !self.commit(now)? {
                        return Ok(false);
                    }
                    record = *refused;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.due.get_or_insert(WallTime(now.0 + self.linger_ms));
        self.events += 1;
        self.gathered += bytes;
        Ok(true)
    }

    /// Commits and keeps house. False if neither changed anything.
    fn commit(&mut self, now: WallTime) -> Outcome<bool> {
        self.clock.turn_to_wall(now);
        let committed = self.hand.commit()?;
        if committed {
            self.bytes_to.push(self.bytes() + self.gathered);
            self.gathered = 0;
        }
        self.due = None;
        Ok(self.hand.keep()? || committed)
    }

    /// Keys, values and headers that were committed.
    fn bytes(&self) -> u64 {
        self.bytes_to.last().copied().unwrap_or(0)
    }

    fn hours(&self) -> f64 {
        self.events as f64 / f64::from(self.events_per_s) / 3600.0
    }

    /// The cold files' bytes over those of the events in them.
    fn cold_ratio(&self, folder: &Path) -> Outcome<f64> {
        let (files, arrived, segments) = self.cold(folder)?;
        println!(
            "  {} events/s: {segments} cold segments with {files} bytes for {arrived} bytes that arrived within {:.1} hours",
            self.events_per_s,
            self.hours()
        );
        Ok(files as f64 / arrived as f64)
    }

    /// What reading all that is cold takes in small reads, over what it takes in large ones.
    fn small_reads_over_large(&self) -> Outcome<f64> {
        let cold = self.journal.stats().segments_cold;
        let large = self.read_cold(LARGE_READ)?;
        let small = self.read_cold(SMALL_READ)?;
        println!(
            "  {cold} cold segments read by {} KiB: {:.0} ms, by {} KiB: {:.0} ms",
            LARGE_READ >> 10,
            large.as_secs_f64() * 1e3,
            SMALL_READ >> 10,
            small.as_secs_f64() * 1e3
        );
        Ok(small.as_secs_f64() / large.as_secs_f64())
    }

    fn read_cold(&self, bytes: usize) -> Outcome<Duration> {
        let figures = Inspect::open(Arc::new(Directory::existing(&self.folder)?))?.figures();
        let end = figures.segments.iter().find(|segment| !segment.cold).map(|segment| segment.base);
        let (mut at, start) = (Position(0), Instant::now());
        while end.is_none_or(|end| at < end) {
            let on = self.journal.read_in_place(at, bytes, |item| drop(std::hint::black_box(item)))?;
            at = on.next;
            if on.caught_up {
                break;
            }
        }
        Ok(start.elapsed())
    }

    /// Until the quota is used up: what is free now, less a segment's size for putting cold ones together, fills with cold bytes as before.
    fn hours_to_come(&self, folder: &Path) -> Outcome<f64> {
        let (files, arrived, _) = self.cold(folder)?;
        let free =
            QUOTA_BYTES.saturating_sub(self.journal.stats().disk_bytes + Options::default().segment_bytes) as f64;
        let an_hour = files as f64 / arrived as f64 * self.bytes() as f64 / self.hours();
        Ok(self.hours() + free / an_hour)
    }

    /// Bytes of the cold files, bytes of the events in them, number of files.
    fn cold(&self, folder: &Path) -> Outcome<(u64, u64, usize)> {
        let figures = Inspect::open(Arc::new(Directory::existing(folder)?))?.figures();
        let cold: Vec<_> = figures.segments.iter().filter(|segment| segment.name.starts_with("cold-")).collect();
        let last = cold.iter().filter_map(|segment| segment.commits).map(|(_, last)| last).max().unwrap_or(Commit(0));
        let arrived = self.bytes_to.get(usize::try_from(last.0)?).ok_or("a commit that was not made here")?;
        let files = cold
            .iter()
            .map(|segment| Ok(std::fs::metadata(folder.join(&segment.name))?.len()))
            .sum::<Outcome<u64>>()?;
        if cold.is_empty() {
            Err("nothing was moved to the cold tier".into())
        } else {
            Ok((files, *arrived, cold.len()))
        }
    }
}
