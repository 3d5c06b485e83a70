//! An SPS30: the commands that the source uses. It measures at once.

use lamppost_sps30::{Command, Measurement};
use lamppost_units::MicrogramsPerCubicMetre;

use super::{Registers, answer};

#[derive(Debug)]
pub(super) struct Sps30Model {
    dust: Measurement,
    measuring: bool,
    fresh: bool,
    /// The lower word of its status.
    status: u16,
    answer: Vec<u16>,
}

impl Sps30Model {
    pub(super) const fn new(dust: Measurement) -> Self {
        Self { dust, measuring: false, fresh: false, status: 0, answer: Vec::new() }
    }

    pub(super) const fn set(&mut self, dust: Measurement) {
        self.dust = dust;
        self.fresh = self.measuring;
    }

    pub(super) const fn set_status(&mut self, status: u16) {
        self.status = status;
    }

    fn words(&self) -> Vec<u16> {
        let Measurement { pm1, pm2_5, pm4, pm10, per_cm3, size_nm } = self.dust;
        let whole = |mass: MicrogramsPerCubicMetre| u16::try_from(mass.milli() / 1_000).unwrap_or(u16::MAX);
        [pm1, pm2_5, pm4, pm10].into_iter().map(whole).chain(per_cm3).chain([size_nm]).collect()
    }
}

impl Registers for Sps30Model {
    /// What it does not know it does not answer.
    fn write(&mut self, bytes: &[u8]) {
        const START: u16 = Command::StartMeasurement.code();
        const STOP: u16 = Command::StopMeasurement.code();
        const VERSION: u16 = Command::ReadVersion.code();
        const READY: u16 = Command::ReadDataReadyFlag.code();
        const STATUS: u16 = Command::ReadDeviceStatus.code();
        const READ: u16 = Command::ReadMeasuredValues.code();
        let Some(([high, low], argument)) = bytes.split_first_chunk::<2>() else { return };
        self.answer = match u16::from_be_bytes([*high, *low]) {
            // In whole numbers.
            START if argument == [0x05, 0x00, 0xf6] => {
                (self.measuring, self.fresh) = (true, true);
                Vec::new()
            }
            STOP => {
                (self.measuring, self.fresh) = (false, false);
                Vec::new()
            }
            VERSION => vec![0x0202],
            STATUS => vec![0, self.status],
            READY => vec![u16::from(self.fresh)],
            READ => {
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
    use super::*;

    #[test]
    fn the_words_are_those_that_convert_to_the_dust_that_was_set() {
        let words = [1, 2, 3, 4, 5, 6, 7, 8, 9, 540];
        assert_eq!(Sps30Model::new(lamppost_sps30::convert(words)).words(), words);
    }
}
