//! A magnetometer that watches a lane: read 71 times a second, between polls too, and what drove past told at each poll.
//!
//! | measure | unit | what it is, since the report before |
//! |---|---|---|
//! | `vehicles` | `count` | vehicles whose passage ended |
//! | `vehicles_short`, `vehicles_medium`, `vehicles_long` | `count` | those of them that could be classed by length; the rest could not |
//! | `occupancy` | `/` | for what share of the watched time a vehicle was there; not reported of no watched time |
//! | `watched` | `/` | for what share of all time it is known whether one was there |
//!
//! Invariants:
//! - What was counted is reported once: a report that fails takes nothing away from the next one.
//! - Of a time that nothing is known of, nothing is reported: no vehicle seen is not the same as none there.
//! - A chip that fails is set up anew: at once, before the detector misses it, and then each second. The detector outlives it, and takes the samples
//!   between for missing ones. A single transfer that fails costs three samples.
//! - A chip that answers and measures nothing new has failed: after a reset it sleeps.
//! - Nothing waits here, and no clock is read: the time is handed in, and a chip that was set up is looked at when its first result is due.

use std::time::Duration;

use lamppost_lsm303dlhc::{Error, Lsm303dlhc, OutputError, Range, Rate};
use lamppost_units::{Decimal, Unit};
use lamppost_vehicle::{
    Detector, Event, Field, LengthClass, Lengths, Look, Millis, Pace, Permille, Sample, Settings, SettingsError,
};
use tokio::time::Instant;

use crate::bus::{Bus, BusError, BusOpener};
use crate::payload::Measured;
use crate::station::said;

/// What is reported.
pub(crate) const MEASURES: [&str; 6] =
    ["vehicles", "vehicles_short", "vehicles_medium", "vehicles_long", "occupancy", "watched"];
const CLASSES: [(&str, LengthClass); 3] = [
    ("vehicles_short", LengthClass::Short),
    ("vehicles_medium", LengthClass::Medium),
    ("vehicles_long", LengthClass::Long),
];
const RATE: Rate = Rate::Hz75;
/// The shortest gap that can be seen at that interval, on a machine that has other things to do.
const GAP_MS_MIN: u32 = 50;
/// The detector's own.
const GAP_MS_MAX: u32 = 10_000;
/// How much longer than a baseline takes to be learnt nothing may be known.
const UNKNOWN_MAX: Duration = Duration::from_secs(10);

/// Whether vehicles can be told by such settings, at the interval at which a chip is read here.
///
/// # Errors
/// [`SettingsError`] names the first setting that is out of its bounds.
pub fn check(settings: &Settings) -> Result<(), SettingsError> {
    // Before the detector's own bounds, which are wider.
    if !(GAP_MS_MIN..=GAP_MS_MAX).contains(&settings.gap_ms_min) {
        return Err(SettingsError::Time { setting: "gap_ms_min", ms_min: GAP_MS_MIN, ms_max: GAP_MS_MAX });
    }
    settings.check()
}

pub(crate) fn detector(settings: Settings) -> Result<Detector, SettingsError> {
    check(&settings)?;
    Detector::new(settings)
}

/// How long after it was set up a magnetometer has its first result: 27 ms.
const SETTLES_MS: u32 = (2 * RATE.interval_us()).div_ceil(1_000);
/// The same.
pub(crate) const SETTLES: Duration = Duration::from_millis(SETTLES_MS as u64);
/// How long it may be without a new result: it was reset otherwise, or hangs.
pub(crate) const SILENT_MS_MAX: u32 = 100;

/// Sets a magnetometer up, whose first result is there after [`SETTLES`].
pub(crate) fn magnetometer(bus: Bus) -> Result<Lsm303dlhc<Bus>, Error<BusError>> {
    Lsm303dlhc::new(bus, Range::Gauss1_3, RATE)
}

/// A lane, and the chip that watches it.
pub(crate) struct Lane {
    opener: BusOpener,
    chip: Option<Lsm303dlhc<Bus>>,
    began: Instant,
    /// When it is looked at, once it was.
    pace: Option<Pace>,
    /// What the chip said last, if it failed.
    failing: Option<String>,
    watch: Watch,
}

impl Lane {
    /// A lane that is watched from the first report on. No time before `began` is handed in.
    pub(crate) fn new(opener: BusOpener, detector: Detector, began: Instant) -> Self {
        Self { opener, chip: None, began, pace: None, failing: None, watch: Watch::new(detector) }
    }

