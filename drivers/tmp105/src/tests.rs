extern crate std;

use std::format;
use std::string::ToString;

use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

use lamppost_both_ways::both_ways;

use super::*;

fn temperature(bytes: [u8; 2]) -> Transaction {
    Transaction::write_read(0x48, [0].into(), bytes.into())
}

fn configuration(byte: u8) -> Transaction {
    Transaction::write_read(0x48, [1].into(), [byte].into())
}

const NACK: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);

#[test]
fn the_data_sheets_examples_convert_to_what_it_says() {
    // SLLS648D, table "Temperature Data Format": 12 bits, here left-aligned as the register has them.
    for (bytes, ten_thousandths) in [
        ([0x7f, 0xf0], 1_279_375),
        ([0x64, 0x00], 1_000_000),
        ([0x50, 0x00], 800_000),
        ([0x4b, 0x00], 750_000),
        ([0x32, 0x00], 500_000),
        ([0x19, 0x00], 250_000),
        ([0x00, 0x40], 2_500),
        ([0x00, 0x00], 0),
        ([0xff, 0xc0], -2_500),
        ([0xe7, 0x00], -250_000),
        ([0xc9, 0x00], -550_000),
    ] {
        assert_eq!(convert(bytes, Resolution::Bits12), Celsius::from_ten_thousandths(ten_thousandths), "{bytes:02x?}");
    }
}

#[test]
fn every_register_value_converts_to_a_step_of_a_sixteenth_within_the_range() {
    let convert = |bytes| convert(bytes, Resolution::Bits12);
    assert_eq!([convert([0x80, 0x00]), convert([0x7f, 0xff])], RANGE);
    for raw in 0..=u16::MAX {
        let converted = convert(raw.to_be_bytes()).ten_thousandths();
        assert_eq!(converted % 625, 0);
        assert!((RANGE[0].ten_thousandths()..=RANGE[1].ten_thousandths()).contains(&converted));
        assert_eq!(i64::from(converted) * 256, i64::from((raw & 0xfff0).cast_signed()) * 10_000);
    }
}

#[test]
fn what_is_below_the_resolution_is_left_out_whatever_the_chip_says_there() {
    let steps = [
        (Resolution::Bits9, -105_000),
        (Resolution::Bits10, -102_500),
        (Resolution::Bits11, -101_250),
        (Resolution::Bits12, -100_625),
    ];
    for (resolution, ten_thousandths) in steps {
        assert_eq!(convert([0xf5, 0xff], resolution), Celsius::from_ten_thousandths(ten_thousandths), "{resolution:?}");
    }
}

#[both_ways]
mod asynchronous {
    use super::*;
    use crate::asynchronous::Tmp105;

    #[test]
    async fn a_reading_selects_the_temperature_register_and_takes_two_bytes() {
        let bus = Mock::new(&[temperature([0xf5, 0x80]), configuration(0x80)]);
        let mut sensor = Tmp105::new(bus, Address::default());
        assert_eq!(sensor.read().await.unwrap(), Celsius::from_milli(-10_500));
        sensor.release().done();
    }

    #[test]
    async fn the_resolution_is_written_to_the_configuration_and_reads_back() {
        for (asked_for, bits) in [
            (Resolution::Bits9, 0x00),
            (Resolution::Bits10, 0x20),
            (Resolution::Bits11, 0x40),
            (Resolution::Bits12, 0x60),
        ] {
            let bus = Mock::new(&[
                Transaction::write(0x4f, [1, bits].into()),
                // OS reads as one in comparator mode, and must not be taken for resolution.
                Transaction::write_read(0x4f, [1].into(), [bits | 0x80].into()),
                Transaction::write_read(0x4f, [1].into(), [bits].into()),
            ]);
            let mut sensor = Tmp105::new(bus, Address::new(0x4f).unwrap());
            assert_eq!(sensor.set_resolution(asked_for).await.unwrap(), asked_for);
            assert_eq!(sensor.resolution().await.unwrap(), asked_for);
            sensor.release().done();
        }
    }

    #[test]
    async fn a_bus_that_sticks_is_told_with_the_register_and_the_next_reading_is_good() {
        let bus = Mock::new(&[
            temperature([0, 0]).with_error(ErrorKind::Bus),
            temperature([0xf5, 0x80]),
            configuration(0x00),
        ]);
        let mut sensor = Tmp105::new(bus, Address::default());
        assert_eq!(sensor.read().await, Err(Error::Read { register: Register::Temperature, source: ErrorKind::Bus }));
        assert_eq!(sensor.read().await, Ok(Celsius::from_milli(-10_500)));
        sensor.release().done();
    }

    #[test]
    async fn a_chip_that_was_reset_gives_no_temperature_until_it_is_set_anew() {
        let bus = Mock::new(&[
            Transaction::write(0x48, [1, 0x60].into()),
            configuration(0x60),
            temperature([0x19, 0x10]),
            configuration(0xe0),
            // 0 °C, before its first conversion.
            temperature([0x00, 0x00]),
            configuration(0x00),
            Transaction::write(0x48, [1, 0x60].into()),
            configuration(0x60),
            temperature([0x19, 0x10]),
            configuration(0x60),
        ]);
        let mut sensor = Tmp105::new(bus, Address::default());
        sensor.set_resolution(Resolution::Bits12).await.unwrap();
        assert_eq!(sensor.read().await, Ok(Celsius::from_ten_thousandths(250_625)));
        let error = sensor.read().await.unwrap_err();
        assert_eq!(error, Error::Reset { set: 0x60, found: 0x00 });
        let said = "TMP105 register configuration (0x01): 0x00 instead of 0x60: the chip was reset";
        assert_eq!(error.to_string(), said);
        sensor.set_resolution(Resolution::Bits12).await.unwrap();
        assert_eq!(sensor.read().await, Ok(Celsius::from_ten_thousandths(250_625)));
        sensor.release().done();
    }

    #[test]
    async fn an_lm75_which_keeps_its_nine_bits_is_read_to_half_a_degree() {
        let bus = Mock::new(&[
            Transaction::write(0x48, [1, 0x60].into()),
            configuration(0x00),
            temperature([0x19, 0xff]),
            configuration(0x00),
        ]);
        let mut sensor = Tmp105::new(bus, Address::default());
        assert_eq!(sensor.set_resolution(Resolution::Bits12).await, Ok(Resolution::Bits9));
        assert_eq!(sensor.read().await, Ok(Celsius::from_milli(25_500)));
        sensor.release().done();
    }

    #[test]
    async fn an_error_names_the_register_and_what_the_bus_said() {
        let bus = Mock::new(&[
            Transaction::write_read(0x48, [0].into(), [0, 0].into()).with_error(NACK),
            Transaction::write(0x48, [1, 0x60].into()).with_error(NACK),
        ]);
        let mut sensor = Tmp105::new(bus, Address::default());
        let error = sensor.read().await.unwrap_err();
        assert_eq!(error, Error::Read { register: Register::Temperature, source: NACK });
        assert!(error.to_string().starts_with("reading TMP105 register temperature (0x00): NoAcknowledge"), "{error}");
        let error = sensor.set_resolution(Resolution::Bits12).await.unwrap_err();
        assert_eq!(error, Error::Write { register: Register::Configuration, source: NACK });
        sensor.release().done();
    }
}

#[test]
fn only_the_addresses_that_the_pins_can_make_are_taken() {
    let possible = (0..=u8::MAX).filter(|address| Address::new(*address).is_some());
    assert!(possible.eq(Address::RANGE), "{}", format!("{:?}", Address::RANGE));
}
