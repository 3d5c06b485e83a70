//! Compressing the records of a finished batch, and getting them back within a bound.
//!
//! **Invariant:** what is given out is never larger than what came in, and whatever is compressed here can be read back: its records
//! come to [`RECORDS_MAX`] bytes at most.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer};

use super::{BATCH_HEAD, BatchError, lz4, seal};

/// The most bytes that a batch's records may come to, decompressed. Larger ones are not compressed.
pub(super) const RECORDS_MAX: usize = 64 << 20;
/// The largest window that is read (2 to the power of this many bytes): what Zstandard's own levels up to 19 ask for.
const WINDOW_LOG_MAX: u32 = 23;
/// The least by which decompressed records of unknown size grow.
const GROWTH_MIN: usize = 64 << 10;

/// How the batches of a frame are compressed on the disk. Each batch is compressed as a whole and stays as it is if that would not
/// make it smaller. Batches of all kinds can be read, whatever this says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// The LZ4 frame format: the least work.
    Lz4,
    /// Zstandard: the fewest bytes.
    Zstd,
}

impl Compression {
    /// Kafka's number, in a batch's attributes.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    pub(super) const fn of_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Compresses batches. Kept for the next ones, so that compressing allocates little: after the first ones only where a batch is
/// larger than all before.
#[derive(Default)]
pub(crate) struct Compressor {
    /// Zstandard's level, if not [`Compressor::ZSTD_LEVEL`].
    level: Option<i32>,
    zstd: Option<CCtx<'static>>,
    lz4: lz4::Table,
    packed: Vec<u8>,
}

impl Compressor {
    /// The Zstandard level of the hot tier. Higher ones are for what is written once and kept for long.
    pub(crate) const ZSTD_LEVEL: i32 = 1;

    /// With another level of Zstandard, 1 to 19.
    pub(crate) fn of_level(level: i32) -> Self {
        Self { level: Some(level), ..Self::default() }
    }

    /// Appends `batch`, which is a finished uncompressed one, to `out`: compressed if that makes it smaller, else as it is.
    pub(crate) fn compress(&mut self, batch: &[u8], compression: Compression, out: &mut Vec<u8>) {
        let (head, records) = batch.split_at_checked(BATCH_HEAD).unwrap_or((batch, &[]));
        let Some(packed) = self.pack(records, compression) else { return out.extend_from_slice(batch) };
        let start = out.len();
        out.reserve(head.len() + packed.len());
        out.extend_from_slice(head);
        out.extend_from_slice(packed);
        seal(out.get_mut(start..).unwrap_or_default(), compression);
    }

    /// The records compressed. `None` if they are not to be, or would not become smaller, or are too many to be read back.
    pub(super) fn pack(&mut self, records: &[u8], compression: Compression) -> Option<&[u8]> {
        if records.len() > RECORDS_MAX {
            return None;
        }
        let bound = match compression {
            Compression::None => return None,
            Compression::Lz4 => lz4::bound(records.len()),
            Compression::Zstd => zstd_safe::compress_bound(records.len()),
        };
        if self.packed.len() < bound {
            self.packed.resize(bound, 0);
        }
        let length = match compression {
            Compression::None => None,
            Compression::Lz4 => lz4::pack(records, &mut self.packed, &mut self.lz4),
            Compression::Zstd => {
                let context = self.zstd.get_or_insert_with(|| context(self.level.unwrap_or(Self::ZSTD_LEVEL)));
                context.compress2(self.packed.as_mut_slice(), records).ok()
            }
        };
        self.packed.get(..length?).filter(|packed| packed.len() < records.len())
    }
}

fn context(level: i32) -> CCtx<'static> {
    let mut context = CCtx::create();
    // The level is within Zstandard's range; with its own default it would compress as well.
    context.set_parameter(CParameter::CompressionLevel(level)).ok();
    context
}

/// The records of a batch, decompressed. Never takes more than [`RECORDS_MAX`] bytes for them, whatever the bytes say.
pub(super) fn unpack(packed: Bytes, compression: Compression) -> Result<Bytes, BatchError> {
    let records = match compression {
        Compression::None => return Ok(packed),
        Compression::Lz4 => lz4::unpack(&packed, RECORDS_MAX),
        Compression::Zstd => unpack_zstd(&packed, RECORDS_MAX),
    };
    records.map(Bytes::from).ok_or(BatchError::Packed)
}

/// One to decompress with, kept for the next: making one took longer than a small batch does. Who finds none makes one.
static CONTEXT: Mutex<Option<DCtx<'static>>> = Mutex::new(None);

fn unpack_zstd(packed: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let Some(bytes) = zstd_safe::get_frame_content_size(packed).ok()? else { return unpack_growing(packed, bytes_max) };
    let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= bytes_max)?;
    let kept = CONTEXT.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut context = kept.map_or_else(DCtx::try_create, Some)?;
    let mut records = Vec::with_capacity(bytes);
    let unpacked = context.decompress(&mut records, packed);
    *CONTEXT.lock().unwrap_or_else(PoisonError::into_inner) = Some(context);
    unpacked.is_ok_and(|unpacked| unpacked == bytes).then_some(records)
}

/// Where the frame does not say how much it holds; ours do.
fn unpack_growing(packed: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let mut first = packed.len().max(GROWTH_MIN).min(bytes_max);
    let mut context = DCtx::try_create()?;
    context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).ok()?;
    let (mut records, mut input) = (Vec::new(), InBuffer::around(packed));
    loop {
        records.reserve_exact(first);
        let start = records.len();
        let mut output = OutBuffer::around_pos(&mut records, start);
        let missing = context.decompress_stream(&mut output, &mut input).ok()?;
        let (made, taken) = (output.pos() - start, input.pos());
        if missing == 0 {
            return (taken == packed.len()).then_some(records);
        }
        if made == 0 && records.len() < records.capacity() {
            return None;
        }
        first = records.len().max(GROWTH_MIN).min(bytes_max - records.len());
        if first == 0 {
            return None;
        }
    }
}
