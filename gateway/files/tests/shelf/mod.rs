//! An outlet in memory, and a folder that is read back.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    reason = "tests"
)]
#![allow(unreachable_pub, missing_docs, reason = "shared by the tests of this folder")]
#![allow(dead_code, reason = "each test uses some of it")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::{
    Address, BootId, Chunk, Clock, ClockQuality, Cursor, DeviceId, Epoch, Event, EventTime, Group, Item,
    JournalStopped, Monotonic, Now, Offset, Origin, Outlet, Partition, Position, Resume, SourceKind, Stored, Topic,
    TopicPartition, TopicShape, Waiting, WallTime,
};
use serde_json::Value;
use tokio::sync::Notify;

pub struct HandClock(pub Mutex<u64>);

impl Clock for HandClock {
    fn now(&self) -> Now {
        let ms = *self.0.lock().unwrap();
        let wall = WallTime(1_772_432_100_000 + ms as i64);
        Now { wall, monotonic: Monotonic(ms), boot: BootId(1), quality: ClockQuality::Synced }
    }
}

impl HandClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(1_000)))
    }

    pub fn turn(&self, by: Duration) {
        *self.0.lock().unwrap() += by.as_millis() as u64;
    }
}

/// A position is an index into the items.
#[derive(Default)]
pub struct Shelf {
    pub items: Mutex<Vec<Item>>,
    pub cursors: Mutex<BTreeMap<TopicPartition, Offset>>,
    grown: Notify,
}

impl Shelf {
    pub fn put(&self, item: Item) {
        self.items.lock().unwrap().push(item);
        self.grown.notify_waiters();
    }

    pub fn cursor(&self, topic: &str, partition: u16) -> u64 {
        self.cursors.lock().unwrap().get(&at(topic, partition)).map_or(0, |next| next.0)
    }
}

impl Outlet for Shelf {
    fn topics(&self) -> Vec<TopicShape> {
        Vec::new()
    }

    fn resume(&self, _: &Group) -> Result<Resume, JournalStopped> {
        let table = self.cursors.lock().unwrap();
        let cursors = table.iter().map(|(at, next)| Cursor { at: at.clone(), next: *next }).collect();
        Ok(Resume { position: Position(0), cursors })
    }

    fn read(&self, from: Position, bytes_max: usize) -> Result<Chunk, JournalStopped> {
        let items = self.items.lock().unwrap();
        let (from, count) = (from.0 as usize, (bytes_max / 100).max(1));
        let found: Vec<Item> = items.iter().skip(from).take(count).cloned().collect();
        let next = from + found.len();
        Ok(Chunk { items: found, next: Position(next as u64), caught_up: next >= items.len() })
    }

    fn commit(&self, _: &Group, cursors: &[Cursor]) -> Result<(), JournalStopped> {
        let mut table = self.cursors.lock().unwrap();
        for cursor in cursors {
            let entry = table.entry(cursor.at.clone()).or_default();
            *entry = cursor.next.max(*entry);
        }
        Ok(())
    }

    fn grown(&self, position: Position) -> Waiting<'_, ()> {
        Box::pin(async move {
            loop {
                let notified = self.grown.notified();
                if self.items.lock().unwrap().len() as u64 > position.0 {
                    return;
                }
                notified.await;
            }
        })
    }
}

pub fn at(topic: &str, partition: u16) -> TopicPartition {
    TopicPartition { topic: Topic::new(topic).unwrap(), partition: Partition(partition) }
}

pub fn event(clock: &HandClock, topic: &str, partition: u16, offset: u64, payload: &str) -> Item {
    let event = Event {
        source: SourceKind::Mqtt,
        device: DeviceId::new("node-7").unwrap(),
        address: Address::new("city/air/7").unwrap(),
        topic: Topic::new(topic).unwrap(),
        key: Bytes::from_static(b"node-7"),
        origin: Origin::Unmarked,
        time: EventTime::received(clock.now(), None),
        content_type: None,
        reason: None,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    };
    Item::Event(Stored { partition: Partition(partition), offset: Offset(offset), epoch: Epoch(5), event })
}

/// The names of files in the folder, in their order.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// All lines of the files that are no parts, in the order of their names.
pub fn lines(folder: &Path) -> Vec<Value> {
    let finished = names(folder).into_iter().filter(|name| !name.ends_with(".part"));
    let text = finished.map(|name| {
        let bytes = std::fs::read(folder.join(&name)).unwrap();
        if name.ends_with(".zst") { unpacked(&bytes) } else { bytes }
    });
    let text = String::from_utf8(text.collect::<Vec<_>>().concat()).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "a torn line");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn unpacked(mut bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let length = zstd_safe::find_frame_compressed_size(bytes).unwrap();
        let mut frame = Vec::with_capacity(8 << 20);
        zstd_safe::decompress(&mut frame, &bytes[..length]).unwrap();
        all.extend(frame);
        bytes = &bytes[length..];
    }
    all
}

/// The offsets of the events of one partition in the lines.
pub fn offsets(lines: &[Value], topic: &str, partition: u16) -> Vec<u64> {
    let of = |line: &&Value| line["topic"] == topic && line["partition"] == partition;
    lines.iter().filter(of).map(|line| line["offset"].as_u64().unwrap()).collect()
}

/// Waits for something to come true, at most ten seconds.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not come to pass: {what}");
}
