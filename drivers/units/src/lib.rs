//! Physical quantities with their unit in the type: exact decimal integers, no floating point, so that what a chip
//! measured is what the cluster reads, digit by digit.
//!
//! A quantity is `mantissa × 10^EXPONENT` of a unit that SenML names (RFC 8428 section 12.1, or RFC 8798 section 3):
//!
//! | type | unit | SenML | exponent | range |
//! |---|---|---|---|---|
//! | [`Celsius`] | degree Celsius | `Cel` | -4 | ±214,748 °C |
//! | [`Pascals`] | pascal | `Pa` | -3 | ±2,147 kPa |
//! | [`RelativeHumidity`] | per cent | `%RH` | -3 | ±2,147,483 % |
//! | [`Microtesla`] | tesla | `T` | -9 | ±2.147 T |
//! | [`Watts`] | watt | `W` | -3 | ±2,147 kW |
//! | [`Milliwatts`] | watt | `W` | -6 | ±2,147 W |
//! | [`Volts`] | volt | `V` | -6 | ±2,147 V |
//! | [`Microvolts`] | volt | `V` | -9 | ±2.147 V |
//! | [`Amperes`] | ampere | `A` | -6 | ±2,147 A |
//! | [`PartsPerMillion`] | part per million | `ppm` | -3 | ±2,147,483 ppm |
//! | [`MicrogramsPerCubicMetre`] | microgram per cubic metre | `ug/m3` | -3 | ±2,147 mg/m³ |

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod decimal;
mod quantity;

pub use decimal::Decimal;
pub use quantity::{
    Amperes, Celsius, MicrogramsPerCubicMetre, Microtesla, Microvolts, Milliwatts, PartsPerMillion, Pascals, Quantity,
    RelativeHumidity, Unit, Volts, Watts,
};
