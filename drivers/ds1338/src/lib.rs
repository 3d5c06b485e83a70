//! Maxim DS1338 clock on I2C (data sheet 19-5769), and DS3231 (19-5170), which has the same registers for the time: always at
//! address 0x68.
//!
//! | register | address | holds |
//! |---|---|---|
//! | [`Register::Seconds`] | 0x00 | BCD; DS1338: bit 7 halts the clock |
//! | [`Register::Minutes`] | 0x01 | BCD |
//! | [`Register::Hours`] | 0x02 | BCD; bit 6: of twelve, with bit 5 for the afternoon |
//! | - | 0x03 | day of the week, 1 to 7; set to ISO 8601's and not read |
//! | [`Register::Date`], [`Register::Month`], [`Register::Year`] | 0x04 to 0x06 | BCD; DS3231: bit 7 of the month is the century |
//! | [`Register::Control`] | 0x07 | DS1338: bit 5 says that the oscillator was stopped |
//! | [`Register::Status`] | 0x0f | DS3231: bit 7 says so |
//!
//! A clock whose oscillator has stopped since it was set has no time, but an error ([`Error::Stopped`]): battery and supply were
//! both gone. Setting it clears that. The registers are read in one transfer, of which the chip holds a copy.
//!
//! What judges the constants: DS1338's table of registers was compared with the data sheet's text and with QEMU's model
//! (hw/rtc/ds1338.c, which does not model CH), whose clock never stops; both clocks' registers and bits with Linux's driver
//! (drivers/rtc/rtc-ds1307.c), DS3231's also with Adafruit's RTClib (src/RTC_DS3231.cpp). DS3231's thermometer is not read. No real chip has
//! been asked.
//!
//! `examples/read_ds1338.rs` is for Linux, `firmware/boards/lm3s6965evb/examples/ds1338.rs` for a board.

#![no_std]
#![forbid(unsafe_code)]

mod register;
mod time;

use core::fmt;

use lamppost_both_ways::both_ways;
use register::{HALTED, NoTime, decode, encode};

pub use blocking::Ds1338;
pub use register::{Kind, Register};
pub use time::DateTime;

/// The 7-bit bus address; there is no other.
pub const ADDRESS: u8 = 0x68;

/// Why there is no time; `E` is the bus's own error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error<E> {
    /// A register, or a row of them, could not be read.
    Read {
        /// The first.
        register: Register,
        /// What the bus said.
        source: E,
    },
    /// A register, or a row of them, could not be written.
    Write {
        /// The first.
        register: Register,
        /// What the bus said.
        source: E,
    },
    /// The oscillator has stopped since the clock was set: the time is not to be trusted.
    Stopped {
        /// The register that says so.
        register: Register,
    },
    /// The clock is halted (CH): it was never set.
    Halted,
    /// A register holds what it can't: no digits, or out of its range.
    Register {
        /// Which.
        register: Register,
        /// What it holds.
        found: u8,
    },
    /// There is no such date, as the 30th of February.
    Date,
    /// The clock has no such year. Nothing was written.
    Year {
        /// Which.
        year: u16,
    },
}

impl<E: fmt::Debug> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { register, source } => write!(f, "reading clock register {register}: {source:?}"),
            Self::Write { register, source } => write!(f, "writing clock register {register}: {source:?}"),
            Self::Stopped { register } => {
                write!(f, "the clock has stopped since it was set (register {register}): its time is not to be trusted")
            }
            Self::Halted => {
                let register = Register::Seconds;
                write!(f, "the clock is halted (CH in register {register}): it was never set")
            }
            Self::Register { register, found } => {
                write!(f, "clock register {register} holds 0x{found:02x}, which is no time")
            }
            Self::Date => f.write_str("the clock holds a date that does not exist"),
            Self::Year { year } => write!(f, "the clock can't hold the year {year}"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for Error<E> {}

#[both_ways]
pub mod asynchronous {
    use embedded_hal_async::i2c::I2c;

    use super::*;

    /// A clock on a bus.
    #[derive(Debug)]
    pub struct Ds1338<B> {
        bus: B,
        kind: Kind,
    }

    impl<B: I2c> Ds1338<B> {
        /// A clock of this kind. Nothing is sent yet.
        pub const fn new(bus: B, kind: Kind) -> Self {
            Self { bus, kind }
        }

        /// Gives the bus back.
        pub fn release(self) -> B {
            self.bus
        }

        /// The time. Takes two transfers.
        ///
        /// # Errors
        /// [`Error::Halted`] and [`Error::Stopped`] if the time is not to be trusted, [`Error::Register`] and [`Error::Date`] if it is
        /// none, [`Error::Read`] with the bus's error.
        pub async fn time(&mut self) -> Result<DateTime, Error<B::Error>> {
            let registers: [u8; 7] = self.read(Register::Seconds).await?;
            let [seconds, ..] = registers;
            if self.kind == Kind::Ds1338 && seconds & HALTED != 0 {
                return Err(Error::Halted);
            }
            let (register, stopped) = self.kind.stop_flag();
            let [flags] = self.read(register).await?;
            if flags & stopped != 0 {
                return Err(Error::Stopped { register });
            }
            decode(self.kind, registers).map_err(|why| match why {
                NoTime::Register(register, found) => Error::Register { register, found },
                NoTime::Date => Error::Date,
            })
        }

        /// Sets the time, of 24 hours, starts the clock and clears the flag that says that it had stopped. Takes three transfers.
        ///
        /// # Errors
        /// [`Error::Year`], [`Error::Read`] and [`Error::Write`] with the bus's error.
        pub async fn set(&mut self, time: DateTime) -> Result<(), Error<B::Error>> {
            let registers = encode(self.kind, time).ok_or(Error::Year { year: time.year() })?;
            let [seconds, minutes, hours, weekday, date, month, year] = registers;
            let first = Register::Seconds;
            self.write(first, &[first.address(), seconds, minutes, hours, weekday, date, month, year]).await?;
            let (register, stopped) = self.kind.stop_flag();
            let [flags] = self.read(register).await?;
            self.write(register, &[register.address(), flags & !stopped]).await
        }

        async fn read<const BYTES: usize>(&mut self, register: Register) -> Result<[u8; BYTES], Error<B::Error>> {
            let mut bytes = [0; BYTES];
            let read = self.bus.write_read(ADDRESS, &[register.address()], &mut bytes).await;
            read.map_err(|source| Error::Read { register, source })?;
            Ok(bytes)
        }

        async fn write(&mut self, register: Register, bytes: &[u8]) -> Result<(), Error<B::Error>> {
            self.bus.write(ADDRESS, bytes).await.map_err(|source| Error::Write { register, source })
        }
    }
}

#[cfg(test)]
mod tests;
