//! Bosch BME280 humidity, pressure and temperature sensor on I2C (data sheet BST-BME280-DS001/DS002, section numbers of
//! revision 1.6).
//!
//! What judges the constants: registers, bits and lengths were compared with Bosch's own library (BME280_SensorAPI, bme280_defs.h) and
//! Linux's driver (drivers/iio/pressure/bmp280.h, bmp280-core.c); the formulas with the worked example of the BMP280's data sheet (the BME280's
//! has none), one real chip's vector, and the floating-point formulas. Section numbers are as they are remembered: the data sheet's text was
//! not to be had, and no real chip has been asked.
//!
//! | register | address | holds |
//! |---|---|---|
//! | [`Register::Calibration1`] | 0x88, 26 bytes | T1 to T3, P1 to P9, H1 (section 4.2.2) |
//! | [`Register::Id`] | 0xd0 | 0x60 |
//! | [`Register::Reset`] | 0xe0 | 0xb6 written resets |
//! | [`Register::Calibration2`] | 0xe1, 7 bytes | H2 to H6 |
//! | [`Register::ControlHumidity`] | 0xf2 | oversampling of humidity; takes effect with the next write to 0xf4 |
//! | [`Register::Status`] | 0xf3 | bit 3 measuring, bit 0 copying calibration |
//! | [`Register::ControlMeasure`] | 0xf4 | oversampling of temperature and pressure, mode |
//! | [`Register::Data`] | 0xf7, 8 bytes | pressure (20 bits), temperature (20 bits), humidity (16 bits), big-endian |
//!
//! Each measurement is a forced one: the chip sleeps between. Without a filter, this is what section 3.5.1 recommends for
//! weather monitoring.
//!
//! [`Bme280`] blocks; [`asynchronous::Bme280`] is the same to be awaited.
//!
//! `examples/read_bme280.rs` is for Linux, `firmware/boards/lm3s6965evb/examples/bme280.rs` for a board.

#![no_std]
#![forbid(unsafe_code)]

mod calibration;
mod error;
mod register;

use lamppost_both_ways::both_ways;
use lamppost_units::{Celsius, Pascals, RelativeHumidity};

pub use blocking::Bme280;
pub use calibration::{Calibration, Raw};
pub use error::{Channel, Error};
pub use register::{Address, Oversampling, Register};

/// What register 0xd0 of a BME280 holds. (A BMP280, which has no humidity, holds 0x58.)
pub const CHIP_ID: u8 = 0x60;

const RESET: u8 = 0xb6;
const MODE_FORCED: u8 = 0b01;
const MEASURING: u8 = 1 << 3;
const COPYING_CALIBRATION: u8 = 1 << 0;
/// Section 1.1: ready to talk at most 2 ms after power-up or reset.
const START_UP_MS_MAX: u32 = 2;
/// How often the status is asked for, a millisecond apart, beyond the longest time the data sheet gives.
const STATUS_POLLS_MAX: u32 = 20;

/// What one measurement found, compensated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurement {
    /// In steps of 0.01 °C.
    pub temperature: Celsius,
    /// In steps of 1/256 Pa, rounded to millipascals.
    pub pressure: Pascals,
    /// In steps of 1/1024 %, rounded to thousandths; 0 to 100 %.
    pub humidity: RelativeHumidity,
}

/// How finely each quantity is measured. The default takes one sample of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// Of temperature.
    pub temperature: Oversampling,
    /// Of pressure.
    pub pressure: Oversampling,
    /// Of humidity.
    pub humidity: Oversampling,
}

impl Settings {
    /// The longest that one measurement takes, in microseconds (section 9.1).
    #[must_use]
    pub const fn measurement_us_max(self) -> u32 {
        const SAMPLE_US: u32 = 2_300;
        let samples = self.temperature.samples() + self.pressure.samples() + self.humidity.samples();
        1_250 + SAMPLE_US * samples + 575 + 575
    }

    const fn control_measure(self) -> u8 {
        (self.temperature.bits() << 5) | (self.pressure.bits() << 2)
    }
}

#[both_ways]
pub mod asynchronous {
    use embedded_hal_async::delay::DelayNs;
    use embedded_hal_async::i2c::I2c;

    use super::*;

    /// A BME280 on a bus, reset and with its calibration read.
    #[derive(Debug)]
    pub struct Bme280<B> {
        bus: B,
        address: Address,
        settings: Settings,
        calibration: Calibration,
    }

