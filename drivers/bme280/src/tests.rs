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
const AT: u8 = 0x76;
/// `ctrl_meas`: one sample of temperature (001), one of pressure (001), forced (01).
const FORCED: u8 = 0x25;

fn reads(register: u8, bytes: &[u8]) -> Transaction {
    Transaction::write_read(AT, vec![register], bytes.to_vec())
}

fn writes(register: u8, value: u8) -> Transaction {
    Transaction::write(AT, vec![register, value])
}

/// What starting a chip looks like on the bus (the calibration is a real chip's; see the tests of `calibration`).
fn start() -> Vec<Transaction> {
    vec![
        reads(0xd0, &[0x60]),
        writes(0xe0, 0xb6),
        reads(0xf3, &[0x01]),
        reads(0xf3, &[0x00]),
        reads(
            0x88,
            &[
                0xb1, 0x6f, 0x2e, 0x6a, 0x32, 0x00, 0xe2, 0x8f, 0x0a, 0xd7, 0xd0, 0x0b, 0x75, 0x1f, 0xc5, 0xff, 0xf9,
                0xff, 0xac, 0x26, 0x0a, 0xd8, 0xbd, 0x10, 0x00, 0x4b,
            ],
        ),
        reads(0xe1, &[0x77, 0x01, 0x00, 0x12, 0x20, 0x03, 0x1e]),
    ]
}

#[both_ways]
mod asynchronous {
    use super::*;
    use crate::asynchronous::Bme280;

    async fn started_with(then: &[Transaction]) -> Bme280<Mock> {
        let mut transactions = start();
        transactions.extend_from_slice(then);
        Bme280::new(Mock::new(&transactions), Address::default(), Settings::default(), &mut NoopDelay).await.unwrap()
    }

    #[test]
    async fn a_measurement_is_forced_waited_for_and_read_at_once() {
        let mut sensor = started_with(&[
            writes(0xf2, 0b001),
            writes(0xf4, FORCED),
            reads(0xf3, &[0b1000]),
            reads(0xf3, &[0]),
            reads(0xf7, &[0x4f, 0x57, 0x00, 0x84, 0x51, 0x00, 0x5e, 0xb4]),
        ])
        .await;
        let found = sensor.measure(&mut NoopDelay).await.unwrap();
        assert_eq!(found.temperature.to_string(), "27.38 °C");
        assert_eq!(found.pressure.to_string(), "101222.246 Pa");
        assert_eq!(found.humidity.to_string(), "32.899 %RH");
        sensor.release().done();
    }

    #[test]
    async fn oversampling_is_set_per_quantity_and_waited_for() {
        let settings =
            Settings { temperature: Oversampling::X2, pressure: Oversampling::X16, humidity: Oversampling::X4 };
        // Section 9.1, "maximum": 1.25 + 2.3·2 + (2.3·16 + 0.575) + (2.3·4 + 0.575) ms.
        assert_eq!(settings.measurement_us_max(), 53_000);
        assert_eq!(Settings::default().measurement_us_max(), 9_300);
        let mut transactions = start();
        transactions.extend([
            writes(0xf2, 0b011),
            writes(0xf4, 0x55),
            reads(0xf3, &[0]),
            reads(0xf7, &[0x4f, 0x57, 0x01, 0x84, 0x51, 0x00, 0x5e, 0xb4]),
        ]);
        let mut sensor =
            Bme280::new(Mock::new(&transactions), Address::default(), settings, &mut NoopDelay).await.unwrap();
        assert!(sensor.measure(&mut NoopDelay).await.is_ok());
        sensor.release().done();
    }

    #[test]
    async fn another_chip_at_the_address_is_named_and_never_reset() {
        let mut bus = Mock::new(&[reads(0xd0, &[0x58])]);
        let error = Bme280::new(&mut bus, Address::default(), Settings::default(), &mut NoopDelay).await.unwrap_err();
        assert_eq!(error, Error::ChipId { found: 0x58 });
        assert_eq!(error.to_string(), "not a BME280: register id (0xd0) holds 0x58, not 0x60");
        bus.done();
    }

