//! Reads a DPS310 at 0x77, once a second: `firmware/build lm3s6965evb --example dps310`. QEMU's model does not say what chip it
//! is, and is refused.

#![no_std]
#![no_main]

mod board;

use core::convert::Infallible;

use cortex_m_rt::entry;
use embedded_hal::delay::DelayNs;
use lamppost_dps310::{Address, Dps310, Error, Oversampling, Settings};
use lm3s6965evb::clock::Delay;
use lm3s6965evb::i2c::{Bus, BusError};
use lm3s6965evb::uart::Console;

#[entry]
fn main() -> ! {
    board::run_on_bus(read)
}

fn read(bus: Bus, console: &mut Console) -> Result<Infallible, Error<BusError>> {
    let settings = Settings { pressure: Oversampling::X16, temperature: Oversampling::X1 };
    let mut sensor = Dps310::new(bus, Address::default(), settings, &mut Delay)?;
    loop {
        let found = sensor.measure(&mut Delay)?;
        console.say(format_args!("{}, {}", found.pressure, found.temperature));
        Delay.delay_ms(1_000);
    }
}
