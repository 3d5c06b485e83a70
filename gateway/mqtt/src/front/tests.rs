//! What only a look inside can bring about: the death of the router.

#[path = "../../tests/support/mod.rs"]
mod support;

use support::HandIntake;
use support::raw::{Raw, connect_v4, packet, publish_v4, subscribe_v4};

use super::*;

fn open(address: SocketAddr) -> Vec<Listener> {
    vec![Listener::open(address)]
}

#[tokio::test]
async fn the_death_of_the_router_costs_no_ingest_and_heals() {
    let counters = Arc::new(Counters::default());
    let any_port = open(support::ANY_PORT);
    let (rules, limits) = (Rules::default(), Limits::default());
    let front =
        Front::bind(any_port, rules, limits, HandIntake::automatic().ground(), Arc::clone(&counters)).await.unwrap();
    let (address, fanout) = (front.local_addrs()[0], front.shared.fanout.clone());
    tokio::spawn(front.run(std::future::pending()));
    let mut subscriber = Raw::v5(address, "s").await;
    subscriber.send(&support::raw::subscribe_v5(1, "a", 0)).await;
    subscriber.receive().await;
    let mut publisher = Raw::v4(address, "p").await;
    publisher.send(&publish_v4("a", 1, b"x")).await;
    publisher.receive().await;
    subscriber.receive().await;

    fanout.make_router_panic();
    let died = Instant::now();
    subscriber.expect_disconnect(0x89).await;
    publisher.send(&publish_v4("a", 2, b"x")).await;
    assert_eq!(publisher.receive().await, [0x40, 2, 0, 2]);

    let mut subscriber = Raw::v4(address, "s").await;
    subscriber.send(&subscribe_v4(1, "a", 0)).await;
    assert_eq!(subscriber.receive().await, [0x90, 3, 0, 1, 0]);
    publisher.send(&publish_v4("a", 3, b"after")).await;
    assert_eq!(subscriber.receive().await, publish_v4("a", 0, b"after"));
    assert!(died.elapsed() < Duration::from_secs(5), "{:?}", died.elapsed());
    assert_eq!(counters.router_restarts.load(Ordering::Relaxed), 1);
    assert_eq!(counters.refusals(Cause::RouterDied), 1);
}

/// A message that nobody's connection has to publish.
fn message(topic: &str) -> crate::message::Message {
    crate::message::Message {
        topic: lamppost_event::Address::new(topic).unwrap(),
        payload: bytes::Bytes::from_static(&[7; 200]),
        qos: crate::codec::Qos::AtMostOnce,
        retain: false,
        publisher: lamppost_event::DeviceId::new("p").unwrap(),
        expires: None,
        properties: bytes::Bytes::new(),
    }
}

/// On one thread: the connection does not run while all this comes.
#[tokio::test]
async fn a_subscriber_for_whom_much_waits_is_listened_to() {
    let ground = HandIntake::automatic().ground();
    let any_port = open(support::ANY_PORT);
    let front = Front::bind(any_port, Rules::default(), Limits::default(), ground, Arc::default()).await.unwrap();
    let (address, fanout) = (front.local_addrs()[0], front.shared.fanout.clone());
    tokio::spawn(front.run(std::future::pending()));
    let mut subscriber = Raw::v4(address, "s").await;
    subscriber.send(&subscribe_v4(1, "#", 0)).await;
    subscriber.receive().await;
    for _ in 0..3_000 {
        fanout.publish(message("a"));
    }
    // It reaches the connection's door by another thread.
    std::thread::sleep(Duration::from_millis(500));
    subscriber.send(&[0xC0, 0]).await;
    let mut before = 0;
    while subscriber.receive().await != [0xD0, 0] {
        before += 1;
        assert!(before < 1_500, "{before} messages, and the ping is not answered");
    }
    for _ in before..3_000 {
        subscriber.receive().await;
    }
}

