//! What is kept for alarms and dead letters in a full journal: nobody else takes it, they don't take it from each other, and once it is used
//! up the topic's policy decides.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use lamppost_event::{Cursor, Offset, Partition, Topic, TopicPartition};
use lamppost_journal::sim::SimDisk;
use lamppost_journal::{
    AppendError, Hand, Journal, Options, Policy, Priority, ReadItem, SplitMix64, TopicOptions, WhenFull,
};
use world::{HandClock, account, group, poll_once, read_all, record, small_options};

fn topic(name: &str) -> Topic {
    Topic::new(name).unwrap()
}

fn policy(priority: Priority, when_full: WhenFull) -> Policy {
    Policy { priority, when_full, ..Policy::default() }
}

/// Traffic and dead letters have to stay, for a group that gets nothing; of alarms the oldest may go.
fn options(seed: u64, alarms: WhenFull) -> Options {
    let mut options = small_options(seed);
    let of = |name: &str| TopicOptions { topic: topic(name), partitions: 1, linger: None };
    options.topics = ["traffic", "dead-letters", "alarms"].map(of).into();
    options.policies = [
        (topic("dead-letters"), policy(Priority::DeadLetter, WhenFull::Refuse)),
        (topic("alarms"), policy(Priority::Alarm, alarms)),
    ]
    .into();
    options.segment_bytes = 256 << 10;
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
    /// What was taken, by topic: the values by offset.
    taken: BTreeMap<&'static str, Vec<String>>,
}

impl Site {
    fn new(disk: &SimDisk, options: &Options) -> Self {
        let clock = HandClock::new();
        let (journal, hand, _) = Journal::open_by_hand(Arc::new(disk.clone()), options.clone(), clock.clone()).unwrap();
        hand.keep().unwrap();
        Self { disk: disk.clone(), journal, hand, clock, random: SplitMix64::new(7), taken: BTreeMap::new() }
    }

