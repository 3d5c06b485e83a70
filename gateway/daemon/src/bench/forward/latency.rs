//! From the sender to a consumer: events at a steady pace, by MQTT through the gateway and by a bare producer, one after the other.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use bytes::BytesMut;
use hdrhistogram::Histogram;
use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Publish;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::bare::Bare;
use super::{configuration, record};
use crate::bench::load;
use crate::bench::process::{Gateway, free_port};

const CONNECTIONS: u32 = 10;
/// How long the last events may take.
const LAST_MAX: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(1);

/// How many events, and how fast.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) events_per_s: u32,
    /// What is measured; a second and a half come before.
    pub(super) seconds: u32,
    pub(super) event_bytes: u32,
}

impl Pace {
    fn warm_up(self) -> u64 {
        u64::from(self.events_per_s) * 3 / 2
    }

    fn events(self) -> u64 {
        self.warm_up() + u64::from(self.events_per_s) * u64::from(self.seconds)
    }
}

/// Milliseconds from sender to consumer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latency {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// When each event was sent, and how long it took: microseconds since `began`.
struct Times {
    began: Instant,
    sent: Vec<AtomicU64>,
}

impl Times {
    fn new(pace: Pace) -> Arc<Self> {
        let sent = (0..pace.events()).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { began: Instant::now(), sent })
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn send(&self, n: u64) {
        if let Some(sent) = usize::try_from(n).ok().and_then(|n| self.sent.get(n)) {
            sent.store(self.now_us().max(1), Relaxed);
        }
    }

    /// How long it took; `None`: it was not sent, or is counted already.
    fn arrive(&self, n: u64) -> Option<u64> {
        let sent = self.sent.get(usize::try_from(n).ok()?)?.swap(0, Relaxed);
        (sent > 0).then(|| self.now_us().saturating_sub(sent))
    }
}

/// A consumer in a thread of its own, from the topic's beginning on.
struct Reader {
    thread: JoinHandle<anyhow::Result<Histogram<u64>>>,
    seen: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Reader {
    fn start(bootstrap: &str, topic: &str, partitions: u16, pace: Pace, times: &Arc<Times>) -> anyhow::Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "lamppost-bench")
            .set("enable.auto.commit", "false")
            .set("log_level", "2")
            .create()?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, i32::from(partition), Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        let (seen, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (times, told, stopped) = (Arc::clone(times), Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut latency_us = Histogram::new(3)?;
            while !stopped.load(Relaxed) {
                let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
                let message = message.context("the cluster can't be read")?;
                let number = message.payload().and_then(record::number).context("a record that was not sent")?;
                let Some(took) = times.arrive(number) else { continue };
                told.fetch_add(1, Relaxed);
                if number >= pace.warm_up() {
                    latency_us.record(took.max(1))?;
                }
            }
            anyhow::Ok(latency_us)
        });
        Ok(Self { thread, seen, stop })
    }

    /// Waits for all events.
    async fn end(self, pace: Pace) -> anyhow::Result<Latency> {
        let deadline = Instant::now() + LAST_MAX;
        while self.seen.load(Relaxed) < pace.events() && Instant::now() < deadline && !self.thread.is_finished() {
            sleep(Duration::from_millis(20)).await;
        }
        self.stop.store(true, Relaxed);
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await?;
        let latency_us = joined.map_err(|_| anyhow::anyhow!("the consumer panicked"))??;
        let seen = self.seen.load(Relaxed);
        anyhow::ensure!(seen == pace.events(), "the consumer saw {seen} of {} events", pace.events());
        #[expect(clippy::cast_precision_loss, reason = "a time below a minute")]
        let ms = |quantile| latency_us.value_at_quantile(quantile) as f64 / 1000.0;
        Ok(Latency { p50_ms: ms(0.5), p99_ms: ms(0.99) })
    }
}

/// Where to, for both.
pub(super) struct To<'a> {
    pub(super) bootstrap: &'a str,
    pub(super) topic: &'a str,
    pub(super) partitions: u16,
}

/// By MQTT, through the gateway.
pub(super) async fn gateway(
    dir: &Path,
    text: &configuration::Text,
    mqtt: std::net::SocketAddr,
    to: &To<'_>,
    pace: Pace,
) -> anyhow::Result<Latency> {
    let http = free_port()?;
    let mut gateway = Gateway::start(dir, &text.with_http(http), http)?;
    gateway.ready().await?;
    let times = Times::new(pace);
    let reader = Reader::start(to.bootstrap, to.topic, to.partitions, pace, &times)?;
    let mut writers = Vec::new();
    for n in 0..CONNECTIONS {
        let (mut acks, writer) = load::connect(mqtt, n).await?.into_split();
        // What is acknowledged is not looked at: what counts is that it arrives.
        tokio::spawn(async move {
            let mut bin = vec![0; 4096];
            while acks.read(&mut bin).await.is_ok_and(|read| read > 0) {}
        });
        writers.push(writer);
    }
    let (mut out, mut payload) = (BytesMut::new(), String::new());
    let mut ticks = Ticks::new(pace);
    while let Some(due) = ticks.next().await {
        for n in due {
            record::payload(n, pace.event_bytes, &mut payload);
            let mut publish = Publish::new(record::address(n), QoS::AtLeastOnce, payload.as_bytes());
            publish.pkid = u16::try_from(n / u64::from(CONNECTIONS) % 60_000).unwrap_or(0) + 1;
            out.clear();
            publish.write(&mut out)?;
            times.send(n);
            let at = usize::try_from(n % u64::from(CONNECTIONS))?;
            writers.get_mut(at).context("no such connection")?.write_all(&out).await?;
        }
    }
    reader.end(pace).await
}

/// By a bare producer with the same properties.
pub(super) async fn bare(mut bare: Bare, to: &To<'_>, pace: Pace, time_ms: i64) -> anyhow::Result<Latency> {
    let times = Times::new(pace);
    let reader = Reader::start(to.bootstrap, to.topic, to.partitions, pace, &times)?;
    let (mut ticks, mut payload) = (Ticks::new(pace), String::new());
    while let Some(due) = ticks.next().await {
        for n in due {
            record::payload(n, pace.event_bytes, &mut payload);
            times.send(n);
            bare.send(n, &payload, time_ms)?;
        }
    }
    reader.end(pace).await
}

/// Which events are due, tick by tick.
struct Ticks {
    interval: tokio::time::Interval,
    began: Instant,
    next: u64,
    pace: Pace,
}

impl Ticks {
    fn new(pace: Pace) -> Self {
        let mut interval = interval(TICK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self { interval, began: Instant::now(), next: 0, pace }
    }

    async fn next(&mut self) -> Option<std::ops::Range<u64>> {
        if self.next >= self.pace.events() {
            return None;
        }
        self.interval.tick().await;
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = (ms * u64::from(self.pace.events_per_s) / 1000).min(self.pace.events());
        let range = self.next..due.max(self.next);
        self.next = range.end;
        Some(range)
    }
}
