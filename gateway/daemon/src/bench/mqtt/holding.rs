//! What many connections cost while they do nothing, how fast all come back, and whether memory stays where it is when it is made hard.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use lamppost_mqtt::Limits;
use tokio::time::{Instant, sleep};

use super::broker::{Broker, Kind};
use super::order::{Loader, Order};
use super::rounds::AT_ONCE;
use crate::bench::progress::Progress;
use crate::cli::MqttBench;
use crate::scrape;

/// How long a gateway may take to have seen what was sent.
const SETTLE_MAX: Duration = Duration::from_secs(30);
/// Memory is looked at after this much quiet.
const QUIET: Duration = Duration::from_millis(1_500);
/// Publishers of the phases that make memory hard to hold, and subscribers that don't read.
const PUBLISHERS: u32 = 50;
const SLEEPERS: u32 = 20;
/// Before memory is looked at the first time, ms: long enough for every bounded queue to fill. What is kept for subscribers may take some times as long.
const FILL_MS: u64 = 1_500;
const FILLS_MAX: u32 = 10;
const QOS0_WINDOW_BYTES: u32 = 1_000;

/// Memory before and after, MiB. It is flat where it has grown by no more than the limits that hold it may have let in meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    pub(super) before_mib: f64,
    pub(super) after_mib: f64,
    pub(super) growth_max_mib: f64,
}

impl Memory {
    pub(super) fn is_flat(&self) -> bool {
        self.after_mib - self.before_mib <= self.growth_max_mib
    }
}

#[derive(Debug, serde::Serialize)]
pub(super) struct Holding {
    pub(super) idle_connection_kib: f64,
    pub(super) rss_none_mib: f64,
    pub(super) rss_most_mib: f64,
    pub(super) connect_seconds: f64,
    pub(super) storm_seconds: f64,
    pub(super) storm_tried_again: u64,
    pub(super) rss_after_storm_mib: f64,
}

#[derive(Debug)]
pub(super) struct Pressed {
    pub(super) slow_subscribers: Memory,
    pub(super) slow_subscribers_acks_per_s: f64,
    pub(super) qos0_flood: Memory,
    pub(super) qos0_events_per_s: f64,
    pub(super) full_journal: Memory,
}

impl Pressed {
    pub(super) fn is_flat(&self) -> bool {
        [self.slow_subscribers, self.qos0_flood, self.full_journal].iter().all(Memory::is_flat)
    }
}

/// Idle connections and the storm.
pub(super) async fn hold(args: &MqttBench, dir: &Path, progress: &mut Progress) -> anyhow::Result<Holding> {
    let most = args.most();
    let folder = tempfile::tempdir_in(dir)?;
    let broker = Broker::start(Kind::Lamppost, folder.path(), most).await?;
    let mut loader = Loader::start()?;
    progress.step(&format!("{most} idle connections"));
    sleep(QUIET).await;
    let none = broker.server().used()?.rss_kib;
    let connected = loader.order(&Order::Connect { server: broker.at, clients: most, at_once: AT_ONCE })?;
    sleep(QUIET).await;
    connections(&broker, most).await?;
    let all = broker.server().used()?.rss_kib;
    progress.step(&format!("a storm of {most} clients"));
    let storm = loader.order(&Order::Storm)?;
    connections(&broker, most).await?;
    sleep(QUIET).await;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (each, mib) = ((all as f64 - none as f64) / f64::from(most), |kib: u64| kib as f64 / 1024.0);
    Ok(Holding {
        idle_connection_kib: each,
        rss_none_mib: mib(none),
        rss_most_mib: mib(all),
        connect_seconds: connected.seconds,
        storm_seconds: storm.seconds,
        storm_tried_again: storm.tried_again,
        rss_after_storm_mib: mib(broker.server().used()?.rss_kib),
    })
}

/// The gateway itself says how many are connected, once those that vanished have been seen to be gone.
async fn connections(broker: &Broker, expected: u32) -> anyhow::Result<()> {
    until(broker, &format!("{expected} connections"), |metrics| {
        (scrape::sum(metrics, "lamppost_mqtt_connections") - f64::from(expected)).abs() < 0.5
    })
    .await
}

