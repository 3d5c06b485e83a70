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

mod filters;
mod queue;
mod record;
mod restore;
mod subscriber;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::{Clock, Commit, DeviceId, NoteRefusal, Notes, Now};

use crate::codec::Qos;
use crate::counters::{Counters, add};
use crate::message::Message;
use crate::{Limits, stamp};
use filters::Filters;
use queue::Entry;
use record::{SessionRecord, encode_will, message_key, queue_key, session_key, will_key};
pub(crate) use record::{decode_message, encode_message, retained_key};
pub(crate) use restore::Restored;
pub(crate) use subscriber::{Aliases, Kept, Subscriber, Subscription, Way};

/// A client that is away for longer than this is noted to be, so that its session's end is reckoned right after a restart.
const ABSENCE_NOTED_MS: u64 = 60_000;

/// A session begins or goes on.
pub(crate) struct Opened {
    pub(crate) kept: Arc<Kept>,
    pub(crate) present: bool,
    /// To be on disk before it is told.
    pub(crate) commit: Option<Commit>,
}

/// What is known of a remembered session.
struct Known {
    kept: Arc<Kept>,
    expiry: Duration,
    away: Option<Now>,
    /// As it stands on the disk, or will.
    recorded: Bytes,
}

/// One filter of a remembered session that is to be served with QoS 1.
struct Watch {
    kept: Arc<Kept>,
    no_local: bool,
}

/// For how many sessions a message waits.
struct Waiting {
    sessions: usize,
    bytes: usize,
}

#[derive(Default)]
struct Book {
    known: HashMap<DeviceId, Known>,
    filters: Filters<Watch>,
    messages: HashMap<u64, Waiting>,
    /// The number of the last message.
    last: u64,
    /// Of all messages that wait.
    queued_bytes: usize,
    /// Of all records of sessions.
    record_bytes: usize,
    /// Keys to be removed with what is put next.
    removals: Vec<Vec<u8>>,
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

impl Known {
    fn is_over(&self, now: Now) -> bool {
        let passed = |since| Duration::from_millis(stamp::passed_ms(since, now));
        self.away.is_some_and(|since| passed(since) >= self.expiry)
    }

    fn record(&self, away: Option<Now>) -> Bytes {
        let wishes = self.kept.lock().wishes().cloned().collect();
        SessionRecord { expiry: self.expiry, away, wishes }.encode()
    }
}

impl Sessions {
    pub(crate) fn lock(&self) -> BookGuard<'_> {
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
            return Ok(opened);
        }
        if expiry.is_zero() {
            return Ok(Opened { kept: Kept::new(device.clone(), false), present: false, commit });
        }
        let (kept, commit) = book.begin(device, expiry)?;
        Ok(Opened { kept, present: false, commit: Some(commit) })
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
        known.away = Some(self.clock.now());
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
        match book.write(&kept.device, None) {
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

    /// Remembers a will that waits for its delay.
    pub(crate) fn note_will(&self, device: &DeviceId, delay_s: u32, message: &Message) {
        let value = encode_will(delay_s, message, self.clock.now());
        let mut book = self.lock();
        if let Err(refusal) = book.put(&will_key(device), value) {
            tracing::warn!(client = device.as_str(), %refusal, "a will that waits for its delay would not survive a restart");
        }
    }

    /// The will was published, or its client is back.
    pub(crate) fn forget_will(&self, device: &DeviceId) {
        self.lock().book.removals.push(will_key(device));
    }

    /// Ends sessions that are over, notes long absences, and writes what is to be removed.
    pub(crate) fn tidy(&self) {
        let now = self.clock.now();
        let mut book = self.lock();
        let over: Vec<DeviceId> = book.named(|known| known.is_over(now));
        over.iter().for_each(|device| book.end(device));
        let long_away = |known: &Known| {
            let away = known.away.filter(|since| stamp::passed_ms(*since, now) >= ABSENCE_NOTED_MS);
            known.expiry != Duration::MAX && away.is_some_and(|since| known.recorded != known.record(Some(since)))
        };
        for device in book.named(long_away) {
            let away = book.book.known.get(&device).and_then(|known| known.away);
            if book.write(&device, away).is_err() {
                break;
            }
        }
        if let Err(refusal) = book.flush() {
            tracing::debug!(%refusal, "what is over is removed later");
        }
    }
}

/// The book, held.
pub(crate) struct BookGuard<'a> {
    book: MutexGuard<'a, Book>,
    sessions: &'a Sessions,
}

