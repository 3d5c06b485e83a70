//! Kafka's `RecordBatch` v2 (KIP-98; Kafka documentation, "Record Batch"), big-endian, as Kafka's own tools read it.
//!
//! ```text
//! 0   i64  base offset
//! 8   i32  batch length: bytes behind this field
//! 12  i32  partition leader epoch = 0
//! 16  i8   magic = 2
//! 17  u32  CRC32C of everything from byte 21 on
//! 21  i16  attributes: bits 0-2 compression (only 0, none, is read by this version), all others 0
//! 23  i32  last offset delta
//! 27  i64  base timestamp, ms
//! 35  i64  greatest timestamp, ms
//! 43  i64  producer id = -1
//! 51  i16  producer epoch = -1
//! 53  i32  base sequence = -1
//! 57  i32  number of records
//! 61       records: varint length, i8 attributes = 0, varint timestamp delta, varint offset delta,
//!          varint key length and key, varint value length (-1 for none) and value,
//!          varint number of headers, each varint length and key, varint length (-1 for none) and value
//! ```

use bytes::Bytes;
use lamppost_event::{Offset, StoredRecord, WallTime};

use super::fields::{Fields, patch, put_varint, varint_bytes};

/// What a batch costs beside its records.
pub(crate) const BATCH_HEAD: usize = 61;
const LENGTH_BEHIND: usize = 12;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const COMPRESSION: i16 = 0b111;

/// Why bytes are not a batch that this program reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// It ends early, or a length in it is impossible.
    #[error("the batch is cut short or damaged at its {0}")]
    Field(&'static str),
    /// Not version 2.
    #[error("batch magic {0}, only 2 is read")]
    Magic(u8),
    /// Kafka's CRC32C does not match.
    #[error("the batch's CRC32C does not match")]
    Crc,
    /// Compressed in a way that this program does not read.
    #[error("batch compression {0} is not known to this program")]
    Compression(u8),
}

/// A batch being gathered. Reused: clearing keeps the memory.
#[derive(Debug, Default)]
pub(crate) struct BatchBuilder {
    bytes: Vec<u8>,
    base: Offset,
    count: u32,
    timestamp_base: i64,
    timestamp_max: i64,
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

    /// What `push` would append.
    pub(crate) fn cost(&self, record: &StoredRecord) -> usize {
        let body = self.body_bytes(record);
        varint_bytes(body as i64) + body
    }

    fn body_bytes(&self, record: &StoredRecord) -> usize {
        let value = record.value.as_ref().map_or(1, |value| length_and(value.len()));
        let header = if record.header.is_empty() {
            0
        } else {
            length_and(StoredRecord::HEADER_KEY.len()) + length_and(record.header.len())
        };
        1 + varint_bytes(record.timestamp.0.wrapping_sub(self.timestamp_base))
            + varint_bytes(i64::from(self.count))
            + length_and(record.key.len())
            + value
            + 1
            + header
    }

    /// Appends a record at the next offset.
    pub(crate) fn push(&mut self, record: &StoredRecord) {
        let body = self.body_bytes(record);
        let out = &mut self.bytes;
        put_varint(out, body as i64);
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
        debug_assert_eq!(out.len() - start, body, "a record's length is known before it is written");
        self.count += 1;
        self.timestamp_max = self.timestamp_max.max(record.timestamp.0);
    }

    /// Fills the head in and gives the whole batch.
    pub(crate) fn finish(&mut self) -> &[u8] {
        debug_assert!(self.count > 0, "no batch without a record");
        let length = (self.bytes.len() - LENGTH_BEHIND) as i32;
        let out = &mut self.bytes;
        patch(out, 0, &self.base.0.to_be_bytes());
        patch(out, 8, &length.to_be_bytes());
        patch(out, 16, &[2]);
        patch(out, 23, &self.count.saturating_sub(1).to_be_bytes());
        patch(out, 27, &self.timestamp_base.to_be_bytes());
        patch(out, 35, &self.timestamp_max.to_be_bytes());
        patch(out, 43, &[0xff; 14]);
        patch(out, 57, &self.count.to_be_bytes());
        let crc = crc32c::crc32c(out.get(CRC_FROM..).unwrap_or_default());
        patch(out, CRC_AT, &crc.to_be_bytes());
        out
    }
}

fn length_and(bytes: usize) -> usize {
    varint_bytes(bytes as i64) + bytes
}

