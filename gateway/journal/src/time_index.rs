//! Finding a time, by the rule of [`Times`], also for what was stored while the clock was wrong.

use std::collections::BTreeMap;

use lamppost_event::{Cursor, JournalStopped, Now, Offset, Position, TopicPartition, WallTime};

use crate::book::{Book, Segment};
use crate::format::frame::Frame;
use crate::read::{Stretch, internal, whole};
use crate::shared::Shared;
use crate::times::{JUMP_MS, Times, is_told_by_its_ends};
use crate::waiting::hold;

impl Shared {
    pub(crate) fn offsets_at(&self, time: WallTime) -> Result<Vec<Cursor>, JournalStopped> {
        self.running()?;
        let times = self.times();
        // A clock that was put right by less than a jump may have stored what is later before what is earlier.
        let late = |(_, last): &(Now, Now)| times.between(last).1.0.saturating_add(JUMP_MS) >= time.0;
        let (mut from, mut search) = (Position(0), Search::new(&times, time));
        loop {
            let (found, mut next) = {
                let book = hold(&self.book);
                // One whose time is not known may hold it.
                let may =
                    |segment: &Segment| segment.lease.head.limit() > from && segment.span.as_ref().is_none_or(late);
                let index = book.segments.iter().position(may).unwrap_or(book.segments.len());
                (book.segments.get(index).map(|segment| whole(&book, segment)), behind(&book, index))
            };
            if let Some(stretch) = found {
                self.read_stretch(&stretch, &mut |frame, _| {
                    frame.into_iter().for_each(|frame| search.take(frame));
                    true
                });
                if !search.reached {
                    from = stretch.head().limit();
                    continue;
                }
            }
            next.extend(search.first());
            return Ok(next.into_iter().map(|(at, next)| Cursor { at, next }).collect());
        }
    }

    /// What is known of the clocks, by the whole log and the clock as it is now. Reads the segments in which a clock may have
    /// become right between the first frame and the last.
    pub(crate) fn times(&self) -> Times {
        let segments: Vec<((Now, Now), Option<Stretch>)> = {
            let book = hold(&self.book);
            let of = |segment: &Segment| {
                let (first, last) = segment.span?;
                let read = (!is_told_by_its_ends(&first, &last)).then(|| whole(&book, segment));
                Some(((first, last), read))
            };
            book.segments.iter().filter_map(of).collect()
        };
        let mut times = Times::default();
        for ((first, last), read) in segments {
            times.learn(&first);
            if let Some(stretch) = read {
                self.read_stretch(&stretch, &mut |frame, _| {
                    frame.into_iter().for_each(|frame| times.learn(&frame.now));
                    true
                });
            }
            times.learn(&last);
        }
        times.learn(&self.clock.now());
        times
    }
}

type Offsets = BTreeMap<TopicPartition, Offset>;

/// For the first offsets of a time, frame by frame.
struct Search<'a> {
    times: &'a Times,
    time: WallTime,
    /// Those of the run just before. A run's time is that of its first frame: what it holds may be later.
    run: Offsets,
    first: Offsets,
    reached: bool,
}

impl<'a> Search<'a> {
    const fn new(times: &'a Times, time: WallTime) -> Self {
        Self { times, time, run: Offsets::new(), first: Offsets::new(), reached: false }
    }

    fn take(&mut self, frame: &Frame) {
        let offsets = frame.batches.iter().filter(|entry| !internal(&entry.at));
        let offsets: Offsets = offsets.map(|entry| (entry.at.clone(), entry.base)).collect();
        self.reached |= self.times.between(&frame.now).1 >= self.time;
        if !self.reached {
            self.run = if frame.is_run() { offsets } else { Offsets::new() };
            return;
        }
        for (at, base) in std::mem::take(&mut self.run).into_iter().chain(offsets) {
            self.first.entry(at).or_insert(base);
        }
    }

    fn first(mut self) -> Offsets {
        for (at, base) in std::mem::take(&mut self.run) {
            self.first.entry(at).or_insert(base);
        }
        self.first
    }
}

/// Of each partition the first offset behind the segment with that index.
fn behind(book: &Book, index: usize) -> BTreeMap<TopicPartition, Offset> {
    let users = book.partitions.iter().filter(|(at, _)| !internal(at));
    let mut next: BTreeMap<TopicPartition, Offset> = users.map(|(at, kept)| (at.clone(), kept.next)).collect();
    for segment in book.segments.iter().skip(index.saturating_add(1)).rev() {
        next.extend(segment.ranges.iter().filter(|(at, _)| !internal(at)).map(|(at, (from, _))| (at.clone(), *from)));
    }
    next
}
