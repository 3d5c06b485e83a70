extern crate std;

use super::*;

/// The worked example of Bosch's BMP280 data sheet (BST-BMP280-DS001, section 3.12 "Calculating pressure and temperature"),
/// whose temperature and pressure formulas are the BME280's. It has no humidity.
const WORKED_EXAMPLE: Calibration = Calibration {
    t1: 27504,
    t2: 26435,
    t3: -1000,
    p1: 36477,
    p2: -10685,
    p3: 3024,
    p4: 2855,
    p5: 140,
    p6: -7,
    p7: 15500,
    p8: -14600,
    p9: 6000,
    h1: 0,
    h2: 0,
    h3: 0,
    h4: 0,
    h5: 0,
    h6: 0,
};

/// The calibration registers of a real chip and one reading of it with its compensated values, as published with the tests of
/// the crate bme280-rs 0.2 (Claudio Mattera, src/calibration.rs).
const REAL_FIRST: [u8; 26] = [
    0xb1, 0x6f, 0x2e, 0x6a, 0x32, 0x00, 0xe2, 0x8f, 0x0a, 0xd7, 0xd0, 0x0b, 0x75, 0x1f, 0xc5, 0xff, 0xf9, 0xff, 0xac,
    0x26, 0x0a, 0xd8, 0xbd, 0x10, 0x00, 0x4b,
];
const REAL_SECOND: [u8; 7] = [0x77, 0x01, 0x00, 0x12, 0x20, 0x03, 0x1e];
const REAL_RAW: Raw = Raw { temperature: 0x84510, pressure: 0x4f570, humidity: 0x5eb4 };

fn real() -> Calibration {
    Calibration::parse(&REAL_FIRST, &REAL_SECOND)
}

#[test]
fn the_data_sheets_worked_example_comes_out_as_it_says() {
    let fine = WORKED_EXAMPLE.fine_temperature(519_888);
    assert_eq!(fine, 128_422);
    assert_eq!(celsius(fine), Some(Celsius::from_milli(25_080)));
    // The example is calculated in double precision: 100653.27 Pa.
    let raw = Raw { temperature: 519_888, pressure: 415_148, humidity: 0 };
    let (_, pascals, _) = in_double_precision(&WORKED_EXAMPLE, raw);
    assert!((pascals - 100_653.27).abs() < 0.005, "{pascals}");
    let milli = WORKED_EXAMPLE.pressure(raw.pressure, fine).unwrap().milli();
    assert!((milli - 100_653_270).abs() < 20, "{milli} mPa by integers");
}

#[test]
fn a_real_chips_registers_parse_to_its_published_coefficients() {
    let c = real();
    assert_eq!((c.t1, c.t2, c.t3), (0x6fb1, 0x6a2e, 0x32));
    assert_eq!((c.p1, c.p2, c.p3, c.p4, c.p5), (0x8fe2, -10_486, 0x0bd0, 0x1f75, -59));
    assert_eq!((c.p6, c.p7, c.p8, c.p9), (-7, 0x26ac, -10_230, 0x10bd));
    assert_eq!((c.h1, c.h2, c.h3, c.h4, c.h5, c.h6), (0x4b, 0x0177, 0, 0x0120, 0x0032, 0x1e));
}

#[test]
fn a_real_chips_reading_compensates_to_its_published_values() {
    let c = real();
    let fine = c.fine_temperature(REAL_RAW.temperature);
    assert_eq!(fine, 0x22391);
    assert_eq!(c.pressure_q8(REAL_RAW.pressure, fine), Some(0x018b_663f));
    assert_eq!(c.humidity_q10(REAL_RAW.humidity, fine), Some(0x8399));
    let expected = Measurement {
        temperature: Celsius::from_milli(27_380),
        pressure: Pascals::from_milli(101_222_246),
        humidity: RelativeHumidity::from_milli(32_899),
    };
    assert_eq!(c.compensate(REAL_RAW), Ok(expected));
}

#[test]
fn negative_humidity_coefficients_keep_their_sign() {
    let mut second = REAL_SECOND;
    second[3..6].copy_from_slice(&[0xff, 0x2e, 0xf0]);
    let c = Calibration::parse(&REAL_FIRST, &second);
    assert_eq!((c.h4, c.h5), (-2, -254), "0xffe and 0xf02 as 12-bit integers");
}

