//! What is given up before it is delivered: only what may be, the least important first, told and counted.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lamppost_event::{Cursor, Group, Offset, Partition, Topic, TopicPartition};
use lamppost_journal::sim::SimDisk;
use lamppost_journal::{
    AppendError, Hand, Journal, Options, Place, Policy, Priority, SegmentFile, SplitMix64, TopicOptions, WhenFull,
};
use world::{HandClock, account, group, record, small_options};

const TOPICS: [&str; 3] = ["traffic", "energy", "alarms"];

fn topic(name: &str) -> Topic {
    Topic::user(name).unwrap()
}

/// Traffic may go, energy may not, alarms have a reserve.
fn options(seed: u64) -> Options {
    let mut options = small_options(seed);
    let of = |name: &&str| TopicOptions { topic: topic(name), partitions: 1, linger: None };
    options.topics = TOPICS.iter().map(of).collect();
    let bulk = Policy { priority: Priority::Bulk, when_full: WhenFull::GiveUpOldest, ..Policy::default() };
    let alarm = Policy { priority: Priority::Alarm, ..Policy::default() };
    options.policies = [(topic("traffic"), bulk), (topic("alarms"), alarm)].into();
    options.quota_bytes = 12 * options.segment_bytes;
    options.required = vec![group()];
    options
}

struct Site {
    disk: SimDisk,
    journal: Journal,
    hand: Hand,
    clock: Arc<HandClock>,
    random: SplitMix64,
    /// What was taken, by topic: the values by offset.
    taken: BTreeMap<&'static str, Vec<String>>,
}

impl Site {
    fn new(disk: SimDisk, options: &Options) -> Self {
        let clock = HandClock::new();
        let (journal, hand, _) = Journal::open_by_hand(Arc::new(disk.clone()), options.clone(), clock.clone()).unwrap();
        hand.keep().unwrap();
        Self { disk, journal, hand, clock, random: SplitMix64::new(7), taken: BTreeMap::new() }
    }

    /// False if it was refused for want of room.
    fn offer(&mut self, name: &'static str) -> bool {
        // Hex of random numbers: halves when compressed.
        let noise: String = (0..24).map(|_| format!("{:016x}", self.random.next_u64())).collect();
        match self.journal.append(&topic(name), Partition(0), record(&noise), None) {
            Ok(appended) => {
                let taken = self.taken.entry(name).or_default();
                assert_eq!(appended.offset.0, taken.len() as u64);
                taken.push(noise);
            }
            Err(AppendError::Full(_)) => return false,
            Err(error) => panic!("{error}"),
        }
        self.hand.commit().unwrap();
        self.hand.keep().unwrap();
        let bytes: usize = self.disk.contents().values().map(Vec::len).sum();
        assert!(bytes as u64 <= self.journal.stats().quota_bytes, "{bytes} bytes are above the quota");
        true
    }

    fn account(&self) -> BTreeMap<String, (u64, u64)> {
        account(&self.journal, &self.taken)
    }
}

#[test]
fn bulk_makes_room_and_is_counted_while_what_must_stay_stays() {
    let disk = SimDisk::new(1);
    let mut site = Site::new(disk.clone(), &options(1));
    for n in 0..2_500 {
        // Mostly traffic.
        let name = if n % 40 == 0 {
            "energy"
        } else if n % 97 == 0 {
            "alarms"
        } else {
            "traffic"
        };
        assert!(site.offer(name), "refused at {n}: {:?}", site.journal.stats());
    }
    let found = site.account();
    assert_eq!(found["energy"], (site.taken["energy"].len() as u64, 0));
    assert_eq!(found["alarms"], (site.taken["alarms"].len() as u64, 0));
    let (there, gone) = found["traffic"];
    assert!(gone > 1_000 && there > 300, "{found:?}");
    let stats = site.journal.stats();
    assert_eq!(stats.given_up.get(&topic("traffic")), Some(&gone), "what is gone is counted: {stats:?}");
    assert_eq!(stats.given_up.len(), 1);
    // The same after a power cut.
    drop((site.journal, site.hand));
    disk.power_cut();
    let mut after = Site::new(disk, &options(2));
    after.taken = site.taken;
    assert_eq!(after.account(), found);
}

#[test]
fn where_the_oldest_can_not_be_written_anew_for_want_of_room_what_is_behind_it_goes() {
    let mut site = Site::new(SimDisk::new(3), &options(3));
    // Segments of which nearly all has to stay.
    for n in 0..600 {
        assert!(site.offer(if n % 40 == 0 { "traffic" } else { "energy" }), "{:?}", site.journal.stats());
    }
    let mut waits = 0;
    while site.taken["traffic"].len() < 2_500 {
        waits = if site.offer("traffic") { 0 } else { waits + 1 };
        site.clock.turn(1_000);
        site.hand.keep().unwrap();
        assert!(waits < 10, "traffic waits, and may go: {:?}", site.journal.stats());
    }
    let found = site.account();
    assert_eq!(found["energy"], (site.taken["energy"].len() as u64, 0));
    assert!(found["traffic"].1 > 500, "{found:?}");
}

