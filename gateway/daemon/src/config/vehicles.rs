//! `[i2c.vehicles]`: how a magnetometer tells vehicles. What is not written is as the detector's own default, but `leave_nt`, which is half of
//! `enter_nt`.

use std::ops::Range;
use std::time::Duration;

use lamppost_i2c::{VehicleSettings, VehicleSettingsError};
use lamppost_units::Microtesla;
use serde::Deserialize;
use toml::Spanned;

use super::Chip;
use super::file::I2c;
use super::problem::Problem;
use super::value::{Span, Whole};

/// A shorter report would be about single vehicles.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// The table, as serde reads it. Up to what the chip can measure, in nanoteslas.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    enter_nt: Option<Spanned<Whole<200, 130_000>>>,
    leave_nt: Option<Spanned<Whole<100, 130_000>>>,
    presence_min: Option<Spanned<Span>>,
    presence_max: Option<Spanned<Span>>,
    gap_min: Option<Spanned<Span>>,
    learn: Option<Spanned<Span>>,
    baseline: Option<Spanned<Span>>,
}

impl Written {
    pub(super) fn convert(&self) -> VehicleSettings {
        let default = VehicleSettings::default();
        let nanotesla = |at: i64| Microtesla::from_nanotesla(i32::try_from(at).unwrap_or(i32::MAX));
        let enter = self.enter_nt.as_ref().map_or(default.enter, |at| nanotesla(at.get_ref().0));
        let leave = match &self.leave_nt {
            Some(at) => nanotesla(at.get_ref().0),
            None => Microtesla::from_nanotesla(enter.nanotesla() / 2),
        };
        let gap_ms_min = ms(&self.gap_min, default.gap_ms_min);
        VehicleSettings {
            enter,
            leave,
            presence_ms_min: ms(&self.presence_min, default.presence_ms_min),
            gap_ms_min,
            presence_ms_max: ms(&self.presence_max, default.presence_ms_max),
            learn_ms: ms(&self.learn, default.learn_ms),
            baseline_ms: ms(&self.baseline, default.baseline_ms),
            silence_ms_max: default.silence_ms_max.min(gap_ms_min),
        }
    }

    /// Where a setting of the detector stands, and its key.
    fn place(&self, setting: &str) -> (Option<Range<usize>>, &'static str) {
        let of = |span: &Option<Spanned<Span>>| span.as_ref().map(Spanned::span);
        match setting {
            "presence_ms_min" => (of(&self.presence_min), "presence_min"),
            "presence_ms_max" => (of(&self.presence_max), "presence_max"),
            "learn_ms" => (of(&self.learn), "learn"),
            "baseline_ms" => (of(&self.baseline), "baseline"),
            // The longest silence follows from it.
            _ => (of(&self.gap_min), "gap_min"),
        }
    }
}

fn ms(span: &Option<Spanned<Span>>, default: u32) -> u32 {
    span.as_ref().map_or(default, |span| u32::try_from(span.get_ref().0.as_millis()).unwrap_or(u32::MAX))
}

