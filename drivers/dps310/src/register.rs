//! What can be addressed and set.

use core::fmt;

/// The chip's bus address: by its pin SDO, 0x76 (low) or 0x77 (high or open).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address(u8);

impl Address {
    /// The lowest and the highest possible.
    pub const RANGE: core::ops::RangeInclusive<u8> = 0x76..=0x77;

    /// The 7-bit bus address; `None` if no DPS310 can have it.
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

/// SDO open: 0x77.
impl Default for Address {
    fn default() -> Self {
        Self(0x77)
    }
}

/// A register of the chip, or a row of them that is read at once (data sheet section 7, "Register Map").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// `PSR_B2` to `TMP_B0`.
    Data,
    /// `PRS_CFG`.
    PressureConfiguration,
    /// `TMP_CFG`.
    TemperatureConfiguration,
    /// `MEAS_CFG`.
    MeasureConfiguration,
    /// `CFG_REG`.
    Configuration,
    /// `RESET`.
    Reset,
    /// `Product ID`.
    ProductId,
    /// `COEF`, 18 bytes.
    Coefficients,
    /// `COEF_SRCE`.
    CoefficientSource,
    /// Not in the data sheet: whether the temperature is right as it is.
    TemperatureRight,
    /// Not in the data sheet: the first half of the lock of what mends the temperature.
    Unlock1,
    /// Not in the data sheet: the second half.
    Unlock2,
    /// Not in the data sheet: what mends the temperature.
    MendTemperature,
}

impl Register {
    /// Its (first) address in the chip.
    #[must_use]
    pub const fn address(self) -> u8 {
        match self {
            Self::Data => 0x00,
            Self::PressureConfiguration => 0x06,
            Self::TemperatureConfiguration => 0x07,
            Self::MeasureConfiguration => 0x08,
            Self::Configuration => 0x09,
            Self::Reset => 0x0c,
            Self::ProductId => 0x0d,
            Self::Unlock1 => 0x0e,
            Self::Unlock2 => 0x0f,
            Self::Coefficients => 0x10,
            Self::CoefficientSource => 0x28,
            Self::TemperatureRight => 0x32,
            Self::MendTemperature => 0x62,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Data => "PSR_B2",
            Self::PressureConfiguration => "PRS_CFG",
            Self::TemperatureConfiguration => "TMP_CFG",
            Self::MeasureConfiguration => "MEAS_CFG",
            Self::Configuration => "CFG_REG",
            Self::Reset => "RESET",
            Self::ProductId => "Product ID",
            Self::Coefficients => "COEF",
            Self::CoefficientSource => "COEF_SRCE",
            Self::TemperatureRight | Self::Unlock1 | Self::Unlock2 | Self::MendTemperature => "without a name",
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02x})", self.name(), self.address())
    }
}

/// How many samples are averaged into one value (sections 7.3 and 7.4, `PM_PRC` and `TMP_PRC`).
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
    /// Thirty-two.
    X32,
    /// Sixty-four.
    X64,
    /// A hundred and twenty-eight.
    X128,
}

impl Oversampling {
    /// All of them.
    pub const ALL: [Self; 8] = [Self::X1, Self::X2, Self::X4, Self::X8, Self::X16, Self::X32, Self::X64, Self::X128];

    pub(crate) const fn bits(self) -> u8 {
        self as u8
    }

    /// What a value is divided by (section 4.9.3, "Compensation Scale Factors", kP and kT).
    #[must_use]
    pub const fn scale_factor(self) -> i32 {
        match self {
            Self::X1 => 524_288,
            Self::X2 => 1_572_864,
            Self::X4 => 3_670_016,
            Self::X8 => 7_864_320,
            Self::X16 => 253_952,
            Self::X32 => 516_096,
            Self::X64 => 1_040_384,
            Self::X128 => 2_088_960,
        }
    }

    /// How long a measurement takes, in microseconds (section 7.3, the table of `PM_PRC`).
    #[must_use]
    pub const fn measurement_us(self) -> u32 {
        match self {
            Self::X1 => 3_600,
            Self::X2 => 5_200,
            Self::X4 => 8_400,
            Self::X8 => 14_800,
            Self::X16 => 27_600,
            Self::X32 => 53_200,
            Self::X64 => 104_400,
            Self::X128 => 206_800,
        }
    }

    /// Whether the result has to be shifted to fit its register (section 7.6): with more than eight samples.
    pub(crate) const fn is_shifted(self) -> bool {
        self.bits() > Self::X8.bits()
    }
}
