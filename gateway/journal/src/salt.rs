//! Reading a segment whose two heads are both destroyed: the salt that seeds its frames' checksums is found from the frames themselves.
//!
//! A frame's CRC32C begins with the salt, so it is the salt's own CRC, shifted on by the frame's length, XOR the CRC of the frame's
//! bytes. Shifting back gives the salt's CRC; a sound frame gives the right one, a damaged one gives any of 2^32. Two frames that give
//! the same are therefore sound, and any eight bytes with that CRC do as a salt.

use std::collections::BTreeMap;

use lamppost_event::{Commit, Epoch, Position};

use crate::disk::DiskFile;
use crate::format::PAGE;
use crate::format::fields::Fields;
use crate::format::frame::{FRAME_HEAD, MAGIC, crc_unsalted};
use crate::format::segment::{FRAMES_AT, SegmentHead};

/// CRC32C's polynomial (Castagnoli; RFC 3720, appendix B.4), reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// No frame is larger: a quarter of the largest segment.
const FRAME_MAX: u64 = 256 << 20;

/// A head with which the frames of a file can be read. `None` where no two frames agree.
pub(crate) fn head_from_frames(file: &dyn DiskFile, bytes: u64, cold: bool) -> Option<SegmentHead> {
    let bytes = bytes / PAGE as u64 * PAGE as u64;
    let mut votes = BTreeMap::new();
    let mut at = FRAMES_AT;
    while at < bytes {
        if let Some((salt_crc, position)) = vote(file, at, bytes - at) {
            let base = Position(if cold { 0 } else { position.0.wrapping_sub(at) });
            let seen = votes.entry((salt_crc, base)).or_insert(0_u32);
            *seen += 1;
            if *seen == 2 {
                return Some(head(salt_crc, base, bytes, cold));
            }
        }
        at += PAGE as u64;
    }
    None
}

/// What a frame that may begin at `at` says of the salt, and its position.
fn vote(file: &dyn DiskFile, at: u64, room: u64) -> Option<(u32, Position)> {
    let mut page = vec![0; PAGE];
    file.read_at(&mut page, at).ok()?;
    let mut fields = Fields::new(&page);
    if fields.bytes(MAGIC.len())? != MAGIC {
        return None;
    }
    fields.bytes(8)?;
    let (length, stored, position) = (fields.u32()? as usize, fields.u32()?, Position(fields.u64()?));
    if length < FRAME_HEAD || length as u64 > room.min(FRAME_MAX) {
        return None;
    }
    let mut frame = vec![0; length];
    file.read_at(&mut frame, at).ok()?;
    let (crc, covered) = crc_unsalted(&frame);
    Some((shifted_back(stored ^ crc, covered), position))
}

fn head(salt_crc: u32, base: Position, bytes: u64, cold: bool) -> SegmentHead {
    let pages = PAGE as u64;
    SegmentHead {
        number: 0,
        base,
        bytes,
        salt: salt_with(salt_crc),
        epoch: Epoch(0),
        identity: 0,
        first_commit: Commit(0),
        virgin: false,
        cold,
        // Which positions a cold one covers is not known: any.
        span: if cold { (u64::MAX / 2) / pages * pages } else { bytes },
    }
}

/// Undoes what `bytes` zeros behind it do to a CRC.
fn shifted_back(mut crc: u32, bytes: usize) -> u32 {
    for _ in 0..bytes * 8 {
        crc = if crc >> 31 == 0 { crc << 1 } else { (crc ^ POLYNOMIAL) << 1 | 1 };
    }
    crc
}

/// Eight bytes whose CRC32C this is: four zeros, and the four that lead there.
fn salt_with(crc: u32) -> u64 {
    // The register before the last four bytes, and the one that has to come out, both without the final inversion. Shifting the
    // second back over four bytes gives what the register has to be with those four bytes in it.
    let before = !crc32c::crc32c(&[0; 4]);
    let last = shifted_back(!crc, 4) ^ before;
    u64::from(last) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salt_is_found_for_every_crc() {
        for crc in [0, 1, 0xdead_beef, u32::MAX, 0x8000_0000] {
            assert_eq!(crc32c::crc32c(&salt_with(crc).to_le_bytes()), crc);
        }
    }

    #[test]
    fn shifting_back_undoes_what_comes_behind() {
        let salt = crc32c::crc32c(&0x0123_4567_89ab_cdef_u64.to_le_bytes());
        let data = b"a frame's bytes, of any length";
        let whole = crc32c::crc32c_append(salt, data);
        assert_eq!(shifted_back(whole ^ crc32c::crc32c(data), data.len()), salt);
    }
}
