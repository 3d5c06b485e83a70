//! A cold segment on its way to the disk: the frames of others are put together into runs, one compressed batch a partition.
//!
//! The file is nobody's until its heads are there, which come last; who began it flushes it and gives it its name.

use std::collections::BTreeMap;

use lamppost_event::{Commit, Epoch, Gap, Now, Offset, Position, TopicPartition};

use crate::book::Ranges;
use crate::disk::{DiskError, DiskFile};
use crate::format::batch::{BatchBuilder, Compression, Compressor};
use crate::format::footer::{Footer, Place};
use crate::format::frame::{BatchEntry, BatchPart, Frame, FrameParts, Kind, Range, encode};
use crate::format::segment::{FRAMES_AT, SegmentHead};
use crate::gather::Changes;
use crate::item::{ReadItem, ReadRecord, push_records};
use crate::keep::is_full;
use crate::read::internal;
use crate::times::is_one_clock;

/// A run ends once its events come to this much, before compression: bounds the memory of who writes and who reads it.
const RUN_BYTES: usize = 512 << 10;
/// Zstandard's level: what is written once and kept may take its time.
const LEVEL: i32 = 3;

/// Why no cold segment was written.
pub(crate) enum NotWritten {
    /// Not now: there is no room for it, or a part of what it is made of is refused and may be readable later. What there is stays as
    /// it is.
    NotNow,
    /// The disk failed.
    Disk(DiskError),
}

impl NotWritten {
    /// A disk that is full is no failure.
    pub(crate) fn of(error: DiskError) -> Self {
        if is_full(&error.source) { Self::NotNow } else { Self::Disk(error) }
    }
}

/// The frames that are being put together.
#[derive(Default)]
struct Run {
    batches: BTreeMap<TopicPartition, BatchBuilder>,
    bytes: usize,
    /// First commit, epoch, and time of the first frame.
    begun: Option<(Commit, Epoch, Now)>,
    last: Commit,
    /// The last position that it stands for.
    position: Position,
}

/// A cold segment on its way.
pub(crate) struct Making<'a> {
    file: &'a dyn DiskFile,
    name: &'a str,
    head: SegmentHead,
    /// The most bytes that it may have.
    room: u64,
    /// What is left out.
    out: &'a [TopicPartition],
    at: u64,
    run: Run,
    /// The ranges of the frame before.
    previous: Vec<Range>,
    compressor: Compressor,
    frame: Vec<u8>,
    counts: [u64; 3],
    ranges: Ranges,
    /// What can't be read although its frame can.
    unreadable: Vec<(Position, Gap)>,
}

impl<'a> Making<'a> {
    pub(crate) fn new(
        file: &'a dyn DiskFile,
        name: &'a str,
        head: SegmentHead,
        room: u64,
        out: &'a [TopicPartition],
    ) -> Self {
        Self {
            file,
            name,
            head,
            room,
            out,
            at: FRAMES_AT,
            run: Run::default(),
            previous: Vec::new(),
            compressor: Compressor::of_level(LEVEL),
            frame: Vec::new(),
            counts: [0; 3],
            ranges: Ranges::new(),
            unreadable: Vec::new(),
        }
    }

    /// Takes the next frame in, with the gaps before it. A gap in a partition ends a run that has events of that partition; so does
    /// a jump. A frame with something that can't be read is a run of its own, with the gap behind it.
    pub(crate) fn take(&mut self, frame: Option<&Frame>, gaps: &[Gap]) -> Result<(), NotWritten> {
        let apart = gaps.iter().any(|gap| self.run.batches.contains_key(&gap.at));
        let other = |frame: &Frame| {
            // A run has one time: that of its first frame. A clock that becomes right in it would be forgotten.
            let same = |(_, epoch, now): (Commit, Epoch, Now)| epoch == frame.epoch && is_one_clock(&now, &frame.now);
            !self.run.begun.is_none_or(same)
        };
        if apart || frame.is_some_and(other) || self.run.bytes >= RUN_BYTES {
            self.end_run()?;
        }
        let Some(frame) = frame else { return Ok(()) };
        let wanted = |entry: &&BatchEntry| !internal(&entry.at) && !self.out.contains(&entry.at);
        let (mut records, mut unreadable) = (Vec::new(), Vec::new());
        for entry in frame.batches.iter().filter(wanted) {
            let mut items = Vec::new();
            push_records(entry, frame.epoch, Offset(0), &mut items);
            for item in items {
                match item {
                    ReadItem::Record(record) => records.push((&entry.at, record)),
                    ReadItem::Gap(gap) => unreadable.push((frame.behind(), gap)),
                }
            }
        }
        let jumps = |(at, record): &(&TopicPartition, ReadRecord)| {
            self.run.batches.get(*at).is_some_and(|builder| record.offset > builder.next())
        };
        let first_of_each = records
            .iter()
            .enumerate()
            .filter(|(n, (at, _))| *n == 0 || records.get(n - 1).is_none_or(|before| before.0 != *at));
        if !unreadable.is_empty() || first_of_each.map(|(_, record)| record).any(jumps) {
            self.end_run()?;
        }
        self.run.begun.get_or_insert((frame.first, frame.epoch, frame.now));
        (self.run.last, self.run.position) = (frame.commit, Position(frame.behind().0 - 1));
        for (at, ReadRecord { offset, record, .. }) in records {
            let builder = self.run.batches.entry(at.clone()).or_default();
            if builder.count() == 0 {
                builder.begin(offset, record.timestamp);
            }
            // What is there twice no reader is given twice.
            if builder.next() == offset {
                self.run.bytes += record.bytes();
                builder.push(&record);
            }
        }
        if !unreadable.is_empty() {
            self.unreadable.append(&mut unreadable);
            self.end_run()?;
        }
        Ok(())
    }

