//! The forwarder against a real cluster, where one is given: what the mock can't do (creating topics, refusing by size and by time).
//!
//! `KAFKA_BOOTSTRAP=host:port cargo test -p lamppost-forward --test real -- --ignored --nocapture`

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what helps a test fails it by panicking")]

#[allow(dead_code, unreachable_pub, reason = "shared by the tests of this folder, none of which uses all")]
mod journal;

use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use journal::{Grave, Journal, Still, first_occurrences, read_topic};
use lamppost_event::{Clock, EventTime, GatewayId, Now, Outlet, WallTime};
use lamppost_forward::{DeadLetters, ForwardConfig, Forwarder};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use tokio::time::Instant;

const EVENTS: usize = 100_000;

/// A name that no earlier run has used.
fn fresh(what: &str) -> String {
    format!("{what}-{}-{:x}", std::process::id(), std::ptr::from_ref(&what) as usize & 0xf_ffff)
}

fn bootstrap() -> String {
    std::env::var("KAFKA_BOOTSTRAP").expect("KAFKA_BOOTSTRAP names a cluster")
}

/// The machine's own time: the cluster compares with its own.
struct Today;

impl Clock for Today {
    #[expect(clippy::disallowed_methods, reason = "a cluster that refuses by time has the machine's")]
    fn now(&self) -> Now {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Now { wall: WallTime(i64::try_from(since_1970.as_millis()).unwrap()), ..Still.now() }
    }
}

