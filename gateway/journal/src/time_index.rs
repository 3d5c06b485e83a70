//! Finding a time, by the rule of [`Times`], also for what was stored while the clock was wrong.

use std::collections::BTreeMap;

use lamppost_event::{Cursor, JournalStopped, Now, Offset, TopicPartition, WallTime};

use crate::book::{Book, Segment};
use crate::read::{Stretch, internal, whole};
use crate::shared::Shared;
use crate::times::{JUMP_MS, Times, is_told_by_its_ends};
use crate::waiting::hold;

impl Shared {
    pub(crate) fn offsets_at(&self, time: WallTime) -> Result<Vec<Cursor>, JournalStopped> {
        self.running()?;
        let times = self.times();
        let (found, mut next) = {
            let book = hold(&self.book);
            // A clock that was put right by less than a jump may have stored what is later before what is earlier.
            let late = |(_, last): &(Now, Now)| times.between(last).1.0.saturating_add(JUMP_MS) >= time.0;
            // One whose time is not known may hold it.
            let index = book.segments.iter().position(|segment| segment.span.as_ref().is_none_or(late));
            let stretch = index.and_then(|index| book.segments.get(index)).map(|segment| whole(&book, segment));
            (stretch, behind(&book, index.unwrap_or(book.segments.len())))
        };
        if let Some(stretch) = found {
            next.extend(self.first_at(&stretch, time, &times));
        }
        Ok(next.into_iter().map(|(at, next)| Cursor { at, next }).collect())
    }

    /// What is known of the clocks, by the whole log and the clock as it is now. Reads the segments in which a clock may have
    /// become right between the first frame and the last.
    fn times(&self) -> Times {
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
                self.read_stretch(&stretch, usize::MAX, &mut 0, &mut |frame, _| {
                    frame.into_iter().for_each(|frame| times.learn(&frame.now));
                    true
                });
            }
            times.learn(&last);
        }
        times.learn(&self.clock.now());
        times
    }

    /// The first offsets of that time in a segment.
    fn first_at(&self, stretch: &Stretch, time: WallTime, times: &Times) -> BTreeMap<TopicPartition, Offset> {
        let mut first: BTreeMap<TopicPartition, Offset> = BTreeMap::new();
        // A run's time is that of its first frame: what it holds may be later, so the last one before the time counts as well.
        let (mut run, mut reached) = (BTreeMap::new(), false);
        self.read_stretch(stretch, usize::MAX, &mut 0, &mut |frame, _| {
            let Some(frame) = frame else { return true };
            let offsets = frame.batches.iter().filter(|entry| !internal(&entry.at));
            let offsets: BTreeMap<_, _> = offsets.map(|entry| (entry.at.clone(), entry.base)).collect();
            reached |= times.between(&frame.now).1 >= time;
            if !reached {
                run = if frame.is_run() { offsets } else { BTreeMap::new() };
                return true;
            }
            for (at, base) in std::mem::take(&mut run).into_iter().chain(offsets) {
                first.entry(at).or_insert(base);
            }
            true
        });
        for (at, base) in run {
            first.entry(at).or_insert(base);
        }
        first
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
