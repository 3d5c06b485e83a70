//! How much a forwarder holds of many topics apart. Alone in its program: it counts librdkafka's threads.

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

use journal::{Grave, Journal, first_occurrences, read_topic};
use running::{Running, cluster, config, until};

/// Topics, more than a forwarder has places for.
const TOPICS: usize = 24;

/// Clients of this process: each has one main thread.
fn clients() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "rdk:main").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_topics_apart_take_turns_with_a_few_producers() {
    let names: Vec<String> = (0..TOPICS).map(|n| format!("t{n:02}")).collect();
    let cluster = cluster(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let journal = Arc::new(Journal::default());
    let mut config = config(&cluster);
    config.message_bytes_max = 64 << 10;
    let large = vec![b'x'; 128 << 10];
    for topic in &names {
        journal.fill(topic, 3, 20);
        journal.append(topic, "dev-large", &large);
        journal.fill(topic, 3, 20);
    }
    let before = clients();
    // Without dead letters each stands before what can't go, and tries it again and again.
    let running = Running::start(config.clone(), &journal, None);
    let counters = Arc::clone(&running.counters);
    let mut most = 0;
    until("all are apart", || {
        most = most.max(clients() - before);
        counters.paused_topics.load(Relaxed) == TOPICS as u64
    })
    .await;
    let tried = counters.sent.load(Relaxed);
    until("each had its turn", || {
        most = most.max(clients() - before);
        counters.sent.load(Relaxed) >= tried + 3 * TOPICS as u64
    })
    .await;
    running.stop().await;
    // Those of four places; and the common producer, the one before it, and who asks after topics, of which some are still closing.
    println!("{most} clients for {TOPICS} topics apart");
    assert!(most <= TOPICS / 2, "{most} clients for {TOPICS} topics apart");

    let grave = Arc::new(Grave::default());
    let running = Running::start(config, &journal, Some(Arc::clone(&grave) as _));
    until("all delivered or buried", || journal.is_done()).await;
    running.stop().await;
    assert_eq!(grave.0.lock().unwrap().len(), TOPICS);
    for topic in &names {
        let mut expected = journal.expected(topic);
        for poison in grave.0.lock().unwrap().iter().filter(|poison| poison.stored.event.topic.as_str() == topic) {
            let offsets = expected.get_mut(&poison.stored.partition.0).unwrap();
            offsets.retain(|offset| *offset != poison.stored.offset.0);
        }
        assert_eq!(first_occurrences(&read_topic(&cluster.bootstrap_servers(), topic)), expected);
    }
}
