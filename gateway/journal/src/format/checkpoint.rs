//! A layer of a checkpoint: the journal's state as of one commit, or what of it changed since an earlier one, sorted by key.
//! Written under a temporary name, flushed, renamed. The newest checkpoint is the newest layer, the one that it lies over, and
//! so on down to one that lies over none. Of a key, the uppermost layer that has it counts.
//!
//! Little-endian:
//!
//! ```text
//! 0    8   magic "LMPCKPT\n"
//! 8    u16 version
//! 10   6   zeros
//! 16   u64 commit that it stands for
//! 24   u64 epoch then
//! 32   u128 identity of the journal
//! 48       blocks, each at most about 4 KiB (one entry may be longer):
//!            u32 length of the entries, u32 CRC32C of the entries,
//!            entries: u32 key length, u32 value length, key, value; keys rise strictly. A value length of 2^32 - 1 (from
//!            version 2): no value follows, the key was removed
//!          index: for each block u64 where it begins, u32 length of its first key, that key
//!          tail, 40 bytes:
//!            u64 where the index begins, u32 its length, u32 its CRC32C, u64 number of entries, u64 commit,
//!            u32 CRC32C of bytes 0 to 47 and of the 32 bytes of the tail before, u32 0
//! ```
//!
//! Keys, by their first byte:
//!
//! | key | value |
//! |---|---|
//! | `b` | (from version 2) u64 commit of the layer beneath, u32 CRC32C at that one's end. A layer without it is whole |
//! | `c`, u8 length, group, topic, 0, u16 partition (big-endian) | u64: a consumer group's next offset; u64, if not 0: how often it was set there by hand |
//! | `m`, u8 length, device, u64 boot (big-endian) | u64: the highest sequence stored; u64: the commit that it came with |
//! | `p`, topic, 0, u16 partition (big-endian) | u64 first offset kept, u64 next offset (only in checkpoints) |
//! | `u`, any | any: state that the journal keeps for others |

use lamppost_event::{Commit, DeviceId, Epoch, Group, Offset, Partition, Topic, TopicPartition};

use super::VERSION;
use super::fields::Fields;

pub(crate) const MAGIC: &[u8; 8] = b"LMPCKPT\n";
pub(crate) const HEAD: usize = 48;
pub(crate) const TAIL: usize = 40;
pub(crate) const BLOCK_HEAD: usize = 8;
/// What a block has in the index, beside its first key.
pub(crate) const INDEX_ENTRY: usize = 12;
/// A block is closed once it holds this much.
pub(crate) const BLOCK_BYTES: usize = 4096;

pub(crate) const UNDER: u8 = b'b';
pub(crate) const CURSOR: u8 = b'c';
pub(crate) const MARK: u8 = b'm';
pub(crate) const PARTITION: u8 = b'p';
pub(crate) const USER: u8 = b'u';

/// What the head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CheckpointHead {
    pub(crate) commit: Commit,
    pub(crate) epoch: Epoch,
    pub(crate) identity: u128,
}

impl CheckpointHead {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&self.commit.0.to_le_bytes());
        out.extend_from_slice(&self.epoch.0.to_le_bytes());
        out.extend_from_slice(&self.identity.to_le_bytes());
        out
    }

    /// `Err` with a version that is newer than known.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Self>, u16> {
        let mut fields = Fields::new(bytes);
        if fields.bytes(MAGIC.len()) != Some(MAGIC) {
            return Ok(None);
        }
        match fields.u16() {
            Some(1..=VERSION) => {}
            Some(0) | None => return Ok(None),
            Some(version) => return Err(version),
        }
        let mut rest = || {
            fields.bytes(6)?;
            let (commit, epoch) = (Commit(fields.u64()?), Epoch(fields.u64()?));
            Some(Self { commit, epoch, identity: fields.u128()? })
        };
        Ok(rest())
    }
}

/// Where the index is, and how much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CheckpointTail {
    pub(crate) index_at: u64,
    pub(crate) index_bytes: u32,
    pub(crate) index_crc: u32,
    pub(crate) entries: u64,
    pub(crate) commit: Commit,
    /// Of the head and the fields above.
    pub(crate) seal: u32,
}

impl CheckpointTail {
    /// The bytes; the seal is computed.
    pub(crate) fn encode(&self, head: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(TAIL);
        out.extend_from_slice(&self.index_at.to_le_bytes());
        out.extend_from_slice(&self.index_bytes.to_le_bytes());
        out.extend_from_slice(&self.index_crc.to_le_bytes());
        out.extend_from_slice(&self.entries.to_le_bytes());
        out.extend_from_slice(&self.commit.0.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(head), &out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out
    }

    pub(crate) fn decode(head: &[u8], bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        let body = bytes.get(..TAIL - 8)?;
        let tail = Self {
            index_at: fields.u64()?,
            index_bytes: fields.u32()?,
            index_crc: fields.u32()?,
            entries: fields.u64()?,
            commit: Commit(fields.u64()?),
            seal: fields.u32()?,
        };
        (tail.seal == crc32c::crc32c_append(crc32c::crc32c(head), body)).then_some(tail)
    }
}

/// The layer that another lies over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Under {
    pub(crate) commit: Commit,
    pub(crate) seal: u32,
}

