//! What consumers see of the journal: events where it has records.

use std::time::Duration;

use lamppost_event::{
    Address, BootId, Chunk, ClockQuality, Cursor, DeviceId, Event, EventTime, Group, Item, JournalStopped, Monotonic,
    Origin, Outlet, Position, RecordError, Resume, SourceKind, Stored, StoredRecord, Topic, TopicShape, Waiting,
    decode_event,
};
use lamppost_journal::{ItemInPlace, Journal, ReadItem, ReadRecord};

/// What an event takes in the journal, about: for how many room is made at once, and for how many at most.
const EVENT_BYTES: usize = 160;
const ITEMS_MAX: usize = 8192;
/// How often it is looked whether cursors are on disk, while they are on their way.
const SETTLED_AGAIN: Duration = Duration::from_millis(20);

/// The journal, read as events.
pub(crate) struct JournalOutlet {
    journal: Journal,
    topics: Vec<TopicShape>,
}

impl JournalOutlet {
    pub(crate) fn new(journal: Journal, topics: Vec<TopicShape>) -> Self {
        Self { journal, topics }
    }
}

pub(crate) fn item(item: ReadItem) -> Item {
    match item {
        ReadItem::Gap(gap) => Item::Gap(gap),
        ReadItem::Record(ReadRecord { topic, partition, offset, epoch, record }) => {
            Item::Event(Stored { partition, offset, epoch, event: event(&topic, record) })
        }
    }
}

/// The same where it lies in memory: nothing is made of it but the event.
pub(crate) fn item_in_place(item: ItemInPlace<'_>) -> Item {
    match item {
        ItemInPlace::Gap(gap) => Item::Gap(gap),
        ItemInPlace::Record(record) => {
            let decoded = decode_event(record.topic, record.stored());
            let event = decoded.unwrap_or_else(|error| undecoded(record.topic.clone(), record.stored(), error));
            Item::Event(Stored { partition: record.partition, offset: record.offset, epoch: record.epoch, event })
        }
    }
}

/// A record that this program can't decode was written by a newer one, since its bytes are checked. It is an event all the
/// same: it goes on with key and payload, and says what is missing.
pub(crate) fn event(topic: &Topic, record: StoredRecord) -> Event {
    decode_event(topic, record.clone()).unwrap_or_else(|error| undecoded(topic.clone(), record, error))
}

fn undecoded(topic: Topic, record: StoredRecord, error: RecordError) -> Event {
    #[expect(clippy::unwrap_used, reason = "literals that are legal")]
    let (unknown, address) = (DeviceId::new("unknown").unwrap(), Address::new("journal/undecoded").unwrap());
    let device = std::str::from_utf8(&record.key).ok().and_then(|key| DeviceId::new(key).ok()).unwrap_or(unknown);
    let time = EventTime {
        device: None,
        wall: record.timestamp,
        monotonic: Monotonic(0),
        boot: BootId(0),
        quality: ClockQuality::Holdover,
    };
    Event {
        source: SourceKind::Gateway,
        device,
        address,
        topic,
        key: record.key,
        origin: Origin::Unmarked,
        time,
        content_type: None,
        reason: Some(error.to_string().into()),
        payload: record.value.unwrap_or_default(),
    }
}

impl Outlet for JournalOutlet {
    fn topics(&self) -> Vec<TopicShape> {
        self.topics.clone()
    }

    fn resume(&self, group: &Group) -> Result<Resume, JournalStopped> {
        self.journal.resume(group)
    }

    fn read(&self, from: Position, bytes_max: usize) -> Result<Chunk, JournalStopped> {
        let mut items = Vec::with_capacity((bytes_max / EVENT_BYTES).min(ITEMS_MAX));
        let on = self.journal.read_in_place(from, bytes_max, |item| items.push(item_in_place(item)))?;
        Ok(Chunk { items, next: on.next, caught_up: on.caught_up })
    }

    fn commit(&self, group: &Group, cursors: &[Cursor]) -> Result<(), JournalStopped> {
        self.journal.commit_cursors(group, cursors)
    }

    fn ends(&self) -> Vec<Cursor> {
        let partitions = self.journal.partitions().into_iter();
        partitions.map(|bounds| Cursor { at: bounds.at, next: bounds.next }).collect()
    }

    fn cursors(&self, group: &Group) -> Vec<Cursor> {
        let groups = self.journal.groups().into_iter();
        groups.filter(|(known, _)| known == group).flat_map(|(_, cursors)| cursors).collect()
    }

    fn forget(&self, group: &Group) -> Result<(), JournalStopped> {
        self.journal.forget_group(group).map(drop)
    }

    fn settled<'a>(&'a self, group: &'a Group) -> Waiting<'a, Result<(), JournalStopped>> {
        Box::pin(async move {
            while !self.journal.cursors_are_durable(group)? {
                // Each time: a commit that began before they were there takes the word, and not them.
                self.journal.commit_now();
                tokio::time::sleep(SETTLED_AGAIN).await;
            }
            Ok(())
        })
    }

    fn grown(&self, position: Position) -> Waiting<'_, ()> {
        self.journal.grown(position)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use lamppost_event::{Epoch, Offset, Partition, WallTime, encode_event};
    use lamppost_journal::sim::SimDisk;
    use lamppost_journal::{Options, TopicOptions};

