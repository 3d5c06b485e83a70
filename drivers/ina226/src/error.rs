//! What can go wrong.

use core::fmt;

use crate::Register;

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
    Identity {
        /// Which register says so.
        register: Register,
        /// What it holds instead of 0x5449 (manufacturer) or 0x226x (die).
        found: u16,
    },
    /// The measurement did not end.
    Busy {
        /// How often the mask/enable register was asked, a millisecond apart.
        polls: u32,
    },
    /// The chip has lost its calibration (a brown-out): current and power read 0.
    CalibrationLost {
        /// What its register holds.
        found: u16,
    },
    /// The chip says that current and power don't fit its registers (OVF).
    Overflow,
    /// A limit that the register can't hold. Nothing was written.
    Range {
        /// Which register's.
        register: Register,
    },
}

impl<E: fmt::Debug> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { register, source } => write!(f, "reading INA226 register {register}: {source:?}"),
            Self::Write { register, source } => write!(f, "writing INA226 register {register}: {source:?}"),
            Self::Identity { register, found } => write!(f, "not an INA226: register {register} holds 0x{found:04x}"),
            Self::Busy { polls } => {
                let register = Register::MaskEnable;
                write!(
                    f,
                    "INA226 register {register} told of no measurement when asked {polls} times, a millisecond apart"
                )
            }
            Self::CalibrationLost { found } => {
                let register = Register::Calibration;
                write!(f, "the INA226 has lost its settings: register {register} holds {found}")
            }
            Self::Overflow => {
                let register = Register::MaskEnable;
                write!(f, "the INA226's current or power does not fit its register (OVF in register {register})")
            }
            Self::Range { register } => write!(f, "a value is beyond what the INA226's register {register} stands for"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for Error<E> {}
