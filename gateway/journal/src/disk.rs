//! Everything that the journal asks of a disk. One real implementation ([`Directory`]), and a seeded one in
//! [`crate::sim`] that loses, tears and garbles what was not flushed.
//!
//! The promises the journal relies on, and no others:
//! - what was written to a file and flushed stays, whatever happens later;
//! - what was written and not flushed may be there, or not, or in part, or as garbage within the 4 KiB pages written to;
//! - a name that was created, renamed or removed is so for certain only after [`Disk::flush_dir`].

mod directory;

use std::io;
use std::sync::Arc;

pub use directory::Directory;

/// A flat folder of files.
pub trait Disk: Send + Sync + 'static {
    /// All files with their sizes, in any order.
    ///
    /// # Errors
    /// The folder can't be read.
    fn list(&self) -> io::Result<Vec<Entry>>;

    /// Opens an existing file.
    ///
    /// # Errors
    /// It is not there, or may not be opened.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes a file of `bytes` zeros that are really written (not only allocated) and flushed. A file of that name is
    /// replaced.
    ///
    /// # Errors
    /// Among others [`io::ErrorKind::StorageFull`]; what was begun is removed.
    fn create_zeroed(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, replacing what had it.
    ///
    /// # Errors
    /// The file is not there, or the folder can't be written.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The file is not there, or the folder can't be written.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// They may or may not be durable.
    fn flush_dir(&self) -> io::Result<()>;

    /// Locks the folder for one writer until the guard is dropped. `None` if another holds it.
    ///
    /// # Errors
    /// The lock can't be tried.
    fn lock(&self) -> io::Result<Option<DiskLock>>;

    /// Where this is, for messages.
    fn place(&self) -> String;
}

/// Held by the one writer; dropping it unlocks.
pub type DiskLock = Box<dyn Send + Sync>;

/// One file of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To look only.
    Read,
    /// To read and write.
    Write,
}

/// An open file. All methods may be called from several threads.
pub trait DiskFile: Send + Sync {
    /// Fills `buffer` from byte `at` on.
    ///
    /// # Errors
    /// A read error, or the file ends before.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;

    /// Writes all of `bytes` at byte `at`.
    ///
    /// # Errors
    /// An unknown part may have been written.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Writes all of `pieces`, one behind the other, at byte `at`: in one go, so that they need not be put together in memory first,
    /// if the disk can.
    ///
    /// # Errors
    /// An unknown part may have been written.
    fn write_pieces_at(&self, pieces: &[&[u8]], at: u64) -> io::Result<()> {
        self.write_at(&pieces.concat(), at)
    }

    /// Makes all that was written durable (`fdatasync`).
    ///
    /// # Errors
    /// Nothing is known of what was written since the last flush, and asking again proves nothing.
    fn flush(&self) -> io::Result<()>;

    /// Begins to bring these bytes to the device, for a [`DiskFile::flush`] that follows: what is done meanwhile costs no time. Promises
    /// nothing.
    fn start_flush(&self, _at: u64, _bytes: u64) {}

    /// Cuts off what lies behind the first `bytes`, and gives its room free. Durable with the next flush, or by and by; until then the file may be
    /// as long as before after a power cut.
    ///
    /// # Errors
    /// It may or may not be done.
    fn shorten(&self, bytes: u64) -> io::Result<()>;

    /// The size in bytes.
    ///
    /// # Errors
    /// The file system does not say.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// As [`DiskFile::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Asks that the next reads come from the device and not from the page cache. Best effort.
    fn forget_cache(&self);

    /// Says that these bytes will be read soon: the disk may fetch those of many files at once. Changes nothing of what is read.
    fn will_read(&self, _at: u64, _bytes: u64) {}
}

/// A disk operation failed.
#[derive(Debug, thiserror::Error)]
#[error("can't {operation} {name}: {source}")]
pub struct DiskError {
    /// What was tried, as a verb.
    pub operation: &'static str,
    /// The file.
    pub name: String,
    /// What the disk said.
    pub source: io::Error,
}

impl DiskError {
    /// For `map_err`: names the operation and the file.
    pub(crate) fn of(operation: &'static str, name: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { operation, name: name.to_owned(), source }
    }
}
