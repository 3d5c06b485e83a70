//! What may happen while there are two lanes: gaps, poison, stops, topics without events. With real producers against librdkafka's mock cluster.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what helps a test fails it by panicking")]

#[allow(dead_code, unreachable_pub, reason = "shared by the tests of this folder, none of which uses all")]
mod journal;
#[allow(dead_code, unreachable_pub, reason = "shared by the tests of this folder, none of which uses all")]
mod lanes;
#[allow(dead_code, unreachable_pub, reason = "shared by the tests of this folder, none of which uses all")]
mod running;

use std::num::NonZeroU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use journal::{Grave, Journal, PARTITIONS, Still, read_topic};
use lamppost_event::{Gap, Interest, JournalStopped, Outlet, Waiting, partition_of};
use lamppost_forward::{AuditTrail, Counters, DeadLetters, ForwardConfig, Forwarder, LiveFirst, Poison};
use lanes::{Noise, assert_whole_and_in_order_by_lane, backlog, live, live_first};
use running::{Cluster, Running, cluster, until};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Larger than [`small`] takes.
static POISON: [u8; 20_000] = [b'x'; 20_000];

/// What it was told of.
#[derive(Default)]
struct Trail(Mutex<Vec<Gap>>);

impl AuditTrail for Trail {
    fn tell(&self, gap: Gap) -> Waiting<'_, Result<bool, JournalStopped>> {
        self.0.lock().unwrap().push(gap);
        Box::pin(std::future::ready(Ok(true)))
    }
}

impl Trail {
    /// The offsets of each gap, first to the one behind it.
    fn told(&self) -> Vec<(u64, u64)> {
        let mut told: Vec<_> = self.0.lock().unwrap().iter().map(|gap| (gap.from.0, gap.to.0)).collect();
        told.sort_unstable();
        told
    }
}

/// Dead letters for which there is no room yet.
struct Late(Grave, Semaphore);

impl DeadLetters for Late {
    fn bury(&self, poison: Poison) -> Waiting<'_, Result<(), JournalStopped>> {
        Box::pin(async move {
            self.1.acquire().await.unwrap().forget();
            self.0.bury(poison).await
        })
    }
}

/// Gaps, and the events in them: of the backfill, and live.
fn gaps(counters: &Counters) -> [[u64; 2]; 2] {
    [counters, counters.live().unwrap()].map(|of| [of.gaps.load(Relaxed), of.gap_events.load(Relaxed)])
}

fn small(cluster: &Cluster) -> ForwardConfig {
    ForwardConfig { message_bytes_max: 10_000, ..live_first(cluster) }
}

/// Little is read ahead: what is lost further on is met as lost.
fn short_sighted(cluster: &Cluster) -> ForwardConfig {
    ForwardConfig { read_bytes: 2048, ..live_first(cluster) }
}

async fn two_lanes(counters: &Counters) {
    until("two lanes", || counters.split.load(Relaxed)).await;
}

