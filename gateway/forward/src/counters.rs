//! What the forwarder counts; the daemon exports it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};

use lamppost_event::{Monotonic, WallTime};

use crate::denial::DenialCounts;

/// What the forwarder counts since its start. Reading is cheap and never waits for the forwarder.
#[derive(Debug, Default)]
pub struct Counters {
    /// Events handed to librdkafka, those sent again after a failure counted again.
    pub sent: AtomicU64,
    /// Events that the cluster acknowledged, each report counted.
    pub delivered: AtomicU64,
    /// Payload and key bytes that the cluster acknowledged.
    pub delivered_bytes: AtomicU64,
    /// Bytes written to the brokers' connections, as librdkafka counts them: requests of every kind, without what TLS, TCP and IP add. Taken
    /// every 5 s; every half second with a ceiling.
    pub wire_bytes: AtomicU64,
    /// Requests written to them, taken likewise.
    pub wire_requests: AtomicU64,
    /// Batches of events written to them, those sent again counted again, taken likewise.
    pub batches: AtomicU64,
    /// The events in those batches.
    pub batch_events: AtomicU64,
    /// The bytes of those batches, compressed as they went.
    pub batch_bytes: AtomicU64,
    /// Bytes of the records handed to librdkafka, as Kafka's record format has them before compression: keys, values, headers, framing.
    pub record_bytes: AtomicU64,
    /// How often librdkafka told.
    pub(crate) wire_looks: AtomicU64,
    /// Failed tries: producers given up, topics tried in vain, metadata not reached.
    pub retries: AtomicU64,
    /// Producers torn down and built anew.
    pub rebuilds: AtomicU64,
    /// Transactions committed.
    pub transactions: AtomicU64,
    /// Transactions given up: what was in them went again.
    pub transactions_aborted: AtomicU64,
    /// Events that were not sent, since the cluster's own cursor said that it has them.
    pub already_there: AtomicU64,
    /// Whether another process of this gateway's name has taken over, and this one stands by.
    pub fenced: AtomicBool,
    /// Bytes in flight now.
    pub in_flight_bytes: AtomicU64,
    /// Events in flight now.
    pub in_flight_events: AtomicU64,
    /// Gaps of the journal that cursors passed.
    pub gaps: AtomicU64,
    /// Gaps that were passed without a notice, for want of room.
    pub untold_gaps: AtomicU64,
    /// Events that those gaps swallowed.
    pub gap_events: AtomicU64,
    /// Times that the journal was read again from the cursors, since offsets were missing in it without a word.
    pub rereads: AtomicU64,
    /// Events that can never be accepted by the cluster, handed to dead letters.
    pub poison: AtomicU64,
    /// Of those, events whose payload did not fit the schema of their topic.
    pub misfits: AtomicU64,
    /// Times that a topic's schema could not be had: its file, or the schema registry.
    pub schema_failures: AtomicU64,
    /// Dead letters that were sent cut.
    pub cut: AtomicU64,
    /// Events sent with the time of sending, since theirs could not be known or the cluster refused it. Tries, each counted.
    pub unclocked: AtomicU64,
    /// How often the cluster did not let us in, by kind.
    pub denials: DenialCounts,
    /// Whether it does not let us in now.
    pub denied: AtomicBool,
    /// When our own certificate for the cluster expires, in seconds since 1970. 0: there is none.
    pub certificate_expires_s: AtomicU64,
    /// Topics paused now.
    pub paused_topics: AtomicU64,
    /// Whether a broker is connected.
    pub connected: AtomicBool,
    /// Whether everything durable has been delivered.
    pub caught_up: AtomicBool,
    /// Whether a backlog is delivered beside what is live.
    pub split: AtomicBool,
    /// What the live lanes count, one after the other; nothing of it is counted here.
    pub(crate) live: OnceLock<Arc<Self>>,
    /// What was last said of the cluster: nothing, reached, not reached.
    said: AtomicU8,
    last_delivery_ms: AtomicU64,
    /// Milliseconds since 1970; [`NO_TIME`] for none.
    oldest_ms: AtomicI64,
    paused: Mutex<Option<String>>,
}

