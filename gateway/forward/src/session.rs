//! The life of one producer: events go out as the window allows, reports come in, until something fails.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lamppost_event::{Gap, Item, JournalStopped, Offset, Stored, TopicPartition, partition_of};
use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::burial::Mourner;
use crate::care::age;
use crate::doubt::{Jump, Reader};
use crate::engine::{Engine, Failures};
use crate::exactly_once::{begin_transaction, has_room};
use crate::failure::{Class, classify};
use crate::kafka::{Kafka, Outgoing, Report};
use crate::lane::Cause;
use crate::live::Backfill;
use crate::outcome::{stamp_of, unburied};
use crate::record;
use crate::stamp::{Clocks, Timing};
use crate::telling::TELLING_BYTES;
use crate::window::{Admission, Slot, TrackId};

/// So many events are handed over before reports are looked at.
const PUMP_EVENTS: usize = 512;

/// How often the loop looks around when nothing else wakes it.
pub(crate) const TICK_MIN: Duration = Duration::from_millis(10);
pub(crate) const TICK_MAX: Duration = Duration::from_millis(500);

/// How a session ended.
pub(crate) enum Ended {
    /// Something failed: everything is where it was at the cursors, and this is how long to wait.
    Failed(Duration),
    /// It was told to stop.
    Stopped,
}

/// Why handing over stopped for now.
pub(crate) enum Pumped {
    More,
    Blocked,
    Failed(Failures),
}

enum Offered {
    Taken,
    Blocked,
    /// Offsets are missing before it, from that one on.
    Jumped(Offset),
    Failed(Failures),
}

pub(crate) type Stop<'a> = Pin<&'a mut (dyn Future<Output = ()> + Send)>;

impl Engine {
    /// Runs one producer until it fails or `stop` completes.
    pub(crate) async fn run_session(&mut self, kafka: Kafka, mut stop: Stop<'_>) -> Result<Ended, JournalStopped> {
        if self.exactly_once.is_some() {
            return self.run_transactions(kafka, stop).await;
        }
        self.session += 1;
        self.begin_unheard();
        let mut tick = interval(self.config.commit_interval.clamp(TICK_MIN, TICK_MAX));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut reports = Vec::new();
        let failures = loop {
            let failures = self.take_reports(&kafka, &mut reports);
            self.commit(false)?;
            self.forget_bounds();
            self.look_at_wire();
            if failures.is_some() {
                break failures;
            }
            if self.has_new_credentials() || self.turns() {
                self.drain(kafka).await?;
                self.settle(Failures::default());
                return Ok(Ended::Failed(Duration::ZERO));
            }
            self.tend_split()?;
            let more = match self.pump(&kafka) {
                Pumped::More => true,
                Pumped::Blocked => match self.burials_hold_all() {
                    None => false,
                    failures => break failures,
                },
                Pumped::Failed(failures) => break Some(failures),
            };
            self.read_ahead();
            self.step_lanes();
            self.show();
            let paced = self.pace.as_mut().and_then(|pace| pace.ask_again(Instant::now()));
            tokio::select! {
                biased;
                () = &mut stop => break None,
                Some(done) = self.work.join_next(), if !self.work.is_empty() => self.joined(done)?,
                () = kafka.reports.wait() => {}
                _ = tick.tick() => {}
                () = until(paced), if paced.is_some() => {}
                () = tokio::task::yield_now(), if more => {}
            }
        };
        match failures {
            Some(failures) => Ok(Ended::Failed(self.give_up(kafka, failures).await?)),
            None => {
                self.stop_live();
                self.drain(kafka).await?;
                Ok(Ended::Stopped)
            }
        }
    }

    pub(crate) fn take_reports(&mut self, kafka: &Kafka, reports: &mut Vec<Report>) -> Option<Failures> {
        let mut failures = Failures::default();
        kafka.reports.take(reports);
        self.apply(reports, &mut failures);
        match kafka.reports.take_trouble() {
            // Where others let us in, librdkafka goes on trying: nothing to tear down.
            Some((code, why)) if classify(code) == Class::Denied => {
                self.counters.retries.fetch_add(1, Relaxed);
                self.kept_out = Some((Instant::now(), code, why));
            }
            Some((code, why)) => {
                failures.client = Some(kafka.fatal().unwrap_or((code, why)));
            }
            None => {}
        }
        if failures.client.is_none() {
            failures.client = self.take_denial();
        }
        (!failures.refused.is_empty() || failures.client.is_some()).then_some(failures)
    }

