//! The quota is small beside the state that is put into it: marks of more devices than have room, values that others put.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use lamppost_event::*;
use lamppost_journal::sim::SimDisk;
use lamppost_journal::*;
use world::*;

/// Nothing is required, or a group that has had each event once it is durable.
const GROUPS: [bool; 2] = [false, true];

fn options(required: bool, checkpoint_bytes: usize) -> Options {
    let required = if required { vec![group()] } else { Vec::new() };
    Options { required, checkpoint_bytes, ..small_options(1) }
}

/// A journal, and how it is kept going.
struct Room<'a> {
    disk: &'a SimDisk,
    clock: Arc<HandClock>,
    options: Options,
    journal: Journal,
    hand: Hand,
}

impl<'a> Room<'a> {
    fn open(disk: &'a SimDisk, options: Options) -> Self {
        let clock = HandClock::new();
        let opened =
            Journal::open_by_hand(Arc::new(disk.clone()), options.clone(), Arc::clone(&clock) as Arc<dyn Clock>);
        let (journal, hand, _) = opened.unwrap();
        Self { disk, clock, options, journal, hand }
    }

    /// Commits, hands all on to the group if it is required, and makes room.
    fn settle(&self) {
        self.hand.commit().unwrap();
        for bounds in self.journal.partitions() {
            let cursor = Cursor { at: bounds.at, next: bounds.next };
            if !self.options.required.is_empty() {
                self.journal.commit_cursors(&group(), &[cursor]).unwrap();
            }
        }
        self.hand.keep().unwrap();
        self.clock.turn(60_000);
        assert!(self.disk.bytes() <= self.options.quota_bytes, "{:?}", self.journal.stats());
    }

    /// An event is taken soon.
    fn append(&self, text: &str, mark: Option<&Mark>) {
        for _ in 0..20 {
            if self.journal.append(&topic(), Partition(0), record(text), mark).is_ok() {
                return;
            }
            self.settle();
        }
        panic!("refused for ever: {:?}", self.journal.stats());
    }

    /// Whether a value is taken soon.
    fn put(&self, number: u64, value: Option<&Bytes>) -> bool {
        let key = format!("note {number:06}");
        (0..20).any(|_| {
            let taken = self.journal.put_state(key.as_bytes(), value.cloned()).is_ok();
            self.settle();
            taken
        })
    }
}

fn device_mark(number: u64) -> Mark {
    Mark { device: DeviceId::new(&format!("device-{number:06}")).unwrap(), boot: 1, sequence: 1 }
}

#[test]
fn marks_of_more_devices_than_have_room_stop_nothing() {
    const MARKS: u64 = 6_000;
    let count = |journal: &Journal| {
        let mut count = 0;
        journal.marks(&mut |_| count += 1).unwrap();
        count
    };
    for required in GROUPS {
        for (checkpoint_bytes, together) in [(4096, 1), (4096, 40), (1 << 20, 1), (1 << 20, 40)] {
            let disk = SimDisk::new(1);
            let room = Room::open(&disk, options(required, checkpoint_bytes));
            let mut most = 0;
            for number in 0..MARKS {
                room.append("x", Some(&device_mark(number)));
                if number % together == 0 {
                    room.settle();
                }
                if number % 200 == 0 {
                    most = most.max(count(&room.journal));
                }
            }
            room.settle();
            let stats = room.journal.stats();
            assert!(stats.marks_crowded_out > 1000 && stats.recycled > 5, "{stats:?}");
            let last = room.journal.mark(&device_mark(MARKS - 1).device, 1);
            assert_eq!(last, Ok(Some(1)), "required: {required}, {checkpoint_bytes}");
            let (kept, written) = (count(&room.journal), stats.checkpoint_bytes_written / MARKS);
            println!(
                "{required} {checkpoint_bytes} {together}: {kept} kept, {most} at most, {written} bytes of checkpoints a mark"
            );
            // A mark takes 46 bytes, and there may be half as many again as the third that is theirs.
            let left = room.options.quota_bytes - 3 * room.options.segment_bytes;
            assert!(most * 46 < left / 2, "{most} marks at once");
            assert!(kept > 1500 && written < 400, "{kept} are kept, {written} bytes of checkpoints for each that came");
        }
    }
}

#[test]
fn a_journal_whose_prepared_files_were_taken_away_makes_others_though_its_state_is_large() {
    for required in GROUPS {
        let disk = SimDisk::new(1);
        let room = Room::open(&disk, options(required, 4096));
        let fill = |room: &Room, from: u64| {
            for number in from..from + 4_000 {
                room.append("x", Some(&device_mark(number)));
            }
            room.settle();
        };
        fill(&room, 0);
        room.journal.close().unwrap();
        drop(room);
        for name in disk.names().into_iter().filter(|name| name.starts_with("free-")) {
            lamppost_journal::Disk::remove(&disk, &name).unwrap();
        }
        fill(&Room::open(&disk, options(required, 4096)), 4_000);
    }
}

