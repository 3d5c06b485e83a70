//! Exactly once against librdkafka's mock cluster, which knows the requests of transactions and answers them with what it is told. It
//! keeps what was aborted and shows it to every reader, cursors too (what went in vain is then taken for there): that no event is *seen* twice is proved by the stories, on a real cluster.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what helps a test fails it by panicking"
)]

#[allow(dead_code, unreachable_pub, reason = "shared by the tests of this folder, none of which uses all")]
mod journal;
#[allow(dead_code, unreachable_pub, reason = "shared by the tests of this folder, none of which uses all")]
mod running;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use journal::{Grave, Journal, Still, first_occurrences, read_topic};
use lamppost_event::{Gap, JournalStopped, Outlet, Topic, Waiting, partition_of};
use lamppost_forward::{AuditTrail, DeadLetters, ForwardConfig, Forwarder};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use running::{Cluster, Running, cluster, exactly_once, until};
use tokio::sync::Semaphore;

const CURSORS: &str = "lamppost-cursors";

fn config(cluster: &Cluster) -> ForwardConfig {
    exactly_once(running::config(cluster))
}

/// What the newest cursor of each partition covers, from the bytes in the cluster.
fn next_in_cluster(cluster: &Cluster, topic: &str, partition: u16) -> u64 {
    next_in(cluster, CURSORS, topic, partition)
}

