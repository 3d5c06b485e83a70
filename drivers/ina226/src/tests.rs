extern crate std;

use std::string::ToString;
use std::vec;
use std::vec::Vec;

use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use lamppost_both_ways::both_ways;

use super::*;

const NACK: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);

fn reads(register: u8, value: u16) -> Transaction {
    Transaction::write_read(0x40, vec![register], value.to_be_bytes().to_vec())
}

fn writes(register: u8, value: u16) -> Transaction {
    let [high, low] = value.to_be_bytes();
    Transaction::write(0x40, vec![register, high, low])
}

/// The data sheet's example: 2 mΩ, steps of 1 mA.
fn calibration() -> Calibration {
    Calibration::new(2_000, Amperes::from_micro(1_000)).unwrap()
}

fn started_and(then: &[Transaction]) -> Mock {
    let mut transactions = vec![reads(0xfe, 0x5449), reads(0xff, 0x2260), writes(0x05, 0x0a00)];
    transactions.extend_from_slice(then);
    Mock::new(&transactions)
}

#[both_ways]
mod asynchronous {
    use super::*;
    use crate::asynchronous::Ina226;

    async fn started_with(then: &[Transaction]) -> Ina226<Mock> {
        Ina226::new(started_and(then), Address::default(), Settings::default(), calibration()).await.unwrap()
    }

    #[test]
    async fn the_data_sheets_example_is_measured_on_command_and_read() {
        let mut chip = started_with(&[
            writes(0x00, 0x4123),
            reads(0x06, 0x0000),
            reads(0x06, 0x0008),
            reads(0x05, 0x0a00),
            reads(0x03, 0x12b8),
            reads(0x02, 0x2570),
            reads(0x01, 0x1f40),
            reads(0x04, 0x2710),
        ])
        .await;
        let found = chip.measure(&mut NoopDelay).await.unwrap();
        assert_eq!(found.bus.to_string(), "11.98 V");
        assert_eq!(found.shunt.to_string(), "20000 µV");
        assert_eq!(found.current.to_string(), "10 A");
        assert_eq!(found.power.to_string(), "119800 mW");
        assert!(!found.alert);
        chip.release().done();
    }

    #[test]
    async fn a_bus_that_sticks_is_told_with_the_register_and_the_next_measurement_is_good() {
        let begun = [writes(0x00, 0x4123), reads(0x06, 0x0008), reads(0x05, 0x0a00)];
        let read = [reads(0x03, 0x12b8), reads(0x02, 0x2570), reads(0x01, 0x1f40), reads(0x04, 0x2710)];
        let stuck = reads(0x03, 0).with_error(ErrorKind::Bus);
        let mut chip = started_with(&[begun.as_slice(), &[stuck], begun.as_slice(), &read].concat()).await;
        let error = chip.measure(&mut NoopDelay).await.unwrap_err();
        assert_eq!(error, Error::Read { register: Register::Power, source: ErrorKind::Bus });
        assert_eq!(chip.measure(&mut NoopDelay).await.unwrap().bus.to_string(), "11.98 V");
        chip.release().done();
    }

    #[test]
    async fn an_error_names_the_register_and_what_the_bus_said() {
        let mut chip = started_with(&[writes(0x00, 0x4123).with_error(NACK)]).await;
        let error = chip.measure(&mut NoopDelay).await.unwrap_err();
        assert_eq!(error, Error::Write { register: Register::Configuration, source: NACK });
        assert!(
            error.to_string().starts_with("writing INA226 register configuration (0x00): NoAcknowledge"),
            "{error}"
        );
        chip.release().done();
    }

    #[test]
    async fn four_kilowatts_through_a_small_shunt_are_measured() {
        let coarse = Calibration::of_shunt(100).unwrap();
        let mut transactions = vec![reads(0xfe, 0x5449), reads(0xff, 0x2260), writes(0x05, coarse.register())];
        transactions.extend([
            writes(0x00, 0x4123),
            reads(0x06, 0x0008),
            reads(0x05, coarse.register()),
            reads(0x03, 0x1900),
            reads(0x02, 0x4b00),
            reads(0x01, 0x0f00),
            reads(0x04, 0x1482),
        ]);
        let bus = Mock::new(&transactions);
        let mut chip = Ina226::new(bus, Address::default(), Settings::default(), coarse).await.unwrap();
        let found = chip.measure(&mut NoopDelay).await.unwrap();
        assert_eq!((found.power.to_string().as_str(), found.bus.to_string().as_str()), ("4000000 mW", "24 V"));
        chip.release().done();
    }

