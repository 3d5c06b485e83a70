//! A full journal with poison at its head: what can never be accepted must not wait for the room that only its going makes.

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
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use journal::{Grave, Journal, PARTITIONS, Still, read_topic};
use lamppost_event::{
    Chunk, Clock, Cursor, EventTime, Group, JournalStopped, Outlet, Position, Resume, TopicShape, Waiting, partition_of,
};
use lamppost_forward::{DeadLetters, ForwardConfig, Poison};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use running::{Cluster, Running, cluster, config, until};
use tokio::sync::Notify;

/// So many events and gaps the journal keeps for everybody.
const ROOM: usize = 100;
/// Larger than the cluster of these tests takes.
static POISON: [u8; 20_000] = [b'x'; 20_000];

/// A journal that keeps no more than there is room for, and the intake before it.
#[derive(Default)]
struct Bounded {
    journal: Journal,
    /// Beyond [`ROOM`], for alarms and dead letters.
    reserve: AtomicUsize,
    /// Burials that were asked for.
    asked: AtomicUsize,
    passed: Notify,
}

impl Bounded {
    /// Poison first, and as much behind it as there is room for.
    fn full() -> Arc<Self> {
        let bounded = Arc::new(Self::default());
        bounded.journal.append("air", "dev-0", &POISON);
        while bounded.offer("air", "dev-0") {}
        assert_eq!(bounded.journal.held(), ROOM);
        bounded
    }

    /// False: there is no room.
    fn offer(&self, topic: &str, device: &str) -> bool {
        let has_room = self.journal.held() < ROOM;
        if has_room {
            self.journal.append(topic, device, b"fine");
        }
        has_room
    }

    fn has_room_for_alarms(&self) -> bool {
        self.journal.held() < ROOM + self.reserve.load(Relaxed)
    }

    /// What holds the reserve lets go of it.
    fn open_reserve(&self) {
        self.reserve.store(5, Relaxed);
        self.passed.notify_waiters();
    }
}

impl DeadLetters for Bounded {
    fn bury(&self, poison: Poison) -> Waiting<'_, Result<(), JournalStopped>> {
        self.asked.fetch_add(1, Relaxed);
        Box::pin(async move {
            loop {
                let passed = self.passed.notified();
                if self.has_room_for_alarms() {
                    break;
                }
                passed.await;
            }
            let (event, time) = (poison.stored.event, EventTime::received(Still.now(), None));
            let device = event.device.as_str();
            self.journal.append_because("dead-letters", device, &event.payload, time, Some(&poison.reason));
            Ok(())
        })
    }
}

impl Outlet for Bounded {
    fn topics(&self) -> Vec<TopicShape> {
        self.journal.topics()
    }

    fn resume(&self, group: &Group) -> Result<Resume, JournalStopped> {
        self.journal.resume(group)
    }

    fn read(&self, from: Position, bytes_max: usize) -> Result<Chunk, JournalStopped> {
        self.journal.read(from, bytes_max)
    }

    fn commit(&self, group: &Group, cursors: &[Cursor]) -> Result<(), JournalStopped> {
        self.journal.commit(group, cursors)?;
        self.passed.notify_waiters();
        Ok(())
    }

    fn grown(&self, position: Position) -> Waiting<'_, ()> {
        self.journal.grown(position)
    }
}

fn small(cluster: &Cluster) -> ForwardConfig {
    let mut config = config(cluster);
    config.message_bytes_max = 10_000;
    config
}

fn start(config: ForwardConfig, bounded: &Arc<Bounded>) -> Running {
    Running::start(config, bounded, Some(Arc::clone(bounded) as Arc<dyn DeadLetters>))
}

