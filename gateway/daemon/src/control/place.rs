//! Where the socket is, and paths longer than a socket's address has room for.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

/// `sun_path` has 108 bytes, with the one that ends it (unix(7)).
const ADDRESS_BYTES_MAX: usize = 107;

/// An address that leads to the socket, as long as this lives.
pub(super) struct Address {
    path: PathBuf,
    _folder: Option<OwnedFd>,
}

impl Address {
    /// The path itself, or where that is too long, one by way of its open folder.
    ///
    /// # Errors
    /// The folder can't be opened.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the path of a socket"));
        };
        if path.as_os_str().len() <= ADDRESS_BYTES_MAX {
            return Ok(Self { path: path.to_owned(), _folder: None });
        }
        let folder =
            rustix::fs::openat(CWD, folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        Ok(Self { path, _folder: Some(folder) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
