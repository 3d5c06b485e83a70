//! The one writer: a commit is one write and one flush, whatever the number of partitions, and never extends a file.
//!
//! **Invariant:** what is counted durable was flushed, and after a failed write or flush nothing is counted durable any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::{Commit, Epoch, Group, JournalStopped, Now, Offset, Position, StoredRecord, TopicPartition};

use crate::book::{FreeFile, Lease, Reach, Segment};
use crate::disk::DiskError;
use crate::format::batch::BatchBuilder;
use crate::format::checkpoint::{CURSOR, cursor_key};
use crate::format::frame::{BatchPart, FrameParts, Kind, Range, encode_head, head_bytes};
use crate::format::segment::{FRAMES_AT, SegmentHead, hot_name};
use crate::format::{PAGE, padded};
use crate::gather::{Changes, Sealed};
use crate::packing::Packing;
use crate::shared::{STATE_SLOT, Shared};
use crate::stats::count;
use crate::sync::moment;
use crate::waiting::hold;

/// The segment being written to, and what the next frame needs.
pub(crate) struct Writer {
    pub(crate) lease: Arc<Lease>,
    /// Where the next frame goes.
    pub(crate) at: u64,
    pub(crate) epoch: Epoch,
    /// The last frame's offsets.
    pub(crate) previous: Vec<Range>,
    pub(crate) state_next: Offset,
    /// Kept free at the end of a segment, for a close frame or a footer.
    pub(crate) close_room: u64,
    /// When the last frame was written.
    pub(crate) now: Now,
    /// Builders to be used again.
    pub(crate) used: Vec<BatchBuilder>,
    pub(crate) frame: Vec<u8>,
    pub(crate) state: BatchBuilder,
    pub(crate) packing: Packing,
    /// What the last frame's write and flush took.
    pub(crate) disk_time: Duration,
    /// A commit is durable, and those who wait for it have not been woken.
    pub(crate) unannounced: bool,
}

static ZEROS: [u8; PAGE] = [0; PAGE];

type Written = Vec<(Group, TopicPartition, Reach)>;

impl Shared {
    /// Writes what has gathered, and the cursors that moved. True if there was something; then it is to be announced. `slept` is how
    /// long the writer had nothing to do before; `None` if time is to decide nothing.
    pub(crate) fn commit_step(&self, slept: Option<Duration>) -> Result<bool, JournalStopped> {
        let mut writer = hold(&self.writer);
        // Under the lock: nothing is written behind a close frame.
        self.running()?;
        let Some((mut sealed, cursors)) = self.seal(&mut writer) else {
            self.announce(&mut writer);
            return Ok(false);
        };
        self.room.wake();
        match self.write(&mut writer, &mut sealed, slept) {
            Ok(rolled) => self.publish(&mut writer, sealed, rolled, &cursors),
            Err(error) => return Err(self.stop(error.to_string())),
        }
        writer.unannounced = true;
        drop(writer);
        if self.wants_keeping() {
            self.ask_keeper();
        }
        Ok(true)
    }

    /// Wakes those who wait for the last commit. With the next one due at once that is done while its bytes are on their way to the
    /// device: waking takes as long as a tenth of a fast disk's flush.
    pub(crate) fn announce(&self, writer: &mut Writer) {
        if std::mem::take(&mut writer.unannounced) {
            self.committed.wake();
        }
    }

    fn seal(&self, writer: &mut Writer) -> Option<(Sealed, Written)> {
        let mut cursors = hold(&self.book).dirty_cursors();
        let mut gather = hold(&self.gather);
        // What does not fit goes with a later commit.
        cursors.retain(|(group, at, reach)| gather.push_cursor(cursor_key(group, at).into(), reach.encode().into()));
        if gather.is_empty() {
            return None;
        }
        Some((gather.seal(std::mem::take(&mut writer.used), &self.slots), cursors))
    }

    /// True if it went into a new segment.
    fn write(&self, writer: &mut Writer, sealed: &mut Sealed, slept: Option<Duration>) -> Result<bool, DiskError> {
        let mut state = std::mem::take(&mut writer.state);
        let mut gathered: Vec<(usize, &mut BatchBuilder)> =
            sealed.batches.iter_mut().map(|(slot, builder)| (*slot, builder)).collect();
        if !sealed.state.is_empty() {
            fill_state(&mut state, writer.state_next, &sealed.state, self.clock.now().wall);
            writer.state_next = state.next();
            gathered.push((STATE_SLOT, &mut state));
        }
        let (places, mut builders): (Vec<&TopicPartition>, Vec<&mut BatchBuilder>) =
            gathered.into_iter().filter_map(|(slot, builder)| Some((self.slots.get(slot)?, builder))).unzip();
        let mut packing = std::mem::take(&mut writer.packing);
        let head = head_bytes(places.iter().copied(), &writer.previous);
        if packing.wants(head, &builders, self.options.compression, slept) {
            // It takes longer than waking.
            self.announce(writer);
            packing.pack(head, &mut builders, self.options.compression);
        }
        let parts = places.into_iter().zip(builders).enumerate().map(|(number, (at, builder))| {
            let (base, count) = (builder.base(), builder.count());
            BatchPart { at, base, count, bytes: packing.packed(number).unwrap_or_else(|| builder.finish()) }
        });
        let rolled = self.write_frame(writer, Kind::Data, sealed.commit, sealed.events, parts.collect())?;
        packing.written(writer.disk_time);
        (writer.state, writer.packing) = (state, packing);
        Ok(rolled)
    }

