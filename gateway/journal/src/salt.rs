//! Reading a segment whose two heads are both destroyed: the salt that seeds its frames' checksums is found from the frames themselves.
//!
//! A frame's CRC32C begins with the salt, so it is the salt's own CRC, shifted on by the frame's length, XOR the CRC of the frame's
//! bytes. Shifting back gives the salt's CRC; a sound frame gives the right one, a damaged one gives any of 2^32. Two frames that give
//! the same are therefore sound, and any eight bytes with that CRC do as a salt.

use std::collections::BTreeSet;

use lamppost_event::{Commit, Epoch, Position};

use crate::disk::DiskFile;
use crate::format::PAGE;
use crate::format::fields::Fields;
use crate::format::frame::{FRAME_HEAD, MAGIC, crc_unsalted};
use crate::format::segment::{FRAMES_AT, SegmentHead};

/// CRC32C's polynomial (Castagnoli; RFC 3720, appendix B.4), reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// A cold segment has fewer frames; what lies beyond is not asked.
const VOTES_MAX: usize = 1024;
/// So many of the first are taken for sound: one of them is.
const ANCHORS: usize = 3;
/// No frame is larger: a quarter of the largest segment.
const FRAME_MAX: u64 = 256 << 20;

/// A frame that may be one, and the CRC that its salt would have.
#[derive(Clone, Copy)]
struct Vote {
    at: u64,
    salt_crc: u32,
    position: Position,
}

/// A head with which the frames of a file can be read. `None` where no two frames agree.
pub(crate) fn head_from_frames(file: &dyn DiskFile, bytes: u64, cold: bool) -> Option<SegmentHead> {
    let bytes = bytes / PAGE as u64 * PAGE as u64;
    let places = (FRAMES_AT..bytes).step_by(PAGE);
    let mut votes = places.filter_map(|at| vote(file, at, bytes - at));
    if cold {
        let votes: Vec<Vote> = votes.take(VOTES_MAX).collect();
        return cold_salt(&votes).map(|salt| head(salt, Position(0), bytes, true));
    }
    let mut seen = BTreeSet::new();
    let agreed = votes.find(|vote| !seen.insert((vote.salt_crc, vote.position.0.wrapping_sub(vote.at))))?;
    Some(head(salt_with([0; 4], agreed.salt_crc), Position(agreed.position.0.wrapping_sub(agreed.at)), bytes, false))
}

/// The salt of a cold segment, whose frames are salted with it and their place added. With all of them in the low half of the sum (a
/// carry from there is as rare as files are small), each frame says what that half is, but for a constant that all have in common: so the salt's part
/// above the page is tried out, and that by which most frames agree is right.
fn cold_salt(votes: &[Vote]) -> Option<u64> {
    let low_of = |vote: &Vote| Some((u32::try_from(vote.at).ok()?, shifted_back(!vote.salt_crc, 8)));
    let lows: Vec<(u32, u32)> = votes.iter().filter_map(low_of).collect();
    let mut best: Option<(usize, u32, Vote)> = None;
    for (anchor, (at, low)) in votes.iter().zip(&lows).take(ANCHORS) {
        let same_page: Vec<(u32, u32)> =
            lows.iter().copied().filter(|(_, other)| (other ^ low) % PAGE as u32 == 0).collect();
        for part in (0..=u32::MAX).step_by(PAGE).take_while(|_| same_page.len() > 1) {
            let Some(constant) = part.checked_add(*at).map(|sum| sum ^ low) else { break };
            let fits = |(at, low): &&(u32, u32)| part.checked_add(*at).is_some_and(|sum| sum ^ constant == *low);
            let fitting = same_page.iter().filter(fits).count();
            if fitting > best.map_or(1, |(most, ..)| most) {
                best = Some((fitting, part, *anchor));
            }
        }
    }
    let (_, part, anchor) = best?;
    let first = part.checked_add(u32::try_from(anchor.at).ok()?)?;
    Some(salt_with(first.to_le_bytes(), anchor.salt_crc).wrapping_sub(anchor.at))
}

/// What a frame that may begin at `at` says of the salt.
fn vote(file: &dyn DiskFile, at: u64, room: u64) -> Option<Vote> {
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
    Some(Vote { at, salt_crc: shifted_back(stored ^ crc, covered), position })
}

fn head(salt: u64, base: Position, bytes: u64, cold: bool) -> SegmentHead {
    let pages = PAGE as u64;
    SegmentHead {
        number: 0,
        base,
        bytes,
        salt,
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

/// Eight bytes whose CRC32C this is: the first four, and the four that lead there.
fn salt_with(first: [u8; 4], crc: u32) -> u64 {
    // The register before the last four bytes, and the one that has to come out, both without the final inversion. Shifting the
    // second back over four bytes gives what the register has to be with those four bytes in it.
    let before = !crc32c::crc32c(&first);
    let last = shifted_back(!crc, 4) ^ before;
    u64::from(last) << 32 | u64::from(u32::from_le_bytes(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salt_is_found_for_every_crc() {
        for crc in [0, 1, 0xdead_beef, u32::MAX, 0x8000_0000] {
            assert_eq!(crc32c::crc32c(&salt_with([1, 2, 3, 4], crc).to_le_bytes()), crc);
        }
    }

    #[test]
    fn shifting_back_undoes_what_comes_behind() {
        let salt = crc32c::crc32c(&0x0123_4567_89ab_cdef_u64.to_le_bytes());
        let data = b"a frame's bytes, of any length";
        let whole = crc32c::crc32c_append(salt, data);
        assert_eq!(shifted_back(whole ^ crc32c::crc32c(data), data.len()), salt);
    }
    #[test]
    fn a_cold_segments_salt_is_found_among_votes_of_garbage() {
        for salt in [0x0123_4567_89ab_cdef_u64, 0xdead_beef_0012_3456, 7] {
            let vote = |at: u64| {
                let salt_crc = crc32c::crc32c(&salt.wrapping_add(at).to_le_bytes());
                Vote { at, salt_crc, position: Position(0) }
            };
            let places = [8_192, 12_288, 40_960, 262_144, 1_048_576, 15_728_640];
            let mut votes: Vec<Vote> = places.map(vote).into();
            votes.insert(0, Vote { at: 4_096, salt_crc: 0x5555_5555, position: Position(0) });
            let found = cold_salt(&votes).unwrap();
            for at in places {
                let crc = |salt: u64| crc32c::crc32c(&salt.wrapping_add(at).to_le_bytes());
                assert_eq!(crc(found), crc(salt), "{salt:x} at {at}");
            }
        }
    }
}
