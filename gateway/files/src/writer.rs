//! Lines into files: begun, flushed, finished, and made room for.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lamppost_event::{Monotonic, Topic};

use crate::config::{FilesConfig, WhenFull};
use crate::counters::Counters;
use crate::folder::Folder;
use crate::name::{First, of_topic};
use crate::pack::Packer;
use crate::part::Part;
use crate::repair::repair;

/// Whether lines were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Yes,
    /// The folder is full, and nothing may be deleted.
    Full,
}

/// The files that are written to.
pub(crate) struct Writer {
    config: Arc<FilesConfig>,
    counters: Arc<Counters>,
    folder: Option<Folder>,
    parts: HashMap<Topic, Part>,
    packer: Packer,
}

impl Writer {
    pub(crate) fn new(config: Arc<FilesConfig>, counters: Arc<Counters>) -> Self {
        let packer = Packer::new(config.packing);
        Self { config, counters, folder: None, parts: HashMap::new(), packer }
    }

    /// Repairs what a crash or a failure has left. After this nothing is written to but new files.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        self.parts.clear();
        self.folder = None;
        if let Some(mount_point) = &self.config.mount_point {
            mounted(mount_point)?;
        }
        Folder::open(&self.config.folder)?;
        let torn = repair(&self.config.folder, self.config.line_bytes_max)?;
        Counters::add(&self.counters.torn_bytes, torn);
        let mut folder = Folder::open(&self.config.folder)?;
        folder.flush()?;
        self.counters.folder_bytes.store(folder.bytes, Relaxed);
        self.folder = Some(folder);
        Ok(())
    }

    fn folder(&mut self) -> io::Result<&mut Folder> {
        self.folder.as_mut().ok_or_else(|| io::Error::other("the folder is not open"))
    }

    /// Whether the folder has been set right, and nothing has failed since.
    pub(crate) const fn is_begun(&self) -> bool {
        self.folder.is_some()
    }

    /// Whether a file is written to.
    pub(crate) fn is_open(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Writes lines of one topic, the first of which is `first`. They are on disk after [`Writer::flush`].
    pub(crate) fn write(&mut self, topic: &Topic, first: &First, lines: &[u8], now: Monotonic) -> io::Result<Written> {
        let packed = self.packer.pack(lines)?;
        let bytes = packed.len() as u64;
        if !self.has_room(bytes)? {
            return Ok(Written::Full);
        }
        if !self.parts.contains_key(topic) {
            if let Some(mount_point) = &self.config.mount_point {
                mounted(mount_point)?;
            }
            let packing = self.config.packing;
            let folder = self.folder()?;
            let topic_in_name = of_topic(topic.as_str());
            let (name, ms) = first.name(folder.last(&topic_in_name), packing);
            let part = Part::create(folder.path(), name, now)?;
            folder.begun(topic_in_name, ms);
            self.parts.insert(topic.clone(), part);
        }
        let Some(part) = self.parts.get_mut(topic) else {
            return Err(io::Error::other("a file that was begun is gone"));
        };
        part.write(&packed)?;
        let full = part.bytes >= self.config.rotate_bytes;
        let folder = self.folder()?;
        folder.bytes += bytes;
        let in_folder = folder.bytes;
        self.counters.folder_bytes.store(in_folder, Relaxed);
        Counters::add(&self.counters.bytes, bytes);
        if full {
            self.finish(topic)?;
        }
        Ok(Written::Yes)
    }

    /// Whether the folder takes so many bytes more; makes room if it may.
    fn has_room(&mut self, bytes: u64) -> io::Result<bool> {
        let (quota, when_full) = (self.config.quota_bytes, self.config.when_full);
        let fits = |folder: &Folder| folder.bytes.saturating_add(bytes) <= quota;
        if fits(self.folder()?) {
            return Ok(true);
        }
        self.folder()?.look()?;
        while !fits(self.folder()?) && when_full == WhenFull::DeleteOldest {
            match self.folder()?.delete_oldest()? {
                Some(gone) => {
                    Counters::add(&self.counters.deleted, 1);
                    Counters::add(&self.counters.deleted_bytes, gone);
                }
                None if self.is_open() => self.finish_all()?,
                None => break,
            }
        }
        if when_full == WhenFull::Pause && !fits(self.folder()?) {
            // What is written to can't be taken away.
            self.finish_all()?;
        }
        let in_folder = self.folder()?.bytes;
        self.counters.folder_bytes.store(in_folder, Relaxed);
        Ok(fits(self.folder()?))
    }

    /// What was written is on disk once this returns, and found there.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.parts.values_mut().try_for_each(Part::flush)?;
        self.folder.as_mut().map_or(Ok(()), Folder::flush)
    }

    fn finish(&mut self, topic: &Topic) -> io::Result<()> {
        let Some(part) = self.parts.remove(topic) else { return Ok(()) };
        let bytes = part.bytes;
        let name = part.finish()?;
        tracing::debug!(name, bytes, "a file is finished");
        Counters::add(&self.counters.finished, 1);
        self.folder()?.finished(name, bytes);
        Ok(())
    }

    /// Finishes the files that are older than they may be.
    pub(crate) fn finish_old(&mut self, now: Monotonic) -> io::Result<()> {
        let rotate_after = self.config.rotate_after;
        let age = |part: &Part| Duration::from_millis(now.0.saturating_sub(part.opened.0));
        let old = self.parts.iter().filter(|(_, part)| age(part) >= rotate_after).map(|(topic, _)| topic.clone());
        let old: Vec<Topic> = old.collect();
        old.iter().try_for_each(|topic| self.finish(topic))
    }

    /// Finishes all.
    pub(crate) fn finish_all(&mut self) -> io::Result<()> {
        let all: Vec<Topic> = self.parts.keys().cloned().collect();
        all.iter().try_for_each(|topic| self.finish(topic))
    }

    /// Something failed: nothing is written to these files any more.
    pub(crate) fn abandon(&mut self) {
        self.parts.drain().for_each(|(_, part)| part.abandon());
        self.folder = None;
    }
}

/// Whether a file system begins at that folder: it is on another device than the folder above it. A folder that was only bound there from the
/// same file system, as a service manager does, is none.
///
/// # Errors
/// None begins there, or the folder can't be looked at.
pub fn mounted(mount_point: &Path) -> io::Result<()> {
    let above = mount_point.parent().unwrap_or(mount_point);
    if std::fs::metadata(mount_point)?.dev() == std::fs::metadata(above)?.dev() && mount_point != above {
        return Err(io::Error::other(format!("nothing is mounted at {}", mount_point.display())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_is_one_only_while_another_file_system_begins_there() {
        let folder = tempfile::tempdir().unwrap();
        assert!(mounted(Path::new("/proc")).is_ok());
        assert!(mounted(Path::new("/")).is_ok());
        assert!(mounted(folder.path()).unwrap_err().to_string().contains("nothing is mounted"));
        assert!(mounted(&folder.path().join("missing")).is_err());
    }
}
