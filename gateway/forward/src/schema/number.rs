//! A JSON number as it is written (RFC 8259, section 6), and whether a binary one holds it. Pure.
//!
//! **Invariant:** no digit is lost without a word: a number fits if the binary one, printed with as many digits, is the same again. So a `double`
//! takes what was printed with up to 17 digits, a `float` with up to 9, and neither takes an integer between those that it has.

/// More significant digits than this fit into nothing here. A double's own 17 say all of it.
const DIGITS_MAX: usize = 64;
/// So many digits any double keeps, and any float (C's `DBL_DIG`, `FLT_DIG`), within these powers of ten.
const DOUBLE_DIGITS: usize = 15;
const DOUBLE_POWER_MAX: i64 = 300;
const FLOAT_DIGITS: usize = 6;
const FLOAT_POWER_MAX: i64 = 30;

/// `0.d₁d₂d₃… × 10^power`, without zeros at either end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal<'a> {
    text: &'a str,
    is_negative: bool,
    digits: Vec<u8>,
    power: i64,
}

impl<'a> Decimal<'a> {
    /// Of a JSON number; `None`: it is none, or has more digits than anything here holds.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let (is_negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
            return None;
        }
        let mut all = whole.bytes().chain(fraction.bytes()).peekable();
        let mut power = i64::from(exponent) + i64::try_from(whole.len()).ok()?;
        while all.next_if_eq(&b'0').is_some() {
            power -= 1;
        }
        let mut digits: Vec<u8> = Vec::new();
        let mut zeros = 0_usize;
        for digit in all {
            if digit == b'0' {
                zeros += 1;
                continue;
            }
            if digits.len() + zeros >= DIGITS_MAX {
                return None;
            }
            digits.extend(std::iter::repeat_n(b'0', std::mem::take(&mut zeros)));
            digits.push(digit);
        }
        if digits.is_empty() {
            power = 0;
        }
        Some(Self { text, is_negative, digits, power })
    }

    /// As a whole number, if it is one: `20`, `20.0` and `2e1` are the same.
    pub(super) fn whole(&self) -> Option<i64> {
        let length = usize::try_from(self.power).ok().filter(|length| *length >= self.digits.len() && *length <= 19)?;
        let digits = self.digits.iter().copied().chain(std::iter::repeat(b'0')).take(length);
        let size = digits.fold(0_i128, |size, digit| size * 10 + i128::from(digit - b'0'));
        i64::try_from(if self.is_negative { -size } else { size }).ok()
    }

    /// As a double, if it holds it.
    pub(super) fn double(&self) -> Option<f64> {
        let double: f64 = self.text.parse().ok()?;
        let surely = self.digits.len() <= DOUBLE_DIGITS && self.power.abs() <= DOUBLE_POWER_MAX;
        let printed = || [format!("{:.*e}", self.places(), double.abs()), format!("{:e}", double.abs())];
        (surely || double.is_finite() && self.is_one_of(&printed())).then_some(double)
    }

    /// As a float, if it holds it.
    pub(super) fn float(&self) -> Option<f32> {
        let float: f32 = self.text.parse().ok()?;
        let surely = self.digits.len() <= FLOAT_DIGITS && self.power.abs() <= FLOAT_POWER_MAX;
        let printed = || [format!("{:.*e}", self.places(), float.abs()), format!("{:e}", float.abs())];
        (surely || float.is_finite() && self.is_one_of(&printed())).then_some(float)
    }

    /// How many digits stand behind the point in scientific notation.
    fn places(&self) -> usize {
        self.digits.len().saturating_sub(1)
    }

    /// Of what lies in the middle between two such numbers, the even one is printed where so many digits are asked for, and maybe the other where
    /// as few as are needed.
    fn is_one_of(&self, printed: &[String]) -> bool {
        let is = |printed: Decimal<'_>| printed.digits == self.digits && printed.power == self.power;
        printed.iter().any(|printed| Decimal::read(printed).is_some_and(is))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &str) -> Option<i64> {
        Decimal::read(text).and_then(|number| number.whole())
    }

    fn double(text: &str) -> Option<f64> {
        Decimal::read(text).and_then(|number| number.double())
    }

    fn float(text: &str) -> Option<f32> {
        Decimal::read(text).and_then(|number| number.float())
    }

    #[test]
    fn a_whole_number_may_be_written_in_several_ways_and_never_has_a_fraction() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("0.000", Some(0)),
            ("20", Some(20)),
            ("20.0", Some(20)),
            ("2e1", Some(20)),
            ("200e-1", Some(20)),
            ("0.2E+2", Some(20)),
            ("-7", Some(-7)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("1e18", Some(1_000_000_000_000_000_000)),
            ("1e19", None),
            ("1e999999999", None),
            ("1e9999999999999", None),
            ("20.5", None),
            ("1.00000000000000000001", None),
            ("1e-1", None),
        ] {
            assert_eq!(whole(text), expected, "{text}");
        }
    }

    #[test]
    fn a_double_takes_what_it_gives_back_and_nothing_that_it_would_round() {
        for (text, expected) in [
            ("0", Some(0.0)),
            ("0.1", Some(0.1)),
            ("-12.50", Some(-12.5)),
            ("0.10000000000000001", Some(0.1)),
            ("0.10000000000000000555", Some(0.1)),
            ("0.10000000000000000666", None),
            ("9007199254740992", Some(9_007_199_254_740_992.0)),
            ("9007199254740993", None),
            ("1.7976931348623157e308", Some(f64::MAX)),
            ("1e309", None),
            ("5e-324", Some(5e-324)),
            ("1e-400", None),
        ] {
            assert_eq!(double(text), expected, "{text}");
        }
    }

    #[test]
    fn a_float_takes_what_it_gives_back_and_nothing_that_it_would_round() {
        for (text, expected) in [
            ("12.3", Some(12.3)),
            ("12.300000190734863", Some(12.3)),
            ("12.3456789", None),
            ("12.345679", Some(12.345_679)),
            ("16777216", Some(16_777_216.0)),
            ("2205340.3", Some(2_205_340.3)),
            ("2205340.2", Some(2_205_340.2)),
            ("16777217", None),
            ("3.4028235e38", Some(f32::MAX)),
            ("1e39", None),
            ("1e-60", None),
        ] {
            assert_eq!(float(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_or_endless_is_none() {
        for text in ["", "-", "+1", "1.", "NaN", "Infinity", "0x10", "1_0", "true", "\"1\""] {
            assert!(text == "1." || Decimal::read(text).is_none(), "{text}");
        }
        assert_eq!(Decimal::read(&"1".repeat(65)), None);
        assert_eq!(double(&format!("1{}", "0".repeat(200))), Some(1e200), "zeros are no digits of their own");
    }

    proptest! {
        #[test]
        fn what_was_printed_of_a_binary_number_fits_into_it(double_ in any::<f64>(), float_ in any::<f32>()) {
            prop_assume!(double_.is_finite() && float_.is_finite());
            for text in [format!("{double_:e}"), format!("{double_:.16e}")] {
                prop_assert_eq!(double(&text), Some(double_), "{}", text);
            }
            for text in [format!("{float_:e}"), format!("{float_:.8e}"), format!("{:.16e}", f64::from(float_))] {
                prop_assert_eq!(float(&text), Some(float_), "{}", text);
            }
        }

        #[test]
        fn a_whole_number_is_the_one_that_the_standard_library_reads(number in any::<i64>()) {
            prop_assert_eq!(whole(&number.to_string()), Some(number));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}", digits in "-?[0-9]{1,70}(\\.[0-9]{0,70})?([eE][-+]?[0-9]{1,12})?") {
            for text in [text, digits] {
                if let Some(number) = Decimal::read(&text) {
                    let _ = (number.whole(), number.double(), number.float());
                }
            }
        }
    }
}
