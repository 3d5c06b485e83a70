//! Speed and length, by two sensors a known distance apart along the lane.

use core::fmt;

use crate::{End, Passage};

/// A speed along the lane, from the first sensor to the second; 1,000 mm/s are 3.6 km/h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MillimetersPerSecond(pub u32);

/// What two sensors know of a vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed {
    /// How fast it was: the mean of the way in and the way out.
    pub speed: MillimetersPerSecond,
    /// How far that may be off for want of samples alone, either way: each time is known to one sample interval.
    pub uncertainty: MillimetersPerSecond,
    /// How long it is, in millimetres, and the stretch besides in which the sensor feels it.
    pub length_and_reach_mm: u32,
}

/// Why two passages give no speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairError {
    /// One of them was not seen to its end.
    Incomplete,
    /// The second sensor did not see it after the first: another vehicle, or one that drives the wrong way.
    Order,
    /// In and out differ by more than twice: two vehicles, or one that stopped.
    Unsteady,
    /// Slower than 0.5 m/s or faster than 70 m/s: no vehicle, or the distance is wrong.
    Implausible,
}

impl fmt::Display for PairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Incomplete => "a passage was not seen to its end",
            Self::Order => "the second sensor did not see the vehicle after the first",
            Self::Unsteady => "the vehicle took more than twice as long in as out, or the other way round",
            Self::Implausible => "the speed is not between 0.5 and 70 m/s",
        })
    }
}

impl core::error::Error for PairError {}

/// Two sensors in a lane, sampled by one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// From the first to the second, in the direction of travel, in millimetres. Longer is more exact: at 75 samples a second and 14 m/s, 1 m takes
    /// 5 samples.
    pub distance_mm: u32,
    /// Between two samples, in milliseconds.
    pub sample_interval_ms: u32,
}

impl Pair {
    /// The speed of a vehicle that passed both.
    ///
    /// # Errors
    /// [`PairError`] where these are not two passages of one vehicle at a steady speed.
    pub fn speed(&self, first: &Passage, second: &Passage) -> Result<Speed, PairError> {
        if first.end != End::Left || second.end != End::Left {
            return Err(PairError::Incomplete);
        }
        let (in_ms, out_ms) = (second.from.since_ms(first.from), second.to.since_ms(first.to));
        if in_ms == 0 || out_ms == 0 {
            return Err(PairError::Order);
        }
        if in_ms.max(out_ms) / 2 > in_ms.min(out_ms) {
            return Err(PairError::Unsteady);
        }
        // The mean of both times, in half milliseconds.
        let twice_ms = in_ms.saturating_add(out_ms);
        let speed = self.per_second(twice_ms);
        if !(500..=70_000).contains(&speed) {
            return Err(PairError::Implausible);
        }
        let fastest = self.per_second(twice_ms.saturating_sub(2 * u64::from(self.sample_interval_ms)).max(1));
        let duration_ms = first.duration_ms().saturating_add(second.duration_ms()) / 2;
        let length = u64::from(speed).saturating_mul(duration_ms) / 1_000;
        Ok(Speed {
            speed: MillimetersPerSecond(speed),
            uncertainty: MillimetersPerSecond(fastest.saturating_sub(speed)),
            length_and_reach_mm: u32::try_from(length).unwrap_or(u32::MAX),
        })
    }

    fn per_second(&self, twice_ms: u64) -> u32 {
        u32::try_from(u64::from(self.distance_mm) * 2_000 / twice_ms.max(1)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use lamppost_units::Microtesla;

    use super::*;
    use crate::Millis;

    const PAIR: Pair = Pair { distance_mm: 2_000, sample_interval_ms: 10 };

    fn passage(from: u64, to: u64) -> Passage {
        let peak = Microtesla::from_nanotesla(20_000);
        Passage { from: Millis(from), to: Millis(to), peak, saturated: false, end: End::Left }
    }

    #[test]
    fn a_vehicle_that_takes_160_ms_for_2_m_drives_45_km_an_hour() {
        let speed = PAIR.speed(&passage(1_000, 1_400), &passage(1_160, 1_560)).unwrap();
        assert_eq!((speed.speed, speed.length_and_reach_mm), (MillimetersPerSecond(12_500), 5_000));
        // 150 ms would be 13.33 m/s.
        assert_eq!(speed.uncertainty, MillimetersPerSecond(833));
    }

    #[test]
    fn passages_that_are_not_of_one_steady_vehicle_give_no_speed() {
        let first = passage(1_000, 1_400);
        assert_eq!(PAIR.speed(&first, &passage(1_000, 1_400)), Err(PairError::Order));
        assert_eq!(PAIR.speed(&first, &passage(840, 1_240)), Err(PairError::Order));
        assert_eq!(PAIR.speed(&first, &passage(1_100, 1_700)), Err(PairError::Unsteady));
        assert_eq!(PAIR.speed(&first, &passage(9_000, 9_400)), Err(PairError::Implausible));
        assert_eq!(PAIR.speed(&first, &passage(1_001, 1_401)), Err(PairError::Implausible));
        let parked = Passage { end: End::Parked, ..passage(1_160, 1_560) };
        assert_eq!(PAIR.speed(&first, &parked), Err(PairError::Incomplete));
        assert_eq!(PAIR.speed(&passage(0, u64::MAX), &passage(u64::MAX, u64::MAX)), Err(PairError::Order));
    }
}
