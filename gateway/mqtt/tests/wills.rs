//! Wills: published when their client does not come back, whatever ended the connection, and not when it does.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use lamppost_event::Notes;
use lamppost_mqtt::{Acl, Limits, Listener, Rules};
use support::raw::{Raw, packet, subscribe_v5, text};
use support::{ANY_PORT, HandIntake, Running};
use tokio::time::{sleep, timeout};

/// A CONNECT of v5 with a will for "w" that says "gone".
struct Connect {
    client_id: &'static str,
    clean: bool,
    keep_alive_s: u8,
    expiry_s: u8,
    delay_s: u8,
    will_expiry_s: Option<u8>,
}

const DEVICE: Connect =
    Connect { client_id: "d", clean: true, keep_alive_s: 60, expiry_s: 60, delay_s: 0, will_expiry_s: None };

impl Connect {
    fn bytes(&self) -> Vec<u8> {
        let mut properties = vec![24, 0, 0, 0, self.delay_s];
        if let Some(seconds) = self.will_expiry_s {
            properties.extend([2, 0, 0, 0, seconds]);
        }
        let flags = 0x0C | u8::from(self.clean) << 1;
        let will = [&[properties.len() as u8][..], &properties, &text("w"), &text("gone")].concat();
        let head = [flags, 0, self.keep_alive_s, 5, 17, 0, 0, 0, self.expiry_s];
        packet(0x10, &[&b"\0\x04MQTT\x05"[..], &head, &text(self.client_id), &will].concat())
    }

    async fn to(&self, front: &Running) -> Raw {
        let mut client = Raw::open(front.address).await;
        client.send(&self.bytes()).await;
        assert_eq!(client.receive().await[3], 0);
        client
    }
}

async fn start(journal: &Arc<HandIntake>) -> Running {
    Running::start(Arc::clone(journal), Limits::default()).await
}

fn told(front: &Running) -> Vec<String> {
    let payloads = front.intake.arrivals();
    payloads.iter().map(|it| String::from_utf8(it.payload.to_vec()).unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_will_of_a_client_that_was_here_when_the_gateway_was_killed_is_published() {
    for expiry_s in [0, 60] {
        let journal = HandIntake::automatic();
        let front = start(&journal).await;
        let device = Connect { keep_alive_s: 1, expiry_s, ..DEVICE }.to(&front).await;
        let journal = journal.after_a_crash(None);
        drop((device, front));
        let front = start(&journal).await;
        let arrival = front.intake.arrived(1).await.remove(0);
        assert_eq!((arrival.device.as_str(), arrival.address.as_str(), &arrival.payload[..]), ("d", "w", &b"gone"[..]));
        // It is published once.
        sleep(Duration::from_millis(200)).await;
        let front = start(&journal.after_a_crash(None)).await;
        sleep(Duration::from_millis(2_000)).await;
        assert_eq!(told(&front), [""; 0]);
    }
}

#[tokio::test]
async fn after_a_kill_a_will_waits_no_longer_than_its_session() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let device = Connect { keep_alive_s: 1, expiry_s: 0, delay_s: 60, ..DEVICE }.to(&front).await;
    let journal = journal.after_a_crash(None);
    drop((device, front));
    let front = start(&journal).await;
    let arrived = timeout(Duration::from_secs(20), front.intake.arrived(1)).await;
    assert_eq!(&arrived.expect("it waits for its delay, though the session is over")[0].payload[..], b"gone");
}

#[tokio::test]
async fn a_note_of_an_earlier_will_is_not_published_where_there_is_a_later_one() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let mut device = DEVICE.to(&front).await;
    let (key, value) = journal.noted().into_iter().find(|(key, _)| key[0] == b'w').unwrap();
    device.send(&[0xE0, 0]).await;
    device.expect_end().await;
    let device = DEVICE.to(&front).await;
    // As it stays where the will could not be stored in time.
    journal.put(&key, Some(value)).unwrap();
    assert_eq!(journal.noted().keys().filter(|key| key[0] == b'w').count(), 2);
    let journal = journal.after_a_crash(None);
    drop((device, front));
    let front = start(&journal).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(told(&front), [""; 0], "its client may be back within 90 seconds");
    assert_eq!(journal.noted().keys().filter(|key| key[0] == b'w').count(), 1, "the earlier one is forgotten");
}

#[tokio::test]
async fn a_client_that_is_back_after_a_kill_takes_its_will_back() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let device = Connect { keep_alive_s: 1, ..DEVICE }.to(&front).await;
    let journal = journal.after_a_crash(None);
    drop((device, front));
    let front = start(&journal).await;
    let mut device = Connect { keep_alive_s: 1, clean: false, ..DEVICE }.to(&front).await;
    device.send(&[0xE0, 0]).await;
    device.expect_end().await;
    sleep(Duration::from_millis(2_000)).await;
    assert_eq!(told(&front), [""; 0]);
    assert!(!journal.noted().keys().any(|key| key[0] == b'w'), "{:?}", journal.noted());
}

