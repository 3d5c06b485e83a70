//! What the front has seen, as plain numbers that the daemon turns into metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::access::{Action, Denied};
use crate::cause::{Close, RefusedFilter};
use crate::{Cause, SubscriptionCause};

/// Counters and gauges of the front. All but those named `_now` only rise.
#[derive(Debug, Default)]
pub struct Counters {
    /// Open connections (a gauge).
    pub connections_now: AtomicU64,
    /// Accepted connections.
    pub connections_total: AtomicU64,
    /// Clients that were sent a positive CONNACK.
    pub clients_total: AtomicU64,
    /// Sessions that outlive their connections (a gauge).
    pub sessions_now: AtomicU64,
    /// Of those, sessions of clients that are away (a gauge).
    pub sessions_away_now: AtomicU64,
    /// QoS 0 publishes offered to the journal, wills among them.
    pub publishes_qos0: AtomicU64,
    /// QoS 1 publishes offered to the journal, wills among them.
    pub publishes_qos1: AtomicU64,
    /// PUBACKs given. Each means: on disk.
    pub pubacks: AtomicU64,
    /// Bytes read from clients.
    pub bytes_in: AtomicU64,
    /// Bytes written to clients.
    pub bytes_out: AtomicU64,
    /// Connections that are not read from because the journal is full (a gauge).
    pub stalled_now: AtomicU64,
    /// Times that the journal was full for a connection.
    pub stalls: AtomicU64,
    /// Wills stored.
    pub wills: AtomicU64,
    /// Wills that could not be stored in time.
    pub wills_dropped: AtomicU64,
    /// Wills that could not be noted for want of room: they would not survive a restart.
    pub wills_unnoted: AtomicU64,
    /// Messages delivered to subscribers.
    pub delivered: AtomicU64,
    /// Messages that were stored, but did not go to subscribers for lack of room.
    pub fanout_shed: AtomicU64,
    /// Messages that were stored and delivered, but not retained for lack of room.
    pub retained_refused: AtomicU64,
    /// Retained messages (a gauge).
    pub retained_now: AtomicU64,
    /// QoS 1 messages that wait for remembered sessions (a gauge).
    pub queued_now: AtomicU64,
    /// Messages that were not queued for a session for lack of room there, or waited for one that ended for want of room.
    pub queue_shed: AtomicU64,
    /// Sessions ended for want of room: of those that were away, of who had most.
    pub sessions_evicted: AtomicU64,
    /// SUBSCRIBE packets refused for want of room to remember them.
    pub subscriptions_unnoted: AtomicU64,
    /// Connections that could not be accepted: the system has no file descriptors left.
    pub accepts_failed: AtomicU64,
    /// Publishes that the rules do not allow. None of them was stored.
    pub publishes_denied: AtomicU64,
    /// Subscriptions that the rules do not allow.
    pub subscriptions_denied: AtomicU64,
    /// Routers started after one died.
    pub router_restarts: AtomicU64,
    refusals: [AtomicU64; Cause::ALL.len()],
    subscription_refusals: [AtomicU64; SubscriptionCause::ALL.len()],
}

impl Counters {
    /// How often connections were refused or ended for `cause`.
    #[must_use]
    pub fn refusals(&self, cause: Cause) -> u64 {
        self.refusals.get(cause.index()).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// How many filters of SUBSCRIBE packets were refused for `cause`.
    #[must_use]
    pub fn subscription_refusals(&self, cause: SubscriptionCause) -> u64 {
        self.subscription_refusals.get(cause.index()).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Counts, and logs: as a warning the first time, so that a flood of one cause does not become a flood of lines.
    pub(crate) fn refuse(&self, close: &Close, client: &str) {
        let before = self.refusals.get(close.cause.index()).map_or(1, |count| count.fetch_add(1, Ordering::Relaxed));
        let (cause, reason) = (close.cause.as_str(), &close.detail);
        if before == 0 && !matches!(close.cause, Cause::ShuttingDown) {
            tracing::warn!(
                client,
                cause,
                reason,
                "connection refused or ended; further ones of this cause are only counted"
            );
        } else {
            tracing::debug!(client, cause, reason, "connection refused or ended");
        }
    }
}

impl Counters {
    /// Counts, and logs the first of each cause as a warning.
    pub(crate) fn refuse_filter(&self, refused: &RefusedFilter, client: &str) {
        let RefusedFilter { cause, reason, filter } = refused;
        let before =
            self.subscription_refusals.get(cause.index()).map_or(1, |count| count.fetch_add(1, Ordering::Relaxed));
        if *cause == SubscriptionCause::NotAuthorized {
            // `deny` has told it.
            return;
        }
        let (cause, reason, filter) = (cause.as_str(), &**reason, &**filter);
        if before == 0 {
            tracing::warn!(
                client,
                cause,
                reason,
                filter,
                "subscription refused; further ones of this cause are only counted"
            );
        } else {
            tracing::debug!(client, cause, reason, filter, "subscription refused");
        }
    }

    /// Counts, and logs the first of its kind as a warning.
    pub(crate) fn deny(&self, denied: &Denied, client: &str) {
        let (counter, action) = match denied.action {
            Action::Publish => (&self.publishes_denied, "publish"),
            Action::Subscribe => (&self.subscriptions_denied, "subscribe"),
        };
        let topic = &*denied.topic;
        if counter.fetch_add(denied.count, Ordering::Relaxed) == 0 {
            tracing::warn!(client, action, topic, "not allowed by the rules; further ones are only counted");
        } else {
            tracing::debug!(client, action, topic, "not allowed by the rules");
        }
    }
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Adds one to a gauge for as long as it lives.
#[derive(Debug)]
pub(crate) struct Gauge<F: Fn(&Counters) -> &AtomicU64> {
    counters: std::sync::Arc<Counters>,
    which: F,
}

impl<F: Fn(&Counters) -> &AtomicU64> Gauge<F> {
    pub(crate) fn up(counters: std::sync::Arc<Counters>, which: F) -> Self {
        add(which(&counters), 1);
        Self { counters, which }
    }
}

impl<F: Fn(&Counters) -> &AtomicU64> Drop for Gauge<F> {
    fn drop(&mut self) {
        (self.which)(&self.counters).fetch_sub(1, Ordering::Relaxed);
    }
}
