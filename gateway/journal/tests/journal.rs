//! What the journal promises, one sentence a test.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::sync::Arc;
use std::time::Duration;

use lamppost_event::{Commit, Cursor, Offset, Partition, Position};
use lamppost_journal::sim::{Faults, SimDisk};
use lamppost_journal::{AppendError, Directory, Hand, Inspect, Journal, OpenError, Options, OptionsError, ReadItem};
use world::*;

/// Appends until there is no room, committing and keeping house as threads would.
fn fill(journal: &Journal, hand: &Hand) -> u64 {
    for count in 0..100_000 {
        let text = format!("{count} {}", "y".repeat(2000));
        while let Err(error) = journal.append(&topic(), Partition(0), record(&text), None) {
            assert!(matches!(error, AppendError::Full(_)), "{error}");
            let committed = hand.commit().unwrap();
            if !hand.keep().unwrap() && !committed {
                return count;
            }
        }
    }
    panic!("the journal never fills");
}

#[test]
fn what_was_appended_is_read_in_order_once_it_is_durable() {
    let (journal, hand, recovery) = open(&SimDisk::new(1), &small_options(1));
    assert!(recovery.created && recovery.unproved.is_none());
    let appended = append(&journal, 0, "a");
    append(&journal, 1, "b");
    assert_eq!((appended.commit, appended.offset), (Commit(1), Offset(0)));
    assert!(read_all(&journal).is_empty(), "nothing is served before it is flushed");
    assert!(hand.commit().unwrap());
    append(&journal, 0, "c");
    assert!(hand.commit().unwrap());
    assert!(!hand.commit().unwrap(), "nothing has gathered");
    assert_eq!(texts(&read_all(&journal)), ["a", "b", "c"]);
    assert_eq!(journal.durable(), Ok(Commit(2)));
}

#[test]
fn a_commit_is_one_flush_whatever_the_number_of_partitions() {
    let disk = SimDisk::new(1);
    let (journal, hand, _) = open(&disk, &small_options(1));
    let before = (disk.flushes(), disk.ios());
    for partition in 0..PARTITIONS {
        append(&journal, partition, "x");
    }
    hand.commit().unwrap();
    assert_eq!((disk.flushes(), disk.ios()), (before.0 + 1, before.1 + 2), "one write and one flush");
}

#[test]
fn a_full_journal_refuses_and_takes_again_once_the_required_group_has_moved() {
    let disk = SimDisk::new(1);
    let mut options = small_options(1);
    options.required = vec![group()];
    let (journal, hand, _) = open(&disk, &options);
    let stored = fill(&journal, &hand);
    assert!(journal.stats().refused_full > 0 && stored > 50);
    let mut room = journal.room();
    assert_eq!(poll_once(&mut room), None, "there is no room");
    assert_eq!(texts(&read_all(&journal)).len() as u64, stored, "nothing was given up");
    journal.commit_cursors(&group(), &[Cursor { at: at(0), next: Offset(stored) }]).unwrap();
    hand.commit().unwrap();
    hand.keep().unwrap();
    assert_eq!(poll_once(&mut room), Some(()));
    append(&journal, 0, "again");
    hand.commit().unwrap();
    let bytes: usize = disk.contents().values().map(Vec::len).sum();
    assert!(bytes as u64 <= options.quota_bytes);
}

#[test]
fn without_required_groups_the_oldest_go_and_readers_are_told() {
    let disk = SimDisk::new(1);
    let (journal, hand, _) = open(&disk, &small_options(1));
    for count in 0..2000 {
        append(&journal, 0, &format!("{count} {}", "z".repeat(1500)));
        hand.commit().unwrap();
        hand.keep().unwrap();
    }
    assert!(journal.stats().recycled > 20, "{:?}", journal.stats());
    let first = journal.partitions()[0].first;
    assert!(first > Offset(1000));
    let items = read_all(&journal);
    let ReadItem::Gap(gap) = &items[0] else { panic!("{:?}", items[0]) };
    assert_eq!((gap.from, gap.to), (Offset(0), first));
    assert_eq!(items.len() as u64 - 1, 2000 - first.0);
    drop((journal, hand));
    disk.process_killed();
    let (journal, _hand, _) = open(&disk, &small_options(2));
    assert_eq!(append(&journal, 0, "next").offset, Offset(2000), "offsets go on");
}

#[test]
fn a_full_disk_while_growing_is_no_room_and_not_death() {
    let disk = SimDisk::new(1);
    let mut options = small_options(1);
    options.required = vec![group()];
    options.quota_bytes = 1 << 30;
    disk.set_faults(Faults { capacity_bytes: Some(300 << 10), ..Faults::default() });
    let (journal, hand, _) = open(&disk, &options);
    let stored = fill(&journal, &hand);
    assert!(stored > 10);
    assert!(journal.durable().is_ok());
    assert_eq!(texts(&read_all(&journal)).len() as u64, stored);
}

#[test]
fn an_event_that_is_too_large_or_has_no_place_is_refused() {
    let (journal, _hand, _) = open(&SimDisk::new(1), &small_options(1));
    let large = record(&"x".repeat(5000));
    let refused = journal.append(&topic(), Partition(0), large, None);
    assert!(matches!(refused, Err(AppendError::TooLarge { bytes_max: 4096, .. })));
    let refused = journal.append(&topic(), Partition(PARTITIONS), record("a"), None);
    assert!(matches!(refused, Err(AppendError::Unknown(_))));
}

