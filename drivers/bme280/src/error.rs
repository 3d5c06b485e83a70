//! What can go wrong.

use core::fmt;

use crate::{CHIP_ID, Register};

/// One of the three quantities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Temperature.
    Temperature,
    /// Pressure.
    Pressure,
    /// Humidity.
    Humidity,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Temperature => "temperature",
            Self::Pressure => "pressure",
            Self::Humidity => "humidity",
        })
    }
}

/// Why there is no measurement; `E` is the bus's own error.
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
    ChipId {
        /// What register 0xd0 holds instead of 0x60.
        found: u8,
    },
    /// The status register kept saying "busy".
    Busy {
        /// How often it was asked, a millisecond apart.
        polls: u32,
    },
    /// The chip has not measured: it holds the code for "skipped", and not the settings that it was given.
    Skipped {
        /// The first quantity that is missing.
        channel: Channel,
    },
    /// The compensated value is outside of what the numbers can hold: the calibration or the reading is broken.
    Implausible {
        /// Of which quantity.
        channel: Channel,
    },
}

impl<E: fmt::Debug> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { register, source } => write!(f, "reading BME280 register {register}: {source:?}"),
            Self::Write { register, source } => write!(f, "writing BME280 register {register}: {source:?}"),
            Self::ChipId { found } => {
                let register = Register::Id;
                write!(f, "not a BME280: register {register} holds 0x{found:02x}, not 0x{CHIP_ID:02x}")
            }
            Self::Busy { polls } => {
                let register = Register::Status;
                write!(f, "BME280 register {register} said busy {polls} times, a millisecond apart")
            }
            Self::Skipped { channel } => {
                write!(f, "the BME280 has not measured {channel}: it has lost its settings")
            }
            Self::Implausible { channel } => {
                write!(f, "the BME280's {channel} can't be: its calibration or its reading is broken")
            }
        }
    }
}

impl<E: fmt::Debug> core::error::Error for Error<E> {}
