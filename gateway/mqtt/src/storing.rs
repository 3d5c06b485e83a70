//! A publish on its way to the disk: first its event, then what is remembered of it for subscribers. A PUBACK waits for all of it.

use std::time::Duration;

use lamppost_event::{Arrival, Commit, NoteRefusal, Refusal};

use crate::Cause;
use crate::acks::{QUOTA_EXCEEDED, SUCCESS};
use crate::cause::Close;
use crate::codec::Qos;
use crate::connection::{ROOM_POLL, Shared};
use crate::counters::add;
use crate::message::Message;
use crate::retained::Retention;
use crate::sessions::Queueing;

/// What is left to be stored. Steps that are done are not done again.
#[derive(Debug)]
pub(crate) struct Storing {
    arrival: Option<Arrival>,
    qos: Qos,
    /// Not retained yet, if it is to be.
    to_retain: bool,
    message: Option<Message>,
    queueing: Queueing,
    commit: Commit,
    reason: u8,
}

/// What was stored.
#[derive(Debug)]
pub(crate) struct Done {
    /// All of it is on disk with this commit.
    pub(crate) commit: Commit,
    /// What goes to subscribers.
    pub(crate) message: Option<Message>,
    /// Of a v5 PUBACK.
    pub(crate) reason: u8,
}

/// How long whoever found no room waits at the least before it asks again: a journal that says room may have none for this.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    tries: u32,
}

impl Patience {
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = Duration::from_millis(1 << self.tries.min(8)).min(ROOM_POLL);
        self.tries += 1;
        pause
    }
}

impl Storing {
    /// `message`: what goes to subscribers, if there may be any.
    pub(crate) fn new(arrival: Arrival, qos: Qos, message: Option<Message>) -> Self {
        let to_retain = message.as_ref().is_some_and(|message| message.retain);
        let (queueing, commit) = (Queueing::default(), Commit(0));
        Self { arrival: Some(arrival), qos, to_retain, message, queueing, commit, reason: SUCCESS }
    }

    /// Bytes of payload and properties, and what their bookkeeping takes.
    pub(crate) fn bytes(&self) -> usize {
        let properties = self.message.as_ref().map_or(0, |message| message.properties.len());
        self.arrival.as_ref().map_or(0, |arrival| arrival.payload.len()) + properties + 64
    }

    /// Goes as far as there is room. `None`: not to the end; call it again when there is some.
    ///
    /// # Errors
    /// [`Close`]: it can't be stored.
    pub(crate) fn attempt(&mut self, shared: &Shared) -> Result<Option<Done>, Close> {
        if let Some(arrival) = self.arrival.take() {
            match offer(arrival, self.qos, shared)? {
                Ok(commit) => self.commit = commit,
                Err(arrival) => {
                    self.arrival = Some(*arrival);
                    return Ok(None);
                }
            }
        }
        match self.note(shared) {
            Ok(()) => Ok(Some(Done { commit: self.commit, message: self.message.take(), reason: self.reason })),
            Err(NoteRefusal::Stopped(stopped)) => Err(Close::new(Cause::JournalStopped, stopped.to_string())),
            Err(NoteRefusal::Full | NoteRefusal::TooLarge { .. }) => Ok(None),
        }
    }

    /// Retains it, and queues it for sessions.
    fn note(&mut self, shared: &Shared) -> Result<(), NoteRefusal> {
        let Some(message) = &self.message else { return Ok(()) };
        if self.to_retain {
            match shared.retained.put(message, shared.durable_now())? {
                Retention::With(commit) => self.commit = self.commit.max(commit),
                Retention::NoRoom => self.reason = QUOTA_EXCEEDED,
            }
            self.to_retain = false;
        }
        shared.sessions.enqueue(message, &mut self.queueing)?;
        self.commit = self.commit.max(self.queueing.commit);
        Ok(())
    }
}

/// Offers to the journal. `Ok(Err(_))`: it is full now.
fn offer(arrival: Arrival, qos: Qos, shared: &Shared) -> Result<Result<Commit, Box<Arrival>>, Close> {
    let counters = &shared.counters;
    match shared.intake.offer(arrival) {
        Ok(commit) => {
            add(if qos == Qos::AtMostOnce { &counters.publishes_qos0 } else { &counters.publishes_qos1 }, 1);
            Ok(Ok(commit))
        }
        Err(Refusal::Full(arrival)) => Ok(Err(arrival)),
        Err(refusal @ Refusal::TooLarge { .. }) => Err(Close::new(Cause::EventTooLarge, refusal.to_string())),
        Err(Refusal::Stopped(stopped)) => Err(Close::new(Cause::JournalStopped, stopped.to_string())),
    }
}
