//! The forwarder's state between producers, and what becomes of everything that comes back to it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lamppost_event::{
    Chunk, Clock, Gap, Interest, Item, JournalStopped, Offset, Outlet, Partition, Position, Resume, Topic,
    TopicPartition, WallTime,
};
use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::batch_size::BatchSize;
use crate::bounds::Bounds;
use crate::burial::{Burials, Place};
use crate::care::Care;
use crate::config::{Delivery, ForwardConfig};
use crate::counters::Counters;
use crate::denial::{Denial, Denied};
use crate::doubt::{Doubts, Reader};
use crate::exactly_once::ExactlyOnce;
use crate::failure::{Class, classify};
use crate::lane::{Cause, Lane};
use crate::live::Split;
use crate::pace::Pace;
use crate::reading::Reading;
use crate::resolve::Resolution;
use crate::schema::Encoder;
use crate::split::Lanes;
use crate::stamp::ClockWait;
use crate::target::Target;
use crate::telling::{Hole, Tellings};
use crate::window::{Admission, Window};
use crate::{AuditTrail, DeadLetters, Undelivered, alone, resolve};

/// A cursor is committed after so many events, if not before by time.
const COMMIT_EVENTS: u64 = 1000;

/// What work in the background comes back with.
pub(crate) enum Done {
    Read { generation: u64, from: Position, chunk: Result<Chunk, JournalStopped> },
    Grown { generation: u64 },
    Resolved { topic: Topic, name: Topic, resolution: Resolution, encoder: Option<Arc<Encoder>> },
    Bounds { topic: Topic, bounds: Option<Bounds> },
    Step { topic: Topic, alone: Box<alone::Alone>, step: Result<alone::Step, JournalStopped> },
    Buried { place: Place, first: bool, result: Result<(), JournalStopped> },
    Told { hole: Hole, result: Result<bool, JournalStopped> },
    Resumed { reader: Reader, resume: Result<Resume, JournalStopped> },
    Opened { lanes: Result<Lanes, JournalStopped> },
    LiveEnded { result: Result<(Resume, Option<Undelivered>), JournalStopped> },
    Closed,
}

/// Why a producer has to go.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// Events that the cluster refused, and why.
    pub(crate) refused: Vec<(TopicPartition, Offset, Code)>,
    /// What the producer itself said.
    pub(crate) client: Option<(Code, String)>,
}

pub(crate) struct Engine {
    /// Gaps, and events in them, that were counted by those before it.
    lost_before: (u64, u64),
    pub(crate) config: Arc<ForwardConfig>,
    pub(crate) outlet: Arc<dyn Outlet>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dead_letters: Option<Arc<dyn DeadLetters>>,
    pub(crate) trail: Option<Arc<dyn AuditTrail>>,
    pub(crate) interest: Interest,
    /// Of those only these topics: what the live lane takes.
    pub(crate) only: Option<Arc<HashSet<Topic>>>,
    /// `None`: all topics go in strict order, and nothing else was begun before the start.
    pub(crate) split: Option<Box<Split>>,
    pub(crate) burials: Burials,
    pub(crate) tellings: Tellings,
    pub(crate) counters: Arc<Counters>,
    pub(crate) window: Window,
    pub(crate) pace: Option<Pace>,
    pub(crate) wire_looks: u64,
    pub(crate) reading: Reading,
    pub(crate) doubts: Doubts,
    /// Offsets were missing: nothing is handed over until reading has begun again.
    pub(crate) rereading: bool,
    pub(crate) targets: HashMap<Topic, Target>,
    /// When a topic's bounds were asked for.
    pub(crate) bounds_asked: HashMap<Topic, Instant>,
    pub(crate) lanes: BTreeMap<Topic, Lane>,
    /// Producers of topics apart that are being closed.
    pub(crate) closing: usize,
    pub(crate) clock_wait: Arc<Mutex<ClockWait>>,
    pub(crate) work: JoinSet<Done>,
    pub(crate) growing: Option<AbortHandle>,
    pub(crate) resolving: Option<Topic>,
    pub(crate) hold_until: Option<Instant>,
    pub(crate) backoff: Backoff,
    /// `None`: at least once.
    pub(crate) exactly_once: Option<Box<ExactlyOnce>>,
    /// The largest batch, in bytes; halved whenever the cluster refuses one for its size, and doubled again when it was one record's.
    pub(crate) batch_size: BatchSize,
    /// What keeps us out.
    pub(crate) denied: Denied,
    /// What keeps it from forwarding though it is let in: another process in its place, or cursors that can't be read.
    pub(crate) held_up: Option<String>,
    pub(crate) backoff_denied: Backoff,
    /// Why new files of the credentials are not used.
    pub(crate) files_refused: Option<String>,
    /// When the files were looked at.
    pub(crate) looked_at: Instant,
    /// When something was delivered.
    pub(crate) delivered_at: Option<Instant>,
    /// That one broker kept us out while others did not, and when.
    pub(crate) kept_out: Option<(Instant, Code, String)>,
    pub(crate) session: u64,
    /// Since when burials keep everything waiting.
    pub(crate) held_since: Option<Instant>,
    pub(crate) care: Care,
    pub(crate) text: String,
    /// Where payloads are encoded.
    pub(crate) encoded: Vec<u8>,
    committed_at: Instant,
}