fn count(cluster: &Cluster, topic: &str) -> usize {
    read_topic(&cluster.bootstrap_servers(), topic).len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_at_the_head_of_a_full_journal_is_buried_in_the_reserve_and_there_is_room_again() {
    let (cluster, bounded) = (cluster(&["air", "dead-letters"]), Bounded::full());
    assert!(!bounded.offer("air", "dev-0"), "there was room before");
    let running = start(small(&cluster), &bounded);
    let counters = Arc::clone(&running.counters);
    // The control: without a reserve nothing passes, and nobody gets room.
    until("all but the poison delivered", || counters.delivered.load(Relaxed) == 99).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!bounded.offer("air", "dev-0"), "room, though the poison is not buried");
    bounded.open_reserve();
    until("room again", || bounded.offer("air", "dev-0")).await;
    until("all done", || bounded.journal.is_done()).await;
    running.stop().await;
    assert_eq!(count(&cluster, "air"), 100);
    let dead = read_topic(&cluster.bootstrap_servers(), "dead-letters");
    let [letter] = dead.as_slice() else { panic!("{} dead letters", dead.len()) };
    // As much as fits, and how much it was.
    assert_eq!(letter.headers["ce_payloadbytes"], "20000");
    assert!((8_000..10_000).contains(&letter.payload.len()), "{} bytes", letter.payload.len());
    assert_eq!(counters.poison.load(Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burial_that_waits_keeps_nothing_else_waiting_and_happens_once_though_producers_go_meanwhile() {
    let (cluster, bounded) = (cluster(&["air", "traffic", "dead-letters"]), Bounded::full());
    let running = start(small(&cluster), &bounded);
    let counters = Arc::clone(&running.counters);
    until("all but the poison delivered", || counters.delivered.load(Relaxed) == 99).await;
    for round in 0_u64..4 {
        // An answer that ends a producer; the next one comes upon the poison again.
        cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION]);
        let (rebuilds, delivered) = (counters.rebuilds.load(Relaxed), counters.delivered.load(Relaxed));
        bounded.journal.append("traffic", "dev-1", b"an alarm");
        until("another producer", || counters.rebuilds.load(Relaxed) > rebuilds).await;
        until("the alarm delivered", || counters.delivered.load(Relaxed) > delivered).await;
        let cursor = |topic, device: &str| bounded.journal.cursor(topic, partition_of(device.as_bytes(), PARTITIONS).0);
        until("its cursor passed", || cursor("traffic", "dev-1") == round + 1).await;
        assert_eq!(cursor("air", "dev-0"), 0, "the poison was passed before it was buried");
    }
    bounded.open_reserve();
    // 103 are held: nothing is passed before the poison is buried, so the reserve must take it.
    until("all done", || bounded.journal.is_done()).await;
    running.stop().await;
    assert_eq!(bounded.asked.load(Relaxed), 1, "burials asked for");
    assert_eq!((counters.poison.load(Relaxed), count(&cluster, "dead-letters")), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burial_that_ends_between_two_producers_is_not_repeated() {
    let (cluster, bounded) = (cluster(&["air", "dead-letters"]), Bounded::full());
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION]);
    let mut config = small(&cluster);
    (config.retry_delay_min, config.retry_delay_max) = (Duration::from_millis(600), Duration::from_millis(600));
    let running = start(config, &bounded);
    let counters = Arc::clone(&running.counters);
    until("no producer", || counters.rebuilds.load(Relaxed) == 1).await;
    bounded.open_reserve();
    until("all done", || bounded.journal.is_done()).await;
    running.stop().await;
    assert_eq!(bounded.asked.load(Relaxed), 1, "burials asked for");
    assert_eq!((counters.poison.load(Relaxed), count(&cluster, "dead-letters")), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_buried_while_an_event_before_it_is_in_flight_is_not_buried_again_by_the_next_producer() {
    let (cluster, journal, grave) = (cluster(&["air"]), Arc::new(Journal::default()), Arc::new(Grave::default()));
    let config = ForwardConfig { message_bytes_max: 10_000, ..config(&cluster) };
    let running = Running::start(config, &journal, Some(Arc::clone(&grave) as Arc<dyn DeadLetters>));
    let counters = Arc::clone(&running.counters);
    // The first of a producer goes alone.
    journal.fill("air", 1, 1);
    until("the first", || journal.is_done()).await;
    cluster.broker_round_trip_time(-1, Duration::from_millis(120)).unwrap();
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 3]);
    journal.fill("air", 1, 10);
    journal.append("air", "dev-0", &POISON);
    journal.fill("air", 1, 10);
    until("buried", || !grave.0.lock().unwrap().is_empty()).await;
    assert_eq!(counters.delivered.load(Relaxed), 1, "a report came too early to show anything");
    until("all done", || journal.is_done()).await;
    running.stop().await;
    assert!(counters.rebuilds.load(Relaxed) >= 1);
    assert_eq!(grave.0.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burial_that_waits_with_a_window_full_of_what_was_delivered_behind_it_keeps_no_other_topic_waiting() {
    let (cluster, bounded) = (cluster(&["air", "traffic", "dead-letters"]), Arc::new(Bounded::default()));
    bounded.journal.append("air", "dev-0", &POISON);
    for _ in 0..80 {
        bounded.journal.append("air", "dev-0", &[b'x'; 5_000]);
    }
    while bounded.offer("traffic", "dev-1") {}
    let running = start(ForwardConfig { in_flight_bytes_max: 200_000, ..small(&cluster) }, &bounded);
    let counters = Arc::clone(&running.counters);
    let cursor = |topic, device: &str| bounded.journal.cursor(topic, partition_of(device.as_bytes(), PARTITIONS).0);
    until("the others delivered, though nothing can be buried", || cursor("traffic", "dev-1") == 19).await;
    assert_eq!((cursor("air", "dev-0"), bounded.asked.load(Relaxed)), (0, 1));
    bounded.open_reserve();
    until("all done", || bounded.journal.is_done()).await;
    running.stop().await;
    assert_eq!((bounded.asked.load(Relaxed), counters.poison.load(Relaxed)), (1, 1), "it is buried once");
    assert_eq!((count(&cluster, "traffic"), count(&cluster, "dead-letters")), (19, 1));
    let seen = read_topic(&cluster.bootstrap_servers(), "air");
    assert!(seen.len() <= 80 + 200_000 / 5_000, "no more than a window twice: {}", seen.len());
    let mut offsets: Vec<u64> = seen.iter().map(|record| record.place().1).collect();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets, (1..=80).collect::<Vec<_>>(), "all but the poison");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burial_that_waits_keeps_nothing_of_what_its_event_was_read_with() {
    let (cluster, journal) = (cluster(&["air"]), Arc::new(Journal::default()));
    journal.append("air", "dev-0", &POISON);
    let grave = Arc::new(Grave::default());
    let config = ForwardConfig { message_bytes_max: 10_000, ..config(&cluster) };
    let running = Running::start(config, &journal, Some(Arc::clone(&grave) as Arc<dyn DeadLetters>));
    until("buried", || journal.is_done()).await;
    running.stop().await;
    let buried = grave.0.lock().unwrap().remove(0).stored.event.payload;
    assert_eq!(buried.as_ref(), POISON);
    assert!(buried.is_unique(), "it shares the memory of what the journal gave");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_poison_than_the_window_holds_keeps_its_topic_waiting_and_no_other() {
    let (cluster, bounded) = (cluster(&["air", "traffic", "dead-letters"]), Arc::new(Bounded::default()));
    for _ in 0..40 {
        bounded.journal.append("air", "dev-0", &POISON);
    }
    while bounded.offer("traffic", "dev-1") {}
    let running = start(ForwardConfig { in_flight_bytes_max: 200_000, ..small(&cluster) }, &bounded);
    let counters = Arc::clone(&running.counters);
    until("the others delivered, though nothing can be buried", || counters.delivered.load(Relaxed) == 60).await;
    assert!((1..10).contains(&bounded.asked.load(Relaxed)), "{:?}", bounded.asked);
    assert_eq!(bounded.journal.cursor("air", partition_of(b"dev-0", PARTITIONS).0), 0, "passed before it was buried");
    bounded.reserve.store(ROOM, Relaxed);
    bounded.passed.notify_waiters();
    until("all done", || bounded.journal.is_done()).await;
    running.stop().await;
    assert_eq!((bounded.asked.load(Relaxed), counters.poison.load(Relaxed)), (40, 40), "each is buried once");
    assert_eq!((count(&cluster, "air"), count(&cluster, "traffic"), count(&cluster, "dead-letters")), (0, 60, 40));
}
