//! Opening: what is found is used only if nothing speaks against it.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Mutex;

use lamppost_event::{BootId, Commit, Epoch};

use crate::answer::{Discarded, OpenError};
use crate::gather::Gathered;
use crate::session::{Session, State, newest_generation};
use crate::store::Store;
use crate::views::{Views, Working, drop_quietly, panic_text};

/// The journal as it was recovered, which a view has to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// Its incarnation.
    pub epoch: Epoch,
    /// The incarnation before, if what was derived from it still holds.
    pub continued: Option<Epoch>,
    /// The earliest commit that a view may have stopped at: all later ones can still be read and applied.
    pub from: Commit,
    /// Its last commit.
    pub end: Commit,
    /// This boot of the machine.
    pub boot: BootId,
}

/// An opened view.
#[derive(Debug)]
pub struct Opened {
    /// The view.
    pub views: Views,
    /// The commit that it has applied: go on after it with [`Views::apply`]. `None`: it is empty, call [`Views::rebuild`].
    pub applied: Option<Commit>,
    /// Why what was there was thrown away, if anything was.
    pub discarded: Option<Discarded>,
}

impl Views {
    /// Opens the view in `dir`, or replaces what is there by an empty one. Reads the whole view once (at most about
    /// 2.5 KiB a device).
    ///
    /// # Errors
    /// [`OpenError`] if not even an empty view can be made.
    pub fn open(dir: &Path, journal: Recovered) -> Result<Opened, OpenError> {
        let folder_error = |source| OpenError::Folder { path: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(folder_error)?;
        let last = Session::read(dir);
        let newest = newest_generation(dir);
        let generation = last.map_or(0, |last| last.generation);
        let mut session = Session { generation, boot: journal.boot, state: State::Opening };
        let mut discarded = match last {
            Some(last) if last.state == State::Opening => Some(Discarded::Interrupted),
            Some(last) if last.state == State::Open && last.boot != journal.boot => Some(Discarded::Unclosed),
            Some(_) => None,
            None => newest.map(|_| Discarded::Foreign),
        };
        let mut found = None;
        if last.is_some() && discarded.is_none() {
            session.write(dir).map_err(folder_error)?;
            match open_checked(&session.folder(dir), journal) {
                Ok(working) => found = Some(working),
                Err(reason) => discarded = Some(reason),
            }
        }
        let working = match found {
            Some(working) => working,
            None => {
                // A name of its own: what a panic left running in the old folder can't reach into the new one.
                session.generation = generation.max(newest.unwrap_or(0)).wrapping_add(1);
                session.write(dir).map_err(folder_error)?;
                let store_error =
                    |discarded: Discarded| OpenError::Store { path: dir.to_owned(), reason: discarded.to_string() };
                open_checked(&session.folder(dir), journal).map_err(store_error)?
            }
        };
        session.sweep(dir);
        session.state = State::Open;
        session.write(dir).map_err(folder_error)?;
        if let Some(reason) = &discarded {
            tracing::warn!(path = %dir.display(), %reason, "the view was thrown away");
        }
        let applied = working.applied;
        Ok(Opened {
            views: Self { dir: dir.to_owned(), session, epoch: journal.epoch, inner: Mutex::new(Ok(working)) },
            applied,
            discarded,
        })
    }
}

/// Opens sled's folder and checks that all is there and belongs to this journal.
fn open_checked(folder: &Path, journal: Recovered) -> Result<Working, Discarded> {
    let opened = catch_unwind(|| {
        let store = Store::open(folder)?;
        store.verify().map(|applied| (store, applied))
    });
    let (store, applied) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return Err(Discarded::Broken { reason: error.to_string() }),
        Err(panic) => return Err(Discarded::Broken { reason: panic_text(&*panic) }),
    };
    let mut working = Working { store, gathered: Gathered::new(), applied: None, sum: 0, dirty: false, forgotten: 0 };
    let Some(applied) = applied else { return Ok(working) };
    let Recovered { epoch, continued, from, end, .. } = journal;
    let misfit = if applied.epoch != epoch && Some(applied.epoch) != continued {
        Some(Discarded::Epoch { found: applied.epoch, epoch })
    } else if applied.commit > end {
        Some(Discarded::Ahead { applied: applied.commit, end })
    } else if applied.commit < from {
        Some(Discarded::Behind { applied: applied.commit, from })
    } else {
        None
    };
    if let Some(misfit) = misfit {
        drop_quietly(working);
        return Err(misfit);
    }
    working.gathered.device_count = applied.devices;
    working.gathered.marked_count = applied.marked;
    working.gathered.marks_dropped = applied.marks_dropped;
    working.applied = Some(applied.commit);
    working.sum = applied.sum;
    // It is to name the new epoch, even if nothing comes: the next opening does not know the one before.
    working.dirty = applied.epoch != epoch;
    Ok(working)
}
