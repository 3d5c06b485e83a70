//! Marks, values and cursors: durable with their commit, and bounded.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use lamppost_event::*;
use lamppost_journal::sim::SimDisk;
use lamppost_journal::*;
use world::*;

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
fn only_the_boots_marked_last_are_kept_of_a_device() {
    const BOOTS: u64 = 3000;
    let disk = SimDisk::new(1);
    let options = Options { quota_bytes: 4 << 20, ..small_options(1) };
    let (journal, hand, _) = open(&disk, &options);
    let take = |device: u16, boot| {
        let mark = Mark { boot, ..mark(device, boot + 1) };
        while journal.append(&topic(), Partition(0), record("x"), Some(&mark)).is_err() {
            hand.commit().unwrap();
            hand.keep().unwrap();
        }
    };
    take(0, 5);
    let mut most = 0;
    for boot in 0..BOOTS {
        take(1, boot);
        // A boot that goes on sending is not among the oldest, whatever its number.
        take(1, 7);
        if boot % 5 == 4 {
            hand.commit().unwrap();
            hand.keep().unwrap();
        }
        if boot % 300 == 299 {
            let mut count = 0;
            journal.marks(&mut |_| count += 1).unwrap();
            most = most.max(count);
        }
    }
    take(2, 1);
    hand.commit().unwrap();
    assert!(most < 300, "{most} marks were kept at once");
    hand.checkpoint().unwrap();
    let kept: Vec<u64> = [7].into_iter().chain(BOOTS - 7..BOOTS).collect();
    let expected: Vec<(DeviceId, u64)> = [(device(0), 5)]
        .into_iter()
        .chain(kept.iter().map(|boot| (device(1), *boot)))
        .chain([(device(2), 1)])
        .collect();
    let check = |journal: &Journal| {
        let mut marks = Vec::new();
        journal.marks(&mut |mark| marks.push((mark.device, mark.boot))).unwrap();
        assert_eq!(marks, expected);
        for boot in [0, BOOTS / 2, BOOTS - 8] {
            assert_eq!(journal.mark(&device(1), boot), Ok(None), "boot {boot}");
            assert_eq!(journal.marked(&device(1), boot), Ok(None), "boot {boot}");
            assert_eq!(journal.marked_recently(&device(1), boot), None, "boot {boot}");
        }
        assert_eq!(journal.mark(&device(1), BOOTS - 1), Ok(Some(BOOTS)));
        let since = journal.state_since(journal.known_since()).unwrap();
        for change in since.changes {
            let StateChange::Mark(mark) = change else { panic!("{change:?}") };
            assert!(expected.contains(&(mark.device, mark.boot)), "a forgotten mark is told again");
        }
    };
    check(&journal);
    drop((journal, hand));
    disk.power_cut();
    check(&open(&disk, &options).0);
}

#[test]
fn marks_of_devices_never_heard_of_again_do_not_grow_without_a_bound() {
    const DEVICES: u64 = 6000;
    const BYTES_MAX: u64 = 16 << 10;
    let disk = SimDisk::new(1);
    let options = Options { quota_bytes: 4 << 20, marks_bytes_max: Some(BYTES_MAX), ..small_options(1) };
    let (journal, hand, _) = open(&disk, &options);
    let name = |number: u64| DeviceId::new(&format!("device-{number:06}")).unwrap();
    let count = |journal: &Journal| {
        let mut count = 0;
        journal.marks(&mut |_| count += 1).unwrap();
        count
    };
    let (mut most, mut told) = (0, 0);
    for number in 1..DEVICES {
        // One goes on sending among all those that are made up.
        for (device, sequence) in [(name(0), number), (name(number), 1)] {
            let mark = Mark { device, boot: 1, sequence };
            while journal.append(&topic(), Partition(0), record("x"), Some(&mark)).is_err() {
                hand.commit().unwrap();
                hand.keep().unwrap();
            }
        }
        if number % 5 == 4 {
            hand.commit().unwrap();
            hand.keep().unwrap();
        }
        if number % 500 == 499 {
            (most, told) = (most.max(count(&journal)), told.max(journal.stats().marks_crowded_out));
        }
    }
    hand.commit().unwrap();
    hand.checkpoint().unwrap();
    // A mark takes 48 bytes: half as many again between two whole layers, and those since the last checkpoint.
    let bound = BYTES_MAX * 3 / 2 / 48 + options.checkpoint_bytes as u64 / 48;
    assert!(most < bound, "{most} marks were kept at once, more than {bound}");
    assert!(told > DEVICES / 2 && told < DEVICES, "{told} are told of");
    let check = |journal: &Journal| {
        assert_eq!(journal.mark(&name(0), 1), Ok(Some(DEVICES - 1)), "the one that goes on");
        let kept: Vec<u64> = (1..DEVICES).filter(|number| journal.mark(&name(*number), 1) != Ok(None)).collect();
        assert!(kept.len() as u64 > BYTES_MAX / 2 / 48, "only {} are kept", kept.len());
        assert_eq!(kept.last(), Some(&(DEVICES - 1)));
        // Commits are of five devices; of those as old as the last that is forgotten, any may be.
        let gaps = kept.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
        assert!(gaps <= 1, "those heard of last are kept: {kept:?}");
        for number in [1, DEVICES / 2] {
            assert_eq!(journal.marked(&name(number), 1), Ok(None));
            assert_eq!(journal.marked_recently(&name(number), 1), None);
        }
    };
    check(&journal);
    drop((journal, hand));
    disk.power_cut();
    check(&open(&disk, &options).0);
}

#[test]
fn a_journal_that_is_full_goes_on_while_its_state_grows() {
    let disk = SimDisk::new(1);
    let options = small_options(1);
    // Room for as many segments as there may be, and hardly any beside them.
    let options = Options {
        quota_bytes: options.quota_bytes + 4 * options.segment_bytes + 20_000,
        checkpoint_bytes: 1 << 20,
        ..options
    };
    assert!(options.required.is_empty());
    let (journal, hand, _) = open(&disk, &options);
    for device in 0..2_500_u64 {
        let mark = Mark { device: DeviceId::new(&format!("device-{device:06}")).unwrap(), boot: 1, sequence: 1 };
        let mut refused = 0;
        while journal.append(&topic(), Partition(0), record(&"x".repeat(200)), Some(&mark)).is_err() {
            refused += 1;
            assert!(refused < 20, "device {device} is refused for ever: {:?}", journal.stats());
            hand.commit().unwrap();
            hand.keep().unwrap();
        }
        if device % 8 == 7 {
            hand.commit().unwrap();
            hand.keep().unwrap();
        }
        assert!(disk.bytes() <= options.quota_bytes);
    }
    assert!(journal.stats().recycled > 5 && journal.stats().checkpoints > 1, "{:?}", journal.stats());
}
