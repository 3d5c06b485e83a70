//! A full journal on a disk that others fill: each byte that the journal gives free is theirs at once. It makes room in the files that it has,
//! and whenever the power fails, there is one for recovery.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use lamppost_event::Partition;
use lamppost_journal::sim::{Faults, Phase, SimDisk};
use lamppost_journal::{AppendError, Disk, Entropy, Hand, Journal, Options, ReadItem, SplitMix64};
use world::{HandClock, group, read_all, record, small_options, text_of, topic};

/// What others leave: enough for checkpoints, and too little for a segment of any kind.
const LEFT: u64 = 8 << 10;

fn options(seed: u64) -> Options {
    let mut options = small_options(seed);
    options.quota_bytes = 10 * options.segment_bytes;
    options.required = vec![group()];
    options
}

struct Site {
    disk: SimDisk,
    journal: Journal,
    hand: Hand,
    clock: Arc<HandClock>,
    random: SplitMix64,
    /// What was acknowledged, by offset.
    taken: BTreeMap<u64, String>,
}

impl Site {
    fn new(disk: &SimDisk, seed: u64) -> Self {
        let (clock, random) = (HandClock::new(), SplitMix64::new(seed));
        let disk = disk.clone();
        let (journal, hand, _) = Journal::open_by_hand(Arc::new(disk.clone()), options(seed), clock.clone()).unwrap();
        Self { disk, journal, hand, clock, random, taken: BTreeMap::new() }
    }

    /// The power is back.
    fn again(&mut self, seed: u64) {
        self.disk.power_cut();
        let options = Options { entropy: Entropy::Seed(seed), ..options(seed) };
        let opened = Journal::open_by_hand(Arc::new(self.disk.clone()), options, self.clock.clone());
        let (journal, hand, _) = opened.unwrap_or_else(|error| panic!("{error}: {:?}", self.disk.names()));
        (self.journal, self.hand) = (journal, hand);
    }

    /// One event, if there is room. False if there is none; time passes then. `None` once the power is off.
    fn offer(&mut self) -> Option<bool> {
        // Hex of random numbers: halves when compressed.
        let noise: String = (0..140).map(|_| format!("{:016x}", self.random.next_u64())).collect();
        let appended = match self.journal.append(&topic(), Partition(0), record(&noise), None) {
            Ok(appended) => Some(appended.offset.0),
            Err(AppendError::Full(_)) => None,
            Err(AppendError::Stopped(_)) => return None,
            Err(error) => panic!("{error}"),
        };
        let committed = self.hand.commit();
        if let (Ok(true), Some(offset)) = (&committed, appended) {
            self.taken.insert(offset, noise);
        }
        self.hand.keep().ok()?;
        committed.ok()?;
        let bytes = self.disk.bytes();
        assert!(bytes <= self.journal.stats().quota_bytes, "{bytes} bytes are above the quota");
        if appended.is_none() {
            self.clock.turn(700_000);
        }
        Some(appended.is_some())
    }

    /// All that was acknowledged is there.
    fn check(&self) {
        let items = read_all(&self.journal).into_iter();
        let records = items.filter_map(|item| if let ReadItem::Record(record) = item { Some(record) } else { None });
        let found: BTreeMap<u64, String> = records.map(|record| (record.offset.0, text_of(&record))).collect();
        for (offset, text) in &self.taken {
            assert_eq!(found.get(offset), Some(text), "offset {offset} of {:?}", found.keys().next_back());
        }
    }

    /// Until nothing is taken any more, or the power is off.
    fn fill(&mut self) {
        let mut refused = 0;
        while refused < 5 {
            match self.offer() {
                Some(taken) => refused = if taken { 0 } else { refused + 1 },
                None => return,
            }
            assert!(self.journal.stats().segments_free > 0, "none for recovery: {:?}", self.disk.names());
        }
    }
}

/// A journal with as many hot files as it may have. From then on others fill the disk, and leave room for checkpoints alone.
fn crowded(seed: u64) -> Site {
    let mut site = Site::new(&SimDisk::new(seed), seed);
    while site.journal.stats().segments_used < options(seed).hot_segments_max() - 1 {
        assert_eq!(site.offer(), Some(true));
    }
    assert_eq!(site.journal.stats().cooled, 0);
    site.disk.set_faults(Faults {
        capacity_bytes: Some(site.disk.bytes() + LEFT),
        others_take_room: true,
        others_leave_bytes: LEFT,
        ..Faults::default()
    });
    site
}

#[test]
fn a_full_journal_makes_room_in_its_own_files_though_others_fill_the_disk() {
    for seed in 1..=3 {
        let mut site = crowded(seed);
        let before = site.taken.len();
        site.fill();
        let (stats, taken) = (site.journal.stats(), site.taken.len() - before);
        println!("{taken} more were taken, {} segments rewritten", stats.cooled);
        assert!(stats.cooled >= 2 && taken > 10, "{taken} more were taken: {stats:?} {:?}", site.disk.names());
        site.check();
    }
}

#[test]
fn the_power_may_fail_at_any_io_while_a_file_is_lent() {
    let mut cuts = 0;
    loop {
        let mut site = crowded(4);
        site.disk.cut_in(Phase::ColdRewrite, cuts);
        site.fill();
        if !site.disk.is_cut() {
            break;
        }
        cuts += 1;
        // And once more, when recovery has taken the one that was free.
        for seed in [100, 200] {
            site.again(seed + cuts);
            site.check();
        }
    }
    assert!(cuts > 15, "{cuts} cuts");
}

#[test]
fn a_copy_of_a_cold_segment_that_is_longer_and_has_a_hot_ones_number_stops_nothing() {
    let mut site = crowded(5);
    site.fill();
    site.disk.set_faults(Faults::default());
    let contents = site.disk.contents();
    let (_, cold) = contents.iter().find(|(name, _)| name.starts_with("cold-")).unwrap();
    let hot = contents.keys().rfind(|name| name.starts_with("hot-")).unwrap();
    let (name, bytes) = (hot.replace("hot-", "cold-"), cold.len() as u64 + 4096);
    let copy = Disk::create_zeroed(&site.disk, &name, bytes).unwrap();
    copy.write_at(cold, 0).unwrap();
    copy.flush().unwrap();
    Disk::flush_dir(&site.disk).unwrap();
    site.again(300);
    site.check();
    let stats = site.journal.stats();
    assert_eq!(stats.disk_bytes, site.disk.bytes(), "{:?}", site.disk.names());
}
