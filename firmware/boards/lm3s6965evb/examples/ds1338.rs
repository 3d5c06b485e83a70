//! Reads a DS1338 at 0x68, once a second: `firmware/build lm3s6965evb --example ds1338`. One that was never set says so; to set it
//! is `clock.set(DateTime::from_unix_s(seconds)…)`.

#![no_std]
#![no_main]

mod board;

use core::convert::Infallible;

use cortex_m_rt::entry;
use embedded_hal::delay::DelayNs;
use lamppost_ds1338::{Ds1338, Error, Kind};
use lm3s6965evb::clock::Delay;
use lm3s6965evb::i2c::{Bus, BusError};
use lm3s6965evb::uart::Console;

#[entry]
fn main() -> ! {
    board::run_on_bus(read)
}

fn read(bus: Bus, console: &mut Console) -> Result<Infallible, Error<BusError>> {
    let mut clock = Ds1338::new(bus, Kind::Ds1338);
    loop {
        console.say(format_args!("{}", clock.time()?));
        Delay.delay_ms(1_000);
    }
}
