//! The board's LSM303DLHC.

use lamppost_lsm303dlhc::{Error, Lsm303dlhc, MagneticField, OutputError, Range, Rate, Register};

use crate::i2c::{Bus, BusError};
use crate::sought::{Part, Sought};
use crate::uart::Console;

/// How often it measures.
pub const RATE: Rate = Rate::Hz75;

/// What a reading found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A field.
    Field(MagneticField),
    /// One beyond the range.
    Saturated,
}

/// The magnetometer.
pub type Magnetometer = Sought<Lsm303dlhc<Bus>>;

impl Part for Lsm303dlhc<Bus> {
    type Error = Error<BusError>;
    const NAMES: [&'static str; 2] = ["magnetometer", "LSM303DLHC at 0x1e"];

    fn no_bus(source: BusError) -> Self::Error {
        Error::Read { register: Register::Identity, source }
    }

    fn start(bus: Bus) -> Result<Self, Self::Error> {
        Self::new(bus, Range::Gauss1_3, RATE)
    }
}

/// The field; `None` if no chip answers, which is said on the console.
pub fn field(magnetometer: &mut Magnetometer, console: &mut Console) -> Option<Found> {
    magnetometer.read(console, |chip| match chip.read() {
        Ok(field) => Ok(Found::Field(field)),
        Err(Error::Output(OutputError::Saturated { .. })) => Ok(Found::Saturated),
        Err(error) => Err(error),
    })
}
