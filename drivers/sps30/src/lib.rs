//! Sensirion SPS30 sensor of dust on I2C, always at address 0x69 (data sheet 1.0 of 2020, section 6.3), with firmware 2.0 or
//! newer: it is asked for whole numbers, since older ones give floating-point numbers only.
//!
//! Words with checksums ([`lamppost_sensirion`]) follow a command of 16 bits. The sensor measures every second once it is started;
//! its fan needs a while: what it says is as specified after 8 s (above 200 particles in a cubic centimetre) to 30 s.
//!
//! | how | takes |
//! |---|---|
//! | [`Sps30::new`] | 35 ms: it wakes the sensor and stops what it may have been doing |
//! | [`Sps30::start`], then [`Sps30::take`] now and then | a measurement each second; asking takes 10 ms |
//!
//! What judges the constants: the commands of Linux's driver (drivers/iio/chemical/sps30_i2c.c) and the order of the values in the
//! tests of the maker's own (Sensirion/embedded-i2c-sps30). The codes to sleep, to wake and of the status, the firmware that the status takes (2.2, and
//! 2.0 to clear it) and the 5 ms were compared with three public drivers that quote the data sheet. The other times, and that whole numbers take
//! firmware 2.0, are as the data sheet is remembered. Its text was not to be had, and no real sensor has been asked.
//!
//! `examples/read_sps30.rs` is for Linux, `firmware/boards/lm3s6965evb/examples/sps30.rs` for a board.

#![no_std]
#![forbid(unsafe_code)]

use core::fmt;

mod command;
mod error;

use lamppost_both_ways::both_ways;
use lamppost_sensirion::{Framed, with_argument, words};
use lamppost_units::MicrogramsPerCubicMetre;

pub use blocking::Sps30;
pub use command::Command;
pub use error::Error;

/// The 7-bit bus address; there is no other.
pub const ADDRESS: u8 = 0x69;
/// How often it measures, in milliseconds.
pub const INTERVAL_MS: u32 = 1_000;
/// How long after [`Sps30::start`] what it says is as specified, in any air, in milliseconds.
pub const START_UP_MS: u32 = 30_000;

/// The argument of "start measurement" for whole numbers, big-endian.
const WHOLE_NUMBERS: u16 = 0x0500;
const FIRMWARE_MIN: u8 = 2;
/// The first firmware that tells its status: 2.2.
const FIRMWARE_WITH_STATUS: [u8; 2] = [2, 2];

/// What one measurement found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurement {
    /// Mass of particles up to 1 µm, in steps of 1 µg/m³ (specified up to 1,000 µg/m³).
    pub pm1: MicrogramsPerCubicMetre,
    /// Up to 2.5 µm.
    pub pm2_5: MicrogramsPerCubicMetre,
    /// Up to 4 µm.
    pub pm4: MicrogramsPerCubicMetre,
    /// Up to 10 µm.
    pub pm10: MicrogramsPerCubicMetre,
    /// Particles in a cubic centimetre, of up to 0.5, 1, 2.5, 4 and 10 µm.
    pub per_cm3: [u16; 5],
    /// The typical size of a particle, in nanometres.
    pub size_nm: u16,
}

/// Converts the ten words of "read measured values" (section 4.3).
#[must_use]
pub const fn convert(words: [u16; 10]) -> Measurement {
    let [pm1, pm2_5, pm4, pm10, below_0_5, below_1, below_2_5, below_4, below_10, size_nm] = words;
    Measurement {
        pm1: mass(pm1),
        pm2_5: mass(pm2_5),
        pm4: mass(pm4),
        pm10: mass(pm10),
        per_cm3: [below_0_5, below_1, below_2_5, below_4, below_10],
        size_nm,
    }
}

const fn mass(word: u16) -> MicrogramsPerCubicMetre {
    MicrogramsPerCubicMetre::from_milli(word as i32 * 1_000)
}

/// What is wrong with the sensor (section 4.4, "Device Status Register").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    /// The fan is too slow or too fast (bit 21).
    pub fan_speed: bool,
    /// The laser's current is wrong (bit 5).
    pub laser: bool,
    /// The fan is blocked or broken (bit 4).
    pub fan: bool,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = [
            (self.fan, "the fan is blocked or broken"),
            (self.fan_speed, "the fan is too slow or too fast"),
            (self.laser, "the laser's current is wrong"),
        ];
        let mut said = faults.into_iter().filter(|(is_there, _)| *is_there).map(|(_, what)| what);
        f.write_str(said.next().unwrap_or("nothing is wrong"))?;
        said.try_for_each(|what| write!(f, ", {what}"))
    }
}

#[both_ways]
pub mod asynchronous {
    use embedded_hal_async::delay::DelayNs;
    use embedded_hal_async::i2c::I2c;

    use super::*;

    /// An SPS30 on a bus.
    #[derive(Debug)]
    pub struct Sps30<B> {
        bus: B,
        has_status: bool,
    }

    impl<B: I2c> Sps30<B> {
        /// Wakes the sensor, stops it if it measures, and reads the version of its firmware. Takes 35 ms.
        ///
        /// # Errors
        /// [`Error::Firmware`] if it is too old; [`Error::Send`], [`Error::Answer`] and [`Error::Crc`] of these commands.
        pub async fn new(bus: B, delay: &mut impl DelayNs) -> Result<Self, Error<B::Error>> {
            let mut sensor = Self { bus, has_status: false };
            sensor.wake_up(delay).await;
            sensor.tell(Command::StopMeasurement, delay).await?;
            let [version] = sensor.ask(Command::ReadVersion, delay).await?;
            let [major, minor] = version.to_be_bytes();
            if major < FIRMWARE_MIN {
                return Err(Error::Firmware { major, minor });
            }
            sensor.has_status = [major, minor] >= FIRMWARE_WITH_STATUS;
            Ok(sensor)
        }

