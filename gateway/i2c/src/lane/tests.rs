use lamppost_lsm303dlhc::MagneticField;
use lamppost_units::Microtesla;

use super::*;
use crate::model::ModelBus;

/// Where nothing drives, in microteslas.
const EARTH: [f64; 3] = [18.0, 2.0, 45.0];

/// A vehicle of iron: dipoles every 1.2 m, 0.6 m above the sensor, of a moment along the lane and one upwards.
#[derive(Clone, Copy)]
struct Vehicle {
    arrives_s: f64,
    metres: f64,
    metres_per_s: f64,
    /// A·m², of each dipole.
    moment: f64,
}

const fn car(arrives_s: f64) -> Vehicle {
    Vehicle { arrives_s, metres: 4.4, metres_per_s: 13.9, moment: 24.0 }
}

impl Vehicle {
    /// In microteslas, of B = µ0/4π · (3 (m·r̂) r̂ − m) / r³ in the plane of lane and sensor (J. D. Jackson, Classical Electrodynamics, section 5.6).
    fn field(self, at_s: f64) -> [f64; 3] {
        let front = (at_s - self.arrives_s) * self.metres_per_s;
        let mut sum = [0.0; 3];
        for nth in 0..(self.metres / 1.2) as u32 {
            let (along, up) = (front - 0.6 - 1.2 * f64::from(nth), 0.6_f64);
            let distance = along.hypot(up);
            let moment = [0.4 * self.moment, self.moment];
            let projected = (moment[0] * along + moment[1] * up) / distance;
            sum[0] += 0.1 * (3.0 * projected * along / distance - moment[0]) / distance.powi(3);
            sum[2] += 0.1 * (3.0 * projected * up / distance - moment[1]) / distance.powi(3);
        }
        sum
    }
}

fn microtesla([x, y, z]: [f64; 3]) -> MagneticField {
    let nano = |micro: f64| Microtesla::from_nanotesla((micro * 1_000.0) as i32);
    MagneticField { x: nano(x), y: nano(y), z: nano(z) }
}

/// Lets a watch read a modelled chip through its registers, every 14 ms of a time of its own.
struct Road {
    bus: ModelBus,
    chip: Lsm303dlhc<Bus>,
    watch: Watch,
    now_ms: u64,
}

impl Road {
    fn new(settings: Settings) -> Self {
        let bus = ModelBus::new();
        bus.set_lsm303dlhc(microtesla(EARTH));
        let chip = magnetometer(Bus::Model(bus.clone())).unwrap();
        Self { bus, chip, watch: Watch::new(detector(settings).unwrap()), now_ms: 0 }
    }

    fn drive(&mut self, until_s: f64, vehicles: &[Vehicle]) -> &mut Self {
        while self.now_ms as f64 / 1_000.0 < until_s {
            let mut field = EARTH;
            for vehicle in vehicles {
                let theirs = vehicle.field(self.now_ms as f64 / 1_000.0);
                (0..3).for_each(|axis| field[axis] += theirs[axis]);
            }
            self.bus.set_lsm303dlhc(microtesla(field));
            let sample = match self.chip.read() {
                Ok(found) => Sample::Field(Field::new(found.x, found.y, found.z)),
                Err(Error::Output(OutputError::Saturated { .. })) => Sample::Saturated,
                Err(error) => panic!("{error}"),
            };
            self.watch.take(Millis(self.now_ms), sample);
            self.now_ms += 14;
        }
        self
    }

    /// Of [`MEASURES`], in thousandths of their units.
    fn report(&mut self) -> Vec<(&'static str, i64)> {
        let report = self.watch.report(Millis(self.now_ms)).unwrap();
        let thousandths = |found: &Measured| {
            let decimal = found.value;
            decimal.mantissa() * 10_i64.pow(u32::try_from(decimal.exponent() + 3).unwrap())
        };
        report.iter().map(|found| (found.measure, thousandths(found))).collect()
    }
}

fn of(report: &[(&str, i64)], measure: &str) -> i64 {
    report.iter().find(|(name, _)| *name == measure).unwrap().1
}

#[test]
fn each_vehicle_that_drives_past_is_in_one_report() {
    let vehicles: Vec<Vehicle> = (0..7).map(|nth| car(5.0 + 3.0 * f64::from(nth))).collect();
    let mut road = Road::new(Settings::default());
    let first = road.drive(10.5, &vehicles).report();
    let second = road.drive(30.0, &vehicles).report();
    let third = road.drive(40.0, &vehicles).report();
    assert_eq!(first.iter().map(|(measure, _)| *measure).collect::<Vec<_>>(), MEASURES);
    assert_eq!((of(&first, "vehicles"), of(&second, "vehicles"), of(&third, "vehicles")), (2_000, 5_000, 0));
    // The 1.5 s in which the baseline was learnt are not watched.
    assert!((850..=860).contains(&of(&first, "watched")), "{first:?}");
    assert_eq!(of(&third, "watched"), 1_000);
    // Each is there for some 0.32 s, and felt for a little longer.
    assert!((60..=170).contains(&of(&second, "occupancy")), "{second:?}");
    assert_eq!(of(&third, "occupancy"), 0);
}

#[test]
fn after_some_cars_a_lorry_and_a_motorcycle_are_told_from_them() {
    let mut vehicles: Vec<Vehicle> = (0..6).map(|nth| car(5.0 + 3.0 * f64::from(nth))).collect();
    vehicles.push(Vehicle { metres: 14.4, moment: 60.0, ..car(25.0) });
    vehicles.push(Vehicle { metres: 1.3, moment: 6.0, ..car(30.0) });
    let report = Road::new(Settings::default()).drive(35.0, &vehicles).report();
    assert_eq!(of(&report, "vehicles"), 8_000, "{report:?}");
    let classes = ["vehicles_short", "vehicles_medium", "vehicles_long"].map(|class| of(&report, class));
    // Five have to have passed before there is something to compare with.
    assert_eq!(classes, [1_000, 1_000, 1_000]);
}