#[test]
fn a_second_writer_is_refused_while_a_look_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let disk = || Arc::new(Directory::create(folder.path()).unwrap());
    let (journal, _) = Journal::open(disk(), small_options(1), MachineClock::new()).unwrap();
    let second = Journal::open(disk(), small_options(1), MachineClock::new());
    assert!(matches!(second, Err(OpenError::Locked { .. })));
    let commit = append(&journal, 0, "a").commit;
    block_on(journal.durable_after(Commit(commit.0 - 1))).unwrap();
    let inspect = Inspect::open(disk()).unwrap();
    assert_eq!(texts(&inspect.read(Position(0), 1 << 20).items), ["a"]);
    let verified = inspect.verify(&mut |_, _| {}).unwrap();
    assert_eq!((verified.events, verified.problems.len()), (1, 0), "{verified:?}");
    journal.close().unwrap();
    drop(Journal::open(disk(), small_options(2), MachineClock::new()).unwrap());
}

#[test]
fn many_threads_append_and_each_keeps_its_order() {
    const EACH: u64 = 5000;
    let folder = tempfile::tempdir().unwrap();
    let mut options =
        Options { topics: small_options(1).topics, linger: Duration::from_millis(2), ..Options::default() };
    options.segment_bytes = 1 << 20;
    options.frame_bytes_max = 128 << 10;
    options.event_bytes_max = 32 << 10;
    let disk = Arc::new(Directory::create(folder.path()).unwrap());
    let (journal, _) = Journal::open(disk, options, MachineClock::new()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let journal = journal.clone();
            scope.spawn(move || {
                let partition = Partition((thread % u64::from(PARTITIONS)) as u16);
                let mut last = Commit(0);
                for count in 0..EACH {
                    loop {
                        match journal.append(&topic(), partition, record(&format!("{thread} {count}")), None) {
                            Ok(appended) => break last = appended.commit,
                            Err(AppendError::Full(_)) => block_on(journal.room()),
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
                while journal.durable().unwrap() < last {
                    block_on(journal.durable_after(journal.durable().unwrap())).unwrap();
                }
            });
        }
    });
    let mut next = [0; 4];
    for text in texts(&read_all(&journal)) {
        let (thread, count) = text.split_once(' ').unwrap();
        let (thread, count): (usize, u64) = (thread.parse().unwrap(), count.parse().unwrap());
        assert_eq!(count, next[thread], "thread {thread}");
        next[thread] += 1;
    }
    assert_eq!(next, [EACH; 4]);
    journal.close().unwrap();
}

#[test]
fn a_lone_event_is_durable_after_its_linger_and_at_once_without_one() {
    for linger in [Duration::ZERO, Duration::from_millis(5)] {
        let folder = tempfile::tempdir().unwrap();
        let mut options = small_options(1);
        options.topics[0].linger = Some(linger);
        let disk = Arc::new(Directory::create(folder.path()).unwrap());
        let (journal, _) = Journal::open(disk, options, MachineClock::new()).unwrap();
        let appended = append(&journal, 0, "a");
        assert!(block_on(journal.durable_after(Commit(0))).unwrap() >= appended.commit);
        block_on(journal.grown(Position(0)));
        journal.close().unwrap();
    }
}

#[test]
fn each_mistake_in_the_options_has_its_own_message() {
    let good = small_options(1);
    assert_eq!(good.check(), Ok(()));
    assert_eq!(Options::default().check(), Ok(()));
    let broken = |change: fn(&mut Options)| {
        let mut options = good.clone();
        change(&mut options);
        options.check().unwrap_err()
    };
    assert!(matches!(broken(|o| o.segment_bytes = 5000), OptionsError::SegmentBytes { bytes: 5000, .. }));
    assert!(matches!(broken(|o| o.frame_bytes_max = 1 << 20), OptionsError::FrameBytes { .. }));
    assert!(matches!(broken(|o| o.event_bytes_max = 0), OptionsError::EventBytes { .. }));
    assert!(matches!(broken(|o| o.quota_bytes = 1000), OptionsError::Quota { bytes: 1000, .. }));
    assert!(matches!(broken(|o| o.topics[0].partitions = 0), OptionsError::Partitions { partitions: 0, .. }));
    assert!(matches!(broken(|o| o.topics.push(o.topics[0].clone())), OptionsError::TopicTwice(_)));
    assert!(matches!(broken(|o| o.topics[0].partitions = 1000), OptionsError::TooManyPartitions { .. }));
    assert!(matches!(broken(|o| o.checkpoint_bytes = 1), OptionsError::CheckpointBytes { .. }));
}

#[test]
fn who_waits_with_a_large_event_is_not_told_to_try_again_for_nothing() {
    let (journal, hand, _) = open(&SimDisk::new(9), &small_options(9));
    let large = || record(&"x".repeat(4_000));
    // The frame that gathers is nearly full: a small event would fit, a large one does not.
    while journal.append(&topic(), Partition(0), large(), None).is_ok() {}
    assert!(world::poll_once(&mut journal.room()).is_none(), "it would be refused again");
    assert!(journal.append(&topic(), Partition(0), record("small"), None).is_ok());
    assert!(world::poll_once(&mut journal.room()).is_none());
    hand.commit().unwrap();
    assert!(world::poll_once(&mut journal.room()).is_some());
    assert!(journal.append(&topic(), Partition(0), large(), None).is_ok());
}
