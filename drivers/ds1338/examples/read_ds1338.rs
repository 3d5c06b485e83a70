//! Reads a clock on a bus of Linux, or sets it to seconds since 1970:
//! `cargo run -p lamppost-ds1338 --example read_ds1338 -- --bus /dev/i2c-1 --set "$(date +%s)"`

#![expect(clippy::print_stdout, reason = "an example shows what it has read")]

use clap::Parser;
use lamppost_ds1338::{DateTime, Ds1338, Kind};
use linux_embedded_hal::I2cdev;

#[derive(Parser)]
struct Options {
    /// The bus.
    #[arg(long, default_value = "/dev/i2c-1")]
    bus: String,
    /// It is a DS3231.
    #[arg(long)]
    ds3231: bool,
    /// Set it, to so many seconds since 1970.
    #[arg(long)]
    set: Option<u64>,
}

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let options = Options::parse();
    let kind = if options.ds3231 { Kind::Ds3231 } else { Kind::Ds1338 };
    let mut clock = Ds1338::new(I2cdev::new(options.bus)?, kind);
    if let Some(seconds) = options.set {
        clock.set(DateTime::from_unix_s(seconds).ok_or("no year from 2000 to 2199")?)?;
    }
    println!("{kind}: {}", clock.time()?);
    Ok(())
}
