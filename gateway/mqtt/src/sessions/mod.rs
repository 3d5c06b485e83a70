//! The sessions that outlive their connections, and the messages that wait for them: in memory and, by [`Notes`], on the disk.
//!
//! What must reach a remembered session with QoS 1 does not go through the router, which has no memory beyond its own life and sheds
//! what is too much: it is queued here, in the commit of its event, and sent from here, whether its client is there or away.
//!
//! - **Invariant:** what is promised is on disk first: a CONNACK, SUBACK or PUBACK waits for the commit that is returned here, and no
//!   message is sent before its own.
//! - **Invariant:** what has not changed is not written. A session costs one note when it begins and one for each change of its
//!   subscriptions or expiry; coming and going costs nothing (but that a long absence is noted once). A message that waits costs its
//!   bytes once and some forty for each session, in the commit of its event; the removals ride with what is put later. That a new
//!   subscription is owed what is retained is noted with it, and once more when it has it: after a restart it comes (again).
//! - **Invariant:** numbers and bytes are bounded. Where there is no room, the session that has been away longest ends; a queue that is
//!   full takes no more, so that it costs no more writes.
//!
//! After a kill a message that was acknowledged within the last seconds may be sent once more: QoS 1 allows that.

mod absent;
mod backlog;
mod book;
mod opening;
mod owner;
mod queue;
mod record;
mod restore;
mod subscriber;
#[cfg(test)]
mod tests;
mod wills;

use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lamppost_event::{Clock, ClockQuality, Commit, DeviceId, NoteRefusal, Notes};

use crate::Limits;
use crate::codec::Qos;
use crate::counters::{Counters, add};
use crate::message::Message;
pub(crate) use backlog::HandOut;
use book::{Book, BookGuard};
pub(crate) use opening::Opened;
pub(crate) use owner::Owner;
use record::Absence;
pub(crate) use record::WillRecord;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use record::read_note;
pub(crate) use record::{decode_message, encode_message, retained_key};
pub(crate) use restore::Restored;
pub(crate) use subscriber::{Aliases, Kept, Subscriber, Subscription, Way};
pub(crate) use wills::{Fate, RestoredWill};

/// Sessions that are looked at before others have their turn.
const TIDIED_AT_ONCE: usize = 256;

/// See the module.
pub(crate) struct Sessions {
    book: Mutex<Book>,
    /// Filters that messages are queued for: without any, a publish does not come here.
    watched: AtomicUsize,
    limits: Arc<Limits>,
    counters: Arc<Counters>,
    notes: Arc<dyn Notes>,
    clock: Arc<dyn Clock>,
}

/// A message on its way into the queues of sessions. A commit has a bound, and all that are to have it may be more than one holds.
#[derive(Debug, Default)]
pub(crate) struct Queueing {
    /// Who is to have it still. `None`: nobody has it yet.
    left: Option<Vec<Arc<Kept>>>,
    /// What is queued is on disk with this.
    pub(crate) commit: Commit,
}

