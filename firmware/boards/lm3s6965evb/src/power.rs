//! Clocks to the peripherals, and pins to their functions (LM3S6965 data sheet, chapters "System Control" and "GPIOs").
//!
//! | pins | function |
//! |---|---|
//! | PA0, PA1 | UART0 RX, TX |
//! | PA6, PA7 | I2C1 SCL, SDA (open drain) |
//! | PB2, PB3 | I2C0 SCL, SDA (open drain) |
//! | PD2, PD3 | UART1 RX, TX |

use crate::mmio::Register;

/// System clock after reset, in Hz, as QEMU runs it.
pub const SYSTEM_CLOCK_HZ: u32 = 12_500_000;

const GPIO_A: usize = 0x4000_4000;
const GPIO_B: usize = 0x4000_5000;
const GPIO_D: usize = 0x4000_7000;
const ALTERNATE_FUNCTION: usize = 0x420;
const OPEN_DRAIN: usize = 0x50c;
const DIGITAL_ENABLE: usize = 0x51c;

// SAFETY: registers of the LM3S6965's system control.
const RUN_CLOCK_0: Register = unsafe { Register::at(0x400f_e100) };
// SAFETY: as above.
const RUN_CLOCK_1: Register = unsafe { Register::at(0x400f_e104) };
// SAFETY: as above.
const RUN_CLOCK_2: Register = unsafe { Register::at(0x400f_e108) };

/// Turns on what this board uses.
pub fn on() {
    const WATCHDOG: u32 = 1 << 3;
    const UART0: u32 = 1 << 0;
    const UART1: u32 = 1 << 1;
    const I2C0: u32 = 1 << 12;
    const I2C1: u32 = 1 << 14;
    const PORT_A: u32 = 1 << 0;
    const PORT_B: u32 = 1 << 1;
    const PORT_D: u32 = 1 << 3;
    RUN_CLOCK_0.set(WATCHDOG);
    RUN_CLOCK_1.set(UART0 | UART1 | I2C0 | I2C1);
    RUN_CLOCK_2.set(PORT_A | PORT_B | PORT_D);
    // A peripheral may be touched three system clocks after it was turned on: reading back takes longer.
    RUN_CLOCK_2.read();
    assign(GPIO_A, 0b1100_0011, 0b1100_0000);
    assign(GPIO_B, 0b0000_1100, 0b0000_1100);
    assign(GPIO_D, 0b0000_1100, 0);
}

fn assign(port: usize, pins: u32, open_drain: u32) {
    for (offset, bits) in [(ALTERNATE_FUNCTION, pins), (OPEN_DRAIN, open_drain), (DIGITAL_ENABLE, pins)] {
        // SAFETY: `port` is the base of a GPIO port, and these are its registers.
        unsafe { Register::at(port + offset) }.set(bits);
    }
}
