//! The state's checkpoint: a stack of sorted files. The lowest layer is whole; each further one holds what changed since the one
//! beneath it, so that a checkpoint costs what changed and not what there is. Layers are put together as they become many.

mod find;
mod horizon;
mod stack;
mod write;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use lamppost_event::Commit;

pub(crate) use self::find::{Find, find};
pub(crate) use self::stack::{File, Merged, Stack};
pub(crate) use self::write::{Bounds, WriteError, write};
use crate::disk::{Access, Disk, DiskFile};
use crate::format::checkpoint::{
    BLOCK_HEAD, CheckpointHead, CheckpointTail, HEAD, INDEX_ENTRY, MARK, TAIL, UNDER, Under, take_change,
};
use crate::format::fields::Fields;
use crate::format::segment::NUMBER_MAX;
use crate::walk::TRIES;

/// So much is read at once where all of a layer is checked.
const READ_BYTES: usize = 256 << 10;

/// A key and its value; `None`: removed.
pub(crate) type Change = (Bytes, Option<Bytes>);

/// The name of the layer that ends with a commit.
pub(crate) fn name_of(commit: Commit) -> String {
    format!("checkpoint-{:020}.ckp", commit.0)
}

/// The commit in a layer's name.
pub(crate) fn commit_in(name: &str) -> Option<Commit> {
    name.strip_prefix("checkpoint-")?
        .strip_suffix(".ckp")?
        .parse()
        .ok()
        .filter(|commit| *commit <= NUMBER_MAX)
        .map(Commit)
}

/// Why a checkpoint can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    #[error("format version {0} is newer than this program knows")]
    Newer(u16),
    #[error("damaged at its {0}")]
    Damaged(&'static str),
    #[error(transparent)]
    Disk(#[from] std::io::Error),
}

impl CheckpointError {
    /// Its file has another name by now, or is no more: a running writer has put layers together.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Disk(error) if error.kind() == std::io::ErrorKind::NotFound)
    }
}

struct Block {
    first: Bytes,
    at: u64,
    bytes: usize,
}

/// An open layer: its sparse index is in memory, its entries on disk.
pub(crate) struct Layer {
    pub(crate) head: CheckpointHead,
    /// What it lies over; `None`: it is whole.
    pub(crate) under: Option<Under>,
    /// The checksum of its tail, by which the layer above knows it.
    pub(crate) seal: u32,
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// Of those, in blocks that begin with something else than a mark.
    pub(crate) beside_marks: u64,
    file: Arc<dyn DiskFile>,
    index: Vec<Block>,
}

impl Layer {
    /// Opens one; with `verify` all its blocks are read and checked. Without, each is when it is read. Who only looks, and verifies nothing,
    /// leaves the cache to the writer.
    pub(crate) fn open(disk: &dyn Disk, name: &str, access: Access, verify: bool) -> Result<Self, CheckpointError> {
        let file = disk.open(name, access)?;
        if verify || access == Access::Write {
            file.forget_cache();
        }
        let bytes = file.len()?;
        if bytes < (HEAD + TAIL) as u64 {
            return Err(CheckpointError::Damaged("length"));
        }
        let head_bytes = read(&*file, 0, HEAD)?;
        // The tail's CRC covers the head: a version is believed only where it holds.
        let tail_bytes = read(&*file, bytes - TAIL as u64, TAIL)?;
        let tail = CheckpointTail::decode(&head_bytes, &tail_bytes).ok_or(CheckpointError::Damaged("tail"))?;
        let head = match CheckpointHead::decode(&head_bytes) {
            Ok(Some(head)) => head,
            Ok(None) => return Err(CheckpointError::Damaged("head")),
            Err(version) => return Err(CheckpointError::Newer(version)),
        };
        if tail.commit != head.commit
            || tail.index_at.checked_add(u64::from(tail.index_bytes)) != Some(bytes - TAIL as u64)
        {
            return Err(CheckpointError::Damaged("tail"));
        }
        let index_bytes = read(&*file, tail.index_at, tail.index_bytes as usize)?;
        if crc32c::crc32c(&index_bytes) != tail.index_crc {
            return Err(CheckpointError::Damaged("index"));
        }
        let index = read_index(&index_bytes, tail.index_at).ok_or(CheckpointError::Damaged("index"))?;
        let others = index.iter().filter(|block| block.first.first() != Some(&MARK));
        let beside_marks = others.map(|block| (block.bytes + INDEX_ENTRY + block.first.len()) as u64).sum();
        let name = name.to_owned();
        let mut layer = Self { head, under: None, seal: tail.seal, name, bytes, beside_marks, file, index };
        if let Some(under) = layer.get(&[UNDER])? {
            let under = under.as_deref().and_then(Under::decode).filter(|under| under.commit < head.commit);
            layer.under = Some(under.ok_or(CheckpointError::Damaged("word of what it lies over"))?);
        }
        if verify && layer.count_entries()? != tail.entries {
            return Err(CheckpointError::Damaged("number of entries"));
        }
        Ok(layer)
    }

    fn block(&self, block: &Block) -> Result<Bytes, CheckpointError> {
        let bytes = read(&*self.file, block.at, block.bytes)?;
        let entries = entries_of(&bytes)?.len();
        Ok(bytes.slice(bytes.len() - entries..))
    }

