//! The hands of TI's LM3S6965 evaluation board, as QEMU emulates it: clock, pins, I2C, UARTs, watchdog. What they are for is in the
//! programs: `main.rs` (a node with a thermometer), `bin/traffic.rs` (a node that counts vehicles), `bin/judge` (drivers against QEMU's chips).

#![no_std]

pub mod clock;
pub mod description;
mod exceptions;
pub mod i2c;
pub mod magnetometer;
pub mod mmio;
pub mod power;
pub mod sought;
pub mod start;
pub mod thermometer;
pub mod uart;
pub mod watchdog;
