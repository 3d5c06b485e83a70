//! The sink as the daemon sees it, and its loop: read, make lines, write, flush, move the cursors.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lamppost_event::{Clock, Gap, Item, JournalStopped, Monotonic, Outlet, Position, Topic, TopicPartition};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::config::{FilesConfig, FilesConfigError};
use crate::counters::Counters;
use crate::line;
use crate::name::First;
use crate::reading::{Admission, Reading, place};
use crate::writer::{Writer, Written};

/// Lines are written once so many bytes of them are made, or a quarter of what a file is finished at.
const LINES_BYTES: u64 = 1 << 20;
/// How long a full folder is left alone before it is looked at again.
const FULL_PAUSE: Duration = Duration::from_secs(2);
/// A file that nothing is written to is looked at so often: it may be old enough to be finished.
const AGE_TICK: Duration = Duration::from_secs(10);

/// Carries durable events to files.
pub struct FileSink {
    config: Arc<FilesConfig>,
    outlet: Arc<dyn Outlet>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
}

impl FileSink {
    /// Checks the configuration; touches nothing yet.
    ///
    /// # Errors
    /// [`FilesConfigError`].
    pub fn new(config: FilesConfig, outlet: Arc<dyn Outlet>, clock: Arc<dyn Clock>) -> Result<Self, FilesConfigError> {
        config.check()?;
        Ok(Self { config: Arc::new(config), outlet, clock, counters: Arc::default() })
    }

    /// It counts on there, where one before it has counted.
    #[must_use]
    pub fn with_counters(self, counters: Arc<Counters>) -> Self {
        Self { counters, ..self }
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Writes until `shutdown` completes, then finishes its files.
    ///
    /// # Errors
    /// [`JournalStopped`]: only the journal can end it. Whatever the disk does is tried again.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), JournalStopped> {
        let Self { config, outlet, clock, counters } = self;
        let mut worker = Box::new(Worker::new(Arc::clone(&config), Arc::clone(&outlet), clock, Arc::clone(&counters)));
        let mut shutdown = pin!(shutdown);
        let mut delay = config.retry_delay_min;
        let mut grown = true;
        loop {
            let round = spawn_blocking(move || {
                let rest = worker.round(grown);
                (worker, rest)
            });
            let (back, rest) =
                round.await.map_err(|error| JournalStopped { reason: format!("in a file sink: {error}") })?;
            worker = back;
            let wait = match rest {
                Ok(Rest::None) => Wait::For(Duration::ZERO),
                Ok(Rest::Grown { position, wake }) => Wait::Grown(position, wake),
                Ok(Rest::Full) => {
                    Counters::add(&counters.retries, 1);
                    let (folder, quota) = (config.folder.display(), config.quota_bytes);
                    counters.set_paused(Some(format!("{folder} holds the {quota} bytes that it may: take files away")));
                    Wait::For(FULL_PAUSE)
                }
                Ok(Rest::Reread(pause)) => Wait::For(pause),
                Err(Trouble::Journal(stopped)) => return Err(stopped),
                Err(Trouble::Disk(error)) => {
                    Counters::add(&counters.retries, 1);
                    counters.set_paused(Some(format!("{}: {error}", config.folder.display())));
                    let wait = delay;
                    delay = (delay * 2).min(config.retry_delay_max);
                    Wait::For(wait)
                }
            };
            if worker.is_well() {
                delay = config.retry_delay_min;
            }
            let woken = async {
                match wait {
                    Wait::For(Duration::ZERO) => tokio::task::yield_now().await,
                    Wait::For(pause) => sleep(pause).await,
                    Wait::Grown(position, wake) => {
                        return tokio::select! {
                            () = outlet.grown(position) => true,
                            () = sleep(wake) => false,
                        };
                    }
                }
                true
            };
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                woken = woken => grown = woken,
            }
        }
        let stopped = spawn_blocking(move || worker.stop()).await;
        match stopped {
            Ok(Ok(())) => {}
            Ok(Err(Trouble::Journal(stopped))) => return Err(stopped),
            Ok(Err(Trouble::Disk(error))) => {
                tracing::warn!(%error, "the last lines are written again at the next start")
            }
            Err(error) => tracing::error!(%error, "a file sink did not stop well"),
        }
        Ok(())
    }
}

enum Wait {
    For(Duration),
    Grown(Position, Duration),
}

/// What to wait for before the next round.
enum Rest {
    None,
    /// For more in the journal; at the latest after that long, for what is to be flushed or finished.
    Grown {
        position: Position,
        wake: Duration,
    },
    Full,
    Reread(Duration),
}

