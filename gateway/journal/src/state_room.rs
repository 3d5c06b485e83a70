//! Room in the quota for the state's checkpoints.
//!
//! A checkpoint may have to be written whole while the one before is still there, and without one no segment comes free that has state in it:
//! a checkpoint that found no room would be the end. So room for the next one is made as soon as one has been written, from segments that
//! nobody needs any more. Where the quota leaves too little, marks are forgotten earlier than they would have to be; values that others put
//! (`Journal::put_state`) can't be forgotten.
//!
//! **Invariant:** a value is taken only if all values have room in a whole checkpoint, as the files are now. What removes one is always taken.

use std::sync::atomic::Ordering;

use crate::book::{Book, FreeFile};
use crate::checkpoint::Stack;
use crate::disk::DiskError;
use crate::options::Options;
use crate::shared::Shared;
use crate::waiting::hold;

/// The least that is kept free for checkpoints.
const CHECKPOINT_ROOM: u64 = 64 << 10;
/// The head, the tail, and what does not fill a block.
const LAYER_LEAST: u64 = 4096;
/// Of the quota, at most one part in so many may change before a checkpoint is due.
const CHANGED_PARTS: u64 = 64;
/// After all was written anew to make room for values, it is not done again before this.
const WHOLE_PAUSE_MS: u64 = 600_000;
/// Whoever was refused a value may ask again after this: there may be room for what else it waits with.
const REFUSED_PAUSE_MS: u64 = 1_000;

impl Options {
    /// So much may change where there is little room before a checkpoint is due.
    fn changed_bytes_max(&self) -> u64 {
        (self.checkpoint_bytes as u64).min(self.quota_bytes / CHANGED_PARTS)
    }
}

impl Shared {
    /// A checkpoint is due: much has changed, or there will soon be no room for what has.
    pub(crate) fn has_changed_much(&self, book: &Book) -> bool {
        let little = book.delta_bytes as u64 * 2 < self.options.changed_bytes_max();
        book.delta_bytes >= self.options.checkpoint_bytes || (!little && self.is_short(book))
    }

    /// What is kept free for checkpoints: all layers may be written anew as one while they and what they stand for are still there.
    pub(crate) fn checkpoint_room(&self, book: &Book) -> u64 {
        let (bytes, replaced) = (book.checkpoint.bytes(), book.checkpoint.replaced_bytes());
        let grown = bytes + self.changed_bytes(book) + 2 * self.margin(book);
        (3 * bytes.max(CHECKPOINT_ROOM)).saturating_sub(bytes).max(grown).saturating_sub(replaced)
    }

    /// What is beside segments in each layer: where groups and partitions stand.
    fn table_bytes(book: &Book) -> u64 {
        LAYER_LEAST + 400 * (book.partitions.len() + book.cursor_count()) as u64
    }

    /// What changed takes in a layer, at most: the index may have each key once more.
    fn changed_bytes(&self, book: &Book) -> u64 {
        2 * book.delta_bytes as u64 + Self::table_bytes(book)
    }

    /// What else may change before a checkpoint is due.
    fn margin(&self, book: &Book) -> u64 {
        2 * self.options.changed_bytes_max() + Self::table_bytes(book)
    }

    /// What a whole checkpoint takes without any mark, at most.
    pub(crate) fn value_bytes(book: &Book) -> u64 {
        book.checkpoint.beside_marks() + 2 * book.delta_value_bytes as u64 + Self::table_bytes(book)
    }

    /// What the quota leaves beside all files, once those are gone that the checkpoint's layers stand for.
    fn left_bytes(&self, book: &Book) -> u64 {
        let bytes = book.bytes(self.options.segment_bytes) - book.checkpoint.replaced_bytes();
        self.options.quota_bytes.saturating_sub(bytes)
    }

    /// There will soon be no room for a whole checkpoint.
    fn is_short(&self, book: &Book) -> bool {
        self.left_bytes(book) < book.checkpoint.bytes() + self.changed_bytes(book) + self.margin(book)
    }

    /// What marks may take: what the options say, or what three times as much has room in beside the segments that have to be (one checkpoint
    /// that has grown by half since it was whole, and the next), if that is less.
    pub(crate) fn marks_bytes_max(&self, book: &Book) -> u64 {
        let left = self.options.quota_bytes.saturating_sub(self.quota_least(book, Self::value_bytes(book)));
        self.options.marks_bytes_max().min(left / 3)
    }

    /// So many bytes of values may still be put.
    pub(crate) fn value_room(&self, book: &Book) -> u64 {
        self.left_bytes(book).saturating_sub(Self::value_bytes(book) + self.margin(book))
    }

    /// The least quota in which so many bytes of values can be kept: with the segments that have to be, and a checkpoint beside the one before.
    fn quota_least(&self, book: &Book, values: u64) -> u64 {
        let segments = self.hot_files_min() as u64 * self.options.segment_bytes;
        segments + book.other_bytes + 2 * values + self.margin(book)
    }

    /// There are too few files to go on in, and no cold segments whose room they would take.
    pub(crate) fn has_too_few_files(&self, book: &Book) -> bool {
        let few = book.hot_files() < self.hot_files_min();
        few && !book.segments.iter().any(|segment| segment.lease.head.cold)
    }

    /// Files of segments that can't be done without: one to write to, two to go on in, and the reserve.
    pub(crate) fn hot_files_min(&self) -> usize {
        3 + self.options.reserve()
    }

