//! Consumer groups: each at its own pace, set back and forth, found by offset and by time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::sync::{Arc, Mutex};

use lamppost_event::{BootId, Clock, ClockQuality, Cursor, Group, Monotonic, Now, Offset, Partition, WallTime};
use lamppost_journal::sim::SimDisk;
use lamppost_journal::{Hand, Inspect, Journal, Options, ReadItem};
use world::{HandClock, append, at, group, open, record, small_options, text_of, topic};

fn next_of(journal: &Journal, group: &Group) -> Offset {
    let resume = journal.resume(group).unwrap();
    resume.cursors.iter().find(|cursor| cursor.at == at(0)).map_or(Offset(0), |cursor| cursor.next)
}

fn cursor(next: u64) -> [Cursor; 1] {
    [Cursor { at: at(0), next: Offset(next) }]
}

#[test]
fn a_group_set_back_stays_there_over_a_close_a_crash_and_a_checkpoint() {
    let disk = SimDisk::new(1);
    let options = Options { required: vec![group()], ..small_options(1) };
    let (journal, hand, _) = open(&disk, &options);
    for n in 0..10 {
        append(&journal, 0, &n.to_string());
        hand.commit().unwrap();
    }
    journal.commit_cursors(&group(), &cursor(8)).unwrap();
    hand.commit().unwrap();
    journal.reset_cursors(&group(), &cursor(3)).unwrap();
    assert_eq!(next_of(&journal, &group()), Offset(3));
    hand.commit().unwrap();
    disk.power_cut();
    drop((journal, hand));
    let (journal, hand, _) = open(&disk, &Options { entropy: lamppost_journal::Entropy::Seed(2), ..options.clone() });
    assert_eq!(next_of(&journal, &group()), Offset(3), "the older, higher place is not taken for the newer");
    // From there it goes forward as always.
    journal.commit_cursors(&group(), &cursor(5)).unwrap();
    hand.checkpoint().unwrap();
    journal.close().unwrap();
    drop((journal, hand));
    let (journal, _hand, _) = open(&disk, &Options { entropy: lamppost_journal::Entropy::Seed(3), ..options });
    assert_eq!(next_of(&journal, &group()), Offset(5));
    journal.reset_cursors(&group(), &cursor(1_000)).unwrap();
    assert_eq!(next_of(&journal, &group()), Offset(10), "never beyond the end");
    let figures = Inspect::open(Arc::new(disk.clone())).unwrap().figures();
    assert_eq!(figures.groups[0].cursors[0].next, Offset(5), "as it is on the disk");
}

#[test]
fn two_groups_read_at_their_own_pace_and_the_slow_one_stops_nobody() {
    let disk = SimDisk::new(2);
    let mut options = small_options(1);
    options.quota_bytes = 12 * options.segment_bytes;
    let (slow, fast) = (group(), Group::new("fast").unwrap());
    options.required = vec![slow.clone()];
    let (journal, hand, _) = open(&disk, &options);
    for n in 0..400 {
        append(&journal, 0, &format!("{n}"));
        hand.commit().unwrap();
        hand.keep().unwrap();
        journal.commit_cursors(&fast, &cursor(n + 1)).unwrap();
    }
    hand.commit().unwrap();
    assert_eq!((next_of(&journal, &slow), next_of(&journal, &fast)), (Offset(0), Offset(400)));
    let from = journal.resume(&slow).unwrap().position;
    let ReadItem::Record(first) = &journal.read(from, 1).unwrap().items[0] else { panic!("a gap") };
    assert_eq!(text_of(first), "0");
    assert!(journal.stats().cooled > 0);
}

/// A clock whose every part is set by hand.
struct Set(Mutex<Now>);

impl Clock for Set {
    fn now(&self) -> Now {
        *self.0.lock().unwrap()
    }
}

const NOON: i64 = 1_700_000_000_000;
const MINUTE: i64 = 60_000;

fn now(boot: u64, minute: i64, wall: i64, quality: ClockQuality) -> Now {
    let monotonic = Monotonic((minute * MINUTE) as u64);
    Now { wall: WallTime(wall), monotonic, boot: BootId(boot), quality }
}

