//! Events of one topic sent one at a time, by a producer of their own (in exactly-once mode by the common one, [`crate::solo`]).
//!
//! Two uses. A paused topic is tried with its next event, so that its failure does not disturb the others. And where a batch was
//! refused, this finds the record that was meant: brokers refuse batches (Kafka protocol, Produce), so "too large" says
//! nothing of a record unless it was alone.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lamppost_event::{Gap, Item, JournalStopped, Offset, Outlet, Partition, Position, Stored, Topic};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::time::timeout;

use crate::bounds::Bounds;
use crate::config::ForwardConfig;
use crate::counters::Counters;
use crate::doubt::{Jump, place};
use crate::failure::{Class, classify};
use crate::kafka::{Kafka, Outgoing, Report};
use crate::solo::Solo;
use crate::split::Horizon;
use crate::stamp::{Stamp, Timing};
use crate::target::Target;
use crate::window::Slot;

/// How long one event's report is waited for.
const REPORT_MAX: Duration = Duration::from_secs(30);

/// A topic's own reader and producer.
pub(crate) struct Alone {
    topic: Topic,
    /// Where the chunk in hand begins.
    pub(crate) at: Position,
    next: Position,
    items: VecDeque<Item>,
    /// What `items` came from led no further: the journal ended there.
    ended: bool,
    /// The event whose own time was refused last.
    untimely: Option<(Partition, Offset)>,
    /// The producer, and which credentials it was made with.
    kafka: Option<(u64, Kafka)>,
    /// The common producer, lent for one step, in place of one of its own.
    solo: Option<Solo>,
}

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    /// [`Code::Unknown`]: it is to be tried again.
    Failed {
        code: Code,
        why: String,
    },
    /// It can't be encoded: it was not sent.
    Misfit {
        why: String,
    },
}

impl Alone {
    pub(crate) const fn new(topic: Topic, at: Position) -> Self {
        Self { topic, at, next: at, items: VecDeque::new(), ended: false, untimely: None, kafka: None, solo: None }
    }

    /// The first event or gap of the topic that is not done and not beyond the horizon; `None` where the journal ends. Reads the disk.
    pub(crate) fn find(
        &mut self,
        outlet: &dyn Outlet,
        cursors: &HashMap<Partition, Offset>,
        horizon: Option<&Horizon>,
        read_bytes: usize,
    ) -> Result<Option<Item>, JournalStopped> {
        loop {
            while let Some(item) = self.items.pop_front() {
                let Some(item) = (match horizon {
                    Some(horizon) => horizon.below(item),
                    None => Some(item),
                }) else {
                    continue;
                };
                let (partition, after) = match &item {
                    Item::Event(stored) => (stored.partition, stored.offset.next()),
                    Item::Gap(gap) => (gap.at.partition, gap.to),
                };
                if cursors.get(&partition).is_none_or(|cursor| after > *cursor) {
                    return Ok(Some(item));
                }
            }
            if std::mem::take(&mut self.ended) {
                return Ok(None);
            }
            let chunk = outlet.read(self.next, read_bytes)?;
            if chunk.items.is_empty() && chunk.caught_up {
                return Ok(None);
            }
            // At the end there may still be something: what lies before, once more.
            self.ended = chunk.caught_up && chunk.next == self.next;
            (self.at, self.next) = (self.next, chunk.next);
            // Those of other topics would be held by each lane.
            self.items = chunk.items.into_iter().filter(|item| *place(item).0 == self.topic).collect();
        }
    }

    /// Reads again from `from` on.
    pub(crate) fn rewind(&mut self, from: Position) {
        (self.at, self.next, self.ended) = (from, from, false);
        self.items.clear();
    }

    /// Puts back what [`Alone::find`] gave.
    pub(crate) fn put_back(&mut self, item: Item) {
        self.items.push_front(item);
    }

    /// Whether an event's own time was refused.
    pub(crate) const fn met_untimely(&self) -> bool {
        self.untimely.is_some()
    }

