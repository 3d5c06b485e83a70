//! What can go wrong.

use core::fmt;

use lamppost_sensirion::WrongCrc;

use crate::{Command, Status};

/// Why the sensor could not be told something, or has said nothing; `E` is the bus's own error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error<E> {
    /// A command could not be sent.
    Send {
        /// Which.
        command: Command,
        /// What the bus said.
        source: E,
    },
    /// The answer to a command could not be fetched.
    Answer {
        /// To which.
        command: Command,
        /// What the bus said.
        source: E,
    },
    /// The answer to a command is damaged.
    Crc {
        /// To which.
        command: Command,
        /// Where, and how.
        wrong: WrongCrc,
    },
    /// The firmware does not give whole numbers: that takes version 2.0.
    Firmware {
        /// Its version.
        major: u8,
        /// And the second part of it.
        minor: u8,
    },
    /// The sensor says that something is wrong with it.
    Faulty(Status),
    /// A measurement was not there in its time.
    NotReady {
        /// How long it was waited for, in milliseconds.
        waited_ms: u32,
    },
}

impl<E: fmt::Debug> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send { command, source } => write!(f, "sending SPS30 command {command}: {source:?}"),
            Self::Answer { command, source } => write!(f, "the answer to SPS30 command {command}: {source:?}"),
            Self::Crc { command, wrong } => write!(f, "the answer to SPS30 command {command} is damaged: {wrong}"),
            Self::Firmware { major, minor } => {
                write!(f, "the SPS30's firmware {major}.{minor} gives no whole numbers: that takes 2.0")
            }
            Self::Faulty(status) => write!(f, "SPS30 command {}: {status}", Command::ReadDeviceStatus),
            Self::NotReady { waited_ms } => {
                let command = Command::ReadDataReadyFlag;
                write!(f, "SPS30 command {command} told of no measurement within {waited_ms} ms")
            }
        }
    }
}

impl<E: fmt::Debug> core::error::Error for Error<E> {}
