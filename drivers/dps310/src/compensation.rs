//! From what the chip's converters read to physical values (section 4.9, "How to Calculate Compensated Pressure and
//! Temperature Values"), in integers. All of it is checked: no coefficients and no reading can make it overflow.
//!
//! ```text
//! p = Praw / kP     t = Traw / kT
//! T = c0 / 2 + c1 t                                                    in °C
//! P = c00 + p (c10 + p (c20 + p c30)) + t c01 + t p (c11 + p c21)      in Pa
//! ```
//!
//! `p` and `t` are counted in 2^-28, the sums in 2^-12 Pa: the result is within 0.01 Pa of what real numbers give.

use lamppost_units::{Celsius, Pascals};

use crate::{Channel, Measurement, Oversampling};

const RATIO_BITS: u32 = 28;
const SUM_BITS: u32 = 12;

/// What the converters read: 24 bits, signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw {
    /// Pressure.
    pub pressure: i32,
    /// Temperature.
    pub temperature: i32,
}

impl Raw {
    /// Parses registers 0x00 to 0x05 (section 7.1).
    #[must_use]
    pub const fn parse(data: &[u8; 6]) -> Self {
        let [p2, p1, p0, t2, t1, t0] = *data;
        // An arithmetic shift of the left-aligned 24 bits keeps the sign.
        Self {
            pressure: i32::from_be_bytes([p2, p1, p0, 0]) >> 8,
            temperature: i32::from_be_bytes([t2, t1, t0, 0]) >> 8,
        }
    }
}

/// The coefficients that the maker wrote into this chip; the names are the data sheet's (section 4.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the data sheet gives the numbers no meaning but their place in the formulas")]
pub struct Coefficients {
    pub c0: i16,
    pub c1: i16,
    pub c00: i32,
    pub c10: i32,
    pub c01: i16,
    pub c11: i16,
    pub c20: i16,
    pub c21: i16,
    pub c30: i16,
}

impl Coefficients {
    /// Parses registers 0x10 to 0x21 (section 7.11): signed, c0 and c1 of 12 bits, c00 and c10 of 20, the others of 16.
    #[must_use]
    pub const fn parse(registers: &[u8; 18]) -> Self {
        let [r0, r1, r2, r3, r4, r5, r6, r7, c01h, c01l, c11h, c11l, c20h, c20l, c21h, c21l, c30h, c30l] = *registers;
        Self {
            c0: i16::from_be_bytes([r0, r1]) >> 4,
            c1: i16::from_be_bytes([(r1 << 4) | (r2 >> 4), r2 << 4]) >> 4,
            c00: i32::from_be_bytes([r3, r4, r5, 0]) >> 12,
            c10: i32::from_be_bytes([(r5 << 4) | (r6 >> 4), (r6 << 4) | (r7 >> 4), r7 << 4, 0]) >> 12,
            c01: i16::from_be_bytes([c01h, c01l]),
            c11: i16::from_be_bytes([c11h, c11l]),
            c20: i16::from_be_bytes([c20h, c20l]),
            c21: i16::from_be_bytes([c21h, c21l]),
            c30: i16::from_be_bytes([c30h, c30l]),
        }
    }

    /// Compensates one reading, taken with these oversamplings.
    ///
    /// # Errors
    /// The quantity whose value can't be held, or can't be: the coefficients or the reading are broken.
    pub fn compensate(
        &self,
        raw: Raw,
        pressure: Oversampling,
        temperature: Oversampling,
    ) -> Result<Measurement, Channel> {
        let p = ratio(raw.pressure, pressure);
        let t = ratio(raw.temperature, temperature);
        Ok(Measurement {
            temperature: self.temperature(t).ok_or(Channel::Temperature)?,
            pressure: self.pressure(p, t).ok_or(Channel::Pressure)?,
        })
    }

    /// Below absolute zero there is none.
    fn temperature(&self, t: i64) -> Option<Celsius> {
        let linear = rounded(i64::from(self.c1).checked_mul(t)?.checked_mul(10_000)?, RATIO_BITS);
        let ten_thousandths = i64::from(self.c0) * 5_000 + linear;
        i32::try_from(ten_thousandths).ok().filter(|found| *found > -2_731_500).map(Celsius::from_ten_thousandths)
    }

    /// A pressure that is not above zero is none.
    fn pressure(&self, p: i64, t: i64) -> Option<Pascals> {
        let [c01, c11, c20, c21, c30] =
            [self.c01, self.c11, self.c20, self.c21, self.c30].map(|c| i64::from(c) << SUM_BITS);
        let [c00, c10] = [self.c00, self.c10].map(|c| i64::from(c) << SUM_BITS);
        let of_pressure = c00 + times(c10 + times(c20 + times(c30, p)?, p)?, p)?;
        let of_both = times(c11 + times(c21, p)?, p)?;
        let sum = of_pressure.checked_add(times(c01 + of_both, t)?)?;
        let milli = rounded(sum.checked_mul(1_000)?, SUM_BITS);
        i32::try_from(milli).ok().filter(|milli| *milli > 0).map(Pascals::from_milli)
    }
}

/// A reading divided by its scale factor: below 34 in amount, whatever the reading.
fn ratio(raw: i32, oversampling: Oversampling) -> i64 {
    (i64::from(raw) << RATIO_BITS) / i64::from(oversampling.scale_factor())
}

fn times(sum: i64, ratio: i64) -> Option<i64> {
    sum.checked_mul(ratio).map(|product| rounded(product, RATIO_BITS))
}

/// `value / 2^bits`, rounded to the nearest.
const fn rounded(value: i64, bits: u32) -> i64 {
    value.saturating_add(1 << (bits - 1)) >> bits
}

#[cfg(test)]
mod tests;
