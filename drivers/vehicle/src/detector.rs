//! The state machine. Invariants: the baseline moves only in [`Phase::Free`]; every passage given out was counted, once, and every
//! one counted was given out; a passage lasts at least `presence_ms_min` and at most `presence_ms_max` and a sample.

use lamppost_units::Microtesla;

use crate::baseline::{Baseline, Shift, Stillness};
use crate::field::squared;
use crate::summary::Tally;
use crate::{End, Event, Field, Millis, Passage, Sample, Settings, SettingsError, Summary};

/// What the detector is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Learning the baseline: vehicles are not seen.
    Learning,
    /// No vehicle is there.
    Free,
    /// A vehicle is there, or it is not decided yet.
    Occupied,
}

/// Counts vehicles. About 300 bytes.
#[derive(Debug, Clone)]
pub struct Detector {
    settings: Settings,
    state: State,
    /// The baseline without the vehicle that is parked, if one is.
    without_parked: Option<Baseline>,
    last_sample: Option<Millis>,
    tally: Option<Tally>,
    count: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Learning(Stillness),
    Free(Baseline),
    Occupied(Baseline, Presence),
}

/// A detection that has not ended.
#[derive(Debug, Clone, Copy)]
struct Presence {
    from: Millis,
    /// The last sample above `leave`.
    to: Millis,
    peak_squared: u64,
    saturated: bool,
    /// Since when the field is as it was before the parked vehicle came.
    as_before_since: Option<Millis>,
    /// What the field does, for the time after a vehicle has parked.
    stillness: Stillness,
}

