//! What can be addressed and set.

use core::fmt;

/// The chip's bus address: by its pins A1 and A0, 0x40 (both at ground) to 0x4f.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address(u8);

impl Address {
    /// The lowest and the highest possible.
    pub const RANGE: core::ops::RangeInclusive<u8> = 0x40..=0x4f;

    /// The 7-bit bus address; `None` if no INA226 can have it.
    #[must_use]
    pub const fn new(address: u8) -> Option<Self> {
        if address >> 4 == 0x4 { Some(Self(address)) } else { None }
    }

    /// The 7-bit bus address.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// Both pins at ground: 0x40.
impl Default for Address {
    fn default() -> Self {
        Self(0x40)
    }
}

/// A register of the chip: 16 bits, big-endian (section 7.1, table 7-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// How and what to measure.
    Configuration,
    /// Voltage across the shunt.
    ShuntVoltage,
    /// Voltage of the bus.
    BusVoltage,
    /// Power.
    Power,
    /// Current.
    Current,
    /// What makes current of the shunt's voltage.
    Calibration,
    /// What is watched, and what happened.
    MaskEnable,
    /// The limit for what is watched.
    AlertLimit,
    /// 0x5449, "TI".
    ManufacturerId,
    /// 0x226 and the revision.
    DieId,
}

impl Register {
    /// The value of the pointer that selects it.
    #[must_use]
    pub const fn pointer(self) -> u8 {
        match self {
            Self::Configuration => 0x00,
            Self::ShuntVoltage => 0x01,
            Self::BusVoltage => 0x02,
            Self::Power => 0x03,
            Self::Current => 0x04,
            Self::Calibration => 0x05,
            Self::MaskEnable => 0x06,
            Self::AlertLimit => 0x07,
            Self::ManufacturerId => 0xfe,
            Self::DieId => 0xff,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::ShuntVoltage => "shunt voltage",
            Self::BusVoltage => "bus voltage",
            Self::Power => "power",
            Self::Current => "current",
            Self::Calibration => "calibration",
            Self::MaskEnable => "mask/enable",
            Self::AlertLimit => "alert limit",
            Self::ManufacturerId => "manufacturer ID",
            Self::DieId => "die ID",
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02x})", self.name(), self.pointer())
    }
}

/// How many samples are averaged into one value (section 7.1.1, table 7-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are the numbers")]
pub enum Averages {
    #[default]
    X1,
    X4,
    X16,
    X64,
    X128,
    X256,
    X512,
    X1024,
}

impl Averages {
    pub(crate) const fn samples(self) -> u32 {
        match self {
            Self::X1 => 1,
            Self::X4 => 4,
            Self::X16 => 16,
            Self::X64 => 64,
            Self::X128 => 128,
            Self::X256 => 256,
            Self::X512 => 512,
            Self::X1024 => 1_024,
        }
    }
}

/// How long a sample of one voltage takes, typically (section 7.1.1, tables 7-4 and 7-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are the times, in microseconds")]
pub enum ConversionTime {
    Us140,
    Us204,
    Us332,
    Us588,
    #[default]
    Us1100,
    Us2116,
    Us4156,
    Us8244,
}

impl ConversionTime {
    /// The longest that it takes, in microseconds (section 5.5).
    pub(crate) const fn us_max(self) -> u32 {
        match self {
            Self::Us140 => 154,
            Self::Us204 => 224,
            Self::Us332 => 365,
            Self::Us588 => 646,
            Self::Us1100 => 1_210,
            Self::Us2116 => 2_328,
            Self::Us4156 => 4_572,
            Self::Us8244 => 9_068,
        }
    }
}

/// How to measure. The default is the chip's: one sample of 1.1 ms of each voltage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// How many samples.
    pub averages: Averages,
    /// How long one of the bus takes.
    pub bus: ConversionTime,
    /// How long one of the shunt takes.
    pub shunt: ConversionTime,
}

impl Settings {
    /// The longest that one measurement of both takes, in microseconds: 308 µs to 18.6 s.
    #[must_use]
    pub const fn measurement_us_max(self) -> u32 {
        (self.bus.us_max() + self.shunt.us_max()) * self.averages.samples()
    }

    /// The configuration register for one measurement of both (section 7.1.1: bit 14 reads one, MODE is 011).
    pub(crate) const fn once(self) -> u16 {
        const ONCE: u16 = 0b011;
        0x4000 | ((self.averages as u16) << 9) | ((self.bus as u16) << 6) | ((self.shunt as u16) << 3) | ONCE
    }
}
