use proptest::prelude::*;

use super::*;

fn topic() -> Topic {
    Topic::new("air").unwrap()
}

fn cursor(partition: u16, next: u64) -> Cursor {
    Cursor { at: TopicPartition { topic: topic(), partition: Partition(partition) }, next: Offset(next) }
}

#[test]
fn the_cursor_stops_before_the_first_undelivered_event() {
    let mut window = Window::new(1000, vec![cursor(0, 10)]);
    window.begin_read(Position(0));
    let track = window.track(&topic(), Partition(0));
    let slots: Vec<Slot> = (10..14).map(|n| window.sent(track, Offset(n), 10)).collect();
    assert!(window.done(slots[1]) && window.done(slots[3]));
    assert_eq!(window.take_moved(), vec![]);
    assert!(window.done(slots[0]));
    assert_eq!(window.take_moved(), vec![cursor(0, 12)]);
    assert!(window.done(slots[2]));
    assert_eq!(window.take_moved(), vec![cursor(0, 14)]);
    assert_eq!((window.bytes(), window.events()), (0, 0));
}

#[test]
fn a_report_that_comes_twice_is_ignored() {
    let mut window = Window::new(1000, vec![]);
    let track = window.track(&topic(), Partition(0));
    let slot = window.sent(track, Offset(0), 10);
    assert!(window.done(slot));
    assert!(!window.done(slot) && !window.done(Slot(77)));
}

#[test]
fn a_gap_is_passed_only_behind_what_is_done() {
    let mut window = Window::new(1000, vec![cursor(0, 0)]);
    window.begin_read(Position(0));
    let track = window.track(&topic(), Partition(0));
    let slot = window.sent(track, Offset(0), 10);
    window.skip(track, Offset(1), Offset(5));
    assert_eq!(window.take_moved(), vec![]);
    assert!(window.done(slot));
    assert_eq!(window.take_moved(), vec![cursor(0, 5)]);
    assert_eq!(window.admit(track, Offset(5)), Admission::Next);
    assert_eq!(window.admit(track, Offset(4)), Admission::Seen);
    assert_eq!(window.admit(track, Offset(7)), Admission::Jump { from: Offset(5) });
}

#[test]
fn a_gap_counts_once_the_cursor_passes_it_and_once_though_it_is_met_again() {
    let mut window = Window::new(1000, vec![cursor(0, 0)]);
    let track = window.track(&topic(), Partition(0));
    for _ in 0..2 {
        window.begin_read(Position(0));
        window.sent(track, Offset(0), 10);
        window.lose(track, Offset(1), Offset(5));
        assert_eq!(window.lost(), Lost { gaps: 0, events: 0 });
        window.reset();
    }
    window.skip(track, Offset(0), Offset(1));
    window.lose(track, Offset(1), Offset(5));
    assert_eq!(window.lost(), Lost { gaps: 1, events: 4 });
    assert_eq!(window.take_moved(), vec![cursor(0, 5)]);
}

#[test]
fn an_event_above_the_bound_goes_alone() {
    let mut window = Window::new(100, vec![]);
    assert!(window.has_room(5000));
    let track = window.track(&topic(), Partition(0));
    let slot = window.sent(track, Offset(0), 5000);
    assert!(!window.has_room(1));
    assert!(window.done(slot));
    assert!(window.has_room(1));
}

#[test]
fn what_was_taken_back_is_handed_over_again() {
    let mut window = Window::new(1000, vec![cursor(0, 7)]);
    window.begin_read(Position(64));
    let track = window.track(&topic(), Partition(0));
    let slot = window.sent(track, Offset(7), 10);
    assert!(!window.is_idle(&topic()));
    window.take_back(slot);
    assert_eq!((window.bytes(), window.events()), (0, 0));
    assert!(window.is_idle(&topic()) && !window.done(slot));
    assert_eq!(window.admit(track, Offset(7)), Admission::Next);
    window.end_read();
    assert_eq!(window.reset(), None);
}

#[test]
fn after_a_reset_reading_begins_at_the_first_read_with_something_undone() {
    let mut window = Window::new(1000, vec![]);
    let track = window.track(&topic(), Partition(0));
    let mut slots = Vec::new();
    for (n, start) in [(0, 0), (1, 4096), (2, 8192)] {
        window.begin_read(Position(start));
        slots.push(window.sent(track, Offset(n), 10));
        window.end_read();
    }
    assert!(window.done(slots[0]) && window.done(slots[2]));
    assert_eq!(window.reset(), Some(Position(4096)));
    assert_eq!(window.admit(track, Offset(1)), Admission::Next);
    assert_eq!(window.reset(), None);
    assert!(!window.done(slots[1]), "a report from before the reset");
}

