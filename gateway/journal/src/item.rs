//! What readers get: events that stand on their own, or in place, where they lie in the memory that they were read into.

use bytes::Bytes;
use lamppost_event::{Epoch, Gap, Offset, Partition, Position, StoredRecord, Topic, WallTime};

use crate::format::batch::{BatchError, RecordView};
use crate::format::frame::BatchEntry;

/// What a reader comes upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadItem {
    /// A stored event. Where a segment has been made denser since the last read, or during this one, some that this reader has had come
    /// again first: skip what is below its own place.
    Record(ReadRecord),
    /// A hole. It may begin below what this reader has had already, or lie there wholly (what could not be read once and is
    /// read now): skip what is below its own place.
    Gap(Gap),
}

/// A stored event with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRecord {
    /// Its topic.
    pub topic: Topic,
    /// Its partition.
    pub partition: Partition,
    /// Its offset there.
    pub offset: Offset,
    /// The journal's epoch when it was stored.
    pub epoch: Epoch,
    /// What was stored.
    pub record: StoredRecord,
}

/// What a reader comes upon, in place: see [`ReadItem`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemInPlace<'a> {
    /// A stored event.
    Record(RecordInPlace<'a>),
    /// A hole.
    Gap(Gap),
}

impl ItemInPlace<'_> {
    /// To be kept: an event shares the memory that it was read into, which stays until the last of them goes.
    #[must_use]
    pub fn keep(self) -> ReadItem {
        match self {
            Self::Record(record) => ReadItem::Record(record.keep()),
            Self::Gap(gap) => ReadItem::Gap(gap),
        }
    }
}

/// A stored event with its place, where it lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordInPlace<'a> {
    /// Its topic.
    pub topic: &'a Topic,
    /// Its partition.
    pub partition: Partition,
    /// Its offset there.
    pub offset: Offset,
    /// The journal's epoch when it was stored.
    pub epoch: Epoch,
    /// Milliseconds since 1970 UTC.
    pub timestamp: WallTime,
    /// The record's key.
    pub key: &'a [u8],
    /// The record's value.
    pub value: Option<&'a [u8]>,
    /// See [`StoredRecord::header`].
    pub header: &'a [u8],
    memory: &'a Bytes,
}

impl<'a> RecordInPlace<'a> {
    #[inline]
    fn of(entry: &'a BatchEntry, epoch: Epoch, view: &RecordView<'a>, memory: &'a Bytes) -> Self {
        let RecordView { offset, timestamp, key, value, header } = *view;
        let (topic, partition) = (&entry.at.topic, entry.at.partition);
        Self { topic, partition, offset, epoch, timestamp, key, value, header, memory }
    }

    /// What was stored, without its place, to be kept as [`RecordInPlace::keep`] is.
    #[inline]
    #[must_use]
    pub fn stored(&self) -> StoredRecord {
        let share = |piece: &[u8]| self.memory.slice_ref(piece);
        let (key, value, header) = (share(self.key), self.value.map(share), share(self.header));
        StoredRecord { timestamp: self.timestamp, key, value, header }
    }

    /// To be kept: it shares the memory that it was read into, which stays until the last of its kind goes.
    #[inline]
    #[must_use]
    pub fn keep(&self) -> ReadRecord {
        let Self { topic, partition, offset, epoch, .. } = *self;
        ReadRecord { topic: topic.clone(), partition, offset, epoch, record: self.stored() }
    }
}

/// Where a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOn {
    /// Where to read on.
    pub next: Position,
    /// Nothing durable lies beyond `next` now.
    pub caught_up: bool,
}

/// A batch's events from an offset on; a gap for those that can't be read. Gives the bytes of the batch's records as they are in memory.
pub(crate) fn each_record(
    entry: &BatchEntry,
    epoch: Epoch,
    from: Offset,
    visit: &mut impl FnMut(ItemInPlace<'_>),
) -> usize {
    let unreadable = |from: Offset, error: &BatchError| {
        ItemInPlace::Gap(Gap { at: entry.at.clone(), from, to: entry.next(), reason: error.to_string() })
    };
    let batch = match entry.batch() {
        Ok(batch) => batch.unpack(),
        Err(error) => {
            visit(unreadable(entry.base, &error));
            return 0;
        }
    };
    let mut next = entry.base;
    let end = batch.each(&mut |view| {
        next = view.offset.next();
        if view.offset >= from {
            visit(ItemInPlace::Record(RecordInPlace::of(entry, epoch, &view, &batch.bytes)));
        }
    });
    if let Err(error) = end {
        visit(unreadable(next, &error));
    }
    batch.bytes.len()
}

/// The same, to be kept.
pub(crate) fn push_records(entry: &BatchEntry, epoch: Epoch, from: Offset, items: &mut Vec<ReadItem>) -> usize {
    each_record(entry, epoch, from, &mut |item| items.push(item.keep()))
}
