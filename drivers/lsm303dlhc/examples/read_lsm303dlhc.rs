//! Reads the field on a bus of Linux, once a second:
//! `cargo run -p lamppost-lsm303dlhc --example read_lsm303dlhc -- --bus /dev/i2c-1`

#![expect(clippy::print_stdout, reason = "an example shows what it has read")]

use std::time::Duration;

use clap::Parser;
use lamppost_lsm303dlhc::{Lsm303dlhc, Range, Rate};
use linux_embedded_hal::I2cdev;

#[derive(Parser)]
struct Options {
    /// The bus.
    #[arg(long, default_value = "/dev/i2c-1")]
    bus: String,
}

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let options = Options::parse();
    let mut sensor = Lsm303dlhc::new(I2cdev::new(options.bus)?, Range::Gauss1_3, Rate::Hz15)?;
    loop {
        std::thread::sleep(Duration::from_secs(1));
        match sensor.read() {
            Ok(field) => println!("{}, {}, {}", field.x, field.y, field.z),
            Err(error) => println!("{error}"),
        }
    }
}