    fn append(&mut self, name: &'static str) -> bool {
        // Hex of random numbers: halves when compressed.
        let noise: String = (0..140).map(|_| format!("{:016x}", self.random.next_u64())).collect();
        match self.journal.append(&topic(name), Partition(0), record(&noise), None) {
            Ok(appended) => {
                let taken = self.taken.entry(name).or_default();
                assert_eq!(appended.offset.0, taken.len() as u64);
                taken.push(noise);
                true
            }
            Err(AppendError::Full(_)) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Commits, and looks after the disk. False if there was nothing to commit; time passes then.
    fn settle(&mut self) -> bool {
        let committed = self.hand.commit().unwrap();
        self.hand.keep().unwrap();
        let bytes = self.disk.bytes();
        assert!(bytes <= self.journal.stats().quota_bytes, "{bytes} bytes are above the quota");
        if !committed {
            self.clock.turn(70_000);
        }
        committed
    }

    /// False if it was refused for want of room, again and again.
    fn offer(&mut self, name: &'static str) -> bool {
        (0..5).any(|_| {
            let taken = self.append(name);
            self.settle();
            taken
        })
    }

    fn fill(&mut self, name: &'static str) -> usize {
        let before = self.taken.get(name).map_or(0, Vec::len);
        while self.offer(name) {}
        self.taken.get(name).map_or(0, Vec::len) - before
    }

    fn account(&self) -> BTreeMap<String, (u64, u64)> {
        account(&self.journal, &self.taken)
    }

    fn all_of(&self, name: &str) -> (u64, u64) {
        (self.taken[name].len() as u64, 0)
    }
}

#[test]
fn alarms_are_taken_in_a_full_journal_though_dead_letters_have_used_up_their_reserve() {
    for seed in 1..=2 {
        let options = options(seed, WhenFull::Refuse);
        let mut site = Site::new(&SimDisk::new(seed), &options);
        assert!(site.fill("traffic") > 300);
        let buried = site.fill("dead-letters");
        assert!(buried >= 10, "{buried} dead letters were taken");
        assert!(!site.offer("traffic"), "what is kept for others is not for traffic");
        let alarms = site.fill("alarms");
        assert!(alarms >= 10, "{alarms} alarms were taken");
        assert!(!site.offer("dead-letters"));
        assert!(site.journal.stats().given_up.is_empty());
        let found = site.account();
        for name in ["traffic", "dead-letters", "alarms"] {
            assert_eq!(found[name], site.all_of(name));
        }
        // Who waits is told of its own room alone.
        assert!(poll_once(&mut site.journal.room_for(Priority::Alarm)).is_none());
    }
}

#[test]
fn once_the_alarms_reserve_is_used_up_their_oldest_make_room_for_alarms_and_for_nothing_else() {
    for seed in 1..=2 {
        let options = options(seed, WhenFull::GiveUpOldest);
        let disk = SimDisk::new(seed);
        let mut site = Site::new(&disk, &options);
        for n in 0..400 {
            assert!(site.offer(if n % 50 == 7 { "alarms" } else { "traffic" }));
        }
        let (early, _) = site.account()["alarms"];
        site.fill("traffic");
        site.fill("dead-letters");
        assert!(site.journal.stats().given_up.is_empty(), "no alarm goes for others");
        for n in 0..300 {
            assert!(site.offer("alarms"), "refused after {n}: {:?}", site.journal.stats());
            assert!(n % 30 != 0 || !site.offer("traffic"), "what alarms give up is for alarms");
        }
        let found = site.account();
        assert_eq!(found["traffic"], site.all_of("traffic"));
        assert_eq!(found["dead-letters"], site.all_of("dead-letters"));
        let (there, gone) = found["alarms"];
        assert!(gone > 200 && there >= early && there + gone == early + 300, "{found:?}");
        assert_eq!(site.journal.stats().given_up, [(topic("alarms"), gone)].into(), "what is gone is counted");
        // After a power cut it goes on; recovery may have taken what was left of the reserve.
        drop((site.journal, site.hand));
        disk.power_cut();
        let mut after = Site::new(&disk, &options);
        after.taken = site.taken;
        let recovered = after.account();
        assert_eq!((&recovered["traffic"], &recovered["dead-letters"]), (&found["traffic"], &found["dead-letters"]));
        assert_eq!(recovered["alarms"].0 + recovered["alarms"].1, there + gone);
        for n in 0..100 {
            assert!(after.offer("alarms"), "refused after {n}: {:?}", after.journal.stats());
        }
        // Once the group has had it all, all is as before.
        for name in ["traffic", "dead-letters", "alarms"] {
            let at = TopicPartition { topic: topic(name), partition: Partition(0) };
            let next = Offset(after.taken[name].len() as u64);
            after.journal.commit_cursors(&group(), &[Cursor { at, next }]).unwrap();
        }
        assert!(after.offer("traffic") && after.offer("dead-letters"));
    }
}

#[test]
fn the_power_may_fail_while_alarms_make_room_for_alarms() {
    let disk = SimDisk::new(1);
    let mut site = Site::new(&disk, &options(1, WhenFull::GiveUpOldest));
    site.fill("traffic");
    site.fill("dead-letters");
    let (mut ios, mut cuts, mut given_up) = (0, 0, 0);
    while cuts < 40 {
        // At every I/O of some of the time in which the reserve is used again and again.
        ios = (ios + 37) % 499;
        site.disk.cut_after(ios);
        while !site.disk.is_cut() {
            let text = "alarm".repeat(600);
            match site.journal.append(&topic("alarms"), Partition(0), record(&text), None) {
                Ok(_) | Err(AppendError::Full(_) | AppendError::Stopped(_)) => {}
                Err(error) => panic!("{error}"),
            }
            if site.hand.commit().is_err() || site.hand.keep().is_err() {
                break;
            }
            site.clock.turn(1_000);
        }
        cuts += 1;
        given_up += site.journal.stats().given_up.values().sum::<u64>();
        let taken = site.taken;
        drop((site.journal, site.hand));
        disk.power_cut();
        // It opens: there always is a file for recovery.
        site = Site::new(&disk, &options(cuts + 2, WhenFull::GiveUpOldest));
        site.taken = taken;
    }
    assert!(given_up > 50, "{given_up} alarms were given up");
    let mut items: BTreeMap<String, u64> = BTreeMap::new();
    for item in read_all(&site.journal) {
        if let ReadItem::Record(record) = item {
            *items.entry(record.topic.to_string()).or_default() += 1;
        }
    }
    for name in ["traffic", "dead-letters"] {
        assert_eq!(items[name], site.taken[name].len() as u64);
    }
}

#[test]
fn what_may_go_makes_room_though_half_of_each_segment_has_to_stay() {
    for seed in 1..=2 {
        let mut options = options(seed, WhenFull::Refuse);
        options.policies.insert(topic("traffic"), policy(Priority::Bulk, WhenFull::GiveUpOldest));
        options.topics.push(TopicOptions { topic: topic("energy"), partitions: 1, linger: None });
        let mut site = Site::new(&SimDisk::new(seed), &options);
        let mut taken = 0;
        let mut full = 0;
        while full < 6 {
            // Little room for padding, and little to compress.
            for name in ["energy", "traffic", "energy", "traffic", "energy"] {
                taken += usize::from(site.append(name));
            }
            full = if site.settle() { 0 } else { full + 1 };
        }
        let found = site.account();
        assert_eq!(found["energy"], site.all_of("energy"));
        let (there, gone) = found["traffic"];
        println!("{taken} events were taken, of traffic {there} are there and {gone} gone");
        // All but what the newest segments hold.
        assert!(there < 150, "{there} of {} are there, and energy has to wait", there + gone);
    }
}
