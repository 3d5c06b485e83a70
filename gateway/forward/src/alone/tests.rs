use std::sync::atomic::AtomicU64;

use lamppost_event::{Chunk, Cursor, Group, Resume, TopicPartition, TopicShape, Waiting};

use super::*;

fn topic() -> Topic {
    Topic::new("air").unwrap()
}

fn event(offset: u64) -> Item {
    Item::Event(crate::sample::stored(1, offset))
}

fn gap(from: u64, to: u64) -> Item {
    let at = TopicPartition { topic: topic(), partition: Partition(0) };
    Item::Gap(Gap { at, from: Offset(from), to: Offset(to), reason: "a test".into() })
}

/// Ten offsets, 4 and 5 of them a gap. A read gives at least the last six before its place again, at the end too.
#[derive(Default)]
struct Denser(AtomicU64);

impl Outlet for Denser {
    fn topics(&self) -> Vec<TopicShape> {
        Vec::new()
    }

    fn resume(&self, _: &Group) -> Result<Resume, JournalStopped> {
        Ok(Resume { position: Position(0), cursors: Vec::new() })
    }

    fn read(&self, from: Position, _: usize) -> Result<Chunk, JournalStopped> {
        assert!(self.0.fetch_add(1, Relaxed) < 20, "it reads over and over");
        let next = (from.0 + 3).min(10);
        let of = |offset| if offset == 4 { gap(2, 6) } else { event(offset) };
        let items = (from.0.saturating_sub(6)..next).filter(|offset| *offset != 5).map(of).collect();
        Ok(Chunk { items, next: Position(next), caught_up: next == 10 })
    }

    fn commit(&self, _: &Group, _: &[Cursor]) -> Result<(), JournalStopped> {
        Ok(())
    }

    fn grown(&self, _: Position) -> Waiting<'_, ()> {
        Box::pin(async {})
    }
}

/// What a lane finds from a position on, each done with before the next is looked for.
fn found(from: u64, cursor: u64) -> Vec<Item> {
    let (mut alone, outlet) = (Alone::new(topic(), Position(from)), Denser::default());
    let mut cursors = HashMap::from([(Partition(0), Offset(cursor))]);
    let mut found = Vec::new();
    while let Some(item) = alone.find(&outlet, &cursors, None, 1).unwrap() {
        let after = match &item {
            Item::Event(stored) => stored.offset.next(),
            Item::Gap(gap) => gap.to,
        };
        cursors.insert(Partition(0), after);
        found.push(item);
    }
    found
}

#[test]
fn what_comes_again_is_skipped_and_the_end_is_found_though_something_comes_again_there() {
    let all = [event(0), event(1), event(2), event(3), gap(2, 6), event(6), event(7), event(8), event(9)];
    assert_eq!(found(0, 0), all);
    assert_eq!(found(6, 6), all[5..], "the gap lies wholly below");
    assert_eq!(found(3, 3), all[3..], "the gap begins below");
    assert_eq!(found(10, 10), []);
}

#[test]
fn at_the_end_what_is_below_the_place_and_not_done_is_still_found() {
    assert_eq!(found(10, 8), [event(8), event(9)]);
}

#[test]
fn an_event_is_buried_only_after_both_times_were_refused_its_own_and_that_of_sending() {
    let Item::Event(event) = event(7) else { unreachable!() };
    let known = Bounds::of(|name| (name == "message.timestamp.before.max.ms").then_some("3600000"));

    let mut own_first = Alone::new(topic(), Position(0));
    assert_eq!(own_first.other_time(&event, false, known), Some(known));
    assert_eq!(own_first.timing(&event, known), Timing::Sending);
    assert_eq!(own_first.other_time(&event, true, known), None);

    // The bounds said that its own would be refused, by a clock that is wrong.
    let mut own_left_out = Alone::new(topic(), Position(0));
    let nothing_known = own_left_out.other_time(&event, true, known).unwrap();
    assert_eq!(own_left_out.timing(&event, nothing_known), Timing::Own(Bounds::default()));
    assert_eq!(own_left_out.other_time(&event, false, nothing_known), Some(nothing_known));
    assert_eq!(own_left_out.other_time(&event, true, nothing_known), None);

    // No time of its own at all.
    let mut timeless = Alone::new(topic(), Position(0));
    assert_eq!(timeless.other_time(&event, true, Bounds::default()), None);
}