    /// When the next sample is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.pace.map(|pace| self.began + Duration::from_millis(pace.due().0))
    }

    /// Takes the sample that is due. An error is what bus or driver says.
    pub(crate) fn look(&mut self, now: Instant) -> Result<(), String> {
        let now = self.since_it_began(now);
        let mut pace = self.pace.unwrap_or_else(|| Pace::starting(now));
        let sampled = self.sample(&pace);
        // A single fault is mended before a vehicle that stands there is lost sight of, and before anyone has to know.
        let is_first = !pace.is_failing();
        pace.looked(now, sampled.as_ref().map_or(Look::Failed, |(look, _)| *look));
        self.pace = Some(pace);
        match sampled {
            Ok((_, None)) => Ok(()),
            Ok((_, Some(sample))) => {
                self.failing = None;
                self.watch.take(now, sample);
                Ok(())
            }
            Err(reason) => {
                (self.chip, self.failing) = (None, Some(reason.clone()));
                if is_first { Ok(()) } else { Err(reason) }
            }
        }
    }

    /// What is known since the last report; nothing, while the baseline is learnt.
    pub(crate) fn report(&mut self, now: Instant) -> Result<Vec<Measured>, String> {
        if self.pace.is_none() {
            self.look(now)?;
        }
        match (self.watch.report(self.since_it_began(now)), &self.failing) {
            (Ok(measured), _) => Ok(measured),
            (Err(_), Some(reason)) => Err(reason.clone()),
            (Err(reason), None) => reason.map_or_else(|| Ok(Vec::new()), Err),
        }
    }

    /// What a look at the chip brings, and the sample, if it is one.
    fn sample(&mut self, pace: &Pace) -> Result<(Look, Option<Sample>), String> {
        let Some(chip) = &mut self.chip else {
            let bus = self.opener.open().map_err(said)?;
            self.chip = Some(magnetometer(bus).map_err(said)?);
            return Ok((Look::SetUp(SETTLES_MS), None));
        };
        match chip.take() {
            Ok(Some(field)) => Ok((Look::Result, Some(Sample::Field(Field::new(field.x, field.y, field.z))))),
            Ok(None) if pace.stands_still() => Err(said(Error::<BusError>::NothingNew)),
            Ok(None) => Ok((Look::NothingNew, None)),
            Err(Error::Output(OutputError::Saturated { .. })) => Ok((Look::Result, Some(Sample::Saturated))),
            Err(error) => Err(said(error)),
        }
    }

    fn since_it_began(&self, now: Instant) -> Millis {
        Millis(u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX))
    }
}

/// What has been seen. No clock: times are handed in.
struct Watch {
    detector: Detector,
    /// The last sample was beyond the chip's range.
    is_saturated: bool,
    lengths: Lengths,
    /// How many of each of [`CLASSES`] passed since the last report.
    classes: [u32; CLASSES.len()],
    /// Until when it was reported, or the beginning.
    reported: Millis,
}

impl Watch {
    fn new(detector: Detector) -> Self {
        Self {
            detector,
            is_saturated: false,
            lengths: Lengths::default(),
            classes: [0; CLASSES.len()],
            reported: Millis(0),
        }
    }

    fn take(&mut self, now: Millis, sample: Sample) {
        self.is_saturated = matches!(sample, Sample::Saturated);
        if let Some(Event::Passed(passage)) = self.detector.observe(now, sample) {
            let class = self.lengths.classify(&passage);
            let counts = self.classes.iter_mut().zip(CLASSES);
            counts.filter(|(_, (_, of))| *of == class).for_each(|(count, _)| *count = count.saturating_add(1));
        }
    }

    /// What happened since the last report. Where nothing is known of that time, an error: with words if that has lasted too long.
    fn report(&mut self, now: Millis) -> Result<Vec<Measured>, Option<String>> {
        let summary = self.detector.summarize(now);
        let Some(vehicles) = summary.known_count() else { return Err(self.unknown(now)) };
        let since_ms = now.since_ms(std::mem::replace(&mut self.reported, now));
        let count = |measure, count: u32| Measured { measure, value: Decimal::new(count.into(), 0), unit: Unit::Count };
        let share = |measure, share: Permille| Measured {
            measure,
            value: Decimal::new(share.get().into(), -3),
            unit: Unit::Ratio,
        };
        let classes = CLASSES.iter().zip(std::mem::take(&mut self.classes));
        let mut report = vec![count("vehicles", vehicles)];
        report.extend(classes.map(|((measure, _), passed)| count(measure, passed)));
        report.extend(summary.occupancy().map(|occupancy| share("occupancy", occupancy)));
        let watched = Permille::of(summary.watched_ms(), since_ms);
        report.extend(watched.map(|watched| share("watched", watched)));
        Ok(report)
    }

    fn unknown(&self, now: Millis) -> Option<String> {
        let unknown_max = UNKNOWN_MAX.as_millis() + u128::from(self.detector.settings().learn_ms);
        let lasted = u128::from(now.since_ms(self.reported));
        (lasted > unknown_max).then(|| {
            if self.is_saturated {
                return "LSM303DLHC: the field is beyond its range: no vehicle can be told from it".to_owned();
            }
            format!(
                "LSM303DLHC: the field was never still for {} ms, within {} on each axis: no vehicle can be told from it",
                self.detector.settings().learn_ms,
                self.detector.settings().enter
            )
        })
    }
}

#[cfg(test)]
mod tests;
