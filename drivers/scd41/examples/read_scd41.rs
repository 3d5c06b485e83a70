//! Reads an SCD41 on a bus of Linux:
//! `cargo run -p lamppost-scd41 --example read_scd41 -- --bus /dev/i2c-1 --count 3`

#![expect(clippy::print_stdout, reason = "an example shows what it has read")]

use clap::Parser;
use lamppost_scd41::Scd41;
use linux_embedded_hal::{Delay, I2cdev};

#[derive(Parser)]
struct Options {
    /// The bus.
    #[arg(long, default_value = "/dev/i2c-1")]
    bus: String,
    /// How many measurements, of 5 s each.
    #[arg(long, default_value_t = 1)]
    count: u32,
}

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let options = Options::parse();
    let mut sensor = Scd41::new(I2cdev::new(options.bus)?, &mut Delay)?;
    println!("SCD41, serial number {:012x}", sensor.serial_number(&mut Delay)?);
    for _ in 0..options.count {
        let found = sensor.measure(&mut Delay)?;
        println!("{}, {}, {}", found.co2, found.temperature, found.humidity);
    }
    Ok(())
}
