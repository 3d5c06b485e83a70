//! What waits for one subscriber, and what all of them together may hold.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use super::LinkEnded;
use crate::bell::Bell;
use crate::message::Message;

/// What a message costs in one mailbox beside its own bytes, which are there once for all: an entry, twice, since the queue grows by
/// doubling.
const ENTRY_BYTES: usize = 2 * size_of::<Entry>();

/// A message for one subscription.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) message: Arc<Message>,
    /// The link's own number of the subscription.
    pub(crate) subscription: usize,
    /// To be kept for as long as the message is.
    pub(crate) held: Held,
}

/// The bytes in the pool of a message that was handed out. Dropping it gives them back: with QoS 0 when it is written, with QoS 1 when it is
/// acknowledged.
pub(crate) struct Held {
    of_client: Arc<AtomicUsize>,
    bytes: usize,
    /// The message, where it may be others' as well.
    carried: Option<Arc<Carried>>,
    in_pool: usize,
    pool: Arc<Pool>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of_client.fetch_sub(self.bytes, Ordering::AcqRel);
        self.carried = None;
        self.pool.give(self.in_pool);
    }
}

/// Bytes of all that is on its way to subscribers.
#[derive(Debug)]
pub(super) struct Pool {
    used: AtomicUsize,
    bytes_max: usize,
}

impl Pool {
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), bytes_max })
    }

    /// Takes so many, if there are so many left.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.bytes_max);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    pub(super) fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// What is taken for a message of so many bytes: one that is larger than all of it counts as all.
    fn fit(&self, bytes: usize) -> usize {
        bytes.min(self.bytes_max)
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    pub(super) fn free(&self) -> usize {
        self.bytes_max.saturating_sub(self.used())
    }
}

/// A message that has its bytes in the pool, until the last mailbox has handed it out.
pub(super) struct Carried {
    message: Arc<Message>,
    bytes: usize,
    pool: Arc<Pool>,
}

impl Carried {
    /// `bytes` were taken for it already.
    pub(super) fn new(message: Message, bytes: usize, pool: &Arc<Pool>) -> Arc<Self> {
        Arc::new(Self { message: Arc::new(message), bytes, pool: Arc::clone(pool) })
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.pool.give(self.bytes);
    }
}

struct Entry {
    carried: Arc<Carried>,
    subscription: usize,
}

