//! An exact decimal number and how it is written.

use core::fmt;

/// `mantissa × 10^exponent`, exactly. Its text is a plain decimal and a JSON number (RFC 8259 section 6): `21.5`, `-0.25`,
/// `101325`; no exponent, no trailing zeros behind the point, at most about 140 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    mantissa: i64,
    exponent: i8,
}

impl Decimal {
    /// `mantissa × 10^exponent`.
    #[must_use]
    pub const fn new(mantissa: i64, exponent: i8) -> Self {
        Self { mantissa, exponent }
    }

    /// The digits, as a signed integer.
    #[must_use]
    pub const fn mantissa(self) -> i64 {
        self.mantissa
    }

    /// The power of ten that the mantissa is multiplied by.
    #[must_use]
    pub const fn exponent(self) -> i8 {
        self.exponent
    }

    /// The same number with the shortest mantissa: no trailing zeros behind the point.
    const fn trimmed(self) -> Self {
        let Self { mut mantissa, mut exponent } = self;
        while exponent < 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            exponent += 1;
        }
        Self { mantissa, exponent }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mantissa, exponent } = self.trimmed();
        if mantissa < 0 {
            f.write_str("-")?;
        }
        let digits = mantissa.unsigned_abs();
        if exponent >= 0 {
            write!(f, "{digits}")?;
            let zeros = if digits == 0 { 0 } else { exponent };
            return (0..zeros).try_for_each(|_| f.write_str("0"));
        }
        let places = usize::from(exponent.unsigned_abs());
        // 10^19 is the largest power below 2^64: with more places than that, all digits stand behind the point.
        let (whole, fraction) = match u32::try_from(places).ok().and_then(|places| 10_u64.checked_pow(places)) {
            Some(scale) => (digits / scale, digits % scale),
            None => (0, digits),
        };
        write!(f, "{whole}.{fraction:0places$}")
    }
}

#[cfg(test)]
mod tests {
    use super::Decimal;
    use std::string::ToString;

    #[test]
    fn a_decimal_is_written_exactly_and_without_needless_zeros() {
        for (mantissa, exponent, text) in [
            (215_000, -4, "21.5"),
            (250_000, -4, "25"),
            (-2_500, -4, "-0.25"),
            (625, -4, "0.0625"),
            (-625, -4, "-0.0625"),
            (0, -3, "0"),
            (0, 3, "0"),
            (100_653_265, -3, "100653.265"),
            (48_100, -9, "0.0000481"),
            (7, 3, "7000"),
            (i64::MIN, 0, "-9223372036854775808"),
            (i64::MIN, -19, "-0.9223372036854775808"),
            (i64::MIN, -21, "-0.009223372036854775808"),
        ] {
            assert_eq!(Decimal::new(mantissa, exponent).to_string(), text);
        }
    }

    #[test]
    fn every_exponent_can_be_written() {
        for exponent in i8::MIN..=i8::MAX {
            let text = Decimal::new(-7, exponent).to_string();
            let value: f64 = text.parse().unwrap();
            let expected: f64 = std::format!("-7e{exponent}").parse().unwrap();
            assert_eq!(value, expected, "{text}");
        }
    }
}
