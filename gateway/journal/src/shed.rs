//! Making room in a full journal: what the topics' policies allow is given up, the least important first, and of that the oldest.
//!
//! What has a reserve (alarms, dead letters) goes only for its like, once the reserve is used up. By then all of it may lie in the one
//! segment that is written to: that one is ended early. The next one begins in the last free file, and nothing is written into it before
//! the one that was ended has come free: whenever the power fails, there is a file for recovery to write in.
//!
//! What stays of a segment is written anew before the segment goes. There is a little room for that which nothing else may take
//! (`Options::working_room`); where it is too little, a free file is lent, be it the reserve: what stays is written into it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lamppost_event::Topic;

use crate::book::{Book, FreeFile, Segment, Untrimmed};
use crate::cool::cold_temporary;
use crate::disk::{Access, DiskError, DiskFile};
use crate::format::PAGE;
use crate::format::segment::{FRAMES_AT, SegmentHead};
use crate::give_up::{PAUSE_MS, Victim, victim};
use crate::options::{Priority, WhenFull};
use crate::shared::Shared;
use crate::stats::count;
use crate::waiting::hold;

const NO_ROOM: &str = "given up for want of room";

/// After a file was lent in vain, it is lent again only after this.
const LENT_PAUSE_MS: u64 = 600_000;

/// A cold segment of nothing but gaps takes no more.
const COLD_BYTES_LEAST: u64 = FRAMES_AT + 2 * PAGE as u64;

impl Shared {
    /// Gives up the oldest events of the least important topics that allow it. False if none does.
    pub(crate) fn shed(&self) -> Result<bool, DiskError> {
        if self.now_ms() < self.shed_again_ms.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let mut tried = false;
        // Where a lower priority's oldest can't be taken out for want of room to write what stays, the next may be a whole segment.
        for priority in [Priority::Bulk, Priority::Normal, Priority::DeadLetter, Priority::Alarm] {
            let Some(victim) = self.least_loss(priority)? else { continue };
            let lent = || self.in_lent_file(victim.number, Some(&victim), &|loan| self.give_up(&victim, Some(loan)));
            if self.give_up(&victim, None)? || (victim.pays() && lent()?) {
                self.cool_again_ms.store(0, Ordering::Relaxed);
                return Ok(true);
            }
            tried = true;
        }
        if tried {
            // Trying wears the card.
            self.shed_again_ms.store(self.now_ms() + PAUSE_MS, Ordering::Relaxed);
        }
        Ok(false)
    }

    /// What of that priority goes first. `None` if nothing of it may go now.
    fn least_loss(&self, priority: Priority) -> Result<Option<Victim>, DiskError> {
        if priority < Priority::DeadLetter {
            return Ok(self.oldest_that_may_go(priority, &|_| true));
        }
        let left = self.options.left_to_others(priority);
        if hold(&self.gather).has_space_for(left) {
            return Ok(None);
        }
        // Among what others keep there may be a few of them everywhere: giving those up makes no room.
        if let Some(victim) = self.oldest_that_may_go(priority, &Victim::pays) {
            return Ok(Some(victim));
        }
        let ended = self.end_early(priority)?;
        Ok(ended.or_else(|| self.oldest_that_may_go(priority, &|_| true)))
    }

    fn oldest_that_may_go(&self, priority: Priority, wanted: &dyn Fn(&Victim) -> bool) -> Option<Victim> {
        let book = hold(&self.book);
        let sealed = book.segments.len().saturating_sub(1);
        book.segments.iter().take(sealed).filter_map(|segment| self.may_go(&book, segment, priority)).find(wanted)
    }

    fn may_go(&self, book: &Book, segment: &Segment, priority: Priority) -> Option<Victim> {
        let spare = |topic: &Topic| {
            let policy = self.options.policy(topic);
            policy.priority == priority && policy.when_full == WhenFull::GiveUpOldest
        };
        victim(book, segment, NO_ROOM, &spare)
    }

    /// Ends the segment that is written to, if it is worth giving up what it holds of that priority, and that will find room to work in.
    fn end_early(&self, priority: Priority) -> Result<Option<Victim>, DiskError> {
        let worth = |book: &Book| {
            let segment = book.segments.back()?;
            let victim = self.may_go(book, segment, priority).filter(Victim::pays)?;
            let enough = self.room_for_cold(book) >= victim.share_that_stays(segment.end) + COLD_BYTES_LEAST;
            let covered = book.checkpoint.covered() >= segment.last_commit;
            enough.then_some((victim, covered))
        };
        let Some((_, covered)) = worth(&hold(&self.book)) else { return Ok(None) };
        if !covered && !self.checkpoint()? {
            return Ok(None);
        }
        let mut writer = hold(&self.writer);
        self.announce(&mut writer);
        let Some((victim, _)) = worth(&hold(&self.book)) else { return Ok(None) };
        let begun =
            if self.running().is_ok() { hold(&self.gather).roll(self.options.left_to_others(priority)) } else { None };
        let Some(first_commit) = begun else { return Ok(None) };
        self.roll(&mut writer, first_commit)?;
        Ok(Some(victim))
    }