const NO_TIME: i64 = i64::MIN;
const SAID_REACHED: u8 = 1;
const SAID_UNREACHED: u8 = 2;

impl Counters {
    /// When the last event was delivered, in this boot's monotonic time. `None`: not yet.
    #[must_use]
    pub fn last_delivery(&self) -> Option<Monotonic> {
        // Stored one later, so that 0 can be "not yet".
        self.last_delivery_ms.load(Relaxed).checked_sub(1).map(Monotonic)
    }

    /// When the oldest event was received that is read and not delivered, paused topics left out. `None`: there is none, or its time is
    /// not known (zero counts as such, too).
    #[must_use]
    pub fn oldest(&self) -> Option<WallTime> {
        let ms = self.oldest_ms.load(Relaxed);
        (ms != NO_TIME && ms != 0).then_some(WallTime(ms))
    }

    pub(crate) fn set_oldest(&self, received: Option<WallTime>) {
        self.oldest_ms.store(received.map_or(NO_TIME, |time| time.0), Relaxed);
    }

    /// What the live lane counts; `None` where there has been none, nor will be.
    #[must_use]
    pub fn live(&self) -> Option<&Self> {
        self.live.get().map(|live| &**live)
    }

    /// One of the counts over all lanes.
    #[must_use]
    pub fn over_lanes(&self, count: impl Fn(&Self) -> &AtomicU64) -> u64 {
        let of = |counters: &Self| count(counters).load(Relaxed);
        of(self) + self.live().map_or(0, of)
    }

    /// Why nothing (or one topic) moves, in words for a human; `None`: nothing is paused.
    #[must_use]
    pub fn paused_reason(&self) -> Option<String> {
        let own = self.paused.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        own.or_else(|| self.live().filter(|_| self.split.load(Relaxed))?.paused_reason())
    }

    /// For a client that is only made to see whether it can be: what it meets is not said.
    pub(crate) fn unheard() -> Self {
        Self { said: AtomicU8::new(SAID_UNREACHED), ..Self::default() }
    }

    /// The cluster is reached; said once until it no longer is.
    pub(crate) fn set_reached(&self) {
        self.connected.store(true, Relaxed);
        if self.said.swap(SAID_REACHED, Relaxed) != SAID_REACHED {
            tracing::info!("the cluster is reached");
        }
    }

    /// No broker is reached; said once until one is.
    pub(crate) fn set_unreached(&self, why: &str) {
        self.connected.store(false, Relaxed);
        if self.said.swap(SAID_UNREACHED, Relaxed) != SAID_UNREACHED {
            tracing::warn!(why, "no broker is reached; events stay on disk, and it is tried again without end");
        }
    }

    pub(crate) fn set_last_delivery(&self, at: Monotonic) {
        self.last_delivery_ms.store(at.0.saturating_add(1), Relaxed);
    }

    /// Sets the reason; true if it is another than before (then it is worth a line in the log).
    pub(crate) fn set_paused(&self, reason: Option<String>) -> bool {
        let mut paused = self.paused.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let changed = *paused != reason;
        *paused = reason;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_new_only_once() {
        let counters = Counters::default();
        assert!(counters.set_paused(Some("no rights".into())));
        assert!(!counters.set_paused(Some("no rights".into())));
        assert_eq!(counters.paused_reason().as_deref(), Some("no rights"));
        assert!(counters.set_paused(None));
    }

    #[test]
    fn what_is_said_of_the_cluster_is_what_is_so() {
        let counters = Counters::default();
        counters.set_unreached("1/1 brokers are down");
        assert!(!counters.connected.load(Relaxed) && counters.said.load(Relaxed) == SAID_UNREACHED);
        counters.set_reached();
        assert!(counters.connected.load(Relaxed) && counters.said.load(Relaxed) == SAID_REACHED);
    }

    #[test]
    fn the_last_delivery_is_known_even_at_time_zero() {
        let counters = Counters::default();
        assert_eq!(counters.last_delivery(), None);
        counters.set_last_delivery(Monotonic(0));
        assert_eq!(counters.last_delivery(), Some(Monotonic(0)));
    }
}
