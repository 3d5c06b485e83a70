//! What becomes of what comes back from the background: reads, answers about topics, and the topics that go apart.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lamppost_event::{JournalStopped, Offset, Stored, Topic, TopicPartition};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::task::JoinError;
use tokio::time::Instant;

use crate::alone::{Alone, Outcome, Step, StepInput, step};
use crate::bounds::Bounds;
use crate::burial::Mourner;
use crate::care::Hearing;
use crate::doubt::Reader;
use crate::engine::{Done, Engine};
use crate::failure::{Class, classify};
use crate::lane::{Cause, Lane};
use crate::resolve::{self, Resolution};
use crate::schema::Encoder;
use crate::stamp::{ClockWait, Clocks, Stamp, Timing};
use crate::target::Target;

/// How often a topic apart asks again whether the clock is right.
const CLOCK_AGAIN: Duration = Duration::from_secs(1);

/// How long it counts what the cluster said of the times that it takes.
const BOUNDS_AGAIN: Duration = Duration::from_secs(600);

impl Engine {
    /// Work in the background ended. A panic there would leave us waiting for ever: it ends the forwarder instead, as if the
    /// journal had stopped, so that the daemon starts it again.
    pub(crate) fn joined(&mut self, done: Result<Done, JoinError>) -> Result<(), JournalStopped> {
        match done {
            Ok(done) => self.finish(done),
            Err(error) if error.is_panic() => Err(JournalStopped { reason: format!("in the forwarder: {error}") }),
            Err(_) => Ok(()),
        }
    }

    /// Takes in what came back from the background.
    fn finish(&mut self, done: Done) -> Result<(), JournalStopped> {
        match done {
            Done::Read { generation, from, chunk } => {
                let chunk = chunk?;
                if generation == self.reading.generation {
                    self.reading.arrived(from, chunk);
                }
            }
            Done::Grown { generation } if generation == self.reading.generation => {
                (self.reading.busy, self.reading.caught_up, self.growing) = (false, false, None);
            }
            Done::Grown { .. } => {}
            Done::Closed => self.closing -= 1,
            Done::Opened { lanes } => self.opened(lanes?),
            Done::LiveEnded { result } => self.live_ended(result)?,
            Done::Resumed { reader, resume } => self.resumed(&reader, &resume?),
            Done::Resolved { topic, name, resolution, encoder } => self.resolved(topic, name, resolution, encoder),
            Done::Bounds { topic, bounds } => self.bounded(&topic, bounds),
            Done::Step { topic, alone, step } => self.stepped(&topic, alone, step?),
            Done::Buried { place, first, result } => self.buried(place, first, result)?,
            Done::Told { hole, result } => self.told(hole, result)?,
        }
        Ok(())
    }

    fn resolved(&mut self, topic: Topic, name: Topic, resolution: Resolution, encoder: Option<Arc<Encoder>>) {
        self.resolving = None;
        if !matches!(resolution, Resolution::Found { .. }) {
            self.counters.retries.fetch_add(1, Relaxed);
        }
        match resolution {
            Resolution::Found { partitions } => {
                self.counters.set_reached();
                self.hold_until = None;
                self.denied.let_in();
                let shapes = self.outlet.topics();
                let ours = shapes.iter().find(|shape| shape.topic == topic).map(|shape| shape.partitions);
                if ours.is_some_and(|ours| ours != partitions) {
                    tracing::warn!(%topic, ours, theirs = partitions, "the cluster has another number of partitions; keys keep their order");
                }
                self.bounds_asked.remove(&topic);
                self.targets.insert(
                    topic,
                    Target { name, partitions, bounds: Bounds::default(), encoder, hearing: Hearing::default() },
                );
            }
            Resolution::Missing { why } => {
                self.counters.set_reached();
                let place = self.reading.place();
                match self.lanes.get_mut(&topic) {
                    Some(lane) => {
                        if matches!(lane.cause, Cause::Refused(_)) {
                            lane.cause = Cause::Refused(why);
                        }
                        lane.postpone();
                    }
                    None => self.set_apart(topic, place, Cause::Refused(why)),
                }
            }
            Resolution::Unreachable { why } => {
                tracing::debug!(%topic, why, "the cluster is not reached");
                self.counters.set_unreached(&why);
                self.hold_until = Some(Instant::now() + self.backoff.next());
            }
            Resolution::Denied { denial, why } => {
                self.deny(denial, &why);
                self.hold_until = Some(Instant::now() + self.delay_denied());
            }
        }
    }

