//! `lamppost bench forward`: from the journal to a cluster, beside a bare producer with the same records and properties, in one run.
//!
//! - *Drain*: a backlog is written into a journal, a gateway is started on it, and the time from its first delivery to its last is taken;
//!   then the bare producer sends as many, and a gateway that delivers exactly once drains the same events. They take turns; the median of the
//!   rounds' ratios counts. After each drain, untimed, the audit has to find all of it.
//! - *End to end*: PUBLISH by MQTT to a consumer of the cluster, at a steady pace; then from the bare producer to a consumer.

mod backlog;
mod bare;
mod cluster;
mod configuration;
mod drain;
mod judged;
mod latency;
mod record;
mod shown;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use lamppost_event::Clock as _;
use lamppost_forward::ForwardConfig;

pub(crate) use bare::serve as bare;

use super::process::{Scratch, disk_of, free_port};
use super::progress::Progress;
use crate::cli::ForwardBench;
use crate::clock::MachineClock;
use crate::config::Config;
use bare::{Bare, Done, Order};
use cluster::Cluster;
use configuration::{Text, Wanted};
use drain::Drained;
use latency::{Latency, Pace, To};

/// What an event takes in the journal beside its payload, at most.
const STORED_BYTES: u64 = 200;

/// What one round gave.
struct Round {
    gateway: Drained,
    bare: Done,
    exactly_once: Drained,
}

/// All that was measured.
struct Measured {
    rounds: Vec<Round>,
    gateway: Latency,
    bare: Latency,
    /// The journal's and the producer's together.
    linger_ms: f64,
    cluster: String,
    disk: String,
}

/// Measures and prints.
pub(crate) async fn run(args: &ForwardBench, out: &mut impl Write) -> anyhow::Result<()> {
    let scratch = Scratch::within(args.common.dir.as_deref())?;
    let now = MachineClock::new().now();
    // Topics of a real cluster outlive a run that is cut short: no name twice.
    let run = u128::from(now.wall.0.unsigned_abs()) << 16 | u128::from(std::process::id() & 0xffff);
    let mut cluster = Cluster::new(args, run)?;
    let measured = measure(args, scratch.path(), &mut cluster, now.wall.0).await;
    let cleaned = cluster.clean().await;
    let measured = measured?;
    if args.common.json {
        writeln!(out, "{}", shown::json(args, &measured))?;
    } else {
        shown::table(args, &measured, out)?;
    }
    cleaned
}

async fn measure(args: &ForwardBench, dir: &Path, cluster: &mut Cluster, time_ms: i64) -> anyhow::Result<Measured> {
    let mut progress = Progress::new(args.rounds * 7 + 2);
    let mut rounds = Vec::new();
    for round in 1..=args.rounds {
        rounds.push(one_round(args, dir, cluster, time_ms, round, &mut progress).await?);
    }
    let pace = Pace { events_per_s: args.rate, seconds: args.seconds, event_bytes: args.event_bytes };
    progress.step("end to end, the gateway");
    let mqtt = free_port()?;
    let place = tempfile::tempdir_in(dir)?;
    let (topic, text) = prepared(args, place.path(), cluster, "latency", Front::Mqtt(mqtt)).await?;
    let config = text.parse()?;
    let to = To { bootstrap: &cluster.bootstrap, topic: &topic, partitions: args.partitions };
    let gateway = latency::gateway(place.path(), &text, mqtt, &to, pace).await?;
    progress.step("end to end, the bare producer");
    let topic = cluster.topic("latency-bare", args.partitions).await?;
    let to = To { bootstrap: &cluster.bootstrap, topic: &topic, partitions: args.partitions };
    let producer = Bare::new(&properties(&config)?, &topic, args.partitions)?;
    let bare = latency::bare(producer, &to, pace, time_ms).await?;
    let linger_ms = (config.journal.linger + forward(&config)?.linger).as_secs_f64() * 1000.0;
    Ok(Measured { rounds, gateway, bare, linger_ms, cluster: cluster.what(), disk: disk_of(dir) })
}

