//! The keeper: checkpoints, recycling and prepared segments, so that the writer never has to wait for them.
//!
//! **Invariants:** the files never take more than the quota. A segment is recycled only behind a durable checkpoint that covers
//! it, once nobody reads it, and once the durable cursors of all required groups have passed it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lamppost_event::{Group, JournalStopped, Position};

use crate::book::{Book, Delta, FreeFile, Segment};
use crate::checkpoint::{Bounds, File, WriteError, name_of, write};
use crate::disk::DiskError;
use crate::format::checkpoint::CheckpointHead;
use crate::format::segment::free_name;
use crate::give_up::ages;
use crate::shared::Shared;
use crate::stats::count;
use crate::waiting::hold;

/// After the disk was found full, growing is tried again only after this: each try writes zeros.
const GROW_PAUSE_MS: u64 = 60_000;

/// What stands between the oldest segment and its recycling.
enum Oldest {
    Ready,
    NeedsCheckpoint,
    Held,
}

impl Shared {
    /// Whether the keeper has something to do.
    pub(crate) fn wants_keeping(&self) -> bool {
        let book = hold(&self.book);
        self.has_changed_much(&book) || book.free.len() < self.free_wanted(&book)
    }

    /// One segment in reserve for recovery; a second to roll into once the current one is half full.
    pub(crate) fn free_wanted(&self, book: &Book) -> usize {
        let half_full = book.segments.back().is_some_and(|segment| segment.end > segment.lease.head.bytes / 2);
        self.options.reserve() + if half_full { 2 } else { 1 }
    }

    /// Does what there is to do. True if something was done.
    pub(crate) fn keep_step(&self) -> Result<bool, JournalStopped> {
        self.running()?;
        let _one_at_a_time = hold(&self.keeping);
        self.keep().map_err(|error| self.stop(error.to_string()))
    }

    fn keep(&self) -> Result<bool, DiskError> {
        let mut done = self.retire()?;
        if self.checkpoint_due() {
            done |= self.checkpoint()?;
        }
        done |= self.make_room_for_state()?;
        done |= self.expire()? | self.merge()?;
        loop {
            let wanted = {
                let book = hold(&self.book);
                book.free.len() < self.free_wanted(&book)
            };
            if !wanted || !self.provide()? {
                self.look_after_values()?;
                return Ok(done);
            }
            done = true;
        }
    }

    /// Much state has changed, or cursors have found no room in the log for long.
    fn checkpoint_due(&self) -> bool {
        let book = hold(&self.book);
        let patience_ms = 2 * u64::try_from(self.options.cursor_deadline.as_millis()).unwrap_or(u64::MAX / 2);
        let overdue = book.cursors_since.is_some_and(|since| self.now_ms().saturating_sub(since) > patience_ms);
        overdue || self.has_changed_much(&book)
    }

    /// One more free segment, or a step towards one, from wherever it may come: what nobody needs any more, new files, and
    /// where events have to be kept that are in the way, a cold segment in a hot one's place.
    fn provide(&self) -> Result<bool, DiskError> {
        if self.retire()? {
            return Ok(true);
        }
        if self.options.required.is_empty() {
            // What is kept is kept for nobody in particular: as long as there is room.
            return Ok(self.try_to_grow()? || self.recycle()?);
        }
        if self.recycle()? {
            return Ok(true);
        }
        let (hot_files, retiring) = {
            let book = hold(&self.book);
            (book.hot_files(), book.retiring.len())
        };
        // For each that a reader still holds, though it has been rewritten, there may be one more meanwhile.
        if hot_files - retiring < self.options.hot_segments_max() && self.try_to_grow()? {
            return Ok(true);
        }
        if retiring > 0 {
            return Ok(false);
        }
        Ok(self.merge()? || self.cool()? || self.try_to_grow()? || self.drop_aside()? || self.shed()?)
    }

