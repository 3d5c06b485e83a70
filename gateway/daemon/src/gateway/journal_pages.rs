//! The journal's part of `/metrics`.

use lamppost_event::Monotonic;
use lamppost_journal::{Journal, Stats};

use super::figures::Figures;
use crate::exposition::Exposition;

/// Over less time a rate says nothing, ms: opening alone writes a segment full of zeros.
const SPAN_MS_MIN: u64 = 60_000;
const MS_A_DAY: f64 = 86_400_000.0;

/// `since` is when the journal began to count, `now` the present moment.
pub(super) fn journal(out: &mut Exposition, journal: &Journal, figures: Figures, since: Monotonic, now: Monotonic) {
    let stats = journal.stats();
    out.counter("lamppost_journal_events_total", "Events written since the start.", &[], stats.events);
    out.counter(
        "lamppost_journal_event_bytes_total",
        "Key, value and header bytes of those events.",
        &[],
        stats.event_bytes,
    );
    out.counter("lamppost_journal_written_bytes_total", "Bytes written to the card since the start, padding, zeros and checkpoints included; the file system's own come on top.", &[], stats.bytes_written);
    out.counter("lamppost_journal_commits_total", "Commits since the start.", &[], stats.commits);
    out.counter("lamppost_journal_flushes_total", "Flushes of files since the start.", &[], stats.flushes);
    out.gauge(
        "lamppost_journal_flush_seconds",
        "How long a commit's flush takes.",
        &[("quantile", "0.5")],
        stats.flush_p50.as_secs_f64(),
    );
    out.gauge(
        "lamppost_journal_flush_seconds",
        "How long a commit's flush takes.",
        &[("quantile", "0.99")],
        stats.flush_p99.as_secs_f64(),
    );
    out.level("lamppost_journal_durable_commit", "The number of the last durable commit.", &[], stats.durable.0);
    out.level("lamppost_journal_stored_events", "Events in the journal, durable, ever.", &[], figures.events);
    out.level("lamppost_journal_disk_bytes", "Bytes of the journal's files.", &[], stats.disk_bytes);
    out.level("lamppost_journal_quota_bytes", "The most they may take.", &[], stats.quota_bytes);
    out.level("lamppost_journal_segments", "Segments.", &[("state", "used")], stats.segments_used as u64);
    out.level("lamppost_journal_segments", "Segments.", &[("state", "free")], stats.segments_free as u64);
    out.level("lamppost_journal_full", "1 while nothing is taken for want of space.", &[], u64::from(stats.full));
    let values_refused = "1 while what sources keep (MQTT sessions, retained messages) leaves no room in the quota.";
    out.level("lamppost_journal_values_refused", values_refused, &[], u64::from(stats.values_refused));
    out.counter("lamppost_journal_refused_total", "Appends refused for want of room.", &[], stats.refused_full);
    out.level("lamppost_journal_gaps", "Gaps that readers meet.", &[], stats.gaps as u64);
    out.counter("lamppost_journal_unreadable_total", "Frames that could not be read back.", &[], stats.unreadable);
    let set_aside = "Files that were set aside as damaged and are still there: they count against the quota.";
    out.level("lamppost_journal_set_aside", set_aside, &[], stats.set_aside as u64);
    let crowded_out =
        "Marks of devices forgotten because all together took too much: what such a device repeats is stored again.";
    out.counter("lamppost_journal_marks_crowded_out_total", crowded_out, &[], stats.marks_crowded_out);
    tiers(out, &stats);
    for (topic, events) in &stats.given_up {
        let given_up = "Events given up before they were delivered: for want of room, for their age, or beyond their topic's bytes.";
        out.counter("lamppost_journal_given_up_total", given_up, &[("topic", topic.as_str())], *events);
    }
    for (group, topics) in &stats.let_go {
        for (topic, events) in topics {
            let let_go = "Events that went before a sink had them, having been held back for as long as its hold_max: counted also while the sink is down.";
            let labels = &[("sink", group.as_str()), ("topic", topic.as_str())];
            out.counter("lamppost_journal_let_go_total", let_go, labels, *events);
        }
    }
    wear(out, &stats, now.0.saturating_sub(since.0));
}

fn tiers(out: &mut Exposition, stats: &Stats) {
    let bytes = "Bytes of segments: hot as they were written, prepared ones included; cold dense and compressed.";
    let hot = stats.disk_bytes.saturating_sub(stats.cold_bytes);
    out.level("lamppost_journal_tier_bytes", bytes, &[("tier", "hot")], hot);
    out.level("lamppost_journal_tier_bytes", bytes, &[("tier", "cold")], stats.cold_bytes);
    out.level("lamppost_journal_cold_segments", "Cold segments.", &[], stats.segments_cold as u64);
    out.counter("lamppost_journal_cooled_total", "Hot segments rewritten into cold ones.", &[], stats.cooled);
    let written = "Bytes of cold segments written; they are among lamppost_journal_written_bytes_total.";
    out.counter("lamppost_journal_cold_written_bytes_total", written, &[], stats.cold_bytes_written);
    out.counter("lamppost_journal_recycled_total", "Segments recycled.", &[], stats.recycled);
    out.counter("lamppost_journal_checkpoints_total", "Checkpoints of the state written.", &[], stats.checkpoints);
}

/// What an operator reckons a card's life by. Rates of no time and no event are left out.
#[expect(clippy::cast_precision_loss, reason = "Prometheus knows only floating point")]
fn wear(out: &mut Exposition, stats: &Stats, elapsed_ms: u64) {
    let written = stats.bytes_written as f64;
    if elapsed_ms >= SPAN_MS_MIN {
        let per_day = "Bytes written to the card a day, as since the start: divide the card's endurance by it.";
        out.gauge("lamppost_journal_written_bytes_per_day", per_day, &[], written / elapsed_ms as f64 * MS_A_DAY);
    }
    if stats.events > 0 {
        let per_event = "Bytes written to the card for each event, as since the start.";
        out.gauge("lamppost_journal_written_bytes_per_event", per_event, &[], written / stats.events as f64);
    }
}
