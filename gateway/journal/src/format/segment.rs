//! A segment. A hot one is a file of fixed size, filled with zeros once and recycled; a cold one is written once, as large as
//! it has to be, and removed.
//!
//! ```text
//! 0      head, one page
//! 4096   the same head again: one damaged page does not cost a segment
//! 8192   frames, each at a multiple of 4096
//! ```
//!
//! The head's bytes, little-endian:
//!
//! ```text
//! 0    8   magic "LMPSEGMT"
//! 8    u16 version = 2 (1 is read as well)
//! 10   u16 flags: bit 0 the file held only zeros behind its heads when this head was written; bit 1 a cold segment
//! 12   u32 page size = 4096
//! 16   u64 segment number, from 0, rising by at least one
//! 24   u64 base: the position of the segment's byte 0
//! 32   u64 size of the file in bytes
//! 40   u64 salt: random, seeds the CRC of every frame in it; in a cold segment with the frame's first byte added
//! 48   u64 epoch when it was begun
//! 56   u128 identity of the journal, random, given at its first creation
//! 72   u64 commit number of its first frame
//! 80   u64 how many positions it covers; 0: as many as it has bytes (every hot one)
//! 88       zeros
//! 4092 u32 CRC32C of bytes 0 to 4091
//! ```

use lamppost_event::{Commit, Epoch, Position};

use super::fields::{Fields, patch};
use super::{PAGE, VERSION};

const MAGIC: &[u8; 8] = b"LMPSEGMT";
const CRC_AT: usize = PAGE - 4;
const VIRGIN: u16 = 1;
const COLD: u16 = 2;

/// No segment and no commit has a greater number: there is always a next one.
pub(crate) const NUMBER_MAX: u64 = u64::MAX / 2;

/// Where the first frame is.
pub(crate) const FRAMES_AT: u64 = 2 * PAGE as u64;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHead {
    pub(crate) number: u64,
    pub(crate) base: Position,
    pub(crate) bytes: u64,
    pub(crate) salt: u64,
    pub(crate) epoch: Epoch,
    pub(crate) identity: u128,
    pub(crate) first_commit: Commit,
    /// Nothing but zeros lay behind the heads: whatever lies there now was written under this head.
    pub(crate) virgin: bool,
    /// Written once, dense and compressed; its frames stand for what hot ones held.
    pub(crate) cold: bool,
    /// How many positions it covers: those of the segments that it stands for.
    pub(crate) span: u64,
}

/// Why a page is not a segment's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("no segment head, or a damaged one")]
    Damaged,
    #[error("format version {0}; this program knows up to {VERSION}")]
    Newer(u16),
}

impl SegmentHead {
    /// Both copies.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(2 * PAGE);
        page.extend_from_slice(MAGIC);
        page.extend_from_slice(&VERSION.to_le_bytes());
        let flags = if self.virgin { VIRGIN } else { 0 } | if self.cold { COLD } else { 0 };
        page.extend_from_slice(&flags.to_le_bytes());
        page.extend_from_slice(&(PAGE as u32).to_le_bytes());
        for field in [self.number, self.base.0, self.bytes, self.salt, self.epoch.0] {
            page.extend_from_slice(&field.to_le_bytes());
        }
        page.extend_from_slice(&self.identity.to_le_bytes());
        page.extend_from_slice(&self.first_commit.0.to_le_bytes());
        page.extend_from_slice(&if self.cold { self.span } else { 0 }.to_le_bytes());
        page.resize(PAGE, 0);
        let crc = crc32c::crc32c(page.get(..CRC_AT).unwrap_or_default());
        patch(&mut page, CRC_AT, &crc.to_le_bytes());
        page.extend_from_within(..);
        page
    }

    /// Reads one copy from the page it fills.
    pub(crate) fn decode(page: &[u8]) -> Result<Self, HeadError> {
        let (body, crc) = page.get(..PAGE).and_then(|page| page.split_at_checked(CRC_AT)).ok_or(HeadError::Damaged)?;
        if Fields::new(crc).u32() != Some(crc32c::crc32c(body)) {
            return Err(HeadError::Damaged);
        }
        let mut fields = Fields::new(body);
        if fields.bytes(MAGIC.len()) != Some(MAGIC) {
            return Err(HeadError::Damaged);
        }
        let version = fields.u16().ok_or(HeadError::Damaged)?;
        match version {
            1..=VERSION => {}
            0 => return Err(HeadError::Damaged),
            newer => return Err(HeadError::Newer(newer)),
        }
        Self::fields(&mut fields).ok_or(HeadError::Damaged)
    }

    fn fields(fields: &mut Fields<'_>) -> Option<Self> {
        let flags = fields.u16()?;
        let page = fields.u32()?;
        let mut head = Self {
            number: fields.u64()?,
            base: Position(fields.u64()?),
            bytes: fields.u64()?,
            salt: fields.u64()?,
            epoch: Epoch(fields.u64()?),
            identity: fields.u128()?,
            first_commit: Commit(fields.u64()?),
            virgin: flags & VIRGIN != 0,
            cold: flags & COLD != 0,
            span: fields.u64()?,
        };
        if !head.cold {
            head.span = head.bytes;
        }
        let sound = page as usize == PAGE
            && head.bytes.is_multiple_of(PAGE as u64)
            && head.base.0.is_multiple_of(PAGE as u64)
            && head.bytes > FRAMES_AT
            && head.number <= NUMBER_MAX
            && head.first_commit.0 <= NUMBER_MAX
            && head.span.is_multiple_of(PAGE as u64)
            && head.base.0.checked_add(head.bytes.max(head.span)).is_some();
        sound.then_some(head)
    }

    /// What seeds the CRC of the frame at byte `at`. A hot frame says where it belongs; a cold one proves it so.
    pub(crate) const fn salt_at(&self, at: u64) -> u64 {
        if self.cold { self.salt.wrapping_add(at) } else { self.salt }
    }

    /// The position of a hot segment's byte `at`. In a cold one it only names the place.
    pub(crate) const fn position(&self, at: u64) -> Position {
        Position(self.base.0.saturating_add(at))
    }

    /// The position behind the last that the segment covers.
    pub(crate) const fn limit(&self) -> Position {
        self.position(self.span)
    }
}

/// The name of a cold segment.
pub(crate) fn cold_name(number: u64) -> String {
    format!("cold-{number:016}.seg")
}

/// The name of a live segment.
pub(crate) fn hot_name(number: u64) -> String {
    format!("hot-{number:016}.seg")
}

/// The name of a free one.
pub(crate) fn free_name(number: u64) -> String {
    format!("free-{number:016}.seg")
}

/// The number in a name made by [`hot_name`], [`cold_name`] or [`free_name`].
pub(crate) fn number_in(name: &str, prefix: &str) -> Option<u64> {
    name.strip_prefix(prefix)?.strip_suffix(".seg")?.parse().ok().filter(|number| *number <= NUMBER_MAX)
}
