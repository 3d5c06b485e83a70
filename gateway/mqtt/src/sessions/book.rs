//! The book of all sessions that outlive their connections, and of the messages that wait for them; what is done to it while it is held.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::{ClockQuality, Commit, DeviceId, NoteRefusal, Now};

use super::absent::{Absent, Place, class};
use super::owner::{Owner, Owners};
use super::queue::Entry;
use super::record::{Absence, Noted, SessionRecord, encode_message, message_key, queue_key, session_key};
use super::wills::Wills;
use super::{Kept, Sessions, Subscription};
use crate::codec::Qos;
use crate::counters::add;
use crate::filters::{Filters, filter_bytes};
use crate::limits::QUEUE_PLACE_BYTES;
use crate::message::Message;
use crate::session::Wish;
use crate::stamp;

/// A client that is away for longer than this is noted to be, so that its session's end is reckoned right after a restart.
const ABSENCE_NOTED_MS: u64 = 60_000;
/// Under a clock that is not set it is noted again after this or an eighth of the session's expiry, whichever is longer: a restart would
/// forget what has passed.
const ABSENCE_RENEWED_MS: u64 = 3_600_000;

/// What is known of a remembered session.
pub(super) struct Known {
    pub(super) kept: Arc<Kept>,
    pub(super) expiry: Duration,
    /// Changed by [`BookGuard::set_away`] alone.
    pub(super) away: Option<Absence>,
    /// Among those that are away.
    pub(super) place: Option<Place>,
    pub(super) owner: Owner,
    /// Messages up to this number were for a session before it.
    pub(super) since: u64,
    /// As it stands on the disk, or will with that commit.
    pub(super) recorded: Bytes,
    pub(super) written: Commit,
}

/// One filter of a remembered session that is to be served with QoS 1.
pub(super) struct Watch {
    pub(super) kept: Arc<Kept>,
    pub(super) no_local: bool,
}

/// For how many sessions a message waits.
pub(super) struct Waiting {
    pub(super) sessions: usize,
    /// Of the message, without its places.
    pub(super) bytes: usize,
    /// There is a note of it.
    pub(super) noted: bool,
}

#[derive(Default)]
pub(super) struct Book {
    pub(super) known: BTreeMap<DeviceId, Known>,
    pub(super) absent: Absent,
    pub(super) owners: Owners,
    pub(super) filters: Filters<Watch>,
    /// Of all filters of all these sessions: each finds room again among those of the clients that are here.
    pub(super) filter_bytes: usize,
    pub(super) messages: HashMap<u64, Waiting>,
    /// The number of the last message.
    pub(super) last: u64,
    /// Of all messages that wait, and of their places.
    pub(super) queued_bytes: usize,
    /// Of all records of sessions.
    pub(super) record_bytes: usize,
    pub(super) wills: Wills,
    /// Keys to be removed with what is put next.
    pub(super) removals: Vec<Vec<u8>>,
}

impl Known {
    /// Its client is here, and nothing of it is on the disk.
    pub(super) fn new(kept: &Arc<Kept>, owner: Owner, expiry: Duration, since: u64) -> Self {
        let kept = Arc::clone(kept);
        let (recorded, written) = (Bytes::new(), Commit(0));
        let mut known = Self { kept, expiry, away: None, place: None, owner, since, recorded, written };
        known.recorded = known.record(None);
        known
    }

    pub(super) fn is_over(&self, now: Now) -> bool {
        self.away.is_some_and(|away| Duration::from_millis(away.passed_ms(now)) >= self.expiry)
    }

