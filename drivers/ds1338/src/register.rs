//! What can be addressed, and how the registers hold a time.

use core::fmt;

use crate::DateTime;

/// Which clock it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// DS1338: years 2000 to 2099, and a bit that halts it.
    Ds1338,
    /// DS3231: years 2000 to 2199 (the chip itself takes 2100 for a leap year).
    Ds3231,
}

impl Kind {
    /// The register with the oscillator stop flag, and the flag.
    pub(crate) const fn stop_flag(self) -> (Register, u8) {
        match self {
            Self::Ds1338 => (Register::Control, 1 << 5),
            Self::Ds3231 => (Register::Status, 1 << 7),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Ds1338 => "DS1338",
            Self::Ds3231 => "DS3231",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A register of the chip (DS1338: table 3, "RTC and RAM Address Map"; DS3231: figure 1, "Timekeeping Registers").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// Seconds; in DS1338 with the bit CH, which halts the clock.
    Seconds,
    /// Minutes.
    Minutes,
    /// Hours, of 12 or 24.
    Hours,
    /// Day of the month.
    Date,
    /// Month; in DS3231 with the century.
    Month,
    /// Year of the century.
    Year,
    /// DS1338's control register.
    Control,
    /// DS3231's status register.
    Status,
}

impl Register {
    /// Its address in the chip.
    #[must_use]
    pub const fn address(self) -> u8 {
        match self {
            Self::Seconds => 0x00,
            Self::Minutes => 0x01,
            Self::Hours => 0x02,
            Self::Date => 0x04,
            Self::Month => 0x05,
            Self::Year => 0x06,
            Self::Control => 0x07,
            Self::Status => 0x0f,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Minutes => "minutes",
            Self::Hours => "hours",
            Self::Date => "date",
            Self::Month => "month",
            Self::Year => "year",
            Self::Control => "control",
            Self::Status => "status",
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02x})", self.name(), self.address())
    }
}

/// Set in seconds: DS1338 is halted (CH).
pub(crate) const HALTED: u8 = 1 << 7;
const TWELVE_HOURS: u8 = 1 << 6;
const AFTERNOON: u8 = 1 << 5;
const CENTURY: u8 = 1 << 7;

/// Why the registers hold no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoTime {
    /// One can't hold what it holds.
    Register(Register, u8),
    /// There is no such date.
    Date,
}

/// Registers 0x00 to 0x06 as a time. The day of the week is not looked at: what it means is the user's affair.
pub(crate) fn decode(kind: Kind, registers: [u8; 7]) -> Result<DateTime, NoTime> {
    let [seconds, minutes, hours, _, date, month, year] = registers;
    let within = |register, found: u8, mask: u8, range: core::ops::RangeInclusive<u8>| {
        let value = from_bcd(found & mask).filter(|value| range.contains(value) && found & !mask == 0);
        value.ok_or(NoTime::Register(register, found))
    };
    let century = if kind == Kind::Ds3231 { month & CENTURY } else { 0 };
    let second = within(Register::Seconds, seconds, 0x7f, 0..=59)?;
    let minute = within(Register::Minutes, minutes, 0x7f, 0..=59)?;
    let hour = decode_hours(hours).ok_or(NoTime::Register(Register::Hours, hours))?;
    let day = within(Register::Date, date, 0x3f, 1..=31)?;
    let month = within(Register::Month, month & !century, 0x1f, 1..=12)?;
    let year = within(Register::Year, year, 0xff, 0..=99)?;
    let year = 2_000 + u16::from(year) + if century == 0 { 0 } else { 100 };
    DateTime::new(year, month, day, hour, minute, second).ok_or(NoTime::Date)
}

fn decode_hours(hours: u8) -> Option<u8> {
    if hours & TWELVE_HOURS == 0 {
        return from_bcd(hours).filter(|hour| *hour < 24);
    }
    let hour = from_bcd(hours & 0x1f).filter(|hour| (1..=12).contains(hour) && hours & 0x80 == 0)?;
    Some(hour % 12 + if hours & AFTERNOON == 0 { 0 } else { 12 })
}

