//! A frame: one group commit. Begins at a multiple of 4096, is padded with zeros to one, and describes itself.
//!
//! Little-endian, but for the batches, which are Kafka's:
//!
//! ```text
//! 0    8   magic "LMPFRAME"
//! 8    u16 version = 2 (1 is read as well)
//! 10   u8  kind: 0 data, 1 clean close (made 0 in its place, with the new epoch, when the journal is opened again), 2 a sealed segment's footer
//!          ([`super::footer`])
//! 11   u8  quality of the wall clock: 0 unset, 1 holdover, 2 synced
//! 12   u32 flags: bit 0 a copy of a recovered frame, bit 1 the last such copy, bit 2 in a cold segment: stands for a run
//!          of frames
//! 16   u32 length: from the magic to the end of the last batch, padding left out
//! 20   u32 CRC32C of the segment's salt (8 bytes), bytes 0 to 19 and bytes 24 to length
//! 24   u64 position: the journal's byte that this frame begins at; of a run, the last that it stands for
//! 32   u64 commit number, from 1, rising by one; of a run, the last
//! 40   u64 epoch
//! 48   u64 boot id
//! 56   u64 monotonic time of that boot, ms
//! 64   i64 wall time, ms since 1970 UTC
//! 72   u32 head: where the first batch begins
//! 76   u16 number of topics
//! 78   u16 number of batches
//! 80   u16 number of ranges of the frame before
//! 82   u16 0
//! 84   u32 records in this frame, the journal's own partitions left out
//! 88   u64 of a run, its first commit number; else 0
//! 96       topics: u8 length, name
//!          batches: u16 topic, u16 partition, u64 base offset, u32 records, u32 bytes
//!          ranges of the frame with the commit number before: u16 topic, u16 partition, u64 first offset, u64 next offset
//! head     the batches (RecordBatch v2), in the order of their directory; of a footer, its entries
//! ```

use bytes::Bytes;
use lamppost_event::{
    BootId, ClockQuality, Commit, Epoch, Monotonic, Now, Offset, Partition, Position, Topic, TopicPartition, WallTime,
};

use super::batch::{Batch, BatchError, crc_behind};
use super::fields::{Fields, patch};
use super::segment::NUMBER_MAX;
use super::{VERSION, padded};

pub(crate) const MAGIC: &[u8; 8] = b"LMPFRAME";
/// The fixed part.
pub(crate) const FRAME_HEAD: usize = 96;
/// A batch's entry in the directory; a range has the same size.
pub(crate) const ENTRY: usize = 20;
const KIND_AT: usize = 10;
const FLAGS_AT: usize = 12;
const LENGTH_AT: usize = 16;
const CRC_AT: usize = 20;
const POSITION_AT: usize = 24;
const EPOCH_AT: usize = 40;
const HEAD_AT: usize = 72;

/// A copy of a frame that recovery found at the end of the log.
pub(crate) const COPY: u32 = 1;
/// The last of the copies that one recovery wrote.
pub(crate) const LAST_COPY: u32 = 2;
/// Stands for a run of frames.
pub(crate) const RUN: u32 = 4;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Close,
    /// Says what a sealed segment holds. Derived: never evidence about the log.
    Footer,
    /// Written by a later version of the same format: passed over.
    Other(u8),
}

/// Offsets from `from` up to, not with, `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) at: TopicPartition,
    pub(crate) from: Offset,
    pub(crate) to: Offset,
}

/// A finished batch on its way into a frame.
#[derive(Debug)]
pub(crate) struct BatchPart<'a> {
    pub(crate) at: &'a TopicPartition,
    pub(crate) base: Offset,
    pub(crate) count: u32,
    pub(crate) bytes: &'a [u8],
}

