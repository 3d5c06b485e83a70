//! Reads an SPS30 on a bus of Linux:
//! `cargo run -p lamppost-sps30 --example read_sps30 -- --bus /dev/i2c-1 --seconds 30`

#![expect(clippy::print_stdout, reason = "an example shows what it has read")]

use clap::Parser;
use embedded_hal::delay::DelayNs;
use lamppost_sps30::{INTERVAL_MS, Sps30};
use linux_embedded_hal::{Delay, I2cdev};

#[derive(Parser)]
struct Options {
    /// The bus.
    #[arg(long, default_value = "/dev/i2c-1")]
    bus: String,
    /// How long to measure.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
}

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let options = Options::parse();
    let mut sensor = Sps30::new(I2cdev::new(options.bus)?, &mut Delay)?;
    sensor.start(&mut Delay)?;
    for _ in 0..options.seconds {
        Delay.delay_ms(INTERVAL_MS);
        if let Some(found) = sensor.take(&mut Delay)? {
            println!("PM1 {}, PM2.5 {}, PM10 {}", found.pm1, found.pm2_5, found.pm10);
        }
    }
    sensor.stop(&mut Delay)?;
    Ok(())
}
