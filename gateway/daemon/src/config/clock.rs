//! `[clock]`: a clock with a battery, for a gateway that starts without a network.

use std::path::PathBuf;

use lamppost_i2c::{Rtc, RtcChip};
use serde::Deserialize;
use toml::Spanned;

use super::file;
use super::problem::Problem;

/// The table, as serde reads it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    bus: Spanned<PathBuf>,
    chip: Spanned<Chip>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Chip {
    Ds1338,
    Ds3231,
}

/// A clock with a battery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Battery {
    pub(crate) bus: PathBuf,
    pub(crate) chip: RtcChip,
}

impl Written {
    /// It stands on the bus itself, where no chip may be at its address, nor a channel be open to one.
    pub(super) fn check(&self, chips: &[file::I2c], problems: &mut Vec<Problem>) {
        for chip in chips.iter().filter(|chip| chip.bus == *self.bus.get_ref()) {
            if chip.address.get_ref().0 == i64::from(Rtc::ADDRESS.0) {
                let what = format!("the clock is at {} of {}, and so is this chip", Rtc::ADDRESS, chip.bus.display());
                problems.push(Problem::at(chip.address.span(), what, "give the chip another address, or another bus"));
            }
        }
    }

    pub(super) fn convert(self) -> Battery {
        let chip = match self.chip.into_inner() {
            Chip::Ds1338 => RtcChip::Ds1338,
            Chip::Ds3231 => RtcChip::Ds3231,
        };
        Battery { bus: self.bus.into_inner(), chip }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;
    use crate::config::problem::Problems;

    const CLOCK: &str = "[clock]\nbus = \"/dev/i2c-1\"\nchip = \"ds3231\"\n";

    #[test]
    fn a_clock_is_a_chip_on_a_bus() {
        let battery = parse(CLOCK).unwrap().battery;
        assert_eq!(battery, Some(Battery { bus: "/dev/i2c-1".into(), chip: RtcChip::Ds3231 }));
        assert_eq!(parse("").unwrap().battery, None);
    }

    #[test]
    fn what_can_not_be_a_clock_or_stands_in_its_place_is_shown_with_its_line() {
        let ina226 =
            "[[i2c]]\nname = \"m\"\nbus = \"/dev/i2c-1\"\nchip = \"ina226\"\nshunt_uohm = 100\naddress = 0x44\n";
        let taken = CLOCK.to_owned()
            + &ina226.replace("ina226", "dps310").replace("shunt_uohm = 100\n", "").replace("0x44", "0x68");
        let cases = [
            (CLOCK.replace("ds3231", "ds1307"), ":3:8: unknown value `ds1307`", "ds1338"),
            (CLOCK.replace("chip = \"ds3231\"\n", ""), ":1:1: missing key `chip`", "add it"),
            (taken, ":8:11: the clock is at 0x68 of /dev/i2c-1", "another bus"),
        ];
        for (text, place, remedy) in cases {
            let shown = Problems::new(Path::new("x.toml"), &text, parse(&text).unwrap_err()).to_string();
            assert!(shown.contains(&format!("x.toml{place}")) && shown.contains(remedy), "{text}\n{shown}");
        }
    }
}
