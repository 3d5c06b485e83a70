//! Reads a BME280 at 0x76, once a second: `firmware/build lm3s6965evb --example bme280`.

#![no_std]
#![no_main]

mod board;

use core::convert::Infallible;

use cortex_m_rt::entry;
use embedded_hal::delay::DelayNs;
use lamppost_bme280::{Address, Bme280, Error, Settings};
use lm3s6965evb::clock::Delay;
use lm3s6965evb::i2c::{Bus, BusError};
use lm3s6965evb::uart::Console;

#[entry]
fn main() -> ! {
    board::run_on_bus(read)
}

fn read(bus: Bus, console: &mut Console) -> Result<Infallible, Error<BusError>> {
    let mut sensor = Bme280::new(bus, Address::default(), Settings::default(), &mut Delay)?;
    loop {
        let found = sensor.measure(&mut Delay)?;
        console.say(format_args!("{}, {}, {}", found.temperature, found.pressure, found.humidity));
        Delay.delay_ms(1_000);
    }
}
