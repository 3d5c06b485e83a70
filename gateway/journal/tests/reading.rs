//! What readers get: everything in order, and a gap for what is missing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lamppost_event::*;
use lamppost_journal::sim::SimDisk;
use lamppost_journal::*;
use world::*;

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
    let verified = Inspect::open(Arc::new(disk.clone())).unwrap().verify(&mut |_, _| {}).unwrap();
    let there = |problem: &&lamppost_journal::Problem| problem.name == name && problem.byte == FRAMES_AT as u64 + 4096;
    assert!(verified.problems.iter().any(|problem| there(&problem)), "{verified:?}");
    assert_eq!(verified.gaps.len(), 1);
}

#[test]
fn a_partition_read_in_small_steps_is_read_once() {
    let disk = SimDisk::new(1);
    let (hooked, hooks) = hooked::Hooked::new(&disk);
    let mut options = small_options(1);
    (options.segment_bytes, options.quota_bytes) = (4 << 20, 64 << 20);
    let (journal, hand, _) = Journal::open_by_hand(hooked, options, HandClock::new()).unwrap();
    hand.keep().unwrap();
    for number in 0..400 {
        append(&journal, 0, &format!("{number} {}", "-".repeat(3000)));
        append(&journal, 1, "of another partition");
        hand.commit().unwrap();
    }
    let read = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&read);
    *hooks.on_read.lock().unwrap() = Some(Box::new(move |_, _, bytes| {
        *counted.lock().unwrap() += bytes;
        Ok(())
    }));
    let whole = journal.read_partition(&topic(), Partition(0), Offset(0), usize::MAX).unwrap().items;
    let once = std::mem::take(&mut *read.lock().unwrap());
    let (mut items, mut from) = (Vec::new(), Offset(0));
    loop {
        let before = from;
        let chunk = journal.read_partition(&topic(), Partition(0), from, 300_000).unwrap();
        items.extend(chunk.items);
        from = chunk.next;
        if chunk.caught_up {
            break;
        }
        assert!(from > before);
    }
    assert_eq!((items.len(), &items), (400, &whole));
    let steps = *read.lock().unwrap();
    assert!(steps < 2 * once, "{steps} bytes were read in steps, {once} at once");
}

#[test]
fn nothing_is_jumped_over_at_the_end_of_a_log_that_grows() {
    const EVENTS: u64 = 6000;
    let mut options = small_options(1);
    options.linger = Duration::ZERO;
    (options.segment_bytes, options.quota_bytes) = (4 << 20, 64 << 20);
    let (journal, _) = Journal::open(Arc::new(SimDisk::new(1)), options, MachineClock::new()).unwrap();
    let (mut from, mut next) = (Position(0), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for count in 0..EVENTS {
                let appended = append(&journal, 0, &count.to_string());
                while journal.durable().unwrap() < appended.commit {
                    std::hint::spin_loop();
                }
            }
        });
        while next < EVENTS {
            let chunk = journal.read(from, 1 << 20).unwrap();
            from = chunk.next;
            for item in chunk.items {
                let ReadItem::Record(record) = item else { panic!("{item:?}") };
                assert_eq!(record.offset, Offset(next), "jumped over in silence");
                next += 1;
            }
            assert!(next < EVENTS || journal.read(from, 1 << 20).unwrap().items.is_empty());
        }
    });
}

/// A journal with the events "a" to "e", a commit each, on a disk whose reads can be made to fail.
fn five_on_a_hooked_disk() -> (Journal, Hand, Arc<hooked::Hooks>) {
    let (disk, hooks) = hooked::Hooked::new(&SimDisk::new(1));
    let (journal, hand, _) = Journal::open_by_hand(disk, small_options(1), HandClock::new()).unwrap();
    for text in ["a", "b", "c", "d", "e"] {
        append(&journal, 0, text);
        hand.commit().unwrap();
    }
    (journal, hand, hooks)
}

/// The next `times` reads that touch `page` fail.
fn fail_reads(hooks: &hooked::Hooks, page: u64, mut times: u32) {
    *hooks.on_read.lock().unwrap() = Some(Box::new(move |_, at, length| {
        if times == 0 || page < at || page >= at + length as u64 {
            return Ok(());
        }
        times -= 1;
        Err(std::io::Error::from_raw_os_error(5))
    }));
}

