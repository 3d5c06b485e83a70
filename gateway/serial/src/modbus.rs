//! Modbus RTU (Modbus over serial line V1.02) by tokio-modbus: one master, several slaves on one bus, their registers read in turn.
//!
//! ```text
//! Turns ──► Plan ──► Master ── request ──► bus ── answer ──► Register ── one arrival a value ──► Intake::offer ──► journal
//! ```
//!
//! - A poll is never made up for: what could not be asked or stored in time is counted, and the schedule goes on in step.
//! - An answer that is an exception concerns its request alone. A slave that does not answer is asked less and less often, once
//!   each time, and never takes more of the bus than its share.
//! - Adapters and ports that have to be told when to send (RS-485 with a direction pin) must be set so outside of this program.

mod master;
mod plan;
mod register;
mod source;
mod status;
mod turns;

use std::time::Duration;

use lamppost_event::DeviceId;

pub use plan::REGISTERS_MAX;
pub use register::{Order, Register, Table, ValueType};
pub use source::ModbusSource;
pub use status::{ModbusStatus, SlaveStatus};

/// How a bus is worked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModbusOptions {
    /// How long a slave has to begin its answer and send it, beyond the time on the wire. 500 ms.
    pub timeout: Duration,
    /// How often a request without a right answer is sent again at once. 1. Not to a slave that did not answer last time.
    pub retries: u32,
    /// The silence before each request, if longer than the 3.5 characters (1.75 ms above 19,200 baud) of the standard. 5 ms: what adapters
    /// take to turn from sending to receiving.
    pub turnaround: Duration,
    /// Who is on the bus.
    pub slaves: Vec<SlaveOptions>,
}

impl Default for ModbusOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_millis(500),
            retries: 1,
            turnaround: Duration::from_millis(5),
            slaves: Vec::new(),
        }
    }
}

/// A slave and what is read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlaveOptions {
    /// Its address on the bus, 1 to 247.
    pub id: u8,
    /// The device that it reports as.
    pub device: DeviceId,
    /// How often it is polled.
    pub every: Duration,
    /// How many addresses that nobody wants may be read to join two requests. 0. A slave that refuses them, or does not answer,
    /// is asked without.
    pub gap: u16,
    /// The most registers in one request, 4 to 125. 125.
    pub registers_max: u16,
    /// What is read.
    pub registers: Vec<Register>,
}

impl SlaveOptions {
    /// A slave without registers, polled each 10 s.
    #[must_use]
    pub const fn new(id: u8, device: DeviceId) -> Self {
        Self { id, device, every: Duration::from_secs(10), gap: 0, registers_max: REGISTERS_MAX, registers: Vec::new() }
    }
}
