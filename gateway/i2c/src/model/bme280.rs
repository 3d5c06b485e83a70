//! A BME280 (data sheet BST-BME280-DS001): its register map with a real chip's calibration. It converts at once, and what its
//! converters read is found by searching for what compensates to the value that was set.

use lamppost_bme280::{CHIP_ID, Calibration, Measurement, Raw, Register};

use super::{Registers, first_where};

/// Registers 0x88 to 0xa1 and 0xe1 to 0xe7 of a chip that exists (published with the tests of the crate bme280-rs 0.2).
const CALIBRATION_1: [u8; 26] = [
    0xb1, 0x6f, 0x2e, 0x6a, 0x32, 0x00, 0xe2, 0x8f, 0x0a, 0xd7, 0xd0, 0x0b, 0x75, 0x1f, 0xc5, 0xff, 0xf9, 0xff, 0xac,
    0x26, 0x0a, 0xd8, 0xbd, 0x10, 0x00, 0x4b,
];
const CALIBRATION_2: [u8; 7] = [0x77, 0x01, 0x00, 0x12, 0x20, 0x03, 0x1e];
/// What the data registers hold after a reset.
const UNMEASURED: [u8; 8] = [0x80, 0x00, 0x00, 0x80, 0x00, 0x00, 0x80, 0x00];

#[derive(Debug)]
pub(super) struct Bme280Model {
    data: [u8; 8],
    control_humidity: u8,
    control_measure: u8,
    pointer: u8,
    raw: Raw,
}

impl Bme280Model {
    pub(super) fn new(air: Measurement) -> Self {
        Self { data: UNMEASURED, control_humidity: 0, control_measure: 0, pointer: 0, raw: converted(air) }
    }

    pub(super) fn set(&mut self, air: Measurement) {
        self.raw = converted(air);
    }

    fn write_register(&mut self, register: u8, value: u8) {
        const RESET: u8 = Register::Reset.address();
        const CONTROL_HUMIDITY: u8 = Register::ControlHumidity.address();
        const CONTROL_MEASURE: u8 = Register::ControlMeasure.address();
        match (register, value) {
            (RESET, 0xb6) => {
                self.data = UNMEASURED;
                (self.control_humidity, self.control_measure) = (0, 0);
            }
            (CONTROL_HUMIDITY, value) => self.control_humidity = value & 0b111,
            (CONTROL_MEASURE, value) => {
                if value & 0b11 != 0 {
                    self.data = self.measured(value);
                }
                // A forced measurement ends in sleep.
                self.control_measure = value & !0b11;
            }
            _ => {}
        }
    }

    /// The data registers after a measurement; what is not sampled reads as skipped.
    fn measured(&self, control: u8) -> [u8; 8] {
        let Raw { temperature, pressure, humidity } = self.raw;
        let temperature = if control >> 5 == 0 { Raw::SKIPPED } else { temperature };
        let pressure = if (control >> 2) & 0b111 == 0 { Raw::SKIPPED } else { pressure };
        let humidity = if self.control_humidity == 0 { Raw::SKIPPED_HUMIDITY } else { humidity };
        let [_, p0, p1, p2] = (pressure << 4).to_be_bytes();
        let [_, t0, t1, t2] = (temperature << 4).to_be_bytes();
        let [h0, h1] = humidity.to_be_bytes();
        [p0, p1, p2, t0, t1, t2, h0, h1]
    }

    fn register(&self, address: u8) -> u8 {
        let in_row = |first: u8, row: &[u8]| row.get(usize::from(address.checked_sub(first)?)).copied();
        match address {
            0xd0 => CHIP_ID,
            0xf2 => self.control_humidity,
            0xf4 => self.control_measure,
            0xe1..=0xe7 => in_row(0xe1, &CALIBRATION_2).unwrap_or(0),
            0xf7..=0xfe => in_row(0xf7, &self.data).unwrap_or(0),
            0x88..=0xa1 => in_row(0x88, &CALIBRATION_1).unwrap_or(0),
            _ => 0,
        }
    }
}

impl Registers for Bme280Model {
    /// Pairs of register and value (section 6.2.1); a lone byte selects what is read next.
    fn write(&mut self, bytes: &[u8]) {
        for pair in bytes.chunks(2) {
            match *pair {
                [pointer] => self.pointer = pointer,
                [register, value] => self.write_register(register, value),
                _ => {}
            }
        }
    }

    fn read(&mut self, bytes: &mut [u8]) {
        for place in bytes {
            *place = self.register(self.pointer);
            self.pointer = self.pointer.wrapping_add(1);
        }
    }
}

/// What the converters read of that air. Temperature and humidity rise with their reading, pressure falls.
fn converted(air: Measurement) -> Raw {
    let calibration = Calibration::parse(&CALIBRATION_1, &CALIBRATION_2);
    let compensated = |raw| calibration.compensate(raw).ok();
    let middle = Raw { temperature: 0x80_000, pressure: 0x50_000, humidity: 0x6000 };
    let temperature = first_where(1 << 20, |temperature| {
        compensated(Raw { temperature, ..middle }).is_some_and(|found| found.temperature >= air.temperature)
    });
    let warm = Raw { temperature, ..middle };
    let pressure = first_where(1 << 20, |pressure| {
        compensated(Raw { pressure, ..warm }).is_some_and(|found| found.pressure <= air.pressure)
    });
    let humidity = first_where(1 << 16, |humidity| {
        let humidity = u16::try_from(humidity).unwrap_or(u16::MAX);
        compensated(Raw { humidity, ..warm }).is_some_and(|found| found.humidity >= air.humidity)
    });
    Raw { temperature, pressure, humidity: u16::try_from(humidity).unwrap_or(u16::MAX) }
}

#[cfg(test)]
mod tests {
    use lamppost_units::{Celsius, Pascals, RelativeHumidity};

    use super::*;

    #[test]
    fn the_converters_read_what_compensates_to_the_air_that_was_set() {
        let calibration = Calibration::parse(&CALIBRATION_1, &CALIBRATION_2);
        for milli in (-40_000..=85_000).step_by(2_500) {
            let air = Measurement {
                temperature: Celsius::from_milli(milli),
                pressure: Pascals::from_milli(30_000_000 + (milli + 40_000) * 640),
                humidity: RelativeHumidity::from_milli((milli + 40_000) * 4 / 5),
            };
            let found = calibration.compensate(converted(air)).unwrap();
            assert!((found.temperature.milli() - air.temperature.milli()).abs() <= 10, "{air:?} {found:?}");
            assert!((found.pressure.milli() - air.pressure.milli()).abs() <= 500, "{air:?} {found:?}");
            assert!((found.humidity.milli() - air.humidity.milli()).abs() <= 20, "{air:?} {found:?}");
        }
    }
}
