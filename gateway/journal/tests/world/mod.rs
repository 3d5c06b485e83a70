//! What the journal's tests share: a clock that is turned by hand, small options, events.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test support is not marked as a test for clippy")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::{
    BootId, Clock, ClockQuality, DeviceId, Group, Monotonic, Now, Partition, Position, StoredRecord, Topic,
    TopicPartition, WallTime,
};
use lamppost_journal::sim::SimDisk;
use lamppost_journal::{
    Compression, Entropy, Hand, Journal, Mark, Options, ReadItem, ReadRecord, Recovery, TopicOptions,
};

pub mod clocks;
pub mod cursors;
pub mod dense;
pub mod history;
pub mod hooked;
pub mod model;
pub mod readings;
pub mod script;
pub mod state;
pub mod steps;
pub mod topics;

pub const PARTITIONS: u16 = 3;

pub struct HandClock(pub AtomicU64);

impl HandClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(1_000)))
    }

    pub fn turn(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }

    pub fn ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clock for HandClock {
    fn now(&self) -> Now {
        let ms = self.0.load(Ordering::Relaxed);
        Now {
            wall: WallTime(1_700_000_000_000 + ms as i64),
            monotonic: Monotonic(ms),
            boot: BootId(7),
            quality: ClockQuality::Synced,
        }
    }
}

/// The machine's clock, for tests with threads.
pub struct MachineClock(std::time::Instant);

impl MachineClock {
    #[expect(clippy::disallowed_methods, reason = "tests with threads run in real time")]
    pub fn new() -> Arc<Self> {
        Arc::new(Self(std::time::Instant::now()))
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Now {
        let ms = self.0.elapsed().as_millis() as u64;
        Now {
            wall: WallTime(1_700_000_000_000 + ms as i64),
            monotonic: Monotonic(ms),
            boot: BootId(7),
            quality: ClockQuality::Synced,
        }
    }
}

pub fn topic() -> Topic {
    Topic::user("air").unwrap()
}

pub fn group() -> Group {
    Group::new("cluster").unwrap()
}

/// Small enough that segments turn over quickly.
pub fn small_options(seed: u64) -> Options {
    let mut options = Options {
        segment_bytes: 64 << 10,
        frame_bytes_max: 14 << 10,
        event_bytes_max: 4 << 10,
        checkpoint_bytes: 4096,
        entropy: Entropy::Seed(seed),
        read_patience: Duration::ZERO,
        // Sizes and texts are looked at as they come; tests/compression.rs and the histories choose others.
        compression: Compression::None,
        topics: vec![TopicOptions { topic: topic(), partitions: PARTITIONS, linger: None }],
        ..Options::default()
    };
    options.frame_bytes_max = 16 << 10;
    options.segment_bytes = 80 << 10;
    options.quota_bytes = options.quota_min();
    options
}

pub fn record(text: &str) -> StoredRecord {
    StoredRecord {
        timestamp: WallTime(1_700_000_000_000),
        key: Bytes::from_static(b"key"),
        value: Some(Bytes::copy_from_slice(text.as_bytes())),
        header: Bytes::from_static(b"header"),
    }
}

pub fn device(partition: u16) -> DeviceId {
    DeviceId::new(&format!("device-{partition}")).unwrap()
}

pub fn mark(partition: u16, sequence: u64) -> Mark {
    Mark { device: device(partition), boot: 1, sequence }
}

pub fn append(journal: &Journal, partition: u16, text: &str) -> lamppost_journal::Appended {
    journal.append(&topic(), Partition(partition), record(text), None).unwrap()
}

pub fn text_of(record: &ReadRecord) -> String {
    String::from_utf8(record.record.value.clone().unwrap().to_vec()).unwrap()
}

/// Everything there is to read.
pub fn read_all(journal: &Journal) -> Vec<ReadItem> {
    let (mut items, mut from) = (Vec::new(), Position(0));
    loop {
        let chunk = journal.read(from, 10_000).unwrap();
        items.extend(chunk.items);
        from = chunk.next;
        if chunk.caught_up {
            return items;
        }
    }
}

/// Reads all, and gives how many events of each topic are there and how many are in gaps; `taken` are their values by offset. Each topic's are in order and whole.
pub fn account(journal: &Journal, taken: &BTreeMap<&'static str, Vec<String>>) -> BTreeMap<String, (u64, u64)> {
    let mut found: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for item in read_all(journal) {
        let (name, from, to) = match &item {
            ReadItem::Record(r) => (r.topic.as_str(), r.offset, r.offset.next()),
            ReadItem::Gap(gap) => (gap.at.topic.as_str(), gap.from, gap.to),
        };
        let (there, gone) = found.entry(name.to_owned()).or_default();
        let next = *there + *gone;
        match item {
            ReadItem::Record(ref r) => {
                assert_eq!(from.0, next, "{name}: in order, and gaps before what follows them");
                let text = r.record.value.as_ref().unwrap();
                assert_eq!(taken[name][from.0 as usize].as_bytes(), &text[..]);
                *there += 1;
            }
            // A gap may begin below what a reader has had.
            ReadItem::Gap(_) => *gone += to.0.saturating_sub(next),
        }
    }
    found
}

pub fn texts(items: &[ReadItem]) -> Vec<String> {
    items
        .iter()
        .map(|item| match item {
            ReadItem::Record(record) => text_of(record),
            ReadItem::Gap(gap) => format!("gap {}..{}", gap.from, gap.to),
        })
        .collect()
}

struct Flag(AtomicU64);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls once; `None` while it waits.
pub fn poll_once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    let waker = Waker::from(Arc::new(Flag(AtomicU64::new(0))));
    match std::pin::Pin::new(future).poll(&mut Context::from_waker(&waker)) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks the thread on a future.
pub fn block_on<T>(mut future: impl Future<Output = T> + Unpin) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        if let std::task::Poll::Ready(value) = std::pin::Pin::new(&mut future).poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        std::thread::park();
    }
}

pub const FRAMES_AT: usize = 8192;
pub const PAGE: usize = 4096;

/// Opens by hand.
pub fn open(disk: &SimDisk, options: &Options) -> (Journal, Hand, Recovery) {
    Journal::open_by_hand(Arc::new(disk.clone()), options.clone(), HandClock::new()).unwrap()
}

/// The live segments' files, by rising number.
pub fn hot(disk: &SimDisk) -> Vec<String> {
    disk.contents().into_keys().filter(|name| name.starts_with("hot-")).collect()
}

pub fn at(partition: u16) -> TopicPartition {
    TopicPartition { topic: topic(), partition: Partition(partition) }
}
