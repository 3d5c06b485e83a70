//! The board's TMP105.

use lamppost_tmp105::{Address, Error, Register, Resolution, Tmp105};

use crate::clock;
use crate::i2c::{Bus, BusError};
use crate::sought::{Part, Sought};

/// The thermometer.
pub type Thermometer = Sought<Tmp105<Bus>>;

const RESOLUTION: Resolution = Resolution::Bits12;

impl Part for Tmp105<Bus> {
    type Error = Error<BusError>;
    const NAMES: [&'static str; 2] = ["thermometer", "TMP105 at 0x48"];

    fn no_bus(source: BusError) -> Self::Error {
        Error::Write { register: Register::Configuration, source }
    }

    /// Waits for the first conversion: before that, it reads 0 °C.
    fn start(bus: Bus) -> Result<Self, Self::Error> {
        let mut chip = Self::new(bus, Address::default());
        chip.set_resolution(RESOLUTION)?;
        clock::wait_ms(u64::from(RESOLUTION.conversion_us().div_ceil(1000)));
        Ok(chip)
    }
}
