//! What a connection has handed to the journal and not seen on disk yet: one queue, so that acknowledgements leave in the
//! order in which the publishes came [MQTT-4.6.0-2].

use std::collections::VecDeque;

use bytes::Bytes;
use lamppost_event::Commit;

use crate::message::Message;

/// A taken publish, or another answer that waits for the disk.
#[derive(Debug)]
pub(crate) struct Pending {
    /// To be acknowledged; `None` for QoS 0 and wills.
    pub(crate) packet_id: Option<u16>,
    /// Payload bytes, counted against the connection's bound.
    pub(crate) bytes: usize,
    /// Another answer (SUBACK, UNSUBACK), encoded; else empty.
    pub(crate) answer: Bytes,
    /// To go to subscribers once it is on disk.
    pub(crate) message: Option<Message>,
    /// Of the PUBACK (v5 only, unless it is [`SUCCESS`]).
    pub(crate) reason: u8,
}

/// On disk, and all that was asked for was done.
pub(crate) const SUCCESS: u8 = 0x00;
/// Not taken at all: the PUBACK that says so waits in the queue for those before it.
pub(crate) const NOT_AUTHORIZED: u8 = 0x87;
/// On disk as an event, but there was no room to retain it.
pub(crate) const QUOTA_EXCEEDED: u8 = 0x97;

impl Pending {
    /// A publish that was taken.
    pub(crate) fn is_taken(&self) -> bool {
        self.answer.is_empty() && self.reason != NOT_AUTHORIZED
    }
}

/// The queue. Invariant: nothing leaves it before its commit is on disk, nor before what came earlier.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    queue: VecDeque<(Commit, Pending)>,
    bytes: usize,
    unacknowledged: usize,
    taken: u64,
}

impl Acks {
    pub(crate) fn push(&mut self, commit: Commit, pending: Pending) {
        self.bytes += pending.bytes;
        self.unacknowledged += usize::from(pending.packet_id.is_some());
        self.taken += u64::from(pending.is_taken());
        self.queue.push_back((commit, pending));
    }

    /// Hands out, in order, what is on disk now that `durable` is.
    pub(crate) fn release(&mut self, durable: Commit, mut each: impl FnMut(Pending)) {
        while self.queue.front().is_some_and(|(commit, _)| *commit <= durable) {
            let Some((_, pending)) = self.queue.pop_front() else { break };
            self.bytes -= pending.bytes;
            self.unacknowledged -= usize::from(pending.packet_id.is_some());
            each(pending);
        }
        if self.queue.is_empty() {
            // An idle connection keeps no room.
            self.queue = VecDeque::new();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The commit that the first one waits for.
    pub(crate) fn first(&self) -> Option<Commit> {
        self.queue.front().map(|(commit, _)| *commit)
    }

    /// Publishes that the journal took and that were ever put into it.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Payload bytes in it.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// QoS 1 publishes in it.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.unacknowledged
    }

    /// The client is gone: nobody is to be told.
    pub(crate) fn forget_packet_ids(&mut self) {
        self.unacknowledged = 0;
        self.queue.iter_mut().for_each(|(_, pending)| {
            pending.packet_id = None;
            pending.answer = Bytes::new();
        });
    }

    /// Takes out what might go to subscribers, of what will never be seen on disk by this connection. Returns how many.
    pub(crate) fn abandon(&mut self) -> usize {
        let messages = self.queue.drain(..).filter(|(_, pending)| pending.message.is_some()).count();
        *self = Self::default();
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(packet_id: u16) -> Pending {
        let packet_id = (packet_id != 0).then_some(packet_id);
        Pending { packet_id, bytes: 10, answer: Bytes::new(), message: None, reason: SUCCESS }
    }

    #[test]
    fn nothing_is_released_before_its_commit_nor_out_of_order() {
        let mut acks = Acks::default();
        // The second was stored before (a resend), and still has to wait for the first.
        for (commit, packet_id) in [(5, 1), (3, 2), (5, 0), (6, 3)] {
            acks.push(Commit(commit), pending(packet_id));
        }
        assert_eq!((acks.bytes(), acks.unacknowledged()), (40, 3));
        let mut released = Vec::new();
        acks.release(Commit(4), |pending| released.push(pending.packet_id));
        assert!(released.is_empty());
        acks.release(Commit(5), |pending| released.push(pending.packet_id));
        assert_eq!(released, [Some(1), Some(2), None]);
        assert_eq!((acks.bytes(), acks.unacknowledged()), (10, 1));
        acks.release(Commit(9), |pending| released.push(pending.packet_id));
        assert_eq!(released.last(), Some(&Some(3)));
        assert!(acks.is_empty());
    }

    #[test]
    fn answers_and_refusals_wait_in_it_and_are_no_publishes() {
        let mut acks = Acks::default();
        acks.push(Commit(1), pending(1));
        acks.push(Commit(1), Pending { reason: QUOTA_EXCEEDED, ..pending(2) });
        acks.push(Commit(1), Pending { reason: NOT_AUTHORIZED, ..pending(3) });
        acks.push(Commit(1), Pending { answer: Bytes::from_static(b"\x90"), ..pending(0) });
        assert_eq!(acks.taken(), 2);
    }
}
