//! The kinds of value that a configuration holds. Each parses strictly, and its error says what would be right.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A number of bytes: `"512B"`, `"64KiB"`, `"16MiB"`, `"1GiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let right =
            || format!("{text:?} is not a size; write a whole number and a unit: B, KiB, MiB or GiB, as in \"64KiB\"");
        let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(right)?;
        let (number, unit) = text.split_at(at);
        let factor = match unit.trim() {
            "B" => 1_u64,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(right()),
        };
        number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).map(Size).ok_or_else(right)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// The longest length of time, days: a hundred years. Sums and small multiples of such fit wherever times are reckoned with.
const SPAN_DAYS_MAX: u64 = 36_500;

/// A length of time: `"50ms"`, `"10s"`, `"5min"`, `"1h"`, `"7d"`; up to [`SPAN_DAYS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let right = || {
            format!(
                "{text:?} is not a length of time; write a whole number and a unit: ms, s, min, h or d, as in \"50ms\""
            )
        };
        let at = text.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0).ok_or_else(right)?;
        let (number, unit) = text.split_at(at);
        let factor_ms = match unit.trim() {
            "ms" => 1_u64,
            "s" => 1_000,
            "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(right()),
        };
        let ms = number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor_ms));
        let sane = ms.filter(|ms| *ms <= SPAN_DAYS_MAX * 86_400_000);
        let ms = sane.ok_or_else(|| format!("{text:?} is too long a time; write up to \"{SPAN_DAYS_MAX}d\""))?;
        Ok(Self(Duration::from_millis(ms)))
    }
}

/// An IP address and a port to listen on: `"127.0.0.1:1883"`, `"[::]:1883"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listen(pub(crate) SocketAddr);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let right = |_| {
            format!("{text:?} is not an address to listen on; write an IP address and a port, as in \"127.0.0.1:1883\"")
        };
        text.parse().map(Self).map_err(right)
    }
}

/// A text that parses as `T`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text<T>(pub(crate) T);

struct TextVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in double quotes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(PhantomData)).map(Text)
    }
}

macro_rules! from_text {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextVisitor(PhantomData))
            }
        }
    )*};
}

from_text!(Size, Span, Listen);

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whole<const MIN: i64, const MAX: i64>(pub(crate) i64);

struct WholeVisitor<const MIN: i64, const MAX: i64>;

impl<const MIN: i64, const MAX: i64> Visitor<'_> for WholeVisitor<MIN, MAX> {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<i64, E> {
        if (MIN..=MAX).contains(&number) {
            Ok(number)
        } else {
            Err(E::invalid_value(de::Unexpected::Signed(number), &self))
        }
    }
}

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(WholeVisitor::<MIN, MAX>).map(Whole)
    }
}

impl<const MIN: i64, const MAX: i64> Whole<MIN, MAX> {
    /// The number as the type that holds the whole range. A range that does not fit is a mistake in the schema, not in the
    /// configuration; then the largest stands in.
    pub(crate) fn to<T: TryFrom<i64> + Bounded>(self) -> T {
        T::try_from(self.0).unwrap_or(T::MAX)
    }
}

/// Types with a largest value.
pub(crate) trait Bounded {
    const MAX: Self;
}

macro_rules! bounded {
    ($($name:ty),*) => {$(impl Bounded for $name { const MAX: Self = <$name>::MAX; })*};
}

bounded!(u8, u16, u32, u64, usize, i32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print_with_their_unit() {
        for (text, bytes) in
            [("512B", 512), ("64KiB", 65_536), ("16MiB", 16 << 20), ("1GiB", 1 << 30), ("1536KiB", 1536 << 10)]
        {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.0, bytes);
            assert_eq!(size.to_string(), text);
        }
    }

    #[test]
    fn a_size_without_or_with_an_unknown_unit_is_refused_with_the_remedy() {
        for text in ["64", "", "64kb", "-1KiB", "1.5GiB", "99999999999999GiB"] {
            let error = text.parse::<Size>().unwrap_err();
            assert!(error.contains("KiB"), "{text}: {error}");
        }
    }

    #[test]
    fn lengths_of_time_read_with_their_unit() {
        assert_eq!("50ms".parse::<Span>().unwrap().0, Duration::from_millis(50));
        assert_eq!("5min".parse::<Span>().unwrap().0, Duration::from_secs(300));
        assert_eq!("7d".parse::<Span>().unwrap().0, Duration::from_secs(7 * 86_400));
        for text in ["5m", "h", "-1s", "1.5h", ""] {
            assert!(text.parse::<Span>().unwrap_err().contains("min"), "{text}");
        }
    }

    #[test]
    fn no_length_of_time_is_so_long_that_it_could_not_be_reckoned_with() {
        assert_eq!("36500d".parse::<Span>().unwrap().0, Duration::from_secs(36_500 * 86_400));
        // The last but one overflows when it is reckoned in milliseconds, the last is no number that fits.
        for text in
            ["36501d", "6148914691236517206ms", "18446744073709551615ms", "213503982335d", "99999999999999999999s"]
        {
            let error = text.parse::<Span>().unwrap_err();
            assert!(error.contains("36500d"), "{text}: {error}");
        }
    }
}
