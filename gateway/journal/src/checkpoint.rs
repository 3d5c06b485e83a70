//! Writing, checking and searching checkpoints.

use std::collections::btree_map;
use std::iter::Peekable;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use lamppost_event::Commit;

use crate::boots::Boots;
use crate::disk::{Access, Disk, DiskError, DiskFile};
use crate::format::checkpoint::{
    BLOCK_BYTES, BLOCK_HEAD, CheckpointHead, CheckpointTail, HEAD, TAIL, mark_device, put_entry, take_entry,
};
use crate::format::fields::{Fields, patch};
use crate::format::segment::NUMBER_MAX;
use crate::gather::Changes;
use crate::walk::TRIES;

const WRITE_BYTES: usize = 64 * 1024;

/// The name of a commit's checkpoint.
pub(crate) fn name_of(commit: Commit) -> String {
    format!("checkpoint-{:020}.ckp", commit.0)
}

/// The commit in a checkpoint's name.
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

struct Block {
    first: Bytes,
    at: u64,
    bytes: usize,
}

/// An open checkpoint: its sparse index is in memory, its entries on disk.
pub(crate) struct Checkpoint {
    pub(crate) head: CheckpointHead,
    pub(crate) name: String,
    pub(crate) bytes: u64,
    file: Arc<dyn DiskFile>,
    index: Vec<Block>,
}

impl Checkpoint {
    /// Opens one; with `verify` all its blocks are read and checked.
    pub(crate) fn open(disk: &dyn Disk, name: &str, access: Access, verify: bool) -> Result<Self, CheckpointError> {
        let file = disk.open(name, access)?;
        file.forget_cache();
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
        let checkpoint = Self { head, name: name.to_owned(), bytes, file, index };
        if verify {
            let mut entries = 0;
            checkpoint.scan(&[], &mut |_, _| entries += 1)?;
            if entries != tail.entries {
                return Err(CheckpointError::Damaged("number of entries"));
            }
        }
        Ok(checkpoint)
    }

    fn block(&self, block: &Block) -> Result<Bytes, CheckpointError> {
        let bytes = read(&*self.file, block.at, block.bytes)?;
        let mut fields = Fields::new(&bytes);
        let (length, crc) = (fields.u32(), fields.u32());
        let entries = bytes.slice(BLOCK_HEAD.min(bytes.len())..);
        if length.map(|length| length as usize) != Some(entries.len()) || crc != Some(crc32c::crc32c(&entries)) {
            return Err(CheckpointError::Damaged("block"));
        }
        Ok(entries)
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, CheckpointError> {
        let behind = self.index.partition_point(|block| block.first.as_ref() <= key);
        let Some(block) = behind.checked_sub(1).and_then(|index| self.index.get(index)) else { return Ok(None) };
        let entries = self.block(block)?;
        let mut fields = Fields::new(&entries);
        while let Some((found, value)) = take_entry(&mut fields) {
            if found == key {
                return Ok(Some(entries.slice_ref(value)));
            }
        }
        Ok(None)
    }

    /// All entries whose key begins with `prefix`, by rising key.
    pub(crate) fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(Bytes, Bytes)) -> Result<(), CheckpointError> {
        let from = self.index.partition_point(|block| block.first.as_ref() <= prefix).saturating_sub(1);
        for block in self.index.iter().skip(from) {
            if block.first.as_ref() > prefix && !block.first.starts_with(prefix) {
                break;
            }
            let entries = self.block(block)?;
            let mut fields = Fields::new(&entries);
            while !fields.rest().is_empty() {
                let (key, value) = take_entry(&mut fields).ok_or(CheckpointError::Damaged("entry"))?;
                if key.starts_with(prefix) {
                    visit(entries.slice_ref(key), entries.slice_ref(value));
                }
            }
        }
        Ok(())
    }
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

/// Writes a checkpoint: the entries of `old` with `changes` laid over, merged as a stream, and of each device's marks the
/// `boots_max` latest. Returns it opened, and the keys of the marks that it left out.
pub(crate) fn write(
    disk: &dyn Disk,
    head: CheckpointHead,
    old: Option<&Checkpoint>,
    changes: &Changes,
    boots_max: usize,
) -> Result<(Checkpoint, Vec<Bytes>), WriteError> {
    let (name, temporary) = (name_of(head.commit), format!("{}.tmp", name_of(head.commit)));
    let file = disk.create_zeroed(&temporary, 0).map_err(DiskError::of("create", &temporary))?;
    let mut writer = Writer::new(&*file, head, Boots::new(boots_max), changes);
    let mut changes = changes.iter().peekable();
    let mut failed = Ok(());
    if let Some(old) = old {
        old.scan(&[], &mut |key, value| {
            if failed.is_ok() {
                failed = writer.merge(&mut changes, &key, &value);
            }
        })?;
    }
    failed.map_err(DiskError::of("write", &temporary))?;
    let forgotten = writer.finish(&mut changes).map_err(DiskError::of("write", &temporary))?;
    file.flush().map_err(DiskError::of("flush", &temporary))?;
    disk.rename(&temporary, &name).map_err(DiskError::of("rename", &temporary))?;
    disk.flush_dir().map_err(DiskError::of("flush the folder for", &name))?;
    Ok((Checkpoint::open(disk, &name, Access::Write, false)?, forgotten))
}

/// Why a checkpoint could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("the checkpoint before can't be read: {0}")]
    Old(#[from] CheckpointError),
}

type Overlay<'a> = Peekable<btree_map::Iter<'a, Bytes, Option<Bytes>>>;

struct Writer<'a> {
    file: &'a dyn DiskFile,
    head: Vec<u8>,
    commit: Commit,
    out: Vec<u8>,
    out_at: u64,
    block: Vec<u8>,
    block_first: Vec<u8>,
    index: Vec<u8>,
    entries: u64,
    boots: Boots,
    /// Of the marks that were left out, those that are among the changes.
    forgotten: Vec<Bytes>,
    changes: &'a Changes,
}

