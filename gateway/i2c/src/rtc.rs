//! A battery-backed clock on a bus: DS1338 or DS3231 (`lamppost-ds1338`), read and set now and then.

use std::fmt;

use lamppost_ds1338::{ADDRESS, DateTime, Ds1338, Error, Kind};

use crate::bus::{BusError, BusOpener};
use crate::chip::{BusAddress, PollError};

/// A kind of clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RtcChip {
    /// Maxim DS1338; a DS1307 has the same time, and no flag that says whether it had stopped.
    Ds1338,
    /// Maxim DS3231: ±3.5 ppm at most.
    Ds3231,
}

impl fmt::Display for RtcChip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ds1338 => "ds1338",
            Self::Ds3231 => "ds3231",
        })
    }
}

/// Why a clock gave no time, or took none.
#[derive(Debug, thiserror::Error)]
pub enum RtcError {
    /// No bus, or no clock on it that answers.
    #[error(transparent)]
    NoAnswer(PollError),
    /// It answers, and its time is not to be trusted: it was never set, or its oscillator has stopped since, as without battery and supply.
    #[error(transparent)]
    Stopped(PollError),
    /// What it answers is no time, or it can't hold the one that it was to be set to.
    #[error(transparent)]
    NoTime(PollError),
}

/// A clock on its bus. Its time is UTC.
#[derive(Debug, Clone)]
pub struct Rtc {
    opener: BusOpener,
    chip: RtcChip,
}

impl Rtc {
    /// Where such a clock always is.
    pub const ADDRESS: BusAddress = BusAddress(ADDRESS);

    /// A clock. Nothing is opened yet, and the bus is open only while it is asked.
    #[must_use]
    pub const fn new(bus: BusOpener, chip: RtcChip) -> Self {
        Self { opener: bus, chip }
    }

    /// Its time, in seconds since 1970. Blocks for as long as the bus takes.
    ///
    /// # Errors
    /// [`RtcError`]: no bus, no clock, or no time that is to be trusted.
    pub fn read_s(&self) -> Result<u64, RtcError> {
        self.open()?.time().map(DateTime::unix_s).map_err(|error| self.failed(error))
    }

    /// Sets it. Blocks for as long as the bus takes.
    ///
    /// # Errors
    /// [`RtcError`]: no bus, no clock, or a time that it can't hold (it knows the years 2000 to 2199, a DS1338 half of them).
    pub fn set_s(&self, unix_s: u64) -> Result<(), RtcError> {
        let time = DateTime::from_unix_s(unix_s);
        let time = time.ok_or_else(|| RtcError::NoTime(self.says(format!("it can't hold {unix_s} s"))))?;
        self.open()?.set(time).map_err(|error| self.failed(error))
    }

    fn open(&self) -> Result<Ds1338<crate::bus::Bus>, RtcError> {
        let open = |source| RtcError::NoAnswer(PollError::Open { bus: self.opener.to_string(), source });
        let bus = self.opener.open().map_err(open)?;
        let kind = match self.chip {
            RtcChip::Ds1338 => Kind::Ds1338,
            RtcChip::Ds3231 => Kind::Ds3231,
        };
        Ok(Ds1338::new(bus, kind))
    }

    fn failed(&self, error: Error<BusError>) -> RtcError {
        let says = self.says(error.to_string());
        match error {
            Error::Read { .. } | Error::Write { .. } => RtcError::NoAnswer(says),
            Error::Stopped { .. } | Error::Halted => RtcError::Stopped(says),
            Error::Register { .. } | Error::Date | Error::Year { .. } => RtcError::NoTime(says),
        }
    }

    fn says(&self, reason: String) -> PollError {
        PollError::Chip { bus: self.opener.to_string(), address: Self::ADDRESS, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelBus;

    /// 2026-11-23 02:00:00 UTC.
    const AT_S: u64 = 1_795_399_200;

    #[test]
    fn a_clock_is_read_and_set_and_is_not_believed_once_it_has_stopped() {
        for chip in [RtcChip::Ds1338, RtcChip::Ds3231] {
            let bus = ModelBus::new();
            let rtc = Rtc::new(BusOpener::Model(bus.clone()), chip);
            let absent = rtc.read_s().unwrap_err();
            assert!(matches!(absent, RtcError::NoAnswer(_)) && absent.to_string().contains("address 0x68"), "{absent}");
            bus.set_rtc();
            let stopped = rtc.read_s().unwrap_err();
            assert!(matches!(stopped, RtcError::Stopped(_)), "{chip}: {stopped}");
            let said = stopped.to_string();
            assert!(said.contains("has stopped") || said.contains("is halted"), "{chip}: {said}");
            rtc.set_s(AT_S).unwrap();
            assert_eq!(rtc.read_s().unwrap(), AT_S, "{chip}");
            let refused = rtc.set_s(0).unwrap_err();
            assert!(matches!(refused, RtcError::NoTime(_)) && refused.to_string().contains("can't hold 0 s"));
        }
    }
}
