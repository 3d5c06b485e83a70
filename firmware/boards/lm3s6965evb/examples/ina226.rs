//! Reads an INA226 at 0x40 with a shunt of 0.1 Ω, once a second: `firmware/build lm3s6965evb --example ina226`.

#![no_std]
#![no_main]

mod board;

use core::convert::Infallible;

use cortex_m_rt::entry;
use embedded_hal::delay::DelayNs;
use lamppost_ina226::{Address, Averages, Calibration, Error, Ina226, Settings};
use lm3s6965evb::clock::Delay;
use lm3s6965evb::i2c::{Bus, BusError};
use lm3s6965evb::uart::Console;

const SHUNT_UOHM: u32 = 100_000;

#[entry]
fn main() -> ! {
    board::run_on_bus(read)
}

fn read(bus: Bus, console: &mut Console) -> Result<Infallible, Error<BusError>> {
    let calibration = Calibration::of_shunt(SHUNT_UOHM).expect("a shunt that the chip can be calibrated for");
    let settings = Settings { averages: Averages::X16, ..Settings::default() };
    let mut sensor = Ina226::new(bus, Address::default(), settings, calibration)?;
    loop {
        let found = sensor.measure(&mut Delay)?;
        console.say(format_args!("{}, {}, {}", found.bus, found.current, found.power));
        Delay.delay_ms(1_000);
    }
}
