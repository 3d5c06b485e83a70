//! A journal over a vector, a clock that is turned by hand, and a cluster's reader: what the tests of this folder share.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::{
    Address, BootId, Chunk, Clock, ClockQuality, Cursor, DeviceId, Epoch, Event, EventTime, Gap, Group, Item,
    JournalStopped, Monotonic, Now, Offset, Origin, Outlet, Partition, Position, Resume, SourceKind, Stored, Topic,
    TopicPartition, TopicShape, Waiting, WallTime, partition_of,
};
use lamppost_forward::{DeadLetters, Poison};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tokio::sync::{Notify, Semaphore};

pub const PARTITIONS: u16 = 4;

/// All clocks stand still at a good time.
pub struct Still;

impl Clock for Still {
    fn now(&self) -> Now {
        Now {
            wall: WallTime(1_700_000_000_000),
            monotonic: Monotonic(60_000),
            boot: BootId(7),
            quality: ClockQuality::Synced,
        }
    }
}

#[derive(Default)]
struct Inner {
    items: Vec<Item>,
    ends: HashMap<TopicPartition, u64>,
    cursors: HashMap<TopicPartition, Offset>,
    /// Of the groups beside the sink's own.
    lanes: HashMap<Group, HashMap<TopicPartition, Offset>>,
    /// What a crash leaves of both.
    durable: (HashMap<TopicPartition, Offset>, HashMap<Group, HashMap<TopicPartition, Offset>>),
    sequence: HashMap<String, u64>,
    starts: u64,
}

impl Inner {
    fn of(&self, group: &Group) -> HashMap<TopicPartition, Offset> {
        if is_lane(group) { self.lanes.get(group).cloned().unwrap_or_default() } else { self.cursors.clone() }
    }

    fn first_undone(&self) -> usize {
        self.first_undone_of(&self.cursors)
    }

    fn first_undone_of(&self, cursors: &HashMap<TopicPartition, Offset>) -> usize {
        let undone = |item: &Item| {
            let (at, after) = match item {
                Item::Event(stored) => {
                    let topic = stored.event.topic.clone();
                    (TopicPartition { topic, partition: stored.partition }, stored.offset.0 + 1)
                }
                Item::Gap(gap) => (gap.at.clone(), gap.to.0),
            };
            cursors.get(&at).is_none_or(|cursor| after > cursor.0)
        };
        self.items.iter().position(undone).unwrap_or(self.items.len())
    }
}

fn is_lane(group: &Group) -> bool {
    group.as_str().ends_with(".live") || group.as_str().ends_with(".horizon")
}

/// A journal over a vector: a position is an index. Cursors survive the forwarder, as they do a restart.
#[derive(Default)]
pub struct Journal {
    inner: Mutex<Inner>,
    grown: Notify,
    /// How long it takes to say where a live lane goes on, and how often that was asked.
    pub lanes_take: Mutex<Duration>,
    pub lanes_asked: AtomicUsize,
    /// Where it is set, what is committed gets to the disk only with a permit.
    pub card: Mutex<Option<Arc<Semaphore>>>,
}

impl Journal {
    pub fn append(&self, topic: &str, device: &str, payload: &[u8]) {
        let quality = ClockQuality::Synced;
        self.append_with(topic, device, payload, EventTime { quality, ..EventTime::received(Still.now(), None) });
    }

    /// Without a word to who waits: see [`Self::wake`].
    pub fn append_quietly(&self, topic: &str, device: &str, payload: &[u8]) {
        let quality = ClockQuality::Synced;
        self.put(topic, device, payload, EventTime { quality, ..EventTime::received(Still.now(), None) }, None);
    }

    /// Tells who waits that there is more.
    pub fn wake(&self) {
        self.grown.notify_waiters();
    }

    pub fn append_with(&self, topic: &str, device: &str, payload: &[u8], time: EventTime) {
        self.append_because(topic, device, payload, time, None);
    }

    /// A dead letter, if there is a reason.
    pub fn append_because(&self, topic: &str, device: &str, payload: &[u8], time: EventTime, reason: Option<&str>) {
        self.put(topic, device, payload, time, reason);
        self.wake();
    }

