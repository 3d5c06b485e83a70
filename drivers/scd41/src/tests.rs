extern crate std;

use std::string::ToString;
use std::vec;
use std::vec::Vec;

use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use lamppost_both_ways::both_ways;

use super::*;

const NACK: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);

fn sent(bytes: &[u8]) -> Transaction {
    Transaction::write(0x62, bytes.to_vec())
}

fn came(bytes: &[u8]) -> Transaction {
    Transaction::read(0x62, bytes.to_vec())
}

/// Waking (never acknowledged), stopping, and the serial number of the data sheet's example.
fn start() -> Vec<Transaction> {
    vec![
        sent(&[0x36, 0xf6]).with_error(NACK),
        sent(&[0x3f, 0x86]),
        sent(&[0x36, 0x82]),
        came(&[0xf8, 0x96, 0x31, 0x9f, 0x07, 0xc2, 0x3b, 0xbe, 0x89]),
    ]
}

fn with(then: &[Transaction]) -> Mock {
    let mut transactions = start();
    transactions.extend_from_slice(then);
    Mock::new(&transactions)
}

/// A delay that counts.
#[derive(Default)]
struct Waited {
    us: u64,
}

impl embedded_hal::delay::DelayNs for Waited {
    fn delay_ns(&mut self, ns: u32) {
        self.us += u64::from(ns / 1_000);
    }
}

impl embedded_hal_async::delay::DelayNs for Waited {
    async fn delay_ns(&mut self, ns: u32) {
        self.us += u64::from(ns / 1_000);
    }
}

#[both_ways]
mod asynchronous {
    use super::*;
    use crate::asynchronous::Scd41;

    async fn started_with(then: &[Transaction]) -> (Scd41<Mock>, Waited) {
        let mut waited = Waited::default();
        let chip = Scd41::new(with(then), &mut waited).await.unwrap();
        waited.us = 0;
        (chip, waited)
    }

    #[test]
    async fn starting_wakes_stops_and_identifies_in_half_a_second() {
        let mut waited = Waited::default();
        let chip = Scd41::new(with(&[]), &mut waited).await.unwrap();
        assert_eq!(waited.us, 531_000);
        chip.release().done();
    }

    #[test]
    async fn the_serial_number_is_the_data_sheets() {
        let (mut chip, mut waited) = started_with(&start()[2..]).await;
        assert_eq!(chip.serial_number(&mut waited).await.unwrap(), 273_325_796_834_238);
        chip.release().done();
    }

    #[test]
    async fn a_single_measurement_is_waited_for_asked_for_and_read() {
        let (mut chip, mut waited) = started_with(&[
            sent(&[0x21, 0x9d]),
            sent(&[0xe4, 0xb8]),
            came(&[0x80, 0x00, 0xa2]),
            sent(&[0xe4, 0xb8]),
            came(&[0x80, 0x06, 0x04]),
            sent(&[0xec, 0x05]),
            came(&[0x01, 0xf4, 0x33, 0x66, 0x67, 0xa2, 0x5e, 0xb9, 0x3c]),
        ])
        .await;
        let found = chip.measure(&mut waited).await.unwrap();
        assert_eq!(found.co2.to_string(), "500 ppm");
        assert_eq!(found.temperature.to_string(), "25.0027 °C");
        assert_eq!(found.humidity.to_string(), "37.002 %RH");
        assert_eq!(waited.us, 5_053_000);
        chip.release().done();
    }

    #[test]
    async fn a_measurement_that_never_comes_is_given_up_in_five_and_a_half_seconds() {
        let mut then = vec![sent(&[0x21, 0x9d])];
        for _ in 0..READY_POLLS_MAX {
            then.extend([sent(&[0xe4, 0xb8]), came(&[0x80, 0x00, 0xa2])]);
        }
        let (mut chip, mut waited) = started_with(&then).await;
        let error = chip.measure(&mut waited).await.unwrap_err();
        assert_eq!(error, Error::NotReady { waited_ms: 5_500 });
        assert!((5_500_000..5_600_000).contains(&waited.us), "{} us", waited.us);
        chip.release().done();
    }