/// Forwards all of the journal, and says how long it took.
async fn forward(config: ForwardConfig, journal: &Arc<Journal>, grave: &Arc<Grave>) -> Duration {
    let outlet = Arc::clone(journal) as Arc<dyn Outlet>;
    let grave = Arc::clone(grave) as Arc<dyn DeadLetters>;
    let forwarder = Forwarder::new(config, outlet, Arc::new(Today), Some(grave)).unwrap();
    let counters = forwarder.counters();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(async move { forwarder.run(async move { drop(stopped.await) }).await.unwrap() });
    let mut began = Instant::now();
    for _ in 0..6000 {
        if counters.sent.load(Relaxed) == 0 {
            began = Instant::now();
        }
        if journal.is_done() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = began.elapsed();
    assert!(journal.is_done(), "not done within a minute: {counters:?}");
    drop(stop);
    assert_eq!(task.await.unwrap().events, 0);
    took
}

fn config() -> ForwardConfig {
    let mut config = ForwardConfig::new(GatewayId::new("post-17").unwrap(), &bootstrap());
    config.replication = NonZeroU8::new(1);
    config.commit_interval = Duration::from_millis(20);
    config
}

/// The same number of records by a bare producer, with as many headers.
fn bare(topic: &str) -> Duration {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", bootstrap()).set("enable.idempotence", "true").set("compression.codec", "zstd");
    client.set("linger.ms", "5").set("queue.buffering.max.messages", "0");
    let producer: ThreadedProducer<DefaultProducerContext> = client.create().unwrap();
    let began = Instant::now();
    for n in 0..EVENTS {
        let mut headers = OwnedHeaders::new_with_capacity(14);
        let id = format!("post-17/0000000000000abc/{topic}/0/{n}");
        headers = headers.insert(Header { key: "ce_id", value: Some(&id) });
        for key in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
            headers = headers.insert(Header { key, value: Some("some header's value") });
        }
        let (key, payload) = (format!("dev-{}", n % 20), format!("payload {n}"));
        let record = BaseRecord::to(topic).key(&key).payload(&payload).headers(headers);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real cluster: KAFKA_BOOTSTRAP"]
async fn a_topic_is_created_and_drained_into() {
    let (topic, journal) = (fresh("air"), Arc::new(Journal::default()));
    journal.fill(&topic, 20, EVENTS);
    let took = forward(config(), &journal, &Arc::default()).await;
    let seen = read_topic(&bootstrap(), &topic);
    assert_eq!(seen.len(), EVENTS, "nothing twice");
    assert_eq!(first_occurrences(&seen), journal.expected(&topic));
    let bare = bare(&topic);
    println!("{EVENTS} events: {took:?}, a bare producer: {bare:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real cluster: KAFKA_BOOTSTRAP"]
async fn what_the_brokers_refuse_for_its_size_is_found_and_buried() {
    let (topic, journal, grave) = (fresh("large"), Arc::new(Journal::default()), Arc::new(Grave::default()));
    journal.fill(&topic, 5, 500);
    // It passes librdkafka, and not the broker (message.max.bytes is 1,048,588 by default).
    journal.append(&topic, "dev-3", &vec![b'x'; 1_500_000]);
    journal.fill(&topic, 5, 500);
    let mut config = config();
    config.message_bytes_max = 2_000_000;
    config.compression = lamppost_forward::Compression::None;
    forward(config, &journal, &grave).await;
    assert_eq!(grave.0.lock().unwrap().len(), 1);
    let firsts = first_occurrences(&read_topic(&bootstrap(), &topic));
    assert_eq!(firsts.values().map(Vec::len).sum::<usize>(), 1000);
    assert!(firsts.values().all(|offsets| offsets.is_sorted()), "out of order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real cluster: KAFKA_BOOTSTRAP"]
async fn what_the_brokers_refuse_for_its_time_arrives_with_the_time_of_sending() {
    let (topic, journal, grave) = (fresh("old"), Arc::new(Journal::default()), Arc::new(Grave::default()));
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap()).create().unwrap();
    let new = NewTopic::new(&topic, 2, TopicReplication::Fixed(1))
        .set("message.timestamp.before.max.ms", "3600000")
        .set("message.timestamp.after.max.ms", "3600000");
    let created = admin.create_topics([&new], &AdminOptions::new()).await.unwrap();
    assert!(created.iter().all(Result::is_ok), "{created:?}");
    let now = Today.now();
    // Of another boot: within this one the monotonic clock would tell when it really was.
    let boot = lamppost_event::BootId(98);
    let received = |ms: i64| EventTime { wall: WallTime(now.wall.0 + ms), boot, ..EventTime::received(now, None) };
    let (day_ms, minute_ms) = (86_400_000, 60_000);
    for n in 0..90 {
        // Most are of now; some came ten days ago, and some by a clock that was ahead.
        let ms = if n % 30 == 7 {
            -10 * day_ms
        } else if n % 30 == 19 {
            10 * day_ms
        } else {
            -minute_ms
        };
        journal.append_with(&topic, &format!("dev-{}", n % 5), b"a reading", received(ms));
    }
    let took = forward(config(), &journal, &grave).await;
    assert_eq!(*grave.0.lock().unwrap(), []);
    let seen = read_topic(&bootstrap(), &topic);
    assert_eq!((seen.len(), first_occurrences(&seen)), (90, journal.expected(&topic)));
    let sent_again = seen.iter().filter(|record| record.headers["ce_clock"] == "forwarded");
    assert_eq!(sent_again.clone().count(), 6);
    for record in sent_again {
        assert!((record.timestamp - now.wall.0).abs() < minute_ms, "{} at {}", record.timestamp, now.wall.0);
    }
    println!("90 events, 6 of them refused for their time: {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real cluster: KAFKA_BOOTSTRAP"]
async fn a_backlog_whose_times_the_brokers_refuse_goes_about_as_fast_as_any() {
    const BACKLOG: usize = 20_000;
    let mut took = Vec::new();
    for (what, age_ms) in [("of-now", 60_000), ("ten-days-old", 10 * 86_400_000)] {
        let (topic, journal, grave) = (fresh(what), Arc::new(Journal::default()), Arc::new(Grave::default()));
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", bootstrap()).create().unwrap();
        let new =
            NewTopic::new(&topic, 2, TopicReplication::Fixed(1)).set("message.timestamp.before.max.ms", "3600000");
        let created = admin.create_topics([&new], &AdminOptions::new()).await.unwrap();
        assert!(created.iter().all(Result::is_ok), "{created:?}");
        let now = Today.now();
        for n in 0..BACKLOG {
            let wall = WallTime(now.wall.0 - age_ms + i64::try_from(n).unwrap());
            let time = EventTime { wall, boot: lamppost_event::BootId(98), ..EventTime::received(now, None) };
            journal.append_with(&topic, &format!("dev-{}", n % 5), b"a reading", time);
        }
        took.push(forward(config(), &journal, &grave).await);
        assert_eq!(*grave.0.lock().unwrap(), []);
        let seen = read_topic(&bootstrap(), &topic);
        assert_eq!((seen.len(), first_occurrences(&seen)), (BACKLOG, journal.expected(&topic)));
    }
    println!("{BACKLOG} events of now: {:?}; ten days old: {:?}", took[0], took[1]);
}
