//! A rate of bytes, as a link is sold by: `"2 Mbit/s"`, `"250 kB/s"`, `"64 KiB/s"`.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use lamppost_forward::ForwardConfig;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use toml::Spanned;

/// Bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rate(pub(crate) u64);

/// The units, each with its bits a second. Those of links are powers of ten.
const UNITS: [(&str, u64); 9] = [
    ("bit/s", 1),
    ("kbit/s", 1_000),
    ("Mbit/s", 1_000_000),
    ("Gbit/s", 1_000_000_000),
    ("B/s", 8),
    ("kB/s", 8_000),
    ("MB/s", 8_000_000),
    ("KiB/s", 8 << 10),
    ("MiB/s", 8 << 20),
];

/// What no link carries, a terabit a second: a ceiling above it is a mistake in its unit.
const CEILING_MAX: Rate = Rate(125_000_000_000);

/// What is wrong with a ceiling on what goes out: where, what, and what would be right.
pub(super) fn ceiling(rate: &Spanned<Rate>) -> Option<(Range<usize>, String, String)> {
    let (bytes, least) = (rate.get_ref().0, ForwardConfig::BANDWIDTH_MIN);
    if bytes < least {
        let what = format!("a ceiling of {} leaves no room for events", rate.get_ref());
        return Some((rate.span(), what, format!("{} or more, as in \"2 Mbit/s\"", Rate(least))));
    }
    let what = || format!("a ceiling of {} is above any link's speed", rate.get_ref());
    (bytes > CEILING_MAX.0).then(|| (rate.span(), what(), "a lower one; leave `bandwidth_max` out for none".to_owned()))
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let right = || {
            format!(
                "{text:?} is not a rate; write a whole number and a unit: kbit/s, Mbit/s, Gbit/s, B/s, kB/s, MB/s, KiB/s or MiB/s, as in \"2 Mbit/s\""
            )
        };
        let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(right)?;
        let (number, unit) = text.split_at(at);
        let (_, bits) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(right)?;
        number.parse::<u64>().ok().and_then(|n| n.checked_mul(*bits)).map(|bits| Self(bits / 8)).ok_or_else(right)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B/s", self.0)
    }
}

struct RateVisitor;

impl Visitor<'_> for RateVisitor {
    type Value = Rate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in double quotes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Rate, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(RateVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_in_bits_and_in_bytes_and_what_is_none_is_told_how_to_write_one() {
        for (text, bytes) in [
            ("2 Mbit/s", 250_000),
            ("2Mbit/s", 250_000),
            ("512 kbit/s", 64_000),
            ("250 kB/s", 250_000),
            ("64 KiB/s", 65_536),
            ("1 Gbit/s", 125_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Rate(bytes)), "{text}");
        }
        for text in ["2", "2 Mbit", "2 mbit/s", "1.5 Mbit/s", "-1 B/s", "", "99999999999999 Gbit/s"] {
            assert!(text.parse::<Rate>().unwrap_err().contains("Mbit/s"), "{text}");
        }
    }
}
