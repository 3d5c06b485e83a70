//! RFC 3339 timestamps (UTC, milliseconds): `2023-11-14T22:13:20.500Z`.

use std::fmt;

use crate::WallTime;

const DAY_MS: i64 = 86_400_000;
/// 0000-01-01 00:00 UTC.
const FIRST_MS: i64 = -62_167_219_200_000;
/// 10000-01-01 00:00 UTC.
const END_MS: i64 = 253_402_300_800_000;

/// A time that RFC 3339 can write: of the years 0 to 9999.
#[derive(Debug, Clone, Copy)]
pub struct Rfc3339(i64);

impl Rfc3339 {
    /// `None`: the time lies in no year from 0 to 9999.
    #[must_use]
    pub fn new(time: WallTime) -> Option<Self> {
        (FIRST_MS..END_MS).contains(&time.0).then_some(Self(time.0))
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms) = (self.0.div_euclid(DAY_MS), self.0.rem_euclid(DAY_MS));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
    }
}

/// Year, month and day of a number of days since 1970-01-01 in the Gregorian calendar. Counts from 1 March of the year 0, so
/// that the leap day is a year's last.
const fn civil(days: i64) -> (i64, i64, i64) {
    let since_march_0 = days + 719_468;
    let era = since_march_0.div_euclid(146_097);
    let day_of_era = since_march_0.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + 400 * era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_are_written_as_they_should_be() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_164_799_999, "2024-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (FIRST_MS, "0000-01-01T00:00:00.000Z"),
            (END_MS - 1, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Rfc3339::new(WallTime(ms)).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_time_that_can_not_be_written_is_none() {
        for ms in [FIRST_MS - 1, END_MS, i64::MIN, i64::MAX] {
            assert!(Rfc3339::new(WallTime(ms)).is_none(), "{ms}");
        }
    }

    #[test]
    fn days_follow_one_another_without_a_hole() {
        let mut before = civil(-800_000);
        for days in -799_999..800_000 {
            let now = civil(days);
            let next_day = now == (before.0, before.1, before.2 + 1);
            let next_month = now == (before.0, before.1 + 1, 1) && before.2 >= 28;
            let next_year = now == (before.0 + 1, 1, 1) && (before.1, before.2) == (12, 31);
            assert!(next_day || next_month || next_year, "{before:?} then {now:?}");
            before = now;
        }
    }
}
