//! The journal as it is driven here: one producer, commits of exactly one batch, the next batch gathering while one is flushed.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use lamppost_event::{Commit, Partition, StoredRecord, Topic};
use lamppost_journal::{AppendError, Compression, Directory, Hand, Journal, Options, TopicOptions};

use crate::clock::MachineClock;
use crate::telemetry::Report;
use crate::watched::{Watch, Watched};
use crate::{Failed, Outcome};

/// Small enough that a journal is in its steady state (all segments made, each recycled) after less than 100 MB.
pub(crate) const SEGMENTS: u64 = 6;
const PAGE: usize = 4096;

/// Options of a journal whose commits begin only when they are asked for.
pub(crate) fn options(partitions: u16) -> Outcome<Options> {
    let mut options = Options {
        topics: vec![TopicOptions { topic: topic()?, partitions, linger: None }],
        linger: Duration::from_secs(3600),
        linger_bytes: usize::MAX,
        compression: Compression::None,
        ..Options::default()
    };
    options.quota_bytes = options.quota_min() + (SEGMENTS - 4) * options.segment_bytes;
    Ok(options)
}

pub(crate) fn topic() -> Outcome<Topic> {
    Ok(Topic::user("city.telemetry")?)
}

/// How an event's partition is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// One after the other: every commit touches all partitions.
    InTurn,
    /// By device, as by its key.
    ByDevice,
}

/// An open journal and what is written to it.
pub(crate) struct Log<'a> {
    pub(crate) journal: Journal,
    pub(crate) watch: Arc<Watch>,
    hand: Option<Hand>,
    topic: Topic,
    partitions: u16,
    spread: Spread,
    pool: &'a [Report],
    ready: std::vec::IntoIter<StoredRecord>,
    at: usize,
    bytes: usize,
    paged_bytes: usize,
    /// Commits before the first frame that was watched.
    before: u64,
}

/// What a stretch of writing took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Took {
    pub(crate) elapsed: Duration,
    pub(crate) events: usize,
    /// Keys, values and headers.
    pub(crate) bytes: usize,
    /// The same with each batch rounded up to pages.
    pub(crate) paged_bytes: usize,
    /// Commits that were not exactly one batch, because the journal had no room in between.
    pub(crate) split: u64,
}

impl Took {
    pub(crate) fn events_per_s(&self) -> f64 {
        self.events as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn add(&mut self, more: Self) {
        self.elapsed += more.elapsed;
        self.events += more.events;
        self.bytes += more.bytes;
        self.paged_bytes += more.paged_bytes;
        self.split += more.split;
    }
}

impl<'a> Log<'a> {
    /// Opens with the journal's own threads, as the gateway does.
    pub(crate) fn with_threads(folder: &Path, options: Options, pool: &'a [Report], spread: Spread) -> Outcome<Self> {
        let (disk, topic, partitions) = Self::parts(folder, &options)?;
        let watch = Arc::clone(&disk.watch);
        let (journal, _) = Journal::open(disk, options, Arc::new(MachineClock::new()))?;
        Self::new(journal, None, watch, (topic, partitions), (pool, spread))
    }

    /// Opens without threads: the producer commits, and its upkeep is not counted.
    pub(crate) fn by_hand(folder: &Path, options: Options, pool: &'a [Report], spread: Spread) -> Outcome<Self> {
        let (disk, topic, partitions) = Self::parts(folder, &options)?;
        let watch = Arc::clone(&disk.watch);
        let (journal, hand, _) = Journal::open_by_hand(disk, options, Arc::new(MachineClock::new()))?;
        Self::new(journal, Some(hand), watch, (topic, partitions), (pool, spread))
    }

