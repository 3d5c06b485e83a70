//! The cold tier: what must be kept longer is rewritten, and nobody can tell by reading.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::sync::Arc;

use lamppost_event::{Cursor, Offset, Partition, Position, WallTime};
use lamppost_journal::sim::SimDisk;
use lamppost_journal::{Hand, Inspect, Journal, Options, ReadItem};
use world::{PARTITIONS, at, group, open, read_all, readings, small_options, text_of, texts, topic};

/// Room for more than the hot tier, and a group that has not passed anything.
fn options(seed: u64) -> Options {
    let mut options = small_options(seed);
    options.quota_bytes = 12 * options.segment_bytes;
    options.required = vec![group()];
    options
}

/// Readings of as many devices as there are partitions. Gives what was taken, by partition.
fn fill(journal: &Journal, hand: &Hand, events: usize) -> Vec<Vec<String>> {
    let device = |n| n % usize::from(PARTITIONS);
    readings::fill(journal, hand, events, &mut |n| {
        format!("{{\"device\":\"lamp-{}\",\"reading\":{n},\"unit\":\"lux\",\"state\":\"fine\"}}", device(n))
    })
}

/// All records by partition; offsets are dense from 0.
fn read_back(items: &[ReadItem]) -> Vec<Vec<String>> {
    let mut read = vec![Vec::new(); usize::from(PARTITIONS)];
    for item in items {
        let ReadItem::Record(record) = item else { panic!("a gap where nothing is missing: {item:?}") };
        let partition = &mut read[usize::from(record.partition.0)];
        assert_eq!(record.offset.0, partition.len() as u64, "offsets are dense and in order");
        assert_eq!(record.record.timestamp, WallTime(1_700_000_000_000));
        partition.push(text_of(record));
    }
    read
}

fn cold(disk: &SimDisk) -> Vec<String> {
    disk.contents().into_keys().filter(|name| name.starts_with("cold-")).collect()
}

#[test]
fn what_a_required_group_has_not_passed_goes_cold_and_reads_the_same() {
    let disk = SimDisk::new(1);
    let (journal, hand, _) = open(&disk, &options(1));
    let taken = fill(&journal, &hand, 1200);
    let stats = journal.stats();
    assert!(stats.cooled >= 16 && stats.segments_cold > 0, "{stats:?}");
    assert!((stats.segments_cold as u64) < stats.cooled / 2, "small ones are put together: {stats:?}");
    assert!(stats.cold_bytes < stats.event_bytes, "{stats:?}");
    assert_eq!(read_back(&read_all(&journal)), taken);
    // The same through the partition, and from outside.
    for partition in 0..PARTITIONS {
        let chunk = journal.read_partition(&topic(), Partition(partition), Offset(0), usize::MAX).unwrap();
        assert_eq!(texts(&chunk.items), taken[usize::from(partition)]);
    }
    let inspect = Inspect::open(Arc::new(disk.clone())).unwrap();
    assert_eq!(read_back(&inspect.read(Position(0), usize::MAX).items), taken);
    let verified = inspect.verify(&mut |_, _| {}).unwrap();
    assert_eq!((verified.events, verified.problems.len()), (1200, 0), "{verified:?}");
    assert_eq!(inspect.figures().events, 1200);
}

#[test]
fn cold_segments_are_found_again_after_a_close_and_after_a_crash() {
    let disk = SimDisk::new(2);
    let (journal, hand, _) = open(&disk, &options(2));
    let taken = fill(&journal, &hand, 900);
    let ios = disk.ios();
    journal.close().unwrap();
    drop((journal, hand));
    let (journal, hand, recovery) = open(&disk, &options(3));
    assert!(recovery.clean && recovery.damage.is_empty() && disk.ios() > ios, "{recovery:?}");
    assert_eq!(recovery.events, 900, "{recovery:?}");
    assert_eq!(read_back(&read_all(&journal)), taken);
    disk.power_cut();
    drop((journal, hand));
    let (journal, _hand, recovery) = open(&disk, &options(4));
    assert!(recovery.damage.is_empty() && recovery.gaps.is_empty(), "{recovery:?}");
    assert_eq!(read_back(&read_all(&journal)), taken);
    assert!(journal.stats().segments_cold > 0);
}

#[test]
fn a_cold_segment_goes_once_the_group_has_passed_it() {
    let disk = SimDisk::new(3);
    let (journal, hand, _) = open(&disk, &options(1));
    let taken = fill(&journal, &hand, 900);
    let before = cold(&disk);
    for partition in 0..PARTITIONS {
        let next = Offset(taken[usize::from(partition)].len() as u64);
        journal.commit_cursors(&group(), &[Cursor { at: at(partition), next }]).unwrap();
    }
    fill(&journal, &hand, 300);
    let left: Vec<String> = cold(&disk).into_iter().filter(|name| before.contains(name)).collect();
    assert!(!before.is_empty() && left.is_empty(), "of {before:?} there are still {left:?}");
    let stats = journal.stats();
    let bytes: usize = disk.contents().values().map(Vec::len).sum();
    assert!(bytes as u64 <= stats.quota_bytes);
}

