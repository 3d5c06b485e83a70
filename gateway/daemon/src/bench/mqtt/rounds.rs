//! Acknowledgements a second: rounds in which all brokers and numbers of connections take turns, and their medians.

use std::path::Path;

use super::broker::{Broker, Kind};
use super::order::{Done, Loader, Order};
use crate::bench::figures::median;
use crate::bench::floor;
use crate::bench::progress::Progress;
use crate::cli::MqttBench;
use crate::scrape;

/// How many clients connect at a time where no storm is meant.
pub(super) const AT_ONCE: u32 = 200;
/// Publishes under way in all are held near this at many connections, each having at least one.
const UNDER_WAY: u32 = 4_000;
/// Before the clock runs, ms.
const WARM_UP_MS: u64 = 300;

/// What is measured in each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Case {
    pub(super) kind: Kind,
    pub(super) connections: u32,
    pub(super) window: u16,
}

/// What one round gave.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) acks_per_s: f64,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    pub(super) p999_us: u64,
    /// The broker's time on the processors for one event, the load's likewise.
    pub(super) cpu_us_per_event: f64,
    pub(super) load_cpu_us_per_event: f64,
    /// Events of a commit, on average; 0 of another broker.
    pub(super) events_per_commit: f64,
}

/// All rounds of a case.
#[derive(Debug)]
pub(super) struct Result {
    pub(super) case: Case,
    runs: Vec<Run>,
}

/// The rounds.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    pub(super) results: Vec<Result>,
    pub(super) flush_ms: f64,
    /// What the load saw acknowledged by the gateway, and what the gateway says it acknowledged: the same, or the benchmark fails.
    pub(super) acknowledged: u64,
    pub(super) counted: u64,
}

impl Result {
    /// The median over the rounds.
    pub(super) fn median(&self, of: impl Fn(&Run) -> f64) -> f64 {
        median(self.runs.iter().map(of).collect())
    }

    pub(super) fn median_ms(&self, of: impl Fn(&Run) -> u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a time below a minute")]
        self.median(|run| of(run) as f64 / 1000.0)
    }

    /// The slowest and the fastest round.
    pub(super) fn spread(&self) -> (f64, f64) {
        let rates = || self.runs.iter().map(|run| run.acks_per_s);
        (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max))
    }
}

/// What is measured: this gateway at all numbers of connections, the others at the one for comparison.
pub(super) fn cases(args: &MqttBench) -> Vec<Case> {
    let window = |connections: u32| {
        let share = u16::try_from(UNDER_WAY / connections.max(1)).unwrap_or(u16::MAX);
        args.window.min(share.max(1))
    };
    let ours = args.connections.iter().map(|connections| (Kind::Lamppost, *connections));
    let others = Kind::OTHERS.into_iter().filter(|kind| kind.is_here());
    let all = ours.chain(others.map(|kind| (kind, args.compare_at)));
    all.map(|(kind, connections)| Case { kind, connections, window: window(connections) }).collect()
}

/// Measures.
pub(super) async fn run(args: &MqttBench, dir: &Path, progress: &mut Progress) -> anyhow::Result<Rounds> {
    let cases = cases(args);
    let mut rounds = Rounds::default();
    rounds.results.extend(cases.iter().map(|case| Result { case: *case, runs: Vec::new() }));
    let mut floors = Vec::new();
    for round in 0..args.rounds as usize {
        floors.push(floor::measure(dir)?.as_secs_f64() * 1000.0);
        // Each round begins with another case, so that none has the best place every time.
        for step in 0..cases.len() {
            let at = (step + round) % cases.len();
            let Some(case) = cases.get(at) else { continue };
            let what = format!("{}, {} connections", case.kind.name(), case.connections);
            progress.step(&format!("round {} of {}: {what}", round + 1, args.rounds));
            let measured = anyhow::Context::with_context(one(args, dir, case, &mut rounds).await, || what)?;
            if let Some(result) = rounds.results.get_mut(at) {
                result.runs.push(measured);
            }
        }
    }
    rounds.flush_ms = median(floors);
    Ok(rounds)
}

async fn one(args: &MqttBench, dir: &Path, case: &Case, rounds: &mut Rounds) -> anyhow::Result<Run> {
    let folder = tempfile::tempdir_in(dir)?;
    let broker = Broker::start(case.kind, folder.path(), case.connections).await?;
    let mut loader = Loader::start()?;
    loader.order(&Order::Connect { server: broker.at, clients: case.connections, at_once: AT_ONCE })?;
    let publish = |millis| Order::Publish {
        clients: case.connections,
        window: case.window,
        event_bytes: args.event_bytes,
        millis,
    };
    let warm = loader.order(&publish(WARM_UP_MS))?;
    let (before, commits_before) = (broker.server().used()?, commits(broker.metrics().await?.as_deref()));
    let done = loader.order(&publish(args.seconds * 1000))?;
    let after = broker.server().used()?;
    let metrics = broker.metrics().await?;
    let commits = commits(metrics.as_deref()) - commits_before;
    if let Some(metrics) = metrics {
        agrees(&metrics, &[&warm, &done], rounds)?;
    }
    Ok(figures(&done, after.cpu.saturating_sub(before.cpu).as_secs_f64(), commits))
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn figures(done: &Done, cpu_s: f64, commits: f64) -> Run {
    let events = done.acknowledged as f64;
    Run {
        acks_per_s: events / done.seconds,
        p50_us: done.p50_us,
        p99_us: done.p99_us,
        p999_us: done.p999_us,
        cpu_us_per_event: cpu_s * 1e6 / events,
        load_cpu_us_per_event: done.cpu_seconds * 1e6 / events,
        events_per_commit: if commits > 0.0 { events / commits } else { 0.0 },
    }
}

fn commits(metrics: Option<&str>) -> f64 {
    metrics.map_or(0.0, |metrics| scrape::sum(metrics, "lamppost_journal_commits_total"))
}

/// What the load saw is what the gateway counted: acknowledgements, and events taken; and all of them are on disk, where notices of the
/// gateway itself are too.
fn agrees(metrics: &str, all: &[&Done], rounds: &mut Rounds) -> anyhow::Result<()> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let count = |name| scrape::sum(metrics, name) as u64;
    let acknowledged: u64 = all.iter().map(|done| done.acknowledged).sum();
    let sent: u64 = all.iter().map(|done| done.sent).sum();
    let (counted, taken) = (count("lamppost_mqtt_pubacks_total"), count("lamppost_intake_taken_total"));
    let stored = count("lamppost_journal_stored_events");
    anyhow::ensure!(
        sent == acknowledged && acknowledged == counted && counted == taken && taken <= stored,
        "{sent} events were sent and {acknowledged} acknowledged; the gateway counts {counted} acknowledgements, {taken} events taken and {stored} on disk"
    );
    rounds.acknowledged += acknowledged;
    rounds.counted += counted;
    Ok(())
}