    /// Writes and flushes one frame, in a new segment if this one has no room for it.
    pub(crate) fn write_frame(
        &self,
        writer: &mut Writer,
        kind: Kind,
        commit: Commit,
        events: u32,
        batches: Vec<BatchPart<'_>>,
    ) -> Result<bool, DiskError> {
        let ranges = batches.iter().map(|batch| Range {
            at: batch.at.clone(),
            from: batch.base,
            to: Offset(batch.base.0 + u64::from(batch.count)),
        });
        let ranges: Vec<Range> = ranges.collect();
        let previous = std::mem::replace(&mut writer.previous, ranges);
        let mut frame = std::mem::take(&mut writer.frame);
        writer.now = self.clock.now();
        let mut parts = FrameParts {
            kind,
            run: None,
            position: writer.lease.head.position(writer.at),
            commit,
            epoch: writer.epoch,
            now: writer.now,
            events,
            batches,
            previous: &previous,
            body: &[],
        };
        let mut length = encode_head(&mut frame, &parts, writer.lease.head.salt);
        let bytes = padded(length) as u64;
        let room = if kind == Kind::Close { 0 } else { writer.close_room };
        let rolled = writer.at + bytes + room > writer.lease.head.bytes;
        if rolled {
            // It takes several flushes.
            self.announce(writer);
            self.roll(writer, commit)?;
            parts.position = writer.lease.head.position(writer.at);
            length = encode_head(&mut frame, &parts, writer.lease.head.salt);
        }
        let number = writer.lease.head.number;
        let name = || hot_name(number);
        assert!(writer.at + bytes <= writer.lease.head.bytes, "a frame never extends its file");
        let mut pieces = Vec::with_capacity(parts.batches.len() + 2);
        pieces.push(frame.as_slice());
        pieces.extend(parts.batches.iter().map(|batch| batch.bytes));
        pieces.push(ZEROS.get(..padded(length) - length).unwrap_or_default());
        let begun = moment();
        writer.lease.file.write_pieces_at(&pieces, writer.at).map_err(|e| DiskError::of("write", &name())(e))?;
        let written = moment();
        if writer.unannounced {
            writer.lease.file.start_flush(writer.at, bytes);
            self.announce(writer);
        }
        writer.lease.file.flush().map_err(|e| DiskError::of("flush", &name())(e))?;
        let flushed = moment();
        writer.disk_time = flushed - begun;
        self.counters.flush_times.add(flushed - written);
        count(&self.counters.flushes, 1);
        writer.at += bytes;
        count(&self.counters.bytes_written, bytes);
        writer.frame = frame;
        Ok(rolled)
    }

    /// Goes on to a prepared segment.
    pub(crate) fn roll(&self, writer: &mut Writer, first_commit: Commit) -> Result<(), DiskError> {
        let segment = self.begin_segment(first_commit, writer.epoch)?;
        writer.lease = Arc::clone(&segment.lease);
        writer.at = FRAMES_AT;
        let sealed = {
            let mut book = hold(&self.book);
            let sealed = book.segments.back().map(|last| last.lease.head.number);
            book.begin(segment);
            sealed
        };
        // Only now: a segment with a footer is never the last.
        sealed.map_or(Ok(()), |number| self.seal_segment(number))
    }

    /// A file that has a live name still is a segment by its heads: they are replaced one after the other, the unsound one first if one
    /// is, so that there always is a sound one.
    fn write_heads(&self, free: &FreeFile, heads: &[u8]) -> Result<(), DiskError> {
        let (first, second) = heads.split_at(PAGE);
        let mut pieces = vec![(0, heads)];
        if free.name.starts_with("hot-") {
            pieces = vec![(0, first), (PAGE as u64, second)];
            let mut page = vec![0; PAGE];
            let sound = free.file.read_at(&mut page, PAGE as u64).is_ok() && SegmentHead::decode(&page).is_ok();
            if !sound {
                pieces.reverse();
            }
        }
        for (at, piece) in pieces {
            free.file.write_at(piece, at).map_err(DiskError::of("write", &free.name))?;
            free.file.flush().map_err(DiskError::of("flush", &free.name))?;
        }
        Ok(())
    }

