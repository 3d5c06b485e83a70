//! What the sensor can be told.

use core::fmt;

/// A command of the sensor (data sheet 1.0 of 2020, section 6.3, "I2C Commands").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Measure, every second.
    StartMeasurement,
    /// Measure no more.
    StopMeasurement,
    /// Whether there is a measurement that was not read.
    ReadDataReadyFlag,
    /// The last measurement.
    ReadMeasuredValues,
    /// Sleep.
    Sleep,
    /// Sleep no more; sent twice.
    WakeUp,
    /// Blow the dust out, for 10 s.
    StartFanCleaning,
    /// The firmware's version.
    ReadVersion,
    /// What is wrong with the sensor.
    ReadDeviceStatus,
    /// Forget what was wrong.
    ClearDeviceStatus,
}

impl Command {
    /// Its code.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::StartMeasurement => 0x0010,
            Self::StopMeasurement => 0x0104,
            Self::ReadDataReadyFlag => 0x0202,
            Self::ReadMeasuredValues => 0x0300,
            Self::Sleep => 0x1001,
            Self::WakeUp => 0x1103,
            Self::StartFanCleaning => 0x5607,
            Self::ReadVersion => 0xd100,
            Self::ReadDeviceStatus => 0xd206,
            Self::ClearDeviceStatus => 0xd210,
        }
    }

    /// How long the sensor needs before it answers or takes the next command, in milliseconds.
    #[must_use]
    pub const fn takes_ms(self) -> u32 {
        match self {
            Self::StartMeasurement | Self::StopMeasurement => 20,
            _ => 5,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::StartMeasurement => "start measurement",
            Self::StopMeasurement => "stop measurement",
            Self::ReadDataReadyFlag => "read data-ready flag",
            Self::ReadMeasuredValues => "read measured values",
            Self::Sleep => "sleep",
            Self::WakeUp => "wake-up",
            Self::StartFanCleaning => "start fan cleaning",
            Self::ReadVersion => "read version",
            Self::ReadDeviceStatus => "read device status",
            Self::ClearDeviceStatus => "clear device status",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:04x})", self.name(), self.code())
    }
}