fn put_piece(out: &mut Vec<u8>, piece: &[u8]) {
    put_varint(out, piece.len() as i64);
    out.extend_from_slice(piece);
}

/// A batch's checked head, and its records' bytes.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) base: Offset,
    pub(crate) count: u32,
    crc: u32,
    timestamp_base: i64,
    bytes: Bytes,
}

impl Batch {
    /// Reads the head. The records are read by [`Batch::records`]; Kafka's CRC by [`Batch::check_crc`].
    pub(crate) fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        let mut fields = Fields::new(&bytes);
        let mut head = || {
            let base = u64::try_from(fields.i64_be()?).ok()?;
            let length = usize::try_from(fields.i32_be()?).ok()?;
            let leader = fields.i32_be()?;
            let (magic, crc) = (fields.u8()?, fields.u32_be()?);
            let attributes = fields.i16_be()?;
            let _last_delta = fields.i32_be()?;
            let timestamp_base = fields.i64_be()?;
            let (_timestamp_max, _producer, _producer_epoch) = (fields.i64_be()?, fields.i64_be()?, fields.i16_be()?);
            let (_sequence, count) = (fields.i32_be()?, fields.u32_be()?);
            Some((base, length, leader, magic, crc, attributes, timestamp_base, count))
        };
        let (base, length, _, magic, crc, attributes, timestamp_base, count) =
            head().ok_or(BatchError::Field("head"))?;
        if magic != 2 {
            return Err(BatchError::Magic(magic));
        }
        if length + LENGTH_BEHIND != bytes.len() {
            return Err(BatchError::Field("length"));
        }
        if attributes & COMPRESSION != 0 {
            return Err(BatchError::Compression((attributes & COMPRESSION) as u8));
        }
        Ok(Self { base: Offset(base), count, crc, timestamp_base, bytes })
    }

    /// Checks Kafka's own CRC32C. Readers may leave this out: the frame's CRC covers the same bytes and more.
    pub(crate) fn check_crc(&self) -> Result<(), BatchError> {
        let covered = self.bytes.get(CRC_FROM..).unwrap_or_default();
        if crc32c::crc32c(covered) == self.crc { Ok(()) } else { Err(BatchError::Crc) }
    }

    /// The records with their offsets. Ends after the first error.
    pub(crate) fn records(&self) -> Records<'_> {
        Records { batch: self, fields: Fields::new(self.bytes.get(BATCH_HEAD..).unwrap_or_default()), left: self.count }
    }
}

/// See [`Batch::records`].
pub(crate) struct Records<'a> {
    batch: &'a Batch,
    fields: Fields<'a>,
    left: u32,
}

impl Iterator for Records<'_> {
    type Item = Result<(Offset, StoredRecord), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            if self.fields.rest().is_empty() {
                return None;
            }
            self.fields = Fields::new(&[]);
            return Some(Err(BatchError::Field("end")));
        }
        self.left -= 1;
        let record = self.record();
        if record.is_none() {
            (self.left, self.fields) = (0, Fields::new(&[]));
        }
        Some(record.ok_or(BatchError::Field("records")))
    }
}

impl Records<'_> {
    fn record(&mut self) -> Option<(Offset, StoredRecord)> {
        let length = usize::try_from(self.fields.varint()?).ok()?;
        let mut body = Fields::new(self.fields.bytes(length)?);
        let _attributes = body.u8()?;
        let timestamp = self.batch.timestamp_base.wrapping_add(body.varint()?);
        let offset = self.batch.base.0.checked_add(u64::try_from(body.varint()?).ok()?)?;
        let key = self.piece(&mut body)?.unwrap_or_default();
        let value = self.piece(&mut body)?;
        let mut header = Bytes::new();
        for _ in 0..body.varint()? {
            let name = self.piece(&mut body)??;
            let content = self.piece(&mut body)?;
            if name == StoredRecord::HEADER_KEY.as_bytes() {
                header = content.unwrap_or_default();
            }
        }
        let record = StoredRecord { timestamp: WallTime(timestamp), key, value, header };
        body.rest().is_empty().then_some((Offset(offset), record))
    }

    /// `Some(None)` is a length of -1: none.
    fn piece(&self, body: &mut Fields<'_>) -> Option<Option<Bytes>> {
        let length = body.varint()?;
        if length == -1 {
            return Some(None);
        }
        let piece = body.bytes(usize::try_from(length).ok()?)?;
        Some(Some(self.batch.bytes.slice_ref(piece)))
    }
}
