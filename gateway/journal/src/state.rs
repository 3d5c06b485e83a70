//! Durable state that outlives retention: what changed lately is in memory, the rest in the checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use lamppost_event::{Commit, DeviceId, JournalStopped};

use crate::checkpoint::CheckpointError;
use crate::format::checkpoint::{MARK, USER, read_number};
use crate::journal::{Mark, Marked};
use crate::shared::Shared;
use crate::waiting::hold;

/// Why state can't be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The journal has stopped.
    #[error(transparent)]
    Stopped(#[from] JournalStopped),
    /// The checkpoint can't be read.
    #[error("the checkpoint can't be read: {0}")]
    Unreadable(String),
    /// Changes are known only after a later commit: make the view anew.
    #[error("changes are known only after commit {known_since}")]
    TooOld {
        /// The earliest commit to ask for.
        known_since: Commit,
    },
}

/// One change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateChange {
    /// A sender's mark rose.
    Mark(Mark),
    /// A value was put under a key, or removed.
    Value {
        /// The key.
        key: Bytes,
        /// The value; `None`: removed.
        value: Option<Bytes>,
    },
}

/// Changes, each key once with its last value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChanges {
    /// In no particular order.
    pub changes: Vec<StateChange>,
    /// All up to this commit; ask with it the next time.
    pub upto: Commit,
}

type Laid = BTreeMap<Bytes, Option<Bytes>>;

impl Shared {
    pub(crate) fn durable_value(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        self.running()?;
        let (recent, checkpoint) = {
            let book = hold(&self.book);
            (book.recent(key), Arc::clone(&book.checkpoint))
        };
        match recent {
            Some(value) => Ok(value),
            None => checkpoint.get(key).map_err(unreadable),
        }
    }

    pub(crate) fn marked_recently(&self, key: &[u8]) -> Option<Marked> {
        let pending = hold(&self.gather).pending(key);
        let (commit, value) = match pending {
            Some(found) => found,
            None => {
                let book = hold(&self.book);
                let (_, value) = book.delta.get(key).or_else(|| book.frozen.get(key))?;
                (book.durable, value.clone())
            }
        };
        Some(Marked { sequence: read_number(&value?)?, commit })
    }

    pub(crate) fn marked(&self, key: &[u8]) -> Result<Option<Marked>, StateError> {
        if let Some(marked) = self.marked_recently(key) {
            return Ok(Some(marked));
        }
        let value = self.durable_value(key)?;
        let commit = hold(&self.book).durable;
        Ok(value.and_then(|value| read_number(&value)).map(|sequence| Marked { sequence, commit }))
    }

    /// The newest values over the checkpoint's, by rising key.
    pub(crate) fn scan_state(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &Bytes)) -> Result<Commit, StateError> {
        self.running()?;
        let (laid, checkpoint, commit) = {
            let book = hold(&self.book);
            let mut laid = Laid::new();
            for delta in [&*book.frozen, &book.delta] {
                let range = delta.range(Bytes::copy_from_slice(prefix)..);
                let matching = range.take_while(|(key, _)| key.starts_with(prefix));
                laid.extend(matching.map(|(key, (_, value))| (key.clone(), value.clone())));
            }
            (laid, Arc::clone(&book.checkpoint), book.durable)
        };
        for change in checkpoint.merged(0, laid.into_iter(), prefix) {
            if let (key, Some(value)) = change.map_err(unreadable)? {
                visit(&key, &value);
            }
        }
        Ok(commit)
    }

    pub(crate) fn scan_marks(&self, visit: &mut dyn FnMut(Mark)) -> Result<Commit, StateError> {
        self.scan_state(&[MARK], &mut |key, value| {
            if let Some(mark) = read_mark(key, value) {
                visit(mark);
            }
        })
    }

    pub(crate) fn state_since(&self, since: Commit) -> Result<StateChanges, StateError> {
        self.running()?;
        let book = hold(&self.book);
        if since < book.known_since {
            return Err(StateError::TooOld { known_since: book.known_since });
        }
        let mut laid = BTreeMap::new();
        for (key, (commit, value)) in book.frozen.iter().chain(&book.delta) {
            if *commit > since {
                laid.insert(key, value);
            }
        }
        let changes = laid.into_iter().filter_map(|(key, value)| change(key, value.as_ref())).collect();
        Ok(StateChanges { changes, upto: book.durable })
    }
}

fn unreadable(error: CheckpointError) -> StateError {
    StateError::Unreadable(error.to_string())
}

fn change(key: &Bytes, value: Option<&Bytes>) -> Option<StateChange> {
    match *key.first()? {
        MARK => read_mark(key, value?).map(StateChange::Mark),
        USER => Some(StateChange::Value { key: key.slice(1..), value: value.cloned() }),
        _ => None,
    }
}

fn read_mark(key: &[u8], value: &[u8]) -> Option<Mark> {
    let (length, rest) = key.strip_prefix(&[MARK])?.split_first()?;
    let (device, boot) = rest.split_at_checked(usize::from(*length))?;
    let device = DeviceId::new(std::str::from_utf8(device).ok()?).ok()?;
    Some(Mark { device, boot: u64::from_be_bytes(boot.try_into().ok()?), sequence: read_number(value)? })
}
