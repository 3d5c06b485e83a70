//! What opening finds and mends: clean ends, torn ends, damage, files that do not belong.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::sync::Arc;

use lamppost_event::*;
use lamppost_journal::sim::SimDisk;
use lamppost_journal::*;
use world::*;

#[test]
fn a_clean_close_is_known_and_a_new_epoch_goes_on_from_it() {
    let disk = SimDisk::new(1);
    let (journal, _hand, first) = open(&disk, &small_options(1));
    append(&journal, 0, "a");
    journal.close().unwrap();
    assert!(matches!(journal.append(&topic(), Partition(0), record("b"), None), Err(AppendError::Stopped(_))));
    let (journal, _hand, second) = open(&disk, &small_options(2));
    assert!(second.clean && second.unproved.is_none() && second.rewritten == 0);
    assert_eq!((second.continued, second.identity), (Some(first.epoch), first.identity));
    assert_ne!(second.epoch, first.epoch);
    assert_eq!(append(&journal, 0, "b").offset, Offset(1));
    journal.close().unwrap();
    let (journal, _hand, third) = open(&disk, &small_options(3));
    assert_eq!((third.clean, third.continued), (true, Some(second.epoch)));
    let epochs = |item: &ReadItem| match item {
        ReadItem::Record(record) => record.epoch,
        ReadItem::Gap(gap) => panic!("{gap:?}"),
    };
    assert_eq!(
        read_all(&journal).iter().map(epochs).collect::<Vec<_>>(),
        [first.epoch, second.epoch],
        "stored ones keep theirs"
    );
}

#[test]
fn an_older_copy_that_was_closed_cleanly_names_no_event_as_the_original_does() {
    let disk = SimDisk::new(1);
    let (journal, ..) = open(&disk, &small_options(1));
    append(&journal, 0, "before");
    journal.close().unwrap();
    let copy = disk.contents();
    let mut named = Vec::new();
    for (life, text) in ["original", "copy", "copy again"].into_iter().enumerate() {
        let disk = SimDisk::new(1);
        for (name, bytes) in &copy {
            disk.create_zeroed(name, bytes.len() as u64).unwrap().write_at(bytes, 0).unwrap();
        }
        let (journal, ..) = open(&disk, &small_options(life as u64 + 2));
        let offset = append(&journal, 0, text).offset;
        assert_eq!(offset, Offset(1), "the same offset each time");
        named.push(journal.epoch());
        journal.close().unwrap();
    }
    named.sort();
    named.dedup();
    assert_eq!(named.len(), 3, "and another epoch");
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
    assert_eq!(second.continued, None, "a lost last frame can look like none: only a clean close is gone on from");
    assert_ne!(second.epoch, first.epoch);
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
    assert_eq!((journal.state_get(b"a").unwrap(), second.continued), (Some("1".into()), Some(first.epoch)));
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
    newer[8] = 3;
    let crc = crc32c::crc32c(&newer[..4092]).to_le_bytes();
    newer[4092..4096].copy_from_slice(&crc);
    put(&newer);
    assert!(matches!(opening(), Err(OpenError::Newer { version: 3, .. })));
}

#[test]
fn a_segment_whose_new_heads_never_reached_it_is_not_taken_for_the_one_that_its_file_held_before() {
    let (disk, first, kept) = given_on_file(0..8192);
    let last = hot(&disk).pop().unwrap();
    let (journal, _hand, second) = open(&disk, &small_options(2));
    assert_eq!(second.set_aside, [last], "{second:?}");
    assert!(second.unproved.is_some() && second.epoch != first && second.damage.is_empty(), "{second:?}");
    let events = offsets(&journal);
    assert!(events.windows(2).all(|pair| pair[0].next() == pair[1]), "{events:?}");
    assert!(events[0] == kept.first && events.len() > 20, "{events:?} of {kept:?}");
}

#[test]
fn one_of_the_two_heads_is_enough_though_the_other_is_of_what_the_file_held_before() {
    for page in [0..4096, 4096..8192] {
        let (disk, _, kept) = given_on_file(page);
        let (journal, _hand, second) = open(&disk, &small_options(2));
        assert!(second.set_aside.is_empty() && second.unproved.is_none(), "{second:?}");
        let events = offsets(&journal);
        assert_eq!((events[0], events.last().unwrap().next()), (kept.first, kept.next));
    }
}

