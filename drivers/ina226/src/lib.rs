//! TI INA226 monitor of voltage, current and power on I2C (data sheet SBOS547B, section numbers of that revision).
//!
//! | register | pointer | one step |
//! |---|---|---|
//! | [`Register::Configuration`] | 0x00 | averages, times, what to measure |
//! | [`Register::ShuntVoltage`] | 0x01 | 2.5 µV, signed |
//! | [`Register::BusVoltage`] | 0x02 | 1.25 mV |
//! | [`Register::Power`] | 0x03 | 25 V × a step of current |
//! | [`Register::Current`] | 0x04 | set by [`Calibration`], signed |
//! | [`Register::Calibration`] | 0x05 | |
//! | [`Register::MaskEnable`] | 0x06 | `SOL SUL BOL BUL POL CNVR - AFF CVRF OVF APOL LEN` |
//! | [`Register::AlertLimit`] | 0x07 | as what is watched |
//! | [`Register::ManufacturerId`], [`Register::DieId`] | 0xfe, 0xff | 0x5449, 0x226 and the revision |
//!
//! Each measurement is one of shunt and bus, on command, so that all four values are of the same time; the chip sleeps
//! between. It takes [`Settings::measurement_us_max`], 2.4 ms as the chip is set by default.
//!
//! What judges the constants: the registers, the bits, the table of averages and the worked example (10 A through 2 mΩ) were
//! compared with the data sheet's text as TI publishes it; the longest conversion times are as they are remembered. No real chip
//! has been asked.
//!
//! `examples/read_ina226.rs` is for Linux, `firmware/boards/lm3s6965evb/examples/ina226.rs` for a board.

#![no_std]
#![forbid(unsafe_code)]

mod calibration;
mod error;
mod register;

use lamppost_both_ways::both_ways;
use lamppost_units::{Amperes, Microvolts, Milliwatts, Volts};

pub use blocking::Ina226;
pub use calibration::{Calibration, CalibrationError, Power, bus_voltage, shunt_voltage};
pub use error::Error;
pub use register::{Address, Averages, ConversionTime, Register, Settings};

const MANUFACTURER: u16 = 0x5449;
/// Without the revision, in the lower four bits.
const DIE: u16 = 0x226;
const ALERT: u16 = 1 << 4;
const READY: u16 = 1 << 3;
const OVERFLOW: u16 = 1 << 2;
const LATCH: u16 = 1 << 0;
/// How often the mask/enable register is asked, a millisecond apart, beyond the longest time the data sheet gives.
const POLLS_MAX: u32 = 10;

/// What one measurement found. Exact: whole steps of the registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurement {
    /// Of the bus against ground.
    pub bus: Volts,
    /// Across the shunt.
    pub shunt: Microvolts,
    /// Through the shunt.
    pub current: Amperes,
    /// Bus times current; never negative, whatever the current's direction.
    pub power: Power,
    /// Whether what is watched ([`Ina226::watch`]) went beyond its limit since the last measurement.
    pub alert: bool,
}

/// What the chip's ALERT pin watches (section 7.1.7); it can watch one thing at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// More than that across the shunt.
    ShuntAbove(Microvolts),
    /// Less than that across the shunt.
    ShuntBelow(Microvolts),
    /// More than that on the bus.
    BusAbove(Volts),
    /// Less than that on the bus.
    BusBelow(Volts),
    /// More power than that.
    PowerAbove(Milliwatts),
}

impl Limit {
    const fn mask(self) -> u16 {
        match self {
            Self::ShuntAbove(_) => 1 << 15,
            Self::ShuntBelow(_) => 1 << 14,
            Self::BusAbove(_) => 1 << 13,
            Self::BusBelow(_) => 1 << 12,
            Self::PowerAbove(_) => 1 << 11,
        }
    }

    /// What the limit register holds for it, in steps of the register that is watched.
    fn register(self, calibration: Calibration) -> Option<u16> {
        match self {
            Self::ShuntAbove(limit) | Self::ShuntBelow(limit) => calibration::shunt_register(limit),
            Self::BusAbove(limit) | Self::BusBelow(limit) => calibration::bus_register(limit),
            Self::PowerAbove(limit) => calibration.power_register(limit),
        }
    }
}

#[both_ways]
pub mod asynchronous {
    use embedded_hal_async::delay::DelayNs;
    use embedded_hal_async::i2c::I2c;

    use super::*;

