//! Reading a batch: its head, then its records, compressed or not.

use bytes::Bytes;
use lamppost_event::{Offset, StoredRecord, WallTime};

use super::compression::unpack;
use super::{ATTRIBUTES_CODEC, BATCH_HEAD, BatchError, CRC_FROM, Compression, LENGTH_BEHIND};
use crate::format::fields::Fields;

/// How all records of this program go on behind their values: one header, whose key is [`StoredRecord::HEADER_KEY`].
const HEADERS_ONE: u8 = 1 << 1;
const HEADER_KEY_BYTES: u8 = 2 << 1;

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
    pub(crate) fn records(&self) -> impl Iterator<Item = Result<(Offset, StoredRecord), BatchError>> {
        let unpacked = self.unpack();
        let (mut at, mut left, mut failed) = (0, unpacked.count, unpacked.failed);
        std::iter::from_fn(move || {
            let mut fields = Fields::new(unpacked.bytes.get(at..)?);
            if failed.is_none() && left > 0 {
                left -= 1;
                if let Some(view) = body(&mut fields).and_then(|body| unpacked.record(body)) {
                    at = unpacked.bytes.len() - fields.rest().len();
                    return Some(Ok((view.offset, view.stored(&unpacked.bytes))));
                }
                failed = Some(BatchError::Field("records"));
            }
            let error = failed.take().or_else(|| (!fields.rest().is_empty()).then_some(BatchError::Field("end")));
            // Nothing comes after an error.
            (at, left) = (unpacked.bytes.len(), 0);
            error.map(Err)
        })
    }

    /// The records' bytes, to be looked at in place.
    pub(crate) fn unpack(&self) -> Unpacked {
        let (base, timestamp_base, count) = (self.base.0, self.timestamp_base, self.count);
        let stored = self.bytes.slice(BATCH_HEAD.min(self.bytes.len())..);
        let (bytes, failed) = match unpack(stored, self.compression) {
            Ok(bytes) => (bytes, None),
            Err(error) => (Bytes::new(), Some(error)),
        };
        Unpacked { base, timestamp_base, count, bytes, failed }
    }
}

/// The bytes of a batch's records, decompressed.
pub(crate) struct Unpacked {
    base: u64,
    timestamp_base: i64,
    count: u32,
    pub(crate) bytes: Bytes,
    failed: Option<BatchError>,
}

impl Unpacked {
    /// The records with their offsets, up to the first that can't be read.
    #[inline]
    pub(crate) fn each(&self, visit: &mut impl FnMut(RecordView<'_>)) -> Result<(), BatchError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut fields = Fields::new(&self.bytes);
        // Where the next one begins is looked at before this one is gone through: it comes from the memory meanwhile.
        let mut next = body(&mut fields);
        for left in (0..self.count).rev() {
            let record = next.take().ok_or(BatchError::Field("records"))?;
            if left > 0 {
                next = body(&mut fields);
            }
            visit(self.record(record).ok_or(BatchError::Field("records"))?);
        }
        if self.count == 0 {
            fields = Fields::new(&self.bytes);
        }
        if fields.rest().is_empty() { Ok(()) } else { Err(BatchError::Field("end")) }
    }

    /// The record that `body` holds.
    #[inline(always)]
    fn record<'a>(&self, mut body: Fields<'a>) -> Option<RecordView<'a>> {
        let _attributes = body.u8()?;
        let timestamp = self.timestamp_base.wrapping_add(body.varint()?);
        let offset = self.base.checked_add(u64::try_from(body.varint()?).ok()?)?;
        let key = piece(&mut body)?.unwrap_or_default();
        let value = piece(&mut body)?;
        let header = if let [HEADERS_ONE, HEADER_KEY_BYTES, b'l', b'p', rest @ ..] = body.rest() {
            body = Fields::new(rest);
            piece(&mut body)?.unwrap_or_default()
        } else {
            headers(&mut body)?
        };
        let (offset, timestamp) = (Offset(offset), WallTime(timestamp));
        body.rest().is_empty().then_some(RecordView { offset, timestamp, key, value, header })
    }
}

/// A record, where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordView<'a> {
    pub(crate) offset: Offset,
    pub(crate) timestamp: WallTime,
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
    /// What the header `lp` holds; empty for none.
    pub(crate) header: &'a [u8],
}

impl RecordView<'_> {
    /// As a record of its own that shares the memory of `bytes`, which it lies in.
    #[inline]
    pub(crate) fn stored(&self, bytes: &Bytes) -> StoredRecord {
        let share = |piece: &[u8]| bytes.slice_ref(piece);
        let (key, value, header) = (share(self.key), self.value.map(share), share(self.header));
        StoredRecord { timestamp: self.timestamp, key, value, header }
    }
}

/// The next record's bytes behind its length.
#[inline(always)]
fn body<'a>(fields: &mut Fields<'a>) -> Option<Fields<'a>> {
    let length = usize::try_from(fields.varint()?).ok()?;
    fields.bytes(length).map(Fields::new)
}

/// The one header that is ours, among any.
#[inline(never)]
fn headers<'a>(body: &mut Fields<'a>) -> Option<&'a [u8]> {
    let mut header = &[][..];
    for _ in 0..body.varint()? {
        let name = piece(body)??;
        let content = piece(body)?;
        if name == StoredRecord::HEADER_KEY.as_bytes() {
            header = content.unwrap_or_default();
        }
    }
    Some(header)
}

/// `Some(None)` is a length of -1: none.
#[inline(always)]
fn piece<'a>(body: &mut Fields<'a>) -> Option<Option<&'a [u8]>> {
    let length = body.varint()?;
    if length == -1 {
        return Some(None);
    }
    Some(Some(body.bytes(usize::try_from(length).ok()?)?))
}
