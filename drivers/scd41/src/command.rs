//! What the chip can be told.

use core::fmt;

/// A command of the chip (data sheet 1.x, section "Sensor Commands": table "List of SCD4x sensor commands").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Measure every 5 s.
    StartPeriodicMeasurement,
    /// Measure every 30 s.
    StartLowPowerPeriodicMeasurement,
    /// Measure no more.
    StopPeriodicMeasurement,
    /// Measure once.
    MeasureSingleShot,
    /// Whether there is a measurement that was not read.
    GetDataReadyStatus,
    /// The measurement, once.
    ReadMeasurement,
    /// How much warmer the chip is than the air.
    SetTemperatureOffset,
    /// The pressure that CO2 is computed for.
    SetAmbientPressure,
    /// Whether the chip calibrates itself.
    SetAutomaticSelfCalibrationEnabled,
    /// Calibrate on air that is known.
    PerformForcedRecalibration,
    /// The chip's number.
    GetSerialNumber,
    /// Test all of the chip.
    PerformSelfTest,
    /// Sleep.
    PowerDown,
    /// Sleep no more.
    WakeUp,
}

impl Command {
    /// Its code.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::StartPeriodicMeasurement => 0x21b1,
            Self::StartLowPowerPeriodicMeasurement => 0x21ac,
            Self::StopPeriodicMeasurement => 0x3f86,
            Self::MeasureSingleShot => 0x219d,
            Self::GetDataReadyStatus => 0xe4b8,
            Self::ReadMeasurement => 0xec05,
            Self::SetTemperatureOffset => 0x241d,
            Self::SetAmbientPressure => 0xe000,
            Self::SetAutomaticSelfCalibrationEnabled => 0x2416,
            Self::PerformForcedRecalibration => 0x362f,
            Self::GetSerialNumber => 0x3682,
            Self::PerformSelfTest => 0x3639,
            Self::PowerDown => 0x36e0,
            Self::WakeUp => 0x36f6,
        }
    }

    /// How long the chip needs before it answers or takes the next command, in milliseconds: the longest that the data sheet
    /// gives. A single measurement is not waited for here.
    #[must_use]
    pub const fn takes_ms(self) -> u32 {
        match self {
            Self::StopPeriodicMeasurement => 500,
            Self::PerformForcedRecalibration => 400,
            Self::PerformSelfTest => 10_000,
            Self::WakeUp => 30,
            _ => 1,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::StartPeriodicMeasurement => "start_periodic_measurement",
            Self::StartLowPowerPeriodicMeasurement => "start_low_power_periodic_measurement",
            Self::StopPeriodicMeasurement => "stop_periodic_measurement",
            Self::MeasureSingleShot => "measure_single_shot",
            Self::GetDataReadyStatus => "get_data_ready_status",
            Self::ReadMeasurement => "read_measurement",
            Self::SetTemperatureOffset => "set_temperature_offset",
            Self::SetAmbientPressure => "set_ambient_pressure",
            Self::SetAutomaticSelfCalibrationEnabled => "set_automatic_self_calibration_enabled",
            Self::PerformForcedRecalibration => "perform_forced_recalibration",
            Self::GetSerialNumber => "get_serial_number",
            Self::PerformSelfTest => "perform_self_test",
            Self::PowerDown => "power_down",
            Self::WakeUp => "wake_up",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:04x})", self.name(), self.code())
    }
}

/// How often the chip measures on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interval {
    /// Every 5 s.
    #[default]
    FiveSeconds,
    /// Every 30 s, with less current.
    ThirtySeconds,
}

impl Interval {
    pub(crate) const fn command(self) -> Command {
        match self {
            Self::FiveSeconds => Command::StartPeriodicMeasurement,
            Self::ThirtySeconds => Command::StartLowPowerPeriodicMeasurement,
        }
    }

    /// In milliseconds.
    #[must_use]
    pub const fn ms(self) -> u32 {
        match self {
            Self::FiveSeconds => 5_000,
            Self::ThirtySeconds => 30_000,
        }
    }
}
