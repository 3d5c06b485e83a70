//! What a source has to remember over a restart: small values under keys, kept with the journal's own state.
//!
//! ```text
//! source ── put(key, value) ──► Notes ═ the journal's state ──► visit(prefix), at the next start
//!        ◄── the commit ───
//! ```

use bytes::Bytes;

use crate::{Commit, JournalStopped};

/// Why a note was not taken. Nothing is changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteRefusal {
    /// No room now. [`crate::Intake::room`] completes when there may be some.
    #[error("the journal has no room now")]
    Full,
    /// Larger than a note may ever be.
    #[error("a note of {bytes} bytes is above the limit of {bytes_max}")]
    TooLarge {
        /// Key and value together.
        bytes: usize,
        /// The most allowed.
        bytes_max: usize,
    },
    /// The journal has stopped.
    #[error(transparent)]
    Stopped(#[from] JournalStopped),
}

/// The notes can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("what was to be remembered can't be read: {reason}")]
pub struct NotesUnreadable {
    /// What happened.
    pub reason: String,
}

/// A source's memory. It outlives the retention of events, and each change is a write to the card: what has not changed
/// is not put again.
pub trait Notes: Send + Sync + 'static {
    /// Keeps `value` under `key` (`None` removes it), on disk once [`crate::Intake::durable`] has reached the commit that is returned.
    /// Later calls never return an earlier commit. Nothing is waited for.
    ///
    /// # Errors
    /// [`NoteRefusal`].
    fn put(&self, key: &[u8], value: Option<Bytes>) -> Result<Commit, NoteRefusal>;

    /// The most that key and value may take together, bytes.
    fn bytes_max(&self) -> usize;

    /// All that is on disk under keys that begin with `prefix`, by rising key. Reads the disk: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`NotesUnreadable`]; what was visited before is as it was.
    fn visit(&self, prefix: &[u8], each: &mut dyn FnMut(&[u8], &Bytes)) -> Result<(), NotesUnreadable>;
}
