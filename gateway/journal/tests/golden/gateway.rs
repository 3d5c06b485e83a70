//! A gateway at work on a simulated disk, with a clock that is turned by hand, and a ledger that is written as events are taken.
#![allow(unreachable_pub, reason = "a module of a test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::{
    BootId, Clock, ClockQuality, Cursor, DeviceId, Group, Monotonic, Now, Offset, Partition, StoredRecord, Topic,
    TopicPartition, WallTime,
};
use lamppost_journal::sim::SimDisk;
use lamppost_journal::{Compression, Entropy, Hand, Journal, Mark, Options, Policy, Priority, TopicOptions};

use super::ledger::{Ledger, Missing, checksum, hex, place, text};

/// A golden journal: its files, and what they hold.
#[derive(PartialEq)]
pub struct Made {
    pub files: BTreeMap<String, Vec<u8>>,
    pub ledger: Ledger,
}

impl Made {
    fn new(files: BTreeMap<String, Vec<u8>>, mut ledger: Ledger) -> Self {
        ledger.files = files.iter().map(|(name, bytes)| (name.clone(), checksum(bytes))).collect();
        Self { files, ledger }
    }
}

const NOON: i64 = 1_700_000_000_000;
const PAGE: usize = 4096;
/// Frames begin behind the two copies of the head.
const FRAMES_AT: usize = 2 * PAGE;

/// A clock that is turned by hand.
pub struct Turned(Mutex<Now>);

impl Clock for Turned {
    fn now(&self) -> Now {
        *self.0.lock().unwrap()
    }
}

impl Turned {
    /// Begins as that of a gateway without a clock battery.
    pub fn new() -> Arc<Self> {
        let now =
            Now { wall: WallTime(0), monotonic: Monotonic(5_000), boot: BootId(41), quality: ClockQuality::Unset };
        Arc::new(Self(Mutex::new(now)))
    }

    pub fn turn(&self, ms: u64) {
        let mut now = self.0.lock().unwrap();
        now.monotonic.0 += ms;
        now.wall.0 += ms as i64;
    }
}

/// The smallest segments that the options allow: eighteen pages.
fn options() -> Options {
    let of = |(name, partitions)| TopicOptions { topic: topic(name), partitions, linger: None };
    let aging = Policy { keep_for: Some(Duration::from_secs(3_600)), ..Policy::default() };
    let alarm = Policy { priority: Priority::Alarm, ..Policy::default() };
    Options {
        segment_bytes: 72 << 10,
        frame_bytes_max: 16 << 10,
        event_bytes_max: 4 << 10,
        quota_bytes: 16 * (72 << 10),
        checkpoint_bytes: 8 << 10,
        topics: [("air", 3), ("traffic", 1), ("alarms", 1)].map(of).into(),
        policies: [(topic("traffic"), aging), (topic("alarms"), alarm)].into(),
        required: vec![Group::new("cluster").unwrap()],
        compression: Compression::None,
        ..Options::default()
    }
}

pub fn topic(name: &str) -> Topic {
    Topic::user(name).unwrap()
}

pub fn at(name: &str, partition: u16) -> TopicPartition {
    TopicPartition { topic: topic(name), partition: Partition(partition) }
}

/// A gateway at work, and its ledger.
pub struct Gateway {
    pub disk: SimDisk,
    pub clock: Arc<Turned>,
    pub journal: Journal,
    pub hand: Hand,
    pub ledger: Ledger,
    count: u64,
}

impl Gateway {
    pub fn new(disk: SimDisk, seed: u64) -> Self {
        let clock = Turned::new();
        let options = Options { entropy: Entropy::Seed(seed), ..options() };
        let (journal, hand, _) = Journal::open_by_hand(Arc::new(disk.clone()), options, clock.clone()).unwrap();
        hand.keep().unwrap();
        Self { disk, clock, journal, hand, ledger: Ledger::default(), count: 0 }
    }

    /// The clock says the right time, of that quality.
    pub fn set_clock(&self, quality: ClockQuality) {
        let mut now = self.clock.0.lock().unwrap();
        (now.quality, now.wall) = (quality, WallTime(NOON + now.monotonic.0 as i64));
    }

