//! What opening costs: bytes read, as a disk counts them. The last segment has to be gone through, and no other.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use lamppost_event::*;
use lamppost_journal::sim::SimDisk;
use lamppost_journal::*;
use world::*;

const SEGMENT: usize = 256 << 10;

fn options(seed: u64) -> Options {
    let mut options = small_options(seed);
    options.segment_bytes = SEGMENT as u64;
    options.quota_bytes = 6 << 20;
    options
}

/// Bytes read of each file.
type Counts = Arc<Mutex<BTreeMap<String, usize>>>;

/// Opens, and counts what is read meanwhile.
fn open_counting(disk: &SimDisk, seed: u64) -> (Journal, Hand, Recovery, BTreeMap<String, usize>) {
    let (hooked, hooks) = hooked::Hooked::new(disk);
    let counts = Counts::default();
    let counted = Arc::clone(&counts);
    *hooks.on_read.lock().unwrap() = Some(Box::new(move |name, _, bytes| {
        *counted.lock().unwrap().entry(name.to_owned()).or_default() += bytes;
        Ok(())
    }));
    let (journal, hand, recovery) = Journal::open_by_hand(hooked, options(seed), HandClock::new()).unwrap();
    *hooks.on_read.lock().unwrap() = None;
    let counts = counts.lock().unwrap().clone();
    (journal, hand, recovery, counts)
}

/// `segments` of them, the last one half full; then the process is killed. Gives how many events there are.
fn filled(disk: &SimDisk, segments: usize) -> u64 {
    let (journal, hand, _) = open(disk, &options(1));
    let text = "x".repeat(2000);
    let mut count = 0;
    while hot(disk).len() < segments || (journal.end().0 as usize) % SEGMENT < SEGMENT / 2 {
        for _ in 0..4 {
            append(&journal, 0, &text);
        }
        hand.commit().unwrap();
        hand.keep().unwrap();
        count += 4;
    }
    drop(journal);
    disk.process_killed();
    count
}

#[test]
fn opening_after_a_cut_reads_one_segment_however_many_there_are() {
    for segments in [3, 8] {
        let disk = SimDisk::new(1);
        let events = filled(&disk, segments);
        let (names, total) = (hot(&disk), segments);
        let (journal, _hand, recovery, counts) = open_counting(&disk, 2);
        assert!(!recovery.clean && recovery.events == events && recovery.rewritten == 1);
        for (name, bytes) in &counts {
            let last = name == names.last().unwrap();
            let most = if last { SEGMENT + SEGMENT / 4 } else { 2 * PAGE };
            assert!(*bytes <= most, "{bytes} bytes of {name} were read, of {total} segments");
        }
        assert_eq!(texts(&read_all(&journal)).len() as u64, events);
    }
}

#[test]
fn opening_again_and_again_reads_only_the_copies_that_the_opening_before_wrote() {
    let disk = SimDisk::new(1);
    let events = filled(&disk, 5);
    drop(open(&disk, &options(2)));
    for seed in 3..8 {
        disk.process_killed();
        let names = hot(&disk);
        let files = disk.contents().len();
        let (journal, hand, recovery, counts) = open_counting(&disk, seed);
        assert_eq!((recovery.events, recovery.rewritten, recovery.unproved), (events, 1, None));
        for (name, bytes) in &counts {
            // Once for whether it has a frame of its own, and once for what it holds; by then it is in memory.
            let last = name == names.last().unwrap();
            let most = if last { 2 * SEGMENT + SEGMENT / 4 } else { 2 * PAGE };
            assert!(*bytes <= most, "{bytes} bytes of {name} were read");
        }
        assert_eq!(texts(&read_all(&journal)).len() as u64, events);
        assert_eq!(disk.contents().len(), files, "repeated kills don't eat the quota");
        if seed == 6 {
            let appended = append(&journal, 0, "more");
            assert_eq!(appended.offset, Offset(events));
            hand.commit().unwrap();
            return;
        }
    }
}

#[test]
fn copies_that_only_a_power_cut_has_left_in_part_do_not_count() {
    let disk = SimDisk::new(1);
    let events = filled(&disk, 3);
    drop(open(&disk, &options(2)));
    disk.process_killed();
    // The one copy is torn: the original, in the segment before, has to be taken.
    let last = hot(&disk).last().unwrap().clone();
    disk.flip(&last, FRAMES_AT + 1000, 0xff);
    let (journal, _hand, recovery, _) = open_counting(&disk, 3);
    assert_eq!((recovery.events, recovery.rewritten), (events, 1));
    assert_eq!(texts(&read_all(&journal)).len() as u64, events);
}

/// What is on a disk, on another one.
fn same(contents: &BTreeMap<String, Vec<u8>>) -> SimDisk {
    let disk = SimDisk::new(9);
    for (name, bytes) in contents {
        let file = disk.create_zeroed(name, bytes.len() as u64).unwrap();
        file.write_at(bytes, 0).unwrap();
        file.flush().unwrap();
    }
    disk.flush_dir().unwrap();
    disk
}

#[test]
fn a_copy_that_is_damaged_while_copies_of_it_are_made_does_not_come_behind_its_successor() {
    let disk = SimDisk::new(1);
    let small = |seed: u64| {
        let mut options = small_options(seed);
        options.quota_bytes = 1 << 20;
        options
    };
    let (journal, hand, _) = open(&disk, &small(1));
    let commit = |journal: &Journal, hand: &Hand, text: &str| {
        append(journal, 0, text);
        hand.commit().unwrap();
    };
    ["a", "b", "c", "d", "e", "f"].iter().for_each(|text| commit(&journal, &hand, text));
    drop((journal, hand));
    disk.process_killed();
    // A copy of "f", whose original stays, and "g" behind it; then copies of both.
    let (journal, hand, _) = open(&disk, &small(2));
    commit(&journal, &hand, "g");
    drop((journal, hand));
    disk.process_killed();
    let (journal, _hand, recovery) = open(&disk, &small(3));
    assert_eq!(recovery.rewritten, 2);
    drop(journal);
    disk.process_killed();
    // The next opening gets as far as the first of two copies again.
    let (hooked, hooks) = hooked::Hooked::new(&disk);
    let (seen, half) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(BTreeMap::new())));
    let (count, found, looked_at) = (Arc::clone(&seen), Arc::clone(&half), disk.clone());
    *hooks.on_write.lock().unwrap() = Some(Box::new(move |bytes| {
        if bytes.starts_with(b"LMPFRAME") {
            *count.lock().unwrap() += 1;
            if *count.lock().unwrap() == 2 {
                *found.lock().unwrap() = looked_at.contents();
            }
        }
    }));
    drop(Journal::open_by_hand(hooked, small(4), HandClock::new()).unwrap());
    let disk = same(&half.lock().unwrap());
    let names = hot(&disk);
    assert_eq!(names.len(), 3, "the log, the copies, and those of the copies");
    disk.flip(&names[1], FRAMES_AT + 200, 0xff);
    let (journal, _hand, _) = open(&disk, &small(5));
    assert_eq!(texts(&read_all(&journal)), ["a", "b", "c", "d", "e", "f", "g"]);
}
