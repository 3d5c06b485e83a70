//! What tests of sessions do again and again, in v3.1.1.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::sync::Arc;

use lamppost_mqtt::Limits;

use super::raw::{Raw, connect_v4, publish_v4, subscribe_v4};
use super::{HandIntake, Running};

/// Session Expiry Interval as a property.
pub const EXPIRY_60_S: [u8; 5] = [17, 0, 0, 0, 60];

pub async fn start(journal: &Arc<HandIntake>) -> Running {
    Running::start(Arc::clone(journal), Limits::default()).await
}

/// Connects with a session that stays, and says whether it was there.
pub async fn stay(front: &Running, client_id: &str) -> (Raw, bool) {
    let mut client = Raw::open(front.address).await;
    client.send(&connect_v4(client_id, false)).await;
    let connack = client.receive().await;
    assert_eq!((connack[0], connack[3]), (0x20, 0));
    (client, connack[2] == 1)
}

pub async fn subscribed(client: &mut Raw, filter: &str) {
    client.send(&subscribe_v4(1, filter, 1)).await;
    assert_eq!(client.receive().await, [0x90, 3, 0, 1, 1]);
}

/// Publishes, and waits for the PUBACK.
pub async fn tell(publisher: &mut Raw, topic: &str, payload: &[u8]) {
    publisher.send(&publish_v4(topic, 1, payload)).await;
    assert_eq!(publisher.receive().await, [0x40, 2, 0, 1]);
}

pub fn again(mut publish: Vec<u8>) -> Vec<u8> {
    publish[0] |= 8;
    publish
}

pub fn retained(mut publish: Vec<u8>) -> Vec<u8> {
    publish[0] |= 1;
    publish
}
