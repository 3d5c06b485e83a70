//! The magnetometer of an LSM303DLHC (data sheet DocID018771): its registers, of which the pointer moves on by itself. It converts at once, and
//! only while it measures.

use lamppost_lsm303dlhc::{IDENTITY, MagneticField, Range, Register};
use lamppost_units::Microtesla;

use super::Registers;

const SATURATED: i16 = -4096;
const STEPS_MAX: i64 = 2047;
const NANOTESLA_PER_GAUSS: i64 = 100_000;
const CONTINUOUS: u8 = 0;

#[derive(Debug)]
pub(super) struct Lsm303dlhcModel {
    field: MagneticField,
    rate: u8,
    gain: u8,
    mode: u8,
    pointer: u8,
}

impl Lsm303dlhcModel {
    pub(super) const fn new(field: MagneticField) -> Self {
        // As after power-up: asleep.
        Self { field, rate: 0x10, gain: 0x20, mode: 3, pointer: 0 }
    }

    pub(super) const fn set(&mut self, field: MagneticField) {
        self.field = field;
    }

    /// X, Z, Y, each the nearest step of the gain that is set.
    fn output(&self) -> [u8; 6] {
        if self.mode != CONTINUOUS {
            return [0; 6];
        }
        let gains = Range::ALL.get(usize::from(self.gain >> 5).wrapping_sub(1)).copied().unwrap_or_default();
        let (xy, z) = gains.steps_per_gauss();
        let [x1, x0] = steps(self.field.x, xy).to_be_bytes();
        let [y1, y0] = steps(self.field.y, xy).to_be_bytes();
        let [z1, z0] = steps(self.field.z, z).to_be_bytes();
        [x1, x0, z1, z0, y1, y0]
    }

    fn register(&self, address: u8) -> u8 {
        const OUTPUT: u8 = Register::Output.address();
        const IDENTITY_AT: u8 = Register::Identity.address();
        match address {
            0 => self.rate,
            1 => self.gain,
            2 => self.mode,
            OUTPUT..=8 => self.output().get(usize::from(address - OUTPUT)).copied().unwrap_or(0),
            9 => u8::from(self.mode == CONTINUOUS),
            IDENTITY_AT..=12 => IDENTITY.get(usize::from(address - IDENTITY_AT)).copied().unwrap_or(0),
            _ => 0,
        }
    }
}

fn steps(along: Microtesla, steps_per_gauss: u16) -> i16 {
    let scaled = i64::from(along.nanotesla()) * i64::from(steps_per_gauss);
    let steps = (scaled + scaled.signum() * (NANOTESLA_PER_GAUSS / 2)) / NANOTESLA_PER_GAUSS;
    i16::try_from(steps).ok().filter(|steps| i64::from(*steps).abs() <= STEPS_MAX).unwrap_or(SATURATED)
}

impl Registers for Lsm303dlhcModel {
    /// The first byte selects the register, the second goes into it.
    fn write(&mut self, bytes: &[u8]) {
        if let Some(pointer) = bytes.first() {
            self.pointer = *pointer;
        }
        match *bytes {
            [0, rate] => self.rate = rate,
            [1, gain] => self.gain = gain,
            [2, mode] => self.mode = mode & 0b11,
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
    use super::*;

    #[test]
    fn the_output_is_x_z_y_in_steps_of_the_gain_and_beyond_the_range_it_says_so() {
        let microtesla = |nanotesla| Microtesla::from_nanotesla(nanotesla);
        // One step along X and Y is 1/1100 gauss, along Z 1/980.
        let field = MagneticField { x: microtesla(9_091), y: microtesla(-18_182), z: microtesla(10_204) };
        let mut chip = Lsm303dlhcModel::new(field);
        let mut bytes = [0; 6];
        chip.write(&[3]);
        chip.read(&mut bytes);
        assert_eq!(bytes, [0; 6], "it sleeps until it is started");
        chip.write(&[2, 0]);
        chip.write(&[3]);
        chip.read(&mut bytes);
        assert_eq!(bytes, [0, 100, 0, 100, 0xff, 0x38]);
        chip.set(MagneticField { z: microtesla(300_000), ..field });
        chip.write(&[3]);
        chip.read(&mut bytes);
        assert_eq!(bytes, [0, 100, 0xf0, 0x00, 0xff, 0x38]);
    }
}
