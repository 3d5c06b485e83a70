//! The bare producer beside the gateway: librdkafka with the gateway's own properties and the same records, made in memory, in a
//! process of its own. No journal, no cursors, nothing to go on from: what is lost with it is lost.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use lamppost_event::{header, partition_of};
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::record;
use crate::bench::process;

const FLUSH_MAX: Duration = Duration::from_secs(600);
/// How long the queue is given to drain before it is tried again: as short as makes no difference.
const FULL_PAUSE: Duration = Duration::from_micros(200);

/// What the bare producer is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) properties: BTreeMap<String, String>,
    pub(super) topic: String,
    pub(super) partitions: u16,
    pub(super) events: u64,
    pub(super) event_bytes: u32,
    /// The time that its records bear, ms since 1970.
    pub(super) time_ms: i64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) events_per_s: f64,
    pub(super) cpu_us_per_event: f64,
    pub(super) peak_rss_kib: u64,
}

/// Does it in another process.
pub(super) fn run(order: &Order) -> anyhow::Result<Done> {
    let mut child = Command::new(std::env::current_exe().context("where is this program?")?)
        .args(["bench", "bare"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("the bare producer can't be started")?;
    let mut orders = child.stdin.take().context("the bare producer has no standard input")?;
    writeln!(orders, "{}", serde_json::to_string(order)?)?;
    drop(orders);
    let said = child.wait_with_output()?;
    anyhow::ensure!(said.status.success(), "the bare producer ended with {}", said.status);
    Ok(serde_json::from_slice(&said.stdout)?)
}

/// The other process: one order on standard input, one answer on standard output.
pub(crate) fn serve(out: &mut impl Write) -> anyhow::Result<()> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let done = produce(&serde_json::from_str(&line)?)?;
    writeln!(out, "{}", serde_json::to_string(&done)?)?;
    Ok(())
}

/// Counts what was delivered.
#[derive(Default)]
pub(super) struct Counted {
    delivered: Arc<AtomicU64>,
}

impl ClientContext for Counted {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}
}

impl ProducerContext for Counted {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_ok() {
            self.delivered.fetch_add(1, Relaxed);
        }
    }
}

/// A producer of the bare kind.
pub(super) struct Bare {
    producer: ThreadedProducer<Counted>,
    delivered: Arc<AtomicU64>,
    topic: String,
    partitions: u16,
    key: String,
    id: String,
    time: String,
}

impl Bare {
    pub(super) fn new(properties: &BTreeMap<String, String>, topic: &str, partitions: u16) -> anyhow::Result<Self> {
        let mut client = ClientConfig::new();
        properties.iter().for_each(|(key, value)| {
            client.set(key, value);
        });
        let counted = Counted::default();
        let delivered = Arc::clone(&counted.delivered);
        let producer = client.create_with_context(counted)?;
        let (key, id, time) = Default::default();
        Ok(Self { producer, delivered, topic: topic.to_owned(), partitions, key, id, time })
    }

    /// Hands the `n`th event over; waits while the queue is full.
    pub(super) fn send(&mut self, n: u64, payload: &str, time_ms: i64) -> anyhow::Result<()> {
        let Self { producer, topic, partitions, key, id, time, .. } = self;
        record::device(n, key);
        let partition = partition_of(key.as_bytes(), *partitions);
        id.clear();
        write!(id, "{}/0123456789abcdef/{topic}/{partition}/{n}", record::GATEWAY)?;
        time.clear();
        write!(time, "2026-01-01T00:00:{:02}.{:03}Z", n / 1000 % 60, n % 1000)?;
        let address = record::address(n);
        let mut headers = OwnedHeaders::new_with_capacity(8);
        for (name, value) in [
            (header::SPEC_VERSION, "1.0"),
            (header::ID, id.as_str()),
            (header::SOURCE, "/lamppost/bench/mqtt"),
            (header::TYPE, header::EVENT_TYPE),
            (header::SUBJECT, &address),
            (header::TIME, time.as_str()),
            (header::DEVICE, key.as_str()),
            (header::CLOCK, "synced"),
        ] {
            headers = headers.insert(Header { key: name, value: Some(value) });
        }
        let to = BaseRecord::to(topic).partition(i32::from(partition.0)).timestamp(time_ms);
        let mut record = to.key(key.as_str()).payload(payload).headers(headers);
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                    record = back;
                    std::thread::sleep(FULL_PAUSE);
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    /// Waits until so many are delivered in all.
    pub(super) fn delivered(&self, events: u64) -> anyhow::Result<()> {
        self.producer.flush(FLUSH_MAX)?;
        let delivered = self.delivered.load(Relaxed);
        anyhow::ensure!(delivered == events, "the bare producer delivered {delivered} of {events} events");
        Ok(())
    }
}

fn produce(order: &Order) -> anyhow::Result<Done> {
    let mut bare = Bare::new(&order.properties, &order.topic, order.partitions)?;
    let payloads = record::Payloads::new(order.events, order.event_bytes);
    // Connected and told of the topic before the clock runs.
    bare.send(0, payloads.of(0), order.time_ms)?;
    bare.delivered(1)?;
    let (began, cpu_before) = (Instant::now(), process::cpu());
    for n in 0..order.events {
        bare.send(n, payloads.of(n), order.time_ms)?;
    }
    bare.delivered(order.events + 1)?;
    let (took, cpu) = (began.elapsed(), process::cpu().saturating_sub(cpu_before));
    #[expect(clippy::cast_precision_loss, reason = "a count below 2^53")]
    let events = order.events as f64;
    Ok(Done {
        events_per_s: events / took.as_secs_f64(),
        cpu_us_per_event: cpu.as_secs_f64() * 1e6 / events,
        peak_rss_kib: process::own_peak_rss_kib()?,
    })
}
