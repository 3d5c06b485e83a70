//! The figures, for people and as one line of JSON.

use std::io::Write;

use serde_json::{Map, Value, json};

use super::broker::Kind;
use super::holding::{Holding, Memory, Pressed};
use super::rounds::{Result as Measurement, Rounds};
use crate::bench::figures;
use crate::cli::MqttBench;
use crate::config;

/// All that was measured.
pub(super) struct Measured {
    pub(super) rounds: Rounds,
    pub(super) holding: Holding,
    pub(super) pressed: Pressed,
    pub(super) disk: String,
}

impl Measured {
    fn compared(&self, args: &MqttBench) -> Option<&Measurement> {
        let wanted =
            |result: &&Measurement| result.case.kind == Kind::Lamppost && result.case.connections == args.compare_at;
        self.rounds.results.iter().find(wanted)
    }

    /// How many times as many acknowledgements a second this gives as another broker of the same run.
    fn ratios(&self, args: &MqttBench) -> Vec<(Kind, f64)> {
        let rate = |result: &Measurement| result.median(|run| run.acks_per_s);
        let Some(ours) = self.compared(args).map(rate) else { return Vec::new() };
        let others = self.rounds.results.iter().filter(|result| result.case.kind != Kind::Lamppost);
        others.map(|other| (other.case.kind, ours / rate(other))).collect()
    }

    /// The same of events that are each written and flushed alone, one after the other: the disk's floor.
    fn ratio_to_floor(&self, result: &Measurement) -> f64 {
        result.median(|run| run.acks_per_s) * self.rounds.flush_ms / 1000.0
    }

    /// A commit is the linger and one flush.
    fn commit_ms(&self) -> f64 {
        linger_ms() + self.rounds.flush_ms
    }
}

/// The shipped one, which is measured.
fn linger_ms() -> f64 {
    config::parse("").map_or(0.0, |config| config.journal.linger.as_secs_f64() * 1000.0)
}

/// One line.
pub(super) fn json(args: &MqttBench, measured: &Measured) -> Value {
    let mut out = Map::new();
    let mut put = |name: String, value: Value| out.insert(name, value);
    for result in &measured.rounds.results {
        let case = result.case;
        let (n, of) = (case.connections, if case.kind == Kind::Lamppost { "" } else { case.kind.name() });
        let name = |what: &str| if of.is_empty() { format!("{what}_{n}") } else { format!("{of}_{what}_{n}") };
        let (slowest, fastest) = result.spread();
        put(name("acks_per_s"), rounded(result.median(|run| run.acks_per_s), 0));
        put(name("acks_per_s_spread"), json!([rounded(slowest, 0), rounded(fastest, 0)]));
        put(name("window"), case.window.into());
        put(name("puback_p50_ms"), rounded(result.median_ms(|run| run.p50_us), 3));
        put(name("puback_p99_ms"), rounded(result.median_ms(|run| run.p99_us), 3));
        put(name("puback_p999_ms"), rounded(result.median_ms(|run| run.p999_us), 3));
        put(name("cpu_us_per_event"), rounded(result.median(|run| run.cpu_us_per_event), 2));
        put(name("load_cpu_us_per_event"), rounded(result.median(|run| run.load_cpu_us_per_event), 2));
        if case.kind == Kind::Lamppost {
            let commits = result.median_ms(|run| run.p99_us) / measured.commit_ms();
            put(name("puback_p99_commits"), rounded(commits, 3));
            put(name("events_per_commit"), rounded(result.median(|run| run.events_per_commit), 1));
            put(name("ratio_to_disk_floor"), rounded(measured.ratio_to_floor(result), 2));
        }
        put(format!("{}_durable", case.kind.name()), case.kind.durable().into());
    }
    if let Some(compared) = measured.compared(args) {
        let commits = compared.median_ms(|run| run.p99_us) / measured.commit_ms();
        put("puback_p99_commits".into(), rounded(commits, 3));
    }
    for (kind, ratio) in measured.ratios(args) {
        put(format!("ratio_to_{}_{}", kind.name(), args.compare_at), rounded(ratio, 3));
    }
    put("not_here".into(), absent().map(Kind::name).collect::<Vec<_>>().into());
    let Measured { holding, pressed, rounds, disk } = measured;
    put("commit_ms".into(), rounded(measured.commit_ms(), 3));
    put("linger_ms".into(), rounded(linger_ms(), 3));
    put("flush_ms".into(), rounded(rounds.flush_ms, 3));
    put("idle_connection_kib".into(), rounded(holding.idle_connection_kib, 2));
    put("rss_0_mib".into(), rounded(holding.rss_none_mib, 1));
    put(format!("rss_{}_mib", args.most()), rounded(holding.rss_most_mib, 1));
    put("connect_seconds".into(), rounded(holding.connect_seconds, 3));
    put("storm_seconds".into(), rounded(holding.storm_seconds, 3));
    put("storm_tried_again".into(), holding.storm_tried_again.into());
    put("rss_after_storm_mib".into(), rounded(holding.rss_after_storm_mib, 1));
    for (phase, memory) in phases(pressed) {
        put(format!("{phase}_rss_mib"), json!([rounded(memory.before_mib, 1), rounded(memory.after_mib, 1)]));
        put(format!("{phase}_rss_growth_max_mib"), rounded(memory.growth_max_mib, 1));
    }
    put("memory_flat".into(), pressed.is_flat().into());
    put("slow_subscribers_acks_per_s".into(), rounded(pressed.slow_subscribers_acks_per_s, 0));
    put("qos0_events_per_s".into(), rounded(pressed.qos0_events_per_s, 0));
    put("acknowledged".into(), rounds.acknowledged.into());
    put("acknowledged_by_the_gateways_count".into(), rounds.counted.into());
    put("event_bytes".into(), args.event_bytes.into());
    put("rounds".into(), args.rounds.into());
    put("seconds".into(), args.seconds.into());
    put("disk".into(), disk.as_str().into());
    Value::Object(out)
}

