//! Two clients of one client id that come at the same moment: one is left, and nothing of the other.

#![expect(clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lamppost_mqtt::{Cause, Limits};
use support::raw::{Raw, connect_v4, connect_v5, publish_v4, publish_v5, subscribe_v4, subscribe_v5};
use support::sessions::{EXPIRY_60_S, tell};
use support::{HandIntake, Running};
use tokio::sync::Barrier;
use tokio::time::{sleep, timeout};

const ROUNDS: u64 = 120;

/// How a client comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    V4,
    V5,
    /// v5 with a session that is to outlive its connection.
    V5Stays,
}

use Manner::{V4, V5, V5Stays};

struct Client {
    raw: Raw,
    manner: Manner,
    /// Of its CONNACK.
    code: u8,
}

impl Client {
    /// Connects with a clean start, at the moment when the other one does.
    async fn come(address: SocketAddr, manner: Manner, start: Arc<Barrier>) -> Self {
        let mut raw = Raw::open(address).await;
        let connect = match manner {
            V4 => connect_v4("pump", true),
            V5 => connect_v5("pump", true, &[]),
            V5Stays => connect_v5("pump", true, &EXPIRY_60_S),
        };
        start.wait().await;
        raw.send(&connect).await;
        let connack = raw.receive().await;
        assert_eq!((connack[0], connack[2]), (0x20, 0), "a clean start finds no session: {connack:02x?}");
        Self { raw, manner, code: connack[3] }
    }

    /// What is sent to who was let in and has to go; `packet`: what came of it already.
    async fn expect_taken_over(mut self, packet: Option<Vec<u8>>) {
        match (self.manner, packet) {
            (V4, None) => {}
            (V5 | V5Stays, Some(packet)) => {
                assert_eq!((packet[0], packet[2]), (0xE0, 0x8E), "{packet:02x?}");
                self.raw.expect_end().await;
            }
            (manner, packet) => panic!("{manner:?}: {packet:02x?}"),
        }
    }

    /// It was overtaken before it was let in.
    async fn expect_refused(mut self) {
        // Server unavailable; Server busy: "session taken over" is no reason of a CONNACK.
        assert_eq!(self.code, if self.manner == V4 { 0x03 } else { 0x89 }, "{:?}", self.manner);
        self.raw.expect_end().await;
    }
}

/// Which of two is left; the other one has gone as it should.
async fn who_is_left(one: Client, other: Client) -> Client {
    let (mut one, mut other) = match (one.code, other.code) {
        (0, 0) => (one, other),
        (0, _) => {
            other.expect_refused().await;
            return one;
        }
        (_, 0) => {
            one.expect_refused().await;
            return other;
        }
        codes => panic!("neither was let in: {codes:02x?}"),
    };
    let (gone, packet) = tokio::select! {
        packet = one.raw.receive_or_end() => (0, packet),
        packet = other.raw.receive_or_end() => (1, packet),
    };
    let (gone, left) = if gone == 0 { (one, other) } else { (other, one) };
    gone.expect_taken_over(packet).await;
    left
}

