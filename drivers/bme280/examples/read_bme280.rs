//! Reads a BME280 on a bus of Linux:
//! `cargo run -p lamppost-bme280 --example read_bme280 -- --bus /dev/i2c-1 --address 118`

#![expect(clippy::print_stdout, reason = "an example shows what it has read")]

use clap::Parser;
use lamppost_bme280::{Address, Bme280, Settings};
use linux_embedded_hal::{Delay, I2cdev};

#[derive(Parser)]
struct Options {
    /// The bus.
    #[arg(long, default_value = "/dev/i2c-1")]
    bus: String,
    /// The chip's address, 118 (0x76) or 119 (0x77).
    #[arg(long, default_value_t = Address::default().get())]
    address: u8,
}

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let options = Options::parse();
    let address = Address::new(options.address).ok_or("a BME280 has the address 118 (0x76) or 119 (0x77)")?;
    let mut sensor = Bme280::new(I2cdev::new(options.bus)?, address, Settings::default(), &mut Delay)?;
    let found = sensor.measure(&mut Delay)?;
    println!("{}, {}, {}", found.temperature, found.pressure, found.humidity);
    Ok(())
}
