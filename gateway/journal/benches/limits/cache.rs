//! The page cache of a folder's files: emptied before what is measured as if after a start of the machine.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use crate::Outcome;

/// Writes back what is dirty and lets go of the pages of all files in the folder.
pub(crate) fn drop_pages(folder: &Path) -> Outcome<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let file = File::open(entry.path())?;
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// Reads all files of the folder, so that their pages are there.
pub(crate) fn load_pages(folder: &Path) -> Outcome<()> {
    let mut buffer = vec![0; 1 << 20];
    for path in files(folder, "")? {
        read_through(&path, &mut buffer, |_| {})?;
    }
    Ok(())
}

/// The folder's files whose names begin so, by name.
pub(crate) fn files(folder: &Path, prefix: &str) -> Outcome<Vec<std::path::PathBuf>> {
    let mut names: Vec<_> = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    names.retain(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    names.sort_by_key(std::fs::DirEntry::file_name);
    Ok(names.into_iter().map(|entry| entry.path()).collect())
}

/// Reads a file from its beginning to its end.
pub(crate) fn read_through(path: &Path, buffer: &mut [u8], mut each: impl FnMut(&[u8])) -> Outcome<u64> {
    use std::io::Read;
    let mut file = File::open(path)?;
    let mut total = 0;
    loop {
        let count = file.read(buffer)?;
        if count == 0 {
            return Ok(total);
        }
        each(&buffer[..count]);
        total += count as u64;
    }
}