/// A journal after a kill, whose last segment's file has held another one before; of its heads these bytes are still that one's. With the epoch, and
/// what was kept.
fn given_on_file(bytes: std::ops::Range<usize>) -> (SimDisk, Epoch, PartitionBounds) {
    let disk = SimDisk::new(1);
    let (journal, hand, first) = open(&disk, &small_options(1));
    let fill = |until: &dyn Fn() -> bool| {
        while !until() {
            if journal.append(&topic(), Partition(0), record(&"x".repeat(900)), None).is_err() {
                hand.keep().unwrap();
            }
            hand.commit().unwrap();
            hand.keep().unwrap();
        }
    };
    let oldest = hot(&disk)[0].clone();
    let heads = disk.contents()[&oldest][bytes.clone()].to_vec();
    // The file was given on and lies elsewhere by now.
    fill(&|| !disk.has(&oldest));
    let last = hot(&disk).pop().unwrap();
    fill(&|| hot(&disk).pop().unwrap() != last);
    append(&journal, 0, "in the last segment");
    hand.commit().unwrap();
    let kept = journal.partitions()[0].clone();
    drop((journal, hand));
    disk.process_killed();
    let last = hot(&disk).pop().unwrap();
    let file = lamppost_journal::Disk::open(&disk, &last, lamppost_journal::Access::Write).unwrap();
    file.write_at(&heads, bytes.start as u64).unwrap();
    file.flush().unwrap();
    (disk, first.epoch, kept)
}

fn offsets(journal: &Journal) -> Vec<Offset> {
    let events = read_all(journal).into_iter().filter_map(|item| match item {
        ReadItem::Record(record) => Some(record.offset),
        ReadItem::Gap(_) => None,
    });
    events.collect()
}

#[test]
fn the_last_frames_are_written_anew_into_smaller_segments_as_far_as_they_fit() {
    let disk = SimDisk::new(1);
    let large = Options { segment_bytes: 4 << 20, quota_bytes: 64 << 20, ..small_options(1) };
    let (journal, hand, _) = open(&disk, &large);
    // A sixteenth of the large segment, and twice a small one.
    for number in 0..40 {
        append(&journal, 0, &number.to_string());
        hand.commit().unwrap();
    }
    drop((journal, hand));
    disk.power_cut();
    let small = |seed| Options { quota_bytes: 64 << 20, ..small_options(seed) };
    for seed in [2, 3] {
        let (journal, _hand, _) = open(&disk, &small(seed));
        assert_eq!(texts(&read_all(&journal)), (0..40).map(|number| number.to_string()).collect::<Vec<_>>());
        drop((journal, _hand));
        disk.power_cut();
    }
}

#[test]
fn where_not_even_the_last_frame_fits_into_a_smaller_segment_opening_fails_and_nothing_is_changed() {
    let disk = SimDisk::new(1);
    let large = |seed| Options {
        segment_bytes: 4 << 20,
        quota_bytes: 64 << 20,
        frame_bytes_max: 512 << 10,
        event_bytes_max: 128 << 10,
        ..small_options(seed)
    };
    let (journal, hand, _) = open(&disk, &large(1));
    append(&journal, 0, &"x".repeat(100_000));
    hand.commit().unwrap();
    drop((journal, hand));
    disk.power_cut();
    let small = Options { quota_bytes: 64 << 20, ..small_options(2) };
    let refused = Journal::open_by_hand(Arc::new(disk.clone()), small, HandClock::new()).map(drop);
    assert!(refused.unwrap_err().to_string().contains("segment size that it had (4194304)"));
    let (journal, _hand, _) = open(&disk, &large(3));
    assert_eq!(texts(&read_all(&journal)), ["x".repeat(100_000)]);
}

/// The options of the `count`th opening: as `small_options`, with randomness of its own.
fn opening(count: u64) -> Options {
    Options { quota_bytes: 2 * small_options(1).quota_min(), ..small_options(1000 + count) }
}

fn overwrite(disk: &SimDisk, name: &str, byte: usize, fill: u8, length: usize) {
    let file = disk.open(name, Access::Write).unwrap();
    file.write_at(&vec![fill; length], byte as u64).unwrap();
    file.flush().unwrap();
}

