//! Putting a batch together, record by record, and finishing it.

use lamppost_event::{Offset, StoredRecord, WallTime};

use super::{BATCH_HEAD, Compression, Compressor, seal};
use crate::format::fields::{patch, put_varint, varint_bytes};

/// A batch being gathered. Reused: clearing keeps the memory.
#[derive(Debug, Default)]
pub(crate) struct BatchBuilder {
    bytes: Vec<u8>,
    base: Offset,
    count: u32,
    timestamp_base: i64,
    timestamp_max: i64,
}

/// What a record would append to a batch as it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    body: usize,
}

impl Cost {
    pub(crate) const fn bytes(self) -> usize {
        length_and(self.body)
    }
}

impl BatchBuilder {
    /// Begins a batch at `base`.
    pub(crate) fn begin(&mut self, base: Offset, timestamp: WallTime) {
        self.bytes.clear();
        self.bytes.resize(BATCH_HEAD, 0);
        (self.base, self.count) = (base, 0);
        (self.timestamp_base, self.timestamp_max) = (timestamp.0, timestamp.0);
    }

    pub(crate) const fn base(&self) -> Offset {
        self.base
    }

    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    pub(crate) const fn next(&self) -> Offset {
        Offset(self.base.0 + self.count as u64)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// What `record` would append.
    #[inline]
    pub(crate) fn cost(&self, record: &StoredRecord) -> Cost {
        let value = record.value.as_ref().map_or(1, |value| length_and(value.len()));
        let header = if record.header.is_empty() {
            0
        } else {
            length_and(StoredRecord::HEADER_KEY.len()) + length_and(record.header.len())
        };
        let body = 1
            + varint_bytes(record.timestamp.0.wrapping_sub(self.timestamp_base))
            + varint_bytes(i64::from(self.count))
            + length_and(record.key.len())
            + value
            + 1
            + header;
        Cost { body }
    }

    /// Appends a record at the next offset.
    pub(crate) fn push(&mut self, record: &StoredRecord) {
        self.push_at_cost(record, self.cost(record));
    }

    /// Appends a record whose cost is known.
    pub(crate) fn push_at_cost(&mut self, record: &StoredRecord, cost: Cost) {
        let out = &mut self.bytes;
        out.reserve(cost.bytes());
        put_varint(out, cost.body as i64);
        let start = out.len();
        out.push(0);
        put_varint(out, record.timestamp.0.wrapping_sub(self.timestamp_base));
        put_varint(out, i64::from(self.count));
        put_piece(out, &record.key);
        match &record.value {
            Some(value) => put_piece(out, value),
            None => put_varint(out, -1),
        }
        if record.header.is_empty() {
            put_varint(out, 0);
        } else {
            put_varint(out, 1);
            put_piece(out, StoredRecord::HEADER_KEY.as_bytes());
            put_piece(out, &record.header);
        }
        debug_assert_eq!(out.len() - start, cost.body, "a record's length is known before it is written");
        self.count += 1;
        self.timestamp_max = self.timestamp_max.max(record.timestamp.0);
    }

    /// Fills the head in and gives the whole batch.
    pub(crate) fn finish(&mut self) -> &[u8] {
        self.fill_head();
        seal(&mut self.bytes, Compression::None);
        &self.bytes
    }

    /// The same, with its records compressed if that makes it smaller. Until it begins anew it can't be finished again.
    pub(crate) fn finish_packed(&mut self, compression: Compression, compressor: &mut Compressor) -> &[u8] {
        self.fill_head();
        let records = self.bytes.get(BATCH_HEAD..).unwrap_or_default();
        let Some(packed) = compressor.pack(records, compression) else {
            seal(&mut self.bytes, Compression::None);
            return &self.bytes;
        };
        self.bytes.truncate(BATCH_HEAD);
        self.bytes.extend_from_slice(packed);
        seal(&mut self.bytes, compression);
        &self.bytes
    }

    fn fill_head(&mut self) {
        debug_assert!(self.count > 0, "no batch without a record");
        let out = &mut self.bytes;
        patch(out, 0, &self.base.0.to_be_bytes());
        patch(out, 16, &[2]);
        patch(out, 23, &self.count.saturating_sub(1).to_be_bytes());
        patch(out, 27, &self.timestamp_base.to_be_bytes());
        patch(out, 35, &self.timestamp_max.to_be_bytes());
        patch(out, 43, &[0xff; 14]);
        patch(out, 57, &self.count.to_be_bytes());
    }
}

#[inline]
const fn length_and(bytes: usize) -> usize {
    varint_bytes(bytes as i64) + bytes
}

#[inline]
fn put_piece(out: &mut Vec<u8>, piece: &[u8]) {
    put_varint(out, piece.len() as i64);
    out.extend_from_slice(piece);
}