/// Those that are not compared with, since they are not installed.
fn absent() -> impl Iterator<Item = Kind> {
    Kind::OTHERS.into_iter().filter(|kind| !kind.is_here())
}

/// What memory is judged under.
fn phases(pressed: &Pressed) -> [(&'static str, Memory); 3] {
    let Pressed { slow_subscribers, qos0_flood, full_journal, .. } = *pressed;
    [("slow_subscribers", slow_subscribers), ("qos0_flood", qos0_flood), ("full_journal", full_journal)]
}

fn rounded(value: f64, digits: i32) -> Value {
    figures::rounded(value, digits).into()
}

/// A table and some lines.
pub(super) fn table(args: &MqttBench, measured: &Measured, out: &mut impl Write) -> anyhow::Result<()> {
    let Measured { rounds, holding, pressed, disk } = measured;
    writeln!(
        out,
        "QoS 1 events of {} bytes, {} s a round, medians of {} rounds, on {disk}\n",
        args.event_bytes, args.seconds, args.rounds
    )?;
    writeln!(
        out,
        "{:<10} {:>11} {:>6} {:>9} {:>19} {:>8} {:>8} {:>9} {:>9} {:>9}  durable when acknowledged",
        "broker",
        "connections",
        "window",
        "acks/s",
        "slowest-fastest",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "cpu us/ev",
        "load us/ev"
    )?;
    for result in &rounds.results {
        let (case, (slowest, fastest)) = (result.case, result.spread());
        writeln!(
            out,
            "{:<10} {:>11} {:>6} {:>9.0} {:>19} {:>8.2} {:>8.2} {:>9.2} {:>9.2} {:>10.2}  {}",
            case.kind.name(),
            case.connections,
            case.window,
            result.median(|run| run.acks_per_s),
            format!("{slowest:.0}-{fastest:.0}"),
            result.median_ms(|run| run.p50_us),
            result.median_ms(|run| run.p99_us),
            result.median_ms(|run| run.p999_us),
            result.median(|run| run.cpu_us_per_event),
            result.median(|run| run.load_cpu_us_per_event),
            case.kind.durable()
        )?;
    }
    for kind in absent() {
        writeln!(out, "{:<10} not here: apt-get install {}", kind.name(), kind.program().unwrap_or_default())?;
    }
    writeln!(out)?;
    for result in rounds.results.iter().filter(|result| result.case.kind == Kind::Lamppost) {
        let (ratio, durable) = (measured.ratio_to_floor(result), result.case.kind.durable());
        writeln!(
            out,
            "{} connections: {ratio:.2} times the disk's floor (events written and flushed one by one); durable: {durable}",
            result.case.connections
        )?;
    }
    for (kind, ratio) in measured.ratios(args) {
        let (at, name, durable) = (args.compare_at, kind.name(), kind.durable());
        writeln!(out, "{at} connections: {ratio:.2} times as many acks/s as {name}; durable there: {durable}")?;
    }
    let (commit, linger, flush) = (measured.commit_ms(), linger_ms(), rounds.flush_ms);
    let p99 = measured.compared(args).map_or(0.0, |compared| compared.median_ms(|run| run.p99_us) / commit);
    let most = args.most();
    writeln!(out)?;
    writeln!(
        out,
        "a commit: linger {linger:.0} ms and one flush of a page {flush:.2} ms; p99 at {} connections: {p99:.2} commits",
        args.compare_at
    )?;
    writeln!(
        out,
        "{most} idle connections: {:.1} KiB each, {:.1} MiB in all (none: {:.1} MiB)",
        holding.idle_connection_kib, holding.rss_most_mib, holding.rss_none_mib
    )?;
    writeln!(
        out,
        "a storm of {most} clients: all back in {:.2} s, {} tries again, {:.1} MiB afterwards",
        holding.storm_seconds, holding.storm_tried_again, holding.rss_after_storm_mib
    )?;
    let rates = [
        format!(", at {:.0} acks/s", pressed.slow_subscribers_acks_per_s),
        format!(", at {:.0} events/s, all on disk", pressed.qos0_events_per_s),
        String::new(),
    ];
    let names = ["subscribers that don't read:", "a flood of QoS 0:", "a journal without room:"];
    for ((name, rate), (_, memory)) in names.iter().zip(rates).zip(phases(pressed)) {
        let Memory { before_mib, after_mib, growth_max_mib } = memory;
        let verdict = if memory.is_flat() { "flat" } else { "NOT FLAT" };
        writeln!(
            out,
            "{name:<28} {before_mib:.1} MiB, later {after_mib:.1} MiB: {verdict}, up to {growth_max_mib:.1} MiB more are within the limits{rate}"
        )?;
    }
    Ok(())
}