    /// Reads and checks all blocks, many at a time: with a million devices there are more than ten thousand.
    fn count_entries(&self) -> Result<u64, CheckpointError> {
        let (mut entries, mut rest) = (0, self.index.as_slice());
        while let Some(first) = rest.first() {
            let until = |bytes: &mut usize, block: &Block| {
                *bytes = bytes.checked_add(block.bytes).filter(|sum| *sum <= READ_BYTES)?;
                Some(())
            };
            let count = rest.iter().scan(0, until).count().max(1);
            let (blocks, behind) = rest.split_at(count);
            let bytes = blocks.iter().map(|block| block.bytes).sum();
            let read = read(&*self.file, first.at, bytes)?;
            let mut left = &*read;
            for block in blocks {
                let (bytes, others) = left.split_at_checked(block.bytes).ok_or(CheckpointError::Damaged("index"))?;
                let mut fields = Fields::new(entries_of(bytes)?);
                while !fields.rest().is_empty() {
                    take_change(&mut fields).ok_or(CheckpointError::Damaged("entry"))?;
                    entries += 1;
                }
                left = others;
            }
            rest = behind;
        }
        Ok(entries)
    }

    /// What it says of a key: nothing, a value, or that it was removed.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Option<Bytes>>, CheckpointError> {
        let behind = self.index.partition_point(|block| block.first.as_ref() <= key);
        let Some(block) = behind.checked_sub(1).and_then(|index| self.index.get(index)) else { return Ok(None) };
        let entries = self.block(block)?;
        let mut fields = Fields::new(&entries);
        while let Some((found, value)) = take_change(&mut fields) {
            if found == key {
                return Ok(Some(value.map(|value| entries.slice_ref(value))));
            }
        }
        Ok(None)
    }

    /// All entries whose key begins with `prefix`, by rising key.
    pub(crate) fn entries(&self, prefix: &[u8]) -> Entries<'_> {
        let next = self.index.partition_point(|block| block.first.as_ref() <= prefix).saturating_sub(1);
        Entries { layer: self, prefix: Bytes::copy_from_slice(prefix), next, rest: Bytes::new() }
    }
}

/// Walks a layer's entries. An error ends it.
pub(crate) struct Entries<'a> {
    layer: &'a Layer,
    prefix: Bytes,
    /// The next block to read.
    next: usize,
    /// Of the last one read.
    rest: Bytes,
}

impl Entries<'_> {
    fn advance(&mut self) -> Result<Option<Change>, CheckpointError> {
        loop {
            while !self.rest.is_empty() {
                let mut fields = Fields::new(&self.rest);
                let (key, value) = take_change(&mut fields).ok_or(CheckpointError::Damaged("entry"))?;
                let entry = (self.rest.slice_ref(key), value.map(|value| self.rest.slice_ref(value)));
                self.rest = self.rest.slice_ref(fields.rest());
                if entry.0.starts_with(&self.prefix) {
                    return Ok(Some(entry));
                }
            }
            let Some(block) = self.layer.index.get(self.next) else { return Ok(None) };
            if block.first > self.prefix && !block.first.starts_with(&self.prefix) {
                return Ok(None);
            }
            self.next += 1;
            self.rest = self.layer.block(block)?;
        }
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Change, CheckpointError>;

    fn next(&mut self) -> Option<Self::Item> {
        let advanced = self.advance();
        if advanced.is_err() {
            (self.rest, self.next) = (Bytes::new(), usize::MAX);
        }
        advanced.transpose()
    }
}

/// The entries of a sound block.
fn entries_of(block: &[u8]) -> Result<&[u8], CheckpointError> {
    let mut fields = Fields::new(block);
    let (length, crc) = (fields.u32(), fields.u32());
    let entries = block.get(BLOCK_HEAD..).unwrap_or_default();
    let sound = length.map(|length| length as usize) == Some(entries.len()) && crc == Some(crc32c::crc32c(entries));
    sound.then_some(entries).ok_or(CheckpointError::Damaged("block"))
}

fn read(file: &dyn DiskFile, at: u64, bytes: usize) -> std::io::Result<Bytes> {
    let mut buffer = BytesMut::zeroed(bytes);
    let mut tried = 0;
    while let Err(error) = file.read_at(&mut buffer, at) {
        tried += 1;
        if tried > TRIES {
            return Err(error);
        }
    }
    Ok(buffer.freeze())
}

fn read_index(bytes: &Bytes, index_at: u64) -> Option<Vec<Block>> {
    let mut fields = Fields::new(bytes);
    let mut blocks: Vec<Block> = Vec::new();
    while !fields.rest().is_empty() {
        let at = fields.u64()?;
        let length = fields.u32()? as usize;
        let first = bytes.slice_ref(fields.bytes(length)?);
        if let Some(last) = blocks.last_mut() {
            last.bytes = usize::try_from(at.checked_sub(last.at)?).ok()?;
        }
        blocks.push(Block { first, at, bytes: 0 });
    }
    if let Some(last) = blocks.last_mut() {
        last.bytes = usize::try_from(index_at.checked_sub(last.at)?).ok()?;
    }
    Some(blocks)
}
