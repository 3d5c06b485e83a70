//! What can be addressed and set.

use core::fmt;

/// A register of the magnetometer, the first one where there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// CRA_REG_M: data rate, temperature.
    Rate,
    /// CRB_REG_M: gain.
    Gain,
    /// MR_REG_M: continuous, or asleep.
    Mode,
    /// OUT_X_H_M and the five behind it.
    Output,
    /// SR_REG_M.
    Status,
    /// IRA_REG_M and the two behind it.
    Identity,
    /// TEMP_OUT_H_M and TEMP_OUT_L_M.
    Temperature,
}

impl Register {
    /// Its address in the chip.
    #[must_use]
    pub const fn address(self) -> u8 {
        match self {
            Self::Rate => 0x00,
            Self::Gain => 0x01,
            Self::Mode => 0x02,
            Self::Output => 0x03,
            Self::Status => 0x09,
            Self::Identity => 0x0a,
            Self::Temperature => 0x31,
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Rate => "CRA",
            Self::Gain => "CRB",
            Self::Mode => "MR",
            Self::Output => "OUT_X_H",
            Self::Status => "SR",
            Self::Identity => "IRA",
            Self::Temperature => "TEMP_OUT_H",
        };
        write!(f, "{name} (0x{:02x})", self.address())
    }
}

/// The range, and with it the gain (table "Gain setting": GN2 to GN0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Range {
    /// ±1.3 gauss, 130 µT: the Earth's field and a car beside it.
    #[default]
    Gauss1_3,
    /// ±1.9 gauss.
    Gauss1_9,
    /// ±2.5 gauss.
    Gauss2_5,
    /// ±4.0 gauss.
    Gauss4_0,
    /// ±4.7 gauss.
    Gauss4_7,
    /// ±5.6 gauss.
    Gauss5_6,
    /// ±8.1 gauss.
    Gauss8_1,
}

impl Range {
    /// All of them, the finest first.
    pub const ALL: [Self; 7] = [
        Self::Gauss1_3,
        Self::Gauss1_9,
        Self::Gauss2_5,
        Self::Gauss4_0,
        Self::Gauss4_7,
        Self::Gauss5_6,
        Self::Gauss8_1,
    ];

    /// Steps per gauss, along X and Y, and along Z.
    #[must_use]
    pub const fn steps_per_gauss(self) -> (u16, u16) {
        match self {
            Self::Gauss1_3 => (1100, 980),
            Self::Gauss1_9 => (855, 760),
            Self::Gauss2_5 => (670, 600),
            Self::Gauss4_0 => (450, 400),
            Self::Gauss4_7 => (400, 355),
            Self::Gauss5_6 => (330, 295),
            Self::Gauss8_1 => (230, 205),
        }
    }

    /// The gain register.
    pub(crate) const fn bits(self) -> u8 {
        let gain = match self {
            Self::Gauss1_3 => 1,
            Self::Gauss1_9 => 2,
            Self::Gauss2_5 => 3,
            Self::Gauss4_0 => 4,
            Self::Gauss4_7 => 5,
            Self::Gauss5_6 => 6,
            Self::Gauss8_1 => 7,
        };
        gain << 5
    }
}

/// How often it measures (table "Data rate configurations": DO2 to DO0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rate {
    /// 0.75 a second.
    Hz0_75,
    /// 1.5 a second.
    Hz1_5,
    /// 3 a second.
    Hz3,
    /// 7.5 a second.
    Hz7_5,
    /// 15 a second.
    #[default]
    Hz15,
    /// 30 a second.
    Hz30,
    /// 75 a second.
    Hz75,
    /// 220 a second.
    Hz220,
}

impl Rate {
    /// Between two results, in microseconds, rounded up.
    #[must_use]
    pub const fn interval_us(self) -> u32 {
        match self {
            Self::Hz0_75 => 1_333_334,
            Self::Hz1_5 => 666_667,
            Self::Hz3 => 333_334,
            Self::Hz7_5 => 133_334,
            Self::Hz15 => 66_667,
            Self::Hz30 => 33_334,
            Self::Hz75 => 13_334,
            Self::Hz220 => 4_546,
        }
    }

    /// Its part of the rate register.
    pub(crate) const fn bits(self) -> u8 {
        let rate = match self {
            Self::Hz0_75 => 0,
            Self::Hz1_5 => 1,
            Self::Hz3 => 2,
            Self::Hz7_5 => 3,
            Self::Hz15 => 4,
            Self::Hz30 => 5,
            Self::Hz75 => 6,
            Self::Hz220 => 7,
        };
        rate << 2
    }
}
