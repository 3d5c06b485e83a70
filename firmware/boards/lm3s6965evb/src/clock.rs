//! Time since reset, by SysTick at 1 kHz.

use core::cell::Cell;

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use critical_section::Mutex;
use embedded_hal::delay::DelayNs;

use crate::power::SYSTEM_CLOCK_HZ;

static MILLISECONDS: Mutex<Cell<u64>> = Mutex::new(Cell::new(0));

/// Starts the clock at zero.
pub fn start(mut timer: SYST) {
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(SYSTEM_CLOCK_HZ / 1000 - 1);
    timer.clear_current();
    timer.enable_interrupt();
    timer.enable_counter();
}

/// SysTick's interrupt.
pub(crate) fn on_tick() {
    critical_section::with(|cs| {
        let milliseconds = MILLISECONDS.borrow(cs);
        milliseconds.set(milliseconds.get() + 1);
    });
}

/// Milliseconds since [`start`].
pub fn now_ms() -> u64 {
    critical_section::with(|cs| MILLISECONDS.borrow(cs).get())
}

/// Waits; interrupts are served meanwhile.
pub fn wait_ms(milliseconds: u64) {
    let until = now_ms() + milliseconds;
    while now_ms() < until {
        cortex_m::asm::wfi();
    }
}

/// The clock as drivers wait by it: to the next millisecond, and one more at most.
#[derive(Debug, Clone, Copy, Default)]
pub struct Delay;

impl DelayNs for Delay {
    fn delay_ns(&mut self, nanoseconds: u32) {
        // The tick that is under way counts for nothing.
        wait_ms(u64::from(nanoseconds.div_ceil(1_000_000)) + 1);
    }
}
