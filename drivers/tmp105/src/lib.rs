//! TI TMP105 temperature sensor on I2C (data sheet SBOS648), and the chips with the same registers: LM75, TMP75, TMP175.
//!
//! | register | pointer | bytes | holds |
//! |---|---|---|---|
//! | [`Register::Temperature`] | 0 | 2, big-endian | signed, left-aligned; the upper 12 bits count 1/16 °C |
//! | [`Register::Configuration`] | 1 | 1 | OS R1 R0 F1 F0 POL TM SD |
//!
//! Constants and section numbers still have to be compared with the data sheet's text. What judges them so far: the table of
//! temperatures in the tests, and QEMU's model of the chip.
//!
//! The chip converts on its own, without end; [`Tmp105::read`] fetches the last result. [`Tmp105`] blocks;
//! [`asynchronous::Tmp105`] is the same to be awaited.
//!
//! `examples/read_tmp105.rs` is for Linux, `firmware/boards/lm3s6965evb/examples/tmp105.rs` for a board.
//!
//! ```no_run
//! # fn example<B: embedded_hal::i2c::I2c>(bus: B) -> Result<(), lamppost_tmp105::Error<B::Error>> {
//! use lamppost_tmp105::{Address, Resolution, Tmp105};
//! let mut sensor = Tmp105::new(bus, Address::default());
//! sensor.set_resolution(Resolution::Bits12)?;
//! let temperature = sensor.read()?;
//! # let _ = temperature; Ok(())
//! # }
//! ```

#![no_std]
#![forbid(unsafe_code)]

mod error;
mod register;

use lamppost_both_ways::both_ways;
use lamppost_units::Celsius;

pub use blocking::Tmp105;
pub use error::Error;
pub use register::{Address, Register, Resolution};

/// The lowest and the highest temperature that the register can hold (the chip is specified from -40 to 125 °C).
pub const RANGE: [Celsius; 2] = [Celsius::from_milli(-128_000), Celsius::from_ten_thousandths(1_279_375)];

#[both_ways]
pub mod asynchronous {
    use embedded_hal_async::i2c::I2c;

    use super::{Address, Celsius, Error, Register, Resolution, convert};

    /// A TMP105 on a bus.
    #[derive(Debug)]
    pub struct Tmp105<B> {
        bus: B,
        address: Address,
    }

    impl<B: I2c> Tmp105<B> {
        /// The chip at `address`. Nothing is sent yet.
        pub const fn new(bus: B, address: Address) -> Self {
            Self { bus, address }
        }

        /// Gives the bus back.
        pub fn release(self) -> B {
            self.bus
        }

        /// Sets the resolution and leaves the chip converting continuously, as a comparator with ALERT active low and a
        /// fault queue of one (the state after power-up). The first result of the new resolution is there after
        /// [`Resolution::conversion_us`].
        ///
        /// # Errors
        /// [`Error::Write`] with the bus's error.
        pub async fn set_resolution(&mut self, resolution: Resolution) -> Result<(), Error<B::Error>> {
            let register = Register::Configuration;
            self.bus
                .write(self.address.0, &[register.pointer(), resolution.configuration()])
                .await
                .map_err(|source| Error::Write { register, source })
        }

        /// Reads the configured resolution back: whether the chip is there, and still as it was set.
        ///
        /// # Errors
        /// [`Error::Read`] with the bus's error.
        pub async fn resolution(&mut self) -> Result<Resolution, Error<B::Error>> {
            let [configuration] = self.read_register(Register::Configuration).await?;
            Ok(Resolution::of_configuration(configuration))
        }

        /// Reads the last conversion, -128 to 127.9375 °C.
        ///
        /// # Errors
        /// [`Error::Read`] with the bus's error.
        pub async fn read(&mut self) -> Result<Celsius, Error<B::Error>> {
            self.read_register(Register::Temperature).await.map(convert)
        }

        async fn read_register<const BYTES: usize>(
            &mut self,
            register: Register,
        ) -> Result<[u8; BYTES], Error<B::Error>> {
            let mut bytes = [0; BYTES];
            self.bus
                .write_read(self.address.0, &[register.pointer()], &mut bytes)
                .await
                .map_err(|source| Error::Read { register, source })?;
            Ok(bytes)
        }
    }
}

/// Converts the temperature register, as it comes over the bus, to degrees (SBOS648, table "Temperature Data Format").
/// Exact: one step is 0.0625 °C. The lower four bits always read zero and are left out.
#[must_use]
pub fn convert(register: [u8; 2]) -> Celsius {
    let sixteenths = i32::from(i16::from_be_bytes(register) >> 4);
    Celsius::from_ten_thousandths(sixteenths * 625)
}

#[cfg(test)]
mod tests;