    /// Asks the cluster which times it takes for a topic, in the background; not again for a while.
    pub(crate) fn ask_bounds(&mut self, topic: &Topic) {
        let now = Instant::now();
        let Some(target) = self.targets.get(topic) else { return };
        if self.bounds_asked.get(topic).is_some_and(|asked| now < *asked + BOUNDS_AGAIN) {
            return;
        }
        self.bounds_asked.insert(topic.clone(), now);
        let (config, name, topic) = (Arc::clone(&self.config), target.name.clone(), topic.clone());
        self.work.spawn(async move {
            let bounds = resolve::bounds(&config, &name).await;
            Done::Bounds { topic, bounds }
        });
    }

    fn bounded(&mut self, topic: &Topic, bounds: Option<Bounds>) {
        if !self.bounds_asked.contains_key(topic) {
            // An answer to what was asked of the cluster before the topic was looked up anew: nobody would forget it.
            return;
        }
        let (Some(target), Some(bounds)) = (self.targets.get_mut(topic), bounds) else { return };
        target.bounds = bounds;
        // What is refused for its time can be told now: the topic goes with the others from its next event on.
        if let Some(Lane { cause: Cause::Suspects(suspects), .. }) = self.lanes.get_mut(topic) {
            suspects.clear();
        }
    }

    /// What was said of a topic's bounds a while ago may be otherwise now.
    pub(crate) fn forget_bounds(&mut self) {
        let now = Instant::now();
        for topic in self.bounds_asked.extract_if(|_, asked| now >= *asked + BOUNDS_AGAIN).map(|(topic, _)| topic) {
            if let Some(target) = self.targets.get_mut(&topic) {
                target.bounds = Bounds::default();
            }
        }
    }

    /// Lets each topic apart take its next step, if it is time and nothing of it is in flight.
    pub(crate) fn step_lanes(&mut self) {
        while let Some((topic, target)) = self.lane_that_is_due() {
            self.step_lane(topic, target);
        }
    }

    /// A topic apart whose next step may be taken. One whose place in the cluster is not known is asked for.
    pub(crate) fn lane_that_is_due(&mut self) -> Option<(Topic, Target)> {
        if self.lanes.is_empty() || !self.may_go() {
            return None;
        }
        let now = Instant::now();
        let due = |(topic, lane): (&Topic, &crate::lane::Lane)| {
            (!lane.busy && lane.retry_at <= now && self.window.is_idle(topic)).then(|| topic.clone())
        };
        let mut due: Vec<Topic> = self.lanes.iter().filter_map(due).collect();
        // Who has a place uses it; then who has waited longest.
        due.sort_by_key(|topic| self.lanes.get(topic).map(|lane| (!lane.placed, lane.retry_at)));
        for topic in due {
            match self.targets.get(&topic).cloned() {
                Some(target) if self.has_place(&topic) => return Some((topic, target)),
                Some(_) => {}
                None => self.resolve(&topic),
            }
        }
        None
    }

    pub(crate) fn step_lane(&mut self, topic: Topic, target: Target) {
        let (cursors, solo) = (self.cursors_of(&topic), self.solo(&topic));
        let (horizon, mark) = (self.horizon(&topic).cloned(), self.mark(&topic));
        let Some(lane) = self.lanes.get_mut(&topic) else { return };
        (lane.busy, lane.placed) = (true, true);
        let at = lane.at;
        let alone = lane.alone.take().unwrap_or_else(|| Box::new(Alone::new(topic.clone(), at)));
        let input = StepInput {
            config: Arc::clone(&self.config),
            counters: Arc::clone(&self.counters),
            outlet: Arc::clone(&self.outlet),
            cursors,
            target,
            horizon,
            mark,
            solo,
        };
        let (clock, wait, counters) =
            (Arc::clone(&self.clock), Arc::clone(&self.clock_wait), Arc::clone(&self.counters));
        self.work.spawn(async move {
            let stamp = move |stored: &Stored, timing| {
                let stamp = stamp_of(&wait, stored, timing, (clock.now(), clock.best()))?;
                counters.unclocked.fetch_add(stamp.is_forwarded().into(), Relaxed);
                Some(stamp)
            };
            let (alone, step) = step(alone, input, stamp).await;
            Done::Step { topic, alone, step }
        });
    }

