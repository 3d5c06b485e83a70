//! A DPS310: its register map, with the coefficients of the chip that QEMU models. It converts at once, and what its converters
//! read is found by searching for what compensates to the value that was set.

use lamppost_dps310::{Coefficients, Measurement, Oversampling, PRODUCT_ID, Raw, Register};

use super::{Registers, first_where};

const COEFFICIENTS: [u8; 18] =
    [0x0e, 0x1e, 0xdd, 0x13, 0xca, 0x5f, 0x21, 0x52, 0xf9, 0xc6, 0x04, 0xd1, 0xdb, 0x47, 0x00, 0x5b, 0xfb, 0x3a];
const STARTED: u8 = 0b1100_0000;
const TEMPERATURE_READY: u8 = 0b0010_0000;
const PRESSURE_READY: u8 = 0b0001_0000;

#[derive(Debug)]
pub(super) struct Dps310Model {
    air: Measurement,
    raw: Raw,
    oversampling: (u8, u8),
    ready: u8,
    pointer: u8,
}

impl Dps310Model {
    pub(super) const fn new(air: Measurement) -> Self {
        Self { air, raw: Raw { pressure: 0, temperature: 0 }, oversampling: (0, 0), ready: 0, pointer: 0 }
    }

    pub(super) const fn set(&mut self, air: Measurement) {
        self.air = air;
    }

    fn write_register(&mut self, register: u8, value: u8) {
        const PRESSURE: u8 = Register::PressureConfiguration.address();
        const TEMPERATURE: u8 = Register::TemperatureConfiguration.address();
        const MEASURE: u8 = Register::MeasureConfiguration.address();
        const RESET: u8 = Register::Reset.address();
        match (register, value & 0b111) {
            (PRESSURE, samples) => self.oversampling.0 = samples,
            (TEMPERATURE, samples) => self.oversampling.1 = samples,
            (MEASURE, 0b010) => {
                self.raw.temperature = self.converted().temperature;
                self.ready |= TEMPERATURE_READY;
            }
            (MEASURE, 0b001) => {
                self.raw.pressure = self.converted().pressure;
                self.ready |= PRESSURE_READY;
            }
            (RESET, _) if value == 0b1001 => *self = Self::new(self.air),
            _ => {}
        }
    }

    fn register(&mut self, address: u8) -> u8 {
        let in_row = |first: u8, row: &[u8]| row.get(usize::from(address.checked_sub(first)?)).copied();
        match address {
            0x00..=0x05 => {
                self.ready = 0;
                let [_, p2, p1, p0] = self.raw.pressure.to_be_bytes();
                let [_, t2, t1, t0] = self.raw.temperature.to_be_bytes();
                in_row(0x00, &[p2, p1, p0, t2, t1, t0]).unwrap_or(0)
            }
            0x08 => STARTED | self.ready,
            0x0d => PRODUCT_ID,
            0x10..=0x21 => in_row(0x10, &COEFFICIENTS).unwrap_or(0),
            // By the sensor in the pressure cell, and right as it is.
            0x28 => 0x80,
            0x32 => 0x02,
            _ => 0,
        }
    }

    /// What the converters read of the air. Both fall with their reading, between -1 and 1 of the full scale.
    fn converted(&self) -> Raw {
        let coefficients = Coefficients::parse(&COEFFICIENTS);
        let samples = |bits: u8| Oversampling::ALL.get(usize::from(bits)).copied().unwrap_or_default();
        let (of_pressure, of_temperature) = (samples(self.oversampling.0), samples(self.oversampling.1));
        let (kp, kt) = (of_pressure.scale_factor(), of_temperature.scale_factor());
        let compensated = |pressure, temperature| {
            coefficients.compensate(Raw { pressure, temperature }, of_pressure, of_temperature).ok()
        };
        let at = |step: u32, full: i32| step.cast_signed() - full;
        let temperature = first_where(2 * kt.unsigned_abs(), |step| {
            compensated(0, at(step, kt)).is_some_and(|found| found.temperature <= self.air.temperature)
        });
        let temperature = at(temperature, kt);
        let pressure = first_where(2 * kp.unsigned_abs(), |step| {
            compensated(at(step, kp), temperature).is_some_and(|found| found.pressure <= self.air.pressure)
        });
        Raw { pressure: at(pressure, kp), temperature }
    }
}

impl Registers for Dps310Model {
    /// A register and what goes into it; a lone byte selects what is read next.
    fn write(&mut self, bytes: &[u8]) {
        match *bytes {
            [pointer] => self.pointer = pointer,
            [register, value] => self.write_register(register, value),
            _ => {}
        }
    }

    fn read(&mut self, bytes: &mut [u8]) {
        for place in bytes {
            *place = self.register(self.pointer);
            self.pointer = self.pointer.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use lamppost_units::{Celsius, Pascals};

    use super::*;

    #[test]
    fn the_converters_read_what_compensates_to_the_air_that_was_set() {
        let coefficients = Coefficients::parse(&COEFFICIENTS);
        for (bits, oversampling) in (0..).zip(Oversampling::ALL) {
            for milli in (-40_000..=85_000).step_by(12_500) {
                let air = Measurement {
                    temperature: Celsius::from_milli(milli),
                    pressure: Pascals::from_milli(30_000_000 + (milli + 40_000) * 700),
                };
                let mut chip = Dps310Model::new(air);
                chip.oversampling = (bits, bits);
                let found = coefficients.compensate(chip.converted(), oversampling, oversampling).unwrap();
                assert!((found.temperature.milli() - air.temperature.milli()).abs() <= 2, "{air:?} {found:?}");
                assert!((found.pressure.milli() - air.pressure.milli()).abs() <= 500, "{air:?} {found:?}");
            }
        }
    }
}
