//! A car that somebody else measured: four passes at speeds that are known, each seen by two magnetometers beside the lane.
//!
//! Source: Ch. Nabil, "Magnetometer_Vehicle-data", github.com/ChNabil/Magnetometer_Vehicle-data, revision 6e9a4cf of 2022, recordings of
//! 2018, `Data processing/capture*_*kmph.xlsx`. The authors call the unit µT, and the field at rest, 61 and 76 of it, is about the
//! Earth's; 200 samples a second in steps of 2 µT; the speed is in each file's name. They agree with each other: the time above 8 µT
//! times the speed is 3.9 to 4.6 m in all eight, a car's length.
//!
//! The recordings have no licence and are not here. What is here are figures read off them (after a median of five samples, which takes
//! single garbled ones out): how long the field was more than 8 µT from rest, the greatest distance from it, and at 32 km/h the extremes
//! of each axis in their order. A signature is drawn through these by halves of a cosine, and stretched to the other speeds.
//!
//! The recordings themselves, garbled samples and all, were given to the detector by hand with thresholds of 8 and 4 µT, since their noise
//! of one step is more than the default is for: in each of the eight it counts one vehicle.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "outside `#[test]` functions too, a test fails by panicking"
)]

use lamppost_units::Microtesla;
use lamppost_vehicle::{Detector, End, Event, Field, LengthClass, Lengths, Millis, Passage, Sample, Settings};

/// Of each pass.
const KILOMETERS_PER_HOUR: [f64; 4] = [20.0, 32.0, 48.0, 64.0];
/// The pass whose extremes are below.
const DRAWN: usize = 1;
/// From where on a vehicle's time was read off.
const ABOVE_MICROTESLA: f64 = 8.0;

/// An extreme: when, as a part of the time above 8 µT, and how far from rest, µT.
type Extremes = &'static [(f64, f64)];

/// What one magnetometer saw.
struct Witness {
    axes: [Extremes; 3],
    above_ms: [f64; 4],
    peaks_microtesla: [f64; 4],
}

const WITNESSES: [Witness; 2] = [
    Witness {
        axes: [
            &[
                (-0.2, 0.0),
                (0.0, -4.0),
                (0.17, 2.0),
                (0.26, -6.0),
                (0.31, -4.0),
                (0.46, -34.0),
                (0.57, -22.0),
                (0.61, -24.0),
                (0.96, 4.0),
                (1.25, 0.0),
            ],
            &[
                (-0.07, 0.0),
                (0.18, 20.0),
                (0.32, 14.0),
                (0.42, 20.0),
                (0.69, -20.0),
                (0.83, -8.0),
                (0.92, -16.0),
                (1.12, 0.0),
            ],
            &[
                (-0.25, 0.0),
                (0.03, -8.0),
                (0.34, 18.0),
                (0.48, 36.0),
                (0.75, 8.0),
                (0.84, 10.0),
                (1.0, -4.0),
                (1.3, 0.0),
            ],
        ],
        above_ms: [710.0, 515.0, 305.0, 255.0],
        peaks_microtesla: [43.7, 51.5, 46.0, 51.5],
    },
    Witness {
        axes: [
            &[(0.25, 0.0), (0.41, -26.0), (0.58, -16.0), (1.0, 4.0), (1.25, 0.0)],
            &[
                (-0.1, 0.0),
                (0.1, 16.0),
                (0.16, 12.0),
                (0.2, 16.0),
                (0.28, 12.0),
                (0.37, 16.0),
                (0.62, -18.0),
                (0.78, -4.0),
                (0.89, -12.0),
                (1.2, 0.0),
            ],
            &[
                (-0.3, 0.0),
                (-0.05, -4.0),
                (0.24, 22.0),
                (0.3, 18.0),
                (0.51, 30.0),
                (0.7, 8.0),
                (0.83, 14.0),
                (0.95, -2.0),
                (1.2, 0.0),
            ],
        ],
        above_ms: [720.0, 480.0, 330.0, 240.0],
        peaks_microtesla: [35.4, 40.0, 34.6, 38.8],
    },
];

/// A magnetometer, and what the detector is told of it.
struct Magnetometer {
    step_microtesla: f64,
    settings: Settings,
}

/// As coarse as those of the recordings.
fn coarse() -> Magnetometer {
    let [enter, leave] = [8_000, 4_000].map(Microtesla::from_nanotesla);
    Magnetometer { step_microtesla: 2.0, settings: Settings { enter, leave, ..Settings::default() } }
}

/// An LSM303DLHC at its finest gain.
fn fine() -> Magnetometer {
    Magnetometer { step_microtesla: 100.0 / 1100.0, settings: Settings::default() }
}

fn drawn(extremes: Extremes, at: f64) -> f64 {
    let next = extremes.iter().position(|(when, _)| *when > at);
    match next {
        None | Some(0) => 0.0,
        Some(next) => {
            let ((from, low), (to, high)) = (extremes[next - 1], extremes[next]);
            let part = (at - from) / (to - from);
            low + (high - low) * (1.0 - (std::f64::consts::PI * part).cos()) / 2.0
        }
    }
}

impl Witness {
    /// How far the field is from rest in that pass, `at_ms` after it was first 8 µT from it.
    fn deviation(&self, pass: usize, at_ms: f64) -> [f64; 3] {
        let strength = self.peaks_microtesla[pass] / self.peaks_microtesla[DRAWN];
        self.axes.map(|extremes| drawn(extremes, at_ms / self.above_ms[pass]) * strength)
    }
}

