//! What a broker has delivered on one connection and is not acknowledged yet. No I/O: messages and commits go in, packet ids
//! to acknowledge come out, in the order in which the messages came [MQTT-4.6.0-2].

use std::collections::VecDeque;

use lamppost_event::{Arrival, Commit, Intake, JournalStopped, Refusal};

/// What became of an arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Offered {
    /// It is with the journal.
    Taken,
    /// It waits here for room, and all that comes after it.
    Waits,
    /// It can't be stored, now or later: it is not acknowledged.
    TooLarge { bytes: usize, bytes_max: usize },
}

/// A message that found no room. Without an arrival there is nothing to store, and it only keeps its turn.
#[derive(Debug)]
struct Waiting {
    arrival: Option<Box<Arrival>>,
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
        arrival: Option<Arrival>,
        packet_id: Option<u16>,
        bytes: usize,
    ) -> Result<Offered, JournalStopped> {
        self.bytes += bytes;
        self.waiting.push_back(Waiting { arrival: arrival.map(Box::new), packet_id, bytes });
        if self.waiting.len() > 1 {
            return Ok(Offered::Waits);
        }
        self.offer_first(intake)
    }

    /// Offers the first of those that wait.
    pub(super) fn offer_first(&mut self, intake: &dyn Intake) -> Result<Offered, JournalStopped> {
        let Some(Waiting { arrival, packet_id, bytes }) = self.waiting.pop_front() else { return Ok(Offered::Taken) };
        let offered = match arrival {
            // Nothing to store: it repeats what was offered before, and is on disk with that.
            None => Ok(self.last),
            Some(arrival) => intake.offer(*arrival),
        };
        match offered {
            Ok(commit) => {
                self.last = self.last.max(commit);
                match packet_id {
                    Some(packet_id) => self.taken.push_back((commit, packet_id, bytes)),
                    None => self.bytes -= bytes,
                }
                Ok(Offered::Taken)
            }
            Err(Refusal::Full(arrival)) => {
                self.waiting.push_front(Waiting { arrival: Some(arrival), packet_id, bytes });
                Ok(Offered::Waits)
            }
            Err(Refusal::TooLarge { bytes: size, bytes_max }) => {
                self.bytes -= bytes;
                Ok(Offered::TooLarge { bytes: size, bytes_max })
            }
            Err(Refusal::Stopped(stopped)) => Err(stopped),
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
        let address = first.arrival.as_ref().map(|arrival| arrival.address.as_str().to_owned());
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

#[cfg(test)]
mod tests;