/// The place in its file of the frame that ends at `end`, which is a page long.
fn last_frame(disk: &SimDisk, end: Position) -> (String, usize) {
    for (name, bytes) in disk.contents() {
        for at in (0..bytes.len()).step_by(PAGE).filter(|at| bytes[*at..].starts_with(b"LMPFRAME")) {
            let position = u64::from_le_bytes(bytes[at + 24..at + 32].try_into().unwrap());
            if name.starts_with("hot-") && position == end.0 - PAGE as u64 {
                return (name, at);
            }
        }
    }
    panic!("no frame ends at {end:?}");
}

/// Whether offsets up to `last` can be given again under the epoch that they had.
fn gives_again(journal: &Journal, epoch: Epoch, last: Offset) -> bool {
    journal.epoch() == epoch && journal.partitions()[0].next <= last
}

fn one(journal: &Journal, hand: &Hand) -> Offset {
    let appended = append(journal, 0, "x");
    hand.commit().unwrap();
    while hand.keep().unwrap() {}
    assert!(journal.durable().unwrap() >= appended.commit);
    appended.offset
}

#[test]
fn a_destroyed_last_frame_never_gives_its_offset_again_under_the_same_epoch() {
    for fill in [0, 0xa5] {
        for (recycled, closed_before) in [(false, false), (false, true), (true, false), (true, true)] {
            let disk = SimDisk::new(3);
            let (mut journal, mut hand, _) = open(&disk, &opening(1));
            for _ in 0..if recycled { 300 } else { 5 } {
                one(&journal, &hand);
            }
            assert_eq!(journal.stats().recycled > 0, recycled);
            if closed_before {
                journal.close().unwrap();
                (journal, hand, _) = open(&disk, &opening(2));
            }
            let (last, epoch, end) = (one(&journal, &hand), journal.epoch(), journal.end());
            drop((journal, hand));
            disk.power_cut();
            let (name, at) = last_frame(&disk, end);
            overwrite(&disk, &name, at, fill, PAGE);
            let (journal, _hand, recovery) = open(&disk, &opening(3));
            let case = format!("filled with {fill}, recycled: {recycled}, closed before: {closed_before}");
            assert!(!gives_again(&journal, epoch, last), "{case}: {recovery:?}");
            assert!(!recovery.clean, "{case}");
        }
    }
}

/// A log whose last segment has just been begun: with how many frames, the epoch and the last offset. After `close_at` frames it
/// is closed and opened again.
fn two_segments(close_at: Option<u64>) -> (SimDisk, u64, Epoch, Offset) {
    let disk = SimDisk::new(3);
    let (mut journal, mut hand, _) = open(&disk, &opening(1));
    let (mut frames, mut last) = (0, Offset(0));
    while hot(&disk).len() < 2 {
        if close_at == Some(frames) {
            journal.close().unwrap();
            (journal, hand, _) = open(&disk, &opening(2));
        }
        last = one(&journal, &hand);
        frames += 1;
    }
    let epoch = journal.epoch();
    drop((journal, hand));
    disk.power_cut();
    (disk, frames, epoch, last)
}

#[test]
fn power_cuts_while_a_damaged_last_segment_is_mended_never_give_an_offset_again() {
    let (_, frames, ..) = two_segments(None);
    // Both of its heads, or its only frame, as a virgin or a recycled file would hold something else.
    let harms = [(0, 0xaa, 2 * PAGE), (FRAMES_AT, 0xaa, PAGE), (FRAMES_AT, 0, PAGE)];
    for (close_at, harm) in [None, Some(frames - 1)].into_iter().flat_map(|at| harms.map(|harm| (at, harm))) {
        let (byte, fill, length) = harm;
        let mut opened = false;
        for cut in 0..200 {
            let (disk, _, epoch, last) = two_segments(close_at);
            let name = hot(&disk).pop().unwrap();
            overwrite(&disk, &name, byte, fill, length);
            disk.cut_after(cut);
            opened = Journal::open_by_hand(Arc::new(disk.clone()), opening(3), HandClock::new()).is_ok();
            disk.power_cut();
            for again in 4..6 {
                let (journal, hand, recovery) = open(&disk, &opening(again));
                let case = format!("closed at {close_at:?}, {fill:#x} at {byte}, power cut at I/O {cut}");
                assert!(!gives_again(&journal, epoch, last), "{case}: {recovery:?}");
                drop((journal, hand));
                disk.power_cut();
            }
            if opened {
                break;
            }
        }
        assert!(opened, "200 I/Os are not enough");
    }
}

