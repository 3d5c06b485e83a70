//! A Lamppost node on a Raspberry Pi Pico: a TMP105 on I2C0, the link on UART0 (or over USB, feature `usb`). What it does
//! is the brain's ([`lamppost_node`]); this crate is its hands.

#![no_std]
#![no_main]

mod bus;
mod identity;
mod line;
mod memory;
mod thermometer;

use core::panic::PanicInfo;

use embassy_executor::Spawner;
use embassy_futures::select::{Either, select};
use embassy_rp::clocks::RoscRng;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::watchdog::Watchdog;
use embassy_time::{Duration, Instant, Timer};
use lamppost_node::{
    Board, Capabilities, Channel, Identity, MeasureIndex, Millis, Node, Policy, Range, Refusal, Scale, SensorFault,
    Value,
};
use lamppost_units::{Celsius, Quantity};

use crate::bus::Bus;
use crate::line::Line;
use crate::memory::{Kept, Memory};
use crate::thermometer::Thermometer;

/// How often the temperature is measured.
const SAMPLE_INTERVAL_MS: u32 = 1_000;
/// Readings kept while no gateway takes them, 32 bytes of RAM and 37 of flash each: 17 minutes at that interval if each sample is one,
/// 17 hours of a temperature that stays. While the brain is made, the stack has three copies of it: twice as many would not leave room
/// for them.
const READINGS_KEPT: usize = 1_024;
const FIRMWARE: &str = concat!("pico ", env!("CARGO_PKG_VERSION"));
/// A program that has not come round for so long is started anew.
const WATCHDOG: Duration = Duration::from_secs(8);
/// It comes round at least so often.
const ROUND_MS_MAX: u64 = 2_000;
/// The light is on and off for so long while it shows which board this is.
const BLINK_MS: u64 = 100;
/// While the line is full: the time of 23 bytes.
const LINE_FULL_WAIT_MS: u64 = 2;

type Brain = Node<READINGS_KEPT, Kept>;

/// What the brain sees of this board.
struct Hands {
    line: Line,
    thermometer: Thermometer,
    light: Output<'static>,
    watchdog: Watchdog,
    /// Until then, the light shows which board this is.
    shows_until: Millis,
}

impl Board for Hands {
    fn sample(&mut self, _only: MeasureIndex) -> Result<Value, SensorFault> {
        let temperature = self.thermometer.read().ok_or(SensorFault)?;
        Ok(Value(i64::from(temperature.mantissa())))
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        self.line.send(bytes)
    }

    fn identify(&mut self, for_ms: u32) -> Result<(), Refusal> {
        self.shows_until = now().plus_ms(for_ms);
        Ok(())
    }

    fn reset(&mut self) {
        self.watchdog.trigger_reset();
    }

    fn alive(&mut self) {
        self.watchdog.feed(WATCHDOG);
    }
}

impl Hands {
    /// On while a gateway answers; blinks to show which board this is. Returns how long that is right, at most.
    fn set_light(&mut self, is_up: bool) -> u64 {
        let now = now();
        let shows = now < self.shows_until;
        let is_on = if shows { (now.0 / BLINK_MS).is_multiple_of(2) } else { is_up };
        self.light.set_level(if is_on { Level::High } else { Level::Low });
        if shows { BLINK_MS } else { ROUND_MS_MAX }
    }
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let parts = embassy_rp::init(embassy_rp::config::Config::default());
    let mut watchdog = Watchdog::new(parts.WATCHDOG);
    watchdog.start(WATCHDOG);
    let light = Output::new(parts.PIN_25, Level::Low);

    let memory = Memory::new(parts.FLASH);
    let device = identity::name(&memory);
    let kept = memory.begin(RoscRng.next_u32());

    let pins = line::Pins { tx: parts.PIN_0, rx: parts.PIN_1, uart: parts.UART0, usb: parts.USB };
    let line = Line::start(pins, &device, spawner);
    let mut thermometer = Thermometer::new(Bus::new(parts.I2C0, parts.PIN_4, parts.PIN_5));
    // Its first conversion takes time: better now than within the first reading.
    thermometer.prepare().await;

    let identity = Identity { device: &device, firmware: FIRMWARE, boot: kept.boot(), nonce: RoscRng.next_u32() };
    let brain = cortex_m::singleton!(BRAIN: Brain = {
        let node = Node::with_saved(identity, &[temperature()], now(), kept);
        node.expect("the name and the channel fit the hello")
    });
    let brain = brain.expect("made only here");
    brain.set_policy(MeasureIndex(0), policy());
    brain.offer(Capabilities::IDENTIFY.and(Capabilities::RESET));
    serve(brain, Hands { line, thermometer, light, watchdog, shows_until: Millis(0) }).await
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

/// The loop around the brain.
async fn serve(node: &mut Brain, mut hands: Hands) -> ! {
    let mut buffer = [0; 64];
    let mut count = 0;
    loop {
        let wake_at = node.poll(now(), buffer.get(..count).unwrap_or_default(), &mut hands);
        let light_ms = hands.set_light(node.report().is_up);

        let wait_ms = match wake_at.0.saturating_sub(now().0) {
            0 => LINE_FULL_WAIT_MS,
            wait_ms => wait_ms.min(light_ms),
        };
        count = match select(hands.line.receive(&mut buffer), Timer::after_millis(wait_ms)).await {
            Either::First(count) => count,
            Either::Second(()) => 0,
        };
    }
}

fn now() -> Millis {
    Millis(Instant::now().as_millis())
}

/// Nothing is done any more, so that the watchdog starts the board anew: nobody is there to press the button.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    cortex_m::interrupt::disable();
    loop {
        cortex_m::asm::nop();
    }
}
