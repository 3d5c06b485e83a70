//! Making the log ready to be written to: the end is proved, or its last frames are written anew where nothing was before.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use lamppost_event::{Commit, Epoch, Position};

use crate::book::{FreeFile, Segment};
use crate::disk::{DiskError, DiskFile};
use crate::format::PAGE;
use crate::format::frame::{Kind, copy_to, reopen_to};
use crate::format::segment::{FRAMES_AT, SegmentHead, free_name, hot_name};
use crate::gather::Space;
use crate::recover::{OpenError, Recovery, Surveyed};
use crate::scan::Note;
use crate::shared::Shared;
use crate::stats::count;
use crate::waiting::hold;
use crate::walk::{Look, Walk};

impl Shared {
    /// Segments that are not part of the log can be begun anew as they are: their names and heads stay until then. Gives those
    /// of another size.
    pub(crate) fn lend(&self, dropped: Vec<Surveyed>) -> Vec<Segment> {
        let mut surplus = Vec::new();
        for segment in dropped.into_iter().map(Surveyed::into_segment) {
            if segment.lease.head.bytes == self.options.segment_bytes && !segment.refused {
                let file = Arc::clone(&segment.lease.file);
                hold(&self.book).free.push(FreeFile { name: segment.name, file, virgin: false });
            } else {
                surplus.push(segment);
            }
        }
        surplus
    }

    /// What was lent and not begun becomes free for good; what has another size goes.
    pub(crate) fn free_up(&self, surplus: Vec<Segment>) -> Result<(), OpenError> {
        let lent = hold(&self.book).free.extract_if(.., |free| free.name.starts_with("hot-")).collect::<Vec<_>>();
        for FreeFile { name, file, virgin } in lent {
            let name = self.rename_free(&name)?;
            hold(&self.book).free.push(FreeFile { name, file, virgin });
        }
        for segment in surplus {
            self.release(segment)?;
        }
        Ok(())
    }

    /// The reserve, if there is room for one. Without it the journal is full, until the keeper has made one.
    pub(crate) fn prepare_reserve(&self) -> Result<(), OpenError> {
        match self.prepare_at_opening() {
            Ok(()) | Err(OpenError::NoRoom { .. }) => {}
            Err(error) => return Err(error),
        }
        let free = hold(&self.book).free.len();
        let mut space = hold(&self.gather).space();
        space.free = free;
        hold(&self.gather).set_space(space);
        Ok(())
    }

    /// Gives a file the name of a free one.
    pub(crate) fn rename_free(&self, name: &str) -> Result<String, DiskError> {
        let free = {
            let mut book = hold(&self.book);
            book.next_number += 1;
            free_name(book.next_number - 1)
        };
        self.disk.rename(name, &free).map_err(DiskError::of("rename", name))?;
        self.disk.flush_dir().map_err(DiskError::of("flush the folder for", &free))?;
        Ok(free)
    }

    /// Turns a segment's file into a free one; one of another size is removed.
    pub(crate) fn release(&self, segment: Segment) -> Result<bool, DiskError> {
        let Segment { lease, name, refused, .. } = segment;
        if refused {
            // Kept, so that its bad places are not written to again, and for whoever can read more of it.
            self.disk.rename(&name, &format!("damaged-{name}")).map_err(DiskError::of("rename", &name))?;
            self.disk.flush_dir().map_err(DiskError::of("flush the folder for", &name))?;
            let mut book = hold(&self.book);
            book.other_bytes += lease.head.bytes;
            book.aside.push((format!("damaged-{name}"), lease.head.bytes));
            return Ok(false);
        }
        let surplus = {
            let book = hold(&self.book);
            let more = !self.options.required.is_empty() && book.hot_files() >= self.options.hot_segments_max();
            // The quota was lowered, or somebody put a file there: what comes free goes, down to the files that the least quota has room for. But
            // not while none is free: there is no room for another, and without one recovery could not begin.
            let above = book.bytes(self.options.segment_bytes) + lease.head.bytes > self.options.quota_bytes;
            above && !book.free.is_empty() && book.hot_files() > 3 + self.options.reserve()
                || more && book.free.len() >= self.free_wanted(&book)
        };
        let reusable = lease.head.bytes == self.options.segment_bytes && !lease.head.cold && !surplus;
        if reusable {
            let name = self.rename_free(&name)?;
            let file = Arc::clone(&lease.file);
            hold(&self.book).free.push(FreeFile { name, file, virgin: false });
        } else {
            self.disk.remove(&name).map_err(DiskError::of("remove", &name))?;
            self.disk.flush_dir().map_err(DiskError::of("flush the folder for", &name))?;
        }
        Ok(reusable)
    }