impl<'a> Writer<'a> {
    fn new(file: &'a dyn DiskFile, head: CheckpointHead, boots: Boots, changes: &'a Changes) -> Self {
        let (commit, head) = (head.commit, head.encode());
        Self {
            file,
            out: head.clone(),
            head,
            commit,
            out_at: 0,
            block: Vec::new(),
            block_first: Vec::new(),
            index: Vec::new(),
            entries: 0,
            boots,
            forgotten: Vec::new(),
            changes,
        }
    }

    /// The old entry `key`, and all changes up to it.
    fn merge(&mut self, changes: &mut Overlay<'_>, key: &Bytes, value: &Bytes) -> std::io::Result<()> {
        while let Some((changed, new)) = changes.next_if(|(changed, _)| *changed <= key) {
            if let Some(new) = new {
                self.keep(changed, new)?;
            }
            if changed == key {
                return Ok(());
            }
        }
        self.keep(key, value)
    }

    /// Puts an entry, but a mark only once all marks of its device are known.
    fn keep(&mut self, key: &Bytes, value: &Bytes) -> std::io::Result<()> {
        if !self.boots.is_same(key) {
            self.put_boots()?;
        }
        if mark_device(key).is_none() {
            return self.put(key, value);
        }
        self.boots.take(key, value);
        Ok(())
    }

    fn put_boots(&mut self) -> std::io::Result<()> {
        let lately = self.boots.forgotten().into_iter().filter(|key| self.changes.contains_key(key));
        self.forgotten.extend(lately);
        for (key, value) in self.boots.drain() {
            self.put(&key, &value)?;
        }
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> std::io::Result<()> {
        if self.block.is_empty() {
            self.block.resize(BLOCK_HEAD, 0);
            self.block_first = key.to_vec();
        }
        put_entry(&mut self.block, key, value);
        self.entries += 1;
        if self.block.len() >= BLOCK_BYTES { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> std::io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let entries = self.block.get(BLOCK_HEAD..).unwrap_or_default();
        let (length, crc) = (entries.len() as u32, crc32c::crc32c(entries));
        patch(&mut self.block, 0, &length.to_le_bytes());
        patch(&mut self.block, 4, &crc.to_le_bytes());
        let at = self.out_at + self.out.len() as u64;
        self.index.extend_from_slice(&at.to_le_bytes());
        self.index.extend_from_slice(&(self.block_first.len() as u32).to_le_bytes());
        self.index.extend_from_slice(&self.block_first);
        self.out.append(&mut self.block);
        if self.out.len() >= WRITE_BYTES { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> std::io::Result<()> {
        self.file.write_at(&self.out, self.out_at)?;
        self.out_at += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    fn finish(mut self, changes: &mut Overlay<'_>) -> std::io::Result<Vec<Bytes>> {
        for (key, value) in changes {
            if let Some(value) = value {
                self.keep(key, value)?;
            }
        }
        self.put_boots()?;
        self.end_block()?;
        let tail = CheckpointTail {
            index_at: self.out_at + self.out.len() as u64,
            index_bytes: self.index.len() as u32,
            index_crc: crc32c::crc32c(&self.index),
            entries: self.entries,
            commit: self.commit,
        };
        self.out.append(&mut self.index);
        let tail = tail.encode(&self.head);
        self.out.extend_from_slice(&tail);
        self.write_out()?;
        Ok(self.forgotten)
    }
}
