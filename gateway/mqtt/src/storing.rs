//! A publish on its way to the disk: first its event, then what is remembered of it for subscribers. A PUBACK waits for all of it.

use lamppost_event::{Arrival, Commit, NoteRefusal, Refusal};

use crate::Cause;
use crate::cause::Close;
use crate::codec::Qos;
use crate::connection::Shared;
use crate::counters::add;
use crate::message::Message;

/// What is left to be stored. Steps that are done are not done again.
#[derive(Debug)]
pub(crate) struct Storing {
    arrival: Option<Arrival>,
    qos: Qos,
    /// Not retained yet, if it is to be.
    to_retain: bool,
    message: Option<Message>,
    commit: Commit,
}

impl Storing {
    /// `message`: what goes to subscribers, if there may be any.
    pub(crate) fn new(arrival: Arrival, qos: Qos, message: Option<Message>) -> Self {
        let to_retain = message.as_ref().is_some_and(|message| message.retain);
        Self { arrival: Some(arrival), qos, to_retain, message, commit: Commit(0) }
    }

    /// Bytes of payload and properties, and what their bookkeeping takes.
    pub(crate) fn bytes(&self) -> usize {
        let properties = self.message.as_ref().map_or(0, |message| message.properties.len());
        self.arrival.as_ref().map_or(0, |arrival| arrival.payload.len()) + properties + 64
    }

    /// Goes as far as there is room. `None`: not to the end; call it again when there is some. Then the commit that all of it is on disk
    /// with, and what goes to subscribers.
    ///
    /// # Errors
    /// [`Close`]: it can't be stored.
    pub(crate) fn attempt(&mut self, shared: &Shared) -> Result<Option<(Commit, Option<Message>)>, Close> {
        if let Some(arrival) = self.arrival.take() {
            match offer(arrival, self.qos, shared)? {
                Ok(commit) => self.commit = commit,
                Err(arrival) => {
                    self.arrival = Some(*arrival);
                    return Ok(None);
                }
            }
        }
        let Some(message) = &self.message else { return Ok(Some((self.commit, None))) };
        let noted = if self.to_retain { shared.retained.put(message, shared.durable_now()) } else { Ok(None) };
        let noted = noted.and_then(|retained| {
            self.to_retain = false;
            self.commit = self.commit.max(retained.unwrap_or(self.commit));
            shared.sessions.enqueue(message)
        });
        match noted {
            Ok(queued) => Ok(Some((self.commit.max(queued.unwrap_or(self.commit)), self.message.take()))),
            Err(NoteRefusal::Stopped(stopped)) => Err(Close::new(Cause::JournalStopped, stopped.to_string())),
            Err(NoteRefusal::Full | NoteRefusal::TooLarge { .. }) => Ok(None),
        }
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