    fn new(
        journal: Journal,
        hand: Option<Hand>,
        watch: Arc<Watch>,
        (topic, partitions): (Topic, u16),
        (pool, spread): (&'a [Report], Spread),
    ) -> Outcome<Self> {
        let before = journal.durable()?.0.wrapping_sub(watch.frames());
        let ready = Vec::new().into_iter();
        Ok(Self {
            journal,
            watch,
            hand,
            topic,
            partitions,
            spread,
            pool,
            ready,
            at: 0,
            bytes: 0,
            paged_bytes: 0,
            before,
        })
    }

    fn parts(folder: &Path, options: &Options) -> Outcome<(Arc<Watched>, Topic, u16)> {
        let entry = options.topics.first().ok_or("a journal without a topic")?;
        Ok((Arc::new(Watched::new(Directory::create(folder)?)), entry.topic.clone(), entry.partitions))
    }

    /// Writes until every segment has been made and the first ones were recycled.
    pub(crate) fn settle(&mut self) -> Outcome<()> {
        while self.journal.stats().recycled < 2 {
            self.run(1024, 16)?;
        }
        Ok(())
    }

    /// Writes `commits` commits of `batch` events each; returns once the last is durable. With threads one more goes ahead and is not
    /// counted: while it is flushed the first gathers, as it would in a journal that is never idle.
    pub(crate) fn run(&mut self, batch: usize, commits: usize) -> Outcome<Took> {
        (self.bytes, self.paged_bytes) = (0, 0);
        let mut took = match self.hand.take() {
            Some(hand) => {
                let took = self.run_by_hand(&hand, batch, commits);
                self.hand = Some(hand);
                took?
            }
            None => self.run_with_threads(batch, commits)?,
        };
        // What was written; the one ahead is among it.
        (took.bytes, took.paged_bytes) = (self.bytes, self.paged_bytes);
        Ok(took)
    }

    fn run_with_threads(&mut self, batch: usize, commits: usize) -> Outcome<Took> {
        let before = self.journal.stats().commits;
        let ahead = self.begin(batch)?;
        let (mut last, mut start) = (ahead, Instant::now());
        for number in 0..commits {
            last = self.begin(batch)?;
            if number == 0 {
                // It is taken as soon as the one ahead is durable.
                start = Instant::now();
            }
        }
        self.wait_for(last)?;
        let elapsed = start.elapsed();
        let split = (self.journal.stats().commits - before).saturating_sub(1 + commits as u64);
        Ok(Took { elapsed, events: commits * batch, split, ..Took::default() })
    }

    /// Gathers a batch and has it committed; returns once the writer has taken it, so that the next may gather.
    fn begin(&mut self, batch: usize) -> Outcome<Commit> {
        let last = self.gather(batch)?;
        self.journal.commit_now();
        self.wait_for(Commit(last.0.saturating_sub(1)))?;
        // Looked at without the journal's locks: who takes them again and again is measured as well.
        while self.before.wrapping_add(self.watch.frames()) < last.0 {
            (0..100).for_each(|_| std::hint::spin_loop());
            std::thread::yield_now();
        }
        Ok(last)
    }

    fn run_by_hand(&mut self, hand: &Hand, batch: usize, commits: usize) -> Outcome<Took> {
        let (mut upkeep, start) = (Duration::ZERO, Instant::now());
        for _ in 0..commits {
            self.gather(batch)?;
            hand.commit()?;
            // A thread of its own does this in the gateway.
            let pause = Instant::now();
            while hand.keep()? {}
            upkeep += pause.elapsed();
        }
        Ok(Took { elapsed: start.elapsed() - upkeep, events: commits * batch, ..Took::default() })
    }

    fn gather(&mut self, batch: usize) -> Outcome<Commit> {
        let (mut last, mut bytes) = (Commit(0), 0);
        for _ in 0..batch {
            bytes += self.pool.get(self.at % self.pool.len()).map_or(0, |report| report.record.bytes());
            last = self.append()?;
        }
        self.bytes += bytes;
        self.paged_bytes += bytes.next_multiple_of(PAGE);
        Ok(last)
    }

    /// Makes the records of the next `events` appends now: a source owns what it hands over, and getting hold of it is not the journal's
    /// business.
    pub(crate) fn prepare(&mut self, events: usize) {
        let records = (self.at..self.at + events).map(|at| self.pool[at % self.pool.len()].record.clone());
        self.ready = records.collect::<Vec<_>>().into_iter();
    }

    fn append(&mut self) -> Outcome<Commit> {
        let report = self.pool.get(self.at % self.pool.len()).ok_or("an empty pool")?;
        let mut record = self.ready.next().unwrap_or_else(|| report.record.clone());
        let number = if self.spread == Spread::InTurn { self.at } else { report.device };
        let partition = Partition((number % usize::from(self.partitions)) as u16);
        self.at += 1;
        loop {
            match self.journal.append(&self.topic, partition, record, None) {
                Ok(appended) => return Ok(appended.commit),
                Err(AppendError::Full(refused)) if self.hand.is_none() => {
                    record = *refused;
                    wait(self.journal.room());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn wait_for(&self, commit: Commit) -> Outcome<()> {
        let mut durable = self.journal.durable()?;
        while durable < commit {
            durable = wait(self.journal.durable_after(durable))?;
        }
        Ok(())
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future of the journal on this thread.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A folder that is empty, whatever was there.
pub(crate) fn fresh(folder: &Path) -> Result<(), Failed> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(std::fs::create_dir_all(folder)?)
}