async fn until(broker: &Broker, what: &str, reached: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + SETTLE_MAX;
    while !broker.metrics().await?.is_some_and(|metrics| reached(&metrics)) {
        anyhow::ensure!(Instant::now() < deadline, "the gateway did not count {what} within {SETTLE_MAX:?}");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Memory under subscribers that don't read, under a flood of QoS 0, and while the journal has no room.
pub(super) async fn press(args: &MqttBench, dir: &Path, progress: &mut Progress) -> anyhow::Result<Pressed> {
    progress.step("subscribers that don't read");
    let (slow_subscribers, slow_subscribers_acks_per_s) = slow(args, dir).await?;
    progress.step("a flood of QoS 0");
    let (qos0_flood, qos0_events_per_s) = flood(args, dir).await?;
    progress.step("a journal without room");
    let full_journal = full(args, dir).await?;
    Ok(Pressed { slow_subscribers, slow_subscribers_acks_per_s, qos0_flood, qos0_events_per_s, full_journal })
}

async fn slow(args: &MqttBench, dir: &Path) -> anyhow::Result<(Memory, f64)> {
    let folder = tempfile::tempdir_in(dir)?;
    let broker = Broker::start(Kind::Lamppost, folder.path(), PUBLISHERS + SLEEPERS).await?;
    let mut loader = Loader::start()?;
    loader.order(&Order::Connect { server: broker.at, clients: PUBLISHERS + SLEEPERS, at_once: AT_ONCE })?;
    loader.order(&Order::SubscribeAndSleep { clients: SLEEPERS })?;
    let (window, event_bytes) = (args.window, args.event_bytes);
    let mut publish = |millis| loader.order(&Order::Publish { clients: PUBLISHERS, window, event_bytes, millis });
    // Until what is kept for those who don't read has found its end.
    let mut held = 0.0;
    for _ in 0..FILLS_MAX {
        publish(FILL_MS)?;
        let metrics = broker.metrics().await?.context("the gateway does not give its metrics")?;
        let now = scrape::sum(&metrics, "lamppost_mqtt_held_bytes{limit=\"fanout\"}");
        if now <= held {
            break;
        }
        held = now;
    }
    let before = rss_mib(&broker)?;
    let done = publish(args.seconds * 1000)?;
    #[expect(clippy::cast_precision_loss, reason = "a count below 2^53")]
    let rate = done.acknowledged as f64 / done.seconds;
    // What is on its way to subscribers, and what the publishers have under way.
    let limits = Limits::default();
    let under_way = PUBLISHERS as usize * usize::from(limits.window) * event_bytes as usize;
    Ok((memory(&broker, before, limits.fanout_bytes_max + under_way.min(limits.inflight_bytes_max))?, rate))
}

async fn flood(args: &MqttBench, dir: &Path) -> anyhow::Result<(Memory, f64)> {
    let folder = tempfile::tempdir_in(dir)?;
    let broker = Broker::start(Kind::Lamppost, folder.path(), PUBLISHERS).await?;
    let mut loader = Loader::start()?;
    loader.order(&Order::Connect { server: broker.at, clients: PUBLISHERS, at_once: AT_ONCE })?;
    let mut flood = |millis| {
        let event_bytes = args.event_bytes;
        loader.order(&Order::Flood { clients: PUBLISHERS, event_bytes, millis, finish: true })
    };
    let filled = flood(FILL_MS)?;
    let before = rss_mib(&broker)?;
    let started = Instant::now();
    let done = flood(args.seconds * 1000)?;
    let limits = Limits::default();
    let waiting = PUBLISHERS as usize * limits.unacknowledged_bytes_max;
    let memory = memory(&broker, before, waiting.min(limits.inflight_bytes_max))?;
    // None is dropped where the socket takes it: the gateway stops reading instead.
    #[expect(clippy::cast_precision_loss, reason = "a count below 2^53")]
    let (all, last) = ((filled.sent + done.sent) as f64, done.sent as f64);
    until(&broker, &format!("{all} QoS 0 events on disk"), |metrics| {
        scrape::sum(metrics, "lamppost_journal_stored_events") >= all
    })
    .await?;
    Ok((memory, last / started.elapsed().as_secs_f64()))
}

async fn full(args: &MqttBench, dir: &Path) -> anyhow::Result<Memory> {
    let folder = tempfile::tempdir_in(dir)?;
    let clients = args.most().min(1_000);
    let broker = Broker::start_without_room(folder.path(), clients).await?;
    let mut loader = Loader::start()?;
    loader.order(&Order::Connect { server: broker.at, clients, at_once: AT_ONCE })?;
    let mut flood = |millis| {
        let event_bytes = QOS0_WINDOW_BYTES;
        loader.order(&Order::Flood { clients, event_bytes, millis, finish: false })
    };
    flood(FILL_MS)?;
    until(&broker, "a stalled connection", |metrics| scrape::sum(metrics, "lamppost_mqtt_stalled") > 0.0).await?;
    let before = rss_mib(&broker)?;
    flood(args.seconds * 1000)?;
    // What waits for room, and what is begun behind it.
    let limits = Limits::default();
    memory(&broker, before, limits.inflight_bytes_max + limits.begun_bytes_max)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn memory(broker: &Broker, before_mib: f64, growth_bytes_max: usize) -> anyhow::Result<Memory> {
    let growth_max_mib = growth_bytes_max as f64 / f64::from(1 << 20);
    Ok(Memory { before_mib, after_mib: rss_mib(broker)?, growth_max_mib })
}

fn rss_mib(broker: &Broker) -> anyhow::Result<f64> {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    Ok(broker.server().used()?.rss_kib as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_by_more_than_its_limits_let_in_is_not_flat() {
        let memory = |after_mib| Memory { before_mib: 20.0, after_mib, growth_max_mib: 8.0 };
        assert!(memory(28.0).is_flat() && memory(12.0).is_flat());
        assert!(!memory(28.1).is_flat());
        let pressed = |full_journal| Pressed {
            slow_subscribers: memory(20.0),
            slow_subscribers_acks_per_s: 1.0,
            qos0_flood: memory(20.0),
            qos0_events_per_s: 1.0,
            full_journal,
        };
        assert!(pressed(memory(20.0)).is_flat() && !pressed(memory(30.0)).is_flat());
    }
}