/// What is counted when a connection has ended may be so a moment later.
async fn soon(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(5), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

// MQTT 5.0: 3.1.4-3
// MQTT 3.1.1: 3.1.4-2
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_that_come_at_once_one_is_left_and_nothing_of_the_other() {
    let front = Running::start(HandIntake::automatic(), Limits { connects_per_s: 0, ..Limits::default() }).await;
    let mut publisher = Raw::v4(front.address, "publisher").await;
    let mut before: Option<Client> = None;
    let (mut let_in, mut refused) = (0, 0);
    let pairs = [(V5, V5), (V5Stays, V5Stays), (V4, V4), (V5, V4), (V5Stays, V5), (V4, V5Stays)];
    for round in 0..ROUNDS {
        let (one, other) = pairs[round as usize % pairs.len()];
        let start = Arc::new(Barrier::new(2));
        let come = |manner| tokio::spawn(Client::come(front.address, manner, Arc::clone(&start)));
        // Every other time both have to wait for the disk with what was there before, and one of them is overtaken meanwhile.
        let waits = before.as_mut().filter(|_| round % 2 == 1);
        let both_wait = waits.is_some();
        if let Some(before) = waits {
            front.intake.by_hand_from_now();
            let stored = front.intake.arrivals().len() as u64;
            let publish = if before.manner == V4 { publish_v4("b", 7, b"x") } else { publish_v5("b", 7, &[], b"x") };
            before.raw.send(&publish).await;
            front.intake.arrived(stored + 1).await;
        }
        let (one, other) = (come(one), come(other));
        if both_wait {
            sleep(Duration::from_millis(20)).await;
            front.intake.automatic_from_now();
        }
        let (one, other) = (one.await.unwrap(), other.await.unwrap());
        // Who was there before goes in any case.
        if let Some(mut before) = before.take() {
            let mut packet = before.raw.receive_or_end().await;
            // Where the others were slow, it was on disk before they came.
            if both_wait && packet.as_deref() == Some(&[0x40, 2, 0, 7]) {
                packet = before.raw.receive_or_end().await;
            }
            before.expect_taken_over(packet).await;
        }
        for client in [&one, &other] {
            *(if client.code == 0 { &mut let_in } else { &mut refused }) += 1;
        }
        let mut left = who_is_left(one, other).await;
        left.raw.send(&[0xC0, 0]).await;
        assert_eq!(left.raw.receive().await, [0xD0, 0], "{:?} is not served", left.manner);

        // What is told of it agrees.
        let of_pump = || front.clients.connected().into_iter().filter(|seen| seen.device.as_str() == "pump");
        soon("one client", || of_pump().count() == 1).await;
        let seen = of_pump().next().unwrap();
        assert_eq!((seen.v5, seen.session_expiry.is_zero()), (left.manner != V4, left.manner != V5Stays));
        let (connections, sessions) = (&front.counters.connections_now, &front.counters.sessions_now);
        soon("two connections", || connections.load(Relaxed) == 2).await;
        assert_eq!(sessions.load(Relaxed), u64::from(left.manner == V5Stays), "round {round}");
        assert_eq!(front.counters.sessions_away_now.load(Relaxed), 0);
        let taken_over = front.counters.refusals(Cause::TakenOver);
        assert_eq!(taken_over, 2 * round + 1, "round {round}");
        let ended = front.clients.endings().iter().filter(|it| it.cause == Cause::TakenOver).count();
        assert_eq!(ended as u64, taken_over.min(lamppost_mqtt::ENDINGS_MAX as u64));

        // No subscription is left of who was there before: each has its own.
        let subscribe = if left.manner == V4 { subscribe_v4(1, "a", 1) } else { subscribe_v5(1, "a", 1) };
        tell(&mut publisher, "a", b"nobody's").await;
        left.raw.send(&subscribe).await;
        assert_eq!(left.raw.receive().await[0], 0x90, "round {round}");
        before = Some(left);
    }
    assert!(refused > 0, "nobody was overtaken before it was let in");
    println!("of {} that came, {let_in} were let in and {refused} overtaken before", 2 * ROUNDS);
    assert_eq!(front.counters.queued_now.load(Relaxed), 0);
    // The last one's session ends with it.
    let mut last = Client::come(front.address, V5, Arc::new(Barrier::new(1))).await;
    last.raw.send(&[0xE0, 0]).await;
    last.raw.expect_end().await;
    soon("the publisher alone", || front.clients.connected().len() == 1).await;
    assert_eq!(front.counters.sessions_now.load(Relaxed), 0);
    let intake = Arc::clone(&front.intake);
    drop((before, publisher));
    front.stop().await;
    assert!(intake.noted().is_empty(), "{:?}", intake.noted().keys());
}
