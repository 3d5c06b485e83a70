//! The views, guarded: whatever sled does, the caller gets an answer or a [`ViewError`].

use std::any::Any;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound::{Excluded, Unbounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use lamppost_event::{Commit, DeviceId, Epoch};

use crate::answer::{DeviceView, ViewError};
use crate::change::Change;
use crate::gather::Gathered;
use crate::record::{Applied, Device, Marks};
use crate::session::{Session, State, sync_all};
use crate::store::{Kind, Store, StoreError};

/// How many devices a view holds once what was gathered is written. Where there are more, those that were heard of longest ago, by the
/// gateway's clock of then, are forgotten until three quarters are left, and counted ([`Views::devices_forgotten`]): who reports again
/// is listed again. The marks of as many devices are kept, the first ones; those of others have to be asked of the journal.
pub const DEVICES_MAX: u32 = 20_000;

/// The most devices that one call lists.
pub const DEVICES_PAGE_MAX: usize = 1000;

/// Changes that are taken under one lock while a view catches up.
const CATCH_UP_PIECE: usize = 256;

/// The views.
pub struct Views {
    pub(crate) dir: PathBuf,
    pub(crate) session: Session,
    pub(crate) epoch: Epoch,
    pub(crate) inner: Mutex<Inner>,
}

/// `Err` once broken, with what happened first.
pub(crate) type Inner = Result<Working, String>;

pub(crate) struct Working {
    pub(crate) store: Store,
    pub(crate) gathered: Gathered,
    pub(crate) applied: Option<Commit>,
    pub(crate) sum: u64,
    pub(crate) dirty: bool,
    /// Devices, since opening.
    pub(crate) forgotten: u64,
}

impl Views {
    /// Fills an empty view with the journal's state as of `commit`. Nothing counts as applied before the end: a rebuild
    /// that is cut short starts anew.
    ///
    /// # Errors
    /// [`ViewError::Built`] if the view is not empty, [`ViewError::Broken`].
    pub fn rebuild(&self, commit: Commit, changes: impl IntoIterator<Item = Change>) -> Result<(), ViewError> {
        self.try_rebuild(commit, changes.into_iter().map(Ok))
    }

    /// As [`Views::rebuild`], from a source that may fail on the way: its first error, in words, breaks the view, so that
    /// half of the state never passes for all of it.
    ///
    /// # Errors
    /// [`ViewError::Built`] if the view is not empty, [`ViewError::Broken`].
    pub fn try_rebuild(
        &self,
        commit: Commit,
        changes: impl IntoIterator<Item = Result<Change, String>>,
    ) -> Result<(), ViewError> {
        self.guarded(|working| {
            if let Some(applied) = working.applied {
                return Ok(Err(ViewError::Built { applied }));
            }
            for change in changes {
                working.gathered.take(&working.store, commit, &change.map_err(StoreError::Source)?)?;
                if working.gathered.is_full() {
                    working.write(self.epoch)?;
                }
            }
            working.applied = Some(commit);
            working.write(self.epoch).map(Ok)
        })?
    }

    /// Applies *all* changes of the commits after the last applied one up to `commit`, whole or not at all. A commit that
    /// is applied already changes nothing.
    ///
    /// # Errors
    /// [`ViewError::Unbuilt`], [`ViewError::Broken`].
    pub fn apply(&self, commit: Commit, changes: &[Change]) -> Result<(), ViewError> {
        self.guarded(|working| {
            let Some(applied) = working.applied else { return Ok(Err(ViewError::Unbuilt)) };
            if commit <= applied {
                return Ok(Ok(()));
            }
            for change in changes {
                working.gathered.take(&working.store, commit, change)?;
            }
            working.applied = Some(commit);
            working.dirty = true;
            if working.gathered.is_full() {
                working.write(self.epoch)?;
            }
            Ok(Ok(()))
        })?
    }

    /// Brings a view that is too far behind for [`Views::apply`] up to `commit`, from *all* marks and what else has changed. They come piece
    /// by piece, and other calls are answered meanwhile, by the commit applied before. A machine or a program that ends before this
    /// does leaves a view that the next start discards: some of the marks would be newer than the commit beside them.
    ///
    /// # Errors
    /// [`ViewError::Unbuilt`], [`ViewError::Broken`]: also where the source fails on the way, with its error in words.
    pub fn catch_up(
        &self,
        commit: Commit,
        changes: impl IntoIterator<Item = Result<Change, String>>,
    ) -> Result<(), ViewError> {
        let Some(_) = self.applied()? else { return Err(ViewError::Unbuilt) };
        let failed = |error: std::io::Error| ViewError::Broken { reason: error.to_string() };
        Session { state: State::Opening, ..self.session }.write(&self.dir).map_err(failed)?;
        let mut changes = changes.into_iter();
        loop {
            // The source may have to be waited for: not under the lock.
            let piece: Vec<_> = changes.by_ref().take(CATCH_UP_PIECE).collect();
            if piece.is_empty() {
                break;
            }
            self.guarded(|working| {
                for change in piece {
                    working.gathered.take(&working.store, commit, &change.map_err(StoreError::Source)?)?;
                }
                if working.gathered.is_full() { working.write(self.epoch) } else { Ok(()) }
            })?;
        }
        self.guarded(|working| {
            working.applied = Some(commit);
            working.write(self.epoch)
        })?;
        self.session.write(&self.dir).map_err(failed)
    }

    /// Writes what has been gathered. Call it now and then (minutes): the more seldom, the less is written to the card, and the
    /// more is applied again after a kill.
    ///
    /// # Errors
    /// [`ViewError::Broken`].
    pub fn settle(&self) -> Result<(), ViewError> {
        self.guarded(|working| if working.dirty { working.write(self.epoch) } else { Ok(()) })
    }

    /// How many devices were forgotten since opening, because there were more than [`DEVICES_MAX`].
    ///
    /// # Errors
    /// [`ViewError::Broken`].
    pub fn devices_forgotten(&self) -> Result<u64, ViewError> {
        self.guarded(|working| Ok(working.forgotten))
    }

    /// The commit that has been applied; `None` before [`Views::rebuild`].
    ///
    /// # Errors
    /// [`ViewError::Broken`].
    pub fn applied(&self) -> Result<Option<Commit>, ViewError> {
        self.guarded(|working| Ok(working.applied))
    }

    /// The highest sequence stored of that device and boot, as of the applied commit; `None` if there was none.
    ///
    /// # Errors
    /// [`ViewError`]: the view does not know, which is not the same as none.
    pub fn high_water(&self, device: &DeviceId, boot: u64) -> Result<Option<u64>, ViewError> {
        self.guarded(|working| {
            if working.applied.is_none() {
                return Ok(Err(ViewError::Unbuilt));
            }
            let stored;
            let marks = match working.gathered.marks.get(device) {
                Some(marks) => Some(marks),
                None => {
                    let bytes = working.store.get(Kind::Marks, device)?;
                    stored = bytes.map(|bytes| Marks::decode(&bytes)).transpose()?;
                    stored.as_ref()
                }
            };
            let dropped = marks.map_or(working.gathered.marks_dropped, |marks| marks.boots_dropped);
            match marks.and_then(|marks| marks.get(boot)) {
                None if dropped => Ok(Err(ViewError::NotKept { device: device.clone() })),
                mark => Ok(Ok(mark)),
            }
        })?
    }

    /// Up to `limit` devices (at most [`DEVICES_PAGE_MAX`]) whose names come after `after`, by name.
    ///
    /// # Errors
    /// [`ViewError::Unbuilt`], [`ViewError::Broken`].
    pub fn devices(&self, after: Option<&DeviceId>, limit: usize) -> Result<Vec<DeviceView>, ViewError> {
        let limit = limit.min(DEVICES_PAGE_MAX);
        self.guarded(|working| {
            if working.applied.is_none() {
                return Ok(Err(ViewError::Unbuilt));
            }
            let from = (after.map_or(Unbounded, Excluded), Unbounded);
            let mut page: BTreeMap<DeviceId, Device> = working
                .gathered
                .devices
                .range::<DeviceId, _>(from)
                .take(limit)
                .map(|(id, device)| (id.clone(), device.clone()))
                .collect();
            for entry in working.store.after(Kind::Device, after).take(limit) {
                let (id, bytes) = entry?;
                if let Entry::Vacant(place) = page.entry(id) {
                    place.insert(Device::decode(&bytes)?);
                }
            }
            Ok(Ok(page.into_iter().take(limit).map(|(id, device)| DeviceView::new(id, device)).collect()))
        })?
    }

    /// Writes what has been gathered, lets go of the folder and flushes it to the card, so that the view outlives a power cut.
    ///
    /// # Errors
    /// [`ViewError::Broken`]: the next start discards it.
    pub fn close(mut self) -> Result<(), ViewError> {
        self.settle()?;
        let closed = "closed".to_owned();
        let working = std::mem::replace(self.inner.get_mut().unwrap_or_else(PoisonError::into_inner), Err(closed));
        drop_quietly(working);
        self.session.state = State::Closed;
        sync_all(&self.session.folder(&self.dir))
            .and_then(|()| self.session.write(&self.dir))
            .map_err(|error| ViewError::Broken { reason: error.to_string() })
    }

    /// Runs one call on sled. The first error or panic breaks the view.
    fn guarded<T>(&self, call: impl FnOnce(&mut Working) -> Result<T, StoreError>) -> Result<T, ViewError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let working = match &mut *inner {
            Ok(working) => working,
            Err(reason) => return Err(ViewError::Broken { reason: reason.clone() }),
        };
        let reason = match catch_unwind(AssertUnwindSafe(|| call(working))) {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic_text(&*panic),
        };
        tracing::error!(path = %self.dir.display(), %reason, "the view is broken; the journal's own state is used");
        drop_quietly(std::mem::replace(&mut *inner, Err(reason.clone())));
        // So that the next start does not try this folder again. If even that fails, checking it there has to do.
        if let Err(error) = (Session { state: State::Opening, ..self.session }).write(&self.dir) {
            tracing::warn!(path = %self.dir.display(), %error, "the broken view can't be marked as such");
        }
        Err(ViewError::Broken { reason })
    }
}

