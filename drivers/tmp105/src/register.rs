//! What can be addressed and set.

use core::fmt;

/// The chip's bus address: `1001` and the address pins, 0x48 to 0x4f. (TMP105 has one pin, A0: 0x48 or 0x49. LM75 has three.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address(pub(crate) u8);

impl Address {
    /// The lowest and the highest possible.
    pub const RANGE: core::ops::RangeInclusive<u8> = 0x48..=0x4f;

    /// The 7-bit bus address; `None` if no chip of this kind can have it.
    #[must_use]
    pub const fn new(address: u8) -> Option<Self> {
        if address >> 3 == 0x48 >> 3 { Some(Self(address)) } else { None }
    }

    /// The 7-bit bus address.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// All address pins low: 0x48.
impl Default for Address {
    fn default() -> Self {
        Self(0x48)
    }
}

/// A register of the chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// The last conversion.
    Temperature,
    /// How to convert.
    Configuration,
}

impl Register {
    /// The value of the pointer register that selects it.
    #[must_use]
    pub const fn pointer(self) -> u8 {
        match self {
            Self::Temperature => 0,
            Self::Configuration => 1,
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Temperature => "temperature",
            Self::Configuration => "configuration",
        };
        write!(f, "{name} (0x{:02x})", self.pointer())
    }
}

/// How finely the chip converts (SLLS648D, "Converter Resolution"): R1 and R0, bits 6 and 5 of the configuration register.
/// LM75 has 9 bits only and ignores the setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resolution {
    /// 0.5 °C.
    #[default]
    Bits9,
    /// 0.25 °C.
    Bits10,
    /// 0.125 °C.
    Bits11,
    /// 0.0625 °C.
    Bits12,
}

impl Resolution {
    /// How long one conversion takes at most, in microseconds. (Typically 27.5, 55, 110 and 220 ms.) An LM75, which ignores the setting, takes
    /// as long as the longest of them.
    #[must_use]
    pub const fn conversion_us(self) -> u32 {
        match self {
            Self::Bits9 => 37_500,
            Self::Bits10 => 75_000,
            Self::Bits11 => 150_000,
            Self::Bits12 => 300_000,
        }
    }

    /// Which bits of the temperature register it sets: the lower ones are zero in a TMP105, and anything in an LM75.
    pub(crate) const fn temperature_mask(self) -> u16 {
        match self {
            Self::Bits9 => 0xff80,
            Self::Bits10 => 0xffc0,
            Self::Bits11 => 0xffe0,
            Self::Bits12 => 0xfff0,
        }
    }

    pub(crate) const fn configuration(self) -> u8 {
        match self {
            Self::Bits9 => 0b0000_0000,
            Self::Bits10 => 0b0010_0000,
            Self::Bits11 => 0b0100_0000,
            Self::Bits12 => 0b0110_0000,
        }
    }

    pub(crate) const fn of_configuration(configuration: u8) -> Self {
        match (configuration >> 5) & 0b11 {
            0 => Self::Bits9,
            1 => Self::Bits10,
            2 => Self::Bits11,
            _ => Self::Bits12,
        }
    }
}
