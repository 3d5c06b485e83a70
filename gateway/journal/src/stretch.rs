//! Going through one segment's frames in order, with the gaps between them: the one rule by which everybody who reads comes upon what is
//! missing, in an open journal or from outside.
//!
//! - A gap that is known is told before the frame at its position, or else at its segment's end.
//! - Where no frame stands, the hole is accounted for: what the segment holds by its ranges, and no frame holds, is a gap.
//! - Refused is not damaged: what the disk refuses to read is asked for again before it is a hole.
//! - A hole is accounted for once; later readers are told of the same gaps, also if the disk reads that place by then.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use lamppost_event::{Gap, Offset, Position, TopicPartition};

use crate::book::{Lease, Ranges};
use crate::format::frame::Frame;
use crate::format::segment::{FRAMES_AT, SegmentHead};
use crate::item::{ItemInPlace, ReadOn, each_record};
use crate::scan::Account;
use crate::stops::Stops;
use crate::walk::{Frames, Patience, Step};

/// More are not remembered.
const KNOWN_HOLES_MAX: usize = 1024;

pub(crate) const LAPPED: &str = "recycled before it was read";

/// Gaps by the position of the frame that showed them.
pub(crate) type Gaps = BTreeMap<Position, Vec<Gap>>;

pub(crate) fn internal(at: &TopicPartition) -> bool {
    at.topic.as_str().starts_with("__")
}

/// A stretch of one segment to read, as of one moment.
pub(crate) struct Stretch {
    pub(crate) lease: Arc<Lease>,
    pub(crate) from: Position,
    /// The byte behind its last frame.
    pub(crate) end: u64,
    /// Where to go on behind it.
    pub(crate) behind: Position,
    pub(crate) gaps: Vec<(Position, Gap)>,
    pub(crate) ranges: Ranges,
    pub(crate) journal_end: Position,
}

impl Stretch {
    pub(crate) fn head(&self) -> &SegmentHead {
        &self.lease.head
    }
}

/// What is known of what is missing.
pub(crate) struct Missing<'a> {
    pub(crate) gaps: &'a mut Gaps,
    /// Bytes that reading had to pass over (from, to), and has accounted for.
    pub(crate) holes: &'a mut BTreeSet<(Position, Position)>,
}

