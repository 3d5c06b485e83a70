//! What a broker's source has seen and done, for metrics and health. Read at any time, from any thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Why a connection to a broker could not be made, or ended: a bounded set, so that each can be a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BrokerCause {
    /// The host's name leads nowhere.
    Resolve,
    /// No TCP connection.
    Connect,
    /// A file (password, certificate, key, roots) can't be read or used.
    Files,
    /// The TLS handshake failed.
    Tls,
    /// The broker refused us in its CONNACK.
    Refused,
    /// The broker ended the connection.
    Closed,
    /// The broker did not answer in time.
    Silent,
    /// A packet above the limit that is no PUBLISH, and so can't be cut.
    PacketTooLarge,
    /// What came is not MQTT, or not allowed there.
    Protocol,
    /// rumqttc panicked.
    Client,
}

impl BrokerCause {
    /// All of them, in order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Resolve,
        Self::Connect,
        Self::Files,
        Self::Tls,
        Self::Refused,
        Self::Closed,
        Self::Silent,
        Self::PacketTooLarge,
        Self::Protocol,
        Self::Client,
    ];

    /// The word used in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Files => "files",
            Self::Tls => "tls",
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::PacketTooLarge => "packet_too_large",
            Self::Protocol => "protocol",
            Self::Client => "client",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// Counters and gauges of one broker's source, since it was made. All but those named `_now` only rise.
#[derive(Debug, Default)]
pub struct BrokerStatus {
    /// Whether the broker has accepted us and the connection stands.
    pub connected_now: AtomicBool,
    /// Times that the broker has accepted us.
    pub connects: AtomicU64,
    /// Of these, with the session of before (session present).
    pub sessions_resumed: AtomicU64,
    /// Messages that came with QoS 0.
    pub messages_qos0: AtomicU64,
    /// Messages that came with QoS 1.
    pub messages_qos1: AtomicU64,
    /// Of these, marked as sent before (DUP). They are stored like all others.
    pub delivered_again: AtomicU64,
    /// Retained messages that the broker sent again for a subscription that it already had: acknowledged, not stored.
    pub retained_again: AtomicU64,
    /// PUBACKs handed to rumqttc. Each means: on disk.
    pub pubacks: AtomicU64,
    /// Messages that came and are not acknowledged yet (a gauge).
    pub unacknowledged_now: AtomicU64,
    /// Messages that can't be events (too large, a topic that can't be an address): stored as dead letters, and acknowledged.
    pub buried: AtomicU64,
    /// Messages that not even a dead letter can be made of, and that wait at the broker, unacknowledged, on this connection (a gauge). Of
    /// QoS 0 they are counted in `dropped_qos0`.
    pub left_now: AtomicU64,
    /// Messages of QoS 0 that not even a dead letter can be made of, and are gone.
    pub dropped_qos0: AtomicU64,
    /// Filters that the broker refused, or granted with QoS 0 in place of 1, on this connection (a gauge).
    pub filters_refused_now: AtomicU64,
    /// Times that the journal was full and reading stopped.
    pub stalls: AtomicU64,
    /// Bytes from the broker.
    pub bytes_in: AtomicU64,
    /// Bytes to the broker.
    pub bytes_out: AtomicU64,
    /// The last connection failed or ended, and none has stood for a while since.
    pub unsteady_now: AtomicBool,
    failures: [AtomicU64; BrokerCause::ALL.len()],
    last_error: Mutex<Option<String>>,
}

impl BrokerStatus {
    /// How often a connection failed or ended for `cause`.
    #[must_use]
    pub fn failures(&self, cause: BrokerCause) -> u64 {
        self.failures.get(cause.index()).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// The last thing that went wrong, in words.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a failure, and says whether it is another one than the last.
    pub(super) fn failed(&self, cause: BrokerCause, error: &str) -> bool {
        if let Some(count) = self.failures.get(cause.index()) {
            add(count, 1);
        }
        self.unsteady_now.store(true, Ordering::Relaxed);
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        let new = last.as_deref() != Some(error);
        *last = Some(error.to_owned());
        new
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

pub(super) fn set(gauge: &AtomicU64, value: usize) {
    gauge.store(value as u64, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_numbered_in_order_and_one_is_said_once_until_another_comes() {
        for (number, cause) in BrokerCause::ALL.iter().enumerate() {
            assert_eq!(cause.index(), number);
        }
        let status = BrokerStatus::default();
        assert!(status.failed(BrokerCause::Connect, "refused"));
        assert!(!status.failed(BrokerCause::Connect, "refused"));
        assert!(status.failed(BrokerCause::Silent, "no answer"));
        assert_eq!((status.failures(BrokerCause::Connect), status.last_error().as_deref()), (2, Some("no answer")));
    }
}
