//! Vehicles of known kinds at known times, and what the detector makes of them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "outside `#[test]` functions too, a test fails by panicking"
)]

mod road;

use lamppost_units::Microtesla;
use lamppost_vehicle::{End, Event, LengthClass, MillimetersPerSecond, Pair, Phase, Settings};
use road::{Dice, Kind, Road, Vehicle};

/// How far from its ends a vehicle is felt, or not yet felt.
const REACH_M: f64 = 1.5;

#[test]
fn every_kind_at_every_speed_is_counted_once() {
    for kind in [Kind::Motorcycle, Kind::Car, Kind::Lorry] {
        for kilometers_per_hour in [8.0, 20.0, 50.0, 90.0, 130.0] {
            let road = Road::with([Vehicle::new(kind, 15.0, kilometers_per_hour / 3.6)]);
            let seen = road.watch(40.0);
            road.judge(&seen, REACH_M);
            println!("{kind:?} at {kilometers_per_hour} km/h: {:?}", seen.passages[0].0);
        }
    }
}

#[test]
fn noise_alone_is_no_vehicle() {
    for seed in 1..=10 {
        let road = Road { seed, noise_microtesla: 0.4, ..Road::default() };
        let seen = road.watch(600.0);
        assert_eq!((seen.passages.len(), seen.summary.blips), (0, 0), "seed {seed}");
        assert_eq!(seen.summary.occupancy().unwrap().get(), 0);
    }
}

#[test]
fn traffic_of_all_kinds_is_counted_as_the_ledger_says() {
    for seed in 1..=8 {
        let mut dice = Dice(seed * 1_000);
        let (mut at_s, mut vehicles) = (10.0, Vec::new());
        for _ in 0..100 {
            let kind = [Kind::Car, Kind::Car, Kind::Car, Kind::Lorry, Kind::Motorcycle][(dice.next() % 5) as usize];
            let vehicle =
                Vehicle { beside_m: dice.between(-0.4, 0.4), ..Vehicle::new(kind, at_s, dice.between(8.0, 25.0)) };
            at_s = vehicle.leaves_s() + dice.between(0.8, 6.0);
            vehicles.push(vehicle);
        }
        let road = Road { seed, ..Road::with(vehicles) };
        let seen = road.watch(at_s + 5.0);
        road.judge(&seen, REACH_M);

        let over_s: f64 = road.vehicles.iter().map(|vehicle| vehicle.leaves_s() - vehicle.arrives_s).sum();
        let known_s = (seen.summary.occupied_ms + seen.summary.free_ms) as f64 / 1_000.0;
        let occupancy = f64::from(seen.summary.occupancy().unwrap().get());
        let truth = over_s / known_s * 1_000.0;
        println!("seed {seed}: occupancy {occupancy} ‰, by the bodies alone {truth:.0} ‰");
        assert!((occupancy - truth).abs() < truth * 0.3, "seed {seed}");
        assert_eq!(seen.summary.count, 100);
    }
}

#[test]
fn lengths_are_told_apart_at_any_common_speed() {
    for (seed, speed) in [(1, 4.0), (2, 14.0), (3, 30.0)] {
        let mut dice = Dice(seed);
        let (mut at_s, mut vehicles) = (10.0, Vec::new());
        for n in 0..80 {
            let kind = match n % 8 {
                3 => Kind::Lorry,
                6 => Kind::Motorcycle,
                _ => Kind::Car,
            };
            let vehicle = Vehicle::new(kind, at_s, speed * dice.between(0.9, 1.1));
            at_s = vehicle.leaves_s() + 3.0;
            vehicles.push(vehicle);
        }
        let road = Road { seed, interval_ms: 5, ..Road::with(vehicles) };
        let seen = road.watch(at_s + 5.0);
        road.judge(&seen, REACH_M);
        for (vehicle, (passage, class)) in road.vehicles.iter().zip(&seen.passages).skip(5) {
            let expected = match vehicle.kind {
                Kind::Motorcycle => LengthClass::Short,
                Kind::Car => LengthClass::Medium,
                Kind::Lorry => LengthClass::Long,
            };
            assert_eq!(*class, expected, "seed {seed}: {passage:?} of {vehicle:?}");
        }
    }
}

