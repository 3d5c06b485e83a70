//! Words with a checksum, as Sensirion's sensors exchange them on I2C (SCD4x data sheet 1.x, section "I2C Sensor Commands";
//! the same in those of SPS30, SHT3x and others).
//!
//! ```text
//! command:          C1 C0
//! with an argument: C1 C0  W1 W0 CRC
//! answer:           W1 W0 CRC  W1 W0 CRC  …
//! ```
//!
//! All are big-endian. The checksum is over the two bytes of its word: polynomial 0x31, first value 0xff, not reflected, no
//! final XOR; of 0xbeef it is 0x92. A command has none.

#![no_std]
#![forbid(unsafe_code)]

use core::fmt;

use crc::{CRC_8_NRSC_5, Crc, NoTable};

/// The data sheets' parameters are those of NRSC-5.
const CRC: Crc<u8, NoTable> = Crc::<u8, NoTable>::new(&CRC_8_NRSC_5);

/// A word as it comes over the bus: two bytes and their checksum.
pub type Framed = [u8; 3];

/// A word whose checksum is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongCrc {
    /// Which word of the answer, from 0.
    pub word: usize,
    /// The three bytes that came.
    pub came: Framed,
    /// The checksum that the first two have.
    pub computed: u8,
}

impl fmt::Display for WrongCrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [high, low, crc] = self.came;
        write!(f, "word {} came as 0x{high:02x}{low:02x} with CRC 0x{crc:02x}, not 0x{:02x}", self.word, self.computed)
    }
}

impl core::error::Error for WrongCrc {}

/// The checksum of a word.
#[must_use]
pub const fn crc(word: u16) -> u8 {
    CRC.checksum(&word.to_be_bytes())
}

/// What an answer of `WORDS` words says.
///
/// # Errors
/// The first word whose checksum is wrong.
pub fn words<const WORDS: usize>(answer: &[Framed; WORDS]) -> Result<[u16; WORDS], WrongCrc> {
    let mut words = [0; WORDS];
    for (word, (place, came)) in words.iter_mut().zip(answer).enumerate() {
        let [high, low, checksum] = *came;
        *place = u16::from_be_bytes([high, low]);
        let computed = crc(*place);
        if checksum != computed {
            return Err(WrongCrc { word, came: *came, computed });
        }
    }
    Ok(words)
}

/// A command with one word as its argument, as it is sent.
#[must_use]
pub const fn with_argument(command: u16, argument: u16) -> [u8; 5] {
    let ([c1, c0], [w1, w0]) = (command.to_be_bytes(), argument.to_be_bytes());
    [c1, c0, w1, w0, crc(argument)]
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::ToString;

    #[test]
    fn the_checksums_of_the_data_sheets_examples_come_out() {
        // SCD4x: the checksum's own example, and those of the commands' examples. SPS30: the arguments of "start measurement".
        for (word, checksum) in [
            (0xbeef, 0x92),
            (0x01f4, 0x33),
            (0x6667, 0xa2),
            (0x5eb9, 0x3c),
            (0x07e6, 0x48),
            (0x03db, 0x42),
            (0x01e0, 0xb4),
            (0x7fce, 0x7b),
            (0xf896, 0x31),
            (0x0000, 0x81),
            (0x0300, 0xac),
            (0x0500, 0xf6),
        ] {
            assert_eq!(crc(word), checksum, "{word:#06x}");
        }
    }

    #[test]
    fn every_single_wrong_bit_is_seen_and_the_word_named() {
        let answer = [[0xbe, 0xef, 0x92], [0x01, 0xf4, 0x33]];
        assert_eq!(words(&answer), Ok([0xbeef, 0x01f4]));
        for bit in 0..48 {
            let mut flipped = answer;
            flipped[bit / 24][bit / 8 % 3] ^= 1 << (bit % 8);
            assert_eq!(words(&flipped).unwrap_err().word, bit / 24, "bit {bit}");
        }
    }

    #[test]
    fn an_error_says_what_came_and_what_should_have() {
        let error = words(&[[0xbe, 0xef, 0x93]]).unwrap_err();
        assert_eq!(error.to_string(), "word 0 came as 0xbeef with CRC 0x93, not 0x92");
    }

    #[test]
    fn an_argument_follows_its_command_with_its_checksum() {
        assert_eq!(with_argument(0x362f, 480), [0x36, 0x2f, 0x01, 0xe0, 0xb4]);
    }
}
