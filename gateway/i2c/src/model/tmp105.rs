//! A TMP105 (data sheet SLLS648D): pointer, temperature and configuration. Its first conversion takes as long as
//! one may at most, and reads 0 °C until then; later ones take no time.

use std::time::Duration;

use lamppost_units::Celsius;
use tokio::time::Instant;

use super::Registers;

/// Each bit more takes twice as long.
const FIRST_CONVERSION_OF_9_BITS: Duration = Duration::from_micros(37_500);

#[derive(Debug)]
pub(super) struct Tmp105Model {
    temperature: Celsius,
    pointer: u8,
    configuration: u8,
    powered: Instant,
}

impl Tmp105Model {
    pub(super) fn new(temperature: Celsius) -> Self {
        Self { temperature, pointer: 0, configuration: 0, powered: Instant::now() }
    }

    pub(super) const fn set(&mut self, temperature: Celsius) {
        self.temperature = temperature;
    }

    /// 0 to 3: 9 to 12 bits.
    const fn resolution(&self) -> u8 {
        (self.configuration >> 5) & 0b11
    }

    /// The nearest sixteenth of a degree, of which the resolution keeps the upper 9 to 12 bits.
    fn conversion(&self) -> [u8; 2] {
        if self.powered.elapsed() < FIRST_CONVERSION_OF_9_BITS * (1 << self.resolution()) {
            return [0, 0];
        }
        let sixteenths = (self.temperature.ten_thousandths() + 312).div_euclid(625).clamp(-2048, 2047);
        let left_aligned = (sixteenths << 4) as u16;
        let unused_bits = 7 - u16::from(self.resolution());
        (left_aligned >> unused_bits << unused_bits).to_be_bytes()
    }
}

impl Registers for Tmp105Model {
    /// The first byte selects the register, the second goes into it. Temperature can only be read.
    fn write(&mut self, bytes: &[u8]) {
        if let Some(pointer) = bytes.first() {
            self.pointer = pointer & 0b11;
        }
        if let (1, Some(configuration)) = (self.pointer, bytes.get(1)) {
            self.configuration = *configuration;
        }
    }

    fn read(&mut self, bytes: &mut [u8]) {
        let register = match self.pointer {
            0 => self.conversion(),
            1 => [self.configuration, self.configuration],
            _ => [0, 0],
        };
        for (place, byte) in bytes.iter_mut().zip(register.iter().cycle()) {
            *place = *byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(temperature: Celsius) -> Tmp105Model {
        let powered = Instant::now().checked_sub(Duration::from_millis(300)).unwrap();
        Tmp105Model { powered, ..Tmp105Model::new(temperature) }
    }

    #[test]
    fn until_its_first_conversion_it_reads_zero() {
        let mut chip = Tmp105Model::new(Celsius::from_milli(25_000));
        chip.write(&[1, 0x60]);
        chip.write(&[0]);
        let mut bytes = [1; 2];
        chip.read(&mut bytes);
        assert_eq!(bytes, [0, 0]);
    }

    #[test]
    fn the_resolution_decides_how_many_bits_are_kept() {
        let mut chip = converted(Celsius::from_ten_thousandths(-104_375));
        for (configuration, register) in [(0x00, [0xf5, 0x80]), (0x20, [0xf5, 0x80]), (0x60, [0xf5, 0x90])] {
            chip.write(&[1, configuration]);
            chip.write(&[0]);
            let mut bytes = [0; 2];
            chip.read(&mut bytes);
            assert_eq!(bytes, register, "configuration {configuration:#04x}");
        }
    }

    #[test]
    fn the_temperature_register_can_not_be_written() {
        let mut chip = converted(Celsius::from_milli(25_000));
        chip.write(&[0, 0x7f, 0xff]);
        let mut bytes = [0; 2];
        chip.read(&mut bytes);
        assert_eq!(bytes, [0x19, 0x00]);
    }
}