    #[test]
    async fn more_co2_than_the_chip_can_tell_is_none() {
        let ready = [sent(&[0xe4, 0xb8]), came(&[0x80, 0x06, 0x04])];
        let measured = |ppm: u16| {
            let [high, low] = ppm.to_be_bytes();
            let words = [high, low, lamppost_sensirion::crc(ppm), 0x66, 0x67, 0xa2, 0x5e, 0xb9, 0x3c];
            [ready.as_slice(), &[sent(&[0xec, 0x05]), came(&words)]].concat()
        };
        let (mut chip, mut waited) = started_with(&[measured(40_000), measured(40_001)].concat()).await;
        assert_eq!(chip.take(&mut waited).await.unwrap().unwrap().co2.to_string(), "40000 ppm");
        let error = chip.take(&mut waited).await.unwrap_err();
        let said = "the answer to SCD41 command read_measurement (0xec05): 40001 ppm, above 40000";
        assert_eq!(error.to_string(), said);
        chip.release().done();
    }

    #[test]
    async fn periodic_measurement_is_started_taken_from_and_stopped() {
        let (mut chip, mut waited) = started_with(&[
            sent(&[0x21, 0xb1]),
            sent(&[0xe4, 0xb8]),
            came(&[0x80, 0x00, 0xa2]),
            sent(&[0xe4, 0xb8]),
            came(&[0x80, 0x06, 0x04]),
            sent(&[0xec, 0x05]),
            came(&[0x01, 0xf4, 0x33, 0x66, 0x67, 0xa2, 0x5e, 0xb9, 0x3c]),
            sent(&[0x3f, 0x86]),
            sent(&[0x21, 0xac]),
        ])
        .await;
        chip.start_periodic(Interval::FiveSeconds).await.unwrap();
        assert_eq!(chip.take(&mut waited).await.unwrap(), None);
        assert_eq!(chip.take(&mut waited).await.unwrap(), convert([0x01f4, 0x6667, 0x5eb9]));
        assert_eq!(waited.us, 3_000);
        chip.stop(&mut waited).await.unwrap();
        assert_eq!(waited.us, 503_000);
        chip.start_periodic(Interval::ThirtySeconds).await.unwrap();
        chip.release().done();
    }

    #[test]
    async fn what_the_chip_would_not_take_while_it_measures_is_not_sent() {
        let (mut chip, mut waited) = started_with(&[sent(&[0x21, 0xb1]), sent(&[0xe0, 0x00, 0x03, 0xdb, 0x42])]).await;
        chip.start_periodic(Interval::FiveSeconds).await.unwrap();
        let refused = |command| Err::<(), _>(Error::Measuring { command });
        assert_eq!(chip.start_single().await, refused(Command::MeasureSingleShot));
        assert_eq!(chip.start_periodic(Interval::FiveSeconds).await, refused(Command::StartPeriodicMeasurement));
        assert_eq!(chip.serial_number(&mut waited).await.map(drop), refused(Command::GetSerialNumber));
        assert_eq!(chip.self_test(&mut waited).await, refused(Command::PerformSelfTest));
        assert_eq!(chip.power_down().await, refused(Command::PowerDown));
        // The pressure is taken (section "set_ambient_pressure").
        chip.set_ambient_pressure(Pascals::from_milli(98_700_000)).await.unwrap();
        chip.release().done();
    }

    #[test]
    async fn a_forced_recalibration_gives_its_correction_or_says_that_it_failed() {
        let air = PartsPerMillion::from_milli(480_000);
        let (mut chip, mut waited) = started_with(&[
            sent(&[0x36, 0x2f, 0x01, 0xe0, 0xb4]),
            came(&[0x7f, 0xce, 0x7b]),
            sent(&[0x36, 0x2f, 0x01, 0xe0, 0xb4]),
            came(&[0xff, 0xff, 0xac]),
        ])
        .await;
        let correction = chip.force_recalibration(air, &mut waited).await.unwrap();
        assert_eq!((correction.to_string().as_str(), waited.us), ("-50 ppm", 400_000));
        assert_eq!(chip.force_recalibration(air, &mut waited).await, Err(Error::Recalibration));
        chip.release().done();
    }

