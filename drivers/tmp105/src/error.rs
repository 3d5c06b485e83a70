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
    /// The configuration is no longer what it was when it was set: the chip was reset, and perhaps reads 0 °C.
    Reset {
        /// What it was, without the bit that changes by itself.
        set: u8,
        /// What it is, likewise.
        found: u8,
    },
}

impl<E: fmt::Debug> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { register, source } => write!(f, "reading TMP105 register {register}: {source:?}"),
            Self::Reset { set, found } => {
                let register = Register::Configuration;
                write!(f, "TMP105 register {register}: 0x{found:02x} instead of 0x{set:02x}: the chip was reset")
            }
            Self::Write { register, source } => write!(f, "writing TMP105 register {register}: {source:?}"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for Error<E> {}