#[test]
fn a_read_error_that_passes_costs_nothing() {
    for times in 1..=3 {
        let (journal, _hand, hooks) = five_on_a_hooked_disk();
        fail_reads(&hooks, (FRAMES_AT + PAGE) as u64, times);
        assert_eq!(texts(&read_all(&journal)), ["a", "b", "c", "d", "e"], "{times} failed reads");
        assert_eq!(journal.stats().unreadable, 0);
    }
}

#[test]
fn what_one_pass_could_not_read_is_a_gap_in_that_pass_even_if_a_second_look_would_succeed() {
    let expected =
        [["gap 0..1", "b", "c", "d", "e"], ["a", "gap 1..2", "c", "d", "e"], ["a", "b", "c", "d", "gap 4..5"]];
    for (frame, expected) in [0, 1, 4].into_iter().zip(expected) {
        let mut lost = 0;
        for times in 1..20 {
            let (journal, _hand, hooks) = five_on_a_hooked_disk();
            fail_reads(&hooks, (FRAMES_AT + frame * PAGE) as u64, times);
            let found = texts(&read_all(&journal));
            if found != ["a", "b", "c", "d", "e"] {
                assert_eq!(found, expected, "{times} failed reads");
                lost += 1;
                *hooks.on_read.lock().unwrap() = None;
                let again = texts(&read_all(&journal));
                let events: Vec<_> = again.iter().filter(|text| !text.starts_with("gap")).collect();
                assert_eq!(events, ["a", "b", "c", "d", "e"], "the disk reads again");
            }
        }
        assert!(lost > 5, "the error never lasted for a pass");
    }
}

#[test]
fn a_segment_without_one_sound_frame_does_not_hide_those_behind_it() {
    let disk = SimDisk::new(1);
    let mut options = small_options(1);
    options.quota_bytes = 1 << 20;
    let (journal, hand, _) = open(&disk, &options);
    let mut count = 0;
    while hot(&disk).len() < 4 {
        append(&journal, 0, &count.to_string());
        hand.commit().unwrap();
        hand.keep().unwrap();
        count += 1;
    }
    journal.close().unwrap();
    let name = hot(&disk)[1].clone();
    let file = disk.open(&name, Access::Write).unwrap();
    file.write_at(&vec![0xaa; (options.segment_bytes as usize) - FRAMES_AT], FRAMES_AT as u64).unwrap();
    drop(file);
    let (journal, _hand, _) = open(&disk, &small_options(2));
    let mut next = 0;
    for item in read_all(&journal) {
        match item {
            ReadItem::Record(record) => {
                assert_eq!(record.offset, Offset(next));
                next += 1;
            }
            ReadItem::Gap(gap) => {
                assert_eq!(gap.from, Offset(next), "{gap:?}");
                next = gap.to.0;
            }
        }
    }
    assert_eq!(next, count, "everything is told of, to the end");
}

#[test]
fn an_event_in_place_says_what_the_one_that_is_kept_says_also_once_its_memory_could_be_used_again() {
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let disk = SimDisk::new(1);
        let mut options = small_options(1);
        (options.compression, options.quota_bytes) = (compression, 4 << 20);
        let (journal, hand, _) = open(&disk, &options);
        let wanted: Vec<String> = (0..2000).map(|count| format!("{count} {}", "x".repeat(count % 300))).collect();
        for texts in wanted.chunks(20) {
            for text in texts {
                append(&journal, 0, text);
            }
            hand.commit().unwrap();
            hand.keep().unwrap();
        }
        let (mut from, mut kept, mut in_place) = (Position(0), Vec::new(), Vec::new());
        loop {
            let on = journal
                .read_in_place(from, 10_000, |item| {
                    let ItemInPlace::Record(record) = &item else { panic!("{item:?}") };
                    assert_eq!((record.topic, record.partition, record.key), (&topic(), Partition(0), &b"key"[..]));
                    assert_eq!((record.offset.0 as usize, record.header), (in_place.len(), &b"header"[..]));
                    assert_eq!((record.epoch, record.timestamp), (journal.epoch(), WallTime(1_700_000_000_000)));
                    in_place.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
                    kept.push(item.keep());
                })
                .unwrap();
            from = on.next;
            if on.caught_up {
                break;
            }
        }
        assert_eq!(in_place, wanted, "{compression:?}");
        assert_eq!(texts(&kept), wanted, "{compression:?}");
        assert_eq!(read_all(&journal), kept, "{compression:?}");
    }
}

