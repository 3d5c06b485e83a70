//! Looking at a journal's files from outside: batches as they lie, places in a file, files whose heads are destroyed, given-up events.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lamppost_event::{
    BootId, ClockQuality, Cursor, Monotonic, Now, Offset, Partition, Position, Topic, TopicPartition, WallTime,
};
use lamppost_journal::sim::SimDisk;
use lamppost_journal::{
    Compression, Hand, Inspect, Journal, Place, Policy, Priority, ReadItem, SegmentFile, SplitMix64, TopicOptions,
    WhenFull,
};
use world::readings::{fill, options, reading};
use world::{HandClock, append, at, group, hooked, open, record, small_options, topic};

fn places(file: &SegmentFile) -> Vec<Place> {
    let mut places = Vec::new();
    let all: Result<(), Infallible> = file.places(&mut |place| {
        places.push(place);
        Ok(())
    });
    all.unwrap();
    places
}

#[test]
fn batches_are_handed_over_whole_and_in_order_hot_and_cold() {
    let disk = SimDisk::new(1);
    let (journal, hand, _) = open(&disk, &options(1));
    fill(&journal, &hand, 1200, &mut reading);
    assert!(journal.stats().segments_cold > 0);
    let inspect = Inspect::open(Arc::new(disk)).unwrap();
    let (mut next, mut packed) = (BTreeMap::<TopicPartition, Offset>::new(), 0);
    let mut last = (0, 0);
    let all: Result<(), Infallible> = inspect.batches(&mut |done, whole| last = (done, whole), &mut |batch| {
        let reached = next.entry(batch.at.clone()).or_default();
        assert_eq!((*reached, batch.base.0), (batch.base, u64::from_be_bytes(batch.bytes[..8].try_into().unwrap())));
        packed += u32::from(batch.compression != Ok(Compression::None));
        *reached = batch.next;
        Ok(())
    });
    all.unwrap();
    assert_eq!(next.values().map(|next| next.0).sum::<u64>(), 1200);
    assert!(packed > 0 && last.0 == last.1 && last.0 > 0, "{packed} compressed, {last:?}");
}

#[test]
fn a_file_without_heads_gives_the_same_frames_and_garbage_none() {
    let disk = SimDisk::new(2);
    let (journal, hand, _) = open(&disk, &options(2));
    fill(&journal, &hand, 900, &mut reading);
    let names: Vec<String> = disk.contents().into_keys().filter(|name| name.ends_with(".seg")).collect();
    let (mut hot, mut cold) = (0, 0);
    for name in names.iter().filter(|name| !name.starts_with("free-")) {
        let frames = |places: &[Place]| -> Vec<(u64, u64)> {
            let of = |place: &Place| match place {
                Place::Frame(frame) => Some((frame.byte, frame.commit.0)),
                Place::Damaged { .. } | Place::Unwritten { .. } => None,
            };
            places.iter().filter_map(of).collect()
        };
        let whole = places(&SegmentFile::open(&disk, name).unwrap());
        disk.flip(name, 50, 0xff);
        disk.flip(name, 4096 + 50, 0xff);
        let file = SegmentFile::open(&disk, name).unwrap();
        assert_eq!(
            (file.sound_heads(), file.head(), file.is_readable()),
            ([false, false], None, true),
            "{name} {:?}",
            frames(&whole)
        );
        assert_eq!(frames(&places(&file)), frames(&whole), "{name}");
        assert!(frames(&whole).len() > 1, "{name}");
        (hot, cold) = (hot + u32::from(name.starts_with("hot-")), cold + u32::from(name.starts_with("cold-")));
    }
    assert!(hot > 0 && cold > 0, "{names:?}");
}

