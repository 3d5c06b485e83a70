//! Events that can never be accepted, on their way to the dead letters.
//!
//! Invariants:
//! - Nothing here waits for room: what can't be accepted waits apart, in the background, and everything else goes on.
//! - An event is buried once, however often it is met again before it is done. While the journal is full a burial may wait for
//!   long, and producers come and go meanwhile: each would add another copy to what the journal keeps for alarms.
//! - What is kept is bounded by the window: only what is in flight, or was when a producer went, has a grave.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lamppost_event::{EventId, JournalStopped, Offset, Stored, TopicPartition, buried};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::time::Instant;

use crate::Poison;
use crate::engine::{Done, Engine, Failures};
use crate::window::Slot;

/// How long burials may keep everything waiting.
const HELD_MAX: Duration = Duration::from_secs(2);

/// The place of an event that is buried.
pub(crate) type Place = (TopicPartition, Offset);

/// Who waits for a burial.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mourner {
    /// The window, with that event in flight by that producer.
    Flight { session: u64, slot: Slot },
    /// The lane of its topic, which stands before it.
    Lane,
}

/// How far a burial is.
#[derive(Debug)]
pub(crate) enum Grave {
    /// It is not durable yet, or nobody has been told.
    Open(Mourner),
    /// It is durable; who waited for it is gone, and the event will be met again.
    Closed,
}

/// The burials that are under way, or durable and not passed by their cursor.
#[derive(Debug, Default)]
pub(crate) struct Burials(HashMap<Place, Grave>);

impl Burials {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// How many of the window's flights by that producer they are.
    pub(crate) fn in_flight(&self, session: u64) -> usize {
        self.0.values().filter(|grave| grave.is_in_flight(session)).count()
    }
}

impl Grave {
    /// Whether it is one of the window's flights, by that producer.
    pub(crate) const fn is_in_flight(&self, session: u64) -> bool {
        matches!(self, Self::Open(Mourner::Flight { session: of, .. }) if *of == session)
    }
}

impl Engine {
    /// Hands an event to the dead letters; false if there are none, or it is one itself.
    pub(crate) fn bury(&mut self, stored: &Stored, why: &str, mourner: Mourner) -> bool {
        let Some(dead_letters) = self.dead_letters.clone().filter(|_| stored.event.reason.is_none()) else {
            return false;
        };
        let (gateway, topic) = (&self.config.gateway, &stored.event.topic);
        let place = (TopicPartition { topic: topic.clone(), partition: stored.partition }, stored.offset);
        match self.burials.0.entry(place.clone()) {
            Entry::Occupied(mut grave) => {
                if let Grave::Closed = grave.insert(Grave::Open(mourner)) {
                    self.work.spawn(async move { Done::Buried { place, first: false, result: Ok(()) } });
                }
                return true;
            }
            Entry::Vacant(vacant) => vacant.insert(Grave::Open(mourner)),
        };
        let (gateway, topic) = (gateway.clone(), topic.clone());
        let id = EventId { gateway, epoch: stored.epoch, topic, partition: stored.partition, offset: stored.offset };
        tracing::warn!(%id, why, "an event goes to dead letters");
        // It may wait for long.
        let stored = Stored { event: stored.event.apart(), ..*stored };
        let poison = Poison { stored, reason: buried(&self.config.group, &id, why) };
        let buried = async move { Done::Buried { place, first: true, result: dead_letters.bury(poison).await } };
        self.work.spawn(buried);
        true
    }

    /// Counts an event that does not fit its schema, once: if there is a burial more than before. Met again, it has its grave; and without dead
    /// letters it is tried again and again.
    pub(crate) fn count_misfit(&self, burials_before: usize) {
        if self.burials.count() > burials_before {
            self.counters.misfits.fetch_add(1, Relaxed);
        }
    }

    /// Whether all that is in flight waits to be buried, or told, and has kept what is read from going for some time: where the journal is full, that
    /// lasts until others are delivered, for which there is no room, since what was delivered behind it has its place in the window still. Then the
    /// topic that has most of it goes apart.
    pub(crate) fn burials_hold_all(&mut self) -> Option<Failures> {
        let graves = if self.burials.0.is_empty() && self.tellings.is_empty() { 0 } else { self.graves_in_flight() };
        let most = if graves > 0 && graves == self.window.events() && !self.reading.is_used_up() {
            self.window.most_behind()
        } else {
            None
        };
        let Some((at, offset)) = most else {
            self.held_since = None;
            return None;
        };
        if self.held_since.get_or_insert_with(Instant::now).elapsed() < HELD_MAX {
            return None;
        }
        Some(Failures { refused: vec![(at, offset, Code::InvalidRecord)], client: None })
    }

    fn graves_in_flight(&self) -> usize {
        self.burials.in_flight(self.session) + self.tellings.in_flight(self.session)
    }

    /// A dead letter is durable: the cursor may pass the event.
    pub(crate) fn buried(
        &mut self,
        place: Place,
        first: bool,
        result: Result<(), JournalStopped>,
    ) -> Result<(), JournalStopped> {
        result?;
        if first {
            self.counters.poison.fetch_add(1, Relaxed);
        }
        match self.burials.0.remove(&place) {
            Some(Grave::Open(Mourner::Flight { session, slot })) if session == self.session => {
                self.window.done(slot);
                let (at, offset) = &place;
                let track = self.window.track(&at.topic, at.partition);
                if !self.window.has_passed(track, offset.next()) {
                    // Something before it is not done: after a failure it is met again.
                    self.burials.0.insert(place, Grave::Closed);
                }
            }
            Some(Grave::Open(Mourner::Lane)) => {
                let (at, offset) = place;
                self.alone_done(&at, offset);
            }
            // The producer was rebuilt meanwhile.
            Some(_) => {
                self.burials.0.insert(place, Grave::Closed);
            }
            None => {}
        }
        Ok(())
    }

    /// Forgets the durable burials that cursors have passed.
    pub(crate) fn forget_passed_burials(&mut self) {
        let window = &mut self.window;
        self.burials.0.retain(|(at, offset), grave| {
            let track = window.track(&at.topic, at.partition);
            !matches!(grave, Grave::Closed) || !window.has_passed(track, offset.next())
        });
    }
}
