//! Serial sources: nodes that speak the link (`lamppost-wire`) over a serial port, devices that write [lines](LinesSource), meters
//! that are polled by [Modbus](ModbusSource), [dust sensors](DustSource) that send frames of their own.
//!
//! ```text
//! port ── bytes ──► GatewaySession ── reading ──► Intake::offer ──► journal
//!      ◄─ ack ─────                ◄─ durable ──
//! ```
//!
//! **Invariant:** a reading is acknowledged to its node only once the commit that it went with is durable, and only with
//! all those before it of the same boot. **Invariant:** a port that is absent, wrong or noisy costs its own readings'
//! time and nothing else: it is counted, said once, and opened again with growing pauses.

mod ages;
mod attend;
mod conversation;
mod decimal;
mod lines;
mod modbus;
mod number;
mod open;
mod orders;
mod pms5003;
mod port;
mod roster;
mod status;
mod tty;
mod watch;

pub use attend::PortStatus;
pub use lamppost_wire::{Capabilities, Command, MeasureIndex, Refusal};
pub use lines::{Field, FieldFrom, FieldKind, LineFormat, LinesOptions, LinesSource, LinesStatus, Pointer};
pub use modbus::{
    ModbusOptions, ModbusSource, ModbusStatus, Order, REGISTERS_MAX, Register, SlaveOptions, SlaveStatus, Table,
    ValueType,
};
pub use number::{Factor, NumberError};
pub use orders::{CommandError, NodeOrders};
pub use pms5003::{DustOptions, DustSource, DustStatus};
pub use port::{LinkOptions, LinkSource};
pub use status::{ConnectedNode, Count, LinkStatus};
pub use tty::{Parity, PortSettings};
