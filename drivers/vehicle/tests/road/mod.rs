//! A road: vehicles as rows of magnetic dipoles that drive past a sensor, and the ledger of what passed.
//!
//! The field of a dipole of moment m at the place r from it: B = µ0/4π · (3 (m·r̂) r̂ − m) / |r|³ (J. D. Jackson, Classical Electrodynamics, section 5.6).
//! Axes: x along the lane, y across it, z down. Metres, seconds, teslas; A·m² for moments. The moments are chosen so that a car over the sensor changes the
//! field by some tens of microteslas; they were not measured.

use lamppost_units::Microtesla;
use lamppost_vehicle::{Detector, End, Event, Field, LengthClass, Lengths, Millis, Passage, Sample, Settings, Summary};

const MU0_OVER_4_PI: f64 = 1e-7;
const EARTH_MICROTESLA: [f64; 3] = [18.0, 2.0, 45.0];
/// Of an LSM303DLHC at its finest gain: 1100 steps a gauss, and what it calls its full scale.
const STEP_MICROTESLA: f64 = 100.0 / 1100.0;
const RANGE_MICROTESLA: f64 = 130.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Motorcycle,
    Car,
    Lorry,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Vehicle {
    pub(crate) kind: Kind,
    /// When its front is over the sensor, in seconds.
    pub(crate) arrives_s: f64,
    pub(crate) speed: f64,
    /// It stands over the sensor with its middle for so long.
    pub(crate) stands_s: f64,
    /// Across the lane, from the sensor.
    pub(crate) beside_m: f64,
}

impl Vehicle {
    pub(crate) fn new(kind: Kind, arrives_s: f64, speed: f64) -> Self {
        Self { kind, arrives_s, speed, stands_s: 0.0, beside_m: 0.2 }
    }

    pub(crate) fn length_m(&self) -> f64 {
        match self.kind {
            Kind::Motorcycle => 2.1,
            Kind::Car => 4.4,
            Kind::Lorry => 12.0,
        }
    }

    /// Where the dipoles are, from the front and above the road, and the moment of each.
    fn dipoles(&self) -> (&'static [f64], f64, [f64; 3]) {
        match self.kind {
            Kind::Motorcycle => (&[0.6, 1.4], 0.45, [2.0, 1.0, 6.0]),
            Kind::Car => (&[0.7, 1.5, 2.4, 3.6], 0.6, [10.0, 4.0, 26.0]),
            Kind::Lorry => (&[1.0, 2.4, 3.8, 5.2, 6.6, 8.0, 9.4, 10.8], 0.9, [30.0, -10.0, 70.0]),
        }
    }

    /// How far its front has come past the sensor.
    fn front_m(&self, at_s: f64) -> f64 {
        let driven_s = at_s - self.arrives_s;
        let until_middle_s = self.length_m() / 2.0 / self.speed;
        let standing_s = (driven_s - until_middle_s).clamp(0.0, self.stands_s);
        (driven_s - standing_s) * self.speed
    }

    pub(crate) fn leaves_s(&self) -> f64 {
        self.arrives_s + self.length_m() / self.speed + self.stands_s
    }

    fn field(&self, at_s: f64) -> [f64; 3] {
        let front_m = self.front_m(at_s);
        if !(-40.0..60.0).contains(&front_m) {
            return [0.0; 3];
        }
        let mut sum = [0.0; 3];
        let (places, height, moment) = self.dipoles();
        for from_front in places {
            // From the dipole to the sensor.
            let r = [-(front_m - from_front), -self.beside_m, height];
            let distance = r.iter().map(|x| x * x).sum::<f64>().sqrt();
            let along = (0..3).map(|i| moment[i] * r[i]).sum::<f64>() / distance;
            for i in 0..3 {
                sum[i] += MU0_OVER_4_PI * (3.0 * along * r[i] / distance - moment[i]) / distance.powi(3) * 1e6;
            }
        }
        sum
    }
}

/// Numbers that one seed repeats (splitmix64).
pub(crate) struct Dice(pub u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (self.next() >> 11) as f64 / (1u64 << 53) as f64 * (high - low)
    }

    /// Mean 0, standard deviation 1, nearly normal: six uniform ones added, each of variance 1/12.
    fn normal(&mut self) -> f64 {
        (0..6).map(|_| self.between(-0.5, 0.5)).sum::<f64>() * std::f64::consts::SQRT_2
    }
}

pub(crate) struct Road {
    pub(crate) vehicles: Vec<Vehicle>,
    pub(crate) noise_microtesla: f64,
    pub(crate) interval_ms: u64,
    pub(crate) seed: u64,
    /// What the background has changed by, along each axis, at a time in seconds.
    pub(crate) drift_microtesla: fn(f64) -> f64,
    /// Whether a sample is missing, by its time in seconds.
    pub(crate) is_missing: fn(f64) -> bool,
}

impl Default for Road {
    fn default() -> Self {
        Self {
            vehicles: Vec::new(),
            noise_microtesla: 0.25,
            interval_ms: 14,
            seed: 1,
            drift_microtesla: |_| 0.0,
            is_missing: |_| false,
        }
    }
}

