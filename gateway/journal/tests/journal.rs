//! What the journal promises, one sentence a test.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::sync::Arc;
use std::time::Duration;

use lamppost_event::{Commit, Cursor, Offset, Partition, Position, TopicPartition};
use lamppost_journal::sim::{Faults, SimDisk};
use lamppost_journal::{
    AppendError, Directory, Hand, Inspect, Journal, OpenError, Options, OptionsError, ReadItem, Recovery, StateChange,
    StateError,
};
use world::*;

const FRAMES_AT: usize = 8192;

fn open(disk: &SimDisk, options: &Options) -> (Journal, Hand, Recovery) {
    Journal::open_by_hand(Arc::new(disk.clone()), options.clone(), HandClock::new()).unwrap()
}

fn hot(disk: &SimDisk) -> Vec<String> {
    disk.contents().into_keys().filter(|name| name.starts_with("hot-")).collect()
}

fn at(partition: u16) -> TopicPartition {
    TopicPartition { topic: topic(), partition: Partition(partition) }
}

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
fn a_clean_close_is_known_and_keeps_the_epoch() {
    let disk = SimDisk::new(1);
    let (journal, _hand, first) = open(&disk, &small_options(1));
    append(&journal, 0, "a");
    journal.close().unwrap();
    assert!(matches!(journal.append(&topic(), Partition(0), record("b"), None), Err(AppendError::Stopped(_))));
    let (journal, _hand, second) = open(&disk, &small_options(2));
    assert!(second.clean && second.unproved.is_none() && second.rewritten == 0);
    assert_eq!((second.epoch, second.identity), (first.epoch, first.identity));
    assert_eq!(append(&journal, 0, "b").offset, Offset(1));
}

#[test]
fn the_last_frame_is_written_anew_after_a_kill() {
    let disk = SimDisk::new(1);
    let (journal, hand, first) = open(&disk, &small_options(1));
    append(&journal, 0, "a");
    hand.commit().unwrap();
    drop(journal);
    disk.process_killed();
    let (journal, _hand, second) = open(&disk, &small_options(2));
    assert!(!second.clean && second.rewritten == 1 && second.unproved.is_none());
    assert_eq!(second.epoch, first.epoch, "nothing lies behind the last frame: the end is proved");
    assert_eq!(texts(&read_all(&journal)), ["a"]);
}

#[test]
fn a_torn_last_frame_is_dropped_and_changes_the_epoch() {
    let disk = SimDisk::new(1);
    let (journal, hand, first) = open(&disk, &small_options(1));
    append(&journal, 0, "a");
    hand.commit().unwrap();
    append(&journal, 0, "b");
    hand.commit().unwrap();
    drop(journal);
    disk.process_killed();
    disk.flip(&hot(&disk)[0], FRAMES_AT + 4096 + 120, 0xff);
    let (journal, _hand, second) = open(&disk, &small_options(2));
    assert!(second.unproved.as_ref().is_some_and(|reason| reason.contains("end of the log")), "{second:?}");
    assert_ne!(second.epoch, first.epoch);
    assert_eq!(texts(&read_all(&journal)), ["a"]);
}

#[test]
fn damage_in_the_middle_is_a_gap_and_the_rest_is_read() {
    let disk = SimDisk::new(1);
    let (journal, hand, first) = open(&disk, &small_options(1));
    for text in ["a", "b", "c", "d"] {
        append(&journal, 0, text);
        hand.commit().unwrap();
    }
    journal.close().unwrap();
    disk.flip(&hot(&disk)[0], FRAMES_AT + 4096 + 120, 1);
    let (journal, _hand, second) = open(&disk, &small_options(2));
    assert_eq!(texts(&read_all(&journal)), ["a", "gap 1..2", "c", "d"]);
    assert_eq!((second.damage.len(), second.gaps.len()), (1, 1));
    assert_ne!(second.epoch, first.epoch, "marks and cursors in the damaged frame are not known");
    let chunk = journal.read_partition(&topic(), Partition(0), Offset(1), 10_000).unwrap();
    assert_eq!(texts(&chunk.items), ["gap 1..2", "c", "d"]);
}

#[test]
fn damage_met_while_reading_is_a_gap_and_is_counted() {
    let disk = SimDisk::new(1);
    let (journal, hand, _) = open(&disk, &small_options(1));
    for text in ["a", "b", "c"] {
        append(&journal, 0, text);
        hand.commit().unwrap();
    }
    disk.flip(&hot(&disk)[0], FRAMES_AT + 4096 + 8, 0xff);
    for _ in 0..2 {
        assert_eq!(texts(&read_all(&journal)), ["a", "gap 1..2", "c"]);
    }
    assert_eq!((journal.stats().unreadable, journal.stats().gaps), (1, 1));
}