async fn one_lane_and_all_done(counters: &Counters, journal: &Journal) {
    until("one lane again", || !counters.split.load(Relaxed)).await;
    until("all cursors at their ends", || journal.is_done()).await;
    assert!(!journal.knows_lanes(), "nothing is kept of a split that is over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_across_the_horizon_is_passed_counted_and_told_once_in_each_lane_for_its_own_side() {
    let cluster = cluster(&["air"]);
    let (journal, mut noise, trail) = (Arc::new(Journal::default()), Noise(21), Arc::new(Trail::default()));
    backlog(&journal, "air", 400, &mut noise);
    let outlet = Arc::clone(&journal) as Arc<dyn Outlet>;
    let forwarder = Forwarder::new(short_sighted(&cluster), outlet, Arc::new(Still), None).unwrap();
    let running = Running::launch(forwarder.with_trail(Arc::clone(&trail) as Arc<dyn AuditTrail>));
    let counters = Arc::clone(&running.counters);
    two_lanes(&counters).await;
    let partition = partition_of(b"dev-3", PARTITIONS).0;
    let horizon = journal.horizon("air", partition).unwrap();
    for _ in 0..8 {
        journal.append_quietly("air", "dev-3", b"live");
    }
    journal.lose("air", partition, horizon - 5, horizon + 4);
    journal.wake();
    until("passed by the live lane", || gaps(&counters)[1] == [1, 4]).await;
    assert_eq!(gaps(&counters)[0], [0, 0], "the backfill is not there yet");
    one_lane_and_all_done(&counters, &journal).await;
    live(&journal, "air", 20, &mut noise);
    until("those behind it", || journal.is_done()).await;
    running.stop().await;
    assert_eq!(gaps(&counters), [[1, 5], [1, 4]]);
    assert_eq!(counters.rereads.load(Relaxed), 0, "offsets were taken for missing without a word");
    assert_eq!(trail.told(), [(horizon - 5, horizon), (horizon, horizon + 4)]);
    assert_eq!(assert_whole_and_in_order_by_lane(&cluster, &journal, "air"), 419, "nothing twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gaps_are_counted_once_over_both_lanes_and_over_one_split_after_the_other() {
    let cluster = cluster(&["air"]);
    let (journal, mut noise) = (Arc::new(Journal::default()), Noise(22));
    let running = Running::start(short_sighted(&cluster), &journal, None);
    let counters = Arc::clone(&running.counters);
    for split in 1..=2 {
        backlog(&journal, "air", 250, &mut noise);
        journal.append_gap("air", 1, 10);
        backlog(&journal, "air", 50, &mut noise);
        two_lanes(&counters).await;
        journal.append_gap("air", 2, 7);
        live(&journal, "air", 20, &mut noise);
        until("passed by the live lane", || gaps(&counters)[1] == [split, 7 * split]).await;
        one_lane_and_all_done(&counters, &journal).await;
        assert_eq!(gaps(&counters), [[split, 10 * split], [split, 7 * split]]);
    }
    running.stop().await;
    assert_eq!(counters.over_lanes(|counters| &counters.gap_events), 34);
    assert_whole_and_in_order_by_lane(&cluster, &journal, "air");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_never_be_accepted_is_buried_once_by_the_lane_that_it_is_in() {
    let cluster = cluster(&["air"]);
    let (journal, mut noise, grave) = (Arc::new(Journal::default()), Noise(23), Arc::new(Grave::default()));
    backlog(&journal, "air", 350, &mut noise);
    journal.append("air", "dev-3", &POISON);
    backlog(&journal, "air", 50, &mut noise);
    let running = Running::start(small(&cluster), &journal, Some(Arc::clone(&grave) as Arc<dyn DeadLetters>));
    let counters = Arc::clone(&running.counters);
    two_lanes(&counters).await;
    live(&journal, "air", 10, &mut noise);
    journal.append("air", "dev-3", &POISON);
    live(&journal, "air", 10, &mut noise);
    let lane = counters.live().unwrap();
    until("the live ones delivered", || lane.delivered.load(Relaxed) == 20).await;
    until("the live one buried", || lane.poison.load(Relaxed) == 1).await;
    assert!(counters.split.load(Relaxed), "long before the backlog's end");
    assert_eq!(counters.poison.load(Relaxed), 0, "the backlog's is still to come");
    one_lane_and_all_done(&counters, &journal).await;
    running.stop().await;
    assert_eq!((counters.poison.load(Relaxed), lane.poison.load(Relaxed)), (1, 1));
    let mut buried: Vec<_> = grave.0.lock().unwrap().iter().map(|poison| poison.stored.offset.0).collect();
    buried.sort_unstable();
    let partition = partition_of(b"dev-3", PARTITIONS).0;
    let seen = read_topic(&cluster.bootstrap_servers(), "air");
    let there: Vec<u64> = seen.iter().map(journal::Seen::place).filter(|at| at.0 == partition).map(|at| at.1).collect();
    let lacking: Vec<u64> = (0..journal.end("air", partition)).filter(|offset| !there.contains(offset)).collect();
    assert_eq!((seen.len(), buried.len()), (420, 2), "all the others, nothing twice");
    assert_eq!(buried, lacking, "each event is there or buried");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burial_that_waits_for_room_keeps_nothing_from_going_live() {
    let cluster = cluster(&["air"]);
    let (journal, mut noise) = (Arc::new(Journal::default()), Noise(24));
    let late = Arc::new(Late(Grave::default(), Semaphore::new(0)));
    journal.append("air", "dev-3", &POISON);
    backlog(&journal, "air", 200, &mut noise);
    let running = Running::start(small(&cluster), &journal, Some(Arc::clone(&late) as Arc<dyn DeadLetters>));
    let counters = Arc::clone(&running.counters);
    two_lanes(&counters).await;
    live(&journal, "air", 20, &mut noise);
    let lane = counters.live().unwrap();
    until("the live ones delivered", || lane.delivered.load(Relaxed) == 20).await;
    let partition = partition_of(b"dev-3", PARTITIONS).0;
    assert_eq!(journal.cursor("air", partition), 0, "passed before it was buried");
    late.1.add_permits(1);
    one_lane_and_all_done(&counters, &journal).await;
    running.stop().await;
    assert_eq!(late.0.0.lock().unwrap().len(), 1);
    assert_eq!(read_topic(&cluster.bootstrap_servers(), "air").len(), 220, "nothing twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_without_events_goes_in_one_lane_and_comes_once_over_a_restart() {
    let cluster = cluster(&["air", "young"]);
    let (journal, mut noise) = (Arc::new(Journal::default()), Noise(25));
    journal.declare("young");
    backlog(&journal, "air", 300, &mut noise);
    let mut config = live_first(&cluster);
    let topics = Interest::new(["air", "young"]).unwrap();
    config.live_first = Some(LiveFirst { topics, after: Duration::from_secs(60) });
    let running = Running::start(config.clone(), &journal, None);
    two_lanes(&running.counters).await;
    live(&journal, "young", 20, &mut noise);
    live(&journal, "air", 20, &mut noise);
    until("the live ones delivered", || running.counters.live().unwrap().delivered.load(Relaxed) >= 20).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(running.counters.split.load(Relaxed), "long before the backlog's end");
    assert!(!running.stop().await.caught_up);
    let running = Running::start(config, &journal, None);
    until("all cursors at their ends", || journal.is_done()).await;
    running.stop().await;
    let young = read_topic(&cluster.bootstrap_servers(), "young");
    assert_eq!(assert_whole_and_in_order_by_lane(&cluster, &journal, "young"), 20, "nothing twice");
    assert!(!young.iter().any(|record| record.headers.contains_key("ce_lane")));
    assert_whole_and_in_order_by_lane(&cluster, &journal, "air");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_with_two_lanes_ends_though_the_live_lane_was_done_long_before_the_other() {
    let cluster = cluster(&["air"]);
    let (journal, mut noise) = (Arc::new(Journal::default()), Noise(26));
    backlog(&journal, "air", 200, &mut noise);
    let patient = ForwardConfig {
        stop_deadline: Duration::from_secs(20),
        // Slow: the moment of which this tells lasts.
        bandwidth_max: NonZeroU64::new(15_000),
        ..live_first(&cluster)
    };
    let running = Running::start(patient, &journal, None);
    let counters = Arc::clone(&running.counters);
    two_lanes(&counters).await;
    live(&journal, "air", 5, &mut noise);
    until("the live ones delivered", || counters.live().unwrap().delivered.load(Relaxed) == 5).await;
    // The live lane has nothing in flight; of the backlog all is handed over, nothing is left to be read, and the last answers are waited for.
    until("all but the end delivered", || counters.delivered.load(Relaxed) >= 200 - 15).await;
    cluster.broker_round_trip_time(-1, Duration::from_secs(3)).unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await;
    let delivered = counters.delivered.load(Relaxed);
    assert!(delivered < 200 && counters.split.load(Relaxed), "too late to show anything");
    let left = timeout(Duration::from_secs(50), running.stop()).await.expect("a stop that never ends");
    assert_eq!(left.events, 0, "what was in flight was waited for");
    assert!(counters.delivered.load(Relaxed) > delivered, "nothing was in flight: it shows nothing");
    cluster.broker_round_trip_time(-1, Duration::ZERO).unwrap();
    let running = Running::start(live_first(&cluster), &journal, None);
    until("all cursors at their ends", || journal.is_done()).await;
    running.stop().await;
    assert_eq!(assert_whole_and_in_order_by_lane(&cluster, &journal, "air"), 205, "nothing twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stop_leaves_undelivered_is_told_of_both_lanes() {
    let cluster = cluster(&["air"]);
    let (journal, mut noise) = (Arc::new(Journal::default()), Noise(28));
    backlog(&journal, "air", 200, &mut noise);
    let config = ForwardConfig { stop_deadline: Duration::from_millis(100), ..live_first(&cluster) };
    let running = Running::start(config, &journal, None);
    let counters = Arc::clone(&running.counters);
    two_lanes(&counters).await;
    live(&journal, "air", 5, &mut noise);
    let lane = counters.live().unwrap();
    until("the live ones delivered", || lane.delivered.load(Relaxed) == 5).await;
    cluster.broker_round_trip_time(-1, Duration::from_secs(5)).unwrap();
    live(&journal, "air", 5, &mut noise);
    until("in flight", || lane.in_flight_events.load(Relaxed) == 5).await;
    let left = running.stop().await;
    assert!(!left.caught_up && lane.in_flight_events.load(Relaxed) == 5, "it shows nothing");
    assert_eq!(left.events, counters.over_lanes(|counters| &counters.in_flight_events));
    assert_eq!(left.bytes, counters.over_lanes(|counters| &counters.in_flight_bytes));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_while_the_live_lane_ends_waits_for_it_and_leaves_one_lane() {
    let cluster = cluster(&["air"]);
    let (journal, mut noise) = (Arc::new(Journal::default()), Noise(27));
    backlog(&journal, "air", 300, &mut noise);
    let running = Running::start(live_first(&cluster), &journal, None);
    let counters = Arc::clone(&running.counters);
    two_lanes(&counters).await;
    live(&journal, "air", 20, &mut noise);
    until("the live ones delivered", || counters.live().unwrap().delivered.load(Relaxed) == 20).await;
    let asked = journal.lanes_asked.load(Relaxed);
    *journal.lanes_take.lock().unwrap() = Duration::from_millis(800);
    until("the live lane ends", || journal.lanes_asked.load(Relaxed) > asked).await;
    assert!(journal.knows_lanes() && counters.split.load(Relaxed), "too late to show anything");
    timeout(Duration::from_secs(20), running.stop()).await.expect("a stop that never ends");
    assert!(!journal.knows_lanes() && !counters.split.load(Relaxed));
    assert!(journal.is_done(), "the cursors of the live lane were taken over");
    let running = Running::start(live_first(&cluster), &journal, None);
    live(&journal, "air", 20, &mut noise);
    until("those behind it", || journal.is_done()).await;
    running.stop().await;
    assert_eq!(assert_whole_and_in_order_by_lane(&cluster, &journal, "air"), 340, "nothing twice");
}
