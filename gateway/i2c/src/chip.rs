//! The chips that a source can poll, and one of them at work.

use std::fmt;

use lamppost_bme280::{Bme280, Settings};
use lamppost_tmp105::{Resolution, Tmp105};
use lamppost_units::Quantity;
use linux_embedded_hal::Delay;

use crate::bus::{Bus, BusError, BusOpener};
use crate::payload::Measured;

/// A kind of chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Chip {
    /// TI TMP105, or another LM75-class chip: temperature.
    Tmp105,
    /// Bosch BME280: temperature, pressure, humidity.
    Bme280,
}

impl Chip {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Tmp105, Self::Bme280];

    /// Its name in a configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tmp105 => "tmp105",
            Self::Bme280 => "bme280",
        }
    }

    /// The lowest and the highest bus address that such a chip can have.
    #[must_use]
    pub const fn addresses(self) -> (u8, u8) {
        let range = match self {
            Self::Tmp105 => lamppost_tmp105::Address::RANGE,
            Self::Bme280 => lamppost_bme280::Address::RANGE,
        };
        (*range.start(), *range.end())
    }

    /// What it measures: the last part of each arrival's address.
    #[must_use]
    pub const fn measures(self) -> &'static [&'static str] {
        match self {
            Self::Tmp105 => &["temperature"],
            Self::Bme280 => &["temperature", "pressure", "humidity"],
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

/// A chip with its address checked, as the drivers know it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    Tmp105(lamppost_tmp105::Address),
    Bme280(lamppost_bme280::Address),
}

impl Place {
    pub(crate) fn new(chip: Chip, address: BusAddress) -> Option<Self> {
        match chip {
            Chip::Tmp105 => lamppost_tmp105::Address::new(address.0).map(Self::Tmp105),
            Chip::Bme280 => lamppost_bme280::Address::new(address.0).map(Self::Bme280),
        }
    }

    pub(crate) const fn address(self) -> BusAddress {
        match self {
            Self::Tmp105(address) => BusAddress(address.get()),
            Self::Bme280(address) => BusAddress(address.get()),
        }
    }
}

/// A driver at work.
enum Driver {
    Tmp105(Tmp105<Bus>),
    Bme280(Box<Bme280<Bus>>),
}

/// A chip on its bus. Opened when first polled, and anew after each failure: the chip may have been replaced, or have lost
/// its settings.
pub(crate) struct Station {
    opener: BusOpener,
    place: Place,
    driver: Option<Driver>,
}

impl Station {
    pub(crate) const fn new(opener: BusOpener, place: Place) -> Self {
        Self { opener, place, driver: None }
    }

    /// Measures once. Blocks for as long as bus and chip take.
    pub(crate) fn poll(&mut self) -> Result<Vec<Measured>, PollError> {
        let mut driver = match self.driver.take() {
            Some(driver) => driver,
            None => self.start()?,
        };
        let measured = measure(&mut driver).map_err(|reason| self.failed(reason))?;
        self.driver = Some(driver);
        Ok(measured)
    }

    fn start(&self) -> Result<Driver, PollError> {
        let open = |source| PollError::Open { bus: self.opener.to_string(), source };
        let bus = self.opener.open().map_err(open)?;
        let started = match self.place {
            Place::Tmp105(address) => {
                let mut driver = Tmp105::new(bus, address);
                // Before its first conversion the chip reads 0 °C: no result is fetched that young.
                let set = driver.set_resolution(Resolution::Bits12).map_err(|error| error.to_string());
                set.map(|()| {
                    std::thread::sleep(std::time::Duration::from_micros(Resolution::Bits12.conversion_us().into()));
                    Driver::Tmp105(driver)
                })
            }
            Place::Bme280(address) => Bme280::new(bus, address, Settings::default(), &mut Delay)
                .map(|driver| Driver::Bme280(Box::new(driver)))
                .map_err(|error| error.to_string()),
        };
        started.map_err(|reason| self.failed(reason))
    }

    fn failed(&self, reason: String) -> PollError {
        PollError::Chip { bus: self.opener.to_string(), address: self.place.address(), reason }
    }
}

fn measure(driver: &mut Driver) -> Result<Vec<Measured>, String> {
    let said = |error: &dyn std::error::Error| error.to_string();
    match driver {
        Driver::Tmp105(chip) => {
            let temperature = chip.read().map_err(|error| said(&error))?;
            Ok(vec![measured("temperature", temperature)])
        }
        Driver::Bme280(chip) => {
            let found = chip.measure(&mut Delay).map_err(|error| said(&error))?;
            Ok(vec![
                measured("temperature", found.temperature),
                measured("pressure", found.pressure),
                measured("humidity", found.humidity),
            ])
        }
    }
}

fn measured<Q: Quantity>(measure: &'static str, value: Q) -> Measured {
    Measured { measure, value: value.decimal(), unit: Q::UNIT }
}

impl fmt::Debug for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Station({}, {})", self.opener, self.place.address())
    }
}

const _: fn() = || {
    fn crosses_threads<T: Send>() {}
    crosses_threads::<Station>();
    crosses_threads::<BusError>();
};
