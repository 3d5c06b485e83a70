extern crate std;

use std::string::ToString;
use std::vec::Vec;

use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use lamppost_units::Microtesla;

use super::*;

const NACK: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);

fn nanotesla(field: MagneticField) -> [i32; 3] {
    [field.x, field.y, field.z].map(Microtesla::nanotesla)
}

/// What setting up sends: rate and temperature, gain, mode.
fn set_up(rate: u8, gain: u8) -> Vec<Transaction> {
    [
        Transaction::write_read(0x1e, [0x0a].into(), [0x48, 0x34, 0x33].into()),
        Transaction::write(0x1e, [0x00, rate].into()),
        Transaction::write(0x1e, [0x01, gain].into()),
        Transaction::write(0x1e, [0x02, 0x00].into()),
    ]
    .into()
}

#[test]
fn one_gauss_is_the_gains_steps_along_each_axis_in_the_order_x_z_y() {
    // The data sheet's table: gain bits, steps per gauss along X and Y, and along Z.
    for (range, bits, xy, z) in [
        (Range::Gauss1_3, 0x20, 1100_i16, 980_i16),
        (Range::Gauss1_9, 0x40, 855, 760),
        (Range::Gauss2_5, 0x60, 670, 600),
        (Range::Gauss4_0, 0x80, 450, 400),
        (Range::Gauss4_7, 0xa0, 400, 355),
        (Range::Gauss5_6, 0xc0, 330, 295),
        (Range::Gauss8_1, 0xe0, 230, 205),
    ] {
        assert_eq!(range.bits(), bits);
        let [[x1, x0], [z1, z0], [y1, y0]] = [xy, -z, -2 * xy / 2].map(i16::to_be_bytes);
        let field = convert([x1, x0, z1, z0, y1, y0], range).unwrap();
        assert_eq!(nanotesla(field), [100_000, -100_000, -100_000], "{range:?}");
        let [[x1, x0], [z1, z0]] = [xy, z].map(i16::to_be_bytes);
        let only_z = convert([0, 0, z1, z0, 0, 0], range).unwrap();
        let only_x = convert([x1, x0, 0, 0, 0, 0], range).unwrap();
        assert_eq!((nanotesla(only_z), nanotesla(only_x)), ([0, 0, 100_000], [100_000, 0, 0]));
    }
    assert_eq!(Range::ALL.map(Range::bits), [0x20, 0x40, 0x60, 0x80, 0xa0, 0xc0, 0xe0]);
}

#[test]
fn every_value_of_an_output_register_is_a_field_or_told_to_be_none() {
    for raw in i16::MIN..=i16::MAX {
        let [high, low] = raw.to_be_bytes();
        let along_y = convert([0, 0, 0, 0, high, low], Range::Gauss1_3);
        let along_z = convert([0, 0, high, low, 0, 0], Range::Gauss8_1);
        if raw == -4096 {
            assert_eq!(along_y, Err(OutputError::Saturated { axis: Axis::Y }));
            assert_eq!(along_z, Err(OutputError::Saturated { axis: Axis::Z }));
        } else if (-2048..2048).contains(&raw) {
            let y = i64::from(along_y.unwrap().y.nanotesla());
            assert!((y * 1100 - i64::from(raw) * 100_000).abs() <= 550, "{raw}");
            let z = i64::from(along_z.unwrap().z.nanotesla());
            assert!((z * 205 - i64::from(raw) * 100_000).abs() <= 103, "{raw}");
        } else {
            assert_eq!(along_y, Err(OutputError::Implausible { axis: Axis::Y, steps: raw }));
        }
    }
}

#[test]
fn rates_are_written_as_the_data_sheet_numbers_them_and_last_as_long_as_they_say() {
    let rates = [Rate::Hz0_75, Rate::Hz1_5, Rate::Hz3, Rate::Hz7_5, Rate::Hz15, Rate::Hz30, Rate::Hz75, Rate::Hz220];
    assert_eq!(rates.map(Rate::bits), [0x00, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x18, 0x1c]);
    for (rate, centihertz) in rates.into_iter().zip([75_u64, 150, 300, 750, 1_500, 3_000, 7_500, 22_000]) {
        assert_eq!(u64::from(rate.interval_us()), 100_000_000_u64.div_ceil(centihertz));
    }
}

