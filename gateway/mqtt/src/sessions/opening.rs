//! How a session begins, or goes on, for a client that comes.
//!
//! A CONNECT is answered only once what it promises is on disk, and may be refused until then. So each is opened first, and then either
//! confirmed or undone: **Invariant:** a CONNECT that is refused leaves the session and the will that were there as they were.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::{Commit, DeviceId, NoteRefusal};

use super::book::{BookGuard, Known};
use super::record::{Absence, session_key};
use super::{Kept, Owner, Sessions};

/// Messages that may be queued for a session between the note of its successor and its end. There are numbers for as many successors.
const MEANWHILE_MAX: u64 = 1 << 32;

/// A session begins or goes on, for a client that is not let in yet.
pub(crate) struct Opened {
    pub(crate) kept: Arc<Kept>,
    pub(crate) present: bool,
    /// To be on disk before it is told.
    pub(crate) commit: Option<Commit>,
    before: Before,
}

/// What there was.
enum Before {
    /// Nothing that is remembered, nor is this.
    Nothing,
    /// Nothing; this one is in the book.
    Begun,
    /// This one.
    Same { expiry: Duration, away: Option<Absence>, recorded: Bytes },
    /// Another one. It is in the book until its successor's client is let in; on the disk it has been replaced.
    Another { away: Option<Absence>, successor: Option<Known> },
}

impl Sessions {
    /// A client is at the door. `clean`: it wants none of what was; `expiry`: for how long its session is to be remembered; `may_have`:
    /// whether it may (still) subscribe to a filter; a session with one that it may not ends. To be confirmed or undone.
    ///
    /// # Errors
    /// [`NoteRefusal`]: a new session can't be remembered now. Nothing is changed.
    pub(crate) fn open(
        &self,
        (device, owner): (&DeviceId, Owner),
        clean: bool,
        expiry: Duration,
        may_have: &dyn Fn(&str) -> bool,
    ) -> Result<Opened, NoteRefusal> {
        let now = self.clock.now();
        let mut book = self.lock();
        let mut commit = None;
        if book.book.known.get(device).is_some_and(|known| known.is_over(now)) {
            book.end(device);
            commit = book.flush()?;
        }
        if let Some(known) = book.book.known.get(device) {
            // A publisher that begins anew each time has nothing to be forgotten.
            let blank = known.kept.lock().is_blank() && known.expiry == expiry;
            let allowed = known.kept.lock().wishes().all(|wish| may_have(&wish.filter));
            return if allowed && (!clean || blank) {
                book.go_on(device, owner, clean, expiry)
            } else {
                book.replace(device, owner, expiry)
            };
        }
        if expiry.is_zero() {
            let kept = Kept::new(device.clone(), false);
            return Ok(Opened { kept, present: false, commit, before: Before::Nothing });
        }
        let (kept, commit) = book.begin(device, owner, expiry)?;
        Ok(Opened { kept, present: false, commit: Some(commit), before: Before::Begun })
    }

    /// Its client is in. What becomes of a will that waits is decided now.
    pub(crate) fn confirm(&self, opened: Opened) {
        let Opened { kept, present, before, .. } = opened;
        let mut book = self.lock();
        if let Before::Another { successor, .. } = before {
            book.end_but_for_its_note(&kept.device);
            if let Some(known) = successor {
                book.book.last = book.book.last.max(known.since);
                book.book.record_bytes += known.recorded.len();
                book.insert(known);
            }
            // What is left of the one before is known by its age, should a restart come first.
            drop(book.flush());
        }
        book.book.wills.client_came(&kept.device, present);
    }

    /// Its client was not let in after all.
    pub(crate) fn undo(&self, opened: Opened) {
        let device = &opened.kept.device;
        let mut book = self.lock();
        match opened.before {
            Before::Nothing => {}
            Before::Begun => {
                book.end(device);
                // Without room now, it is removed with what is put next.
                drop(book.flush());
            }
            Before::Same { expiry, away, recorded } => {
                book.set_away(device, away);
                let Some(known) = book.book.known.get_mut(device) else { return };
                known.expiry = expiry;
                if known.recorded != recorded {
                    book.write_back(device, recorded);
                }
            }
            Before::Another { away, .. } => {
                book.set_away(device, away);
                let Some(known) = book.book.known.get(device) else { return };
                let recorded = known.recorded.clone();
                book.write_back(device, recorded);
            }
        }
    }
}

impl BookGuard<'_> {
    fn go_on(&mut self, device: &DeviceId, owner: Owner, clean: bool, expiry: Duration) -> Result<Opened, NoteRefusal> {
        self.own(device, owner);
        let known = self.book.known.get_mut(device).ok_or(NoteRefusal::Full)?;
        let (kept, recorded) = (Arc::clone(&known.kept), known.recorded.clone());
        let (before, away) = (std::mem::replace(&mut known.expiry, expiry), known.away);
        match self.write(device, None) {
            Ok(commit) => {
                self.set_away(device, None);
                let before = Before::Same { expiry: before, away, recorded };
                Ok(Opened { kept, present: !clean, commit, before })
            }
            Err(refusal) => {
                if let Some(known) = self.book.known.get_mut(device) {
                    known.expiry = before;
                }
                Err(refusal)
            }
        }
    }

    /// Another session takes the place of the one that is there: on the disk now, in the book once its client is let in. Until then it is
    /// as if the client of the one that is there were here: it does not end meanwhile.
    fn replace(&mut self, device: &DeviceId, owner: Owner, expiry: Duration) -> Result<Opened, NoteRefusal> {
        let (kept, durable) = (Kept::new(device.clone(), !expiry.is_zero()), !expiry.is_zero());
        // What is queued for the one before until this one's client is in is not for it either.
        let since = self.book.last.saturating_add(MEANWHILE_MAX);
        let mut successor = durable.then(|| Known::new(&kept, owner, expiry, since));
        let record = successor.as_ref().map(|known| known.recorded.clone());
        self.flush()?;
        let commit = self.sessions.notes.put(&session_key(device), record)?;
        if let Some(known) = &mut successor {
            known.written = commit;
        }
        let away = self.book.known.get(device).and_then(|known| known.away);
        self.set_away(device, None);
        Ok(Opened { kept, present: false, commit: Some(commit), before: Before::Another { away, successor } })
    }

    /// What was noted of a session is noted again. Where there is no room now it is with the next change: until then a restart finds the
    /// session as the refused CONNECT wanted it.
    fn write_back(&mut self, device: &DeviceId, record: Bytes) {
        let record = match self.book.known.get(device) {
            // What was to be noted before found no room either.
            Some(known) if record.is_empty() => known.record(known.away),
            _ => record,
        };
        let written = self.put(&session_key(device), record.clone());
        let Some(known) = self.book.known.get_mut(device) else { return };
        let before = known.recorded.len();
        // What is owed may be another by now.
        known.kept.lock().owing_is_noted = false;
        known.recorded = Bytes::new();
        if let Ok(commit) = written {
            (known.recorded, known.written) = (record, commit);
        }
        let after = known.recorded.len();
        self.book.record_bytes = self.book.record_bytes - before + after;
    }
}
