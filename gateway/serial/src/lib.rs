//! Serial sources: nodes that speak the link (`lamppost-wire`) over a serial port.
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
mod conversation;
mod decimal;
mod orders;
mod port;
mod roster;
mod status;
mod watch;

pub use lamppost_wire::{Command, MeasureIndex, Refusal};
pub use orders::{CommandError, NodeOrders};
pub use port::{LinkOptions, LinkSource};
pub use status::{ConnectedNode, Count, LinkStatus};
