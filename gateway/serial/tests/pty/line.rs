//! The device's end of a pseudo-terminal, driven by hand.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::pty::OpenptFlags;

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Line {
    master: OwnedFd,
}

impl Line {
    /// A new pseudo-terminal, whose other end `link` points to.
    pub(crate) fn at(link: &Path) -> Self {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let slave = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        rustix::fs::fcntl_setfl(&master, OFlags::NONBLOCK).unwrap();
        // Raw before anyone opens it, or the terminal would echo.
        let mut termios = rustix::termios::tcgetattr(&master).unwrap();
        termios.make_raw();
        rustix::termios::tcsetattr(&master, rustix::termios::OptionalActions::Now, &termios).unwrap();
        if link.is_symlink() {
            std::fs::remove_file(link).unwrap();
        }
        std::os::unix::fs::symlink(slave.to_str().unwrap(), link).unwrap();
        Self { master }
    }

    /// Writes all of it, waiting for room.
    pub(crate) async fn send(&self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let sent = self.send_some(rest);
            if sent == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            rest = &rest[sent..];
        }
    }

    /// Writes what there is room for.
    pub(crate) fn send_some(&self, bytes: &[u8]) -> usize {
        match rustix::io::write(&self.master, bytes) {
            Ok(written) => written,
            Err(rustix::io::Errno::AGAIN) => 0,
            Err(error) => panic!("{error}"),
        }
    }

    /// What has been written to the port so far and not been read, if anything.
    pub(crate) fn receive(&self) -> Vec<u8> {
        let mut bytes = [0; 512];
        match rustix::io::read(&self.master, &mut bytes) {
            Ok(length) => bytes[..length].to_vec(),
            // EIO: nobody has opened the other end.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::IO) => Vec::new(),
            Err(error) => panic!("{error}"),
        }
    }
}
