//! Writing a layer.

use std::sync::Arc;

use bytes::Bytes;
use lamppost_event::Commit;

use super::horizon::Horizon;
use super::stack::{File, Level};
use super::{Change, CheckpointError, Layer, Merged, Stack, name_of};
use crate::boots::Boots;
use crate::disk::{Access, Disk, DiskError, DiskFile};
use crate::format::checkpoint::{
    BLOCK_BYTES, BLOCK_HEAD, CheckpointHead, CheckpointTail, MARK, UNDER, Under, mark_device, put_change,
};
use crate::format::fields::patch;
use crate::gather::Changes;

const WRITE_BYTES: usize = 64 * 1024;

/// The checkpoint after a layer was written.
pub(crate) struct Written {
    pub(crate) stack: Stack,
    /// Bytes of the new file.
    pub(crate) bytes: u64,
    /// Marks among the changes that it left out.
    pub(crate) forgotten: Vec<Bytes>,
    /// Marks that it left out because all together took too much.
    pub(crate) crowded_out: u64,
    /// Files that nobody needs any more.
    pub(crate) outdated: Vec<File>,
}

/// How many marks are kept, and how much is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// All layers are put together.
    pub(crate) whole: bool,
    /// Of each device so many boots, the latest.
    pub(crate) boots_max: usize,
    /// Of all devices so many bytes, the latest.
    pub(crate) marks_bytes_max: u64,
}

/// Writes what `changes` lay over the old checkpoint, put together with some of its layers; of each device the latest marks that it meets,
/// and of all devices the latest where it writes everything anew.
pub(crate) fn write(
    disk: &dyn Disk,
    head: CheckpointHead,
    old: &Stack,
    changes: &Changes,
    bounds: Bounds,
) -> Result<Written, WriteError> {
    let lowest = if bounds.whole { 0 } else { old.lowest_to_merge(head.commit, bytes_of(changes)) };
    let (name, temporary) = (name_of(head.commit), format!("{}.tmp", name_of(head.commit)));
    let file = disk.create_zeroed(&temporary, 0).map_err(DiskError::of("create", &temporary))?;
    let under = lowest
        .checked_sub(1)
        .and_then(|under| old.levels.get(under))
        .map(|level| Under { commit: level.layer.head.commit, seal: level.layer.seal });
    let above = changes.iter().map(|(key, value)| (key.clone(), value.clone()));
    let horizon = if under.is_none() { horizon(head.commit, old, changes, bounds)? } else { Horizon::none() };
    let writer = Writer::new(&*file, head, under, (Boots::new(bounds.boots_max), horizon), changes);
    let (forgotten, crowded_out) =
        writer.write(old.merged(lowest, above, &[])).map_err(|error| error.at(&temporary))?;
    file.flush().map_err(DiskError::of("flush", &temporary))?;
    disk.rename(&temporary, &name).map_err(DiskError::of("rename", &temporary))?;
    // From here on it may count: whatever fails now is a failure.
    disk.flush_dir().map_err(|error| WriteError::InDoubt(DiskError::of("flush the folder for", &name)(error)))?;
    let layer = Arc::new(Layer::open(disk, &name, Access::Write, false)?);
    let (bytes, mut stack, mut outdated) = (layer.bytes, old.clone(), Vec::new());
    let mut replaced = Vec::new();
    for level in stack.levels.drain(lowest..) {
        outdated.extend(level.replaced);
        // One of the same commit was replaced by name.
        if level.layer.name != name {
            replaced.push((level.layer.name.clone(), level.layer.bytes));
        }
    }
    stack.levels.push(Level { layer, replaced });
    stack.broken = false;
    Ok(Written { stack, bytes, forgotten, crowded_out, outdated })
}

/// Reads all marks, where they may be too many.
fn horizon(now: Commit, old: &Stack, changes: &Changes, bounds: Bounds) -> Result<Horizon, CheckpointError> {
    if old.bytes() + bytes_of(changes) <= bounds.marks_bytes_max {
        return Ok(Horizon::none());
    }
    let above = changes.range(Bytes::from_static(&[MARK])..).take_while(|(key, _)| key.starts_with(&[MARK]));
    let above = above.map(|(key, value)| (key.clone(), value.clone()));
    Horizon::find(now, bounds.marks_bytes_max, bounds.boots_max, old.merged(0, above, &[MARK]))
}

