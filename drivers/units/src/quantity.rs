//! The quantities.

use core::fmt;

use crate::Decimal;

/// The unit of a measured value, as SenML names it (RFC 8428 section 12.1; RFC 8798 section 3 where it says so).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Degrees Celsius.
    Celsius,
    /// Pascals.
    Pascal,
    /// Per cent of relative humidity.
    RelativeHumidity,
    /// Teslas.
    Tesla,
    /// Watts.
    Watt,
    /// Volts.
    Volt,
    /// Amperes.
    Ampere,
    /// Parts per million (RFC 8798).
    PartsPerMillion,
    /// Micrograms in a cubic metre (RFC 8798).
    MicrogramPerCubicMetre,
    /// How many there were.
    Count,
    /// A ratio, as a share of time: 0 to 1.
    Ratio,
}

impl Unit {
    /// The unit's symbol in SenML.
    #[must_use]
    pub const fn senml(self) -> &'static str {
        match self {
            Self::Celsius => "Cel",
            Self::Pascal => "Pa",
            Self::RelativeHumidity => "%RH",
            Self::Tesla => "T",
            Self::Watt => "W",
            Self::Volt => "V",
            Self::Ampere => "A",
            Self::PartsPerMillion => "ppm",
            Self::MicrogramPerCubicMetre => "ug/m3",
            Self::Count => "count",
            Self::Ratio => "/",
        }
    }
}

/// What every quantity offers, for code that carries measured values without caring what they are.
pub trait Quantity: Copy {
    /// Its unit.
    const UNIT: Unit;
    /// The power of ten that its mantissa counts, of [`Quantity::UNIT`].
    const EXPONENT: i8;

    /// The value in `10^EXPONENT` of its unit.
    fn mantissa(self) -> i32;

    /// The value in its unit, exactly.
    fn decimal(self) -> Decimal {
        Decimal::new(i64::from(self.mantissa()), Self::EXPONENT)
    }
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $unit:expr, $exponent:literal, $from:ident, $get:ident, $step:literal, $shown:literal, $shown_exponent:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(i32);

        impl $name {
            #[doc = concat!("From ", $step, ".")]
            #[must_use]
            pub const fn $from(value: i32) -> Self {
                Self(value)
            }

            #[doc = concat!("The value in ", $step, ".")]
            #[must_use]
            pub const fn $get(self) -> i32 {
                self.0
            }
        }

        impl Quantity for $name {
            const UNIT: Unit = $unit;
            const EXPONENT: i8 = $exponent;

            fn mantissa(self) -> i32 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} {}", Decimal::new(i64::from(self.0), $shown_exponent), $shown)
            }
        }
    };
}

quantity!(
    /// A temperature. Kept in ten-thousandths of a degree, the coarsest decimal step in which the 1/16 °C of the common
    /// sensors (TMP105, LM75, DS18B20) is exact.
    Celsius, Unit::Celsius, -4, from_ten_thousandths, ten_thousandths, "ten-thousandths of a degree Celsius", "°C", -4
);
quantity!(
    /// A pressure.
    Pascals, Unit::Pascal, -3, from_milli, milli, "millipascals", "Pa", -3
);
quantity!(
    /// A relative humidity.
    RelativeHumidity, Unit::RelativeHumidity, -3, from_milli, milli, "thousandths of a per cent", "%RH", -3
);
quantity!(
    /// A magnetic flux density. Written in microteslas for people, in teslas for SenML.
    Microtesla, Unit::Tesla, -9, from_nanotesla, nanotesla, "nanoteslas", "µT", -3
);
quantity!(
    /// A power.
    Watts, Unit::Watt, -3, from_milli, milli, "milliwatts", "W", -3
);
quantity!(
    /// A small power, as of what a battery feeds. Written in milliwatts for people, in watts for SenML.
    Milliwatts, Unit::Watt, -6, from_microwatts, microwatts, "microwatts", "mW", -3
);
quantity!(
    /// A voltage.
    Volts, Unit::Volt, -6, from_micro, micro, "microvolts", "V", -6
);
quantity!(
    /// A small voltage, as across a shunt. Written in microvolts for people, in volts for SenML.
    Microvolts, Unit::Volt, -9, from_nanovolts, nanovolts, "nanovolts", "µV", -3
);
quantity!(
    /// A current.
    Amperes, Unit::Ampere, -6, from_micro, micro, "microamperes", "A", -6
);
quantity!(
    /// A share of a gas in air, by volume.
    PartsPerMillion, Unit::PartsPerMillion, -3, from_milli, milli, "thousandths of a part per million", "ppm", -3
);
quantity!(
    /// A mass concentration, as of dust in air.
    MicrogramsPerCubicMetre, Unit::MicrogramPerCubicMetre, -3, from_milli, milli, "nanograms per cubic metre", "µg/m³", -3
);