/// Whatever bytes a file has, it is gone through to its end, each byte told once, and no event comes out that was not written.
#[test]
fn every_byte_of_a_damaged_file_is_told_once_and_nothing_comes_out_that_was_not_written() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let (journal, hand, _) = open(&disk, &options(seed));
        fill(&journal, &hand, 300, &mut reading);
        let written: Vec<Vec<u8>> = (0..300).map(|n| reading(n).into_bytes()).collect();
        let mut random = SplitMix64::new(seed);
        let name = disk.contents().into_keys().find(|name| name.starts_with("hot-")).unwrap();
        let bytes = disk.contents()[&name].len();
        for _ in 0..=random.below(60) {
            disk.flip(&name, random.below(bytes as u64) as usize, (random.below(255) + 1) as u8);
        }
        let file = SegmentFile::open(&disk, &name).unwrap();
        let (mut at, mut found) = (8192, 0);
        for place in places(&file) {
            let (byte, taken) = match &place {
                Place::Frame(frame) => (frame.byte, frame.bytes),
                Place::Damaged { byte, bytes, .. } | Place::Unwritten { byte, bytes } => (*byte, *bytes),
            };
            assert_eq!(byte, at, "seed {seed}");
            at += taken;
            if let Place::Frame(frame) = place {
                for record in frame.records() {
                    assert!(written.contains(&record.record.value.unwrap().to_vec()), "seed {seed}");
                    found += 1;
                }
            }
        }
        assert!(!file.is_readable() || (at >= bytes as u64 - 4096 && found <= 300), "seed {seed}: {at} of {bytes}");
    }
}

#[test]
fn inspection_tells_every_offset_that_was_given_up_between_those_that_are_kept() {
    // Some end with a gap at the end of a segment, where no frame follows.
    [14, 16, 20, 24].into_iter().for_each(given_up_over);
}

fn given_up_over(rounds: u32) {
    let disk = SimDisk::new(3);
    let mut options = options(3);
    let energy = Topic::user("energy").unwrap();
    options.topics.push(TopicOptions { topic: energy.clone(), partitions: 1, linger: None });
    let bulk = Policy { priority: Priority::Bulk, when_full: WhenFull::GiveUpOldest, ..Policy::default() };
    options.policies = [(topic(), bulk)].into();
    let (journal, hand, _) = open(&disk, &options);
    let mut random = SplitMix64::new(7);
    let mut noise = |_| (0..24).map(|_| format!("{:016x}", random.next_u64())).collect();
    // What must stay, between what may go.
    for _ in 0..rounds {
        fill(&journal, &hand, 150, &mut noise);
        journal.append(&energy, Partition(0), record(&noise(0)), None).unwrap();
        hand.commit().unwrap();
    }
    assert!(!journal.stats().given_up.is_empty(), "{:?}", journal.stats());
    let inspect = Inspect::open(Arc::new(disk)).unwrap();
    let figures = inspect.figures();
    let mut next: BTreeMap<TopicPartition, Offset> =
        figures.partitions.iter().map(|p| (p.at.clone(), p.first)).collect();
    let (mut kept, mut gone) = (0, 0);
    for item in inspect.read(Position(0), usize::MAX).items {
        let (at, from, to) = match item {
            ReadItem::Record(r) => {
                (TopicPartition { topic: r.topic, partition: r.partition }, r.offset, r.offset.next())
            }
            ReadItem::Gap(gap) => {
                gone += 1;
                (gap.at, gap.from, gap.to)
            }
        };
        let next = next.get_mut(&at).unwrap();
        assert!(from <= *next && *next < to, "{at}: {from} up to {to} behind {next}");
        (*next, kept) = (to, kept + 1);
    }
    assert!(kept > 20 && gone > 0, "{kept} kept, {gone} gaps");
    for partition in figures.partitions {
        assert_eq!(next[&partition.at], partition.next, "{}", partition.at);
    }
    let unset = Now { wall: WallTime(5), monotonic: Monotonic(5), boot: BootId(7), quality: ClockQuality::Unset };
    assert_eq!(inspect.times().of(&unset), Some(WallTime(1_700_000_000_005)), "by what the frames say of their boot");
}

/// A journal that recycles, by hand; each call writes about a segment.
fn recycling(disk: SimDisk) -> (Journal, impl FnMut() + Send) {
    let (journal, hand, _) = Journal::open_by_hand(Arc::new(disk), small_options(4), HandClock::new()).unwrap();
    let (writing, mut count) = (journal.clone(), 0);
    let more = move || {
        for _ in 0..15 {
            append(&writing, 0, &format!("{count} {}", "z".repeat(1500)));
            count += 1;
            hand.commit().unwrap();
            hand.keep().unwrap();
        }
    };
    (journal, more)
}