    fn put(&self, topic: &str, device: &str, payload: &[u8], time: EventTime, reason: Option<&str>) {
        let mut inner = self.inner.lock().unwrap();
        let topic = Topic::new(topic).unwrap();
        let partition = partition_of(device.as_bytes(), PARTITIONS);
        let end = inner.ends.entry(TopicPartition { topic: topic.clone(), partition }).or_default();
        let offset = Offset(*end);
        *end += 1;
        let sequence = inner.sequence.entry(device.to_owned()).or_default();
        *sequence += 1;
        let origin = Origin::Sequence { boot: 1, sequence: *sequence };
        let event = Event {
            source: SourceKind::Mqtt,
            device: DeviceId::new(device).unwrap(),
            address: Address::new("city/air").unwrap(),
            topic,
            key: Bytes::copy_from_slice(device.as_bytes()),
            origin,
            time,
            content_type: None,
            reason: reason.map(Into::into),
            payload: Bytes::copy_from_slice(payload),
        };
        let epoch = Epoch(0xabc + inner.starts);
        inner.items.push(Item::Event(Stored { partition, offset, epoch, event }));
    }

    /// The gateway was started anew: what is stored from here on is of another epoch.
    pub fn begin_epoch(&self) {
        self.inner.lock().unwrap().starts += 1;
    }

    pub fn append_gap(&self, topic: &str, partition: u16, length: u64) {
        let mut inner = self.inner.lock().unwrap();
        let at = TopicPartition { topic: Topic::new(topic).unwrap(), partition: Partition(partition) };
        let end = inner.ends.entry(at.clone()).or_default();
        let from = Offset(*end);
        *end += length;
        let to = Offset(*end);
        inner.items.push(Item::Gap(Gap { at, from, to, reason: "a test".into() }));
        drop(inner);
        self.grown.notify_waiters();
    }

    /// A topic that has no event yet.
    pub fn declare(&self, topic: &str) {
        let mut inner = self.inner.lock().unwrap();
        for partition in (0..PARTITIONS).map(Partition) {
            inner.ends.entry(TopicPartition { topic: Topic::new(topic).unwrap(), partition }).or_default();
        }
    }

    /// Events that were stored are there no more, as when room is made: who reads there comes upon a gap, more than once.
    pub fn lose(&self, topic: &str, partition: u16, from: u64, to: u64) {
        let mut inner = self.inner.lock().unwrap();
        let at = TopicPartition { topic: Topic::new(topic).unwrap(), partition: Partition(partition) };
        let gap = Gap { at: at.clone(), from: Offset(from), to: Offset(to), reason: "a test".into() };
        let mut lost = 0;
        for item in &mut inner.items {
            let is_lost = |stored: &Stored| {
                stored.event.topic == at.topic
                    && stored.partition == at.partition
                    && (from..to).contains(&stored.offset.0)
            };
            if matches!(item, Item::Event(stored) if is_lost(stored)) {
                *item = Item::Gap(gap.clone());
                lost += 1;
            }
        }
        assert_eq!(lost, to - from, "events of {at} that are lost");
    }

    /// Events of `devices` devices, in turns.
    pub fn fill(&self, topic: &str, devices: usize, events: usize) {
        for n in 0..events {
            self.append(topic, &format!("dev-{}", n % devices), format!("payload {n}").as_bytes());
        }
    }

    /// How many events and gaps are kept for the forwarder: all from the first on that it is not done with.
    pub fn held(&self) -> usize {
        let inner = self.inner.lock().unwrap();
        inner.items.len() - inner.first_undone()
    }

    /// Whether every cursor stands at its partition's end.
    pub fn is_done(&self) -> bool {
        let inner = self.inner.lock().unwrap();
        let stands_at = |at, end| inner.cursors.get(at).map_or(end == 0, |cursor| cursor.0 == end);
        inner.ends.iter().all(|(at, end)| stands_at(at, *end))
    }

    /// Where the live lane of the sink began, while it is known.
    pub fn horizon(&self, topic: &str, partition: u16) -> Option<u64> {
        let at = TopicPartition { topic: Topic::new(topic).unwrap(), partition: Partition(partition) };
        let group = Group::new("forward.horizon").unwrap();
        self.inner.lock().unwrap().lanes.get(&group)?.get(&at).map(|horizon| horizon.0)
    }