/// What the detector makes of passes, one every four seconds, sampled each 14 ms.
fn watch(witness: &Witness, passes: &[usize], magnetometer: &Magnetometer) -> (Vec<(Passage, LengthClass)>, u16) {
    const EVERY_MS: u64 = 4_000;
    let mut detector = Detector::new(magnetometer.settings).unwrap();
    let (mut lengths, mut passages) = (Lengths::default(), Vec::new());
    let end_ms = (passes.len() as u64 + 1) * EVERY_MS;
    for now_ms in (0..end_ms).step_by(14) {
        // The first interval is for learning; a vehicle is there from the second quarter of each of the others on.
        let (number, in_it_ms) = (now_ms / EVERY_MS, (now_ms % EVERY_MS) as f64 - 1_000.0);
        let pass = number.checked_sub(1).map(|number| passes[number as usize]);
        let deviation = pass.map_or([0.0; 3], |pass| witness.deviation(pass, in_it_ms));
        let [x, y, z] = [0, 1, 2].map(|axis| {
            let steps = (([-12.0, -2.0, 60.0][axis] + deviation[axis]) / magnetometer.step_microtesla).round();
            Microtesla::from_nanotesla((steps * magnetometer.step_microtesla * 1_000.0).round() as i32)
        });
        if let Some(Event::Passed(passage)) = detector.observe(Millis(now_ms), Sample::Field(Field::new(x, y, z))) {
            passages.push((passage, lengths.classify(&passage)));
        }
    }
    let summary = detector.summarize(Millis(end_ms));
    assert_eq!((summary.count as usize, summary.blips), (passages.len(), 0));
    (passages, summary.occupancy().unwrap().get())
}

#[test]
fn what_is_drawn_is_above_8_microteslas_for_as_long_and_as_strong_as_what_was_read_off() {
    let length = |deviation: [f64; 3]| deviation.iter().map(|component| component * component).sum::<f64>().sqrt();
    for witness in &WITNESSES {
        for (pass, kilometers_per_hour) in KILOMETERS_PER_HOUR.into_iter().enumerate() {
            let far = |ms: &i32| length(witness.deviation(pass, f64::from(*ms))) > ABOVE_MICROTESLA;
            let (first, last) = ((-500..1_500).find(far).unwrap(), (-500..1_500).rfind(far).unwrap());
            let peak = (-500..1_500).map(|ms| length(witness.deviation(pass, f64::from(ms)))).fold(0.0, f64::max);
            let (lasts, reads) = (f64::from(last - first), witness.above_ms[pass]);
            println!("{kilometers_per_hour} km/h: {lasts} ms of {reads}, {peak:.1} µT");
            assert!((lasts / reads - 1.0).abs() < 0.1, "{lasts} ms, and {reads} were read off");
            assert!((peak / witness.peaks_microtesla[pass] - 1.0).abs() < 0.1, "{peak} µT");
        }
    }
}

#[test]
fn the_measured_car_is_one_vehicle_at_each_of_its_speeds_and_as_long_as_a_car() {
    for (witness, magnetometer) in WITNESSES.iter().flat_map(|witness| [(witness, coarse()), (witness, fine())]) {
        for (pass, kilometers_per_hour) in KILOMETERS_PER_HOUR.into_iter().enumerate() {
            let (passages, permille) = watch(witness, &[pass; 8], &magnetometer);
            assert_eq!(passages.len(), 8, "{kilometers_per_hour} km/h: {passages:?}");
            let mut occupied_ms = 0;
            for (passage, _) in &passages {
                assert_eq!((passage.end, passage.saturated), (End::Left, false), "{passage:?}");
                let peak = f64::from(passage.peak.nanotesla()) / 1_000.0;
                assert!((peak / witness.peaks_microtesla[pass] - 1.0).abs() < 0.15, "{passage:?}");
                // By what is felt before and behind it longer than it is, by a lower threshold more so.
                let meters = passage.duration_ms() as f64 / 1_000.0 * kilometers_per_hour / 3.6;
                assert!((3.6..6.6).contains(&meters), "{meters} m at {kilometers_per_hour} km/h");
                occupied_ms += passage.duration_ms();
            }
            // 36 s less the 1.5 s of learning; a passage ends with a sample that may belong to it or not.
            let expected = occupied_ms as f64 / 34_500.0 * 1_000.0;
            println!("{kilometers_per_hour} km/h: {:?}, {permille} ‰", passages[0].0);
            assert!((f64::from(permille) - expected).abs() < 8.0, "{permille} ‰, by the passages {expected:.1}");
        }
    }
}

#[test]
fn the_measured_car_is_of_medium_length_among_its_like_also_where_one_drives_faster() {
    for (witness, magnetometer) in WITNESSES.iter().flat_map(|witness| [(witness, coarse()), (witness, fine())]) {
        // 20 among 32 km/h, 32 among 20, 48 among 64, 64 among 48.
        for (usual, other) in [(1, 0), (0, 1), (3, 2), (2, 3)] {
            let (passages, _) =
                watch(witness, &[usual, usual, usual, usual, usual, usual, other, usual], &magnetometer);
            let classes: Vec<LengthClass> = passages.iter().skip(5).map(|(_, class)| *class).collect();
            assert_eq!(classes, [LengthClass::Medium; 3], "{usual} and {other}: {passages:?}");
        }
    }
}
