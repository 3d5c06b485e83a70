//! Reads the magnetometer of an LSM303DLHC, once a second: `firmware/build lm3s6965evb --example lsm303dlhc`. What counts vehicles by
//! it is `src/bin/traffic.rs`.

#![no_std]
#![no_main]

mod board;

use core::convert::Infallible;

use cortex_m_rt::entry;
use embedded_hal::delay::DelayNs;
use lamppost_lsm303dlhc::{Error, Lsm303dlhc, Range, Rate};
use lm3s6965evb::clock::Delay;
use lm3s6965evb::i2c::{Bus, BusError};
use lm3s6965evb::uart::Console;

#[entry]
fn main() -> ! {
    board::run_on_bus(read)
}

fn read(bus: Bus, console: &mut Console) -> Result<Infallible, Error<BusError>> {
    let mut sensor = Lsm303dlhc::new(bus, Range::Gauss1_3, Rate::Hz15)?;
    loop {
        Delay.delay_ms(1_000);
        let field = sensor.read()?;
        console.say(format_args!("{}, {}, {}", field.x, field.y, field.z));
    }
}
