//! Sensirion SCD41 sensor of CO2, temperature and humidity on I2C, always at address 0x62 (data sheet "SCD4x", version 1.x,
//! whose sections are called as the commands).
//!
//! Words with checksums ([`lamppost_sensirion`]) follow a command of 16 bits. The chip needs a time for each command
//! ([`Command::takes_ms`]), and is addressed neither in it nor while it sleeps.
//!
//! | how | takes |
//! |---|---|
//! | [`Scd41::new`] | 530 ms: it wakes the chip and stops what it may have been doing |
//! | [`Scd41::start_periodic`], then [`Scd41::take`] now and then | a measurement each 5 s or 30 s; asking takes 2 ms |
//! | [`Scd41::start_single`], then [`Scd41::take`] | a measurement after [`SINGLE_SHOT_MS`], 5 s |
//! | [`Scd41::measure`] | the same, waited for in one call: 5.0 to 5.5 s |
//!
//! Who shares a thread with other chips starts and takes; who has time measures.
//!
//! What judges the constants: the commands, times, formulas and ranges were compared with the maker's own driver
//! (Sensirion/embedded-i2c-scd4x, model version 2.0) and the words of the tests are the data sheet's worked examples, as they are
//! remembered, whose checksums and values come out. The data sheet's text was not to be had, and no real chip has been asked.
//!
//! `examples/read_scd41.rs` is for Linux, `firmware/boards/lm3s6965evb/examples/scd41.rs` for a board.
//!
//! ```no_run
//! # async fn example<B: embedded_hal_async::i2c::I2c>(bus: B, mut delay: impl embedded_hal_async::delay::DelayNs)
//! # -> Result<(), lamppost_scd41::Error<B::Error>> {
//! use lamppost_scd41::asynchronous::Scd41;
//! let mut sensor = Scd41::new(bus, &mut delay).await?;
//! let found = sensor.measure(&mut delay).await?;
//! # let _ = found.co2; Ok(())
//! # }
//! ```

#![no_std]
#![forbid(unsafe_code)]

mod command;
mod error;
mod measurement;

use lamppost_both_ways::both_ways;
use lamppost_sensirion::{Framed, with_argument, words};
use lamppost_units::{Celsius, PartsPerMillion, Pascals};

pub use blocking::Scd41;
pub use command::{Command, Interval};
pub use error::Error;
pub use measurement::{Measurement, convert};

/// The 7-bit bus address; there is no other.
pub const ADDRESS: u8 = 0x62;
/// How long a single measurement takes, in milliseconds (section "measure_single_shot").
pub const SINGLE_SHOT_MS: u32 = 5_000;

/// Section "get_data_ready_status": the measurement is there if any of these bits is set.
/// The most CO2 that it tells, in ppm, as those who sell it on boards quote the data sheet.
pub const CO2_PPM_MAX: u16 = 40_000;

const READY: u16 = 0x07ff;
/// How often [`Scd41::measure`] asks for a measurement that is late, and how far apart.
const READY_POLLS_MAX: u32 = 10;
const READY_POLL_MS: u32 = 50;

#[both_ways]
pub mod asynchronous {
    use embedded_hal_async::delay::DelayNs;
    use embedded_hal_async::i2c::I2c;

    use super::*;

    /// An SCD41 on a bus.
    #[derive(Debug)]
    pub struct Scd41<B> {
        bus: B,
        measuring: bool,
    }

    impl<B: I2c> Scd41<B> {
        /// Wakes the chip, stops it if it measures on its own, and reads its serial number, so that a chip that is not there
        /// is told of. Takes 531 ms, after the 1 s that the chip needs from power-up.
        ///
        /// # Errors
        /// [`Error::Send`], [`Error::Answer`] and [`Error::Crc`] of these commands.
        pub async fn new(bus: B, delay: &mut impl DelayNs) -> Result<Self, Error<B::Error>> {
            let mut chip = Self { bus, measuring: true };
            chip.wake_up(delay).await;
            chip.stop(delay).await?;
            chip.serial_number(delay).await?;
            Ok(chip)
        }

        /// Gives the bus back. What the chip does, it goes on with.
        pub fn release(self) -> B {
            self.bus
        }

