//! Reads a TMP105 or LM75 at 0x48, once a second: `firmware/build lm3s6965evb --example tmp105`.

#![no_std]
#![no_main]

mod board;

use core::convert::Infallible;

use cortex_m_rt::entry;
use embedded_hal::delay::DelayNs;
use lamppost_tmp105::{Address, Error, Resolution, Tmp105};
use lm3s6965evb::clock::Delay;
use lm3s6965evb::i2c::{Bus, BusError};
use lm3s6965evb::uart::Console;

#[entry]
fn main() -> ! {
    board::run_on_bus(read)
}

fn read(bus: Bus, console: &mut Console) -> Result<Infallible, Error<BusError>> {
    let mut sensor = Tmp105::new(bus, Address::default());
    sensor.set_resolution(Resolution::Bits12)?;
    loop {
        // Longer than the first conversion takes.
        Delay.delay_ms(1_000);
        console.say(format_args!("{}", sensor.read()?));
    }
}