    /// Makes the end of the log ready: in the same segment if it is proved, else in a fresh one that begins with copies of the last
    /// frames.
    pub(crate) fn continue_log(
        &self,
        mut segments: Vec<Surveyed>,
        proved: bool,
        recovery: &mut Recovery,
    ) -> Result<(), OpenError> {
        let mut released = None;
        if proved {
            let last = segments.pop().map(Surveyed::into_segment);
            hold(&self.book).segments.extend(segments.into_iter().map(Surveyed::into_segment).chain(last));
        } else {
            self.prepare_at_opening()?;
            // A sealed one was flushed before the next was begun: there is nothing to prove.
            let copied = match segments.last().filter(|last| !last.head.cold && !last.survey.sealed) {
                Some(last) => Some(self.copy_tail(last, recovery)?),
                None => None,
            };
            if let Some((from, mut last)) = copied.and_then(|from| segments.pop().map(|last| (from, last))) {
                last.survey.cut(from);
                limit_ranges(&mut last, &hold(&self.book).segments);
                if last.survey.frames.is_empty() {
                    released = Some(last.into_segment());
                } else {
                    segments.push(last);
                }
            } else {
                let segment = self.begin_segment(Commit(recovery.commit.0 + 1), recovery.epoch)?;
                hold(&self.book).begin(segment);
            }
            let mut book = hold(&self.book);
            for segment in segments.into_iter().rev() {
                book.segments.push_front(segment.into_segment());
            }
        }
        if let Some(segment) = released {
            self.release(segment)?;
        }
        Ok(())
    }

    /// Sets the writer to the end of the log.
    pub(crate) fn start_writing(&self, closed: bool) -> Result<(), OpenError> {
        let mut writer = hold(&self.writer);
        {
            let mut book = hold(&self.book);
            let Some(segment) = book.segments.back() else { return Ok(()) };
            (writer.lease, writer.at) = (Arc::clone(&segment.lease), segment.end);
            book.end = writer.lease.head.position(writer.at);
        }
        if closed {
            unclose(&*writer.lease.file, &writer.lease.head, writer.at, writer.epoch)
                .map_err(DiskError::of("go on in", &hot_name(writer.lease.head.number)))?;
            count(&self.counters.flushes, 1);
        }
        let free = hold(&self.book).free.len();
        let remaining = (writer.lease.head.bytes - writer.at).saturating_sub(writer.close_room);
        hold(&self.gather).set_space(Space { remaining, free });
        Ok(())
    }

