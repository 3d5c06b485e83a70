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
//! Invariants:
//! - A reading leaves the ring when the gateway has acknowledged it, or as the oldest when the ring is full; the latter
//!   is counted and reported to the gateway.
//! - A node may have its boot number changed by the gateway, never its sequences: readings keep their order.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod brain;
mod channel;
mod ring;

pub use brain::{Board, Identity, Node, NodeReport, SensorFault};
pub use channel::{Channel, SetupError};
pub use ring::Ring;

pub use lamppost_wire::{Boot, MeasureIndex, Millis, Range, Reading, Scale, Sequence, Value};