/// Events a minute apart from noon on; the clock of boot 2 wakes up in 1970 and becomes right after five minutes. Much goes cold.
fn a_day(disk: &SimDisk) -> (Journal, Hand) {
    let mut options = small_options(1);
    options.quota_bytes = 12 * options.segment_bytes;
    options.required = vec![group()];
    let clock = Arc::new(Set(Mutex::new(now(1, 0, NOON, ClockQuality::Synced))));
    let (journal, hand, _) = Journal::open_by_hand(Arc::new(disk.clone()), options, clock.clone()).unwrap();
    for minute in 0..240_i64 {
        let wall = NOON + minute * MINUTE;
        let (boot, since, wall, quality) = match minute {
            0..100 => (1, minute, wall, ClockQuality::Synced),
            100..105 => (2, minute - 100, (minute - 100) * MINUTE, ClockQuality::Unset),
            _ => (2, minute - 100, wall, ClockQuality::Synced),
        };
        *clock.0.lock().unwrap() = now(boot, since, wall, quality);
        journal.append(&topic(), Partition(0), record(&format!("{minute} {}", "x".repeat(700))), None).unwrap();
        hand.commit().unwrap();
        hand.keep().unwrap();
    }
    (journal, hand)
}

#[test]
fn a_time_is_found_right_across_a_clock_that_woke_up_in_the_past() {
    let disk = SimDisk::new(3);
    let (journal, _hand) = a_day(&disk);
    assert!(journal.stats().segments_cold > 0);
    for minute in [0, 1, 40, 99, 101, 103, 110, 200, 238, 239] {
        let found = journal.offsets_at(WallTime(NOON + minute * MINUTE)).unwrap();
        let next = found.iter().find(|cursor| cursor.at == at(0)).unwrap().next.0 as i64;
        // A run is all that it may be early by, and a run ends with the boot.
        let earliest = if minute >= 100 { 100 } else { 0 };
        assert!((earliest..=minute).contains(&next), "minute {minute}: offset {next}");
        if minute > 225 {
            assert_eq!(next, minute, "in a hot segment it is exact");
        }
    }
    let later = journal.offsets_at(WallTime(NOON + 240 * MINUTE)).unwrap();
    assert_eq!(later.iter().find(|cursor| cursor.at == at(0)).unwrap().next, Offset(240), "the end");
    assert_eq!(journal.offsets_at(WallTime(0)).unwrap()[0].next, Offset(0));
}

#[test]
fn a_forgotten_group_is_gone_over_a_crash_and_a_checkpoint_and_begins_anew_if_it_is_used_again() {
    let disk = SimDisk::new(4);
    let options = small_options(1);
    let (gone, kept) = (group(), Group::new("kept").unwrap());
    let (journal, hand, _) = open(&disk, &options);
    for n in 0..10 {
        append(&journal, 0, &n.to_string());
    }
    hand.commit().unwrap();
    journal.commit_cursors(&gone, &cursor(8)).unwrap();
    journal.commit_cursors(&kept, &cursor(7)).unwrap();
    hand.commit().unwrap();
    assert!(journal.forget_group(&gone).unwrap());
    assert!(!journal.forget_group(&gone).unwrap(), "it is not there any more");
    hand.commit().unwrap();
    disk.power_cut();
    drop((journal, hand));
    let names = |journal: &Journal| journal.groups().into_iter().map(|(group, _)| group).collect::<Vec<_>>();
    let (journal, hand, _) = open(&disk, &Options { entropy: lamppost_journal::Entropy::Seed(2), ..options.clone() });
    assert_eq!(names(&journal), std::slice::from_ref(&kept));
    assert!(journal.resume(&gone).unwrap().cursors.is_empty());
    hand.checkpoint().unwrap();
    journal.close().unwrap();
    drop((journal, hand));
    assert_eq!(Inspect::open(Arc::new(disk.clone())).unwrap().figures().groups.len(), 1);
    let (journal, hand, _) = open(&disk, &Options { entropy: lamppost_journal::Entropy::Seed(3), ..options });
    assert_eq!(names(&journal), [kept]);
    journal.commit_cursors(&gone, &cursor(2)).unwrap();
    hand.commit().unwrap();
    assert_eq!(next_of(&journal, &gone), Offset(2), "far below where it had been");
}