/// Only a magnetometer tells vehicles, by settings that a detector can work with, and not more often than they pass.
pub(super) fn check(chip: &I2c, problems: &mut Vec<Problem>) {
    let Some(vehicles) = &chip.vehicles else { return };
    let mut problem = |span, what: String, remedy: &str| problems.push(Problem::at(span, what, remedy));
    if *chip.chip.get_ref() != Chip::Lsm303dlhc {
        problem(vehicles.span(), "only an lsm303dlhc tells vehicles".to_owned(), "remove the table");
        return;
    }
    if chip.every.get_ref().0 < EVERY_MIN {
        let what = "vehicles are reported too often".to_owned();
        problem(
            chip.every.span(),
            what,
            "1s or more; the chip itself is read 71 times a second, whatever is written here",
        );
    }
    let written = vehicles.get_ref();
    match lamppost_i2c::check_vehicles(&written.convert()) {
        Ok(()) => {}
        Err(VehicleSettingsError::Thresholds) => {
            let at = written.leave_nt.as_ref().map_or_else(|| vehicles.span(), Spanned::span);
            let what = "a vehicle that has come could never have left".to_owned();
            problem(at, what, "`leave_nt` below `enter_nt` (3000, if it is not written)");
        }
        Err(VehicleSettingsError::Time { setting, ms_min, ms_max }) => {
            let (at, key) = written.place(setting);
            let what = format!("`{key}` is out of its bounds");
            problem(at.unwrap_or_else(|| vehicles.span()), what, &format!("from {ms_min}ms to {ms_max}ms"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;
    use crate::config::problem::Problems;

    const CHIP: &str =
        "[[i2c]]\nname = \"lane\"\nbus = \"/dev/i2c-1\"\nchip = \"lsm303dlhc\"\naddress = 0x1e\nevery = \"1min\"\n";

    fn told(text: &str) -> Option<VehicleSettings> {
        match parse(text).unwrap().i2c.first().map(|i2c| i2c.chip) {
            Some(lamppost_i2c::Chip::Lsm303dlhc { vehicles }) => vehicles,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_magnetometer_tells_vehicles_where_there_is_a_table_for_it_and_else_reports_the_field() {
        assert_eq!(told(CHIP), None);
        assert_eq!(told(&format!("{CHIP}[i2c.vehicles]\n")), Some(VehicleSettings::default()));
        let nanotesla = Microtesla::from_nanotesla;
        let text = format!("{CHIP}[i2c.vehicles]\nenter_nt = 5000\ngap_min = \"100ms\"\npresence_max = \"5min\"\n");
        let expected = VehicleSettings {
            enter: nanotesla(5_000),
            leave: nanotesla(2_500),
            gap_ms_min: 100,
            silence_ms_max: 100,
            presence_ms_max: 300_000,
            ..VehicleSettings::default()
        };
        assert_eq!(told(&text), Some(expected));
        let text = text.replace("gap_min", "leave_nt = 4000\ngap_min");
        assert_eq!(told(&text), Some(VehicleSettings { leave: nanotesla(4_000), ..expected }));
    }

    #[test]
    fn what_no_vehicle_can_be_told_by_is_shown_with_its_line_and_what_would_be_right() {
        let with = |line: &str| format!("{CHIP}[i2c.vehicles]\n{line}\n");
        let other = CHIP.replace("lsm303dlhc", "tmp105").replace("0x1e", "0x48") + "[i2c.vehicles]\n";
        let cases = [
            (with("leave_nt = 3000"), ":8:12: a vehicle that has come could never have left", "below `enter_nt`"),
            (with("enter_nt = 100"), ":8:12: ", "from 200 to 130000"),
            (with("gap_min = \"20ms\""), ":8:11: `gap_min` is out of its bounds", "from 50ms to 10000ms"),
            (with("gap_min = \"11s\""), ":8:11: `gap_min` is out of its bounds", "from 50ms to 10000ms"),
            (with("presence_min = \"11s\""), ":8:16: `presence_min` is out", "from 0ms to 10000ms"),
            (with("presence_max = \"10ms\""), ":8:16: `presence_max` is out", "from 1000ms to 3600000ms"),
            (with("learn = \"5min\""), ":8:9: `learn` is out", "from 100ms to 60000ms"),
            (with("baseline = \"1000d\""), ":8:12: `baseline` is out", "from 1000ms to 3600000ms"),
            (with("silence = \"1s\""), ":8:1: unknown key `silence`", "silence"),
            (with("").replace("1min", "999ms"), ":6:9: vehicles are reported too often", "1s or more"),
            (CHIP.replace("0x1e", "0x1d"), ":5:11: a lsm303dlhc can't have the address 0x1d", "from 0x1e to 0x1e"),
            (other, "only an lsm303dlhc tells vehicles", "remove the table"),
        ];
        for (text, place, remedy) in cases {
            let shown = Problems::new(Path::new("x.toml"), &text, parse(&text).unwrap_err()).to_string();
            assert!(shown.contains(place) && shown.contains(remedy), "{text}\n{shown}");
        }
    }
}
