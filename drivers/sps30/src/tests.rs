extern crate std;

use std::string::ToString;
use std::vec;
use std::vec::Vec;

use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use lamppost_both_ways::both_ways;
use lamppost_sensirion::crc;

use super::*;

const NACK: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
/// Mass up to 1, 2.5, 4 and 10 µm, particles up to 0.5, 1, 2.5, 4 and 10 µm, size.
const VALUES: [u16; 10] = [3, 4, 5, 6, 20, 24, 25, 26, 27, 540];

fn sent(bytes: &[u8]) -> Transaction {
    Transaction::write(0x69, bytes.to_vec())
}

fn came(words: &[u16]) -> Transaction {
    let framed = |word: &u16| [word.to_be_bytes().to_vec(), vec![crc(*word)]].concat();
    Transaction::read(0x69, words.iter().flat_map(framed).collect())
}

/// Waking (never acknowledged at first), stopping, and a version.
fn start(version: u16) -> Vec<Transaction> {
    vec![
        sent(&[0x11, 0x03]).with_error(NACK),
        sent(&[0x11, 0x03]),
        sent(&[0x01, 0x04]),
        sent(&[0xd1, 0x00]),
        came(&[version]),
    ]
}

#[both_ways]
mod asynchronous {
    use super::*;
    use crate::asynchronous::Sps30;

    async fn started_with(then: &[Transaction]) -> Sps30<Mock> {
        let bus = Mock::new(&[start(0x0202).as_slice(), then].concat());
        Sps30::new(bus, &mut NoopDelay).await.unwrap()
    }

    #[test]
    async fn measurements_are_asked_for_in_whole_numbers_and_taken_when_there_is_one() {
        let mut sensor = started_with(&[
            sent(&[0xd2, 0x10]),
            // The data sheet's argument for whole numbers, with its checksum.
            sent(&[0x00, 0x10, 0x05, 0x00, 0xf6]),
            sent(&[0x02, 0x02]),
            came(&[0x0000]),
            sent(&[0x02, 0x02]),
            came(&[0x0001]),
            sent(&[0x03, 0x00]),
            came(&VALUES),
            sent(&[0x01, 0x04]),
        ])
        .await;
        sensor.start(&mut NoopDelay).await.unwrap();
        assert_eq!(sensor.take(&mut NoopDelay).await.unwrap(), None);
        let found = sensor.take(&mut NoopDelay).await.unwrap().unwrap();
        let masses = [found.pm1, found.pm2_5, found.pm4, found.pm10].map(|mass| mass.to_string());
        assert_eq!(masses, ["3 µg/m³", "4 µg/m³", "5 µg/m³", "6 µg/m³"]);
        assert_eq!((found.per_cm3, found.size_nm), ([20, 24, 25, 26, 27], 540));
        sensor.stop(&mut NoopDelay).await.unwrap();
        sensor.release().done();
    }

    #[test]
    async fn an_old_firmware_is_refused_with_its_version() {
        let mut bus = Mock::new(&start(0x0107));
        let error = Sps30::new(&mut bus, &mut NoopDelay).await.unwrap_err();
        assert_eq!(error.to_string(), "the SPS30's firmware 1.7 gives no whole numbers: that takes 2.0");
        bus.done();
    }

    #[test]
    async fn the_status_tells_fan_and_laser_apart() {
        for (words, fan_speed, laser, fan) in [
            ([0x0000, 0x0000], false, false, false),
            ([0x0020, 0x0000], true, false, false),
            ([0x0000, 0x0020], false, true, false),
            ([0x0000, 0x0010], false, false, true),
        ] {
            let mut sensor = started_with(&[sent(&[0xd2, 0x06]), came(&words)]).await;
            assert_eq!(sensor.status(&mut NoopDelay).await, Ok(Status { fan_speed, laser, fan }));
            sensor.release().done();
        }
    }

    #[test]
    async fn a_faulty_sensor_says_what_is_wrong_and_one_too_old_to_tell_is_not_asked() {
        let status = |words: [u16; 2]| [sent(&[0xd2, 0x06]), came(&words)];
        let mut sensor = started_with(&[status([0, 0]), status([0x0020, 0x0010])].concat()).await;
        assert_eq!(sensor.check(&mut NoopDelay).await, Ok(()));
        let error = sensor.check(&mut NoopDelay).await.unwrap_err();
        let wrong =
            "SPS30 command read device status (0xd206): the fan is blocked or broken, the fan is too slow or too fast";
        assert_eq!(error.to_string(), wrong);
        sensor.release().done();
        let mut old = Sps30::new(Mock::new(&start(0x0201)), &mut NoopDelay).await.unwrap();
        assert_eq!(old.check(&mut NoopDelay).await, Ok(()));
        old.release().done();
    }

    #[test]
    async fn sleeping_and_cleaning_are_commands_of_their_own() {
        let mut sensor = started_with(&[sent(&[0x56, 0x07]), sent(&[0x10, 0x01])]).await;
        sensor.clean_fan(&mut NoopDelay).await.unwrap();
        sensor.sleep(&mut NoopDelay).await.unwrap();
        sensor.release().done();
    }

    #[test]
    async fn a_wrong_checksum_names_the_command_and_the_word() {
        let damaged = Transaction::read(0x69, vec![0xbe, 0xef, 0x93]);
        let mut sensor = started_with(&[sent(&[0x02, 0x02]), damaged]).await;
        let error = sensor.take(&mut NoopDelay).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the answer to SPS30 command read data-ready flag (0x0202) is damaged: word 0 came as 0xbeef with CRC 0x93, not 0x92"
        );
        sensor.release().done();
    }

    #[test]
    async fn a_sensor_that_does_not_answer_is_an_error_that_names_the_command() {
        let woken = [sent(&[0x11, 0x03]).with_error(NACK), sent(&[0x11, 0x03]).with_error(NACK)];
        let mut bus = Mock::new(&[woken.as_slice(), &[sent(&[0x01, 0x04]).with_error(NACK)]].concat());
        let error = Sps30::new(&mut bus, &mut NoopDelay).await.unwrap_err();
        assert_eq!(error, Error::Send { command: Command::StopMeasurement, source: NACK });
        bus.done();
        let mut sensor = started_with(&[sent(&[0x02, 0x02]), came(&[0]).with_error(ErrorKind::Bus)]).await;
        let error = sensor.take(&mut NoopDelay).await.unwrap_err();
        assert_eq!(error.to_string(), "the answer to SPS30 command read data-ready flag (0x0202): Bus");
        sensor.release().done();
    }
}
