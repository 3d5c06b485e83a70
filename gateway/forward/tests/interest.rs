//! A sink that takes some topics only: the others are passed, and neither sent, nor told of, nor waited for.

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

use journal::{Grave, Journal, PARTITIONS, Still, first_occurrences, read_topic};
use lamppost_event::{Gap, Group, Interest, JournalStopped, Outlet, Waiting, buried_id, partition_of};
use lamppost_forward::{AuditTrail, DeadLetters, Forwarder};
use running::{Running, cluster, config, until};

/// Nothing is to be told.
struct Silent;

impl AuditTrail for Silent {
    fn tell(&self, gap: Gap) -> Waiting<'_, Result<bool, JournalStopped>> {
        panic!("{gap:?} is told");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursors_pass_what_is_not_taken_gaps_and_holes_included_and_only_the_rest_is_sent() {
    let (cluster, journal) = (cluster(&["air", "noise"]), Arc::new(Journal::default()));
    let partition = partition_of(b"dev-0", PARTITIONS).0;
    for _ in 0..20 {
        journal.fill("noise", 3, 10);
        journal.append_gap("noise", partition, 7);
        journal.fill("air", 3, 10);
    }
    let outlet = Arc::clone(&journal) as Arc<dyn Outlet>;
    let forwarder = Forwarder::new(config(&cluster), outlet, Arc::new(Still), None).unwrap();
    let forwarder = forwarder.with_trail(Arc::new(Silent)).with_interest(Interest::new(["a*"]).unwrap());
    let running = Running::launch(forwarder);
    let counters = Arc::clone(&running.counters);
    until("all done", || journal.is_done()).await;
    running.stop().await;
    assert_eq!(counters.delivered.load(Relaxed), journal.expected("air").values().map(Vec::len).sum::<usize>() as u64);
    assert_eq!((counters.gaps.load(Relaxed), counters.rereads.load(Relaxed)), (0, 0));
    let bootstrap = cluster.bootstrap_servers();
    assert_eq!(first_occurrences(&read_topic(&bootstrap, "air")), journal.expected("air"));
    assert!(read_topic(&bootstrap, "noise").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_names_the_sink_whose_cluster_can_not_take_the_event() {
    let (cluster, journal, grave) = (cluster(&["air"]), Arc::new(Journal::default()), Arc::new(Grave::default()));
    journal.append("air", "dev-0", &vec![b'x'; 50_000]);
    let mut config = config(&cluster);
    (config.group, config.message_bytes_max) = (Group::new("analytics").unwrap(), 20_000);
    let outlet = Arc::clone(&journal) as Arc<dyn Outlet>;
    let dead_letters = Arc::clone(&grave) as Arc<dyn DeadLetters>;
    let running = Running::launch(Forwarder::new(config, outlet, Arc::new(Still), Some(dead_letters)).unwrap());
    until("buried", || !grave.0.lock().unwrap().is_empty()).await;
    running.stop().await;
    let reason = grave.0.lock().unwrap()[0].reason.clone();
    assert!(reason.starts_with("the cluster of sink analytics can't take post-17/"), "{reason}");
    assert!(buried_id("analytics", &reason).is_some() && buried_id("forward", &reason).is_none());
}