#[test]
fn what_is_compressed_well_is_read_in_pieces_of_the_size_that_it_has_in_memory() {
    const EVENTS: usize = 100;
    let disk = SimDisk::new(1);
    let mut options = small_options(1);
    (options.compression, options.event_bytes_max, options.frame_bytes_max) = (Compression::Zstd, 64 << 10, 256 << 10);
    options.segment_bytes = 2 << 20;
    options.quota_bytes = 10 * options.segment_bytes;
    let (journal, hand, _) = open(&disk, &options);
    for count in 0..EVENTS {
        append(&journal, 0, &format!("{count} {}", "0".repeat(40 << 10)));
        hand.commit().unwrap();
    }
    // One commit is read at least.
    for bytes_max in [1, 256 << 10] {
        let (mut from, mut events) = (Position(0), 0);
        loop {
            let chunk = journal.read(from, bytes_max).unwrap();
            assert!(chunk.items.len() <= bytes_max / (40 << 10) + 1, "{} events of 40 KiB each", chunk.items.len());
            events += chunk.items.len();
            from = chunk.next;
            if chunk.caught_up {
                break;
            }
        }
        assert_eq!(events, EVENTS);
    }
    let (mut next, mut events) = (Offset(0), 0);
    while events < EVENTS {
        let chunk = journal.read_partition(&topic(), Partition(0), next, 256 << 10).unwrap();
        assert!(chunk.items.len() <= 7, "{} events of 40 KiB each", chunk.items.len());
        events += chunk.items.len();
        next = chunk.next;
    }
}

/// Reads all in steps of one frame each; gives the events, and the bytes that were read of cold files for them.
fn frame_by_frame(hooks: &hooked::Hooks, mut read: impl FnMut(Position, &mut u64) -> ReadOn) -> (u64, u64) {
    let bytes = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = Arc::clone(&bytes);
    *hooks.on_read.lock().unwrap() = Some(Box::new(move |name, _, length| {
        let cold = if name.starts_with("cold-") { length as u64 } else { 0 };
        counted.fetch_add(cold, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }));
    let (mut from, mut events) = (Position(0), 0);
    loop {
        let on = read(from, &mut events);
        from = on.next;
        if on.caught_up {
            *hooks.on_read.lock().unwrap() = None;
            return (events, bytes.load(std::sync::atomic::Ordering::Relaxed));
        }
    }
}

#[test]
fn a_cold_segment_that_is_read_in_small_steps_is_still_read_once() {
    const EVENTS: u64 = 400;
    let (disk, hooks) = hooked::Hooked::new(&SimDisk::new(1));
    let mut options = small_options(1);
    (options.event_bytes_max, options.frame_bytes_max, options.segment_bytes) = (64 << 10, 256 << 10, 2 << 20);
    options.quota_bytes = 10 * options.segment_bytes;
    options.required = vec![group()];
    let (journal, hand, _) = Journal::open_by_hand(disk.clone(), options, HandClock::new()).unwrap();
    let mut random = SplitMix64::new(1);
    for _ in 0..EVENTS {
        let noise: String = (0..1500).map(|_| format!("{:016x}", random.next_u64())).collect();
        append(&journal, 0, &noise);
        hand.commit().unwrap();
        while hand.keep().unwrap() {}
    }
    let stats = journal.stats();
    assert!(stats.segments_cold > 0 && stats.cold_bytes > 2 << 20, "{stats:?}");
    let inspect = Inspect::open(disk).unwrap();
    let inside = frame_by_frame(&hooks, |from, events| journal.read_in_place(from, 1, |_| *events += 1).unwrap());
    let outside = frame_by_frame(&hooks, |from, events| inspect.read_in_place(from, 1, |_| *events += 1));
    for (events, bytes) in [inside, outside] {
        assert_eq!(events, EVENTS);
        let cold = stats.cold_bytes;
        assert!(cold <= bytes && bytes < cold + cold / 4, "{bytes} bytes were read of {cold} cold ones");
    }
}
