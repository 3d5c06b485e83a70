//! Files that are there after a power cut, under their names: a name is on the disk once the folder that it is in has been flushed.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use lamppost_journal::Directory;

/// Makes a folder, and those above it that are missing.
///
/// # Errors
/// One can't be made or flushed.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    Directory::make(path, &mut flush_folder)
}

/// Puts a whole new file in the place of the one that may be there: after a power cut it is either of the two.
///
/// # Errors
/// It can't be written, and the old one is there still; or only the folder can't be flushed.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_file_made(path, bytes, |_| Ok(()))
}

/// The same; before anything is in the new file it is given to `make`, for its owner and its rights.
///
/// # Errors
/// As [`replace_file`], and what `make` gave.
pub(crate) fn replace_file_made(
    path: &Path,
    bytes: &[u8],
    make: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let folder = folder_of(path);
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    make(file.as_file())?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    flush_folder(folder)
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the names in a folder durable, as far as its file system knows how to.
///
/// # Errors
/// The folder can't be opened or flushed.
pub(crate) fn flush_folder(folder: &Path) -> io::Result<()> {
    #[cfg(test)]
    flushed::note(folder);
    #[expect(clippy::disallowed_methods, reason = "a folder, to flush it; no journal data")]
    match File::open(folder)?.sync_all() {
        // Some file systems of sticks and of other machines have no such thing.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        flushed => flushed,
    }
}

/// What a test can see of it: no file system tells afterwards what was flushed.
#[cfg(test)]
pub(crate) mod flushed {
    use std::cell::RefCell;
    use std::path::{Path, PathBuf};

    thread_local! {
        static FOLDERS: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn note(folder: &Path) {
        FOLDERS.with_borrow_mut(|folders| folders.push(folder.to_owned()));
    }

    /// The folders that this thread has flushed since this was asked last.
    pub(crate) fn folders() -> Vec<PathBuf> {
        FOLDERS.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_its_name_is_flushed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        make_folder(&folder).unwrap();
        assert_eq!(flushed::folders(), [dir.path().to_owned(), dir.path().join("a")]);
        let path = folder.join("file");
        for text in ["long before", "new"] {
            replace_file(&path, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert_eq!(flushed::folders(), std::slice::from_ref(&folder));
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_can_not_be_written_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        replace_file(&path, b"old").unwrap();
        let refused = replace_file_made(&path, b"new", |_| Err(io::ErrorKind::PermissionDenied.into()));
        assert!(refused.is_err() && std::fs::read(&path).unwrap() == b"old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
