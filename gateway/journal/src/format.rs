//! The bytes on disk, version 2. Each module opens with the exact layout of what it owns. Version 1 is read as well: its checkpoints
//! were single files.
//!
//! | file | holds |
//! |---|---|
//! | `hot-NNNNNNNNNNNNNNNN.seg` | a live segment: [`segment`] heads, then [`frame`]s, each with [`batch`]es, a [`footer`] once it is sealed |
//! | `cold-NNNNNNNNNNNNNNNN.seg` | what had to be kept longer, dense and compressed: heads, frames that stand for runs of frames, [`footer`] |
//! | `free-NNNNNNNNNNNNNNNN.seg` | a segment's worth of prepared space |
//! | `checkpoint-NNNNNNNNNNNNNNNNNNNN.ckp` | a layer of the [`checkpoint`] of the state, as of that commit |
//! | `damaged-…` | what could not be understood, set aside |
//! | `refusals` | as many zeros as openings in a row were refused a read |
//! | `lock` | locked by the one writer |

pub(crate) mod batch;
pub(crate) mod checkpoint;
pub(crate) mod crc;
pub(crate) mod fields;
pub(crate) mod footer;
pub(crate) mod frame;
pub(crate) mod segment;

/// Frames begin at multiples of this and are padded to it: a write cut short can't harm an earlier one.
pub(crate) const PAGE: usize = 4096;

/// The format version this program writes, and the newest it reads.
pub(crate) const VERSION: u16 = 2;

/// `bytes` rounded up to whole pages.
pub(crate) const fn padded(bytes: usize) -> usize {
    bytes.div_ceil(PAGE) * PAGE
}

#[cfg(test)]
mod tests;
