//! The sinks' part of `/metrics`, of what goes over the wire and how far each is behind; and `/status`.

use std::sync::atomic::Ordering;

use lamppost_event::Now;
use lamppost_forward::Counters;
use lamppost_journal::Journal;

use super::behind::Done;
use super::figures::Figures;
use super::sinks::{Counted, SinkSeen};
use crate::command::status::{Behindhand, Caught, Wire};
use crate::exposition::Exposition;

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn ratio(of: u64, to: u64) -> Option<f64> {
    (to > 0).then(|| of as f64 / to as f64)
}

/// None for `[kafka]`, as it had none before there were others; else `sink`.
type Labels<'a> = &'a [(&'a str, &'a str)];

/// What goes over the wire.
pub(super) fn wire(out: &mut Exposition, labels: Labels<'_>, counters: &Counters) {
    let bytes = "Bytes written to the brokers, as librdkafka counts them: what a metered link carries, without what TLS, TCP and IP add.";
    out.counter("lamppost_forward_wire_bytes_total", bytes, labels, counters.over_lanes(|of| &of.wire_bytes));
    out.counter(
        "lamppost_forward_wire_requests_total",
        "Requests to the brokers.",
        labels,
        counters.over_lanes(|of| &of.wire_requests),
    );
    out.counter(
        "lamppost_forward_batches_total",
        "Batches of events to the brokers.",
        labels,
        counters.over_lanes(|of| &of.batches),
    );
    out.counter(
        "lamppost_forward_batch_events_total",
        "Events in them.",
        labels,
        counters.over_lanes(|of| &of.batch_events),
    );
    let batch = "Their bytes, compressed as they went.";
    out.counter("lamppost_forward_batch_bytes_total", batch, labels, counters.over_lanes(|of| &of.batch_bytes));
    let record = "Bytes of the records handed to the producer, before compression.";
    out.counter("lamppost_forward_record_bytes_total", record, labels, counters.over_lanes(|of| &of.record_bytes));
    let wire = told(counters);
    if let Some(per_event) = wire.bytes_per_event {
        let what = "Bytes written to the brokers for each event in a batch, since the start.";
        out.gauge("lamppost_forward_wire_bytes_per_event", what, labels, per_event);
    }
    if let Some(compression) = wire.compression_ratio {
        let what = "Bytes of a record before compression for each that its batch took, since the start.";
        out.gauge("lamppost_forward_compression_ratio", what, labels, compression);
    }
}

fn told(counters: &Counters) -> Wire {
    let (batches, events) = (counters.over_lanes(|of| &of.batches), counters.over_lanes(|of| &of.batch_events));
    // What was handed over and is not in a batch yet would count as compressed away.
    let record_bytes = ratio(counters.over_lanes(|of| &of.record_bytes), counters.over_lanes(|of| &of.sent));
    let batch_bytes = ratio(counters.over_lanes(|of| &of.batch_bytes), events);
    Wire {
        bytes: counters.over_lanes(|of| &of.wire_bytes),
        batches,
        bytes_per_event: ratio(counters.over_lanes(|of| &of.wire_bytes), events),
        events_per_batch: ratio(events, batches),
        compression_ratio: record_bytes.zip(batch_bytes).map(|(before, after)| before / after.max(1.0)),
    }
}

/// What becomes of what has a schema.
pub(super) fn schemas(out: &mut Exposition, labels: Labels<'_>, counters: &Counters) {
    let misfits = "Of those, events whose payload does not fit their topic's schema.";
    out.counter("lamppost_forward_misfits_total", misfits, labels, counters.over_lanes(|of| &of.misfits));
    let failures = "Times that a topic's schema could not be had, by its file or the schema registry: the topic waits.";
    let count = counters.over_lanes(|of| &of.schema_failures);
    out.counter("lamppost_forward_schema_failures_total", failures, labels, count);
}

/// How far a sink is behind.
pub(super) fn behind(out: &mut Exposition, labels: Labels<'_>, status: &Behindhand) {
    out.level(
        "lamppost_forward_backlog_events",
        "Events on disk and not yet forwarded.",
        labels,
        status.backlog_events,
    );
    if let Some(backfill) = status.backfill_events {
        let what = "Of the backlog, events that go marked beside what is live; left out where all goes in one lane.";
        out.level("lamppost_forward_backfill_events", what, labels, backfill);
    }
    if let Some(bytes) = status.backlog_bytes {
        out.gauge("lamppost_forward_backlog_bytes", "Their bytes, about.", labels, bytes);
    }
    if let Some(age) = status.oldest_age_s {
        let what = "How long ago the oldest of them was received; paused topics left out.";
        out.gauge("lamppost_forward_oldest_age_seconds", what, labels, age);
    }
    if let Some(speed) = status.forwarded_per_s {
        out.gauge("lamppost_forward_speed_events", "Events a second that went, over the last minute.", labels, speed);
    }
    if let Some(speed) = status.arriving_per_s {
        out.gauge(
            "lamppost_forward_arriving_events",
            "Events a second that came in, over the last minute.",
            labels,
            speed,
        );
    }
    let seconds = match status.caught_up {
        Caught::Up => Some(0.0),
        Caught::In { seconds } => Some(seconds),
        Caught::Never => Some(f64::INFINITY),
        Caught::Unknown => None,
    };
    if let Some(seconds) = seconds {
        let what = "When all will be forwarded if it goes on as in the last minute, in seconds from now; +Inf: never.";
        out.gauge("lamppost_forward_caught_up_in_seconds", what, labels, seconds);
    }
}

/// What `/status` says of a sink.
pub(super) fn status(seen: &SinkSeen, journal: &Journal, now: Now) -> Behindhand {
    let Figures { events, backlog, backfill } = seen.figures(journal);
    let (speed, stats) = (seen.behind.speed(), journal.stats());
    let counters = match &seen.counted {
        Counted::Kafka(counters) => Some(counters),
        Counted::Files(_) => None,
    };
    let sent = counters
        .and_then(|counters| ratio(counters.over_lanes(|of| &of.record_bytes), counters.over_lanes(|of| &of.sent)));
    let event_bytes = sent.or_else(|| ratio(stats.event_bytes, stats.events));
    let oldest = counters.and_then(|counters| counters.oldest()).filter(|_| backlog > 0);
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let (bytes, age_s) =
        (|each: f64| each * backlog as f64, |ms: i64| now.wall.0.saturating_sub(ms).max(0) as f64 / 1000.0);
    Behindhand {
        name: seen.name.to_string(),
        events,
        backlog_events: backlog,
        backfill_events: backfill,
        backlog_most: seen.behind.backlog_most().max(backlog),
        backlog_bytes: event_bytes.map(bytes),
        oldest_age_s: oldest.map(|oldest| age_s(oldest.0)),
        forwarded_per_s: speed.map(|speed| speed.forwarded_per_s),
        arriving_per_s: speed.map(|speed| speed.arriving_per_s),
        caught_up: match seen.behind.done(backlog) {
            Done::Now => Caught::Up,
            Done::In(seconds) => Caught::In { seconds },
            Done::Never => Caught::Never,
            Done::Unknown => Caught::Unknown,
        },
        paused: seen.paused(),
        connected: counters.map(|counters| counters.connected.load(Ordering::Relaxed)),
        wire: counters.map(|counters| told(counters)),
    }
}