    fn stepped(&mut self, topic: &Topic, alone: Box<Alone>, step: Step) {
        if alone.met_untimely() {
            // Of a batch the brokers only say that a record is invalid.
            self.ask_bounds(topic);
        }
        let Some(lane) = self.lanes.get_mut(topic) else { return };
        lane.busy = false;
        lane.at = alone.at;
        lane.alone = Some(alone);
        match step {
            // Busy until it is told.
            Step::Gap(gap) => {
                lane.busy = true;
                let passed = self.pass_gap(&gap, &Reader::Lane(topic.clone()));
                if let Some(lane) = self.lanes.get_mut(topic).filter(|_| passed) {
                    lane.busy = false;
                }
            }
            // Busy until the position for reading again is known.
            Step::Jump(jump) => {
                lane.busy = true;
                let passed = self.settle_jump(&jump, Reader::Lane(topic.clone()));
                if let Some(lane) = self.lanes.get_mut(topic).filter(|_| passed) {
                    lane.busy = false;
                }
            }
            Step::End => self.rejoin(topic),
            Step::Waiting => lane.retry_at = Instant::now() + CLOCK_AGAIN,
            Step::Event { stored, outcome } => {
                let at = TopicPartition { topic: topic.clone(), partition: stored.partition };
                match outcome {
                    Outcome::Delivered => {
                        lane.backoff.reset();
                        self.counters.set_last_delivery(self.clock.now().monotonic);
                        self.alone_done(&at, stored.offset);
                    }
                    Outcome::Misfit { why } => {
                        let burials = self.burials.count();
                        self.alone_poison(&at, &stored, &why);
                        self.count_misfit(burials);
                    }
                    Outcome::Failed { code, why } => match classify(code) {
                        Class::Poison => {
                            if code == Code::MessageSizeTooLarge {
                                // Not the sum of its batch was meant.
                                self.batch_size.restore();
                            }
                            self.alone_poison(&at, &stored, &why);
                        }
                        Class::Untimely => self.alone_untimely(&at, &why),
                        class => self.alone_failed(topic, class, why),
                    },
                }
            }
        }
    }

    fn alone_poison(&mut self, at: &TopicPartition, stored: &Stored, why: &str) {
        let buried = self.bury(stored, why, Mourner::Lane);
        let Some(lane) = self.lanes.get_mut(&at.topic) else { return };
        if buried {
            // Until the burial is durable.
            lane.busy = true;
        } else {
            lane.cause = Cause::Poison(unburied(stored, why));
            lane.postpone();
        }
    }

    /// Its own time was refused, and the time of sending too. That is no fault of the event but of a clock, so the topic waits: buried, events
    /// would be dead letters by the thousand, and be refused as those for the same reason.
    fn alone_untimely(&mut self, at: &TopicPartition, why: &str) {
        self.counters.retries.fetch_add(1, Relaxed);
        let Some(lane) = self.lanes.get_mut(&at.topic) else { return };
        // Always the same words: they are logged when they change.
        let why = format!("{why}, and with the time of sending too: this gateway's clock is wrong, or the brokers'");
        lane.cause = Cause::Refused(why);
        lane.postpone();
    }

    fn alone_failed(&mut self, topic: &Topic, class: Class, why: String) {
        self.counters.retries.fetch_add(1, Relaxed);
        let Some(lane) = self.lanes.get_mut(topic) else { return };
        tracing::debug!(%topic, why, "a single event was tried in vain");
        if class == Class::Topic {
            self.targets.remove(topic);
            if matches!(lane.cause, Cause::Refused(_)) {
                lane.cause = Cause::Refused(why);
            }
        }
        lane.postpone();
    }

    /// The event that a lane stood before is done.
    pub(crate) fn alone_done(&mut self, at: &TopicPartition, offset: Offset) {
        self.pass_event(at, offset);
        let Some(lane) = self.lanes.get_mut(&at.topic) else { return };
        lane.busy = false;
        lane.retry_at = Instant::now();
        if lane.cause.clear(at.partition, offset) {
            self.rejoin(&at.topic);
        }
    }

    /// The topic goes with the others again, from its first undone event on.
    fn rejoin(&mut self, topic: &Topic) {
        let Some(lane) = self.lanes.remove(topic) else { return };
        self.doubts.forget(topic);
        self.rewind(lane.at);
        if let Some(alone) = lane.alone {
            self.closing += 1;
            self.work.spawn(async move {
                alone.close().await;
                Done::Closed
            });
        }
    }
}

/// Why a poisonous event keeps its topic waiting.
pub(crate) fn unburied(stored: &Stored, why: &str) -> String {
    let place = format!("{}/{}", stored.partition, stored.offset);
    match stored.event.reason {
        Some(_) => format!("the dead letter at {place} can't be accepted: {why}"),
        None => format!("the event at {place} can't be accepted, and there are no dead letters: {why}"),
    }
}

/// The time an event goes out with; `None`: it waits for the clock.
pub(crate) fn stamp_of(wait: &Mutex<ClockWait>, stored: &Stored, timing: Timing, clocks: Clocks) -> Option<Stamp> {
    let mut wait = wait.lock().unwrap_or_else(PoisonError::into_inner);
    let was_over = wait.is_over();
    let stamp = wait.stamp(&stored.event.time, timing, clocks)?;
    if wait.is_over() && !was_over {
        tracing::warn!("the clock did not become right in time: events go with the time of sending");
    }
    Some(stamp)
}
