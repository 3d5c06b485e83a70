//! TI TMP105 temperature sensor on I2C (data sheet SLLS648D), and the chips with the same registers: LM75, TMP75, TMP175.
//!
//! | register | pointer | bytes | holds |
//! |---|---|---|---|
//! | [`Register::Temperature`] | 0 | 2, big-endian | signed, left-aligned; the upper 12 bits count 1/16 °C |
//! | [`Register::Configuration`] | 1 | 1 | OS R1 R0 F1 F0 POL TM SD |
//!
//! Registers, the format and the examples of temperatures, and 0 °C until the first conversion were compared with the data sheet's text
//! (pages 6 and 7), the typical conversion times with that of the TMP75 and TMP175 (SBOS288M), which are the same. The longest ones are as they
//! are remembered of the table of electrical characteristics. QEMU's model of the chip judges the registers too.
//!
//! The chip converts on its own, without end; [`Tmp105::read`] fetches the last result, and finds out whether the chip was reset since it was set up. An
//! LM75, which takes no setting, is reset unseen. [`Tmp105`] blocks; [`asynchronous::Tmp105`] is the same to be awaited.
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

/// The bits of the configuration that stay as they are set: all but OS.
const CONFIGURATION_KEPT: u8 = 0x7f;

#[both_ways]
pub mod asynchronous {
    use embedded_hal_async::i2c::I2c;

    use super::{Address, CONFIGURATION_KEPT, Celsius, Error, Register, Resolution, convert};

    /// A TMP105 on a bus.
    #[derive(Debug)]
    pub struct Tmp105<B> {
        bus: B,
        address: Address,
        /// What of the configuration was read back when it was set.
        set: Option<u8>,
    }

    impl<B: I2c> Tmp105<B> {
        /// The chip at `address`. Nothing is sent yet.
        pub const fn new(bus: B, address: Address) -> Self {
            Self { bus, address, set: None }
        }

        /// Gives the bus back.
        pub fn release(self) -> B {
            self.bus
        }

        /// Sets the resolution and leaves the chip converting continuously, as a comparator with ALERT active low and a
        /// fault queue of one (the state after power-up). Gives the resolution that the chip has then, which is 9 bits for an LM75. The first
        /// result is there after [`Resolution::conversion_us`] of the one that was asked for.
        ///
        /// # Errors
        /// [`Error::Write`], and [`Error::Read`] of reading it back, with the bus's error.
        pub async fn set_resolution(&mut self, resolution: Resolution) -> Result<Resolution, Error<B::Error>> {
            let register = Register::Configuration;
            self.set = None;
            self.bus
                .write(self.address.0, &[register.pointer(), resolution.configuration()])
                .await
                .map_err(|source| Error::Write { register, source })?;
            let configuration = self.configuration().await?;
            self.set = Some(configuration);
            Ok(Resolution::of_configuration(configuration))
        }

        /// Reads the configured resolution back: whether the chip is there, and still as it was set.
        ///
        /// # Errors
        /// [`Error::Read`] with the bus's error.
        pub async fn resolution(&mut self) -> Result<Resolution, Error<B::Error>> {
            self.configuration().await.map(Resolution::of_configuration)
        }

        /// Reads the last conversion, -128 to 127.9375 °C, in steps of the chip's resolution.
        ///
        /// # Errors
        /// [`Error::Reset`] if the chip has lost what [`Self::set_resolution`] set: set it anew. [`Error::Read`] with the bus's error.
        pub async fn read(&mut self) -> Result<Celsius, Error<B::Error>> {
            let temperature = self.read_register(Register::Temperature).await?;
            // Afterwards: so the chip was not reset before.
            let found = self.configuration().await?;
            if let Some(set) = self.set.filter(|set| *set != found) {
                return Err(Error::Reset { set, found });
            }
            Ok(convert(temperature, Resolution::of_configuration(found)))
        }

        async fn configuration(&mut self) -> Result<u8, Error<B::Error>> {
            let [configuration] = self.read_register(Register::Configuration).await?;
            Ok(configuration & CONFIGURATION_KEPT)
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

/// Converts the temperature register, as it comes over the bus, to degrees (SLLS648D, table 5, "Temperature Data Format").
/// Exact: one step of 12 bits is 0.0625 °C. What is below the resolution is left out.
#[must_use]
pub fn convert(register: [u8; 2], resolution: Resolution) -> Celsius {
    let kept = u16::from_be_bytes(register) & resolution.temperature_mask();
    let sixteenths = i32::from(kept.cast_signed() >> 4);
    Celsius::from_ten_thousandths(sixteenths * 625)
}

#[cfg(test)]
mod tests;
