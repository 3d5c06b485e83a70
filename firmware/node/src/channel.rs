//! What a node measures, and how often.

use lamppost_wire::{Hello, Measure, Millis, Range, Scale, TextError, text};

/// One measure and its schedule, as a board's program states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel<'a> {
    /// What it is called, for example `temperature`: 1 to 24 bytes, without `/`, `+`, `#` and control characters.
    pub name: &'a str,
    /// Its unit, as SenML or UCUM code: `Cel`, `Pa`, `%RH`. At most 12 bytes.
    pub unit: &'a str,
    /// What one step of the value is, as a power of ten: -3 for thousandths.
    pub scale: Scale,
    /// What the sensor can report, if known.
    pub range: Option<Range>,
    /// Between two samples, in milliseconds, from 1. Of a measure that another's policy fills ([`Policy::lowest`](crate::Policy::lowest)), which is
    /// never sampled, anything.
    pub interval_ms: u32,
}

/// Why a node can't be made of what its program states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetupError {
    /// A name or unit is too long.
    Text(TextError),
    /// A name is empty, or holds `/`, `+`, `#` or a control character.
    Name,
    /// A channel has an interval of 0.
    Interval,
    /// More channels than a hello can describe.
    TooManyChannels,
}

impl core::fmt::Display for SetupError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Text(error) => error.fmt(f),
            Self::Name => f.write_str("a name is empty, or holds '/', '+', '#' or a control character"),
            Self::Interval => f.write_str("a channel's interval is 0 ms; the shortest is 1"),
            Self::TooManyChannels => {
                write!(f, "more channels than a hello can describe ({})", lamppost_wire::MEASURES_MAX)
            }
        }
    }
}

impl core::error::Error for SetupError {}

impl From<TextError> for SetupError {
    fn from(error: TextError) -> Self {
        Self::Text(error)
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), SetupError> {
    let fits = |c: char| !c.is_control() && !matches!(c, '/' | '+' | '#');
    if name.is_empty() || !name.chars().all(fits) { Err(SetupError::Name) } else { Ok(()) }
}

/// Describes `channels` in the hello.
pub(crate) fn describe(channels: &[Channel<'_>], hello: &mut Hello) -> Result<(), SetupError> {
    for channel in channels {
        check_name(channel.name)?;
        if channel.interval_ms == 0 {
            return Err(SetupError::Interval);
        }
        let measure = Measure {
            name: text(channel.name)?,
            unit: text(channel.unit)?,
            scale: channel.scale,
            range: channel.range,
        };
        hello.measures.push(measure).map_err(|_| SetupError::TooManyChannels)?;
    }
    Ok(())
}

/// When a channel is sampled. Without drift: the next time is counted from the last *due* time; times that have passed
/// unused are left out, not made up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) due_at: Millis,
    interval_ms: u32,
}

impl Schedule {
    pub(crate) const fn new(now: Millis, interval_ms: u32) -> Self {
        Self { due_at: now, interval_ms }
    }

    /// Never due: others' samples make the measure's readings.
    pub(crate) const fn never() -> Self {
        Self { due_at: Millis(u64::MAX), interval_ms: 0 }
    }

    /// It is one of [`Self::never`].
    pub(crate) const fn is_never(&self) -> bool {
        self.interval_ms == 0
    }

    /// From now on at this interval.
    pub(crate) fn set_interval(&mut self, now: Millis, interval_ms: u32) {
        self.interval_ms = interval_ms;
        self.due_at = self.due_at.min(now.plus_ms(interval_ms));
    }

    /// It is due: the next one is set.
    pub(crate) fn take_if_due(&mut self, now: Millis) -> bool {
        let Some(late_ms) = now.0.checked_sub(self.due_at.0) else { return false };
        if self.is_never() {
            return false;
        }
        let interval_ms = u64::from(self.interval_ms);
        let periods = late_ms / interval_ms + 1;
        self.due_at = Millis(self.due_at.0.saturating_add(periods.saturating_mul(interval_ms)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_does_not_drift_and_does_not_make_up_for_what_it_missed() {
        let mut schedule = Schedule::new(Millis(100), 50);
        assert!(!schedule.take_if_due(Millis(99)));
        assert!(schedule.take_if_due(Millis(103)));
        assert_eq!(schedule.due_at, Millis(150));
        assert!(schedule.take_if_due(Millis(312)));
        assert_eq!(schedule.due_at, Millis(350));
        assert!(!schedule.take_if_due(Millis(349)));
    }
}
