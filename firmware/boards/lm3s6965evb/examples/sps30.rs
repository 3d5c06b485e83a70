//! Reads an SPS30, once a second: `firmware/build lm3s6965evb --example sps30`. What it says is as specified after 30 s.

#![no_std]
#![no_main]

mod board;

use core::convert::Infallible;

use cortex_m_rt::entry;
use embedded_hal::delay::DelayNs;
use lamppost_sps30::{Error, INTERVAL_MS, Sps30};
use lm3s6965evb::clock::Delay;
use lm3s6965evb::i2c::{Bus, BusError};
use lm3s6965evb::uart::Console;

#[entry]
fn main() -> ! {
    board::run_on_bus(read)
}

fn read(bus: Bus, console: &mut Console) -> Result<Infallible, Error<BusError>> {
    let mut sensor = Sps30::new(bus, &mut Delay)?;
    sensor.start(&mut Delay)?;
    loop {
        Delay.delay_ms(INTERVAL_MS);
        if let Some(found) = sensor.take(&mut Delay)? {
            console.say(format_args!("PM1 {}, PM2.5 {}, PM10 {}", found.pm1, found.pm2_5, found.pm10));
        }
    }
}