    /// Opens again, in another boot.
    pub fn again(self, seed: u64, compression: Compression) -> Self {
        let Self { disk, clock, journal, hand, ledger, count } = self;
        drop((journal, hand));
        {
            let mut now = clock.0.lock().unwrap();
            (now.boot, now.monotonic, now.quality) = (BootId(now.boot.0 + 1), Monotonic(9_000), ClockQuality::Holdover);
        }
        let options = Options { entropy: Entropy::Seed(seed), compression, ..options() };
        let (journal, hand, _) = Journal::open_by_hand(Arc::new(disk.clone()), options, clock.clone()).unwrap();
        hand.keep().unwrap();
        Self { disk, clock, journal, hand, ledger, count }
    }

    /// One event of about `bytes` bytes. What it holds depends on how many there were before.
    fn take(&mut self, name: &str, partition: u16, bytes: usize) {
        let (count, at) = (self.count, at(name, partition));
        self.count += 1;
        let value = match count % 23 {
            // Not UTF-8, and nothing at all.
            7 => Bytes::from(vec![0xff, 0x00, count as u8]),
            13 => Bytes::new(),
            _ => Bytes::from(format!("{{\"lux\":{count},\"note\":\"{}\"}}", "dusk ".repeat(bytes / 5))),
        };
        let key = if count % 11 == 5 { Bytes::new() } else { Bytes::from(format!("lamp-{partition}")) };
        let header = if count % 5 == 0 { Bytes::new() } else { Bytes::from(format!("h{count}")) };
        let timestamp = WallTime(NOON - 250 + count as i64 * 1_000);
        let record = StoredRecord { timestamp, key, value: Some(value), header };
        let mark = Mark {
            device: DeviceId::new(&format!("lamp-{partition}")).unwrap(),
            boot: 1 + count / 150,
            sequence: count,
        };
        let marked = (!count.is_multiple_of(4)).then_some(&mark);
        let appended = self.journal.append(&at.topic, at.partition, record.clone(), marked).unwrap();
        if marked.is_some() {
            let boots = self.ledger.marks.entry(mark.device.to_string()).or_default();
            boots.insert(mark.boot.to_string(), mark.sequence);
        }
        let kept = self.ledger.partitions.entry(place(&at)).or_default();
        assert_eq!(appended.offset.0, kept.next, "offsets are dense");
        let value = record.value.as_ref().map(|value| text(value)).unwrap();
        let row = (
            appended.offset.0,
            hex(self.journal.epoch().0),
            timestamp.0,
            text(&record.key),
            value,
            text(&record.header),
        );
        kept.events.insert(appended.offset.0, serde_json::json!([row.0, row.1, row.2, row.3, row.4, row.5]));
        kept.next += 1;
    }

    /// A commit, what upkeep is due, and a second goes by.
    pub fn commit(&mut self) {
        self.hand.commit().unwrap();
        self.hand.keep().unwrap();
        self.clock.turn(1_000);
    }

    /// Commits of one or two events each.
    pub fn work(&mut self, commits: u64, names: &[&str]) {
        for n in 0..commits {
            let name = names[(n % names.len() as u64) as usize];
            let partition = if name == "air" { (n / 2 % 3) as u16 } else { 0 };
            self.take(name, partition, 20);
            if n % 4 == 1 {
                self.take("air", 2, 10);
            }
            self.commit();
        }
    }

    /// Commits of so many events that they fill several pages before compression.
    pub fn big(&mut self, commits: u64) {
        for _ in 0..commits {
            for partition in 0..3 {
                (0..9).for_each(|_| self.take("air", partition, 200));
            }
            self.commit();
        }
    }

    /// `None` removes the key.
    pub fn put(&mut self, key: &str, value: Option<&str>) {
        self.journal.put_state(key.as_bytes(), value.map(|value| Bytes::copy_from_slice(value.as_bytes()))).unwrap();
        self.ledger.state.insert(key.to_owned(), value.map(str::to_owned));
    }

