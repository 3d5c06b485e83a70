//! Registers as they are configured, and values from their words. Pure.

use std::fmt;

use lamppost_sdm::Model;

use crate::number::{Factor, NumberError};

/// The four tables of a slave (Modbus application protocol V1.1b3, section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Read by function 3.
    Holding,
    /// Read by function 4.
    Input,
    /// Single bits, read by function 1.
    Coil,
    /// Single bits, read by function 2.
    Discrete,
}

impl Table {
    /// The function that reads it.
    #[must_use]
    pub const fn function(self) -> u8 {
        match self {
            Self::Coil => 1,
            Self::Discrete => 2,
            Self::Holding => 3,
            Self::Input => 4,
        }
    }

    /// Whether it holds bits rather than words.
    #[must_use]
    pub const fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holding => "holding register",
            Self::Input => "input register",
            Self::Coil => "coil",
            Self::Discrete => "discrete input",
        })
    }
}

/// How a value lies in its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are what they are called")]
pub enum ValueType {
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl ValueType {
    /// How many words it takes.
    #[must_use]
    pub const fn words(self) -> u16 {
        match self {
            Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
        }
    }
}

/// Which part comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The highest: what Modbus prescribes for bytes, and most devices do with words.
    #[default]
    Big,
    /// The lowest.
    Little,
}

/// One value of a slave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// What it measures: the last part of the arrival's address.
    pub name: String,
    /// Which table it is in.
    pub table: Table,
    /// Its first address, from 0 (documents that count from 1, or say 30001, mean 0).
    pub address: u16,
    /// How it lies in its words. Bits have none.
    pub value_type: ValueType,
    /// The order of its words.
    pub word_order: Order,
    /// The order of the bytes in a word.
    pub byte_order: Order,
    /// What it is multiplied by.
    pub scale: Option<Factor>,
    /// Its unit, as SenML writes it (RFC 8428, section 12.1).
    pub unit: Option<String>,
}

/// Why words are no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    #[error("the value is not a number (NaN): the meter has none")]
    NotANumber,
    #[error("the value is infinite: the meter's range is exceeded")]
    Infinite,
    #[error(transparent)]
    Scaled(#[from] NumberError),
    #[error("{found} words in place of {expected}")]
    Words { expected: u16, found: usize },
}

impl Register {
    /// A word that is a number without sign, big-endian.
    #[must_use]
    pub fn new(name: &str, table: Table, address: u16, value_type: ValueType) -> Self {
        Self {
            name: name.to_owned(),
            table,
            address,
            value_type,
            word_order: Order::Big,
            byte_order: Order::Big,
            scale: None,
            unit: None,
        }
    }

    /// What a meter of Eastron's measures.
    #[must_use]
    pub fn of_sdm(model: Model) -> Vec<Self> {
        let register = |quantity: &lamppost_sdm::Quantity| Self {
            unit: Some(quantity.unit.to_owned()),
            ..Self::new(quantity.name, Table::Input, quantity.address, ValueType::F32)
        };
        model.quantities().iter().map(register).collect()
    }

    /// How many addresses it takes.
    #[must_use]
    pub const fn width(&self) -> u16 {
        if self.table.is_bits() { 1 } else { self.value_type.words() }
    }

    /// The value as a JSON number: integers exactly, floats by the shortest decimal that reads as the same float.
    pub(crate) fn value(&self, words: &[u16]) -> Result<String, ValueError> {
        let expected = self.value_type.words();
        if words.len() != usize::from(expected) {
            return Err(ValueError::Words { expected, found: words.len() });
        }
        let ordered = |word: &u16| if self.byte_order == Order::Little { word.swap_bytes() } else { *word };
        let join = |joined: u64, word: u16| joined << 16 | u64::from(word);
        let bits = match self.word_order {
            Order::Big => words.iter().map(ordered).fold(0, join),
            Order::Little => words.iter().rev().map(ordered).fold(0, join),
        };
        let text = match self.value_type {
            ValueType::U16 | ValueType::U32 | ValueType::U64 => bits.to_string(),
            ValueType::I16 => (bits as u16 as i16).to_string(),
            ValueType::I32 => (bits as u32 as i32).to_string(),
            ValueType::I64 => (bits as i64).to_string(),
            ValueType::F32 => {
                let value = f32::from_bits(bits as u32);
                finite(value.is_nan(), value.is_infinite())?;
                value.to_string()
            }
            ValueType::F64 => {
                let value = f64::from_bits(bits);
                finite(value.is_nan(), value.is_infinite())?;
                value.to_string()
            }
        };
        Ok(self.scale.map_or(Ok(text.clone()), |scale| scale.times(&text))?)
    }
}