/// Above a quota that was lowered there is no room for a new file: what is given up out of a cold segment must not cost the last free one.
#[test]
fn what_is_given_up_of_a_cold_segment_leaves_a_file_for_recovery_also_above_the_quota() {
    let mut options = options(1);
    // Without a reserve the last free file is the one for recovery.
    options.policies.remove(&topic("alarms"));
    let traffic = options.policies.remove(&topic("traffic")).unwrap();
    let disk = SimDisk::new(6);
    let mut site = Site::new(disk.clone(), &options);
    let (mut refused, mut n) = (0, 0);
    while refused < 5 {
        n += 1;
        let taken = site.offer(if n % 2 == 0 { "energy" } else { "traffic" });
        refused = if taken { 0 } else { refused + 1 };
        site.hand.keep().unwrap();
        site.clock.turn(if taken { 0 } else { 700_000 });
    }
    assert!(site.journal.stats().segments_cold > 1, "{:?}", site.journal.stats());
    site.journal.close().unwrap();
    drop((site.journal, site.hand));

    // From now on traffic may go.
    let lowered = |seed| {
        let mut lowered = Options { entropy: lamppost_journal::Entropy::Seed(seed), ..options.clone() };
        lowered.policies.insert(topic("traffic"), traffic);
        lowered.quota_bytes = 7 * lowered.segment_bytes;
        lowered
    };
    let clock = HandClock::new();
    let (journal, hand, _) = Journal::open_by_hand(Arc::new(disk.clone()), lowered(2), clock.clone()).unwrap();
    for _ in 0..100 {
        drop(journal.append(&topic("energy"), Partition(0), record(&"x".repeat(900)), None));
        hand.commit().unwrap();
        hand.keep().unwrap();
        clock.turn(700_000);
        assert!(journal.stats().segments_free > 0, "none for recovery: {:?}", disk.names());
    }
    drop((journal, hand));
    disk.power_cut();
    Journal::open_by_hand(Arc::new(disk), lowered(3), clock).unwrap();
}

#[test]
fn without_leave_to_give_anything_up_sources_wait_and_alarms_do_not() {
    let mut options = options(1);
    options.policies.remove(&topic("traffic"));
    let mut site = Site::new(SimDisk::new(2), &options);
    while site.offer("traffic") {}
    for _ in 0..3 {
        // It may take the keeper a few steps to see that there is no more.
        site.hand.keep().unwrap();
        while site.offer("traffic") {}
    }
    assert!(!site.offer("energy"));
    // An alarm may begin a segment: then the one before can be compressed, and others have room once more.
    let (mut alarms, mut alone) = (0, 0);
    while site.offer("alarms") {
        alarms += 1;
        alone = if site.offer("traffic") { 0 } else { alone + 1 };
    }
    assert!(alone >= 10, "{alone} of {alarms} alarms were taken while others had to wait");
    assert!(site.journal.stats().given_up.is_empty());
    let found = site.account();
    for name in ["traffic", "alarms"] {
        assert_eq!(found[name], (site.taken[name].len() as u64, 0));
    }
}

#[test]
fn cursors_leave_the_reserve_to_alarms() {
    let view = Group::new("view").unwrap();
    let alarms = [0, 300].map(|cursors| {
        let mut options = options(1);
        options.policies.remove(&topic("traffic"));
        let mut site = Site::new(SimDisk::new(4), &options);
        for _ in 0..50 {
            while site.offer("traffic") {}
            site.hand.keep().unwrap();
        }
        let at = TopicPartition { topic: topic("traffic"), partition: Partition(0) };
        for next in 1..=cursors {
            site.journal.commit_cursors(&view, &[Cursor { at: at.clone(), next: Offset(next) }]).unwrap();
            site.clock.turn(6_000);
            site.hand.commit().unwrap();
            site.hand.keep().unwrap();
        }
        let mut alarms = 0;
        while site.offer("alarms") {
            alarms += 1;
        }
        alarms
    });
    assert!(alarms[1] >= 10 && alarms[1] + 2 >= alarms[0], "taken without and with cursors: {alarms:?}");
}