        /// Gives the bus back. What the sensor does, it goes on with.
        pub fn release(self) -> B {
            self.bus
        }

        /// Lets the sensor measure, every second, and forget what was wrong with it before. Takes 25 ms. What it says is as specified after
        /// [`START_UP_MS`].
        ///
        /// # Errors
        /// [`Error::Send`].
        pub async fn start(&mut self, delay: &mut impl DelayNs) -> Result<(), Error<B::Error>> {
            self.tell(Command::ClearDeviceStatus, delay).await?;
            let command = Command::StartMeasurement;
            let bytes = with_argument(command.code(), WHOLE_NUMBERS);
            self.bus.write(ADDRESS, &bytes).await.map_err(|source| Error::Send { command, source })?;
            delay.delay_ms(command.takes_ms()).await;
            Ok(())
        }

        /// Stops measuring, and the fan. Takes 20 ms.
        ///
        /// # Errors
        /// [`Error::Send`].
        pub async fn stop(&mut self, delay: &mut impl DelayNs) -> Result<(), Error<B::Error>> {
            self.tell(Command::StopMeasurement, delay).await
        }

        /// The last measurement, if there is one that was not taken yet. Takes 10 ms.
        ///
        /// # Errors
        /// [`Error::Send`], [`Error::Answer`], [`Error::Crc`].
        pub async fn take(&mut self, delay: &mut impl DelayNs) -> Result<Option<Measurement>, Error<B::Error>> {
            let [ready] = self.ask(Command::ReadDataReadyFlag, delay).await?;
            if ready & 0xff == 0 {
                return Ok(None);
            }
            let words = self.ask(Command::ReadMeasuredValues, delay).await?;
            Ok(Some(convert(words)))
        }

        /// Blows the dust out, for 10 s, in which there is nothing new. Only while measuring.
        ///
        /// # Errors
        /// [`Error::Send`].
        pub async fn clean_fan(&mut self, delay: &mut impl DelayNs) -> Result<(), Error<B::Error>> {
            self.tell(Command::StartFanCleaning, delay).await
        }

        /// Whether nothing is wrong with the sensor, which is to be asked once it has started up. Takes 5 ms. A firmware before 2.2 can't tell,
        /// and is believed.
        ///
        /// # Errors
        /// [`Error::Faulty`] with what is wrong; those of [`Self::status`].
        pub async fn check(&mut self, delay: &mut impl DelayNs) -> Result<(), Error<B::Error>> {
            if !self.has_status {
                return Ok(());
            }
            let status = self.status(delay).await?;
            if status == Status::default() { Ok(()) } else { Err(Error::Faulty(status)) }
        }

        /// What is wrong with the sensor (firmware 2.2).
        ///
        /// # Errors
        /// [`Error::Send`], [`Error::Answer`], [`Error::Crc`].
        pub async fn status(&mut self, delay: &mut impl DelayNs) -> Result<Status, Error<B::Error>> {
            let [high, low] = self.ask(Command::ReadDeviceStatus, delay).await?;
            let bit = |bits: u16, bit: u16| bits & (1 << bit) != 0;
            Ok(Status { fan_speed: bit(high, 21 - 16), laser: bit(low, 5), fan: bit(low, 4) })
        }

        /// Lets the sensor sleep; it has to be stopped. It takes nothing then but [`Self::wake_up`].
        ///
        /// # Errors
        /// [`Error::Send`].
        pub async fn sleep(&mut self, delay: &mut impl DelayNs) -> Result<(), Error<B::Error>> {
            self.tell(Command::Sleep, delay).await
        }

        /// Wakes the sensor. Takes 5 ms. It is sent twice, since the first wakes the interface and is not acknowledged; one that is
        /// awake may refuse both.
        pub async fn wake_up(&mut self, delay: &mut impl DelayNs) {
            let bytes = Command::WakeUp.code().to_be_bytes();
            let _unacknowledged = self.bus.write(ADDRESS, &bytes).await;
            let _unacknowledged = self.bus.write(ADDRESS, &bytes).await;
            delay.delay_ms(Command::WakeUp.takes_ms()).await;
        }

        async fn tell(&mut self, command: Command, delay: &mut impl DelayNs) -> Result<(), Error<B::Error>> {
            let bytes = command.code().to_be_bytes();
            self.bus.write(ADDRESS, &bytes).await.map_err(|source| Error::Send { command, source })?;
            delay.delay_ms(command.takes_ms()).await;
            Ok(())
        }

        async fn ask<const WORDS: usize>(
            &mut self,
            command: Command,
            delay: &mut impl DelayNs,
        ) -> Result<[u16; WORDS], Error<B::Error>> {
            self.tell(command, delay).await?;
            let mut answer: [Framed; WORDS] = [[0; 3]; WORDS];
            let came = self.bus.read(ADDRESS, answer.as_flattened_mut()).await;
            came.map_err(|source| Error::Answer { command, source })?;
            words(&answer).map_err(|wrong| Error::Crc { command, wrong })
        }
    }
}

#[cfg(test)]
mod tests;