    /// Writes a segment anew into a free file; the segment's own comes in its place. False if it was not done.
    ///
    /// Not into the room of a free file that is removed: others who write to the disk might take it, and leave none for another file.
    pub(crate) fn in_lent_file(
        &self,
        number: u64,
        victim: Option<&Victim>,
        work: &dyn Fn(&Loan) -> Result<bool, DiskError>,
    ) -> Result<bool, DiskError> {
        // Meanwhile less can be written, or nothing: not before nothing can be written anyway.
        if self.now_ms() < self.lend_again_ms.load(Ordering::Relaxed) || hold(&self.gather).has_space() {
            return Ok(false);
        }
        let covered = {
            let book = hold(&self.book);
            let covered = book.checkpoint.covered();
            book.segment(number).is_none_or(|segment| segment.lease.head.cold || segment.last_commit <= covered)
        };
        let before = hold(&self.book).free.len();
        if !(covered || self.checkpoint()?) || !self.may_lend(number, victim) {
            return Ok(false);
        }
        let Some(loan) = self.lend_file(&cold_temporary(number))? else { return Ok(false) };
        let done = work(&loan)?;
        if !loan.is_kept() {
            self.take_back(loan)?;
        }
        if !done {
            // Trying wears the card.
            self.lend_again_ms.store(self.now_ms() + LENT_PAUSE_MS, Ordering::Relaxed);
        }
        let fewer = hold(&self.book).free.len() < before;
        if fewer && self.may_grow(0) {
            self.grow()?;
        }
        Ok(done)
    }

    /// Whether what stays of a segment has room in a free file, and another one will come in that one's place: its own, or a new one.
    fn may_lend(&self, number: u64, victim: Option<&Victim>) -> bool {
        let book = hold(&self.book);
        let Some(segment) = book.segment(number) else { return false };
        let head = &segment.lease.head;
        // As long as a reader holds it, its file does not come free.
        let held = Arc::strong_count(&segment.lease) > 1 || !book.retiring.is_empty();
        // All of it takes less once it is compressed, or that is tried in vain.
        let bytes = victim.map_or(0, |victim| victim.share_that_stays(segment.extent)) + COLD_BYTES_LEAST;
        let fits = bytes <= self.options.segment_bytes;
        // A cold one's file goes as the new one gets its name, and one of another size can't be used again: without room for a new one, the last
        // free file would be gone, and recovery would have none.
        let own_comes = !head.cold && head.bytes == self.options.segment_bytes;
        let after = || {
            let stays = victim.map_or(segment.extent, |victim| victim.share_that_stays(segment.extent));
            let taken = book.bytes(self.options.segment_bytes) + self.checkpoint_room(&book);
            taken.saturating_sub(head.bytes) + stays + COLD_BYTES_LEAST
        };
        !held && fits && (own_comes || book.free.len() > 1 || after() <= self.options.quota_bytes)
    }

    /// A free file under that name, be it the reserve. `None` if there is none, or it may be needed for what has gathered.
    fn lend_file(&self, name: &str) -> Result<Option<Loan>, DiskError> {
        if !hold(&self.gather).give_free() {
            return Ok(None);
        }
        let free = {
            let mut book = hold(&self.book);
            let Some(free) = book.free.pop() else { return Ok(None) };
            book.lent = self.options.segment_bytes;
            free
        };
        self.disk.rename(&free.name, name).map_err(DiskError::of("rename", &free.name))?;
        let file = self.disk.open(name, Access::Write).map_err(DiskError::of("open", name))?;
        Ok(Some(Loan { name: name.to_owned(), file, kept: Cell::new(false) }))
    }

    fn take_back(&self, loan: Loan) -> Result<(), DiskError> {
        let name = self.rename_free(&loan.name)?;
        drop(loan);
        let file = self.disk.open(&name, Access::Write).map_err(DiskError::of("open", &name))?;
        {
            let mut book = hold(&self.book);
            book.lent = 0;
            book.free.push(FreeFile { name, file, virgin: false });
        }
        self.add_free();
        Ok(())
    }

    /// A cold segment lies in that file from now on.
    pub(crate) fn keep_loan(&self, loan: &Loan, head: &SegmentHead, name: &str) {
        loan.kept.set(true);
        let mut book = hold(&self.book);
        let (file, surplus) = (Arc::clone(&loan.file), book.lent.saturating_sub(head.bytes));
        book.lent = 0;
        book.untrimmed.push(Untrimmed { name: name.to_owned(), file, bytes: head.bytes, surplus });
    }

    /// Cuts off what cold segments' files have behind their ends, once none of their originals is left: until then, after a power cut, they
    /// are free files again.
    pub(crate) fn trim(&self) -> Result<(), DiskError> {
        let next = || {
            let book = hold(&self.book);
            let long = book.untrimmed.first().filter(|_| book.retiring.is_empty())?;
            Some((long.name.clone(), Arc::clone(&long.file), long.bytes))
        };
        while let Some((name, file, bytes)) = next() {
            // Its room is counted as free only once no power cut brings it back.
            file.shorten(bytes).and_then(|()| file.flush()).map_err(DiskError::of("shorten", &name))?;
            count(&self.counters.flushes, 1);
            hold(&self.book).untrimmed.remove(0);
        }
        Ok(())
    }
}

/// A free file that a segment is written into.
pub(crate) struct Loan {
    name: String,
    pub(crate) file: Arc<dyn DiskFile>,
    kept: Cell<bool>,
}

impl Loan {
    fn is_kept(&self) -> bool {
        self.kept.get()
    }
}
