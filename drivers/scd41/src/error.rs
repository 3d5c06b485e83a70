//! What can go wrong.

use core::fmt;

use lamppost_sensirion::WrongCrc;

use crate::{CO2_PPM_MAX, Command};

/// Why the chip could not be told something, or has said nothing; `E` is the bus's own error.
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
    /// The chip measures on its own and takes no such command before it is stopped. Nothing was sent.
    Measuring {
        /// Which.
        command: Command,
    },
    /// What a command should set is outside of what it takes. Nothing was sent.
    Range {
        /// Which.
        command: Command,
    },
    /// A single measurement was not there in its time.
    NotReady {
        /// How long it was waited for, in milliseconds.
        waited_ms: u32,
    },
    /// The measurement holds 0 ppm: none was made.
    NoSample,
    /// The measurement holds more CO2 than the chip can tell.
    Implausible {
        /// What it says, in ppm.
        ppm: u16,
    },
    /// The recalibration failed: the chip had not measured before.
    Recalibration,
    /// The chip found itself broken.
    SelfTest {
        /// What it said; 0 is "no malfunction".
        found: u16,
    },
}

impl<E: fmt::Debug> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send { command, source } => write!(f, "sending SCD41 command {command}: {source:?}"),
            Self::Answer { command, source } => write!(f, "the answer to SCD41 command {command}: {source:?}"),
            Self::Crc { command, wrong } => write!(f, "the answer to SCD41 command {command} is damaged: {wrong}"),
            Self::Measuring { command } => {
                write!(f, "SCD41 command {command} is not taken while it measures on its own: stop it before")
            }
            Self::Range { command } => write!(f, "SCD41 command {command} does not take such a value"),
            Self::NotReady { waited_ms } => {
                let command = Command::GetDataReadyStatus;
                write!(f, "SCD41 command {command} told of no measurement within {waited_ms} ms")
            }
            Self::NoSample => f.write_str("the SCD41 has measured no CO2: it says 0 ppm"),
            Self::Implausible { ppm } => {
                let command = Command::ReadMeasurement;
                write!(f, "the answer to SCD41 command {command}: {ppm} ppm, above {CO2_PPM_MAX}")
            }
            Self::Recalibration => {
                f.write_str("the SCD41's forced recalibration failed: it has to have measured for three minutes before")
            }
            Self::SelfTest { found } => write!(f, "the SCD41's self-test failed: it says 0x{found:04x}"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for Error<E> {}
