//! A journal that hides an event from its readers: nothing durable is passed over on its word alone.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what helps a test fails it by panicking"
)]

#[allow(dead_code, unreachable_pub, reason = "shared by the tests of this folder, none of which uses all")]
mod journal;

use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use journal::{Journal, PARTITIONS, Still, first_occurrences, read_topic};
use lamppost_event::{
    Chunk, Cursor, GatewayId, Group, Item, JournalStopped, Outlet, Partition, Position, Resume, TopicShape, Waiting,
    partition_of,
};
use lamppost_forward::{Counters, ForwardConfig, Forwarder};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tokio::sync::oneshot;

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// A journal whose reads leave out some offsets of one partition.
struct Hiding {
    journal: Journal,
    partition: Partition,
    offsets: Range<u64>,
    /// Which of the reads that come upon them leave them out, from 0.
    hidden: Range<u64>,
    met: AtomicU64,
}

impl Hiding {
    /// 200 events of `dev-0`, some offsets of which are hidden from some reads.
    fn new(offsets: Range<u64>, hidden: Range<u64>) -> Arc<Self> {
        let journal = Journal::default();
        journal.fill("air", 1, 200);
        Arc::new(Self {
            journal,
            partition: partition_of(b"dev-0", PARTITIONS),
            offsets,
            hidden,
            met: AtomicU64::new(0),
        })
    }
}

impl Outlet for Hiding {
    fn topics(&self) -> Vec<TopicShape> {
        self.journal.topics()
    }

    fn resume(&self, group: &Group) -> Result<Resume, JournalStopped> {
        self.journal.resume(group)
    }

    fn read(&self, from: Position, bytes_max: usize) -> Result<Chunk, JournalStopped> {
        let mut chunk = self.journal.read(from, bytes_max)?;
        let is_meant = |item: &Item| matches!(item, Item::Event(stored) if stored.partition == self.partition && self.offsets.contains(&stored.offset.0));
        if chunk.items.iter().any(is_meant) && self.hidden.contains(&self.met.fetch_add(1, Relaxed)) {
            chunk.items.retain(|item| !is_meant(item));
        }
        Ok(chunk)
    }

    fn commit(&self, group: &Group, cursors: &[Cursor]) -> Result<(), JournalStopped> {
        self.journal.commit(group, cursors)
    }

    fn grown(&self, position: Position) -> Waiting<'_, ()> {
        self.journal.grown(position)
    }
}

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("air", i32::from(PARTITIONS), 1).unwrap();
    cluster
}

fn config(cluster: &Cluster) -> ForwardConfig {
    let mut config = ForwardConfig::new(GatewayId::new("post-17").unwrap(), &cluster.bootstrap_servers());
    config.commit_interval = Duration::from_millis(20);
    config.retry_delay_min = Duration::from_millis(20);
    config.retry_delay_max = Duration::from_millis(400);
    config
}