    /// Which time the event goes out with.
    fn timing(&self, stored: &Stored, bounds: Bounds) -> Timing {
        if self.untimely == Some((stored.partition, stored.offset)) { Timing::Sending } else { Timing::Own(bounds) }
    }

    /// Sends one event; if a time is refused, once more with the other: its own, or that of sending. `None`: it waits for the clock.
    async fn deliver(
        &mut self,
        config: &ForwardConfig,
        counters: &Arc<Counters>,
        target: &Target,
        (stored, lane): (&Stored, Option<&'static str>),
        mut stamp: impl FnMut(&Stored, Timing) -> Option<Stamp> + Send,
    ) -> Option<Outcome> {
        let Target { name, partitions, bounds, encoder, .. } = target;
        let (mut bounds, mut room) = (*bounds, Vec::new());
        let payload = match target.payload(stored, config.message_bytes_max, &mut room) {
            Ok(payload) => payload,
            Err(why) => return Some(Outcome::Misfit { why }),
        };
        let partition = lamppost_event::partition_of(&stored.event.key, *partitions);
        loop {
            let stamp = stamp(stored, self.timing(stored, bounds))?;
            let out = Outgoing { name, partition, stored, payload, encoder: encoder.as_deref(), stamp, lane };
            counters.sent.fetch_add(1, Relaxed);
            let outcome = self.send(config, counters, &out).await;
            let Outcome::Failed { code, why } = &outcome else { return Some(outcome) };
            if classify(*code) != Class::Untimely {
                return Some(outcome);
            }
            let Some(others) = self.other_time(stored, stamp.is_forwarded(), bounds) else { return Some(outcome) };
            bounds = others;
            let (topic, partition, offset) = (&self.topic, stored.partition, stored.offset);
            tracing::warn!(%topic, %partition, %offset, why, "the cluster does not take an event's time: it is sent again with another");
        }
    }

    /// The bounds to try an event with whose time was refused; `None` if both times were.
    fn other_time(&mut self, stored: &Stored, was_of_sending: bool, bounds: Bounds) -> Option<Bounds> {
        let place = Some((stored.partition, stored.offset));
        if !was_of_sending {
            self.untimely = place;
            return Some(bounds);
        }
        // Its own was left out since it lies far from our clock. That may be the one which is wrong.
        (self.untimely != place && bounds != Bounds::default()).then(Bounds::default)
    }

    /// Sends one event and waits for its report.
    async fn send(&mut self, config: &ForwardConfig, counters: &Arc<Counters>, out: &Outgoing<'_>) -> Outcome {
        if let Some(solo) = &self.solo {
            return solo.send(config, out).await;
        }
        let generation = config.keyring.generation();
        let kept = match self.kafka.take() {
            Some((made_with, old)) if made_with != generation => {
                drop(old.close().await);
                None
            }
            kept => kept.map(|(_, kafka)| kafka),
        };
        let kafka = match kept.map_or_else(|| Kafka::connect_for_one(config, counters), Ok) {
            Ok(kafka) => kafka,
            Err(error) => return Outcome::Failed { code: Code::Unknown, why: error.to_string() },
        };
        let sent = kafka.send(config, out, Slot(0), &mut String::new());
        let result = match sent {
            Err(code) => Err(code),
            Ok(()) => timeout(REPORT_MAX, report(&kafka)).await.unwrap_or(Err(Code::MessageTimedOut)),
        };
        match result {
            Ok(()) => {
                self.kafka = Some((generation, kafka));
                Outcome::Delivered
            }
            Err(code) => {
                let class = classify(code);
                // Refused by the cluster's own word, it is nowhere. After any other failure that is not certain: the next one gets a new producer.
                if matches!(class, Class::Untimely | Class::Poison) && kafka.fatal().is_none() {
                    self.kafka = Some((generation, kafka));
                } else {
                    drop(kafka.close().await);
                }
                Outcome::Failed { code, why: code.to_string() }
            }
        }
    }

    /// Gives up what is in hand, to be read again, and the producer.
    pub(crate) fn leave(&mut self) -> Option<Kafka> {
        self.rewind(self.at);
        self.kafka.take().map(|(_, kafka)| kafka)
    }

    /// Closes the producer.
    pub(crate) async fn close(self) {
        if let Some((_, kafka)) = self.kafka {
            drop(kafka.close().await);
        }
    }
}

async fn report(kafka: &Kafka) -> Result<(), Code> {
    let mut reports: Vec<Report> = Vec::new();
    loop {
        kafka.reports.take(&mut reports);
        if let Some(report) = reports.first() {
            return report.error.map_or(Ok(()), Err);
        }
        if let Some((code, why)) = kafka.reports.take_trouble()
            && classify(code) == Class::Denied
        {
            tracing::debug!(why, "the cluster does not let a single event in");
            return Err(code);
        }
        kafka.reports.wait().await;
    }
}

/// What one step of a lane came upon.
#[derive(Debug)]
pub(crate) enum Step {
    Event { stored: Box<Stored>, outcome: Outcome },
    Gap(Gap),
    Jump(Jump),
    Waiting,
    End,
}

/// All that a step needs besides the lane's own [`Alone`].
pub(crate) struct StepInput {
    pub(crate) config: Arc<ForwardConfig>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) outlet: Arc<dyn Outlet>,
    pub(crate) cursors: HashMap<Partition, Offset>,
    pub(crate) target: Target,
    pub(crate) horizon: Option<Horizon>,
    /// In which lane its events go.
    pub(crate) mark: Option<&'static str>,
    pub(crate) solo: Option<Solo>,
}

