//! Times on the command line and in what is printed: RFC 3339, read with any offset, written in UTC.

use lamppost_event::WallTime;
use toml::value::{Datetime, Offset};

/// Reads a time with its offset, to the millisecond.
pub(crate) fn parse(text: &str) -> Result<WallTime, String> {
    let right = || {
        format!(
            "{text:?} is not a time; write date, time and offset (RFC 3339), as in 2026-03-02T06:00:00Z or 2026-03-02T07:00:00+01:00"
        )
    };
    let Ok(Datetime { date: Some(date), time: Some(time), offset: Some(offset) }) = text.parse() else {
        return Err(right());
    };
    let offset_minutes = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let days = days_since_1970(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let minutes = i64::from(time.hour) * 60 + i64::from(time.minute) - offset_minutes;
    // A leap second is the first of the next minute, as in the clock that stamped the events.
    let seconds = i64::from(time.second.unwrap_or(0));
    let ms = i64::from(time.nanosecond.unwrap_or(0) / 1_000_000);
    Ok(WallTime(((days * 1_440 + minutes) * 60 + seconds) * 1_000 + ms))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years begin in March, so that the leap day is the last of one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The time in UTC, to the millisecond.
pub(crate) fn show(time: WallTime) -> String {
    let (days, ms) = (time.0.div_euclid(86_400_000), time.0.rem_euclid(86_400_000));
    let from_march_of_year_0 = days + 719_468;
    let (era, of_era) = (from_march_of_year_0.div_euclid(146_097), from_march_of_year_0.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_offset_and_written_in_utc() {
        for (text, ms, shown) in [
            ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00.000Z"),
            ("2026-03-02T07:00:00+01:00", 1_772_431_200_000, "2026-03-02T06:00:00.000Z"),
            ("2024-02-29T23:59:59.999Z", 1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            ("1969-12-31T23:59:59.5Z", -500, "1969-12-31T23:59:59.500Z"),
            ("2000-03-01 00:00:00-00:30", 951_870_600_000, "2000-03-01T00:30:00.000Z"),
        ] {
            assert_eq!(parse(text), Ok(WallTime(ms)), "{text}");
            assert_eq!(show(WallTime(ms)), shown);
        }
    }

    #[test]
    fn every_day_of_nine_hundred_years_survives_the_way_there_and_back() {
        for day in -150_000..180_000_i64 {
            let time = WallTime(day * 86_400_000);
            assert_eq!(parse(&show(time)), Ok(time));
        }
    }

    #[test]
    fn a_time_without_its_offset_is_refused_with_what_would_be_right() {
        for wrong in ["", "noon", "2026-03-02", "06:00:00", "2026-03-02T06:00:00", "2026-02-30T06:00:00Z"] {
            assert!(parse(wrong).unwrap_err().contains("2026-03-02T06:00:00Z"), "{wrong}");
        }
    }
}
