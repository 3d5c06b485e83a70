//! A Lamppost node on TI's LM3S6965 evaluation board, as QEMU emulates it: a TMP105 on I2C, the link on UART0, a console
//! on UART1. What it does is the brain's ([`lamppost_node`]); this crate is its hands.

#![no_std]
#![no_main]

use cortex_m::peripheral::{Peripherals, SCB};
use cortex_m_rt::entry;
use lamppost_node::{
    Board, Boot, Capabilities, Channel, Identity, MeasureIndex, Millis, Node, Policy, Range, Scale, SensorFault, Value,
};
use lamppost_tmp105::Tmp105;
use lamppost_units::{Celsius, Quantity};
use lm3s6965evb::thermometer::Thermometer;
use lm3s6965evb::uart::{self, Console, Uart};
use lm3s6965evb::watchdog::Watchdog;
use lm3s6965evb::{clock, description, power, start};

/// How often the temperature is measured.
const SAMPLE_INTERVAL_MS: u32 = 200;
/// Readings kept while no gateway takes them, 32 bytes of RAM each: 102 s at that interval if each sample is one, 8 hours of a
/// temperature that stays. What is left of the RAM is the stack, on which the brain exists once or twice more for the moment in
/// which it is made.
const READINGS_KEPT: usize = 512;
const TEMPERATURE: MeasureIndex = MeasureIndex(0);
const FIRMWARE: &str = concat!("lm3s6965evb ", env!("CARGO_PKG_VERSION"));

/// What the brain sees of this board.
struct Hands {
    uart: Uart,
    console: Console,
    thermometer: Thermometer,
    watchdog: Watchdog,
}

impl Board for Hands {
    fn sample(&mut self, _only: MeasureIndex) -> Result<Value, SensorFault> {
        let temperature = self.thermometer.read(&mut self.console, Tmp105::read).ok_or(SensorFault)?;
        Ok(Value(i64::from(temperature.mantissa())))
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        self.uart.send(bytes)
    }

    fn reset(&mut self) {
        SCB::sys_reset()
    }

    fn alive(&mut self) {
        self.watchdog.feed();
    }
}

#[entry]
fn main() -> ! {
    power::on();
    let watchdog = Watchdog::start();
    let core = Peripherals::take().expect("taken only here");
    clock::start(core.SYST);
    let uart = Uart::start();
    let mut hands = Hands { uart, console: Console::start(), thermometer: Thermometer::new(), watchdog };

    let name = start::name();
    hands.console.say(format_args!("{name}: firmware {FIRMWARE}"));
    description::say(&[temperature()], &[policy()], &mut hands.console);
    // Finding the chip takes its first conversion: better now than within the first reading.
    hands.thermometer.read(&mut hands.console, Tmp105::read);
    let brain = brain(&name);
    brain.set_policy(TEMPERATURE, policy());
    brain.offer(Capabilities::RESET);
    serve(brain, hands)
}

/// The brain, made where it stays. Apart from all else, or the compiler keeps a third copy of it on the stack, for which there is no room.
#[inline(never)]
fn brain(name: &str) -> &'static mut Node<READINGS_KEPT> {
    let identity = Identity { device: name, firmware: FIRMWARE, boot: Boot::UNNUMBERED, nonce: start::nonce() };
    let brain = cortex_m::singleton!(BRAIN: Node<READINGS_KEPT> = {
        let node = Node::new(identity, &[temperature()], Millis(clock::now_ms()));
        let Ok(node) = node else { panic!("the name and the channel fit the hello") };
        node
    });
    brain.expect("made only here")
}

/// What this board measures.
fn temperature() -> Channel<'static> {
    let [low, high] = lamppost_tmp105::RANGE.map(|bound| Value(i64::from(bound.mantissa())));
    Channel {
        name: "temperature",
        unit: Celsius::UNIT.senml(),
        scale: Scale(Celsius::EXPONENT),
        range: Some(Range { low, high }),
        interval_ms: SAMPLE_INTERVAL_MS,
    }
}

/// What of it becomes a reading: two steps of the chip, since one may be its noise; and one each minute, which says that it is still so.
fn policy() -> Policy {
    Policy { deadband: 1_250, at_least_every_ms: 60_000, aggregate: 8, ..Policy::default() }
}

fn serve(node: &mut Node<READINGS_KEPT>, mut hands: Hands) -> ! {
    let mut was_up = false;
    let mut lost_before = 0;
    loop {
        let mut received = [0; 64];
        let count = hands.uart.receive(&mut received);
        node.poll(Millis(clock::now_ms()), received.get(..count).unwrap_or_default(), &mut hands);

        let is_up = node.report().is_up;
        if is_up != was_up {
            was_up = is_up;
            hands.console.say(format_args!("link: {} as boot {}", if is_up { "up" } else { "down" }, node.boot().0));
        }
        let lost = uart::lost_bytes();
        if lost != lost_before {
            lost_before = lost;
            hands.console.say(format_args!("link: {lost} bytes lost so far before they were read"));
        }
        if count == 0 {
            // The clock's tick wakes it within a millisecond, a byte at once.
            cortex_m::asm::wfi();
        }
    }
}