        /// The chip's number, of 48 bits.
        ///
        /// # Errors
        /// [`Error::Measuring`], or [`Error::Send`], [`Error::Answer`], [`Error::Crc`] of `get_serial_number`.
        pub async fn serial_number(&mut self, delay: &mut impl DelayNs) -> Result<u64, Error<B::Error>> {
            self.idle(Command::GetSerialNumber)?;
            let [w2, w1, w0] = self.ask(Command::GetSerialNumber, delay).await?;
            Ok((u64::from(w2) << 32) | (u64::from(w1) << 16) | u64::from(w0))
        }

        /// Lets the chip measure on its own, until [`Self::stop`]. The first measurement is there after one interval.
        ///
        /// # Errors
        /// [`Error::Measuring`] if it does already, [`Error::Send`].
        pub async fn start_periodic(&mut self, interval: Interval) -> Result<(), Error<B::Error>> {
            self.idle(interval.command())?;
            self.send(interval.command()).await?;
            self.measuring = true;
            Ok(())
        }

        /// Stops measuring; 500 ms later other commands are taken.
        ///
        /// # Errors
        /// [`Error::Send`].
        pub async fn stop(&mut self, delay: &mut impl DelayNs) -> Result<(), Error<B::Error>> {
            self.send(Command::StopPeriodicMeasurement).await?;
            delay.delay_ms(Command::StopPeriodicMeasurement.takes_ms()).await;
            self.measuring = false;
            Ok(())
        }

        /// Begins one measurement, which is there after [`SINGLE_SHOT_MS`]. Until then the chip is not addressed.
        ///
        /// # Errors
        /// [`Error::Measuring`], [`Error::Send`].
        pub async fn start_single(&mut self) -> Result<(), Error<B::Error>> {
            self.idle(Command::MeasureSingleShot)?;
            self.send(Command::MeasureSingleShot).await
        }

        /// The last measurement, if there is one that was not taken yet. Takes 2 ms.
        ///
        /// # Errors
        /// [`Error::NoSample`] if what is there is none, [`Error::Implausible`] if it can't be; [`Error::Send`], [`Error::Answer`], [`Error::Crc`] of
        /// `get_data_ready_status` and `read_measurement`.
        pub async fn take(&mut self, delay: &mut impl DelayNs) -> Result<Option<Measurement>, Error<B::Error>> {
            let [status] = self.ask(Command::GetDataReadyStatus, delay).await?;
            if status & READY == 0 {
                return Ok(None);
            }
            let words @ [ppm, _, _] = self.ask(Command::ReadMeasurement, delay).await?;
            if ppm > CO2_PPM_MAX {
                return Err(Error::Implausible { ppm });
            }
            convert(words).map(Some).ok_or(Error::NoSample)
        }

        /// Measures once and waits for it: 5.0 s, 5.5 s at most.
        ///
        /// # Errors
        /// [`Error::NotReady`] if there is no measurement by then, and those of [`Self::start_single`] and [`Self::take`].
        pub async fn measure(&mut self, delay: &mut impl DelayNs) -> Result<Measurement, Error<B::Error>> {
            self.start_single().await?;
            delay.delay_ms(SINGLE_SHOT_MS).await;
            for _ in 0..READY_POLLS_MAX {
                if let Some(found) = self.take(delay).await? {
                    return Ok(found);
                }
                delay.delay_ms(READY_POLL_MS).await;
            }
            Err(Error::NotReady { waited_ms: SINGLE_SHOT_MS + READY_POLLS_MAX * READY_POLL_MS })
        }

        /// Sets the pressure of the air, 700 to 1200 hPa, in steps of 1 hPa: CO2 depends on it. Also while measuring. Lost
        /// when the chip loses its power.
        ///
        /// # Errors
        /// [`Error::Range`], [`Error::Send`].
        pub async fn set_ambient_pressure(&mut self, pressure: Pascals) -> Result<(), Error<B::Error>> {
            let command = Command::SetAmbientPressure;
            let word = measurement::pressure_word(pressure).ok_or(Error::Range { command })?;
            self.send_with(command, word).await
        }

        /// Sets how much warmer the chip is than the air, 0 to 20 °C (4 °C from the factory): temperature and humidity are
        /// corrected by it, CO2 is not. Lost when the chip loses its power.
        ///
        /// # Errors
        /// [`Error::Measuring`], [`Error::Range`], [`Error::Send`].
        pub async fn set_temperature_offset(&mut self, offset: Celsius) -> Result<(), Error<B::Error>> {
            let command = Command::SetTemperatureOffset;
            self.idle(command)?;
            let word = measurement::offset_word(offset).ok_or(Error::Range { command })?;
            self.send_with(command, word).await
        }