    /// The group's next offset; `by_hand` for one that an operator sets.
    pub fn cursor(&mut self, group: &str, at: TopicPartition, next: u64, by_hand: bool) {
        let (name, cursors) = (group, [Cursor { at: at.clone(), next: Offset(next) }]);
        let group = Group::new(name).unwrap();
        if by_hand {
            self.journal.reset_cursors(&group, &cursors).unwrap();
        } else {
            self.journal.commit_cursors(&group, &cursors).unwrap();
        }
        self.ledger.cursors.entry(name.to_owned()).or_default().insert(place(&at), next);
    }

    fn next(&self, at: &TopicPartition) -> u64 {
        self.ledger.partitions.get(&place(at)).map_or(0, |kept| kept.next)
    }

    /// The group has had everything so far.
    pub fn pass(&mut self, group: &str) {
        for at in [at("air", 0), at("air", 1), at("air", 2), at("traffic", 0), at("alarms", 0)] {
            let next = self.next(&at);
            if next > 0 {
                self.cursor(group, at, next, false);
            }
        }
    }

    /// A commit whose frame is damaged as soon as it is written. Its events are missing from then on.
    pub fn damaged_commit(&mut self, reason: Option<&str>) {
        let before: Vec<(String, u64)> =
            self.ledger.partitions.iter().map(|(at, kept)| (at.clone(), kept.next)).collect();
        for partition in 0..3 {
            self.take("air", partition, 20);
        }
        self.hand.commit().unwrap();
        let commit = self.journal.durable().unwrap().0;
        let (name, byte) = frame_of(&self.disk, commit);
        self.disk.flip(&name, byte + 110, 0x10);
        self.ledger.damage.push([commit, commit + 1]);
        for (at, from) in before {
            let kept = self.ledger.partitions.get_mut(&at).unwrap();
            let to = kept.next;
            if to > from {
                kept.events.retain(|offset, _| *offset < from);
                kept.gaps.push(Missing { from, to, reason: reason.map(str::to_owned) });
            }
        }
        self.commit();
    }

    /// What is known only now: which journal it is, and where in it the kept events begin.
    fn note_what_is_kept(&mut self) {
        self.ledger.identity = format!("{:032x}", self.journal.identity());
        self.ledger.epoch = hex(self.journal.epoch().0);
        self.ledger.commit = self.journal.durable().unwrap().0;
        for bounds in self.journal.partitions() {
            let kept = self.ledger.partitions.entry(place(&bounds.at)).or_default();
            assert_eq!(bounds.next.0, kept.next, "{}", bounds.at);
            kept.events.retain(|offset, _| *offset >= bounds.first.0);
        }
    }

    pub fn closed(mut self) -> Made {
        self.note_what_is_kept();
        self.journal.close().unwrap();
        self.ledger.closed = true;
        // The close frame is a commit as well.
        self.ledger.commit += 1;
        Made::new(self.disk.contents(), self.ledger)
    }

    /// The last commit is of several pages, of which only the first has reached the disk. It was never acknowledged, and the ledger does
    /// not know it.
    pub fn torn(mut self) -> Made {
        self.note_what_is_kept();
        for _ in 0..2 {
            let value = Some(Bytes::from(vec![b'x'; 3_000]));
            self.journal.append(&topic("air"), Partition(0), StoredRecord { value, ..lost() }, None).unwrap();
        }
        self.hand.commit().unwrap();
        let (name, byte) = frame_of(&self.disk, self.ledger.commit + 1);
        let mut files = self.disk.contents();
        files.get_mut(&name).unwrap()[byte + PAGE..].fill(0);
        Made::new(files, self.ledger)
    }
}

/// Where the frame with that commit number begins.
fn frame_of(disk: &SimDisk, commit: u64) -> (String, usize) {
    for (name, bytes) in disk.contents().into_iter().filter(|(name, _)| name.starts_with("hot-")) {
        let found = (FRAMES_AT..bytes.len())
            .step_by(PAGE)
            .find(|at| bytes[*at..].starts_with(b"LMPFRAME") && bytes[at + 32..at + 40] == commit.to_le_bytes());
        if let Some(at) = found {
            return (name, at);
        }
    }
    panic!("no frame of commit {commit}")
}

/// Taken, and never acknowledged: no ledger knows it.
pub fn lost() -> StoredRecord {
    StoredRecord { timestamp: WallTime(NOON), key: Bytes::new(), value: Some(Bytes::new()), header: Bytes::new() }
}
