//! Asks an SDM energy meter for its voltage and power, once a second, on UART0 by a transceiver for RS-485 that finds the direction
//! itself; slave 1 at 9,600 baud, 8N1: `firmware/build lm3s6965evb --example sdm`. Modbus RTU as in "MODBUS over Serial Line" V1.02, section 2.5.1:
//!
//! ```text
//! request: slave 04 address(2) count(2) CRC(2, the lower byte first)      answer: slave 04 bytes data CRC
//! ```

#![no_std]
#![no_main]

mod board;

use core::convert::Infallible;
use core::fmt;

use cortex_m_rt::entry;
use lamppost_sdm::{Model, Quantity, value};
use lm3s6965evb::clock;
use lm3s6965evb::uart::{Console, Uart};

const BAUD: u32 = 9_600;
const SLAVE: u8 = 1;
const READ_INPUT_REGISTERS: u8 = 4;
const ANSWER_BYTES: usize = 9;
const ANSWER_MS_MAX: u64 = 500;

/// Why there is no value.
enum Error {
    /// The answer did not come, or not all of it.
    Silent { bytes: usize },
    /// It was no answer to the request, or was altered on the line.
    Altered([u8; ANSWER_BYTES]),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent { bytes } => {
                write!(f, "the meter answered {bytes} of {ANSWER_BYTES} bytes in {ANSWER_MS_MAX} ms")
            }
            Self::Altered(answer) => write!(f, "no answer to the request: {answer:02x?}"),
        }
    }
}

#[entry]
fn main() -> ! {
    board::run_on_line(BAUD, read)
}

fn read(line: &mut Uart, console: &mut Console) -> Result<Infallible, Error> {
    loop {
        for name in ["voltage", "power"] {
            let quantity = Model::Sdm120.quantity(name).expect("an SDM120 measures it");
            let found = ask(line, quantity)?;
            console.say(format_args!("{name}: {found} {}", quantity.unit));
        }
        clock::wait_ms(1_000);
    }
}

fn ask(line: &mut Uart, quantity: &Quantity) -> Result<f32, Error> {
    let [high, low] = quantity.address.to_be_bytes();
    let request = [SLAVE, READ_INPUT_REGISTERS, high, low, 0, 2];
    let [first, second] = crc(&request).to_le_bytes();
    // Bytes of an answer that came too late are none of this one's.
    while line.receive(&mut [0; ANSWER_BYTES]) > 0 {}
    // Nothing else is sent: all eight bytes fit the FIFO.
    line.send(&request);
    line.send(&[first, second]);

    let mut answer = [0; ANSWER_BYTES];
    let (mut bytes, until) = (0, clock::now_ms() + ANSWER_MS_MAX);
    while bytes < ANSWER_BYTES {
        if clock::now_ms() > until {
            return Err(Error::Silent { bytes });
        }
        bytes += line.receive(answer.get_mut(bytes..).unwrap_or_default());
    }
    let [SLAVE, READ_INPUT_REGISTERS, 4, a, b, c, d, first, second] = answer else {
        return Err(Error::Altered(answer));
    };
    if crc(&[SLAVE, READ_INPUT_REGISTERS, 4, a, b, c, d]).to_le_bytes() != [first, second] {
        return Err(Error::Altered(answer));
    }
    Ok(value([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]))
}

/// CRC-16/MODBUS (section 6.2.2 of the same).
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc: u16, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xa001 })
    })
}