impl Engine {
    pub(crate) fn new(
        config: Arc<ForwardConfig>,
        outlet: Arc<dyn Outlet>,
        clock: Arc<dyn Clock>,
        dead_letters: Option<Arc<dyn DeadLetters>>,
        counters: Arc<Counters>,
        resume: Resume,
    ) -> Self {
        let seed = seed_of(&config, &*clock);
        Self {
            pace: config.bandwidth_max.map(|ceiling| Pace::new(ceiling, counters.wire_bytes.load(Relaxed))),
            wire_looks: counters.wire_looks.load(Relaxed),
            lost_before: (counters.gaps.load(Relaxed), counters.gap_events.load(Relaxed)),
            window: Window::new(config.in_flight_bytes_max, resume.cursors),
            reading: Reading::new(resume.position),
            doubts: Doubts::default(),
            rereading: false,
            targets: HashMap::new(),
            bounds_asked: HashMap::new(),
            lanes: BTreeMap::new(),
            closing: 0,
            clock_wait: Arc::new(Mutex::new(ClockWait::new(config.clock_wait_max))),
            work: JoinSet::new(),
            growing: None,
            resolving: None,
            hold_until: None,
            backoff: Backoff::new(config.retry_delay_min, config.retry_delay_max, seed),
            exactly_once: (config.delivery == Delivery::ExactlyOnce).then(|| Box::new(ExactlyOnce::new(&config))),
            batch_size: BatchSize::new(config.message_bytes_max),
            denied: Denied::default(),
            held_up: None,
            backoff_denied: Backoff::new(pause_min(&config), config.retry_delay_max, seed),
            files_refused: None,
            looked_at: Instant::now(),
            delivered_at: None,
            kept_out: None,
            session: 0,
            held_since: None,
            care: Care::default(),
            text: String::new(),
            encoded: Vec::new(),
            committed_at: Instant::now(),
            config,
            outlet,
            clock,
            dead_letters,
            trail: None,
            interest: Interest::all(),
            only: None,
            split: None,
            burials: Burials::default(),
            tellings: Tellings::default(),
            counters,
        }
    }

    /// Takes what librdkafka told of the wire, if there is something new.
    pub(crate) fn look_at_wire(&mut self) {
        let in_flight_max = self.in_flight_max();
        let Some(pace) = &mut self.pace else { return };
        if let Some(split) = &mut self.split {
            pace.others_wrote(split.live_wrote());
        }
        let looks = self.counters.wire_looks.load(Relaxed);
        if std::mem::replace(&mut self.wire_looks, looks) != looks {
            pace.told(self.counters.wire_bytes.load(Relaxed), self.window.bytes());
            self.window.set_bytes_max(pace.in_flight_max(in_flight_max));
        }
    }

