//! Reading: durable frames only, in the order of the log, gaps where something is missing.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use lamppost_event::{Cursor, Gap, Group, JournalStopped, Offset, Position, Resume, TopicPartition};

use crate::book::{Book, Lease, Ranges, Segment};
use crate::format::frame::Frame;
use crate::format::segment::{FRAMES_AT, SegmentHead};
use crate::item::{ItemInPlace, ReadItem, ReadOn, each_record, push_records};
use crate::scan::Account;
use crate::shared::Shared;
use crate::stats::count;
use crate::waiting::hold;
use crate::walk::{Frames, Patience, Step};

/// What one read gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadChunk {
    /// Events and gaps in the log's order.
    pub items: Vec<ReadItem>,
    /// Where to read on.
    pub next: Position,
    /// Nothing durable lies beyond `next` now.
    pub caught_up: bool,
}

/// What reading one partition gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionChunk {
    /// Events by rising offset, and gaps.
    pub items: Vec<ReadItem>,
    /// The next offset to ask for.
    pub next: Offset,
    /// Nothing durable lies beyond.
    pub caught_up: bool,
}

/// A partition and the offsets that are kept: from `first` up to, not with, `next`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionBounds {
    /// Which.
    pub at: TopicPartition,
    /// The first kept.
    pub first: Offset,
    /// The one after the last durable.
    pub next: Offset,
}

/// A stretch of one segment to read, as of one moment.
pub(crate) struct Stretch {
    lease: Arc<Lease>,
    from: Position,
    /// The byte behind its last frame.
    end: u64,
    /// Where to go on behind it.
    behind: Position,
    gaps: Vec<(Position, Gap)>,
    ranges: Ranges,
    journal_end: Position,
}

impl Stretch {
    pub(crate) fn head(&self) -> &SegmentHead {
        &self.lease.head
    }
}

/// What an event takes in a segment, about: for how many room is made at once, and for how many at most.
const EVENT_BYTES: usize = 160;
const ITEMS_MAX: usize = 8192;
/// More are not remembered.
const KNOWN_HOLES_MAX: usize = 1024;

const LAPPED: &str = "recycled before it was read";

pub(crate) fn internal(at: &TopicPartition) -> bool {
    at.topic.as_str().starts_with("__")
}

impl Shared {
    pub(crate) fn read(&self, from: Position, bytes_max: usize) -> Result<ReadChunk, JournalStopped> {
        // At once, and not doubled again and again: most of the time went into that.
        let mut items = Vec::with_capacity((bytes_max / EVENT_BYTES).min(ITEMS_MAX));
        let on = self.read_in_place(from, bytes_max, &mut |item| items.push(item.keep()))?;
        Ok(ReadChunk { items, next: on.next, caught_up: on.caught_up })
    }

