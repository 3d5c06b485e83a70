//! The watchdog timer (LM3S6965 data sheet, chapter "Watchdog Timer"): it counts down twice from what it was loaded with. The first
//! time it asks for an interrupt, which nobody serves here; the second time it resets the board.

use crate::mmio::Register;
use crate::power::SYSTEM_CLOCK_HZ;

/// A program that has not come round for so long is started anew.
pub const WATCHDOG_MS: u32 = 8_000;

const INTERRUPT_ENABLE: u32 = 1 << 0;
const RESET_ENABLE: u32 = 1 << 1;

// SAFETY: a register of the LM3S6965's watchdog, WDTLOAD.
const LOAD: Register = unsafe { Register::at(0x4000_0000) };
// SAFETY: as above, WDTCTL.
const CONTROL: Register = unsafe { Register::at(0x4000_0008) };
// SAFETY: as above, WDTICR.
const INTERRUPT_CLEAR: Register = unsafe { Register::at(0x4000_000c) };

/// The watchdog at work: only a reset stops it.
pub struct Watchdog(());

impl Watchdog {
    /// Starts it. From now on it has to be fed, whatever takes how long. [`crate::power::on`] before.
    pub fn start() -> Self {
        LOAD.write(SYSTEM_CLOCK_HZ / 1_000 * (WATCHDOG_MS / 2));
        // With the reset first: once interrupts are enabled the register takes no more, but for a reset.
        CONTROL.write(RESET_ENABLE);
        CONTROL.write(RESET_ENABLE | INTERRUPT_ENABLE);
        Self(())
    }

    /// [`WATCHDOG_MS`] begin anew.
    pub fn feed(&mut self) {
        // Any value clears the interrupt, and has it count from the load again.
        INTERRUPT_CLEAR.write(1);
    }
}
