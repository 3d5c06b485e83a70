//! An INA226 (data sheet SBOS547B): its registers, computed from each other as the data sheet says. It converts at once.

use lamppost_ina226::Register;
use lamppost_units::{Microvolts, Volts};

use super::Registers;

const READY: u16 = 1 << 3;

#[derive(Debug)]
pub(super) struct Ina226Model {
    bus: Volts,
    shunt: Microvolts,
    /// Of the last conversion: shunt voltage, bus voltage, power, current.
    converted: [u16; 4],
    configuration: u16,
    calibration: u16,
    flags: u16,
    pointer: u8,
}

impl Ina226Model {
    pub(super) const fn new(bus: Volts, shunt: Microvolts) -> Self {
        Self { bus, shunt, converted: [0; 4], configuration: 0x4127, calibration: 0, flags: 0, pointer: 0 }
    }

    pub(super) const fn set(&mut self, bus: Volts, shunt: Microvolts) {
        (self.bus, self.shunt) = (bus, shunt);
    }

    /// Equations 3 and 4.
    fn convert(&mut self) {
        let shunt = (self.shunt.nanovolts() / 2_500).clamp(-0x8000, 0x7fff);
        let bus = (self.bus.micro() / 1_250).clamp(0, 0x7fff);
        let current = (i64::from(shunt) * i64::from(self.calibration) / 2_048).clamp(-0x8000, 0x7fff);
        let power = current.abs() * i64::from(bus) / 20_000;
        let word = |value: i64| (value & 0xffff) as u16;
        self.converted = [word(shunt.into()), word(bus.into()), word(power.min(0xffff)), word(current)];
        self.flags |= READY;
    }

    fn write_register(&mut self, register: u8, value: u16) {
        const CONFIGURATION: u8 = Register::Configuration.pointer();
        const CALIBRATION: u8 = Register::Calibration.pointer();
        match register {
            CONFIGURATION => {
                self.configuration = value;
                if value & 0b11 == 0b11 {
                    self.convert();
                }
            }
            CALIBRATION => self.calibration = value & 0x7fff,
            _ => {}
        }
    }

    fn register(&mut self) -> u16 {
        match self.pointer {
            0x00 => self.configuration,
            pointer @ 0x01..=0x04 => self.converted.get(usize::from(pointer - 1)).copied().unwrap_or(0),
            0x05 => self.calibration,
            0x06 => std::mem::take(&mut self.flags),
            0xfe => 0x5449,
            0xff => 0x2260,
            _ => 0,
        }
    }
}

impl Registers for Ina226Model {
    /// The first byte selects the register, the other two go into it.
    fn write(&mut self, bytes: &[u8]) {
        if let Some(pointer) = bytes.first() {
            self.pointer = *pointer;
        }
        if let [register, high, low] = *bytes {
            self.write_register(register, u16::from_be_bytes([high, low]));
        }
    }

    fn read(&mut self, bytes: &mut [u8]) {
        for (place, byte) in bytes.iter_mut().zip(self.register().to_be_bytes()) {
            *place = byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_sheets_example_is_computed_as_it_says() {
        let mut chip = Ina226Model::new(Volts::from_micro(11_980_000), Microvolts::from_nanovolts(20_000_000));
        chip.write(&[0x05, 0x0a, 0x00]);
        chip.write(&[0x00, 0x41, 0x23]);
        for (register, value) in [(1, 0x1f40_u16), (2, 0x2570), (3, 0x12b8), (4, 0x2710), (6, 0x0008), (6, 0)] {
            chip.write(&[register]);
            let mut bytes = [0; 2];
            chip.read(&mut bytes);
            assert_eq!(bytes, value.to_be_bytes(), "register {register}");
        }
    }
}
