//! From the chip's registers to physical values (section 6.5.1): all of them exact.

use core::fmt;

use lamppost_units::{Amperes, Decimal, Microvolts, Milliwatts, Volts};

/// What the shunt is, and what one step of the current register stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calibration {
    pub(crate) register: u16,
    step_ua: i32,
}

/// A power, 0 to 107 kW, exact: through small shunts it is more than [`Milliwatts`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Power(i64);

impl Power {
    /// In microwatts.
    #[must_use]
    pub const fn microwatts(self) -> i64 {
        self.0
    }

    /// In watts.
    #[must_use]
    pub const fn decimal(self) -> Decimal {
        Decimal::new(self.0, -6)
    }
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mW", Decimal::new(self.0, -3))
    }
}

/// Why there is no such calibration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalibrationError {
    /// One step has to be 1 to 65,535 µA.
    Step,
    /// The register is `5.12 V / (step × shunt) / 1000` and has to be 1 to 32,767; this is what it would be.
    Register(u64),
}

impl fmt::Display for CalibrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step => f.write_str("one step of the INA226's current has to be 1 to 65535 µA"),
            Self::Register(found) => write!(
                f,
                "with this shunt and this step of current the INA226's calibration would be {found}, and has to be 1 to 32767"
            ),
        }
    }
}

impl core::error::Error for CalibrationError {}

impl Calibration {
    /// For a shunt of `shunt_uohm` microohms and steps of `step` (equation 1: `CAL = 0.00512 / (step × shunt)`, truncated).
    /// The largest current is 32,767 steps; a step of 1/32,768 of the largest expected current, rounded up to a round number,
    /// is a good one.
    ///
    /// # Errors
    /// If the register can't hold it.
    pub const fn new(shunt_uohm: u32, step: Amperes) -> Result<Self, CalibrationError> {
        let step_ua = step.micro();
        if step_ua < 1 || step_ua > 65_535 {
            return Err(CalibrationError::Step);
        }
        let product = step_ua as u64 * shunt_uohm as u64;
        // 0.00512 V in 10^-12 V, as is µA × µΩ.
        let Some(register) = 5_120_000_000_u64.checked_div(product) else {
            return Err(CalibrationError::Register(u64::MAX));
        };
        if register < 1 || register > 32_767 {
            return Err(CalibrationError::Register(register));
        }
        Ok(Self { register: register as u16, step_ua })
    }

    /// For a shunt of 100 to 2,500,000 microohms, with steps of current as fine as those of the shunt's voltage, 2.5 µV, rounded
    /// up to a microampere: the whole range of ±81.92 mV can be told. Current is within 0.1 % of what the registers mean.
    #[must_use]
    pub const fn of_shunt(shunt_uohm: u32) -> Option<Self> {
        if shunt_uohm < 100 || shunt_uohm > 2_500_000 {
            return None;
        }
        let step_ua = 2_500_000_u32.div_ceil(shunt_uohm);
        match Self::new(shunt_uohm, Amperes::from_micro(step_ua as i32)) {
            Ok(calibration) => Some(calibration),
            Err(_) => None,
        }
    }

    /// What one step of the current register stands for.
    #[must_use]
    pub const fn step(self) -> Amperes {
        Amperes::from_micro(self.step_ua)
    }

    /// What the calibration register holds.
    #[must_use]
    pub const fn register(self) -> u16 {
        self.register
    }

    /// The current register, ±2,147 A at most.
    #[must_use]
    pub fn current(self, register: [u8; 2]) -> Amperes {
        // Less than 2^15 steps of less than 2^16 µA each.
        Amperes::from_micro(i32::from(i16::from_be_bytes(register)) * self.step_ua)
    }

    /// The power register, of which one step is 25 of the current's times 1 V.
    #[must_use]
    pub fn power(self, register: [u8; 2]) -> Power {
        Power(i64::from(u16::from_be_bytes(register)) * 25 * i64::from(self.step_ua))
    }

    /// The power register that stands for at least `power`.
    pub(crate) fn power_register(self, power: Milliwatts) -> Option<u16> {
        let step_uw = 25 * i64::from(self.step_ua);
        u16::try_from((i64::from(power.microwatts()) + step_uw / 2).div_euclid(step_uw)).ok()
    }
}

/// The bus voltage register: steps of 1.25 mV, 0 to 40.96 V (the chip stands 36 V). The upper bit always reads zero.
#[must_use]
pub fn bus_voltage(register: [u8; 2]) -> Volts {
    Volts::from_micro(i32::from(u16::from_be_bytes(register) & 0x7fff) * 1_250)
}

/// The shunt voltage register: steps of 2.5 µV, signed, ±81.92 mV.
#[must_use]
pub fn shunt_voltage(register: [u8; 2]) -> Microvolts {
    Microvolts::from_nanovolts(i32::from(i16::from_be_bytes(register)) * 2_500)
}

pub(crate) fn bus_register(voltage: Volts) -> Option<u16> {
    let steps = (i64::from(voltage.micro()) + 625).div_euclid(1_250);
    u16::try_from(steps).ok().filter(|steps| *steps <= 0x7fff)
}