/// What a frame is made of.
#[derive(Debug)]
pub(crate) struct FrameParts<'a> {
    pub(crate) kind: Kind,
    /// The first commit of the run that the frame stands for.
    pub(crate) run: Option<Commit>,
    pub(crate) position: Position,
    pub(crate) commit: Commit,
    pub(crate) epoch: Epoch,
    pub(crate) now: Now,
    pub(crate) events: u32,
    pub(crate) batches: Vec<BatchPart<'a>>,
    pub(crate) previous: &'a [Range],
    /// A footer's entries.
    pub(crate) body: &'a [u8],
}

/// The topics' names, each once.
#[derive(Default)]
struct Names<'a>(Vec<&'a Topic>);

impl<'a> Names<'a> {
    fn index(&mut self, topic: &'a Topic) -> u16 {
        let found = self.0.iter().rposition(|name| *name == topic);
        let index = found.unwrap_or_else(|| {
            self.0.push(topic);
            self.0.len() - 1
        });
        // A frame is far too small for 65,536 batches.
        index as u16
    }
}

/// What stands before the batches of a frame, in bytes.
pub(crate) fn head_bytes<'a>(batches: impl Iterator<Item = &'a TopicPartition>, previous: &'a [Range]) -> usize {
    let (mut names, mut entries) = (Names::default(), 0);
    for at in batches.chain(previous.iter().map(|range| &range.at)) {
        names.index(&at.topic);
        entries += 1;
    }
    let names: usize = names.0.iter().map(|name| 1 + name.as_str().len()).sum();
    FRAME_HEAD + names + ENTRY * entries
}

/// Writes a whole frame with its padding into `out` (which is cleared first).
pub(crate) fn encode(out: &mut Vec<u8>, parts: &FrameParts<'_>, salt: u64) {
    put_head(out, parts);
    for batch in &parts.batches {
        out.extend_from_slice(batch.bytes);
    }
    out.extend_from_slice(parts.body);
    seal(out, salt);
}

/// Writes what stands before the batches into `out` (which is cleared first), for a frame that is not put together in memory:
/// the batches follow, then the body, then zeros up to whole pages. Gives the frame's length without these. The batches' own CRCs, which must
/// hold, save reading them again.
pub(crate) fn encode_head(out: &mut Vec<u8>, parts: &FrameParts<'_>, salt: u64) -> usize {
    put_head(out, parts);
    let batches = parts.batches.iter().map(|batch| batch.bytes.len()).sum::<usize>();
    let length = out.len() + batches + parts.body.len();
    debug_assert_eq!(
        out.len(),
        head_bytes(parts.batches.iter().map(|batch| batch.at), parts.previous),
        "what was reckoned"
    );
    patch(out, LENGTH_AT, &(length as u32).to_le_bytes());
    let crc = parts.batches.iter().fold(crc_of(out, salt), |crc, batch| crc_behind(crc, batch.bytes));
    let crc = crc32c::crc32c_append(crc, parts.body);
    patch(out, CRC_AT, &crc.to_le_bytes());
    length
}

fn put_head(out: &mut Vec<u8>, parts: &FrameParts<'_>) {
    let mut names = Names::default();
    let mut directory = Vec::with_capacity(ENTRY * (parts.batches.len() + parts.previous.len()));
    for batch in &parts.batches {
        directory.extend_from_slice(&names.index(&batch.at.topic).to_le_bytes());
        directory.extend_from_slice(&batch.at.partition.0.to_le_bytes());
        directory.extend_from_slice(&batch.base.0.to_le_bytes());
        directory.extend_from_slice(&batch.count.to_le_bytes());
        directory.extend_from_slice(&(batch.bytes.len() as u32).to_le_bytes());
    }
    for range in parts.previous {
        directory.extend_from_slice(&names.index(&range.at.topic).to_le_bytes());
        directory.extend_from_slice(&range.at.partition.0.to_le_bytes());
        directory.extend_from_slice(&range.from.0.to_le_bytes());
        directory.extend_from_slice(&range.to.0.to_le_bytes());
    }
    put_fixed(out, parts, names.0.len() as u16);
    for name in &names.0 {
        out.push(name.as_str().len() as u8);
        out.extend_from_slice(name.as_str().as_bytes());
    }
    out.extend_from_slice(&directory);
    let head = out.len() as u32;
    patch(out, HEAD_AT, &head.to_le_bytes());
}