#[test]
fn what_is_recycled_while_somebody_looks_is_called_that_and_not_damaged() {
    let disk = SimDisk::new(4);
    let (journal, mut more) = recycling(disk.clone());
    (0..20).for_each(|_| more());
    let inspect = Inspect::open(Arc::new(disk)).unwrap();
    let recycled = journal.stats().recycled;
    (0..2).for_each(|_| more());
    assert!(journal.stats().recycled > recycled);
    let (mut gaps, mut from, mut last) = (Vec::new(), inspect.start(), None);
    loop {
        let chunk = inspect.read(from, 10_000);
        for item in chunk.items {
            match item {
                ReadItem::Gap(gap) => gaps.push(gap.reason),
                ReadItem::Record(record) => last = Some(record.offset),
            }
        }
        from = chunk.next;
        if chunk.caught_up {
            break;
        }
    }
    assert!(!gaps.is_empty() && gaps.iter().all(|reason| reason == "recycled before it was read"), "{gaps:?}");
    assert_eq!(last, Some(Offset(299)));
}

#[test]
fn verifying_a_journal_that_recycles_faster_than_it_is_read_finds_nothing_wrong_with_it_either() {
    let sim = SimDisk::new(6);
    let (journal, mut more) = recycling(sim.clone());
    (0..20).for_each(|_| more());
    let (disk, hooks) = hooked::Hooked::new(&sim);
    let inspect = Inspect::open(disk).unwrap();
    let (recycled, mut reads) = (journal.stats().recycled, 0);
    *hooks.on_read.lock().unwrap() = Some(Box::new(move |_, at, _| {
        reads += usize::from(at > 8192);
        if at > 8192 && reads % 4 == 2 {
            more();
        }
        Ok(())
    }));
    let verified = inspect.verify(&mut |_, _| {}).unwrap();
    assert!(journal.stats().recycled >= recycled + 4, "{} segments recycled", journal.stats().recycled - recycled);
    assert_eq!((verified.problems, verified.damage, verified.gaps), (vec![], vec![], vec![]));
}

#[test]
fn verifying_a_journal_that_goes_on_meanwhile_finds_nothing_wrong_with_it() {
    let sim = SimDisk::new(5);
    let (journal, mut more) = recycling(sim.clone());
    (0..20).for_each(|_| more());
    let (disk, hooks) = hooked::Hooked::new(&sim);
    let inspect = Inspect::open(disk).unwrap();
    let (recycled, mut reads) = (journal.stats().recycled, 0);
    *hooks.on_read.lock().unwrap() = Some(Box::new(move |_, at, _| {
        // Of the first file's frames; heads are read before anything.
        reads += usize::from(at > 8192);
        if [2, 6].contains(&reads) {
            reads += 1;
            more();
        }
        Ok(())
    }));
    let verified = inspect.verify(&mut |_, _| {}).unwrap();
    assert!(journal.stats().recycled > recycled);
    assert_eq!((verified.problems, verified.damage, verified.gaps), (vec![], vec![], vec![]));
    assert!(verified.events > 15, "{}", verified.events);
}

/// A journal with events, cold segments, groups and checkpoints, and the disk as somebody who looks has it.
fn watched(seed: u64) -> (SimDisk, Journal, Hand, Arc<hooked::Hooked>, Arc<hooked::Hooks>) {
    let sim = SimDisk::new(seed);
    let mut options = options(seed);
    options.segment_bytes = 1 << 20;
    options.quota_bytes = 14 * options.segment_bytes;
    let (journal, hand, _) = open(&sim, &options);
    fill(&journal, &hand, 3000, &mut reading);
    journal.commit_cursors(&group(), &[Cursor { at: at(0), next: Offset(9) }]).unwrap();
    hand.checkpoint().unwrap();
    append(&journal, 0, "behind the checkpoint");
    hand.commit().unwrap();
    let (disk, hooks) = hooked::Hooked::new(&sim);
    (sim, journal, hand, disk, hooks)
}

#[test]
fn looking_takes_nothing_from_the_writers_cache_and_verifying_reads_past_it() {
    let (_sim, _journal, _hand, disk, hooks) = watched(7);
    let mut inspect = Inspect::open(disk).unwrap();
    inspect.look_again().unwrap();
    assert_eq!(hooks.forgotten.load(Ordering::Relaxed), 0);
    inspect.verify(&mut |_, _| {}).unwrap();
    assert!(hooks.forgotten.load(Ordering::Relaxed) >= 2, "segments and the checkpoint");
}