    #[test]
    async fn settings_are_sent_with_their_checksums_and_nothing_beyond_the_range_is() {
        let (mut chip, _) = started_with(&[
            sent(&[0x24, 0x1d, 0x07, 0xe6, 0x48]),
            sent(&[0x24, 0x16, 0x00, 0x01, 0xb0]),
            sent(&[0x24, 0x16, 0x00, 0x00, 0x81]),
            sent(&[0x36, 0xe0]),
        ])
        .await;
        chip.set_temperature_offset(Celsius::from_milli(5_400)).await.unwrap();
        chip.set_automatic_calibration(true).await.unwrap();
        chip.set_automatic_calibration(false).await.unwrap();
        chip.power_down().await.unwrap();
        let command = Command::SetAmbientPressure;
        assert_eq!(chip.set_ambient_pressure(Pascals::from_milli(0)).await, Err(Error::Range { command }));
        let command = Command::SetTemperatureOffset;
        assert_eq!(chip.set_temperature_offset(Celsius::from_milli(-1)).await, Err(Error::Range { command }));
        chip.release().done();
    }

    #[test]
    async fn a_self_test_says_what_it_found() {
        let (mut chip, mut waited) = started_with(&[
            sent(&[0x36, 0x39]),
            came(&[0x00, 0x00, 0x81]),
            sent(&[0x36, 0x39]),
            came(&[0x00, 0x01, 0xb0]),
        ])
        .await;
        chip.self_test(&mut waited).await.unwrap();
        assert_eq!(waited.us, 10_000_000);
        let error = chip.self_test(&mut waited).await.unwrap_err();
        assert_eq!(error.to_string(), "the SCD41's self-test failed: it says 0x0001");
        chip.release().done();
    }

    #[test]
    async fn a_wrong_checksum_names_the_command_and_the_word() {
        let (mut chip, mut waited) = started_with(&[
            sent(&[0xe4, 0xb8]),
            came(&[0x80, 0x06, 0x04]),
            sent(&[0xec, 0x05]),
            came(&[0x01, 0xf4, 0x33, 0x66, 0x67, 0xa3, 0x5e, 0xb9, 0x3c]),
        ])
        .await;
        let error = chip.take(&mut waited).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the answer to SCD41 command read_measurement (0xec05) is damaged: word 1 came as 0x6667 with CRC 0xa3, not 0xa2"
        );
        chip.release().done();
    }

    #[test]
    async fn a_measurement_of_nothing_is_an_error() {
        let (mut chip, mut waited) = started_with(&[
            sent(&[0xe4, 0xb8]),
            came(&[0x80, 0x06, 0x04]),
            sent(&[0xec, 0x05]),
            came(&[0x00, 0x00, 0x81, 0x66, 0x67, 0xa2, 0x5e, 0xb9, 0x3c]),
        ])
        .await;
        assert_eq!(chip.take(&mut waited).await, Err(Error::NoSample));
        chip.release().done();
    }

    #[test]
    async fn a_chip_that_does_not_answer_is_an_error_that_names_the_command() {
        let mut bus = Mock::new(&[sent(&[0x36, 0xf6]).with_error(NACK), sent(&[0x3f, 0x86]).with_error(NACK)]);
        let error = Scd41::new(&mut bus, &mut Waited::default()).await.unwrap_err();
        assert_eq!(error, Error::Send { command: Command::StopPeriodicMeasurement, source: NACK });
        bus.done();
        let (mut chip, mut waited) =
            started_with(&[sent(&[0xe4, 0xb8]), came(&[0, 0, 0]).with_error(ErrorKind::ArbitrationLoss)]).await;
        let error = chip.take(&mut waited).await.unwrap_err();
        assert_eq!(error.to_string(), "the answer to SCD41 command get_data_ready_status (0xe4b8): ArbitrationLoss");
        chip.release().done();
    }
}
