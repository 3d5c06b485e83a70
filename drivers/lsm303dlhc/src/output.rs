//! From the six bytes of a result to a field.

use core::fmt;

use lamppost_units::Microtesla;

use crate::Range;

/// A magnetic flux density, along the chip's axes (drawn on its package: X and Y in its plane, Z out of it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MagneticField {
    /// Along X.
    pub x: Microtesla,
    /// Along Y.
    pub y: Microtesla,
    /// Along Z.
    pub z: Microtesla,
}

/// One of the chip's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// In its plane.
    X,
    /// In its plane, at a right angle to X.
    Y,
    /// Out of its plane.
    Z,
}

/// Why six bytes are no field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputError {
    /// The field along this axis is beyond the range, in either direction. A wider [`Range`] may do.
    Saturated {
        /// The first such axis of X, Y, Z.
        axis: Axis,
    },
    /// Not a value that the chip can have measured (-2048 to 2047): the transfer went wrong.
    Implausible {
        /// Which axis.
        axis: Axis,
        /// What was read.
        steps: i16,
    },
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Saturated { axis } => write!(f, "the field along {axis:?} is beyond the range"),
            Self::Implausible { axis, steps } => write!(f, "{steps} along {axis:?}, which is not -2048 to 2047"),
        }
    }
}

impl core::error::Error for OutputError {}

const SATURATED: i16 = -4096;
const NANOTESLA_PER_GAUSS: i32 = 100_000;

/// Converts the output registers, as they come over the bus (X, Z, Y), to a field, rounded to the nearest nanotesla.
///
/// # Errors
/// [`OutputError`] for the first axis of X, Y, Z that has no value.
pub fn convert(registers: [u8; 6], range: Range) -> Result<MagneticField, OutputError> {
    let [x1, x0, z1, z0, y1, y0] = registers;
    let (xy, z) = range.steps_per_gauss();
    Ok(MagneticField {
        x: along(Axis::X, [x1, x0], xy)?,
        y: along(Axis::Y, [y1, y0], xy)?,
        z: along(Axis::Z, [z1, z0], z)?,
    })
}

fn along(axis: Axis, register: [u8; 2], steps_per_gauss: u16) -> Result<Microtesla, OutputError> {
    let steps = i16::from_be_bytes(register);
    match steps {
        SATURATED => return Err(OutputError::Saturated { axis }),
        -2048..=2047 => {}
        _ => return Err(OutputError::Implausible { axis, steps }),
    }
    let gain = i32::from(steps_per_gauss);
    let scaled = i32::from(steps) * NANOTESLA_PER_GAUSS;
    // Rounded to the nearest, halves away from zero.
    Ok(Microtesla::from_nanotesla((scaled + scaled.signum() * (gain / 2)) / gain))
}