#[test]
fn a_read_that_is_not_handed_over_yet_is_read_again_after_a_reset() {
    let mut window = Window::new(1000, vec![]);
    window.begin_read(Position(512));
    assert_eq!(window.reset(), Some(Position(512)));
    window.begin_read(Position(1024));
    window.end_read();
    assert_eq!(window.reset(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Against a model: whatever the order of the reports, and with resets between, no cursor ever passes an event that was
    /// not reported, none stays behind what is done, and every event is reported in the end.
    #[test]
    fn cursors_are_contiguous_whatever_the_order_of_the_reports(
        steps in prop::collection::vec((0_u8..20, any::<u16>()), 1..400),
    ) {
        const PARTITIONS: u16 = 3;
        const BYTES: usize = 10;
        let mut window = Window::new(200, (0..PARTITIONS).map(|p| cursor(p, 0)).collect());
        let mut flying: Vec<(Slot, u16, u64)> = Vec::new();
        let mut done = vec![std::collections::BTreeSet::<u64>::new(); usize::from(PARTITIONS)];
        let mut next = vec![0_u64; usize::from(PARTITIONS)];
        let mut cursors = vec![0_u64; usize::from(PARTITIONS)];
        // The model's journal: which read start holds an offset.
        let mut start_of = std::collections::HashMap::new();
        let mut start = 1;
        window.begin_read(Position(start));
        for (what, pick) in steps {
            let p = pick % PARTITIONS;
            let at = usize::from(p);
            match what {
                0..10 => if window.has_room(BYTES) {
                    let track = window.track(&topic(), Partition(p));
                    prop_assert_eq!(window.admit(track, Offset(next[at])), Admission::Next);
                    flying.push((window.sent(track, Offset(next[at]), BYTES), p, next[at]));
                    start_of.insert((p, next[at]), start);
                    next[at] += 1;
                },
                10..17 => if !flying.is_empty() {
                    let (slot, p, offset) = flying.swap_remove(usize::from(pick) % flying.len());
                    prop_assert!(window.done(slot));
                    done[usize::from(p)].insert(offset);
                },
                17 => { start += 1; window.begin_read(Position(start)); },
                18 => {
                    let track = window.track(&topic(), Partition(p));
                    window.skip(track, Offset(next[at]), Offset(next[at] + 2));
                    done[at].extend([next[at], next[at] + 1]);
                    start_of.insert((p, next[at]), start);
                    start_of.insert((p, next[at] + 1), start);
                    next[at] += 2;
                },
                _ => {
                    let from = window.reset();
                    for p in 0..PARTITIONS {
                        let at = usize::from(p);
                        next[at] = (0..).find(|n| !done[at].contains(n)).unwrap();
                        done[at].retain(|n| *n < next[at]);
                        if let Some(first) = start_of.get(&(p, next[at])).filter(|start| **start > 0) {
                            prop_assert!(from.is_some_and(|from| from.0 <= *first), "undone at {first}, read from {from:?}");
                        }
                    }
                    flying.clear();
                    start_of.clear();
                    start += 1;
                    window.begin_read(Position(start));
                },
            }
            prop_assert!(window.bytes() <= 200);
            prop_assert_eq!(window.events(), flying.len());
            for moved in window.take_moved() {
                cursors[usize::from(moved.at.partition.0)] = moved.next.0;
            }
            for at in 0..usize::from(PARTITIONS) {
                prop_assert_eq!(cursors[at], (0..).find(|n| !done[at].contains(n)).unwrap());
            }
        }
    }
}

#[test]
fn the_oldest_is_the_oldest_of_those_that_cursors_stand_before_and_nobody_once_all_is_done() {
    let mut window = Window::new(1000, vec![]);
    window.begin_read(Position(0));
    let mut slots = Vec::new();
    for (partition, offset, at_ms) in [(0, 0, 50), (0, 1, 90), (1, 0, 70)] {
        let track = window.track(&topic(), Partition(partition));
        slots.push(window.sent(track, Offset(offset), 10));
        window.received(track, WallTime(at_ms));
    }
    assert_eq!(window.oldest(), Some(WallTime(50)));
    assert!(window.done(slots[0]));
    assert_eq!(window.oldest(), Some(WallTime(70)));
    assert!(window.done(slots[1]) && window.done(slots[2]));
    assert_eq!(window.oldest(), None);
}

#[test]
fn a_smaller_bound_keeps_what_is_in_flight_and_lets_nothing_in_above_it() {
    let mut window = Window::new(1000, vec![]);
    let track = window.track(&topic(), Partition(0));
    let slot = window.sent(track, Offset(0), 600);
    window.set_bytes_max(500);
    assert!(window.bytes() == 600 && !window.has_room(10));
    assert!(window.done(slot));
    assert!(window.has_room(500) && window.has_room(10_000), "an event above the bound goes alone");
}