fn put_fixed(out: &mut Vec<u8>, parts: &FrameParts<'_>, topics: u16) {
    out.clear();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.push(match parts.kind {
        Kind::Data => 0,
        Kind::Close => 1,
        Kind::Footer => 2,
        Kind::Other(kind) => kind,
    });
    out.push(match parts.now.quality {
        ClockQuality::Unset => 0,
        ClockQuality::Holdover => 1,
        ClockQuality::Synced => 2,
    });
    let flags = if parts.run.is_some() { RUN } else { 0 };
    out.extend_from_slice(&flags.to_le_bytes());
    // Length and CRC: filled in by `seal`.
    out.extend_from_slice(&[0; 8]);
    let (boot, monotonic) = (parts.now.boot.0, parts.now.monotonic.0);
    for field in [parts.position.0, parts.commit.0, parts.epoch.0, boot, monotonic] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&parts.now.wall.0.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&topics.to_le_bytes());
    out.extend_from_slice(&(parts.batches.len() as u16).to_le_bytes());
    out.extend_from_slice(&(parts.previous.len() as u16).to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&parts.events.to_le_bytes());
    out.extend_from_slice(&parts.run.unwrap_or_default().0.to_le_bytes());
    debug_assert_eq!(out.len(), FRAME_HEAD, "the fixed part has a fixed size");
}

/// Fills length and CRC in and pads.
fn seal(out: &mut Vec<u8>, salt: u64) {
    let length = out.len();
    patch(out, LENGTH_AT, &(length as u32).to_le_bytes());
    let crc = crc_of(out, salt);
    patch(out, CRC_AT, &crc.to_le_bytes());
    out.resize(padded(length), 0);
}

fn crc_of(frame: &[u8], salt: u64) -> u32 {
    let crc = crc32c::crc32c(&salt.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, frame.get(..CRC_AT).unwrap_or_default());
    crc32c::crc32c_append(crc, frame.get(POSITION_AT..).unwrap_or_default())
}

/// The CRC of what is covered but for the salt, and how many bytes that is.
pub(crate) fn crc_unsalted(frame: &[u8]) -> (u32, usize) {
    let (before, behind) = (frame.get(..CRC_AT).unwrap_or_default(), frame.get(POSITION_AT..).unwrap_or_default());
    (crc32c::crc32c_append(crc32c::crc32c(before), behind), before.len() + behind.len())
}

/// A verified frame, to be written anew at another place under another salt.
pub(crate) fn copy_to(out: &mut Vec<u8>, frame: &[u8], position: Position, salt: u64, last: bool) {
    out.clear();
    out.extend_from_slice(frame);
    let flags = if last { COPY | LAST_COPY } else { COPY };
    patch(out, FLAGS_AT, &flags.to_le_bytes());
    patch(out, POSITION_AT, &position.0.to_le_bytes());
    seal(out, salt);
}

/// A verified close frame as an empty data frame of `epoch`, for the same place.
pub(crate) fn reopen_to(out: &mut Vec<u8>, frame: &[u8], epoch: Epoch, salt: u64) {
    out.clear();
    out.extend_from_slice(frame);
    patch(out, KIND_AT, &[0]);
    patch(out, EPOCH_AT, &epoch.0.to_le_bytes());
    seal(out, salt);
}

/// What stands at a place where a frame may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Front {
    /// A frame of this many bytes may begin here; its CRC decides.
    Length(usize),
    /// Nothing that was written at this place in the segment's present life.
    Foreign,
    /// Something was written here in the segment's present life, and it is no sound frame.
    Trace,
}

