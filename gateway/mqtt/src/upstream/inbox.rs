//! What a broker has delivered on one connection and is not acknowledged yet. No I/O: messages and commits go in, packet ids
//! to acknowledge come out, in the order in which the messages came [MQTT-4.6.0-2].

use std::collections::VecDeque;

use bytes::Bytes;
use lamppost_event::{Arrival, Commit, Intake, JournalStopped, Refusal};

/// Behind the reason of a dead letter whose payload was cut.
pub(super) const BEGINNING: &str = "; of its payload this is the beginning";

/// What is offered to the journal.
#[derive(Debug, Clone)]
pub(super) enum Offer {
    Event(Box<Arrival>),
    /// It can't be an event, for this reason.
    Dead(Box<Arrival>, String),
}

/// What became of an arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Offered {
    /// It is with the journal.
    Taken,
    /// It is with the journal as a dead letter, from this address and for this reason.
    Buried { address: String, reason: String },
    /// It waits here for room, and all that comes after it.
    Waits,
    /// Not even a dead letter without a payload can be stored: it is not acknowledged.
    TooLarge { bytes: usize, bytes_max: usize },
}

/// What the journal did not take, and what had been offered.
struct Refused {
    refusal: Box<Refusal>,
    offer: Offer,
}

/// A message that found no room. Without an offer there is nothing to store, and it only keeps its turn.
#[derive(Debug)]
struct Waiting {
    offer: Option<Offer>,
    packet_id: Option<u16>,
    bytes: usize,
}

/// The queues of one connection. Invariant: a packet id is ready only once its commit is on disk, and after all before it.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// The last commit that anything went with, over this connection or one before.
    last: Commit,
    waiting: VecDeque<Waiting>,
    taken: VecDeque<(Commit, u16, usize)>,
    ready: VecDeque<u16>,
    bytes: usize,
}

impl Inbox {
    /// Of a connection that begins after `last` was offered over others: what it repeats of those may be on its way to the disk still.
    pub(super) fn after(last: Commit) -> Self {
        Self { last, ..Self::default() }
    }

    /// The last commit that anything went with.
    pub(super) fn last(&self) -> Commit {
        self.last
    }

    /// Offers an arrival, or keeps it behind those that wait.
    pub(super) fn offer(
        &mut self,
        intake: &dyn Intake,
        offer: Option<Offer>,
        packet_id: Option<u16>,
        bytes: usize,
    ) -> Result<Offered, JournalStopped> {
        self.bytes += bytes;
        self.waiting.push_back(Waiting { offer, packet_id, bytes });
        if self.waiting.len() > 1 {
            return Ok(Offered::Waits);
        }
        self.offer_first(intake)
    }

    /// Offers the first of those that wait. What is too large for an event is offered as a dead letter, as much of it as there is room for.
    pub(super) fn offer_first(&mut self, intake: &dyn Intake) -> Result<Offered, JournalStopped> {
        let Some(Waiting { mut offer, packet_id, bytes }) = self.waiting.pop_front() else { return Ok(Offered::Taken) };
        loop {
            let (refusal, spare) = match self.hand_over(intake, offer) {
                Ok((commit, buried)) => {
                    self.last = self.last.max(commit);
                    match packet_id {
                        Some(packet_id) => self.taken.push_back((commit, packet_id, bytes)),
                        None => self.bytes -= bytes,
                    }
                    return Ok(buried.unwrap_or(Offered::Taken));
                }
                Err(Refused { refusal, offer }) => (*refusal, offer),
            };
            match (refusal, spare) {
                (Refusal::Stopped(stopped), _) => return Err(stopped),
                (Refusal::Full(arrival), spare) => {
                    let offer = Some(match spare {
                        Offer::Event(_) => Offer::Event(arrival),
                        Offer::Dead(_, reason) => Offer::Dead(arrival, reason),
                    });
                    self.waiting.push_front(Waiting { offer, packet_id, bytes });
                    return Ok(Offered::Waits);
                }
                (Refusal::TooLarge { bytes: size, bytes_max }, spare) => match beginning(spare, size, bytes_max) {
                    Some(dead) => offer = Some(dead),
                    None => {
                        self.bytes -= bytes;
                        return Ok(Offered::TooLarge { bytes: size, bytes_max });
                    }
                },
            }
        }
    }