#[test]
fn who_looks_again_reads_only_what_was_written_since() {
    let (_sim, journal, hand, disk, hooks) = watched(8);
    for _ in 0..80 {
        append(&journal, 0, "one of a segment's many");
        hand.commit().unwrap();
    }
    let mut inspect = Inspect::open(disk).unwrap();
    let read = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&read);
    *hooks.on_read.lock().unwrap() = Some(Box::new(move |_, _, bytes| {
        counted.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }));
    let used = inspect.figures().segments.last().unwrap().used_bytes;
    assert!(used > 200 << 10, "a segment with something in it: {used} bytes");
    let mut looks = Vec::new();
    for n in 0..4 {
        if n > 1 {
            append(&journal, 0, "once more");
            hand.commit().unwrap();
        }
        read.store(0, Ordering::Relaxed);
        let before = inspect.figures().events;
        inspect.look_again().unwrap();
        looks.push((inspect.figures().events - before, read.load(Ordering::Relaxed)));
    }
    let events: Vec<u64> = looks.iter().map(|(events, _)| *events).collect();
    assert_eq!(events, [0, 0, 1, 1]);
    assert!(looks.iter().all(|(_, bytes)| *bytes <= 64 << 10), "{looks:?}");
}

#[test]
fn who_looks_again_knows_what_one_who_looks_for_the_first_time_does() {
    let disk = SimDisk::new(9);
    let mut lives = 0;
    let mut inspect = Inspect::open(Arc::new(disk.clone())).unwrap();
    let (mut went_on, mut random) = (0, SplitMix64::new(9));
    for life in 0..6 {
        let (journal, hand, _) = open(&disk, &options(100 + life));
        for n in 0..60 {
            fill(&journal, &hand, random.below(9) as usize, &mut reading);
            journal.commit_cursors(&group(), &[Cursor { at: at(0), next: Offset(n * (life + 1)) }]).unwrap();
            if random.chance(1, 9) {
                hand.checkpoint().unwrap();
            }
            let names = |inspect: &Inspect| inspect.figures().segments.into_iter().map(|segment| segment.name);
            let before: Vec<String> = names(&inspect).collect();
            inspect.look_again().unwrap();
            went_on += usize::from(names(&inspect).eq(before));
            let fresh = Inspect::open(Arc::new(disk.clone())).unwrap();
            assert_eq!(inspect.figures(), fresh.figures(), "life {life}, step {n}");
            assert_eq!(inspect.times(), fresh.times());
            let read = |inspect: &Inspect| format!("{:?}", inspect.read(inspect.start(), 1 << 20));
            assert_eq!(read(&inspect), read(&fresh), "life {life}, step {n}");
        }
        if life % 2 == 0 {
            journal.close().unwrap();
        }
        drop((journal, hand));
        lives += 1;
    }
    assert!(went_on > 100 && lives == 6, "{went_on} looks within a segment");
}

#[test]
fn a_checkpoint_that_is_replaced_while_it_is_looked_at_is_no_damage() {
    assert_eq!(replaced(false), [""; 0]);
    assert_eq!(replaced(true), ["damaged at its block"], "what is there then is read");
}

/// What is wrong with a journal whose checkpoints are replaced while it is verified, and maybe the last of them damaged.
fn replaced(damaged: bool) -> Vec<String> {
    let (sim, journal, hand, disk, hooks) = watched(10);
    let inspect = Inspect::open(disk.clone()).unwrap();
    let before = checkpoints(&sim);
    let (card, mut times) = (sim.clone(), 0);
    // Listed by who verifies, first for the segments and then for the checkpoints, and not opened yet.
    *hooks.on_list.lock().unwrap() = Some(Box::new(move || {
        times += 1;
        // Small ones are put together with what lies beneath: files go.
        for n in 0..if times <= 2 { 12 } else { 0 } {
            append(&journal, 0, &n.to_string());
            hand.commit().unwrap();
            hand.checkpoint().unwrap();
        }
        if damaged && times == 2 {
            card.flip(checkpoints(&card).last().unwrap(), 60, 1);
        }
    }));
    let verified = inspect.verify(&mut |_, _| {}).unwrap();
    assert!(before.iter().all(|name| !checkpoints(&sim).contains(name)), "all were replaced");
    verified.problems.into_iter().map(|problem| problem.what).collect()
}

fn checkpoints(disk: &SimDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.starts_with("checkpoint-")).collect()
}
