//! Cooling: the oldest hot segment, whose events have to be kept longer, is rewritten into a dense, compressed, immutable cold one,
//! and comes free.
//!
//! A cold frame stands for a run of hot ones: per partition one compressed batch of all their events, and the last position that
//! they took. It is written whole and flushed before it gets its name, and only then is the hot one given free: at every moment one of the two
//! is complete, and if both are there the hot one counts.
//!
//! **Invariant:** offsets, epochs and the order in a partition stay; a gap stays between the events that it stood between.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lamppost_event::{Commit, Epoch, Gap, Now, Offset, Position, TopicPartition};

use crate::book::{Book, Lease, Ranges, Segment};
use crate::disk::{DiskError, DiskFile};
use crate::format::batch::{BatchBuilder, Compression, Compressor};
use crate::format::footer::{Footer, Place};
use crate::format::frame::{BatchEntry, BatchPart, Frame, FrameParts, Kind, Range, encode};
use crate::format::segment::{FRAMES_AT, SegmentHead, cold_name};
use crate::gather::Changes;
use crate::keep::is_full;
use crate::read::{ReadItem, ReadRecord, Stretch, internal, push_records, whole};
use crate::shared::Shared;
use crate::stats::count;
use crate::waiting::hold;

/// A run ends once its events come to this much, before compression: bounds the memory of who writes and who reads it.
const RUN_BYTES: usize = 512 << 10;
/// After there was no room for a cold segment, it is tried again only once something has gone, or after this.
const PAUSE_MS: u64 = 60_000;
/// So many small cold segments become one.
const MERGED: usize = 8;
/// Zstandard's level: what is written once and kept may take its time.
const LEVEL: i32 = 3;

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
struct Making<'a> {
    file: &'a dyn DiskFile,
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

/// Partitions that are left out of a segment that is written anew, and why.
pub(crate) struct LeftOut {
    pub(crate) places: Vec<TopicPartition>,
    pub(crate) reason: &'static str,
}

impl Shared {
    /// Rewrites the oldest hot segment. False if there is none but the one being written to, or no room.
    pub(crate) fn cool(&self) -> Result<bool, DiskError> {
        let oldest = {
            let book = hold(&self.book);
            let last = book.segments.len().saturating_sub(1);
            book.segments.iter().take(last).map(|segment| segment.lease.head).find(|head| !head.cold)
        };
        let Some(head) = oldest else { return Ok(false) };
        if self.now_ms() < self.cool_again_ms.load(Ordering::Relaxed) {
            return Ok(false);
        }
        // A little is left for making room by leaving something out of what is cold already.
        let slack = self.options.segment_bytes / 4;
        let written = self.rewrite(&[head.number], slack, &LeftOut { places: Vec::new(), reason: "" })?;
        if written {
            count(&self.counters.cooled, 1);
        } else {
            // Trying wears the card: not again before something has gone, or a while.
            self.cool_again_ms.store(self.now_ms() + PAUSE_MS, Ordering::Relaxed);
        }
        Ok(written)
    }

    /// Puts small cold segments that lie side by side together. False if there are too few of about one size.
    pub(crate) fn merge(&self) -> Result<bool, DiskError> {
        let numbers = {
            let book = hold(&self.book);
            let Some((numbers, bytes)) = small_ones(&book, self.options.segment_bytes) else { return Ok(false) };
            // Their frames take no more together than apart; with less room it is not begun.
            if self.room_for_cold(&book) < bytes {
                return Ok(false);
            }
            numbers
        };
        self.rewrite(&numbers, 0, &LeftOut { places: Vec::new(), reason: "" })
    }

