//! What consumers see of the journal: events where it has records.

use lamppost_event::{
    Address, BootId, Chunk, ClockQuality, Cursor, DeviceId, Event, EventTime, Group, Item, JournalStopped, Monotonic,
    Origin, Outlet, Position, RecordError, Resume, SourceKind, Stored, StoredRecord, Topic, TopicShape, Waiting,
    decode_event,
};
use lamppost_journal::{Journal, ReadItem, ReadRecord};

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
        let chunk = self.journal.read(from, bytes_max)?;
        Ok(Chunk { items: chunk.items.into_iter().map(item).collect(), next: chunk.next, caught_up: chunk.caught_up })
    }

    fn commit(&self, group: &Group, cursors: &[Cursor]) -> Result<(), JournalStopped> {
        self.journal.commit_cursors(group, cursors)
    }

    fn grown(&self, position: Position) -> Waiting<'_, ()> {
        self.journal.grown(position)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lamppost_event::{Epoch, Offset, Partition, WallTime};

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
}
