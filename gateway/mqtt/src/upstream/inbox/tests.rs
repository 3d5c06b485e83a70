use std::sync::Mutex;

use lamppost_event::{DeviceId, Waiting as Later};

use super::super::message::Message;
use super::super::message::tests::{broker, message};
use super::*;

/// A journal with so much room, whose commits hold two events each. Events have 8 bytes of payload at the most, dead letters as many with
/// those of their reason above 100.
struct Room {
    left: Mutex<usize>,
    offered: Mutex<Vec<String>>,
}

const EVENT_BYTES_MAX: usize = 8;

impl Room {
    fn of(left: usize) -> Self {
        Self { left: Mutex::new(left), offered: Mutex::default() }
    }
}

impl Intake for Room {
    fn offer(&self, arrival: Arrival) -> Result<Commit, Refusal> {
        let bytes = arrival.payload.len();
        if bytes > EVENT_BYTES_MAX || arrival.address.as_str() == "huge" {
            return Err(Refusal::TooLarge { bytes: bytes.max(9), bytes_max: EVENT_BYTES_MAX });
        }
        let mut left = self.left.lock().unwrap();
        if *left == 0 {
            return Err(Refusal::Full(Box::new(Arrival { refused: true, ..arrival })));
        }
        *left -= 1;
        let mut offered = self.offered.lock().unwrap();
        offered.push(arrival.address.as_str().to_owned());
        Ok(Commit(offered.len().div_ceil(2) as u64))
    }
    fn offer_dead(&self, arrival: Arrival, reason: &str) -> Result<Commit, Refusal> {
        let bytes = arrival.payload.len() + reason.len().saturating_sub(100);
        if bytes > EVENT_BYTES_MAX {
            return Err(Refusal::TooLarge { bytes, bytes_max: EVENT_BYTES_MAX });
        }
        let commit = self.offer(arrival)?;
        self.offered.lock().unwrap().last_mut().unwrap().push_str(": dead");
        Ok(commit)
    }

    fn room(&self) -> Later<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    fn durable(&self) -> Result<Commit, JournalStopped> {
        Ok(Commit(0))
    }
    fn durable_after(&self, _: Commit) -> Later<'_, Result<Commit, JournalStopped>> {
        Box::pin(std::future::ready(self.durable()))
    }
    fn high_water(&self, _: &DeviceId, _: u64) -> Option<u64> {
        None
    }
}

fn offer(inbox: &mut Inbox, room: &Room, packet_id: u16, topic: &str) -> Offered {
    offer_of(inbox, room, packet_id, topic, b"21.5")
}

fn offer_of(inbox: &mut Inbox, room: &Room, packet_id: u16, topic: &str, payload: &'static [u8]) -> Offered {
    let message = Message { payload: Bytes::from_static(payload), ..message(packet_id, topic) };
    let offer = message.offer(&broker(), None).unwrap();
    inbox.offer(room, Some(offer), (packet_id != 0).then_some(packet_id), 10).unwrap()
}

fn acknowledged(inbox: &mut Inbox) -> Vec<u16> {
    let mut ids = Vec::new();
    inbox.acknowledge(|id| {
        ids.push(id);
        true
    });
    ids
}

#[test]
fn nothing_is_acknowledged_before_its_commit_nor_out_of_order() {
    let (mut inbox, room) = (Inbox::default(), Room::of(10));
    for id in [7, 3, 0, 5] {
        assert_eq!(offer(&mut inbox, &room, id, "a"), Offered::Taken);
    }
    inbox.durable(Commit(0));
    assert_eq!((acknowledged(&mut inbox), inbox.unacknowledged()), (vec![], 3));
    inbox.durable(Commit(1));
    assert_eq!(acknowledged(&mut inbox), [7, 3]);
    inbox.durable(Commit(2));
    assert_eq!((acknowledged(&mut inbox), inbox.unacknowledged(), inbox.bytes), (vec![5], 0, 0));
}