#[test]
fn tailgating_cars_are_two_down_to_a_stated_gap_and_one_below_it() {
    let counted = |gap_m: f64| {
        let first = Vehicle::new(Kind::Car, 10.0, 14.0);
        let second = Vehicle::new(Kind::Car, first.leaves_s() + gap_m / 14.0, 14.0);
        Road { interval_ms: 5, ..Road::with([first, second]) }.watch(20.0).passages.len()
    };
    // The gap that has to be free is 2.1 m at this speed (`gap_ms_min`); each car is felt for somewhat more than its length.
    assert_eq!((counted(5.0), counted(3.5)), (2, 2));
    assert_eq!((counted(1.0), counted(0.5)), (1, 1));
}

#[test]
fn a_car_that_stops_and_goes_on_is_counted_once() {
    let vehicle = Vehicle { stands_s: 90.0, ..Vehicle::new(Kind::Car, 20.0, 5.0) };
    let road = Road::with([vehicle, Vehicle::new(Kind::Car, 125.0, 10.0)]);
    let seen = road.watch(140.0);
    road.judge(&seen, REACH_M);
    assert!(seen.passages[0].0.duration_ms() > 90_000, "{:?}", seen.passages);
    assert!(seen.events.iter().all(|event| !matches!(event, Event::ParkedLeft(_))));
}

#[test]
fn a_parked_car_is_counted_once_traffic_over_it_is_counted_and_its_leaving_is_none() {
    let parked = Vehicle { stands_s: 1_200.0, ..Vehicle::new(Kind::Car, 20.0, 3.0) };
    // The way past it: a lorry in reach of the sensor, which stands in the road as well.
    let passing =
        (0..10).map(|n| Vehicle { beside_m: 1.0, ..Vehicle::new(Kind::Lorry, 300.0 + 60.0 * f64::from(n), 10.0) });
    let after = Vehicle::new(Kind::Car, 1_300.0, 14.0);
    let road = Road::with([parked].into_iter().chain(passing).chain([after]));
    let seen = road.watch(1_400.0);
    let first = seen.passages[0].0;
    assert_eq!((first.end, seen.passages.len()), (End::Parked, 12), "{:?}", seen.passages);
    let lasted = first.duration_ms();
    assert!((180_000..180_100).contains(&lasted), "ends at the time that is stated: {lasted}");
    let left: Vec<_> = seen.events.iter().filter(|event| matches!(event, Event::ParkedLeft(_))).collect();
    let [Event::ParkedLeft(at)] = left[..] else { panic!("{left:?}") };
    let leaves_ms = (road.vehicles[0].leaves_s() * 1_000.0) as u64;
    assert!((leaves_ms - 500..leaves_ms + 1_000).contains(&at.0), "{at:?} of {leaves_ms}");
    assert!(!seen.detector.is_parked() && seen.detector.phase() == Phase::Free);
}

#[test]
fn what_stood_over_the_sensor_at_the_start_costs_one_vehicle_and_the_stated_time() {
    let there_before = Vehicle { stands_s: 60.0, ..Vehicle::new(Kind::Car, -5.0, 3.0) };
    let after = (0..3).map(|n| Vehicle::new(Kind::Car, 300.0 + 10.0 * f64::from(n), 14.0));
    let road = Road::with([there_before].into_iter().chain(after));
    let seen = road.watch(340.0);
    let ends: Vec<_> = seen.passages.iter().map(|(passage, _)| passage.end).collect();
    assert_eq!(ends, [End::Parked, End::Left, End::Left, End::Left], "{:?}", seen.passages);
}

