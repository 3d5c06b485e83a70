//! A journal that gives some of what was read again, at the front of each chunk, and tells gaps that begin below the reader's place
//! or lie wholly there: what it was read from may have been made denser since.

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
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use journal::{Grave, Journal, PARTITIONS, first_occurrences, read_topic};
use lamppost_event::{
    Chunk, Cursor, Group, Item, JournalStopped, Offset, Outlet, Position, Resume, TopicShape, Waiting, partition_of,
};
use lamppost_forward::{Counters, DeadLetters};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use running::{Cluster, Running, cluster, config, until};

/// So many items of before come again with each read.
const BACK: u64 = 25;
/// So many offsets before its beginning does each gap begin.
const WIDER: u64 = 4;
/// So many bytes are 16 items of the journal of these tests.
const READ_BYTES: usize = 16 * 128;

#[derive(Default)]
struct Denser {
    journal: Journal,
    reads: AtomicU64,
}

impl Denser {
    /// 600 events of so many devices, with gaps of 1 to 5 events between.
    fn with_gaps(devices: usize) -> Arc<Self> {
        let denser = Arc::new(Self::default());
        for round in 0..12 {
            denser.journal.fill("air", devices, 50);
            let device = format!("dev-{}", round % devices);
            denser.journal.append_gap("air", partition_of(device.as_bytes(), PARTITIONS).0, 1 + round as u64 % 5);
        }
        denser
    }
}

const GAPS: (u64, u64) = (12, 3 + 3 * 10);

impl Outlet for Denser {
    fn topics(&self) -> Vec<TopicShape> {
        self.journal.topics()
    }

    fn resume(&self, group: &Group) -> Result<Resume, JournalStopped> {
        self.journal.resume(group)
    }

    fn read(&self, from: Position, bytes_max: usize) -> Result<Chunk, JournalStopped> {
        self.reads.fetch_add(1, Relaxed);
        let fresh = self.journal.read(from, bytes_max)?;
        let back = from.0.min(BACK);
        let again = self.journal.read(Position(from.0 - back), back as usize * 128)?;
        let mut items = [again.items, fresh.items].concat();
        for item in &mut items {
            if let Item::Gap(gap) = item {
                gap.from = Offset(gap.from.0.saturating_sub(WIDER));
            }
        }
        Ok(Chunk { items, ..fresh })
    }

    fn commit(&self, group: &Group, cursors: &[Cursor]) -> Result<(), JournalStopped> {
        self.journal.commit(group, cursors)
    }

    fn grown(&self, position: Position) -> Waiting<'_, ()> {
        self.journal.grown(position)
    }
}

fn gaps(counters: &Counters) -> (u64, u64) {
    (counters.gaps.load(Relaxed), counters.gap_events.load(Relaxed))
}

fn delivered(cluster: &Cluster) -> (usize, HashMap<u16, Vec<u64>>) {
    let seen = read_topic(&cluster.bootstrap_servers(), "air");
    (seen.len(), first_occurrences(&seen))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_again_while_it_is_in_flight_is_not_sent_twice_and_no_gap_is_counted_twice() {
    let (cluster, denser) = (cluster(&["air"]), Denser::with_gaps(6));
    // All is read, over and over, before a report comes but for those of the first of each partition, which goes alone.
    cluster.broker_round_trip_time(-1, Duration::from_millis(1_500)).unwrap();
    let mut config = config(&cluster);
    config.read_bytes = READ_BYTES;
    let running = Running::start(config, &denser, None);
    let counters = Arc::clone(&running.counters);
    until("all handed over", || counters.sent.load(Relaxed) == 600).await;
    let delivered_by_then = counters.delivered.load(Relaxed);
    assert!(delivered_by_then <= u64::from(PARTITIONS), "{delivered_by_then} reports came too early to show anything");
    until("all done", || denser.journal.is_done()).await;
    running.stop().await;
    assert_eq!(delivered(&cluster), (600, denser.journal.expected("air")));
    assert_eq!((counters.sent.load(Relaxed), counters.delivered.load(Relaxed)), (600, 600));
    assert_eq!((gaps(&counters), counters.rereads.load(Relaxed)), (GAPS, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_apart_skips_what_comes_again_and_ends_where_the_journal_does() {
    let (cluster, denser) = (cluster(&["air"]), Denser::with_gaps(1));
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 3]);
    let mut config = config(&cluster);
    config.read_bytes = READ_BYTES;
    config.linger = Duration::from_millis(200);
    let running = Running::start(config, &denser, None);
    let counters = Arc::clone(&running.counters);
    until("all done", || denser.journal.is_done()).await;
    until("caught up", || counters.caught_up.load(Relaxed)).await;
    running.stop().await;
    assert_eq!(delivered(&cluster), (600, denser.journal.expected("air")), "in order, and nothing twice");
    assert_eq!((gaps(&counters), counters.rereads.load(Relaxed)), (GAPS, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_is_not_read_over_and_over_though_something_of_before_comes_each_time() {
    let (cluster, denser) = (cluster(&["air"]), Denser::with_gaps(6));
    // Every event goes alone, the last ones too.
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD; 4]);
    let mut config = config(&cluster);
    config.linger = Duration::from_millis(300);
    let grave = Arc::new(Grave::default());
    let running = Running::start(config, &denser, Some(Arc::clone(&grave) as Arc<dyn DeadLetters>));
    let counters = Arc::clone(&running.counters);
    until("all done", || denser.journal.is_done()).await;
    until("caught up", || counters.caught_up.load(Relaxed)).await;
    let reads = denser.reads.load(Relaxed);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(denser.reads.load(Relaxed) <= reads + 1, "{reads}, then {}", denser.reads.load(Relaxed));
    denser.journal.append("air", "dev-0", b"later");
    until("the later one too", || denser.journal.is_done()).await;
    running.stop().await;
    assert_eq!(gaps(&counters), GAPS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gaps_met_again_by_the_next_producer_are_counted_once() {
    let (cluster, denser) = (cluster(&["air"]), Denser::with_gaps(6));
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION; 3]);
    let mut config = config(&cluster);
    config.read_bytes = READ_BYTES;
    config.linger = Duration::from_millis(200);
    let running = Running::start(config, &denser, None);
    let counters = Arc::clone(&running.counters);
    until("all done", || denser.journal.is_done()).await;
    running.stop().await;
    assert!(counters.rebuilds.load(Relaxed) > 0 && counters.sent.load(Relaxed) > 600, "nothing was met again");
    assert_eq!(delivered(&cluster).1, denser.journal.expected("air"));
    assert_eq!((gaps(&counters), counters.rereads.load(Relaxed)), (GAPS, 0));
}