impl Under {
    pub(crate) fn encode(self) -> Vec<u8> {
        [&self.commit.0.to_le_bytes()[..], &self.seal.to_le_bytes()].concat()
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(value);
        Some(Self { commit: Commit(fields.u64()?), seal: fields.u32()? })
    }
}

/// In place of a value's length: the key was removed.
const REMOVED: u32 = u32::MAX;

/// Appends a change to a layer's block.
pub(crate) fn put_change(out: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    match value {
        Some(value) => put_entry(out, key, value),
        None => {
            out.extend_from_slice(&(key.len() as u32).to_le_bytes());
            out.extend_from_slice(&REMOVED.to_le_bytes());
            out.extend_from_slice(key);
        }
    }
}

/// Takes a change off a layer's block.
pub(crate) fn take_change<'a>(fields: &mut Fields<'a>) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let (key, value) = (fields.u32()? as usize, fields.u32()?);
    let key = fields.bytes(key)?;
    Some((key, if value == REMOVED { None } else { Some(fields.bytes(value as usize)?) }))
}

/// Appends an entry.
pub(crate) fn put_entry(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

/// Takes an entry off.
pub(crate) fn take_entry<'a>(fields: &mut Fields<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let (key, value) = (fields.u32()? as usize, fields.u32()? as usize);
    Some((fields.bytes(key)?, fields.bytes(value)?))
}

/// The key of a group's cursor.
pub(crate) fn cursor_key(group: &Group, at: &TopicPartition) -> Vec<u8> {
    let mut key = vec![CURSOR, group.as_str().len() as u8];
    key.extend_from_slice(group.as_str().as_bytes());
    put_place(&mut key, at);
    key
}

/// The group and place in a cursor's key.
pub(crate) fn read_cursor_key(key: &[u8]) -> Option<(Group, TopicPartition)> {
    let mut fields = Fields::new(key.strip_prefix(&[CURSOR])?);
    let length = usize::from(fields.u8()?);
    let group = Group::new(std::str::from_utf8(fields.bytes(length)?).ok()?).ok()?;
    Some((group, read_place(fields.rest())?))
}

/// The key of a sender's mark.
pub(crate) fn mark_key(device: &DeviceId, boot: u64) -> Vec<u8> {
    let mut key = vec![MARK, device.as_str().len() as u8];
    key.extend_from_slice(device.as_str().as_bytes());
    key.extend_from_slice(&boot.to_be_bytes());
    key
}

/// The part of a mark's key that all boots of the device share. `None` for other keys.
pub(crate) fn mark_device(key: &[u8]) -> Option<&[u8]> {
    let (device, _) = key.split_at_checked(key.len().checked_sub(8)?)?;
    device.starts_with(&[MARK]).then_some(device)
}

/// The value of a mark.
pub(crate) fn mark_value(sequence: u64, commit: Commit) -> Vec<u8> {
    numbers([sequence, commit.0])
}

/// The commit that a mark last rose with; the lowest if the value does not say.
pub(crate) fn mark_commit(value: &[u8]) -> Commit {
    let mut fields = Fields::new(value);
    Commit(fields.u64().and_then(|_sequence| fields.u64()).unwrap_or_default())
}

/// The key of a partition's bounds.
pub(crate) fn partition_key(at: &TopicPartition) -> Vec<u8> {
    let mut key = vec![PARTITION];
    put_place(&mut key, at);
    key
}

/// The place in a partition's key.
pub(crate) fn read_partition_key(key: &[u8]) -> Option<TopicPartition> {
    read_place(key.strip_prefix(&[PARTITION])?)
}

/// The key of somebody's own state.
pub(crate) fn user_key(key: &[u8]) -> Vec<u8> {
    [&[USER], key].concat()
}

/// A value of one or more integers.
pub(crate) fn numbers<const N: usize>(values: [u64; N]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Reads a value that is one integer.
pub(crate) fn read_number(value: &[u8]) -> Option<u64> {
    Fields::new(value).u64()
}

/// Reads a partition's first kept and next offset.
pub(crate) fn read_bounds(value: &[u8]) -> Option<(Offset, Offset)> {
    let mut fields = Fields::new(value);
    Some((Offset(fields.u64()?), Offset(fields.u64()?)))
}

/// Appends a place to a key.
pub(crate) fn put_place(key: &mut Vec<u8>, at: &TopicPartition) {
    key.extend_from_slice(at.topic.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(&at.partition.0.to_be_bytes());
}

/// The place that ends a key.
pub(crate) fn read_place(bytes: &[u8]) -> Option<TopicPartition> {
    let (topic, tail) = bytes.split_at_checked(bytes.len().checked_sub(3)?)?;
    let [0, high, low] = tail else { return None };
    let topic = Topic::new(std::str::from_utf8(topic).ok()?).ok()?;
    Some(TopicPartition { topic, partition: Partition(u16::from_be_bytes([*high, *low])) })
}