impl BookGuard<'_> {
    fn named(&self, which: impl Fn(&Known) -> bool) -> Vec<DeviceId> {
        self.book.known.iter().filter(|(_, known)| which(known)).map(|(device, _)| device.clone()).collect()
    }

    /// Puts a note, after all removals: a key that is to be removed may be the one that is put.
    fn put(&mut self, key: &[u8], value: Bytes) -> Result<Commit, NoteRefusal> {
        self.flush()?;
        self.sessions.notes.put(key, Some(value))
    }

    /// Writes the removals. What finds no room stays to be removed.
    fn flush(&mut self) -> Result<Option<Commit>, NoteRefusal> {
        let mut last = None;
        while let Some(key) = self.book.removals.last() {
            last = Some(self.sessions.notes.put(key, None)?);
            self.book.removals.pop();
        }
        Ok(last)
    }

    /// Writes the record of a session, if it is another than before.
    fn write(&mut self, device: &DeviceId, away: Option<Now>) -> Result<Option<Commit>, NoteRefusal> {
        let Some(known) = self.book.known.get(device) else { return Ok(None) };
        let (record, before) = (known.record(away), known.recorded.len());
        if record == known.recorded {
            return Ok(None);
        }
        let (bytes, bytes_max) =
            (self.book.record_bytes - before + record.len(), self.sessions.limits.sessions_bytes_max);
        if bytes > bytes_max && record.len() > before {
            return Err(NoteRefusal::TooLarge { bytes, bytes_max });
        }
        let commit = self.put(&session_key(device), record.clone())?;
        self.book.record_bytes = bytes;
        if let Some(known) = self.book.known.get_mut(device) {
            known.recorded = record;
        }
        Ok(Some(commit))
    }

    fn begin(&mut self, device: &DeviceId, expiry: Duration) -> Result<(Arc<Kept>, Commit), NoteRefusal> {
        let kept = Kept::new(device.clone(), true);
        let mut known = Known { kept: Arc::clone(&kept), expiry, away: None, recorded: Bytes::new() };
        known.recorded = known.record(None);
        let limits = &self.sessions.limits;
        while self.book.known.len() >= limits.sessions_max
            || self.book.record_bytes + known.recorded.len() > limits.sessions_bytes_max
        {
            if !self.end_longest_away(|_| true) {
                return Err(NoteRefusal::Full);
            }
        }
        let commit = self.put(&session_key(device), known.recorded.clone())?;
        self.book.record_bytes += known.recorded.len();
        self.book.known.insert(device.clone(), known);
        add(&self.sessions.counters.sessions_now, 1);
        Ok((kept, commit))
    }

    fn go_on(&mut self, device: &DeviceId, expiry: Duration) -> Result<Opened, NoteRefusal> {
        let known = self.book.known.get_mut(device).ok_or(NoteRefusal::Full)?;
        let before = (known.expiry, known.away);
        (known.expiry, known.away) = (expiry, None);
        let kept = known.kept.clone();
        match self.write(device, None) {
            Ok(commit) => {
                if before.1.is_some() {
                    self.sessions.counters.sessions_away_now.fetch_sub(1, Ordering::Relaxed);
                }
                Ok(Opened { kept, present: true, commit })
            }
            Err(refusal) => {
                if let Some(known) = self.book.known.get_mut(device) {
                    (known.expiry, known.away) = before;
                }
                Err(refusal)
            }
        }
    }

    /// Ends a session; what is to be removed for it is removed with the next flush.
    fn end(&mut self, device: &DeviceId) {
        let Some(known) = self.book.known.remove(device) else { return };
        self.sessions.counters.sessions_now.fetch_sub(1, Ordering::Relaxed);
        if known.away.is_some() {
            self.sessions.counters.sessions_away_now.fetch_sub(1, Ordering::Relaxed);
        }
        self.book.record_bytes -= known.recorded.len();
        let (subscriptions, numbers) = {
            let mut subscriber = known.kept.lock();
            let numbers: Vec<u64> = subscriber.queue.numbers().collect();
            let queue = std::mem::take(&mut subscriber.queue);
            drop(queue);
            (std::mem::take(&mut subscriber.subscriptions), numbers)
        };
        self.watch(&known.kept, &subscriptions);
        numbers.into_iter().for_each(|number| self.let_go(device, number));
        self.book.removals.push(session_key(device));
    }

    /// Makes room by ending the session that has been away longest, of those that will do.
    fn end_longest_away(&mut self, will_do: impl Fn(&Known) -> bool) -> bool {
        let now = self.sessions.clock.now();
        let away = self.book.known.iter().filter(|(_, known)| known.away.is_some() && will_do(known));
        let longest = away.max_by_key(|(_, known)| known.away.map(|since| stamp::passed_ms(since, now)));
        let Some(device) = longest.map(|(device, _)| device.clone()) else { return false };
        tracing::warn!(client = device.as_str(), "its session ends for want of room: it has been away longest");
        add(&self.sessions.counters.sessions_evicted, 1);
        self.end(&device);
        true
    }

    /// Brings the filters up to date with the subscriptions of a session; `before` are those that it had.
    fn watch(&mut self, kept: &Arc<Kept>, before: &[Subscription]) {
        for subscription in before.iter().filter(|it| it.wish.qos == Qos::AtLeastOnce) {
            self.book.filters.remove(&subscription.wish.filter, |watch| Arc::ptr_eq(&watch.kept, kept));
        }
        for wish in kept.lock().wishes().filter(|wish| wish.qos == Qos::AtLeastOnce) {
            let watch = Watch { kept: Arc::clone(kept), no_local: wish.no_local };
            self.book.filters.insert(&wish.filter, watch);
        }
        self.sessions.watched.store(self.book.filters.count(), Ordering::Release);
    }

    /// The sessions that are to have the message and have room for it.
    fn who_waits_for(&mut self, message: &Message) -> Vec<Arc<Kept>> {
        let mut waiting: Vec<Arc<Kept>> = Vec::new();
        self.book.filters.visit(message.topic.as_str(), &mut |watch| {
            if !(watch.no_local && watch.kept.device == message.publisher) {
                waiting.push(Arc::clone(&watch.kept));
            }
        });
        // Once, however many of its filters cover the topic.
        waiting.sort_unstable_by_key(|kept| Arc::as_ptr(kept).addr());
        waiting.dedup_by(|one, other| Arc::ptr_eq(one, other));
        let limits = &self.sessions.limits;
        let counters = &self.sessions.counters;
        waiting.retain(|kept| {
            let room = kept.lock().has_room(message.bytes(), limits);
            add(&counters.queue_shed, u64::from(!room));
            room
        });
        while !waiting.is_empty() && self.book.queued_bytes + message.bytes() > limits.queues_bytes_max {
            if !self.end_longest_away(|known| known.kept.lock().queue.bytes() > 0) {
                add(&counters.queue_shed, waiting.len() as u64);
                return Vec::new();
            }
            let book = &self.book;
            waiting.retain(|kept| book.known.contains_key(&kept.device));
        }
        waiting
    }

    fn put_message(&mut self, message: &Message, waiting: &[Arc<Kept>]) -> Result<Commit, NoteRefusal> {
        self.book.last += 1;
        let number = self.book.last;
        let notes = &self.sessions.notes;
        let value = encode_message(message, self.sessions.clock.now());
        let mut commit = match notes.put(&message_key(number), Some(value)) {
            Ok(commit) => commit,
            Err(NoteRefusal::TooLarge { .. }) => {
                add(&self.sessions.counters.queue_shed, waiting.len() as u64);
                return notes.put(&message_key(number), None);
            }
            Err(refusal) => return Err(refusal),
        };
        let message = Arc::new(message.clone());
        for (at, kept) in waiting.iter().enumerate() {
            let mut subscriber = kept.lock();
            let packet_id = subscriber.queue.free_packet_id();
            let value = Bytes::copy_from_slice(&packet_id.to_le_bytes());
            match notes.put(&queue_key(&kept.device, number), Some(value)) {
                Ok(at) => commit = at,
                Err(refusal) => {
                    drop(subscriber);
                    self.take_back(number, waiting.get(..at).unwrap_or_default());
                    return Err(refusal);
                }
            }
            let (number, message) = (Some(number), Arc::clone(&message));
            subscriber.queue.push(Entry {
                number,
                packet_id,
                commit,
                duplicate: false,
                begun: false,
                retained_for: None,
                message,
            });
        }
        for kept in waiting {
            kept.wake.notify_one();
        }
        self.book.queued_bytes += message.bytes();
        self.book.messages.insert(number, Waiting { sessions: waiting.len(), bytes: message.bytes() });
        add(&self.sessions.counters.queued_now, 1);
        Ok(commit)
    }

    /// Half of it found room: it is offered again as a whole.
    fn take_back(&mut self, number: u64, queued_for: &[Arc<Kept>]) {
        self.book.removals.push(message_key(number));
        for kept in queued_for {
            kept.lock().queue.withdraw(number);
            self.book.removals.push(queue_key(&kept.device, number));
        }
    }

    /// A message waits no longer for a session.
    fn let_go(&mut self, device: &DeviceId, number: u64) {
        self.book.removals.push(queue_key(device, number));
        let Some(waiting) = self.book.messages.get_mut(&number) else { return };
        waiting.sessions = waiting.sessions.saturating_sub(1);
        if waiting.sessions == 0 {
            let bytes = waiting.bytes;
            self.book.messages.remove(&number);
            self.book.queued_bytes -= bytes;
            self.book.removals.push(message_key(number));
            self.sessions.counters.queued_now.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
