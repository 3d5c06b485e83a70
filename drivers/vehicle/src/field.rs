//! What goes in.

use lamppost_units::Microtesla;

/// Milliseconds since any beginning, of a clock that never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// The time from `earlier` to this, in milliseconds; 0 if it is not earlier.
    #[must_use]
    pub const fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A magnetic flux density, along three axes at right angles. Which way they point does not matter, as long as it stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Field(pub(crate) [i32; 3]);

impl Field {
    /// From its three components.
    #[must_use]
    pub const fn new(x: Microtesla, y: Microtesla, z: Microtesla) -> Self {
        Self([x.nanotesla(), y.nanotesla(), z.nanotesla()])
    }

    /// The square of the distance to `other`, in square nanoteslas, exactly.
    pub(crate) fn distance_squared(self, other: Self) -> u128 {
        self.0.iter().zip(other.0).map(|(a, b)| u128::from(a.abs_diff(b)).pow(2)).sum()
    }
}

/// What the magnetometer said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// It measured.
    Field(Field),
    /// The field is beyond its range: something strong is very near.
    Saturated,
}

/// The square of a threshold.
pub(crate) fn squared(threshold: Microtesla) -> u128 {
    u128::from(threshold.nanotesla().unsigned_abs()).pow(2)
}