/// Why a round ended.
enum Trouble {
    Journal(JournalStopped),
    Disk(io::Error),
}

impl From<JournalStopped> for Trouble {
    fn from(stopped: JournalStopped) -> Self {
        Self::Journal(stopped)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// Lines of one topic that are not written.
struct Made {
    first: First,
    lines: Vec<u8>,
}

/// Events, gaps, and the events that these swallowed.
#[derive(Debug, Default)]
struct Tally {
    events: u64,
    gaps: u64,
    gap_events: u64,
}

/// What runs where blocking is allowed.
struct Worker {
    config: Arc<FilesConfig>,
    outlet: Arc<dyn Outlet>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    writer: Writer,
    reading: Reading,
    /// Where to read on; `None`: at the cursors.
    position: Option<Position>,
    caught_up: bool,
    items: VecDeque<Item>,
    made: BTreeMap<Topic, Made>,
    made_bytes: usize,
    /// What is in lines that are not written, and in such that are and are not flushed.
    in_lines: Tally,
    in_files: Tally,
    flushed_at: Monotonic,
}

impl Worker {
    fn new(config: Arc<FilesConfig>, outlet: Arc<dyn Outlet>, clock: Arc<dyn Clock>, counters: Arc<Counters>) -> Self {
        let writer = Writer::new(Arc::clone(&config), Arc::clone(&counters));
        Self {
            config,
            outlet,
            clock,
            counters,
            writer,
            reading: Reading::default(),
            position: None,
            caught_up: false,
            items: VecDeque::new(),
            made: BTreeMap::new(),
            made_bytes: 0,
            in_lines: Tally::default(),
            in_files: Tally::default(),
            flushed_at: Monotonic(0),
        }
    }

    const fn is_well(&self) -> bool {
        self.position.is_some()
    }

    /// One read, its lines written, and what is due flushed. `grown`: there may be more to read.
    fn round(&mut self, grown: bool) -> Result<Rest, Trouble> {
        let rest = self.try_round(grown);
        if let Err(Trouble::Disk(_)) = &rest {
            self.writer.abandon();
            self.begin_again();
        }
        rest
    }

    /// Everything since the cursors is read and written again.
    fn begin_again(&mut self) {
        (self.position, self.caught_up) = (None, false);
        self.items.clear();
        self.made.clear();
        (self.made_bytes, self.in_lines, self.in_files) = (0, Tally::default(), Tally::default());
    }

    fn try_round(&mut self, grown: bool) -> Result<Rest, Trouble> {
        let position = self.begun()?;
        let now = self.clock.now().monotonic;
        self.writer.finish_old(now)?;
        if self.items.is_empty() && self.made.is_empty() && (grown || !self.caught_up) {
            let chunk = self.outlet.read(position, self.config.read_bytes)?;
            (self.position, self.caught_up) = (Some(chunk.next), chunk.caught_up);
            self.items = chunk.items.into();
        }
        let rest = self.write_items()?;
        let since_ms = self.clock.now().monotonic.0.saturating_sub(self.flushed_at.0);
        let due = Duration::from_millis(since_ms) >= self.config.flush_interval;
        if due || !matches!(rest, Rest::None) {
            self.flush()?;
        }
        if !matches!(rest, Rest::Full) {
            self.counters.set_paused(None);
        }
        if let Rest::Reread(_) = rest {
            self.items.clear();
            self.position = None;
        }
        Ok(match rest {
            Rest::None if self.caught_up => {
                let ahead = self.reading.is_ahead();
                let wake = if ahead { self.config.flush_interval } else { AGE_TICK.min(self.config.rotate_after) };
                let wake = if ahead || self.writer.is_open() { wake } else { Duration::from_secs(3600) };
                Rest::Grown { position: self.position.unwrap_or(position), wake: wake.max(Duration::from_millis(10)) }
            }
            rest => rest,
        })
    }

    /// The place to read at; at the start and after a failure, all is set right first.
    fn begun(&mut self) -> Result<Position, Trouble> {
        if let Some(position) = self.position {
            return Ok(position);
        }
        if !self.writer.is_begun() {
            self.writer.begin()?;
        }
        let resume = self.outlet.resume(&self.config.group)?;
        self.reading.begin(resume.cursors);
        self.position = Some(resume.position);
        Ok(resume.position)
    }

    /// Makes lines of what is in hand, and writes them.
    fn write_items(&mut self) -> Result<Rest, Trouble> {
        if !self.write_made()? {
            return Ok(Rest::Full);
        }
        while let Some(item) = self.items.pop_front() {
            let (topic, partition, from, to) = place(&item);
            if !self.config.interest.takes(topic) {
                self.reading.pass(topic, partition, to);
                continue;
            }
            match self.reading.admit(&item) {
                Admission::Seen => continue,
                Admission::Reread(pause) => {
                    tracing::warn!(%topic, %partition, %from, "offsets are missing in the journal without a word: it is read again");
                    // What was made so far is in order.
                    return Ok(if self.write_made()? { Rest::Reread(pause) } else { Rest::Full });
                }
                Admission::Missing(missing) => {
                    let at = TopicPartition { topic: topic.clone(), partition };
                    let reason = "missing in the journal without a word".to_owned();
                    tracing::error!(%at, from = %missing, to = %from, "offsets stay missing in the journal: they are passed over");
                    self.make_gap(&Gap { at, from: missing, to: from, reason });
                    self.make(&item);
                }
                Admission::Next(next) => match &item {
                    Item::Gap(gap) => self.make_gap(&Gap { from: next, ..gap.clone() }),
                    Item::Event(_) => self.make(&item),
                },
            }
            if self.made_bytes as u64 >= LINES_BYTES.min(self.config.rotate_bytes / 4) && !self.write_made()? {
                return Ok(Rest::Full);
            }
        }
        Ok(if self.write_made()? { Rest::None } else { Rest::Full })
    }

    fn make(&mut self, item: &Item) {
        let stored = match item {
            Item::Gap(gap) => return self.make_gap(gap),
            Item::Event(stored) => stored,
        };
        let best = self.clock.best();
        let (topic, partition) = (&stored.event.topic, stored.partition);
        let time = line::time_of(stored, best);
        let made = self.made.entry(topic.clone());
        let made = made.or_insert_with(|| Made { first: First::of(stored, time), lines: Vec::new() });
        let before = made.lines.len();
        line::event(&mut made.lines, &self.config.gateway, stored, best);
        self.made_bytes += made.lines.len() - before;
        self.in_lines.events += 1;
        self.reading.pass(topic, partition, stored.offset.next());
    }

    fn make_gap(&mut self, gap: &Gap) {
        let first = || First { at: gap.at.clone(), epoch: 0, offset: gap.from.0, time: self.clock.now().wall };
        let made = self.made.entry(gap.at.topic.clone()).or_insert_with(|| Made { first: first(), lines: Vec::new() });
        let before = made.lines.len();
        line::gap(&mut made.lines, gap);
        self.made_bytes += made.lines.len() - before;
        self.in_lines.gaps += 1;
        self.in_lines.gap_events += gap.to.0.saturating_sub(gap.from.0);
        self.reading.pass(&gap.at.topic, gap.at.partition, gap.to);
    }

    /// Writes what was made. False: the folder is full.
    fn write_made(&mut self) -> Result<bool, Trouble> {
        let now = self.clock.now().monotonic;
        while let Some(entry) = self.made.first_entry() {
            let Made { first, lines } = entry.get();
            if self.writer.write(entry.key(), first, lines, now)? == Written::Full {
                return Ok(false);
            }
            self.made_bytes -= entry.remove().lines.len();
        }
        self.reading.written();
        let Tally { events, gaps, gap_events } = std::mem::take(&mut self.in_lines);
        self.in_files.events += events;
        self.in_files.gaps += gaps;
        self.in_files.gap_events += gap_events;
        Ok(true)
    }

    /// What is written becomes durable, and the cursors pass it.
    fn flush(&mut self) -> Result<(), Trouble> {
        self.flushed_at = self.clock.now().monotonic;
        if !self.reading.is_ahead() {
            return Ok(());
        }
        self.writer.flush()?;
        self.outlet.commit(&self.config.group, &self.reading.flushed())?;
        let Tally { events, gaps, gap_events } = std::mem::take(&mut self.in_files);
        Counters::add(&self.counters.delivered, events);
        Counters::add(&self.counters.gaps, gaps);
        Counters::add(&self.counters.gap_events, gap_events);
        Ok(())
    }

    /// The end: what is in hand is written, and all files are finished.
    fn stop(&mut self) -> Result<(), Trouble> {
        if self.position.is_none() {
            return Ok(());
        }
        self.writer.finish_all()?;
        self.writer.flush()?;
        self.flush()
    }
}
