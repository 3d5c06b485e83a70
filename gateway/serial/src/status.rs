//! What a link has seen and done, for metrics. Read at any time, from any thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use lamppost_event::Monotonic;
use lamppost_wire::{Capabilities, GatewayCounters, LinkCounters};

use crate::PortStatus;

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectedNode {
    /// The device's name.
    pub device: String,
    /// The number of its present life.
    pub boot: u32,
    /// Its firmware.
    pub firmware: String,
    /// The version of the link that it speaks.
    pub version: u8,
    /// What it can be told to do.
    pub capabilities: Capabilities,
    /// What it measures, with the units.
    pub measures: Vec<(String, String)>,
}

/// Everything counted since the source was made.
#[derive(Debug, Default)]
pub struct LinkStatus {
    /// The port's own.
    pub port: PortStatus,
    /// Good frames.
    pub frames_ok: Count,
    /// Frames with a wrong CRC.
    pub frames_bad_crc: Count,
    /// Frames that ended too early.
    pub frames_cut: Count,
    /// Frames longer than allowed.
    pub frames_too_long: Count,
    /// Good frames of an unknown type.
    pub frames_unknown: Count,
    /// Good frames with a body that does not fit.
    pub frames_malformed: Count,
    /// Bytes that belonged to no good frame.
    pub garbage_bytes: Count,
    /// Hellos received.
    pub hellos: Count,
    /// Hellos that named no valid device.
    pub hellos_refused: Count,
    /// Hellos of a newer version of the link, answered with ours.
    pub hellos_newer: Count,
    /// Boot numbers given to nodes that had none, or a used one.
    pub boots_given: Count,
    /// Times that readings of a bygone life were taken because the node insisted: it counts its lives through used numbers anew.
    pub recounted: Count,
    /// Readings offered to the journal.
    pub readings: Count,
    /// Readings received again and dropped.
    pub resent: Count,
    /// Readings dropped because one before them was lost; the node sends them again.
    pub out_of_turn: Count,
    /// Readings and heartbeats dropped because the node had not been welcomed; it sends them again.
    pub before_welcome: Count,
    /// Sequences that the node passed over: readings it had dropped for want of room.
    pub passed_over: Count,
    /// Acknowledgements sent.
    pub acknowledgements: Count,
    /// Times that the node was told of a jump of the gateway's clock.
    pub jumps_told: Count,
    /// Commands that the node has obeyed.
    pub commands_done: Count,
    /// Commands that it has refused or not answered.
    pub commands_failed: Count,
    /// Times that the journal had no room and reading stopped.
    pub stalls: Count,
    /// By the node's last heartbeat: readings it keeps.
    pub node_kept: Count,
    /// By the node's last heartbeat: readings it has dropped in this life.
    pub node_dropped: Count,
    /// By the node's last heartbeat: measurements that failed in this life.
    pub node_faults: Count,
    /// When the last good frame came, by the gateway's monotonic clock in ms; 0 before the first.
    heard_ms: Count,
    node: Mutex<Met>,
}

/// The node that said hello last, and whether the port has been open since.
#[derive(Debug, Default)]
struct Met {
    node: Option<ConnectedNode>,
    is_connected: bool,
}

impl LinkStatus {
    /// The last thing that went wrong, in words.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.port.last_error()
    }

    /// The node that speaks now; none until it has said hello since the port was opened.
    #[must_use]
    pub fn node(&self) -> Option<ConnectedNode> {
        let met = self.node.lock().unwrap_or_else(PoisonError::into_inner);
        met.node.clone().filter(|_| met.is_connected)
    }

    /// The node that was welcomed last, though the port may have been closed since.
    #[must_use]
    pub fn last_node(&self) -> Option<ConnectedNode> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner).node.clone()
    }

    /// When the last good frame came.
    #[must_use]
    pub fn heard_at(&self) -> Option<Monotonic> {
        Some(self.heard_ms.get()).filter(|ms| *ms > 0).map(Monotonic)
    }

    pub(crate) fn set_heard(&self, at: Monotonic) {
        self.heard_ms.set(at.0);
    }

    pub(crate) fn welcome(&self, node: ConnectedNode) {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner) = Met { node: Some(node), is_connected: true };
    }

    pub(crate) fn leave(&self) {
        self.node.lock().unwrap_or_else(PoisonError::into_inner).is_connected = false;
    }

    /// Remembers an error, and says whether it is another one than the last.
    pub(crate) fn set_error(&self, error: &str) -> bool {
        self.port.set_error(error)
    }

    /// Adds what a session has counted since `before`.
    pub(crate) fn add_link(&self, before: LinkCounters, now: LinkCounters) {
        let pairs = [
            (&self.frames_ok, before.frames_ok, now.frames_ok),
            (&self.frames_bad_crc, before.frames_bad_crc, now.frames_bad_crc),
            (&self.frames_cut, before.frames_cut, now.frames_cut),
            (&self.frames_too_long, before.frames_too_long, now.frames_too_long),
            (&self.frames_unknown, before.frames_unknown, now.frames_unknown),
            (&self.frames_malformed, before.frames_malformed, now.frames_malformed),
            (&self.garbage_bytes, before.garbage_bytes, now.garbage_bytes),
        ];
        for (count, before, now) in pairs {
            count.add(u64::from(now.wrapping_sub(before)));
        }
    }

    /// Adds what a session has counted since `before`.
    pub(crate) fn add_session(&self, before: GatewayCounters, now: GatewayCounters) {
        self.resent.add(u64::from(now.resent.wrapping_sub(before.resent)));
        self.out_of_turn.add(u64::from(now.out_of_turn.wrapping_sub(before.out_of_turn)));
        self.recounted.add(u64::from(now.recounted.wrapping_sub(before.recounted)));
        let dropped = now.before_welcome.wrapping_sub(before.before_welcome);
        self.before_welcome.add(u64::from(dropped.wrapping_add(now.bygone.wrapping_sub(before.bygone))));
    }
}