        /// Whether the chip takes the lowest CO2 of each week for that of fresh air (it does from the factory).
        ///
        /// # Errors
        /// [`Error::Measuring`], [`Error::Send`].
        pub async fn set_automatic_calibration(&mut self, enabled: bool) -> Result<(), Error<B::Error>> {
            let command = Command::SetAutomaticSelfCalibrationEnabled;
            self.idle(command)?;
            self.send_with(command, u16::from(enabled)).await
        }

        /// Tells the chip what the air is, 400 to 2,000 ppm, and gives the correction that it made. The chip has to have
        /// measured that air for three minutes. Takes 400 ms.
        ///
        /// # Errors
        /// [`Error::Recalibration`] if the chip could not; [`Error::Measuring`], [`Error::Range`], [`Error::Send`],
        /// [`Error::Answer`], [`Error::Crc`].
        pub async fn force_recalibration(
            &mut self,
            air: PartsPerMillion,
            delay: &mut impl DelayNs,
        ) -> Result<PartsPerMillion, Error<B::Error>> {
            let command = Command::PerformForcedRecalibration;
            self.idle(command)?;
            let word = measurement::reference_word(air).ok_or(Error::Range { command })?;
            self.send_with(command, word).await?;
            let [correction] = self.answer(command, delay).await?;
            measurement::correction(correction).ok_or(Error::Recalibration)
        }

        /// Lets the chip test itself. Takes 10 s.
        ///
        /// # Errors
        /// [`Error::SelfTest`] if it is broken; [`Error::Measuring`], [`Error::Send`], [`Error::Answer`], [`Error::Crc`].
        pub async fn self_test(&mut self, delay: &mut impl DelayNs) -> Result<(), Error<B::Error>> {
            self.idle(Command::PerformSelfTest)?;
            let [found] = self.ask(Command::PerformSelfTest, delay).await?;
            if found == 0 { Ok(()) } else { Err(Error::SelfTest { found }) }
        }

        /// Lets the chip sleep: it takes nothing but [`Self::wake_up`].
        ///
        /// # Errors
        /// [`Error::Measuring`], [`Error::Send`].
        pub async fn power_down(&mut self) -> Result<(), Error<B::Error>> {
            self.idle(Command::PowerDown)?;
            self.send(Command::PowerDown).await
        }

        /// Wakes the chip. Takes 30 ms. What the bus says is of no use: the chip acknowledges its address and not the command
        /// (section "wake_up"), or nothing; [`Self::serial_number`] tells whether it is awake.
        pub async fn wake_up(&mut self, delay: &mut impl DelayNs) {
            let _unacknowledged = self.send(Command::WakeUp).await;
            delay.delay_ms(Command::WakeUp.takes_ms()).await;
        }

        fn idle(&self, command: Command) -> Result<(), Error<B::Error>> {
            if self.measuring { Err(Error::Measuring { command }) } else { Ok(()) }
        }

        async fn send(&mut self, command: Command) -> Result<(), Error<B::Error>> {
            let bytes = command.code().to_be_bytes();
            self.bus.write(ADDRESS, &bytes).await.map_err(|source| Error::Send { command, source })
        }

        async fn send_with(&mut self, command: Command, argument: u16) -> Result<(), Error<B::Error>> {
            let bytes = with_argument(command.code(), argument);
            self.bus.write(ADDRESS, &bytes).await.map_err(|source| Error::Send { command, source })
        }

        async fn ask<const WORDS: usize>(
            &mut self,
            command: Command,
            delay: &mut impl DelayNs,
        ) -> Result<[u16; WORDS], Error<B::Error>> {
            self.send(command).await?;
            self.answer(command, delay).await
        }

        async fn answer<const WORDS: usize>(
            &mut self,
            command: Command,
            delay: &mut impl DelayNs,
        ) -> Result<[u16; WORDS], Error<B::Error>> {
            delay.delay_ms(command.takes_ms()).await;
            let mut answer: [Framed; WORDS] = [[0; 3]; WORDS];
            let came = self.bus.read(ADDRESS, answer.as_flattened_mut()).await;
            came.map_err(|source| Error::Answer { command, source })?;
            words(&answer).map_err(|wrong| Error::Crc { command, wrong })
        }
    }
}

#[cfg(test)]
mod tests;