#[test]
fn gaps_keep_their_place_among_the_frames_that_are_written_anew() {
    // Few frames: all are written anew. Many: the last alone, with the damage just before it.
    for count in [4_usize, 14] {
        let disk = SimDisk::new(1);
        let (journal, hand, _) = open(&disk, &small_options(1));
        for offset in 0..count {
            append(&journal, 0, &offset.to_string());
            hand.commit().unwrap();
        }
        drop((journal, hand));
        disk.process_killed();
        overwrite(&disk, &hot(&disk)[0], FRAMES_AT + (count - 2) * PAGE, 0x77, PAGE);
        let mut expected: Vec<String> = (0..count).map(|offset| offset.to_string()).collect();
        expected[count - 2] = format!("gap {}..{}", count - 2, count - 1);
        for again in 2..5 {
            let (journal, hand, _) = open(&disk, &small_options(again));
            assert_eq!(texts(&read_all(&journal)), expected, "{count} frames, opening {again}");
            let chunk = journal.read_partition(&topic(), Partition(0), Offset(0), 1 << 20).unwrap();
            assert_eq!(texts(&chunk.items), expected, "{count} frames, opening {again}, by partition");
            drop((journal, hand));
            disk.process_killed();
        }
    }
}

#[test]
fn a_segment_set_aside_behind_the_last_live_one_leaves_the_end_unproved() {
    for (number, behind) in [(0, false), (9, true)] {
        let disk = SimDisk::new(1);
        let (journal, hand, first) = open(&disk, &opening(1));
        one(&journal, &hand);
        journal.close().unwrap();
        drop(disk.create_zeroed(&format!("damaged-hot-{number:016}.seg"), 4096).unwrap());
        let (journal, _hand, second) = open(&disk, &opening(2));
        let continued = Some(first.epoch).filter(|_| !behind);
        assert_eq!((second.unproved.is_some(), second.continued), (behind, continued), "{second:?}");
        journal.close().unwrap();
        let (_journal, _hand, third) = open(&disk, &opening(3));
        assert_eq!((third.clean, third.continued), (true, Some(second.epoch)), "the next segment lies behind it");
    }
}

#[test]
fn a_close_frame_that_was_written_anew_proves_nothing() {
    let disk = SimDisk::new(3);
    let (journal, hand, _) = open(&disk, &opening(1));
    for _ in 0..5 {
        one(&journal, &hand);
    }
    journal.close().unwrap();
    overwrite(&disk, &hot(&disk)[0], FRAMES_AT + 2 * PAGE, 0x77, PAGE);
    let (journal, hand, recovery) = open(&disk, &opening(2));
    assert!(recovery.clean && recovery.unproved.is_some() && recovery.rewritten > 0, "{recovery:?}");
    // From here on the checkpoint answers for the damage.
    hand.checkpoint().unwrap();
    let (last, epoch, end) = (one(&journal, &hand), journal.epoch(), journal.end());
    drop((journal, hand));
    disk.power_cut();
    let (name, at) = last_frame(&disk, end);
    overwrite(&disk, &name, at, 0, PAGE);
    let (journal, _hand, recovery) = open(&disk, &opening(3));
    assert!(!gives_again(&journal, epoch, last), "{recovery:?}");
}

/// A frame that one opening could not read, and the next one can: what was acknowledged in between keeps its place.
#[test]
fn an_unreadable_end_that_can_be_read_again_displaces_nothing() {
    let disk = SimDisk::new(3);
    let (journal, hand, _) = open(&disk, &small_options(1));
    for n in 0..14 {
        append(&journal, 0, &format!("old{n}"));
        hand.commit().unwrap();
    }
    drop((journal, hand));
    disk.power_cut();
    let name = hot(&disk).pop().unwrap();
    let bytes = disk.contents()[&name].clone();
    let mut frames = (0..bytes.len()).step_by(4096).filter(|at| bytes[*at..].starts_with(b"LMPFRAME"));
    let at = frames.next_back().unwrap() + 200;
    disk.flip(&name, at, 1);
    let (journal, hand, first) = open(&disk, &small_options(2));
    assert!(first.unproved.is_some(), "{first:?}");
    for n in 0..2 {
        append(&journal, 0, &format!("new{n}"));
        hand.commit().unwrap();
    }
    let before = texts(&read_all(&journal));
    drop((journal, hand));
    disk.power_cut();
    disk.flip(&name, at, 1);
    let (journal, _hand, _) = open(&disk, &small_options(3));
    assert_eq!(texts(&read_all(&journal)), before);
}