    pub(crate) fn read_in_place(
        &self,
        from: Position,
        bytes_max: usize,
        visit: &mut impl FnMut(ItemInPlace<'_>),
    ) -> Result<ReadOn, JournalStopped> {
        let on = self.visit(from, bytes_max, visit);
        // What was held while it was read may be what the keeper waits for.
        let waiting = !hold(&self.book).retiring.is_empty();
        if waiting || !hold(&self.gather).has_room(false) {
            self.ask_keeper();
        }
        on
    }

    fn visit(
        &self,
        from: Position,
        bytes_max: usize,
        visit: &mut impl FnMut(ItemInPlace<'_>),
    ) -> Result<ReadOn, JournalStopped> {
        self.running()?;
        let (mut next, mut bytes, any) = (from, 0, Cell::new(false));
        let mut visit = |item: ItemInPlace<'_>| {
            any.set(true);
            visit(item);
        };
        loop {
            let (lapped, stretch) = {
                // One look: what is published between two of them would be jumped over.
                let book = hold(&self.book);
                let stretch = stretch(&book, next).ok_or_else(|| next.max(book.end));
                (lapped(&book, next), stretch)
            };
            lapped.into_iter().for_each(|gap| visit(ItemInPlace::Gap(gap)));
            let stretch = match stretch {
                Ok(stretch) => stretch,
                Err(next) => return Ok(ReadOn { next, caught_up: true }),
            };
            next = self.read_stretch(&stretch, bytes_max, &mut bytes, &mut |frame, gaps| {
                gaps.into_iter().for_each(|gap| visit(ItemInPlace::Gap(gap)));
                if let Some(frame) = frame {
                    let entries = frame.batches.iter().filter(|entry| !internal(&entry.at));
                    entries.for_each(|entry| each_record(entry, frame.epoch, Offset(0), &mut visit));
                }
                true
            });
            if bytes >= bytes_max && any.get() {
                return Ok(ReadOn { next, caught_up: next >= stretch.journal_end });
            }
        }
    }

    /// Goes through a stretch until `bytes_max`, or until `take` gives false. Gives where to go on.
    pub(crate) fn read_stretch(
        &self,
        stretch: &Stretch,
        bytes_max: usize,
        bytes: &mut usize,
        take: &mut dyn FnMut(Option<&Frame>, Vec<Gap>) -> bool,
    ) -> Position {
        let head = &stretch.lease.head;
        let mut gaps = stretch.gaps.clone();
        let mut patience = Patience::new(self.options.read_patience);
        let mut frames = Frames::new(&*stretch.lease.file, head, stretch.end, stretch.from).limited(bytes_max);
        // Gaps before this position have been told.
        let (mut hole, mut told) = (None, stretch.from);
        while let Some(step) = frames.step() {
            let (frame, next) = match step {
                Step::Frame(frame, next) => (frame, next),
                Step::Hole { at, refused: true } if !self.is_known_hole(head.position(at)) && patience.pause() => {
                    // Refused is not damaged: it is asked for again before it is called a gap.
                    frames.again(at);
                    continue;
                }
                Step::Hole { at, refused } => {
                    hole.get_or_insert(at);
                    if refused {
                        self.note_refused(&stretch.lease);
                    }
                    continue;
                }
                Step::Passed => {
                    // What is missing before it is of no concern to who has read further; but it is not asked for again.
                    if let Some(from) = hole.take() {
                        let key = (head.position(from), head.position(frames.at()));
                        hold(&self.book).known_holes.insert(key);
                    }
                    continue;
                }
            };
            patience = Patience::new(self.options.read_patience);
            if let Some(from) = hole.take() {
                gaps = self.account_for_hole(stretch, from..frames.at() - frame.padded(), told);
            }
            told = Position(frame.position.0 + 1);
            *bytes += frame.bytes.len();
            let more = take(Some(&frame), due(&mut gaps, frame.position));
            if !more || (*bytes >= bytes_max && frames.at() < stretch.end) {
                return next;
            }
        }
        if let Some(from) = hole {
            gaps = self.account_for_hole(stretch, from..stretch.end, told);
        }
        let rest = due(&mut gaps, Position(head.limit().0 - 1));
        if !rest.is_empty() {
            take(None, rest);
        }
        stretch.behind
    }

    /// The disk refuses to read a part of that segment: its file is not to be used again.
    fn note_refused(&self, lease: &Arc<Lease>) {
        let mut book = hold(&self.book);
        let Book { segments, retiring, .. } = &mut *book;
        if let Some(segment) = segments.iter_mut().chain(retiring).find(|segment| Arc::ptr_eq(&segment.lease, lease)) {
            segment.refused = true;
        }
    }

    fn is_known_hole(&self, position: Position) -> bool {
        let book = hold(&self.book);
        self.stopped.get().is_some() || book.known_holes.iter().any(|(from, to)| *from <= position && position < *to)
    }

    /// These bytes were passed over: names what that cost this reader, unless it is known from before. A later look may read
    /// them; that does not help the reader who is past them. Gives all gaps to be told from a position on.
    fn account_for_hole(&self, stretch: &Stretch, hole: Range<u64>, told: Position) -> Vec<(Position, Gap)> {
        let head = &stretch.lease.head;
        let key = (head.position(hole.start), head.position(hole.end));
        let known = hold(&self.book).known_holes.contains(&key);
        let found = if known { Vec::new() } else { missing(stretch, hole) };
        let mut book = hold(&self.book);
        for (position, gap) in found {
            let known =
                book.gaps.values().flatten().any(|old| old.at == gap.at && old.from <= gap.from && gap.to <= old.to);
            if !known {
                let told = book.gaps.entry(position).or_default();
                told.push(gap);
                told.sort_by_key(|gap| gap.from);
            }
        }
        if book.known_holes.len() >= KNOWN_HOLES_MAX {
            // Those that are met again are accounted for again, and found in the book.
            book.known_holes.clear();
        }
        if book.known_holes.insert(key) && !known {
            count(&self.counters.unreadable, 1);
        }
        // Another reader may have come upon more since this one looked at the book.
        gaps_in(&book, told.max(head.base)..head.limit()).collect()
    }

    pub(crate) fn read_partition(
        &self,
        at: &TopicPartition,
        from: Offset,
        bytes_max: usize,
    ) -> Result<PartitionChunk, JournalStopped> {
        self.running()?;
        let (start, kept) = {
            let book = hold(&self.book);
            let kept = book.partitions.get(at).copied().unwrap_or_default();
            let wanted = from.max(kept.first);
            let holds = |segment: &&Segment| segment.ranges.get(at).is_some_and(|(_, to)| *to > wanted);
            (book.segments.iter().find(holds).map(|segment| segment.lease.head.base), kept)
        };
        let mut items = Vec::new();
        let mut next = from.max(kept.first);
        if from < kept.first {
            let reason = LAPPED.to_owned();
            items.push(ReadItem::Gap(Gap { at: at.clone(), from, to: kept.first, reason }));
        }
        let mut place = start;
        let mut bytes = 0;
        while let Some(stretch) = place.and_then(|place| stretch(&hold(&self.book), place)) {
            let mut ignored = 0;
            let behind = self.read_stretch(&stretch, usize::MAX, &mut ignored, &mut |frame, gaps| {
                for gap in gaps {
                    if gap.at == *at && gap.to > next {
                        next = gap.to;
                        items.push(ReadItem::Gap(gap));
                    }
                }
                let Some(frame) = frame else { return true };
                for entry in &frame.batches {
                    if entry.at != *at || entry.next() <= next {
                        continue;
                    }
                    if entry.base > next {
                        // Its segment went between the first look at the book and the reading.
                        let (from, to, reason) = (next, entry.base, LAPPED.to_owned());
                        items.push(ReadItem::Gap(Gap { at: at.clone(), from, to, reason }));
                    }
                    push_records(entry, frame.epoch, next, &mut items);
                    bytes += frame.bytes.len();
                    next = entry.next();
                }
                bytes < bytes_max
            });
            if bytes >= bytes_max {
                return Ok(PartitionChunk { items, next, caught_up: next >= kept.next });
            }
            place = Some(behind);
        }
        if next < kept.next {
            // Everything was gone through: the partition ends with what is missing.
            let book = hold(&self.book);
            let known = book.gaps.values().flatten().find(|gap| gap.at == *at && gap.to > next);
            let reason = known.map_or_else(|| LAPPED.to_owned(), |gap| gap.reason.clone());
            items.push(ReadItem::Gap(Gap { at: at.clone(), from: next, to: kept.next, reason }));
            next = kept.next;
        }
        Ok(PartitionChunk { items, next, caught_up: true })
    }

    pub(crate) fn resume(&self, group: &Group) -> Result<Resume, JournalStopped> {
        self.running()?;
        let (cursors, start) = {
            let book = hold(&self.book);
            let table = book.cursors.get(group).cloned().unwrap_or_default();
            let next_of = |at: &TopicPartition| table.get(at).map_or(Offset(0), |entry| entry.next());
            let first = book.segments.front().map_or(Position(0), |segment| segment.lease.head.base);
            let lapped = book.partitions.iter().any(|(at, kept)| !internal(at) && next_of(at) < kept.first);
            let undone = |segment: &&Segment| {
                let gaps = gaps_of(&book, segment, segment.lease.head.base);
                segment.ranges.iter().any(|(at, (_, to))| !internal(at) && next_of(at) < *to)
                    || gaps.iter().any(|(_, gap)| next_of(&gap.at) < gap.to)
            };
            let start = book.segments.iter().find(undone).map(|segment| segment.lease.head.base);
            let before_all = Position(first.0.saturating_sub(1));
            let cursors: Vec<Cursor> =
                table.iter().map(|(at, entry)| Cursor { at: at.clone(), next: entry.next() }).collect();
            let start = if lapped { Err(before_all) } else { start.ok_or(book.end) };
            (cursors, start)
        };
        let position = match start {
            Err(position) => position,
            Ok(base) => self.first_undone(base, &cursors),
        };
        Ok(Resume { position, cursors })
    }

    /// Where reading meets the first event or gap from `base` on that the cursors have not passed.
    fn first_undone(&self, base: Position, cursors: &[Cursor]) -> Position {
        let Some(stretch) = stretch(&hold(&self.book), base) else { return base };
        let next_of = |at: &TopicPartition| {
            cursors.iter().find(|cursor| cursor.at == *at).map_or(Offset(0), |cursor| cursor.next)
        };
        // Behind the frame before: what is told between the two is met as well.
        let (mut found, mut place) = (None, base);
        let behind = self.read_stretch(&stretch, usize::MAX, &mut 0, &mut |frame, gaps| {
            let batches = frame.iter().flat_map(|frame| &frame.batches);
            let mut undone = batches.map(|entry| (&entry.at, entry.next())).filter(|(at, _)| !internal(at));
            let missing = gaps.iter().any(|gap| next_of(&gap.at) < gap.to);
            if missing || undone.any(|(at, to)| next_of(at) < to) {
                found = Some(place);
            } else if let Some(frame) = frame {
                place = frame.behind();
            }
            found.is_none()
        });
        found.unwrap_or(behind)
    }
}

/// What fell out before `from` could be read.
fn lapped(book: &Book, from: Position) -> Vec<Gap> {
    let first = book.segments.front().map_or(Position(0), |segment| segment.lease.head.base);
    if from >= first {
        return Vec::new();
    }
    let gone = book.partitions.iter().filter(|(at, kept)| !internal(at) && kept.first > Offset(0));
    gone.map(|(at, kept)| Gap { at: at.clone(), from: Offset(0), to: kept.first, reason: LAPPED.to_owned() }).collect()
}

/// The stretch to read at `from`, with the gaps to be told on the way. Segments without one sound frame are passed over.
fn stretch(book: &Book, from: Position) -> Option<Stretch> {
    let mut segments = book.segments_from(from);
    let segment = segments.find(|segment| segment.end > FRAMES_AT || !gaps_of(book, segment, from).is_empty())?;
    Some(stretch_of(book, segment, from))
}

/// All of one segment.
pub(crate) fn whole(book: &Book, segment: &Segment) -> Stretch {
    stretch_of(book, segment, segment.lease.head.base)
}

fn stretch_of(book: &Book, segment: &Segment, from: Position) -> Stretch {
    let head = &segment.lease.head;
    let last = book.segments.back().is_some_and(|last| Arc::ptr_eq(&last.lease, &segment.lease));
    Stretch {
        lease: Arc::clone(&segment.lease),
        from,
        end: segment.end,
        behind: if last { segment.behind() } else { head.limit() },
        gaps: gaps_of(book, segment, from),
        ranges: segment.ranges.clone(),
        journal_end: book.end,
    }
}

/// The gaps to be told in a segment, to a reader who comes from there.
fn gaps_of(book: &Book, segment: &Segment, from: Position) -> Vec<(Position, Gap)> {
    let head = &segment.lease.head;
    if from >= head.limit() { Vec::new() } else { gaps_in(book, from.max(head.base)..head.limit()).collect() }
}

fn gaps_in(book: &Book, places: Range<Position>) -> impl Iterator<Item = (Position, Gap)> {
    let found = book.gaps.range(places);
    found.flat_map(|(position, gaps)| gaps.iter().map(|gap| (*position, gap.clone())))
}

/// Takes the gaps up to `place` off the front.
fn due(gaps: &mut Vec<(Position, Gap)>, place: Position) -> Vec<Gap> {
    let count = gaps.partition_point(|(position, _)| *position <= place);
    gaps.drain(..count).map(|(_, gap)| gap).collect()
}

/// Goes through a segment whose offsets are known, but for the hole, and names what the hole must have held.
fn missing(stretch: &Stretch, hole: Range<u64>) -> Vec<(Position, Gap)> {
    let head = &stretch.lease.head;
    let mut account = Account::default();
    for (at, (from, _)) in &stretch.ranges {
        account.next.insert(at.clone(), *from);
    }
    take_frames(stretch, 0..hole.start, &mut account);
    // Other holes have been named by those who met them.
    account.gaps.clear();
    take_frames(stretch, hole.end..stretch.end, &mut account);
    for (at, (_, to)) in &stretch.ranges {
        let next = account.next.get(at).copied().unwrap_or(*to);
        // In a cold segment no position names a byte: behind all its frames is its end.
        let last = if head.cold { Position(head.limit().0 - 1) } else { head.position(stretch.end - 1) };
        account.gap(at, next, *to, last);
    }
    account.gaps.into_iter().flat_map(|(position, gaps)| gaps.into_iter().map(move |gap| (position, gap))).collect()
}

fn take_frames(stretch: &Stretch, bytes: Range<u64>, account: &mut Account) {
    let head = &stretch.lease.head;
    let mut frames = Frames::new(&*stretch.lease.file, head, stretch.end.min(bytes.end), head.base);
    frames.again(bytes.start.max(FRAMES_AT));
    while let Some(step) = frames.step() {
        if let Step::Frame(frame, _) = step {
            account.take(&frame, None);
        }
    }
}
