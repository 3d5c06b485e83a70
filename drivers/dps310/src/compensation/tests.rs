extern crate std;

use super::*;

/// The registers of the chip that QEMU's model holds (hw/sensor/dps310.c): a real one's, by the look of it.
pub(crate) const REGISTERS: [u8; 18] =
    [0x0e, 0x1e, 0xdd, 0x13, 0xca, 0x5f, 0x21, 0x52, 0xf9, 0xc6, 0x04, 0xd1, 0xdb, 0x47, 0x00, 0x5b, 0xfb, 0x3a];
const DATA: [u8; 6] = [0xfe, 0x2f, 0xee, 0x02, 0x69, 0xa6];

/// The data sheet's formulas, in double precision, as an independent judge.
fn in_double_precision(c: &Coefficients, raw: Raw, pressure: Oversampling, temperature: Oversampling) -> (f64, f64) {
    let p = f64::from(raw.pressure) / f64::from(pressure.scale_factor());
    let t = f64::from(raw.temperature) / f64::from(temperature.scale_factor());
    let celsius = f64::from(c.c0) * 0.5 + f64::from(c.c1) * t;
    let pascals = f64::from(c.c00)
        + p * (f64::from(c.c10) + p * (f64::from(c.c20) + p * f64::from(c.c30)))
        + t * f64::from(c.c01)
        + t * p * (f64::from(c.c11) + p * f64::from(c.c21));
    (celsius, pascals)
}

#[test]
fn coefficients_are_unpacked_with_their_signs() {
    let c = Coefficients::parse(&REGISTERS);
    assert_eq!((c.c0, c.c1), (0x0e1, 0xedd - 0x1000));
    assert_eq!((c.c00, c.c10), (0x13ca5, 0xf_2152 - 0x10_0000));
    assert_eq!((c.c01, c.c11, c.c20), (-1_594, 1_233, -9_401));
    assert_eq!((c.c21, c.c30), (91, -1_222));
    let c = Coefficients::parse(&[0xff; 18]);
    assert_eq!((c.c0, c.c1, c.c00, c.c10, c.c01, c.c30), (-1, -1, -1, -1, -1, -1));
    let c = Coefficients::parse(&[0x80, 0x08, 0x00, 0x80, 0x00, 0x08, 0x00, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x00]);
    assert_eq!((c.c0, c.c1, c.c00, c.c10, c.c30), (-2_048, -2_048, -524_288, -524_288, -32_768));
}

#[test]
fn readings_are_signed() {
    assert_eq!(Raw::parse(&DATA), Raw { pressure: 0xfe_2fee - 0x100_0000, temperature: 0x02_69a6 });
    let extremes = Raw::parse(&[0x80, 0, 0, 0x7f, 0xff, 0xff]);
    assert_eq!((extremes.pressure, extremes.temperature), (-8_388_608, 8_388_607));
}

#[test]
fn qemus_chip_measures_what_the_formula_gives_for_it() {
    let found =
        Coefficients::parse(&REGISTERS).compensate(Raw::parse(&DATA), Oversampling::X1, Oversampling::X1).unwrap();
    // By the formulas, in another language: p = -118802 / 524288, t = 158118 / 524288.
    assert_eq!(found.temperature, Celsius::from_ten_thousandths(247_384));
    assert!((found.pressure.milli() - 92_946_311).abs() <= 10, "{}", found.pressure);
}

/// The data sheet has no worked example. These are of real chips, by their users, in the issues 30 and 23 of Infineon's own library
/// (github.com/Infineon/DPS310-Pressure-Sensor): their coefficients, what they read, and what came of it by the data sheet's formula. (Neither
/// chip is as warm as that: their users had not chosen the sensor that the coefficients are for.) Of the pressure, the formula is there, and
/// its result by double precision is here.
#[test]
fn real_chips_readings_compensate_to_what_their_users_calculated() {
    let of_issue_30 = Coefficients {
        c0: 222,
        c1: -297,
        c00: 79_832,
        c10: -56_308,
        c01: -2_295,
        c11: 1_444,
        c20: -9_701,
        c21: 111,
        c30: -1_289,
    };
    let found = of_issue_30.compensate(Raw { pressure: 0, temperature: 200_498 }, Oversampling::X1, Oversampling::X1);
    // There: "111+(-113.578443)", of a quotient that was cut after six digits.
    let off = found.unwrap().temperature.ten_thousandths() - (1_110_000 - 1_135_784);
    assert!(off.abs() <= 3, "{off} ten-thousandths of a degree");

    let of_issue_23 = Coefficients {
        c0: 223,
        c1: -291,
        c00: 80_074,
        c10: -56_035,
        c01: -3_145,
        c11: 1_432,
        c20: -9_919,
        c21: 152,
        c30: -1_321,
    };
    let raw = Raw { pressure: -1_509_278, temperature: 156_656 };
    let found = of_issue_23.compensate(raw, Oversampling::X4, Oversampling::X4).unwrap();
    // "99.07degC", in issue 30.
    assert_eq!(found.temperature.ten_thousandths() / 100, 9_907);
    assert!((found.pressure.milli() - 101_374_209).abs() <= 10, "{}", found.pressure);
}

