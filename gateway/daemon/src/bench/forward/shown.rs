//! The figures, for people and as one line of JSON; and what is being measured, on a terminal.

use std::io::Write;

use console::Term;
use serde_json::{Value, json};

use super::Measured;
use crate::cli::ForwardBench;

/// Why there is no figure of that mode.
const NO_EXACTLY_ONCE: &str = "this gateway delivers at least once; it has no exactly-once mode";

/// One line on standard error, and only on a terminal. Gone when this is dropped.
pub(super) struct Progress {
    term: Option<Term>,
    done: u32,
    whole: u32,
}

impl Progress {
    pub(super) fn new(whole: u32) -> Self {
        Self { term: Some(Term::stderr()).filter(Term::is_term), done: 0, whole }
    }

    pub(super) fn step(&mut self, what: &str) {
        self.done += 1;
        let Some(term) = &self.term else { return };
        // A terminal that can't be drawn on is no reason to end.
        drop(term.clear_line());
        drop(term.write_str(&format!("{} of {}: {what}", self.done, self.whole)));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(term) = &self.term {
            drop(term.clear_line());
        }
    }
}

impl Measured {
    fn ratios(&self) -> Vec<f64> {
        self.rounds.iter().map(|(gateway, bare)| gateway.events_per_s / bare.events_per_s).collect()
    }

    fn median(&self, of: impl Fn(&(super::Drained, super::Done)) -> f64) -> f64 {
        median(self.rounds.iter().map(of).collect())
    }

    fn peak_rss_mib(&self) -> f64 {
        mib(self.rounds.iter().map(|(gateway, _)| gateway.peak_rss_kib).max().unwrap_or(0))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

/// One line.
pub(super) fn json(args: &ForwardBench, measured: &Measured) -> Value {
    let ratios: Vec<f64> = measured.ratios().into_iter().map(|ratio| rounded(ratio, 3)).collect();
    json!({
        "drain_ratio": rounded(median(measured.ratios()), 3),
        "drain_ratios": ratios,
        "drain_events_per_s": rounded(measured.median(|(gateway, _)| gateway.events_per_s), 0),
        "bare_producer_events_per_s": rounded(measured.median(|(_, bare)| bare.events_per_s), 0),
        "cpu_us_per_event": rounded(measured.median(|(gateway, _)| gateway.cpu_us_per_event), 2),
        "bare_producer_cpu_us_per_event": rounded(measured.median(|(_, bare)| bare.cpu_us_per_event), 2),
        "wire_bytes_per_event": rounded(measured.median(|(gateway, _)| gateway.wire_bytes_per_event), 1),
        "e2e_p50_ms": rounded(measured.gateway.p50_ms, 2),
        "e2e_p99_ms": rounded(measured.gateway.p99_ms, 2),
        "bare_producer_p50_ms": rounded(measured.bare.p50_ms, 2),
        "bare_producer_p99_ms": rounded(measured.bare.p99_ms, 2),
        "linger_ms": rounded(measured.linger_ms, 1),
        "peak_rss_mib": rounded(measured.peak_rss_mib(), 1),
        "bare_producer_peak_rss_mib": rounded(measured.median(|(_, bare)| mib(bare.peak_rss_kib)), 1),
        "exactly_once_ratio": Value::Null,
        "exactly_once_reason": NO_EXACTLY_ONCE,
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
    line("drained, events/s", measured.median(|it| it.0.events_per_s), measured.median(|it| it.1.events_per_s), 0)?;
    let cpu = (measured.median(|it| it.0.cpu_us_per_event), measured.median(|it| it.1.cpu_us_per_event));
    line("processor time, us/event", cpu.0, cpu.1, 2)?;
    line("peak memory, MiB", measured.peak_rss_mib(), measured.median(|it| mib(it.1.peak_rss_kib)), 1)?;
    line(&format!("sender to consumer at {rate}/s, p50 ms"), measured.gateway.p50_ms, measured.bare.p50_ms, 2)?;
    line(&format!("sender to consumer at {rate}/s, p99 ms"), measured.gateway.p99_ms, measured.bare.p99_ms, 2)?;
    writeln!(out, "\nratio of the drains {:.3} ({})", median(measured.ratios()), ratios.join(", "))?;
    writeln!(out, "bytes on the wire for each event: {:.0}", measured.median(|it| it.0.wire_bytes_per_event))?;
    writeln!(out, "linger: {:.0} ms, the journal's and the producer's", measured.linger_ms)?;
    writeln!(out, "exactly once: not measured, {NO_EXACTLY_ONCE}")?;
    Ok(())
}