#[test]
fn what_stays_below_the_threshold_is_no_vehicle_and_with_a_lower_one_it_is() {
    let beside = [Vehicle { moment: 1.0, ..car(5.0) }];
    let counted = |settings| of(&Road::new(settings).drive(10.0, &beside).report(), "vehicles");
    assert_eq!(counted(Settings::default()), 0);
    let nanotesla = Microtesla::from_nanotesla;
    let eager = Settings { enter: nanotesla(800), leave: nanotesla(400), ..Settings::default() };
    assert_eq!(counted(eager), 1_000);
}

#[test]
fn of_a_time_that_nothing_is_known_of_nothing_is_reported_and_in_the_end_it_is_an_error() {
    let mut watch = Watch::new(detector(Settings::default()).unwrap());
    // A field that is never still.
    let mut shaken = |ms: u64| {
        for (nth, now) in (ms..ms + 5_000).step_by(14).enumerate() {
            let nanotesla = if nth % 2 == 0 { 0 } else { 9_000 };
            let along = Microtesla::from_nanotesla(nanotesla);
            watch.take(Millis(now), Sample::Field(Field::new(along, along, along)));
        }
        watch.report(Millis(ms + 5_000)).unwrap_err()
    };
    assert_eq!((shaken(0), shaken(5_000)), (None, None));
    let said = shaken(10_000).unwrap();
    assert_eq!(
        said,
        "LSM303DLHC: the field was never still for 1500 ms, within 3 µT on each axis: no vehicle can be told from it"
    );
}

#[test]
fn settings_that_tell_no_vehicle_at_this_rate_are_refused_by_name() {
    let gap = Settings { gap_ms_min: 49, silence_ms_max: 49, ..Settings::default() };
    assert_eq!(check(&gap).unwrap_err().to_string(), "`gap_ms_min` has to be 50 to 10000 ms");
    let crossed = Settings { leave: Microtesla::from_nanotesla(3_000), ..Settings::default() };
    assert_eq!(check(&crossed), Err(SettingsError::Thresholds));
}

/// A lane at work on a modelled bus, looked at when it wants to be, in a time of the test's own.
struct AtWork {
    bus: ModelBus,
    lane: Lane,
    began: Instant,
    now: Instant,
}

impl AtWork {
    fn new() -> Self {
        let (bus, began) = (ModelBus::new(), Instant::now());
        bus.set_lsm303dlhc(microtesla(EARTH));
        let lane = Lane::new(BusOpener::Model(bus.clone()), detector(Settings::default()).unwrap(), began);
        let mut at_work = Self { bus, lane, began, now: began };
        assert_eq!(at_work.report(), []);
        at_work
    }

    /// Lets `metres`-long iron stand over the chip, or the road be free, until `until_s`; the longest time without a sample, ms.
    fn look_until(&mut self, until_s: f64, stands_there: bool) -> u128 {
        let until = self.began + Duration::from_secs_f64(until_s);
        let mut field = EARTH;
        field[2] += if stands_there { 20.0 } else { 0.0 };
        let (mut sampled, mut longest_ms) = (self.now, 0);
        while let Some(due) = self.lane.due().filter(|due| *due < until) {
            self.now = due;
            self.bus.set_lsm303dlhc(microtesla(field));
            self.lane.look(due).unwrap();
            if self.lane.chip.is_some() && self.lane.failing.is_none() {
                longest_ms = longest_ms.max((due - sampled).as_millis());
                sampled = due;
            }
        }
        self.now = until;
        longest_ms
    }

    fn report(&mut self) -> Vec<(&'static str, Decimal)> {
        self.lane.report(self.now).unwrap().iter().map(|found| (found.measure, found.value)).collect()
    }
}

#[test]
fn a_transfer_that_fails_once_is_mended_within_45_ms_and_no_vehicle_that_stands_there_is_lost_sight_of() {
    let mut at_work = AtWork::new();
    assert!(at_work.look_until(3.0, false) <= 27, "one sample after the other, the first when the chip has settled");
    at_work.look_until(4.0, true);
    at_work.bus.fail_transfers(1);
    let longest_ms = at_work.look_until(5.0, true);
    assert!((14..=45).contains(&longest_ms), "{longest_ms} ms without a sample");
    at_work.look_until(6.0, false);
    let report = at_work.report();
    assert_eq!(report[0], ("vehicles", Decimal::new(1, 0)), "once, and neither cut in two nor unseen: {report:?}");
    let (_, occupancy) = report[4];
    // Two of the 4.5 s in which the baseline was known.
    assert!((430..=460).contains(&occupancy.mantissa()), "{report:?}");
}

#[test]
fn two_transfers_in_a_row_that_fail_are_told_and_tried_again_a_second_later() {
    let mut at_work = AtWork::new();
    at_work.look_until(3.0, false);
    at_work.bus.fail_transfers(2);
    let first = at_work.lane.due().unwrap();
    assert_eq!(at_work.lane.look(first), Ok(()));
    let second = at_work.lane.due().unwrap();
    let said = at_work.lane.look(second).unwrap_err();
    assert!(said.starts_with("reading LSM303DLHC register IRA (0x0a): "), "{said}");
    assert_eq!(at_work.lane.due().unwrap() - second, Duration::from_secs(1));
}
