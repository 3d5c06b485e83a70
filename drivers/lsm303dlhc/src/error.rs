//! What can go wrong.

use core::fmt;

use crate::{IDENTITY, OutputError, Register};

/// Why the magnetometer could not be read or set; `E` is the bus's own error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error<E> {
    /// A register could not be read.
    Read {
        /// Which.
        register: Register,
        /// What the bus said.
        source: E,
    },
    /// A register could not be written.
    Write {
        /// Which.
        register: Register,
        /// What the bus said.
        source: E,
    },
    /// Another chip answers.
    Identity {
        /// What its registers 0x0a to 0x0c hold.
        found: [u8; 3],
    },
    /// What was measured is no field.
    Output(OutputError),
    /// It has had nothing new for longer than it takes to measure. For the caller to say, who knows the time.
    NothingNew,
}

impl<E: fmt::Debug> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { register, source } => write!(f, "reading LSM303DLHC register {register}: {source:?}"),
            Self::Write { register, source } => write!(f, "writing LSM303DLHC register {register}: {source:?}"),
            Self::Identity { found } => {
                write!(f, "LSM303DLHC register {}: {found:02x?} instead of {IDENTITY:02x?}", Register::Identity)
            }
            Self::NothingNew => f.write_str("LSM303DLHC measures nothing new: it was reset, or hangs"),
            Self::Output(error) => write!(f, "LSM303DLHC register {}: {error}", Register::Output),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for Error<E> {}