#[test]
fn values_that_have_no_room_are_refused_and_events_go_on() {
    for required in GROUPS {
        for checkpoint_bytes in [4096, 1 << 20] {
            let disk = SimDisk::new(1);
            let room = Room::open(&disk, options(required, checkpoint_bytes));
            let value = Bytes::from(vec![b'v'; 1000]);
            let taken = (0..2_000).take_while(|number| room.put(*number, Some(&value))).count() as u64;
            println!("required: {required}, threshold {checkpoint_bytes}: {taken} values of 1,000 bytes");
            assert!(taken > 20 && taken < 500, "{taken} values");
            assert!(room.journal.stats().values_refused);
            for number in 0..2_000 {
                room.append(&"x".repeat(300), Some(&device_mark(number)));
                room.settle();
            }
            assert!(room.journal.stats().recycled > 5, "{:?}", room.journal.stats());
            let there = || {
                let mut count = 0;
                room.journal.state_scan(b"note", &mut |_, _| count += 1).unwrap();
                count
            };
            assert_eq!(there(), taken);
            // Once others have gone, there is room again.
            for number in 0..taken / 2 {
                assert!(room.put(number, None), "{:?}", room.journal.stats());
            }
            for number in 0..taken / 4 {
                assert!(room.put(number, Some(&value)), "{number} of {taken}: {:?}", room.journal.stats());
            }
            assert_eq!(there(), taken - taken / 2 + taken / 4);
            assert!(!room.journal.stats().values_refused);
        }
    }
}

#[test]
fn values_that_a_smaller_quota_has_no_room_for_are_told_of_and_kept() {
    let disk = SimDisk::new(1);
    let least = options(false, 4096);
    let value = Bytes::from(vec![b'v'; 1000]);
    let fill = |room: &Room, from: u64| (from..from + 250).take_while(|number| room.put(*number, Some(&value))).count();
    let larger = Options { quota_bytes: 3 * least.quota_bytes, ..least.clone() };
    let room = Room::open(&disk, larger.clone());
    assert_eq!(fill(&room, 0), 250);
    assert!(!room.journal.stats().values_refused);
    drop(room);
    disk.power_cut();
    let (journal, hand, _) = open(&disk, &least);
    while hand.keep().unwrap() {}
    assert!(journal.stats().values_refused, "{:?}", journal.stats());
    assert!(journal.put_state(b"one more", Some(value.clone())).is_err());
    drop((journal, hand));
    disk.power_cut();
    let room = Room::open(&disk, larger);
    assert_eq!(fill(&room, 250), 250, "{:?}", room.journal.stats());
    assert!(!room.journal.stats().values_refused);
    let mut count = 0;
    room.journal.state_scan(b"note", &mut |_, _| count += 1).unwrap();
    assert_eq!(count, 500);
}

/// Whatever is put where there is little room: events go on, the quota holds, and what was taken is there.
#[test]
fn no_mixture_of_state_stops_events() {
    let seeds = std::env::var("LAMPPOST_CROWDED_SEEDS").map_or(12, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        println!("seed {seed}");
        mixture(seed);
    }
}

fn mixture(seed: u64) {
    let (disk, mut random) = (SimDisk::new(seed), SplitMix64::new(seed));
    let mut options = options(random.chance(1, 2), [4096, 16 << 10, 1 << 20][random.below(3) as usize]);
    options.compression = [Compression::None, Compression::Zstd][random.below(2) as usize];
    if random.chance(1, 3) {
        let policy = Policy { priority: Priority::Alarm, ..Policy::default() };
        options.policies.insert(topic(), policy);
    }
    options.quota_bytes = options.quota_min() + random.below(4) * 50_000;
    options.marks_bytes_max = [None, Some(8 << 10), Some(options.quota_bytes)][random.below(3) as usize];
    let (devices, sizes) = (100 + random.below(20_000), 1 + random.below(2_000));
    let (mut room, mut values) = (Room::open(&disk, options.clone()), BTreeMap::new());
    for round in 0..150 {
        // So much comes before anything is written or made room for.
        let burst = 1 + random.below(30);
        match random.below(8) {
            0..=2 => {
                for _ in 0..burst {
                    let mark = device_mark(random.below(devices));
                    room.append(&"x".repeat(random.below(sizes) as usize), Some(&Mark { sequence: round + 1, ..mark }));
                }
            }
            3..=5 => {
                for _ in 0..burst {
                    let (number, length) = (random.below(200), random.below(sizes) as usize);
                    let value = random.chance(4, 5).then(|| Bytes::from(vec![round as u8; length]));
                    let key = format!("note {number:06}");
                    if room.journal.put_state(key.as_bytes(), value.clone()).is_ok() {
                        values.insert(number, value);
                    }
                }
            }
            6 if random.chance(1, 4) => {
                room.settle();
                drop(room);
                disk.power_cut();
                let entropy = Entropy::Seed(1000 * seed + round);
                room = Room::open(&disk, Options { entropy, ..options.clone() });
            }
            _ => room.settle(),
        }
        room.append("an event", None);
    }
    room.settle();
    for (number, value) in values {
        assert_eq!(room.journal.state_get(format!("note {number:06}").as_bytes()).unwrap(), value, "{number}");
    }
    for number in 0..400 {
        room.append(&"x".repeat(900), Some(&device_mark(number)));
    }
}
