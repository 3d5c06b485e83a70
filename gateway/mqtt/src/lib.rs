//! The durable MQTT front: a server for MQTT 3.1.1 and 5.0 whose PUBACK means "on disk", with rumqttd's router behind it
//! for subscriptions.
//!
//! ```text
//! client ── PUBLISH ──► session ── offer ──► Intake (the journal)
//!        ◄── PUBACK ─── acks ◄── durable ──────┘
//!                        └── what is on disk ──► fanout (router) ──► outbound ──► subscribers
//!        ── what must outlive us ──► sessions, retained ── put ──► Notes (the journal's state)
//! ```
//!
//! **Invariant:** nothing is acknowledged before its commit is on disk, and acknowledgements leave in order.
//! **Invariant:** ingest waits for the journal only; never for the router, a subscriber or another client.
//! **Invariant:** what must outlive the process (sessions, what waits for them, retained messages) never depends on the router.
//! **Invariant:** what a client can make grow has a bound in [`Limits`].
//! **Invariant:** nobody comes in but by the [`Entry`] of a [`Listener`], and nothing is published or subscribed to but by the
//! [`Rules`]; passwords and keys are never in a log line.
//!
//! Not served: QoS 2 (refused with its reason), shared subscriptions, enhanced authentication.

#[cfg(test)]
extern crate self as lamppost_mqtt;

mod access;
mod acks;
mod admission;
mod bell;
mod budget;
mod cause;
mod clients;
mod codec;
mod connection;
mod counters;
mod door;
mod durability;
mod ending;
mod fanout;
mod filters;
mod front;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod holdings;
mod limits;
mod listener;
mod login;
mod message;
mod outbound;
mod pace;
mod registry;
mod retained;
mod session;
mod sessions;
mod stamp;
mod storing;
mod topic;
mod transport;
mod upstream;
mod waiters;
mod wills;
mod wire;

pub use access::{Acl, AclError, Entry, EntryError, IdentityError, IdentityFrom, Passwords, PasswordsError, Rules};
pub use cause::{Cause, SubscriptionCause};
pub use clients::{ClientSeen, Clients, ENDINGS_MAX, EndingSeen};
pub use counters::Counters;
pub use front::{BindError, Front, Ground};
pub use holdings::{Holding, Holdings};
pub use limits::{Limits, QUEUE_PLACE_BYTES};
pub use listener::{Keys, Listener};
pub use transport::{Tls, TlsError, TlsFiles};
pub use upstream::{
    Broker, BrokerCause, BrokerFilter, BrokerFilterError, BrokerLogin, BrokerPauses, BrokerSource, BrokerStatus,
    BrokerTls, BrokerVersion, KeptContent, KeptSession, KeptSubscription, Subscriptions, TlsTunnel, TlsTunnelError,
};