    /// The largest batch, in bytes.
    pub(crate) fn batch_bytes(&self) -> usize {
        let most = self.batch_size.get();
        self.pace.as_ref().map_or(most, |pace| pace.batch_max(most))
    }

    /// Whether the ceiling on what goes out lets something go now.
    pub(crate) fn may_go(&mut self) -> bool {
        self.pace.as_mut().is_none_or(|pace| pace.admits(Instant::now()))
    }

    /// Starts the next read, or waits for the journal to grow.
    pub(crate) fn read_ahead(&mut self) {
        let Some(from) = self.reading.wanted() else { return };
        let (outlet, generation) = (Arc::clone(&self.outlet), self.reading.generation);
        self.reading.busy = true;
        if self.reading.caught_up {
            let grown = async move {
                outlet.grown(from).await;
                Done::Grown { generation }
            };
            self.growing = Some(self.work.spawn(grown));
            return;
        }
        let bytes_max = self.config.read_bytes;
        self.work.spawn_blocking(move || Done::Read { generation, from, chunk: outlet.read(from, bytes_max) });
    }

    /// Reads again from `from`, or from the first unused item.
    pub(crate) fn rewind(&mut self, from: Position) {
        self.window.end_read();
        self.reading.rewind(from);
        if let Some(growing) = self.growing.take() {
            growing.abort();
        }
    }

    /// Passes what lies in a topic that this sink does not take: true then. Nothing of it is in flight, and nothing of it is missed.
    pub(crate) fn pass_unwanted(&mut self, item: &Item) -> bool {
        let (topic, partition, to) = match item {
            Item::Event(stored) => (&stored.event.topic, stored.partition, stored.offset.next()),
            Item::Gap(gap) => (&gap.at.topic, gap.at.partition, gap.to),
        };
        if self.only.as_ref().map_or_else(|| self.interest.takes(topic), |only| only.contains(topic)) {
            return false;
        }
        let track = self.window.track(topic, partition);
        if let Admission::Jump { from } = self.window.admit(track, to) {
            self.window.skip(track, from, to);
        }
        true
    }

    /// A gap of the journal: what of it was not met yet is passed over, once it has been told. A gap that lies below changes nothing.
    /// False if its topic's lane waits until it is told.
    pub(crate) fn pass_gap(&mut self, gap: &Gap, reader: &Reader) -> bool {
        let track = self.window.track(&gap.at.topic, gap.at.partition);
        let from = match self.window.admit(track, gap.from) {
            Admission::Next => gap.from,
            // What is missing before it has to be settled first.
            Admission::Jump { .. } => return true,
            // The gap may reach further than what was seen of it.
            Admission::Seen => match self.window.admit(track, gap.to) {
                Admission::Jump { from } => from,
                Admission::Seen | Admission::Next => return true,
            },
        };
        if from >= gap.to {
            return true;
        }
        tracing::warn!(at = %gap.at, %from, to = %gap.to, reason = gap.reason, "a gap of the journal is passed over");
        self.tell(Gap { from, ..gap.clone() }, reader)
    }

    /// An event that was dealt with alone is done.
    pub(crate) fn pass_event(&mut self, at: &TopicPartition, offset: Offset) {
        let track = self.window.track(&at.topic, at.partition);
        if self.window.admit(track, offset) == Admission::Next {
            self.window.skip(track, offset, offset.next());
        }
    }

