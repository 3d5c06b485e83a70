//! Reads a DPS310 on a bus of Linux:
//! `cargo run -p lamppost-dps310 --example read_dps310 -- --bus /dev/i2c-1 --address 119`

#![expect(clippy::print_stdout, reason = "an example shows what it has read")]

use clap::Parser;
use lamppost_dps310::{Address, Dps310, Oversampling, Settings};
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
    let address = Address::new(options.address).ok_or("a DPS310 has the address 118 (0x76) or 119 (0x77)")?;
    let settings = Settings { pressure: Oversampling::X16, temperature: Oversampling::X1 };
    let mut sensor = Dps310::new(I2cdev::new(options.bus)?, address, settings, &mut Delay)?;
    let found = sensor.measure(&mut Delay)?;
    println!("{}, {}", found.pressure, found.temperature);
    Ok(())
}
