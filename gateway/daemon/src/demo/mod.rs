//! `lamppost demo`: the whole way of an event on one machine, with real parts wherever there is room for them: MQTT clients over
//! TCP, a node on a pseudo-terminal, the driver of a chip over a modelled bus, the gateway itself, and librdkafka's mock cluster
//! of three brokers, which goes away in the middle. At the end the audit compares the cluster with the senders' own ledgers.

mod city;
mod cluster;
mod ledgers;
mod node;
mod table;
mod verdict;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::Context;
use lamppost_audit::{AuditConfig, Follower};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, interval, sleep};

use crate::cli;
use crate::config;
use crate::gateway::{Buses, Gateway};
use crate::pty::Line;
use cluster::Cluster;
use table::{Figures, Table};
pub(crate) use verdict::Verdict;

/// How long the city sends many events.
const SENDING_S: f64 = 30.0;
/// How long it sends few: long enough for the cluster to go away in the middle.
const SENDING_S_MIN: f64 = 3.0;
/// The pace between.
const EVENTS_PER_S: f64 = 1_000.0;
/// Fewer devices send where there would be fewer events for each.
const EVENTS_PER_DEVICE_MIN: u64 = 10;
/// How often the devices' progress is looked at.
const TICK: Duration = Duration::from_millis(10);
/// How often the table is drawn.
const REDRAW: Duration = Duration::from_millis(200);
/// How long the backlog may take to drain once all is sent.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// How long the judge waits for what the cluster may still show.
const SETTLE: Duration = Duration::from_secs(2);
/// The id of the demo's gateway.
const GATEWAY: &str = "demo-post";

/// Runs the demo and judges it.
pub(crate) async fn run(args: &cli::Demo) -> anyhow::Result<Verdict> {
    let scratch = Scratch::new(args.keep.as_deref())?;
    let started = Instant::now();
    let cluster = Cluster::start()?;
    // The mock keeps little: the judge reads along.
    let follower = Follower::start(AuditConfig::new(&cluster.bootstrap())).context("the cluster can't be read")?;
    let line = Arc::new(Line::open().context("no pseudo-terminal for the demo's node")?);
    let gateway = start_gateway(scratch.path(), &cluster, line.path()).await?;
    let broker = gateway.mqtt_address().context("the demo's gateway has no MQTT server")?;

    let (ledgers, entries) = ledgers::open(scratch.path())?;
    // With a handful of events each, so that there is a middle for the cluster to be away in.
    let devices = args.devices.min(u32::try_from(args.events / EVENTS_PER_DEVICE_MIN).unwrap_or(u32::MAX));
    let plan = city::Plan { broker, devices, events: args.events, events_per_s: pace(args.events) };
    let senders = Senders::start(plan, line, entries);

    let show = Show { started, planned: args.events, table: Table::new() };
    let outcome = watch(show, &cluster, &gateway, senders).await;
    let written = ledgers.close().await;
    let journaled = gateway.figures().events;
    let stopped = gateway.stop().await?;
    outcome?;
    anyhow::ensure!(stopped.backlog == 0, "{} events were not forwarded in time", stopped.backlog);
    let paths = written?;
    let report = spawn_blocking(move || follower.finish(&paths, SETTLE)).await??;
    Ok(Verdict::new(report, journaled, started.elapsed().as_secs_f64(), scratch.keep()))
}

/// Events a second.
fn pace(events: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a pace, not a count")]
    let events = events as f64;
    events / (events / EVENTS_PER_S).clamp(SENDING_S_MIN, SENDING_S)
}

