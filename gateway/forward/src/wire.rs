//! What the wire carries, as librdkafka's statistics tell it: the true measure of what a metered link is charged for.
//!
//! Counted is what is handed to the brokers' connections: requests of every kind, compressed as they go. What TLS, TCP and IP add, and
//! the few hundred bytes of those clients that only ask for a topic's shape, are not.

use std::sync::atomic::Ordering::Relaxed;

use rdkafka::statistics::Statistics;

use crate::counters::Counters;

/// What one producer had told when it was last looked at. Several producers count into the same [`Counters`].
#[derive(Debug, Default)]
pub(crate) struct Wire {
    tx_bytes: u64,
    requests: u64,
}

impl Wire {
    /// Adds what has come since the last time.
    pub(crate) fn apply(&mut self, statistics: &Statistics, counters: &Counters) {
        let brokers = || statistics.brokers.values();
        // Over all of them: a connection that was made by address is called otherwise once its broker's number is known.
        let tx_bytes: u64 = brokers().map(|broker| broker.txbytes).sum();
        let requests: u64 = brokers().map(|broker| broker.tx).sum();
        counters.wire_bytes.fetch_add(tx_bytes.saturating_sub(self.tx_bytes), Relaxed);
        counters.wire_requests.fetch_add(requests.saturating_sub(self.requests), Relaxed);
        (self.tx_bytes, self.requests) = (tx_bytes, requests);
        // These windows begin anew with each report.
        for topic in statistics.topics.values() {
            counters.batches.fetch_add(positive(topic.batchcnt.cnt), Relaxed);
            counters.batch_events.fetch_add(positive(topic.batchcnt.sum), Relaxed);
            counters.batch_bytes.fetch_add(positive(topic.batchsize.sum), Relaxed);
        }
        counters.wire_looks.fetch_add(1, Relaxed);
    }
}

fn positive(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use rdkafka::statistics::{Broker, Topic, Window};

    use super::*;

    fn told(tx: &[u64], batches: i64) -> Statistics {
        let broker = |(n, txbytes): (usize, &u64)| {
            (format!("broker-{n}"), Broker { txbytes: *txbytes, tx: *txbytes / 100, ..Broker::default() })
        };
        let window = |cnt, sum| Window { cnt, sum, ..Window::default() };
        let (batchcnt, batchsize) = (window(batches, batches * 7), window(batches, batches * 900));
        let topic = Topic { batchcnt, batchsize, ..Topic::default() };
        Statistics {
            brokers: tx.iter().enumerate().map(broker).collect(),
            topics: [("air".to_owned(), topic)].into(),
            ..Statistics::default()
        }
    }

    #[test]
    fn totals_are_added_as_they_grow_and_windows_as_they_are() {
        let (mut wire, counters) = (Wire::default(), Counters::default());
        wire.apply(&told(&[1_000, 500], 2), &counters);
        wire.apply(&told(&[4_000, 600], 3), &counters);
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
        assert_eq!((read(&counters.wire_bytes), read(&counters.wire_requests)), (4_600, 46));
        assert_eq!((read(&counters.batches), read(&counters.batch_events)), (5, 35));
        assert_eq!((read(&counters.batch_bytes), read(&counters.wire_looks)), (4_500, 2));
    }

    #[test]
    fn what_several_producers_tell_adds_up() {
        let counters = Counters::default();
        Wire::default().apply(&told(&[1_000], 0), &counters);
        Wire::default().apply(&told(&[70], 0), &counters);
        assert_eq!(counters.wire_bytes.load(Relaxed), 1_070);
    }
}
