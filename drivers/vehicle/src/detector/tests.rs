extern crate std;

use std::vec::Vec;

use super::*;

const INTERVAL_MS: u64 = 10;

/// A detector with a baseline of 0 µT, and a clock that goes on by 10 ms a sample.
struct Lane {
    detector: Detector,
    now: u64,
    events: Vec<Event>,
}

impl Lane {
    fn ready() -> Self {
        let detector = Detector::new(Settings::default()).unwrap();
        let mut lane = Self { detector, now: 0, events: Vec::new() };
        lane.hold(0, 1_500);
        assert_eq!(core::mem::take(&mut lane.events), [Event::Ready(Millis(1_500))]);
        assert_eq!(lane.detector.phase(), Phase::Free);
        lane.detector.summarize(Millis(1_500));
        lane
    }

    /// Samples of so many nanoteslas along Y, until `ms` have passed; the first is one interval later, but the very first.
    fn hold(&mut self, nanotesla: i32, ms: u64) {
        let first = if self.now == 0 { 0 } else { self.now + INTERVAL_MS };
        for now in (first..=self.now + ms).step_by(INTERVAL_MS as usize) {
            let field = Field::new(Microtesla::default(), Microtesla::from_nanotesla(nanotesla), Microtesla::default());
            self.events.extend(self.detector.observe(Millis(now), Sample::Field(field)));
        }
        self.now += ms;
    }

    fn passages(&self) -> Vec<(u64, u64, End)> {
        let passage = |event: &Event| match event {
            Event::Passed(passage) => Some((passage.from.0, passage.to.0, passage.end)),
            _ => None,
        };
        self.events.iter().filter_map(passage).collect()
    }

    fn times(&mut self) -> (u64, u64) {
        let summary = self.detector.summarize(Millis(self.now));
        (summary.occupied_ms, summary.free_ms)
    }
}

#[test]
fn a_passage_lasts_from_the_first_sample_above_enter_to_the_last_above_leave() {
    let mut lane = Lane::ready();
    // Between the thresholds: not enough to come, and enough to stay.
    lane.hold(2_900, 100);
    lane.hold(3_100, 50);
    lane.hold(1_700, 1_000);
    lane.hold(1_200, 140);
    assert_eq!((lane.passages(), lane.detector.phase()), (Vec::new(), Phase::Occupied));
    lane.hold(1_200, 10);
    assert_eq!(lane.passages(), [(1_610, 2_650, End::Left)]);
    // The first sample stands for the time before it, which was free.
    assert_eq!(lane.times(), (1_040, 100 + 10 + 150));
}

#[test]
fn a_gap_shorter_than_set_is_of_one_vehicle_and_occupied() {
    let mut lane = Lane::ready();
    lane.hold(5_000, 100);
    lane.hold(0, 140);
    lane.hold(5_000, 100);
    lane.hold(0, 500);
    assert_eq!(lane.passages(), [(1_510, 1_840, End::Left)]);
    assert_eq!(lane.times(), (330, 510));
}

#[test]
fn what_is_shorter_than_set_is_a_blip_and_free() {
    let mut lane = Lane::ready();
    lane.hold(9_000, 30);
    lane.hold(0, 300);
    assert_eq!((lane.passages(), lane.detector.count()), (Vec::new(), 0));
    let summary = lane.detector.summarize(Millis(lane.now));
    assert_eq!((summary.blips, summary.count, summary.occupied_ms, summary.free_ms), (1, 0, 0, 330));
}

#[test]
fn what_was_undecided_when_samples_began_to_miss_is_known_of_neither() {
    let mut lane = Lane::ready();
    lane.hold(5_000, 100);
    lane.hold(0, 100);
    lane.now += 1_000;
    lane.hold(0, 50);
    assert_eq!(lane.passages(), [(1_510, 1_600, End::Unseen)]);
    // 100 ms of a gap that was not decided, and a second without samples.
    assert_eq!(lane.times(), (90, 10 + 40));
}

#[test]
fn after_a_silence_as_long_as_the_baseline_takes_it_is_learnt_again() {
    let mut lane = Lane::ready();
    lane.now += 60_000;
    lane.hold(9_000, 10);
    assert_eq!(lane.detector.phase(), Phase::Learning);
    lane.hold(9_000, 1_500);
    assert_eq!((lane.detector.phase(), lane.detector.count()), (Phase::Free, 0));
}