#[tokio::test]
async fn a_will_costs_one_note_a_connection_and_goes_with_a_disconnect() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let mut device = Connect { expiry_s: 0, ..DEVICE }.to(&front).await;
    assert_eq!(journal.noted().keys().filter(|key| key[0] == b'w').count(), 1);
    assert_eq!(journal.notes_put(), 1);
    device.send(&[0xE0, 0]).await;
    device.expect_end().await;
    assert_eq!(journal.noted().len(), 0);
}

#[tokio::test]
async fn a_connack_waits_until_the_will_is_on_disk() {
    let journal = HandIntake::by_hand();
    let front = start(&journal).await;
    let mut device = Raw::open(front.address).await;
    device.send(&Connect { expiry_s: 0, ..DEVICE }.bytes()).await;
    device.expect_silence().await;
    journal.release(1);
    assert_eq!(device.receive().await[3], 0);
}

// The session ends with Clean Start, and with it the delay (MQTT 5.0, section 3.1.3.2.2).
#[tokio::test]
async fn coming_back_with_a_clean_start_publishes_a_will_that_waits() {
    let front = start(&HandIntake::automatic()).await;
    drop(Connect { delay_s: 50, ..DEVICE }.to(&front).await);
    sleep(Duration::from_millis(150)).await;
    assert_eq!(told(&front), [""; 0]);
    let _device = Connect { delay_s: 50, ..DEVICE }.to(&front).await;
    front.intake.arrived(1).await;
    assert_eq!(told(&front), ["gone"]);
}

#[tokio::test]
async fn coming_back_to_the_session_withdraws_a_will_that_waits_and_the_next_one_counts() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let again = Connect { delay_s: 1, clean: false, ..DEVICE };
    for _ in 0..3 {
        drop(again.to(&front).await);
        sleep(Duration::from_millis(100)).await;
    }
    // The note of the last one is there, whatever those before have done.
    assert_eq!(journal.noted().keys().filter(|key| key[0] == b'w').count(), 1);
    front.intake.arrived(1).await;
    sleep(Duration::from_millis(1_300)).await;
    assert_eq!(told(&front), ["gone"]);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_wills_and_the_next_start_publishes_them() {
    let journal = HandIntake::automatic();
    let limits = Limits { drain_timeout: Duration::from_secs(60), ..Limits::default() };
    let front = Running::start(Arc::clone(&journal), limits).await;
    drop(Connect { delay_s: 2, client_id: "away", ..DEVICE }.to(&front).await);
    let _here = Connect { keep_alive_s: 1, client_id: "here", ..DEVICE }.to(&front).await;
    sleep(Duration::from_millis(150)).await;
    front.stop().await;
    assert_eq!(journal.arrivals().len(), 0);
    let front = start(&journal.after_a_crash(None)).await;
    front.intake.arrived(2).await;
    assert_eq!(told(&front), ["gone", "gone"]);
}

#[tokio::test]
async fn a_will_that_waited_over_a_restart_still_expires() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    drop(Connect { delay_s: 1, will_expiry_s: Some(30), ..DEVICE }.to(&front).await);
    sleep(Duration::from_millis(150)).await;
    let front = start(&journal.after_a_crash(None)).await;
    let mut listener = Raw::v5(front.address, "listener").await;
    listener.send(&subscribe_v5(1, "w", 0)).await;
    listener.receive().await;
    let heard = timeout(Duration::from_secs(5), listener.receive()).await.unwrap_or_default();
    // Message Expiry Interval, 30 s from the publication.
    assert_eq!(heard, [&[0x30, 13, 0, 1, b'w', 5, 2, 0, 0, 0, 30][..], b"gone"].concat());
}

#[tokio::test]
async fn a_connect_that_is_refused_withdraws_no_will() {
    let journal = HandIntake::automatic();
    let limits = Limits { connect_timeout: Duration::from_millis(300), ..Limits::default() };
    let front = Running::start(Arc::clone(&journal), limits).await;
    drop(Connect { delay_s: 2, ..DEVICE }.to(&front).await);
    sleep(Duration::from_millis(100)).await;
    journal.by_hand_from_now();
    for clean in [false, true] {
        let mut again = Raw::open(front.address).await;
        again.send(&Connect { delay_s: 2, clean, ..DEVICE }.bytes()).await;
        assert_eq!(again.receive().await[3], 0x89);
        again.expect_end().await;
    }
    assert_eq!(told(&front), [""; 0], "its delay is not over");
    journal.release(u64::MAX);
    front.intake.arrived(1).await;
    assert_eq!(told(&front), ["gone"]);
}

fn rules(text: &str) -> Rules {
    Rules { passwords: None, acl: Arc::new(Acl::parse(text).unwrap()) }
}

async fn start_with(journal: &Arc<HandIntake>, text: &str) -> Running {
    let listeners = vec![Listener::open(ANY_PORT)];
    Running::start_with(listeners, rules(text), Arc::clone(journal), Limits::default()).await
}

