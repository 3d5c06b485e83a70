//! Gaps of the journal are told before they are passed, each once.

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

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use journal::{Journal, PARTITIONS, Still};
use lamppost_event::{Gap, JournalStopped, Outlet, Waiting, partition_of};
use lamppost_forward::{AuditTrail, ForwardConfig, Forwarder};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use running::{Running, cluster, config, until};
use tokio::sync::Semaphore;

/// Remembers what it was told, and answers when it is let.
struct Trail {
    told: Mutex<Vec<(u64, u64)>>,
    leave: Semaphore,
    answer: bool,
}

impl Trail {
    fn new(answer: bool) -> Arc<Self> {
        Arc::new(Self { told: Mutex::default(), leave: Semaphore::new(0), answer })
    }

    fn told(&self) -> Vec<(u64, u64)> {
        self.told.lock().unwrap().clone()
    }
}

impl AuditTrail for Trail {
    fn tell(&self, gap: Gap) -> Waiting<'_, Result<bool, JournalStopped>> {
        self.told.lock().unwrap().push((gap.from.0, gap.to.0));
        Box::pin(async move {
            self.leave.acquire().await.unwrap().forget();
            Ok(self.answer)
        })
    }
}

/// Ten events, a gap of seven offsets, ten events, all of one device.
fn with_a_gap() -> (Arc<Journal>, u16) {
    let (journal, partition) = (Arc::new(Journal::default()), partition_of(b"dev-0", PARTITIONS).0);
    journal.fill("air", 1, 10);
    journal.append_gap("air", partition, 7);
    journal.fill("air", 1, 10);
    (journal, partition)
}

fn start(config: ForwardConfig, journal: &Arc<Journal>, trail: &Arc<Trail>) -> Running {
    let outlet = Arc::clone(journal) as Arc<dyn Outlet>;
    let forwarder = Forwarder::new(config, outlet, Arc::new(Still), None).unwrap();
    Running::launch(forwarder.with_trail(Arc::clone(trail) as Arc<dyn AuditTrail>))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_waits_before_a_gap_until_it_is_told_and_what_is_behind_goes_on() {
    let (cluster, (journal, partition), trail) = (cluster(&["air"]), with_a_gap(), Trail::new(true));
    let running = start(config(&cluster), &journal, &trail);
    let counters = Arc::clone(&running.counters);
    until("all delivered", || counters.delivered.load(Relaxed) == 20).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((journal.cursor("air", partition), counters.gaps.load(Relaxed)), (10, 0));
    trail.leave.add_permits(1);
    until("all done", || journal.is_done()).await;
    running.stop().await;
    assert_eq!((trail.told(), counters.gaps.load(Relaxed), counters.gap_events.load(Relaxed)), (vec![(10, 17)], 1, 7));
    assert_eq!(counters.untold_gaps.load(Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_that_is_met_again_by_the_next_producer_or_by_a_topic_apart_is_not_told_again() {
    let (cluster, (journal, partition), trail) = (cluster(&["air"]), with_a_gap(), Trail::new(true));
    let running = start(config(&cluster), &journal, &trail);
    let counters = Arc::clone(&running.counters);
    until("all delivered", || counters.delivered.load(Relaxed) == 20).await;
    // The topic is refused: it goes apart, from its cursor before the gap on.
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 3];
    cluster.request_errors(RDKafkaApiKey::Produce, &refused);
    journal.fill("air", 1, 5);
    until("a new producer", || counters.rebuilds.load(Relaxed) >= 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(journal.cursor("air", partition), 10);
    trail.leave.add_permits(1);
    until("all done", || journal.is_done()).await;
    running.stop().await;
    assert_eq!((trail.told(), counters.gaps.load(Relaxed), counters.gap_events.load(Relaxed)), (vec![(10, 17)], 1, 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_that_was_told_while_an_event_before_it_is_in_flight_is_not_told_again_by_the_next_producer() {
    let (cluster, journal, trail) = (cluster(&["air"]), Arc::new(Journal::default()), Trail::new(true));
    trail.leave.add_permits(100);
    let running = start(config(&cluster), &journal, &trail);
    let counters = Arc::clone(&running.counters);
    // The first of a producer goes alone.
    journal.fill("air", 1, 1);
    until("the first", || journal.is_done()).await;
    // Nothing is delivered while the gap is told; then all is refused once.
    cluster.broker_round_trip_time(-1, Duration::from_millis(120)).unwrap();
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 3];
    cluster.request_errors(RDKafkaApiKey::Produce, &refused);
    journal.fill("air", 1, 9);
    journal.append_gap("air", partition_of(b"dev-0", PARTITIONS).0, 7);
    journal.fill("air", 1, 10);
    until("told", || !trail.told().is_empty()).await;
    assert_eq!(counters.delivered.load(Relaxed), 1, "a report came too early to show anything");
    until("all done", || journal.is_done()).await;
    running.stop().await;
    assert!(counters.rebuilds.load(Relaxed) >= 1);
    assert_eq!((trail.told(), counters.gaps.load(Relaxed)), (vec![(10, 17)], 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gaps_that_are_being_told_count_in_the_window() {
    let (cluster, journal, trail) = (cluster(&["air"]), Arc::new(Journal::default()), Trail::new(true));
    let partition = partition_of(b"dev-0", PARTITIONS).0;
    for _ in 0..500 {
        journal.append_gap("air", partition, 1);
    }
    let mut config = config(&cluster);
    config.in_flight_bytes_max = 64 << 10;
    let running = start(config, &journal, &trail);
    until("told", || !trail.told().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(trail.told().len(), 64, "1 KiB each");
    trail.leave.add_permits(500);
    until("all done", || journal.is_done()).await;
    running.stop().await;
    assert_eq!(trail.told().len(), 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_no_room_to_tell_of_a_gap_it_is_passed_and_counted() {
    let (cluster, (journal, _), trail) = (cluster(&["air"]), with_a_gap(), Trail::new(false));
    trail.leave.add_permits(1);
    let running = start(config(&cluster), &journal, &trail);
    let counters = Arc::clone(&running.counters);
    until("all done", || journal.is_done()).await;
    running.stop().await;
    assert_eq!((counters.untold_gaps.load(Relaxed), counters.gaps.load(Relaxed)), (1, 1));
}
