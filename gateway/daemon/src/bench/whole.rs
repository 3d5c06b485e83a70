//! `lamppost bench`: the whole way on this machine and this disk, with the shipped defaults. The gateway runs as a process of its own,
//! so that its memory is its own; load and cluster (librdkafka's mock) are in this one.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio::time::{Instant, sleep};

use super::floor;
use super::load::{self, Load};
use super::process::{Gateway, Scratch, disk_of, free_port};
use crate::cli;
use crate::config;
use crate::scrape;

/// How long the backlog may take to drain.
const DRAIN_MAX: Duration = Duration::from_secs(120);
const BROKERS: i32 = 3;

/// The figures; the fields are those of the JSON.
#[derive(Debug, serde::Serialize)]
struct Figures {
    durable_acks_per_s: f64,
    delivered_per_s: f64,
    puback_p50_ms: f64,
    puback_p99_ms: f64,
    peak_rss_mib: f64,
    bytes_written_per_event: f64,
    fsync_floor_p50_ms: f64,
    events: u64,
    connections: u32,
    window: u16,
    event_bytes: u32,
    partitions: u16,
    linger_ms: u64,
    disk: String,
}

/// Measures and prints.
pub(crate) async fn run(args: &cli::WholeBench, out: &mut impl Write) -> anyhow::Result<()> {
    let scratch = Scratch::within(args.common.dir.as_deref())?;
    let figures = measure(args, scratch.path()).await?;
    if args.common.json {
        writeln!(out, "{}", serde_json::to_string(&figures)?)?;
        return Ok(());
    }
    let Figures { events, connections, window, event_bytes, linger_ms, partitions, disk, .. } = &figures;
    writeln!(
        out,
        "{events} events of {event_bytes} bytes, {connections} connections x window {window}, linger {linger_ms} ms, {partitions} partitions, on {disk}"
    )?;
    writeln!(out, "  durable acknowledgements   {:>12.0} /s", figures.durable_acks_per_s)?;
    writeln!(out, "  delivered to the cluster   {:>12.0} /s", figures.delivered_per_s)?;
    writeln!(out, "  PUBLISH to PUBACK, median  {:>12.2} ms", figures.puback_p50_ms)?;
    writeln!(out, "  PUBLISH to PUBACK, p99     {:>12.2} ms", figures.puback_p99_ms)?;
    writeln!(out, "  one page to the disk, p50  {:>12.2} ms", figures.fsync_floor_p50_ms)?;
    writeln!(out, "  written per event          {:>12.0} bytes", figures.bytes_written_per_event)?;
    writeln!(out, "  peak memory of the gateway {:>12.1} MiB", figures.peak_rss_mib)?;
    Ok(())
}

async fn measure(args: &cli::WholeBench, dir: &Path) -> anyhow::Result<Figures> {
    let floor = floor::measure(dir)?;
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(BROKERS)?;
    let (mqtt, http) = (free_port()?, free_port()?);
    let text = configuration(dir, mqtt, http, &cluster.bootstrap_servers());
    let config = config::parse(&text).map_err(|list| config::Problems::new(Path::new("bench"), &text, list))?;
    for shape in crate::gateway::topics(&config) {
        cluster.create_topic(shape.topic.as_str(), i32::from(shape.partitions), BROKERS)?;
    }
    let mut gateway = Gateway::start(dir, &text, http)?;
    gateway.ready().await?;

    let before = gateway.metrics().await?;
    let started = Instant::now();
    let load = Load {
        server: mqtt,
        connections: args.connections,
        window: args.window,
        events: args.events,
        event_bytes: args.event_bytes,
    };
    let acks = load::run(&load).await?;
    anyhow::ensure!(
        acks.acknowledged == args.events,
        "{} of {} events were acknowledged",
        acks.acknowledged,
        args.events
    );
    let (after, drained) = drained(&gateway, args.events).await?;
    let written = |metrics: &str| scrape::sum(metrics, "lamppost_journal_written_bytes_total");
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (events, ms, mib) = (args.events as f64, |us: u64| us as f64 / 1000.0, |kib: u64| kib as f64 / 1024.0);
    Ok(Figures {
        durable_acks_per_s: events / acks.elapsed.as_secs_f64(),
        delivered_per_s: events / drained.duration_since(started).as_secs_f64(),
        puback_p50_ms: ms(acks.latency_us.value_at_quantile(0.5)),
        puback_p99_ms: ms(acks.latency_us.value_at_quantile(0.99)),
        peak_rss_mib: mib(gateway.server.peak_rss_kib()?),
        bytes_written_per_event: (written(&after) - written(&before)) / events,
        fsync_floor_p50_ms: floor.as_secs_f64() * 1000.0,
        events: args.events,
        connections: args.connections,
        window: args.window,
        event_bytes: args.event_bytes,
        partitions: partitions(&config),
        linger_ms: u64::try_from(config.journal.linger.as_millis()).unwrap_or(u64::MAX),
        disk: disk_of(dir),
    })
}

/// The shipped defaults, but for addresses and a quota that holds the whole run.
fn configuration(dir: &Path, mqtt: SocketAddr, http: SocketAddr, bootstrap: &str) -> String {
    let brokers: Vec<String> = bootstrap.split(',').map(|broker| format!("{broker:?}")).collect();
    format!(
        "[gateway]\nid = \"bench\"\nstate_dir = {:?}\n[journal]\nquota = \"2GiB\"\n[mqtt]\nlisten = \"{mqtt}\"\nconnections_max = 10000\n[kafka]\nbootstrap = [{}]\n[http]\nlisten = \"{http}\"\n",
        dir.join("state"),
        brokers.join(", ")
    )
}

/// Of the topic that the load's events go to: no route is configured.
fn partitions(config: &config::Config) -> u16 {
    let shapes = crate::gateway::topics(config);
    shapes
        .iter()
        .find(|shape| shape.topic.as_str() == lamppost_route::DEFAULT_TOPIC)
        .map_or(0, |shape| shape.partitions)
}

/// Waits until the cluster has acknowledged everything.
async fn drained(gateway: &Gateway, events: u64) -> anyhow::Result<(String, Instant)> {
    let deadline = Instant::now() + DRAIN_MAX;
    loop {
        let metrics = gateway.metrics().await?;
        let delivered = scrape::sum(&metrics, "lamppost_forward_delivered_total");
        #[expect(clippy::cast_precision_loss, reason = "a count below 2^53")]
        if delivered >= events as f64 && scrape::sum(&metrics, "lamppost_forward_backlog_events") == 0.0 {
            return Ok((metrics, Instant::now()));
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "only {delivered} of {events} events were delivered within {DRAIN_MAX:?}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}