impl Celsius {
    /// From thousandths of a degree Celsius; beyond ±214,748 °C it saturates.
    #[must_use]
    pub const fn from_milli(value: i32) -> Self {
        Self(value.saturating_mul(10))
    }

    /// The value in thousandths of a degree Celsius, rounded to the nearest (halves away from zero).
    #[must_use]
    pub const fn milli(self) -> i32 {
        let half = if self.0 < 0 { -5 } else { 5 };
        self.0.saturating_add(half) / 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn quantities_are_shown_with_their_unit() {
        assert_eq!(Celsius::from_milli(-10_500).to_string(), "-10.5 °C");
        assert_eq!(Celsius::from_ten_thousandths(625).to_string(), "0.0625 °C");
        assert_eq!(Pascals::from_milli(100_653_266).to_string(), "100653.266 Pa");
        assert_eq!(RelativeHumidity::from_milli(45_120).to_string(), "45.12 %RH");
        assert_eq!(Microtesla::from_nanotesla(48_100).to_string(), "48.1 µT");
        assert_eq!(Watts::from_milli(-1).to_string(), "-0.001 W");
        assert_eq!(Milliwatts::from_microwatts(2_500).to_string(), "2.5 mW");
        assert_eq!(Volts::from_micro(11_998_750).to_string(), "11.99875 V");
        assert_eq!(Microvolts::from_nanovolts(-2_500).to_string(), "-2.5 µV");
        assert_eq!(Amperes::from_micro(-610).to_string(), "-0.00061 A");
        assert_eq!(PartsPerMillion::from_milli(500_000).to_string(), "500 ppm");
        assert_eq!(MicrogramsPerCubicMetre::from_milli(12_500).to_string(), "12.5 µg/m³");
    }

    #[test]
    fn decimal_and_unit_together_are_the_value_that_senml_means() {
        assert_eq!(Microtesla::from_nanotesla(48_100).decimal().to_string(), "0.0000481");
        assert_eq!(Microtesla::UNIT.senml(), "T");
        assert_eq!(Celsius::from_milli(21_500).decimal().to_string(), "21.5");
        assert_eq!(Celsius::UNIT.senml(), "Cel");
        assert_eq!(Milliwatts::from_microwatts(2_500).decimal().to_string(), "0.0025");
        assert_eq!(Volts::from_micro(11_998_750).decimal().to_string(), "11.99875");
        assert_eq!(Microvolts::from_nanovolts(-2_500).decimal().to_string(), "-0.0000025");
        assert_eq!((Milliwatts::UNIT.senml(), Volts::UNIT.senml(), Microvolts::UNIT.senml()), ("W", "V", "V"));
        assert_eq!(Amperes::UNIT.senml(), "A");
        // RFC 8798 section 3.
        assert_eq!((PartsPerMillion::UNIT.senml(), MicrogramsPerCubicMetre::UNIT.senml()), ("ppm", "ug/m3"));
        assert_eq!((Pascals::UNIT.senml(), RelativeHumidity::UNIT.senml(), Watts::UNIT.senml()), ("Pa", "%RH", "W"));
    }

    #[test]
    fn a_temperature_in_thousandths_is_rounded_to_the_nearest_and_never_wraps() {
        assert_eq!(Celsius::from_ten_thousandths(625).milli(), 63);
        assert_eq!(Celsius::from_ten_thousandths(-625).milli(), -63);
        assert_eq!(Celsius::from_ten_thousandths(624).milli(), 62);
        assert_eq!(Celsius::from_milli(i32::MAX).ten_thousandths(), i32::MAX);
        assert_eq!(Celsius::from_milli(i32::MIN).ten_thousandths(), i32::MIN);
        assert_eq!(Celsius::from_ten_thousandths(i32::MIN).milli(), -214_748_364);
    }
}
