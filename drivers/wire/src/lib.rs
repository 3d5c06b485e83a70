//! The link between a node (a microcontroller with sensors) and a gateway, over any serial line: frames, messages and
//! the sessions of both ends, as state machines without I/O. Bytes and the time go in, bytes and events come out.
//! README.md is the specification.
//!
//! Glossary:
//!
//! | word | type |
//! |---|---|
//! | what lies between two zero bytes on the line | [`FrameDecoder`] takes it apart |
//! | what a frame carries, towards the gateway | [`FromNode`] |
//! | what a frame carries, towards the node | [`FromGateway`] |
//! | one life of a node, from reset to reset | [`Boot`] |
//! | a reading's number within a boot, from 1 | [`Sequence`] |
//! | what a node measures, in which unit and scale | [`Measure`] |
//! | what the gateway's clock says, and how wrong that may be at the node | [`Time`], [`WallNow`] |
//! | what a node is told to do, and what came of it | [`Command`], [`Answer`] |
//! | the node's end | [`NodeSession`], over a [`Store`] of the caller's |
//! | the gateway's end | [`GatewaySession`], which yields [`GatewayEvent`]s |
//!
//! Invariants:
//! - A node lets go of a reading only when the gateway has acknowledged it, or for want of room, and counts the latter.
//! - A gateway takes a boot's readings in order, and passes over a sequence only where the node has said that it will
//!   never come. So "acknowledged up to n" leaves nothing out.
//! - No byte from the line makes either end panic; damage costs the frames it touches and no later one.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod clock;
mod cobs;
mod command;
mod frame;
mod gateway;
mod message;
mod node;
mod place;

pub use clock::{DRIFT_PPM_MAX, Quality, Time, TimeAsked, Wall, WallNow, drift_ms};
pub use command::{Answer, Command, INTERVAL_MS_MAX, Order, Refusal};
pub use frame::{FRAME_BYTES_MAX, FrameBuffer, FrameDecoder, FrameError, LinkCounters, MESSAGE_BYTES_MAX};
pub use gateway::{GatewayCounters, GatewayEvent, GatewaySession};
pub use message::{
    Ack, Capabilities, FromGateway, FromNode, Heartbeat, Hello, MEASURES_MAX, Measure, MessageError, Range, Reading,
    Resend, Scale, Step, TextError, VERSION, Welcome, text,
};
pub use node::{NodeCounters, NodeSession, Store};
pub use place::{Boot, MeasureIndex, Millis, Sequence, Value};
