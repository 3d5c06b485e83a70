//! Making lengths and checksums right, so that bytes that are wrong elsewhere come further than the first check.

use lamppost_event::Position;

use crate::format::checkpoint::{BLOCK_HEAD, HEAD, TAIL};
use crate::format::frame::FRAME_HEAD;
use crate::format::segment::FRAMES_AT;
use crate::format::{PAGE, padded};

fn number(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    for (to, from) in field.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    u64::from_le_bytes(field)
}

pub(super) fn number_32(bytes: &[u8], at: usize) -> usize {
    (number(bytes, at) & 0xffff_ffff) as usize
}

/// Puts a field where there is room for it.
fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + field.len()) {
        place.copy_from_slice(field);
    }
}

/// A frame that fills these bytes, at that place.
pub(super) fn frame(bytes: &mut [u8], place: Position, salt: u64) {
    put(bytes, 0, b"LMPFRAME\x01\x00");
    put(bytes, 16, &(bytes.len() as u32).to_le_bytes());
    put(bytes, 24, &place.0.to_le_bytes());
    frame_checksum(bytes, salt);
}

fn frame_checksum(bytes: &mut [u8], salt: u64) {
    if bytes.len() >= FRAME_HEAD {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &bytes[..20]);
        let crc = crc32c::crc32c_append(crc, &bytes[24..]);
        put(bytes, 20, &crc.to_le_bytes());
    }
}

/// A batch that fills these bytes.
pub(super) fn batch(bytes: &mut [u8]) {
    put(bytes, 8, &(bytes.len().saturating_sub(12) as u32).to_be_bytes());
    put(bytes, 16, &[2]);
    let crc = crc32c::crc32c(bytes.get(21..).unwrap_or_default());
    put(bytes, 17, &crc.to_be_bytes());
}

/// The checksums of a file, by what it says it is.
pub(super) fn file(bytes: &mut [u8]) {
    if bytes.starts_with(b"LMPCKPT\n") {
        checkpoint(bytes);
    } else if bytes.len() >= 2 * PAGE && bytes.starts_with(b"LMPSEGMT") {
        segment(bytes);
    }
}

/// Both heads and all frames. Frames keep their places and lengths.
fn segment(bytes: &mut [u8]) {
    let crc = crc32c::crc32c(&bytes[..PAGE - 4]);
    put(bytes, PAGE - 4, &crc.to_le_bytes());
    bytes.copy_within(..PAGE, PAGE);
    let salt = number(bytes, 40);
    let mut at = FRAMES_AT as usize;
    while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
        let length = number_32(rest, 16);
        let frame = rest.starts_with(b"LMPFRAME") && (FRAME_HEAD..=rest.len()).contains(&length);
        if frame {
            frame_checksum(&mut rest[..length], salt);
        }
        at += if frame { padded(length) } else { PAGE };
    }
}

/// Blocks where the index has them, the index, the tail.
pub(super) fn checkpoint(bytes: &mut [u8]) {
    let Some(tail_at) = bytes.len().checked_sub(TAIL).filter(|at| *at >= HEAD) else { return };
    let index_at = usize::try_from(number(bytes, tail_at)).unwrap_or(usize::MAX).min(tail_at);
    put(bytes, tail_at, &(index_at as u64).to_le_bytes());
    put(bytes, tail_at + 8, &((tail_at - index_at) as u32).to_le_bytes());
    let commit = number(bytes, 16);
    put(bytes, tail_at + 24, &commit.to_le_bytes());
    let mut starts = Vec::new();
    let mut at = index_at;
    while at + 12 <= tail_at {
        starts.push(usize::try_from(number(bytes, at)).unwrap_or(usize::MAX));
        at = at.saturating_add(12).saturating_add(number_32(bytes, at + 8));
    }
    starts.push(index_at);
    for pair in starts.windows(2) {
        let Some(block) = bytes.get_mut(pair[0]..pair[1]).filter(|block| block.len() >= BLOCK_HEAD) else { continue };
        let length = block.len() - BLOCK_HEAD;
        let crc = crc32c::crc32c(&block[BLOCK_HEAD..]);
        put(block, 0, &(length as u32).to_le_bytes());
        put(block, 4, &crc.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes[index_at..tail_at]);
    put(bytes, tail_at + 12, &crc.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..HEAD]), &bytes[tail_at..tail_at + 32]);
    put(bytes, tail_at + 32, &crc.to_le_bytes());
}
