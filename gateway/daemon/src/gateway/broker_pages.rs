//! What `/metrics` and `/healthz` show of the brokers elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};

use lamppost_mqtt::BrokerCause;

use super::sources::BrokerSeen;
use crate::exposition::Exposition;
use crate::health::Progress;

/// How long a broker may be away, or deliver nothing while it has something of ours that can't be stored, ms: longer than the pauses between
/// tries grow.
const PATIENCE_MS: u64 = 90_000;

/// A broker is well that is connected, and stays so. One that has a message which can't be stored is not well unless others come: how many it
/// keeps under way before it delivers nothing more is its own affair (mosquitto: 20). That a connection is made is no progress: one
/// that ends each time at the same packet is made for ever. While the journal has no room it is the journal that is ill.
pub(super) fn health(seen: &BrokerSeen, journal_full: bool) -> (String, Progress) {
    let status = &seen.status;
    let stands = status.connected_now.load(Ordering::Relaxed) && !status.unsteady_now.load(Ordering::Relaxed);
    let blocked = read(&status.left_now) > 0 && !journal_full;
    let done = read(&status.messages_qos0) + read(&status.messages_qos1);
    let has_work = !stands || blocked;
    (format!("broker/{}", seen.name), Progress { done, has_work, patience_ms: PATIENCE_MS, elsewhere: true })
}

pub(super) fn broker(out: &mut Exposition, seen: &BrokerSeen) {
    let (source, status) = (("source", seen.name.as_str()), &seen.status);
    let connected = status.connected_now.load(Ordering::Relaxed);
    out.level("lamppost_broker_connected", "1 while the broker is connected.", &[source], u64::from(connected));
    out.counter("lamppost_broker_connects_total", "Times that it accepted us.", &[source], read(&status.connects));
    out.counter(
        "lamppost_broker_sessions_resumed_total",
        "Of these, with the session of before.",
        &[source],
        read(&status.sessions_resumed),
    );
    let messages = "Messages that came.";
    for (qos, count) in [("0", &status.messages_qos0), ("1", &status.messages_qos1)] {
        out.counter("lamppost_broker_messages_total", messages, &[source, ("qos", qos)], read(count));
    }
    for (name, help, count) in [
        (
            "lamppost_broker_delivered_again_total",
            "Messages marked as sent before (DUP); they are stored again.",
            &status.delivered_again,
        ),
        (
            "lamppost_broker_retained_again_total",
            "Retained messages sent again for our subscribing; not stored.",
            &status.retained_again,
        ),
        ("lamppost_broker_pubacks_total", "PUBACKs given: each means on disk.", &status.pubacks),
        (
            "lamppost_broker_dead_letters_total",
            "Messages that can't be events (too large, an illegal topic): stored as dead letters, and acknowledged.",
            &status.buried,
        ),
        (
            "lamppost_broker_dropped_qos0_total",
            "Messages of QoS 0 that can't be stored even as dead letters, and are gone.",
            &status.dropped_qos0,
        ),
        ("lamppost_broker_stalls_total", "Times that the journal was full and reading stopped.", &status.stalls),
    ] {
        out.counter(name, help, &[source], read(count));
    }
    for (name, help, gauge) in [
        ("lamppost_broker_unacknowledged", "Messages that came and are not on disk yet.", &status.unacknowledged_now),
        (
            "lamppost_broker_left",
            "Messages that can't be stored even as dead letters and wait at the broker, unacknowledged.",
            &status.left_now,
        ),
        (
            "lamppost_broker_filters_refused",
            "Filters that the broker refused, or granted with QoS 0 in place of 1.",
            &status.filters_refused_now,
        ),
    ] {
        out.level(name, help, &[source], read(gauge));
    }
    for (direction, count) in [("in", &status.bytes_in), ("out", &status.bytes_out)] {
        let bytes = "Bytes of MQTT, without TLS.";
        out.counter("lamppost_broker_bytes_total", bytes, &[source, ("direction", direction)], read(count));
    }
    for cause in BrokerCause::ALL {
        let failures = "Connections that could not be made, or ended.";
        let labels = [source, ("cause", cause.as_str())];
        out.counter("lamppost_broker_failures_total", failures, &labels, status.failures(cause));
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lamppost_event::Monotonic;
    use lamppost_mqtt::BrokerStatus;

    use super::*;
    use crate::health::Health;

    #[test]
    fn a_broker_that_is_away_or_stands_in_its_own_way_is_ill_after_a_while_and_never_the_gateway() {
        let status = Arc::new(BrokerStatus::default());
        let seen = BrokerSeen { name: "plant".into(), status: status.clone() };
        let watch = Health::default();
        let judge = |at: u64| watch.judge(Monotonic(at), [health(&seen, false)]);
        assert!(judge(0).well() && judge(PATIENCE_MS).well());
        assert!(!judge(PATIENCE_MS + 1).well() && judge(PATIENCE_MS + 1).well_here());
        status.connected_now.store(true, Ordering::Relaxed);
        assert!(judge(3 * PATIENCE_MS).well(), "silence is no illness");
        status.left_now.store(1, Ordering::Relaxed);
        assert!(judge(5 * PATIENCE_MS).well(), "it may be so only now");
        assert!(!judge(6 * PATIENCE_MS + 1).well());
        status.messages_qos1.store(1, Ordering::Relaxed);
        assert!(judge(6 * PATIENCE_MS + 2).well(), "others come");
        assert!(!health(&seen, true).1.has_work, "it is the journal that is ill");
    }

    #[test]
    fn a_connection_that_is_made_again_and_again_and_brings_nothing_is_no_progress() {
        let status = Arc::new(BrokerStatus::default());
        let seen = BrokerSeen { name: "plant".into(), status: status.clone() };
        status.unsteady_now.store(true, Ordering::Relaxed);
        let watch = Health::default();
        let judge = |number: u64| {
            status.connects.store(number, Ordering::Relaxed);
            status.connected_now.store(number.is_multiple_of(2), Ordering::Relaxed);
            watch.judge(Monotonic(number * PATIENCE_MS / 2), [health(&seen, false)]).well()
        };
        assert_eq!([0, 1, 2, 3].map(judge), [true, true, true, false]);
        status.unsteady_now.store(false, Ordering::Relaxed);
        assert!(judge(4), "it stands");
    }

    #[test]
    fn the_metrics_have_the_brokers_name_and_bounded_causes() {
        let mut out = Exposition::default();
        broker(&mut out, &BrokerSeen { name: "plant".into(), status: Arc::default() });
        let text = out.encode().unwrap();
        assert!(text.contains("lamppost_broker_connected{source=\"plant\"} 0"), "{text}");
        assert_eq!(text.matches("lamppost_broker_failures_total{").count(), BrokerCause::ALL.len());
    }
}