#[test]
fn a_magnetometer_at_the_end_of_its_range_still_counts() {
    // Half the height is eight times the field: here by a car whose middle drags.
    let near = Vehicle { beside_m: 0.0, ..Vehicle::new(Kind::Motorcycle, 15.0, 10.0) };
    let mut road = Road::with([near, Vehicle::new(Kind::Car, 18.0, 10.0)]);
    road.drift_microtesla = |_| 78.0;
    let seen = road.watch(25.0);
    road.judge(&seen, REACH_M);
    assert!(seen.passages.iter().any(|(passage, _)| passage.saturated), "{:?}", seen.passages);
}

#[test]
fn a_vehicle_of_which_samples_are_missing_is_counted_and_its_time_is_not_guessed() {
    let mut road = Road::with([Vehicle::new(Kind::Lorry, 15.0, 6.0), Vehicle::new(Kind::Car, 30.0, 14.0)]);
    road.is_missing = |at_s| (16.0..18.5).contains(&at_s);
    let seen = road.watch(40.0);
    let ends: Vec<_> = seen.passages.iter().map(|(passage, _)| passage.end).collect();
    assert_eq!(ends, [End::Unseen, End::Left], "{:?}", seen.passages);
    let known_ms = seen.summary.occupied_ms + seen.summary.free_ms;
    assert!((35_500..36_200).contains(&known_ms), "1.5 s of learning and 2.5 s without samples: {known_ms}");
    assert!(seen.passages[0].0.to.0 < 16_000);
}

#[test]
fn every_second_sample_missing_changes_no_count() {
    let vehicles = (0..20).map(|n| Vehicle::new(Kind::Car, 10.0 + 4.0 * f64::from(n), 14.0));
    let mut road = Road::with(vehicles);
    road.is_missing = |at_s| (at_s * 1_000.0 / 14.0).round() as u64 % 2 == 1;
    let seen = road.watch(100.0);
    road.judge(&seen, REACH_M);
}

#[test]
fn two_sensors_tell_speed_and_length() {
    let pair = Pair { distance_mm: 2_000, sample_interval_ms: 5 };
    for (kind, speed) in [(Kind::Car, 6.0), (Kind::Car, 14.0), (Kind::Lorry, 20.0), (Kind::Motorcycle, 14.0)] {
        let at_first = Vehicle::new(kind, 10.0, speed);
        let at_second = Vehicle { arrives_s: 10.0 + 2.0 / speed, ..at_first };
        let seen = [(at_first, 1), (at_second, 2)]
            .map(|(vehicle, seed)| Road { seed, interval_ms: 5, ..Road::with([vehicle]) }.watch(20.0).passages[0].0);
        let told = pair.speed(&seen[0], &seen[1]).unwrap();
        let off = f64::from(told.speed.0) / 1_000.0 - speed;
        println!("{kind:?} at {speed} m/s: {told:?}");
        // The noise moves the moment at which a threshold is crossed: 15 % more, in the middle of the published 10 to 20 %.
        assert!(off.abs() <= f64::from(told.uncertainty.0) / 1_000.0 + 0.15 * speed, "{told:?} of {speed} m/s");
        let over_m = f64::from(told.length_and_reach_mm) / 1_000.0 - at_first.length_m();
        assert!((-1.0..2.0 * REACH_M).contains(&over_m), "{told:?} of {} m", at_first.length_m());
    }
    assert!(MillimetersPerSecond(14_000) < MillimetersPerSecond(14_001));
}

#[test]
fn a_threshold_above_the_next_lanes_lorries_leaves_them_out() {
    let lorry = Vehicle { beside_m: 3.5, ..Vehicle::new(Kind::Lorry, 15.0, 14.0) };
    let own = Vehicle::new(Kind::Car, 25.0, 14.0);
    let road = Road::with([lorry, own]);
    let blunt = Settings {
        enter: Microtesla::from_nanotesla(8_000),
        leave: Microtesla::from_nanotesla(4_000),
        ..Settings::default()
    };
    let seen = road.watch_with(blunt, 35.0);
    assert_eq!(seen.passages.len(), 1, "{:?}", seen.passages);
    assert!((24_000..26_000).contains(&seen.passages[0].0.from.0));
}
