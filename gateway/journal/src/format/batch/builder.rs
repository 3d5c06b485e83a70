//! Putting a batch together, record by record, and finishing it.

use lamppost_event::{Offset, StoredRecord, WallTime};

use super::{BATCH_HEAD, CRC_FROM, Compression, Compressor, JOIN_MIN, seal, seal_with};
use crate::format::crc::join;
use crate::format::fields::{patch, put_varint, varint_bytes};

/// Records are taken into the CRC by so many bytes at least: still in the processor's nearest cache, and not by ones and twos.
const CRC_STRIDE: usize = 4096;

/// A batch being gathered. Reused: clearing keeps the memory.
#[derive(Debug, Default)]
pub(crate) struct BatchBuilder {
    bytes: Vec<u8>,
    base: Offset,
    count: u32,
    timestamp_base: i64,
    timestamp_max: i64,
    /// The CRC32C of the records before byte `crc_to`: what is left to do once the batch is finished does not grow with it.
    crc: u32,
    crc_to: usize,
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
        (self.crc, self.crc_to) = (0, BATCH_HEAD);
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
        if self.bytes.len() - self.crc_to >= CRC_STRIDE {
            self.catch_up();
        }
    }

    /// Takes the records that are not in the CRC yet into it.
    fn catch_up(&mut self) {
        self.crc = crc32c::crc32c_append(self.crc, self.bytes.get(self.crc_to..).unwrap_or_default());
        self.crc_to = self.bytes.len();
    }

    /// The batch's bytes as it stands.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Fills the head in and gives the whole batch.
    pub(crate) fn finish(&mut self) -> &[u8] {
        self.fill_head();
        if self.bytes.len() < BATCH_HEAD + JOIN_MIN {
            seal(&mut self.bytes, Compression::None);
            return &self.bytes;
        }
        self.catch_up();
        let (records, count) = (self.crc, self.bytes.len() - BATCH_HEAD);
        seal_with(&mut self.bytes, Compression::None, |batch| {
            let head = batch.get(CRC_FROM..BATCH_HEAD).unwrap_or_default();
            join(crc32c::crc32c(head), records, count)
        });
        &self.bytes
    }

    /// Appends the whole batch to `out` with its records compressed, if that makes it smaller, and says whether it does.
    pub(crate) fn pack_to(&mut self, out: &mut Vec<u8>, compression: Compression, compressor: &mut Compressor) -> bool {
        self.fill_head();
        let (head, records) = self.bytes.split_at_checked(BATCH_HEAD).unwrap_or_default();
        let Some(packed) = compressor.pack(records, compression) else { return false };
        let start = out.len();
        out.extend_from_slice(head);
        out.extend_from_slice(packed);
        seal(out.get_mut(start..).unwrap_or_default(), compression);
        true
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
