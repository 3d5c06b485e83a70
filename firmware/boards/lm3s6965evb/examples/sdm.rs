//! Asks an SDM energy meter for its voltage and power, once a second, on UART0 by a transceiver for RS-485 that finds the direction
//! itself; slave 1 at 9,600 baud, 8N1: `firmware/build lm3s6965evb --example sdm`.

#![no_std]
#![no_main]

mod board;

use core::convert::Infallible;

use cortex_m_rt::entry;
use lamppost_sdm::{ANSWER_BYTES, AnswerError, Model, Quantity};
use lm3s6965evb::clock;
use lm3s6965evb::uart::{Console, Uart};

const BAUD: u32 = 9_600;
const SLAVE: u8 = 1;
const ANSWER_MS_MAX: u64 = 500;

#[entry]
fn main() -> ! {
    board::run_on_line(BAUD, read)
}

fn read(line: &mut Uart, console: &mut Console) -> Result<Infallible, AnswerError> {
    loop {
        for name in ["voltage", "power"] {
            let quantity = Model::Sdm120.quantity(name).expect("an SDM120 measures it");
            let found = ask(line, quantity)?;
            console.say(format_args!("{name}: {found} {}", quantity.unit));
        }
        clock::wait_ms(1_000);
    }
}

fn ask(line: &mut Uart, quantity: &Quantity) -> Result<f32, AnswerError> {
    // Bytes of an answer that came too late are none of this one's.
    while line.receive(&mut [0; ANSWER_BYTES]) > 0 {}
    // Nothing else is sent: all eight bytes fit the FIFO.
    line.send(&quantity.request(SLAVE));

    let mut answer = [0; ANSWER_BYTES];
    let (mut bytes, until) = (0, clock::now_ms() + ANSWER_MS_MAX);
    while bytes < ANSWER_BYTES && clock::now_ms() <= until {
        bytes += line.receive(answer.get_mut(bytes..).unwrap_or_default());
    }
    quantity.parse(SLAVE, answer.get(..bytes).unwrap_or_default())
}