/// About what they take in a file.
pub(crate) fn bytes_of(changes: &Changes) -> u64 {
    let bytes = changes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len) + 8);
    bytes.sum::<usize>() as u64
}

/// Why a checkpoint could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// There is no new layer.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There is, or there is not.
    #[error(transparent)]
    InDoubt(DiskError),
    #[error("the checkpoint before can't be read: {0}")]
    Old(#[from] CheckpointError),
}

/// Where writing ended.
enum Failed {
    Write(std::io::Error),
    Old(CheckpointError),
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::Write(error)
    }
}

impl Failed {
    fn at(self, name: &str) -> WriteError {
        match self {
            Self::Write(error) => DiskError::of("write", name)(error).into(),
            Self::Old(error) => error.into(),
        }
    }
}

struct Writer<'a> {
    file: &'a dyn DiskFile,
    head: Vec<u8>,
    commit: Commit,
    under: Option<Under>,
    out: Vec<u8>,
    out_at: u64,
    block: Vec<u8>,
    block_first: Vec<u8>,
    index: Vec<u8>,
    entries: u64,
    boots: Boots,
    horizon: Horizon,
    crowded_out: u64,
    /// Of the marks that were left out, those that are among the changes.
    forgotten: Vec<Bytes>,
    changes: &'a Changes,
}

impl<'a> Writer<'a> {
    fn new(
        file: &'a dyn DiskFile,
        head: CheckpointHead,
        under: Option<Under>,
        (boots, horizon): (Boots, Horizon),
        changes: &'a Changes,
    ) -> Self {
        let (commit, head) = (head.commit, head.encode());
        Self {
            file,
            out: head.clone(),
            head,
            commit,
            under,
            out_at: 0,
            block: Vec::new(),
            block_first: Vec::new(),
            index: Vec::new(),
            entries: 0,
            boots,
            horizon,
            crowded_out: 0,
            forgotten: Vec::new(),
            changes,
        }
    }

    fn write(mut self, merged: Merged<'_>) -> Result<(Vec<Bytes>, u64), Failed> {
        if let Some(under) = self.under {
            self.put(&[UNDER], Some(&under.encode()))?;
        }
        for change in merged {
            let (key, value) = change.map_err(Failed::Old)?;
            // What the layers say of each other is not theirs to hand on.
            if key.first() != Some(&UNDER) {
                self.keep((key, value))?;
            }
        }
        Ok(self.finish()?)
    }

    /// Puts a change, but a mark only once all marks of its device are known.
    fn keep(&mut self, (key, value): Change) -> std::io::Result<()> {
        if !self.boots.is_same(&key) {
            self.put_boots()?;
        }
        if mark_device(&key).is_none() {
            return self.put(&key, value.as_deref());
        }
        self.boots.take(key, value);
        Ok(())
    }

    fn put_boots(&mut self) -> std::io::Result<()> {
        let (marks, mut forgotten) = self.boots.drain();
        for (key, value) in marks {
            if value.as_ref().is_none_or(|value| self.horizon.keeps(&key, value)) {
                self.put(&key, value.as_deref())?;
            } else {
                self.crowded_out += 1;
                forgotten.push(key);
            }
        }
        self.forgotten.extend(forgotten.into_iter().filter(|key| self.changes.contains_key(key)));
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> std::io::Result<()> {
        if value.is_none() && self.under.is_none() {
            // There is nothing beneath that it might be found in.
            return Ok(());
        }
        if self.block.is_empty() {
            self.block.resize(BLOCK_HEAD, 0);
            self.block_first = key.to_vec();
        }
        put_change(&mut self.block, key, value);
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

    fn finish(mut self) -> std::io::Result<(Vec<Bytes>, u64)> {
        self.put_boots()?;
        self.end_block()?;
        let tail = CheckpointTail {
            index_at: self.out_at + self.out.len() as u64,
            index_bytes: self.index.len() as u32,
            index_crc: crc32c::crc32c(&self.index),
            entries: self.entries,
            commit: self.commit,
            seal: 0,
        };
        self.out.append(&mut self.index);
        let tail = tail.encode(&self.head);
        self.out.extend_from_slice(&tail);
        self.write_out()?;
        Ok((self.forgotten, self.crowded_out))
    }
}