#[tokio::test]
async fn a_remembered_session_and_retained_messages_do_not_notice_the_death_of_the_router() {
    let counters = Arc::new(Counters::default());
    let any_port = open(support::ANY_PORT);
    let ground = HandIntake::automatic().ground();
    let front =
        Front::bind(any_port, Rules::default(), Limits::default(), ground, Arc::clone(&counters)).await.unwrap();
    let (address, fanout) = (front.local_addrs()[0], front.shared.fanout.clone());
    tokio::spawn(front.run(std::future::pending()));
    let mut device = Raw::open(address).await;
    device.send(&connect_v4("s", false)).await;
    device.receive().await;
    device.send(&subscribe_v4(1, "a/#", 1)).await;
    device.receive().await;
    let mut publisher = Raw::v4(address, "p").await;
    let mut kept = publish_v4("a/kept", 1, b"kept");
    kept[0] |= 1;
    publisher.send(&kept).await;
    publisher.receive().await;
    device.receive().await;

    fanout.make_router_panic();
    let died = Instant::now();
    publisher.send(&publish_v4("a/b", 2, b"QoS 1")).await;
    publisher.receive().await;
    assert_eq!(device.receive().await, publish_v4("a/b", 2, b"QoS 1"));
    // What comes with QoS 0 goes by the next router, as soon as the session has its link to it.
    while counters.router_restarts.load(Ordering::Relaxed) == 0 {
        publisher.send(&publish_v4("x", 0, b"")).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(died.elapsed() < Duration::from_secs(5), "the router was not started again");
    }
    let talking = tokio::spawn(async move {
        loop {
            publisher.send(&publish_v4("a/b", 0, b"QoS 0")).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let heard = device.receive().await;
    talking.abort();
    assert_eq!(heard, publish_v4("a/b", 0, b"QoS 0"));
    let mut late = Raw::v4(address, "late").await;
    late.send(&subscribe_v4(1, "a/kept", 0)).await;
    late.receive().await;
    assert_eq!(late.receive().await[0], 0x31);
    assert_eq!(counters.refusals(Cause::RouterDied), 0);
}

#[tokio::test]
async fn a_limit_of_0_is_refused_by_name() {
    let limits = Limits { window: 0, ..Limits::default() };
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let bound =
        Front::bind(open(any_port), Rules::default(), limits, HandIntake::automatic().ground(), Arc::default()).await;
    assert!(matches!(bound.err(), Some(BindError::Limit { limit: "window" })));
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let first = Front::bind(
        open(any_port),
        Rules::default(),
        Limits::default(),
        HandIntake::automatic().ground(),
        Arc::default(),
    )
    .await
    .unwrap();
    let second = Front::bind(
        open(first.local_addrs()[0]),
        Rules::default(),
        Limits::default(),
        HandIntake::automatic().ground(),
        Arc::default(),
    )
    .await;
    let error = second.err().unwrap().to_string();
    assert!(error.contains(&first.local_addrs()[0].to_string()), "{error}");
}

#[tokio::test]
async fn who_subscribes_and_unsubscribes_without_end_has_no_more_places_than_subscriptions() {
    let limits = Limits { window: 1, subscribes_per_s: 0, ..Limits::default() };
    let any_port = open(support::ANY_PORT);
    let front = Front::bind(any_port, Rules::default(), limits, HandIntake::automatic().ground(), Arc::default())
        .await
        .unwrap();
    let (address, shared) = (front.local_addrs()[0], Arc::clone(&front.shared));
    tokio::spawn(front.run(std::future::pending()));
    let mut publisher = Raw::v4(address, "p").await;
    for topic in ["a", "b"] {
        publisher.send(&support::sessions::retained(publish_v4(topic, 1, b"x"))).await;
        publisher.receive().await;
    }
    let mut device = Raw::open(address).await;
    device.send(&connect_v4("pump", false)).await;
    device.receive().await;
    // The first that is retained is never acknowledged: nothing more is sent.
    device.send(&subscribe_v4(1, "#", 1)).await;
    device.receive().await;
    device.receive().await;
    for _ in 0..50 {
        device.send(&subscribe_v4(2, "b", 1)).await;
        assert_eq!(device.receive().await, [0x90, 3, 0, 2, 1]);
        assert_eq!(shared.sessions.places("pump"), 2);
        device.send(&packet(0xA2, b"\0\x03\0\x01b")).await;
        assert_eq!(device.receive().await, [0xB0, 2, 0, 3]);
    }
    assert_eq!(shared.sessions.places("pump"), 1);
}