/// Each sample reads up to 2^19, and the filter that adds N of them gives 2 N - 1 times as much; what is shifted has 6 bits fewer. So are the
/// factors of the data sheet's table 9, which Linux, Adafruit's library and Infineon's all have.
#[test]
fn scale_factors_are_those_of_the_samples_that_are_added_and_shifted() {
    let table = [524_288, 1_572_864, 3_670_016, 7_864_320, 253_952, 516_096, 1_040_384, 2_088_960];
    for (bits, (oversampling, factor)) in Oversampling::ALL.into_iter().zip(table).enumerate() {
        assert_eq!(oversampling.scale_factor(), factor, "{oversampling:?}");
        let shifted = if oversampling.is_shifted() { 6 } else { 0 };
        assert_eq!(((2 << bits) - 1) << 19 >> shifted, i64::from(factor), "{oversampling:?}");
    }
}

#[test]
fn the_integers_agree_with_floating_point_within_a_hundredth_of_a_pascal_and_a_ten_thousandth_of_a_degree() {
    let c = Coefficients::parse(&REGISTERS);
    let mut compared = 0;
    for pressure in Oversampling::ALL {
        for temperature in Oversampling::ALL {
            let (kp, kt) = (pressure.scale_factor(), temperature.scale_factor());
            for p in (-kp..kp / 2).step_by(usize::try_from(kp).unwrap() / 29) {
                for t in (-kt / 4..kt).step_by(usize::try_from(kt).unwrap() / 17) {
                    let raw = Raw { pressure: p, temperature: t };
                    let (celsius, pascals) = in_double_precision(&c, raw, pressure, temperature);
                    if !(30_000.0..120_000.0).contains(&pascals) || !(-40.0..85.0).contains(&celsius) {
                        continue;
                    }
                    compared += 1;
                    let found = c.compensate(raw, pressure, temperature).unwrap();
                    let off = f64::from(found.pressure.milli()) / 1e3 - pascals;
                    assert!(off.abs() < 0.01, "{raw:?} {pressure:?} {temperature:?}: {off} Pa off {pascals}");
                    let off = f64::from(found.temperature.ten_thousandths()) / 1e4 - celsius;
                    assert!(off.abs() < 0.000_1, "{raw:?} {temperature:?}: {off} degrees off {celsius}");
                }
            }
        }
    }
    assert!(compared > 10_000, "only {compared} readings were within the chip's range");
}

#[test]
fn no_coefficients_and_no_reading_can_make_it_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let byte = (state >> 32) as u8;
        if state.is_multiple_of(3) { [0x00, 0x7f, 0x80, 0xff][usize::from(byte & 3)] } else { byte }
    };
    let (mut plausible, mut implausible) = (0_u32, 0_u32);
    for round in 0..100_000 {
        let c = Coefficients::parse(&std::array::from_fn(|_| byte()));
        let raw = Raw::parse(&std::array::from_fn(|_| byte()));
        let oversampling = Oversampling::ALL[round % 8];
        match c.compensate(raw, oversampling, Oversampling::ALL[round / 8 % 8]) {
            Ok(found) => {
                plausible += 1;
                assert!(found.pressure.milli() > 0 && found.temperature.milli() > -273_150);
            }
            Err(_) => implausible += 1,
        }
    }
    assert!(plausible > 1_000 && implausible > 1_000, "{plausible} plausible, {implausible} not");
}