    /// Tears the producer down. What it delivered till the end counts.
    async fn give_up(&mut self, kafka: Kafka, mut failures: Failures) -> Result<Duration, JournalStopped> {
        if failures.client.is_none() {
            failures.client = kafka.fatal();
        }
        let last = kafka.close().await;
        self.apply(&last, &mut failures);
        self.counters.rebuilds.fetch_add(1, Relaxed);
        let delay = self.settle(failures);
        self.commit(true)?;
        self.show();
        Ok(delay)
    }

    /// Waits for what is in flight, for a while, and closes.
    async fn drain(&mut self, kafka: Kafka) -> Result<(), JournalStopped> {
        let deadline = Instant::now() + self.config.stop_deadline;
        let mut reports = Vec::new();
        while self.take_reports(&kafka, &mut reports).is_none() && self.window.events() > 0 {
            tokio::select! {
                () = kafka.reports.wait() => {}
                Some(done) = self.work.join_next(), if !self.work.is_empty() => self.joined(done)?,
                () = sleep_until(deadline) => break,
            }
        }
        let last = kafka.close().await;
        self.apply(&last, &mut Failures::default());
        self.commit(true)?;
        self.show();
        Ok(())
    }

    /// Hands events over until the window is full, nothing is in hand, or it is time to look at reports.
    pub(crate) fn pump(&mut self, kafka: &Kafka) -> Pumped {
        if self.rereading || self.is_splitting() {
            return Pumped::Blocked;
        }
        let clocks = (self.clock.now(), self.clock.best());
        for _ in 0..PUMP_EVENTS {
            let Some(item) = self.reading.pop() else {
                self.window.end_read();
                let Some(start) = self.reading.turn() else { return Pumped::Blocked };
                self.window.begin_read(start);
                continue;
            };
            let item = match if self.is_split() { self.backfill(item) } else { Backfill::Item(item) } {
                Backfill::Item(item) => item,
                Backfill::Nothing(None) => continue,
                // What is missing below the horizon the topic's own lane is still to deliver; once it rejoins, that is read again.
                Backfill::Nothing(Some(jump)) if self.lanes.contains_key(&jump.at.topic) => continue,
                Backfill::Nothing(Some(jump)) => match self.settle_jump(&jump, Reader::Common) {
                    // What is behind it is the live lane's.
                    true => continue,
                    false => return Pumped::Blocked,
                },
            };
            let offered = match &item {
                Item::Gap(_) | Item::Event(_) if self.pass_unwanted(&item) => Offered::Taken,
                Item::Gap(gap) if self.lanes.contains_key(&gap.at.topic) => Offered::Taken,
                Item::Gap(gap) => self.offer_gap(gap),
                Item::Event(stored) if self.lanes.contains_key(&stored.event.topic) => Offered::Taken,
                Item::Event(stored) => self.offer(kafka, stored, clocks),
            };
            let pumped = match offered {
                Offered::Taken => continue,
                Offered::Blocked => Pumped::Blocked,
                Offered::Failed(failures) => Pumped::Failed(failures),
                Offered::Jumped(from) => {
                    let passed = self.settle_jump(&Jump::to_item(&item, from), Reader::Common);
                    if passed { Pumped::More } else { Pumped::Blocked }
                }
            };
            self.reading.put_back(item);
            return pumped;
        }
        Pumped::More
    }

    fn offer_gap(&mut self, gap: &Gap) -> Offered {
        let track = self.window.track(&gap.at.topic, gap.at.partition);
        if let Admission::Jump { from } = self.window.admit(track, gap.from) {
            return Offered::Jumped(from);
        }
        if self.trail.is_some() && !self.window.has_room(TELLING_BYTES) || self.waits_for_telling(track) {
            return Offered::Blocked;
        }
        self.pass_gap(gap, &Reader::Common);
        Offered::Taken
    }