#[both_ways]
mod asynchronous {
    use super::*;
    use crate::asynchronous::Lsm303dlhc;

    #[test]
    async fn it_is_identified_set_up_and_read_in_one_transfer() {
        let mut transactions = set_up(0x98, 0x20);
        transactions.extend([
            Transaction::write_read(0x1e, [0x09].into(), [0x01].into()),
            Transaction::write_read(0x1e, [0x03].into(), [0x00, 0xc6, 0x01, 0xb9, 0xff, 0xea].into()),
            Transaction::write_read(0x1e, [0x09].into(), [0x02].into()),
        ]);
        let mut sensor = Lsm303dlhc::new(Mock::new(&transactions), Range::Gauss1_3, Rate::Hz75).await.unwrap();
        assert!(sensor.has_new().await.unwrap());
        // 198/1100, -22/1100 and 441/980 of a gauss.
        assert_eq!(nanotesla(sensor.read().await.unwrap()), [18_000, -2_000, 45_000]);
        assert!(!sensor.has_new().await.unwrap());
        sensor.release().done();
    }

    #[test]
    async fn a_result_is_taken_once() {
        let mut transactions = set_up(0x98, 0x20);
        transactions.extend([
            Transaction::write_read(0x1e, [0x09].into(), [0x01].into()),
            Transaction::write_read(0x1e, [0x03].into(), [0x00, 0xc6, 0x01, 0xb9, 0xff, 0xea].into()),
            Transaction::write_read(0x1e, [0x09].into(), [0x00].into()),
        ]);
        let mut sensor = Lsm303dlhc::new(Mock::new(&transactions), Range::Gauss1_3, Rate::Hz75).await.unwrap();
        assert_eq!(sensor.take().await.unwrap().map(nanotesla), Some([18_000, -2_000, 45_000]));
        assert_eq!(sensor.take().await, Ok(None));
        sensor.release().done();
    }

    #[test]
    async fn another_range_is_used_from_the_next_reading_and_not_if_it_could_not_be_set() {
        let mut transactions = set_up(0x9c, 0x20);
        transactions.extend([
            Transaction::write(0x1e, [0x01, 0xe0].into()),
            Transaction::write_read(0x1e, [0x03].into(), [0x00, 0xe6, 0x00, 0xcd, 0xff, 0x1a].into()),
            Transaction::write(0x1e, [0x01, 0x80].into()).with_error(NACK),
        ]);
        let mut sensor = Lsm303dlhc::new(Mock::new(&transactions), Range::Gauss1_3, Rate::Hz220).await.unwrap();
        sensor.set_range(Range::Gauss8_1).await.unwrap();
        assert_eq!(nanotesla(sensor.read().await.unwrap()), [100_000, -100_000, 100_000]);
        let error = sensor.set_range(Range::Gauss4_0).await.unwrap_err();
        assert_eq!(error, Error::Write { register: Register::Gain, source: NACK });
        assert_eq!(sensor.range(), Range::Gauss8_1);
        sensor.release().done();
    }

    #[test]
    async fn a_field_beyond_the_range_is_told_with_its_axis_and_never_as_a_number() {
        let mut transactions = set_up(0x90, 0x20);
        transactions.extend([
            Transaction::write_read(0x1e, [0x03].into(), [0x00, 0x01, 0xf0, 0x00, 0x00, 0x01].into()),
            Transaction::write_read(0x1e, [0x03].into(), [0x00, 0x01, 0x00, 0x01, 0x7f, 0xff].into()),
        ]);
        let mut sensor = Lsm303dlhc::new(Mock::new(&transactions), Range::Gauss1_3, Rate::Hz15).await.unwrap();
        let error = sensor.read().await.unwrap_err();
        assert_eq!(error, Error::Output(OutputError::Saturated { axis: Axis::Z }));
        assert_eq!(error.to_string(), "LSM303DLHC register OUT_X_H (0x03): the field along Z is beyond the range");
        let error = sensor.read().await.unwrap_err();
        assert_eq!(error.to_string(), "LSM303DLHC register OUT_X_H (0x03): 32767 along Y, which is not -2048 to 2047");
        sensor.release().done();
    }

