//! The ceiling on what goes out, with a real producer: librdkafka's mock cluster, and librdkafka's own count of what it wrote.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what helps a test fails it by panicking")]

#[allow(dead_code, unreachable_pub, reason = "shared by the tests of this folder, none of which uses all")]
mod journal;
#[allow(dead_code, unreachable_pub, reason = "shared by the tests of this folder, none of which uses all")]
mod running;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use journal::{Journal, first_occurrences, read_topic};
use lamppost_forward::{Delivery, ForwardConfig};
use running::{Cluster, Running, cluster, config, until};

/// Bytes a second.
const CEILING: u64 = 60_000;

/// So many events that hardly compress: the test is about bytes.
fn fill(journal: &Journal, events: u64) {
    let mut random = 88_172_645_463_325_252_u64;
    for n in 0..events {
        let mut payload = Vec::with_capacity(400);
        while payload.len() < 400 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            payload.extend_from_slice(&random.to_le_bytes());
        }
        journal.append("air", &format!("dev-{}", n % 20), &payload);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_keeps_to_the_ceiling_in_small_windows_and_arrives_whole() {
    let cluster = cluster(&["air"]);
    keeps_to_the_ceiling(&cluster, config(&cluster)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_keeps_to_the_ceiling_with_its_cursors_and_its_transactions() {
    let cluster = cluster(&["air", "lamppost-cursors"]);
    let mut config = config(&cluster);
    config.delivery = Delivery::ExactlyOnce;
    keeps_to_the_ceiling(&cluster, config).await;
}

async fn keeps_to_the_ceiling(cluster: &Cluster, mut config: ForwardConfig) {
    let journal = Arc::new(Journal::default());
    fill(&journal, 1_000);
    config.bandwidth_max = NonZeroU64::new(CEILING);
    let running = Running::start(config, &journal, None);
    let counters = Arc::clone(&running.counters);
    until("something on the wire", || counters.wire_bytes.load(Relaxed) > 0).await;
    let (before, mut in_flight_most) = (counters.wire_bytes.load(Relaxed), 0);
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        in_flight_most = in_flight_most.max(counters.in_flight_bytes.load(Relaxed));
    }
    // A slow machine sends less: only more than the ceiling is a mistake. 5 s, what may be saved up, and one interval between two tellings.
    let went = counters.wire_bytes.load(Relaxed) - before;
    assert!(went <= CEILING * 625 / 100, "{went} bytes in 5 s");
    assert!(in_flight_most < 1 << 20, "{in_flight_most} bytes in flight at {CEILING} bytes/s");
    assert!(!journal.is_done(), "the ceiling held nothing back");
    until("all delivered", || journal.is_done()).await;
    running.stop().await;
    let seen = read_topic(&cluster.bootstrap_servers(), "air");
    assert_eq!((seen.len(), first_occurrences(&seen)), (1_000, journal.expected("air")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_went_is_counted_in_batches_requests_and_bytes() {
    let cluster = cluster(&["air"]);
    let journal = Arc::new(Journal::default());
    journal.fill("air", 20, 2_000);
    let mut config = config(&cluster);
    // Far above what goes: the counts come each half second.
    config.bandwidth_max = NonZeroU64::new(1 << 30);
    let running = Running::start(config, &journal, None);
    let counters = Arc::clone(&running.counters);
    until("all counted", || counters.batch_events.load(Relaxed) >= 2_000).await;
    running.stop().await;
    let (batches, batch_bytes) = (counters.batches.load(Relaxed), counters.batch_bytes.load(Relaxed));
    let (records, wire) = (counters.record_bytes.load(Relaxed), counters.wire_bytes.load(Relaxed));
    assert!(batches > 0 && batches <= counters.wire_requests.load(Relaxed), "{counters:?}");
    assert!(batch_bytes * 2 < records, "headers that repeat compress: {batch_bytes} of {records}");
    assert!(wire > batch_bytes, "a batch goes in a request: {wire}, {batch_bytes}");
    // As Kafka's format has them: some 330 bytes of headers, and the rest.
    assert!((200..600).contains(&(records / 2_000)), "{records}");
}