#[test]
fn any_flipped_byte_costs_at_most_its_frame_and_never_a_panic() {
    let disk = SimDisk::new(1);
    let (journal, hand, _) = open(&disk, &small_options(1));
    for text in ["a", "b", "c"] {
        append(&journal, 0, text);
        hand.commit().unwrap();
    }
    journal.close().unwrap();
    let name = hot(&disk)[0].clone();
    for byte in (0..FRAMES_AT + 3 * 4096).step_by(13) {
        let copy = SimDisk::new(2);
        for (name, bytes) in disk.contents() {
            let file = lamppost_journal::Disk::create_zeroed(&copy, &name, bytes.len() as u64).unwrap();
            file.write_at(&bytes, 0).unwrap();
        }
        copy.flip(&name, byte, 0x10);
        let (journal, _hand, _) = open(&copy, &small_options(3));
        let found = texts(&read_all(&journal));
        let events = found.iter().filter(|text| !text.starts_with("gap")).count();
        assert!(events >= 2, "byte {byte}: {found:?}");
    }
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
fn a_failed_flush_or_write_stops_the_journal_for_good() {
    for faults in
        [Faults { fail_next_flush: true, ..Faults::default() }, Faults { fail_next_write: true, ..Faults::default() }]
    {
        let disk = SimDisk::new(1);
        let (journal, hand, _) = open(&disk, &small_options(1));
        append(&journal, 0, "a");
        disk.set_faults(faults);
        let mut waiting = journal.durable_after(Commit(0));
        assert!(poll_once(&mut waiting).is_none());
        assert!(hand.commit().is_err());
        assert!(poll_once(&mut waiting).unwrap().is_err(), "who waits is told");
        assert!(hand.commit().is_err() && journal.durable().is_err(), "there is no second try");
        assert!(journal.append(&topic(), Partition(0), record("b"), None).is_err());
        drop(waiting);
        drop((journal, hand));
        disk.power_cut();
        let (journal, hand, _) = open(&disk, &small_options(2));
        append(&journal, 0, "b");
        assert!(hand.commit().unwrap(), "opened again it goes on");
    }
}

#[test]
fn marks_are_durable_with_their_event_and_outlive_it() {
    let disk = SimDisk::new(1);
    let (journal, hand, _) = open(&disk, &small_options(1));
    let appended = journal.append(&topic(), Partition(0), record("a"), Some(&mark(0, 5))).unwrap();
    assert_eq!(journal.mark(&device(0), 1).unwrap(), None);
    let marked = journal.marked(&device(0), 1).unwrap().unwrap();
    assert_eq!((marked.sequence, marked.commit), (5, appended.commit));
    hand.commit().unwrap();
    assert_eq!(journal.mark(&device(0), 1).unwrap(), Some(5));
    let changes = journal.state_since(Commit(0)).unwrap();
    assert_eq!((changes.changes, changes.upto), (vec![StateChange::Mark(mark(0, 5))], Commit(1)));
    journal.append(&topic(), Partition(2), record("c"), Some(&mark(2, 1))).unwrap();
    hand.commit().unwrap();
    journal.forget_mark(&device(2), 1).unwrap();
    for count in 0..3000 {
        journal.append(&topic(), Partition(1), record(&"z".repeat(900)), Some(&mark(1, count))).unwrap();
        if count % 5 == 0 {
            hand.commit().unwrap();
            hand.keep().unwrap();
        }
    }
    hand.commit().unwrap();
    assert!(journal.stats().checkpoints > 1 && journal.stats().recycled > 1);
    assert!(matches!(journal.state_since(Commit(0)), Err(StateError::TooOld { .. })));
    drop((journal, hand));
    disk.process_killed();
    let (journal, _hand, _) = open(&disk, &small_options(2));
    assert_eq!(journal.mark(&device(0), 1).unwrap(), Some(5));
    let mut marks = Vec::new();
    journal.marks(&mut |mark| marks.push((mark.device, mark.sequence))).unwrap();
    assert_eq!(marks, [(device(0), 5), (device(1), 2999)]);
}

#[test]
fn state_of_many_keys_lives_in_checkpoints_and_can_be_removed() {
    let disk = SimDisk::new(1);
    let mut options = small_options(1);
    options.quota_bytes = 4 << 20;
    let (journal, hand, _) = open(&disk, &options);
    for key in 0..2000_u32 {
        let value = Some(format!("value {key}").into());
        journal.put_state(format!("key {key:05}").as_bytes(), value).unwrap();
        if key % 40 == 0 {
            hand.commit().unwrap();
            hand.keep().unwrap();
        }
    }
    hand.commit().unwrap();
    journal.put_state(b"key 00007", None).unwrap();
    hand.commit().unwrap();
    hand.checkpoint().unwrap();
    drop((journal, hand));
    disk.power_cut();
    let (journal, _hand, _) = open(&disk, &options);
    assert_eq!(journal.state_get(b"key 01234").unwrap().unwrap(), "value 1234");
    assert_eq!(journal.state_get(b"key 00007").unwrap(), None);
    let mut keys = Vec::new();
    journal.state_scan(b"key 0000", &mut |key, _| keys.push(key.to_vec())).unwrap();
    assert_eq!(keys.len(), 9);
    assert!(keys.is_sorted());
}

#[test]
fn a_broken_checkpoint_is_set_aside_and_the_log_tells_the_state() {
    let disk = SimDisk::new(1);
    let (journal, hand, first) = open(&disk, &small_options(1));
    journal.put_state(b"a", Some("1".into())).unwrap();
    hand.commit().unwrap();
    hand.checkpoint().unwrap();
    journal.close().unwrap();
    let name = disk.contents().into_keys().find(|name| name.starts_with("checkpoint-")).unwrap();
    disk.flip(&name, 60, 1);
    let (journal, _hand, second) = open(&disk, &small_options(2));
    assert_eq!(second.checkpoints_refused.len(), 1);
    assert_eq!((journal.state_get(b"a").unwrap(), second.epoch), (Some("1".into()), first.epoch));
}

#[test]
fn cursors_only_go_forward_and_resume_after_a_restart() {
    let disk = SimDisk::new(1);
    let (journal, hand, _) = open(&disk, &small_options(1));
    for text in ["a", "b", "c"] {
        append(&journal, 0, text);
        hand.commit().unwrap();
    }
    let cursor = |next| [Cursor { at: at(0), next: Offset(next) }];
    journal.commit_cursors(&group(), &cursor(2)).unwrap();
    journal.commit_cursors(&group(), &cursor(1)).unwrap();
    assert!(hand.commit().unwrap(), "a commit of its own");
    drop((journal, hand));
    disk.power_cut();
    let (journal, _hand, _) = open(&disk, &small_options(2));
    let resume = journal.resume(&group()).unwrap();
    assert_eq!(resume.cursors, cursor(2));
    assert_eq!(texts(&journal.read(resume.position, 1 << 20).unwrap().items), ["c"]);
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
    let verified = inspect.verify(&mut |_, _| {});
    assert_eq!((verified.events, verified.problems.len()), (1, 0), "{verified:?}");
    journal.close().unwrap();
    drop(Journal::open(disk(), small_options(2), MachineClock::new()).unwrap());
}

#[test]
fn verification_names_the_file_and_the_byte() {
    let disk = SimDisk::new(1);
    let (journal, hand, _) = open(&disk, &small_options(1));
    for text in ["a", "b", "c"] {
        append(&journal, 0, text);
        hand.commit().unwrap();
    }
    journal.commit_cursors(&group(), &[Cursor { at: at(0), next: Offset(1) }]).unwrap();
    journal.close().unwrap();
    let figures = Inspect::open(Arc::new(disk.clone())).unwrap().figures();
    assert!(figures.closed);
    assert_eq!((figures.events, figures.groups[0].lag, figures.partitions[0].next), (3, 2, Offset(3)));
    let name = hot(&disk)[0].clone();
    disk.flip(&name, FRAMES_AT + 4096 + 200, 4);
    let verified = Inspect::open(Arc::new(disk.clone())).unwrap().verify(&mut |_, _| {});
    let there = |problem: &&lamppost_journal::Problem| problem.name == name && problem.byte == FRAMES_AT as u64 + 4096;
    assert!(verified.problems.iter().any(|problem| there(&problem)), "{verified:?}");
    assert_eq!(verified.gaps.len(), 1);
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
fn files_of_another_journal_and_of_a_newer_version_are_refused() {
    let (one, two) = (SimDisk::new(1), SimDisk::new(2));
    for (disk, seed) in [(&one, 1), (&two, 2)] {
        open(disk, &small_options(seed)).0.close().unwrap();
    }
    let bytes = two.contents()[&hot(&two)[0]].clone();
    let name = "hot-0000000000000099.seg";
    let put = |bytes: &[u8]| {
        let file = lamppost_journal::Disk::create_zeroed(&one, name, bytes.len() as u64).unwrap();
        file.write_at(bytes, 0).unwrap();
    };
    let opening = || Journal::open_by_hand(Arc::new(one.clone()), small_options(3), HandClock::new()).map(|_| ());
    put(&bytes);
    assert!(matches!(opening(), Err(OpenError::Mixed { .. })));
    let mut newer = bytes;
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[..4092]).to_le_bytes();
    newer[4092..4096].copy_from_slice(&crc);
    put(&newer);
    assert!(matches!(opening(), Err(OpenError::Newer { version: 2, .. })));
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
