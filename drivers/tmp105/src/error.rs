//! What can go wrong.

use core::fmt;

use crate::Register;

/// Why the chip could not be read or set; `E` is the bus's own error.
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
}

impl<E: fmt::Debug> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { register, source } => write!(f, "reading TMP105 register {register}: {source:?}"),
            Self::Write { register, source } => write!(f, "writing TMP105 register {register}: {source:?}"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for Error<E> {}