    /// Commits the cursors that moved, if it is time.
    pub(crate) fn commit(&mut self, now_or_never: bool) -> Result<(), JournalStopped> {
        let due = self.committed_at.elapsed() >= self.config.commit_interval;
        if !(now_or_never || due || self.window.passed() >= COMMIT_EVENTS) {
            return Ok(());
        }
        self.committed_at = Instant::now();
        let cursors = self.window.take_moved();
        if cursors.is_empty() {
            return Ok(());
        }
        self.forget_passed_burials();
        self.forget_passed_tellings();
        self.outlet.commit(&self.config.group, &cursors)
    }

    /// Sets the gauges, and what the window counts.
    pub(crate) fn show(&self) {
        let counters = &self.counters;
        counters.in_flight_bytes.store(self.window.bytes() as u64, Relaxed);
        counters.in_flight_events.store(self.window.events() as u64, Relaxed);
        counters.set_oldest(self.window.oldest().or_else(|| self.oldest_in_hand()));
        let lost = self.window.lost();
        counters.gaps.store(self.lost_before.0 + lost.gaps, Relaxed);
        counters.gap_events.store(self.lost_before.1 + lost.events, Relaxed);
        let paused = || self.lanes.iter().filter_map(|(topic, lane)| Some((topic, lane.cause.paused()?)));
        counters.paused_topics.store(paused().count() as u64, Relaxed);
        let idle = self.window.events() == 0 && self.reading.is_used_up() && self.lanes.is_empty() && !self.is_split();
        counters.caught_up.store(idle && self.reading.caught_up, Relaxed);
        counters.denied.store(self.denied.is_some(), Relaxed);
        let denied = self.denied.reason().map(str::to_owned).or_else(|| self.held_up.clone());
        let reason = denied.or_else(|| paused().next().map(|(topic, why)| format!("topic {topic}: {why}")));
        if counters.set_paused(reason.clone()) {
            match reason {
                // Said when it was met.
                Some(_) if self.denied.is_some() => {}
                Some(reason) => tracing::error!(reason, "forwarding is paused; nothing is dropped, it is tried again"),
                None => tracing::info!("forwarding goes on"),
            }
        }
    }

    /// When the next event to be handed over was received.
    fn oldest_in_hand(&self) -> Option<WallTime> {
        match self.reading.front()? {
            Item::Event(stored) if !self.lanes.contains_key(&stored.event.topic) => {
                stored.event.time.corrected(self.clock.best())
            }
            Item::Event(_) | Item::Gap(_) => None,
        }
    }

    /// The producer is gone: takes everything in flight back and decides how each topic goes on. Returns how long to wait
    /// before the next producer.
    pub(crate) fn settle(&mut self, failures: Failures) -> Duration {
        self.counters.retries.fetch_add(1, Relaxed);
        // A producer that goes on tells of all that it sent.
        let goes_on = self.exactly_once.as_ref().is_some_and(|exactly| exactly.keeps_producer());
        if let Some(pace) = self.pace.as_mut().filter(|_| !goes_on) {
            pace.write_off();
        }
        self.put_off_split();
        let undone = self.window.reset().unwrap_or_else(|| self.reading.place());
        self.rewind(undone);
        self.forget_passed_burials();
        self.forget_passed_tellings();
        for lane in self.lanes.values_mut() {
            lane.at = lane.at.min(undone);
        }
        let mut set_apart = false;
        let mut denied = false;
        if failures.refused.iter().any(|(_, _, code)| *code == Code::MessageSizeTooLarge) {
            self.batch_size.halve();
        }
        for (at, offset, code) in failures.refused {
            match classify(code) {
                Class::Echo | Class::Retry => {}
                Class::Topic => {
                    self.targets.remove(&at.topic);
                    self.set_apart(at.topic, undone, Cause::Refused(code.to_string()));
                    set_apart = true;
                }
                Class::Denied => {
                    self.deny(Denial::of(code), &code.to_string());
                    denied = true;
                }
                class @ (Class::Untimely | Class::Poison) => {
                    if class == Class::Untimely {
                        self.ask_bounds(&at.topic);
                    }
                    self.suspect(at, offset, undone);
                    set_apart = true;
                }
            }
        }
        match failures.client {
            Some((code, why)) if classify(code) == Class::Denied => {
                self.deny(Denial::of(code), &why);
                denied = true;
            }
            Some((_, why)) => tracing::warn!(why, "the producer is built anew"),
            None => {}
        }
        match (denied, set_apart) {
            (true, _) => self.delay_denied(),
            // What failed is set apart: the others need not wait.
            (false, true) => Duration::ZERO,
            (false, false) => self.backoff.next(),
        }
    }

