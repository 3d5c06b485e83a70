//! Decode and route: from an arrival to an event with a journal topic, key and partition. Pure functions: no clock, no
//! I/O; the one thing remembered is which topics exist, because their number is bounded.
//!
//! ```text
//! arrival ──► first rule whose filter fits ──► decode ──► device, topic, key ──► partition
//!                │ none: the default topic        │ can't                │ not a legal name, too many
//!                ▼                                ▼                      ▼
//!             events, key = device             dead-letters, with the reason, payload and key (the device) kept
//! ```
//!
//! **Invariant:** routing loses nothing. [`Routes::route`] can't fail: what has no legal place is a dead letter.

mod bound;
mod decode;
mod filter;
mod routes;
mod rule;
mod template;

pub use decode::{Decode, DecodeError, JSON_DEPTH_MAX, ParseDecodeError};
pub use filter::{CAPTURES_MAX, Captures, Filter, FilterError};
pub use routes::{
    DEAD_LETTERS, DEFAULT_TOPIC, PARTITIONS_DEFAULT, RouteSettings, Routed, Routes, RoutesError, TOPICS_MAX_DEFAULT,
};
pub use rule::{Rule, RuleError};
pub use template::{BUILT_IN, KEY_BYTES_MAX, Template, TemplateError};