/// The same in a cold segment, whose frames stand for positions `within` (the first one before it, the last one it may end
/// with). It was written whole: what is not a frame's beginning is its inside, or damaged.
pub(crate) fn cold_front(page: &[u8], within: std::ops::RangeInclusive<Position>, room: u64) -> Front {
    let mut fields = Fields::new(page);
    let magic = fields.bytes(MAGIC.len()) == Some(MAGIC);
    let _ = fields.bytes(LENGTH_AT - MAGIC.len());
    let (length, _crc, position) = (fields.u32(), fields.u32(), fields.u64());
    match (length.map(|length| length as usize), position.map(Position)) {
        (Some(length), Some(position))
            if magic && within.contains(&position) && length >= FRAME_HEAD && padded(length) as u64 <= room =>
        {
            Front::Length(length)
        }
        _ => Front::Trace,
    }
}

/// Looks at the first page at a place. `base` is the segment's, `room` what lies between the place and its end.
pub(crate) fn front(page: &[u8], place: Position, base: Position, room: u64) -> Front {
    let mut fields = Fields::new(page);
    let magic = fields.bytes(MAGIC.len()) == Some(MAGIC);
    let _ = fields.bytes(LENGTH_AT - MAGIC.len());
    let (length, _crc, position) = (fields.u32(), fields.u32(), fields.u64());
    let here = position == Some(place.0);
    if magic && here {
        return match length.map(|length| length as usize) {
            Some(length) if length >= FRAME_HEAD && padded(length) as u64 <= room => Front::Length(length),
            _ => Front::Trace,
        };
    }
    // A former life of the segment left only lower positions.
    let this_life = magic && position.is_some_and(|position| position >= base.0);
    if here || this_life { Front::Trace } else { Front::Foreign }
}

/// One batch in a frame's directory.
#[derive(Debug, Clone)]
pub(crate) struct BatchEntry {
    pub(crate) at: TopicPartition,
    pub(crate) base: Offset,
    pub(crate) count: u32,
    bytes: Bytes,
}

impl BatchEntry {
    pub(crate) const fn next(&self) -> Offset {
        Offset(self.base.0.saturating_add(self.count as u64))
    }

    /// As it lies on the disk.
    pub(crate) fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The batch's checked head. What it says must agree with the directory, which the frame's CRC covers.
    pub(crate) fn batch(&self) -> Result<Batch, BatchError> {
        let batch = Batch::parse(self.bytes.clone())?;
        if batch.base != self.base || batch.count != self.count {
            return Err(BatchError::Field("base offset or count"));
        }
        Ok(batch)
    }
}

/// A frame whose CRC holds and whose head makes sense.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) flags: u32,
    pub(crate) position: Position,
    pub(crate) commit: Commit,
    pub(crate) epoch: Epoch,
    pub(crate) now: Now,
    pub(crate) events: u32,
    pub(crate) batches: Vec<BatchEntry>,
    pub(crate) previous: Vec<Range>,
    /// The first commit that it stands for: its own, but for runs.
    pub(crate) first: Commit,
    /// A footer's entries.
    pub(crate) body: Bytes,
    /// From the magic to the end of the last batch.
    pub(crate) bytes: Bytes,
}

