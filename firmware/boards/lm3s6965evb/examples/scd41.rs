//! Reads an SCD41, whenever it has measured, each five seconds: `firmware/build lm3s6965evb --example scd41`.

#![no_std]
#![no_main]

mod board;

use core::convert::Infallible;

use cortex_m_rt::entry;
use embedded_hal::delay::DelayNs;
use lamppost_scd41::{Error, Interval, Scd41};
use lm3s6965evb::clock::Delay;
use lm3s6965evb::i2c::{Bus, BusError};
use lm3s6965evb::uart::Console;

#[entry]
fn main() -> ! {
    board::run_on_bus(read)
}

fn read(bus: Bus, console: &mut Console) -> Result<Infallible, Error<BusError>> {
    let mut sensor = Scd41::new(bus, &mut Delay)?;
    console.say(format_args!("SCD41, serial number {:012x}", sensor.serial_number(&mut Delay)?));
    sensor.start_periodic(Interval::FiveSeconds)?;
    loop {
        Delay.delay_ms(1_000);
        if let Some(found) = sensor.take(&mut Delay)? {
            console.say(format_args!("{}, {}, {}", found.co2, found.temperature, found.humidity));
        }
    }
}
