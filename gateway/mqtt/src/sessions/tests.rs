use bytes::{Bytes, BytesMut};
use lamppost_event::{Address, Monotonic};

use super::queue::Entry;
use super::*;
use crate::codec::Version;
use crate::outbound::Reception;
use crate::retained::Upto;

const NOW: Monotonic = Monotonic(1_000);

impl Sessions {
    /// How many places a remembered session has in what is retained.
    pub(crate) fn places(&self, device: &str) -> usize {
        let book = self.lock();
        book.book
            .known
            .iter()
            .find(|(known, _)| known.as_str() == device)
            .map_or(0, |(_, it)| it.kept.lock().backlogs.len())
    }
}

fn message(topic: &str, bytes: usize) -> Arc<Message> {
    Arc::new(Message {
        topic: Address::new(topic).unwrap(),
        payload: vec![7; bytes].into(),
        qos: Qos::AtLeastOnce,
        retain: false,
        publisher: DeviceId::new("p").unwrap(),
        expires: None,
        properties: Bytes::new(),
    })
}

fn waiting(messages: &[Arc<Message>]) -> Arc<Kept> {
    let kept = Kept::new(DeviceId::new("d").unwrap(), true);
    let mut subscriber = kept.lock();
    for message in messages {
        let (packet_id, message) = (subscriber.queue.free_packet_id(), Arc::clone(message));
        subscriber.queue.push(Entry {
            number: None,
            packet_id,
            commit: Commit(1),
            duplicate: false,
            begun: false,
            retained_for: Some(None),
            held: None,
            message,
        });
    }
    drop(subscriber);
    kept
}

fn send(kept: &Kept, version: Version, aliases: &mut Aliases, out_bytes_max: usize) -> BytesMut {
    let mut out = BytesMut::new();
    let reception = Reception { version, window: 100, packet_bytes_max: 100_000 };
    let mut way = Way { reception, aliases, out: &mut out, out_bytes_max, now: NOW };
    kept.lock().send(Commit(1), &mut way, &mut Vec::new());
    out
}

#[test]
fn what_is_sent_and_sent_again_stays_below_the_bound_of_outgoing_bytes() {
    let kept = waiting(&vec![message("a", 1_000); 50]);
    for _ in 0..2 {
        let out = send(&kept, Version::V4, &mut Aliases::default(), 4_000);
        // The last one may begin below the bound.
        assert!((4_000..5_100).contains(&out.len()), "{}", out.len());
        kept.lock().queue.send_again();
    }
}

#[test]
fn nothing_is_sent_before_its_commit_is_on_disk() {
    let kept = waiting(&[message("a", 1)]);
    let mut out = BytesMut::new();
    let reception = Reception { version: Version::V4, window: 100, packet_bytes_max: 1_000 };
    let mut way = Way { reception, aliases: &mut Aliases::default(), out: &mut out, out_bytes_max: 1_000, now: NOW };
    assert_eq!(kept.lock().send(Commit(0), &mut way, &mut Vec::new()), 0);
    assert!(kept.lock().waits_for(Commit(0)).is_some() && !kept.lock().can_send(Commit(0), 100));
    assert_eq!(kept.lock().send(Commit(1), &mut way, &mut Vec::new()), 1);
}

#[test]
fn a_topic_is_said_once_to_a_client_that_takes_aliases_and_no_more_are_used_than_it_takes() {
    let of = ["first", "second", "first", "second", "first"];
    let kept = waiting(&of.map(|topic| message(topic, 0)));
    let mut aliases = Aliases::new(1, 16);
    let out = send(&kept, Version::V5, &mut aliases, 10_000);
    let count = |topic: &str| out.windows(topic.len()).filter(|window| *window == topic.as_bytes()).count();
    assert_eq!((count("first"), count("second")), (1, 2));
    // Alias 1 is in each of the three, and no other.
    assert_eq!(out.windows(4).filter(|window| *window == [3, 35, 0, 1]).count(), 3);

    let kept = waiting(&of.map(|topic| message(topic, 0)));
    let out = send(&kept, Version::V5, &mut Aliases::new(0, 16), 10_000);
    assert!(!out.contains(&35), "an alias for a client that takes none: {out:?}");
}

#[test]
fn what_is_larger_than_the_client_takes_is_left_out_and_done_with() {
    let kept = waiting(&[message("a", 2_000), message("a", 1)]);
    let mut out = BytesMut::new();
    let reception = Reception { version: Version::V5, window: 100, packet_bytes_max: 1_000 };
    let mut aliases = Aliases::new(5, 5);
    let mut way = Way { reception, aliases: &mut aliases, out: &mut out, out_bytes_max: 10_000, now: NOW };
    assert_eq!(kept.lock().send(Commit(1), &mut way, &mut Vec::new()), 1);
    // The alias of the one that was left out was not told: the topic is.
    assert_eq!(out[2..5], [0, 1, b'a']);
    assert_eq!(kept.lock().queue.len(), 1);
}

#[test]
fn what_is_retained_is_sent_behind_what_waited_and_before_what_came_later() {
    let kept = waiting(&[message("before", 0), message("before", 0)]);
    let mut subscriber = kept.lock();
    subscriber.begin_backlog(1, Commit(0), Upto::on_disk_with(Commit(0)), true);
    subscriber.begin_backlog(1, Commit(0), Upto::on_disk_with(Commit(0)), true);
    let mut turns = Vec::new();
    for _ in 0..3 {
        turns.push(subscriber.is_backlogs_turn());
        subscriber.queue.mark_sent();
        subscriber.backlogs.one_was_sent();
        if subscriber.queue.next().is_none() {
            break;
        }
    }
    assert_eq!(turns, [false, false]);
    assert!(subscriber.is_backlogs_turn() && subscriber.can_send(Commit(0), 10));
    // What was sent comes again first.
    subscriber.queue.send_again();
    assert!(!subscriber.is_backlogs_turn());
    assert!(!subscriber.is_free(10, &Limits::default()), "nothing of the router's overtakes it");
}