    #[test]
    async fn the_temperature_is_the_upper_twelve_bits_in_eighths_of_a_degree() {
        let mut transactions = set_up(0x90, 0x20);
        transactions.extend([
            Transaction::write_read(0x1e, [0x31].into(), [0x01, 0x40].into()),
            Transaction::write_read(0x1e, [0x31].into(), [0xff, 0xf0].into()),
        ]);
        let mut sensor = Lsm303dlhc::new(Mock::new(&transactions), Range::Gauss1_3, Rate::Hz15).await.unwrap();
        assert_eq!(sensor.read_temperature_uncalibrated().await.unwrap(), Celsius::from_milli(2_500));
        assert_eq!(sensor.read_temperature_uncalibrated().await.unwrap(), Celsius::from_milli(-125));
        sensor.release().done();
    }

    #[test]
    async fn another_chip_is_refused_with_what_it_says_it_is_and_nothing_is_written_to_it() {
        let bus = Mock::new(&[Transaction::write_read(0x1e, [0x0a].into(), [0x48, 0x34, 0x00].into())]);
        let error = Lsm303dlhc::new(bus.clone(), Range::Gauss1_3, Rate::Hz15).await.unwrap_err();
        assert_eq!(error, Error::Identity { found: [0x48, 0x34, 0x00] });
        assert_eq!(error.to_string(), "LSM303DLHC register IRA (0x0a): [48, 34, 00] instead of [48, 34, 33]");
        bus.clone().done();
    }

    #[test]
    async fn a_bus_that_sticks_is_told_with_the_register_and_the_next_reading_is_good() {
        let mut transactions = set_up(0x90, 0x20);
        let output = |bytes: [u8; 6]| Transaction::write_read(0x1e, [0x03].into(), bytes.into());
        transactions.extend([output([0; 6]).with_error(ErrorKind::Bus), output([0x04, 0x4c, 0, 0, 0, 0])]);
        let mut sensor = Lsm303dlhc::new(Mock::new(&transactions), Range::Gauss1_3, Rate::Hz15).await.unwrap();
        assert_eq!(
            sensor.read().await.unwrap_err(),
            Error::Read { register: Register::Output, source: ErrorKind::Bus }
        );
        assert_eq!(nanotesla(sensor.read().await.unwrap()), [100_000, 0, 0]);
        sensor.release().done();
    }

    #[test]
    async fn an_error_names_the_register_and_what_the_bus_said() {
        let bus = Mock::new(&[Transaction::write_read(0x1e, [0x0a].into(), [0; 3].into()).with_error(NACK)]);
        let error = Lsm303dlhc::new(bus.clone(), Range::Gauss1_3, Rate::Hz15).await.unwrap_err();
        assert_eq!(error, Error::Read { register: Register::Identity, source: NACK });
        assert!(error.to_string().starts_with("reading LSM303DLHC register IRA (0x0a): NoAcknowledge"), "{error}");
        bus.clone().done();

        let mut transactions = set_up(0x90, 0x20);
        transactions.push(Transaction::write_read(0x1e, [0x03].into(), [0; 6].into()).with_error(NACK));
        let mut sensor = Lsm303dlhc::new(Mock::new(&transactions), Range::Gauss1_3, Rate::Hz15).await.unwrap();
        assert_eq!(sensor.read().await.unwrap_err(), Error::Read { register: Register::Output, source: NACK });
        sensor.release().done();
    }
}
