//! Where a reader begins who wants what is behind an offset or a time: it misses nothing, and reads little before.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::convert::Infallible;
use std::sync::Arc;

use lamppost_event::{BootId, ClockQuality, Monotonic, Now, Offset, Partition, Position, WallTime};
use lamppost_journal::sim::SimDisk;
use lamppost_journal::{Inspect, Journal, ReadItem};
use world::readings::{fill, options, reading};
use world::{append, at, hot, open};

/// Of a partition's items, those from an offset on: the offsets of events, and the parts of gaps.
fn from_offset(inspect: &Inspect, position: Position, from: Offset) -> Vec<(u64, u64)> {
    let items = inspect.read(position, usize::MAX).items.into_iter();
    let part = |item| match item {
        ReadItem::Record(record) => (record.partition == Partition(0) && record.offset >= from)
            .then_some((record.offset.0, record.offset.0 + 1)),
        ReadItem::Gap(gap) => (gap.at == at(0) && gap.to > from).then_some((gap.from.max(from).0, gap.to.0)),
    };
    items.filter_map(part).collect()
}

#[test]
fn who_begins_at_an_offset_misses_nothing_behind_it_and_reads_no_segment_before() {
    let disk = SimDisk::new(11);
    let mut options = options(11);
    options.quota_bytes = 60 * options.segment_bytes;
    let (journal, hand, _) = open(&disk, &options);
    fill(&journal, &hand, 700, &mut reading);
    drop((journal, hand));
    // Damage that footers don't know of.
    let segments = hot(&disk);
    for (name, at) in [(&segments[1], 8192 + 4096 * 2 + 100), (&segments[2], 8192 + 100), (&segments[2], 8192 + 4196)] {
        disk.flip(name, at, 0xff);
    }
    options.entropy = lamppost_journal::Entropy::Seed(12);
    let (journal, hand, _) = open(&disk, &options);
    append(&journal, 0, "the last one");
    hand.commit().unwrap();
    let inspect = Inspect::open(Arc::new(disk)).unwrap();
    let whole = inspect.figures();
    let bounds = whole.partitions.iter().find(|partition| partition.at == at(0)).unwrap();
    let mut begins = std::collections::BTreeSet::new();
    for offset in bounds.first.0..=bounds.next.0 {
        let begin = inspect.begin_at_offset(&at(0), Offset(offset));
        let expected = from_offset(&inspect, inspect.start(), Offset(offset));
        assert_eq!(from_offset(&inspect, begin, Offset(offset)), expected, "from {offset}");
        begins.insert(begin);
    }
    let damaged = inspect.figures().gaps.iter().filter(|gap| gap.at == at(0)).count();
    assert!(damaged > 0, "damage that a reader comes upon");
    assert!(begins.len() >= 5 && begins.contains(&inspect.start()), "{begins:?} of {:?}", whole.segments);
}

#[test]
fn who_begins_at_a_time_misses_no_event_that_may_be_of_it() {
    let disk = SimDisk::new(12);
    let mut options = options(12);
    options.quota_bytes = 40 * options.segment_bytes;
    // Boots: one is set right while it runs, one never, and one has a clock that is years ahead.
    let boots = [(1, ClockQuality::Unset, 0), (2, ClockQuality::Unset, 0), (3, ClockQuality::Holdover, 1 << 37)];
    let mut wall = 1_700_000_000_000_i64;
    for (boot, quality, ahead) in boots.into_iter().chain([(4, ClockQuality::Synced, 0)]) {
        let clock = Arc::new(Shown(std::sync::Mutex::new(Now {
            wall: WallTime(wall + ahead),
            monotonic: Monotonic(0),
            boot: BootId(boot),
            quality,
        })));
        options.entropy = lamppost_journal::Entropy::Seed(boot);
        let (journal, hand, _) =
            Journal::open_by_hand(Arc::new(disk.clone()), options.clone(), Arc::clone(&clock) as _).unwrap();
        for n in 0..60 {
            append(&journal, 0, &"x".repeat(2000));
            hand.commit().unwrap();
            hand.keep().unwrap();
            let mut now = clock.0.lock().unwrap();
            now.monotonic.0 += 60_000;
            wall += 60_000;
            now.wall = WallTime(wall + ahead);
            if boot == 1 && n == 30 {
                now.quality = ClockQuality::Synced;
            }
        }
        journal.close().unwrap();
    }
    let inspect = Inspect::open(Arc::new(disk)).unwrap();
    let times = inspect.times();
    let mut frames = Vec::new();
    let all: Result<(), Infallible> = inspect.batches(&mut |_, _| {}, &mut |batch| {
        // Of a cold one, when its first frame was written.
        frames.push((batch.base.0..batch.next.0, times.between(&batch.now).1));
        Ok(())
    });
    all.unwrap();
    assert_eq!(frames.iter().map(|(offsets, _)| offsets.end - offsets.start).sum::<u64>(), 240);
    let mut begins = std::collections::BTreeSet::new();
    for minute in -10..300_i64 {
        let from = WallTime(1_700_000_000_000 + minute * 60_000);
        let begin = inspect.begin_at_time(&times, from);
        let read: Vec<(u64, u64)> = from_offset(&inspect, begin, Offset(0));
        let late = frames.iter().filter(|(_, latest)| *latest >= from);
        for offset in late.flat_map(|(offsets, _)| offsets.clone()) {
            assert!(read.iter().any(|(found, _)| *found == offset), "{offset} may be of minute {minute} or later");
        }
        begins.insert(begin);
    }
    assert!(begins.len() >= 4, "{begins:?}");
}

/// A clock that shows what it is set to.
struct Shown(std::sync::Mutex<Now>);

impl lamppost_event::Clock for Shown {
    fn now(&self) -> Now {
        *self.0.lock().unwrap()
    }
}
