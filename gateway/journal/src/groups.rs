//! Consumer groups, as the journal's handle has them: how far each has come, and where it goes on.

use lamppost_event::{Cursor, Group, JournalStopped, Resume, WallTime};

use crate::journal::Journal;
use crate::waiting::hold;

impl Journal {
    /// Remembers how far `group` has come: durable with the next commit, or one of its own after
    /// [`crate::Options::cursor_deadline`]. Cursors only go forward; one beyond the durable end is taken as at the end.
    ///
    /// # Errors
    /// [`JournalStopped`].
    pub fn commit_cursors(&self, group: &Group, cursors: &[Cursor]) -> Result<(), JournalStopped> {
        self.shared().commit_cursors(group, cursors)
    }

    /// Whether all that was committed of that group's cursors is on disk.
    ///
    /// # Errors
    /// [`JournalStopped`].
    pub fn cursors_are_durable(&self, group: &Group) -> Result<bool, JournalStopped> {
        self.durable()?;
        Ok(hold(&self.shared().book).dirty_cursors().iter().all(|(dirty, _, _)| dirty != group))
    }

    /// Sets the cursors of `group`, back or forth, to within what is kept; durable with the next commit, as those of
    /// [`Journal::commit_cursors`]. For an operator: a consumer that runs meanwhile goes on from where it is, and its next commit
    /// counts.
    ///
    /// # Errors
    /// [`JournalStopped`].
    pub fn reset_cursors(&self, group: &Group, cursors: &[Cursor]) -> Result<(), JournalStopped> {
        self.shared().reset_cursors(group, cursors)
    }

    /// Forgets a group, durably with the next commit: used again, it begins at the first kept event. False if there is none.
    ///
    /// # Errors
    /// [`JournalStopped`].
    pub fn forget_group(&self, group: &Group) -> Result<bool, JournalStopped> {
        self.shared().forget_group(group)
    }

    /// Of each partition the first offset that was stored at `time` or later; its end if there is none. By the rule of
    /// [`crate::Times`]; what was stored by a clock that was never set counts as of the latest time that it may be of. May lie a
    /// little before (in a cold segment: up to one run), never behind. Reads one segment, and those in which a clock may have become
    /// right.
    ///
    /// # Errors
    /// [`JournalStopped`].
    pub fn offsets_at(&self, time: WallTime) -> Result<Vec<Cursor>, JournalStopped> {
        self.shared().offsets_at(time)
    }

    /// Where `group` goes on. Reads up to one segment.
    ///
    /// # Errors
    /// [`JournalStopped`].
    pub fn resume(&self, group: &Group) -> Result<Resume, JournalStopped> {
        self.shared().resume(group)
    }

    /// The cursors of all groups.
    #[must_use]
    pub fn groups(&self) -> Vec<(Group, Vec<Cursor>)> {
        hold(&self.shared().book).groups()
    }
}