impl Sessions {
    fn lock(&self) -> BookGuard<'_> {
        BookGuard { book: self.book.lock().unwrap_or_else(PoisonError::into_inner), sessions: self }
    }

    /// Whether messages may have to be queued.
    pub(crate) fn are_any_waiting(&self) -> bool {
        self.watched.load(Ordering::Acquire) > 0
    }

    /// Of all that waits for remembered sessions.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.lock().book.queued_bytes
    }

    /// The client is gone. Without a remembered session this does nothing.
    pub(crate) fn leave(&self, kept: &Kept, expiry: Duration) {
        let mut book = self.lock();
        let Some(known) = book.book.known.get_mut(&kept.device) else { return };
        kept.lock().queue.send_again();
        if expiry.is_zero() {
            book.end(&kept.device);
            // Nothing says later that it is gone. Without room now, it is removed with what is put next.
            drop(book.flush());
            return;
        }
        let changed = std::mem::replace(&mut known.expiry, expiry) != expiry;
        book.set_away(&kept.device, Some(Absence::begun(self.clock.now())));
        if changed {
            // Without room now, it is written with the next change.
            drop(book.write(&kept.device, None));
        }
    }

    /// Changes the subscriptions of a session. Returns what `change` did, and what has to be on disk before it is told.
    ///
    /// # Errors
    /// [`NoteRefusal`]; the subscriptions are as they were.
    pub(crate) fn change<T>(
        &self,
        kept: &Arc<Kept>,
        change: impl FnOnce(&mut Subscriber) -> T,
    ) -> Result<(T, Option<Commit>), NoteRefusal> {
        let mut book = self.lock();
        if !book.book.known.contains_key(&kept.device) || !kept.durable {
            return Ok((change(&mut kept.lock()), None));
        }
        let before = kept.lock().subscriptions.clone();
        let done = change(&mut kept.lock());
        let written = if book.has_room_for_filters(kept, &before) {
            book.write(&kept.device, None)
        } else {
            let bytes_max = self.limits.filters_bytes_max;
            Err(NoteRefusal::TooLarge { bytes: bytes_max.saturating_add(1), bytes_max })
        };
        match written {
            Ok(commit) => {
                book.watch(kept, &before);
                Ok((done, commit))
            }
            Err(refusal) => {
                kept.lock().subscriptions = before;
                Err(refusal)
            }
        }
    }

    /// Queues a message for the remembered sessions that are to have it with QoS 1, as far as there is room.
    ///
    /// # Errors
    /// [`NoteRefusal`]: not for all of them. To be called again with the same `queueing`: who has it does not get it once more.
    pub(crate) fn enqueue(&self, message: &Message, queueing: &mut Queueing) -> Result<(), NoteRefusal> {
        if message.qos == Qos::AtMostOnce || (queueing.left.is_none() && !self.are_any_waiting()) {
            return Ok(());
        }
        let mut book = self.lock();
        let goes_on = queueing.left.is_some();
        let (mut waiting, shed) = match queueing.left.take() {
            Some(left) => (book.who_still_waits(left), 0),
            None => book.who_waits_for(message),
        };
        let queued = if waiting.is_empty() {
            Ok((queueing.commit, 0))
        } else {
            book.flush().and_then(|_| book.put_message(message, &waiting))
        };
        match queued {
            Ok((commit, count)) => {
                add(&self.counters.queue_shed, shed);
                queueing.commit = queueing.commit.max(commit);
                waiting.drain(..count);
                if waiting.is_empty() {
                    return Ok(());
                }
                queueing.left = Some(waiting);
                Err(NoteRefusal::Full)
            }
            Err(refusal) => {
                queueing.left = goes_on.then_some(waiting);
                Err(refusal)
            }
        }
    }

    /// The client has these messages, or will never have them.
    pub(crate) fn done(&self, kept: &Kept, numbers: &[u64]) {
        if !numbers.is_empty() {
            let mut book = self.lock();
            numbers.iter().for_each(|number| book.let_go(&kept.device, *number));
        }
    }

    /// Whether a retained message may be handed out to a remembered session, and wait for its acknowledgement there: its number. `None`:
    /// there is no room now.
    pub(crate) fn put_retained(&self, kept: &Kept, bytes: usize) -> Option<u64> {
        self.lock().put_retained(kept, bytes)
    }

    /// Ends sessions that are over, notes long absences, and writes what is to be removed. Nobody waits for more than a few hundred of them.
    pub(crate) fn tidy(&self) {
        let mut after = None;
        loop {
            let mut book = self.lock();
            after = self.tidy_some(&mut book, after);
            if after.is_none() {
                break;
            }
        }
        if let Err(refusal) = self.lock().flush() {
            tracing::debug!(%refusal, "what is over is removed later");
        }
    }

    /// Returns after which to go on.
    fn tidy_some(&self, book: &mut BookGuard<'_>, after: Option<DeviceId>) -> Option<DeviceId> {
        let now = self.clock.now();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        let (mut over, mut to_note, mut owing) = (Vec::new(), Vec::new(), Vec::new());
        for (device, known) in book.book.known.range((from, Bound::Unbounded)).take(TIDIED_AT_ONCE) {
            last = Some(device.clone());
            if known.is_over(now) {
                over.push(device.clone());
            } else if known.is_to_be_noted_away(now) {
                to_note.push(device.clone());
            }
            if known.kept.lock().look_at_what_is_owed() {
                owing.push(device.clone());
            }
        }
        over.iter().for_each(|device| book.end(device));
        for device in owing {
            // One that is away is noted to be, with the rest: it costs nothing more.
            let away = book.book.known.get(&device).and_then(|known| known.away);
            match book.write(&device, away) {
                // One has too much: the others have not.
                Ok(_) | Err(NoteRefusal::TooLarge { .. }) => {}
                Err(NoteRefusal::Full | NoteRefusal::Stopped(_)) => break,
            }
        }
        for device in to_note {
            let mut away = book.book.known.get(&device).and_then(|known| known.away);
            if away.is_some_and(|away| away.since.quality == ClockQuality::Unset) {
                away = away.map(|away| away.as_of(now));
                book.set_away(&device, away);
            }
            if book.write(&device, away).is_err() {
                break;
            }
        }
        last
    }
}
