//! From words to physical values, and back.

use lamppost_units::{Celsius, PartsPerMillion, Pascals, RelativeHumidity};

/// What one measurement found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurement {
    /// In steps of 1 ppm; 0 to 40,000 ppm (specified from 400 to 5,000 ppm).
    pub co2: PartsPerMillion,
    /// -45 to 130 °C in 65,535 steps, rounded to ten-thousandths (specified from -10 to 60 °C).
    pub temperature: Celsius,
    /// 0 to 100 % in 65,535 steps, rounded to thousandths.
    pub humidity: RelativeHumidity,
}

/// Converts the three words of `read_measurement` (section "read_measurement": `CO2 = w0`, `T = -45 + 175 w1 / (2^16 - 1)`,
/// `RH = 100 w2 / (2^16 - 1)`); `None` if no CO2 was measured.
#[must_use]
pub fn convert(words: [u16; 3]) -> Option<Measurement> {
    let [co2, temperature, humidity] = words;
    let measured = Measurement {
        co2: PartsPerMillion::from_milli(i32::from(co2) * 1_000),
        temperature: Celsius::from_ten_thousandths(-450_000 + of_full_scale(temperature, 1_750_000)),
        humidity: RelativeHumidity::from_milli(of_full_scale(humidity, 100_000)),
    };
    (co2 != 0).then_some(measured)
}

/// `word / 65535 × full`, rounded to the nearest; never more than `full`.
fn of_full_scale(word: u16, full: u32) -> i32 {
    let scaled = (u64::from(word) * u64::from(full) + 32_767) / 65_535;
    i32::try_from(scaled).unwrap_or(i32::MAX)
}

/// The argument of `set_ambient_pressure`, in hectopascals; 700 to 1200 hPa are taken.
pub(crate) fn pressure_word(pressure: Pascals) -> Option<u16> {
    let hectopascals = (pressure.milli().checked_add(50_000)?) / 100_000;
    u16::try_from(hectopascals).ok().filter(|word| (700..=1_200).contains(word))
}

/// The argument of `set_temperature_offset`; 0 to 20 °C are recommended, and no more is taken.
pub(crate) fn offset_word(offset: Celsius) -> Option<u16> {
    let ten_thousandths = u64::try_from(offset.ten_thousandths()).ok().filter(|offset| *offset <= 200_000)?;
    u16::try_from((ten_thousandths * 65_535 + 875_000) / 1_750_000).ok()
}

/// The argument of `perform_forced_recalibration`, in ppm: what the air is, 400 to 2,000 ppm as it should be.
pub(crate) fn reference_word(air: PartsPerMillion) -> Option<u16> {
    let ppm = air.milli().checked_add(500)? / 1_000;
    u16::try_from(ppm).ok().filter(|word| (400..=2_000).contains(word))
}

/// The correction that `perform_forced_recalibration` answers: `w0 - 0x8000` ppm; `None` if it says 0xffff, "failed".
pub(crate) fn correction(word: u16) -> Option<PartsPerMillion> {
    (word != 0xffff).then(|| PartsPerMillion::from_milli((i32::from(word) - 0x8000) * 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_sheets_example_of_a_measurement_comes_out() {
        // 500 ppm, 25 °C, 37 %RH.
        let found = convert([0x01f4, 0x6667, 0x5eb9]).unwrap();
        assert_eq!(found.co2, PartsPerMillion::from_milli(500_000));
        assert_eq!((found.temperature.milli() + 50) / 100, 250);
        assert_eq!((found.humidity.milli() + 500) / 1_000, 37);
    }

    #[test]
    fn every_word_converts_within_the_range_and_to_the_nearest() {
        let mut last = convert([1, 0, 0]).unwrap();
        assert_eq!((last.temperature, last.humidity.milli()), (Celsius::from_milli(-45_000), 0));
        for word in 1..=u16::MAX {
            let found = convert([word, word, word]).unwrap();
            assert!(found.temperature > last.temperature && found.humidity > last.humidity, "{word}");
            let celsius = -45.0 + 175.0 * f64::from(word) / 65_535.0;
            assert!((f64::from(found.temperature.ten_thousandths()) / 1e4 - celsius).abs() <= 0.000_051, "{word}");
            let percent = 100.0 * f64::from(word) / 65_535.0;
            assert!((f64::from(found.humidity.milli()) / 1e3 - percent).abs() <= 0.000_501, "{word}");
            last = found;
        }
        assert_eq!((last.temperature, last.humidity.milli()), (Celsius::from_milli(130_000), 100_000));
        assert_eq!(last.co2.milli(), 65_535_000);
    }

    #[test]
    fn no_co2_is_no_measurement() {
        assert_eq!(convert([0, 0x6667, 0x5eb9]), None);
    }

    #[test]
    fn what_is_set_becomes_the_data_sheets_words_and_nothing_beyond_the_range_does() {
        assert_eq!(pressure_word(Pascals::from_milli(98_700_000)), Some(0x03db));
        assert_eq!(offset_word(Celsius::from_milli(5_400)), Some(0x07e6));
        assert_eq!(reference_word(PartsPerMillion::from_milli(480_000)), Some(0x01e0));
        for milli in [0, -1, 69_900_000, 120_060_000, i32::MAX, i32::MIN] {
            assert_eq!(pressure_word(Pascals::from_milli(milli)), None, "{milli}");
        }
        for milli in [-1, 20_001, i32::MAX, i32::MIN] {
            assert_eq!(offset_word(Celsius::from_milli(milli)), None, "{milli}");
        }
        for milli in [0, 399_000, 2_001_000, i32::MAX, i32::MIN] {
            assert_eq!(reference_word(PartsPerMillion::from_milli(milli)), None, "{milli}");
        }
    }

    #[test]
    fn a_correction_is_signed_and_failure_is_none() {
        // The data sheet's example: -50 ppm.
        assert_eq!(correction(0x7fce), Some(PartsPerMillion::from_milli(-50_000)));
        assert_eq!(correction(0x8000), Some(PartsPerMillion::from_milli(0)));
        assert_eq!(correction(0xffff), None);
    }
}