impl Detector {
    /// A detector that has seen nothing. It learns its baseline first.
    ///
    /// # Errors
    /// [`SettingsError`] if a setting is out of its bounds.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        let state = State::Learning(Stillness::default());
        Ok(Self { settings, state, without_parked: None, last_sample: None, tally: None, count: 0 })
    }

    /// Takes a sample. One that is not later than the one before is passed over.
    pub fn observe(&mut self, now: Millis, sample: Sample) -> Option<Event> {
        let tally = self.tally.get_or_insert(Tally::starting(now));
        let Some(last) = self.last_sample.replace(now) else {
            return self.step(now, 0, sample);
        };
        if now <= last {
            self.last_sample = Some(last);
            return None;
        }
        let ms = now.since_ms(last);
        if ms <= u64::from(self.settings.silence_ms_max) {
            return self.step(now, ms, sample);
        }
        tally.was_unseen();
        let ended = self.after_silence(ms);
        // The sample begins anew. It can't end anything, since nothing is under way.
        let begun = self.step(now, 0, sample);
        ended.or(begun)
    }

    /// How it detects.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Vehicles counted since the start.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// What it is doing.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self.state {
            State::Learning(_) => Phase::Learning,
            State::Free(_) => Phase::Free,
            State::Occupied(..) => Phase::Occupied,
        }
    }

    /// A vehicle that came is taken for a part of the background.
    #[must_use]
    pub const fn is_parked(&self) -> bool {
        self.without_parked.is_some()
    }

    /// What the field is without a vehicle, as far as it is known.
    #[must_use]
    pub fn baseline(&self) -> Option<Field> {
        match &self.state {
            State::Learning(_) => None,
            State::Free(baseline) | State::Occupied(baseline, _) => Some(baseline.field()),
        }
    }

    /// What happened since the last summary, or since the first sample.
    pub fn summarize(&mut self, now: Millis) -> Summary {
        self.tally.get_or_insert(Tally::starting(now)).take(now)
    }

    fn tally(&mut self) -> &mut Tally {
        let now = self.last_sample.unwrap_or_default();
        self.tally.get_or_insert(Tally::starting(now))
    }

    /// One sample, `ms` after the one before, with nothing missing between.
    fn step(&mut self, now: Millis, ms: u64, sample: Sample) -> Option<Event> {
        match self.state {
            State::Learning(stillness) => self.learn(now, stillness, sample),
            State::Free(baseline) => {
                self.watch(now, ms, baseline, sample);
                None
            }
            State::Occupied(baseline, presence) => self.accompany(now, ms, baseline, presence, sample),
        }
    }

    fn learn(&mut self, now: Millis, mut stillness: Stillness, sample: Sample) -> Option<Event> {
        let learnt = match sample {
            Sample::Saturated => {
                stillness = Stillness::default();
                None
            }
            Sample::Field(field) => self.settings.take_still(&mut stillness, now, field),
        };
        self.state = match learnt {
            Some(field) => State::Free(Baseline::at(field)),
            None => State::Learning(stillness),
        };
        learnt.map(|_| Event::Ready(now))
    }

    fn watch(&mut self, now: Millis, ms: u64, mut baseline: Baseline, sample: Sample) {
        self.tally().free(ms);
        let deviation_squared = deviation_squared(sample, &baseline);
        if deviation_squared.is_none_or(|distance| distance > squared(self.settings.enter)) {
            self.state = State::Occupied(baseline, Presence::starting(now, deviation_squared));
            return;
        }
        if let Sample::Field(field) = sample {
            let moved = baseline.follow(field, ms, self.settings.baseline_ms);
            self.follow_without_parked(moved, baseline.field());
        }
        self.state = State::Free(baseline);
    }

    /// The baseline from before the parked vehicle drifts as the other does. Where the two are one, nothing could tell that it leaves.
    fn follow_without_parked(&mut self, moved: Shift, baseline: Field) {
        if let Some(before) = &mut self.without_parked {
            before.shift(moved);
            if before.field().distance_squared(baseline) <= squared(self.settings.enter) {
                self.without_parked = None;
            }
        }
    }

    fn accompany(
        &mut self,
        now: Millis,
        ms: u64,
        baseline: Baseline,
        mut presence: Presence,
        sample: Sample,
    ) -> Option<Event> {
        self.tally().undecided(ms);
        if let Some(event) = self.returned(now, &mut presence, sample) {
            return Some(event);
        }
        let still = match sample {
            Sample::Field(field) => self.settings.take_still(&mut presence.stillness, now, field),
            Sample::Saturated => None,
        };
        let deviation_squared = deviation_squared(sample, &baseline);
        if deviation_squared.is_none_or(|distance| distance > squared(self.settings.leave)) {
            presence.extend(now, deviation_squared);
            let lasted_ms = now.since_ms(presence.from);
            if lasted_ms >= u64::from(self.settings.presence_ms_min) {
                self.tally().was_occupied();
            }
            if lasted_ms >= u64::from(self.settings.presence_ms_max) {
                return Some(self.park(baseline, presence, still));
            }
        } else if now.since_ms(presence.to) >= u64::from(self.settings.gap_ms_min) {
            self.state = State::Free(baseline);
            return self.end(presence, End::Left);
        }
        self.state = State::Occupied(baseline, presence);
        None
    }

    /// The parked vehicle has left if the field has been as it was before it for `gap_ms_min`.
    fn returned(&mut self, now: Millis, presence: &mut Presence, sample: Sample) -> Option<Event> {
        let before = self.without_parked?;
        if deviation_squared(sample, &before).is_none_or(|distance| distance > squared(self.settings.leave)) {
            presence.as_before_since = None;
            return None;
        }
        let since = *presence.as_before_since.get_or_insert(now);
        if now.since_ms(since) < u64::from(self.settings.gap_ms_min) {
            return None;
        }
        self.without_parked = None;
        self.state = State::Free(before);
        self.tally().was_free();
        Some(Event::ParkedLeft(now))
    }

    /// What stays becomes the background, as it was learnt meanwhile, or will be.
    fn park(&mut self, baseline: Baseline, presence: Presence, still: Option<Field>) -> Event {
        // With one parked already, the field that counts is the one without either.
        self.without_parked.get_or_insert(baseline);
        self.state = match still {
            Some(field) => State::Free(Baseline::at(field)),
            None => State::Learning(Stillness::default()),
        };
        self.passed(presence, End::Parked)
    }

    fn after_silence(&mut self, ms: u64) -> Option<Event> {
        match self.state {
            State::Learning(_) => self.state = State::Learning(Stillness::default()),
            State::Free(baseline) | State::Occupied(baseline, _) => {
                let ended = match self.state {
                    State::Occupied(_, presence) => self.end(presence, End::Unseen),
                    _ => None,
                };
                // The background has not moved far meanwhile, or is learnt anew.
                self.state = if ms < u64::from(self.settings.baseline_ms) {
                    State::Free(baseline)
                } else {
                    self.without_parked = None;
                    State::Learning(Stillness::default())
                };
                return ended;
            }
        }
        None
    }

    /// A detection has ended: as a vehicle, or as a blip.
    fn end(&mut self, presence: Presence, end: End) -> Option<Event> {
        self.tally().was_free();
        if presence.to.since_ms(presence.from) < u64::from(self.settings.presence_ms_min) {
            self.tally().blip();
            return None;
        }
        Some(self.passed(presence, end))
    }

    fn passed(&mut self, presence: Presence, end: End) -> Event {
        self.count = self.count.saturating_add(1);
        self.tally().count();
        Event::Passed(presence.passage(end))
    }
}

impl Presence {
    fn starting(now: Millis, deviation_squared: Option<u64>) -> Self {
        let mut presence = Self {
            from: now,
            to: now,
            peak_squared: 0,
            saturated: false,
            as_before_since: None,
            stillness: Stillness::default(),
        };
        presence.extend(now, deviation_squared);
        presence
    }

    /// Takes a sample above `leave`; `None` where the sensor was saturated.
    fn extend(&mut self, now: Millis, deviation_squared: Option<u64>) {
        self.to = now;
        self.saturated |= deviation_squared.is_none();
        self.peak_squared = self.peak_squared.max(deviation_squared.unwrap_or_default());
    }

    fn passage(&self, end: End) -> Passage {
        let peak = Microtesla::from_nanotesla(i32::try_from(self.peak_squared.isqrt()).unwrap_or(i32::MAX));
        Passage { from: self.from, to: self.to, peak, saturated: self.saturated, end }
    }
}

impl Settings {
    fn take_still(&self, stillness: &mut Stillness, now: Millis, field: Field) -> Option<Field> {
        stillness.take(now, field, self.learn_ms, self.enter.nanotesla().unsigned_abs())
    }
}

/// The square of the distance from the baseline; `None` if it is beyond the sensor's range.
fn deviation_squared(sample: Sample, baseline: &Baseline) -> Option<u64> {
    match sample {
        Sample::Field(field) => Some(field.distance_squared(baseline.field())),
        Sample::Saturated => None,
    }
}

#[cfg(test)]
mod tests;