/// What the detector made of a road.
pub(crate) struct Seen {
    pub(crate) passages: Vec<(Passage, LengthClass)>,
    pub(crate) events: Vec<Event>,
    pub(crate) summary: Summary,
    pub(crate) detector: Detector,
}

impl Road {
    pub(crate) fn with(vehicles: impl IntoIterator<Item = Vehicle>) -> Self {
        Self { vehicles: vehicles.into_iter().collect(), ..Self::default() }
    }

    /// Those that are felt at any time of this second.
    fn near(&self, at_s: f64) -> Vec<Vehicle> {
        let is_near = |vehicle: &&Vehicle| vehicle.arrives_s - 20.0 < at_s && at_s < vehicle.leaves_s() + 20.0;
        self.vehicles.iter().filter(is_near).copied().collect()
    }

    fn sample(&self, at_s: f64, near: &[Vehicle], dice: &mut Dice) -> Sample {
        let mut field = EARTH_MICROTESLA.map(|component| component + (self.drift_microtesla)(at_s));
        for vehicle in near {
            let theirs = vehicle.field(at_s);
            (0..3).for_each(|i| field[i] += theirs[i]);
        }
        let noisy = field.map(|component| component + dice.normal() * self.noise_microtesla);
        if noisy.iter().any(|component| component.abs() > RANGE_MICROTESLA) {
            return Sample::Saturated;
        }
        let [x, y, z] = noisy.map(|component| {
            let steps = (component / STEP_MICROTESLA).round();
            Microtesla::from_nanotesla((steps * STEP_MICROTESLA * 1_000.0).round() as i32)
        });
        Sample::Field(Field::new(x, y, z))
    }

    /// Lets a detector watch it for so many seconds.
    pub(crate) fn watch(&self, seconds: f64) -> Seen {
        self.watch_with(Settings::default(), seconds)
    }

    pub(crate) fn watch_with(&self, settings: Settings, seconds: f64) -> Seen {
        println!("seed {}", self.seed);
        let mut detector = Detector::new(settings).unwrap();
        let (mut lengths, mut dice) = (Lengths::default(), Dice(self.seed));
        let (mut passages, mut events) = (Vec::new(), Vec::new());
        let mut near = (-1.0, Vec::new());
        for now_ms in (0..(seconds * 1_000.0) as u64).step_by(self.interval_ms as usize) {
            let at_s = now_ms as f64 / 1_000.0;
            if near.0 != at_s.floor() {
                near = (at_s.floor(), self.near(at_s));
            }
            let sample = self.sample(at_s, &near.1, &mut dice);
            if (self.is_missing)(at_s) {
                continue;
            }
            let event = detector.observe(Millis(now_ms), sample);
            events.extend(event);
            if let Some(Event::Passed(passage)) = event {
                passages.push((passage, lengths.classify(&passage)));
            }
        }
        assert_eq!(detector.count(), passages.len() as u64, "counted and told differ");
        let summary = detector.summarize(Millis((seconds * 1_000.0) as u64));
        Seen { passages, events, summary, detector }
    }

    /// The judge: compares passages with the ledger of what drove, by the bodies of the vehicles alone. Each vehicle has to have one passage,
    /// which covers most of the time for which it was over the sensor, and begins and ends within its reach.
    pub(crate) fn judge(&self, seen: &Seen, reach_m: f64) {
        let is_of = |vehicle: &Vehicle, passage: &Passage| {
            let (from_s, to_s) = (passage.from.0 as f64 / 1_000.0, passage.to.0 as f64 / 1_000.0);
            from_s < vehicle.leaves_s() && vehicle.arrives_s < to_s
        };
        for vehicle in &self.vehicles {
            let of_it = seen.passages.iter().map(|(passage, _)| *passage).filter(|passage| is_of(vehicle, passage));
            let of_it: Vec<_> = of_it.collect();
            assert_eq!(of_it.len(), 1, "seed {}: {vehicle:?} has the passages {of_it:?}", self.seed);
        }
        assert_eq!(seen.passages.len(), self.vehicles.len(), "seed {}: passages without a vehicle", self.seed);
        for (vehicle, (passage, _)) in self.vehicles.iter().zip(&seen.passages) {
            let slack_s = 2.0 * self.interval_ms as f64 / 1_000.0;
            let (from_s, to_s) = (passage.from.0 as f64 / 1_000.0, passage.to.0 as f64 / 1_000.0);
            let (early_s, late_s) = (vehicle.arrives_s - from_s, to_s - vehicle.leaves_s());
            let reach_s = reach_m / vehicle.speed + slack_s;
            assert_eq!(passage.end, End::Left, "{passage:?}");
            assert!(early_s.abs() <= reach_s, "seed {}: {early_s} s early: {passage:?} of {vehicle:?}", self.seed);
            assert!(late_s.abs() <= reach_s, "seed {}: {late_s} s late: {passage:?} of {vehicle:?}", self.seed);
        }
    }
}
