//! What `/metrics`, `/healthz` and `/clients` show: the figures of all rooms, brought together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lamppost_event::{Clock, Commit, Monotonic};
use lamppost_forward::{Counters as ForwardCounters, Denial};
use lamppost_journal::{Journal, Stats};
use lamppost_mqtt::{Cause, Counters as MqttCounters, Holding, Keys, SubscriptionCause};

use super::behind::LOOK_MS;
use super::broker_pages;
use super::client_pages;
use super::figures::{self, Figures};
use super::forward_pages;
use super::found::Found;
use super::intake::JournalIntake;
use super::journal_pages;
use super::serial_pages;
use super::setup::with_lanes;
use super::sink_pages;
use super::sinks::{Counted, SinkSeen};
use super::sources::{I2cSeen, Seen};
use crate::command::clients::Answer;
use crate::command::status;
use crate::config::Refused;
use crate::exposition::Exposition;
use crate::health::{Health, Progress, Report};
use crate::http::Pages;

/// How long gathered events may wait for their commit beyond the longest linger, ms.
const JOURNAL_PATIENCE_MS: u64 = 15_000;
/// How long a backlog may stand still, ms.
const FORWARD_PATIENCE_MS: u64 = 60_000;

/// Everything that can be looked at.
pub(crate) struct Overview {
    journal: Journal,
    intake: Arc<JournalIntake>,
    seen: Seen,
    forward: Option<Arc<ForwardCounters>>,
    sinks: Vec<Arc<SinkSeen>>,
    clock: Arc<dyn Clock>,
    /// When the journal began to count.
    started: Monotonic,
    /// How long events may wait for company, ms.
    linger_max_ms: u64,
    found: Found,
    health: Health,
}

