//! What keeps a gateway from forwarding exactly once, and what is said of it, against librdkafka's mock cluster.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what helps a test fails it by panicking")]

#[allow(
    dead_code,
    unreachable_pub,
    clippy::indexing_slicing,
    reason = "shared by the tests of this folder, none of which uses all"
)]
mod journal;
#[allow(dead_code, unreachable_pub, reason = "shared by the tests of this folder, none of which uses all")]
mod running;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use journal::{Journal, read_topic};
use lamppost_event::{GatewayId, Topic};
use lamppost_forward::{ClientTls, Denial, ForwardConfig, Keyring, Security};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use running::{Cluster, Running, cluster, exactly_once, until};

const CURSORS: &str = "lamppost-cursors";

fn config(cluster: &Cluster) -> ForwardConfig {
    exactly_once(running::config(cluster))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_cursors_topic_nothing_goes_out_and_it_is_said_why() {
    let cluster = cluster(&["air"]);
    let journal = Arc::new(Journal::default());
    journal.fill("air", 5, 50);
    let mut config = config(&cluster);
    config.create_topics = false;
    config.cursors_topic = Topic::new("city-cursors").unwrap();
    let running = Running::start(config, &journal, None);
    let counters = Arc::clone(&running.counters);
    until("a pause", || counters.paused_reason().is_some_and(|why| why.contains("city-cursors"))).await;
    assert_eq!(counters.sent.load(Relaxed), 0);
    cluster.create_topic("city-cursors", 1, 3).unwrap();
    until("all delivered", || journal.is_done()).await;
    running.stop().await;
    assert_eq!(read_topic(&cluster.bootstrap_servers(), "air").len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_is_told_so_before_the_first_transaction_and_tries_again() {
    let journal = Arc::new(Journal::default());
    journal.fill("air", 5, 50);
    // A broker that speaks no TLS: no handshake gets through.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Whether it is heard does not matter.
            drop(stream.read(&mut [0; 5]).and_then(|_| stream.write_all(b"what do you mean?")));
        }
    });
    let mut config = exactly_once(ForwardConfig::new(GatewayId::new("post-17").unwrap(), &address));
    let tls = ClientTls { ca: None, own: None, verify_host_name: true };
    config.keyring = Arc::new(Keyring::new(Security { tls: Some(tls), sasl: None }));
    let running = Running::start(config, &journal, None);
    let counters = Arc::clone(&running.counters);
    until("a word about it", || counters.denied.load(Relaxed) && counters.paused_reason().is_some()).await;
    until("another try", || counters.denials.of(Denial::Tls) > 1).await;
    assert_eq!(running.stop().await.events, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gets_the_right_to_transactions_is_no_longer_kept_out_even_with_nothing_to_deliver() {
    let cluster = cluster(&["air", CURSORS]);
    let journal = Arc::new(Journal::default());
    cluster.request_errors(
        RDKafkaApiKey::InitProducerId,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED],
    );
    let running = Running::start(config(&cluster), &journal, None);
    let counters = Arc::clone(&running.counters);
    until("a word about it", || counters.paused_reason().is_some_and(|why| why.contains("transactions"))).await;
    until("it is over", || !counters.denied.load(Relaxed) && counters.paused_reason().is_none()).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_refuses_the_transactions_themselves_is_told() {
    let cluster = cluster(&["air", CURSORS]);
    let journal = Arc::new(Journal::default());
    journal.fill("air", 5, 50);
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT;
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[refused; 5]);
    let running = Running::start(config(&cluster), &journal, None);
    let counters = Arc::clone(&running.counters);
    until("a word about it", || counters.paused_reason().is_some_and(|why| why.contains("timeout"))).await;
    until("all delivered once it takes them", || journal.is_done()).await;
    until("nothing is said any more", || counters.paused_reason().is_none()).await;
    running.stop().await;
}

/// As Kafka does when a leader's disk was full: its coordinator forgets to end a transaction, until it is restarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_does_not_end_the_last_transaction_is_told_and_waited_for() {
    let cluster = cluster(&["air", CURSORS]);
    let journal = Arc::new(Journal::default());
    journal.fill("air", 5, 50);
    let unended = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS;
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[unended; 1000]);
    let mut config = config(&cluster);
    config.transaction_timeout = Duration::from_secs(1);
    config.properties.insert("statistics.interval.ms".into(), "100".into());
    let running = Running::start(config, &journal, None);
    let counters = Arc::clone(&running.counters);
    until("a word about it", || counters.paused_reason().is_some_and(|why| why.contains("__transaction_state"))).await;
    cluster.clear_request_errors(RDKafkaApiKey::InitProducerId);
    until("all delivered once it is ended", || journal.is_done()).await;
    until("nothing is said any more", || counters.paused_reason().is_none()).await;
    running.stop().await;
}
