extern crate std;

use std::string::ToString;
use std::vec;

use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use lamppost_both_ways::both_ways;

use super::*;

const NACK: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);

fn reads(register: u8, bytes: &[u8]) -> Transaction {
    Transaction::write_read(0x68, vec![register], bytes.to_vec())
}

fn writes(bytes: &[u8]) -> Transaction {
    Transaction::write(0x68, bytes.to_vec())
}

#[both_ways]
mod asynchronous {
    use super::*;
    use crate::asynchronous::Ds1338;

    #[test]
    async fn the_time_is_read_at_once_and_trusted_if_the_clock_never_stopped() {
        for (kind, flags) in [(Kind::Ds1338, reads(0x07, &[0x93])), (Kind::Ds3231, reads(0x0f, &[0x08]))] {
            let bus = Mock::new(&[reads(0, &[0x07, 0x57, 0x62, 0x07, 0x22, 0x11, 0x26]), flags]);
            let mut clock = Ds1338::new(bus, kind);
            assert_eq!(clock.time().await.unwrap().to_string(), "2026-11-22T14:57:07");
            clock.release().done();
        }
    }

    #[test]
    async fn a_clock_that_stopped_has_no_time_but_an_error() {
        for (kind, register, address, flags) in
            [(Kind::Ds1338, Register::Control, 0x07, 0xb3), (Kind::Ds3231, Register::Status, 0x0f, 0x88)]
        {
            let bus = Mock::new(&[reads(0, &[0, 0, 0, 1, 1, 1, 0]), reads(address, &[flags])]);
            let mut clock = Ds1338::new(bus, kind);
            let error = clock.time().await.unwrap_err();
            assert_eq!(error, Error::Stopped { register });
            assert!(error.to_string().ends_with("its time is not to be trusted"), "{error}");
            clock.release().done();
        }
    }

    #[test]
    async fn a_halted_clock_was_never_set() {
        let mut clock = Ds1338::new(Mock::new(&[reads(0, &[0x80, 0, 0, 1, 1, 1, 0])]), Kind::Ds1338);
        assert_eq!(clock.time().await, Err(Error::Halted));
        clock.release().done();
    }

    #[test]
    async fn a_date_that_does_not_exist_is_an_error() {
        let bus = Mock::new(&[reads(0, &[0, 0, 0, 1, 0x30, 0x02, 0x26]), reads(0x07, &[0])]);
        let mut clock = Ds1338::new(bus, Kind::Ds1338);
        assert_eq!(clock.time().await, Err(Error::Date));
        clock.release().done();
        let bus = Mock::new(&[reads(0, &[0, 0x6a, 0, 1, 0x30, 0x02, 0x26]), reads(0x07, &[0])]);
        let mut clock = Ds1338::new(bus, Kind::Ds1338);
        let error = clock.time().await.unwrap_err();
        assert_eq!(error.to_string(), "clock register minutes (0x01) holds 0x6a, which is no time");
        clock.release().done();
    }

    #[test]
    async fn setting_writes_all_at_once_and_clears_the_stop_flag_and_no_other_bit() {
        let time = DateTime::new(2026, 11, 22, 22, 57, 7).unwrap();
        for (kind, address, before, after) in [(Kind::Ds1338, 0x07, 0xb3, 0x93), (Kind::Ds3231, 0x0f, 0x88, 0x08)] {
            let bus = Mock::new(&[
                writes(&[0x00, 0x07, 0x57, 0x22, 0x07, 0x22, 0x11, 0x26]),
                reads(address, &[before]),
                writes(&[address, after]),
            ]);
            let mut clock = Ds1338::new(bus, kind);
            clock.set(time).await.unwrap();
            clock.release().done();
        }
    }

    #[test]
    async fn a_year_that_the_clock_can_not_hold_is_not_written() {
        let mut clock = Ds1338::new(Mock::new(&[]), Kind::Ds1338);
        let time = DateTime::new(2100, 1, 1, 0, 0, 0).unwrap();
        assert_eq!(clock.set(time).await, Err(Error::Year { year: 2100 }));
        clock.release().done();
    }

    #[test]
    async fn a_bus_that_sticks_is_told_with_the_register_and_the_next_reading_is_good() {
        let time = [0x07, 0x57, 0x62, 0x07, 0x22, 0x11, 0x26];
        let bus = Mock::new(&[
            reads(0, &time),
            reads(0x07, &[0]).with_error(ErrorKind::ArbitrationLoss),
            reads(0, &time),
            reads(0x07, &[0x93]),
        ]);
        let mut clock = Ds1338::new(bus, Kind::Ds1338);
        let stuck = Error::Read { register: Register::Control, source: ErrorKind::ArbitrationLoss };
        assert_eq!(clock.time().await, Err(stuck));
        assert_eq!(clock.time().await.unwrap().to_string(), "2026-11-22T14:57:07");
        clock.release().done();
    }

    #[test]
    async fn an_error_names_the_register_and_what_the_bus_said() {
        let bus = Mock::new(&[
            reads(0, &[0; 7]).with_error(NACK),
            reads(0, &[0, 0, 0, 1, 1, 1, 0]),
            reads(7, &[0]).with_error(NACK),
        ]);
        let mut clock = Ds1338::new(bus, Kind::Ds1338);
        assert_eq!(clock.time().await, Err(Error::Read { register: Register::Seconds, source: NACK }));
        let error = clock.time().await.unwrap_err();
        assert!(error.to_string().starts_with("reading clock register control (0x07): NoAcknowledge"), "{error}");
        clock.release().done();
    }
}