    #[test]
    async fn averages_and_times_are_set_and_waited_for() {
        let settings =
            Settings { averages: Averages::X1024, bus: ConversionTime::Us8244, shunt: ConversionTime::Us140 };
        assert_eq!(settings.measurement_us_max(), (9_068 + 154) * 1_024);
        assert_eq!(Settings::default().measurement_us_max(), 2_420);
        let bus = started_and(&[writes(0x00, 0x4fc3).with_error(NACK)]);
        let mut chip = Ina226::new(bus, Address::default(), settings, calibration()).await.unwrap();
        let error = chip.measure(&mut NoopDelay).await.unwrap_err();
        assert!(
            error.to_string().starts_with("writing INA226 register configuration (0x00): NoAcknowledge"),
            "{error}"
        );
        chip.release().done();
    }

    #[test]
    async fn a_chip_that_lost_its_calibration_has_not_measured_zero() {
        let mut chip = started_with(&[writes(0x00, 0x4123), reads(0x06, 0x0008), reads(0x05, 0x0000)]).await;
        let error = chip.measure(&mut NoopDelay).await.unwrap_err();
        assert_eq!(error, Error::CalibrationLost { found: 0 });
        chip.release().done();
    }

    #[test]
    async fn what_the_chip_could_not_compute_is_an_error() {
        let mut chip = started_with(&[writes(0x00, 0x4123), reads(0x06, 0x000c), reads(0x05, 0x0a00)]).await;
        assert_eq!(chip.measure(&mut NoopDelay).await, Err(Error::Overflow));
        chip.release().done();
    }

    #[test]
    async fn a_measurement_that_never_ends_is_given_up() {
        let mut then = vec![writes(0x00, 0x4123)];
        then.extend((0..POLLS_MAX).map(|_| reads(0x06, 0)));
        let mut chip = started_with(&then).await;
        assert_eq!(chip.measure(&mut NoopDelay).await, Err(Error::Busy { polls: POLLS_MAX }));
        chip.release().done();
    }

    #[test]
    async fn limits_are_set_in_steps_of_what_is_watched() {
        let expected: Vec<(Limit, u16, u16)> = vec![
            (Limit::ShuntAbove(Microvolts::from_nanovolts(20_000_000)), 8_000, 0x8001),
            (Limit::ShuntBelow(Microvolts::from_nanovolts(-2_500)), 0xffff, 0x4001),
            (Limit::BusAbove(Volts::from_micro(11_980_000)), 9_584, 0x2001),
            (Limit::BusBelow(Volts::from_micro(11_980_000)), 9_584, 0x1001),
            (Limit::PowerAbove(Milliwatts::from_microwatts(119_800_000)), 4_792, 0x0801),
        ];
        let mut then: Vec<_> =
            expected.iter().flat_map(|(_, limit, mask)| [writes(0x07, *limit), writes(0x06, *mask)]).collect();
        then.push(writes(0x06, 0));
        let mut chip = started_with(&then).await;
        for (limit, ..) in expected {
            chip.watch(Some(limit)).await.unwrap();
        }
        chip.watch(None).await.unwrap();
        let too_much = Limit::BusAbove(Volts::from_micro(50_000_000));
        let refused = Error::Range { register: Register::AlertLimit };
        assert_eq!(chip.watch(Some(too_much)).await, Err(refused));
        chip.release().done();
    }

    #[test]
    async fn an_alert_is_told_with_the_measurement_though_reading_clears_it() {
        let mut chip = started_with(&[
            writes(0x00, 0x4123),
            reads(0x06, 0x2011),
            reads(0x06, 0x2009),
            reads(0x05, 0x0a00),
            reads(0x03, 0),
            reads(0x02, 0),
            reads(0x01, 0xffff),
            reads(0x04, 0xffff),
        ])
        .await;
        let found = chip.measure(&mut NoopDelay).await.unwrap();
        assert!(found.alert);
        assert_eq!((found.shunt.to_string().as_str(), found.current.to_string().as_str()), ("-2.5 µV", "-0.001 A"));
        chip.release().done();
    }

    #[test]
    async fn another_chip_at_the_address_is_named_and_never_written_to() {
        for (transactions, register, found) in [
            (vec![reads(0xfe, 0xffff)], Register::ManufacturerId, 0xffff),
            (vec![reads(0xfe, 0x5449), reads(0xff, 0x2270)], Register::DieId, 0x2270),
        ] {
            let mut bus = Mock::new(&transactions);
            let refused = Ina226::new(&mut bus, Address::default(), Settings::default(), calibration()).await;
            assert_eq!(refused.unwrap_err(), Error::Identity { register, found });
            bus.done();
        }
        let said = Error::<ErrorKind>::Identity { register: Register::DieId, found: 0x2270 }.to_string();
        assert_eq!(said, "not an INA226: register die ID (0xff) holds 0x2270");
    }
}

#[test]
fn only_the_addresses_that_the_pins_can_make_are_taken() {
    assert!((0..=u8::MAX).filter(|address| Address::new(*address).is_some()).eq(Address::RANGE));
}