/// The queue of one subscriber.
#[derive(Default)]
pub(super) struct Mailbox {
    queue: Mutex<Queue>,
    wake: Bell,
    /// Bytes of what was handed out of it and is held still.
    held: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// Of their messages, as if none were shared.
    bytes: usize,
    ended: bool,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message in. `false`: it would hold more than half of what is free (so that who does not read leaves room for who
    /// does), or there is no room at all.
    pub(super) fn put(&self, carried: &Arc<Carried>, subscription: usize) -> bool {
        let mut queue = self.lock();
        if queue.ended {
            return true;
        }
        let before = queue.bytes + self.held.load(Ordering::Acquire);
        let share = carried.pool.free() / 2;
        if (before > 0 && before + carried.bytes > share) || !carried.pool.take(ENTRY_BYTES) {
            return false;
        }
        queue.bytes += carried.bytes;
        queue.entries.push_back(Entry { carried: Arc::clone(carried), subscription });
        drop(queue);
        self.wake.ring();
        true
    }

    /// Takes bytes for a message of the client's that does not come through here, by the same rule but that what waits in here, which
    /// goes out only after it, does not count. `None`: there is no room.
    pub(super) fn hold(&self, bytes: usize, pool: &Arc<Pool>) -> Option<Held> {
        let before = self.held.load(Ordering::Acquire);
        let in_pool = pool.fit(bytes);
        if (before > 0 && before + bytes > pool.free() / 2) || !pool.take(in_pool) {
            return None;
        }
        self.held.fetch_add(bytes, Ordering::AcqRel);
        let (of_client, pool) = (Arc::clone(&self.held), Arc::clone(pool));
        Some(Held { of_client, bytes, carried: None, in_pool, pool })
    }

    /// The next message, or the task is woken when there may be one.
    pub(super) fn poll_next(&self, context: &Context<'_>) -> Poll<Result<Delivery, LinkEnded>> {
        loop {
            if let Some(next) = self.take() {
                return Poll::Ready(next);
            }
            if self.wake.poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn take(&self) -> Option<Result<Delivery, LinkEnded>> {
        let mut queue = self.lock();
        let Some(Entry { carried, subscription }) = queue.entries.pop_front() else {
            return queue.ended.then_some(Err(LinkEnded));
        };
        queue.bytes -= carried.bytes;
        if queue.entries.is_empty() {
            // Who has read everything keeps no room.
            queue.entries = VecDeque::new();
        } else if queue.entries.len() < queue.entries.capacity() / 4 {
            let kept = queue.entries.len() * 2;
            queue.entries.shrink_to(kept);
        }
        self.held.fetch_add(carried.bytes, Ordering::AcqRel);
        let (message, of_client, pool) =
            (Arc::clone(&carried.message), Arc::clone(&self.held), Arc::clone(&carried.pool));
        let held = Held { of_client, bytes: carried.bytes, carried: Some(carried), in_pool: ENTRY_BYTES, pool };
        Some(Ok(Delivery { message, subscription, held }))
    }

    /// What is in it is delivered, and nothing more.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.wake.ring();
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        while self.take().is_some_and(|next| next.is_ok()) {}
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lamppost_event::{Address, DeviceId};

    use super::*;
    use crate::codec::Qos;

    fn carried(pool: &Arc<Pool>, payload_bytes: usize) -> Option<Arc<Carried>> {
        let message = Message {
            topic: Address::new("a").unwrap(),
            payload: Bytes::from(vec![0; payload_bytes]),
            qos: Qos::AtMostOnce,
            retain: false,
            publisher: DeviceId::new("d").unwrap(),
            expires: None,
            properties: Bytes::new(),
        };
        let bytes = message.bytes();
        pool.take(bytes).then(|| Carried::new(message, bytes, pool))
    }

    #[test]
    fn who_does_not_read_leaves_room_for_who_does_and_all_of_it_comes_back() {
        let pool = Pool::new(100_000);
        let sleepers: Vec<Mailbox> = (0..10).map(|_| Mailbox::default()).collect();
        let (awake, mut had) = (Mailbox::default(), 0);
        for round in 0..1_000 {
            // Each has its own messages.
            for mailbox in &sleepers {
                carried(&pool, 500).map(|message| mailbox.put(&message, 1));
            }
            let message = carried(&pool, 500).unwrap_or_else(|| panic!("no room in round {round}"));
            assert!(awake.put(&message, 1), "round {round}");
            drop(message);
            had += u32::from(awake.take().is_some());
        }
        assert_eq!(had, 1_000);
        let held: Vec<usize> = sleepers.iter().map(|mailbox| mailbox.lock().bytes).collect();
        assert!(held.iter().all(|bytes| *bytes > 3_000), "{held:?}");
        assert!(pool.free() > 10_000, "{}", pool.free());
        drop(sleepers);
        assert_eq!(pool.free(), 100_000);
    }

    #[test]
    fn what_was_handed_out_counts_until_it_is_let_go() {
        let pool = Pool::new(10_000);
        let mailbox = Mailbox::default();
        let mut had = Vec::new();
        while let Some(message) = carried(&pool, 900) {
            if !mailbox.put(&message, 1) {
                break;
            }
            had.push(mailbox.take().unwrap().unwrap());
        }
        // A third of all, since what it has is less than half of what is free.
        assert_eq!(had.len(), 3, "{} are free", pool.free());
        assert!(mailbox.hold(900, &pool).is_none());
        had.pop();
        assert!(mailbox.hold(900, &pool).is_some());
        had.clear();
        assert_eq!((pool.free(), mailbox.held.load(Ordering::Relaxed)), (10_000, 0));
    }

    #[test]
    fn what_waits_in_the_mailbox_takes_no_room_from_what_is_sent_before_it() {
        let pool = Pool::new(10_000);
        let mailbox = Mailbox::default();
        while carried(&pool, 900).is_some_and(|message| mailbox.put(&message, 1)) {}
        let held: Vec<Option<Held>> = (0..2).map(|_| mailbox.hold(900, &pool)).collect();
        assert!(held.iter().all(Option::is_some), "{} are free", pool.free());
    }

    #[test]
    fn a_message_for_many_counts_once_and_its_entries_each() {
        let pool = Pool::new(1_000_000);
        let mailboxes: Vec<Mailbox> = (0..100).map(|_| Mailbox::default()).collect();
        let message = carried(&pool, 10_000).unwrap();
        assert!(mailboxes.iter().all(|mailbox| mailbox.put(&message, 1)));
        drop(message);
        let used = 1_000_000 - pool.free();
        assert_eq!(used, 10_129 + 100 * ENTRY_BYTES);
        for mailbox in &mailboxes[1..] {
            assert!(mailbox.take().is_some_and(|next| next.is_ok()));
        }
        assert_eq!(1_000_000 - pool.free(), 10_129 + ENTRY_BYTES);
        mailboxes[0].end();
        assert!(mailboxes[0].take().is_some_and(|next| next.is_ok()), "what came before the end is delivered");
        assert!(matches!(mailboxes[0].take(), Some(Err(LinkEnded))));
        assert_eq!(pool.free(), 1_000_000);
    }
}