async fn one_round(
    args: &ForwardBench,
    dir: &Path,
    cluster: &mut Cluster,
    time_ms: i64,
    round: u32,
    progress: &mut Progress,
) -> anyhow::Result<Round> {
    let mut say = |what: &str| progress.step(&format!("round {round} of {}: {what}", args.rounds));
    let (gateway, config) = one_drain(args, dir, cluster, &format!("drain-{round}"), Front::None, &mut say).await?;
    say("the bare producer");
    let order = Order {
        properties: properties(&config)?,
        topic: cluster.topic(&format!("bare-{round}"), args.partitions).await?,
        partitions: args.partitions,
        events: args.events,
        event_bytes: args.event_bytes,
        time_ms,
    };
    let bare = tokio::task::spawn_blocking(move || bare::run(&order)).await??;
    let what = format!("exactly-once-{round}");
    let drained = one_drain(args, dir, cluster, &what, Front::ExactlyOnce, &mut say).await;
    let (exactly_once, _) = drained.context("in exactly-once mode")?;
    Ok(Round { gateway, bare, exactly_once })
}

/// Fills a journal and drains it.
async fn one_drain(
    args: &ForwardBench,
    dir: &Path,
    cluster: &mut Cluster,
    what: &str,
    front: Front,
    say: &mut impl FnMut(&str),
) -> anyhow::Result<(Drained, Config)> {
    let place = tempfile::tempdir_in(dir)?;
    say(&format!("a backlog of {} events", args.events));
    let (topic, text) = prepared(args, place.path(), cluster, what, front).await?;
    let config = text.parse()?;
    backlog::fill(&config, &topic, args.events, args.event_bytes).await?;
    let exactly_once = matches!(front, Front::ExactlyOnce);
    say(if exactly_once { "the gateway, exactly once" } else { "the gateway" });
    let drained = drain::drain(place.path(), &text, args.events).await?;
    say("the audit of what is there");
    let (bootstrap, events) = (cluster.bootstrap.clone(), args.events);
    tokio::task::spawn_blocking(move || judged::judge(&bootstrap, &topic, events, exactly_once)).await??;
    Ok((drained, config))
}

/// What a gateway has beside its journal and the cluster.
#[derive(Debug, Clone, Copy)]
enum Front {
    None,
    /// A server for MQTT there.
    Mqtt(SocketAddr),
    /// Transactions, and their topic of cursors.
    ExactlyOnce,
}

/// A topic, and a gateway's configuration for it.
async fn prepared(
    args: &ForwardBench,
    dir: &Path,
    cluster: &mut Cluster,
    what: &str,
    front: Front,
) -> anyhow::Result<(String, Text)> {
    let topic = cluster.topic(what, args.partitions).await?;
    let (mqtt, cursors) = match front {
        Front::None => (None, None),
        Front::Mqtt(at) => (Some(at), None),
        Front::ExactlyOnce => (None, Some(cluster.cursors(what).await?)),
    };
    let text = configuration::text(&Wanted {
        state_dir: dir.join("state"),
        bootstrap: &cluster.bootstrap,
        replication: args.replication,
        topic: &topic,
        partitions: args.partitions,
        bytes: args.events * (u64::from(args.event_bytes) + STORED_BYTES),
        mqtt,
        cursors: cursors.as_deref(),
    });
    cluster.make_usual(&text.parse()?).await?;
    Ok((topic, text))
}

/// What the gateway's forwarder is told.
fn forward(config: &Config) -> anyhow::Result<ForwardConfig> {
    let kafka = config.kafka.as_ref().context("the benchmark's configuration has a cluster")?;
    Ok(crate::gateway::forward_config(config, kafka, crate::gateway::forward_group()))
}

/// Its producer's.
fn properties(config: &Config) -> anyhow::Result<BTreeMap<String, String>> {
    Ok(lamppost_forward::producer_properties(&forward(config)?))
}
