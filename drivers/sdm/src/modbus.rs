//! One value over Modbus RTU ("MODBUS over Serial Line" V1.02, section 2.5.1; "MODBUS Application Protocol" V1.1b3, section 6.4), for who has no
//! Modbus master at hand. No I/O.
//!
//! ```text
//! request:   slave 04 address(2) 00 02 CRC(2, the lower byte first)
//! answer:    slave 04 04 value(4) CRC
//! exception: slave 84 code CRC
//! ```

use core::fmt;

use crc::{CRC_16_MODBUS, Crc, NoTable};

use crate::{Quantity, value};

/// How long a request is.
pub const REQUEST_BYTES: usize = 8;
/// How long an answer is; an exception is shorter.
pub const ANSWER_BYTES: usize = 9;

const READ_INPUT_REGISTERS: u8 = 4;
const EXCEPTION: u8 = READ_INPUT_REGISTERS | 0x80;
const CRC: Crc<u16, NoTable> = Crc::<u16, NoTable>::new(&CRC_16_MODBUS);

/// Why an answer holds no value: of which quantity, and what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerError {
    /// What was asked for.
    pub quantity: Quantity,
    /// What came instead.
    pub wrong: Wrong,
}

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// It is none, or not all of it.
    Short {
        /// So many bytes came.
        bytes: usize,
    },
    /// It was altered on the line.
    Crc {
        /// What came.
        found: u16,
        /// What the bytes before it have.
        computed: u16,
    },
    /// The meter refuses.
    Exception {
        /// Why: 2 is that it has no such register.
        code: u8,
    },
    /// It answers another request.
    Other,
}

impl Quantity {
    /// What to send to the meter `slave`, 1 to 247.
    #[must_use]
    pub const fn request(&self, slave: u8) -> [u8; REQUEST_BYTES] {
        let [high, low] = self.address.to_be_bytes();
        let [first, second] = CRC.checksum(&[slave, READ_INPUT_REGISTERS, high, low, 0, 2]).to_le_bytes();
        [slave, READ_INPUT_REGISTERS, high, low, 0, 2, first, second]
    }

    /// The value in the answer of the meter `slave`. May be no number at all; that is for the caller to judge.
    ///
    /// # Errors
    /// [`AnswerError`] if there is none in it.
    pub fn parse(&self, slave: u8, answer: &[u8]) -> Result<f32, AnswerError> {
        let wrong = |wrong| AnswerError { quantity: *self, wrong };
        let short = || wrong(Wrong::Short { bytes: answer.len() });
        let (body, checksum) = answer.split_last_chunk::<2>().ok_or_else(short)?;
        let is_exception = body.get(1) == Some(&EXCEPTION);
        if answer.len() < if is_exception { 5 } else { ANSWER_BYTES } {
            return Err(short());
        }
        let (found, computed) = (u16::from_le_bytes(*checksum), CRC.checksum(body));
        if found != computed {
            return Err(wrong(Wrong::Crc { found, computed }));
        }
        match *body {
            [from, READ_INPUT_REGISTERS, 4, a, b, c, d] if from == slave => {
                Ok(value([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]))
            }
            [from, EXCEPTION, code] if from == slave => Err(wrong(Wrong::Exception { code })),
            _ => Err(wrong(Wrong::Other)),
        }
    }
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quantity { address, name, .. } = self.quantity;
        write!(f, "SDM register {} ({name}): ", 30_001 + u32::from(address))?;
        match self.wrong {
            Wrong::Short { bytes } => write!(f, "{bytes} bytes of an answer of {ANSWER_BYTES}"),
            Wrong::Crc { found, computed } => write!(f, "an answer with CRC 0x{found:04x}, not 0x{computed:04x}"),
            Wrong::Exception { code: 2 } => f.write_str("the meter has no such register: exception 2"),
            Wrong::Exception { code } => write!(f, "exception {code}"),
            Wrong::Other => f.write_str("the answer to another request"),
        }
    }
}

impl core::error::Error for AnswerError {}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;
    use std::vec::Vec;

    use super::*;
    use crate::Model;

    /// The protocol document's own: the volts of phase 1, 230.2.
    const REQUEST: [u8; 8] = [0x01, 0x04, 0x00, 0x00, 0x00, 0x02, 0x71, 0xcb];
    const ANSWER: [u8; 9] = [0x01, 0x04, 0x04, 0x43, 0x66, 0x33, 0x34, 0x1b, 0x38];

    fn voltage() -> &'static Quantity {
        Model::Sdm120.quantity("voltage").unwrap()
    }

    fn wrong(answer: &[u8]) -> Wrong {
        voltage().parse(1, answer).unwrap_err().wrong
    }

    fn with_crc(body: &[u8]) -> Vec<u8> {
        [body, CRC.checksum(body).to_le_bytes().as_slice()].concat()
    }

    #[test]
    fn the_protocol_documents_own_example_is_asked_for_and_read() {
        assert_eq!(voltage().request(1), REQUEST);
        assert!((voltage().parse(1, &ANSWER).unwrap() - 230.2).abs() < 0.001);
        let energy = Model::Sdm630.quantity("energy").unwrap();
        assert_eq!(energy.request(247)[..6], [247, 4, 0x01, 0x56, 0, 2]);
    }

    #[test]
    fn an_answer_of_which_any_bit_was_altered_or_the_end_is_missing_is_none() {
        for bit in 0..ANSWER.len() * 8 {
            let mut altered = ANSWER;
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(voltage().parse(1, &altered).is_err(), "bit {bit}");
        }
        for bytes in 0..ANSWER.len() {
            assert_eq!(wrong(&ANSWER[..bytes]), Wrong::Short { bytes });
        }
        assert!(matches!(wrong(&[ANSWER.as_slice(), &[1]].concat()), Wrong::Crc { found: 0x0138, .. }));
    }

    #[test]
    fn another_slaves_answer_and_one_to_another_request_are_not_taken() {
        assert_eq!(wrong(&with_crc(&[2, 4, 4, 0x43, 0x66, 0x33, 0x34])), Wrong::Other);
        assert_eq!(wrong(&with_crc(&[1, 3, 4, 0x43, 0x66, 0x33, 0x34])), Wrong::Other);
        assert_eq!(wrong(&with_crc(&[1, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0])), Wrong::Other);
        assert_eq!(wrong(&with_crc(&[2, 0x84, 2])), Wrong::Other);
    }

    #[test]
    fn an_error_names_the_register() {
        let said = |answer: &[u8]| voltage().parse(1, answer).unwrap_err().to_string();
        let refused = said(&with_crc(&[1, 0x84, 2]));
        assert_eq!(refused, "SDM register 30001 (voltage): the meter has no such register: exception 2");
        assert_eq!(said(&with_crc(&[1, 0x84, 4])), "SDM register 30001 (voltage): exception 4");
        assert_eq!(said(&[]), "SDM register 30001 (voltage): 0 bytes of an answer of 9");
    }
}
