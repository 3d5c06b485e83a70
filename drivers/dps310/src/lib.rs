//! Infineon DPS310 barometer, with the temperature that it needs for itself, on I2C (data sheet revision 1.1).
//!
//! | register | address | holds |
//! |---|---|---|
//! | [`Register::Data`] | 0x00, 6 bytes | pressure and temperature, 24 bits each, signed, big-endian |
//! | [`Register::PressureConfiguration`] | 0x06 | rate, oversampling of pressure |
//! | [`Register::TemperatureConfiguration`] | 0x07 | bit 7: by the sensor in the pressure cell; rate, oversampling |
//! | [`Register::MeasureConfiguration`] | 0x08 | `COEF_RDY SENSOR_RDY TMP_RDY PRS_RDY -`, three bits of what to do |
//! | [`Register::Configuration`] | 0x09 | bit 3 and bit 2: shift temperature, pressure |
//! | [`Register::Reset`] | 0x0c | 0x09 written resets |
//! | [`Register::ProductId`] | 0x0d | 0x10 |
//! | [`Register::Coefficients`] | 0x10, 18 bytes | the coefficients |
//! | [`Register::CoefficientSource`] | 0x28 | bit 7: for the sensor in the pressure cell |
//!
//! Each measurement is one of temperature and one of pressure, on command; the chip stands by between. It takes 7.2 ms (one
//! sample each) to 414 ms (128 each): [`Settings::measurement_us`]. Starting takes 40 ms.
//!
//! Some chips measure about 60 °C where it is 20 °C. What mends them is not in the data sheet: five registers are written as the
//! maker's library and Linux do, unless register 0x32 says that it is not needed.
//!
//! What judges the constants: the registers, their bits and the scale factors were compared with Infineon's own library
//! (DPS310-Pressure-Sensor, src/util/dps310_config.h), Adafruit's and Linux's driver (drivers/iio/pressure/dps310.c), and with QEMU's model;
//! the formulas with these and with what two users calculated for their chips; the integers with the formulas in floating point. Linux alone
//! sets bit 4 to shift pressure: both libraries have bit 2, as here (bit 4 is an interrupt's), which matters beyond eight samples only. The
//! data sheet's text was not to be had, and no real chip has been asked.
//!
//! `examples/read_dps310.rs` is for Linux, `firmware/boards/lm3s6965evb/examples/dps310.rs` for a board.

#![no_std]
#![forbid(unsafe_code)]

mod compensation;
mod error;
mod register;

use lamppost_both_ways::both_ways;
use lamppost_units::{Celsius, Pascals};

pub use blocking::Dps310;
pub use compensation::{Coefficients, Raw};
pub use error::{Channel, Error};
pub use register::{Address, Oversampling, Register};

/// What register 0x0d holds: revision 1, product 0.
pub const PRODUCT_ID: u8 = 0x10;

const RESET: u8 = 0b1001;
const COEFFICIENTS_READY: u8 = 1 << 7;
const SENSOR_READY: u8 = 1 << 6;
const TEMPERATURE_READY: u8 = 1 << 5;
const PRESSURE_READY: u8 = 1 << 4;
const STARTED: u8 = COEFFICIENTS_READY | SENSOR_READY;
const MEASURE: u8 = 0b111;
const MEASURE_PRESSURE: u8 = 0b001;
const MEASURE_TEMPERATURE: u8 = 0b010;
const IN_PRESSURE_CELL: u8 = 1 << 7;
const SHIFT_TEMPERATURE: u8 = 1 << 3;
const SHIFT_PRESSURE: u8 = 1 << 2;
const IS_RIGHT: u8 = 1 << 1;
/// Section 3.7: the coefficients are there 40 ms after power-up or reset, the sensor is ready after 12 ms.
const START_UP_MS_MAX: u32 = 40;
/// How often `MEAS_CFG` is asked for what is late, and how far apart.
const POLLS_MAX: u32 = 10;
const POLL_MS: u32 = 5;

/// What one measurement found, compensated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurement {
    /// Of the chip itself, rounded to ten-thousandths (specified from -40 to 85 °C).
    pub temperature: Celsius,
    /// Rounded to millipascals (specified from 300 to 1200 hPa).
    pub pressure: Pascals,
}

/// How finely each quantity is measured. The default takes one sample of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// Of pressure.
    pub pressure: Oversampling,
    /// Of temperature.
    pub temperature: Oversampling,
}

impl Settings {
    /// How long one measurement of both takes, in microseconds.
    #[must_use]
    pub const fn measurement_us(self) -> u32 {
        self.pressure.measurement_us() + self.temperature.measurement_us()
    }

    const fn shifts(self) -> u8 {
        (if self.temperature.is_shifted() { SHIFT_TEMPERATURE } else { 0 })
            | (if self.pressure.is_shifted() { SHIFT_PRESSURE } else { 0 })
    }
}

#[both_ways]
pub mod asynchronous {
    use embedded_hal_async::delay::DelayNs;
    use embedded_hal_async::i2c::I2c;

    use super::*;

    /// A DPS310 on a bus, reset and with its coefficients read.
    #[derive(Debug)]
    pub struct Dps310<B> {
        bus: B,
        address: Address,
        settings: Settings,
        coefficients: Coefficients,
    }

    impl<B: I2c> Dps310<B> {
        /// Checks that a DPS310 answers at `address`, resets and sets it, and reads its coefficients. Takes 40 ms, 90 ms at most.
        ///
        /// # Errors
        /// [`Error::ProductId`] if another chip answers; those of [`Self::unidentified`].
        pub async fn new(
            mut bus: B,
            address: Address,
            settings: Settings,
            delay: &mut impl DelayNs,
        ) -> Result<Self, Error<B::Error>> {
            let [found] = read(&mut bus, address, Register::ProductId).await?;
            if found != PRODUCT_ID {
                return Err(Error::ProductId { found });
            }
            Self::unidentified(bus, address, settings, delay).await
        }

