//! A bus that is there: Linux's, or a modelled one.

use std::fmt;
use std::path::PathBuf;

use embedded_hal::i2c::{Error, ErrorKind, ErrorType, I2c, Operation};
use linux_embedded_hal::I2cdev;

use crate::model::ModelBus;
use crate::mux::{Gate, Gated, MuxChannel};

/// How to get at a bus.
#[derive(Debug, Clone)]
pub enum BusOpener {
    /// A device node of Linux, such as `/dev/i2c-1`.
    Linux(PathBuf),
    /// A modelled bus, for the demonstration and for tests.
    Model(ModelBus),
    /// A bus with multiplexers on it: through its gate, and a channel if the chip is behind one.
    Gated(Box<BusOpener>, Gate, Option<MuxChannel>),
}

impl BusOpener {
    /// Opens the bus. May block.
    ///
    /// # Errors
    /// What the operating system says, without the path (the bus's own text names it).
    pub(crate) fn open(&self) -> Result<Bus, std::io::Error> {
        match self {
            Self::Linux(path) => match I2cdev::new(path) {
                Ok(device) => Ok(Bus::Linux(device)),
                Err(error) => Err(std::io::Error::from(error)),
            },
            Self::Model(model) => Ok(Bus::Model(model.clone())),
            Self::Gated(bus, gate, channel) => {
                Ok(Bus::Gated(Box::new(Gated::new(bus.open()?, gate.clone(), *channel))))
            }
        }
    }
}

impl fmt::Display for BusOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linux(path) => path.display().fmt(f),
            Self::Model(_) => f.write_str("the modelled bus"),
            Self::Gated(bus, _, None) => bus.fmt(f),
            Self::Gated(bus, _, Some(channel)) => write!(f, "{bus}, {channel}"),
        }
    }
}

/// An open bus.
pub(crate) enum Bus {
    /// Linux's.
    Linux(I2cdev),
    /// A modelled one.
    Model(ModelBus),
    /// Through a gate.
    Gated(Box<Gated<Bus>>),
}

/// What a bus says when a transfer fails.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct BusError {
    kind: ErrorKind,
    text: String,
}

impl BusError {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

/// The bare text: this is what a driver's error shows of it.
impl fmt::Debug for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for BusError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl ErrorType for Bus {
    type Error = BusError;
}

impl I2c for Bus {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        match self {
            Self::Linux(device) => {
                device.transaction(address, operations).map_err(|error| BusError::new(error.kind(), error.to_string()))
            }
            Self::Model(model) => model.transaction(address, operations),
            Self::Gated(gated) => gated.transaction(address, operations),
        }
    }
}
