//! A sealed segment's footer: what the segment holds, so that opening and looking need not read all of it.
//!
//! It is derived: an index is never evidence about the log. Without it, or where it is not sound, the segment is read. One thing only
//! a cold segment's footer knows: why an offset that is missing in it was missing before it was written.
//!
//! A frame of kind 2 that ends, padded, with the file; the last 8 bytes of the file say at which byte of the file it begins. In
//! a hot segment its position is that of its first byte, in a cold one the one behind the last that is covered. Its
//! ranges are those of the whole segment. Its entries, as in a checkpoint (u32 key length, u32 value length, key, value):
//!
//! | key | value |
//! |---|---|
//! | `s` | u64 each: first commit, last commit, byte behind the last frame, frames, events, bytes of frames, commit from which on changes of state are listed; then the times of the first and of the last frame |
//! | `g`, u64 position (big-endian), place | u64 first missing offset, u64 the one after, reason: a gap to be told there |
//! | `x`, key | 0: removed; 1 and the value: what the key came to hold in this segment |
//!
//! A time is u64 boot, u64 monotonic ms, i64 wall ms, u8 quality.

use bytes::Bytes;
use lamppost_event::{
    BootId, ClockQuality, Commit, Epoch, Gap, Monotonic, Now, Offset, Position, TopicPartition, WallTime,
};

use super::checkpoint::{put_entry, put_place, read_place, take_entry};
use super::fields::{Fields, patch};
use super::frame::{FRAME_HEAD, Frame, FrameParts, Kind, Range, encode};
use super::segment::{FRAMES_AT, SegmentHead};
use super::{PAGE, padded};
use crate::book::Ranges;
use crate::disk::DiskFile;
use crate::gather::Changes;

const SUMMARY: u8 = b's';
const GAP: u8 = b'g';
const STATE: u8 = b'x';
/// Where the footer begins, at the very end of the file.
const POINTER: usize = 8;

/// Where a footer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the end of a file of that size, and not before that byte.
    Last { file_bytes: u64, from: u64 },
    /// Behind the frames: the file ends with it.
    Behind,
}

/// What a sealed segment holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) first_commit: Commit,
    pub(crate) last_commit: Commit,
    /// Frames lie before this byte.
    pub(crate) end: u64,
    pub(crate) frames: u64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// All changes of state after this commit that the segment holds are listed.
    pub(crate) state_from: Commit,
    /// The epoch of its last frame.
    pub(crate) epoch: Epoch,
    pub(crate) span: Option<(Now, Now)>,
    pub(crate) ranges: Ranges,
    pub(crate) gaps: Vec<(Position, Gap)>,
    pub(crate) state: Changes,
}

impl Footer {
    /// The bytes of the footer and where they go. `None` where there is no room for them.
    pub(crate) fn encode(&self, head: &SegmentHead, place: Place) -> Option<(u64, Vec<u8>)> {
        let body = self.body();
        let ranges: Vec<Range> =
            self.ranges.iter().map(|(at, (from, to))| Range { at: at.clone(), from: *from, to: *to }).collect();
        let boot = Now { wall: WallTime(0), monotonic: Monotonic(0), boot: BootId(0), quality: ClockQuality::Unset };
        let now = self.span.map_or(boot, |(_, last)| last);
        let mut parts = FrameParts {
            kind: Kind::Footer,
            run: None,
            position: Position(0),
            commit: self.last_commit,
            epoch: self.epoch,
            now,
            events: 0,
            batches: Vec::new(),
            previous: &ranges,
            body: &body,
        };
        let mut out = Vec::new();
        // Once to learn its length, which its place depends on.
        encode(&mut out, &parts, head.salt);
        let total = padded(length_of(&out)? + POINTER);
        let begin = match place {
            Place::Last { file_bytes, from } => file_bytes.checked_sub(total as u64).filter(|begin| *begin >= from)?,
            Place::Behind => self.end,
        };
        let salt = head.salt_at(begin);
        parts.position = if head.cold { head.limit() } else { head.position(begin) };
        encode(&mut out, &parts, salt);
        out.resize(total, 0);
        patch(&mut out, total - POINTER, &begin.to_le_bytes());
        Some((begin, out))
    }

    fn body(&self) -> Vec<u8> {
        let mut summary = Vec::new();
        let counts = [self.frames, self.events, self.bytes, self.state_from.0];
        for field in [self.first_commit.0, self.last_commit.0, self.end].into_iter().chain(counts) {
            summary.extend_from_slice(&field.to_le_bytes());
        }
        for now in self.span.iter().flat_map(|(first, last)| [first, last]) {
            put_now(&mut summary, now);
        }
        let mut body = Vec::new();
        put_entry(&mut body, &[SUMMARY], &summary);
        for (position, gap) in &self.gaps {
            let mut key = vec![GAP];
            key.extend_from_slice(&position.0.to_be_bytes());
            put_place(&mut key, &gap.at);
            let mut value = [gap.from.0.to_le_bytes(), gap.to.0.to_le_bytes()].concat();
            value.extend_from_slice(gap.reason.as_bytes());
            put_entry(&mut body, &key, &value);
        }
        for (key, value) in &self.state {
            let value = value.as_ref().map_or_else(|| vec![0], |value| [&[1], value.as_ref()].concat());
            put_entry(&mut body, &[&[STATE], key.as_ref()].concat(), &value);
        }
        body
    }