#[test]
fn events_go_for_their_age_in_elapsed_time_only() {
    let mut options = options(1);
    let hour = Duration::from_secs(3_600);
    options.policies.insert(topic("traffic"), Policy { keep_for: Some(hour), ..Policy::default() });
    let disk = SimDisk::new(3);
    let mut site = Site::new(disk.clone(), &options);
    for n in 0..600 {
        assert!(site.offer(if n % 5 == 0 { "energy" } else { "traffic" }));
        site.clock.turn(1_000);
    }
    assert_eq!(site.account()["traffic"], (480, 0), "ten minutes are not an hour");
    site.clock.turn(3_700_000);
    while site.hand.keep().unwrap() {}
    let found = site.account();
    let (there, gone) = found["traffic"];
    assert!(gone > 300 && there + gone == 480, "{found:?}");
    assert_eq!(found["energy"], (120, 0), "what shares a segment with them stays");
    assert_eq!(site.journal.stats().given_up.get(&topic("traffic")), Some(&gone));
    // Another boot: how long the gateway was off is not known, and makes nothing older.
    let first = site.journal.partitions().into_iter().find(|b| b.at.topic == topic("traffic")).unwrap().first;
    assert!(first >= Offset(gone));
}

/// What the topic's batches take in the journal's files: in cold segments, and in all.
fn bytes_of(disk: &SimDisk, name: &str) -> (u64, u64) {
    let (mut cold, mut all) = (0, 0);
    for file in disk.names().into_iter().filter(|name| name.ends_with(".seg") && !name.starts_with("free-")) {
        let segment = SegmentFile::open(disk, &file).unwrap();
        let count = |place| {
            let Place::Frame(frame) = place else { return Ok::<_, ()>(()) };
            let bytes = frame.batches.iter().filter(|batch| batch.at.topic == topic(name));
            let bytes: u64 = bytes.map(|batch| batch.bytes.len() as u64).sum();
            all += bytes;
            cold += if file.starts_with("cold-") { bytes } else { 0 };
            Ok(())
        };
        segment.places(&mut { count }).unwrap();
    }
    (cold, all)
}

#[test]
fn a_topic_keeps_the_newest_of_its_bytes_and_what_has_no_bound_outlives_it() {
    let (mut options, disk) = (options(1), SimDisk::new(5));
    let kept = options.segment_bytes;
    options.quota_bytes = 20 * options.segment_bytes;
    let bounded = Policy { keep_bytes: Some(kept), ..Policy::default() };
    options.policies.insert(topic("traffic"), bounded);
    let mut site = Site::new(disk.clone(), &options);
    for n in 0..1_500 {
        let taken = site.offer(if n % 30 == 0 { "energy" } else { "traffic" });
        assert!(taken, "refused at {n}: {:?}", site.journal.stats());
    }
    while site.hand.keep().unwrap() {}
    let found = site.account();
    assert_eq!(found["energy"], (50, 0));
    let (there, gone) = found["traffic"];
    assert!(gone > 600 && there + gone == 1_450, "{found:?}");
    assert_eq!(site.journal.stats().given_up, [(topic("traffic"), gone)].into(), "what is gone is counted");
    let (cold, all) = bytes_of(&disk, "traffic");
    assert!(all >= kept, "{all} bytes of {kept} that are to be kept at least");
    // What is hot counts first; behind it no more than the segment in which the bound is reached.
    assert!(cold <= kept.saturating_sub(all - cold) + options.segment_bytes, "{cold} bytes are cold, {all} in all");
    drop((site.journal, site.hand));
    disk.power_cut();
    let mut after = Site::new(disk, &options);
    while after.hand.keep().unwrap() {}
    after.taken = site.taken;
    assert_eq!(after.account(), found, "after a power cut no more is beyond the bound than before");
}

#[test]
fn a_bound_in_bytes_costs_no_cold_byte_while_the_cluster_keeps_up() {
    let mut options = options(1);
    let bounded = Policy { keep_bytes: Some(1), ..Policy::default() };
    options.policies.insert(topic("traffic"), bounded);
    let mut site = Site::new(SimDisk::new(6), &options);
    for n in 0..300 {
        let name = ["energy", "traffic"][n % 2];
        assert!(site.offer(name));
        let at = TopicPartition { topic: topic(name), partition: Partition(0) };
        // A segment behind: there is one before the last, beyond whose bound traffic is.
        let next = Offset(site.taken[name].len().saturating_sub(9) as u64);
        site.journal.commit_cursors(&group(), &[Cursor { at, next }]).unwrap();
    }
    let stats = site.journal.stats();
    assert!(stats.recycled > 2, "{stats:?}");
    assert_eq!((stats.cold_bytes_written, stats.given_up.len()), (0, 0), "{stats:?}");
}

