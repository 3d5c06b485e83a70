//! What can be addressed and set.

use core::fmt;

/// The chip's bus address: by its pin SDO, 0x76 (low) or 0x77 (high).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address(u8);

impl Address {
    /// The lowest and the highest possible.
    pub const RANGE: core::ops::RangeInclusive<u8> = 0x76..=0x77;

    /// The 7-bit bus address; `None` if no BME280 can have it.
    #[must_use]
    pub const fn new(address: u8) -> Option<Self> {
        if address >> 1 == 0x76 >> 1 { Some(Self(address)) } else { None }
    }

    /// The 7-bit bus address.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// SDO low: 0x76.
impl Default for Address {
    fn default() -> Self {
        Self(0x76)
    }
}

/// A register of the chip, or a row of them that is read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// `calib00` to `calib25`.
    Calibration1,
    /// `id`.
    Id,
    /// `reset`.
    Reset,
    /// `calib26` to `calib32`.
    Calibration2,
    /// `ctrl_hum`.
    ControlHumidity,
    /// `status`.
    Status,
    /// `ctrl_meas`.
    ControlMeasure,
    /// `press_msb` to `hum_lsb`.
    Data,
}

impl Register {
    /// Its (first) address in the chip.
    #[must_use]
    pub const fn address(self) -> u8 {
        match self {
            Self::Calibration1 => 0x88,
            Self::Id => 0xd0,
            Self::Reset => 0xe0,
            Self::Calibration2 => 0xe1,
            Self::ControlHumidity => 0xf2,
            Self::Status => 0xf3,
            Self::ControlMeasure => 0xf4,
            Self::Data => 0xf7,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Calibration1 => "calib00",
            Self::Id => "id",
            Self::Reset => "reset",
            Self::Calibration2 => "calib26",
            Self::ControlHumidity => "ctrl_hum",
            Self::Status => "status",
            Self::ControlMeasure => "ctrl_meas",
            Self::Data => "press_msb",
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02x})", self.name(), self.address())
    }
}

/// How many samples are averaged into one value (sections 5.4.3 and 5.4.5). None at all is not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Oversampling {
    /// One.
    #[default]
    X1,
    /// Two.
    X2,
    /// Four.
    X4,
    /// Eight.
    X8,
    /// Sixteen.
    X16,
}

impl Oversampling {
    pub(crate) const fn bits(self) -> u8 {
        match self {
            Self::X1 => 0b001,
            Self::X2 => 0b010,
            Self::X4 => 0b011,
            Self::X8 => 0b100,
            Self::X16 => 0b101,
        }
    }

    pub(crate) const fn samples(self) -> u32 {
        1 << (self.bits() - 1)
    }
}
