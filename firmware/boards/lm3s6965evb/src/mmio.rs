//! Memory-mapped registers: the one place where the board touches an address.

/// A 32-bit register of a peripheral.
#[derive(Debug, Clone, Copy)]
pub struct Register(usize);

impl Register {
    /// The register at `address`.
    ///
    /// # Safety
    /// A 32-bit device register of this microcontroller must be there, one whose accesses can't corrupt memory.
    pub const unsafe fn at(address: usize) -> Self {
        Self(address)
    }

    /// What it holds.
    pub fn read(self) -> u32 {
        // SAFETY: whoever made `self` promised that the register is there.
        unsafe { (self.0 as *const u32).read_volatile() }
    }

    /// Writes all of its bits.
    pub fn write(self, value: u32) {
        // SAFETY: as above, and writing it corrupts no memory.
        unsafe { (self.0 as *mut u32).write_volatile(value) }
    }

    /// Sets these bits and leaves the others.
    pub fn set(self, bits: u32) {
        self.write(self.read() | bits);
    }
}