    fn offer(&mut self, kafka: &Kafka, stored: &Stored, (now, best): Clocks) -> Offered {
        let topic = &stored.event.topic;
        let track = self.window.track(topic, stored.partition);
        match self.window.admit(track, stored.offset) {
            Admission::Seen => return Offered::Taken,
            Admission::Jump { from } => return Offered::Jumped(from),
            Admission::Next if self.waits_for_telling(track) => return Offered::Blocked,
            Admission::Next if self.is_there_already(stored) => {
                self.window.skip(track, stored.offset, stored.offset.next());
                return Offered::Taken;
            }
            Admission::Next => {}
        }
        if !self.takes_epoch(track, stored) || !self.may_go() {
            return Offered::Blocked;
        }
        let Some(target) = self.targets.get(topic) else {
            self.resolve(topic);
            return Offered::Blocked;
        };
        let partition = partition_of(&stored.event.key, target.partitions);
        if target.hearing.waits(partition) {
            return Offered::Blocked;
        }
        let Some(stamp) = stamp_of(&self.clock_wait, stored, Timing::Own(target.bounds), (now, best)) else {
            return Offered::Blocked;
        };
        if !self.care.lets(age(stamp.received, now)) {
            return Offered::Blocked;
        }
        let (lane, encoder) = (self.mark(topic), target.encoder.as_deref());
        let payload = target.payload(stored, self.config.message_bytes_max, &mut self.encoded);
        let bytes = record::bytes_in_flight(stored, payload.as_deref().unwrap_or(&stored.event.payload), encoder);
        if !has_room(&self.window, &mut self.exactly_once, bytes) {
            return Offered::Blocked;
        }
        let payload = match payload {
            Ok(payload) => payload,
            Err(why) => return self.misfit(stored, track, bytes, &why),
        };
        let out = Outgoing { name: &target.name, partition, stored, payload, encoder, stamp, lane };
        if let Err(failures) = begin_transaction(&mut self.exactly_once, kafka) {
            return Offered::Failed(failures);
        }
        let slot = self.window.sent(track, stored.offset, bytes);
        self.window.received(track, stamp.received);
        let sent = kafka.send(&self.config, &out, slot, &mut self.text);
        match sent {
            Ok(()) => {
                self.counters.sent.fetch_add(1, Relaxed);
                self.sent_to(topic, partition, slot, now.monotonic);
                self.entered_transaction(track, stored, bytes);
                if let Some(pace) = &mut self.pace {
                    pace.handed(bytes);
                }
                if stamp.is_forwarded() {
                    self.counters.unclocked.fetch_add(1, Relaxed);
                }
                if record::cut(stored, self.config.message_bytes_max).is_some() {
                    self.counters.cut.fetch_add(1, Relaxed);
                }
                Offered::Taken
            }
            Err(Code::QueueFull) => {
                self.window.take_back(slot);
                self.fill_transaction();
                Offered::Blocked
            }
            Err(Code::MessageSizeTooLarge) => self.too_large(stored, slot),
            Err(code) => {
                self.window.take_back(slot);
                let at = TopicPartition { topic: topic.clone(), partition: stored.partition };
                Offered::Failed(Failures { refused: vec![(at, stored.offset, code)], client: None })
            }
        }
    }

    /// An event can't be encoded.
    fn misfit(&mut self, stored: &Stored, track: TrackId, bytes: usize, why: &str) -> Offered {
        let burials = self.burials.count();
        let slot = self.window.sent(track, stored.offset, bytes);
        // While the journal is full it may be in flight for long, and the oldest.
        if let Some(received) = stored.event.time.corrected(self.clock.best()) {
            self.window.received(track, received);
        }
        let offered = self.unacceptable(stored, slot, why);
        self.count_misfit(burials);
        offered
    }

    /// librdkafka itself refused an event for its size: it alone is meant.
    fn too_large(&mut self, stored: &Stored, slot: Slot) -> Offered {
        let why = format!("larger than the cluster takes ({} bytes)", self.config.message_bytes_max);
        self.unacceptable(stored, slot, &why)
    }

    /// Whether what waits for its burial has half of the window. With a full journal that lasts until others are delivered, which takes room: in a
    /// topic whose schema fits nothing, all of it would be gone.
    fn is_full_of_burials(&self, stored: &Stored) -> bool {
        let half = self.window.bytes_max() / 2;
        let bytes = record::bytes_in_flight(stored, &stored.event.payload, None);
        self.window.bytes() > half && self.burials.in_flight(self.session).saturating_mul(bytes) > half
    }

    /// An event that can't go, whatever is done: to the dead letters.
    fn unacceptable(&mut self, stored: &Stored, slot: Slot, why: &str) -> Offered {
        if self.exactly_once.is_some() || self.is_full_of_burials(stored) {
            // In transactions what is sent behind it could not be covered by a cursor before it is buried: its topic waits for that alone.
            self.window.take_back(slot);
            let at = TopicPartition { topic: stored.event.topic.clone(), partition: stored.partition };
            self.suspect(at, stored.offset, self.reading.chunk_start());
            return Offered::Taken;
        }
        let mourner = Mourner::Flight { session: self.session, slot };
        if self.bury(stored, why, mourner) {
            return Offered::Taken;
        }
        self.window.take_back(slot);
        let start = self.reading.chunk_start();
        self.set_apart(stored.event.topic.clone(), start, Cause::Poison(unburied(stored, why)));
        Offered::Taken
    }
}

/// Completes then; at once without.
pub(crate) async fn until(instant: Option<Instant>) {
    if let Some(instant) = instant {
        sleep_until(instant).await;
    }
}
