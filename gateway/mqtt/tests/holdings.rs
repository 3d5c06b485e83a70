//! What is held for clients is told, by the limit that bounds it, and given back.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

mod support;

use lamppost_mqtt::{Holding, Limits};
use support::raw::{Raw, SOON, connect_as, connect_v4, publish_v4, subscribe_v4};
use support::sessions::retained;
use support::{HandIntake, Running};
use tokio::time::{sleep, timeout};

fn held(front: &Running, limit: &str) -> Holding {
    front.holdings.now().into_iter().find(|holding| holding.limit == limit).unwrap()
}

/// Waits until so much is held of a limit.
async fn holds(front: &Running, limit: &str, expected: impl Fn(u64) -> bool) {
    let reached = async {
        while !expected(held(front, limit).bytes) {
            sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, reached).await.unwrap_or_else(|_| panic!("{:?}", held(front, limit)));
}

/// To a delivery with a topic of one byte and a length of two.
fn puback(delivery: &[u8]) -> Vec<u8> {
    [&[0x40, 2][..], &delivery[6..8]].concat()
}

#[tokio::test]
async fn what_is_held_is_told_by_its_limit_and_given_back() {
    let limits = Limits { inflight_bytes_max: 12_345, ..Limits::default() };
    let front = Running::start(HandIntake::automatic(), limits).await;
    assert!(front.holdings.now().iter().all(|holding| holding.bytes == 0), "{:?}", front.holdings.now());
    assert_eq!(held(&front, "inflight").bytes_max, 12_345);
    let mut publisher = Raw::v4(front.address, "p").await;

    // A packet that is not whole.
    let publish = publish_v4("a", 1, &[7; 1_000]);
    publisher.send(&publish[..600]).await;
    holds(&front, "begun", |bytes| bytes >= 600).await;
    // A publish that is not on disk.
    front.intake.by_hand_from_now();
    publisher.send(&publish[600..]).await;
    holds(&front, "inflight", |bytes| (1_000..1_200).contains(&bytes)).await;
    holds(&front, "begun", |bytes| bytes == 0).await;
    front.intake.automatic_from_now();
    publisher.receive().await;
    holds(&front, "inflight", |bytes| bytes == 0).await;

    // On its way to a subscriber that does not acknowledge.
    let mut subscriber = Raw::v4(front.address, "s").await;
    subscriber.send(&subscribe_v4(1, "b", 1)).await;
    subscriber.receive().await;
    publisher.send(&publish_v4("b", 2, &[7; 1_000])).await;
    publisher.receive().await;
    let delivery = subscriber.receive().await;
    holds(&front, "fanout", |bytes| (1_000..2_000).contains(&bytes)).await;
    subscriber.send(&puback(&delivery)).await;
    holds(&front, "fanout", |bytes| bytes == 0).await;

    // For a session whose client is away.
    let mut away = Raw::open(front.address).await;
    away.send(&connect_v4("away", false)).await;
    away.receive().await;
    away.send(&subscribe_v4(1, "c", 1)).await;
    away.receive().await;
    drop(away);
    publisher.send(&publish_v4("c", 3, &[7; 1_000])).await;
    publisher.receive().await;
    holds(&front, "queues", |bytes| (1_000..2_000).contains(&bytes)).await;
    let mut back = Raw::open(front.address).await;
    back.send(&connect_v4("away", false)).await;
    back.receive().await;
    let delivery = back.receive().await;
    back.send(&puback(&delivery)).await;
    holds(&front, "queues", |bytes| bytes == 0).await;

    publisher.send(&retained(publish_v4("d", 4, &[7; 1_000]))).await;
    publisher.receive().await;
    holds(&front, "retained", |bytes| (1_000..2_000).contains(&bytes)).await;
    publisher.send(&retained(publish_v4("d", 5, b""))).await;
    publisher.receive().await;
    holds(&front, "retained", |bytes| bytes == 0).await;

    let mut with_will = Raw::open(front.address).await;
    with_will.send(&connect_as(4, "w", None, None, Some("last"))).await;
    with_will.receive().await;
    holds(&front, "wills", |bytes| bytes > 0).await;
    with_will.send(&[0xE0, 0]).await;
    holds(&front, "wills", |bytes| bytes == 0).await;
}
