//! Live first, backlog after, with real producers against librdkafka's mock cluster of three brokers.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what helps a test fails it by panicking")]

#[allow(dead_code, unreachable_pub, reason = "shared by the tests of this folder, none of which uses all")]
mod journal;
#[allow(dead_code, unreachable_pub, reason = "shared by the tests of this folder, none of which uses all")]
mod lanes;
#[allow(dead_code, unreachable_pub, reason = "shared by the tests of this folder, none of which uses all")]
mod running;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use journal::{Journal, Seen, Still, first_occurrences, read_topic};
use lamppost_forward::{Delivery, ForwardConfig, ForwardConfigError, Forwarder};
use lanes::{Noise, assert_whole_and_in_order_by_lane, backlog, is_backfill, live, live_first};
use rdkafka::types::RDKafkaApiKey;
use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as REFUSED;
use running::{Running, cluster, until};

/// In 64 KiB of the window, at some 1,400 bytes each.
const IN_FLIGHT_EVENTS: u64 = 48;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_in_goes_at_once_and_the_backlog_beside_it_with_a_mark() {
    let cluster = cluster(&["air", "strict"]);
    let (journal, mut noise) = (Arc::new(Journal::default()), Noise(88_172_645_463_325_252));
    backlog(&journal, "air", 600, &mut noise);
    backlog(&journal, "strict", 20, &mut noise);
    let running = Running::start(live_first(&cluster), &journal, None);
    let counters = Arc::clone(&running.counters);
    until("two lanes", || counters.split.load(Relaxed)).await;
    live(&journal, "air", 20, &mut noise);
    live(&journal, "strict", 20, &mut noise);
    let lane = counters.live().unwrap();
    until("the live ones delivered", || lane.delivered.load(Relaxed) >= 20).await;
    assert!(counters.split.load(Relaxed), "long before the backlog's end");
    assert!(counters.delivered.load(Relaxed) < 400, "{}", counters.delivered.load(Relaxed));
    let in_flight = counters.in_flight_bytes.load(Relaxed) + lane.in_flight_bytes.load(Relaxed);
    assert!(in_flight <= 64 << 10, "{in_flight}");
    until("one lane again", || !counters.split.load(Relaxed)).await;
    until("all cursors at their ends", || journal.is_done()).await;
    assert!(!journal.knows_lanes(), "nothing is kept of a split that is over");
    live(&journal, "air", 20, &mut noise);
    until("those behind it", || journal.is_done()).await;
    running.stop().await;

    assert_eq!(assert_whole_and_in_order_by_lane(&cluster, &journal, "air"), 640, "nothing twice");
    let seen = read_topic(&cluster.bootstrap_servers(), "air");
    let marked = seen.iter().filter(|record| is_backfill(record)).count();
    let is_live = |record: &&Seen| record.headers.get("ce_lane").is_some_and(|lane| lane == "live");
    assert_eq!(seen.iter().filter(is_live).count(), 20, "what came in meanwhile has a mark of its own");
    assert!((300..600).contains(&marked), "what went before the split, and what came after it, has no mark: {marked}");
    // Who does not know of the lanes sees disorder: the check above is not blind.
    assert_ne!(first_occurrences(&seen), journal.expected("air"));
    let strict = read_topic(&cluster.bootstrap_servers(), "strict");
    assert_eq!(first_occurrences(&strict), journal.expected("strict"), "a topic in strict order beside it");
    assert!(!strict.iter().any(|record| record.headers.contains_key("ce_lane")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_strict_order_nothing_is_split_and_nothing_marked() {
    let cluster = cluster(&["air"]);
    let (journal, mut noise) = (Arc::new(Journal::default()), Noise(5));
    backlog(&journal, "air", 200, &mut noise);
    let running = Running::start(ForwardConfig { live_first: None, ..live_first(&cluster) }, &journal, None);
    live(&journal, "air", 20, &mut noise);
    until("all cursors at their ends", || journal.is_done()).await;
    assert!(running.counters.live().is_none() && !journal.knows_lanes());
    running.stop().await;
    let seen = read_topic(&cluster.bootstrap_servers(), "air");
    assert_eq!(first_occurrences(&seen), journal.expected("air"));
    assert!(!seen.iter().any(is_backfill));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_with_two_lanes_lose_nothing_and_keep_the_order_of_each() {
    let seed = std::env::var("LAMPPOST_SEED").ok().and_then(|seed| seed.parse::<u64>().ok()).unwrap_or(7);
    println!("LAMPPOST_SEED={seed}");
    let cluster = cluster(&["air"]);
    let (journal, mut noise) = (Arc::new(Journal::default()), Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
    backlog(&journal, "air", 500, &mut noise);
    // What may come again: what was delivered since the sync before the last one, and what was in flight.
    let (mut again_max, mut crashes, mut split) = (0, 0, 0);
    while crashes < 8 {
        let running = Running::start(live_first(&cluster), &journal, None);
        let counters = Arc::clone(&running.counters);
        let delivered = || counters.over_lanes(|counters| &counters.delivered);
        let (mut synced, mut synced_before) = (0, 0);
        for _ in 0..5 + noise.next() % 40 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            live(&journal, "air", noise.next() % 2, &mut noise);
            if !noise.next().is_multiple_of(3) {
                // What was delivered by now is committed by the next but one.
                (synced_before, synced) = (synced, delivered());
                journal.sync();
            }
        }
        split += u32::from(counters.split.load(Relaxed));
        running.abort().await;
        again_max += delivered() - synced_before + IN_FLIGHT_EVENTS;
        journal.crash();
        crashes += 1;
    }
    assert!(split >= 4, "crashes with two lanes: {split} of {crashes}");
    let running = Running::start(ForwardConfig { bandwidth_max: None, ..live_first(&cluster) }, &journal, None);
    until("all cursors at their ends", || journal.is_done()).await;
    running.stop().await;
    let records = assert_whole_and_in_order_by_lane(&cluster, &journal, "air");
    let all: usize = journal.expected("air").values().map(Vec::len).sum();
    println!("{all} events, {records} records, at most {again_max} again; two lanes at {split} of {crashes} crashes");
    assert!(records - all <= usize::try_from(again_max).unwrap(), "{records} records of {all}, {again_max}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_refused_for_a_while_with_two_lanes_loses_nothing() {
    let cluster = cluster(&["air"]);
    let (journal, mut noise) = (Arc::new(Journal::default()), Noise(11));
    backlog(&journal, "air", 400, &mut noise);
    let running = Running::start(live_first(&cluster), &journal, None);
    let counters = Arc::clone(&running.counters);
    until("two lanes", || counters.split.load(Relaxed)).await;
    // So many that both lanes are kept out for seconds: what lies behind the horizon is met again and again meanwhile.
    cluster.request_errors(RDKafkaApiKey::Produce, &[REFUSED; 24]);
    live(&journal, "air", 40, &mut noise);
    until("apart", || counters.paused_topics.load(Relaxed) > 0).await;
    until("in again", || counters.paused_topics.load(Relaxed) == 0).await;
    until("all cursors at their ends", || journal.is_done()).await;
    running.stop().await;
    assert_eq!(counters.over_lanes(|counters| &counters.gap_events), 0, "passed over");
    assert_whole_and_in_order_by_lane(&cluster, &journal, "air");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_exactly_once_it_is_refused() {
    let mut config = live_first(&cluster(&[]));
    config.delivery = Delivery::ExactlyOnce;
    let refused = Forwarder::new(config, Arc::new(Journal::default()), Arc::new(Still), None).err();
    assert_eq!(refused, Some(ForwardConfigError::LiveFirstExactlyOnce));
}
