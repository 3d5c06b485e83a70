//! The chips that a source can poll.

use std::fmt;

use crate::lane;

/// A kind of chip, with what has to be known of how it is built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Chip {
    /// TI TMP105, or another LM75-class chip: temperature.
    Tmp105,
    /// Bosch BME280: temperature, pressure, humidity.
    Bme280,
    /// Infineon DPS310: pressure, temperature.
    Dps310,
    /// Sensirion SCD41: CO2, temperature, humidity. It measures on its own, every 5 s: a poll brings what it has measured since
    /// the last one, or nothing.
    Scd41,
    /// Sensirion SPS30: dust. It measures on its own, every second, and is read like [`Self::Scd41`].
    Sps30,
    /// TI INA226: voltage of the bus, current through a shunt, power.
    Ina226 {
        /// The shunt, in microohms: 100 to 2,500,000.
        shunt_uohm: u32,
    },
    /// ST LSM303DLHC, its magnetometer: the field, or the vehicles that bend it.
    Lsm303dlhc {
        /// How vehicles are told. None: the field itself is reported.
        vehicles: Option<lamppost_vehicle::Settings>,
    },
}

impl Chip {
    /// Its name in a configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tmp105 => "tmp105",
            Self::Bme280 => "bme280",
            Self::Dps310 => "dps310",
            Self::Scd41 => "scd41",
            Self::Sps30 => "sps30",
            Self::Ina226 { .. } => "ina226",
            Self::Lsm303dlhc { .. } => "lsm303dlhc",
        }
    }

    /// The lowest and the highest bus address that such a chip can have.
    #[must_use]
    pub const fn addresses(self) -> (u8, u8) {
        let range = match self {
            Self::Tmp105 => lamppost_tmp105::Address::RANGE,
            Self::Bme280 => lamppost_bme280::Address::RANGE,
            Self::Dps310 => lamppost_dps310::Address::RANGE,
            Self::Scd41 => lamppost_scd41::ADDRESS..=lamppost_scd41::ADDRESS,
            Self::Sps30 => lamppost_sps30::ADDRESS..=lamppost_sps30::ADDRESS,
            Self::Ina226 { .. } => lamppost_ina226::Address::RANGE,
            Self::Lsm303dlhc { .. } => lamppost_lsm303dlhc::ADDRESS..=lamppost_lsm303dlhc::ADDRESS,
        };
        (*range.start(), *range.end())
    }

    /// What it measures: the last part of each arrival's address.
    #[must_use]
    pub const fn measures(self) -> &'static [&'static str] {
        match self {
            Self::Tmp105 => &["temperature"],
            Self::Bme280 => &["temperature", "pressure", "humidity"],
            Self::Dps310 => &["pressure", "temperature"],
            Self::Scd41 => &["co2", "temperature", "humidity"],
            Self::Sps30 => &["pm1", "pm2_5", "pm4", "pm10"],
            Self::Ina226 { .. } => &["voltage", "current", "power"],
            Self::Lsm303dlhc { vehicles: None } => &["field_x", "field_y", "field_z"],
            Self::Lsm303dlhc { vehicles: Some(_) } => &lane::MEASURES,
        }
    }
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A 7-bit bus address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BusAddress(pub u8);

impl fmt::Display for BusAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:02x}", self.0)
    }
}

/// Why a poll brought nothing. Says the bus, the address, and the register where it was one that failed.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// The bus could not be opened.
    #[error("{bus}: {source}")]
    Open {
        /// The device node.
        bus: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The chip did not answer, or not as it should.
    #[error("{bus}, address {address}: {reason}")]
    Chip {
        /// The device node.
        bus: String,
        /// The chip's address.
        address: BusAddress,
        /// What the driver said: the register, and the bus's own words.
        reason: String,
    },
    /// The bus has not answered within its time; it is not asked again before it does.
    #[error("{bus}, address {address}: no answer within {limit_ms} ms; the bus hangs")]
    Hangs {
        /// The device node.
        bus: String,
        /// The chip's address.
        address: BusAddress,
        /// The time it had, in milliseconds.
        limit_ms: u128,
    },
    /// The thread that works the bus has died.
    #[error("{bus}, address {address}: the thread that works the bus has ended")]
    Died {
        /// The device node.
        bus: String,
        /// The chip's address.
        address: BusAddress,
    },
}
