//! A day on a road that warms and cools.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "outside `#[test]` functions too, a test fails by panicking"
)]

mod road;

use road::{Dice, Kind, Road, Vehicle};

/// 12 µT from night to noon, and a cloud that takes 1 µT away within two minutes, every two hours.
fn drift_microtesla(at_s: f64) -> f64 {
    let day = std::f64::consts::TAU * at_s / 86_400.0;
    let cloud_s = at_s % 7_200.0;
    let cloud = if cloud_s < 120.0 { cloud_s / 120.0 } else { 1.0 - ((cloud_s - 120.0) / 600.0).min(1.0) };
    -6.0 * day.cos() - cloud
}

#[test]
fn over_a_day_of_drift_every_vehicle_is_counted_and_nothing_else() {
    let seed = 20_260;
    let mut dice = Dice(seed);
    let (mut at_s, mut vehicles) = (30.0, Vec::new());
    while at_s < 86_000.0 {
        let kind = [Kind::Car, Kind::Car, Kind::Lorry, Kind::Motorcycle][(dice.next() % 4) as usize];
        let vehicle = Vehicle::new(kind, at_s, dice.between(6.0, 20.0));
        at_s = vehicle.leaves_s() + dice.between(2.0, 400.0);
        vehicles.push(vehicle);
    }
    let road = Road { seed, interval_ms: 40, drift_microtesla, ..Road::with(vehicles) };
    let seen = road.watch(86_400.0);
    println!("{} vehicles, occupancy {}", seen.passages.len(), seen.summary.occupancy().unwrap());
    road.judge(&seen, 2.0);
    assert_eq!(seen.summary.blips, 0);
}

#[test]
fn a_car_parked_through_the_warming_day_leaves_without_being_counted_again() {
    let parked = Vehicle { stands_s: 30_000.0, ..Vehicle::new(Kind::Car, 600.0, 3.0) };
    let after = Vehicle::new(Kind::Car, 31_000.0, 14.0);
    let road = Road { interval_ms: 40, drift_microtesla, ..Road::with([parked, after]) };
    let seen = road.watch(31_100.0);
    assert_eq!(seen.passages.len(), 2, "{:?}", seen.events);
    assert!(!seen.detector.is_parked());
}
