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

    /// So many milliseconds later.
    #[must_use]
    pub const fn plus_ms(self, ms: u32) -> Self {
        Self(self.0.saturating_add(ms as u64))
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

    /// The square of the distance to `other`, in square nanoteslas, exactly; along each axis it counts for 2.1 T at most, so that three
    /// squares fit 64 bits.
    pub(crate) fn distance_squared(self, other: Self) -> u64 {
        let along = |(a, b): (i32, i32)| u64::from(a.abs_diff(b).min(i32::MAX.unsigned_abs())).pow(2);
        self.0.into_iter().zip(other.0).map(along).sum()
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
pub(crate) fn squared(threshold: Microtesla) -> u64 {
    u64::from(threshold.nanotesla().unsigned_abs()).pow(2)
}
