//! Making the log ready to be written to: the end is proved, or its last frames are written anew where nothing was before.

use std::collections::VecDeque;
use std::sync::Arc;

use lamppost_event::Commit;

use crate::book::{FreeFile, Segment};
use crate::disk::DiskError;
use crate::format::frame::copy_to;
use crate::format::segment::free_name;
use crate::gather::Space;
use crate::recover::{OpenError, Recovery, Surveyed, frame_bytes, tail_of};
use crate::shared::Shared;
use crate::stats::count;
use crate::waiting::hold;

impl Shared {
    /// Segments that are not part of the log become free space.
    pub(crate) fn free_up(&self, dropped: Vec<Surveyed>) -> Result<(), OpenError> {
        for segment in dropped {
            self.release(segment.into_segment())?;
        }
        Ok(())
    }

    /// Turns a segment's file into a free one; one of another size is removed.
    pub(crate) fn release(&self, segment: Segment) -> Result<bool, DiskError> {
        let Segment { lease, name, .. } = segment;
        let reusable = lease.head.bytes == self.options.segment_bytes;
        if reusable {
            let free = {
                let mut book = hold(&self.book);
                book.next_number += 1;
                free_name(book.next_number - 1)
            };
            self.disk.rename(&name, &free).map_err(DiskError::of("rename", &name))?;
            self.disk.flush_dir().map_err(DiskError::of("flush the folder for", &free))?;
            let file = Arc::clone(&lease.file);
            hold(&self.book).free.push(FreeFile { name: free, file, virgin: false });
        } else {
            self.disk.remove(&name).map_err(DiskError::of("remove", &name))?;
            self.disk.flush_dir().map_err(DiskError::of("flush the folder for", &name))?;
        }
        Ok(reusable)
    }

    /// Sets the writer to the end of the log: in the same segment after a clean end, else in a fresh one that begins with
    /// copies of the last frames.
    pub(crate) fn continue_log(
        &self,
        mut segments: Vec<Surveyed>,
        clean: bool,
        recovery: &mut Recovery,
    ) -> Result<(), OpenError> {
        let mut released = None;
        if clean {
            let last = segments.pop().map(Surveyed::into_segment);
            hold(&self.book).segments.extend(segments.into_iter().map(Surveyed::into_segment).chain(last));
        } else {
            self.prepare_at_opening()?;
            let copied = match segments.last() {
                Some(last) => Some(self.copy_tail(last, recovery)?),
                None => None,
            };
            if let (Some(from), Some(mut last)) = (copied, segments.pop()) {
                last.survey.cut(from);
                limit_ranges(&mut last, &hold(&self.book).segments);
                if last.survey.frames.is_empty() {
                    released = Some(last.into_segment());
                } else {
                    segments.push(last);
                }
            } else {
                let segment = self.begin_segment(Commit(recovery.commit.0 + 1), recovery.epoch)?;
                hold(&self.book).segments.push_back(segment);
            }
            let mut book = hold(&self.book);
            for segment in segments.into_iter().rev() {
                book.segments.push_front(segment.into_segment());
            }
        }
        if let Some(segment) = released {
            self.release(segment)?;
        }
        // The reserve; without it the journal is full, which is seen.
        if hold(&self.book).free.is_empty() {
            match self.prepare_at_opening() {
                Ok(()) | Err(OpenError::NoRoom { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.start_writing();
        Ok(())
    }

    fn start_writing(&self) {
        let mut writer = hold(&self.writer);
        let mut book = hold(&self.book);
        let Some(segment) = book.segments.back() else { return };
        (writer.lease, writer.at) = (Arc::clone(&segment.lease), segment.end);
        book.end = writer.lease.head.position(writer.at);
        let free = book.free.len();
        drop(book);
        let mut gather = hold(&self.gather);
        let remaining = (writer.lease.head.bytes - writer.at).saturating_sub(writer.close_room);
        gather.set_space(Space { remaining, free });
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
        if !self.may_grow() {
            return Err(no_room("the quota is used up".to_owned()));
        }
        match self.grow() {
            Ok(true) => Ok(()),
            Ok(false) => Err(no_room("the disk is full".to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the last frames into a fresh segment and flushes it. Gives the place from which the old ones are replaced.
    fn copy_tail(&self, last: &Surveyed, recovery: &mut Recovery) -> Result<u64, OpenError> {
        let notes = tail_of(last);
        let first = notes.first().copied();
        let first_commit = first.map_or(Commit(recovery.commit.0 + 1), |note| note.commit);
        let mut segment = self.begin_segment(first_commit, recovery.epoch)?;
        let (lease, mut out) = (Arc::clone(&segment.lease), Vec::new());
        for (index, note) in notes.iter().enumerate() {
            // It was sound a moment ago: a disk that now says otherwise is not to be written to.
            let unsound = || std::io::Error::other("a frame that was sound can't be read again");
            let bytes = frame_bytes(last, note).ok_or_else(unsound).map_err(DiskError::of("read", &last.name))?;
            let position = lease.head.position(segment.end);
            copy_to(&mut out, &bytes, position, lease.head.salt, index + 1 == notes.len());
            lease.file.write_at(&out, segment.end).map_err(DiskError::of("write", &segment.name))?;
            segment.end += out.len() as u64;
            segment.last_commit = note.commit;
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
        hold(&self.book).segments.push_back(segment);
        Ok(first.map_or(last.survey.end, |note| note.at))
    }
}

/// What the copies hold is no longer the old segment's.
fn limit_ranges(last: &mut Surveyed, copies: &VecDeque<Segment>) {
    for (at, (from, _)) in copies.back().iter().flat_map(|segment| &segment.ranges) {
        if let Some(range) = last.survey.ranges.get_mut(at) {
            range.1 = range.1.min(*from);
        }
    }
}
