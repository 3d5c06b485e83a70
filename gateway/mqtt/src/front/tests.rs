//! What only a look inside can bring about: the death of the router.

#[path = "../../tests/support/mod.rs"]
mod support;

use support::HandIntake;
use support::raw::{Raw, connect_v4, packet, publish_v4, subscribe_v4};

use super::*;

fn open(address: SocketAddr) -> Vec<Listener> {
    vec![Listener::open(address)]
}

/// Of an issue: within this subscribers have a router again.
const HEALED_WITHIN: Duration = Duration::from_secs(1);
/// The router dies so often. Other load of the machine makes a healing longer, never shorter, so the shortest is judged.
const DEATHS: u64 = 5;
const PUBLISHERS: usize = 4;
/// Publishes of one that are under way.
const UNDER_WAY: u16 = 8;

/// What one publisher sent, and had acknowledged.
type Tally = Arc<AtomicU64>;

/// Publishes with QoS 1, each with its number and how many routers had died by then, until it is told to stop; each has to be acknowledged
/// once and in order. Returns the connection, which is still there.
async fn stream(
    mut line: Raw,
    topic: String,
    tally: Tally,
    counters: Arc<Counters>,
    stop: watch::Receiver<bool>,
) -> Raw {
    let id = |number: u64| u16::try_from(number % 65_535 + 1).unwrap();
    let mut next = 0;
    while !*stop.borrow() {
        let first = next;
        for _ in 0..UNDER_WAY {
            let payload = format!("{next} {}", counters.router_restarts.load(Ordering::Relaxed));
            line.send(&publish_v4(&topic, id(next), payload.as_bytes())).await;
            next += 1;
        }
        for number in first..next {
            assert_eq!(line.receive().await, [&[0x40, 2][..], &id(number).to_be_bytes()].concat(), "{topic} {number}");
            tally.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    line.send(&[0xC0, 0]).await;
    assert_eq!(line.receive().await, [0xD0, 0], "{topic}: an answer that is none to a publish");
    line
}

/// What stands first in its payload.
fn number_of(payload: &[u8]) -> u64 {
    std::str::from_utf8(payload).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// Waits until each of them has had so many more acknowledged.
async fn go_on(tallies: &[Tally], more: u64) {
    let before: Vec<u64> = tallies.iter().map(|tally| tally.load(Ordering::Relaxed)).collect();
    let goes_on = |(tally, before): (&Tally, &u64)| tally.load(Ordering::Relaxed) >= before + more;
    let all = async {
        while !tallies.iter().zip(&before).all(goes_on) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("a publisher does not get on");
}

/// Reads until it has a message that was published when so many routers had died.
async fn delivered_after(watcher: &mut Raw, deaths: u64) {
    loop {
        let message = watcher.receive().await;
        let since = message.rsplit(|byte| *byte == b' ').next().unwrap();
        if std::str::from_utf8(since).unwrap().parse::<u64>().unwrap() >= deaths {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_the_router_costs_no_ingest_and_heals_in_under_a_second() {
    let (counters, intake) = (Arc::new(Counters::default()), HandIntake::automatic());
    let (any_port, rules) = (open(support::ANY_PORT), Rules::default());
    let front = Front::bind(any_port, rules, Limits::default(), intake.ground(), Arc::clone(&counters)).await.unwrap();
    let (address, fanout) = (front.local_addrs()[0], front.shared.fanout.clone());
    tokio::spawn(front.run(std::future::pending()));
    // With QoS 0: what it has comes through the router.
    let mut watcher = Raw::open(address).await;
    watcher.send(&connect_v4("watcher", false)).await;
    watcher.receive().await;
    watcher.send(&subscribe_v4(1, "stream/#", 0)).await;
    watcher.receive().await;
    let (stop, stopping) = watch::channel(false);
    let (mut tallies, mut streams) = (Vec::new(), JoinSet::new());
    for number in 0..PUBLISHERS {
        let (name, tally) = (format!("p{number}"), Tally::default());
        let line = Raw::v4(address, &name).await;
        tallies.push(Arc::clone(&tally));
        streams.spawn(stream(line, format!("stream/{name}"), tally, Arc::clone(&counters), stopping.clone()));
    }
    go_on(&tallies, 100).await;
    delivered_after(&mut watcher, 0).await;

    let mut healed = Vec::new();
    for death in 1..DEATHS {
        fanout.make_router_panic();
        let died = Instant::now();
        delivered_after(&mut watcher, death).await;
        healed.push(died.elapsed());
    }
    // And once there is none for as long as it takes each of them to get on.
    let held = fanout.make_router_panic();
    go_on(&tallies, 1_000).await;
    assert_eq!(counters.router_restarts.load(Ordering::Relaxed), DEATHS - 1, "there was a router meanwhile");
    drop(held);
    delivered_after(&mut watcher, DEATHS).await;

    stop.send_replace(true);
    let still_connected = streams.join_all().await;
    let arrivals = intake.arrivals();
    for (number, tally) in tallies.iter().enumerate() {
        let of_it = arrivals.iter().filter(|arrival| arrival.device.as_str() == format!("p{number}"));
        let offered: Vec<u64> = of_it.map(|arrival| number_of(&arrival.payload)).collect();
        assert_eq!(
            offered,
            (0..tally.load(Ordering::Relaxed)).collect::<Vec<u64>>(),
            "p{number}: not each exactly once"
        );
    }
    assert_eq!(counters.pubacks.load(Ordering::Relaxed), arrivals.len() as u64);
    assert_eq!(counters.connections_now.load(Ordering::Relaxed), still_connected.len() as u64 + 1);
    let ended: Vec<Cause> = Cause::ALL.into_iter().filter(|cause| counters.refusals(*cause) > 0).collect();
    assert!(ended.is_empty(), "connections ended: {ended:?}");
    assert_eq!(counters.router_restarts.load(Ordering::Relaxed), DEATHS);
    println!("from the death of a router to the first message through the next: {healed:?}");
    assert!(healed.iter().min().is_some_and(|shortest| *shortest < HEALED_WITHIN), "{healed:?}");
}

#[tokio::test]
async fn a_subscriber_without_a_session_is_told_of_the_routers_death_and_can_come_back_at_once() {
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
    subscriber.expect_disconnect(0x89).await;
    let mut subscriber = Raw::v4(address, "s").await;
    subscriber.send(&subscribe_v4(1, "a", 0)).await;
    assert_eq!(subscriber.receive().await, [0x90, 3, 0, 1, 0]);
    publisher.send(&publish_v4("a", 2, b"after")).await;
    assert_eq!(subscriber.receive().await, publish_v4("a", 0, b"after"));
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
    publisher.send(&publish_v4("a/b", 2, b"QoS 1")).await;
    publisher.receive().await;
    assert_eq!(device.receive().await, publish_v4("a/b", 2, b"QoS 1"));
    // What comes with QoS 0 goes by the next router, as soon as the session has its link to it.
    let asked = Instant::now();
    while counters.router_restarts.load(Ordering::Relaxed) == 0 {
        publisher.send(&publish_v4("x", 0, b"")).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(asked.elapsed() < support::raw::SOON, "the router was not started again");
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
