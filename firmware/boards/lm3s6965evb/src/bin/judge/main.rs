//! The drivers on an I2C bus with chips that somebody else made: QEMU's. On UART0 it is asked, a line for each question, and answers
//! with what the driver says, a line for each answer; a test sets the chips over QMP, and compares.
//!
//! | question | answer |
//! |---|---|
//! | `tmp105` | the temperature in ten-thousandths of a degree Celsius |
//! | `lsm303 N` | X, Y and Z in nanoteslas, with the Nth range (0 the finest, to 6) |
//! | `dps310` | nothing but an error: QEMU's model does not say what chip it is |
//! | `dps310 unidentified` | the pressure in millipascals, the temperature in ten-thousandths of a degree Celsius |
//! | `ds1338` | the clock's time, in seconds since 1970 |
//! | `ds1338 S` | `set`: the clock is set to S seconds since 1970 |
//! | `read A R N` | N bytes (1 to 32) of the chip at address A from register R on, in hexadecimal, past every driver |
//! | `write A R V` | `written`: V to register R of the chip at address A, past every driver |
//! | anything else | `error: no such question` |
//!
//! Where the driver fails, the answer is `error: ` and what it says. Nothing is remembered: each question sets its chip up anew.

#![no_std]
#![no_main]

mod questions;

use core::fmt::Write;

use cortex_m::peripheral::Peripherals;
use cortex_m_rt::entry;
use heapless::String;
use lamppost_dps310::Dps310;
use lm3s6965evb::uart::{Console, Uart};
use lm3s6965evb::{clock, power};

/// The longest question or answer.
const LINE_BYTES_MAX: usize = 128;
type Line = String<LINE_BYTES_MAX>;

#[entry]
fn main() -> ! {
    power::on();
    let core = Peripherals::take().expect("taken only here");
    clock::start(core.SYST);
    let mut uart = Uart::start();
    Console::start().say(format_args!("judge: ask"));

    let mut question = Line::new();
    loop {
        let mut byte = [0; 1];
        if uart.receive(&mut byte) == 0 {
            cortex_m::asm::wfi();
            continue;
        }
        if byte != *b"\n" {
            // What is too long is no question, and is answered as such.
            question.push(char::from(byte[0])).unwrap_or_default();
            continue;
        }
        answer(&question, &mut uart);
        question.clear();
    }
}

fn answer(question: &str, uart: &mut Uart) {
    let mut line = Line::new();
    let written = match question.split_once(' ').unwrap_or((question, "")) {
        ("tmp105", "") => questions::tmp105(&mut line),
        ("lsm303", range) => questions::lsm303(range, &mut line),
        ("dps310", "") => questions::dps310(&mut line, Dps310::new),
        ("dps310", "unidentified") => questions::dps310(&mut line, Dps310::unidentified),
        ("ds1338", seconds) => questions::ds1338(seconds, &mut line),
        ("write", what) => questions::write(what, &mut line),
        ("read", what) => questions::read(what, &mut line),
        _ => writeln!(line, "error: no such question"),
    };
    if written.is_err() {
        line.clear();
        line.push_str("error: the answer is too long\n").unwrap_or_default();
    }
    let mut rest = line.as_bytes();
    while !rest.is_empty() {
        let sent = uart.send(rest);
        rest = rest.get(sent..).unwrap_or_default();
    }
}
