use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::timeout;

use bytes::Bytes;
use lamppost_event::{Address, DeviceId, Monotonic};

use super::*;
use crate::codec::Qos;

fn message(topic: &str, payload: &'static [u8]) -> Message {
    Message {
        topic: Address::new(topic).unwrap(),
        payload: Bytes::from_static(payload),
        qos: Qos::AtLeastOnce,
        retain: false,
        publisher: DeviceId::new("d").unwrap(),
        expires: None,
        properties: Bytes::new(),
    }
}

fn fanout(limits: Limits) -> (Fanout, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    (Fanout::start(Arc::new(limits), Arc::clone(&counters)).unwrap(), counters)
}

async fn coming(link: &Link) -> Result<Delivery, LinkEnded> {
    std::future::poll_fn(|context| link.poll_next(context)).await
}

async fn next(link: &mut Link) -> Delivery {
    timeout(Duration::from_secs(5), coming(link)).await.expect("nothing came").unwrap()
}

#[tokio::test]
async fn a_delivery_names_its_subscription_and_is_what_was_published() {
    let (fanout, _) = fanout(Limits::default());
    assert!(!fanout.wanted());
    let mut link = fanout.open();
    assert!(!fanout.wanted());
    link.subscribe("a/#", 3);
    assert!(fanout.wanted());
    let published = Message { expires: Some(Monotonic(60)), retain: true, ..message("a/b", b"x") };
    fanout.publish(published.clone());
    let delivery = next(&mut link).await;
    assert_eq!((&*delivery.message, delivery.subscription), (&published, 3));
    drop(link);
    assert!(!fanout.wanted());
}

#[tokio::test]
async fn what_finds_no_room_is_shed_and_counted() {
    let (fanout, counters) = fanout(Limits { fanout_bytes_max: 100, ..Limits::default() });
    let mut link = fanout.open();
    link.subscribe("a", 1);
    fanout.publish(message("a", b"x"));
    assert_eq!(counters.fanout_shed.load(Relaxed), 1);
    assert_eq!(fanout.shared.pool.free(), 100);
}

#[tokio::test]
async fn filters_are_bounded_and_given_back_by_who_unsubscribes_and_who_leaves() {
    let bytes = filter_bytes("a/b");
    let (fanout, _) = fanout(Limits { filters_bytes_max: 2 * bytes, ..Limits::default() });
    let (mut link, mut other) = (fanout.open(), fanout.open());
    assert!(fanout.admits("a/b", bytes) && !fanout.admits("a/b", bytes + 1));
    link.subscribe("a/b", 1);
    // The same filter of another client is one more.
    other.subscribe("a/b", 1);
    assert!(!fanout.admits("a/b", 0) && !fanout.admits("a", 0));
    link.unsubscribe("a/b");
    assert!(fanout.admits("a/b", 0));
    link.subscribe("a/c", 2);
    assert!(!fanout.admits("a/b", 0));
    drop((link, other));
    assert!(fanout.admits("a/b", bytes) && !fanout.wanted());
}

#[tokio::test]
async fn what_was_published_before_a_subscription_is_not_for_it_and_what_nobody_wants_goes_nowhere() {
    let (fanout, _) = fanout(Limits::default());
    let (mut early, mut late) = (fanout.open(), fanout.open());
    early.subscribe("a", 1);
    for _ in 0..100 {
        fanout.publish(message("a", b"before"));
    }
    late.subscribe("a", 1);
    fanout.publish(message("b", b"for nobody"));
    fanout.publish(message("a", b"after"));
    assert_eq!(&next(&mut late).await.message.payload[..], b"after");
    for _ in 0..100 {
        assert_eq!(&next(&mut early).await.message.payload[..], b"before");
    }
    assert_eq!(&next(&mut early).await.message.payload[..], b"after");
    drop((early, late));
    // The router's thread lets go of the last one a moment after it has put it in.
    for _ in 0..500 {
        if fanout.shared.pool.free() == Limits::default().fanout_bytes_max {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} bytes are free", fanout.shared.pool.free());
}

#[tokio::test]
async fn more_than_the_router_keeps_goes_through_it_and_nothing_is_lost_without_a_word() {
    let limits = Limits { fanout_bytes_max: 64 << 10, ..Limits::default() };
    let (fanout, counters) = fanout(limits);
    let mut link = fanout.open();
    link.subscribe("a", 1);
    let mut had = 0;
    for number in 0..5_000 {
        fanout.publish(message("a", &[7; 100]));
        while number % 50 == 0 && timeout(Duration::ZERO, coming(&link)).await.is_ok_and(|next| next.is_ok()) {
            had += 1;
        }
    }
    while timeout(Duration::from_millis(200), coming(&link)).await.is_ok_and(|next| next.is_ok()) {
        had += 1;
    }
    assert_eq!(had + counters.fanout_shed.load(Relaxed), 5_000);
    assert!(had > 1_000, "{had}");
}

#[tokio::test]
async fn a_reader_that_pauses_gets_on_and_ends_do_not_kill_the_router() {
    let (fanout, counters) = fanout(Limits { fanout_bytes_max: 64 << 20, ..Limits::default() });
    for _ in 0..20 {
        let mut link = fanout.open();
        link.subscribe("busy", 1);
        for _ in 0..1_000 {
            fanout.publish(message("busy", b"x"));
        }
        // More than the router hands out at once; the rest is left when the link is dropped in full flow.
        for _ in 0..500 {
            next(&mut link).await;
        }
    }
    assert_eq!(counters.router_restarts.load(Relaxed), 0);
}

#[tokio::test]
async fn links_of_a_dead_router_end_and_new_ones_work() {
    let (fanout, counters) = fanout(Limits::default());
    let mut link = fanout.open();
    link.subscribe("a", 1);
    fanout.make_router_panic();
    assert!(matches!(timeout(Duration::from_secs(5), coming(&link)).await.unwrap(), Err(LinkEnded)));
    let mut link = fanout.open();
    link.subscribe("a", 1);
    fanout.publish(message("a", b"x"));
    assert_eq!(&next(&mut link).await.message.payload[..], b"x");
    assert_eq!(counters.router_restarts.load(Relaxed), 1);
}

// MQTT 5.0: 4.5.0-1
// MQTT 3.1.1: 4.5.0-1
#[tokio::test]
async fn what_is_published_after_a_subscription_reaches_it_however_far_behind_the_router_is() {
    let (fanout, _) = fanout(Limits::default());
    let mut busy = fanout.open();
    busy.subscribe("busy", 1);
    for round in 0..50 {
        let filter = format!("late/{round}");
        let mut link = fanout.open();
        for _ in 0..200 {
            fanout.publish(message("busy", b"x"));
        }
        link.subscribe(&filter, 1);
        fanout.publish(message(&filter, b"after"));
        assert_eq!(next(&mut link).await.message.payload, "after", "in round {round}");
    }
}