#[tokio::test]
async fn a_will_is_published_only_where_the_rules_of_that_time_allow_it() {
    // Meanwhile; and after a restart.
    for restart in [false, true] {
        let journal = HandIntake::automatic();
        let mut front = start_with(&journal, "allow * publish #").await;
        drop(Connect { delay_s: 1, client_id: "allowed", ..DEVICE }.to(&front).await);
        drop(Connect { delay_s: 1, client_id: "denied", ..DEVICE }.to(&front).await);
        sleep(Duration::from_millis(150)).await;
        let stricter = "deny client:denied publish w\nallow * publish #";
        if restart {
            front = start_with(&journal.after_a_crash(None), stricter).await;
        } else {
            front.keys.set_rules(rules(stricter));
        }
        let arrival = front.intake.arrived(1).await.remove(0);
        assert_eq!(arrival.device.as_str(), "allowed");
        sleep(Duration::from_millis(1_300)).await;
        assert_eq!(told(&front), ["gone"], "restart: {restart}");
        assert_eq!(front.counters.publishes_denied.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert!(!front.intake.noted().keys().any(|key| key[0] == b'w'), "what is not to be is forgotten");
    }
}

#[tokio::test]
async fn a_will_that_finds_no_room_is_kept_and_published_once_there_is_some() {
    // No room for the event; and none for what is noted of it for a session.
    for event in [true, false] {
        let journal = HandIntake::automatic();
        let limits = Limits { drain_timeout: Duration::from_millis(200), ..Limits::default() };
        let front = Running::start(Arc::clone(&journal), limits).await;
        let (mut subscriber, _) = support::sessions::stay(&front, "subscriber").await;
        support::sessions::subscribed(&mut subscriber, "w").await;
        let device = DEVICE.to(&front).await;
        if event {
            journal.set_capacity(0);
        } else {
            journal.set_notes_max(journal.notes_put() as u64);
        }
        drop(device);
        sleep(Duration::from_millis(500)).await;
        assert_eq!(journal.arrivals().len(), usize::from(!event));
        // Its client comes back, and does not take back what was due.
        journal.set_notes_max(u64::MAX);
        let mut device = Connect { clean: false, ..DEVICE }.to(&front).await;
        journal.set_capacity(100);
        let delivered = subscriber.receive().await;
        assert!(delivered.ends_with(b"gone"), "{delivered:?}");
        device.send(&[0xE0, 0]).await;
        device.expect_end().await;
        sleep(Duration::from_millis(600)).await;
        assert_eq!(told(&front), ["gone"], "event: {event}");
        let front = start(&journal.after_a_crash(None)).await;
        sleep(Duration::from_millis(300)).await;
        assert_eq!(told(&front), [""; 0], "it comes again");
    }
}

#[tokio::test]
async fn a_will_that_was_due_is_published_after_a_kill_though_its_client_was_back() {
    let journal = HandIntake::automatic();
    let limits = Limits { drain_timeout: Duration::from_millis(200), ..Limits::default() };
    let front = Running::start(Arc::clone(&journal), limits).await;
    let device = DEVICE.to(&front).await;
    journal.set_capacity(0);
    drop(device);
    sleep(Duration::from_millis(500)).await;
    let device = Connect { clean: false, ..DEVICE }.to(&front).await;
    let journal = journal.after_a_crash(None);
    drop((device, front));
    let front = start(&journal).await;
    front.intake.arrived(1).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(told(&front), ["gone"], "the later one waits for its client");
}

#[tokio::test]
async fn a_will_whose_delay_was_over_is_published_after_a_kill_though_its_client_was_back() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    let device = Connect { delay_s: 1, ..DEVICE }.to(&front).await;
    journal.set_capacity(0);
    drop(device);
    sleep(Duration::from_millis(1_300)).await;
    let device = Connect { delay_s: 1, clean: false, ..DEVICE }.to(&front).await;
    let journal = journal.after_a_crash(None);
    drop((device, front));
    let front = start(&journal).await;
    let arrived = timeout(Duration::from_secs(5), front.intake.arrived(1)).await;
    assert!(arrived.is_ok(), "that its client was back has withdrawn it");
    sleep(Duration::from_millis(200)).await;
    assert_eq!(told(&front), ["gone"], "the later one waits for its client");
}

#[tokio::test]
async fn wills_that_could_not_be_noted_are_told_apart() {
    let journal = HandIntake::automatic();
    let front = start(&journal).await;
    drop(Connect { delay_s: 0, ..DEVICE }.to(&front).await);
    front.intake.arrived(1).await;
    sleep(Duration::from_millis(100)).await;
    // From now on nothing can be noted of a will; and the first one that is due finds no room.
    journal.set_notes_max(journal.notes_put() as u64);
    journal.set_capacity(1);
    drop(Connect { delay_s: 1, clean: false, ..DEVICE }.to(&front).await);
    sleep(Duration::from_millis(1_200)).await;
    drop(Connect { delay_s: 2, clean: false, ..DEVICE }.to(&front).await);
    sleep(Duration::from_millis(100)).await;
    journal.set_capacity(100);
    let arrived = timeout(Duration::from_secs(6), front.intake.arrived(3)).await;
    assert!(arrived.is_ok(), "{:?}", told(&front));
}
