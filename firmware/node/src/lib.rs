//! The brain of a node: samples its measures on schedule, keeps the readings in a ring until the gateway has them on
//! disk, and speaks the link. No I/O, no clock, no heap, no floats: a [`Board`] and the time are handed in, so the same
//! brain runs on a microcontroller, on a pseudo-terminal and in a test.
//!
//! ```text
//! Board::sample ──► Ring ──► NodeSession ──► Board::send
//!                    ▲            │
//!                    └─ forget ◄──┘ ◄── bytes received; Board::acknowledged is told
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`Channel`] | what is measured, and a schedule without drift |
//! | [`Policy`] | which samples become readings: deadband, aggregates while the ring is crowded, alarms |
//! | [`Ring`] | the readings that are not acknowledged, in RAM |
//! | [`Saved`] | the same where a reset does not reach them; `lamppost-node-flash` has one for flash, `()` saves nothing |
//!
//! Invariants:
//! - A reading leaves the ring when the gateway has acknowledged it, or for want of room: the oldest bulk, or where all
//!   are alarms the oldest of them. The latter is counted and reported to the gateway.
//! - A reading is saved before it is sent, and forgotten only after it has left the ring.
//! - A node may have its boot number changed by the gateway, never its sequences: readings keep their order.
//! - [`Board::alive`] is called only from a poll that has come to its end, and only while the clock goes on.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod brain;
mod channel;
mod orders;
mod policy;
mod ring;
mod saved;

pub use brain::{Board, Identity, Node, NodeReport, SensorFault};
pub use channel::{Channel, SetupError};
pub use policy::Policy;
pub use ring::Ring;
pub use saved::Saved;

pub use lamppost_wire::{
    Boot, Capabilities, MeasureIndex, Millis, Range, Reading, Refusal, Scale, Sequence, Value, WallNow,
};
