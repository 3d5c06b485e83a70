//! Counts vehicles by an LSM303DLHC on a bus of Linux, and says each that has passed:
//! `cargo run -p lamppost-vehicle --example count_vehicles -- --bus /dev/i2c-1`

#![expect(clippy::print_stdout, reason = "an example shows what it has counted")]

use std::time::{Duration, Instant};

use clap::Parser;
use lamppost_lsm303dlhc::{Error, Lsm303dlhc, OutputError, Range, Rate};
use lamppost_units::Microtesla;
use lamppost_vehicle::{Detector, Event, Field, Millis, Sample, Settings};
use linux_embedded_hal::I2cdev;

#[derive(Parser)]
struct Options {
    /// The bus.
    #[arg(long, default_value = "/dev/i2c-1")]
    bus: String,
    /// A vehicle may have come when the field is further than this from what it is without one, in nanoteslas.
    #[arg(long, default_value_t = 3_000)]
    enter_nt: i32,
}

#[expect(clippy::disallowed_methods, reason = "an example's clock")]
fn main() -> Result<(), Box<dyn core::error::Error>> {
    let options = Options::parse();
    let enter = Microtesla::from_nanotesla(options.enter_nt);
    let leave = Microtesla::from_nanotesla(options.enter_nt / 2);
    let mut detector = Detector::new(Settings { enter, leave, ..Settings::default() })?;
    let mut sensor = Lsm303dlhc::new(I2cdev::new(options.bus)?, Range::Gauss1_3, Rate::Hz75)?;
    let began = Instant::now();
    loop {
        std::thread::sleep(Duration::from_micros(Rate::Hz75.interval_us().into()));
        let sample = match sensor.read() {
            Ok(field) => Sample::Field(Field::new(field.x, field.y, field.z)),
            Err(Error::Output(OutputError::Saturated { .. })) => Sample::Saturated,
            Err(error) => return Err(error.to_string().into()),
        };
        let now = Millis(u64::try_from(began.elapsed().as_millis())?);
        match detector.observe(now, sample) {
            None => {}
            Some(Event::Passed(passage)) => {
                println!("vehicle {}: {} ms, {}", detector.count(), passage.duration_ms(), passage.peak);
            }
            Some(event) => println!("{event:?}"),
        }
    }
}
