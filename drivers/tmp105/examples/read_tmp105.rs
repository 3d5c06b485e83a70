//! Reads a TMP105 or LM75 on a bus of Linux:
//! `cargo run -p lamppost-tmp105 --example read_tmp105 -- --bus /dev/i2c-1 --address 72`

#![expect(clippy::print_stdout, reason = "an example shows what it has read")]

use clap::Parser;
use embedded_hal::delay::DelayNs;
use lamppost_tmp105::{Address, Resolution, Tmp105};
use linux_embedded_hal::{Delay, I2cdev};

#[derive(Parser)]
struct Options {
    /// The bus.
    #[arg(long, default_value = "/dev/i2c-1")]
    bus: String,
    /// The chip's address, 72 (0x48) to 79 (0x4f).
    #[arg(long, default_value_t = Address::default().get())]
    address: u8,
}

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let options = Options::parse();
    let address = Address::new(options.address).ok_or("a TMP105 has an address from 72 (0x48) to 79 (0x4f)")?;
    let mut sensor = Tmp105::new(I2cdev::new(options.bus)?, address);
    sensor.set_resolution(Resolution::Bits12)?;
    Delay.delay_us(Resolution::Bits12.conversion_us());
    println!("{}", sensor.read()?);
    Ok(())
}
