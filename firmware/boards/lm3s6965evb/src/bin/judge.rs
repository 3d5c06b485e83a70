//! The drivers on an I2C bus with chips that somebody else made: QEMU's. On UART0 it is asked, a line for each question, and answers
//! with what the driver says, a line for each answer; a test sets the chips over QMP, and compares.
//!
//! | question | answer |
//! |---|---|
//! | `tmp105` | the temperature in ten-thousandths of a degree Celsius |
//! | `lsm303 N` | X, Y and Z in nanoteslas, with the Nth range (0 the finest, to 6) |
//! | `dps310` | nothing but an error: QEMU's model does not say what chip it is |
//! | `dps310 unidentified` | the pressure in millipascals, the temperature in ten-thousandths of a degree Celsius |
//! | `read A R N` | N bytes (1 to 32) of the chip at address A from register R on, in hexadecimal, past every driver |
//! | anything else | `error: no such question` |
//!
//! Where the driver fails, the answer is `error: ` and what it says. Nothing is remembered: each question sets its chip up anew.

#![no_std]
#![no_main]

use core::fmt::Write;
use core::panic::PanicInfo;

use cortex_m::peripheral::{NVIC, Peripherals, SCB};
use cortex_m_rt::{entry, exception};
use embedded_hal::i2c::I2c;
use heapless::String;
use heapless::spsc::Queue;
use lamppost_dps310::Dps310;
use lamppost_lsm303dlhc::{Lsm303dlhc, Range, Rate};
use lamppost_tmp105::{Address, Resolution, Tmp105};
use lm3s6965evb::clock::Delay;
use lm3s6965evb::i2c::{Bus, BusError, Controller};
use lm3s6965evb::uart::{self, Console, Uart, Uart0Interrupt};
use lm3s6965evb::{clock, power};

/// The longest question or answer.
const LINE_BYTES_MAX: usize = 128;
type Line = String<LINE_BYTES_MAX>;

#[entry]
fn main() -> ! {
    power::on();
    let core = Peripherals::take().expect("taken only here");
    clock::start(core.SYST);
    let ring = cortex_m::singleton!(RECEIVED: Queue<u8, { uart::RING_BYTES }> = Queue::new()).expect("made only here");
    let mut uart = Uart::start(ring);
    // SAFETY: the handler's state is set up, and no critical section is open.
    unsafe { NVIC::unmask(Uart0Interrupt) };
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
        ("tmp105", "") => tmp105(&mut line),
        ("lsm303", range) => lsm303(range, &mut line),
        ("dps310", "") => dps310(&mut line, Dps310::new),
        ("dps310", "unidentified") => dps310(&mut line, Dps310::unidentified),
        ("read", what) => read(what, &mut line),
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

fn tmp105(line: &mut Line) -> core::fmt::Result {
    let read = || {
        let register = lamppost_tmp105::Register::Configuration;
        let bus = bus().map_err(|source| lamppost_tmp105::Error::Write { register, source })?;
        let mut chip = Tmp105::new(bus, Address::default());
        chip.set_resolution(Resolution::Bits12)?;
        chip.read()
    };
    match read() {
        Ok(temperature) => writeln!(line, "{}", temperature.ten_thousandths()),
        Err(error) => writeln!(line, "error: {error}"),
    }
}

fn lsm303(range: &str, line: &mut Line) -> core::fmt::Result {
    let Some(range) = range.parse().ok().and_then(|nth: usize| Range::ALL.get(nth).copied()) else {
        return writeln!(line, "error: a range is 0 to 6");
    };
    let read = || {
        let register = lamppost_lsm303dlhc::Register::Identity;
        let bus = bus().map_err(|source| lamppost_lsm303dlhc::Error::Read { register, source })?;
        Lsm303dlhc::new(bus, range, Rate::Hz75)?.read()
    };
    match read() {
        Ok(field) => writeln!(line, "{} {} {}", field.x.nanotesla(), field.y.nanotesla(), field.z.nanotesla()),
        Err(error) => writeln!(line, "error: {error}"),
    }
}

type Start = fn(
    Bus,
    lamppost_dps310::Address,
    lamppost_dps310::Settings,
    &mut Delay,
) -> Result<Dps310<Bus>, lamppost_dps310::Error<BusError>>;

fn dps310(line: &mut Line, start: Start) -> core::fmt::Result {
    let read = || {
        let register = lamppost_dps310::Register::ProductId;
        let bus = bus().map_err(|source| lamppost_dps310::Error::Read { register, source })?;
        start(bus, Default::default(), Default::default(), &mut Delay)?.measure(&mut Delay)
    };
    match read() {
        Ok(found) => writeln!(line, "{} {}", found.pressure.milli(), found.temperature.ten_thousandths()),
        Err(error) => writeln!(line, "error: {error}"),
    }
}

fn read(what: &str, line: &mut Line) -> core::fmt::Result {
    let mut numbers = what.split(' ').map(|number| number.parse::<u8>().ok());
    let mut next = || numbers.next().flatten();
    let (Some(address), Some(register), Some(count @ 1..=32)) = (next(), next(), next()) else {
        return writeln!(line, "error: read ADDRESS REGISTER COUNT, of at most 32");
    };
    let mut bytes = [0; 32];
    let bytes = bytes.get_mut(..usize::from(count)).unwrap_or_default();
    let read = bus().and_then(|mut bus| bus.write_read(address, &[register], bytes));
    if let Err(error) = read {
        return writeln!(line, "error: {error:?}");
    }
    bytes.iter().try_for_each(|byte| write!(line, "{byte:02x}"))?;
    writeln!(line)
}

/// The bus that QEMU attaches its chips to: I2C1, or I2C0 where that is the only one.
fn bus() -> Result<Bus, BusError> {
    Bus::start(Controller::I2c1).or_else(|_| Bus::start(Controller::I2c0))
}

#[exception]
fn SysTick() {
    clock::on_tick();
}

#[exception]
unsafe fn DefaultHandler(interrupt: i16) {
    match u16::try_from(interrupt) {
        Ok(Uart0Interrupt::NUMBER) => uart::on_interrupt(),
        _ => panic!("no handler for exception {interrupt}"),
    }
}

/// Says what happened and starts anew, as the node does.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    Console::start().say(format_args!("{info}"));
    SCB::sys_reset()
}
