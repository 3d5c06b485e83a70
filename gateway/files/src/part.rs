//! A file that is written to.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use lamppost_event::Monotonic;

use crate::name::PART;

/// A file that is written to.
///
/// Invariant: after a write or a flush that failed nothing is written to it any more, and it is cut back to `flushed`.
#[derive(Debug)]
pub(crate) struct Part {
    file: File,
    folder: PathBuf,
    name: String,
    /// Its length, bytes.
    pub(crate) bytes: u64,
    /// Of those, flushed.
    flushed: u64,
    pub(crate) opened: Monotonic,
}

impl Part {
    /// A new file, called `name` once it is finished.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the sink makes a file; its folder is flushed before a cursor moves"
    )]
    pub(crate) fn create(folder: &Path, name: String, now: Monotonic) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(folder.join(format!("{name}{PART}")))?;
        Ok(Self { file, folder: folder.to_owned(), name, bytes: 0, flushed: 0, opened: now })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// On disk once this returns.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.flush_by(File::sync_data)
    }

    fn flush_by(&mut self, flush: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        if self.flushed < self.bytes {
            flush(&self.file)?;
            self.flushed = self.bytes;
        }
        Ok(())
    }

    /// Gives it its name; that is on disk once the folder is flushed. What was written has been flushed before.
    pub(crate) fn finish(self) -> io::Result<String> {
        self.finish_by(File::sync_data)
    }

    #[expect(clippy::disallowed_methods, reason = "the folder is flushed before a cursor moves")]
    fn finish_by(mut self, flush: impl FnOnce(&File) -> io::Result<()>) -> io::Result<String> {
        if let Err(error) = self.flush_by(flush) {
            self.abandon();
            return Err(error);
        }
        std::fs::rename(self.folder.join(format!("{}{PART}", self.name)), self.folder.join(&self.name))?;
        Ok(self.name)
    }

    /// Something failed: what was not flushed is in doubt, and goes.
    pub(crate) fn abandon(self) {
        if let Err(error) = self.file.set_len(self.flushed) {
            // The repair before the next write looks at every line.
            tracing::debug!(%error, name = self.name, "an abandoned file can't be cut");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_whose_last_flush_fails_is_cut_back_to_what_was_flushed_and_not_finished() {
        let folder = tempfile::tempdir().unwrap();
        let mut part = Part::create(folder.path(), "a.jsonl".to_owned(), Monotonic(0)).unwrap();
        part.write(b"{}\n").unwrap();
        part.flush().unwrap();
        part.write(b"{\"in\":\"doubt\"}\n").unwrap();
        part.finish_by(|_| Err(io::Error::other("the card is worn"))).unwrap_err();
        assert_eq!(std::fs::read(folder.path().join("a.jsonl.part")).unwrap(), b"{}\n");
        assert!(!folder.path().join("a.jsonl").exists());
    }
}
