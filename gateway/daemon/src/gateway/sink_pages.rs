//! What `/metrics` and `/healthz` show of the sinks. The main one's metrics have no label, as they had none before there were others.

use std::sync::atomic::{AtomicU64, Ordering};

use lamppost_event::Group;
use lamppost_journal::Journal;

use super::figures;
use super::forward_pages;
use super::sinks::{Counted, SinkSeen};
use crate::command::status::Behindhand;
use crate::exposition::Exposition;
use crate::health::Progress;

/// How long a backlog may stand still, ms.
const PATIENCE_MS: u64 = 60_000;

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// A sink beside the main one.
pub(super) fn sink(out: &mut Exposition, seen: &SinkSeen, status: &Behindhand) {
    let labels = &[("sink", seen.name.as_str())];
    let mut counter = |name, help, count: u64| out.counter(name, help, labels, count);
    let (paused, connected) = match &seen.counted {
        Counted::Kafka(counters) => {
            counter(
                "lamppost_forward_delivered_total",
                "Events that the cluster acknowledged.",
                counters.over_lanes(|of| &of.delivered),
            );
            counter(
                "lamppost_forward_delivered_bytes_total",
                "Their key and payload bytes.",
                counters.over_lanes(|of| &of.delivered_bytes),
            );
            counter("lamppost_forward_retries_total", "Failed tries.", counters.over_lanes(|of| &of.retries));
            counter(
                "lamppost_forward_rebuilds_total",
                "Producers torn down and built anew.",
                counters.over_lanes(|of| &of.rebuilds),
            );
            let swallowed = "Events that gaps of the journal swallowed.";
            counter("lamppost_forward_gap_events_total", swallowed, counters.over_lanes(|of| &of.gap_events));
            let untold = "Gaps that were passed without a notice for the audit, for want of room.";
            counter("lamppost_forward_untold_gaps_total", untold, counters.over_lanes(|of| &of.untold_gaps));
            counter(
                "lamppost_forward_poison_total",
                "Events that the cluster can never accept.",
                counters.over_lanes(|of| &of.poison),
            );
            forward_pages::schemas(out, labels, counters);
            out.level(
                "lamppost_forward_in_flight_bytes",
                "Bytes in flight.",
                labels,
                counters.over_lanes(|of| &of.in_flight_bytes),
            );
            out.level("lamppost_forward_paused_topics", "Topics paused.", labels, read(&counters.paused_topics));
            (seen.paused().is_some(), Some(counters.connected.load(Ordering::Relaxed)))
        }
        Counted::Files(counters) => {
            counter("lamppost_files_delivered_total", "Events on disk in files.", read(&counters.delivered));
            counter("lamppost_files_written_bytes_total", "Bytes written to files.", read(&counters.bytes));
            counter("lamppost_files_finished_total", "Files finished.", read(&counters.finished));
            counter(
                "lamppost_files_deleted_total",
                "Files deleted because the folder was full.",
                read(&counters.deleted),
            );
            counter("lamppost_files_deleted_bytes_total", "Their bytes.", read(&counters.deleted_bytes));
            let retries = "Times that something failed on the disk, or the folder was found full.";
            counter("lamppost_files_retries_total", retries, read(&counters.retries));
            let swallowed = "Events that gaps of the journal swallowed; each gap is a line.";
            counter("lamppost_files_gap_events_total", swallowed, read(&counters.gap_events));
            let torn = "Bytes cut off behind the last whole line of files that a crash had left.";
            counter("lamppost_files_torn_bytes_total", torn, read(&counters.torn_bytes));
            out.level("lamppost_files_folder_bytes", "Bytes in the folder.", labels, read(&counters.folder_bytes));
            (seen.paused().is_some(), None)
        }
    };
    forward_pages::behind(out, labels, status);
    if let Counted::Kafka(counters) = &seen.counted {
        forward_pages::wire(out, labels, counters);
    }
    if let Some(connected) = connected {
        out.level("lamppost_forward_connected", "1 while a broker is connected.", labels, u64::from(connected));
    }
    let restarts = "Times that a sink had ended and was begun again.";
    out.counter("lamppost_sink_restarts_total", restarts, labels, read(&seen.restarts));
    out.level(
        "lamppost_sink_paused",
        "1 while a sink waits for something outside; the log says for what.",
        labels,
        u64::from(paused),
    );
}

/// How a sink beside the main one gets on.
pub(super) fn health(journal: &Journal, seen: &SinkSeen) -> (String, Progress) {
    let done = match &seen.counted {
        Counted::Kafka(counters) => done(counters),
        Counted::Files(counters) => read(&counters.delivered) + read(&counters.gaps),
    };
    let has_work = seen.figures(journal).backlog > 0;
    let progress = Progress { done, has_work, patience_ms: PATIENCE_MS, elsewhere: true };
    (format!("sink/{}", seen.name), progress)
}

/// Of a cluster's sink, over its lanes.
pub(super) fn done(counters: &lamppost_forward::Counters) -> u64 {
    counters.over_lanes(|of| &of.delivered) + counters.over_lanes(|of| &of.poison) + counters.over_lanes(|of| &of.gaps)
}

/// Groups that the journal remembers and no sink has.
pub(super) fn stale(out: &mut Exposition, journal: &Journal, known: &[Group]) {
    for (group, _) in journal.groups().into_iter().filter(|(group, _)| !known.contains(group)) {
        let lag = figures::of_sink(journal, &group, &lamppost_event::Interest::all()).backlog;
        let help = "Events behind a group that is no sink any more and holds nothing back; lamppost journal forget removes it.";
        out.level("lamppost_journal_stale_group_events", help, &[("group", group.as_str())], lag);
    }
}
