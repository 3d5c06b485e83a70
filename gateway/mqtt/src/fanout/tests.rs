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

async fn next(link: &mut Link) -> Delivery {
    timeout(Duration::from_secs(5), link.next()).await.expect("nothing came").unwrap()
}

#[tokio::test]
async fn a_delivery_names_its_subscription_and_is_what_was_published() {
    let (fanout, _) = fanout(Limits::default());
    assert!(!fanout.wanted());
    let mut link = fanout.open().await.unwrap();
    assert!(fanout.wanted() && fanout.admits("a/#"));
    link.subscribe("a/#", 3).unwrap();
    let published = Message { expires: Some(Monotonic(60)), retain: true, ..message("a/b", b"x") };
    fanout.publish(published.clone());
    assert_eq!(next(&mut link).await, Delivery { message: published, subscription: Some(3) });
    drop(link);
    assert!(!fanout.wanted());
}

#[tokio::test]
async fn what_finds_no_room_is_shed_and_counted() {
    let (fanout, counters) = fanout(Limits { fanout_bytes_max: 100, ..Limits::default() });
    fanout.publish(message("a", b"x"));
    assert_eq!(counters.fanout_shed.load(Relaxed), 1);
    assert_eq!(fanout.shared.queued_bytes.load(Relaxed), 0);
}

#[tokio::test]
async fn filters_and_subscribers_are_bounded() {
    let (fanout, _) = fanout(Limits { filters_max: 1, subscribers_max: 1, ..Limits::default() });
    let link = fanout.open().await.unwrap();
    assert!(fanout.admits("#") && fanout.admits("#") && !fanout.admits("+"));
    assert_eq!(fanout.open().await.err(), Some(OpenError::Full));
    drop(link);
    assert!(fanout.open().await.is_ok());
}

#[tokio::test]
async fn a_reader_that_pauses_gets_on_and_ends_do_not_kill_the_router() {
    let (fanout, counters) = fanout(Limits { fanout_bytes_max: 64 << 20, ..Limits::default() });
    for _ in 0..20 {
        let mut link = fanout.open().await.unwrap();
        assert!(fanout.admits("busy"));
        link.subscribe("busy", 1).unwrap();
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
    let mut link = fanout.open().await.unwrap();
    fanout.make_router_panic();
    assert_eq!(timeout(Duration::from_secs(5), link.next()).await.unwrap(), Err(LinkEnded));
    let mut link = fanout.open().await.unwrap();
    assert!(fanout.admits("a"));
    link.subscribe("a", 1).unwrap();
    fanout.publish(message("a", b"x"));
    assert_eq!(&next(&mut link).await.message.payload[..], b"x");
    assert_eq!(counters.router_restarts.load(Relaxed), 1);
}
