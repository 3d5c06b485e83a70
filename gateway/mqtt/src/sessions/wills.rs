//! Wills that are not published yet: noted when their client comes, so that they outlive the gateway, and when it has gone, for as long as
//! they wait for their delay.
//!
//! A will has a note of its own, by number: what becomes of one has nothing to do with the next of the same client.

use std::collections::HashMap;

use bytes::Bytes;
use lamppost_event::{Commit, DeviceId, NoteRefusal, Notes, NotesUnreadable, Now};
use tokio::sync::oneshot;

use super::Sessions;
use super::book::Book;
use super::record::{WillRecord, read_will_key, will_key};
use crate::counters::add;

/// What becomes of a will that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its client is back [MQTT-3.1.3-9].
    Withdrawn,
    /// Its session has ended before the delay was over (MQTT 5.0, section 3.1.3.2.2).
    Due,
}

/// A will that waits, as the book knows it.
#[derive(Debug)]
struct Waiting {
    number: u64,
    fate: oneshot::Sender<Fate>,
    /// Its client was here when the gateway ended: however it comes back, it was not gone.
    was_here: bool,
}

/// In the book.
#[derive(Debug, Default)]
pub(super) struct Wills {
    waiting: HashMap<DeviceId, Waiting>,
    /// The last number that was given.
    last: u64,
}

/// A will of an earlier life.
#[derive(Debug)]
pub(crate) struct RestoredWill {
    pub(crate) device: DeviceId,
    pub(crate) number: u64,
    /// Its time had come before the gateway ended: it waits for nobody.
    pub(crate) due: bool,
    pub(crate) record: WillRecord,
}

impl Wills {
    /// What becomes of a client's will when its session ends.
    pub(super) fn session_ended(&mut self, device: &DeviceId) {
        if self.waiting.get(device).is_some_and(|waiting| !waiting.was_here) {
            self.decide(device, Fate::Due);
        }
    }

    /// What becomes of it when its client comes, to the session that was there or another.
    pub(super) fn client_came(&mut self, device: &DeviceId, present: bool) {
        let was_here = self.waiting.get(device).is_some_and(|waiting| waiting.was_here);
        self.decide(device, if present || was_here { Fate::Withdrawn } else { Fate::Due });
    }

    fn decide(&mut self, device: &DeviceId, fate: Fate) {
        if let Some(waiting) = self.waiting.remove(device) {
            // One whose time has come meanwhile does not hear of it.
            waiting.fate.send(fate).unwrap_or_default();
        }
    }
}

impl Sessions {
    /// Notes a will, in place of the note `before` if there is one. Returns the note's number, and the commit that it is on disk with.
    ///
    /// # Errors
    /// [`NoteRefusal`].
    pub(crate) fn note_will(
        &self,
        device: &DeviceId,
        before: Option<u64>,
        record: &WillRecord,
    ) -> Result<(u64, Commit), NoteRefusal> {
        let value = record.encode(self.clock.now());
        let mut book = self.lock();
        let number = before.unwrap_or(book.book.wills.last + 1);
        let commit = book.put(&will_key(device, number), value)?;
        book.book.wills.last = book.book.wills.last.max(number);
        Ok((number, commit))
    }

    /// A number for a will that could not be noted: what becomes of it has nothing to do with the client's next one either.
    pub(crate) fn number_will(&self) -> u64 {
        let wills = &mut self.lock().book.wills;
        wills.last += 1;
        wills.last
    }

    /// The will was published, or is not to be. Written at once: what is found at the next start is published.
    pub(crate) fn forget_will(&self, device: &DeviceId, number: u64) {
        let mut book = self.lock();
        if book.book.wills.waiting.get(device).is_some_and(|waiting| waiting.number == number) {
            book.book.wills.waiting.remove(device);
        }
        book.book.removals.push(will_key(device, number));
        if let Err(refusal) = book.flush() {
            tracing::debug!(%refusal, "a will's note is removed later");
        }
    }

    /// What becomes of a will that waits is told by the receiver. `number`: its own.
    pub(crate) fn await_fate(&self, device: &DeviceId, number: u64, was_here: bool) -> oneshot::Receiver<Fate> {
        let (fate, told) = oneshot::channel();
        self.lock().book.wills.waiting.insert(device.clone(), Waiting { number, fate, was_here });
        told
    }

    /// Counts a will that could not be noted, and tells of the first one.
    pub(crate) fn tell_unnoted(&self, device: &DeviceId, why: &str) {
        if self.counters.wills_unnoted.load(std::sync::atomic::Ordering::Relaxed) == 0 {
            let client = device.as_str();
            tracing::warn!(client, why, "its will would not survive a restart; further ones are only counted");
        }
        add(&self.counters.wills_unnoted, 1);
    }
}

/// Reads the wills of an earlier life.
pub(super) fn read(book: &mut Book, notes: &dyn Notes, now: Now) -> Result<Vec<RestoredWill>, NotesUnreadable> {
    let mut wills = Vec::new();
    notes.visit(b"w", &mut |key: &[u8], value: &Bytes| {
        let Some(((device, number), record)) = read_will_key(key).zip(WillRecord::decode(value, now)) else {
            return book.removals.push(key.to_vec());
        };
        book.wills.last = book.wills.last.max(number);
        let due = record.silence_s.is_none() && record.delay_s == 0;
        wills.push(RestoredWill { device, number, due, record });
    })?;
    for will in &mut wills {
        // The session of a will that waits is over: then it is due at once.
        if will.record.silence_s.is_none() && !book.known.contains_key(&will.device) {
            will.record.delay_s = 0;
        }
    }
    Ok(wills)
}
