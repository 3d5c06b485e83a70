//! The board's LSM303DLHC, wherever it is: on I2C1 or I2C0 (which of them QEMU attaches a device to depends on its version).

use lamppost_lsm303dlhc::{Error, Lsm303dlhc, MagneticField, OutputError, Range, Rate, Register};

use crate::i2c::{Bus, BusError, Controller};
use crate::uart::Console;

/// What a reading found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A field.
    Field(MagneticField),
    /// One beyond the range.
    Saturated,
}

/// The magnetometer. Found when it is first read, and anew after each failure: it may have been replaced, or have lost its settings.
pub struct Magnetometer {
    chip: Option<Lsm303dlhc<Bus>>,
    /// What was last said of it on the console: said once, not at each reading.
    said: Result<Controller, Error<BusError>>,
}

/// How often it measures.
pub const RATE: Rate = Rate::Hz75;

impl Magnetometer {
    /// One that has not been looked for.
    pub const fn new() -> Self {
        Self { chip: None, said: Err(Error::Read { register: Register::Identity, source: BusError::NoController }) }
    }

    /// The field; `None` if no chip answers, which is said on the console.
    pub fn read(&mut self, console: &mut Console) -> Option<Found> {
        let mut chip = match self.chip.take() {
            Some(chip) => chip,
            None => self.find(console)?,
        };
        let found = match chip.read() {
            Ok(field) => Found::Field(field),
            Err(Error::Output(OutputError::Saturated { .. })) => Found::Saturated,
            Err(error) => {
                self.say(Err(error), console);
                return None;
            }
        };
        self.chip = Some(chip);
        Some(found)
    }

    fn find(&mut self, console: &mut Console) -> Option<Lsm303dlhc<Bus>> {
        match start(Controller::I2c1).or_else(|_| start(Controller::I2c0)) {
            Ok((controller, chip)) => {
                self.say(Ok(controller), console);
                Some(chip)
            }
            Err(error) => {
                self.say(Err(error), console);
                None
            }
        }
    }

    fn say(&mut self, state: Result<Controller, Error<BusError>>, console: &mut Console) {
        if self.said == state {
            return;
        }
        self.said = state;
        match state {
            Ok(controller) => console.say(format_args!("magnetometer: LSM303DLHC at 0x1e on {controller:?}")),
            Err(error) => console.say(format_args!("magnetometer: {error}")),
        }
    }
}

impl Default for Magnetometer {
    fn default() -> Self {
        Self::new()
    }
}

fn start(controller: Controller) -> Result<(Controller, Lsm303dlhc<Bus>), Error<BusError>> {
    let register = Register::Identity;
    let bus = Bus::start(controller).map_err(|source| Error::Read { register, source })?;
    Ok((controller, Lsm303dlhc::new(bus, Range::Gauss1_3, RATE)?))
}