    /// The offset behind the last one of a partition.
    pub fn end(&self, topic: &str, partition: u16) -> u64 {
        let at = TopicPartition { topic: Topic::new(topic).unwrap(), partition: Partition(partition) };
        self.inner.lock().unwrap().ends.get(&at).copied().unwrap_or(0)
    }

    pub fn cursor(&self, topic: &str, partition: u16) -> u64 {
        let at = TopicPartition { topic: Topic::new(topic).unwrap(), partition: Partition(partition) };
        self.inner.lock().unwrap().cursors.get(&at).map_or(0, |cursor| cursor.0)
    }

    /// What is committed outlives a crash.
    pub fn sync(&self) {
        let mut inner = self.inner.lock().unwrap();
        inner.durable = (inner.cursors.clone(), inner.lanes.clone());
    }

    /// What was not synced is forgotten.
    pub fn crash(&self) {
        let mut inner = self.inner.lock().unwrap();
        (inner.cursors, inner.lanes) = inner.durable.clone();
    }

    /// Whether the journal knows of cursors beside the sink's own.
    pub fn knows_lanes(&self) -> bool {
        !self.inner.lock().unwrap().lanes.is_empty()
    }

    /// As after a power cut that came before the cursors were on disk.
    pub fn forget_cursors(&self) {
        self.inner.lock().unwrap().cursors.clear();
    }

    /// All ids `topic/partition/offset` of a topic that the cluster must have, by partition in order.
    pub fn expected(&self, topic: &str) -> HashMap<u16, Vec<u64>> {
        let mut expected: HashMap<u16, Vec<u64>> = HashMap::new();
        for item in &self.inner.lock().unwrap().items {
            if let Item::Event(stored) = item
                && stored.event.topic.as_str() == topic
            {
                expected.entry(stored.partition.0).or_default().push(stored.offset.0);
            }
        }
        expected
    }
}

impl Outlet for Journal {
    fn topics(&self) -> Vec<TopicShape> {
        let inner = self.inner.lock().unwrap();
        let mut topics: Vec<Topic> = inner.ends.keys().map(|at| at.topic.clone()).collect();
        topics.sort();
        topics.dedup();
        topics.into_iter().map(|topic| TopicShape { topic, partitions: PARTITIONS }).collect()
    }

    fn resume(&self, group: &Group) -> Result<Resume, JournalStopped> {
        if is_lane(group) {
            self.lanes_asked.fetch_add(1, Relaxed);
            std::thread::sleep(*self.lanes_take.lock().unwrap());
        }
        let inner = self.inner.lock().unwrap();
        let cursors = inner.of(group);
        let position = inner.first_undone_of(&cursors);
        let cursors = cursors.iter().map(|(at, next)| Cursor { at: at.clone(), next: *next }).collect();
        Ok(Resume { position: Position(position as u64), cursors })
    }

    fn read(&self, from: Position, bytes_max: usize) -> Result<Chunk, JournalStopped> {
        let inner = self.inner.lock().unwrap();
        let items: Vec<Item> = inner.items.iter().skip(from.0 as usize).take(bytes_max / 128).cloned().collect();
        let next = from.0 + items.len() as u64;
        Ok(Chunk { items, next: Position(next), caught_up: next == inner.items.len() as u64 })
    }

    fn commit(&self, group: &Group, cursors: &[Cursor]) -> Result<(), JournalStopped> {
        let mut inner = self.inner.lock().unwrap();
        if is_lane(group) {
            let table = inner.lanes.entry(group.clone()).or_default();
            // At 0 a group stands without a word.
            for cursor in cursors.iter().filter(|cursor| cursor.next.0 > 0) {
                let next = table.entry(cursor.at.clone()).or_default();
                *next = cursor.next.max(*next);
            }
            return Ok(());
        }
        for cursor in cursors {
            let end = inner.ends.get(&cursor.at).copied().unwrap_or(0);
            assert!(cursor.next.0 <= end, "a cursor beyond the end of {}", cursor.at);
            let before = inner.cursors.insert(cursor.at.clone(), cursor.next);
            assert!(before.is_none_or(|before| before <= cursor.next), "a cursor that goes back in {}", cursor.at);
        }
        Ok(())
    }

