//! `lamppost bench`: this gateway on this machine and this disk, with the shipped defaults. The gateway runs as a process of its own,
//! so that its memory is its own; load and cluster (librdkafka's mock) are in this one.

mod floor;
mod load;

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio::time::{Instant, sleep};

use crate::cli;
use crate::config;
use crate::scrape;
use load::Load;

/// How long the gateway may take to be ready.
const READY_MAX: Duration = Duration::from_secs(20);
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
pub(crate) async fn run(args: &cli::Bench, out: &mut impl Write) -> anyhow::Result<()> {
    let scratch = match &args.dir {
        Some(dir) => tempfile::Builder::new().prefix("lamppost-bench-").tempdir_in(dir).with_context(|| {
            format!("{} can't be used; --dir names a folder that exists and can be written", dir.display())
        })?,
        None => tempfile::Builder::new().prefix("lamppost-bench-").tempdir()?,
    };
    let figures = measure(args, scratch.path()).await?;
    if args.json {
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

async fn measure(args: &cli::Bench, dir: &Path) -> anyhow::Result<Figures> {
    let floor = floor::measure(dir)?;
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(BROKERS)?;
    let (mqtt, http) = (free_port()?, free_port()?);
    let text = configuration(dir, mqtt, http, &cluster.bootstrap_servers());
    let config = config::parse(&text).map_err(|list| config::Problems::new(Path::new("bench"), &text, list))?;
    for shape in crate::gateway::topics(&config) {
        cluster.create_topic(shape.topic.as_str(), i32::from(shape.partitions), BROKERS)?;
    }
    let gateway = Gateway::start(dir, &text)?;
    gateway.ready(http).await?;

    let before = scrape::get(http, "/metrics").await?.1;
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
    let (after, drained) = drained(http, args.events).await?;
    let written = |metrics: &str| scrape::sum(metrics, "lamppost_journal_written_bytes_total");
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (events, ms) = (args.events as f64, |us: u64| us as f64 / 1000.0);
    Ok(Figures {
        durable_acks_per_s: events / acks.elapsed.as_secs_f64(),
        delivered_per_s: events / drained.duration_since(started).as_secs_f64(),
        puback_p50_ms: ms(acks.latency_us.value_at_quantile(0.5)),
        puback_p99_ms: ms(acks.latency_us.value_at_quantile(0.99)),
        peak_rss_mib: gateway.peak_rss_mib()?,
        bytes_written_per_event: (written(&after) - written(&before)) / events,
        fsync_floor_p50_ms: floor.as_secs_f64() * 1000.0,
        events: args.events,
        connections: args.connections,
        window: args.window,
        event_bytes: args.event_bytes,
        partitions: crate::gateway::topics(&config).first().map_or(0, |shape| shape.partitions),
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

/// A port of loopback that was free a moment ago.
fn free_port() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Waits until the cluster has acknowledged everything.
async fn drained(http: SocketAddr, events: u64) -> anyhow::Result<(String, Instant)> {
    let deadline = Instant::now() + DRAIN_MAX;
    loop {
        let metrics = scrape::get(http, "/metrics").await?.1;
        let delivered = scrape::sum(&metrics, "lamppost_forward_delivered_total");
        #[expect(clippy::cast_precision_loss, reason = "a count below 2^53")]
        if delivered >= events as f64 {
            return Ok((metrics, Instant::now()));
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "only {delivered} of {events} events were delivered within {DRAIN_MAX:?}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

/// The gateway as a process of its own; ends with this one.
struct Gateway(Child);

impl Gateway {
    fn start(dir: &Path, text: &str) -> anyhow::Result<Self> {
        let path = dir.join("lamppost.toml");
        #[expect(clippy::disallowed_methods, reason = "a configuration that lives as long as the benchmark")]
        File::create(&path)?.write_all(text.as_bytes())?;
        let program = std::env::current_exe().context("where is this program?")?;
        let child = Command::new(program)
            .args(["run", "--config"])
            .arg(&path)
            .env("RUST_LOG", "error")
            .stdout(Stdio::null())
            .spawn()
            .context("the gateway can't be started")?;
        Ok(Self(child))
    }

    async fn ready(&self, http: SocketAddr) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_MAX;
        while Instant::now() < deadline {
            if matches!(scrape::get(http, "/healthz").await, Ok((200, _))) {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("the gateway was not ready within {READY_MAX:?}")
    }

    /// `VmHWM` of proc(5).
    fn peak_rss_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone and reaped afterwards.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What the journal lies on: the file system and its device, from mountinfo (proc(5)).
fn disk_of(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    let longest = fields.filter(|(_, at, _)| dir.starts_with(at)).max_by_key(|(_, at, _)| at.len());
    longest.map_or_else(|| "an unknown disk".to_owned(), |(device, _, kind)| format!("{kind} on {device}"))
}
