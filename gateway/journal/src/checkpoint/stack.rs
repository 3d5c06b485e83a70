//! Layers that lie over each other, read as one; and which of them are put together when another comes.

use std::iter::Peekable;
use std::sync::Arc;

use bytes::Bytes;
use lamppost_event::{Commit, Epoch};

use super::{Change, CheckpointError, Entries, Layer};

/// The most layers. Each costs whoever looks for an unknown key a read of 4 KiB.
const LAYERS_MAX: usize = 24;
/// So many of about one size are put together.
const ALIKE: usize = 4;

/// A file's name, and its size in bytes.
pub(crate) type File = (String, u64);

/// One layer, and the files that it stands for. They are kept until it is itself put together with others: should it become
/// unreadable, they still say most of it.
#[derive(Clone)]
pub(super) struct Level {
    pub(super) layer: Arc<Layer>,
    pub(super) replaced: Vec<File>,
}

/// The newest checkpoint. Without layers: none was written yet.
#[derive(Clone, Default)]
pub(crate) struct Stack {
    /// The lowest first.
    pub(super) levels: Vec<Level>,
    /// They don't lie on what they were laid over: all are written anew as one.
    pub(super) broken: bool,
}

impl Stack {
    /// The commit that it stands for.
    pub(crate) fn commit(&self) -> Option<Commit> {
        self.levels.last().map(|level| level.layer.head.commit)
    }

    /// The commit that it stands for, or the one before all others.
    pub(crate) fn covered(&self) -> Commit {
        self.commit().unwrap_or(Commit(0))
    }

    /// The journal's epoch and identity then.
    pub(crate) fn origin(&self) -> Option<(Epoch, u128)> {
        self.levels.last().map(|level| (level.layer.head.epoch, level.layer.head.identity))
    }

    /// The name of its newest file.
    pub(crate) fn name(&self) -> &str {
        self.levels.last().map_or("checkpoint", |level| &level.layer.name)
    }

    /// Of its layers, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.levels.iter().map(|level| level.layer.bytes).sum()
    }

    /// Of its layers, in bytes, about what is no mark: one block of each layer more or less.
    pub(crate) fn beside_marks(&self) -> u64 {
        self.levels.iter().map(|level| level.layer.beside_marks).sum()
    }

    /// It is more than one layer: what was removed may still take room in it.
    pub(crate) fn is_layered(&self) -> bool {
        self.levels.len() > 1
    }

    /// Of the files that its layers stand for, in bytes.
    pub(crate) fn replaced_bytes(&self) -> u64 {
        self.levels.iter().flat_map(|level| &level.replaced).map(|(_, bytes)| bytes).sum()
    }

    /// Lets go of the files that its layers stand for, and returns them.
    pub(crate) fn drop_replaced(&mut self) -> Vec<File> {
        self.levels.iter_mut().flat_map(|level| std::mem::take(&mut level.replaced)).collect()
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, CheckpointError> {
        for level in self.levels.iter().rev() {
            if let Some(value) = level.layer.get(key)? {
                return Ok(value);
            }
        }
        Ok(None)
    }

    /// All values whose key begins with `prefix`, by rising key.
    pub(crate) fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(Bytes, Bytes)) -> Result<(), CheckpointError> {
        for change in self.merged(0, std::iter::empty(), prefix) {
            if let (key, Some(value)) = change? {
                visit(key, value);
            }
        }
        Ok(())
    }

    /// What `above` and the layers from `lowest` on say of the keys that begin with `prefix`, by rising key. `above` has the last word; its
    /// keys rise and begin with `prefix`, too.
    pub(crate) fn merged<'a>(
        &'a self,
        lowest: usize,
        above: impl Iterator<Item = Change> + 'a,
        prefix: &[u8],
    ) -> Merged<'a> {
        let above: Box<dyn Iterator<Item = Change> + 'a> = Box::new(above);
        let layers = self.levels.iter().skip(lowest).rev().map(|level| level.layer.entries(prefix).peekable());
        Merged { above: above.peekable(), layers: layers.collect() }
    }

    /// At most so many bytes of layers go into a new one of at most `bytes` bytes.
    pub(crate) fn merged_bytes(&self, commit: Commit, bytes: u64) -> u64 {
        // A smaller one takes no more of them in, unless there are as many as may be.
        let full = self.levels.len() + 1 >= LAYERS_MAX;
        let lowest = self.lowest_to_merge(commit, bytes).min(if full { 1 } else { usize::MAX });
        self.levels.iter().skip(lowest).map(|level| level.layer.bytes).sum()
    }

    /// The lowest of the layers that are put together with a new one of about `bytes` bytes; their number if none is.
    pub(crate) fn lowest_to_merge(&self, commit: Commit, bytes: u64) -> usize {
        let sizes: Vec<u64> = self.levels.iter().map(|level| level.layer.bytes).collect();
        if self.broken {
            return 0;
        }
        // A file's name is its commit.
        let same_name = usize::from(self.commit() == Some(commit));
        sizes.len() - to_merge(&sizes, bytes).max(same_name)
    }
}