    /// Removes what was set aside longest ago: it is kept for whoever can read more of it, but not at the price of new events. False if
    /// there is nothing.
    pub(crate) fn drop_aside(&self) -> Result<bool, DiskError> {
        let oldest = {
            let mut book = hold(&self.book);
            if book.aside.is_empty() {
                return Ok(false);
            }
            let oldest = book.aside.remove(0);
            book.other_bytes = book.other_bytes.saturating_sub(oldest.1);
            oldest
        };
        let (name, bytes) = oldest;
        self.cool_again_ms.store(0, Ordering::Relaxed);
        tracing::warn!(name, bytes, "a file that was set aside is removed: there is no room for new events");
        match self.disk.remove(&name) {
            // Somebody was quicker: it is theirs to take.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(DiskError::of("remove", &name))?,
        }
        self.disk.flush_dir().map_err(DiskError::of("flush the folder of", &name))?;
        Ok(true)
    }

    fn try_to_grow(&self) -> Result<bool, DiskError> {
        // What is kept for nobody in particular can be recycled whole.
        let room = if self.options.required.is_empty() { 0 } else { self.options.working_room() };
        if !self.may_grow(room) || self.now_ms() < self.grow_again_ms.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let grown = self.grow()?;
        if !grown {
            self.grow_again_ms.store(self.now_ms() + GROW_PAUSE_MS, Ordering::Relaxed);
        }
        Ok(grown)
    }

    /// Whether the quota has room for one more segment beside the checkpoints and `room` bytes. Without enough segments to go on in, one more
    /// counts for more than that.
    pub(crate) fn may_grow(&self, room: u64) -> bool {
        let book = hold(&self.book);
        let kept_free =
            if self.has_too_few_files(&book) { Self::value_bytes(&book) } else { self.checkpoint_room(&book) + room };
        let bytes = book.bytes(self.options.segment_bytes) + self.options.segment_bytes;
        bytes + kept_free <= self.options.quota_bytes
    }

    /// Makes a new file. False if the disk is full.
    pub(crate) fn grow(&self) -> Result<bool, DiskError> {
        let name = {
            let mut book = hold(&self.book);
            book.next_number += 1;
            free_name(book.next_number - 1)
        };
        let file = match self.disk.create_zeroed(&name, self.options.segment_bytes) {
            Ok(file) => file,
            Err(error) if is_full(&error) => return Ok(false),
            Err(error) => return Err(DiskError::of("create", &name)(error)),
        };
        self.disk.flush_dir().map_err(DiskError::of("flush the folder for", &name))?;
        count(&self.counters.bytes_written, self.options.segment_bytes);
        hold(&self.book).free.push(FreeFile { name, file, virgin: true });
        self.add_free();
        Ok(true)
    }

    pub(crate) fn add_free(&self) {
        hold(&self.gather).add_free(1);
        self.room.wake();
    }

    /// Recycles the oldest segment, if nothing holds it. True if it did.
    pub(crate) fn recycle(&self) -> Result<bool, DiskError> {
        let state = self.oldest(&hold(&self.book));
        match state {
            Oldest::Held => Ok(false),
            Oldest::NeedsCheckpoint if !self.checkpoint_at_any_price()? => Ok(false),
            Oldest::NeedsCheckpoint | Oldest::Ready => {
                let mut lost = Vec::new();
                let gone = self.take_first(&mut |book| {
                    lost = self.not_waited_for(book);
                    matches!(self.oldest(book), Oldest::Ready)
                })?;
                if gone {
                    self.count_let_go(lost);
                }
                Ok(gone)
            }
        }
    }

    /// A checkpoint that a segment comes free by. The state has grown since the last file was made, and there may be no room left for it: then
    /// a free file goes, be it the reserve. Another one comes in its place at once. At last, more marks are forgotten than would have to be.
    fn checkpoint_at_any_price(&self) -> Result<bool, DiskError> {
        let spares_one = |shared: &Self| hold(&shared.book).hot_files() > shared.hot_files_min();
        Ok(self.checkpoint()?
            || (spares_one(self) && self.remove_free()? && self.checkpoint()?)
            || self.squeezed_checkpoint()?
            || (self.remove_free()? && self.squeezed_checkpoint()?))
    }

