//! The board's LSM303DLHC.

use lamppost_lsm303dlhc::{Error, Lsm303dlhc, MagneticField, OutputError, Range, Rate, Register};
use lamppost_vehicle::Pace;

use crate::clock;
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
    /// Nothing that was not found before.
    NothingNew,
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
        let chip = Self::new(bus, Range::Gauss1_3, RATE)?;
        // And the tick that is under way.
        clock::wait_ms(u64::from((2 * RATE.interval_us()).div_ceil(1_000)) + 1);
        Ok(chip)
    }
}

/// What a look brings; `None` if no chip answers, or one that stands still by its `pace`, which is said on the console.
pub fn look(magnetometer: &mut Magnetometer, pace: &Pace, console: &mut Console) -> Option<Found> {
    magnetometer.read(console, |chip| match chip.take() {
        Ok(Some(field)) => Ok(Found::Field(field)),
        Ok(None) if pace.stands_still() => Err(Error::NothingNew),
        Ok(None) => Ok(Found::NothingNew),
        Err(Error::Output(OutputError::Saturated { .. })) => Ok(Found::Saturated),
        Err(error) => Err(error),
    })
}
