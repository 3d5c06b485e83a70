//! A serial port as it is configured, and opening it: for this program alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_serial::{DataBits, ErrorKind, SerialPortBuilderExt, SerialStream};

use crate::attend::PortError;

/// The check bit after the data bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parity {
    /// None.
    #[default]
    None,
    /// Even: what Modbus prescribes (Modbus over serial line V1.02, section 2.5.1).
    Even,
    /// Odd.
    Odd,
}

/// A port and how it is set. 8 data bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSettings {
    /// Its path, best one of `/dev/serial/by-id`, which names the device and not the order of plugging in.
    pub path: PathBuf,
    /// Bits a second.
    pub baud: u32,
    /// The check bit.
    pub parity: Parity,
    /// Stop bits, 1 or 2.
    pub stop_bits: u8,
    /// The first pause before the port is opened again. 250 ms.
    pub reopen_pause_min: Duration,
    /// The longest. 10 s.
    pub reopen_pause_max: Duration,
}

impl PortSettings {
    /// No parity, 1 stop bit, the usual pauses.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, baud: u32) -> Self {
        Self {
            path: path.into(),
            baud,
            parity: Parity::None,
            stop_bits: 1,
            reopen_pause_min: Duration::from_millis(250),
            reopen_pause_max: Duration::from_secs(10),
        }
    }

    /// How long a character takes: start bit, 8 data bits, parity and stop bits.
    #[must_use]
    pub fn character(&self) -> Duration {
        let bits = 9 + u32::from(self.parity != Parity::None) + u32::from(self.stop_bits);
        Duration::from_secs(1) * bits / self.baud.max(1)
    }

    /// Opens the port. Exclusive (TIOCEXCL and a lock, which also root meets): two programs on one line would each take
    /// half of what comes.
    pub(crate) fn open(&self) -> Result<SerialStream, PortError> {
        let parity = match self.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
        };
        let stop_bits = if self.stop_bits == 2 { tokio_serial::StopBits::Two } else { tokio_serial::StopBits::One };
        tokio_serial::new(self.path.to_string_lossy(), self.baud)
            .data_bits(DataBits::Eight)
            .parity(parity)
            .stop_bits(stop_bits)
            .open_native_async()
            .and_then(|mut port| port.set_exclusive(true).map(|()| port))
            .map_err(|error| self.refused(error))
    }

    fn refused(&self, error: tokio_serial::Error) -> PortError {
        let path = self.path.clone();
        let says_busy = ["busy", "exclusive lock"].iter().any(|word| error.description.contains(word));
        let taken = matches!(error.kind(), ErrorKind::Io(std::io::ErrorKind::WouldBlock)) || says_busy;
        if taken { PortError::Taken { path } } else { PortError::Open { path, baud: self.baud, error } }
    }

    /// The port's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_takes_as_long_as_its_bits() {
        let mut port = PortSettings::new("/dev/null", 10_000);
        assert_eq!(port.character(), Duration::from_millis(1));
        port.parity = Parity::Even;
        assert_eq!(port.character(), Duration::from_micros(1_100));
        port.stop_bits = 2;
        assert_eq!(port.character(), Duration::from_micros(1_200));
    }
}