/// A log that is read.
pub(crate) trait Source {
    /// What fell out before `from` could be read, and the stretch to read there; or, where nothing lies beyond, the log's end. All as of
    /// one moment: what is published between two looks would be jumped over.
    fn look(&self, from: Position) -> (Vec<Gap>, Result<Stretch, Position>);
    fn missing<T>(&self, look: impl FnOnce(Missing<'_>) -> T) -> T;
    fn stops(&self) -> &Stops;
    /// How long a disk that refuses to read is asked again.
    fn read_patience(&self) -> Duration;
    /// Nobody should be kept waiting any more.
    fn is_stopped(&self) -> bool;
    /// The disk refuses to read a part of that segment.
    fn note_refused(&self, lease: &Arc<Lease>);
    /// A hole was met that nobody had met before.
    fn note_unreadable(&self);
    /// The segment's file holds another one by now: nobody keeps it for who reads from outside.
    fn is_reused(&self, lease: &Lease) -> bool;
}

/// Events and gaps from `from` on, up to about `bytes_max` bytes (at least one frame): on the disk or, where that is more, in memory. What is
/// compressed well would else be read by the hundredfold.
pub(crate) fn visit(
    source: &impl Source,
    from: Position,
    bytes_max: usize,
    visit: &mut impl FnMut(ItemInPlace<'_>),
) -> ReadOn {
    let (mut next, bytes, any) = (from, Cell::new(0), Cell::new(false));
    let mut visit = |item: ItemInPlace<'_>| {
        any.set(true);
        visit(item);
    };
    loop {
        let (lapped, stretch) = source.look(next);
        lapped.into_iter().for_each(|gap| visit(ItemInPlace::Gap(gap)));
        let stretch = match stretch {
            Ok(stretch) => stretch,
            Err(next) => return ReadOn { next, caught_up: true },
        };
        next = go_through(source, &stretch, bytes_max, &bytes, &mut |frame, gaps| {
            gaps.into_iter().for_each(|gap| visit(ItemInPlace::Gap(gap)));
            if let Some(frame) = frame {
                let entries = frame.batches.iter().filter(|entry| !internal(&entry.at));
                let unpacked = entries.map(|entry| each_record(entry, frame.epoch, Offset(0), &mut visit));
                bytes.set(bytes.get() + unpacked.sum::<usize>().saturating_sub(frame.bytes.len()));
            }
            true
        });
        if bytes.get() >= bytes_max && any.get() {
            return ReadOn { next, caught_up: next >= stretch.journal_end };
        }
    }
}

/// Goes through a stretch until `bytes_max`, or until `take` gives false. Gives where to go on. Adds each frame's bytes to `bytes`; `take` may
/// add more.
pub(crate) fn go_through(
    source: &impl Source,
    stretch: &Stretch,
    bytes_max: usize,
    bytes: &Cell<usize>,
    take: &mut dyn FnMut(Option<&Frame>, Vec<Gap>) -> bool,
) -> Position {
    let head = stretch.head();
    let mut gaps = stretch.gaps.clone();
    let mut patience = Patience::new(source.read_patience());
    let begin = source.stops().find(head, stretch.from);
    let mut frames =
        Frames::new(&*stretch.lease.file, head, stretch.end, stretch.from).beginning(begin).limited(bytes_max);
    // Gaps before this position have been told.
    let (mut hole, mut told) = (None, stretch.from);
    while let Some(step) = frames.step() {
        let (frame, next) = match step {
            Step::Frame(frame, next) => (frame, next),
            Step::Hole { at, refused: true } if !is_known_hole(source, head.position(at)) && patience.pause() => {
                // Refused is not damaged: it is asked for again before it is called a gap.
                frames.again(at);
                continue;
            }
            Step::Hole { at, refused } => {
                hole.get_or_insert(at);
                if refused {
                    source.note_refused(&stretch.lease);
                }
                continue;
            }
            Step::Passed => {
                // What is missing before it is of no concern to who has read further; but it is not asked for again.
                if let Some(from) = hole.take() {
                    let key = (head.position(from), head.position(frames.at()));
                    source.missing(|missing| missing.holes.insert(key));
                }
                continue;
            }
        };
        patience = Patience::new(source.read_patience());
        if let Some(from) = hole.take() {
            gaps = account_for_hole(source, stretch, from..frames.at() - frame.padded(), told);
        }
        told = Position(frame.position.0 + 1);
        bytes.set(bytes.get() + frame.bytes.len());
        let more = take(Some(&frame), due(&mut gaps, frame.position));
        if !more || (bytes.get() >= bytes_max && frames.at() < stretch.end) {
            source.stops().note(head, next, frames.at());
            return next;
        }
    }
    if let Some(from) = hole {
        gaps = account_for_hole(source, stretch, from..stretch.end, told);
    }
    let rest = due(&mut gaps, Position(head.limit().0 - 1));
    if !rest.is_empty() {
        take(None, rest);
    }
    stretch.behind
}

fn is_known_hole(source: &impl Source, position: Position) -> bool {
    let known = |missing: Missing<'_>| missing.holes.iter().any(|(from, to)| *from <= position && position < *to);
    source.is_stopped() || source.missing(known)
}

/// These bytes were passed over: names what that cost this reader, unless it is known from before. A later look may read
/// them; that does not help the reader who is past them. Gives all gaps to be told from a position on.
fn account_for_hole(source: &impl Source, stretch: &Stretch, hole: Range<u64>, told: Position) -> Vec<(Position, Gap)> {
    let head = stretch.head();
    let key = (head.position(hole.start), head.position(hole.end));
    let known = source.missing(|missing| missing.holes.contains(&key));
    let mut found = if known { Vec::new() } else { missing_in(stretch, hole) };
    if !found.is_empty() && source.is_reused(&stretch.lease) {
        found.iter_mut().for_each(|(_, gap)| LAPPED.clone_into(&mut gap.reason));
    }
    let (gaps, new) = source.missing(|missing| {
        for (position, gap) in found {
            let mut all = missing.gaps.values().flatten();
            if !all.any(|old| old.at == gap.at && old.from <= gap.from && gap.to <= old.to) {
                missing.gaps.entry(position).or_default().push(gap);
            }
        }
        if missing.holes.len() >= KNOWN_HOLES_MAX {
            // Those that are met again are accounted for again, and found among the gaps.
            missing.holes.clear();
        }
        let new = missing.holes.insert(key) && !known;
        // Another reader may have come upon more since this one looked.
        (gaps_of(missing.gaps, head, told), new)
    });
    if new {
        source.note_unreadable();
    }
    gaps
}

/// The gaps to be told in a segment, to a reader who comes from there.
pub(crate) fn gaps_of(gaps: &Gaps, head: &SegmentHead, from: Position) -> Vec<(Position, Gap)> {
    if from >= head.limit() { Vec::new() } else { gaps_in(gaps, from.max(head.base)..head.limit()) }
}

/// Those at one position partition by partition, in whatever order they were found.
fn gaps_in(gaps: &Gaps, places: Range<Position>) -> Vec<(Position, Gap)> {
    let found = gaps.range(places);
    let found = found.flat_map(|(position, gaps)| gaps.iter().map(|gap| (*position, gap.clone())));
    let mut found: Vec<_> = found.collect();
    found.sort_by(|(a, one), (b, other)| (a, &one.at, one.from).cmp(&(b, &other.at, other.from)));
    found
}

/// Takes the gaps up to `place` off the front.
fn due(gaps: &mut Vec<(Position, Gap)>, place: Position) -> Vec<Gap> {
    let count = gaps.partition_point(|(position, _)| *position <= place);
    gaps.drain(..count).map(|(_, gap)| gap).collect()
}

/// What a reader is told who comes from before all that is kept: of each partition, what fell out.
pub(crate) fn lapped<'a>(firsts: impl Iterator<Item = (&'a TopicPartition, Offset)>) -> Vec<Gap> {
    let gone = firsts.filter(|(at, first)| !internal(at) && *first > Offset(0));
    gone.map(|(at, first)| Gap { at: at.clone(), from: Offset(0), to: first, reason: LAPPED.to_owned() }).collect()
}

/// Goes through a segment whose offsets are known, but for the hole, and names what the hole must have held.
fn missing_in(stretch: &Stretch, hole: Range<u64>) -> Vec<(Position, Gap)> {
    let head = stretch.head();
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
    let head = stretch.head();
    let mut frames = Frames::new(&*stretch.lease.file, head, stretch.end.min(bytes.end), head.base);
    frames.again(bytes.start.max(FRAMES_AT));
    while let Some(step) = frames.step() {
        if let Step::Frame(frame, _) = step {
            account.take(&frame, None);
        }
    }
}