    /// At least one free segment.
    fn prepare_at_opening(&self) -> Result<(), OpenError> {
        if !hold(&self.book).free.is_empty() {
            return Ok(());
        }
        let no_room = |reason: String| OpenError::NoRoom {
            bytes: self.options.segment_bytes,
            quota_bytes: self.options.quota_bytes,
            reason,
        };
        while !self.may_grow(0) {
            if !self.drop_aside()? {
                return Err(no_room("the quota is used up".to_owned()));
            }
        }
        match self.grow() {
            Ok(true) => Ok(()),
            Ok(false) => Err(no_room("the disk is full".to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the last frames into a fresh segment and flushes it. Gives the place from which the old ones are replaced.
    fn copy_tail(&self, last: &Surveyed, recovery: &mut Recovery) -> Result<u64, OpenError> {
        let room = self.options.segment_bytes - FRAMES_AT;
        // Nothing has been changed by then.
        let too_small = || {
            std::io::Error::other(format!(
                "they don't fit into a segment of {} bytes: open the journal once with the segment size that it had ({})",
                self.options.segment_bytes, last.head.bytes
            ))
        };
        let notes = tail_of(last, room).ok_or_else(too_small);
        let notes = notes.map_err(DiskError::of("write anew the last frames of", &last.name))?;
        let first = notes.first().copied();
        let first_commit = first.map_or(Commit(recovery.commit.0 + 1), |note| note.commit);
        let mut segment = self.begin_segment(first_commit, recovery.epoch)?;
        let (lease, mut out) = (Arc::clone(&segment.lease), Vec::new());
        for (index, note) in notes.iter().enumerate() {
            // It was sound a moment ago: a disk that now says otherwise is not to be written to.
            let unsound = || std::io::Error::other("a frame that was sound can't be read again");
            let bytes = frame_bytes(last, note).ok_or_else(unsound).map_err(DiskError::of("read", &last.name))?;
            let position = lease.head.position(segment.end);
            self.move_gaps(last.head.position(note.at), position);
            copy_to(&mut out, &bytes, position, lease.head.salt, index + 1 == notes.len());
            lease.file.write_at(&out, segment.end).map_err(DiskError::of("write", &segment.name))?;
            segment.end += out.len() as u64;
            segment.extent = segment.end;
            segment.last_commit = note.commit;
            let [frames, events, bytes] = segment.counts;
            segment.counts = [frames + 1, events + u64::from(note.events), bytes + note.bytes];
            segment.span = Some((segment.span.map_or(note.now, |(first, _)| first), note.now));
            count(&self.counters.bytes_written, out.len() as u64);
        }
        lease.file.flush().map_err(DiskError::of("flush", &segment.name))?;
        count(&self.counters.flushes, 1);
        recovery.rewritten = notes.len() as u64;
        segment.ranges = if notes.len() == last.survey.frames.len() {
            last.survey.ranges.clone()
        } else {
            let ranges = &hold(&self.writer).previous;
            ranges.iter().map(|range| (range.at.clone(), (range.from, range.to))).collect()
        };
        if segment.end > FRAMES_AT {
            // What is known to be missing behind the log's old end comes behind the copies.
            self.move_gaps(lease.head.base, lease.head.position(segment.end - 1));
        }
        hold(&self.book).begin(segment);
        Ok(first.map_or(last.survey.end, |note| note.at))
    }

    /// Gaps are told where they belong among the frames, wherever those are now.
    fn move_gaps(&self, from: Position, to: Position) {
        let mut book = hold(&self.book);
        if let Some(gaps) = book.gaps.remove(&from) {
            book.gaps.entry(to).or_default().extend(gaps);
        }
    }
}

/// Replaces the close frame that ends at byte `end` by an empty data frame of `epoch`, so that the end counts as clean no more. It
/// holds nothing else: torn in the middle, it costs a commit number.
fn unclose(file: &dyn DiskFile, head: &SegmentHead, end: u64, epoch: Epoch) -> std::io::Result<()> {
    let mut at = end;
    while let Some(before) = at.checked_sub(PAGE as u64).filter(|before| *before >= FRAMES_AT) {
        at = before;
        if let Look::Frame(frame) = Walk::new(file, head, end).look(at)
            && frame.kind == Kind::Close
        {
            let mut out = Vec::new();
            reopen_to(&mut out, &frame.bytes, epoch, head.salt);
            file.write_at(&out, at)?;
            return file.flush();
        }
    }
    Err(std::io::Error::other("the close frame can't be read again"))
}

/// What the copies hold is no longer the old segment's.
fn limit_ranges(last: &mut Surveyed, copies: &VecDeque<Segment>) {
    for (at, (from, _)) in copies.back().iter().flat_map(|segment| &segment.ranges) {
        if let Some(range) = last.survey.ranges.get_mut(at) {
            range.1 = range.1.min(*from);
        }
    }
}

/// The frames to write anew: all of the last segment if they are few, so that the segment comes free; else the last one. Copies that
/// nothing was written behind need not have been flushed: all of them. `None` if they need more than `room`: segments may be smaller now.
fn tail_of(last: &Surveyed, room: u64) -> Option<&[Note]> {
    let all = last.survey.frames.as_slice();
    let bytes = |notes: &[Note]| notes.iter().map(|note| note.bytes).sum::<u64>();
    let few = (last.head.bytes / 16).max(4 * PAGE as u64).min(room);
    let notes = if bytes(all) <= few || last.survey.is_only_copies() {
        all
    } else {
        all.get(all.len().saturating_sub(1)..).unwrap_or_default()
    };
    (bytes(notes) <= room).then_some(notes)
}

/// The bytes of a frame, checked again as they are read.
fn frame_bytes(last: &Surveyed, note: &Note) -> Option<Bytes> {
    let mut walk = Walk::new(&*last.file, &last.head, last.head.bytes);
    match walk.look(note.at) {
        Look::Frame(frame) => Some(frame.bytes),
        _ => None,
    }
}
