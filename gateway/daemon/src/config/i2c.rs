//! Where the chips of `[[i2c]]` are: which of them would answer to one address.

use std::collections::BTreeMap;
use std::path::Path;

use super::Chip;
use super::file::I2c;
use super::problem::Problem;
use super::serial::check_device;
use super::vehicles;

/// What stands at an address of a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Behind {
    /// On the bus itself.
    Bus,
    /// Behind a channel of a multiplexer.
    Channel(i64, i64),
}

impl I2c {
    fn behind(&self) -> Behind {
        match (&self.mux, &self.channel) {
            (Some(mux), Some(channel)) => Behind::Channel(mux.get_ref().0, channel.get_ref().0),
            _ => Behind::Bus,
        }
    }
}

/// Two chips never answer to one address, nor a chip and a multiplexer.
pub(super) fn check(chips: &[I2c], problems: &mut Vec<Problem>) {
    let mut places: BTreeMap<(&Path, i64), Vec<Behind>> = BTreeMap::new();
    for chip in chips {
        check_device(&chip.name, problems);
        let mut problem = |span, what: String, remedy: &str| problems.push(Problem::at(span, what, remedy));
        match (&chip.mux, &chip.channel) {
            (Some(mux), None) => {
                problem(mux.span(), "a multiplexer without a channel".to_owned(), "add `channel`, 0 to 7")
            }
            (None, Some(channel)) => {
                problem(channel.span(), "a channel of no multiplexer".to_owned(), "add `mux`, 0x70 to 0x77");
            }
            _ => {}
        }
        check_pressure(chip, chips, problems);
        vehicles::check(chip, problems);
        let mut problem = |span, what: String, remedy: &str| problems.push(Problem::at(span, what, remedy));
        let (address, bus) = (chip.address.get_ref().0, chip.bus.as_path());
        let others = places.entry((bus, address)).or_default();
        let behind = chip.behind();
        if others.iter().any(|other| *other == behind || *other == Behind::Bus || behind == Behind::Bus) {
            let what = format!("a second chip at 0x{address:02x} of {}", bus.display());
            let remedy = "two chips on one bus need different addresses, or different channels of a multiplexer";
            problem(chip.address.span(), what, remedy);
        }
        others.push(behind);
        if chips
            .iter()
            .any(|other| other.bus == chip.bus && other.mux.as_ref().is_some_and(|mux| mux.get_ref().0 == address))
        {
            let what = format!("a multiplexer is at 0x{address:02x} of {}", bus.display());
            problem(chip.address.span(), what, "give one of them another address");
        }
    }
}

/// Only an SCD41 is told the pressure, and only by a barometer.
fn check_pressure(chip: &I2c, chips: &[I2c], problems: &mut Vec<Problem>) {
    let Some(from) = &chip.pressure_from else { return };
    let name = from.get_ref().0.as_str();
    let of = chips.iter().find(|other| other.name.get_ref().0.as_str() == name).map(|other| *other.chip.get_ref());
    if *chip.chip.get_ref() != Chip::Scd41 {
        problems.push(Problem::at(from.span(), "only an scd41 is told the pressure", "remove it"));
    } else if !matches!(of, Some(Chip::Bme280 | Chip::Dps310)) {
        let what = format!("{name:?} is no barometer of [[i2c]]");
        problems.push(Problem::at(from.span(), what, "write the `name` of a bme280 or dps310 of this file"));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::parse;
    use crate::config::problem::Problems;

    fn chip(name: &str, more: &str) -> String {
        format!("[[i2c]]\nname = \"{name}\"\nbus = \"/dev/i2c-1\"\nchip = \"bme280\"\naddress = 0x76\n{more}")
    }

    #[test]
    fn chips_of_one_address_may_be_behind_different_channels() {
        let text = chip("a", "mux = 0x70\nchannel = 0\n")
            + &chip("b", "mux = 0x70\nchannel = 3\n")
            + &chip("c", "mux = 0x71\nchannel = 3\n");
        let muxes: Vec<_> = parse(&text).unwrap().i2c.into_iter().map(|i2c| i2c.mux).collect();
        assert_eq!(muxes, [Some((0x70, 0)), Some((0x70, 3)), Some((0x71, 3))]);
    }

    #[test]
    fn an_scd41_is_told_the_pressure_by_a_barometer_of_this_file() {
        let gas = "[[i2c]]\nname = \"gas\"\nbus = \"/dev/i2c-1\"\nchip = \"scd41\"\naddress = 0x62\n";
        let told = format!("{gas}pressure_from = \"roof\"\n");
        let config = parse(&(told.clone() + &chip("roof", ""))).unwrap();
        assert_eq!(config.i2c[0].pressure_from.as_deref(), Some("roof"));
        let cases = [
            (told.clone(), ":6:17: \"roof\" is no barometer", "dps310"),
            (told.replace("roof", "gas"), ":6:17: \"gas\" is no barometer", "bme280"),
            (
                chip("roof", "") + &chip("b", "pressure_from = \"roof\"\n").replace("0x76", "0x77"),
                ":11:17: only an scd41",
                "remove",
            ),
        ];
        for (text, place, remedy) in cases {
            let shown = Problems::new(Path::new("x.toml"), &text, parse(&text).unwrap_err()).to_string();
            assert!(shown.contains(&format!("x.toml{place}")) && shown.contains(remedy), "{text}\n{shown}");
        }
    }

    #[test]
    fn what_would_answer_to_one_address_is_shown_with_its_line() {
        let behind = "mux = 0x70\nchannel = 3\n";
        let cases = [
            (chip("a", "") + &chip("b", ""), ":10:11: a second chip at 0x76 of /dev/i2c-1", "different addresses"),
            (chip("a", behind) + &chip("b", behind), ":12:11: a second chip at 0x76", "different channels"),
            (chip("a", behind) + &chip("b", ""), ":12:11: a second chip at 0x76", "different"),
            (chip("a/b", ""), ":2:8: can't be part of an address", "without '/'"),
            (chip("a", "mux = 0x76\nchannel = 1\n"), ":5:11: a multiplexer is at 0x76", "another address"),
            (chip("a", "mux = 0x70\n"), ":6:7: a multiplexer without a channel", "0 to 7"),
            (chip("a", "channel = 1\n"), ":6:11: a channel of no multiplexer", "0x70 to 0x77"),
            (chip("a", "mux = 0x70\nchannel = 8\n"), ":7:11: ", "from 0 to 7"),
            (chip("a", "mux = 0x48\nchannel = 1\n"), ":6:7: ", "from 112 to 119"),
        ];
        for (text, place, remedy) in cases {
            let shown = Problems::new(Path::new("x.toml"), &text, parse(&text).unwrap_err()).to_string();
            assert!(shown.contains(&format!("x.toml{place}")) && shown.contains(remedy), "{text}\n{shown}");
        }
    }
}