/// Forwards until all cursors are at their ends.
async fn forward(config: ForwardConfig, outlet: &Arc<Hiding>) -> Arc<Counters> {
    let forwarder = Forwarder::new(config, Arc::clone(outlet) as Arc<dyn Outlet>, Arc::new(Still), None).unwrap();
    let counters = forwarder.counters();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(forwarder.run(async move { drop(stopped.await) }));
    for _ in 0..1500 {
        if outlet.journal.is_done() {
            drop(stop);
            task.await.unwrap().unwrap();
            return counters;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 15 s: all cursors at their ends");
}

fn delivered(cluster: &Cluster, outlet: &Hiding) -> Vec<u64> {
    first_occurrences(&read_topic(&cluster.bootstrap_servers(), "air"))[&outlet.partition.0].clone()
}

fn gaps(counters: &Counters) -> (u64, u64) {
    (counters.gaps.load(Relaxed), counters.gap_events.load(Relaxed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_hidden_once_is_read_again_and_delivered_in_order() {
    // The first of all, the last of a read of 16, and one in the middle.
    for place in [0, 31, 77] {
        let cluster = cluster();
        let outlet = Hiding::new(place..place + 1, 0..1);
        let mut config = config(&cluster);
        config.read_bytes = 16 * 128;
        let counters = forward(config, &outlet).await;
        let seen = read_topic(&cluster.bootstrap_servers(), "air");
        assert_eq!(first_occurrences(&seen), outlet.journal.expected("air"));
        assert_eq!(seen.len(), 200, "nothing twice");
        assert_eq!((gaps(&counters), counters.rereads.load(Relaxed)), ((0, 0), 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_hidden_for_ever_are_passed_after_three_more_reads_and_counted() {
    let cluster = cluster();
    let outlet = Hiding::new(77..79, 0..u64::MAX);
    let counters = forward(config(&cluster), &outlet).await;
    let expected: Vec<u64> = (0..200).filter(|offset| !(77..79).contains(offset)).collect();
    assert_eq!(delivered(&cluster, &outlet), expected);
    assert_eq!((gaps(&counters), counters.rereads.load(Relaxed)), ((1, 2), 3));
    assert!(outlet.met.load(Relaxed) >= 4, "the first read and three more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_hidden_from_a_topic_apart_is_read_again_and_delivered_in_order() {
    let cluster = cluster();
    // The batch behind the first, which goes alone, is refused, so that its events go one by one: the reads for that do not see the event at first.
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD;
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR, refused]);
    let outlet = Hiding::new(20..21, 1..3);
    let mut config = config(&cluster);
    config.linger = Duration::from_millis(200);
    let counters = forward(config, &outlet).await;
    assert_eq!(delivered(&cluster, &outlet), (0..200).collect::<Vec<_>>());
    assert_eq!(gaps(&counters), (0, 0));
    assert!(counters.rereads.load(Relaxed) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_hidden_for_ever_from_a_topic_apart_are_passed_and_counted() {
    let cluster = cluster();
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD;
    cluster.request_errors(RDKafkaApiKey::Produce, &[refused]);
    let outlet = Hiding::new(20..22, 1..u64::MAX);
    let mut config = config(&cluster);
    config.linger = Duration::from_millis(200);
    let counters = forward(config, &outlet).await;
    let expected: Vec<u64> = (0..200).filter(|offset| !(20..22).contains(offset)).collect();
    assert_eq!(delivered(&cluster, &outlet), expected);
    assert_eq!((gaps(&counters), counters.rereads.load(Relaxed)), ((1, 2), 3));
}

/// A journal that resumes only once it is let go, as a disk would that is slow.
struct Slow {
    journal: Journal,
    go: Mutex<mpsc::Receiver<()>>,
}

impl Outlet for Slow {
    fn topics(&self) -> Vec<TopicShape> {
        self.journal.topics()
    }

    fn resume(&self, group: &Group) -> Result<Resume, JournalStopped> {
        let go = self.go.lock().unwrap().recv_timeout(Duration::from_secs(3));
        go.map_err(|_| JournalStopped { reason: "the other tasks stood still meanwhile".into() })?;
        self.journal.resume(group)
    }

    fn read(&self, from: Position, bytes_max: usize) -> Result<Chunk, JournalStopped> {
        self.journal.read(from, bytes_max)
    }

    fn commit(&self, group: &Group, cursors: &[Cursor]) -> Result<(), JournalStopped> {
        self.journal.commit(group, cursors)
    }

    fn grown(&self, position: Position) -> Waiting<'_, ()> {
        self.journal.grown(position)
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_slow_start_of_the_journal_keeps_no_other_task_waiting() {
    let (let_go, go) = mpsc::channel();
    let outlet = Arc::new(Slow { journal: Journal::default(), go: Mutex::new(go) });
    let config = ForwardConfig::new(GatewayId::new("post-17").unwrap(), "localhost:1");
    let forwarder = Forwarder::new(config, outlet, Arc::new(Still), None).unwrap();
    let task = tokio::spawn(forwarder.run(tokio::time::sleep(Duration::from_millis(50))));
    tokio::task::yield_now().await;
    let_go.send(()).unwrap();
    let left = task.await.unwrap().unwrap();
    assert_eq!(left.events, 0);
}
