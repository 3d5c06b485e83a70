//! Finding a time: by the gateway's own clock as it is known now, also for what was stored while the clock was wrong.
//!
//! **Invariant:** a jump of the clock moves no event: within a boot the monotonic clock says what came first, and how far apart.

use std::collections::BTreeMap;

use lamppost_event::{ClockQuality, Cursor, JournalStopped, Now, Offset, TopicPartition, WallTime};

use crate::book::Book;
use crate::read::{Stretch, internal, whole};
use crate::shared::Shared;
use crate::waiting::hold;

/// Of each boot whose clock was right at some time, the wall time at its beginning, in ms.
struct Boots(BTreeMap<u64, i64>);

impl Boots {
    fn of<'a>(times: impl Iterator<Item = &'a Now>) -> Self {
        let right = times.filter(|now| now.quality == ClockQuality::Synced);
        Self(right.map(|now| (now.boot.0, now.wall.0.saturating_sub_unsigned(now.monotonic.0))).collect())
    }

    fn corrected(&self, now: &Now) -> WallTime {
        let began = self.0.get(&now.boot.0);
        began.map_or(now.wall, |began| WallTime(began.saturating_add_unsigned(now.monotonic.0)))
    }
}

impl Shared {
    pub(crate) fn offsets_at(&self, time: WallTime) -> Result<Vec<Cursor>, JournalStopped> {
        self.running()?;
        let now = self.clock.now();
        let (boots, found, mut next) = {
            let book = hold(&self.book);
            let spans = || book.segments.iter().filter_map(|segment| segment.span);
            let times: Vec<Now> = spans().flat_map(|(first, last)| [first, last]).chain([now]).collect();
            let boots = Boots::of(times.iter());
            // One whose time is not known may hold it.
            let late = |(_, last): &(Now, Now)| boots.corrected(last) >= time;
            let index = book.segments.iter().position(|segment| segment.span.as_ref().is_none_or(late));
            let stretch = index.and_then(|index| book.segments.get(index)).map(|segment| whole(&book, segment));
            let next = behind(&book, index.unwrap_or(book.segments.len()));
            (boots, stretch, next)
        };
        if let Some(stretch) = found {
            next.extend(self.first_at(&stretch, time, &boots));
        }
        Ok(next.into_iter().map(|(at, next)| Cursor { at, next }).collect())
    }

    /// The first offsets of that time in a segment.
    fn first_at(&self, stretch: &Stretch, time: WallTime, boots: &Boots) -> BTreeMap<TopicPartition, Offset> {
        let mut first: BTreeMap<TopicPartition, Offset> = BTreeMap::new();
        // A run's time is that of its first frame: what it holds may be later, so the last one before the time counts as well.
        let (mut run, mut reached) = (BTreeMap::new(), false);
        self.read_stretch(stretch, usize::MAX, &mut 0, &mut |frame, _| {
            let Some(frame) = frame else { return true };
            let offsets = frame.batches.iter().filter(|entry| !internal(&entry.at));
            let offsets: BTreeMap<_, _> = offsets.map(|entry| (entry.at.clone(), entry.base)).collect();
            reached |= boots.corrected(&frame.now) >= time;
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