    /// Removes a free file, be it the reserve. False if there is none, or it may be needed for what has gathered.
    fn remove_free(&self) -> Result<bool, DiskError> {
        if !hold(&self.gather).give_free() {
            return Ok(false);
        }
        let Some(free) = hold(&self.book).free.pop() else { return Ok(false) };
        self.disk.remove(&free.name).map_err(DiskError::of("remove", &free.name))?;
        self.disk.flush_dir().map_err(DiskError::of("flush the folder of", &free.name))?;
        Ok(true)
    }

    /// Recycles the oldest segment, whoever has not had its events. True if it did.
    pub(crate) fn recycle_first(&self) -> Result<bool, DiskError> {
        let free = |book: &Book| {
            let first = book.segments.front().filter(|_| book.segments.len() > 1);
            first.is_some_and(|first| Arc::strong_count(&first.lease) == 1 && !has_original(book, first))
        };
        let covered = |book: &Book| {
            let covered = book.checkpoint.commit();
            book.segments.front().is_some_and(|first| covered.is_some_and(|covered| covered >= first.last_commit))
        };
        let (is_free, is_covered) = {
            let book = hold(&self.book);
            (free(&book), covered(&book))
        };
        if !is_free || (!is_covered && !self.checkpoint()?) {
            return Ok(false);
        }
        self.take_first(&mut |book| free(book) && covered(book))
    }

    /// Takes the oldest segment out, if it may still go: a reader may have come meanwhile.
    fn take_first(&self, may: &mut dyn FnMut(&Book) -> bool) -> Result<bool, DiskError> {
        let segment = {
            let mut book = hold(&self.book);
            if !may(&book) {
                return Ok(false);
            }
            let Some(segment) = book.segments.pop_front() else { return Ok(false) };
            forget(&mut book, &segment);
            segment
        };
        // There is room again.
        self.cool_again_ms.store(0, Ordering::Relaxed);
        self.shed_again_ms.store(0, Ordering::Relaxed);
        if self.release(segment)? {
            count(&self.counters.recycled, 1);
            self.add_free();
        }
        Ok(true)
    }

    fn oldest(&self, book: &Book) -> Oldest {
        let Some(segment) = book.segments.front().filter(|_| book.segments.len() > 1) else { return Oldest::Held };
        if Arc::strong_count(&segment.lease) > 1 || has_original(book, segment) {
            return Oldest::Held;
        }
        let patient = self.patient(book);
        let (mut passed, mut durable) = (true, true);
        for (at, (_, to)) in segment.ranges.iter().filter(|(at, _)| !at.topic.as_str().starts_with("__")) {
            for group in patient.iter().copied() {
                let entry = book.cursors.get(group).and_then(|table| table.get(at)).copied().unwrap_or_default();
                passed &= entry.next() >= *to;
                durable &= entry.durable_next() >= *to;
            }
        }
        let covered = book.checkpoint.commit().is_some_and(|covered| covered >= segment.last_commit);
        match (passed, durable && covered) {
            (false, _) => Oldest::Held,
            (true, true) => Oldest::Ready,
            (true, false) => Oldest::NeedsCheckpoint,
        }
    }

    /// The required groups that the oldest segment is still kept for.
    fn patient(&self, book: &Book) -> Vec<&Group> {
        if self.options.hold_max.is_empty() {
            return self.options.required.iter().collect();
        }
        let age = ages(book, self.clock.now()).first().copied().unwrap_or_default();
        let waits = |group: &&Group| self.options.hold_max.get(*group).is_none_or(|hold_max| age <= *hold_max);
        self.options.required.iter().filter(waits).collect()
    }

    /// Writes a checkpoint of the durable state. False if there is no room for it.
    pub(crate) fn checkpoint(&self) -> Result<bool, DiskError> {
        if !self.make_checkpoint_room(false)? {
            return Ok(false);
        }
        let marks_bytes_max = self.marks_bytes_max(&hold(&self.book));
        self.write_checkpoint(false, marks_bytes_max)
    }

