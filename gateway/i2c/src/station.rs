//! One chip at work on its bus.

use std::fmt;
use std::time::Duration;

use lamppost_bme280::Bme280;
use lamppost_dps310::Dps310;
use lamppost_ina226::{Averages, Calibration, Ina226};
use lamppost_lsm303dlhc::Lsm303dlhc;
use lamppost_scd41::{Interval, Scd41};
use lamppost_sps30::Sps30;
use lamppost_tmp105::{Resolution, Tmp105};
use lamppost_units::{Pascals, Quantity, Unit};
use lamppost_vehicle::Detector;
use linux_embedded_hal::Delay;
use tokio::time::Instant;

use crate::air::AirUse;
use crate::bus::{Bus, BusError, BusOpener};
use crate::chip::{BusAddress, Chip, PollError};
use crate::lane::{self, Lane};
use crate::payload::Measured;

/// Sixteen samples of pressure: 31 ms, with that of temperature.
const DPS310: lamppost_dps310::Settings = lamppost_dps310::Settings {
    pressure: lamppost_dps310::Oversampling::X16,
    temperature: lamppost_dps310::Oversampling::X1,
};
/// Sixteen samples of each voltage: 39 ms at most.
const INA226: lamppost_ina226::Settings = lamppost_ina226::Settings {
    averages: Averages::X16,
    bus: lamppost_ina226::ConversionTime::Us1100,
    shunt: lamppost_ina226::ConversionTime::Us1100,
};
/// How long an SCD41 may be without a new measurement: three of its intervals.
const SCD41_SILENT_MS_MAX: u32 = 3 * Interval::FiveSeconds.ms();
/// In what steps an SCD41 is told the pressure: 1 hPa, in mPa.
const SCD41_PRESSURE_STEP_MPA: u32 = 100_000;
/// How long an SPS30 may be: it blows its dust out for ten seconds, once a week, and has nothing new meanwhile.
const SPS30_SILENT_MS_MAX: u32 = 10_000 + 5 * lamppost_sps30::INTERVAL_MS;

/// A chip with its address and its shunt checked, as the drivers know it.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Tmp105(lamppost_tmp105::Address),
    Bme280(lamppost_bme280::Address),
    Dps310(lamppost_dps310::Address),
    Scd41,
    Sps30,
    Ina226(lamppost_ina226::Address, Calibration),
    /// And the detector of vehicles that watches it, if one does.
    Lsm303dlhc(Option<Box<Detector>>),
}

/// Why a chip has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// Its address.
    Address,
    /// Its shunt, in microohms.
    Shunt(u32),
    /// How vehicles are told.
    Vehicles(lamppost_vehicle::SettingsError),
}

impl Place {
    pub(crate) fn new(chip: Chip, address: BusAddress) -> Result<Self, NoPlace> {
        let place = match chip {
            Chip::Tmp105 => lamppost_tmp105::Address::new(address.0).map(Self::Tmp105),
            Chip::Bme280 => lamppost_bme280::Address::new(address.0).map(Self::Bme280),
            Chip::Dps310 => lamppost_dps310::Address::new(address.0).map(Self::Dps310),
            Chip::Scd41 => (address == BusAddress(lamppost_scd41::ADDRESS)).then_some(Self::Scd41),
            Chip::Sps30 => (address == BusAddress(lamppost_sps30::ADDRESS)).then_some(Self::Sps30),
            Chip::Ina226 { shunt_uohm } => {
                let calibration = Calibration::of_shunt(shunt_uohm).ok_or(NoPlace::Shunt(shunt_uohm))?;
                lamppost_ina226::Address::new(address.0).map(|address| Self::Ina226(address, calibration))
            }
            Chip::Lsm303dlhc { vehicles } => {
                let detector = vehicles.map(lane::detector).transpose().map_err(NoPlace::Vehicles)?.map(Box::new);
                (address == BusAddress(lamppost_lsm303dlhc::ADDRESS)).then_some(Self::Lsm303dlhc(detector))
            }
        };
        place.ok_or(NoPlace::Address)
    }

    pub(crate) const fn address(&self) -> BusAddress {
        match self {
            Self::Tmp105(address) => BusAddress(address.get()),
            Self::Bme280(address) => BusAddress(address.get()),
            Self::Dps310(address) => BusAddress(address.get()),
            Self::Scd41 => BusAddress(lamppost_scd41::ADDRESS),
            Self::Sps30 => BusAddress(lamppost_sps30::ADDRESS),
            Self::Ina226(address, _) => BusAddress(address.get()),
            Self::Lsm303dlhc(_) => BusAddress(lamppost_lsm303dlhc::ADDRESS),
        }
    }
}

/// A driver at work.
enum Driver {
    Tmp105(Tmp105<Bus>),
    Bme280(Box<Bme280<Bus>>),
    Dps310(Box<Dps310<Bus>>),
    /// When it measured last, as far as is known, or was started; and the pressure that it was told.
    Scd41(Scd41<Bus>, Instant, Option<Pascals>),
    Sps30(Sps30<Bus>, Dust),
    Ina226(Ina226<Bus>),
    /// And when it measured last, likewise.
    Lsm303dlhc(Lsm303dlhc<Bus>, Instant),
}

