//! What an interval held: times that were looked at, and whether a vehicle was there.

use core::fmt;

use crate::Millis;

/// A share in thousandths, 0 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Permille(u16);

impl Permille {
    /// The share of `part` in `whole`, rounded down; `None` of nothing.
    #[must_use]
    pub fn of(part: u64, whole: u64) -> Option<Self> {
        // Beyond 500,000 years in milliseconds the last bits of both are left out.
        let shift = if whole > u64::MAX / 1_000 { 10 } else { 0 };
        let share = ((part.min(whole) >> shift) * 1_000).checked_div(whole >> shift)?;
        u16::try_from(share).ok().map(Self)
    }

    /// The share in thousandths, 0 to 1000.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Permille {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} %", self.0 / 10, self.0 % 10)
    }
}

/// What happened since the summary before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// When it begins.
    pub from: Millis,
    /// When it ends.
    pub to: Millis,
    /// Vehicles whose passage ended within it.
    pub count: u32,
    /// Detections that were too short for a vehicle.
    pub blips: u32,
    /// For how long a vehicle was there, in milliseconds.
    pub occupied_ms: u64,
    /// For how long none was, in milliseconds. What remains of the interval is not known: samples were missing, the baseline was being
    /// learnt, or it is not decided yet and belongs to the next interval.
    pub free_ms: u64,
}

impl Summary {
    /// The share of time for which a vehicle was there, of the time that is known; `None` if none is.
    #[must_use]
    pub fn occupancy(&self) -> Option<Permille> {
        Permille::of(self.occupied_ms, self.watched_ms())
    }

    /// For how long it is known whether a vehicle was there, in milliseconds.
    #[must_use]
    pub const fn watched_ms(&self) -> u64 {
        self.occupied_ms.saturating_add(self.free_ms)
    }

    /// The count; `None` if nothing is known of the interval: no vehicle seen is not the same as none there. A vehicle that was counted is
    /// known of, whatever is not.
    #[must_use]
    pub const fn known_count(&self) -> Option<u32> {
        if self.count == 0 && self.watched_ms() == 0 { None } else { Some(self.count) }
    }

    /// This one and the one that follows it, as one.
    const fn and(self, next: Self) -> Self {
        Self {
            from: self.from,
            to: next.to,
            count: self.count.saturating_add(next.count),
            blips: self.blips.saturating_add(next.blips),
            occupied_ms: self.occupied_ms.saturating_add(next.occupied_ms),
            free_ms: self.free_ms.saturating_add(next.free_ms),
        }
    }
}

/// What happened, for so many readers that ask each in its own time. Invariant: each reader is told of every interval, once.
#[derive(Debug, Clone, Copy)]
pub struct Summaries<const READERS: usize> {
    untold: [Option<Summary>; READERS],
}

impl<const READERS: usize> Summaries<READERS> {
    /// Nothing has happened.
    #[must_use]
    pub const fn new() -> Self {
        Self { untold: [None; READERS] }
    }

    /// What this reader was not told yet, with `latest` ([`Detector::summarize`](crate::Detector::summarize)) as the last of it. Of a reader
    /// that is none, only `latest`.
    pub fn take(&mut self, reader: usize, latest: Summary) -> Summary {
        for untold in &mut self.untold {
            *untold = Some(untold.map_or(latest, |before| before.and(latest)));
        }
        self.untold.get_mut(reader).and_then(Option::take).unwrap_or(latest)
    }
}

impl<const READERS: usize> Default for Summaries<READERS> {
    fn default() -> Self {
        Self::new()
    }
}

/// Adds up times. What is not decided yet (has a vehicle come? has it left?) waits, and goes to the interval in which it is: so the
/// occupied time never exceeds the known one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tally {
    since: Summary,
    undecided_ms: u64,
}

impl Tally {
    pub(crate) const fn starting(now: Millis) -> Self {
        let since = Summary { from: now, to: now, count: 0, blips: 0, occupied_ms: 0, free_ms: 0 };
        Self { since, undecided_ms: 0 }
    }