    /// Takes a topic out of the common stream.
    pub(crate) fn set_apart(&mut self, topic: Topic, at: Position, cause: Cause) {
        let seed = seed_of(&self.config, &*self.clock);
        self.doubts.forget(&topic);
        let backoff = Backoff::new(pause_min(&self.config), self.config.retry_delay_max, seed);
        self.lanes.entry(topic).or_insert_with(|| Lane::new(at, cause, backoff));
    }

    pub(crate) fn suspect(&mut self, at: TopicPartition, offset: Offset, undone: Position) {
        self.set_apart(at.topic.clone(), undone, Cause::Suspects(BTreeMap::new()));
        if let Some(Lane { cause: Cause::Suspects(suspects), .. }) = self.lanes.get_mut(&at.topic) {
            let last = suspects.entry(at.partition).or_insert(offset);
            *last = offset.max(*last);
        }
    }

    /// Asks the cluster after a topic, in the background; one at a time.
    pub(crate) fn resolve(&mut self, topic: &Topic) {
        let held = self.hold_until.is_some_and(|until| Instant::now() < until);
        if self.resolving.is_some() || held {
            return;
        }
        let name = match self.config.topic_template.name(&self.config.gateway, topic) {
            Ok(name) => name,
            Err(error) => {
                let start = self.reading.chunk_start();
                self.set_apart(topic.clone(), start, Cause::Refused(error.to_string()));
                return;
            }
        };
        self.resolving = Some(topic.clone());
        let shape = self.outlet.topics().into_iter().find(|shape| shape.topic == *topic);
        let partitions = shape.map_or(1, |shape| shape.partitions);
        let (config, counters, topic) = (Arc::clone(&self.config), Arc::clone(&self.counters), topic.clone());
        self.work.spawn_blocking(move || {
            let resolution = resolve::resolve(&config, &name, partitions);
            let encoder = match (&resolution, &config.schemas) {
                (Resolution::Found { .. }, Some(schemas)) => schemas.encoder(&topic, &name),
                _ => Ok(None),
            };
            match encoder {
                Ok(encoder) => Done::Resolved { topic, name, resolution, encoder },
                Err(not_yet) => {
                    counters.schema_failures.fetch_add(1, Relaxed);
                    let resolution = Resolution::Missing { why: not_yet.to_string() };
                    Done::Resolved { topic, name, resolution, encoder: None }
                }
            }
        });
    }

    /// What is in flight.
    pub(crate) fn undelivered(&self) -> Undelivered {
        let caught_up =
            self.reading.caught_up && self.reading.is_used_up() && self.lanes.is_empty() && !self.is_split();
        Undelivered { events: self.window.events() as u64, bytes: self.window.bytes() as u64, caught_up }
    }

    pub(crate) fn cursors_of(&self, topic: &Topic) -> HashMap<Partition, Offset> {
        self.window.cursors_of(topic).into_iter().collect()
    }
}

/// The first delay where somebody has to do something first.
fn pause_min(config: &ForwardConfig) -> Duration {
    config.retry_delay_min.saturating_mul(10)
}

fn seed_of(config: &ForwardConfig, clock: &dyn Clock) -> u64 {
    let mut hasher = DefaultHasher::new();
    let now = clock.now();
    (config.gateway.as_str(), now.boot.0, now.monotonic.0).hash(&mut hasher);
    hasher.finish()
}
