//! What waits for one session: first what was sent and not acknowledged, then what is to be sent, both in order.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use lamppost_event::Commit;

use crate::fanout::Held;
use crate::message::Message;

/// A message for one session.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The number of what is remembered of it over a restart.
    pub(crate) number: Option<u64>,
    /// Its packet id, the same however often it is sent [MQTT-4.4.0-1]. Not 0.
    pub(crate) packet_id: u16,
    /// Not to be sent before this is on disk.
    pub(crate) commit: Commit,
    /// It may have been sent before.
    pub(crate) duplicate: bool,
    /// It was: it is brought to its end even where it is over.
    pub(crate) begun: bool,
    /// It was retained, and is sent for a subscription with this id.
    pub(crate) retained_for: Option<Option<u32>>,
    /// Its bytes among all that is handed out, where the session ends with its connection.
    #[expect(dead_code, reason = "what it holds is given back when it is dropped")]
    pub(crate) held: Option<Held>,
    pub(crate) message: Arc<Message>,
}

/// Packet ids that a queue gives out at the most: a free one is found at once.
const PACKET_IDS_MAX: usize = 50_000;

/// The queue. Invariant: the first `sent` are in flight, in the order in which they were sent.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: VecDeque<Entry>,
    sent: usize,
    bytes: usize,
    /// Of these the retained ones, and theirs.
    retained: (usize, usize),
    last_packet_id: u16,
    /// Those of all entries.
    packet_ids: HashSet<u16>,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many are not retained, and their bytes: what is retained takes no room from those.
    pub(crate) fn live(&self) -> (usize, usize) {
        (self.entries.len() - self.retained.0, self.bytes - self.retained.1)
    }

    /// Whether some are retained.
    pub(crate) fn has_retained(&self) -> bool {
        self.retained.0 > 0
    }

    fn put_in(&mut self, entry: &Entry) {
        self.bytes += entry.message.bytes();
        self.packet_ids.insert(entry.packet_id);
        if entry.retained_for.is_some() {
            self.retained = (self.retained.0 + 1, self.retained.1 + entry.message.bytes());
        }
    }

    /// How many wait for their PUBACK.
    pub(crate) fn in_flight(&self) -> usize {
        self.sent
    }

    /// How many are to be sent that were not begun.
    pub(crate) fn unsent(&self) -> usize {
        self.entries.iter().skip(self.sent).filter(|entry| !entry.begun).count()
    }

    /// The next one to send.
    pub(crate) fn next(&self) -> Option<&Entry> {
        self.entries.get(self.sent)
    }

    /// Whether one more entry may have a packet id.
    pub(crate) fn has_packet_ids(&self) -> bool {
        self.entries.len() < PACKET_IDS_MAX
    }

    /// A packet id that nothing in the queue has.
    pub(crate) fn free_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            if !self.packet_ids.contains(&self.last_packet_id) {
                return self.last_packet_id;
            }
        }
    }

    fn took_out(&mut self, entry: &Entry) {
        self.bytes -= entry.message.bytes();
        if entry.retained_for.is_some() {
            self.retained = (self.retained.0 - 1, self.retained.1 - entry.message.bytes());
        }
        self.packet_ids.remove(&entry.packet_id);
        if self.entries.is_empty() {
            // A client without messages keeps no room.
            (self.entries, self.packet_ids) = (VecDeque::new(), HashSet::new());
        }
    }

    /// Behind all others.
    pub(crate) fn push(&mut self, entry: Entry) {
        self.put_in(&entry);
        self.last_packet_id = entry.packet_id;
        self.entries.push_back(entry);
    }

    /// In front of all that is to be sent.
    pub(crate) fn push_next(&mut self, entry: Entry) {
        self.put_in(&entry);
        self.entries.insert(self.sent, entry);
    }

    /// The next one is sent now.
    pub(crate) fn mark_sent(&mut self) {
        debug_assert!(self.sent < self.entries.len(), "there is nothing to send");
        self.sent += 1;
    }

    /// Takes out the next one, which will not be sent (again).
    pub(crate) fn drop_next(&mut self) -> Option<Entry> {
        let entry = self.entries.remove(self.sent)?;
        self.took_out(&entry);
        Some(entry)
    }

    /// Takes out what was sent with this packet id.
    pub(crate) fn acknowledge(&mut self, packet_id: u16) -> Option<Entry> {
        let at = self.entries.iter().take(self.sent).position(|entry| entry.packet_id == packet_id)?;
        self.sent -= 1;
        let entry = self.entries.remove(at)?;
        self.took_out(&entry);
        Some(entry)
    }

    /// The connection is gone: what was sent is sent again on the next one, first of all.
    pub(crate) fn send_again(&mut self) {
        self.entries.iter_mut().take(self.sent).for_each(|entry| {
            entry.duplicate = true;
            entry.begun = true;
        });
        self.sent = 0;
        self.entries.shrink_to_fit();
    }

    /// The numbers of all that is remembered.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().filter_map(|entry| entry.number)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lamppost_event::{Address, DeviceId};

    use super::*;
    use crate::codec::Qos;

    fn entry(queue: &mut Queue, number: u64) -> Entry {
        let message = Message {
            topic: Address::new("a").unwrap(),
            payload: Bytes::new(),
            qos: Qos::AtLeastOnce,
            retain: false,
            publisher: DeviceId::new("d").unwrap(),
            expires: None,
            properties: Bytes::new(),
        };
        let packet_id = queue.free_packet_id();
        let (commit, message) = (Commit(1), Arc::new(message));
        Entry {
            number: Some(number),
            packet_id,
            commit,
            duplicate: false,
            begun: false,
            retained_for: None,
            held: None,
            message,
        }
    }

    #[test]
    fn what_was_sent_comes_again_first_in_order_with_its_packet_id() {
        let mut queue = Queue::default();
        for number in 1..=4 {
            let entry = entry(&mut queue, number);
            queue.push(entry);
        }
        for _ in 0..3 {
            queue.mark_sent();
        }
        assert_eq!(queue.acknowledge(2).and_then(|entry| entry.number), Some(2));
        assert!(queue.acknowledge(4).is_none(), "was not sent yet");
        assert!(queue.acknowledge(2).is_none(), "was acknowledged already");
        assert_eq!((queue.in_flight(), queue.len()), (2, 3));
        queue.send_again();
        let mut again = Vec::new();
        while let Some(entry) = queue.next() {
            again.push((entry.packet_id, entry.duplicate));
            queue.mark_sent();
        }
        assert_eq!(again, [(1, true), (3, true), (4, false)]);
    }

    #[test]
    fn a_packet_id_is_not_given_twice_and_never_0() {
        let mut queue = Queue { last_packet_id: u16::MAX - 1, ..Queue::default() };
        for (number, expected) in [(1, u16::MAX), (2, 1), (3, 2)] {
            let entry = entry(&mut queue, number);
            assert_eq!(entry.packet_id, expected);
            queue.push(entry);
        }
        queue.last_packet_id = u16::MAX - 1;
        assert_eq!(queue.free_packet_id(), 3);
    }

    #[test]
    fn bytes_are_counted_in_and_out() {
        let mut queue = Queue::default();
        for number in 1..=3 {
            let entry = entry(&mut queue, number);
            queue.push(entry);
        }
        let each = queue.bytes() / 3;
        queue.mark_sent();
        queue.acknowledge(1);
        assert_eq!((queue.bytes(), queue.numbers().collect::<Vec<_>>()), (2 * each, vec![2, 3]));
        queue.drop_next();
        queue.drop_next();
        assert_eq!((queue.bytes(), queue.len()), (0, 0));
    }
}