    /// Takes room for the next whole checkpoint, and for a value that was refused, from segments: those prepared, and those that nobody needs. True
    /// if there was one.
    pub(crate) fn make_room_for_state(&self) -> Result<bool, DiskError> {
        let mut made = false;
        loop {
            let refused = self.tell_value_room();
            let (short, spare, worth) = {
                let mut book = hold(&self.book);
                let short = refused || self.is_short(&book);
                let spare = if short { self.take_spare(&mut book) } else { None };
                let first_is_cold = book.segments.front().is_some_and(|first| first.lease.head.cold);
                (short, spare, first_is_cold || book.hot_files() > self.hot_files_min())
            };
            match spare {
                _ if !short => return Ok(made),
                Some(free) => self.remove_spare(&free)?,
                None if worth && self.recycle()? => {}
                None => return Ok(made),
            }
            made = true;
        }
    }

    /// Makes known how much room there is for values. Where one was refused all is written anew now and then: what was removed takes no room
    /// after that.
    pub(crate) fn look_after_values(&self) -> Result<(), DiskError> {
        let now_ms = self.now_ms();
        let mut refused = self.tell_value_room();
        let may_hold_removed = {
            let book = hold(&self.book);
            book.checkpoint.is_layered() || book.delta_bytes > 0
        };
        if refused && may_hold_removed && now_ms >= self.whole_again_ms.load(Ordering::Relaxed) {
            self.whole_again_ms.store(now_ms + WHOLE_PAUSE_MS, Ordering::Relaxed);
            self.squeezed_checkpoint()?;
            refused = self.tell_value_room();
        }
        let (values, quota, quota_least) = {
            let book = hold(&self.book);
            let values = book.checkpoint.beside_marks();
            (values, self.options.quota_bytes, self.quota_least(&book, values))
        };
        let crowded = refused || quota_least > quota;
        if crowded != self.values_refused.swap(crowded, Ordering::Relaxed) {
            if crowded {
                tracing::error!(
                    values,
                    quota,
                    quota_least,
                    "what sources keep in the journal leaves no room in its quota: no more of it is taken until some has gone, or the quota is raised"
                );
            } else {
                tracing::info!(values, quota, "what sources keep in the journal has room again");
            }
        }
        if refused && now_ms >= self.refused_again_ms.load(Ordering::Relaxed) {
            self.refused_again_ms.store(now_ms + REFUSED_PAUSE_MS, Ordering::Relaxed);
            hold(&self.gather).let_ask_again();
            self.room.wake();
        }
        Ok(())
    }

    /// True if the value that was refused last has no room.
    pub(crate) fn tell_value_room(&self) -> bool {
        let (before, refused) = {
            let mut gather = hold(&self.gather);
            (gather.refuses_values(), gather.set_value_room(self.value_room(&hold(&self.book))))
        };
        if before && !refused {
            self.room.wake();
        }
        refused
    }

    /// Writes all anew, with as many marks as there is room for. False if even what is no mark has none.
    pub(crate) fn squeezed_checkpoint(&self) -> Result<bool, DiskError> {
        if !self.make_checkpoint_room(true)? {
            return Ok(false);
        }
        let marks_bytes_max = {
            let book = hold(&self.book);
            let left = self.left_bytes(&book).saturating_sub(Self::value_bytes(&book));
            // Blocks and their index take an eighth at most. Above a quota that was lowered, all has room.
            let above = book.bytes(self.options.segment_bytes) > self.options.quota_bytes;
            self.marks_bytes_max(&book).min(if above { u64::MAX } else { left / 8 * 7 })
        };
        self.write_checkpoint(true, marks_bytes_max)
    }

    /// Room within the quota for one more layer, behind which a whole one without marks has room still; or for only that one. What the layers
    /// stand for goes first, then free segments beyond the reserve.
    pub(crate) fn make_checkpoint_room(&self, without_marks: bool) -> Result<bool, DiskError> {
        loop {
            let (fits, replaced, spare) = {
                let mut book = hold(&self.book);
                let size = if without_marks { Self::value_bytes(&book) } else { self.layer_bytes(&book) };
                let (bytes, quota) = (book.bytes(self.options.segment_bytes), self.options.quota_bytes);
                // Above a quota that was lowered, room comes by recycling alone, and that takes a checkpoint.
                let fits = bytes > quota || bytes + size <= quota;
                let mut replaced = Vec::new();
                if !fits {
                    let mut stack = Stack::clone(&book.checkpoint);
                    replaced = stack.drop_replaced();
                    book.checkpoint = std::sync::Arc::new(stack);
                }
                let spare = if fits || !replaced.is_empty() { None } else { self.take_spare(&mut book) };
                (fits, replaced, spare)
            };
            if fits {
                return Ok(true);
            }
            match spare {
                Some(free) => self.remove_spare(&free)?,
                None if replaced.is_empty() => return Ok(false),
                None => {
                    self.remove_all(&replaced)?;
                    self.disk.flush_dir().map_err(DiskError::of("flush the folder of", &self.disk.place()))?;
                }
            }
        }
    }

    /// Room for the next layer; and once those are gone that are put together in it, for a whole one without marks.
    fn layer_bytes(&self, book: &Book) -> u64 {
        let changed = self.changed_bytes(book);
        changed + book.checkpoint.merged_bytes(book.durable, changed).max(Self::value_bytes(book))
    }

    /// A free segment that is neither the reserve nor promised to the writer.
    fn take_spare(&self, book: &mut Book) -> Option<FreeFile> {
        if book.free.len() > 2 + self.options.reserve() { book.free.pop() } else { None }
    }

    fn remove_spare(&self, free: &FreeFile) -> Result<(), DiskError> {
        hold(&self.gather).add_free(-1);
        self.disk.remove(&free.name).map_err(DiskError::of("remove", &free.name))?;
        self.disk.flush_dir().map_err(DiskError::of("flush the folder of", &free.name))
    }
}