    /// Writes segments that lie side by side anew as one cold one, without some partitions. False if there is no room for it, less
    /// the slack.
    pub(crate) fn rewrite(&self, numbers: &[u64], slack: u64, out: &LeftOut) -> Result<bool, DiskError> {
        let (stretches, uncovered) = {
            let book = hold(&self.book);
            let covered = book.checkpoint.covered();
            let sources = book.segments.iter().filter(|segment| numbers.contains(&segment.lease.head.number));
            // What a hot one holds of the state goes with it.
            let uncovered = sources.clone().any(|segment| !segment.lease.head.cold && segment.last_commit > covered);
            if !book.retiring.is_empty() && sources.clone().any(|segment| segment.lease.head.cold) {
                // While a hot original is still there it counts at the next opening, and not what was made of the cold one since.
                return Ok(false);
            }
            (sources.map(|segment| whole(&book, segment)).collect::<Vec<_>>(), uncovered)
        };
        if stretches.is_empty() || (uncovered && !self.checkpoint()?) {
            return Ok(false);
        }
        let room = self.room_for_cold(&hold(&self.book)).saturating_sub(slack);
        let temporary = format!("{}.tmp", cold_name(numbers.first().copied().unwrap_or_default()));
        match self.write_cold(&stretches, room, &temporary, out) {
            Ok((segment, gaps)) => {
                drop(stretches);
                self.replace(numbers, segment, gaps).map(|()| true)
            }
            Err(error) if is_full(&error.source) => {
                drop(self.disk.remove(&temporary));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// What the quota leaves for a cold segment, beside the checkpoints.
    fn room_for_cold(&self, book: &Book) -> u64 {
        let taken = book.bytes(self.options.segment_bytes) + self.checkpoint_room(book);
        self.options.quota_bytes.saturating_sub(taken)
    }

    /// Gives the new segment and all gaps that are to be told in it.
    fn write_cold(
        &self,
        stretches: &[Stretch],
        room: u64,
        temporary: &str,
        out: &LeftOut,
    ) -> Result<(Segment, Vec<(Position, Gap)>), DiskError> {
        let failed = |error| DiskError::of("write", temporary)(error);
        let gone = || failed(io::ErrorKind::NotFound.into());
        let first = stretches.first().ok_or_else(gone)?.head();
        let file = self.disk.create_zeroed(temporary, 0).map_err(DiskError::of("create", temporary))?;
        let salt = hold(&self.random).next_u64();
        // Positions between two neighbours may be nobody's: those of a segment that was begun and not gone on with.
        let limit = stretches.last().map_or(first.limit(), |last| last.head().limit());
        let span = limit.0 - first.base.0;
        let head = SegmentHead { salt, virgin: false, cold: true, span, ..*first };
        let mut making = Making::new(&*file, head, room, &out.places);
        let mut outcome = Ok(());
        for stretch in stretches {
            self.read_stretch(stretch, usize::MAX, &mut 0, &mut |frame, gaps| {
                outcome = making.take(frame, &gaps);
                outcome.is_ok()
            });
            outcome.map_err(failed)?;
            outcome = Ok(());
        }
        // What a cold one keeps back now may be readable later; a hot one is kept under another name.
        let refused = |segment: &Segment| segment.refused && segment.lease.head.cold;
        let sources = stretches.iter().map(|stretch| stretch.head().number);
        if sources.clone().any(|number| hold(&self.book).segment(number).is_some_and(refused)) {
            return Err(failed(io::ErrorKind::QuotaExceeded.into()));
        }
        let known = {
            let book = hold(&self.book);
            let of = |stretch: &Stretch| {
                let number = stretch.head().number;
                let source = book.segment(number)?;
                let mut footer = book.footer(source);
                for (position, gap) in left_out(source, out) {
                    let inside =
                        |(_, old): &(Position, Gap)| old.at == gap.at && gap.from <= old.from && old.to <= gap.to;
                    footer.gaps.retain(|old| !inside(old));
                    footer.gaps.push((position, gap));
                }
                Some(footer)
            };
            stretches.iter().filter_map(of).reduce(together)
        };
        let (head, footer) = making.finish(known.ok_or_else(gone)?).map_err(failed)?;
        file.flush().map_err(DiskError::of("flush", temporary))?;
        let name = cold_name(head.number);
        self.disk.rename(temporary, &name).map_err(DiskError::of("rename", temporary))?;
        self.disk.flush_dir().map_err(DiskError::of("flush the folder for", &name))?;
        count(&self.counters.bytes_written, head.bytes);
        count(&self.counters.cold_bytes, head.bytes);
        count(&self.counters.flushes, 1);
        let segment = Segment {
            lease: Arc::new(Lease { head, file }),
            name,
            end: footer.end,
            extent: head.bytes,
            first_commit: footer.first_commit,
            last_commit: footer.last_commit,
            ranges: footer.ranges,
            counts: [footer.frames, footer.events, footer.bytes],
            span: footer.span,
            sealed: true,
            refused: false,
        };
        Ok((segment, footer.gaps))
    }

    /// Puts the cold segment in the place of those that it was written from.
    fn replace(&self, numbers: &[u64], cold: Segment, gaps: Vec<(Position, Gap)>) -> Result<(), DiskError> {
        let head = cold.lease.head;
        let removed = {
            let mut book = hold(&self.book);
            // They were named by their places in the files that go.
            book.known_holes.retain(|(from, _)| *from < head.base || *from >= head.limit());
            let inside: Vec<Position> =
                book.gaps.range(head.base..head.limit()).map(|(position, _)| *position).collect();
            inside.iter().for_each(|position| drop(book.gaps.remove(position)));
            for (position, gap) in gaps {
                let left_out = !cold.ranges.contains_key(&gap.at);
                if let Some(kept) = book.partitions.get_mut(&gap.at).filter(|kept| left_out && gap.from <= kept.first) {
                    kept.first = kept.first.max(gap.to);
                }
                book.gaps.entry(position).or_default().push(gap);
            }
            let mut before = Vec::new();
            let mut cold = Some(cold);
            for segment in std::mem::take(&mut book.segments) {
                if !numbers.contains(&segment.lease.head.number) {
                    book.segments.push_back(segment);
                    continue;
                }
                before.push(segment);
                book.segments.extend(cold.take());
            }
            let (hot, cold): (Vec<_>, Vec<_>) = before.into_iter().partition(|segment| !segment.lease.head.cold);
            book.retiring.extend(hot);
            cold
        };
        // The first one's file went as the new one got its name. Until the others are gone, they are known by what they cover.
        for segment in removed.into_iter().filter(|segment| segment.lease.head.number != head.number) {
            self.disk.remove(&segment.name).map_err(DiskError::of("remove", &segment.name))?;
        }
        self.retire().map(drop)
    }

    /// Gives the hot segments free that nobody reads any more. True if one was.
    pub(crate) fn retire(&self) -> Result<bool, DiskError> {
        let done: Vec<Segment> =
            hold(&self.book).retiring.extract_if(.., |segment| Arc::strong_count(&segment.lease) == 1).collect();
        let mut retired = false;
        for segment in done {
            if self.release(segment)? {
                self.add_free();
                retired = true;
            }
        }
        Ok(retired)
    }
}

/// What two neighbours hold together. Gaps that have nothing between them become one.
fn together(one: Footer, two: Footer) -> Footer {
    let mut gaps = one.gaps;
    for (position, gap) in two.gaps {
        let touching = gaps
            .iter_mut()
            .find(|(_, before)| before.at == gap.at && before.to == gap.from && before.reason == gap.reason);
        match touching {
            // It is told where the later one was: nothing of the partition lies between the two.
            Some((place, before)) => (*place, before.to) = (position, gap.to),
            None => gaps.push((position, gap)),
        }
    }
    let span = match (one.span, two.span) {
        (Some((first, _)), Some((_, last))) => Some((first, last)),
        (one, two) => one.or(two),
    };
    Footer { first_commit: one.first_commit, gaps, span, ..two }
}

/// Cold segments side by side, of about one size: enough of them that putting them together is worth the writing.
fn small_ones(book: &Book, segment_bytes: u64) -> Option<(Vec<u64>, u64)> {
    // Sizes that are within a factor of eight are about one size: nothing is written more often than there are such steps.
    let step = |segment: &Segment| {
        let bytes = segment.lease.head.bytes;
        let small = segment.lease.head.cold && !segment.refused && bytes < segment_bytes / 2;
        small.then(|| bytes.ilog2() / 3)
    };
    let mut run: Vec<&Segment> = Vec::new();
    for segment in &book.segments {
        if run.last().is_some_and(|last| step(last) != step(segment)) {
            run.clear();
        }
        if step(segment).is_none() {
            continue;
        }
        run.push(segment);
        if run.len() >= MERGED {
            // The frames, and one segment's heads and footer.
            let bytes = run.iter().map(|segment| segment.counts[2]).sum::<u64>() + 2 * FRAMES_AT;
            return Some((run.iter().map(|segment| segment.lease.head.number).collect(), bytes));
        }
    }
    None
}

/// The gaps that leaving partitions out makes. They stand at the segment's very end: nothing else of those partitions is in it.
fn left_out(source: &Segment, out: &LeftOut) -> Vec<(Position, Gap)> {
    let position = Position(source.lease.head.limit().0 - 1);
    let gap = |at: &TopicPartition| {
        let (from, to) = source.ranges.get(at).copied()?;
        Some((position, Gap { at: at.clone(), from, to, reason: out.reason.to_owned() }))
    };
    out.places.iter().filter_map(gap).collect()
}

impl<'a> Making<'a> {
    fn new(file: &'a dyn DiskFile, head: SegmentHead, room: u64, out: &'a [TopicPartition]) -> Self {
        Self {
            file,
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
    fn take(&mut self, frame: Option<&Frame>, gaps: &[Gap]) -> io::Result<()> {
        let apart = gaps.iter().any(|gap| self.run.batches.contains_key(&gap.at));
        let other = |frame: &Frame| {
            let same = |(_, epoch, now): (Commit, Epoch, Now)| epoch == frame.epoch && now.boot == frame.now.boot;
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

    fn end_run(&mut self) -> io::Result<()> {
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

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.at + bytes.len() as u64 > self.room {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        self.file.write_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Writes what is left, the footer, and last the heads. `hot` is what the hot segment's footer says, or would.
    fn finish(&mut self, mut hot: Footer) -> io::Result<(SegmentHead, Footer)> {
        self.end_run()?;
        hot.gaps.append(&mut self.unreadable);
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
        let (_, encoded) = footer.encode(&self.head, Place::Behind).ok_or(io::ErrorKind::QuotaExceeded)?;
        self.put(&encoded)?;
        let head = SegmentHead { bytes: self.at, first_commit: footer.first_commit, ..self.head };
        self.file.write_at(&head.encode(), 0)?;
        Ok((head, footer))
    }
}
