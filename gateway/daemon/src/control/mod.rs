//! The control socket: where an operator on this machine commands the nodes at the gateway's serial ports.
//!
//! A Unix stream socket, by default `control.sock` in the unit's runtime directory (`/run/lamppost`), without a service manager in the
//! state directory; mode 0660. Who may connect is decided by the file system: the gateway's user and group. HTTP stays read-only.
//!
//! # What is said
//!
//! One JSON object a line ([`Question`]), answered by one line ([`Answer`]), as often as wanted; UTF-8, LF.
//!
//! ```text
//! {"ask":"nodes"}
//! {"ask":"set_interval","device":"node-7","measure":"temperature","interval_ms":2000}     without `measure`: all of its measures
//! {"ask":"identify","device":"node-7","for_ms":10000}
//! {"ask":"reset","device":"node-7"}
//!
//! {"answer":"nodes","ports":[{"source":"north","port":"/dev/ttyUSB0","state":"connected","node":{"device":"node-7",...},...}]}
//! {"answer":"done","device":"node-7","boot":3,"measures":["temperature"]}
//! {"answer":"failed","why":"refused","message":"the node refused: out of range","device":"node-7","measures":[]}
//! ```
//!
//! A command is answered once the node has confirmed it, or it is known why not: 12 s at most for each order, 15 s more for a reset
//! node to come back. `why` is one of `Why`. A wrong line is answered with `bad_request`.
//!
//! # Bounds
//!
//! A line has at most 4 KiB, 8 connections are served at once, one that says nothing for a minute is closed, and a ninth is told
//! `too_many`. One command is under way to a node at a time: a second one is told `busy`.

mod client;
mod place;
mod server;
mod talk;
mod words;

pub(crate) use client::ask;
pub(crate) use server::{Control, Nodes};
pub(crate) use words::{Answer, Measure, Node, Port, Question, State};

/// The longest question, in bytes, with its end of line.
const QUESTION_BYTES_MAX: u64 = 4 << 10;

#[cfg(test)]
mod tests;