    pub(crate) fn free(&mut self, ms: u64) {
        self.since.free_ms = self.since.free_ms.saturating_add(ms);
    }

    pub(crate) fn undecided(&mut self, ms: u64) {
        self.undecided_ms = self.undecided_ms.saturating_add(ms);
    }

    /// What was undecided was occupied.
    pub(crate) fn was_occupied(&mut self) {
        self.since.occupied_ms = self.since.occupied_ms.saturating_add(core::mem::take(&mut self.undecided_ms));
    }

    /// What was undecided was free.
    pub(crate) fn was_free(&mut self) {
        let ms = core::mem::take(&mut self.undecided_ms);
        self.free(ms);
    }

    /// What was undecided will never be known.
    pub(crate) fn was_unseen(&mut self) {
        self.undecided_ms = 0;
    }

    pub(crate) fn count(&mut self) {
        self.since.count = self.since.count.saturating_add(1);
    }

    pub(crate) fn blip(&mut self) {
        self.since.blips = self.since.blips.saturating_add(1);
    }

    /// What happened until `now`; begins anew.
    pub(crate) fn take(&mut self, now: Millis) -> Summary {
        let ended = Summary { to: now.max(self.since.from), ..self.since };
        *self = Self { undecided_ms: self.undecided_ms, ..Self::starting(ended.to) };
        ended
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    #[test]
    fn a_share_is_of_what_is_there_and_of_nothing_there_is_none() {
        assert_eq!(Permille::of(1, 0), None);
        assert_eq!(Permille::of(u64::MAX, u64::MAX).unwrap().get(), 1000);
        assert_eq!(Permille::of(7, 3).unwrap().get(), 1000);
        assert_eq!(Permille::of(1, 16).unwrap().to_string(), "6.2 %");
    }

    #[test]
    fn a_vehicle_that_was_counted_in_a_time_that_nobody_watched_is_told() {
        let nothing = Summary { from: Millis(0), to: Millis(5_000), count: 0, blips: 0, occupied_ms: 0, free_ms: 0 };
        assert_eq!((nothing.known_count(), nothing.occupancy()), (None, None));
        let counted = Summary { count: 1, ..nothing };
        assert_eq!((counted.known_count(), counted.occupancy()), (Some(1), None));
        assert_eq!(Summary { free_ms: 1, ..nothing }.known_count(), Some(0));
    }

    #[test]
    fn readers_that_ask_at_different_times_are_told_of_every_interval_once() {
        let mut summaries = Summaries::<2>::new();
        let mut detected = |reader: usize, now: u64, count: u32| {
            let latest = Summary { from: Millis(0), to: Millis(now), count, blips: 0, occupied_ms: 10, free_ms: 30 };
            let told = summaries.take(reader, latest);
            (told.count, told.occupied_ms, told.free_ms)
        };
        // The second reader asks three times as often as the first.
        assert_eq!(detected(1, 40, 1), (1, 10, 30));
        assert_eq!(detected(1, 80, 0), (0, 10, 30));
        assert_eq!(detected(1, 120, 2), (2, 10, 30));
        assert_eq!(detected(0, 160, 1), (4, 40, 120));
        assert_eq!(detected(1, 200, 0), (1, 20, 60));
    }

    #[test]
    fn what_is_undecided_at_the_end_of_an_interval_belongs_to_the_one_that_decides_it() {
        let mut tally = Tally::starting(Millis(0));
        tally.free(60);
        tally.undecided(40);
        let first = tally.take(Millis(100));
        assert_eq!((first.free_ms, first.occupied_ms, first.occupancy().unwrap().get()), (60, 0, 0));
        tally.undecided(10);
        tally.was_occupied();
        let second = tally.take(Millis(110));
        assert_eq!((second.from, second.occupied_ms, second.occupancy().unwrap().get()), (Millis(100), 50, 1000));
    }
}
