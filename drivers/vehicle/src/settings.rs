//! What can be set, and within which bounds.

use core::fmt;

use lamppost_units::Microtesla;

/// How to detect. The default suits a sensor in the middle of a lane, sampled 20 to 100 times a second, with noise below 0.4 µT
/// (root mean square, of each axis), and vehicles of 5 to 130 km/h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Settings {
    /// A vehicle may have come when the field is further than this from the baseline. Seven times the noise, at least.
    pub enter: Microtesla,
    /// It may have left when the field is nearer than this. Below `enter`, above 0.
    pub leave: Microtesla,
    /// A vehicle is there for at least this long, 0 to 10,000 ms; what is shorter is counted as a blip.
    pub presence_ms_min: u32,
    /// Between two vehicles at least this long is free, 1 to 10,000 ms. At 14 m/s (50 km/h), 150 ms are 2.1 m.
    pub gap_ms_min: u32,
    /// What has been there for this long is parked: its field becomes the baseline. 1,000 to 3,600,000 ms, longer than a red light.
    pub presence_ms_max: u32,
    /// The baseline is learnt from a field that has been still for this long: 100 to 60,000 ms. Still: no axis moved by more than `enter`.
    pub learn_ms: u32,
    /// The time in which the baseline comes 63 % nearer to a field that stays: 1,000 to 3,600,000 ms.
    pub baseline_ms: u32,
    /// Samples further apart than this are taken for missing ones: nothing is known of the time between. 1 to 10,000 ms, and not above
    /// `gap_ms_min`, which could otherwise not be seen.
    pub silence_ms_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enter: Microtesla::from_nanotesla(3_000),
            leave: Microtesla::from_nanotesla(1_500),
            presence_ms_min: 25,
            gap_ms_min: 150,
            presence_ms_max: 180_000,
            learn_ms: 1_500,
            baseline_ms: 60_000,
            silence_ms_max: 150,
        }
    }
}

/// Why these settings can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingsError {
    /// `leave` is not between 0 and `enter`.
    Thresholds,
    /// A time is out of its bounds.
    Time {
        /// Which setting.
        setting: &'static str,
        /// The least that it may be, in milliseconds.
        ms_min: u32,
        /// The most that it may be, in milliseconds.
        ms_max: u32,
    },
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thresholds => f.write_str("`leave` has to be above 0 and below `enter`"),
            Self::Time { setting, ms_min, ms_max } => write!(f, "`{setting}` has to be {ms_min} to {ms_max} ms"),
        }
    }
}

impl core::error::Error for SettingsError {}

impl Settings {
    /// Whether all of them are within their bounds.
    ///
    /// # Errors
    /// [`SettingsError`] names the first that is not.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.leave.nanotesla() <= 0 || self.leave >= self.enter {
            return Err(SettingsError::Thresholds);
        }
        for (setting, ms, ms_min, ms_max) in [
            ("presence_ms_min", self.presence_ms_min, 0, 10_000),
            ("gap_ms_min", self.gap_ms_min, 1, 10_000),
            ("presence_ms_max", self.presence_ms_max, self.presence_ms_min.max(1_000), 3_600_000),
            ("learn_ms", self.learn_ms, 100, 60_000),
            ("baseline_ms", self.baseline_ms, 1_000, 3_600_000),
            ("silence_ms_max", self.silence_ms_max, 1, self.gap_ms_min),
        ] {
            if !(ms_min..=ms_max).contains(&ms) {
                return Err(SettingsError::Time { setting, ms_min, ms_max });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    #[test]
    fn the_default_is_within_its_own_bounds() {
        assert_eq!(Settings::default().check(), Ok(()));
    }

    #[test]
    fn a_setting_out_of_its_bounds_is_named_with_them() {
        let silent = Settings { silence_ms_max: 151, ..Settings::default() };
        assert_eq!(silent.check().unwrap_err().to_string(), "`silence_ms_max` has to be 1 to 150 ms");
        let eager = Settings { learn_ms: 99, ..Settings::default() };
        assert_eq!(eager.check().unwrap_err().to_string(), "`learn_ms` has to be 100 to 60000 ms");
        for leave in [0, -1, 3_000, i32::MAX] {
            let crossed = Settings { leave: Microtesla::from_nanotesla(leave), ..Settings::default() };
            assert_eq!(crossed.check(), Err(SettingsError::Thresholds), "{leave}");
        }
    }
}
