//! A time is found right whatever the clock did: it wakes up in 1970, is put right later, wrongly at first, is put back an hour, or is never
//! set in a boot that lies between others. Whoever looks into the files goes by the same rule.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::sync::{Arc, Mutex};

use lamppost_event::{BootId, Clock, ClockQuality, Monotonic, Now, Partition, WallTime};
use lamppost_journal::sim::SimDisk;
use lamppost_journal::{Entropy, Hand, Inspect, Journal, Options};
use world::{at, group, record, small_options, topic};

const NOON: i64 = 1_700_000_000_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const EVENTS: i64 = 110;
/// The boots begin at these minutes; the third's and the last one's clock is never set.
const BOOTS: [i64; 5] = [0, 20, 60, 63, 107];

struct Set(Mutex<Now>);

impl Clock for Set {
    fn now(&self) -> Now {
        *self.0.lock().unwrap()
    }
}

/// What the clocks say at a minute after noon.
fn clocks(minute: i64) -> Now {
    let boot = BOOTS.iter().rposition(|began| *began <= minute).unwrap();
    let (uptime, right) = ((minute - BOOTS[boot]) * MINUTE, NOON + minute * MINUTE);
    let (wall, quality) = match (boot, minute) {
        (1, 20..25) | (2 | 4, _) => (uptime, ClockQuality::Unset),
        (1, 25..30) => (right - HOUR, ClockQuality::Holdover),
        (1, 30..40) => (right + HOUR, ClockQuality::Synced),
        _ => (right, ClockQuality::Synced),
    };
    Now { wall: WallTime(wall), monotonic: Monotonic(uptime as u64), boot: BootId(boot as u64), quality }
}

/// An event a minute. With little room most of them go cold.
fn a_day(disk: &SimDisk, segments: u64) -> (Journal, Hand) {
    let mut options = Options { required: vec![group()], ..small_options(1) };
    options.quota_bytes = segments * options.segment_bytes;
    let mut open = None;
    for minute in 0..EVENTS {
        let clock = Arc::new(Set(Mutex::new(clocks(minute))));
        if BOOTS.contains(&minute) {
            drop(open.take());
            options.entropy = Entropy::Seed(minute as u64);
            let (journal, hand, _) =
                Journal::open_by_hand(Arc::new(disk.clone()), options.clone(), clock.clone()).unwrap();
            open = Some((journal, hand, clock));
        }
        let (journal, hand, clock) = open.as_ref().unwrap();
        *clock.0.lock().unwrap() = clocks(minute);
        journal.append(&topic(), Partition(0), record(&format!("{minute} {}", "x".repeat(700))), None).unwrap();
        hand.commit().unwrap();
        hand.keep().unwrap();
    }
    let (journal, hand, _) = open.unwrap();
    (journal, hand)
}

fn found(journal: &Journal, time: i64) -> i64 {
    let cursors = journal.offsets_at(WallTime(time)).unwrap();
    cursors.iter().find(|cursor| cursor.at == at(0)).unwrap().next.0 as i64
}

/// The first event that may be of the time, by the rule alone.
fn expected(minute: i64) -> i64 {
    // The boot whose clock was never set may be of any time between its neighbours.
    if (60..=63).contains(&minute) { 60 } else { minute.min(107) }
}

#[test]
fn a_time_is_found_to_the_event_whatever_the_clock_did() {
    let disk = SimDisk::new(1);
    let (journal, _hand) = a_day(&disk, 60);
    assert_eq!(journal.stats().segments_cold, 0);
    for minute in 0..EVENTS {
        assert_eq!(found(&journal, NOON + minute * MINUTE), expected(minute), "minute {minute}");
        let later = found(&journal, NOON + minute * MINUTE + 2_000);
        assert_eq!(later, expected(minute + 1), "after minute {minute}");
    }
    assert_eq!(found(&journal, 0), 0);
    assert_eq!(found(&journal, i64::MAX), 107, "what nobody knows the time of may be of any later one");
}

#[test]
fn a_clock_of_this_boot_that_was_right_once_is_known_after_a_restart() {
    for (boot, minute, best) in [(1, 45, 59), (2, 61, -1), (3, 70, 106), (9, 20, -1)] {
        let disk = SimDisk::new(4);
        drop(a_day(&disk, 60));
        // It is lost since, and put wrong.
        let lost = Now { boot: BootId(boot), quality: ClockQuality::Unset, ..clocks(minute) };
        let options = Options { required: vec![group()], entropy: Entropy::Seed(500), ..small_options(1) };
        let options = Options { quota_bytes: 60 * options.segment_bytes, ..options };
        let clock = Arc::new(Set(Mutex::new(lost)));
        let (journal, _hand, _) = Journal::open_by_hand(Arc::new(disk), options, clock).unwrap();
        assert_eq!(journal.best_clock(), (best > 0).then(|| clocks(best)), "boot {boot}");
    }
}

#[test]
fn who_looks_into_the_files_goes_by_the_same_rule() {
    let disk = SimDisk::new(2);
    let (journal, _hand) = a_day(&disk, 60);
    let inspect = Inspect::open(Arc::new(disk)).unwrap();
    let times = inspect.times();
    let mut batches = Vec::new();
    let mut take = |batch| {
        batches.push(batch);
        Ok::<(), ()>(())
    };
    inspect.batches(&mut |_, _| (), &mut take).unwrap();
    assert_eq!(batches.len() as i64, EVENTS);
    for minute in 0..EVENTS {
        let time = WallTime(NOON + minute * MINUTE);
        let first = batches.iter().find(|batch| times.between(&batch.now).1 >= time).unwrap();
        assert_eq!(found(&journal, time.0), first.base.0 as i64, "minute {minute}");
        let known = times.of(&clocks(minute));
        let is_unset = [2, 4].contains(&clocks(minute).boot.0);
        assert_eq!(known, (!is_unset).then_some(time), "minute {minute}");
    }
}

#[test]
fn what_goes_cold_takes_the_clocks_along() {
    let disk = SimDisk::new(3);
    let (journal, hand) = a_day(&disk, 12);
    assert!(journal.stats().segments_cold > 0);
    let check = |journal: &Journal| {
        for minute in 0..EVENTS {
            let (first, expected) = (found(journal, NOON + minute * MINUTE), expected(minute));
            // A run is all that it may be early by: the one before. And a run ends where a clock begins, or jumps.
            let run = [0, 20, 25, 30, 40, 60, 63].into_iter().rfind(|begin| *begin < expected.max(1)).unwrap();
            assert!((run..=expected).contains(&first), "minute {minute}: offset {first}, not {run} to {expected}");
        }
    };
    check(&journal);
    drop((journal, hand));
    disk.power_cut();
    let times = Inspect::open(Arc::new(disk.clone())).unwrap().times();
    let known = |minute| times.of(&clocks(minute));
    assert!((20..60).all(|minute| known(minute) == Some(WallTime(NOON + minute * MINUTE))), "the second boot's clock");
    let options = Options { required: vec![group()], quota_bytes: 12 * (80 << 10), ..small_options(9) };
    // It wakes up without the time again.
    let clock = Arc::new(Set(Mutex::new(Now { boot: BootId(9), ..clocks(107) })));
    let (journal, _hand, _) = Journal::open_by_hand(Arc::new(disk), options, clock).unwrap();
    check(&journal);
}
