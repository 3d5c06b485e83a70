//! The LZ4 frame format 1.6, as far as Kafka uses it: one frame, its blocks independent of each other (Kafka's reader takes no
//! others), no dictionary. Little-endian:
//!
//! ```text
//! 0   u32  magic 0x184d2204
//! 4   u8   bits 6-7 version = 1, bit 5 blocks are independent = 1, bit 4 each block has a checksum, bit 3 the content's size follows,
//!          bit 2 the content has a checksum, bit 0 a dictionary's id follows = 0
//! 5   u8   bits 4-6 the most that a block comes to: 4 for 64 KiB, 5 for 256 KiB, 6 for 1 MiB, 7 for 4 MiB
//! 6   u64  the content's size, if bit 3 says so
//!     u8   the second byte of XXH32 of what lies between the magic and here
//!          blocks: u32 length (bit 31: stored as it is), bytes, u32 XXH32 of them if bit 4 says so
//!     u32  0
//!     u32  XXH32 of the content, if bit 2 says so
//! ```
//!
//! Written without sizes and checksums. None are checked on reading: the batch's CRC32C and the frame's cover these bytes.

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

use crate::format::fields::Fields;

const MAGIC: u32 = 0x184d_2204;
const VERSION: u8 = 0b0100_0000;
const VERSION_BITS: u8 = 0b1100_0000;
const INDEPENDENT: u8 = 1 << 5;
const BLOCK_CHECKSUM: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const DICTIONARY: u8 = 1;
const STORED: u32 = 1 << 31;
/// Magic, two bytes that describe the frame, and their checksum.
const HEAD: usize = 7;
/// A block's most bytes, what says so in the frame's head, and the head's checksum with it.
const BLOCKS: [(usize, u8, u8); 4] =
    [(64 << 10, 0x40, 0x82), (256 << 10, 0x50, 0xfb), (1 << 20, 0x60, 0x51), (4 << 20, 0x70, 0x73)];
/// A compressed byte stands for so many at most.
const RATIO_MAX: usize = 255;

/// The compressor's table, kept for the next batch.
pub(super) struct Table(CompressTable);

impl Default for Table {
    fn default() -> Self {
        Self(CompressTable::small())
    }
}

fn block_kind(bytes: usize) -> (usize, u8, u8) {
    let [small, .., large] = BLOCKS;
    if bytes > large.0 { large } else { BLOCKS.into_iter().find(|kind| bytes <= kind.0).unwrap_or(small) }
}

/// What [`pack`] makes of so many bytes, at most.
pub(super) fn bound(bytes: usize) -> usize {
    let (block, ..) = block_kind(bytes);
    let blocks = bytes.div_ceil(block);
    HEAD + blocks * (4 + get_maximum_output_size(block.min(bytes))) + 4
}

/// Writes the frame to the front of `out` and gives its length. `None` if it does not fit.
pub(super) fn pack(content: &[u8], out: &mut [u8], table: &mut Table) -> Option<usize> {
    let (block, descriptor, checksum) = block_kind(content.len());
    let (head, mut rest) = out.split_at_mut_checked(HEAD)?;
    let [a, b, c, d] = MAGIC.to_le_bytes();
    head.copy_from_slice(&[a, b, c, d, VERSION | INDEPENDENT, descriptor, checksum]);
    let mut length = HEAD;
    for plain in content.chunks(block) {
        let (size, body) = rest.split_at_mut_checked(4)?;
        let mut taken = compress_into_with_table(plain, body, &mut table.0).ok()?;
        let mut stated = taken as u32;
        if taken >= plain.len() {
            body.get_mut(..plain.len())?.copy_from_slice(plain);
            (taken, stated) = (plain.len(), plain.len() as u32 | STORED);
        }
        size.copy_from_slice(&stated.to_le_bytes());
        rest = body.get_mut(taken..)?;
        length += 4 + taken;
    }
    rest.get_mut(..4)?.copy_from_slice(&[0; 4]);
    Some(length + 4)
}

/// The content of one whole frame. `None` if it is damaged, has what Kafka does not use, or comes to more than `bytes_max`.
pub(super) fn unpack(frame: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let mut fields = Fields::new(frame);
    let (magic, flags, descriptor) = (fields.u32()?, fields.u8()?, fields.u8()?);
    let refused = flags & VERSION_BITS != VERSION || flags & INDEPENDENT == 0 || flags & DICTIONARY != 0;
    if magic != MAGIC || refused {
        return None;
    }
    let (block, ..) = BLOCKS.into_iter().find(|kind| kind.1 == descriptor)?;
    if flags & CONTENT_SIZE != 0 {
        fields.u64()?;
    }
    fields.u8()?;
    let mut content = Vec::new();
    loop {
        let stated = fields.u32()?;
        if stated == 0 {
            break;
        }
        let packed = fields.bytes((stated & !STORED) as usize)?;
        if stated & STORED == 0 {
            unpack_block(packed, block.min(bytes_max - content.len()), &mut content)?;
        } else if packed.len() <= block.min(bytes_max - content.len()) {
            content.extend_from_slice(packed);
        } else {
            return None;
        }
        if flags & BLOCK_CHECKSUM != 0 {
            fields.u32()?;
        }
    }
    if flags & CONTENT_CHECKSUM != 0 {
        fields.u32()?;
    }
    fields.rest().is_empty().then_some(content)
}

fn unpack_block(packed: &[u8], bytes_max: usize, content: &mut Vec<u8>) -> Option<()> {
    let start = content.len();
    content.resize(start + bytes_max.min(packed.len().saturating_mul(RATIO_MAX)), 0);
    let made = decompress_into(packed, content.get_mut(start..)?).ok()?;
    content.truncate(start + made);
    Some(())
}
