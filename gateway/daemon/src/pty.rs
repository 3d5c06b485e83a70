//! A pseudo-terminal in place of a serial line: a device at its master's end, the gateway's source at the other.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;

/// The master's end of a pseudo-terminal, and the path of the other end.
pub(crate) struct Line {
    master: OwnedFd,
    path: PathBuf,
    /// Kept open, so that the line does not hang up while the gateway reopens its end.
    _slave: OwnedFd,
}

impl Line {
    /// Opens a pseudo-terminal in raw mode.
    pub(crate) fn open() -> io::Result<Self> {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        rustix::pty::grantpt(&master)?;
        rustix::pty::unlockpt(&master)?;
        let name = rustix::pty::ptsname(&master, Vec::new())?;
        let path = PathBuf::from(name.to_string_lossy().into_owned());
        let slave = rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
        let mut terminal = rustix::termios::tcgetattr(&slave)?;
        terminal.make_raw();
        rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &terminal)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        Ok(Self { master, path, _slave: slave })
    }

    /// The end that the gateway opens.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What has come, without waiting.
    pub(crate) fn read(&self, input: &mut [u8]) -> io::Result<usize> {
        match rustix::io::read(&self.master, input) {
            Ok(count) => Ok(count),
            Err(Errno::AGAIN | Errno::INTR | Errno::IO) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// How many of these bytes the line takes now. One that takes none, or is gone, takes 0.
    pub(crate) fn write(&self, bytes: &[u8]) -> usize {
        rustix::io::write(&self.master, bytes).unwrap_or(0)
    }

    /// Waits until something has come.
    pub(crate) fn wait_to_read(&self, at_most: Duration) -> io::Result<()> {
        self.wait(PollFlags::IN, at_most)
    }

    /// Waits until the line takes bytes.
    pub(crate) fn wait_to_write(&self, at_most: Duration) -> io::Result<()> {
        self.wait(PollFlags::OUT, at_most)
    }

    fn wait(&self, what: PollFlags, at_most: Duration) -> io::Result<()> {
        let at_most =
            rustix::time::Timespec::try_from(at_most).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
        match poll(&mut [PollFd::new(&self.master, what)], Some(&at_most)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
