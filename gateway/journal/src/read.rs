//! Reading: durable frames only, in the order of the log, gaps where something is missing.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use lamppost_event::{Cursor, Gap, Group, JournalStopped, Offset, Position, Resume, TopicPartition};

use crate::book::{Book, Lease, Segment};
use crate::format::frame::Frame;
use crate::format::segment::FRAMES_AT;
use crate::item::{ItemInPlace, ReadItem, ReadOn, push_records};
use crate::options::Priority;
use crate::shared::Shared;
use crate::stats::count;
use crate::stops::Stops;
use crate::stretch::{self, LAPPED, Missing, Source, gaps_of, lapped};
pub(crate) use crate::stretch::{Stretch, internal};
use crate::waiting::hold;

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

/// What an event takes in a segment, about: for how many room is made at once, and for how many at most.
const EVENT_BYTES: usize = 160;
const ITEMS_MAX: usize = 8192;

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
        self.running()?;
        let on = stretch::visit(self, from, bytes_max, visit);
        // What was held while it was read may be what the keeper waits for.
        let waiting = !hold(&self.book).retiring.is_empty();
        if waiting || !self.has_room(Priority::Normal) {
            self.ask_keeper();
        }
        Ok(on)
    }

    /// Goes through a stretch to its end, or until `take` gives false. Gives where to go on.
    pub(crate) fn read_stretch(
        &self,
        stretch: &Stretch,
        take: &mut dyn FnMut(Option<&Frame>, Vec<Gap>) -> bool,
    ) -> Position {
        stretch::go_through(self, stretch, usize::MAX, &Cell::new(0), take)
    }

    pub(crate) fn read_partition(
        &self,
        at: &TopicPartition,
        from: Offset,
        bytes_max: usize,
    ) -> Result<PartitionChunk, JournalStopped> {
        self.running()?;
        let stopped = self.stops.find_partition(at, from);
        let (start, kept) = {
            let book = hold(&self.book);
            let kept = book.partitions.get(at).copied().unwrap_or_default();
            let wanted = from.max(kept.first);
            let holds = |segment: &&Segment| segment.ranges.get(at).is_some_and(|(_, to)| *to > wanted);
            let base = book.segments.iter().find(holds).map(|segment| segment.lease.head.base);
            // What is told only since then stands at its segment's beginning, or anywhere in it.
            let told = |base, stop| {
                book.gaps.range(base..stop).flat_map(|(_, gaps)| gaps).any(|gap| gap.at == *at && gap.to > from)
            };
            let stop = |base| stopped.filter(|stop| *stop > base && from >= kept.first && !told(base, *stop));
            (base.map(|base| stop(base).unwrap_or(base)), kept)
        };
        let mut items = Vec::new();
        let mut next = from.max(kept.first);
        if from < kept.first {
            let reason = LAPPED.to_owned();
            items.push(ReadItem::Gap(Gap { at: at.clone(), from, to: kept.first, reason }));
        }
        let mut place = start;
        let mut bytes = 0;
        while let Some(stretch) = place.and_then(|place| stretch_at(&hold(&self.book), place)) {
            let behind = self.read_stretch(&stretch, &mut |frame, gaps| {
                for mut gap in gaps {
                    if gap.at == *at && gap.to > next {
                        // What is missing before it as well was told of in a segment before the first that was looked at.
                        gap.from = gap.from.min(next);
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
                    let unpacked = push_records(entry, frame.epoch, next, &mut items);
                    bytes += unpacked.max(frame.bytes.len());
                    next = entry.next();
                }
                bytes < bytes_max
            });
            if bytes >= bytes_max {
                self.stops.note_partition(at, next, behind);
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
                let gaps = gaps_of(&book.gaps, &segment.lease.head, segment.lease.head.base);
                segment.ranges.iter().any(|(at, (_, to))| !internal(at) && next_of(at) < *to)
                    || gaps.iter().any(|(_, gap)| next_of(&gap.at) < gap.to)
            };
            let start = book.segments.iter().find(undone).map(|segment| segment.lease.head.base);
            let before_all = Position(first.0.saturating_sub(1));
            let known = table.iter().filter(|(_, entry)| !entry.reach.is_forgotten());
            let cursors: Vec<Cursor> = known.map(|(at, entry)| Cursor { at: at.clone(), next: entry.next() }).collect();
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
        let Some(stretch) = stretch_at(&hold(&self.book), base) else { return base };
        let next_of = |at: &TopicPartition| {
            cursors.iter().find(|cursor| cursor.at == *at).map_or(Offset(0), |cursor| cursor.next)
        };
        // Behind the frame before: what is told between the two is met as well.
        let (mut found, mut place) = (None, base);
        let behind = self.read_stretch(&stretch, &mut |frame, gaps| {
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

impl Source for Shared {
    fn look(&self, from: Position) -> (Vec<Gap>, Result<Stretch, Position>) {
        let book = hold(&self.book);
        let first = book.segments.front().map_or(Position(0), |segment| segment.lease.head.base);
        let firsts = book.partitions.iter().filter(|_| from < first).map(|(at, kept)| (at, kept.first));
        (lapped(firsts), stretch_at(&book, from).ok_or_else(|| from.max(book.end)))
    }

    fn missing<T>(&self, look: impl FnOnce(Missing<'_>) -> T) -> T {
        let Book { gaps, known_holes: holes, .. } = &mut *hold(&self.book);
        look(Missing { gaps, holes })
    }

    fn stops(&self) -> &Stops {
        &self.stops
    }

    fn read_patience(&self) -> Duration {
        self.options.read_patience
    }

    fn is_stopped(&self) -> bool {
        self.stopped.get().is_some()
    }

    /// Its file is not to be used again.
    fn note_refused(&self, lease: &Arc<Lease>) {
        let mut book = hold(&self.book);
        let Book { segments, retiring, .. } = &mut *book;
        if let Some(segment) = segments.iter_mut().chain(retiring).find(|segment| Arc::ptr_eq(&segment.lease, lease)) {
            segment.refused = true;
        }
    }

    fn note_unreadable(&self) {
        count(&self.counters.unreadable, 1);
    }

    fn is_reused(&self, _: &Lease) -> bool {
        // A file is not used again while anybody holds its lease.
        false
    }
}

/// The stretch to read at `from`, with the gaps to be told on the way. Segments without one sound frame are passed over.
fn stretch_at(book: &Book, from: Position) -> Option<Stretch> {
    let mut segments = book.segments_from(from);
    let told = |segment: &Segment| !gaps_of(&book.gaps, &segment.lease.head, from).is_empty();
    let segment = segments.find(|segment| segment.end > FRAMES_AT || told(segment))?;
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
        gaps: gaps_of(&book.gaps, head, from),
        ranges: segment.ranges.clone(),
        journal_end: book.end,
    }
}
