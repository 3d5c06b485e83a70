//! Reads an INA226 on a bus of Linux, with the shunt of 0.1 Ω that most modules have:
//! `cargo run -p lamppost-ina226 --example read_ina226 -- --bus /dev/i2c-1 --shunt-uohm 100000`

#![expect(clippy::print_stdout, reason = "an example shows what it has read")]

use clap::Parser;
use lamppost_ina226::{Address, Averages, Calibration, Ina226, Settings};
use lamppost_units::Amperes;
use linux_embedded_hal::{Delay, I2cdev};

#[derive(Parser)]
struct Options {
    /// The bus.
    #[arg(long, default_value = "/dev/i2c-1")]
    bus: String,
    /// The chip's address, 64 (0x40) to 79 (0x4f).
    #[arg(long, default_value_t = Address::default().get())]
    address: u8,
    /// The shunt, in microohms.
    #[arg(long, default_value_t = 100_000)]
    shunt_uohm: u32,
    /// One step of current, in microamperes.
    #[arg(long, default_value_t = 25)]
    step_ua: i32,
}

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let options = Options::parse();
    let address = Address::new(options.address).ok_or("an INA226 has an address from 64 (0x40) to 79 (0x4f)")?;
    let calibration = Calibration::new(options.shunt_uohm, Amperes::from_micro(options.step_ua))?;
    let settings = Settings { averages: Averages::X16, ..Settings::default() };
    let mut sensor = Ina226::new(I2cdev::new(options.bus)?, address, settings, calibration)?;
    let found = sensor.measure(&mut Delay)?;
    println!("{}, {}, {}, {} across the shunt", found.bus, found.current, found.power, found.shunt);
    Ok(())
}