/// How much is kept, and how many offsets the group is told it has missed when it comes back. By then that is known for long.
fn held(hold_max: Option<std::time::Duration>) -> (u64, u64) {
    let disk = SimDisk::new(5);
    let mut options = small_options(1);
    options.quota_bytes = 40 * options.segment_bytes;
    let (away, near) = (group(), Group::new("near").unwrap());
    options.required = vec![away.clone(), near.clone()];
    options.hold_max = hold_max.map(|hold_max| (away.clone(), hold_max)).into_iter().collect();
    let clock = Arc::new(Set(Mutex::new(now(1, 0, NOON, ClockQuality::Synced))));
    let (journal, hand, _) = Journal::open_by_hand(Arc::new(disk.clone()), options, clock.clone()).unwrap();
    for minute in 0..400_i64 {
        *clock.0.lock().unwrap() = now(1, minute, NOON + minute * MINUTE, ClockQuality::Synced);
        journal.append(&topic(), Partition(0), record(&format!("{minute} {}", "x".repeat(700))), None).unwrap();
        hand.commit().unwrap();
        journal.commit_cursors(&near, &cursor(minute as u64 + 1)).unwrap();
        if minute == 10 {
            journal.commit_cursors(&away, &cursor(7)).unwrap();
        }
        // By the checkpoint's cover the oldest segment may go.
        if minute % 20 == 0 {
            hand.checkpoint().unwrap();
        }
        hand.keep().unwrap();
    }
    let stats = journal.stats();
    let let_go = stats.let_go.get(&away).map_or(0, |topics| topics[&topic()]);
    assert!(!stats.let_go.contains_key(&near) && stats.given_up.is_empty(), "{stats:?}");
    let figures = Inspect::open(Arc::new(disk)).unwrap().figures();
    let seen = figures.groups.iter().find(|figures| figures.group == away).unwrap().missed;
    let items = journal.read(journal.resume(&away).unwrap().position, 1 << 30).unwrap().items;
    let missed =
        items.iter().map(|item| if let ReadItem::Gap(gap) = item { gap.to.0 - gap.from.0.max(7) } else { 0 }).sum();
    assert_eq!(
        (let_go, seen),
        (missed, missed),
        "counted as they went, and seen from outside, before the group came back"
    );
    (400 - journal.partitions()[0].first.0, missed)
}

#[test]
fn a_required_group_that_stays_away_holds_events_back_for_as_long_as_it_may_and_is_told_what_it_missed() {
    assert_eq!(held(None), (400, 0), "without a bound for ever");
    let (kept, missed) = held(Some(std::time::Duration::from_secs(120 * 60)));
    assert_eq!(7 + kept + missed, 400, "all that is gone and that it had not had is told");
    assert!((120..300).contains(&kept), "two hours and what shares a segment with them: {kept}");
}

#[test]
fn a_group_that_came_later_has_missed_nothing_where_it_has_not_begun() {
    let disk = SimDisk::new(6);
    let (journal, hand, _) = open(&disk, &small_options(1));
    while journal.partitions()[0].first == Offset(0) {
        append(&journal, 0, &"x".repeat(900));
        hand.commit().unwrap();
        hand.keep().unwrap();
    }
    append(&journal, 1, "of another partition");
    hand.commit().unwrap();
    let (early, late) = (Group::new("early").unwrap(), Group::new("late").unwrap());
    journal.commit_cursors(&early, &cursor(1)).unwrap();
    journal.commit_cursors(&late, &[Cursor { at: at(1), next: Offset(1) }]).unwrap();
    hand.commit().unwrap();
    let first = journal.partitions()[0].first.0;
    let figures = Inspect::open(Arc::new(disk)).unwrap().figures();
    let missed = |group: &Group| figures.groups.iter().find(|found| found.group == *group).unwrap().missed;
    assert_eq!((missed(&early), missed(&late)), (first - 1, 0));
}

#[test]
fn cursors_that_full_frames_leave_no_room_for_become_durable_by_a_checkpoint() {
    let disk = SimDisk::new(7);
    let mut options = small_options(1);
    options.quota_bytes = 60 * options.segment_bytes;
    let clock = HandClock::new();
    let (journal, hand, _) = Journal::open_by_hand(Arc::new(disk), options.clone(), clock.clone()).unwrap();
    let groups: Vec<Group> = (0..90).map(|n| Group::new(&format!("{n:02}-{}", "g".repeat(50))).unwrap()).collect();
    let last = groups.last().unwrap();
    let (mut crowded_out, mut longest_ms, mut since_ms) = (0, 0, None);
    for n in 0..60_u64 {
        while journal.append(&topic(), Partition(0), record(&"x".repeat(100)), None).is_ok() {}
        for group in &groups {
            journal.commit_cursors(group, &cursor(n)).unwrap();
        }
        hand.commit().unwrap();
        let durable = journal.cursors_are_durable(last).unwrap();
        crowded_out += usize::from(!durable);
        since_ms = if durable { None } else { since_ms.or(Some(clock.ms())) };
        clock.turn(1000);
        hand.keep().unwrap();
        since_ms = since_ms.filter(|_| !journal.cursors_are_durable(last).unwrap());
        longest_ms = longest_ms.max(since_ms.map_or(0, |since| clock.ms() - since));
    }
    assert!(crowded_out > 20, "the last group found no room {crowded_out} times");
    let bound_ms = 2 * options.cursor_deadline.as_millis() as u64 + 2000;
    assert!(longest_ms <= bound_ms, "not durable for {longest_ms} ms");
}
