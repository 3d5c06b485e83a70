//! How long a vehicle is, compared with those before it.

use crate::{End, Passage};

/// A class of length, in the traffic of the moment: no metres.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LengthClass {
    /// Seen for less than 60 % of the median time, and no stronger than the median: a two-wheeler, where most are cars.
    Short,
    /// As most.
    Medium,
    /// Seen for more than 180 % of the median time: a lorry or a bus, where most are cars.
    Long,
    /// Not to be told: too few vehicles to compare with, or it stopped, or was not seen to its end.
    Unknown,
}

/// How many passages are compared with.
const REMEMBERED: usize = 15;
/// Below this many, nothing is said.
const REMEMBERED_MIN: usize = 5;
const SHORT_PER_CENT_MAX: u64 = 60;
const LONG_PER_CENT_MIN: u64 = 180;
/// What lasted this many times the median stood in a queue: it says nothing about length.
const STOPPED_TIMES: u64 = 8;

/// Tells lengths apart without knowing a speed: by the median time of the last 15 passages, which is a car's where most vehicles are cars. It is
/// wrong for a vehicle that drives much faster or slower than those before it, and where most are no cars. See the crate's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lengths {
    durations_ms: [u64; REMEMBERED],
    peaks_nanotesla: [u64; REMEMBERED],
    /// Passages remembered, and where the next one goes.
    count: usize,
    next: usize,
}

impl Lengths {
    /// Classifies a passage, and remembers it for those to come.
    pub fn classify(&mut self, passage: &Passage) -> LengthClass {
        if passage.end != End::Left {
            return LengthClass::Unknown;
        }
        let duration_ms = passage.duration_ms().max(1);
        let peak = u64::from(passage.peak.nanotesla().unsigned_abs());
        let class = match (self.median(&self.durations_ms), self.median(&self.peaks_nanotesla)) {
            (Some(duration), Some(peaks)) => class(duration_ms, duration, !passage.saturated && peak <= peaks),
            _ => LengthClass::Unknown,
        };
        self.remember(duration_ms, peak);
        class
    }

    /// The median time for which the last vehicles were seen, in milliseconds; `None` before there are five.
    #[must_use]
    pub fn median_duration_ms(&self) -> Option<u64> {
        self.median(&self.durations_ms)
    }

    fn median(&self, values: &[u64; REMEMBERED]) -> Option<u64> {
        let mut sorted = *values;
        let known = sorted.get_mut(..self.count).filter(|known| known.len() >= REMEMBERED_MIN)?;
        known.sort_unstable();
        known.get(known.len() / 2).copied()
    }

    fn remember(&mut self, duration_ms: u64, peak: u64) {
        if let (Some(duration), Some(strongest)) =
            (self.durations_ms.get_mut(self.next), self.peaks_nanotesla.get_mut(self.next))
        {
            (*duration, *strongest) = (duration_ms, peak);
        }
        self.next = (self.next + 1) % REMEMBERED;
        self.count = (self.count + 1).min(REMEMBERED);
    }
}

fn class(duration_ms: u64, median_ms: u64, is_weak: bool) -> LengthClass {
    let per_cent = duration_ms.saturating_mul(100) / median_ms.max(1);
    match per_cent {
        ..SHORT_PER_CENT_MAX if is_weak => LengthClass::Short,
        ..=LONG_PER_CENT_MIN => LengthClass::Medium,
        _ if duration_ms / median_ms.max(1) < STOPPED_TIMES => LengthClass::Long,
        _ => LengthClass::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use lamppost_units::Microtesla;

    use super::*;
    use crate::Millis;

    fn passage(duration_ms: u64, microtesla: i32) -> Passage {
        let peak = Microtesla::from_nanotesla(microtesla * 1_000);
        Passage { from: Millis(1_000), to: Millis(1_000 + duration_ms), peak, saturated: false, end: End::Left }
    }

    fn after_cars(duration_ms: u64) -> Lengths {
        let mut lengths = Lengths::default();
        for _ in 0..REMEMBERED {
            lengths.classify(&passage(duration_ms, 20));
        }
        lengths
    }

    #[test]
    fn nothing_is_said_before_there_is_something_to_compare_with() {
        let mut lengths = Lengths::default();
        for _ in 0..REMEMBERED_MIN {
            assert_eq!(
                (lengths.classify(&passage(400, 20)), lengths.median_duration_ms()),
                (LengthClass::Unknown, lengths.median_duration_ms())
            );
        }
        assert_eq!(
            (lengths.classify(&passage(400, 20)), lengths.median_duration_ms()),
            (LengthClass::Medium, Some(400))
        );
    }

    #[test]
    fn the_classes_are_the_same_at_every_speed() {
        for car_ms in [200, 400, 4_000] {
            let class =
                |per_cent: u64, microtesla| after_cars(car_ms).classify(&passage(car_ms * per_cent / 100, microtesla));
            assert_eq!(class(59, 8), LengthClass::Short);
            assert_eq!(class(59, 40), LengthClass::Medium, "a strong one is a fast car");
            assert_eq!((class(60, 8), class(180, 20)), (LengthClass::Medium, LengthClass::Medium));
            assert_eq!(
                (class(181, 20), class(799, 20), class(800, 20)),
                (LengthClass::Long, LengthClass::Long, LengthClass::Unknown)
            );
        }
    }

    #[test]
    fn what_was_not_seen_to_its_end_is_neither_classified_nor_compared_with() {
        let mut lengths = after_cars(400);
        let before = lengths;
        for end in [End::Parked, End::Unseen] {
            assert_eq!(lengths.classify(&Passage { end, ..passage(1_000, 20) }), LengthClass::Unknown);
        }
        assert_eq!(lengths, before);
    }

    #[test]
    fn traffic_that_slows_down_is_the_new_measure() {
        let mut lengths = after_cars(400);
        let classes: [_; 9] = core::array::from_fn(|_| lengths.classify(&passage(1_200, 20)));
        assert_eq!((classes[0], classes[8]), (LengthClass::Long, LengthClass::Medium));
    }
}
