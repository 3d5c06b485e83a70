//! The magnetometer of ST's LSM303DLHC on I2C (data sheet DocID018771; the accelerometer in the same package has another address and is
//! not driven).
//!
//! | register | address | holds |
//! |---|---|---|
//! | [`Register::Rate`] | 0x00 CRA_REG_M | bit 7 temperature on, bits 4 to 2 data rate |
//! | [`Register::Gain`] | 0x01 CRB_REG_M | bits 7 to 5 gain |
//! | [`Register::Mode`] | 0x02 MR_REG_M | 0 continuous, 2 and 3 sleep |
//! | [`Register::Output`] | 0x03, 6 bytes | **X, Z, Y**, big-endian, -2048 to 2047; 0xf000 (-4096) beyond the range |
//! | [`Register::Status`] | 0x09 SR_REG_M | bit 1 locked, bit 0 new data |
//! | [`Register::Identity`] | 0x0a, 3 bytes | `H43` |
//! | [`Register::Temperature`] | 0x31, 2 bytes | signed, left-aligned; the upper 12 bits count 1/8 °C |
//!
//! X and Y have another gain than Z: [`Range::steps_per_gauss`]. 1 gauss is 100 µT.
//!
//! Constants were compared with what others quote of the data sheet and with QEMU's model of the chip, not with the sheet's own pages. QEMU judges
//! registers, their order, and the gains, of positive fields only: it refuses to be set to negative ones. Its temperature is aligned otherwise than the sheet's
//! table, and judges nothing.
//!
//! [`Lsm303dlhc`] blocks; [`asynchronous::Lsm303dlhc`] is the same to be awaited. `examples/read_lsm303dlhc.rs` is
//! for Linux, `firmware/boards/lm3s6965evb/examples/lsm303dlhc.rs` for a board.
//!
//! ```no_run
//! # fn example<B: embedded_hal::i2c::I2c>(bus: B) -> Result<(), lamppost_lsm303dlhc::Error<B::Error>> {
//! use lamppost_lsm303dlhc::{Lsm303dlhc, Range, Rate};
//! let mut sensor = Lsm303dlhc::new(bus, Range::Gauss1_3, Rate::Hz75)?;
//! let field = sensor.read()?;
//! # let _ = field.x; Ok(())
//! # }
//! ```

#![no_std]
#![forbid(unsafe_code)]

mod error;
mod output;
mod register;

use lamppost_both_ways::both_ways;
use lamppost_units::Celsius;

pub use blocking::Lsm303dlhc;
pub use error::Error;
pub use output::{Axis, MagneticField, OutputError, convert};
pub use register::{Range, Rate, Register};

/// The magnetometer's bus address; it can't be changed.
pub const ADDRESS: u8 = 0x1e;
/// What the three registers from 0x0a on hold: `H43`.
pub const IDENTITY: [u8; 3] = *b"H43";

const TEMPERATURE_ON: u8 = 1 << 7;
const CONTINUOUS: u8 = 0;
const NEW_DATA: u8 = 1 << 0;

#[both_ways]
pub mod asynchronous {
    use embedded_hal_async::i2c::I2c;

    use super::{
        ADDRESS, CONTINUOUS, Celsius, Error, IDENTITY, MagneticField, NEW_DATA, Range, Rate, Register, TEMPERATURE_ON,
        convert,
    };

    /// A magnetometer on a bus, set up and measuring without end.
    #[derive(Debug)]
    pub struct Lsm303dlhc<B> {
        bus: B,
        range: Range,
    }

    impl<B: I2c> Lsm303dlhc<B> {
        /// Checks that the chip answers, sets it up and starts it. The first result is there after [`Rate::interval_us`] twice.
        ///
        /// # Errors
        /// [`Error::Identity`] if another chip answers, [`Error::Read`] and [`Error::Write`] with the bus's error.
        pub async fn new(bus: B, range: Range, rate: Rate) -> Result<Self, Error<B::Error>> {
            let mut chip = Self { bus, range };
            let found = chip.read_register(Register::Identity).await?;
            if found != IDENTITY {
                return Err(Error::Identity { found });
            }
            chip.write_register(Register::Rate, TEMPERATURE_ON | rate.bits()).await?;
            chip.write_register(Register::Gain, range.bits()).await?;
            chip.write_register(Register::Mode, CONTINUOUS).await?;
            Ok(chip)
        }

        /// Gives the bus back.
        pub fn release(self) -> B {
            self.bus
        }

        /// The range that is set.
        pub const fn range(&self) -> Range {
            self.range
        }

        /// Sets another range. The result after the next is the first that is measured with it.
        ///
        /// # Errors
        /// [`Error::Write`] with the bus's error.
        pub async fn set_range(&mut self, range: Range) -> Result<(), Error<B::Error>> {
            self.write_register(Register::Gain, range.bits()).await?;
            self.range = range;
            Ok(())
        }

        /// Whether there is a result that was not read yet.
        ///
        /// # Errors
        /// [`Error::Read`] with the bus's error.
        pub async fn has_new(&mut self) -> Result<bool, Error<B::Error>> {
            let [status] = self.read_register(Register::Status).await?;
            Ok(status & NEW_DATA != 0)
        }

        /// Reads the last result. In one transfer: until all six bytes are read, the chip keeps them together.
        ///
        /// # Errors
        /// [`Error::Output`] if the field is beyond the range or the bytes can't be a field, [`Error::Read`] with the bus's error.
        pub async fn read(&mut self) -> Result<MagneticField, Error<B::Error>> {
            let bytes = self.read_register(Register::Output).await?;
            convert(bytes, self.range).map_err(Error::Output)
        }

        /// The result, if it was not read yet. Nothing for longer than [`Rate::interval_us`] twice: the chip was reset and sleeps, or hangs, and
        /// has to be set up anew ([`Error::NothingNew`]).
        ///
        /// # Errors
        /// As of [`Self::read`].
        pub async fn take(&mut self) -> Result<Option<MagneticField>, Error<B::Error>> {
            if self.has_new().await? { self.read().await.map(Some) } else { Ok(None) }
        }

        /// Reads the chip's temperature, in steps of 0.125 °C. Only its changes mean anything: the data sheet gives no zero, and chips
        /// differ by tens of degrees.
        ///
        /// # Errors
        /// [`Error::Read`] with the bus's error.
        pub async fn read_temperature_uncalibrated(&mut self) -> Result<Celsius, Error<B::Error>> {
            let bytes = self.read_register(Register::Temperature).await?;
            Ok(Celsius::from_milli(i32::from(i16::from_be_bytes(bytes) >> 4) * 125))
        }

        async fn read_register<const BYTES: usize>(
            &mut self,
            register: Register,
        ) -> Result<[u8; BYTES], Error<B::Error>> {
            let mut bytes = [0; BYTES];
            self.bus
                .write_read(ADDRESS, &[register.address()], &mut bytes)
                .await
                .map_err(|source| Error::Read { register, source })?;
            Ok(bytes)
        }

        async fn write_register(&mut self, register: Register, value: u8) -> Result<(), Error<B::Error>> {
            self.bus
                .write(ADDRESS, &[register.address(), value])
                .await
                .map_err(|source| Error::Write { register, source })
        }
    }
}

#[cfg(test)]
mod tests;