    /// Whether its absence is to be noted (anew): it has become long, or the clock that it was noted by tells nothing after a restart.
    pub(super) fn is_to_be_noted_away(&self, now: Now) -> bool {
        let Some(away) = self.away.filter(|_| self.expiry != Duration::MAX) else { return false };
        let passed_ms = stamp::passed_ms(away.since, now);
        // Nearly all are told from the time alone.
        if passed_ms < ABSENCE_NOTED_MS && away.since.quality != ClockQuality::Unset {
            return false;
        }
        let noted = self.record(Some(away)) == self.recorded;
        if noted && away.since.quality == ClockQuality::Unset {
            let often = now.quality == ClockQuality::Unset;
            let renewed = ABSENCE_RENEWED_MS.max(u64::try_from(self.expiry.as_millis() / 8).unwrap_or(u64::MAX));
            return !often || passed_ms >= renewed;
        }
        !noted && passed_ms >= ABSENCE_NOTED_MS
    }

    pub(super) fn record(&self, away: Option<Absence>) -> Bytes {
        let noted = |it: &Subscription| Noted { wish: it.wish.clone(), owed: it.owed };
        let wishes = self.kept.lock().subscriptions.iter().map(noted).collect();
        SessionRecord { expiry: self.expiry, away, wishes, since: self.since, owner: self.owner.0 }.encode()
    }
}

/// The book, held.
pub(super) struct BookGuard<'a> {
    pub(super) book: MutexGuard<'a, Book>,
    pub(super) sessions: &'a Sessions,
}

