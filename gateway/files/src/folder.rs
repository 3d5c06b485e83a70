//! The folder: what is in it, and what it may hold.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::name::{Parsed, parse};

/// Makes what is missing of an absolute path, from the top. `flush` is called for each folder that got a new entry: without that a loss of
/// power could take the whole folder, with lines that cursors have passed.
fn make(path: &Path, flush: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    for folder in missing.into_iter().rev() {
        match std::fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        flush(folder.parent().unwrap_or(folder))?;
    }
    Ok(())
}

/// The folder, as it was when it was last looked at, and what we did since.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    handle: File,
    /// The finished files by the time in their names, oldest first, with their bytes.
    finished: BTreeMap<(i64, String), u64>,
    /// Bytes of all files of ours.
    pub(crate) bytes: u64,
    /// By topic, the last time in a name.
    last: HashMap<String, i64>,
    /// Something in it is not on disk.
    dirty: bool,
}

impl Folder {
    /// Opens it; makes it if it is missing.
    #[expect(clippy::disallowed_methods, reason = "a folder is opened to flush it")]
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        make(path, &mut |above| File::open(above)?.sync_all())?;
        let handle = File::open(path)?;
        let (path, bytes) = (path.to_owned(), 0);
        let mut folder = Self { path, handle, finished: BTreeMap::new(), bytes, last: HashMap::new(), dirty: true };
        folder.look()?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks what is there: others may have taken files away.
    pub(crate) fn look(&mut self) -> io::Result<()> {
        (self.bytes, self.finished) = (0, BTreeMap::new());
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some((name, parsed)) = name.to_str().and_then(|name| Some((name, parse(name)?))) else { continue };
            let bytes = match entry.metadata() {
                Ok(metadata) => metadata.len(),
                // Taken away meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            self.bytes += bytes;
            let Parsed { topic, ms, is_part, .. } = parsed;
            let last = self.last.entry(topic).or_insert(ms);
            *last = ms.max(*last);
            if !is_part {
                self.finished.insert((ms, name.to_owned()), bytes);
            }
        }
        Ok(())
    }

    /// The time in the name of the topic's last file.
    pub(crate) fn last(&self, topic: &str) -> Option<i64> {
        self.last.get(topic).copied()
    }

    /// A file is new in it.
    pub(crate) fn begun(&mut self, topic: String, ms: i64) {
        self.dirty = true;
        self.last.insert(topic, ms);
    }

    /// It got its name.
    pub(crate) fn finished(&mut self, name: String, bytes: u64) {
        self.dirty = true;
        if let Some(parsed) = parse(&name) {
            self.finished.insert((parsed.ms, name), bytes);
        }
    }

    /// Deletes the oldest finished file and returns its bytes; `None` if there is none.
    pub(crate) fn delete_oldest(&mut self) -> io::Result<Option<u64>> {
        let Some(((_, name), bytes)) = self.finished.pop_first() else { return Ok(None) };
        self.dirty = true;
        match std::fs::remove_file(self.path.join(&name)) {
            Ok(()) => tracing::warn!(name, bytes, "the folder is full: the oldest file is deleted"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        Ok(Some(bytes))
    }

    /// What is in it is on disk once this returns.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.dirty {
            self.handle.sync_all()?;
            self.dirty = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_folder_that_gets_a_new_one_is_flushed_from_the_top() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let mut flushed = Vec::new();
        make(&folder, &mut |above| {
            flushed.push(above.to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(flushed, [root.path().to_owned(), root.path().join("a")]);
        assert!(folder.is_dir());
        make(&folder, &mut |above| panic!("nothing is new in {}", above.display())).unwrap();
    }
}