#[test]
fn what_is_not_taken_by_the_client_stays_ready_in_its_order() {
    let (mut inbox, room) = (Inbox::default(), Room::of(10));
    (1..=3).for_each(|id| assert_eq!(offer(&mut inbox, &room, id, "a"), Offered::Taken));
    inbox.durable(Commit(9));
    let mut places = 1;
    assert_eq!(inbox.acknowledge(|_| std::mem::replace(&mut places, 0) == 1), 1);
    assert_eq!(acknowledged(&mut inbox), [2, 3]);
}

#[test]
fn behind_one_that_waits_for_room_all_wait_and_none_overtakes() {
    let (mut inbox, room) = (Inbox::default(), Room::of(1));
    assert_eq!(offer(&mut inbox, &room, 1, "a"), Offered::Taken);
    assert_eq!(offer(&mut inbox, &room, 2, "b"), Offered::Waits);
    *room.left.lock().unwrap() = 5;
    assert_eq!(offer(&mut inbox, &room, 3, "c"), Offered::Waits, "b waits");
    assert!(!inbox.has_room(64, 1_000));
    while inbox.is_stalled() {
        assert_eq!(inbox.offer_first(&room), Ok(Offered::Taken));
    }
    assert_eq!(*room.offered.lock().unwrap(), ["a", "b", "c"]);
    inbox.durable(Commit(9));
    assert_eq!(acknowledged(&mut inbox), [1, 2, 3]);
}

#[test]
fn one_with_nothing_to_store_keeps_its_turn() {
    let (mut inbox, room) = (Inbox::default(), Room::of(1));
    assert_eq!(offer(&mut inbox, &room, 1, "a"), Offered::Taken);
    assert_eq!(inbox.offer(&room, None, Some(2), 10), Ok(Offered::Taken));
    inbox.durable(Commit(0));
    assert!(acknowledged(&mut inbox).is_empty());
    inbox.durable(Commit(1));
    assert_eq!(acknowledged(&mut inbox), [1, 2]);
}

#[test]
fn what_is_too_large_is_a_dead_letter_in_its_turn_with_as_much_as_there_is_room_for() {
    let (mut inbox, room) = (Inbox::default(), Room::of(1));
    offer(&mut inbox, &room, 1, "a");
    assert_eq!(offer_of(&mut inbox, &room, 2, "large", b"0123456789"), Offered::Waits);
    offer(&mut inbox, &room, 3, "c");
    *room.left.lock().unwrap() = 5;
    let reason = format!("an event of 10 bytes, [journal] event_max allows 8{BEGINNING}");
    assert_eq!(inbox.offer_first(&room), Ok(Offered::Buried { address: "large".into(), reason }));
    assert_eq!(inbox.offer_first(&room), Ok(Offered::Taken));
    assert_eq!(*room.offered.lock().unwrap(), ["a", "large: dead", "c"]);
    inbox.durable(Commit(1));
    assert_eq!(acknowledged(&mut inbox), [1, 2], "with its commit, not before");
    inbox.durable(Commit(9));
    assert_eq!((acknowledged(&mut inbox), inbox.bytes), (vec![3], 0));
}

#[test]
fn what_not_even_a_dead_letter_can_be_made_of_is_never_acknowledged_and_holds_nobody_up() {
    let (mut inbox, room) = (Inbox::default(), Room::of(9));
    assert_eq!(offer(&mut inbox, &room, 1, "huge"), Offered::TooLarge { bytes: 9, bytes_max: 8 });
    assert_eq!(offer(&mut inbox, &room, 2, "a"), Offered::Taken);
    inbox.durable(Commit(9));
    assert_eq!((acknowledged(&mut inbox), inbox.bytes), (vec![2], 0));
}

#[test]
fn number_and_bytes_are_bounds() {
    let (mut inbox, room) = (Inbox::default(), Room::of(9));
    offer(&mut inbox, &room, 1, "a");
    assert!(inbox.has_room(2, 11) && !inbox.has_room(1, 11) && !inbox.has_room(2, 10));
    inbox.durable(Commit(9));
    assert!(!inbox.has_room(1, 11), "it is on disk, and not acknowledged");
    acknowledged(&mut inbox);
    assert!(inbox.has_room(1, 11));
}
