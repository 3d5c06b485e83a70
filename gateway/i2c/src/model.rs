//! A modelled bus with modelled chips, register by register, for the demonstration and for tests. The drivers can't tell it
//! from a real one.

mod bme280;
mod tmp105;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource, Operation};
use lamppost_bme280::Measurement;
use lamppost_units::Celsius;

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
}

#[derive(Debug)]
enum ModelChip {
    Tmp105(tmp105::Tmp105Model),
    Bme280(bme280::Bme280Model),
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
    pub fn set_bme280(&self, address: BusAddress, air: Measurement) {
        let mut state = self.lock();
        match state.chips.get_mut(&address) {
            Some(ModelChip::Bme280(chip)) => chip.set(air),
            _ => drop(state.chips.insert(address, ModelChip::Bme280(bme280::Bme280Model::new(air)))),
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

    pub(crate) fn transaction(&self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        let takes = self.lock().takes;
        if !takes.is_zero() {
            std::thread::sleep(takes);
        }
        let mut state = self.lock();
        let refused = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
        let chip = state.chips.get_mut(&BusAddress(address));
        let chip = chip.ok_or_else(|| BusError::new(refused, "no chip acknowledges the address"))?;
        for operation in operations {
            match (operation, &mut *chip) {
                (Operation::Write(bytes), ModelChip::Tmp105(chip)) => chip.write(bytes),
                (Operation::Read(bytes), ModelChip::Tmp105(chip)) => chip.read(bytes),
                (Operation::Write(bytes), ModelChip::Bme280(chip)) => chip.write(bytes),
                (Operation::Read(bytes), ModelChip::Bme280(chip)) => chip.read(bytes),
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