#[test]
fn what_is_beyond_the_bound_is_left_out_of_what_is_rewritten_anyway() {
    let (mut options, disk) = (options(1), SimDisk::new(8));
    options.policies.insert(topic("traffic"), Policy { keep_bytes: Some(1), ..Policy::default() });
    let mut site = Site::new(disk.clone(), &options);
    let (mut cold, mut cooled) = (0, 0);
    for n in 0..300 {
        assert!(site.offer(["energy", "traffic"][n % 2]));
        let before = std::mem::replace(&mut cooled, site.journal.stats().cooled);
        if cooled > before {
            cold += bytes_of(&disk, "traffic").0;
        }
    }
    assert!(cooled > 5 && cold == 0, "{cold} bytes were written in {cooled} cold segments, only to go again");
    assert_eq!(site.account()["energy"], (150, 0));
}

#[test]
fn without_a_cluster_a_bound_in_bytes_leaves_the_room_to_others() {
    let first_energy = [None, Some(20_000)].map(|keep_bytes| {
        let mut options = options(1);
        options.required = Vec::new();
        options.policies = [(topic("traffic"), Policy { keep_bytes, ..Policy::default() })].into();
        let mut site = Site::new(SimDisk::new(7), &options);
        for n in 0..3_000 {
            assert!(site.offer(if n % 30 == 0 { "energy" } else { "traffic" }));
        }
        let (there, gone) = site.account()["energy"];
        assert_eq!((there + gone, site.journal.stats().given_up.len()), (100, 0), "nobody was to have them");
        gone
    });
    assert!(first_energy[0] > 30 && first_energy[1] == 0, "energy that had to go: {first_energy:?}");
}

#[test]
fn what_is_too_old_and_was_delivered_costs_no_cold_byte() {
    let mut options = options(1);
    options.quota_bytes = 40 * options.segment_bytes;
    let hour = Duration::from_secs(3_600);
    options.policies.insert(topic("traffic"), Policy { keep_for: Some(hour), ..Policy::default() });
    let mut site = Site::new(SimDisk::new(9), &options);
    for n in 0..80 {
        // The last segment is without traffic: it has events to come.
        assert!(site.offer(if n < 60 { ["energy", "traffic"][n % 2] } else { "energy" }));
    }
    let deliver = |site: &Site, name: &str| {
        let at = TopicPartition { topic: topic(name), partition: Partition(0) };
        let next = Offset(site.taken[name].len() as u64);
        site.journal.commit_cursors(&group(), &[Cursor { at, next }]).unwrap();
    };
    // Energy waits, and keeps its segments.
    deliver(&site, "traffic");
    site.clock.turn(4_000_000);
    for _ in 0..20 {
        site.hand.commit().unwrap();
        site.hand.keep().unwrap();
    }
    let stats = site.journal.stats();
    assert!(stats.segments_used > 2 && stats.segments_cold == 0, "{stats:?}");
    assert_eq!((stats.cold_bytes_written, stats.given_up.len()), (0, 0), "{stats:?}");
    // What is rewritten anyway is rewritten without it.
    let mut cold = 0;
    for _ in 0..400 {
        let before = site.journal.stats().cooled;
        assert!(site.offer("energy"));
        if site.journal.stats().cooled > before {
            cold = cold.max(bytes_of(&site.disk, "traffic").0);
        }
    }
    let stats = site.journal.stats();
    assert!(stats.cooled > 3 && stats.given_up.is_empty(), "{stats:?}");
    assert_eq!(cold, 0, "bytes of traffic were rewritten, only to go again");
}

#[test]
fn what_is_too_old_goes_at_once_after_an_opening_whatever_there_is_to_weigh() {
    let mut options = options(1);
    options.quota_bytes = 40 * options.segment_bytes;
    let hour = Duration::from_secs(3_600);
    options.policies.insert(topic("traffic"), Policy { keep_for: Some(hour), ..Policy::default() });
    options.policies.insert(topic("energy"), Policy { keep_bytes: Some(1 << 30), ..Policy::default() });
    let disk = SimDisk::new(10);
    let mut site = Site::new(disk.clone(), &options);
    for n in 0..400 {
        assert!(site.offer(["energy", "traffic"][n % 2]));
    }
    let segments = site.journal.stats().segments_used;
    assert!(segments > 8);
    drop((site.journal, site.hand));
    disk.process_killed();
    let clock = HandClock::new();
    clock.turn(4_000_000);
    let (journal, hand, _) = Journal::open_by_hand(Arc::new(disk), options, clock).unwrap();
    // One segment is weighed at a time.
    for _ in 0..3 {
        hand.keep().unwrap();
    }
    assert!(!journal.stats().given_up.is_empty(), "{:?}", journal.stats());
}