impl std::fmt::Debug for Views {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Views").field("dir", &self.dir).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Drop for Views {
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop_quietly(std::mem::replace(inner, Err("dropped".to_owned())));
    }
}

impl Working {
    /// Writes what was gathered; with the position once that is known.
    fn write(&mut self, epoch: Epoch) -> Result<(), StoreError> {
        let Gathered { device_count, marked_count: marked, marks_dropped, devices_max, .. } = self.gathered;
        let applied = self.applied;
        let after = |devices, sum| applied.map(|commit| Applied { epoch, commit, devices, marked, marks_dropped, sum });
        self.store.write(&self.gathered, &mut self.sum, |sum| after(device_count, sum))?;
        self.gathered.clear();
        self.dirty = false;
        if device_count > devices_max {
            let keep = (devices_max - devices_max / 4) as usize;
            let left = |gone| device_count.saturating_sub(gone);
            let gone = self.store.forget_devices(keep, &mut self.sum, |gone, sum| after(left(gone), sum))?;
            self.gathered.device_count = left(gone);
            self.forgotten += u64::from(gone);
        }
        Ok(())
    }
}

/// Drops what may panic while it is dropped.
pub(crate) fn drop_quietly<T>(value: T) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        tracing::warn!(reason = panic_text(&*panic), "letting go of a view failed");
    }
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message");
    format!("panic: {text}").chars().take(300).collect()
}

#[cfg(test)]
mod tests;