fn next_in(cluster: &Cluster, cursors: &str, topic: &str, partition: u16) -> u64 {
    let key = format!("post-17/forward/{topic}/{partition}").into_bytes();
    let records = journal::read_plain(&cluster.bootstrap_servers(), cursors);
    let last = records.into_iter().rfind(|(found, _)| *found == key);
    let Some((_, value)) = last else { return 0 };
    let value: serde_json::Value = serde_json::from_slice(&value).unwrap();
    assert_eq!(value["reached"][0]["epoch"], "0000000000000abc");
    value["reached"][0]["next"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_once_with_a_cursor_for_each_partition() {
    let cluster = cluster(&["air", "traffic", CURSORS]);
    let journal = Arc::new(Journal::default());
    journal.fill("air", 20, 3000);
    journal.append_gap("traffic", 1, 7);
    journal.fill("traffic", 3, 100);
    let running = Running::start(config(&cluster), &journal, None);
    let counters = Arc::clone(&running.counters);
    until("all cursors at their ends", || journal.is_done()).await;
    journal.append("air", "dev-late", b"grown later");
    until("the late one too", || journal.is_done()).await;
    let left = running.stop().await;
    assert_eq!((left.events, counters.rebuilds.load(Relaxed), counters.transactions_aborted.load(Relaxed)), (0, 0, 0));
    assert_eq!(counters.delivered.load(Relaxed), 3101);
    assert!(counters.transactions.load(Relaxed) > 1);
    for (topic, records) in [("air", 3001), ("traffic", 100)] {
        let seen = read_topic(&cluster.bootstrap_servers(), topic);
        assert_eq!((seen.len(), first_occurrences(&seen)), (records, journal.expected(topic)));
        for (partition, offsets) in journal.expected(topic) {
            assert_eq!(next_in_cluster(&cluster, topic, partition), offsets.last().unwrap() + 1, "{topic}/{partition}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_cluster_has_and_the_journal_does_not_know_is_not_sent_again() {
    let cluster = cluster(&["air", CURSORS]);
    let journal = Arc::new(Journal::default());
    journal.fill("air", 20, 1000);
    let running = Running::start(config(&cluster), &journal, None);
    until("all delivered", || journal.is_done()).await;
    running.stop().await;
    // Its cursors were on their way to the card when the power failed.
    journal.forget_cursors();
    journal.fill("air", 20, 500);
    let running = Running::start(config(&cluster), &journal, None);
    let counters = Arc::clone(&running.counters);
    until("all delivered", || journal.is_done()).await;
    running.stop().await;
    assert_eq!((counters.already_there.load(Relaxed), counters.delivered.load(Relaxed)), (1000, 500));
    let seen = read_topic(&cluster.bootstrap_servers(), "air");
    assert_eq!((seen.len(), first_occurrences(&seen)), (1500, journal.expected("air")));
}

/// Events of so many starts of the gateway, one of them in each partition.
fn fill_epochs(journal: &Journal, starts: usize) {
    for _ in 0..starts {
        journal.begin_epoch();
        journal.fill("air", 20, 20);
    }
}

/// Every event of the topic is in the cluster once, in order.
fn assert_once(cluster: &Cluster, journal: &Journal, topic: &str) {
    let seen = read_topic(&cluster.bootstrap_servers(), topic);
    let expected = journal.expected(topic);
    assert_eq!((seen.len(), first_occurrences(&seen)), (expected.values().map(Vec::len).sum(), expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_any_number_of_starts_without_the_cluster_nothing_is_sent_again_though_each_time_the_power_fails() {
    let cluster = cluster(&["air", CURSORS]);
    let journal = Arc::new(Journal::default());
    let mut config = config(&cluster);
    for (starts, linger_ms) in [(12, 500), (1, 20), (100, 500), (16, 20), (17, 500), (0, 20)] {
        // Many epochs in one transaction, or few.
        config.transaction_linger = Duration::from_millis(linger_ms);
        fill_epochs(&journal, starts);
        let running = Running::start(config.clone(), &journal, None);
        until("all delivered", || journal.is_done()).await;
        running.abort().await;
        // Of the journal's own cursors only those are left that were on the card.
        journal.crash();
    }
    assert_once(&cluster, &journal, "air");
    journal.begin_epoch();
    journal.fill("air", 20, 20);
    let running = Running::start(config, &journal, None);
    until("all delivered", || journal.is_done()).await;
    running.stop().await;
    assert_once(&cluster, &journal, "air");
    assert!(epochs_in_cluster(&cluster, "air", 0) <= 2, "what is passed on the card is forgotten");
}

/// How many epochs the newest cursor of a partition names.
fn epochs_in_cluster(cluster: &Cluster, topic: &str, partition: u16) -> usize {
    let key = format!("post-17/forward/{topic}/{partition}").into_bytes();
    let records = journal::read_plain(&cluster.bootstrap_servers(), CURSORS);
    let (_, value) = records.into_iter().rfind(|(found, _)| *found == key).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&value).unwrap();
    value["reached"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_epochs_are_sent_than_are_remembered_while_the_card_does_not_have_the_journals_cursors() {
    let cluster = cluster(&["air", CURSORS]);
    let journal = Arc::new(Journal::default());
    fill_epochs(&journal, 40);
    let card = Arc::new(Semaphore::new(1));
    *journal.card.lock().unwrap() = Some(Arc::clone(&card));
    let running = Running::start(config(&cluster), &journal, None);
    let counters = Arc::clone(&running.counters);
    until("what may be sent is committed", || journal.held() < 40 * 20 && journal.held() > 0).await;
    // Long enough for many transactions.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let sent = counters.sent.load(Relaxed);
    assert!(sent > 2 * 20 && sent <= 16 * 20, "{sent} events of 40 starts");
    assert_eq!(counters.delivered.load(Relaxed), sent);
    // A stop is not kept waiting by the card.
    running.stop().await;
    journal.crash();
    *journal.card.lock().unwrap() = None;
    let running = Running::start(config(&cluster), &journal, None);
    let counters = Arc::clone(&running.counters);
    until("all delivered", || journal.is_done()).await;
    running.stop().await;
    assert_eq!(counters.already_there.load(Relaxed), sent);
    assert_once(&cluster, &journal, "air");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_fails_is_aborted_and_tried_again_in_order() {
    use RDKafkaRespErr::*;
    let cluster = cluster(&["air", CURSORS]);
    let journal = Arc::new(Journal::default());
    journal.fill("air", 20, 200);
    let running = Running::start(config(&cluster), &journal, None);
    let counters = Arc::clone(&running.counters);
    until("a first one is through", || journal.is_done()).await;
    cluster.request_errors(
        RDKafkaApiKey::AddPartitionsToTxn,
        &[RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS],
    );
    journal.fill("air", 20, 1000);
    until("all delivered", || journal.is_done()).await;
    cluster.request_errors(RDKafkaApiKey::Produce, &[RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH]);
    journal.fill("air", 20, 1000);
    until("all delivered", || journal.is_done()).await;
    running.stop().await;
    assert!(counters.transactions_aborted.load(Relaxed) > 0);
    let seen = read_topic(&cluster.bootstrap_servers(), "air");
    assert_eq!(first_occurrences(&seen), journal.expected("air"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fatal_error_builds_the_producer_anew_and_the_cluster_is_asked_how_far_it_is() {
    use RDKafkaRespErr::*;
    let cluster = cluster(&["air", CURSORS]);
    let journal = Arc::new(Journal::default());
    journal.fill("air", 20, 200);
    let running = Running::start(config(&cluster), &journal, None);
    let counters = Arc::clone(&running.counters);
    until("a first one is through", || journal.is_done()).await;
    cluster.request_errors(RDKafkaApiKey::EndTxn, &[RD_KAFKA_RESP_ERR_PRODUCER_FENCED]);
    journal.fill("air", 20, 1000);
    until("all delivered", || journal.is_done()).await;
    assert!(counters.rebuilds.load(Relaxed) > 0);
    assert!(!counters.fenced.load(Relaxed), "nobody else's name is there: it goes on");
    running.stop().await;
    let seen = read_topic(&cluster.bootstrap_servers(), "air");
    assert_eq!(first_occurrences(&seen), journal.expected("air"));
}

/// Its sequence numbers may be others than the brokers'.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_delivery_that_no_broker_has_acknowledged_the_producer_goes_also_long_before_the_commit() {
    let cluster = cluster(&["air", CURSORS]);
    let journal = Arc::new(Journal::default());
    journal.fill("air", 20, 200);
    let mut config = config(&cluster);
    // The report is there before the transaction ends.
    config.transaction_linger = Duration::from_secs(2);
    let running = Running::start(config, &journal, None);
    let counters = Arc::clone(&running.counters);
    until("a first one is through", || journal.is_done()).await;
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER]);
    journal.append("air", "dev-0", b"taken for delivered");
    until("all delivered", || journal.is_done()).await;
    running.stop().await;
    assert_eq!((counters.rebuilds.load(Relaxed), counters.transactions_aborted.load(Relaxed)), (1, 1));
    assert_once(&cluster, &journal, "air");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_too_large_is_buried_and_no_cursor_covers_what_is_behind_it_before() {
    let cluster = cluster(&["air", CURSORS]);
    let journal = Arc::new(Journal::default());
    journal.fill("air", 4, 100);
    journal.append("air", "dev-1", &[b'x'; 20_000]);
    journal.fill("air", 4, 100);
    let mut config = config(&cluster);
    config.message_bytes_max = 10_000;
    let grave = Arc::new(Grave::default());
    let running = Running::start(config, &journal, Some(Arc::clone(&grave) as Arc<dyn DeadLetters>));
    let counters = Arc::clone(&running.counters);
    until("all done", || journal.is_done()).await;
    running.stop().await;
    assert_eq!(grave.0.lock().unwrap().len(), 1);
    assert_eq!((counters.poison.load(Relaxed), counters.delivered.load(Relaxed)), (1, 200));
    assert_eq!(read_topic(&cluster.bootstrap_servers(), "air").len(), 200);
    let partition = partition_of(b"dev-1", journal::PARTITIONS).0;
    let last = *journal.expected("air")[&partition].last().unwrap();
    assert_eq!(next_in_cluster(&cluster, "air", partition), last + 1);
}

/// Tells of a gap once it may.
struct Slow(Semaphore);

impl AuditTrail for Slow {
    fn tell(&self, _: Gap) -> Waiting<'_, Result<bool, JournalStopped>> {
        Box::pin(async { Ok(self.0.acquire().await.is_ok()) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_behind_a_gap_before_it_is_told_since_no_cursor_could_cover_it() {
    let cluster = cluster(&["air", CURSORS]);
    let journal = Arc::new(Journal::default());
    let partition = partition_of(b"dev-0", journal::PARTITIONS).0;
    journal.fill("air", 1, 50);
    journal.append_gap("air", partition, 7);
    journal.fill("air", 1, 50);
    let trail = Arc::new(Slow(Semaphore::new(0)));
    let outlet = Arc::clone(&journal) as Arc<dyn Outlet>;
    let forwarder = Forwarder::new(config(&cluster), outlet, Arc::new(Still), None).unwrap();
    let running = Running::launch(forwarder.with_trail(Arc::clone(&trail) as Arc<dyn AuditTrail>));
    let counters = Arc::clone(&running.counters);
    until("what is before it is through", || journal.cursor("air", partition) == 50).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(counters.sent.load(Relaxed), 50);
    assert_eq!(next_in_cluster(&cluster, "air", partition), 50);
    trail.0.add_permits(1);
    until("all delivered", || journal.is_done()).await;
    running.stop().await;
    assert_eq!(counters.sent.load(Relaxed), 100);
    assert_eq!(next_in_cluster(&cluster, "air", partition), 107);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_missing_waits_alone_and_then_goes_in_transactions_of_its_own() {
    let cluster = cluster(&["traffic", CURSORS]);
    let journal = Arc::new(Journal::default());
    journal.fill("air", 5, 300);
    journal.fill("traffic", 5, 300);
    let mut config = config(&cluster);
    config.create_topics = false;
    let running = Running::start(config, &journal, None);
    let counters = Arc::clone(&running.counters);
    until("the other delivered", || counters.delivered.load(Relaxed) == 300).await;
    assert!(counters.paused_reason().unwrap().contains("topic air"));
    cluster.create_topic("air", 4, 3).unwrap();
    until("all delivered", || journal.is_done()).await;
    running.stop().await;
    let seen = read_topic(&cluster.bootstrap_servers(), "air");
    assert_eq!((seen.len(), first_occurrences(&seen)), (300, journal.expected("air")));
    assert_eq!(counters.delivered.load(Relaxed), 600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newer_of_two_goes_on_and_the_older_stands_by_until_the_newer_is_silent() {
    let cluster = cluster(&["air", CURSORS]);
    let (one, other) = (Arc::new(Journal::default()), Arc::new(Journal::default()));
    for journal in [&one, &other] {
        journal.fill("air", 20, 100);
    }
    let mut config = config(&cluster);
    config.fenced_wait = Duration::from_secs(2);
    let older = Running::start(config.clone(), &one, None);
    until("the older has delivered", || one.is_done()).await;
    let newer = Running::start(config, &other, None);
    until("the newer knows that all is there", || other.is_done()).await;
    assert_eq!(newer.counters.already_there.load(Relaxed), 100);
    for journal in [&one, &other] {
        journal.fill("air", 20, 100);
    }
    // The mock does not fence by itself: it says to the older what a real one would.
    cluster.request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_PRODUCER_FENCED; 2]);
    let says = |why: String| why.contains("another process forwards as gateway \"post-17\"");
    until("the older stands by, and says so", || older.counters.paused_reason().is_some_and(says)).await;
    assert!(older.counters.fenced.load(Relaxed));
    assert!(!newer.counters.fenced.load(Relaxed));
    until("the newer goes on", || other.is_done()).await;
    newer.stop().await;
    until("the older is back after a while of silence", || one.is_done()).await;
    assert!(!older.counters.fenced.load(Relaxed));
    older.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_cluster_answers_all_arrives_in_order_and_the_cursors_end_where_the_events_do() {
    use RDKafkaRespErr::*;
    const ANSWERS: [RDKafkaRespErr; 12] = [
        RD_KAFKA_RESP_ERR_NO_ERROR,
        RD_KAFKA_RESP_ERR_NO_ERROR,
        RD_KAFKA_RESP_ERR_NO_ERROR,
        RD_KAFKA_RESP_ERR__TRANSPORT,
        RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
        RD_KAFKA_RESP_ERR_INVALID_TXN_STATE,
        RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
        RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
        RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    ];
    let seed = std::env::var("LAMPPOST_SEED").ok().and_then(|seed| seed.parse::<u64>().ok()).unwrap_or(11);
    println!("LAMPPOST_SEED={seed}");
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % bound as u64) as usize
    };
    let cluster = cluster(&["air"]);
    let journal = Arc::new(Journal::default());
    let mut config = config(&cluster);
    // What is sent is answered before the cursors are, and goes in one batch a partition: the mock would show the cursors of a transaction whose
    // events it refused, and what is behind a batch that it refused.
    config.transaction_linger = Duration::from_secs(2);
    config.linger = Duration::from_millis(300);
    let fill = |events: usize| {
        (0..events).for_each(|n| journal.append_quietly("air", &format!("dev-{}", n % 20), b"payload"));
        journal.wake();
    };
    for round in 0..3 {
        config.cursors_topic = put_right(&cluster, &journal, round);
        let running = Running::start(config.clone(), &journal, None);
        fill(100);
        until("it has begun", || journal.is_done()).await;
        for api in [RDKafkaApiKey::AddPartitionsToTxn, RDKafkaApiKey::EndTxn, RDKafkaApiKey::Produce] {
            let answers: Vec<RDKafkaRespErr> = (0..4).map(|_| ANSWERS[next(ANSWERS.len())]).collect();
            cluster.request_errors(api, &answers);
        }
        fill(500);
        // It is stopped before its transaction ends, or after.
        tokio::time::sleep(Duration::from_millis(200 + next(3500) as u64)).await;
        running.stop().await;
    }
    for api in [RDKafkaApiKey::AddPartitionsToTxn, RDKafkaApiKey::EndTxn, RDKafkaApiKey::Produce] {
        cluster.clear_request_errors(api);
    }
    config.cursors_topic = put_right(&cluster, &journal, 3);
    let running = Running::start(config.clone(), &journal, None);
    until("all delivered", || journal.is_done()).await;
    running.stop().await;
    let seen = read_topic(&cluster.bootstrap_servers(), "air");
    assert_eq!(first_occurrences(&seen), journal.expected("air"));
    for (partition, offsets) in journal.expected("air") {
        let next = next_in(&cluster, config.cursors_topic.as_str(), "air", partition);
        assert_eq!(next, offsets.last().unwrap() + 1);
    }
}

/// A topic with the cursors that a real cluster would show after a stop: none beyond what it has. The mock shows those as well that went in
/// vain with a transaction of which it refused the events.
fn put_right(cluster: &Cluster, journal: &Journal, round: u32) -> Topic {
    let topic = Topic::new(&format!("{CURSORS}-{round}")).unwrap();
    cluster.create_topic(topic.as_str(), i32::from(journal::PARTITIONS), 3).unwrap();
    let ours = i32::from(partition_of(b"post-17", journal::PARTITIONS).0);
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", cluster.bootstrap_servers());
    let producer: BaseProducer = client.create().unwrap();
    for (partition, offsets) in first_occurrences(&read_topic(&cluster.bootstrap_servers(), "air")) {
        assert!(offsets.iter().copied().eq(0..offsets.len() as u64), "{partition}: {offsets:?}");
        assert!(journal.cursor("air", partition) <= offsets.len() as u64, "the journal's cursor never leads");
        let key = format!("post-17/forward/air/{partition}");
        let value = format!(r#"{{"reached":[{{"epoch":"0000000000000abc","next":{}}}]}}"#, offsets.len());
        let record = BaseRecord::to(topic.as_str()).partition(ours).key(&key).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
    topic
}
