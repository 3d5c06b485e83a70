//! A modelled bus with modelled chips, register by register, for the demonstration and for tests. The drivers can't tell it
//! from a real one.

mod bme280;
mod dps310;
mod ina226;
mod lsm303dlhc;
mod rtc;
mod scd41;
mod sps30;
mod tmp105;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource, Operation};
use lamppost_units::{Celsius, Microvolts, Volts};

use crate::BusAddress;
use crate::bus::BusError;

/// A bus without wires. Clones are the same bus: keep one to set what the chips measure.
#[derive(Debug, Clone, Default)]
pub struct ModelBus {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    chips: BTreeMap<BusAddress, ModelChip>,
    takes: Duration,
    /// So many transfers are still to fail.
    failing: u32,
}

#[derive(Debug)]
enum ModelChip {
    Tmp105(tmp105::Tmp105Model),
    Bme280(bme280::Bme280Model),
    Dps310(dps310::Dps310Model),
    Scd41(scd41::Scd41Model),
    Sps30(sps30::Sps30Model),
    Ina226(ina226::Ina226Model),
    Lsm303dlhc(lsm303dlhc::Lsm303dlhcModel),
    Rtc(rtc::RtcModel),
}

/// What a chip does with what is written to it, and what it gives to be read.
trait Registers {
    fn write(&mut self, bytes: &[u8]);
    fn read(&mut self, bytes: &mut [u8]);
}

impl ModelChip {
    fn registers(&mut self) -> &mut dyn Registers {
        match self {
            Self::Tmp105(chip) => chip,
            Self::Bme280(chip) => chip,
            Self::Dps310(chip) => chip,
            Self::Scd41(chip) => chip,
            Self::Sps30(chip) => chip,
            Self::Ina226(chip) => chip,
            Self::Lsm303dlhc(chip) => chip,
            Self::Rtc(chip) => chip,
        }
    }
}

impl ModelBus {
    /// An empty bus.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a TMP105 there that measures `temperature`, or lets the one that is there measure it.
    pub fn set_tmp105(&self, address: BusAddress, temperature: Celsius) {
        let mut state = self.lock();
        match state.chips.get_mut(&address) {
            Some(ModelChip::Tmp105(chip)) => chip.set(temperature),
            _ => drop(state.chips.insert(address, ModelChip::Tmp105(tmp105::Tmp105Model::new(temperature)))),
        }
    }

    /// Puts a BME280 there that measures `air`, or lets the one that is there measure it. What is outside of the chip's range
    /// (-40 to 85 °C, 300 to 1100 hPa, 0 to 100 %) is measured as the nearest that its converters can.
    pub fn set_bme280(&self, address: BusAddress, air: lamppost_bme280::Measurement) {
        let mut state = self.lock();
        match state.chips.get_mut(&address) {
            Some(ModelChip::Bme280(chip)) => chip.set(air),
            _ => drop(state.chips.insert(address, ModelChip::Bme280(bme280::Bme280Model::new(air)))),
        }
    }

    /// Puts a DPS310 there that measures `air`, or lets the one that is there measure it. What is outside of 14 to 129 kPa is measured
    /// as the nearest of it.
    pub fn set_dps310(&self, address: BusAddress, air: lamppost_dps310::Measurement) {
        let mut state = self.lock();
        match state.chips.get_mut(&address) {
            Some(ModelChip::Dps310(chip)) => chip.set(air),
            _ => drop(state.chips.insert(address, ModelChip::Dps310(dps310::Dps310Model::new(air)))),
        }
    }

    /// Puts an SCD41 there that measures `air`, or lets the one that is there measure it: once, when it is started or is
    /// measuring already. Then it has nothing new until it is set again.
    pub fn set_scd41(&self, air: lamppost_scd41::Measurement) {
        let mut state = self.lock();
        let address = BusAddress(lamppost_scd41::ADDRESS);
        match state.chips.get_mut(&address) {
            Some(ModelChip::Scd41(chip)) => chip.set(air),
            _ => drop(state.chips.insert(address, ModelChip::Scd41(scd41::Scd41Model::new(air)))),
        }
    }

