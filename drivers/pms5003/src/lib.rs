//! Plantower PMS5003 sensor of dust, and those with the same protocol (PMS1003, PMS6003, PMS7003, PMSA003), on a serial line:
//! 9600 baud, eight bits, no parity, one stop bit, 3.3 V (data manual 2016, appendix I).
//!
//! ```text
//! reading:  42 4d 00 1c  12 words: masses (CF = 1), masses (atmosphere), counts   version error  sum
//! answer:   42 4d 00 04  command argument  sum
//! command:  42 4d command 00 argument  sum
//! ```
//!
//! Words are big-endian; the sum is that of all bytes before it, in 16 bits. A sensor that starts sends readings on its own,
//! each 0.2 to 2.3 s.
//!
//! [`Parser`] finds frames in bytes and does no I/O; [`Pms5003`] reads a port that blocks, [`asynchronous::Pms5003`] one that is
//! awaited.
//!
//! What judges the constants: frames of real sensors that others have published, and the commands of Linux's driver
//! (drivers/iio/chemical/pms7003.c). The data manual's text was not to be had; that the second three masses are those of the
//! atmosphere, and the counts' meaning, are as the manual is remembered and as others' drivers have them.
//!
//! `examples/read_pms5003.rs` is for Linux, `firmware/boards/lm3s6965evb/examples/pms5003.rs` for a board.

#![no_std]
#![forbid(unsafe_code)]

mod frame;
mod parser;

use core::fmt;

use lamppost_both_ways::both_ways;

pub use blocking::Pms5003;
pub use frame::{Command, Counts, Frame, FrameError, Masses, Reading};
pub use parser::Parser;

/// How many bytes are read for one frame before it is given up: four of the longest.
pub const BYTES_MAX: usize = 4 * frame::FRAME_BYTES_MAX;

/// Why there is no frame; `E` is the port's own error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error<E> {
    /// The port could not be read.
    Read(E),
    /// The port could not be written.
    Write(E),
    /// The port has ended.
    Ended,
    /// No frame was in so many bytes.
    NoFrame {
        /// How many.
        bytes: usize,
        /// What was wrong with the last one that looked like a frame.
        last: Option<FrameError>,
    },
}

impl<E: fmt::Debug> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(source) => write!(f, "reading the PMS5003's line: {source:?}"),
            Self::Write(source) => write!(f, "writing the PMS5003's line: {source:?}"),
            Self::Ended => f.write_str("the PMS5003's line has ended"),
            Self::NoFrame { bytes, last: None } => write!(f, "no PMS5003 frame in {bytes} bytes: is it 9600 baud?"),
            Self::NoFrame { bytes, last: Some(last) } => {
                write!(f, "no PMS5003 frame in {bytes} bytes; the last: {last}")
            }
        }
    }
}

impl<E: fmt::Debug> core::error::Error for Error<E> {}

#[both_ways]
pub mod asynchronous {
    use embedded_io_async::{Read, Write};

    use super::*;

    /// A PMS5003 on a port.
    #[derive(Debug)]
    pub struct Pms5003<P> {
        port: P,
        parser: Parser,
    }

    impl<P> Pms5003<P> {
        /// The sensor at `port`, which is set to 9600 baud. Nothing is sent yet.
        pub const fn new(port: P) -> Self {
            Self { port, parser: Parser::new() }
        }

        /// Gives the port back.
        pub fn release(self) -> P {
            self.port
        }
    }

    impl<P: Read> Pms5003<P> {
        /// The next frame, of at most [`BYTES_MAX`] bytes: 133 ms of a line that is never silent. How long a silent one is waited
        /// for is the port's affair, or the caller's, who may drop the future: what was read is kept.
        ///
        /// # Errors
        /// [`Error::NoFrame`] if there is none in so many bytes, [`Error::Read`] and [`Error::Ended`].
        pub async fn read(&mut self) -> Result<Frame, Error<P::Error>> {
            let (mut bytes, mut last) = (0, None);
            while bytes < BYTES_MAX {
                let mut came = [0; frame::FRAME_BYTES_MAX];
                let wanted = came.get_mut(..self.parser.missing()).unwrap_or_default();
                let count = self.port.read(wanted).await.map_err(Error::Read)?;
                if count == 0 {
                    return Err(Error::Ended);
                }
                bytes += count;
                for byte in came.iter().take(count) {
                    match self.parser.push(*byte) {
                        Ok(Some(frame)) => return Ok(frame),
                        Ok(None) => {}
                        Err(error) => last = Some(error),
                    }
                }
            }
            Err(Error::NoFrame { bytes, last })
        }
    }

    impl<P: Write> Pms5003<P> {
        /// Sends a command. [`Command::Active`], [`Command::Passive`] and [`Command::Sleep`] are answered with
        /// [`Frame::Answer`], perhaps after readings that were under way.
        ///
        /// # Errors
        /// [`Error::Write`].
        pub async fn send(&mut self, command: Command) -> Result<(), Error<P::Error>> {
            self.port.write_all(&command.bytes()).await.map_err(Error::Write)?;
            self.port.flush().await.map_err(Error::Write)
        }
    }
}

#[cfg(test)]
mod tests;
