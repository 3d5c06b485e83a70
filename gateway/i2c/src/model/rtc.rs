//! A clock with DS1338's and DS3231's registers, whose battery was just put in: it has stopped, and stands still also when set.

use super::Registers;

/// DS1338's control at 0x07, DS3231's status at 0x0f: both flags say that it had stopped.
#[derive(Debug)]
pub(super) struct RtcModel {
    registers: [u8; 64],
    at: usize,
}

impl RtcModel {
    pub(super) fn new() -> Self {
        let mut registers = [0; 64];
        for (at, value) in [(0x00, 0x80), (0x03, 1), (0x04, 1), (0x05, 1), (0x07, 0x20), (0x0f, 0x80)] {
            if let Some(register) = registers.get_mut(at) {
                *register = value;
            }
        }
        Self { registers, at: 0 }
    }
}

impl Registers for RtcModel {
    fn write(&mut self, bytes: &[u8]) {
        let Some((at, values)) = bytes.split_first() else { return };
        self.at = usize::from(*at);
        for value in values {
            let at = self.at % self.registers.len();
            if let Some(register) = self.registers.get_mut(at) {
                *register = *value;
            }
            self.at = at + 1;
        }
    }

    fn read(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            let at = self.at % self.registers.len();
            *byte = self.registers.get(at).copied().unwrap_or(0);
            self.at = at + 1;
        }
    }
}