/// How many of the uppermost layers are put together with a new one. `sizes`, in bytes, has the lowest first.
///
/// All of them once the others hold half of what the lowest does: it is written again for every half of it that changed. Else those of
/// about one size, once they are many: what is written is written again once for each size, and these grow by powers.
fn to_merge(sizes: &[u64], new: u64) -> usize {
    let Some((lowest, others)) = sizes.split_first() else { return 0 };
    if others.iter().sum::<u64>().saturating_add(new).saturating_mul(2) >= *lowest {
        return sizes.len();
    }
    let (mut taken, mut bytes) = (0, new);
    loop {
        let above = others.get(..others.len() - taken).unwrap_or_default();
        let alike = above.iter().rev().take_while(|size| **size < bytes.saturating_mul(ALIKE as u64));
        let (count, alike_bytes) = alike.fold((0, 0), |(count, sum), size| (count + 1, sum + size));
        if count < ALIKE - 1 {
            break;
        }
        taken += count;
        bytes += alike_bytes;
    }
    // Sizes that don't grow by powers: all but the lowest, so that it is long until there are as many again.
    if sizes.len() - taken < LAYERS_MAX { taken } else { others.len() }
}

/// Changes by rising key, the last word on each. An error ends it.
pub(crate) struct Merged<'a> {
    above: Peekable<Box<dyn Iterator<Item = Change> + 'a>>,
    /// The uppermost first.
    layers: Vec<Peekable<Entries<'a>>>,
}

impl Merged<'_> {
    fn advance(&mut self) -> Result<Option<Change>, CheckpointError> {
        let mut least = self.above.peek().map(|(key, _)| key.clone());
        for layer in &mut self.layers {
            match layer.peek() {
                Some(Ok((key, _))) if least.as_ref().is_none_or(|least| key < least) => least = Some(key.clone()),
                Some(Err(_)) => return layer.next().transpose(),
                Some(Ok(_)) | None => {}
            }
        }
        let Some(least) = least else { return Ok(None) };
        let mut last_word = self.above.next_if(|(key, _)| *key == least);
        for layer in &mut self.layers {
            let same = layer.next_if(|entry| entry.as_ref().is_ok_and(|(key, _)| *key == least));
            let same = same.transpose()?;
            last_word = last_word.or(same);
        }
        Ok(last_word)
    }
}

impl Iterator for Merged<'_> {
    type Item = Result<Change, CheckpointError>;

    fn next(&mut self) -> Option<Self::Item> {
        let advanced = self.advance();
        if advanced.is_err() {
            self.layers.clear();
            self.above = (Box::new(std::iter::empty()) as Box<dyn Iterator<Item = Change>>).peekable();
        }
        advanced.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes layers of `new` bytes until `total` bytes were new, of which no two are the same, over a lowest one of `lowest`. Gives bytes written
    /// per new one, and the most layers there were.
    fn write(lowest: u64, new: u64, total: u64) -> (f64, usize) {
        let (mut sizes, mut written, mut most) = (vec![lowest], 0, 0);
        for _ in 0..total / new {
            let kept = sizes.len() - to_merge(&sizes, new);
            // What is whole grows no further: it holds all there is.
            let merged: u64 = sizes.drain(kept..).sum::<u64>() + new;
            sizes.push(if kept == 0 { merged.min(lowest) } else { merged });
            written += sizes.last().unwrap();
            most = most.max(sizes.len());
        }
        (written as f64 / total as f64, most)
    }

    #[test]
    fn a_large_state_is_seldom_written_again_and_lies_in_few_layers() {
        for new in [4 << 10, 64 << 10, 500 << 10] {
            let (written, most) = write(46 << 20, new, 200 << 20);
            println!(
                "layers of {new} bytes over 46 MiB: {written:.1} bytes written for one that changed, {most} layers"
            );
            assert!(written < 9.0, "{new}: {written}");
            assert!(most <= LAYERS_MAX, "{new}: {most}");
        }
    }

    #[test]
    fn a_small_state_is_written_whole() {
        assert_eq!(to_merge(&[], 1), 0);
        assert_eq!(to_merge(&[4000], 2000), 1);
        assert_eq!(to_merge(&[4000, 1000], 1000), 2);
        assert_eq!(to_merge(&[40_000, 1000], 1000), 0);
    }

    #[test]
    fn layers_are_never_more_than_allowed_whatever_their_sizes() {
        let mut sizes = vec![u64::MAX / 4];
        // Each much larger than all above it: none are alike.
        for power in (0..LAYERS_MAX as u32 + 3).rev() {
            let new = 5_u64.pow(power);
            let kept = sizes.len() - to_merge(&sizes, new);
            let merged = sizes.drain(kept..).sum::<u64>() + new;
            sizes.push(merged);
            assert!(sizes.len() <= LAYERS_MAX, "{sizes:?}");
        }
    }
}
