//! Kafka's `RecordBatch` v2 (KIP-98; Kafka documentation, "Record Batch"), big-endian, as Kafka's own tools read it.
//!
//! ```text
//! 0   i64  base offset
//! 8   i32  batch length: bytes behind this field
//! 12  i32  partition leader epoch = 0
//! 16  i8   magic = 2
//! 17  u32  CRC32C of everything from byte 21 on
//! 21  i16  attributes: bits 0-2 compression (0 none, 3 LZ4 frame, 4 Zstandard; 1 gzip and 2 snappy are not read), all others 0
//! 23  i32  last offset delta
//! 27  i64  base timestamp, ms
//! 35  i64  greatest timestamp, ms
//! 43  i64  producer id = -1
//! 51  i16  producer epoch = -1
//! 53  i32  base sequence = -1
//! 57  i32  number of records
//! 61       records, as a whole compressed if the attributes say so:
//!          varint length, i8 attributes = 0, varint timestamp delta, varint offset delta,
//!          varint key length and key, varint value length (-1 for none) and value,
//!          varint number of headers, each varint length and key, varint length (-1 for none) and value
//! ```

mod builder;
mod compression;
mod lz4;
mod reader;
#[cfg(test)]
mod tests;

use super::crc::join;
use super::fields::patch;

pub(crate) use builder::{BatchBuilder, Cost};
pub use compression::Compression;
pub(crate) use compression::Compressor;
pub(crate) use reader::{Batch, RecordView};

/// What a batch costs beside its records.
pub(crate) const BATCH_HEAD: usize = 61;
const LENGTH_AT: usize = 8;
const LENGTH_BEHIND: usize = 12;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const ATTRIBUTES_AT: usize = 21;
const ATTRIBUTES_CODEC: i16 = 0b111;
/// From so many bytes on, joining their CRC to another is less work than reading them again.
const JOIN_MIN: usize = 4096;

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
    /// Its compressed records can't be decompressed, or would come to more bytes than any batch of this program holds.
    #[error("the batch's compressed records are damaged, or larger than {} bytes", compression::RECORDS_MAX)]
    Packed,
}

/// The CRC32C of some bytes with a batch behind them, from the batch's own CRC, which must hold, and without reading its
/// records where there are many.
pub(crate) fn crc_behind(front: u32, batch: &[u8]) -> u32 {
    let (head, covered) = batch.split_at_checked(CRC_FROM).unwrap_or((batch, &[]));
    let own = head.get(CRC_AT..).and_then(|field| field.first_chunk()).map_or(0, |field| u32::from_be_bytes(*field));
    debug_assert_eq!(own, crc32c::crc32c(covered), "the batch's own CRC holds");
    if covered.len() < JOIN_MIN {
        return crc32c::crc32c_append(front, batch);
    }
    join(crc32c::crc32c_append(front, head), own, covered.len())
}

/// Fills length, attributes and CRC of a batch in, from what else is there.
fn seal(batch: &mut [u8], compression: Compression) {
    seal_with(batch, compression, |batch| crc32c::crc32c(batch.get(CRC_FROM..).unwrap_or_default()));
}

/// The same, with a CRC that is reckoned otherwise from the batch whose other fields are there.
fn seal_with(batch: &mut [u8], compression: Compression, crc: impl FnOnce(&[u8]) -> u32) {
    patch(batch, LENGTH_AT, &((batch.len() - LENGTH_BEHIND) as i32).to_be_bytes());
    patch(batch, ATTRIBUTES_AT, &i16::from(compression.code()).to_be_bytes());
    let crc = crc(batch);
    debug_assert_eq!(crc, crc32c::crc32c(batch.get(CRC_FROM..).unwrap_or_default()), "the CRC is that of the bytes");
    patch(batch, CRC_AT, &crc.to_be_bytes());
}
