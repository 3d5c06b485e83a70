//! What comes out, one vehicle at a time.

use lamppost_units::Microtesla;

use crate::Millis;

/// How a passage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The vehicle left.
    Left,
    /// It stays: after the time set for it, what it does to the field is taken for the background.
    Parked,
    /// Samples are missing: when it left is not known.
    Unseen,
}

/// A vehicle that was over the sensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// The first sample above `enter`.
    pub from: Millis,
    /// The last sample above `leave`.
    pub to: Millis,
    /// How far the field was from the baseline at most. Where `saturated`, more than this.
    pub peak: Microtesla,
    /// The magnetometer was at the end of its range meanwhile.
    pub saturated: bool,
    /// How it ended.
    pub end: End,
}

impl Passage {
    /// How long the vehicle was seen, in milliseconds.
    #[must_use]
    pub const fn duration_ms(&self) -> u64 {
        self.to.since_ms(self.from)
    }
}

/// What a sample may complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A vehicle was counted.
    Passed(Passage),
    /// A vehicle that had parked has left. It was counted when it came.
    ParkedLeft(Millis),
    /// The baseline has been learnt: from here on vehicles are seen.
    Ready(Millis),
}
