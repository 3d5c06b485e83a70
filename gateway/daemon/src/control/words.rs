//! What is said on the control socket.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Question {
    /// Who is at the serial ports with a link.
    Nodes,
    /// Measure at another interval, until the node's next reset.
    SetInterval {
        device: String,
        /// Its name; all of the node's measures where none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        measure: Option<String>,
        /// From 1 to a day.
        interval_ms: u32,
    },
    /// Show which one it is.
    Identify { device: String, for_ms: u32 },
    /// Start anew.
    Reset { device: String },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    /// All ports with a link, in the order of the configuration.
    Nodes { ports: Vec<Port> },
    /// The node has confirmed it.
    Done {
        device: String,
        /// Its life when it confirmed.
        boot: u32,
        /// Of an interval: the measures that have it now.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        measures: Vec<String>,
        /// Of a reset: its new life; none if it has not come back yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        boot_now: Option<u32>,
    },
    /// It was not done, or nobody knows whether.
    Failed {
        why: Why,
        /// The reason for people.
        message: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<String>,
        /// Of an interval: the measures that have it all the same.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        measures: Vec<String>,
    },
}

/// Why a command was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// The line is no question.
    BadRequest,
    /// Too many connections.
    TooMany,
    /// No port has a node of that name now.
    NotConnected,
    /// Two ports have one.
    Ambiguous,
    /// It has no measure of that name.
    NoSuchMeasure,
    /// Its hello does not say that it can do that.
    Unsupported,
    /// It refused.
    Refused,
    /// Another command is under way.
    Busy,
    /// The link was begun anew before the answer came: it may have obeyed or not.
    Interrupted,
    /// No answer came: it may have obeyed or not.
    TimedOut,
}

impl Why {
    /// Nobody knows whether the node obeyed.
    pub(crate) const fn is_unknown(self) -> bool {
        matches!(self, Self::Interrupted | Self::TimedOut)
    }
}

/// A serial port with a link, and who was met there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Port {
    /// The source's name in the configuration.
    pub(crate) source: String,
    pub(crate) port: PathBuf,
    pub(crate) state: State,
    /// The node that was welcomed last; none since the gateway's start if none has come.
    pub(crate) node: Option<Node>,
    /// Since its last good frame, ms.
    pub(crate) heard_ago_ms: Option<u64>,
    /// What last went wrong with the port, in words.
    pub(crate) last_error: Option<String>,
    pub(crate) counters: Counters,
}

/// How things stand at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// A node speaks.
    Connected,
    /// A node was welcomed and has said nothing for more than three heartbeats.
    Silent,
    /// The port is closed, or was closed since the node was welcomed.
    Away,
    /// No node has been welcomed since the gateway's start.
    Nobody,
}

/// A node, by its hello and its last heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) device: String,
    pub(crate) boot: u32,
    pub(crate) firmware: String,
    /// Of the link.
    pub(crate) version: u8,
    /// What it can be told to do: "set_interval", "identify", "reset".
    pub(crate) can: Vec<String>,
    pub(crate) measures: Vec<Measure>,
    /// Readings that it keeps.
    pub(crate) kept: u64,
    /// Readings that it has dropped for want of room, in this life.
    pub(crate) dropped: u64,
    /// Measurements that failed, in this life.
    pub(crate) failed_measurements: u64,
}

/// What a node measures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Measure {
    pub(crate) name: String,
    pub(crate) unit: String,
}

/// What the link has counted since the gateway's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) opens: u64,
    pub(crate) hang_ups: u64,
    pub(crate) hellos: u64,
    pub(crate) frames_ok: u64,
    /// With a wrong CRC, cut, too long, unknown or malformed.
    pub(crate) frames_bad: u64,
    pub(crate) garbage_bytes: u64,
    pub(crate) readings: u64,
    pub(crate) resent: u64,
    pub(crate) out_of_turn: u64,
    pub(crate) passed_over: u64,
    pub(crate) acknowledgements: u64,
    pub(crate) stalls: u64,
    pub(crate) jumps_told: u64,
    pub(crate) commands_done: u64,
    pub(crate) commands_failed: u64,
}