    #[test]
    async fn a_chip_that_lost_any_of_its_settings_has_not_measured() {
        for (humidity, measure) in [(0, 0), (0b001, 0), (0, FORCED & !0b11)] {
            let mut sensor = started_with(&[
                writes(0xf2, 0b001),
                writes(0xf4, FORCED),
                reads(0xf3, &[0]),
                reads(0xf7, &[0x80, 0x00, 0x00, 0x80, 0x00, 0x00, 0x80, 0x00]),
                reads(0xf2, &[humidity]),
                reads(0xf4, &[measure]),
            ])
            .await;
            assert_eq!(sensor.measure(&mut NoopDelay).await, Err(Error::Skipped { channel: Channel::Temperature }));
            sensor.release().done();
        }
    }

    #[test]
    async fn a_temperature_that_happens_to_read_like_skipped_is_taken_while_the_settings_stand() {
        let mut sensor = started_with(&[
            writes(0xf2, 0b001),
            writes(0xf4, FORCED),
            reads(0xf3, &[0]),
            reads(0xf7, &[0x4f, 0x57, 0x00, 0x80, 0x00, 0x00, 0x5e, 0xb4]),
            reads(0xf2, &[0b001]),
            reads(0xf4, &[FORCED & !0b11]),
        ])
        .await;
        let found = sensor.measure(&mut NoopDelay).await.unwrap();
        assert_eq!(found.temperature.to_string(), "21.65 °C");
        sensor.release().done();
    }

    #[test]
    async fn a_measurement_that_never_ends_is_given_up() {
        let mut then = vec![writes(0xf2, 0b001), writes(0xf4, FORCED)];
        then.extend((0..STATUS_POLLS_MAX).map(|_| reads(0xf3, &[0b1000])));
        let mut sensor = started_with(&then).await;
        assert_eq!(sensor.measure(&mut NoopDelay).await, Err(Error::Busy { polls: STATUS_POLLS_MAX }));
        sensor.release().done();
    }

    #[test]
    async fn a_bus_that_sticks_is_told_with_the_register_and_the_next_measurement_is_good() {
        let data = [0x4f, 0x57, 0x00, 0x84, 0x51, 0x00, 0x5e, 0xb4];
        let forced = [writes(0xf2, 0b001), writes(0xf4, FORCED), reads(0xf3, &[0])];
        let stuck = reads(0xf7, &data).with_error(ErrorKind::Bus);
        let mut sensor =
            started_with(&[forced.as_slice(), &[stuck], forced.as_slice(), &[reads(0xf7, &data)]].concat()).await;
        let error = sensor.measure(&mut NoopDelay).await.unwrap_err();
        assert_eq!(error, Error::Read { register: Register::Data, source: ErrorKind::Bus });
        assert_eq!(sensor.measure(&mut NoopDelay).await.unwrap().temperature.to_string(), "27.38 °C");
        sensor.release().done();
    }

    #[test]
    async fn an_error_names_the_register_and_what_the_bus_said() {
        let mut bus = Mock::new(&[reads(0xd0, &[0]).with_error(NACK)]);
        let error = Bme280::new(&mut bus, Address::default(), Settings::default(), &mut NoopDelay).await.unwrap_err();
        assert_eq!(error, Error::Read { register: Register::Id, source: NACK });
        bus.done();

        let mut sensor = started_with(&[writes(0xf2, 0b001), writes(0xf4, FORCED).with_error(NACK)]).await;
        let error = sensor.measure(&mut NoopDelay).await.unwrap_err();
        assert!(error.to_string().starts_with("writing BME280 register ctrl_meas (0xf4): NoAcknowledge"), "{error}");
        sensor.release().done();
    }

    #[test]
    async fn a_broken_calibration_gives_an_error_not_a_number() {
        let mut transactions = start();
        transactions[4] = reads(0x88, &[0; 26]);
        transactions.extend([
            writes(0xf2, 0b001),
            writes(0xf4, FORCED),
            reads(0xf3, &[0]),
            reads(0xf7, &[0x4f, 0x57, 0x00, 0x84, 0x51, 0x00, 0x5e, 0xb4]),
        ]);
        let mut sensor = Bme280::new(Mock::new(&transactions), Address::default(), Settings::default(), &mut NoopDelay)
            .await
            .unwrap();
        assert_eq!(sensor.measure(&mut NoopDelay).await, Err(Error::Implausible { channel: Channel::Pressure }));
        sensor.release().done();
    }
}

#[test]
fn only_the_addresses_that_the_pin_can_make_are_taken() {
    assert!((0..=u8::MAX).filter(|address| Address::new(*address).is_some()).eq(Address::RANGE));
}