/// The data sheet's other formulas (section 8.1, double precision), as an independent judge.
fn in_double_precision(c: &Calibration, raw: Raw) -> (f64, f64, f64) {
    let (t, p, h) = (f64::from(raw.temperature), f64::from(raw.pressure), f64::from(raw.humidity));
    let step = t / 131_072.0 - f64::from(c.t1) / 8192.0;
    let fine = (t / 16_384.0 - f64::from(c.t1) / 1024.0) * f64::from(c.t2) + step * step * f64::from(c.t3);

    let v1 = fine / 2.0 - 64_000.0;
    let v2 = v1 * v1 * f64::from(c.p6) / 32_768.0 + v1 * f64::from(c.p5) * 2.0;
    let v2 = v2 / 4.0 + f64::from(c.p4) * 65_536.0;
    let v1 = (f64::from(c.p3) * v1 * v1 / 524_288.0 + f64::from(c.p2) * v1) / 524_288.0;
    let v1 = (1.0 + v1 / 32_768.0) * f64::from(c.p1);
    let pressure = (1_048_576.0 - p - v2 / 4096.0) * 6250.0 / v1;
    let square = f64::from(c.p9) * pressure * pressure / 2_147_483_648.0;
    let pressure = pressure + (square + pressure * f64::from(c.p8) / 32_768.0 + f64::from(c.p7)) / 16.0;

    let v = fine - 76_800.0;
    let slope = 1.0 + f64::from(c.h6) / 67_108_864.0 * v * (1.0 + f64::from(c.h3) / 67_108_864.0 * v);
    let v = (h - (f64::from(c.h4) * 64.0 + f64::from(c.h5) / 16_384.0 * v)) * f64::from(c.h2) / 65_536.0 * slope;
    let humidity = (v * (1.0 - f64::from(c.h1) * v / 524_288.0)).clamp(0.0, 100.0);
    (fine / 5120.0, pressure, humidity)
}

#[test]
fn the_integer_formulas_agree_with_the_data_sheets_floating_point_ones() {
    let c = real();
    let mut compared = 0;
    for temperature in (380_000..700_000).step_by(9_973) {
        for (pressure, humidity) in (200_000..500_000).step_by(29_989).zip((20_000..42_000).step_by(2_003)) {
            let raw = Raw { temperature, pressure, humidity };
            let (celsius, pascals, percent) = in_double_precision(&c, raw);
            if !(-40.0..85.0).contains(&celsius) || !(30_000.0..110_000.0).contains(&pascals) {
                continue;
            }
            compared += 1;
            let found = c.compensate(raw).unwrap();
            assert!((f64::from(found.temperature.milli()) / 1e3 - celsius).abs() < 0.01, "{raw:?} {celsius}");
            assert!((f64::from(found.pressure.milli()) / 1e3 - pascals).abs() < 0.5, "{raw:?} {pascals}");
            assert!((f64::from(found.humidity.milli()) / 1e3 - percent).abs() < 0.02, "{raw:?} {percent}");
        }
    }
    assert!(compared > 100, "only {compared} readings were within the chip's range");
}

#[test]
fn no_calibration_and_no_reading_can_make_it_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Extremes are where it would overflow: a third of all bytes are 0x00, 0x7f, 0x80 or 0xff.
        let byte = (state >> 32) as u8;
        if state.is_multiple_of(3) { [0x00, 0x7f, 0x80, 0xff][usize::from(byte & 3)] } else { byte }
    };
    let (mut plausible, mut implausible) = (0_u32, 0_u32);
    for _ in 0..200_000 {
        let c = Calibration::parse(&std::array::from_fn(|_| byte()), &std::array::from_fn(|_| byte()));
        match c.compensate(Raw::parse(&std::array::from_fn(|_| byte()))) {
            Ok(found) => {
                plausible += 1;
                assert!((0..=100_000).contains(&found.humidity.milli()));
                assert!(found.pressure.milli() > 0);
            }
            Err(_) => implausible += 1,
        }
    }
    assert!(plausible > 1_000 && implausible > 1_000, "{plausible} plausible, {implausible} not");
}
