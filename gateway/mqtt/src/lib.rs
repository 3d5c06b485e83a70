//! The durable MQTT front: a server for MQTT 3.1.1 and 5.0 whose PUBACK means "on disk", with rumqttd's router behind it
//! for subscriptions and retained messages.
//!
//! ```text
//! client ── PUBLISH ──► session ── offer ──► Intake (the journal)
//!        ◄── PUBACK ─── acks ◄── durable ──────┘
//!                        └── what is on disk ──► fanout ──► router ──► outbound ──► subscribers
//! ```
//!
//! **Invariant:** nothing is acknowledged before its commit is on disk, and acknowledgements leave in order.
//! **Invariant:** ingest waits for the journal only; never for the router, a subscriber or another client.
//! **Invariant:** what a client can make grow has a bound in [`Limits`].
//! **Invariant:** nobody comes in but by the [`Entry`] of a [`Listener`], and nothing is published or subscribed to but by the
//! [`Rules`]; passwords and keys are never in a log line.
//!
//! Not served: QoS 2 (refused with its reason), shared subscriptions, enhanced authentication. Sessions and retained messages live in memory: after a start no session is present.

#[cfg(test)]
extern crate self as lamppost_mqtt;

mod access;
mod acks;
mod admission;
mod budget;
mod cause;
mod codec;
mod connection;
mod counters;
mod door;
mod durability;
mod ending;
mod fanout;
mod front;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod limits;
mod listener;
mod login;
mod outbound;
mod pace;
mod registry;
mod session;
mod topic;
mod transport;
mod wire;

pub use access::{Acl, AclError, Entry, EntryError, IdentityError, IdentityFrom, Passwords, PasswordsError, Rules};
pub use cause::Cause;
pub use counters::Counters;
pub use front::{BindError, Front};
pub use limits::Limits;
pub use listener::{Keys, Listener};
pub use transport::{Tls, TlsError, TlsFiles};