    use super::*;

    #[test]
    fn a_record_of_a_newer_program_goes_on_with_key_and_payload() {
        let record = StoredRecord {
            timestamp: WallTime(1_800_000_000_000),
            key: Bytes::from_static(b"node-7"),
            value: Some(Bytes::from_static(b"21.5")),
            header: Bytes::from_static(&[9, 0, 0]),
        };
        let (topic, partition) = (Topic::new("air").unwrap(), Partition(1));
        let read = ReadRecord { topic, partition, offset: Offset(4), epoch: Epoch(5), record };
        let Item::Event(stored) = item(ReadItem::Record(read)) else { panic!("passed over") };
        assert_eq!((stored.offset, stored.event.device.as_str()), (Offset(4), "node-7"));
        assert_eq!(stored.event.payload.as_ref(), b"21.5");
        assert!(stored.event.reason.unwrap().contains("version 9"));
    }

    /// A clock that nobody asks.
    struct Noon;

    impl lamppost_event::Clock for Noon {
        fn now(&self) -> lamppost_event::Now {
            let (wall, quality) = (WallTime(1_800_000_000_000), ClockQuality::Synced);
            lamppost_event::Now { wall, monotonic: Monotonic(5), boot: BootId(7), quality }
        }
    }

    #[tokio::test]
    async fn who_waits_for_cursors_to_be_on_disk_does_not_wait_for_company() {
        let topic = Topic::new("air").unwrap();
        let topics = vec![TopicOptions { topic: topic.clone(), partitions: 1, linger: None }];
        let mut options = Options { topics, segment_bytes: 1 << 20, ..Options::default() };
        (options.frame_bytes_max, options.event_bytes_max) = (128 << 10, 16 << 10);
        options.quota_bytes = options.quota_min();
        let disk = Arc::new(SimDisk::new(1));
        let (journal, _) = Journal::open(Arc::clone(&disk), options.clone(), Arc::new(Noon)).unwrap();
        let record = StoredRecord {
            timestamp: WallTime(5),
            key: Bytes::from_static(b"k"),
            value: None,
            header: Bytes::from_static(&[9, 0, 0]),
        };
        let stored = journal.append(&topic, Partition(0), record, None).unwrap();
        // The journal's clock stands still: nothing is ever due there.
        journal.commit_now();
        while journal.durable().unwrap() < stored.commit {
            tokio::time::sleep(SETTLED_AGAIN).await;
        }
        let outlet = JournalOutlet::new(journal.clone(), Vec::new());
        let group = Group::new("forward.horizon").unwrap();
        let at = lamppost_event::TopicPartition { topic, partition: Partition(0) };
        outlet.commit(&group, &[Cursor { at, next: Offset(1) }]).unwrap();
        assert!(!journal.cursors_are_durable(&group).unwrap(), "at once: it shows nothing");
        let settled = tokio::time::timeout(Duration::from_secs(30), outlet.settled(&group)).await;
        assert_eq!(settled.map_err(drop), Ok(Ok(())), "not within half a minute");
        assert!(journal.cursors_are_durable(&group).unwrap());
        journal.close().unwrap();
    }

    #[test]
    fn what_is_read_for_the_forwarder_is_what_was_stored_in_its_order_and_stays_once_the_memory_is_read_into_again() {
        let topic = Topic::new("air").unwrap();
        let topics = vec![TopicOptions { topic: topic.clone(), partitions: 1, linger: None }];
        let mut options = Options { topics, segment_bytes: 1 << 20, ..Options::default() };
        (options.frame_bytes_max, options.event_bytes_max) = (128 << 10, 16 << 10);
        options.quota_bytes = options.quota_min();
        let (journal, hand, _) = Journal::open_by_hand(Arc::new(SimDisk::new(1)), options, Arc::new(Noon)).unwrap();
        let events: Vec<Event> = (0..600_usize)
            .map(|n| {
                let newer = StoredRecord {
                    timestamp: WallTime(5),
                    key: Bytes::from_static(b"node-7"),
                    value: Some(vec![b'a' + (n % 26) as u8; 300].into()),
                    header: Bytes::from_static(&[9, 0, 0]),
                };
                undecoded(topic.clone(), newer, RecordError::Version(9))
            })
            .collect();
        for (n, event) in events.iter().enumerate() {
            journal.append(&topic, Partition(0), encode_event(event), None).unwrap();
            if n % 50 == 49 {
                hand.commit().unwrap();
            }
        }
        let outlet = JournalOutlet::new(journal, Vec::new());
        let (mut from, mut read) = (Position(0), Vec::new());
        loop {
            let chunk = outlet.read(from, 10_000).unwrap();
            (from, read) = (chunk.next, [read, chunk.items].concat());
            if chunk.caught_up {
                break;
            }
        }
        assert_eq!(read.len(), events.len());
        for (n, (item, event)) in read.into_iter().zip(events).enumerate() {
            let Item::Event(stored) = item else { panic!("{item:?}") };
            assert_eq!((stored.offset.0, stored.event), (n as u64, event));
        }
    }
}
