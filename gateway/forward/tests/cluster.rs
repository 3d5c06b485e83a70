//! The forwarder against librdkafka's mock cluster of three brokers.

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

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use journal::{Grave, Journal, PARTITIONS, Still, first_occurrences, read_topic};
use lamppost_event::{BootId, Clock, ClockQuality, EventTime, GatewayId, Monotonic, Now, WallTime, partition_of};
use lamppost_forward::{Compression, DeadLetters, ForwardConfig, ForwardConfigError, Forwarder};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use running::{Cluster, Running, cluster, config, until};

/// A clock that is set in the middle.
struct Late(AtomicBool);

impl Clock for Late {
    fn now(&self) -> Now {
        let quality = if self.0.load(Relaxed) { ClockQuality::Synced } else { ClockQuality::Unset };
        Now { quality, ..Still.now() }
    }
}

fn assert_all_in_order(cluster: &Cluster, journal: &Journal, topic: &str) -> usize {
    let seen = read_topic(&cluster.bootstrap_servers(), topic);
    assert_eq!(first_occurrences(&seen), journal.expected(topic));
    seen.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_once_in_order_with_its_headers() {
    let cluster = cluster(&["air", "traffic"]);
    let journal = Arc::new(Journal::default());
    journal.fill("air", 20, 5000);
    journal.append_gap("traffic", 1, 7);
    journal.fill("traffic", 3, 100);
    let running = Running::start(config(&cluster), &journal, None);
    let counters = Arc::clone(&running.counters);
    until("all cursors at their ends", || journal.is_done()).await;
    until("caught up", || counters.caught_up.load(Relaxed)).await;
    journal.append("air", "dev-late", b"grown later");
    until("the late one too", || journal.is_done()).await;
    let left = running.stop().await;
    assert_eq!((left.events, left.caught_up), (0, true));

    assert_eq!(assert_all_in_order(&cluster, &journal, "air"), 5001, "nothing twice");
    assert_eq!(assert_all_in_order(&cluster, &journal, "traffic"), 100);
    assert_eq!((counters.gaps.load(Relaxed), counters.gap_events.load(Relaxed)), (1, 7));
    assert_eq!((counters.sent.load(Relaxed), counters.delivered.load(Relaxed)), (5101, 5101));
    assert_eq!(counters.rebuilds.load(Relaxed), 0);
    assert!(counters.connected.load(Relaxed) && counters.last_delivery().is_some());

    for record in read_topic(&cluster.bootstrap_servers(), "air") {
        assert_eq!(record.partition, i32::from(partition_of(&record.key, PARTITIONS).0));
        let (partition, offset) = record.place();
        assert_eq!(record.headers["ce_id"], format!("post-17/0000000000000abc/air/{partition}/{offset}"));
        assert_eq!(record.headers["ce_device"].as_bytes(), record.key);
        assert_eq!(record.headers["ce_senderboot"], "1");
        assert_eq!(
            (record.headers["ce_time"].as_str(), record.timestamp),
            ("2023-11-14T22:13:20.000Z", 1_700_000_000_000)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_go_and_come_back_lose_nothing() {
    let cluster = cluster(&["air"]);
    let journal = Arc::new(Journal::default());
    journal.fill("air", 20, 2000);
    let running = Running::start(config(&cluster), &journal, None);
    let counters = Arc::clone(&running.counters);
    until("some delivered", || counters.delivered.load(Relaxed) > 0).await;
    cluster.broker_down(-1).unwrap();
    journal.fill("air", 20, 8000);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!journal.is_done());
    let bound = config(&cluster).in_flight_bytes_max as u64;
    assert!(counters.in_flight_bytes.load(Relaxed) <= bound);
    cluster.broker_up(-1).unwrap();
    until("all delivered", || journal.is_done()).await;
    running.stop().await;
    assert_all_in_order(&cluster, &journal, "air");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_away_from_the_start_is_waited_for() {
    let cluster = cluster(&["air"]);
    cluster.broker_down(-1).unwrap();
    let journal = Arc::new(Journal::default());
    journal.fill("air", 5, 500);
    let running = Running::start(config(&cluster), &journal, None);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!running.counters.connected.load(Relaxed));
    cluster.broker_up(-1).unwrap();
    until("all delivered", || journal.is_done()).await;
    assert!(running.counters.connected.load(Relaxed));
    running.stop().await;
    assert_eq!(assert_all_in_order(&cluster, &journal, "air"), 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_at_any_moment_go_on_at_the_cursors() {
    let cluster = cluster(&["air"]);
    cluster.broker_round_trip_time(-1, Duration::from_millis(50)).unwrap();
    let journal = Arc::new(Journal::default());
    journal.fill("air", 20, 8000);
    let mut undelivered = 0;
    for _ in 0..3 {
        let mut config = config(&cluster);
        config.stop_deadline = Duration::ZERO;
        config.in_flight_bytes_max = 2 << 20;
        let running = Running::start(config, &journal, None);
        let counters = Arc::clone(&running.counters);
        until("some delivered", || counters.delivered.load(Relaxed) > 1000 || journal.is_done()).await;
        undelivered += running.stop().await.events;
    }
    assert!(undelivered > 0, "a restart with events in flight");
    let running = Running::start(config(&cluster), &journal, None);
    until("all delivered", || journal.is_done()).await;
    running.stop().await;
    assert_all_in_order(&cluster, &journal, "air");
}

/// Brokers that never look at sequence numbers, as those that know nothing of a producer: what comes behind a batch that they refused they take. They
/// refuse these ones of the first 40. Two events a batch, so that librdkafka has several on their way.
async fn deliver_to_who_refuses(refused: impl Fn(usize) -> bool, journal: &Arc<Journal>) -> Cluster {
    deliver_at(Arc::new(Still), refused, journal).await
}

async fn deliver_at(clock: Arc<dyn Clock>, refused: impl Fn(usize) -> bool, journal: &Arc<Journal>) -> Cluster {
    use RDKafkaRespErr::{RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS};
    let cluster = cluster(&["air"]);
    for broker in 1..=3 {
        cluster.broker_round_trip_time(broker, Duration::from_millis(40)).unwrap();
    }
    let answer = |n| if refused(n) { RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS } else { RD_KAFKA_RESP_ERR_NO_ERROR };
    cluster.request_errors(RDKafkaApiKey::Produce, &(0..40).map(answer).collect::<Vec<_>>());
    let mut config = config(&cluster);
    config.properties.insert("batch.num.messages".into(), "2".into());
    let running = Running::start_at(config, journal, None, clock);
    until("all delivered", || journal.is_done()).await;
    running.stop().await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_of_a_producer_to_a_partition_is_not_overtaken_where_it_is_refused() {
    let journal = Arc::new(Journal::default());
    journal.fill("air", 20, 400);
    let cluster = deliver_to_who_refuses(|n| n < 4, &journal).await;
    assert_all_in_order(&cluster, &journal, "air");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_an_old_backlog_is_overtaken_by_what_was_sent_behind_it() {
    let journal = Arc::new(Journal::default());
    let now = Still.now();
    let then = Now { wall: WallTime(now.wall.0 - 7 * 3_600_000), boot: BootId(6), ..now };
    for n in 0..400 {
        journal.append_with("air", &format!("dev-{}", n % 20), b"old", EventTime::received(then, None));
    }
    journal.fill("air", 20, 100);
    let cluster = deliver_to_who_refuses(|n| n % 5 == 0, &journal).await;
    assert_all_in_order(&cluster, &journal, "air");
}

/// Its clock says that it was received a moment ago, and can't know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_overtaken_that_is_sent_by_a_gateway_whose_own_clock_is_not_set() {
    let journal = Arc::new(Journal::default());
    journal.fill("air", 20, 400);
    let clock = Arc::new(Late(AtomicBool::new(false)));
    let cluster = deliver_at(clock, |n| n % 5 == 0, &journal).await;
    assert_all_in_order(&cluster, &journal, "air");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_librdkafka_concludes_from_what_was_taken_behind_it_is_not_lost() {
    let journal = Arc::new(Journal::default());
    journal.fill("air", 20, 400);
    let cluster = deliver_to_who_refuses(|n| n % 5 == 0, &journal).await;
    let mut seen = first_occurrences(&read_topic(&cluster.bootstrap_servers(), "air"));
    seen.values_mut().for_each(|offsets| offsets.sort_unstable());
    assert_eq!(seen, journal.expected("air"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_the_brokers_are_retried_in_order() {
    use RDKafkaRespErr::*;
    let cluster = cluster(&["air"]);
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[
            RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            RD_KAFKA_RESP_ERR__TRANSPORT,
            RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
            RD_KAFKA_RESP_ERR_NO_ERROR,
            RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        ],
    );
    let journal = Arc::new(Journal::default());
    journal.fill("air", 20, 3000);
    let running = Running::start(config(&cluster), &journal, None);
    until("all delivered", || journal.is_done()).await;
    running.stop().await;
    assert_all_in_order(&cluster, &journal, "air");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_without_rights_is_tried_apart_and_loses_nothing() {
    use RDKafkaRespErr::*;
    let cluster = cluster(&["air", "traffic"]);
    cluster.request_errors(RDKafkaApiKey::Produce, &[RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 6]);
    let journal = Arc::new(Journal::default());
    journal.fill("air", 20, 3000);
    journal.fill("traffic", 20, 3000);
    let running = Running::start(config(&cluster), &journal, None);
    let counters = Arc::clone(&running.counters);
    until("a pause", || counters.paused_reason().is_some()).await;
    until("all delivered", || journal.is_done()).await;
    until("the pause is over", || counters.paused_reason().is_none()).await;
    assert!(counters.rebuilds.load(Relaxed) > 0);
    running.stop().await;
    assert_all_in_order(&cluster, &journal, "air");
    assert_all_in_order(&cluster, &journal, "traffic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_too_large_for_the_cluster_is_buried_and_the_others_go_on() {
    let cluster = cluster(&["air"]);
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
    let buried = grave.0.lock().unwrap();
    assert_eq!(buried.len(), 1);
    assert_eq!(buried[0].stored.event.payload.len(), 20_000);
    assert!(buried[0].reason.contains("post-17/0000000000000abc/air/"), "{}", buried[0].reason);
    assert_eq!((counters.poison.load(Relaxed), counters.delivered.load(Relaxed)), (1, 200));
    assert_eq!(read_topic(&cluster.bootstrap_servers(), "air").len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_batch_is_taken_apart_until_the_poison_is_found() {
    let cluster = cluster(&["air"]);
    let journal = Arc::new(Journal::default());
    journal.fill("air", 1, 50);
    // Behind the first, which goes alone, the batch, and then the third of its events when it is alone.
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD;
    let fine = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    cluster.request_errors(RDKafkaApiKey::Produce, &[fine, refused, fine, fine, refused]);
    let mut config = config(&cluster);
    config.linger = Duration::from_millis(200);
    let grave = Arc::new(Grave::default());
    let running = Running::start(config, &journal, Some(Arc::clone(&grave) as Arc<dyn DeadLetters>));
    until("all done", || journal.is_done()).await;
    running.stop().await;
    let buried = grave.0.lock().unwrap();
    assert_eq!(buried.iter().map(|poison| poison.stored.offset.0).collect::<Vec<_>>(), [3]);
    let seen = read_topic(&cluster.bootstrap_servers(), "air");
    let expected: Vec<u64> = (0..50).filter(|offset| *offset != 3).collect();
    assert_eq!(first_occurrences(&seen).into_values().collect::<Vec<_>>(), [expected]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_without_dead_letters_pauses_its_topic_only() {
    let cluster = cluster(&["air", "traffic"]);
    let journal = Arc::new(Journal::default());
    journal.fill("air", 1, 10);
    journal.append("air", "dev-0", &[b'x'; 20_000]);
    journal.fill("air", 1, 10);
    journal.fill("traffic", 4, 400);
    let mut config = config(&cluster);
    config.message_bytes_max = 10_000;
    let running = Running::start(config, &journal, None);
    let counters = Arc::clone(&running.counters);
    until("the others delivered", || counters.delivered.load(Relaxed) == 410).await;
    until("a pause", || counters.paused_reason().is_some_and(|reason| reason.contains("topic air"))).await;
    running.stop().await;
    assert_eq!(journal.cursor("air", partition_of(b"dev-0", PARTITIONS).0), 10, "the cursor stands before the poison");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_missing_waits_alone_until_somebody_makes_it() {
    let cluster = cluster(&["traffic"]);
    let journal = Arc::new(Journal::default());
    journal.fill("air", 5, 300);
    journal.fill("traffic", 5, 300);
    let mut config = config(&cluster);
    config.create_topics = false;
    let running = Running::start(config, &journal, None);
    let counters = Arc::clone(&running.counters);
    until("the other delivered", || counters.delivered.load(Relaxed) == 300).await;
    assert!(counters.paused_reason().unwrap().contains("topic air"));
    // Another number of partitions than the journal's.
    cluster.create_topic("air", 7, 3).unwrap();
    until("all delivered", || journal.is_done()).await;
    running.stop().await;
    let seen = read_topic(&cluster.bootstrap_servers(), "air");
    assert_eq!(seen.len(), 300);
    let mut last: HashMap<&[u8], u64> = HashMap::new();
    for record in &seen {
        assert_eq!(record.partition, i32::from(partition_of(&record.key, 7).0));
        let (_, offset) = record.place();
        let before = last.insert(&record.key, offset);
        assert!(before.is_none_or(|before| before < offset), "order per key");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_promise_rests_on_can_not_be_configured_away() {
    let refused = |key: &str, value: &str| {
        let mut config = ForwardConfig::new(GatewayId::new("g").unwrap(), "localhost:1");
        config.compression = Compression::Lz4;
        config.properties.insert(key.into(), value.into());
        Forwarder::new(config, Arc::new(Journal::default()), Arc::new(Still), None).err()
    };
    assert_eq!(refused("acks", "1"), Some(ForwardConfigError::Reserved("acks".into())));
    assert!(
        matches!(refused("no.such.thing", "1"), Some(ForwardConfigError::Property { key, .. }) if key == "no.such.thing")
    );
    assert_eq!(refused("socket.timeout.ms", "5000"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_brokers_answer_first_occurrences_are_in_order() {
    use RDKafkaRespErr::*;
    const ANSWERS: [RDKafkaRespErr; 13] = [
        RD_KAFKA_RESP_ERR_NO_ERROR,
        RD_KAFKA_RESP_ERR_NO_ERROR,
        RD_KAFKA_RESP_ERR_NO_ERROR,
        RD_KAFKA_RESP_ERR__TRANSPORT,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
        RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
        RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
        RD_KAFKA_RESP_ERR_INVALID_RECORD,
        RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP,
    ];
    let seed = std::env::var("LAMPPOST_SEED").ok().and_then(|seed| seed.parse::<u64>().ok()).unwrap_or(5);
    println!("LAMPPOST_SEED={seed}");
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % bound as u64) as usize
    };
    let cluster = cluster(&["air", "traffic"]);
    let journal = Arc::new(Journal::default());
    let grave = Arc::new(Grave::default());
    for _ in 0..4 {
        journal.fill("air", 20, 1000);
        journal.fill("traffic", 7, 500);
        let answers: Vec<RDKafkaRespErr> = (0..12).map(|_| ANSWERS[next(ANSWERS.len())]).collect();
        cluster.request_errors(RDKafkaApiKey::Produce, &answers);
        let mut config = config(&cluster);
        config.read_bytes = 20_000;
        config.in_flight_bytes_max = 300_000;
        config.stop_deadline = Duration::ZERO;
        let running = Running::start(config, &journal, Some(Arc::clone(&grave) as Arc<dyn DeadLetters>));
        tokio::time::sleep(Duration::from_millis(300 + next(700) as u64)).await;
        running.stop().await;
    }
    let running = Running::start(config(&cluster), &journal, Some(Arc::clone(&grave) as Arc<dyn DeadLetters>));
    until("all done", || journal.is_done()).await;
    running.stop().await;
    for topic in ["air", "traffic"] {
        let mut expected = journal.expected(topic);
        let seen = first_occurrences(&read_topic(&cluster.bootstrap_servers(), topic));
        for poison in grave.0.lock().unwrap().iter().filter(|poison| poison.stored.event.topic.as_str() == topic) {
            // What was buried may have been written before: the answer was lost, not the record.
            let place = (poison.stored.partition.0, poison.stored.offset.0);
            if !seen[&place.0].contains(&place.1) {
                expected.get_mut(&place.0).unwrap().retain(|offset| *offset != place.1);
            }
        }
        assert_eq!(seen, expected, "{topic}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_with_a_time_from_an_unset_clock() {
    let cluster = cluster(&["air"]);
    let journal = Arc::new(Journal::default());
    let unset = EventTime {
        device: None,
        wall: WallTime(5),
        monotonic: Monotonic(20_000),
        boot: Still.now().boot,
        quality: ClockQuality::Unset,
    };
    journal.append_with("air", "dev-1", b"of this boot", unset);
    journal.append_with("air", "dev-1", b"of another boot", EventTime { boot: BootId(99), ..unset });
    let clock = Arc::new(Late(AtomicBool::new(false)));
    let running = Running::start_at(config(&cluster), &journal, None, Arc::clone(&clock) as Arc<dyn Clock>);
    let counters = Arc::clone(&running.counters);
    until("connected", || counters.connected.load(Relaxed)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(counters.sent.load(Relaxed), 0, "sent before the clock was right");
    clock.0.store(true, Relaxed);
    until("delivered", || journal.is_done()).await;
    running.stop().await;
    let seen = read_topic(&cluster.bootstrap_servers(), "air");
    let now = Still.now().wall.0;
    assert_eq!((seen[0].timestamp, seen[0].headers["ce_clock"].as_str()), (now - 40_000, "unset"));
    assert_eq!((seen[1].timestamp, seen[1].headers["ce_clock"].as_str()), (now, "forwarded"));
    assert_eq!(counters.unclocked.load(Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_are_too_large_only_as_a_whole_bury_nothing() {
    let cluster = cluster(&["air"]);
    let journal = Arc::new(Journal::default());
    journal.fill("air", 3, 60);
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    let grave = Arc::new(Grave::default());
    let running = Running::start(config(&cluster), &journal, Some(Arc::clone(&grave) as Arc<dyn DeadLetters>));
    until("all delivered", || journal.is_done()).await;
    running.stop().await;
    assert!(grave.0.lock().unwrap().is_empty());
    assert_all_in_order(&cluster, &journal, "air");
}