fn finite(is_nan: bool, is_infinite: bool) -> Result<(), ValueError> {
    match (is_nan, is_infinite) {
        (true, _) => Err(ValueError::NotANumber),
        (_, true) => Err(ValueError::Infinite),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn register(value_type: ValueType) -> Register {
        Register::new("v", Table::Holding, 0, value_type)
    }

    #[test]
    fn each_type_is_decoded_from_its_words() {
        let cases: [(ValueType, &[u16], &str); 9] = [
            (ValueType::U16, &[0xffff], "65535"),
            (ValueType::I16, &[0xffff], "-1"),
            (ValueType::U32, &[0x0001, 0x0000], "65536"),
            (ValueType::I32, &[0xffff, 0xfffe], "-2"),
            (ValueType::U64, &[0xffff, 0xffff, 0xffff, 0xffff], "18446744073709551615"),
            (ValueType::I64, &[0x8000, 0, 0, 0], "-9223372036854775808"),
            (ValueType::F32, &[0x4366, 0x3334], "230.20001"),
            (ValueType::F32, &[0x4366, 0x3333], "230.2"),
            (ValueType::F64, &[0x4009, 0x21fb, 0x5444, 0x2d18], "3.141592653589793"),
        ];
        for (value_type, words, text) in cases {
            assert_eq!(register(value_type).value(words), Ok(text.to_owned()), "{value_type:?}");
        }
    }

    #[test]
    fn words_and_bytes_may_come_in_either_order() {
        for (word_order, byte_order, words) in [
            (Order::Big, Order::Big, [0x4366, 0x3333]),
            (Order::Little, Order::Big, [0x3333, 0x4366]),
            (Order::Big, Order::Little, [0x6643, 0x3333]),
            (Order::Little, Order::Little, [0x3333, 0x6643]),
        ] {
            let register = Register { word_order, byte_order, ..register(ValueType::F32) };
            assert_eq!(register.value(&words), Ok("230.2".to_owned()), "{word_order:?} {byte_order:?}");
        }
    }

    #[test]
    fn a_scale_multiplies_the_decimal_exactly() {
        let register = Register { scale: Some("0.1".parse().unwrap()), ..register(ValueType::I32) };
        assert_eq!(register.value(&[0xffff, 0xff85]), Ok("-12.3".to_owned()));
    }

    #[test]
    fn what_is_no_number_is_told_apart_from_one_that_is_too_large() {
        let register = register(ValueType::F32);
        assert_eq!(register.value(&[0x7fc0, 0]), Err(ValueError::NotANumber));
        assert_eq!(register.value(&[0xff80, 0]), Err(ValueError::Infinite));
        assert_eq!(register.value(&[0]), Err(ValueError::Words { expected: 2, found: 1 }));
    }

    proptest! {
        #[test]
        fn any_words_are_a_json_number_or_an_error(words in proptest::collection::vec(any::<u16>(), 4)) {
            for value_type in [ValueType::U64, ValueType::I64, ValueType::F64] {
                if let Ok(text) = register(value_type).value(&words) {
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
                }
            }
            if let Ok(text) = register(ValueType::F32).value(&words[..2]) {
                let back: f32 = text.parse().unwrap();
                prop_assert_eq!(back.to_bits(), u32::from(words[0]) << 16 | u32::from(words[1]));
            }
        }
    }
}