pub(crate) fn shunt_register(voltage: Microvolts) -> Option<u16> {
    let steps = (i64::from(voltage.nanovolts()) + 1_250).div_euclid(2_500);
    i16::try_from(steps).ok().map(i16::cast_unsigned)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::ToString;

    /// Section 8.2.1.2 (formerly "Configure/Measure/Calculate Example"): 2 mΩ, steps of 1 mA.
    fn example() -> Calibration {
        Calibration::new(2_000, Amperes::from_micro(1_000)).unwrap()
    }

    #[test]
    fn the_data_sheets_example_comes_out() {
        assert_eq!(example().register(), 2_560);
        assert_eq!(shunt_voltage([0x1f, 0x40]).to_string(), "20000 µV");
        assert_eq!(bus_voltage([0x25, 0x70]).to_string(), "11.98 V");
        assert_eq!(example().current([0x27, 0x10]).to_string(), "10 A");
        // 4792 steps of 25 mW are 119.8 W; the data sheet prints 119.82 W.
        assert_eq!(example().power([0x12, 0xb8]), Power(119_800_000));
        // What the chip itself computes (equations 3 and 4).
        assert_eq!(8_000 * i32::from(example().register()) / 2_048, 10_000);
        assert_eq!(10_000 * 9_584 / 20_000, 4_792);
    }

    #[test]
    fn extremes_convert_exactly() {
        assert_eq!(bus_voltage([0xff, 0xff]), Volts::from_micro(40_958_750));
        assert_eq!(shunt_voltage([0x80, 0x00]), Microvolts::from_nanovolts(-81_920_000));
        assert_eq!(shunt_voltage([0xff, 0xff]), Microvolts::from_nanovolts(-2_500));
        let coarsest = Calibration::new(100, Amperes::from_micro(65_535)).unwrap();
        assert_eq!(coarsest.current([0x80, 0x00]), Amperes::from_micro(-2_147_450_880));
        assert_eq!(coarsest.power([0xff, 0xff]), Power(107_370_905_625));
        assert_eq!(coarsest.power([0xff, 0xff]).to_string(), "107370905.625 mW");
        assert_eq!(coarsest.power([0xff, 0xff]).decimal().to_string(), "107370.905625");
    }

    #[test]
    fn a_calibration_that_the_register_can_not_hold_is_refused_with_what_it_would_be() {
        let step = Amperes::from_micro(1_000);
        assert_eq!(Calibration::new(0, step), Err(CalibrationError::Register(u64::MAX)));
        assert_eq!(Calibration::new(100, step), Err(CalibrationError::Register(51_200)));
        assert_eq!(Calibration::new(u32::MAX, step), Err(CalibrationError::Register(0)));
        for micro in [0, -1, 65_536, i32::MIN, i32::MAX] {
            assert_eq!(Calibration::new(2_000, Amperes::from_micro(micro)), Err(CalibrationError::Step));
        }
        let said = Calibration::new(100, step).unwrap_err().to_string();
        assert!(said.ends_with("would be 51200, and has to be 1 to 32767"), "{said}");
    }

    #[test]
    fn any_shunt_of_the_range_has_a_calibration_that_tells_the_whole_range_within_a_thousandth() {
        assert_eq!(Calibration::of_shunt(100_000).unwrap().step(), Amperes::from_micro(25));
        for shunt in (100..2_500_000_u32).step_by(997).chain([100, 2_000, 2_500_000]) {
            let calibration = Calibration::of_shunt(shunt).unwrap();
            let real = 2.5e6 / f64::from(shunt);
            let told = f64::from(calibration.register()) / 2_048.0 * f64::from(calibration.step().micro());
            assert!(told <= real * 1.000_001 && told >= real * 0.999, "{shunt} µΩ: {told} µA for {real}");
            assert!(calibration.register() <= 2_048, "{shunt} µΩ: the largest current would overflow");
        }
        for shunt in [0, 99, 2_500_001, u32::MAX] {
            assert_eq!(Calibration::of_shunt(shunt), None, "{shunt}");
        }
    }

    #[test]
    fn limits_go_into_registers_as_they_come_out_of_them() {
        for register in [0_u16, 1, 9_584, 0x7fff] {
            assert_eq!(bus_register(bus_voltage(register.to_be_bytes())), Some(register));
            assert_eq!(shunt_register(shunt_voltage(register.to_be_bytes())), Some(register));
            let power = i32::try_from(example().power(register.to_be_bytes()).microwatts()).unwrap();
            assert_eq!(example().power_register(Milliwatts::from_microwatts(power)), Some(register));
        }
        assert_eq!(shunt_register(Microvolts::from_nanovolts(-2_500)), Some(0xffff));
        assert_eq!(bus_register(Volts::from_micro(-2_000)), None);
        assert_eq!(bus_register(Volts::from_micro(40_960_000)), None);
        assert_eq!(shunt_register(Microvolts::from_nanovolts(82_000_000)), None);
        assert_eq!(example().power_register(Milliwatts::from_microwatts(-25_000)), None);
    }
}