    /// Hands it to the journal. What is refused comes back with what was offered.
    fn hand_over(&self, intake: &dyn Intake, offer: Option<Offer>) -> Result<(Commit, Option<Offered>), Refused> {
        // Of an arrival only counted references are copied: names and payload stay where they are.
        match offer {
            // Nothing to store: it repeats what was offered before, and is on disk with that.
            None => Ok((self.last, None)),
            Some(Offer::Event(arrival)) => match intake.offer((*arrival).clone()) {
                Ok(commit) => Ok((commit, None)),
                Err(refusal) => Err(Refused { refusal: Box::new(refusal), offer: Offer::Event(arrival) }),
            },
            Some(Offer::Dead(arrival, reason)) => match intake.offer_dead((*arrival).clone(), &reason) {
                Ok(commit) => {
                    let address = arrival.address.as_str().to_owned();
                    Ok((commit, Some(Offered::Buried { address, reason })))
                }
                Err(refusal) => Err(Refused { refusal: Box::new(refusal), offer: Offer::Dead(arrival, reason) }),
            },
        }
    }

    /// Everything up to this commit is on disk.
    pub(super) fn durable(&mut self, durable: Commit) {
        while let Some((_, packet_id, bytes)) = self.pop_durable(durable) {
            self.bytes -= bytes;
            self.ready.push_back(packet_id);
        }
    }

    fn pop_durable(&mut self, durable: Commit) -> Option<(Commit, u16, usize)> {
        self.taken.front().filter(|(commit, ..)| *commit <= durable)?;
        self.taken.pop_front()
    }

    /// Hands out what may be acknowledged, in order, for as long as `acknowledge` takes it. Returns how many.
    pub(super) fn acknowledge(&mut self, mut acknowledge: impl FnMut(u16) -> bool) -> u64 {
        let mut count = 0;
        while let Some(packet_id) = self.ready.front() {
            if !acknowledge(*packet_id) {
                break;
            }
            self.ready.pop_front();
            count += 1;
        }
        count
    }

    /// Forgets what was not offered: it is not acknowledged, so the broker keeps it.
    pub(super) fn forget_waiting(&mut self) {
        self.bytes -= self.waiting.iter().map(|waiting| waiting.bytes).sum::<usize>();
        self.waiting.clear();
    }

    /// The address and packet id of the first that waits for room.
    pub(super) fn first_waiting(&self) -> Option<(String, Option<u16>)> {
        let first = self.waiting.front()?;
        let address = first.offer.as_ref().map(|offer| match offer {
            Offer::Event(arrival) | Offer::Dead(arrival, _) => arrival.address.as_str().to_owned(),
        });
        Some((address.unwrap_or_default(), first.packet_id))
    }

    /// Something waits for room.
    pub(super) fn is_stalled(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Something waits for its commit.
    pub(super) fn waits_for_durable(&self) -> bool {
        !self.taken.is_empty()
    }

    /// QoS 1 messages that came and are not acknowledged.
    pub(super) fn unacknowledged(&self) -> usize {
        let waiting = self.waiting.iter().filter(|waiting| waiting.packet_id.is_some()).count();
        waiting + self.taken.len() + self.ready.len()
    }

    /// Whether more may be read.
    pub(super) fn has_room(&self, window: u16, bytes_max: usize) -> bool {
        !self.is_stalled() && self.unacknowledged() < usize::from(window) && self.bytes < bytes_max
    }
}

/// What is too large by `size - bytes_max` bytes as a dead letter that is smaller by these, of its payload. `None`: it has none.
fn beginning(offer: Offer, size: usize, bytes_max: usize) -> Option<Offer> {
    let (mut arrival, reason) = match offer {
        Offer::Event(arrival) => {
            (arrival, format!("an event of {size} bytes, [journal] event_max allows {bytes_max}{BEGINNING}"))
        }
        Offer::Dead(arrival, reason) if reason.ends_with(BEGINNING) => (arrival, reason),
        Offer::Dead(arrival, reason) => (arrival, reason + BEGINNING),
    };
    let whole = arrival.payload.len();
    let kept = whole.saturating_sub(size.saturating_sub(bytes_max).max(1));
    // Copied: a slice would keep all of it in memory for as long as the dead letter waits.
    arrival.payload = Bytes::copy_from_slice(arrival.payload.get(..kept)?);
    (kept < whole).then_some(Offer::Dead(arrival, reason))
}

#[cfg(test)]
mod tests;