#[test]
fn a_reader_half_way_in_a_segment_that_goes_cold_misses_nothing() {
    let disk = SimDisk::new(4);
    let (journal, hand, _) = open(&disk, &options(1));
    let mut taken = fill(&journal, &hand, 200);
    // A few frames into the first segment.
    let first = journal.read(Position(0), 20_000).unwrap();
    assert!(!first.caught_up && !first.items.is_empty());
    let more = fill(&journal, &hand, 700);
    for (all, more) in taken.iter_mut().zip(more) {
        all.extend(more);
    }
    assert!(journal.stats().cooled > 0);
    let mut seen = vec![Vec::new(); usize::from(PARTITIONS)];
    let mut take = |items: &[ReadItem]| {
        for item in items {
            let ReadItem::Record(record) = item else { panic!("{item:?}") };
            let partition: &mut Vec<String> = &mut seen[usize::from(record.partition.0)];
            // Some may come again.
            if record.offset.0 >= partition.len() as u64 {
                assert_eq!(record.offset.0, partition.len() as u64);
                partition.push(text_of(record));
            }
        }
    };
    take(&first.items);
    let mut next = first.next;
    loop {
        let chunk = journal.read(next, 9_000).unwrap();
        take(&chunk.items);
        assert!(chunk.next > next || chunk.caught_up);
        next = chunk.next;
        if chunk.caught_up {
            break;
        }
    }
    assert_eq!(seen, taken);
}

#[test]
fn a_damaged_cold_frame_costs_its_own_events_and_names_them() {
    let disk = SimDisk::new(5);
    let (journal, hand, _) = open(&disk, &options(1));
    let taken = fill(&journal, &hand, 900);
    journal.close().unwrap();
    let name = cold(&disk)[0].clone();
    disk.flip(&name, world::FRAMES_AT + 700, 0x10);
    let (journal, _hand, _) = open(&disk, &options(2));
    let items = read_all(&journal);
    let mut next = [0_u64; PARTITIONS as usize];
    let (mut lost, mut read) = (0, 0);
    for item in &items {
        match item {
            ReadItem::Record(record) => {
                let slot = &mut next[usize::from(record.partition.0)];
                assert_eq!(record.offset.0, *slot, "no event comes before the gap that lies before it");
                assert_eq!(text_of(record), taken[usize::from(record.partition.0)][record.offset.0 as usize]);
                *slot += 1;
                read += 1;
            }
            ReadItem::Gap(gap) => {
                let slot = &mut next[usize::from(gap.at.partition.0)];
                assert_eq!(gap.from.0, *slot);
                lost += gap.to.0 - gap.from.0;
                *slot = gap.to.0;
            }
        }
    }
    assert!(lost > 0 && read + lost == 900, "{read} read, {lost} named as lost");
    assert!(journal.stats().unreadable > 0);
}

#[test]
fn an_opening_reads_the_last_segment_and_the_footers_of_the_others() {
    let disk = SimDisk::new(6);
    let (journal, hand, _) = open(&disk, &options(1));
    fill(&journal, &hand, 1200);
    let segments = disk.contents().len();
    disk.power_cut();
    drop((journal, hand));
    let (hooked, hooks) = world::hooked::Hooked::new(&disk);
    let read = Arc::new(std::sync::Mutex::new(0));
    let counter = Arc::clone(&read);
    *hooks.on_read.lock().unwrap() = Some(Box::new(move |_, _, bytes| {
        *counter.lock().unwrap() += bytes;
        Ok(())
    }));
    let clock = world::HandClock::new();
    let (_journal, _hand, recovery) = Journal::open_by_hand(hooked, options(2), clock).unwrap();
    assert_eq!(recovery.events, 1200);
    // The segment that is written to is read once to find its end, and once more; the others cost a few pages each.
    let bound = 2 * (80 << 10) + segments * 5 * world::PAGE + (64 << 10);
    let read = *read.lock().unwrap();
    assert!(read < bound, "{read} bytes were read of {segments} files, {bound} would do");
}

#[test]
fn verification_names_the_place_of_damage_in_a_cold_segment_within_its_file() {
    let disk = SimDisk::new(5);
    let (journal, hand, _) = open(&disk, &options(1));
    fill(&journal, &hand, 1200);
    journal.close().unwrap();
    let names = cold(&disk);
    assert!(names.len() > 1, "{names:?}");
    for name in names {
        // The first frame of each.
        let byte = 8192;
        disk.flip(&name, byte as usize + 300, 0xff);
        let verified = Inspect::open(Arc::new(disk.clone())).unwrap().verify(&mut |_, _| {}).unwrap();
        let (files, problems) = (disk.contents(), &verified.problems);
        assert!(problems.iter().any(|of| of.name == name && of.byte == byte), "{name}: {problems:?}");
        assert!(problems.iter().any(|of| of.what.contains("missing")), "{name}: {problems:?}");
        assert!(problems.iter().all(|of| of.byte < files[&of.name].len() as u64), "{name}: {problems:?}");
        disk.flip(&name, byte as usize + 300, 0xff);
    }
}
