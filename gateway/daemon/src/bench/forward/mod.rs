//! `lamppost bench forward`: from the journal to a cluster, beside a bare producer with the same records and properties, in one run.
//!
//! - *Drain*: a backlog is written into a journal, a gateway is started on it, and the time from its first delivery to its last is taken;
//!   then the bare producer sends as many. They take turns; the median of the rounds' ratios counts.
//! - *End to end*: PUBLISH by MQTT to a consumer of the cluster, at a steady pace; then from the bare producer to a consumer.

mod backlog;
mod bare;
mod cluster;
mod configuration;
mod drain;
mod latency;
mod record;
mod shown;

use std::io::Write;
use std::path::Path;

use lamppost_event::Clock as _;

pub(crate) use bare::serve as bare;

use super::process::{Scratch, disk_of, free_port};
use crate::cli::ForwardBench;
use crate::clock::MachineClock;
use bare::{Bare, Done, Order};
use cluster::Cluster;
use configuration::{Text, Wanted};
use drain::Drained;
use latency::{Latency, Pace, To};
use shown::Progress;

/// What an event takes in the journal beside its payload, at most.
const STORED_BYTES: u64 = 200;

/// All that was measured.
struct Measured {
    rounds: Vec<(Drained, Done)>,
    gateway: Latency,
    bare: Latency,
    /// The journal's and the producer's together.
    linger_ms: f64,
    cluster: String,
    disk: String,
}

/// Measures and prints.
pub(crate) async fn run(args: &ForwardBench, out: &mut impl Write) -> anyhow::Result<()> {
    let scratch = Scratch::within(args.dir.as_deref())?;
    let now = MachineClock::new().now();
    // Topics of a real cluster outlive a run that is cut short: no name twice.
    let run = u128::from(now.wall.0.unsigned_abs()) << 16 | u128::from(std::process::id() & 0xffff);
    let mut cluster = Cluster::new(args, run)?;
    let measured = measure(args, scratch.path(), &mut cluster, now.wall.0).await;
    let cleaned = cluster.clean().await;
    let measured = measured?;
    if args.json {
        writeln!(out, "{}", shown::json(args, &measured))?;
    } else {
        shown::table(args, &measured, out)?;
    }
    cleaned
}

async fn measure(args: &ForwardBench, dir: &Path, cluster: &mut Cluster, time_ms: i64) -> anyhow::Result<Measured> {
    let mut progress = Progress::new(args.rounds * 3 + 2);
    let mut rounds = Vec::new();
    for round in 1..=args.rounds {
        rounds.push(one_round(args, dir, cluster, time_ms, round, &mut progress).await?);
    }
    let pace = Pace { events_per_s: args.rate, seconds: args.seconds, event_bytes: args.event_bytes };
    progress.step("end to end, the gateway");
    let mqtt = free_port()?;
    let place = tempfile::tempdir_in(dir)?;
    let (topic, text) = prepared(args, place.path(), cluster, "latency", Some(mqtt)).await?;
    let config = text.parse()?;
    let to = To { bootstrap: &cluster.bootstrap, topic: &topic, partitions: args.partitions };
    let gateway = latency::gateway(place.path(), &text, mqtt, &to, pace).await?;
    progress.step("end to end, the bare producer");
    let topic = cluster.topic("latency-bare", args.partitions).await?;
    let to = To { bootstrap: &cluster.bootstrap, topic: &topic, partitions: args.partitions };
    let producer = Bare::new(&properties(&config)?, &topic, args.partitions)?;
    let bare = latency::bare(producer, &to, pace, time_ms).await?;
    let forward = crate::gateway::forward_config(&config).map(|forward| forward.linger).unwrap_or_default();
    let linger_ms = (config.journal.linger + forward).as_secs_f64() * 1000.0;
    Ok(Measured { rounds, gateway, bare, linger_ms, cluster: cluster.what(), disk: disk_of(dir) })
}

async fn one_round(
    args: &ForwardBench,
    dir: &Path,
    cluster: &mut Cluster,
    time_ms: i64,
    round: u32,
    progress: &mut Progress,
) -> anyhow::Result<(Drained, Done)> {
    let place = tempfile::tempdir_in(dir)?;
    progress.step(&format!("round {round} of {}: a backlog of {} events", args.rounds, args.events));
    let (topic, text) = prepared(args, place.path(), cluster, &format!("drain-{round}"), None).await?;
    let config = text.parse()?;
    backlog::fill(&config, &topic, args.events, args.event_bytes).await?;
    progress.step(&format!("round {round} of {}: the gateway", args.rounds));
    let drained = drain::drain(place.path(), &text, args.events).await?;
    progress.step(&format!("round {round} of {}: the bare producer", args.rounds));
    let order = Order {
        properties: properties(&config)?,
        topic: cluster.topic(&format!("bare-{round}"), args.partitions).await?,
        partitions: args.partitions,
        events: args.events,
        event_bytes: args.event_bytes,
        time_ms,
    };
    let done = tokio::task::spawn_blocking(move || bare::run(&order)).await??;
    Ok((drained, done))
}

/// A topic, and a gateway's configuration for it.
async fn prepared(
    args: &ForwardBench,
    dir: &Path,
    cluster: &mut Cluster,
    what: &str,
    mqtt: Option<std::net::SocketAddr>,
) -> anyhow::Result<(String, Text)> {
    let topic = cluster.topic(what, args.partitions).await?;
    let text = configuration::text(&Wanted {
        state_dir: dir.join("state"),
        bootstrap: &cluster.bootstrap,
        replication: args.replication,
        topic: &topic,
        partitions: args.partitions,
        bytes: args.events * (u64::from(args.event_bytes) + STORED_BYTES),
        mqtt,
    });
    cluster.make_usual(&text.parse()?).await?;
    Ok((topic, text))
}

/// The gateway's own.
fn properties(config: &crate::config::Config) -> anyhow::Result<std::collections::BTreeMap<String, String>> {
    let forward = crate::gateway::forward_config(config);
    let forward = forward.ok_or_else(|| anyhow::anyhow!("the benchmark's configuration has a cluster"))?;
    Ok(lamppost_forward::producer_properties(&forward))
}
