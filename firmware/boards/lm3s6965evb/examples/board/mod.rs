//! What the examples stand on: each reads one chip and says on the console (UART1) what it has read, a line for each reading. What
//! fails is said there too, and begins anew after a second.

use core::convert::Infallible;
use core::fmt::Display;

use cortex_m::peripheral::Peripherals;
use lm3s6965evb::i2c::{Bus, Controller};
use lm3s6965evb::uart::{Console, Uart};
use lm3s6965evb::{clock, power};

/// Runs what reads a chip on the I2C bus.
#[allow(dead_code, reason = "an example's chip is on the bus or on the line")]
pub(crate) fn run_on_bus<E: Display>(read: fn(Bus, &mut Console) -> Result<Infallible, E>) -> ! {
    start();
    let mut console = Console::start();
    loop {
        // QEMU attaches its chips to I2C1, or to I2C0 where that is the only one.
        let bus = Bus::start(Controller::I2c1).or_else(|_| Bus::start(Controller::I2c0));
        let Err(error) = read(bus.expect("I2C0 is always there"), &mut console);
        say_and_rest(&error, &mut console);
    }
}

/// Runs what reads a chip on UART0.
#[allow(dead_code, reason = "an example's chip is on the bus or on the line")]
pub(crate) fn run_on_line<E: Display>(baud: u32, read: fn(&mut Uart, &mut Console) -> Result<Infallible, E>) -> ! {
    start();
    let mut line = Uart::start_at(baud);
    let mut console = Console::start();
    loop {
        let Err(error) = read(&mut line, &mut console);
        say_and_rest(&error, &mut console);
    }
}

fn start() {
    power::on();
    clock::start(Peripherals::take().expect("taken only here").SYST);
}

fn say_and_rest(error: &impl Display, console: &mut Console) {
    console.say(format_args!("{error}"));
    clock::wait_ms(1_000);
}
