//! The terminal, and the mischief on the way to it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;

use crate::options::Options;

/// At most so much waits for the terminal.
const WAITING_BYTES_MAX: usize = 8 * 1024;

/// One serial line.
pub(crate) struct Line {
    terminal: OwnedFd,
    /// The frame that is being put together, where the line is bad.
    frame: Vec<u8>,
    waiting: Vec<u8>,
    mischief: Option<Mischief>,
}

impl Line {
    pub(crate) fn open(options: &Options) -> io::Result<Self> {
        let terminal = match &options.port {
            Some(path) => rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK, Mode::empty())?,
            None => pseudo_terminal(options)?,
        };
        let mut termios = rustix::termios::tcgetattr(&terminal)?;
        termios.make_raw();
        rustix::termios::tcsetattr(&terminal, rustix::termios::OptionalActions::Now, &termios)?;
        let mischief = options.garbage.map(|seed| {
            eprintln!("ptynode: a bad line, seed {seed}");
            Mischief { dice: seed, last: Vec::new(), harmed: 0 }
        });
        Ok(Self { terminal, frame: Vec::new(), waiting: Vec::new(), mischief })
    }

    /// How many frames were harmed or doubled.
    pub(crate) fn harmed(&self) -> u64 {
        self.mischief.as_ref().map_or(0, |mischief| mischief.harmed)
    }

    /// Takes bytes for the terminal, all or none.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> usize {
        if self.waiting.len() > WAITING_BYTES_MAX {
            return 0;
        }
        let Some(mischief) = &mut self.mischief else {
            self.waiting.extend_from_slice(bytes);
            return bytes.len();
        };
        for byte in bytes {
            self.frame.push(*byte);
            // Frames begin and end with a zero byte.
            if *byte == 0 && self.frame.len() > 1 {
                mischief.pass(&self.frame, &mut self.waiting);
                self.frame.clear();
            }
        }
        bytes.len()
    }

    /// Writes what the terminal has room for.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            match rustix::io::write(&self.terminal, &self.waiting) {
                Ok(written) => drop(self.waiting.drain(..written)),
                Err(error) if absent(error) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// What has come, without waiting.
    pub(crate) fn receive(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match rustix::io::read(&self.terminal, bytes) {
            Ok(length) => Ok(length),
            Err(error) if absent(error) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

/// Nothing there now; EIO: nobody has the other end of the pseudo-terminal open.
fn absent(error: Errno) -> bool {
    matches!(error, Errno::AGAIN | Errno::IO | Errno::INTR)
}

fn pseudo_terminal(options: &Options) -> io::Result<OwnedFd> {
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    rustix::pty::grantpt(&master)?;
    rustix::pty::unlockpt(&master)?;
    rustix::fs::fcntl_setfl(&master, OFlags::NONBLOCK)?;
    let path = rustix::pty::ptsname(&master, Vec::new())?.into_string().map_err(io::Error::other)?;
    if let Some(link) = &options.link {
        if link.is_symlink() {
            std::fs::remove_file(link)?;
        }
        std::os::unix::fs::symlink(&path, link)?;
    }
    println!("port {path}");
    Ok(master)
}

/// Harms one frame in three.
struct Mischief {
    /// SplitMix64's state.
    dice: u64,
    last: Vec<u8>,
    harmed: u64,
}

impl Mischief {
    fn below(&mut self, bound: usize) -> usize {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % (bound.max(1) as u64)).unwrap_or(0)
    }

    fn pass(&mut self, frame: &[u8], out: &mut Vec<u8>) {
        if self.below(3) > 0 {
            out.extend_from_slice(frame);
            self.last = frame.to_vec();
            return;
        }
        self.harmed += 1;
        let mut frame = frame.to_vec();
        match self.below(4) {
            // Garbage before it.
            0 => {
                for _ in 0..self.below(60) {
                    let byte = self.below(256);
                    out.push(u8::try_from(byte).unwrap_or(0));
                }
            }
            // Its end is missing.
            1 => frame.truncate(self.below(frame.len())),
            // A bit is flipped.
            2 => {
                let (at, bit) = (self.below(frame.len()), self.below(8));
                if let Some(byte) = frame.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            // The last good one comes once more.
            _ => out.extend_from_slice(&self.last),
        }
        out.extend_from_slice(&frame);
    }
}