    impl<B: I2c> Bme280<B> {
        /// Checks that a BME280 answers at `address`, resets it and reads its calibration.
        ///
        /// # Errors
        /// [`Error::ChipId`] if another chip answers, [`Error::Busy`] if it does not come out of its reset, [`Error::Read`] and
        /// [`Error::Write`] with the bus's error.
        pub async fn new(
            mut bus: B,
            address: Address,
            settings: Settings,
            delay: &mut impl DelayNs,
        ) -> Result<Self, Error<B::Error>> {
            let [found] = read(&mut bus, address, Register::Id).await?;
            if found != CHIP_ID {
                return Err(Error::ChipId { found });
            }
            write(&mut bus, address, Register::Reset, RESET).await?;
            delay.delay_ms(START_UP_MS_MAX).await;
            wait(&mut bus, address, COPYING_CALIBRATION, delay).await?;
            let first = read(&mut bus, address, Register::Calibration1).await?;
            let second = read(&mut bus, address, Register::Calibration2).await?;
            Ok(Self { bus, address, settings, calibration: Calibration::parse(&first, &second) })
        }

        /// Gives the bus back.
        pub fn release(self) -> B {
            self.bus
        }

        /// The chip's calibration.
        pub const fn calibration(&self) -> &Calibration {
            &self.calibration
        }

        /// Measures all three once. Takes [`Settings::measurement_us_max`], spent in `delay`.
        ///
        /// # Errors
        /// [`Error::Busy`] if the measurement does not end, [`Error::Skipped`] if the chip has lost its settings (a brown-out)
        /// and so has not measured, [`Error::Implausible`] if the compensated value can't be, [`Error::Read`] and [`Error::Write`]
        /// with the bus's error.
        pub async fn measure(&mut self, delay: &mut impl DelayNs) -> Result<Measurement, Error<B::Error>> {
            let Self { bus, address, settings, calibration } = self;
            // Section 5.4.3: the humidity setting takes effect with the write to ctrl_meas, which also starts the measurement.
            write(bus, *address, Register::ControlHumidity, settings.humidity.bits()).await?;
            write(bus, *address, Register::ControlMeasure, settings.control_measure() | MODE_FORCED).await?;
            delay.delay_us(settings.measurement_us_max()).await;
            wait(bus, *address, MEASURING, delay).await?;
            let raw = Raw::parse(&read(bus, *address, Register::Data).await?);
            if let Some(channel) = raw.like_skipped() {
                // The code for "skipped" is also an ordinary value (of about 26 °C, for one): the settings tell which it is.
                let [humidity] = read(bus, *address, Register::ControlHumidity).await?;
                let [measure] = read(bus, *address, Register::ControlMeasure).await?;
                if humidity & 0b111 != settings.humidity.bits() || measure & !0b11 != settings.control_measure() {
                    return Err(Error::Skipped { channel });
                }
            }
            calibration.compensate(raw).map_err(|channel| Error::Implausible { channel })
        }
    }

    async fn read<B: I2c, const BYTES: usize>(
        bus: &mut B,
        address: Address,
        register: Register,
    ) -> Result<[u8; BYTES], Error<B::Error>> {
        let mut bytes = [0; BYTES];
        bus.write_read(address.get(), &[register.address()], &mut bytes)
            .await
            .map_err(|source| Error::Read { register, source })?;
        Ok(bytes)
    }

    async fn write<B: I2c>(
        bus: &mut B,
        address: Address,
        register: Register,
        value: u8,
    ) -> Result<(), Error<B::Error>> {
        bus.write(address.get(), &[register.address(), value]).await.map_err(|source| Error::Write { register, source })
    }

    /// Waits until `flag` of the status register is clear.
    async fn wait<B: I2c>(
        bus: &mut B,
        address: Address,
        flag: u8,
        delay: &mut impl DelayNs,
    ) -> Result<(), Error<B::Error>> {
        for _ in 0..STATUS_POLLS_MAX {
            let [status] = read(bus, address, Register::Status).await?;
            if status & flag == 0 {
                return Ok(());
            }
            delay.delay_ms(1).await;
        }
        Err(Error::Busy { polls: STATUS_POLLS_MAX })
    }
}

#[cfg(test)]
mod tests;
