//! The board's TMP105, wherever it is: on I2C1 or I2C0 (which of them QEMU attaches a device to depends on its version).

use lamppost_tmp105::{Address, Error, Resolution, Tmp105};
use lamppost_units::Celsius;

use crate::clock;
use crate::i2c::{Bus, BusError, Controller};
use crate::uart::Console;

/// The thermometer. Found when it is first read, and anew after each failure: it may have been replaced, or have lost its
/// settings.
pub struct Thermometer {
    chip: Option<Tmp105<Bus>>,
    /// What was last said of it on the console: said once, not at each reading.
    said: Result<Controller, Error<BusError>>,
}

impl Thermometer {
    /// One that has not been looked for.
    pub const fn new() -> Self {
        let register = lamppost_tmp105::Register::Configuration;
        Self { chip: None, said: Err(Error::Write { register, source: BusError::NoController }) }
    }

    /// The temperature; `None` if no chip answers, which is said on the console.
    pub fn read(&mut self, console: &mut Console) -> Option<Celsius> {
        let mut chip = match self.chip.take() {
            Some(chip) => chip,
            None => self.find(console)?,
        };
        match chip.read() {
            Ok(temperature) => {
                self.chip = Some(chip);
                Some(temperature)
            }
            Err(error) => {
                self.say(Err(error), console);
                None
            }
        }
    }

    /// Looks for the chip and waits for its first conversion: before that, it reads 0 °C.
    fn find(&mut self, console: &mut Console) -> Option<Tmp105<Bus>> {
        let first = start(Controller::I2c1).or_else(|_| start(Controller::I2c0));
        match first {
            Ok((controller, chip)) => {
                self.say(Ok(controller), console);
                clock::wait_ms(u64::from(RESOLUTION.conversion_us().div_ceil(1000)));
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
            Ok(controller) => console.say(format_args!("thermometer: TMP105 at 0x48 on {controller:?}")),
            Err(error) => console.say(format_args!("thermometer: {error}")),
        }
    }
}

impl Default for Thermometer {
    fn default() -> Self {
        Self::new()
    }
}

const RESOLUTION: Resolution = Resolution::Bits12;

fn start(controller: Controller) -> Result<(Controller, Tmp105<Bus>), Error<BusError>> {
    let register = lamppost_tmp105::Register::Configuration;
    let bus = Bus::start(controller).map_err(|source| Error::Write { register, source })?;
    let mut chip = Tmp105::new(bus, Address::default());
    chip.set_resolution(RESOLUTION)?;
    Ok((controller, chip))
}
