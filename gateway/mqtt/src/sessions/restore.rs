//! From the notes of an earlier life to the sessions as they were.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lamppost_event::{Clock, Commit, Notes, NotesUnreadable, Now};

use super::book::{Book, Known, Waiting};
use super::queue::Entry;
use super::record::{Absence, Noted, SessionRecord, device_in, message_key, read_message_key, read_queue_key};
use super::wills::{self, RestoredWill};
use super::{Kept, Owner, Sessions, Subscription, decode_message};
use crate::Limits;
use crate::counters::{Counters, add};
use crate::limits::QUEUE_PLACE_BYTES;
use crate::message::Message;
use crate::retained::Upto;

/// What was found.
pub(crate) struct Restored {
    pub(crate) sessions: Sessions,
    /// Wills that were not published.
    pub(crate) wills: Vec<RestoredWill>,
}

impl Sessions {
    /// Reads the sessions of an earlier life. All are away; of those whose absence was not noted it begins now. `retained`: what is retained
    /// now, which those are sent that had not got it.
    ///
    /// # Errors
    /// [`NotesUnreadable`].
    pub(crate) fn restore(
        limits: Arc<Limits>,
        counters: Arc<Counters>,
        notes: Arc<dyn Notes>,
        clock: Arc<dyn Clock>,
        retained: Upto,
    ) -> Result<Restored, NotesUnreadable> {
        let now = clock.now();
        let mut book = Book::default();
        read_sessions(&mut book, &*notes, now)?;
        let messages = read_messages(&mut book, &*notes, now)?;
        read_queues(&mut book, &*notes, messages)?;
        book.known.values().for_each(|known| owe(&known.kept, retained));
        let wills = wills::read(&mut book, &*notes, now)?;
        let found = book.known.len() as u64;
        add(&counters.sessions_now, found);
        add(&counters.queued_now, book.messages.len() as u64);
        if found > 0 {
            tracing::info!(sessions = found, messages = book.messages.len(), "sessions go on after the restart");
        }
        let sessions = Self { book: Mutex::new(book), watched: AtomicUsize::new(0), limits, counters, notes, clock };
        sessions.watch_all();
        Ok(Restored { sessions, wills })
    }

    fn watch_all(&self) {
        let mut book = self.lock();
        let all: Vec<_> = book.book.known.values().map(|known| (Arc::clone(&known.kept), known.away)).collect();
        for (kept, away) in all {
            book.watch(&kept, &[]);
            book.set_away(&kept.device, away);
        }
        self.watched.store(book.book.filters.count(), Ordering::Release);
    }
}

fn read_sessions(book: &mut Book, notes: &dyn Notes, now: Now) -> Result<(), NotesUnreadable> {
    notes.visit(b"s", &mut |key, value| {
        let read = device_in(key).zip(SessionRecord::decode(value));
        let Some((device, record)) = read.filter(|(_, record)| !is_over(record, now)) else {
            return book.removals.push(key.to_vec());
        };
        let kept = Kept::new(device.clone(), true);
        {
            let mut subscriber = kept.lock();
            for Noted { wish, owed } in record.wishes {
                let number = subscriber.next_number();
                subscriber.subscriptions.push(Subscription { number, wish, owed });
            }
        }
        book.record_bytes += value.len();
        let away = Some(record.away.map_or(Absence::begun(now), |away| away.found(now)));
        // Messages that were handed out without a note had numbers as well.
        book.last = book.last.max(record.since);
        let owner = Owner(record.owner);
        let known = Known { away, recorded: value.clone(), ..Known::new(&kept, owner, record.expiry, record.since) };
        book.owners.add(owner);
        book.known.insert(device, known);
    })
}

/// What a session had not got of what is retained comes behind what waits for it, which may be older.
fn owe(kept: &Kept, retained: Upto) {
    let mut subscriber = kept.lock();
    let owed: Vec<usize> = subscriber.subscriptions.iter().filter(|it| it.owed).map(|it| it.number).collect();
    owed.into_iter().for_each(|number| subscriber.begin_backlog(number, Commit(0), retained, true));
}

/// A session that was to end with its connection has ended with it.
fn is_over(record: &SessionRecord, now: Now) -> bool {
    let passed_ms = record.away.map_or(0, |away| away.passed_ms(now));
    u128::from(passed_ms) >= record.expiry.as_millis()
}

fn read_messages(book: &mut Book, notes: &dyn Notes, now: Now) -> Result<HashMap<u64, Arc<Message>>, NotesUnreadable> {
    let mut messages = HashMap::new();
    notes.visit(b"m", &mut |key, value| match read_message_key(key).zip(decode_message(value, now)) {
        Some((number, message)) => {
            book.last = book.last.max(number);
            messages.insert(number, Arc::new(message));
        }
        None => book.removals.push(key.to_vec()),
    })?;
    Ok(messages)
}

/// The queues come in order: the keys of one session rise with the numbers.
fn read_queues(
    book: &mut Book,
    notes: &dyn Notes,
    messages: HashMap<u64, Arc<Message>>,
) -> Result<(), NotesUnreadable> {
    notes.visit(b"q", &mut |key, value| {
        let queued = read_queue_key(key).and_then(|(device, number)| {
            let (known, message) = (book.known.get(&device)?, messages.get(&number)?);
            let packet_id = read_packet_id(value).filter(|_| number > known.since)?;
            Some((Arc::clone(&known.kept), number, Arc::clone(message), packet_id))
        });
        let Some((kept, number, message, packet_id)) = queued else {
            return book.removals.push(key.to_vec());
        };
        let waiting =
            book.messages.entry(number).or_insert(Waiting { sessions: 0, bytes: message.bytes(), noted: true });
        if waiting.sessions == 0 {
            book.queued_bytes += message.bytes();
        }
        book.queued_bytes += QUEUE_PLACE_BYTES;
        waiting.sessions += 1;
        // Whether it was sent is not known: it may have been.
        let (number, commit) = (Some(number), Commit(0));
        kept.lock().queue.push(Entry {
            number,
            packet_id,
            commit,
            duplicate: true,
            begun: false,
            retained_for: None,
            held: None,
            message,
        });
    })?;
    let nobodys = messages.keys().filter(|number| !book.messages.contains_key(number));
    let nobodys: Vec<Vec<u8>> = nobodys.map(|number| message_key(*number)).collect();
    book.removals.extend(nobodys);
    Ok(())
}

fn read_packet_id(value: &Bytes) -> Option<u16> {
    Some(u16::from_le_bytes(value.as_ref().try_into().ok()?)).filter(|id| *id != 0)
}