impl BookGuard<'_> {
    /// The client of a session is here, or away since then.
    pub(super) fn set_away(&mut self, device: &DeviceId, away: Option<Absence>) {
        let now = self.sessions.clock.now();
        let Book { known, absent, owners, .. } = &mut *self.book;
        let Some(known) = known.get_mut(device) else { return };
        if let Some(place) = known.place.take() {
            absent.take(device, place);
            owners.take(known.owner, device, place.1);
            self.sessions.counters.sessions_away_now.fetch_sub(1, Ordering::Relaxed);
        }
        known.away = away;
        if let Some(away) = away {
            let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
            let since = ms(now.monotonic.0).saturating_sub(ms(away.passed_ms(now)));
            let place = (class(known.kept.lock().queue.bytes()), since);
            absent.put(device, place);
            owners.put(known.owner, device, since);
            known.place = Some(place);
            add(&self.sessions.counters.sessions_away_now, 1);
        }
    }

    /// What waits for a session has changed, while its client is away.
    fn place_anew(&mut self, device: &DeviceId) {
        let Book { known, absent, .. } = &mut *self.book;
        let Some(known) = known.get_mut(device) else { return };
        let Some((was, since)) = known.place else { return };
        let class = class(known.kept.lock().queue.bytes());
        if class != was {
            absent.take(device, (was, since));
            absent.put(device, (class, since));
            known.place = Some((class, since));
        }
    }

    /// Puts a note, after all removals: a key that is to be removed may be the one that is put.
    pub(super) fn put(&mut self, key: &[u8], value: Bytes) -> Result<Commit, NoteRefusal> {
        self.flush()?;
        self.sessions.notes.put(key, Some(value))
    }

    /// Writes the removals. What finds no room stays to be removed.
    pub(super) fn flush(&mut self) -> Result<Option<Commit>, NoteRefusal> {
        let mut last = None;
        while let Some(key) = self.book.removals.last() {
            last = Some(self.sessions.notes.put(key, None)?);
            self.book.removals.pop();
        }
        Ok(last)
    }

    /// Writes the record of a session, if it is another than before. Gives the commit that it goes with, or went: it may be on its way still.
    pub(super) fn write(&mut self, device: &DeviceId, away: Option<Absence>) -> Result<Option<Commit>, NoteRefusal> {
        let Some(kept) = self.book.known.get(device).map(|known| Arc::clone(&known.kept)) else { return Ok(None) };
        // What changes from here on is not in this note.
        kept.lock().owing_is_noted = true;
        let written = self.write_record(device, away);
        if written.is_err() {
            kept.lock().owing_is_noted = false;
        }
        written
    }

    fn write_record(&mut self, device: &DeviceId, away: Option<Absence>) -> Result<Option<Commit>, NoteRefusal> {
        let Some(known) = self.book.known.get(device) else { return Ok(None) };
        let (record, before) = (known.record(away), known.recorded.len());
        if record == known.recorded {
            return Ok(Some(known.written));
        }
        let (bytes, bytes_max) =
            (self.book.record_bytes - before + record.len(), self.sessions.limits.sessions_bytes_max);
        // Whoever has much leaves room for those who have little.
        let share = bytes_max.saturating_sub(bytes).saturating_mul(2);
        if record.len() > before && record.len() > share {
            return Err(NoteRefusal::TooLarge { bytes, bytes_max });
        }
        let commit = self.put(&session_key(device), record.clone())?;
        self.book.record_bytes = bytes;
        if let Some(known) = self.book.known.get_mut(device) {
            (known.recorded, known.written) = (record, commit);
        }
        Ok(Some(commit))
    }

    pub(super) fn begin(
        &mut self,
        device: &DeviceId,
        owner: Owner,
        expiry: Duration,
    ) -> Result<(Arc<Kept>, Commit), NoteRefusal> {
        let kept = Kept::new(device.clone(), true);
        let mut known = Known::new(&kept, owner, expiry, 0);
        let limits = &self.sessions.limits;
        while self.book.known.len() >= limits.sessions_max
            || self.book.record_bytes + known.recorded.len() > limits.sessions_bytes_max
        {
            let Some(device) = self.book.owners.who_makes_room(owner) else { return Err(NoteRefusal::Full) };
            self.evict(&device);
        }
        let commit = self.put(&session_key(device), known.recorded.clone())?;
        known.written = commit;
        self.book.record_bytes += known.recorded.len();
        self.insert(known);
        Ok((kept, commit))
    }

    /// A session that is nobody's, since an earlier version has noted it, is that of whose client comes back to it.
    pub(super) fn own(&mut self, device: &DeviceId, owner: Owner) {
        let Book { known, owners, .. } = &mut *self.book;
        let Some(known) = known.get_mut(device).filter(|known| known.owner == Owner::NOBODY) else { return };
        let since = known.place.map(|(_, since)| since);
        if let Some(since) = since {
            owners.take(Owner::NOBODY, device, since);
        }
        owners.remove(Owner::NOBODY);
        known.owner = owner;
        owners.add(owner);
        if let Some(since) = since {
            owners.put(owner, device, since);
        }
    }

    /// One session more, whose client is here.
    pub(super) fn insert(&mut self, known: Known) {
        self.book.owners.add(known.owner);
        self.book.known.insert(known.kept.device.clone(), known);
        add(&self.sessions.counters.sessions_now, 1);
    }

    /// Ends a session; what is to be removed for it is removed with the next flush.
    pub(super) fn end(&mut self, device: &DeviceId) {
        if self.book.known.contains_key(device) {
            self.end_but_for_its_note(device);
            self.book.removals.push(session_key(device));
        }
    }

    /// Its note has been removed, or another session's has taken its place.
    pub(super) fn end_but_for_its_note(&mut self, device: &DeviceId) {
        self.set_away(device, None);
        let Some(known) = self.book.known.remove(device) else { return };
        self.sessions.counters.sessions_now.fetch_sub(1, Ordering::Relaxed);
        self.book.owners.remove(known.owner);
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
        self.book.wills.session_ended(device);
    }

    /// Makes room by ending the session that has been away longest, of those that have at least so much waiting.
    pub(super) fn end_longest_away(&mut self, bytes: usize) -> bool {
        let Book { known, absent, .. } = &*self.book;
        let waiting = |device: &DeviceId| known.get(device).map_or(0, |known| known.kept.lock().queue.bytes());
        let Some(device) = absent.longest(bytes, waiting) else { return false };
        self.evict(&device);
        true
    }

    /// Ends a session for want of room; what waited for it is counted as shed.
    fn evict(&mut self, device: &DeviceId) {
        let Some(known) = self.book.known.get(device) else { return };
        let waited = known.kept.lock().queue.numbers().count();
        let counters = &self.sessions.counters;
        add(&counters.queue_shed, waited as u64);
        if counters.sessions_evicted.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                client = device.as_str(),
                waited,
                "its session ends for want of room; further ones are only counted"
            );
        } else {
            tracing::debug!(client = device.as_str(), waited, "its session ends for want of room");
        }
        self.end(device);
    }

    /// Brings the filters up to date with the subscriptions of a session; `before` are those that it had.
    pub(super) fn watch(&mut self, kept: &Arc<Kept>, before: &[Subscription]) {
        self.book.filter_bytes -= before.iter().map(|it| filter_bytes(&it.wish.filter)).sum::<usize>();
        self.book.filter_bytes += kept.lock().wishes().map(|wish| filter_bytes(&wish.filter)).sum::<usize>();
        for subscription in before.iter().filter(|it| it.wish.qos == Qos::AtLeastOnce) {
            self.book.filters.remove(&subscription.wish.filter, |watch| Arc::ptr_eq(&watch.kept, kept));
        }
        for wish in kept.lock().wishes().filter(|wish| wish.qos == Qos::AtLeastOnce) {
            let watch = Watch { kept: Arc::clone(kept), no_local: wish.no_local };
            self.book.filters.insert(&wish.filter, watch);
        }
        self.sessions.watched.store(self.book.filters.count(), Ordering::Release);
    }

    /// Whether the filters of a session, which has changed its subscriptions from `before`, find room.
    pub(super) fn has_room_for_filters(&self, kept: &Kept, before: &[Subscription]) -> bool {
        let of = |wish: &Wish| filter_bytes(&wish.filter);
        let before: usize = before.iter().map(|subscription| of(&subscription.wish)).sum();
        let after: usize = kept.lock().wishes().map(of).sum();
        after <= before || self.book.filter_bytes - before + after <= self.sessions.limits.filters_bytes_max
    }

    /// Of those that were to have a message when it was looked at first, who still are there.
    pub(super) fn who_still_waits(&self, mut left: Vec<Arc<Kept>>) -> Vec<Arc<Kept>> {
        left.retain(|kept| self.book.known.get(&kept.device).is_some_and(|known| Arc::ptr_eq(&known.kept, kept)));
        left
    }

    /// The sessions that are to have the message and have room for it; and how many have none.
    pub(super) fn who_waits_for(&mut self, message: &Message) -> (Vec<Arc<Kept>>, u64) {
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
        // Whoever has much waiting leaves room for those who have little; nobody has less than one message.
        let share = limits.queues_bytes_max.saturating_sub(self.book.queued_bytes).saturating_mul(2);
        let (mut most, mut shed) = (0, 0);
        waiting.retain(|kept| {
            let subscriber = kept.lock();
            let bytes = subscriber.queue.bytes() + message.bytes();
            let fair = subscriber.queue.len() == 0 || bytes <= share;
            let room = fair && subscriber.has_room(message.bytes(), limits);
            shed += u64::from(!room);
            most = most.max(if room { bytes } else { 0 });
            room
        });
        let places = |book: &Book| {
            let room = limits.queues_bytes_max.saturating_sub(book.queued_bytes);
            room.saturating_sub(message.bytes()) / QUEUE_PLACE_BYTES
        };
        while waiting.len() > places(&self.book) {
            // Who has less waiting than these would have does not pay for them: the message goes to as many as there is room for, of whom
            // the least waits for.
            if !self.end_longest_away(most) {
                waiting.sort_by_cached_key(|kept| kept.lock().queue.bytes());
                shed += waiting.split_off(places(&self.book)).len() as u64;
                break;
            }
            let book = &self.book;
            waiting.retain(|kept| book.known.contains_key(&kept.device));
        }
        (waiting, shed)
    }

    /// Queues a message for those who wait, from the first on as many as there is room for. Gives the commit and for how many.
    pub(super) fn put_message(
        &mut self,
        message: &Message,
        waiting: &[Arc<Kept>],
    ) -> Result<(Commit, usize), NoteRefusal> {
        self.book.last += 1;
        let number = self.book.last;
        let notes = &self.sessions.notes;
        let value = encode_message(message, self.sessions.clock.now());
        let mut commit = match notes.put(&message_key(number), Some(value)) {
            Ok(commit) => commit,
            Err(NoteRefusal::TooLarge { .. }) => {
                let commit = notes.put(&message_key(number), None)?;
                add(&self.sessions.counters.queue_shed, waiting.len() as u64);
                return Ok((commit, waiting.len()));
            }
            Err(refusal) => return Err(refusal),
        };
        let (message, mut count) = (Arc::new(message.clone()), 0);
        for kept in waiting {
            let mut subscriber = kept.lock();
            let packet_id = subscriber.queue.free_packet_id();
            let value = Bytes::copy_from_slice(&packet_id.to_le_bytes());
            match notes.put(&queue_key(&kept.device, number), Some(value)) {
                Ok(at) => commit = at,
                Err(refusal) if count == 0 => {
                    self.book.removals.push(message_key(number));
                    return Err(refusal);
                }
                // The others get it under a number of its own, when there is room again: were all of them to begin anew, more sessions than
                // one commit has room for would never have it.
                Err(_) => break,
            }
            count += 1;
            let (number, message) = (Some(number), Arc::clone(&message));
            subscriber.queue.push(Entry {
                number,
                packet_id,
                commit,
                duplicate: false,
                begun: false,
                retained_for: None,
                held: None,
                message,
            });
        }
        for kept in waiting.iter().take(count) {
            self.place_anew(&kept.device);
            kept.wake.ring();
        }
        self.book.queued_bytes += message.bytes() + count * QUEUE_PLACE_BYTES;
        self.book.messages.insert(number, Waiting { sessions: count, bytes: message.bytes(), noted: true });
        add(&self.sessions.counters.queued_now, 1);
        Ok((commit, count))
    }

    /// A retained message is handed out to a session, and waits for its acknowledgement: it counts as what waits for sessions, without a note.
    /// Gives its number; `None`: there is no room now.
    pub(super) fn put_retained(&mut self, kept: &Kept, bytes: usize) -> Option<u64> {
        let bytes_max = self.sessions.limits.queues_bytes_max;
        // One that is larger than all of it counts as all.
        let bytes = bytes.min(bytes_max);
        // What is live and waits behind it goes out only after it.
        let handed_out = {
            let subscriber = kept.lock();
            subscriber.queue.bytes() - subscriber.queue.live().1
        };
        // Less than for live messages, so that there is room for those; nobody has less than one message.
        let share = (bytes_max.saturating_sub(self.book.queued_bytes) / 2).min(self.sessions.limits.queue_bytes_max);
        if handed_out > 0 && handed_out + bytes > share {
            return None;
        }
        // It can be had again: no session ends for it.
        if self.book.queued_bytes + bytes > bytes_max {
            return None;
        }
        self.book.last += 1;
        let number = self.book.last;
        self.book.queued_bytes += bytes;
        self.book.messages.insert(number, Waiting { sessions: 1, bytes, noted: false });
        add(&self.sessions.counters.queued_now, 1);
        Some(number)
    }

    /// A message waits no longer for a session.
    pub(super) fn let_go(&mut self, device: &DeviceId, number: u64) {
        let Some(waiting) = self.book.messages.get_mut(&number) else { return };
        waiting.sessions = waiting.sessions.saturating_sub(1);
        let (over, noted, bytes) = (waiting.sessions == 0, waiting.noted, waiting.bytes);
        if noted {
            self.book.queued_bytes -= QUEUE_PLACE_BYTES;
            self.book.removals.push(queue_key(device, number));
        }
        if over {
            self.book.messages.remove(&number);
            self.book.queued_bytes -= bytes;
            self.sessions.counters.queued_now.fetch_sub(1, Ordering::Relaxed);
        }
        if over && noted {
            self.book.removals.push(message_key(number));
        }
    }
}
