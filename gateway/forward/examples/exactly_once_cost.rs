//! What exactly-once costs over at-least-once, on a real cluster, in one run: the drain of a backlog, and the way of single events to a
//! consumer of committed records.
//!
//! `KAFKA_BOOTSTRAP=host:port,… cargo run --release -p lamppost-forward --example exactly_once_cost [EVENTS]`
//!
//! Prints one line of JSON; ratios are exactly-once over at-least-once.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    reason = "a measurement ends where it fails, and prints"
)]

#[path = "../tests/journal/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests, uses a part")]
mod journal;

use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use journal::{Journal, Still};
use lamppost_event::{GatewayId, Outlet};
use lamppost_forward::{Delivery, ForwardConfig, Forwarder};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

const ROUNDS: usize = 3;
const RATE: u32 = 1000;
const PACED_S: u32 = 20;
const PAYLOAD: &str = r#"{"pm2_5":12.4,"pm10":20.1,"temperature":21.5,"humidity":48.0,"pressure":1013.2,"battery":3.71,"rssi":-67,"uptime":123456,"firmware":"1.4.2"}"#;

fn config(delivery: Delivery, n: usize) -> ForwardConfig {
    let bootstrap = std::env::var("KAFKA_BOOTSTRAP").expect("KAFKA_BOOTSTRAP names a cluster");
    let mut config =
        ForwardConfig::new(GatewayId::new(&format!("cost-{}-{n}", std::process::id())).unwrap(), &bootstrap);
    config.delivery = delivery;
    config.replication = NonZeroU8::new(3);
    config.commit_interval = Duration::from_millis(100);
    config
}

struct Run {
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Run {
    fn start(config: ForwardConfig, journal: &Arc<Journal>) -> Self {
        let forwarder = Forwarder::new(config, Arc::clone(journal) as Arc<dyn Outlet>, Arc::new(Still), None).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let left = forwarder.run(async move { drop(stopped.await) }).await.unwrap();
            assert_eq!(left.events, 0);
        });
        Self { stop, task }
    }

    async fn stop(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }
}

async fn done(journal: &Journal) {
    while !journal.is_done() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Events a second over a backlog, the start of the producer and a first event left out.
async fn drain(delivery: Delivery, n: usize, events: usize) -> f64 {
    let (journal, topic) = (Arc::new(Journal::default()), format!("cost-drain-{}-{n}", std::process::id()));
    journal.append(&topic, "dev-0", PAYLOAD.as_bytes());
    let run = Run::start(config(delivery, n), &journal);
    done(&journal).await;
    for n in 0..events {
        journal.append_quietly(&topic, &format!("dev-{}", n % 50), PAYLOAD.as_bytes());
    }
    let began = Instant::now();
    journal.wake();
    done(&journal).await;
    let took = began.elapsed();
    run.stop().await;
    events as f64 / took.as_secs_f64()
}

/// Milliseconds from the journal to a consumer of committed records, sorted.
async fn paced(delivery: Delivery, n: usize) -> Vec<f64> {
    let (journal, topic) = (Arc::new(Journal::default()), format!("cost-paced-{}-{n}", std::process::id()));
    let config = config(delivery, n);
    let bootstrap = config.bootstrap.clone();
    let run = Run::start(config, &journal);
    journal.append(&topic, "dev-0", b"first");
    done(&journal).await;
    let (zero, over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let reader = {
        let over = Arc::clone(&over);
        tokio::task::spawn_blocking(move || read_paced(&bootstrap, &topic, zero, &over))
    };
    let topic = format!("cost-paced-{}-{n}", std::process::id());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..PACED_S * 100 {
        tick.tick().await;
        for n in 0..RATE / 100 {
            let text = format!("{} {PAYLOAD}", zero.elapsed().as_micros());
            journal.append(&topic, &format!("dev-{n}"), text.as_bytes());
        }
    }
    done(&journal).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    over.store(true, Relaxed);
    let mut took = reader.await.unwrap();
    run.stop().await;
    took.sort_by(f64::total_cmp);
    assert_eq!(took.len(), (RATE * PACED_S) as usize, "each event once");
    took
}

fn read_paced(bootstrap: &str, topic: &str, zero: Instant, over: &AtomicBool) -> Vec<f64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "cost")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "10")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..i32::from(journal::PARTITIONS) {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut took = Vec::new();
    while !over.load(Relaxed) {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let text = std::str::from_utf8(message.payload().unwrap()).unwrap();
        if let Some(sent) = text.split_once(' ').and_then(|(sent, _)| sent.parse::<u128>().ok()) {
            took.push((zero.elapsed().as_micros() - sent) as f64 / 1000.0);
        }
    }
    took
}

fn percentile(sorted: &[f64], part: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let events = std::env::args().nth(1).map_or(200_000, |events| events.parse().unwrap());
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for (mode, delivery) in [Delivery::AtLeastOnce, Delivery::ExactlyOnce].into_iter().enumerate() {
            let rate = drain(delivery, 2 * round + mode, events).await;
            eprintln!("drain, {delivery:?}: {rate:.0} events/s");
            rates[mode].push(rate);
        }
    }
    for rates in &mut rates {
        rates.sort_by(f64::total_cmp);
    }
    let [at_least, exactly] = rates.map(|rates| rates[ROUNDS / 2]);
    let [least, once] =
        [paced(Delivery::AtLeastOnce, 2 * ROUNDS).await, paced(Delivery::ExactlyOnce, 2 * ROUNDS + 1).await];
    println!(
        "{}",
        serde_json::json!({
            "events": events,
            "at_least_once_events_per_s": at_least.round(),
            "exactly_once_events_per_s": exactly.round(),
            "exactly_once_ratio": exactly / at_least,
            "paced_events_per_s": RATE,
            "at_least_once_e2e_ms": {"p50": percentile(&least, 0.5), "p99": percentile(&least, 0.99)},
            "exactly_once_e2e_ms": {"p50": percentile(&once, 0.5), "p99": percentile(&once, 0.99)},
            "transaction_linger_ms": 150,
        })
    );
}