        /// The same, without asking what chip it is: for emulators whose model has no product id.
        ///
        /// # Errors
        /// [`Error::NotStarted`] if it does not come out of its reset, [`Error::Read`] and [`Error::Write`] with the bus's error.
        pub async fn unidentified(
            bus: B,
            address: Address,
            settings: Settings,
            delay: &mut impl DelayNs,
        ) -> Result<Self, Error<B::Error>> {
            let coefficients = Coefficients::parse(&[0; 18]);
            let mut chip = Self { bus, address, settings, coefficients };
            chip.write(Register::Reset, RESET).await?;
            delay.delay_ms(START_UP_MS_MAX).await;
            chip.wait_for_start(delay).await?;
            chip.coefficients = Coefficients::parse(&chip.read(Register::Coefficients).await?);
            chip.mend_temperature().await?;
            chip.set().await?;
            Ok(chip)
        }

        /// Gives the bus back.
        pub fn release(self) -> B {
            self.bus
        }

        /// The chip's coefficients.
        pub const fn coefficients(&self) -> &Coefficients {
            &self.coefficients
        }

        /// Measures temperature and pressure once. Takes [`Settings::measurement_us`], 100 ms more at most.
        ///
        /// # Errors
        /// [`Error::NotReady`] if a measurement does not end, [`Error::Implausible`] if the compensated value can't be,
        /// [`Error::Read`] and [`Error::Write`] with the bus's error.
        pub async fn measure(&mut self, delay: &mut impl DelayNs) -> Result<Measurement, Error<B::Error>> {
            let Settings { pressure, temperature } = self.settings;
            self.start(MEASURE_TEMPERATURE).await?;
            delay.delay_us(temperature.measurement_us()).await;
            self.wait_for(Channel::Temperature, delay).await?;
            self.start(MEASURE_PRESSURE).await?;
            delay.delay_us(pressure.measurement_us()).await;
            self.wait_for(Channel::Pressure, delay).await?;
            let raw = Raw::parse(&self.read(Register::Data).await?);
            let found = self.coefficients.compensate(raw, pressure, temperature);
            found.map_err(|channel| Error::Implausible { channel })
        }

        /// The upper bits can't be written; they are written as they were read, as Linux does, so that a model that takes them
        /// for memory keeps them.
        async fn start(&mut self, what: u8) -> Result<(), Error<B::Error>> {
            let [status] = self.read(Register::MeasureConfiguration).await?;
            self.write(Register::MeasureConfiguration, (status & !MEASURE) | what).await
        }

        async fn set(&mut self) -> Result<(), Error<B::Error>> {
            let Settings { pressure, temperature } = self.settings;
            let [source] = self.read(Register::CoefficientSource).await?;
            self.write(Register::PressureConfiguration, pressure.bits()).await?;
            let by = source & IN_PRESSURE_CELL;
            self.write(Register::TemperatureConfiguration, by | temperature.bits()).await?;
            self.write(Register::Configuration, self.settings.shifts()).await
        }

        async fn mend_temperature(&mut self) -> Result<(), Error<B::Error>> {
            let [right] = self.read(Register::TemperatureRight).await?;
            if right & IS_RIGHT != 0 {
                return Ok(());
            }
            self.write(Register::Unlock1, 0xa5).await?;
            self.write(Register::Unlock2, 0x96).await?;
            self.write(Register::MendTemperature, 0x02).await?;
            self.write(Register::Unlock1, 0x00).await?;
            self.write(Register::Unlock2, 0x00).await
        }

        async fn wait_for_start(&mut self, delay: &mut impl DelayNs) -> Result<(), Error<B::Error>> {
            let mut found = 0;
            for _ in 0..POLLS_MAX {
                [found] = self.read(Register::MeasureConfiguration).await?;
                if found & STARTED == STARTED {
                    return Ok(());
                }
                delay.delay_ms(POLL_MS).await;
            }
            Err(Error::NotStarted { found, polls: POLLS_MAX })
        }

        async fn wait_for(&mut self, channel: Channel, delay: &mut impl DelayNs) -> Result<(), Error<B::Error>> {
            let ready = match channel {
                Channel::Temperature => TEMPERATURE_READY,
                Channel::Pressure => PRESSURE_READY,
            };
            for _ in 0..POLLS_MAX {
                let [status] = self.read(Register::MeasureConfiguration).await?;
                if status & ready != 0 {
                    return Ok(());
                }
                delay.delay_ms(POLL_MS).await;
            }
            Err(Error::NotReady { channel, polls: POLLS_MAX })
        }

        async fn read<const BYTES: usize>(&mut self, register: Register) -> Result<[u8; BYTES], Error<B::Error>> {
            read(&mut self.bus, self.address, register).await
        }

        async fn write(&mut self, register: Register, value: u8) -> Result<(), Error<B::Error>> {
            let written = self.bus.write(self.address.get(), &[register.address(), value]).await;
            written.map_err(|source| Error::Write { register, source })
        }
    }

    async fn read<B: I2c, const BYTES: usize>(
        bus: &mut B,
        address: Address,
        register: Register,
    ) -> Result<[u8; BYTES], Error<B::Error>> {
        let mut bytes = [0; BYTES];
        let read = bus.write_read(address.get(), &[register.address()], &mut bytes).await;
        read.map_err(|source| Error::Read { register, source })?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