    /// An INA226 on a bus, calibrated.
    #[derive(Debug)]
    pub struct Ina226<B> {
        bus: B,
        address: Address,
        settings: Settings,
        calibration: Calibration,
    }

    impl<B: I2c> Ina226<B> {
        /// Checks that an INA226 answers at `address` and calibrates it. Takes four transfers.
        ///
        /// # Errors
        /// [`Error::Identity`] if another chip answers, [`Error::Read`] and [`Error::Write`] with the bus's error.
        pub async fn new(
            bus: B,
            address: Address,
            settings: Settings,
            calibration: Calibration,
        ) -> Result<Self, Error<B::Error>> {
            let mut chip = Self { bus, address, settings, calibration };
            let found = chip.read_word(Register::ManufacturerId).await?;
            if found != MANUFACTURER {
                return Err(Error::Identity { register: Register::ManufacturerId, found });
            }
            let found = chip.read_word(Register::DieId).await?;
            if found >> 4 != DIE {
                return Err(Error::Identity { register: Register::DieId, found });
            }
            chip.write(Register::Calibration, calibration.register()).await?;
            Ok(chip)
        }

        /// Gives the bus back.
        pub fn release(self) -> B {
            self.bus
        }

        /// Measures once. Takes [`Settings::measurement_us_max`], 10 ms more at most.
        ///
        /// # Errors
        /// [`Error::Busy`] if the measurement does not end, [`Error::CalibrationLost`] if the chip was without power,
        /// [`Error::Overflow`] if it could not compute, [`Error::Read`] and [`Error::Write`] with the bus's error.
        pub async fn measure(&mut self, delay: &mut impl DelayNs) -> Result<Measurement, Error<B::Error>> {
            self.write(Register::Configuration, self.settings.once()).await?;
            delay.delay_us(self.settings.measurement_us_max()).await;
            let flags = self.wait(delay).await?;
            let found = self.read_word(Register::Calibration).await?;
            if found != self.calibration.register() {
                return Err(Error::CalibrationLost { found });
            }
            if flags & OVERFLOW != 0 {
                return Err(Error::Overflow);
            }
            let power = self.calibration.power(self.read(Register::Power).await?);
            Ok(Measurement {
                power,
                bus: bus_voltage(self.read(Register::BusVoltage).await?),
                shunt: shunt_voltage(self.read(Register::ShuntVoltage).await?),
                current: self.calibration.current(self.read(Register::Current).await?),
                alert: flags & ALERT != 0,
            })
        }

        /// Lets the pin ALERT go low when a measurement is beyond `limit`, until the next one is asked for, or with `None` never
        /// more. The limit is rounded to a step of its register.
        ///
        /// # Errors
        /// [`Error::Range`] of the limit register if it can't hold it, [`Error::Write`].
        pub async fn watch(&mut self, limit: Option<Limit>) -> Result<(), Error<B::Error>> {
            let Some(limit) = limit else { return self.write(Register::MaskEnable, 0).await };
            let register = Register::AlertLimit;
            let steps = limit.register(self.calibration).ok_or(Error::Range { register })?;
            self.write(register, steps).await?;
            self.write(Register::MaskEnable, limit.mask() | LATCH).await
        }

        /// Waits for a measurement; reading the flags clears them, so that an alert is collected from all that were read.
        async fn wait(&mut self, delay: &mut impl DelayNs) -> Result<u16, Error<B::Error>> {
            let mut flags = 0;
            for _ in 0..POLLS_MAX {
                flags |= self.read_word(Register::MaskEnable).await?;
                if flags & READY != 0 {
                    return Ok(flags);
                }
                delay.delay_ms(1).await;
            }
            Err(Error::Busy { polls: POLLS_MAX })
        }

        async fn read_word(&mut self, register: Register) -> Result<u16, Error<B::Error>> {
            Ok(u16::from_be_bytes(self.read(register).await?))
        }

        async fn read(&mut self, register: Register) -> Result<[u8; 2], Error<B::Error>> {
            let mut bytes = [0; 2];
            let read = self.bus.write_read(self.address.get(), &[register.pointer()], &mut bytes).await;
            read.map_err(|source| Error::Read { register, source })?;
            Ok(bytes)
        }

        async fn write(&mut self, register: Register, value: u16) -> Result<(), Error<B::Error>> {
            let [high, low] = value.to_be_bytes();
            let written = self.bus.write(self.address.get(), &[register.pointer(), high, low]).await;
            written.map_err(|source| Error::Write { register, source })
        }
    }
}

#[cfg(test)]
mod tests;