/// A time as registers 0x00 to 0x06, of 24 hours, running; `None` if the clock has no such year.
pub(crate) fn encode(kind: Kind, time: DateTime) -> Option<[u8; 7]> {
    let year = time.year().checked_sub(2_000)?;
    let century = match (kind, year) {
        (_, 0..=99) => 0,
        (Kind::Ds3231, 100..=199) => CENTURY,
        _ => return None,
    };
    let year = u8::try_from(year % 100).ok()?;
    Some([
        to_bcd(time.second()),
        to_bcd(time.minute()),
        to_bcd(time.hour()),
        time.weekday(),
        to_bcd(time.day()),
        to_bcd(time.month()) | century,
        to_bcd(year),
    ])
}

/// `None` if a half is not a digit.
fn from_bcd(bcd: u8) -> Option<u8> {
    let (tens, ones) = (bcd >> 4, bcd & 0xf);
    (tens < 10 && ones < 10).then_some(tens * 10 + ones)
}

const fn to_bcd(value: u8) -> u8 {
    ((value / 10) << 4) | (value % 10)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::ToString;

    #[test]
    fn hours_of_twelve_and_of_twenty_four_are_the_same() {
        for (of_12, of_24, hour) in
            [(0x52, 0x00, 0), (0x41, 0x01, 1), (0x51, 0x11, 11), (0x72, 0x12, 12), (0x61, 0x13, 13), (0x71, 0x23, 23)]
        {
            assert_eq!((decode_hours(of_12), decode_hours(of_24)), (Some(hour), Some(hour)), "{of_12:#04x}");
        }
        for wrong in [0x24, 0x0a, 0x40, 0x53, 0x73, 0x80, 0xc1, 0x4a] {
            assert_eq!(decode_hours(wrong), None, "{wrong:#04x}");
        }
    }

    #[test]
    fn every_value_of_every_register_is_a_time_or_names_the_register() {
        let good = [0x59, 0x58, 0x23, 0x03, 0x28, 0x02, 0x26];
        let named = [
            Some(Register::Seconds),
            Some(Register::Minutes),
            Some(Register::Hours),
            None,
            Some(Register::Date),
            Some(Register::Month),
            Some(Register::Year),
        ];
        let mut times = 0;
        for (at, named) in named.into_iter().enumerate() {
            for value in 0..=u8::MAX {
                let mut registers = good;
                registers[at] = value;
                match decode(Kind::Ds1338, registers) {
                    Ok(_) => times += 1,
                    Err(NoTime::Register(register, found)) => assert_eq!((Some(register), found), (named, value)),
                    Err(NoTime::Date) => assert!(matches!((at, value), (4, 0x29..=0x31)), "{at} {value:#04x}"),
                }
            }
        }
        // 60 seconds, 60 minutes, 24 + 24 hours, any day of the week, 28 days, 12 months, 100 years.
        assert_eq!(times, 60 + 60 + 48 + 256 + 28 + 12 + 100);
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        for kind in [Kind::Ds1338, Kind::Ds3231] {
            for seconds in (946_684_800..4_102_444_800_u64).step_by(8_640_017) {
                let time = DateTime::from_unix_s(seconds).unwrap();
                assert_eq!(decode(kind, encode(kind, time).unwrap()), Ok(time));
            }
        }
    }

    #[test]
    fn the_century_is_the_months_upper_bit_where_there_is_one() {
        let registers = [0x00, 0x00, 0x00, 0x05, 0x01, 0x81, 0x00];
        assert_eq!(decode(Kind::Ds3231, registers).unwrap().to_string(), "2100-01-01T00:00:00");
        assert_eq!(decode(Kind::Ds1338, registers), Err(NoTime::Register(Register::Month, 0x81)));
        let time = DateTime::new(2100, 1, 1, 0, 0, 0).unwrap();
        assert_eq!(encode(Kind::Ds3231, time), Some(registers));
        assert_eq!(encode(Kind::Ds1338, time), None);
    }
}