/// When an SPS30 is believed.
struct Dust {
    /// When it measured last, as far as is known and without a fault, or was started.
    last: Instant,
    /// Its fan has run for long enough from then on.
    warm_at: Instant,
}

/// A chip on its bus. Opened when first polled, and anew after each failure: the chip may have been replaced, or have lost
/// its settings. Only an SPS30 is left at work for a while, since its fan would start anew.
pub(crate) struct Station {
    opener: BusOpener,
    place: Place,
    air: AirUse,
    driver: Option<Driver>,
    /// What is watched between polls. It has a driver of its own.
    lane: Option<Lane>,
}

impl Station {
    pub(crate) fn new(opener: BusOpener, place: Place, air: AirUse) -> Self {
        let lane = match &place {
            Place::Lsm303dlhc(Some(detector)) => {
                Some(Lane::new(opener.clone(), Detector::clone(detector), Instant::now()))
            }
            _ => None,
        };
        Self { opener, place, air, driver: None, lane }
    }

    /// The bus and the address.
    pub(crate) fn at(&self) -> String {
        format!("{}, address {}", self.opener, self.place.address())
    }

    /// When it wants to look at its chip by itself, between polls.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.lane.as_ref().and_then(Lane::due)
    }

    /// Looks at the chip between polls. Blocks likewise.
    pub(crate) fn look(&mut self) -> Result<(), PollError> {
        let looked = self.lane.as_mut().map_or(Ok(()), |lane| lane.look(Instant::now()));
        looked.map_err(|reason| self.failed(reason))
    }

    /// Measures once. Blocks for as long as bus and chip take.
    pub(crate) fn poll(&mut self) -> Result<Vec<Measured>, PollError> {
        if let Some(lane) = &mut self.lane {
            return lane.report(Instant::now()).map_err(|reason| self.failed(reason));
        }
        let mut driver = match self.driver.take() {
            Some(driver) => driver,
            None => self.begin()?,
        };
        let measured = driver.measure(&self.air);
        if measured.is_ok() || driver.outlives_a_failure() {
            self.driver = Some(driver);
        }
        measured.map_err(|reason| self.failed(reason))
    }

    fn begin(&self) -> Result<Driver, PollError> {
        let open = |source| PollError::Open { bus: self.opener.to_string(), source };
        let bus = self.opener.open().map_err(open)?;
        Driver::begin(&self.place, bus).map_err(|reason| self.failed(reason))
    }

    fn failed(&self, reason: String) -> PollError {
        PollError::Chip { bus: self.opener.to_string(), address: self.place.address(), reason }
    }
}

impl Driver {
    /// Takes 0.6 s at most. An error is what the driver says.
    fn begin(place: &Place, bus: Bus) -> Result<Self, String> {
        match *place {
            Place::Tmp105(address) => {
                let mut chip = Tmp105::new(bus, address);
                chip.set_resolution(Resolution::Bits12).map_err(said)?;
                // Before its first conversion the chip reads 0 °C: no result is fetched that young.
                std::thread::sleep(Duration::from_micros(Resolution::Bits12.conversion_us().into()));
                Ok(Self::Tmp105(chip))
            }
            Place::Bme280(address) => {
                let chip = Bme280::new(bus, address, lamppost_bme280::Settings::default(), &mut Delay);
                chip.map(Box::new).map(Self::Bme280).map_err(said)
            }
            Place::Dps310(address) => {
                Dps310::new(bus, address, DPS310, &mut Delay).map(Box::new).map(Self::Dps310).map_err(said)
            }
            Place::Scd41 => {
                let mut chip = Scd41::new(bus, &mut Delay).map_err(said)?;
                chip.start_periodic(Interval::FiveSeconds).map_err(said)?;
                Ok(Self::Scd41(chip, Instant::now(), None))
            }
            Place::Sps30 => {
                let mut chip = Sps30::new(bus, &mut Delay).map_err(said)?;
                chip.start(&mut Delay).map_err(said)?;
                let last = Instant::now();
                let warm_at = last + Duration::from_millis(lamppost_sps30::START_UP_MS.into());
                Ok(Self::Sps30(chip, Dust { last, warm_at }))
            }
            Place::Ina226(address, calibration) => {
                Ina226::new(bus, address, INA226, calibration).map(Self::Ina226).map_err(said)
            }
            Place::Lsm303dlhc(_) => {
                let chip = lane::magnetometer(bus).map_err(said)?;
                std::thread::sleep(lane::SETTLES);
                Ok(Self::Lsm303dlhc(chip, Instant::now()))
            }
        }
    }

    /// It is not to be set up anew for this one.
    fn outlives_a_failure(&self) -> bool {
        match self {
            Self::Sps30(_, dust) => dust.last.elapsed() < Duration::from_millis(SPS30_SILENT_MS_MAX.into()),
            _ => false,
        }
    }