    /// There is room for it.
    pub(crate) fn write_checkpoint(&self, whole: bool, marks_bytes_max: u64) -> Result<bool, DiskError> {
        let (head, old, frozen, changes, cursors) = {
            let mut book = hold(&self.book);
            let frozen = Arc::new(std::mem::take(&mut book.delta));
            (book.delta_bytes, book.delta_value_bytes) = (0, 0);
            (book.frozen, book.known_since) = (Arc::clone(&frozen), book.frozen_at);
            book.frozen_at = book.durable;
            let head = CheckpointHead { commit: book.durable, epoch: book.epoch, identity: self.identity };
            (head, book.checkpoint.clone(), frozen.clone(), book.overlay(&frozen), book.all_cursors())
        };
        let bounds = Bounds { whole, boots_max: self.options.boots_max.get(), marks_bytes_max };
        match write(&*self.disk, head, &old, &changes, bounds) {
            Ok(written) => {
                count(&self.counters.marks_crowded_out, written.crowded_out);
                count(&self.counters.checkpoints, 1);
                count(&self.counters.checkpoint_bytes, written.bytes);
                count(&self.counters.bytes_written, written.bytes);
                count(&self.counters.flushes, 1);
                let now_ms = self.now_ms();
                let mut book = hold(&self.book);
                book.settle_cursors(&cursors, now_ms);
                book.forget_marks(written.forgotten);
                book.checkpoint = Arc::new(written.stack);
                book.forget_replaced();
                drop(book);
                self.remove_all(&written.outdated)?;
                Ok(true)
            }
            Err(WriteError::Disk(error)) if is_full(&error.source) => {
                let temporary = format!("{}.tmp", name_of(head.commit));
                drop(self.disk.remove(&temporary));
                self.melt(&frozen);
                Ok(false)
            }
            // The next opening sees which layers there are; all that the new one came from are there still.
            Err(WriteError::Disk(error) | WriteError::InDoubt(error)) => Err(error),
            Err(WriteError::Old(error)) => Err(DiskError::of("read", "the last checkpoint")(io::Error::other(error))),
        }
    }

    /// Puts back what a checkpoint did not take.
    fn melt(&self, frozen: &Arc<Delta>) {
        let mut book = hold(&self.book);
        for (key, (commit, value)) in frozen.iter() {
            if !book.delta.contains_key(key) {
                book.learn(*commit, key, value.as_ref());
            }
        }
        book.frozen = Arc::new(Delta::new());
        book.frozen_at = book.known_since;
    }

    pub(crate) fn remove_all(&self, files: &[File]) -> Result<(), DiskError> {
        files.iter().try_for_each(|(name, _)| self.disk.remove(name).map_err(DiskError::of("remove", name)))
    }
}

/// Whether a hot segment that a cold one stands for may still be there: without the cold one it would come back.
fn has_original(book: &Book, segment: &Segment) -> bool {
    let head = &segment.lease.head;
    let covers = |hot: &Segment| (head.base..head.limit()).contains(&hot.lease.head.base);
    head.cold && book.retiring.iter().any(covers)
}

/// Forgets a recycled segment's events.
fn forget(book: &mut Book, segment: &Segment) {
    for (at, (_, to)) in &segment.ranges {
        if let Some(kept) = book.partitions.get_mut(at) {
            kept.first = kept.first.max(*to).min(kept.next);
        }
    }
    let limit = segment.lease.head.limit();
    let kept = book.gaps.split_off(&limit);
    // A gap that is told no more counts as fallen out.
    for gap in std::mem::replace(&mut book.gaps, kept).into_values().flatten() {
        if let Some(kept) = book.partitions.get_mut(&gap.at).filter(|kept| gap.from <= kept.first) {
            kept.first = kept.first.max(gap.to).min(kept.next);
        }
    }
    book.known_holes = book.known_holes.split_off(&(limit, Position(0)));
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
