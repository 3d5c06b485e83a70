use std::collections::VecDeque;

use super::*;

const CEILING: u64 = 250_000;
const STEP: Duration = Duration::from_millis(5);
/// Events as the window counts them.
const EVENT: usize = 1_500;

/// A link and a cluster on its far end: what is handed over goes out at once, and is acknowledged after a while.
struct Link {
    /// Bytes on the wire for each of the window's.
    ratio: f64,
    pace: Pace,
    now: Instant,
    began: Instant,
    wire: f64,
    in_flight: VecDeque<Instant>,
    round_trip: Duration,
    told_at: Instant,
}

impl Link {
    fn new(ratio: f64, round_trip: Duration) -> Self {
        let now = Instant::now();
        let pace = Pace::new(NonZeroU64::new(CEILING).unwrap(), 0);
        Self { ratio, pace, now, began: now, wire: 0.0, in_flight: VecDeque::new(), round_trip, told_at: now }
    }

    /// Runs for so long with so many events to send in each step at most; returns what went out.
    fn run(&mut self, time: Duration, events_a_step: usize) -> f64 {
        let (end, before) = (self.now + time, self.wire);
        while self.now < end {
            self.now += STEP;
            while self.in_flight.front().is_some_and(|sent| *sent + self.round_trip <= self.now) {
                self.in_flight.pop_front();
            }
            if self.now >= self.told_at + TOLD_EVERY {
                self.told_at = self.now;
                self.pace.told(self.wire as u64, self.in_flight.len() * EVENT);
            }
            for _ in 0..events_a_step {
                let room = self.pace.in_flight_max(8 << 20) > self.in_flight.len() * EVENT;
                if !room || !self.pace.admits(self.now) {
                    break;
                }
                self.pace.handed(EVENT);
                self.wire += EVENT as f64 * self.ratio;
                self.in_flight.push_back(self.now);
            }
        }
        self.wire - before
    }
}

#[test]
fn what_others_write_is_taken_from_the_ceiling_before_its_own() {
    for (others, least, most) in [(0.0, 0.97, 1.05), (0.6, 0.37, 0.45), (1.0, 0.0, 0.05)] {
        let mut link = Link::new(0.6, Duration::from_millis(80));
        let mut wire = 0.0;
        for _ in 0..200 {
            link.pace.others_wrote((CEILING as f64 * others / 10.0) as u64);
            wire += link.run(Duration::from_millis(100), 100);
        }
        let share = wire / (CEILING as f64 * 20.0);
        assert!((least..=most).contains(&share), "{others}: {share}");
    }
}

#[test]
fn a_backlog_goes_out_at_the_ceiling_within_some_hundredths_over_ten_seconds_whatever_it_compresses_to() {
    for ratio in [0.05, 0.2, 0.6, 1.3] {
        for round_trip in [5, 80, 600] {
            let mut link = Link::new(ratio, Duration::from_millis(round_trip));
            // What it compresses to has to be learned first, the slower the longer the way.
            link.run(Duration::from_secs(15), 10_000);
            for _ in 0..4 {
                let part = link.run(Duration::from_secs(10), 10_000) / (10.0 * CEILING as f64);
                assert!(
                    (0.96..=1.03).contains(&part),
                    "{part} of the ceiling, ratio {ratio}, round trip {round_trip} ms"
                );
            }
        }
    }
}

#[test]
fn ten_seconds_stay_near_the_ceiling_also_while_nothing_is_known_and_when_the_ratio_changes() {
    let mut link = Link::new(0.15, Duration::from_millis(50));
    let mut seconds = VecDeque::new();
    for second in 0..60 {
        if second == 20 {
            link.ratio = 0.5;
        }
        if second == 40 {
            link.ratio = 0.1;
        }
        seconds.push_back(link.run(Duration::from_secs(1), 10_000));
        if seconds.len() > 10 {
            seconds.pop_front();
        }
        let sum: f64 = seconds.iter().sum();
        // When events suddenly compress less, that shows with the next telling: half a second of them goes as if they did not.
        let bound = if (20..30).contains(&second) { 11.2 } else { 10.4 };
        assert!(sum <= bound * CEILING as f64, "{sum} bytes in ten seconds at second {second}");
    }
    let part = link.wire / (CEILING as f64 * link.now.duration_since(link.began).as_secs_f64());
    assert!(part > 0.85, "{part} of the ceiling");
}

#[test]
fn little_goes_at_once_and_nothing_is_saved_up_beyond_a_burst() {
    let mut link = Link::new(0.2, Duration::from_millis(20));
    // One event in each step: 60 kB/s.
    let went = link.run(Duration::from_secs(20), 1) / 20.0;
    assert!((59_000.0..61_000.0).contains(&went), "{went} bytes/s");
    let after = link.run(Duration::from_secs(1), 10_000);
    assert!(after < 1.5 * CEILING as f64, "{after} bytes in the second after a quiet time");
}

#[test]
fn what_a_producer_took_with_it_counts_as_sent() {
    let mut pace = Pace::new(NonZeroU64::new(1_000).unwrap(), 0);
    let now = Instant::now();
    assert!(!pace.admits(now), "nothing is saved up at the start");
    assert!(pace.admits(now + BURST));
    pace.handed(10_000);
    pace.write_off();
    assert!(!pace.admits(now + Duration::from_secs(9)));
    assert!(pace.admits(now + Duration::from_secs(11)));
}

#[test]
fn who_waits_is_told_until_when_and_a_portion_goes_together() {
    let mut pace = Pace::new(NonZeroU64::new(10_000).unwrap(), 0);
    let mut now = Instant::now();
    assert!(!pace.admits(now));
    let again = pace.ask_again(now).unwrap();
    assert_eq!(again.duration_since(now), PORTION);
    assert!(!pace.admits(now + PORTION / 2));
    now = again + Duration::from_millis(1);
    assert!(pace.admits(now) && pace.ask_again(now).is_none());
}

#[test]
fn the_window_and_the_batches_shrink_with_the_ceiling() {
    let slow = Pace::new(NonZeroU64::new(100_000).unwrap(), 0);
    assert_eq!((slow.in_flight_max(8 << 20), slow.batch_max(1_000_000)), (200_000, 100_000));
    let slower = Pace::new(NonZeroU64::new(1_000).unwrap(), 0);
    assert_eq!((slower.in_flight_max(8 << 20), slower.batch_max(1_000_000)), (IN_FLIGHT_MIN, BATCH_MIN));
    let fast = Pace::new(NonZeroU64::new(1_000_000_000).unwrap(), 0);
    assert_eq!((fast.in_flight_max(8 << 20), fast.batch_max(1_000_000)), (8 << 20, 1_000_000));
}

#[test]
fn who_was_held_back_and_has_nothing_more_to_send_is_woken_once() {
    let mut pace = Pace::new(NonZeroU64::new(CEILING).unwrap(), 0);
    let mut now = Instant::now();
    assert!(!pace.admits(now), "nothing is saved up yet");
    now = pace.ask_again(now).unwrap() + BURST;
    assert!(pace.ask_again(now).is_some() && pace.ask_again(now).is_none());
}