    fn measure(&mut self, air: &AirUse) -> Result<Vec<Measured>, String> {
        match self {
            Self::Tmp105(chip) => Ok(vec![measured("temperature", chip.read().map_err(said)?)]),
            Self::Bme280(chip) => {
                let found = chip.measure(&mut Delay).map_err(said)?;
                tell(air, found.pressure);
                Ok(vec![
                    measured("temperature", found.temperature),
                    measured("pressure", found.pressure),
                    measured("humidity", found.humidity),
                ])
            }
            Self::Dps310(chip) => {
                let found = chip.measure(&mut Delay).map_err(said)?;
                tell(air, found.pressure);
                Ok(vec![measured("pressure", found.pressure), measured("temperature", found.temperature)])
            }
            Self::Scd41(chip, last, told) => {
                hear(chip, air, told)?;
                take_air(chip, last)
            }
            Self::Sps30(chip, dust) => take_dust(chip, dust),
            Self::Ina226(chip) => {
                let found = chip.measure(&mut Delay).map_err(said)?;
                Ok(vec![
                    measured("voltage", found.bus),
                    measured("current", found.current),
                    Measured { measure: "power", value: found.power.decimal(), unit: Unit::Watt },
                ])
            }
            Self::Lsm303dlhc(chip, last) => take_field(chip, last),
        }
    }
}

fn tell(air: &AirUse, pressure: Pascals) {
    if let AirUse::Tells(air) = air {
        air.tell(pressure, Instant::now());
    }
}

/// Tells the SCD41 the pressure, where it has changed by what it can be told. What it can't be told, it is not: a barometer may be wrong.
fn hear(chip: &mut Scd41<Bus>, air: &AirUse, told: &mut Option<Pascals>) -> Result<(), String> {
    let AirUse::IsTold(air) = air else { return Ok(()) };
    let Some(pressure) = air.pressure(Instant::now()) else { return Ok(()) };
    if told.is_some_and(|told| told.mantissa().abs_diff(pressure.mantissa()) < SCD41_PRESSURE_STEP_MPA) {
        return Ok(());
    }
    match chip.set_ambient_pressure(pressure) {
        Ok(()) => *told = Some(pressure),
        Err(lamppost_scd41::Error::Range { .. }) => {}
        Err(error) => return Err(said(error)),
    }
    Ok(())
}

/// What the SCD41 has measured since it was asked last. Nothing is no failure while it may be silent.
fn take_air(chip: &mut Scd41<Bus>, last: &mut Instant) -> Result<Vec<Measured>, String> {
    let Some(found) = chip.take(&mut Delay).map_err(said)? else {
        let waited_ms = SCD41_SILENT_MS_MAX;
        return nothing_new(*last, waited_ms, lamppost_scd41::Error::<BusError>::NotReady { waited_ms });
    };
    *last = Instant::now();
    Ok(vec![
        measured("co2", found.co2),
        measured("temperature", found.temperature),
        measured("humidity", found.humidity),
    ])
}

/// The same of an SPS30. What it measures before it is warm is left out, and while something is wrong with it.
fn take_dust(chip: &mut Sps30<Bus>, dust: &mut Dust) -> Result<Vec<Measured>, String> {
    let Some(found) = chip.take(&mut Delay).map_err(said)? else {
        let waited_ms = SPS30_SILENT_MS_MAX;
        return nothing_new(dust.last, waited_ms, lamppost_sps30::Error::<BusError>::NotReady { waited_ms });
    };
    let is_warm = Instant::now() >= dust.warm_at;
    if is_warm {
        chip.check(&mut Delay).map_err(said)?;
    }
    dust.last = Instant::now();
    if !is_warm {
        return Ok(Vec::new());
    }
    Ok(vec![
        measured("pm1", found.pm1),
        measured("pm2_5", found.pm2_5),
        measured("pm4", found.pm4),
        measured("pm10", found.pm10),
    ])
}

/// The same of a magnetometer, which takes 13.3 ms for a result, and may be asked more often.
fn take_field(chip: &mut Lsm303dlhc<Bus>, last: &mut Instant) -> Result<Vec<Measured>, String> {
    let Some(found) = chip.take().map_err(said)? else {
        return nothing_new(*last, lane::SILENT_MS_MAX, lamppost_lsm303dlhc::Error::<BusError>::NothingNew);
    };
    *last = Instant::now();
    Ok(vec![measured("field_x", found.x), measured("field_y", found.y), measured("field_z", found.z)])
}

fn nothing_new(last: Instant, silent_ms_max: u32, error: impl std::error::Error) -> Result<Vec<Measured>, String> {
    let silent = last.elapsed() >= Duration::from_millis(silent_ms_max.into());
    if silent { Err(said(error)) } else { Ok(Vec::new()) }
}

pub(crate) fn said(error: impl std::error::Error) -> String {
    error.to_string()
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

#[cfg(test)]
mod tests;
