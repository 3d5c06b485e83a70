//! What the cluster refuses for its time is sent again with the time of sending, at its own place.

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
use std::time::Duration;

use journal::{Grave, Journal, Seen, Still, first_occurrences, read_topic};
use lamppost_event::{Clock, ClockQuality, EventTime, WallTime};
use lamppost_forward::{Counters, DeadLetters, Poison};
use rdkafka::types::RDKafkaApiKey;
use rdkafka::types::RDKafkaRespErr::{
    self, RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP as UNTIMELY, RD_KAFKA_RESP_ERR_NO_ERROR as FINE,
    RD_KAFKA_RESP_ERR_POLICY_VIOLATION as BROKEN,
};
use running::{Cluster, Running, cluster, config, until};

const DAY_MS: i64 = 86_400_000;
/// Ten days before the clock of the tests.
const LONG_AGO_MS: i64 = 1_700_000_000_000 - 10 * DAY_MS;

fn received(wall_ms: i64) -> EventTime {
    // Of another boot: within this one the monotonic clock would tell when it really was.
    let boot = lamppost_event::BootId(98);
    EventTime { wall: WallTime(wall_ms), boot, ..EventTime::received(Still.now(), Some(WallTime(77))) }
}

/// Events of one device, each a second after the one before.
fn old_events(topic: &str) -> Arc<Journal> {
    backlog(topic, 12)
}

fn backlog(topic: &str, events: i64) -> Arc<Journal> {
    let journal = Arc::new(Journal::default());
    for n in 0..events {
        journal.append_with(topic, "dev-0", b"old", received(LONG_AGO_MS + n * 1000));
    }
    journal
}

/// Forwards all, while the cluster answers the first batches so.
async fn forward(
    cluster: &Cluster,
    journal: &Arc<Journal>,
    answers: &[RDKafkaRespErr],
) -> (Vec<Seen>, Vec<Poison>, Arc<Counters>) {
    cluster.request_errors(RDKafkaApiKey::Produce, answers);
    let mut config = config(cluster);
    // All in one batch at first.
    config.linger = Duration::from_millis(200);
    let grave = Arc::new(Grave::default());
    let running = Running::start(config, journal, Some(Arc::clone(&grave) as Arc<dyn DeadLetters>));
    let counters = Arc::clone(&running.counters);
    until("all done", || journal.is_done()).await;
    running.stop().await;
    let buried = std::mem::take(&mut *grave.0.lock().unwrap());
    (read_topic(&cluster.bootstrap_servers(), "air"), buried, counters)
}

fn header<'a>(seen: &'a Seen, name: &str) -> &'a str {
    seen.headers[name].as_str()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_refused_for_its_time_goes_again_with_the_time_of_sending_at_its_own_place() {
    let (cluster, journal) = (cluster(&["air"]), old_events("air"));
    // The batch, and then the third of its events when it is alone.
    let (seen, buried, counters) = forward(&cluster, &journal, &[UNTIMELY, FINE, FINE, UNTIMELY]).await;
    assert_eq!(buried, [], "nothing is buried");
    assert_eq!(seen.len(), 12, "nothing twice");
    assert_eq!(first_occurrences(&seen), journal.expected("air"), "in order");
    for (n, record) in (0..).zip(&seen) {
        let own_ms = LONG_AGO_MS + n * 1000;
        let (time_ms, clock) = if n == 2 { (Still.now().wall.0, "forwarded") } else { (own_ms, "synced") };
        assert_eq!((record.timestamp, header(record, "ce_clock")), (time_ms, clock), "event {n}");
        assert_eq!(
            header(record, "ce_time"),
            format!("2023-11-04T22:13:{:02}.000Z", 20 + n),
            "its own still goes along"
        );
    }
    assert_eq!((counters.unclocked.load(Relaxed), counters.poison.load(Relaxed)), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_between_does_not_bring_the_refused_time_back() {
    let (cluster, journal) = (cluster(&["air"]), old_events("air"));
    // Alone, the first is refused for its time; then the producer fails twice; then it goes.
    let (seen, buried, counters) = forward(&cluster, &journal, &[UNTIMELY, UNTIMELY, BROKEN, BROKEN]).await;
    assert_eq!((buried.len(), seen.len()), (0, 12));
    assert_eq!((seen[0].timestamp, header(&seen[0], "ce_clock")), (Still.now().wall.0, "forwarded"));
    assert_eq!(counters.unclocked.load(Relaxed), 3, "with its own time it was tried once alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_time_of_sending_is_refused_too_the_topic_waits_and_nothing_is_buried() {
    let (cluster, journal) = (cluster(&["air"]), old_events("air"));
    // The batch; alone, the second with its own time, and then four times with that of sending.
    let answers = [UNTIMELY, FINE, UNTIMELY, UNTIMELY, UNTIMELY, UNTIMELY, UNTIMELY];
    let (seen, buried, counters) = forward(&cluster, &journal, &answers).await;
    assert_eq!(buried, [], "a clock was wrong, and no event");
    assert_eq!(first_occurrences(&seen), journal.expected("air"), "in order");
    assert_eq!((seen.len(), seen[1].timestamp), (12, Still.now().wall.0));
    assert_eq!(counters.poison.load(Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_refused_for_its_time_does_not_stop_its_topic() {
    let (cluster, journal) = (cluster(&["air"]), Arc::new(Journal::default()));
    journal.append_because("air", "dev-0", b"unroutable", received(LONG_AGO_MS), Some("no route"));
    let (seen, buried, _) = forward(&cluster, &journal, &[UNTIMELY, UNTIMELY]).await;
    assert_eq!((buried.len(), seen.len()), (0, 1));
    assert_eq!((seen[0].timestamp, header(&seen[0], "ce_reason")), (Still.now().wall.0, "no route"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_without_a_time_waits_too_until_the_time_of_sending_is_accepted() {
    let (cluster, journal) = (cluster(&["air"]), Arc::new(Journal::default()));
    let unset = EventTime { quality: ClockQuality::Unset, boot: lamppost_event::BootId(99), ..received(5) };
    journal.append_with("air", "dev-0", b"of another boot", unset);
    let (seen, buried, _) = forward(&cluster, &journal, &[UNTIMELY, UNTIMELY, UNTIMELY]).await;
    assert_eq!((seen.len(), buried.len()), (1, 0));
    assert_eq!(seen[0].timestamp, Still.now().wall.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_refused_times_does_not_cost_a_producer_each() {
    const EVENTS: i64 = 400;
    let (cluster, journal) = (cluster(&["air"]), backlog("air", EVENTS));
    // The batch, then each event with its own time; all that is asked besides is answered as the mock can: not at all.
    let answers: Vec<_> = [UNTIMELY].into_iter().chain((0..EVENTS).flat_map(|_| [UNTIMELY, FINE])).collect();
    let (seen, buried, counters) = forward(&cluster, &journal, &answers).await;
    assert_eq!((buried, seen.len()), (Vec::new(), 400));
    assert_eq!(first_occurrences(&seen), journal.expected("air"), "in order");
    assert!(counters.unclocked.load(Relaxed) > 300, "{counters:?}");
    assert!(counters.rebuilds.load(Relaxed) < 10, "{counters:?}");
}