    fn end_run(&mut self) -> Result<(), NotWritten> {
        let mut run = std::mem::take(&mut self.run);
        let Some((first, epoch, now)) = run.begun else { return Ok(()) };
        let (mut packed, mut parts) = (Vec::new(), Vec::new());
        for (at, builder) in &mut run.batches {
            let (base, count, start) = (builder.base(), builder.count(), packed.len());
            self.compressor.compress(builder.finish(), Compression::Zstd, &mut packed);
            parts.push((at, base, count, start..packed.len()));
        }
        let events = parts.iter().map(|(_, _, count, _)| count).sum();
        let batches = parts.into_iter().map(|(at, base, count, place)| {
            let bytes = packed.get(place).unwrap_or_default();
            BatchPart { at, base, count, bytes }
        });
        let batches: Vec<BatchPart<'_>> = batches.collect();
        let ranges = batches.iter().map(|batch| Range {
            at: batch.at.clone(),
            from: batch.base,
            to: Offset(batch.base.0 + u64::from(batch.count)),
        });
        let ranges: Vec<Range> = ranges.collect();
        let parts = FrameParts {
            kind: Kind::Data,
            run: Some(first),
            position: run.position,
            commit: run.last,
            epoch,
            now,
            events,
            batches,
            previous: &self.previous,
            body: &[],
        };
        encode(&mut self.frame, &parts, self.head.salt_at(self.at));
        let frame = std::mem::take(&mut self.frame);
        self.put(&frame)?;
        self.counts = [self.counts[0] + 1, self.counts[1] + u64::from(events), self.counts[2] + frame.len() as u64];
        for range in &ranges {
            self.ranges.entry(range.at.clone()).or_insert((range.from, range.to)).1 = range.to;
        }
        (self.previous, self.frame) = (ranges, frame);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), NotWritten> {
        if self.at + bytes.len() as u64 > self.room {
            return Err(NotWritten::NotNow);
        }
        self.write(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<(), NotWritten> {
        self.file.write_at(bytes, at).map_err(|error| NotWritten::of(DiskError::of("write", self.name)(error)))
    }

    /// Writes what is left, the footer, and last the heads. `hot` is what the hot segment's footer says, or would.
    pub(crate) fn finish(&mut self, mut hot: Footer) -> Result<(SegmentHead, Footer), NotWritten> {
        self.end_run()?;
        hot.gaps.append(&mut self.unreadable);
        // Readers and openings are told of them in this order: one before the earlier one's place would look like more that is missing.
        hot.gaps.sort_by_key(|(position, gap)| (*position, gap.from));
        let [frames, events, bytes] = self.counts;
        let footer = Footer {
            end: self.at,
            frames,
            events,
            bytes,
            state_from: hot.last_commit,
            ranges: std::mem::take(&mut self.ranges),
            state: Changes::new(),
            ..hot
        };
        let (_, encoded) = footer.encode(&self.head, Place::Behind).ok_or(NotWritten::NotNow)?;
        self.put(&encoded)?;
        let head = SegmentHead { bytes: self.at, first_commit: footer.first_commit, ..self.head };
        self.write(&head.encode(), 0)?;
        Ok((head, footer))
    }
}

#[cfg(test)]
mod tests {
    use lamppost_event::{Partition, Topic};

    use super::*;
    use crate::disk::{Access, Disk};
    use crate::sim::SimDisk;

    #[test]
    fn gaps_at_one_place_are_told_in_the_order_of_their_offsets() {
        let disk = SimDisk::new(1);
        let file = disk.create_zeroed("cold", 0).unwrap();
        let head = SegmentHead {
            number: 1,
            base: Position(0),
            bytes: 0,
            salt: 7,
            epoch: Epoch(1),
            identity: 2,
            first_commit: Commit(1),
            virgin: false,
            cold: true,
            span: 100_000,
        };
        let at = TopicPartition { topic: Topic::user("bulk").unwrap(), partition: Partition(0) };
        let gap = |from, to| {
            let gap = Gap { at: at.clone(), from: Offset(from), to: Offset(to), reason: "given up".to_owned() };
            (Position(99_999), gap)
        };
        let footer = Footer {
            first_commit: Commit(1),
            last_commit: Commit(9),
            end: FRAMES_AT,
            frames: 0,
            events: 0,
            bytes: 0,
            state_from: Commit(9),
            epoch: Epoch(1),
            span: None,
            ranges: Ranges::new(),
            gaps: vec![gap(161, 182), gap(140, 161)],
            state: Changes::new(),
        };
        let (head, _) = Making::new(&*file, "cold", head, 1 << 20, &[]).finish(footer).ok().unwrap();
        let read = Footer::read(&*disk.open("cold", Access::Read).unwrap(), &head).unwrap();
        assert_eq!(read.gaps, [gap(140, 161), gap(161, 182)]);
    }
}
