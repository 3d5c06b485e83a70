//! Brokers that stand elsewhere: a source that subscribes to one and stores what it delivers, through rumqttc.
//!
//! ```text
//! broker ── TCP, TLS ── line ── local socket ── rumqttc ── message ──► inbox ── offer ──► Intake (the journal)
//!        ◄── PUBACK ───────────────────────────────────────────────── inbox ◄── durable ──┘
//! ```
//!
//! **Invariant:** a message is acknowledged to its broker only once the commit that it went with is on disk, in the order in
//! which the messages came [MQTT-4.6.0-2]. One that can't be an event is stored as a dead letter, as much of it as there is room for: were it
//! left unacknowledged, a broker that has some twenty such messages under way would deliver nothing more, for ever.
//! **Invariant:** an acknowledgement never outlives its connection: packet ids begin anew with each, and rumqttc does too.
//! **Invariant:** what waits for the journal has a bound in number and bytes; at it the broker is not read from, and goes on
//! hearing pings.
//! **Invariant:** DUP decides nothing: what is delivered again is stored again.
//!
//! rumqttc has neither the connection nor TLS in its hands: it speaks to a socket of this process, and [`line`] carries the
//! bytes. So TLS is today's rustls (rumqttc's own feature brings in an old webpki), reading can pause without pings pausing,
//! and a packet's size is known before rumqttc makes room for it.
//!
//! The journal's room for a message's identity: the address is its topic (behind `prefix`), from which routes take
//! topic, key and device; a device that no route names is the broker's name, so that one broker's messages keep their order.

mod book;
mod client;
mod conversation;
mod frames;
mod inbox;
mod line;
mod message;
mod settings;
mod source;
mod status;
mod tls;
mod tunnel;

pub use book::{KeptContent, KeptSession, KeptSubscription, Subscriptions};
pub use settings::{Broker, BrokerFilter, BrokerFilterError, BrokerLogin, BrokerTls, BrokerVersion};
pub use source::{BrokerPauses, BrokerSource};
pub use status::{BrokerCause, BrokerStatus};
pub use tunnel::{TlsTunnel, TlsTunnelError};
