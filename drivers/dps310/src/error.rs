//! What can go wrong.

use core::fmt;

use crate::{PRODUCT_ID, Register};

/// One of the two quantities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Temperature.
    Temperature,
    /// Pressure.
    Pressure,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Temperature => "temperature",
            Self::Pressure => "pressure",
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
    /// Another chip answers, or one that does not say what it is.
    ProductId {
        /// What register 0x0d holds instead of 0x10. QEMU's model of the chip has no such register and says 0xff:
        /// [`Dps310::unidentified`](crate::Dps310::unidentified) takes it.
        found: u8,
    },
    /// The chip did not become ready after its reset.
    NotStarted {
        /// What `MEAS_CFG` holds: `COEF_RDY` (bit 7) and `SENSOR_RDY` (bit 6) are not both set.
        found: u8,
        /// How often it was asked, 5 ms apart.
        polls: u32,
    },
    /// A measurement was not there in its time.
    NotReady {
        /// Of which quantity.
        channel: Channel,
        /// How often `MEAS_CFG` was asked, 5 ms apart.
        polls: u32,
    },
    /// The compensated value can't be: the coefficients or the reading are broken.
    Implausible {
        /// Of which quantity.
        channel: Channel,
    },
}

impl<E: fmt::Debug> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measure = Register::MeasureConfiguration;
        match self {
            Self::Read { register, source } => write!(f, "reading DPS310 register {register}: {source:?}"),
            Self::Write { register, source } => write!(f, "writing DPS310 register {register}: {source:?}"),
            Self::ProductId { found } => {
                let register = Register::ProductId;
                write!(f, "not a DPS310: register {register} holds 0x{found:02x}, not 0x{PRODUCT_ID:02x}")?;
                if *found == 0xff { f.write_str(" (QEMU's model has no such register and says 0xff)") } else { Ok(()) }
            }
            Self::NotStarted { found, polls } => write!(
                f,
                "the DPS310 is not ready after its reset: register {measure} held 0x{found:02x} when asked {polls} times, 5 ms apart"
            ),
            Self::NotReady { channel, polls } => {
                write!(f, "DPS310 register {measure} told of no {channel} when asked {polls} times, 5 ms apart")
            }
            Self::Implausible { channel } => {
                write!(f, "the DPS310's {channel} can't be: its coefficients or its reading are broken")
            }
        }
    }
}

impl<E: fmt::Debug> core::error::Error for Error<E> {}
