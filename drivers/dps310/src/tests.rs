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
const AT: u8 = 0x77;

fn reads(register: u8, bytes: &[u8]) -> Transaction {
    Transaction::write_read(AT, vec![register], bytes.to_vec())
}

fn writes(register: u8, value: u8) -> Transaction {
    Transaction::write(AT, vec![register, value])
}

/// From the reset on; the coefficients are those of QEMU's model.
fn start() -> Vec<Transaction> {
    vec![
        writes(0x0c, 0x09),
        reads(0x08, &[0x40]),
        reads(0x08, &[0xc0]),
        reads(
            0x10,
            &[
                0x0e, 0x1e, 0xdd, 0x13, 0xca, 0x5f, 0x21, 0x52, 0xf9, 0xc6, 0x04, 0xd1, 0xdb, 0x47, 0x00, 0x5b, 0xfb,
                0x3a,
            ],
        ),
        reads(0x32, &[0x02]),
    ]
}

/// The settings, for one sample each.
fn set() -> Vec<Transaction> {
    vec![reads(0x28, &[0x90]), writes(0x06, 0x00), writes(0x07, 0x80), writes(0x09, 0x00)]
}

fn started() -> Vec<Transaction> {
    [vec![reads(0x0d, &[0x10])], start(), set()].concat()
}

#[both_ways]
mod asynchronous {
    use super::*;
    use crate::asynchronous::Dps310;

    async fn started_with(then: &[Transaction]) -> Dps310<Mock> {
        let bus = Mock::new(&[started().as_slice(), then].concat());
        Dps310::new(bus, Address::default(), Settings::default(), &mut NoopDelay).await.unwrap()
    }

    #[test]
    async fn a_measurement_is_one_of_temperature_and_one_of_pressure() {
        let mut sensor = started_with(&[
            reads(0x08, &[0xc0]),
            writes(0x08, 0xc2),
            reads(0x08, &[0xc2]),
            reads(0x08, &[0xe0]),
            reads(0x08, &[0xe0]),
            writes(0x08, 0xe1),
            reads(0x08, &[0xf0]),
            reads(0x00, &[0xfe, 0x2f, 0xee, 0x02, 0x69, 0xa6]),
        ])
        .await;
        let found = sensor.measure(&mut NoopDelay).await.unwrap();
        assert_eq!(found.temperature.to_string(), "24.7384 °C");
        assert_eq!(found.pressure.milli() / 1_000, 92_946);
        sensor.release().done();
    }

    #[test]
    async fn the_coefficients_are_the_chips() {
        let sensor = started_with(&[]).await;
        assert_eq!((sensor.coefficients().c0, sensor.coefficients().c1), (225, -291));
        sensor.release().done();
    }

    #[test]
    async fn oversampling_is_set_shifted_beyond_eight_samples_and_waited_for() {
        let settings = Settings { pressure: Oversampling::X64, temperature: Oversampling::X8 };
        assert_eq!(settings.measurement_us(), 104_400 + 14_800);
        let mut bus = vec![reads(0x0d, &[0x10])];
        bus.extend(start());
        bus.extend([reads(0x28, &[0x10]), writes(0x06, 0x06), writes(0x07, 0x03), writes(0x09, 0x04)]);
        let sensor = Dps310::new(Mock::new(&bus), Address::default(), settings, &mut NoopDelay).await.unwrap();
        sensor.release().done();
    }

    #[test]
    async fn a_chip_whose_temperature_is_wrong_is_mended() {
        let mut bus = vec![reads(0x0d, &[0x10])];
        bus.extend(start());
        bus.pop();
        bus.push(reads(0x32, &[0x00]));
        bus.extend([(0x0e, 0xa5), (0x0f, 0x96), (0x62, 0x02), (0x0e, 0x00), (0x0f, 0x00)].map(|(to, v)| writes(to, v)));
        bus.extend(set());
        let bus = Mock::new(&bus);
        let sensor = Dps310::new(bus, Address::default(), Settings::default(), &mut NoopDelay).await.unwrap();
        sensor.release().done();
    }

    #[test]
    async fn another_chip_at_the_address_is_named_and_never_reset() {
        for (found, said) in [
            (0x60, "not a DPS310: register Product ID (0x0d) holds 0x60, not 0x10"),
            (
                0xff,
                "not a DPS310: register Product ID (0x0d) holds 0xff, not 0x10 (QEMU's model has no such register and says 0xff)",
            ),
        ] {
            let mut bus = Mock::new(&[reads(0x0d, &[found])]);
            let refused = Dps310::new(&mut bus, Address::default(), Settings::default(), &mut NoopDelay).await;
            let error = refused.unwrap_err();
            assert_eq!(error, Error::ProductId { found });
            assert_eq!(error.to_string(), said);
            bus.done();
        }
    }