impl Overview {
    pub(crate) fn new(
        journal: Journal,
        intake: Arc<JournalIntake>,
        seen: Seen,
        sinks: Vec<Arc<SinkSeen>>,
        clock: Arc<dyn Clock>,
        linger_max: Duration,
        found: Found,
    ) -> Self {
        let forward = sinks.iter().find_map(|sink| match &sink.counted {
            Counted::Kafka(counters) if sink.is_main() => Some(Arc::clone(counters)),
            _ => None,
        });
        let started = clock.now().monotonic;
        let linger_max_ms = u64::try_from(linger_max.as_millis()).unwrap_or(u64::MAX);
        Self { journal, intake, seen, forward, sinks, clock, started, linger_max_ms, found, health: Health::default() }
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(crate) fn figures(&self) -> Figures {
        figures::of(&self.journal, self.forward.is_some())
    }
}

/// Looks at how far the sinks are behind, each second, for ever.
pub(super) async fn look_on(overview: Arc<Overview>) {
    loop {
        for sink in &overview.sinks {
            sink.behind.look(overview.clock.now().monotonic, sink.figures(&overview.journal));
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Pages for Overview {
    fn metrics(&self) -> Exposition {
        let mut out = Exposition::default();
        let now = self.clock.now();
        out.level(
            "lamppost_clock_quality",
            "How far the wall clock can be trusted: 0 unset, 1 holdover, 2 synced.",
            &[],
            now.quality as u64,
        );
        let figures = self.figures();
        journal_pages::journal(&mut out, &self.journal, figures, self.started, now.monotonic);
        self.found.metrics(&mut out);
        intake(&mut out, &self.intake);
        if let Some(counters) = &self.seen.mqtt {
            mqtt(&mut out, counters);
        }
        if let Some(holdings) = &self.seen.mqtt_holdings {
            mqtt_held(&mut out, &holdings.now());
        }
        if let Some((listeners, keys)) = &self.seen.mqtt_keys {
            certificates(&mut out, listeners, keys);
        }
        for broker in &self.seen.brokers {
            broker_pages::broker(&mut out, broker);
        }
        for (name, seen) in &self.seen.serial {
            serial_pages::serial(&mut out, name, seen);
        }
        if let Some(status) = &self.seen.battery {
            super::battery::figures(&mut out, status, now.monotonic);
        }
        for seen in &self.seen.i2c {
            i2c(&mut out, seen);
        }
        if let Some(counters) = &self.forward {
            forward(&mut out, counters);
            forward_pages::wire(&mut out, &[], counters);
        }
        for sink in &self.sinks {
            let status = forward_pages::status(sink, &self.journal, now);
            if sink.is_main() {
                forward_pages::behind(&mut out, &[], &status);
            } else {
                sink_pages::sink(&mut out, sink, &status);
            }
        }
        let names = with_lanes(self.sinks.iter().map(|sink| sink.name.clone()).collect());
        sink_pages::stale(&mut out, &self.journal, &names);
        out
    }

    fn health(&self) -> Report {
        let now = self.clock.now().monotonic;
        let latest = self.intake.latest();
        let stats = self.journal.stats();
        let stopped = self.journal.durable().is_err();
        let mut parts = vec![("journal".to_owned(), journal(&stats, latest, stopped, self.linger_max_ms))];
        if let Some(counters) = &self.forward {
            let figures = self.figures();
            let done = sink_pages::done(counters);
            let progress =
                Progress { done, has_work: figures.backlog > 0, patience_ms: FORWARD_PATIENCE_MS, elsewhere: true };
            parts.push(("forward".to_owned(), progress));
        }
        let others = self.sinks.iter().filter(|sink| !sink.is_main());
        parts.extend(others.map(|sink| sink_pages::health(&self.journal, sink)));
        parts.extend(self.seen.brokers.iter().map(|seen| broker_pages::health(seen, stats.full)));
        parts.extend(self.seen.serial.iter().flat_map(|(name, seen)| serial_pages::health(name, seen)));
        for seen in &self.seen.i2c {
            let report = seen.counters.report();
            let done = report.polls.saturating_sub(report.errors);
            parts.push((format!("i2c/{}", seen.name), Progress::polled(done, seen.every)));
        }
        // They wait for somebody to mend the file.
        let refused = Progress { done: 0, has_work: true, patience_ms: 0, elsewhere: true };
        parts.extend(self.seen.refused.iter().map(|it| (it.source.clone(), refused)));
        let mut report = self.health.judge(now, parts);
        for Refused { source, why } in &self.seen.refused {
            report.explain(source, why.clone(), true);
        }
        if let Some(words) = self.found.words() {
            report.explain("journal", words.to_owned(), false);
        }
        if let Some(counters) = &self.forward
            && let Some(reason) = counters.paused_reason()
        {
            report.explain("forward", reason, counters.denied.load(Ordering::Relaxed));
        }
        report.with_battery_clock(self.seen.battery.as_ref().map(|status| status.report(now)))
    }

    fn status(&self) -> status::Answer {
        let now = self.clock.now();
        let sinks = self.sinks.iter().map(|sink| forward_pages::status(sink, &self.journal, now));
        status::Answer { events: self.figures().events, sinks: sinks.collect(), refused: self.seen.refused.clone() }
    }

    fn clients(&self) -> Answer {
        self.seen.clients.as_ref().map_or_else(client_pages::none, |clients| client_pages::answer(clients))
    }
}

/// `latest`: the last commit that an event was taken for. What is being written has gathered, and is not on disk.
fn journal(stats: &Stats, latest: Commit, stopped: bool, linger_max_ms: u64) -> Progress {
    Progress {
        done: stats.durable.0,
        has_work: latest > stats.durable || stats.gathered_bytes > 0 || stats.full || stopped,
        patience_ms: if stopped { 0 } else { linger_max_ms.saturating_add(JOURNAL_PATIENCE_MS) },
        elsewhere: stats.full,
    }
}

fn intake(out: &mut Exposition, intake: &JournalIntake) {
    let count = &intake.count;
    out.counter("lamppost_intake_taken_total", "Events taken from sources.", &[], read(&count.taken));
    out.counter(
        "lamppost_intake_resent_total",
        "Events that were known already: acknowledged, not stored again.",
        &[],
        read(&count.resent),
    );
    out.counter("lamppost_intake_dead_letters_total", "Events stored as dead letters.", &[], read(&count.dead_letters));
    out.counter("lamppost_intake_too_large_total", "Events larger than allowed.", &[], read(&count.too_large));
    out.counter(
        "lamppost_intake_refused_total",
        "Events that found no room in the journal when they came. Each counts once, however long it waits, and anew if its sender sends it again.",
        &[],
        read(&count.refused),
    );
    let forgotten = "Devices that their view has forgotten since there were too many; no event goes with them.";
    out.counter("lamppost_devices_forgotten_total", forgotten, &[], intake.devices_forgotten());
}

fn mqtt(out: &mut Exposition, counters: &MqttCounters) {
    out.level("lamppost_mqtt_connections", "Open connections.", &[], read(&counters.connections_now));
    out.counter("lamppost_mqtt_connections_total", "Accepted connections.", &[], read(&counters.connections_total));
    let publishes = "Publishes offered to the journal.";
    out.counter("lamppost_mqtt_publishes_total", publishes, &[("qos", "0")], read(&counters.publishes_qos0));
    out.counter("lamppost_mqtt_publishes_total", publishes, &[("qos", "1")], read(&counters.publishes_qos1));
    out.counter("lamppost_mqtt_pubacks_total", "PUBACKs given: each means on disk.", &[], read(&counters.pubacks));
    let bytes = "Bytes of MQTT connections.";
    out.counter("lamppost_mqtt_bytes_total", bytes, &[("direction", "in")], read(&counters.bytes_in));
    out.counter("lamppost_mqtt_bytes_total", bytes, &[("direction", "out")], read(&counters.bytes_out));
    out.level(
        "lamppost_mqtt_stalled",
        "Connections not read from because the journal is full.",
        &[],
        read(&counters.stalled_now),
    );
    out.counter("lamppost_mqtt_delivered_total", "Messages delivered to subscribers.", &[], read(&counters.delivered));
    out.counter(
        "lamppost_mqtt_fanout_shed_total",
        "Messages stored that did not go to subscribers for lack of room.",
        &[],
        read(&counters.fanout_shed),
    );
    out.counter(
        "lamppost_mqtt_router_restarts_total",
        "Routers started after one died.",
        &[],
        read(&counters.router_restarts),
    );
    let denied = "Publishes and subscriptions that the rules do not allow.";
    out.counter("lamppost_mqtt_denied_total", denied, &[("action", "publish")], read(&counters.publishes_denied));
    out.counter("lamppost_mqtt_denied_total", denied, &[("action", "subscribe")], read(&counters.subscriptions_denied));
    let sessions = "Sessions that outlive their connections, by whether their client is there.";
    let away = read(&counters.sessions_away_now);
    out.level("lamppost_mqtt_sessions", sessions, &[("client", "away")], away);
    let here = read(&counters.sessions_now).saturating_sub(away);
    out.level("lamppost_mqtt_sessions", sessions, &[("client", "connected")], here);
    out.counter(
        "lamppost_mqtt_sessions_evicted_total",
        "Sessions ended for want of room: of those who had most, the one that had been away longest.",
        &[],
        read(&counters.sessions_evicted),
    );
    let unnoted = "Wills taken that would not survive a restart, for lack of room to note them.";
    out.counter("lamppost_mqtt_wills_unnoted_total", unnoted, &[], read(&counters.wills_unnoted));
    out.level("lamppost_mqtt_retained", "Retained messages.", &[], read(&counters.retained_now));
    let refused = "Messages stored and delivered, but not retained for lack of room.";
    out.counter("lamppost_mqtt_retained_refused_total", refused, &[], read(&counters.retained_refused));
    out.level("lamppost_mqtt_queued", "Messages that wait for remembered sessions.", &[], read(&counters.queued_now));
    let shed = "Messages stored that no session got for lack of room: it had none for them, or ended to make some.";
    out.counter("lamppost_mqtt_queue_shed_total", shed, &[], read(&counters.queue_shed));
    for (name, help, count) in [
        ("lamppost_mqtt_clients_total", "Clients that were let in.", &counters.clients_total),
        (
            "lamppost_mqtt_accepts_failed_total",
            "Connections that could not be accepted: no file descriptor was left.",
            &counters.accepts_failed,
        ),
        ("lamppost_mqtt_stalls_total", "Times that the journal was full for a connection.", &counters.stalls),
        ("lamppost_mqtt_wills_total", "Wills stored.", &counters.wills),
        ("lamppost_mqtt_wills_dropped_total", "Wills that could not be stored in time.", &counters.wills_dropped),
        (
            "lamppost_mqtt_subscriptions_unnoted_total",
            "SUBSCRIBE packets refused for want of room to remember them.",
            &counters.subscriptions_unnoted,
        ),
    ] {
        out.counter(name, help, &[], read(count));
    }
    for cause in SubscriptionCause::ALL {
        let name = "lamppost_mqtt_subscriptions_refused_total";
        let refused = "Filters of SUBSCRIBE packets that were refused.";
        out.counter(name, refused, &[("cause", cause.as_str())], counters.subscription_refusals(cause));
    }
    for cause in Cause::ALL {
        let refusals = "Connections refused or ended by the gateway.";
        out.counter("lamppost_mqtt_refusals_total", refusals, &[("cause", cause.as_str())], counters.refusals(cause));
    }
}

/// Of what clients sent and are to be sent.
fn mqtt_held(out: &mut Exposition, holdings: &[Holding]) {
    for Holding { limit, bytes, bytes_max } in holdings {
        let held = "Bytes held in memory for MQTT clients, by the key of [mqtt.limits] that bounds them.";
        out.level("lamppost_mqtt_held_bytes", held, &[("limit", limit)], *bytes);
        let most = "What [mqtt.limits] allows of lamppost_mqtt_held_bytes.";
        out.level("lamppost_mqtt_held_bytes_max", most, &[("limit", limit)], *bytes_max);
    }
}

fn certificates(out: &mut Exposition, listeners: &[SocketAddr], keys: &Keys) {
    for (listener, expires_unix_s) in listeners.iter().zip(keys.certificates_expire_unix_s()) {
        let Some(expires_unix_s) = expires_unix_s else { continue };
        let what = "When the certificate in use expires, in seconds since 1970.";
        let listener = listener.to_string();
        out.level("lamppost_mqtt_certificate_expires_seconds", what, &[("listener", &listener)], expires_unix_s);
    }
}

fn i2c(out: &mut Exposition, seen: &I2cSeen) {
    let (source, report) = (("source", seen.name.as_str()), seen.counters.report());
    out.counter("lamppost_i2c_polls_total", "Polls begun.", &[source], report.polls);
    out.counter("lamppost_i2c_errors_total", "Polls that failed.", &[source], report.errors);
    out.counter("lamppost_i2c_stored_total", "Measured values that the journal took.", &[source], report.stored);
    out.counter(
        "lamppost_i2c_missed_total",
        "Polls left out, and values that could not be stored in time.",
        &[source],
        report.missed,
    );
}

fn forward(out: &mut Exposition, counters: &ForwardCounters) {
    out.counter(
        "lamppost_forward_sent_total",
        "Events handed to the producer, again after a failure.",
        &[],
        read(&counters.sent),
    );
    out.counter(
        "lamppost_forward_delivered_total",
        "Events that the cluster acknowledged.",
        &[],
        counters.over_lanes(|of| &of.delivered),
    );
    out.counter(
        "lamppost_forward_delivered_bytes_total",
        "Their key and payload bytes.",
        &[],
        counters.over_lanes(|of| &of.delivered_bytes),
    );
    out.counter("lamppost_forward_retries_total", "Failed tries.", &[], counters.over_lanes(|of| &of.retries));
    out.counter(
        "lamppost_forward_rebuilds_total",
        "Producers torn down and built anew.",
        &[],
        counters.over_lanes(|of| &of.rebuilds),
    );
    out.counter(
        "lamppost_forward_rereads_total",
        "Times that the journal was read again because offsets were missing without a gap.",
        &[],
        counters.over_lanes(|of| &of.rereads),
    );
    out.level(
        "lamppost_forward_in_flight_bytes",
        "Bytes in flight.",
        &[],
        counters.over_lanes(|of| &of.in_flight_bytes),
    );
    out.level(
        "lamppost_forward_in_flight_events",
        "Events in flight.",
        &[],
        counters.over_lanes(|of| &of.in_flight_events),
    );
    out.counter(
        "lamppost_forward_gap_events_total",
        "Events that gaps of the journal swallowed.",
        &[],
        counters.over_lanes(|of| &of.gap_events),
    );
    out.counter(
        "lamppost_forward_untold_gaps_total",
        "Gaps that were passed without a notice for the audit, for want of room.",
        &[],
        counters.over_lanes(|of| &of.untold_gaps),
    );
    out.counter(
        "lamppost_forward_poison_total",
        "Events that the cluster can never accept.",
        &[],
        counters.over_lanes(|of| &of.poison),
    );
    forward_pages::schemas(out, &[], counters);
    out.counter(
        "lamppost_forward_transactions_total",
        "Transactions committed, in exactly-once mode.",
        &[],
        read(&counters.transactions),
    );
    out.counter(
        "lamppost_forward_transactions_aborted_total",
        "Transactions given up; what was in them went again.",
        &[],
        read(&counters.transactions_aborted),
    );
    out.counter(
        "lamppost_forward_already_there_total",
        "Events not sent, since the cluster's own cursor covers them.",
        &[],
        read(&counters.already_there),
    );
    let fenced = u64::from(counters.fenced.load(Ordering::Relaxed));
    out.level("lamppost_forward_fenced", "1 while another process forwards for this gateway.", &[], fenced);
    for denial in Denial::ALL {
        let labels = [("cause", denial.as_str())];
        let help = "Tries that the cluster did not let us in by, and files that could not be used.";
        out.counter("lamppost_forward_denials_total", help, &labels, counters.denials.of(denial));
    }
    let denied = u64::from(counters.denied.load(Ordering::Relaxed));
    out.level("lamppost_forward_denied", "1 while the cluster does not let us in.", &[], denied);
    let expires = read(&counters.certificate_expires_s);
    if expires > 0 {
        let help = "When our certificate for the cluster expires, in seconds since 1970.";
        out.level("lamppost_forward_certificate_expires_timestamp_seconds", help, &[], expires);
    }
    out.level("lamppost_forward_paused_topics", "Topics paused.", &[], read(&counters.paused_topics));
    let connected = counters.connected.load(Ordering::Relaxed);
    out.level("lamppost_forward_connected", "1 while a broker is connected.", &[], u64::from(connected));
}

#[cfg(test)]
mod tests;
