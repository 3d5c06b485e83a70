//! Finding the newest checkpoint among a folder's files.

use std::sync::Arc;

use lamppost_event::Commit;

use super::stack::Level;
use super::{CheckpointError, Layer, Stack};

/// What the files say.
#[derive(Default)]
pub(crate) struct Find {
    pub(crate) stack: Stack,
    /// Files that can't be used, their sizes, and why.
    pub(crate) unsound: Vec<(String, u64, CheckpointError)>,
    /// The layer of this commit is missing, or not what others were laid over. What there is of older ones stands in for it.
    pub(crate) broken: Option<Commit>,
}

/// Puts the newest checkpoint together from `files`, newest first. Only files that may be a part of it are opened.
pub(crate) fn find(
    files: &[(Commit, String, u64)],
    mut open: impl FnMut(&str) -> Result<Layer, CheckpointError>,
) -> Find {
    let mut find = Find::default();
    for (commit, name, bytes) in files {
        // They lie from the top downwards until the end.
        let lowest = find.stack.levels.last_mut();
        if let Some(lowest) = lowest
            && lowest.layer.under.is_none_or(|under| find.broken.is_none() && *commit > under.commit)
        {
            lowest.replaced.push((name.clone(), *bytes));
            continue;
        }
        match open(name) {
            Ok(layer) => find.lay_under(layer),
            Err(error) => find.unsound.push((name.clone(), *bytes, error)),
        }
    }
    if let Some(under) = find.missing() {
        find.broken.get_or_insert(under);
    }
    find.stack.levels.reverse();
    find.stack.broken = find.broken.is_some();
    find
}

impl Find {
    fn lay_under(&mut self, layer: Layer) {
        let expected = self.stack.levels.last().and_then(|level| level.layer.under);
        if let Some(under) = expected.filter(|under| (under.commit, under.seal) != (layer.head.commit, layer.seal)) {
            self.broken.get_or_insert(under.commit);
        }
        self.stack.levels.push(Level { layer: Arc::new(layer), replaced: Vec::new() });
    }

    /// What the lowest layer lies over.
    fn missing(&self) -> Option<Commit> {
        self.stack.levels.last().and_then(|level| level.layer.under).map(|under| under.commit)
    }
}
