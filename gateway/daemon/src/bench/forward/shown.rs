//! The figures, for people and as one line of JSON.

use std::io::Write;

use serde_json::{Value, json};

use super::{Measured, Round};
use crate::bench::figures::{median, rounded};
use crate::cli::ForwardBench;

impl Measured {
    fn ratios(&self) -> Vec<f64> {
        self.rounds.iter().map(|it| it.gateway.events_per_s / it.bare.events_per_s).collect()
    }

    /// To at least once.
    fn exactly_once_ratios(&self) -> Vec<f64> {
        self.rounds.iter().map(|it| it.exactly_once.events_per_s / it.gateway.events_per_s).collect()
    }

    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(of).collect())
    }

    fn peak_rss_mib(&self) -> f64 {
        mib(self.rounds.iter().map(|it| it.gateway.peak_rss_kib).max().unwrap_or(0))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// One line.
pub(super) fn json(args: &ForwardBench, measured: &Measured) -> Value {
    let three = |ratios: Vec<f64>| -> Vec<f64> { ratios.into_iter().map(|ratio| rounded(ratio, 3)).collect() };
    json!({
        "drain_ratio": rounded(median(measured.ratios()), 3),
        "drain_ratios": three(measured.ratios()),
        "drain_events_per_s": rounded(measured.median(|it| it.gateway.events_per_s), 0),
        "bare_producer_events_per_s": rounded(measured.median(|it| it.bare.events_per_s), 0),
        "cpu_us_per_event": rounded(measured.median(|it| it.gateway.cpu_us_per_event), 2),
        "bare_producer_cpu_us_per_event": rounded(measured.median(|it| it.bare.cpu_us_per_event), 2),
        "wire_bytes_per_event": rounded(measured.median(|it| it.gateway.wire_bytes_per_event), 1),
        "e2e_p50_ms": rounded(measured.gateway.p50_ms, 2),
        "e2e_p99_ms": rounded(measured.gateway.p99_ms, 2),
        "bare_producer_p50_ms": rounded(measured.bare.p50_ms, 2),
        "bare_producer_p99_ms": rounded(measured.bare.p99_ms, 2),
        "linger_ms": rounded(measured.linger_ms, 1),
        "peak_rss_mib": rounded(measured.peak_rss_mib(), 1),
        "bare_producer_peak_rss_mib": rounded(measured.median(|it| mib(it.bare.peak_rss_kib)), 1),
        "exactly_once_ratio": rounded(median(measured.exactly_once_ratios()), 3),
        "exactly_once_ratios": three(measured.exactly_once_ratios()),
        "exactly_once_events_per_s": rounded(measured.median(|it| it.exactly_once.events_per_s), 0),
        "exactly_once_cpu_us_per_event": rounded(measured.median(|it| it.exactly_once.cpu_us_per_event), 2),
        "exactly_once_wire_bytes_per_event": rounded(measured.median(|it| it.exactly_once.wire_bytes_per_event), 1),
        "events": args.events,
        "event_bytes": args.event_bytes,
        "partitions": args.partitions,
        "rounds": args.rounds,
        "rate": args.rate,
        "cluster": measured.cluster,
        "disk": measured.disk,
    })
}

/// Some lines.
pub(super) fn table(args: &ForwardBench, measured: &Measured, out: &mut impl Write) -> anyhow::Result<()> {
    let ForwardBench { events, event_bytes, rounds, partitions, rate, .. } = args;
    writeln!(
        out,
        "a backlog of {events} events of {event_bytes} bytes, {partitions} partitions, medians of {rounds} rounds\nto {}\nfrom {}\n",
        measured.cluster, measured.disk
    )?;
    let ratios: Vec<String> = measured.ratios().iter().map(|ratio| format!("{ratio:.2}")).collect();
    writeln!(out, "{:<36} {:>12} {:>14}", "", "gateway", "bare producer")?;
    let mut line = |what: &str, gateway: f64, bare: f64, digits: usize| {
        writeln!(out, "{what:<36} {gateway:>12.digits$} {bare:>14.digits$}")
    };
    line(
        "drained, events/s",
        measured.median(|it| it.gateway.events_per_s),
        measured.median(|it| it.bare.events_per_s),
        0,
    )?;
    let cpu = (measured.median(|it| it.gateway.cpu_us_per_event), measured.median(|it| it.bare.cpu_us_per_event));
    line("processor time, us/event", cpu.0, cpu.1, 2)?;
    line("peak memory, MiB", measured.peak_rss_mib(), measured.median(|it| mib(it.bare.peak_rss_kib)), 1)?;
    line(&format!("sender to consumer at {rate}/s, p50 ms"), measured.gateway.p50_ms, measured.bare.p50_ms, 2)?;
    line(&format!("sender to consumer at {rate}/s, p99 ms"), measured.gateway.p99_ms, measured.bare.p99_ms, 2)?;
    writeln!(out, "\nratio of the drains {:.3} ({})", median(measured.ratios()), ratios.join(", "))?;
    writeln!(out, "bytes on the wire for each event: {:.0}", measured.median(|it| it.gateway.wire_bytes_per_event))?;
    writeln!(out, "linger: {:.0} ms, the journal's and the producer's", measured.linger_ms)?;
    let exactly = (median(measured.exactly_once_ratios()), measured.median(|it| it.exactly_once.wire_bytes_per_event));
    writeln!(
        out,
        "exactly once: {:.3} of the drain at least once, {:.0} bytes on the wire for each event",
        exactly.0, exactly.1
    )?;
    Ok(())
}