impl Frame {
    /// Reads the `length` bytes that [`front`] announced. `None` if the CRC does not hold, or the head makes no sense.
    pub(crate) fn decode(bytes: Bytes, salt: u64) -> Option<Self> {
        let stored = Fields::new(bytes.get(CRC_AT..)?).u32()?;
        if stored != crc_of(&bytes, salt) {
            return None;
        }
        let mut fields = Fields::new(&bytes);
        fields.bytes(MAGIC.len())?;
        if !(1..=VERSION).contains(&fields.u16()?) {
            return None;
        }
        let kind = match fields.u8()? {
            0 => Kind::Data,
            1 => Kind::Close,
            2 => Kind::Footer,
            other => Kind::Other(other),
        };
        let quality = match fields.u8()? {
            0 => ClockQuality::Unset,
            1 => ClockQuality::Holdover,
            _ => ClockQuality::Synced,
        };
        let (flags, _length, _crc) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let (position, commit, epoch) = (Position(fields.u64()?), Commit(fields.u64()?), Epoch(fields.u64()?));
        let (boot, monotonic) = (BootId(fields.u64()?), Monotonic(fields.u64()?));
        let wall = WallTime(fields.u64()?.cast_signed());
        let head = fields.u32()? as usize;
        let (topics, batches, previous) = (fields.u16()?, fields.u16()?, fields.u16()?);
        fields.u16()?;
        let events = fields.u32()?;
        let run = Commit(fields.u64()?);
        let topics = read_topics(&mut fields, topics)?;
        let (batches, body) = read_batches(&mut fields, &topics, batches, bytes.slice(head.min(bytes.len())..))?;
        if kind != Kind::Footer && !body.is_empty() {
            return None;
        }
        let previous = read_ranges(&mut fields, &topics, previous)?;
        if bytes.len() - fields.rest().len() > head || head > bytes.len() {
            return None;
        }
        let now = Now { wall, monotonic, boot, quality };
        let first = if flags & RUN == 0 { commit } else { run };
        let sound = first <= commit && commit.0 <= NUMBER_MAX;
        sound.then_some(Self {
            kind,
            flags,
            position,
            commit,
            epoch,
            now,
            events,
            batches,
            previous,
            first,
            body,
            bytes,
        })
    }

    /// The version of a frame that is sound, and newer than known: it is no damage.
    pub(crate) fn newer(bytes: &[u8], salt: u64) -> Option<u16> {
        let stored = Fields::new(bytes.get(CRC_AT..)?).u32()?;
        let version = Fields::new(bytes.get(MAGIC.len()..)?).u16()?;
        (version > VERSION && stored == crc_of(bytes, salt)).then_some(version)
    }

    /// What it takes in the segment.
    pub(crate) fn padded(&self) -> u64 {
        padded(self.bytes.len()) as u64
    }

    pub(crate) const fn is_copy(&self) -> bool {
        self.flags & COPY != 0
    }

    /// The position behind what it stands for.
    pub(crate) fn behind(&self) -> Position {
        let bytes = if self.is_run() { 1 } else { self.padded() };
        Position(self.position.0.saturating_add(bytes))
    }

    pub(crate) const fn is_run(&self) -> bool {
        self.flags & RUN != 0
    }

    pub(crate) const fn is_last_copy(&self) -> bool {
        self.flags & LAST_COPY != 0
    }
}

fn read_topics(fields: &mut Fields<'_>, count: u16) -> Option<Vec<Topic>> {
    let mut topics = Vec::new();
    for _ in 0..count {
        let length = fields.u8()?;
        let name = std::str::from_utf8(fields.bytes(usize::from(length))?).ok()?;
        topics.push(Topic::new(name).ok()?);
    }
    Some(topics)
}

fn read_place(fields: &mut Fields<'_>, topics: &[Topic]) -> Option<TopicPartition> {
    let topic = topics.get(usize::from(fields.u16()?))?.clone();
    Some(TopicPartition { topic, partition: Partition(fields.u16()?) })
}

fn read_batches(
    fields: &mut Fields<'_>,
    topics: &[Topic],
    count: u16,
    mut data: Bytes,
) -> Option<(Vec<BatchEntry>, Bytes)> {
    let mut batches = Vec::new();
    for _ in 0..count {
        let at = read_place(fields, topics)?;
        let (base, count, length) = (Offset(fields.u64()?), fields.u32()?, fields.u32()? as usize);
        if length > data.len() {
            return None;
        }
        batches.push(BatchEntry { at, base, count, bytes: data.split_to(length) });
    }
    Some((batches, data))
}

fn read_ranges(fields: &mut Fields<'_>, topics: &[Topic], count: u16) -> Option<Vec<Range>> {
    let mut ranges = Vec::new();
    for _ in 0..count {
        let at = read_place(fields, topics)?;
        ranges.push(Range { at, from: Offset(fields.u64()?), to: Offset(fields.u64()?) });
    }
    Some(ranges)
}