/// The demo's folder: the user's, or one that goes when the demo ends.
enum Scratch {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Scratch {
    fn new(keep: Option<&Path>) -> anyhow::Result<Self> {
        let Some(dir) = keep else {
            return Ok(Self::Temporary(tempfile::Builder::new().prefix("lamppost-demo-").tempdir()?));
        };
        std::fs::create_dir_all(dir).with_context(|| format!("{} can't be made", dir.display()))?;
        let empty = std::fs::read_dir(dir)?.next().is_none();
        anyhow::ensure!(empty, "{} is not empty; --keep wants an empty folder, or one that it can make", dir.display());
        Ok(Self::Kept(dir.to_owned()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(dir) => dir,
            Self::Temporary(dir) => dir.path(),
        }
    }

    /// The folder, if it stays.
    fn keep(&self) -> Option<PathBuf> {
        match self {
            Self::Kept(dir) => Some(dir.clone()),
            Self::Temporary(_) => None,
        }
    }
}

/// The demo's gateway is configured as any other, by a text that the ordinary parser reads.
async fn start_gateway(dir: &Path, cluster: &Cluster, port: &Path) -> anyhow::Result<Gateway> {
    let text = format!(
        r#"# What the demo ran with. Its ports, its terminal and its modelled bus are gone: to look at, not to run.
[gateway]
id = "{GATEWAY}"
state_dir = {state_dir:?}

[journal]
quota = "1GiB"

[mqtt]
listen = "127.0.0.1:0"

[[serial]]
name = "node"
port = {port:?}

[[i2c]]
name = "post-temperature"
bus = "{model}"
chip = "tmp105"
address = 0x48
every = "500ms"

[[route]]
from = "city/{{district}}/traffic/{{device}}"
topic = "traffic"
decode = "json"

[[route]]
from = "city/{{district}}/air/{{device}}"
topic = "air-quality"
decode = "json"

[[route]]
from = "city/{{district}}/energy/{{device}}"
topic = "energy"
decode = "json"

[[route]]
from = "link/#"
topic = "nodes"

[[route]]
from = "i2c/#"
topic = "nodes"

[kafka]
bootstrap = [{bootstrap}]

[http]
listen = "127.0.0.1:0"
"#,
        state_dir = dir.join("state"),
        model = crate::gateway::MODEL_BUS,
        bootstrap = cluster.bootstrap().split(',').map(|broker| format!("{broker:?}")).collect::<Vec<_>>().join(", "),
    );
    if let Ok(mut file) = tempfile::NamedTempFile::new_in(dir) {
        use std::io::Write;
        file.write_all(text.as_bytes())?;
        file.persist(dir.join("lamppost.toml"))?;
    }
    let config = config::parse(&text).map_err(|list| config::Problems::new(Path::new("demo"), &text, list))?;
    cluster.create_topics(&config)?;
    Gateway::start(&config, Buses::Modelled).await
}

/// All that sends, and what it has counted.
struct Senders {
    city: Arc<city::Count>,
    node: Arc<node::Count>,
    city_task: tokio::task::JoinHandle<anyhow::Result<()>>,
    node_task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Senders {
    fn start(plan: city::Plan, line: Arc<Line>, entries: ledgers::Entries) -> Self {
        let (city, node) = (Arc::new(city::Count::default()), Arc::new(node::Count::default()));
        let city_task = {
            let city = city.clone();
            tokio::spawn(async move { city::run(&plan, city, entries.city).await })
        };
        let node_task = {
            let node = node.clone();
            tokio::task::spawn_blocking(move || node::run(&line, &node, &entries.node))
        };
        Self { city, node, city_task, node_task }
    }

    /// Tells the node to take no more readings, and waits until everything is acknowledged.
    async fn finish(self) -> anyhow::Result<()> {
        self.node.stop.store(true, Relaxed);
        self.city_task.await??;
        self.node_task.await?
    }
}

struct Show {
    started: Instant,
    planned: u64,
    table: Table,
}

impl Show {
    fn draw(
        &mut self,
        gateway: &Gateway,
        senders: (&city::Count, &node::Count),
        cluster_up: bool,
    ) -> anyhow::Result<()> {
        let (city, node) = senders;
        let gateway = gateway.figures();
        let figures = Figures {
            planned: self.planned + node.sampled.load(Relaxed),
            sent: city.sent.load(Relaxed) + node.sampled.load(Relaxed),
            acknowledged: city.acknowledged.load(Relaxed) + node.acknowledged.load(Relaxed),
            on_disk: gateway.events,
            delivered: gateway.events.saturating_sub(gateway.backlog),
            cluster_up,
        };
        self.table.show(self.started.elapsed(), figures)?;
        Ok(())
    }
}

/// The time without a cluster: from a third to two thirds of the acknowledgements.
struct Outage<'a> {
    cluster: &'a Cluster,
    from: u64,
    to: u64,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Away,
    Over,
}

impl Outage<'_> {
    /// Does what is due after so many acknowledgements.
    fn follow(&mut self, acknowledged: u64) -> anyhow::Result<()> {
        if self.phase == Phase::Before && acknowledged >= self.from {
            self.cluster.go_away()?;
            self.phase = Phase::Away;
        }
        if self.phase == Phase::Away && acknowledged >= self.to {
            self.cluster.come_back()?;
            self.phase = Phase::Over;
        }
        Ok(())
    }

    fn cluster_is_up(&self) -> bool {
        self.phase != Phase::Away
    }
}

/// Shows how things go and takes the cluster away in between; ends when all is sent, acknowledged and delivered.
async fn watch(mut show: Show, cluster: &Cluster, gateway: &Gateway, senders: Senders) -> anyhow::Result<()> {
    let (city, node) = (senders.city.clone(), senders.node.clone());
    let counts = (&*city, &*node);
    let mut outage = Outage { cluster, from: show.planned / 3, to: show.planned * 2 / 3, phase: Phase::Before };
    let mut redraw = interval(REDRAW);
    while !senders.city_task.is_finished() {
        outage.follow(city.acknowledged.load(Relaxed))?;
        tokio::select! {
            _ = redraw.tick() => show.draw(gateway, counts, outage.cluster_is_up())?,
            () = sleep(TICK) => {}
        }
    }
    let away = outage.phase == Phase::Away;
    outage.follow(u64::MAX)?;
    senders.finish().await?;
    anyhow::ensure!(!away, "the city stopped before the cluster was back");
    gateway.stop_sources().await;
    let deadline = Instant::now() + DRAIN_MAX;
    while gateway.figures().backlog > 0 && Instant::now() < deadline {
        show.draw(gateway, counts, true)?;
        redraw.tick().await;
    }
    show.draw(gateway, counts, true)?;
    Ok(())
}
