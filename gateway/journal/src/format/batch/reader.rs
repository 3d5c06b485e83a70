//! Reading a batch: its head, then its records, compressed or not.

use bytes::Bytes;
use lamppost_event::{Offset, StoredRecord, WallTime};

use super::compression::unpack;
use super::{ATTRIBUTES_CODEC, BATCH_HEAD, BatchError, CRC_FROM, Compression, LENGTH_BEHIND};
use crate::format::fields::Fields;

/// A batch's checked head, and its records' bytes.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) base: Offset,
    pub(crate) count: u32,
    crc: u32,
    timestamp_base: i64,
    compression: Compression,
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
        let codec = (attributes & ATTRIBUTES_CODEC) as u8;
        let compression = Compression::of_code(codec).ok_or(BatchError::Compression(codec))?;
        Ok(Self { base: Offset(base), count, crc, timestamp_base, compression, bytes })
    }

    /// How the records are compressed.
    pub(crate) const fn compression(&self) -> Compression {
        self.compression
    }

    /// Checks Kafka's own CRC32C. Readers may leave this out: the frame's CRC covers the same bytes and more.
    pub(crate) fn check_crc(&self) -> Result<(), BatchError> {
        let covered = self.bytes.get(CRC_FROM..).unwrap_or_default();
        if crc32c::crc32c(covered) == self.crc { Ok(()) } else { Err(BatchError::Crc) }
    }

    /// The records with their offsets. Ends after the first error. Compressed ones are decompressed here, all at once, into memory
    /// of their own; the records of others share the batch's.
    pub(crate) fn records(&self) -> Records {
        let (base, timestamp_base, left) = (self.base.0, self.timestamp_base, self.count);
        let stored = self.bytes.slice(BATCH_HEAD.min(self.bytes.len())..);
        let (bytes, failed) = match unpack(stored, self.compression) {
            Ok(bytes) => (bytes, None),
            Err(error) => (Bytes::new(), Some(error)),
        };
        Records { base, timestamp_base, left, bytes, at: 0, failed }
    }
}

/// See [`Batch::records`].
pub(crate) struct Records {
    base: u64,
    timestamp_base: i64,
    left: u32,
    bytes: Bytes,
    /// Where in `bytes` the next record begins.
    at: usize,
    failed: Option<BatchError>,
}

impl Iterator for Records {
    type Item = Result<(Offset, StoredRecord), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            return Some(Err(self.end(error)));
        }
        if self.left == 0 {
            let clean = self.at == self.bytes.len();
            return (!clean).then(|| Err(self.end(BatchError::Field("end"))));
        }
        self.left -= 1;
        Some(self.record().ok_or_else(|| self.end(BatchError::Field("records"))))
    }
}

impl Records {
    /// Nothing comes after this.
    fn end(&mut self, error: BatchError) -> BatchError {
        (self.left, self.at) = (0, self.bytes.len());
        error
    }

    fn record(&mut self) -> Option<(Offset, StoredRecord)> {
        let mut fields = Fields::new(self.bytes.get(self.at..)?);
        let length = usize::try_from(fields.varint()?).ok()?;
        let mut body = Fields::new(fields.bytes(length)?);
        let next = self.bytes.len() - fields.rest().len();
        let _attributes = body.u8()?;
        let timestamp = self.timestamp_base.wrapping_add(body.varint()?);
        let offset = self.base.checked_add(u64::try_from(body.varint()?).ok()?)?;
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
        let whole = body.rest().is_empty();
        self.at = next;
        whole.then_some((Offset(offset), record))
    }

    /// `Some(None)` is a length of -1: none.
    fn piece(&self, body: &mut Fields<'_>) -> Option<Option<Bytes>> {
        let length = body.varint()?;
        if length == -1 {
            return Some(None);
        }
        let piece = body.bytes(usize::try_from(length).ok()?)?;
        Some(Some(self.bytes.slice_ref(piece)))
    }
}
