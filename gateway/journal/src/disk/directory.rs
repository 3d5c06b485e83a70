//! A real folder. The only place of the journal that touches the file system.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the one adapter through which the journal reaches the file system"
)]

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Access, Disk, DiskFile, DiskLock, Entry};

const LOCK: &str = "lock";
const ZEROS_BYTES: usize = 256 * 1024;

/// A folder of a real file system.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Opens the folder, and makes it, durably, if it or some above it are missing.
    ///
    /// # Errors
    /// It can't be made, or is not a folder.
    pub fn create(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        Self::make(&path, &mut |folder| File::open(folder)?.sync_all())?;
        Self::existing(path)
    }

    /// Makes what is missing of `path`, from the top. `flush` is called for each folder that got a new entry.
    ///
    /// # Errors
    /// A folder can't be made, or what `flush` gave.
    pub fn make(path: &Path, flush: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
        let missing: Vec<&Path> =
            path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
        for folder in missing.into_iter().rev() {
            match fs::create_dir(folder) {
                Ok(()) => {}
                // Somebody else made it meanwhile; whether they flush is not known.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
            flush(above.unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }

    /// Opens an existing folder; makes nothing.
    ///
    /// # Errors
    /// It is not there, or is not a folder.
    pub fn existing(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        if !fs::metadata(&path)?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "not a folder"));
        }
        Ok(Self { path })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What root makes here becomes the folder's owner's: else an operator's repair would leave files that the gateway may not open.
    fn hand_over(&self, file: &File) -> io::Result<()> {
        let (folder, made) = (fs::metadata(&self.path)?, file.metadata()?);
        if rustix::process::geteuid().is_root() && (made.uid(), made.gid()) != (folder.uid(), folder.gid()) {
            fchown(file, Some(folder.uid()), Some(folder.gid()))?;
        }
        Ok(())
    }

    fn fill(&self, name: &str, bytes: u64) -> io::Result<File> {
        let path = self.path.join(name);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        self.hand_over(&file)?;
        let zeros = vec![0_u8; ZEROS_BYTES];
        let mut at = 0;
        while at < bytes {
            let left = usize::try_from(bytes - at).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES);
            let piece = zeros.get(..left).unwrap_or(&zeros);
            file.write_all_at(piece, at)?;
            at += left as u64;
        }
        // The size and the extents are metadata: fdatasync of later commits must find nothing left to do.
        file.sync_all()?;
        Ok(file)
    }
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // Removed between the two calls by a running writer: not there.
            let Ok(metadata) = entry.metadata() else { continue };
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                entries.push(Entry { name, bytes: metadata.len() });
            }
        }
        Ok(entries)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let write = access == Access::Write;
        Ok(Arc::new(RealFile(OpenOptions::new().read(true).write(write).open(self.path.join(name))?)))
    }

    fn create_zeroed(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        match self.fill(name, bytes) {
            Ok(file) => Ok(Arc::new(RealFile(file))),
            Err(error) => {
                // The first error is the one to report; a remnant of the wrong size is removed at the next start.
                drop(fs::remove_file(self.path.join(name)));
                Err(error)
            }
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn flush_dir(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn lock(&self) -> io::Result<Option<DiskLock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.path.join(LOCK))?;
        self.hand_over(&file)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

/// Begins to write these bytes of the page cache to the device. What becomes of them the flush says: the kernel keeps an error of writing
/// until then.
#[cfg(target_os = "linux")]
fn start_writeback(file: &File, at: u64, bytes: u64) {
    use std::os::fd::AsRawFd;

    let (Ok(at), Ok(bytes)) = (i64::try_from(at), i64::try_from(bytes)) else { return };
    // SAFETY: numbers go in and a number comes out; the descriptor is open as long as `file` is.
    let _done = unsafe { libc::sync_file_range(file.as_raw_fd(), at, bytes, libc::SYNC_FILE_RANGE_WRITE) } == 0;
}

#[cfg(not(target_os = "linux"))]
fn start_writeback(_: &File, _: u64, _: u64) {}

struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn write_pieces_at(&self, pieces: &[&[u8]], mut at: u64) -> io::Result<()> {
        let filled = pieces.iter().filter(|piece| !piece.is_empty());
        let mut slices: Vec<IoSlice<'_>> = filled.map(|piece| IoSlice::new(piece)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            // As many as the system takes at once; the rest in the next round.
            match rustix::io::pwritev(&self.0, rest, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    IoSlice::advance_slices(&mut rest, written);
                    at += written as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn start_flush(&self, at: u64, bytes: u64) {
        start_writeback(&self.0, at, bytes);
    }

    fn shorten(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn forget_cache(&self) {
        // Best effort: a file system without advice reads from its cache, which the rewritten tail allows for.
        let _done = rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::DontNeed).is_ok();
    }

    fn will_read(&self, at: u64, bytes: u64) {
        let _done = rustix::fs::fadvise(&self.0, at, NonZeroU64::new(bytes), rustix::fs::Advice::WillNeed).is_ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_lie_one_behind_the_other_however_many_there_are() {
        let top = tempfile::tempdir().unwrap();
        let disk = Directory::create(top.path()).unwrap();
        let file = disk.create_zeroed("pieces", 20_000).unwrap();
        let whole: Vec<u8> = (0..12_000_u32).map(|byte| (byte % 251) as u8).collect();
        let mut pieces: Vec<&[u8]> = whole[..9000].chunks(4).collect();
        pieces.extend([&[][..], &whole[9000..], &[][..]]);
        file.write_pieces_at(&pieces, 100).unwrap();
        file.write_pieces_at(&[&[]], 19_999).unwrap();
        let mut read = vec![0; 20_000];
        file.read_at(&mut read, 0).unwrap();
        assert_eq!(read[100..12_100], whole);
        assert!(read[..100].iter().chain(&read[12_100..]).all(|byte| *byte == 0));
        let looked_at = disk.open("pieces", Access::Read).unwrap();
        assert!(looked_at.write_pieces_at(&[b"x"], 0).is_err(), "a failed write is told");
    }

    #[test]
    fn what_root_makes_belongs_to_the_folders_owner() {
        let top = tempfile::tempdir().unwrap();
        // Somebody else's where root runs the test; else everything here is one user's anyway.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(top.path(), Some(4_000_000), Some(4_000_001)).unwrap();
        }
        let disk = Directory::existing(top.path()).unwrap();
        drop((disk.create_zeroed("segment", 4096).unwrap(), disk.lock().unwrap()));
        let owner = |path: &Path| fs::metadata(path).map(|meta| (meta.uid(), meta.gid())).unwrap();
        for name in ["segment", LOCK] {
            assert_eq!(owner(&top.path().join(name)), owner(top.path()), "{name}");
        }
    }

    #[test]
    fn each_folder_that_gets_a_new_entry_is_flushed_once_it_has_it() {
        let top = tempfile::tempdir().unwrap();
        let wanted = top.path().join("var").join("lib").join("journal");
        let mut flushed = Vec::new();
        Directory::make(&wanted, &mut |folder| {
            let entries = fs::read_dir(folder)?.count();
            flushed.push((folder.to_owned(), entries));
            Ok(())
        })
        .unwrap();
        assert!(wanted.is_dir());
        let expected = [top.path().to_owned(), top.path().join("var"), top.path().join("var/lib")];
        assert_eq!(flushed, expected.map(|folder| (folder, 1)));
        Directory::make(&wanted, &mut |_| Err(io::Error::other("nothing is new"))).unwrap();
        let failed = Directory::make(&wanted.join("more"), &mut |_| Err(io::Error::other("the disk fails")));
        assert!(failed.is_err(), "a failed flush is told");
    }
}