    /// Puts an SPS30 there that measures `dust`, as [`Self::set_scd41`] does.
    pub fn set_sps30(&self, dust: lamppost_sps30::Measurement) {
        let mut state = self.lock();
        let address = BusAddress(lamppost_sps30::ADDRESS);
        match state.chips.get_mut(&address) {
            Some(ModelChip::Sps30(chip)) => chip.set(dust),
            _ => drop(state.chips.insert(address, ModelChip::Sps30(sps30::Sps30Model::new(dust)))),
        }
    }

    /// Lets the SPS30 that is there say this of its state: the lower 16 bits of its status.
    pub fn set_sps30_status(&self, status: u16) {
        if let Some(ModelChip::Sps30(chip)) = self.lock().chips.get_mut(&BusAddress(lamppost_sps30::ADDRESS)) {
            chip.set_status(status);
        }
    }

    /// Puts an INA226 there that measures these voltages of bus and shunt, or lets the one that is there measure them.
    pub fn set_ina226(&self, address: BusAddress, bus: Volts, shunt: Microvolts) {
        let mut state = self.lock();
        match state.chips.get_mut(&address) {
            Some(ModelChip::Ina226(chip)) => chip.set(bus, shunt),
            _ => drop(state.chips.insert(address, ModelChip::Ina226(ina226::Ina226Model::new(bus, shunt)))),
        }
    }

    /// Puts the magnetometer of an LSM303DLHC there that measures `field`, or lets the one that is there measure it. Beyond its range it says so.
    pub fn set_lsm303dlhc(&self, field: lamppost_lsm303dlhc::MagneticField) {
        let mut state = self.lock();
        let address = BusAddress(lamppost_lsm303dlhc::ADDRESS);
        match state.chips.get_mut(&address) {
            Some(ModelChip::Lsm303dlhc(chip)) => chip.set(field),
            _ => drop(state.chips.insert(address, ModelChip::Lsm303dlhc(lsm303dlhc::Lsm303dlhcModel::new(field)))),
        }
    }

    /// Puts a clock there, DS1338 and DS3231 in one, that was never set.
    pub fn set_rtc(&self) {
        self.lock().chips.insert(crate::Rtc::ADDRESS, ModelChip::Rtc(rtc::RtcModel::new()));
    }

    /// What the SCD41 was last told of the pressure since it was started, in Pa.
    #[must_use]
    pub fn scd41_pressure_pa(&self) -> Option<u32> {
        match self.lock().chips.get(&BusAddress(lamppost_scd41::ADDRESS)) {
            Some(ModelChip::Scd41(chip)) => chip.pressure_pa(),
            _ => None,
        }
    }

    /// Pulls the chip out: nothing acknowledges the address any more.
    pub fn unplug(&self, address: BusAddress) {
        self.lock().chips.remove(&address);
    }

    /// From now on each transfer takes that long: a chip that holds the clock.
    pub fn set_transfer_time(&self, takes: Duration) {
        self.lock().takes = takes;
    }

    /// The next `count` transfers fail, whatever chip they are for: a plug that was touched. The chips know nothing of them.
    pub fn fail_transfers(&self, count: u32) {
        self.lock().failing = count;
    }

    pub(crate) fn transaction(&self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        let takes = self.lock().takes;
        if !takes.is_zero() {
            std::thread::sleep(takes);
        }
        let mut state = self.lock();
        if state.failing > 0 {
            state.failing -= 1;
            return Err(BusError::new(ErrorKind::Bus, "the bus is disturbed"));
        }
        let refused = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
        let chip = state.chips.get_mut(&BusAddress(address));
        let chip = chip.ok_or_else(|| BusError::new(refused, "no chip acknowledges the address"))?;
        for operation in operations {
            match operation {
                Operation::Write(bytes) => chip.registers().write(bytes),
                Operation::Read(bytes) => chip.registers().read(bytes),
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first of `0..end` that `fits`, where all after it do; the last one if none does.
fn first_where(end: u32, fits: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, end - 1);
    while low < high {
        let middle = low.midpoint(high);
        if fits(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// Words with their checksums, as Sensirion's chips answer; what is read beyond them are ones.
fn answer(bytes: &mut [u8], words: &[u16]) {
    bytes.fill(0xff);
    for (place, word) in bytes.chunks_mut(3).zip(words) {
        let [high, low] = word.to_be_bytes();
        for (place, byte) in place.iter_mut().zip([high, low, lamppost_sensirion::crc(*word)]) {
            *place = byte;
        }
    }
}
