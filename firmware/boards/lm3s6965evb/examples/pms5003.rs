//! Reads a PMS5003 on UART0, which sends on its own about once a second: `firmware/build lm3s6965evb --example pms5003`.

#![no_std]
#![no_main]

mod board;

use core::convert::Infallible;

use cortex_m_rt::entry;
use lamppost_pms5003::{Frame, FrameError, Parser};
use lm3s6965evb::uart::{Console, Uart};

const BAUD: u32 = 9_600;

#[entry]
fn main() -> ! {
    board::run_on_line(BAUD, read)
}

fn read(line: &mut Uart, console: &mut Console) -> Result<Infallible, FrameError> {
    let mut parser = Parser::new();
    loop {
        let mut byte = [0; 1];
        if line.receive(&mut byte) == 0 {
            // A byte's interrupt wakes it.
            cortex_m::asm::wfi();
            continue;
        }
        if let Some(Frame::Reading(found)) = parser.push(byte[0])? {
            let masses = found.atmospheric;
            console.say(format_args!("PM1 {}, PM2.5 {}, PM10 {}", masses.pm1, masses.pm2_5, masses.pm10));
        }
    }
}
