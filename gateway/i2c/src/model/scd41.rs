//! An SCD41: the commands that the source uses. It measures at once.

use super::{Registers, answer};
use lamppost_scd41::{Command, Measurement};

#[derive(Debug)]
pub(super) struct Scd41Model {
    air: Measurement,
    measuring: bool,
    fresh: bool,
    answer: Vec<u16>,
    pressure_pa: Option<u32>,
}

impl Scd41Model {
    pub(super) const fn new(air: Measurement) -> Self {
        Self { air, measuring: false, fresh: false, answer: Vec::new(), pressure_pa: None }
    }

    pub(super) const fn set(&mut self, air: Measurement) {
        self.air = air;
        self.fresh = self.measuring;
    }

    pub(super) const fn pressure_pa(&self) -> Option<u32> {
        self.pressure_pa
    }

    /// The three words of the measurement, each the nearest that there is.
    fn words(&self) -> Vec<u16> {
        let of = |value: i64, full: i64| u16::try_from((value * 65_535 + full / 2) / full).unwrap_or(u16::MAX);
        let Measurement { co2, temperature, humidity } = self.air;
        let temperature = i64::from(temperature.ten_thousandths()) + 450_000;
        let co2 = u16::try_from(co2.milli() / 1_000).unwrap_or(u16::MAX);
        vec![co2, of(temperature, 1_750_000), of(humidity.milli().into(), 100_000)]
    }
}

impl Registers for Scd41Model {
    /// What it does not know it does not answer.
    fn write(&mut self, bytes: &[u8]) {
        const START: u16 = Command::StartPeriodicMeasurement.code();
        const STOP: u16 = Command::StopPeriodicMeasurement.code();
        const SERIAL: u16 = Command::GetSerialNumber.code();
        const READY: u16 = Command::GetDataReadyStatus.code();
        const READ: u16 = Command::ReadMeasurement.code();
        const PRESSURE: u16 = Command::SetAmbientPressure.code();
        let Some([high, low]) = bytes.first_chunk::<2>() else { return };
        self.answer = match u16::from_be_bytes([*high, *low]) {
            START => {
                (self.measuring, self.fresh) = (true, true);
                Vec::new()
            }
            STOP => {
                (self.measuring, self.fresh) = (false, false);
                Vec::new()
            }
            PRESSURE => {
                // A word of hPa, and its checksum.
                if let [_, _, high, low, _] = *bytes {
                    self.pressure_pa = Some(100 * u32::from(u16::from_be_bytes([high, low])));
                }
                Vec::new()
            }
            SERIAL if !self.measuring => vec![0xf896, 0x9f07, 0x3bbe],
            READY => vec![if self.fresh { 0x8006 } else { 0x8000 }],
            READ if self.fresh => {
                self.fresh = false;
                self.words()
            }
            _ => Vec::new(),
        };
    }

    fn read(&mut self, bytes: &mut [u8]) {
        answer(bytes, &std::mem::take(&mut self.answer));
    }
}

#[cfg(test)]
mod tests {
    use lamppost_units::{Celsius, PartsPerMillion, RelativeHumidity};

    use super::*;

    #[test]
    fn the_words_are_those_of_the_data_sheets_example() {
        let air = Measurement {
            co2: PartsPerMillion::from_milli(500_000),
            temperature: Celsius::from_ten_thousandths(250_027),
            humidity: RelativeHumidity::from_milli(37_002),
        };
        let mut chip = Scd41Model::new(air);
        chip.write(&[0x21, 0xb1]);
        chip.write(&[0xec, 0x05]);
        let mut bytes = [0; 9];
        chip.read(&mut bytes);
        assert_eq!(bytes, [0x01, 0xf4, 0x33, 0x66, 0x67, 0xa2, 0x5e, 0xb9, 0x3c]);
        chip.write(&[0xec, 0x05]);
        chip.read(&mut bytes);
        assert_eq!(bytes, [0xff; 9], "a measurement is read once");
    }
}
