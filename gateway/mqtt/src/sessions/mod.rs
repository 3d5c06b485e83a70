//! The sessions that outlive their connections, and the messages that wait for them: in memory and, by [`Notes`], on the disk.
//!
//! What must reach a remembered session with QoS 1 does not go through the router, which has no memory beyond its own life and sheds
//! what is too much: it is queued here, in the commit of its event, and sent from here, whether its client is there or away.
//!
//! - **Invariant:** what is promised is on disk first: a CONNACK, SUBACK or PUBACK waits for the commit that is returned here, and no
//!   message is sent before its own.
//! - **Invariant:** what has not changed is not written. A session costs one note when it begins and one for each change of its
//!   subscriptions or expiry; coming and going costs nothing (but that a long absence is noted once). A message that waits costs its
//!   bytes once and some forty for each session, in the commit of its event; the removals ride with what is put later.
//! - **Invariant:** numbers and bytes are bounded. Where there is no room, the session that has been away longest ends; a queue that is
//!   full takes no more, so that it costs no more writes.
//!
//! After a kill a message that was acknowledged within the last seconds may be sent once more: QoS 1 allows that.

mod book;
mod queue;
mod record;
mod restore;
mod subscriber;
#[cfg(test)]
mod tests;
mod wills;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lamppost_event::{Clock, ClockQuality, Commit, DeviceId, NoteRefusal, Notes};

use crate::Limits;
use crate::codec::Qos;
use crate::counters::{Counters, add};
use crate::message::Message;
use book::{Book, BookGuard};
use record::Absence;
pub(crate) use record::WillRecord;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use record::read_note;
pub(crate) use record::{decode_message, encode_message, retained_key};
pub(crate) use restore::Restored;
pub(crate) use subscriber::{Aliases, Kept, Subscriber, Subscription, Way};
pub(crate) use wills::{Fate, RestoredWill};

/// A session begins or goes on.
pub(crate) struct Opened {
    pub(crate) kept: Arc<Kept>,
    pub(crate) present: bool,
    /// To be on disk before it is told.
    pub(crate) commit: Option<Commit>,
}

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

impl Sessions {
    fn lock(&self) -> BookGuard<'_> {
        BookGuard { book: self.book.lock().unwrap_or_else(PoisonError::into_inner), sessions: self }
    }

    /// Whether messages may have to be queued.
    pub(crate) fn are_any_waiting(&self) -> bool {
        self.watched.load(Ordering::Acquire) > 0
    }

    /// A client is here. `clean`: it wants none of what was; `expiry`: for how long its session is to be remembered; `may_have`: whether
    /// it may (still) subscribe to a filter; a session with one that it may not ends.
    ///
    /// # Errors
    /// [`NoteRefusal`]: a new session can't be remembered now.
    pub(crate) fn open(
        &self,
        device: &DeviceId,
        clean: bool,
        expiry: Duration,
        may_have: &dyn Fn(&str) -> bool,
    ) -> Result<Opened, NoteRefusal> {
        let now = self.clock.now();
        let mut book = self.lock();
        let mut commit = None;
        if let Some(known) = book.book.known.get(device) {
            // A publisher that begins anew each time has nothing to be forgotten.
            let blank = known.kept.lock().is_blank() && known.expiry == expiry;
            let allowed = known.kept.lock().wishes().all(|wish| may_have(&wish.filter));
            if known.is_over(now) || !allowed || (clean && !blank) {
                book.end(device);
                commit = book.flush()?;
            }
        }
        if book.book.known.contains_key(device) {
            let mut opened = book.go_on(device, expiry)?;
            opened.present &= !clean;
            book.book.wills.client_came(device, opened.present);
            return Ok(opened);
        }
        let opened = if expiry.is_zero() {
            Opened { kept: Kept::new(device.clone(), false), present: false, commit }
        } else {
            let (kept, commit) = book.begin(device, expiry)?;
            Opened { kept, present: false, commit: Some(commit) }
        };
        book.book.wills.client_came(device, false);
        Ok(opened)
    }

    /// The client is gone. Without a remembered session this does nothing.
    pub(crate) fn leave(&self, kept: &Kept, expiry: Duration) {
        let mut book = self.lock();
        let Some(known) = book.book.known.get_mut(&kept.device) else { return };
        kept.lock().queue.send_again();
        if expiry.is_zero() {
            book.end(&kept.device);
            return;
        }
        known.away = Some(Absence::begun(self.clock.now()));
        add(&self.counters.sessions_away_now, 1);
        if known.expiry != expiry {
            known.expiry = expiry;
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

    /// Queues a message for the remembered sessions that are to have it with QoS 1. Returns the commit that it is on disk with.
    ///
    /// # Errors
    /// [`NoteRefusal`]: it is queued for nobody.
    pub(crate) fn enqueue(&self, message: &Message) -> Result<Option<Commit>, NoteRefusal> {
        if message.qos == Qos::AtMostOnce || !self.are_any_waiting() {
            return Ok(None);
        }
        let mut book = self.lock();
        let waiting = book.who_waits_for(message);
        if waiting.is_empty() {
            return Ok(None);
        }
        book.flush()?;
        book.put_message(message, &waiting).map(Some)
    }

    /// The client has these messages, or will never have them.
    pub(crate) fn done(&self, kept: &Kept, numbers: &[u64]) {
        if !numbers.is_empty() {
            let mut book = self.lock();
            numbers.iter().for_each(|number| book.let_go(&kept.device, *number));
        }
    }

    /// Ends sessions that are over, notes long absences, and writes what is to be removed.
    pub(crate) fn tidy(&self) {
        let now = self.clock.now();
        let mut book = self.lock();
        let over: Vec<DeviceId> = book.named(|known| known.is_over(now));
        over.iter().for_each(|device| book.end(device));
        for device in book.named(|known| known.is_to_be_noted_away(now)) {
            let Some(known) = book.book.known.get_mut(&device) else { continue };
            let before = known.away;
            if before.is_some_and(|away| away.since.quality == ClockQuality::Unset) {
                known.away = before.map(|away| away.as_of(now));
            }
            let away = known.away;
            if book.write(&device, away).is_err() {
                break;
            }
        }
        if let Err(refusal) = book.flush() {
            tracing::debug!(%refusal, "what is over is removed later");
        }
    }
}
