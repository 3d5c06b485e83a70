//! The I2C controllers as bus masters (LM3S6965 data sheet, chapter "I2C Interface"), 100 kHz, polled.
//!
//! One deviation from embedded-hal's contract: where the direction changes within a transaction, the bus is released (STOP)
//! and taken again (START), instead of a repeated START, which QEMU's model of this controller ignores. On a bus with one
//! master that is the same to every chip that keeps its register pointer, as all of ours do.

use embedded_hal::i2c::{Error, ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};

use crate::mmio::Register;
use crate::power::SYSTEM_CLOCK_HZ;

const ADDRESS: usize = 0x00;
const CONTROL: usize = 0x04;
const DATA: usize = 0x08;
const PERIOD: usize = 0x0c;
const CONFIGURATION: usize = 0x20;

const RUN: u32 = 1 << 0;
const START: u32 = 1 << 1;
const STOP: u32 = 1 << 2;
const ACKNOWLEDGE: u32 = 1 << 3;

const BUSY: u32 = 1 << 0;
const FAILED: u32 = 1 << 1;
const ADDRESS_REFUSED: u32 = 1 << 2;
const DATA_REFUSED: u32 = 1 << 3;
const ARBITRATION_LOST: u32 = 1 << 4;

/// A byte takes 90 us at 100 kHz; this is several milliseconds of asking.
const STATUS_POLLS_MAX: u32 = 20_000;

/// Why a transfer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusError {
    /// No chip at that address.
    AddressRefused,
    /// The chip refused a byte.
    DataRefused,
    /// Another master, or in QEMU: no chip at that address.
    ArbitrationLost,
    /// The controller did not finish: a chip holds the clock.
    Stuck,
    /// There is no such controller: QEMU 7.2 has only I2C0.
    NoController,
    /// A transfer without bytes, which this controller can't do.
    Empty,
}

impl Error for BusError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::AddressRefused => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address),
            Self::DataRefused => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data),
            Self::ArbitrationLost => ErrorKind::ArbitrationLoss,
            Self::Stuck => ErrorKind::Bus,
            Self::NoController | Self::Empty => ErrorKind::Other,
        }
    }
}

/// Which of the two controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// I2C0.
    I2c0,
    /// I2C1.
    I2c1,
}

/// The bus of a controller.
pub struct Bus {
    base: usize,
}

impl Bus {
    /// Enables the controller as a master.
    pub fn start(controller: Controller) -> Result<Self, BusError> {
        const MASTER: u32 = 1 << 4;
        const BUS_HZ: u32 = 100_000;
        let base = match controller {
            Controller::I2c0 => 0x4002_0000,
            Controller::I2c1 => 0x4002_1000,
        };
        let bus = Self { base };
        bus.register(CONFIGURATION).write(MASTER);
        if bus.register(CONFIGURATION).read() != MASTER {
            return Err(BusError::NoController);
        }
        // The clock is low for six periods and high for four.
        bus.register(PERIOD).write(SYSTEM_CLOCK_HZ.div_ceil(2 * 10 * BUS_HZ) - 1);
        Ok(bus)
    }

    fn register(&self, offset: usize) -> Register {
        // SAFETY: `base` is one of the two controllers, and all callers name one of its registers.
        unsafe { Register::at(self.base + offset) }
    }

    fn write_bytes(&mut self, bytes: &[u8], edges: Edges) -> Result<(), BusError> {
        let last = bytes.len().checked_sub(1).ok_or(BusError::Empty)?;
        for (index, byte) in bytes.iter().enumerate() {
            self.register(DATA).write(u32::from(*byte));
            self.run(edges.command(index == 0, index == last))?;
        }
        Ok(())
    }

    fn read_bytes(&mut self, bytes: &mut [u8], edges: Edges) -> Result<(), BusError> {
        let last = bytes.len().checked_sub(1).ok_or(BusError::Empty)?;
        for (index, byte) in bytes.iter_mut().enumerate() {
            let command = edges.command(index == 0, index == last);
            let acknowledge = if command & STOP == 0 { ACKNOWLEDGE } else { 0 };
            self.run(command | acknowledge)?;
            *byte = self.register(DATA).read() as u8;
        }
        Ok(())
    }

    fn run(&mut self, command: u32) -> Result<(), BusError> {
        let control = self.register(CONTROL);
        control.write(command);
        let done = (0..STATUS_POLLS_MAX).map(|_| control.read()).find(|status| status & BUSY == 0);
        let status = done.ok_or(BusError::Stuck)?;
        if status & FAILED == 0 {
            return Ok(());
        }
        if status & ARBITRATION_LOST != 0 {
            return Err(BusError::ArbitrationLost);
        }
        if command & STOP == 0 {
            control.write(STOP);
        }
        let data_refused = status & DATA_REFUSED != 0 && status & ADDRESS_REFUSED == 0;
        Err(if data_refused { BusError::DataRefused } else { BusError::AddressRefused })
    }
}

impl ErrorType for Bus {
    type Error = BusError;
}

impl I2c for Bus {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        let mut rest = operations;
        let mut before = None;
        while let Some((operation, after)) = rest.split_first_mut() {
            let reads = is_read(operation);
            let edges = Edges { starts: before != Some(reads), stops: after.first().map(is_read) != Some(reads) };
            if edges.starts {
                self.register(ADDRESS).write(u32::from(address) << 1 | u32::from(reads));
            }
            match operation {
                Operation::Read(bytes) => self.read_bytes(bytes, edges)?,
                Operation::Write(bytes) => self.write_bytes(bytes, edges)?,
            }
            before = Some(reads);
            rest = after;
        }
        Ok(())
    }
}

fn is_read(operation: &Operation<'_>) -> bool {
    matches!(operation, Operation::Read(_))
}

/// Whether an operation takes the bus before its first byte and releases it after its last.
#[derive(Clone, Copy)]
struct Edges {
    starts: bool,
    stops: bool,
}

impl Edges {
    fn command(self, first: bool, last: bool) -> u32 {
        let start = if first && self.starts { START } else { 0 };
        let stop = if last && self.stops { STOP } else { 0 };
        RUN | start | stop
    }
}