    /// Reads the footer of a segment. `None` where there is none that is sound.
    pub(crate) fn read(file: &dyn DiskFile, head: &SegmentHead) -> Option<Self> {
        let mut last = vec![0; PAGE];
        file.read_at(&mut last, head.bytes.checked_sub(PAGE as u64)?).ok()?;
        let begin = Fields::new(last.get(PAGE - POINTER..)?).u64()?;
        let sound = begin.is_multiple_of(PAGE as u64) && begin >= FRAMES_AT && begin < head.bytes;
        let bytes = usize::try_from(head.bytes.checked_sub(begin).filter(|_| sound)?).ok()?;
        let whole = if bytes == PAGE {
            last
        } else {
            let mut whole = vec![0; bytes];
            file.read_at(&mut whole, begin).ok()?;
            whole
        };
        let length = length_of(&whole).filter(|length| *length >= FRAME_HEAD && *length <= whole.len())?;
        let frame = Frame::decode(Bytes::from(whole).slice(..length), head.salt_at(begin))?;
        let position = if head.cold { head.limit() } else { head.position(begin) };
        (frame.kind == Kind::Footer && frame.position == position).then(|| Self::of(&frame, begin))?
    }

    fn of(frame: &Frame, begin: u64) -> Option<Self> {
        let mut footer = Self {
            first_commit: Commit(0),
            last_commit: frame.commit,
            end: 0,
            frames: 0,
            events: 0,
            bytes: 0,
            state_from: Commit(0),
            epoch: frame.epoch,
            span: None,
            ranges: frame.previous.iter().map(|range| (range.at.clone(), (range.from, range.to))).collect(),
            gaps: Vec::new(),
            state: Changes::new(),
        };
        let mut fields = Fields::new(&frame.body);
        while !fields.rest().is_empty() {
            let (key, value) = take_entry(&mut fields)?;
            footer.entry(key, value)?;
        }
        let sound = footer.end >= FRAMES_AT && footer.end <= begin && footer.first_commit <= footer.last_commit.next();
        sound.then_some(footer)
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let (kind, rest) = key.split_first()?;
        let mut fields = Fields::new(value);
        match *kind {
            SUMMARY => {
                (self.first_commit, self.last_commit) = (Commit(fields.u64()?), Commit(fields.u64()?));
                (self.end, self.frames, self.events) = (fields.u64()?, fields.u64()?, fields.u64()?);
                (self.bytes, self.state_from) = (fields.u64()?, Commit(fields.u64()?));
                if !fields.rest().is_empty() {
                    self.span = Some((take_now(&mut fields)?, take_now(&mut fields)?));
                }
            }
            GAP => {
                let (position, place) = rest.split_first_chunk::<8>()?;
                let (from, to) = (Offset(fields.u64()?), Offset(fields.u64()?));
                let reason = String::from_utf8_lossy(fields.rest()).into_owned();
                let at: TopicPartition = read_place(place)?;
                self.gaps.push((Position(u64::from_be_bytes(*position)), Gap { at, from, to, reason }));
            }
            STATE => {
                let value = (fields.u8()? == 1).then(|| Bytes::copy_from_slice(fields.rest()));
                self.state.insert(Bytes::copy_from_slice(rest), value);
            }
            // Written by a later version: what it adds is derived as well.
            _ => {}
        }
        Some(())
    }
}

/// The length in a frame's head.
fn length_of(frame: &[u8]) -> Option<usize> {
    Fields::new(frame.get(16..)?).u32().map(|length| length as usize)
}

fn put_now(out: &mut Vec<u8>, now: &Now) {
    out.extend_from_slice(&now.boot.0.to_le_bytes());
    out.extend_from_slice(&now.monotonic.0.to_le_bytes());
    out.extend_from_slice(&now.wall.0.to_le_bytes());
    out.push(match now.quality {
        ClockQuality::Unset => 0,
        ClockQuality::Holdover => 1,
        ClockQuality::Synced => 2,
    });
}

fn take_now(fields: &mut Fields<'_>) -> Option<Now> {
    let (boot, monotonic) = (BootId(fields.u64()?), Monotonic(fields.u64()?));
    let wall = WallTime(fields.u64()?.cast_signed());
    let quality = match fields.u8()? {
        0 => ClockQuality::Unset,
        1 => ClockQuality::Holdover,
        _ => ClockQuality::Synced,
    };
    Some(Now { wall, monotonic, boot, quality })
}
