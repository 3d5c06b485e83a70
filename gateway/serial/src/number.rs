//! Numbers as text, exactly: what a device wrote is what is stored, and a scale multiplies decimally, without a float on the way.

use std::fmt;
use std::str::FromStr;

/// The longest number that is taken from a device, bytes.
const NUMBER_BYTES_MAX: usize = 64;
/// How far an exponent may lie from zero where a number is scaled.
const EXPONENT_MAX: i32 = 40;

/// What a value is multiplied by: an exact decimal, such as 0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Factor(Decimal);

/// `mantissa` times ten to `exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decimal {
    mantissa: i128,
    exponent: i32,
}

/// Why a text is no number that can be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Not a decimal number.
    #[error("{0:?} is not a number")]
    NotOne(String),
    /// Too many digits to be multiplied exactly.
    #[error("{0} has too many digits to be scaled exactly")]
    TooLong(String),
}

impl FromStr for Factor {
    type Err = NumberError;

    fn from_str(text: &str) -> Result<Self, NumberError> {
        let number = json_number(text)?;
        let decimal = parse(&number).filter(|decimal| decimal.mantissa != 0);
        decimal.map(Self).ok_or_else(|| NumberError::NotOne(shown(text)))
    }
}

impl Factor {
    /// `number` (one of JSON) times this.
    pub(crate) fn times(self, number: &str) -> Result<String, NumberError> {
        let too_long = || NumberError::TooLong(shown(number));
        let value = parse(number).ok_or_else(too_long)?;
        let mantissa = value.mantissa.checked_mul(self.0.mantissa).ok_or_else(too_long)?;
        let exponent = value.exponent + self.0.exponent;
        if exponent.abs() > EXPONENT_MAX {
            return Err(too_long());
        }
        let negative = number.starts_with('-') != (self.0.mantissa < 0);
        Ok(plain(mantissa.unsigned_abs(), exponent, negative))
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&plain(self.0.mantissa.unsigned_abs(), self.0.exponent, self.0.mantissa < 0))
    }
}

/// The JSON number (RFC 8259, section 6) that `text` writes: digits stay as they are; a plus sign and zeros in front go, and a
/// point has a digit on both sides (`+007.50` is `7.50`, `.5` is `0.5`).
pub(crate) fn json_number(text: &str) -> Result<String, NumberError> {
    let not_one = || NumberError::NotOne(shown(text));
    if text.len() > NUMBER_BYTES_MAX {
        return Err(not_one());
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, exponent) = rest.find(['e', 'E']).map_or((rest, ""), |at| rest.split_at(at));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let has_digits = !(whole.is_empty() && fraction.is_empty());
    if !has_digits || !all_digits(whole) || !all_digits(fraction) || !is_exponent(exponent) {
        return Err(not_one());
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let point = if fraction.is_empty() { "" } else { "." };
    Ok(format!("{sign}{whole}{point}{fraction}{exponent}"))
}

/// Empty, or `e` with a sign or none, and digits.
fn is_exponent(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(['e', 'E']) else { return text.is_empty() };
    let digits = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A JSON number, if its digits fit.
fn parse(number: &str) -> Option<Decimal> {
    let (digits, exponent) = number.find(['e', 'E']).map_or((number, "0"), |at| {
        let (digits, exponent) = number.split_at(at);
        (digits, exponent.get(1..).unwrap_or_default())
    });
    let exponent: i32 = exponent.parse().ok().filter(|exponent: &i32| exponent.abs() <= EXPONENT_MAX)?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    Some(Decimal { mantissa, exponent: exponent - i32::try_from(fraction.len()).ok()? })
}

/// Without an exponent; zeros at the end of a fraction stay: they say how exactly was measured.
fn plain(mantissa: u128, exponent: i32, negative: bool) -> String {
    let sign = if negative && mantissa != 0 { "-" } else { "" };
    let places = usize::try_from(exponent.unsigned_abs()).unwrap_or(0);
    if exponent >= 0 {
        let zeros = if mantissa == 0 { 0 } else { places };
        return format!("{sign}{mantissa}{}", "0".repeat(zeros));
    }
    let padded = format!("{mantissa:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    format!("{sign}{whole}.{fraction}")
}

/// The beginning of a text from outside, for a message.
pub(crate) fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 40;
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_keeps_its_digits_and_becomes_one_of_json() {
        let cases = [
            ("12.30", "12.30"),
            ("+007.50", "7.50"),
            (".5", "0.5"),
            ("-5.", "-5"),
            ("-0.0", "-0.0"),
            ("000", "0"),
            ("1e-3", "1e-3"),
            ("0.1234567890123456789012345678901234567890", "0.1234567890123456789012345678901234567890"),
        ];
        for (written, json) in cases {
            assert_eq!(json_number(written).unwrap(), json);
            assert!(serde_json::from_str::<f64>(json).is_ok(), "{json}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "-", ".", "1.2.3", "1,5", "0x10", "NaN", "inf", "1e", "1e+", " 1", "१", "--1"] {
            assert!(json_number(text).is_err(), "{text:?}");
        }
        assert!(json_number(&"1".repeat(65)).is_err());
    }

    #[test]
    fn a_scale_multiplies_exactly() {
        let cases = [
            ("215", "0.1", "21.5"),
            ("12.30", "0.1", "1.230"),
            ("-7", "0.001", "-0.007"),
            ("3", "100", "300"),
            ("1.5e3", "0.1", "150"),
            ("0", "0.01", "0.00"),
            ("9007199254740993", "0.1", "900719925474099.3"),
            ("-2", "-0.5", "1.0"),
        ];
        for (number, scale, product) in cases {
            assert_eq!(scale.parse::<Factor>().unwrap().times(number).unwrap(), product, "{number} times {scale}");
        }
    }

    #[test]
    fn a_product_that_can_not_be_exact_is_an_error_and_zero_is_no_scale() {
        let tenth: Factor = "0.1".parse().unwrap();
        assert!(matches!(tenth.times(&"9".repeat(60)), Err(NumberError::TooLong(_))));
        assert!(tenth.times("1e40").is_ok());
        assert!(matches!(tenth.times("1e400"), Err(NumberError::TooLong(_))));
        assert!("0".parse::<Factor>().is_err() && "x".parse::<Factor>().is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_taken_is_json(text in "[-+0-9.eE]{0,12}|\\PC{0,80}") {
            if let Ok(json) = json_number(&text) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok() || text.contains(['e', 'E']), "{json}");
                let scaled = "0.25".parse::<Factor>().unwrap().times(&json);
                prop_assert!(scaled.is_err() || serde_json::from_str::<serde_json::Value>(&scaled.unwrap()).is_ok());
            }
        }
    }
}