    fn ends(&self) -> Vec<Cursor> {
        let inner = self.inner.lock().unwrap();
        inner.ends.iter().map(|(at, end)| Cursor { at: at.clone(), next: Offset(*end) }).collect()
    }

    fn cursors(&self, group: &Group) -> Vec<Cursor> {
        let of = self.inner.lock().unwrap().of(group);
        of.into_iter().map(|(at, next)| Cursor { at, next }).collect()
    }

    fn forget(&self, group: &Group) -> Result<(), JournalStopped> {
        self.inner.lock().unwrap().lanes.remove(group);
        Ok(())
    }

    fn settled<'a>(&'a self, _: &'a Group) -> Waiting<'a, Result<(), JournalStopped>> {
        let card = self.card.lock().unwrap().clone();
        Box::pin(async move {
            if let Some(card) = card {
                card.acquire().await.unwrap().forget();
            }
            self.sync();
            Ok(())
        })
    }

    fn grown(&self, position: Position) -> Waiting<'_, ()> {
        Box::pin(async move {
            let notified = self.grown.notified();
            if position.0 >= self.inner.lock().unwrap().items.len() as u64 {
                notified.await;
            }
        })
    }
}

/// Dead letters that are only remembered.
#[derive(Default)]
pub struct Grave(pub Mutex<Vec<Poison>>);

impl DeadLetters for Grave {
    fn bury(&self, poison: Poison) -> Waiting<'_, Result<(), JournalStopped>> {
        Box::pin(async move {
            self.0.lock().unwrap().push(poison);
            Ok(())
        })
    }
}

/// One record of the cluster.
#[derive(Debug, Clone)]
pub struct Seen {
    pub partition: i32,
    pub key: Vec<u8>,
    pub payload: Vec<u8>,
    pub is_null: bool,
    pub timestamp: i64,
    pub headers: HashMap<String, String>,
}

impl Seen {
    /// Partition and offset in the journal.
    pub fn place(&self) -> (u16, u64) {
        let id: lamppost_event::EventId = self.headers["ce_id"].parse().unwrap();
        (id.partition.0, id.offset.0)
    }
}

/// Reads a whole topic.
pub fn read_topic(bootstrap: &str, topic: &str) -> Vec<Seen> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let wait = Duration::from_secs(10);
    let metadata = consumer.fetch_metadata(Some(topic), wait).unwrap();
    let mut list = TopicPartitionList::new();
    let mut left = 0;
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), wait).unwrap();
        left += high - low;
        list.add_partition_offset(topic, partition.id(), KafkaOffset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut seen = Vec::new();
    while left > 0 {
        let message = consumer.poll(wait).expect("a record within 10 s").unwrap();
        let headers = message.headers().unwrap().iter();
        let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
        seen.push(Seen {
            partition: message.partition(),
            key: message.key().unwrap().to_vec(),
            payload: message.payload().unwrap_or_default().to_vec(),
            is_null: message.payload().is_none(),
            timestamp: message.timestamp().to_millis().unwrap(),
            headers: headers.map(|header| (header.key.to_owned(), text(header.value))).collect(),
        });
        left -= 1;
    }
    seen
}

/// Keys and values of a topic whose records are no events, each partition in its order.
pub fn read_plain(bootstrap: &str, topic: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "reader")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let wait = Duration::from_secs(10);
    let partitions = consumer.fetch_metadata(Some(topic), wait).unwrap().topics()[0].partitions().len();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition as i32, KafkaOffset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut records, mut open) = (Vec::new(), partitions);
    while open > 0 {
        match consumer.poll(wait).expect("a record or an end within 10 s") {
            Err(KafkaError::PartitionEOF(_)) => open -= 1,
            message => {
                let message = message.unwrap();
                records.push((message.key().unwrap().to_vec(), message.payload().unwrap().to_vec()));
            }
        }
    }
    records
}

/// The first occurrences of a topic's events, by the journal's partition, in the cluster's order.
pub fn first_occurrences(seen: &[Seen]) -> HashMap<u16, Vec<u64>> {
    let mut firsts: HashMap<u16, Vec<u64>> = HashMap::new();
    let mut known = HashSet::new();
    for record in seen {
        let (partition, offset) = record.place();
        if known.insert((partition, offset)) {
            firsts.entry(partition).or_default().push(offset);
        }
    }
    firsts
}