/// The offsets that are missing before `item`, if nothing of its topic is in flight.
fn jump_before(item: &Item, cursors: &HashMap<Partition, Offset>) -> Option<Jump> {
    let (_, partition, offset) = place(item);
    let from = cursors.get(&partition).copied().unwrap_or(Offset(0));
    (offset > from).then(|| Jump::to_item(item, from))
}

/// Finds the topic's next event and sends it. `stamp` is asked when a time is needed; `None` waits for the clock.
pub(crate) async fn step(
    mut alone: Box<Alone>,
    input: StepInput,
    stamp: impl FnMut(&Stored, Timing) -> Option<Stamp> + Send,
) -> (Box<Alone>, Result<Step, JournalStopped>) {
    let StepInput { config, counters, outlet, cursors, target, horizon, mark, solo } = input;
    let read_bytes = config.read_bytes;
    let topic = alone.topic.clone();
    let at = alone.at;
    let found = tokio::task::spawn_blocking(move || {
        let found = alone.find(&*outlet, &cursors, horizon.as_ref(), read_bytes);
        (alone, found, cursors)
    });
    let (mut alone, found, cursors) = match found.await {
        Ok(found) => found,
        Err(_) => {
            let stopped = JournalStopped { reason: "a read panicked".into() };
            return (Box::new(Alone::new(topic, at)), Err(stopped));
        }
    };
    if let Ok(Some(item)) = &found
        && let Some(jump) = jump_before(item, &cursors)
    {
        found.into_iter().flatten().for_each(|item| alone.put_back(item));
        return (alone, Ok(Step::Jump(jump)));
    }
    let stored = match found {
        Ok(Some(Item::Event(stored))) => stored,
        Ok(Some(Item::Gap(gap))) => return (alone, Ok(Step::Gap(gap))),
        Ok(None) => return (alone, Ok(Step::End)),
        Err(stopped) => return (alone, Err(stopped)),
    };
    alone.solo = solo;
    let outcome = alone.deliver(&config, &counters, &target, (&stored, mark), stamp).await;
    alone.solo = None;
    if outcome != Some(Outcome::Delivered) {
        alone.put_back(Item::Event(stored.clone()));
    }
    let step = outcome.map_or(Step::Waiting, |outcome| Step::Event { stored: Box::new(stored), outcome });
    (alone, Ok(step))
}

#[cfg(test)]
mod tests;