    /// Gives a prepared file its head and its live name, durably.
    pub(crate) fn begin_segment(&self, first_commit: Commit, epoch: Epoch) -> Result<Segment, DiskError> {
        let (free, number, base) = {
            let mut book = hold(&self.book);
            let free = book.free.pop();
            book.rolling = self.options.segment_bytes;
            let (number, base) = (book.next_number, book.next_base);
            book.next_number += 1;
            book.next_base = Position(base.0 + self.options.segment_bytes);
            (free, number, base)
        };
        let missing = || std::io::Error::new(std::io::ErrorKind::StorageFull, "no prepared segment is left");
        let free = free.ok_or_else(missing).map_err(DiskError::of("begin a segment in", "the journal"))?;
        let salt = hold(&self.random).next_u64();
        let (bytes, identity, virgin) = (self.options.segment_bytes, self.identity, free.virgin);
        let (cold, span) = (false, bytes);
        let head = SegmentHead { number, base, bytes, salt, epoch, identity, first_commit, virgin, cold, span };
        let page = head.encode();
        self.write_heads(&free, &page)?;
        let name = hot_name(number);
        self.disk.rename(&free.name, &name).map_err(DiskError::of("rename", &free.name))?;
        self.disk.flush_dir().map_err(DiskError::of("flush the folder for", &name))?;
        count(&self.counters.bytes_written, page.len() as u64);
        count(&self.counters.flushes, 2);
        let lease = Arc::new(Lease { head, file: free.file });
        Ok(Segment {
            lease,
            name,
            end: FRAMES_AT,
            extent: FRAMES_AT,
            first_commit,
            last_commit: Commit(0),
            ranges: Default::default(),
            counts: [0; 3],
            span: None,
            sealed: false,
            refused: false,
        })
    }

    fn publish(&self, writer: &mut Writer, sealed: Sealed, rolled: bool, cursors: &Written) {
        let now_ms = self.now_ms();
        {
            let mut book = hold(&self.book);
            for range in &writer.previous {
                match book.partitions.get_mut(&range.at) {
                    Some(kept) => kept.next = range.to,
                    None => book.partitions.entry(range.at.clone()).or_default().next = range.to,
                }
            }
            for (key, value) in sealed.state.iter().filter(|(key, _)| key.first() != Some(&CURSOR)) {
                book.learn(sealed.commit, key, value.as_ref());
            }
            book.settle_cursors(cursors, now_ms);
            book.end = writer.lease.head.position(writer.at);
            book.durable = sealed.commit;
            if let Some(segment) = book.segments.back_mut() {
                let [frames, events, bytes] = segment.counts;
                segment.counts = [frames + 1, events + u64::from(sealed.events), bytes + (writer.at - segment.end)];
                segment.span = Some((segment.span.map_or(writer.now, |(first, _)| first), writer.now));
                segment.end = writer.at;
                segment.extent = writer.at;
                segment.last_commit = sealed.commit;
                for range in &writer.previous {
                    match segment.ranges.get_mut(&range.at) {
                        Some(entry) => entry.1 = range.to,
                        None => drop(segment.ranges.insert(range.at.clone(), (range.from, range.to))),
                    }
                }
            }
        }
        self.durable.store(sealed.commit.0, Ordering::Release);
        let mut gather = hold(&self.gather);
        let values = gather.written();
        let remaining = (writer.lease.head.bytes - writer.at).saturating_sub(writer.close_room);
        gather.settle(remaining, sealed.roll, rolled);
        if values {
            gather.set_value_room(self.value_room(&hold(&self.book)));
        }
        drop(gather);
        self.room.wake();
        writer.used.extend(sealed.batches.into_iter().map(|(_, builder)| builder));
        count(&self.counters.commits, 1);
        count(&self.counters.events, u64::from(sealed.events));
        count(&self.counters.event_bytes, sealed.event_bytes);
    }

    /// Writes the frame that proves a clean end, behind all that has gathered. Nothing more is taken since `closing` was set.
    pub(crate) fn close_step(&self) -> Result<(), JournalStopped> {
        while self.commit_step(None)? {}
        if hold(&self.book).cursors_since.is_some() {
            // No room was left for them in the log. Without room for a checkpoint either, a little is delivered again.
            let _one_at_a_time = hold(&self.keeping);
            self.checkpoint().map_err(|error| self.stop(error.to_string()))?;
        }
        let mut writer = hold(&self.writer);
        self.running()?;
        let commit = {
            let mut gather = hold(&self.gather);
            debug_assert!(gather.is_empty(), "nothing gathers while the journal is being closed");
            let commit = gather.commit;
            gather.commit = commit.next();
            commit
        };
        match self.write_frame(&mut writer, Kind::Close, commit, 0, Vec::new()) {
            Ok(_) => self.durable.store(commit.0, Ordering::Release),
            Err(error) => return Err(self.stop(error.to_string())),
        }
        self.stop("it was closed".to_owned());
        drop(writer);
        Ok(())
    }
}

fn fill_state(builder: &mut BatchBuilder, base: Offset, state: &Changes, timestamp: lamppost_event::WallTime) {
    builder.begin(base, timestamp);
    for (key, value) in state {
        let record = StoredRecord { timestamp, key: key.clone(), value: value.clone(), header: Bytes::new() };
        builder.push(&record);
    }
}
