//! Bits flipped anywhere in a closed journal, in any of its files: nothing panics, nothing that was not hit is lost, and what was hit is
//! named and counted.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use lamppost_event::{Offset, Partition, Position};
use lamppost_journal::sim::SimDisk;
use lamppost_journal::{
    AppendError, Disk, Entropy, Inspect, Journal, Options, Place, ReadItem, Recovery, SegmentFile, SplitMix64,
};
use world::model::Key;
use world::*;

/// A closed journal, and the events in it.
struct Closed {
    files: BTreeMap<String, Vec<u8>>,
    events: BTreeMap<Key, String>,
    options: Options,
}

/// Some segments long; with a required group that has done nothing, so that all of it is kept.
fn closed(seed: u64) -> Closed {
    let disk = SimDisk::new(seed);
    let mut options = small_options(seed);
    options.required = vec![group()];
    options.quota_bytes += 4 * options.segment_bytes;
    let (journal, hand, _) = open(&disk, &options);
    let (mut random, mut events, mut refused) = (SplitMix64::new(seed), BTreeMap::new(), 0);
    while refused < 3 && events.len() < 900 {
        for _ in 0..random.below(12) {
            let (partition, length) = (random.below(u64::from(PARTITIONS)) as u16, random.below(700) as usize);
            let text = format!("{} {}", "y".repeat(length), events.len());
            match journal.append(&topic(), Partition(partition), record(&text), Some(&mark(partition, 1))) {
                Ok(appended) => drop(events.insert((partition, appended.offset.0), text)),
                Err(AppendError::Full(_)) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        hand.commit().unwrap();
        while hand.keep().unwrap() {}
    }
    hand.checkpoint().unwrap();
    journal.close().unwrap();
    Closed { files: disk.contents(), events, options }
}

impl Closed {
    /// The same again, for harm to be done to it.
    fn disk(&self) -> SimDisk {
        let disk = SimDisk::new(1);
        for (name, bytes) in &self.files {
            disk.create_zeroed(name, bytes.len() as u64).unwrap().write_at(bytes, 0).unwrap();
        }
        disk
    }
}

/// What reading everything gave.
#[derive(Default)]
struct Seen {
    events: BTreeMap<Key, String>,
    missing: BTreeSet<Key>,
}

fn see(journal: &Journal) -> Seen {
    let mut seen = Seen::default();
    let mut next = [0; PARTITIONS as usize];
    for item in read_all(journal) {
        match item {
            ReadItem::Record(record) => {
                let (partition, offset) = (record.partition.0, record.offset.0);
                let slot = &mut next[usize::from(partition)];
                assert!(offset >= *slot, "{partition}: {offset} after {slot}");
                *slot = offset + 1;
                seen.events.insert((partition, offset), text_of(&record));
            }
            ReadItem::Gap(gap) => {
                assert!(gap.to.0 - gap.from.0 < 10_000, "{gap:?}");
                seen.missing.extend((gap.from.0..gap.to.0).map(|offset| (gap.at.partition.0, offset)));
            }
        }
    }
    seen
}

/// What somebody comes upon who looks at the files.
fn seen_from_outside(disk: &SimDisk) -> Vec<ReadItem> {
    let (inspect, mut items, mut from) = (Inspect::open(Arc::new(disk.clone())).unwrap(), Vec::new(), Position(0));
    loop {
        let chunk = inspect.read(from, 10_000);
        items.extend(chunk.items);
        from = chunk.next;
        if chunk.caught_up {
            return items;
        }
    }
}

fn told(item: Option<&ReadItem>) -> String {
    match item {
        Some(ReadItem::Record(r)) => format!("{}/{} {} {}", r.partition, r.offset, r.epoch, text_of(r)),
        Some(ReadItem::Gap(gap)) => format!("{} from {} up to {}: {}", gap.at, gap.from, gap.to, gap.reason),
        None => "nothing more".to_owned(),
    }
}

/// Item by item the same, inside and from outside.
fn alike(inside: &[ReadItem], outside: &[ReadItem], case: &str) {
    for n in 0..inside.len().max(outside.len()) {
        assert_eq!(told(inside.get(n)), told(outside.get(n)), "{case}: item {n}, inside and from outside");
    }
}

/// What each partition's reader comes upon: where a gap is told among other partitions' events depends on what is known besides.
fn by_partition(items: &[ReadItem]) -> BTreeMap<u16, Vec<(u64, u64, Option<String>)>> {
    let mut told: BTreeMap<u16, Vec<(u64, u64, Option<String>)>> = BTreeMap::new();
    for item in items {
        let (partition, from, to, text) = match item {
            ReadItem::Record(r) => (r.partition.0, r.offset.0, r.offset.0 + 1, Some(text_of(r))),
            ReadItem::Gap(gap) => (gap.at.partition.0, gap.from.0, gap.to.0, None),
        };
        let told = told.entry(partition).or_default();
        match told.last_mut() {
            // Two gaps side by side are one.
            Some((_, end, None)) if text.is_none() && *end == from => *end = to,
            _ => told.push((from, to, text)),
        }
    }
    told
}

/// The events of a frame, by its directory.
fn events_in(frame: &[u8]) -> BTreeSet<Key> {
    let number =
        |at: usize, bytes: usize| frame[at..at + bytes].iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
    let (mut at, mut ours) = (96, None);
    for topic_index in 0..number(76, 2) {
        let length = usize::from(frame[at]);
        if frame[at + 1..=at + length] == *topic().as_str().as_bytes() {
            ours = Some(topic_index);
        }
        at += 1 + length;
    }
    let batches = (0..number(78, 2) as usize).map(|index| at + 20 * index);
    let batches = batches.filter(|at| Some(number(*at, 2)) == ours);
    let events = batches.flat_map(|at| {
        let (partition, base) = (number(at + 2, 2) as u16, number(at + 4, 8));
        (base..base + number(at + 12, 4)).map(move |offset| (partition, offset))
    });
    events.collect()
}

/// A frame's bytes in a file, padding left out.
fn frames(bytes: &[u8]) -> Vec<Range<usize>> {
    let begins = (FRAMES_AT..bytes.len()).step_by(PAGE).filter(|at| bytes[*at..].starts_with(b"LMPFRAME"));
    begins.map(|at| at..at + u32::from_le_bytes(bytes[at + 16..at + 20].try_into().unwrap()) as usize).collect()
}

impl Closed {
    /// What may be lost when these bytes of files are not what they were.
    fn at_risk(&self, harm: &[(&String, usize)]) -> BTreeSet<Key> {
        let mut risk = BTreeSet::new();
        for (name, bytes) in self.files.iter().filter(|(name, _)| name.starts_with("hot-") || name.starts_with("cold-"))
        {
            let harmed = |range: &Range<usize>| harm.iter().any(|(other, at)| *other == name && range.contains(at));
            let headless = harmed(&(0..PAGE)) && harmed(&(PAGE..FRAMES_AT));
            let hit = frames(bytes).into_iter().filter(|frame| headless || harmed(frame));
            hit.for_each(|frame| risk.extend(events_in(&bytes[frame])));
        }
        risk
    }

    /// Opens the harmed journal, reads all of it, and once more after a kill.
    fn endure(&self, disk: &SimDisk, harm: &[(&String, usize)]) -> usize {
        let case = format!("{harm:?}");
        let inspect = Inspect::open(Arc::new(disk.clone())).unwrap();
        drop(inspect.verify(&mut |_, _| {}));
        let before = seen_from_outside(disk);
        let mut lost = 0;
        for opening in 2..4 {
            let mut options = self.options.clone();
            options.entropy = Entropy::Seed(opening);
            let opened = Journal::open_by_hand(Arc::new(disk.clone()), options, HandClock::new());
            let (journal, _hand, recovery) =
                opened.unwrap_or_else(|error| panic!("{case}, opening {opening}: {error}"));
            let inside = read_all(&journal);
            alike(&inside, &seen_from_outside(disk), &format!("{case}, opening {opening}"));
            if opening == 2 {
                assert_eq!(by_partition(&before), by_partition(&inside), "{case}, before the opening");
            }
            lost = self.compare(&journal, &recovery, &self.at_risk(harm), &format!("{case}, opening {opening}"));
            drop(journal);
            disk.process_killed();
        }
        lost
    }

    /// Nothing is lost that was not hit, what is lost is named and counted, and nothing is there that was never stored.
    fn compare(&self, journal: &Journal, recovery: &Recovery, risk: &BTreeSet<Key>, case: &str) -> usize {
        let seen = see(journal);
        for (key, text) in &seen.events {
            assert_eq!(self.events.get(key), Some(text), "{case}: {key:?} is another event");
        }
        let next: BTreeMap<u16, u64> = journal.partitions().into_iter().map(|b| (b.at.partition.0, b.next.0)).collect();
        let lost: Vec<&Key> = self.events.keys().filter(|key| !seen.events.contains_key(key)).collect();
        for key in &lost {
            assert!(risk.contains(key), "{case}: {key:?} was not hit, and is lost: {recovery:?}");
            // The end of a log that can't be proved may lie before what was lost.
            let behind = recovery.unproved.is_some() && key.1 >= next[&key.0];
            assert!(behind || seen.missing.contains(key), "{case}: {key:?} is lost, and not named: {recovery:?}");
        }
        let counted = recovery.damage.len() + recovery.set_aside.len() + journal.stats().unreadable as usize;
        assert!(lost.is_empty() || counted > 0, "{case}: {} events lost, and not counted: {recovery:?}", lost.len());
        for partition in 0..PARTITIONS {
            let chunk = journal.read_partition(&topic(), Partition(partition), Offset(0), usize::MAX).unwrap();
            let there = chunk.items.iter().filter_map(|item| match item {
                ReadItem::Record(record) => Some((partition, record.offset.0)),
                ReadItem::Gap(_) => None,
            });
            let expected = seen.events.keys().copied().filter(|key| key.0 == partition);
            assert_eq!(there.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{case}: by partition {partition}");
        }
        lost.len()
    }
}

#[test]
fn nothing_is_lost_of_a_closed_journal_that_is_not_harmed() {
    let closed = closed(1);
    assert!(closed.files.keys().any(|name| name.starts_with("cold-")), "{:?}", closed.files.keys());
    assert_eq!(closed.at_risk(&[]).len(), 0);
    let all: BTreeSet<Key> = closed.events.keys().copied().collect();
    let harm: Vec<(&String, usize)> = closed.files.keys().flat_map(|name| [(name, 7), (name, PAGE)]).collect();
    assert!(closed.at_risk(&harm).is_superset(&all), "the frames are found");
    assert_eq!(closed.endure(&closed.disk(), &[]), 0);
}

/// In the log's first frame, with its checkpoints sound or gone, after a clean close or not.
#[test]
fn the_first_frame_that_is_kept_is_missed_too() {
    for (checkpoints_too, unclean) in [(false, false), (true, false), (false, true), (true, true)] {
        let closed = closed(1);
        let disk = closed.disk();
        let first = closed.files.keys().find(|name| name.starts_with("cold-")).unwrap();
        let last = closed.files.keys().rfind(|name| name.starts_with("hot-")).unwrap();
        let close = frames(&closed.files[last]).into_iter().rfind(|frame| closed.files[last][frame.start + 10] == 1);
        let mut harm = vec![(first, FRAMES_AT + 200)];
        if checkpoints_too {
            let checkpoints = closed.files.keys().filter(|name| name.starts_with("checkpoint-"));
            harm.extend(checkpoints.map(|name| (name, 20)));
        }
        if unclean {
            harm.push((last, close.unwrap().start + 40));
        }
        for (name, at) in &harm {
            disk.flip(name, *at, 1);
        }
        assert!(closed.endure(&disk, &harm) > 0, "it held events");
    }
}

#[test]
fn flipped_bits_cost_no_more_than_the_frames_they_are_in() {
    let mut lost = 0;
    for seed in 0..seeds() {
        let (closed, mut random) = (closed(seed), SplitMix64::new(seed));
        let names: Vec<&String> = closed.files.keys().filter(|name| !closed.files[*name].is_empty()).collect();
        for _ in 0..12 {
            let disk = closed.disk();
            let mut harm = Vec::new();
            for _ in 0..=random.below(4) * random.below(4) {
                let name = names[random.below(names.len() as u64) as usize];
                let written: Vec<usize> =
                    (0..closed.files[name].len()).step_by(64).filter(|at| closed.files[name][*at] != 0).collect();
                let at = written
                    .get(random.below(written.len() as u64) as usize)
                    .map_or(0, |at| at + random.below(64) as usize);
                let at = at.min(closed.files[name].len() - 1);
                disk.flip(name, at, 1 << random.below(8));
                harm.push((name, at));
            }
            lost += closed.endure(&disk, &harm);
        }
    }
    assert!(lost > 10 * seeds() as usize, "only {lost} events lost: the flips hardly hit anything");
}

#[test]
fn a_destroyed_page_costs_no_more_than_the_frames_it_held() {
    for seed in 0..seeds() {
        let (closed, mut random) = (closed(seed + 1000), SplitMix64::new(seed));
        let names: Vec<&String> = closed.files.keys().filter(|name| name.ends_with(".seg")).collect();
        for _ in 0..8 {
            let disk = closed.disk();
            let name = names[random.below(names.len() as u64) as usize];
            let page = random.below((closed.files[name].len() / PAGE) as u64) as usize * PAGE;
            let harm: Vec<(&String, usize)> = (page..page + PAGE).map(|at| (name, at)).collect();
            for (name, at) in &harm {
                disk.flip(name, *at, random.next_u64() as u8);
            }
            closed.endure(&disk, &harm[..1]);
        }
    }
}

/// Of a segment that says where its frames end, all of them; and in one line, else the verification of a destroyed card would take more memory than the
/// machine of a gateway has.
#[test]
fn a_stretch_without_frames_is_named_once_where_it_begins_also_at_the_end_of_its_segment() {
    let closed = closed(1);
    let name = closed.files.keys().find(|name| name.starts_with("hot-")).unwrap();
    let mut places = Vec::new();
    let segment = SegmentFile::open(&closed.disk(), name).unwrap();
    let collected: Result<(), ()> = segment.places(&mut |place| {
        places.push(place);
        Ok(())
    });
    collected.unwrap();
    let frames: Vec<_> =
        places.iter().filter_map(|place| if let Place::Frame(frame) = place { Some(frame) } else { None }).collect();
    let [.., last, footer] = frames[..] else { panic!("{frames:?}") };
    assert_eq!((last.kind, footer.kind, footer.byte >= last.byte + last.bytes), ("data", "footer", true));
    let end = (last.byte + last.bytes) as usize;
    for from in [FRAMES_AT, last.byte as usize] {
        let disk = closed.disk();
        for page in (from..end).step_by(PAGE) {
            disk.flip(name, page, 1);
        }
        let verified = Inspect::open(Arc::new(disk)).unwrap().verify(&mut |_, _| {}).unwrap();
        let places: Vec<_> = verified.problems.iter().filter(|problem| problem.what.ends_with("bytes)")).collect();
        let [place] = places[..] else { panic!("{places:?}") };
        assert_eq!((&place.name, place.byte), (name, from as u64));
        assert!(place.what.ends_with(&format!("({} bytes)", end - from)), "{place:?}");
    }
}

/// A card that fails under a running gateway: what the forwarder reads and what somebody sees who looks at the files is the same. The last
/// segment is left out: where a log ends that is cut in the middle of it only the running gateway knows.
#[test]
fn damage_under_an_open_journal_is_told_alike_inside_and_from_outside() {
    let mut gaps = 0;
    for seed in 0..seeds() {
        let (closed, mut random) = (closed(seed + 2000), SplitMix64::new(seed));
        for round in 0..8 {
            let disk = closed.disk();
            let mut options = closed.options.clone();
            options.entropy = Entropy::Seed(2);
            let (journal, hand, _) = open(&disk, &options);
            let last = hot(&disk).pop().unwrap();
            let live = |name: &&String| name.starts_with("hot-") || name.starts_with("cold-");
            let names: Vec<&String> = closed.files.keys().filter(live).filter(|name| **name != last).collect();
            for _ in 0..=random.below(12) {
                let name = names[random.below(names.len() as u64) as usize];
                let behind_heads = closed.files[name].len() - FRAMES_AT;
                disk.flip(name, FRAMES_AT + random.below(behind_heads as u64) as usize, 1 << random.below(8));
            }
            let case = format!("seed {seed}, round {round}");
            let inside = read_all(&journal);
            alike(&inside, &seen_from_outside(&disk), &case);
            assert_eq!(inside, read_all(&journal), "{case}: read again");
            gaps += inside.iter().filter(|item| matches!(item, ReadItem::Gap(_))).count();
            drop((journal, hand));
        }
    }
    assert!(gaps > 5 * seeds() as usize, "only {gaps} gaps: the flips hardly hit anything");
}

fn seeds() -> u64 {
    std::env::var("DAMAGE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}
