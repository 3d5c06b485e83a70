//! A date and a time of day.

use core::fmt;

/// A date of the Gregorian calendar and a time of day, in whatever zone the clock was set to (UTC, as it should be). There is
/// none that does not exist; leap seconds don't.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTime {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

/// The first and the last year that a clock can hold.
pub(crate) const YEARS: core::ops::RangeInclusive<u16> = 2000..=2199;
/// 2000-01-01 in days since 1970-01-01.
const DAYS_TO_2000: u32 = 10_957;

impl DateTime {
    /// A date and a time; `None` if there is no such date or time, or it is not in the years 2000 to 2199.
    #[must_use]
    pub fn new(year: u16, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> Option<Self> {
        let exists = YEARS.contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_in(year, month)).contains(&day)
            && (hour < 24 && minute < 60 && second < 60);
        exists.then_some(Self { year, month, day, hour, minute, second })
    }

    /// The same as seconds since 1970-01-01 00:00:00.
    #[must_use]
    pub fn unix_s(self) -> u64 {
        let years = u32::from(self.year - *YEARS.start());
        // Each fourth is a leap year from 2000 on, but 2100.
        let leap_days = years.div_ceil(4) - u32::from(years > 100);
        let months: u32 = (1..self.month).map(|month| u32::from(days_in(self.year, month))).sum();
        let days = DAYS_TO_2000 + years * 365 + leap_days + months + u32::from(self.day) - 1;
        let minutes = u32::from(self.hour) * 60 + u32::from(self.minute);
        u64::from(days) * 86_400 + u64::from(minutes * 60 + u32::from(self.second))
    }

    /// From seconds since 1970-01-01 00:00:00; `None` if that is not in the years 2000 to 2199.
    #[must_use]
    pub fn from_unix_s(seconds: u64) -> Option<Self> {
        let mut days = u32::try_from(seconds / 86_400).ok()?.checked_sub(DAYS_TO_2000)?;
        let mut years = YEARS;
        let year = years.find(|year| take(&mut days, days_in_year(*year)))?;
        let month = (1..=12).find(|month| take(&mut days, u32::from(days_in(year, *month))))?;
        let of_day = u32::try_from(seconds % 86_400).ok()?;
        let [day, hour, minute, second] = [days + 1, of_day / 3_600, of_day / 60 % 60, of_day % 60];
        Some(Self { year, month, day: small(day), hour: small(hour), minute: small(minute), second: small(second) })
    }

    /// The year, 2000 to 2199.
    #[must_use]
    pub const fn year(self) -> u16 {
        self.year
    }

    /// The month, 1 to 12.
    #[must_use]
    pub const fn month(self) -> u8 {
        self.month
    }

    /// The day of the month, 1 to 31.
    #[must_use]
    pub const fn day(self) -> u8 {
        self.day
    }

    /// The hour, 0 to 23.
    #[must_use]
    pub const fn hour(self) -> u8 {
        self.hour
    }

    /// The minute, 0 to 59.
    #[must_use]
    pub const fn minute(self) -> u8 {
        self.minute
    }

    /// The second, 0 to 59.
    #[must_use]
    pub const fn second(self) -> u8 {
        self.second
    }

    /// The day of the week, 1 (Monday) to 7, as ISO 8601 counts.
    #[must_use]
    pub fn weekday(self) -> u8 {
        // 1970-01-01 was a Thursday.
        small(u32::try_from((self.unix_s() / 86_400 + 3) % 7).unwrap_or(0) + 1)
    }
}

/// Takes a whole span of days off; true if there is none to take.
fn take(days: &mut u32, span: u32) -> bool {
    match days.checked_sub(span) {
        Some(left) => {
            *days = left;
            false
        }
        None => true,
    }
}

/// What is known to be below 60.
fn small(value: u32) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

const fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_in_year(year: u16) -> u32 {
    if is_leap(year) { 366 } else { 365 }
}

const fn days_in(year: u16, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// As RFC 3339 writes it, without a zone.
impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        write!(f, "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::ToString;

    #[test]
    fn known_moments_are_known_seconds() {
        for (text, seconds, weekday) in [
            ("2000-01-01T00:00:00", 946_684_800, 6),
            ("2000-02-29T23:59:59", 951_868_799, 2),
            ("2026-11-22T22:57:00", 1_795_388_220, 7),
            ("2038-01-19T03:14:08", 2_147_483_648, 2),
            ("2099-12-31T23:59:59", 4_102_444_799, 4),
            ("2100-03-01T00:00:00", 4_107_542_400, 1),
            ("2199-12-31T23:59:59", 7_258_118_399, 2),
        ] {
            let moment = DateTime::from_unix_s(seconds).unwrap();
            assert_eq!((moment.to_string().as_str(), moment.weekday()), (text, weekday));
            assert_eq!(moment.unix_s(), seconds);
        }
        for seconds in [0, 946_684_799, 7_258_118_400, u64::MAX] {
            assert_eq!(DateTime::from_unix_s(seconds), None, "{seconds}");
        }
    }

    #[test]
    fn every_day_follows_the_day_before() {
        let mut last = DateTime::from_unix_s(946_684_800).unwrap();
        for day in 1..73_049_u64 {
            let next = DateTime::from_unix_s(946_684_800 + day * 86_400).unwrap();
            assert!(next > last && next.weekday() == last.weekday() % 7 + 1, "{last} {next}");
            assert_eq!(next.unix_s() - last.unix_s(), 86_400);
            let again = DateTime::new(next.year(), next.month(), next.day(), 0, 0, 0);
            assert_eq!(again, Some(next));
            last = next;
        }
        assert_eq!(last.to_string(), "2199-12-31T00:00:00");
    }

    #[test]
    fn what_does_not_exist_is_none() {
        for (year, month, day) in [
            (1999, 12, 31),
            (2200, 1, 1),
            (2026, 0, 1),
            (2026, 13, 1),
            (2026, 2, 29),
            (2100, 2, 29),
            (2026, 4, 31),
            (2026, 1, 0),
        ] {
            assert_eq!(DateTime::new(year, month, day, 0, 0, 0), None, "{year}-{month}-{day}");
        }
        for (hour, minute, second) in [(24, 0, 0), (0, 60, 0), (0, 0, 60)] {
            assert_eq!(DateTime::new(2026, 1, 1, hour, minute, second), None);
        }
    }
}
