//! I2C sources: chips polled by the drivers of `drivers/`, over Linux's `/dev/i2c-N` or a modelled bus.
//!
//! ```text
//! Schedule ──► poll ──► Worker (a thread) ──► Station ──► driver ──► Bus
//!                │                                                    (Linux or model)
//!                └──► Intake::offer(one arrival per quantity)
//! ```
//!
//! | chip | what arrives, at `i2c/NAME/…` | unit |
//! |---|---|---|
//! | [`Chip::Tmp105`] | `temperature` | `Cel` |
//! | [`Chip::Bme280`] | `temperature`, `pressure`, `humidity` | `Cel`, `Pa`, `%RH` |
//! | [`Chip::Dps310`] | `pressure`, `temperature` | `Pa`, `Cel` |
//! | [`Chip::Scd41`] | `co2`, `temperature`, `humidity` | `ppm`, `Cel`, `%RH` |
//! | [`Chip::Sps30`] | `pm1`, `pm2_5`, `pm4`, `pm10` | `ug/m3` |
//! | [`Chip::Ina226`] | `voltage`, `current`, `power` | `V`, `A`, `W` |
//! | [`Chip::Lsm303dlhc`] | `field_x`, `field_y`, `field_z` | `T` |
//! | the same, told how to tell vehicles | `vehicles`, `vehicles_short`, `vehicles_medium`, `vehicles_long`, `occupancy`, `watched` | `count` (four), `/` (two) |
//!
//! An SCD41 can be told the pressure by a barometer beside it ([`Air`]). A clock with a battery is no source, but read and set by hand ([`Rtc`]).
//! A magnetometer that counts vehicles is read 71 times a second, by its source's own thread; a poll then takes what was seen since the last one.
//!
//! Invariants:
//! - A source has one thread at most for its bus: one that hangs holds nothing else up, and no second one is started while
//!   the first hangs.
//! - A poll is never made up for: what could not be measured or stored in time is counted, and the schedule goes on in step.
//! - On a bus with multiplexers one transfer happens at a time, with its channel open and no other ([`Gate`]).
//! - A modelled bus is reached through code only ([`BusOpener::Model`]), never through what a user writes.

//!
//! What becomes of a bus that is stuck: a poll that fails closes the device node, and the next one opens it and sets its chip up anew. That is all
//! that can be done from outside of the kernel. The kernel ends a transfer at the adapter's own time-out (a second, mostly), and
//! frees a data line that a chip holds low by nine clocks where the adapter's driver can and has been told the pins (`scl-gpios` and
//! `sda-gpios` in the device tree; a Raspberry Pi's own driver can't). While a thread hangs in it, chips on other buses go on; those on the same bus fail, each in its time.

mod air;
mod bus;
mod chip;
mod counters;
mod lane;
#[cfg(test)]
mod log_lines;
pub mod model;
mod mux;
mod payload;
mod rtc;
mod schedule;
mod source;
mod station;
mod worker;

pub use air::Air;
pub use bus::BusOpener;
pub use chip::{BusAddress, Chip, PollError};
pub use counters::{I2cCounters, I2cReport};
pub use lamppost_vehicle::{Settings as VehicleSettings, SettingsError as VehicleSettingsError};
pub use lane::check as check_vehicles;
pub use mux::{Gate, MuxChannel};
pub use rtc::{Rtc, RtcChip, RtcError};
pub use source::{I2cSource, SetupError};