    #[test]
    async fn a_chip_without_a_product_id_can_be_taken() {
        let bus = Mock::new(&[start(), set()].concat());
        let taken = Dps310::unidentified(bus, Address::default(), Settings::default(), &mut NoopDelay).await;
        taken.unwrap().release().done();
    }

    #[test]
    async fn a_chip_that_does_not_come_out_of_its_reset_is_given_up() {
        let mut transactions = vec![reads(0x0d, &[0x10]), writes(0x0c, 0x09)];
        transactions.extend((0..POLLS_MAX).map(|_| reads(0x08, &[0x80])));
        let mut bus = Mock::new(&transactions);
        let refused = Dps310::new(&mut bus, Address::default(), Settings::default(), &mut NoopDelay).await;
        let error = refused.unwrap_err();
        assert_eq!(error, Error::NotStarted { found: 0x80, polls: POLLS_MAX });
        assert_eq!(
            error.to_string(),
            "the DPS310 is not ready after its reset: register MEAS_CFG (0x08) held 0x80 when asked 10 times, 5 ms apart"
        );
        bus.done();
    }

    #[test]
    async fn a_measurement_that_never_ends_is_given_up() {
        let mut then = vec![reads(0x08, &[0xc0]), writes(0x08, 0xc2), reads(0x08, &[0xe0])];
        then.extend([reads(0x08, &[0xe0]), writes(0x08, 0xe1)]);
        then.extend((0..POLLS_MAX).map(|_| reads(0x08, &[0xe1])));
        let mut sensor = started_with(&then).await;
        let error = sensor.measure(&mut NoopDelay).await.unwrap_err();
        assert_eq!(error, Error::NotReady { channel: Channel::Pressure, polls: POLLS_MAX });
        sensor.release().done();
    }

    #[test]
    async fn a_bus_that_sticks_is_told_with_the_register_and_the_next_measurement_is_good() {
        let measured = [
            reads(0x08, &[0xc0]),
            writes(0x08, 0xc2),
            reads(0x08, &[0xe0]),
            reads(0x08, &[0xe0]),
            writes(0x08, 0xe1),
            reads(0x08, &[0xf0]),
        ];
        let data = [0xfe, 0x2f, 0xee, 0x02, 0x69, 0xa6];
        let stuck = reads(0x00, &data).with_error(ErrorKind::ArbitrationLoss);
        let mut sensor =
            started_with(&[measured.as_slice(), &[stuck], measured.as_slice(), &[reads(0x00, &data)]].concat()).await;
        let error = sensor.measure(&mut NoopDelay).await.unwrap_err();
        assert!(matches!(error, Error::Read { source: ErrorKind::ArbitrationLoss, .. }), "{error}");
        assert!(error.to_string().contains("(0x00)"), "{error}");
        assert_eq!(sensor.measure(&mut NoopDelay).await.unwrap().temperature.to_string(), "24.7384 °C");
        sensor.release().done();
    }

    #[test]
    async fn an_error_names_the_register_and_what_the_bus_said() {
        let mut bus = Mock::new(&[reads(0x0d, &[0]).with_error(NACK)]);
        let refused = Dps310::new(&mut bus, Address::default(), Settings::default(), &mut NoopDelay).await;
        assert_eq!(refused.unwrap_err(), Error::Read { register: Register::ProductId, source: NACK });
        bus.done();
        let mut sensor = started_with(&[reads(0x08, &[0xc0]), writes(0x08, 0xc2).with_error(NACK)]).await;
        let error = sensor.measure(&mut NoopDelay).await.unwrap_err();
        assert!(error.to_string().starts_with("writing DPS310 register MEAS_CFG (0x08): NoAcknowledge"), "{error}");
        sensor.release().done();
    }

    #[test]
    async fn broken_coefficients_give_an_error_and_not_a_number() {
        let mut transactions = started();
        transactions[4] = reads(0x10, &[0; 18]);
        transactions.extend([
            reads(0x08, &[0xc0]),
            writes(0x08, 0xc2),
            reads(0x08, &[0xe0]),
            reads(0x08, &[0xe0]),
            writes(0x08, 0xe1),
            reads(0x08, &[0xf0]),
            reads(0x00, &[0xfe, 0x2f, 0xee, 0x02, 0x69, 0xa6]),
        ]);
        let bus = Mock::new(&transactions);
        let mut sensor = Dps310::new(bus, Address::default(), Settings::default(), &mut NoopDelay).await.unwrap();
        assert_eq!(sensor.measure(&mut NoopDelay).await, Err(Error::Implausible { channel: Channel::Pressure }));
        sensor.release().done();
    }
}

#[test]
fn only_the_addresses_that_the_pin_can_make_are_taken() {
    assert!((0..=u8::MAX).filter(|address| Address::new(*address).is_some()).eq(Address::RANGE));
}
