//! Scaled integers as exact decimals: 21500 at scale -3 is `21.5`, without a float on the way.

use lamppost_wire::{Scale, Value};

/// `value` times ten to `scale`, as a JSON number (RFC 8259, section 6). No exponent, no zeros at the end of a fraction.
pub(crate) fn decimal(value: Value, scale: Scale) -> String {
    let digits = value.0.unsigned_abs().to_string();
    let sign = if value.0 < 0 { "-" } else { "" };
    let places = usize::from(scale.0.unsigned_abs());
    if value.0 == 0 {
        return "0".to_owned();
    }
    if scale.0 >= 0 {
        return format!("{sign}{digits}{}", "0".repeat(places));
    }
    // At least one digit stands before the point.
    let padded = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_scaled_integer_is_rendered_exactly() {
        let cases = [
            (21_500, -3, "21.5"),
            (-10_500, -3, "-10.5"),
            (5, -3, "0.005"),
            (-5, -1, "-0.5"),
            (21_000, -3, "21"),
            (0, -3, "0"),
            (0, 5, "0"),
            (42, 0, "42"),
            (42, 3, "42000"),
            (i64::MIN, -3, "-9223372036854775.808"),
            (i64::MAX, -19, "0.9223372036854775807"),
        ];
        for (value, scale, text) in cases {
            assert_eq!(decimal(Value(value), Scale(scale)), text);
        }
    }

    proptest! {
        #[test]
        fn every_rendering_is_a_json_number_of_the_same_value(value in any::<i64>(), scale in any::<i8>()) {
            let text = decimal(Value(value), Scale(scale));
            let number: f64 = serde_json::from_str(&text).unwrap();
            let expected = value as f64 * 10_f64.powi(i32::from(scale));
            prop_assert!((number - expected).abs() <= expected.abs() * 1e-12, "{text}");
        }
    }
}
