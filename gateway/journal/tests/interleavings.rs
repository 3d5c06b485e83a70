//! The group commit under thousands of interleavings of its threads, chosen by shuttle:
//! `RUSTFLAGS="--cfg shuttle" cargo test -p lamppost-journal --test interleavings --target-dir target/shuttle`.
//!
//! Without `--cfg shuttle` there is nothing here: the journal runs on real threads then. `LAMPPOST_INTERLEAVINGS` is the number of
//! interleavings of each scene and scheduler (half of them random, half by priorities with a few changes, PCT). A failure prints
//! the schedule that led to it. A thread that sleeps for ever is a failure ("deadlock"): see `src/sync/model.rs` on time-outs.
#![cfg(shuttle)]
#![allow(unreachable_pub, reason = "a test of several files")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

#[path = "interleavings/platter.rs"]
mod platter;
#[path = "interleavings/stage.rs"]
mod stage;

use std::sync::Arc;
use std::time::Duration;

use lamppost_event::*;
use lamppost_journal::sim::Faults;
use lamppost_journal::*;
use shuttle::thread::spawn;
use stage::{Stage, explore, wait};
use world::*;

#[test]
fn what_is_acknowledged_is_on_the_platter_with_its_mark() {
    explore(2000, || {
        let stage = Stage::open(options(Duration::ZERO));
        let appenders: Vec<_> =
            (0..2).map(|partition| stage.run(move |stage| stage.append_and_wait(partition, 2))).collect();
        let watcher = stage.run(|stage| stage.watch_durable(4));
        for thread in appenders.into_iter().chain([watcher]) {
            thread.join().unwrap();
        }
        stage.end().all_acknowledged(4).drop_journal().check();
    });
}

/// The instrument's control.
#[test]
#[should_panic(expected = "was told durable with commit")]
fn an_acknowledgement_before_the_flush_is_caught() {
    explore(50, || {
        let stage = Stage::open(options(Duration::ZERO));
        stage.run(|stage| stage.append_and_acknowledge_at_once(0, 2)).join().unwrap();
        stage.end().drop_journal().check();
    });
}

#[test]
fn company_is_waited_for_and_comes_to_the_platter_too() {
    explore(2000, || {
        let stage = Stage::open(options(Duration::from_millis(5)));
        let appenders: Vec<_> =
            (0..3).map(|partition| stage.run(move |stage| stage.append_and_wait(partition, 1))).collect();
        for thread in appenders {
            thread.join().unwrap();
        }
        stage.end().all_acknowledged(3).drop_journal().check();
    });
}

#[test]
fn readers_get_every_event_once_and_in_order() {
    explore(2000, || {
        let stage = Stage::open(options(Duration::ZERO));
        let appenders = (0..2).map(|partition| stage.run(move |stage| stage.append_and_wait(partition, 3)));
        let readers = (0..2).map(|_| stage.run(|stage| assert_eq!(stage.read(6, None), 6)));
        let threads: Vec<_> = appenders.chain(readers).collect();
        for thread in threads {
            thread.join().unwrap();
        }
        stage.end().all_acknowledged(6).drop_journal().check();
    });
}

#[test]
fn a_close_writes_all_that_was_taken_and_nothing_is_taken_or_acknowledged_afterwards() {
    explore(2000, || {
        let stage = Stage::open(options(Duration::ZERO));
        let appenders: Vec<_> =
            (0..2).map(|partition| stage.run(move |stage| stage.append_until_stopped(partition, 3))).collect();
        let reader = stage.run(|stage| {
            stage.read(6, None);
        });
        let closer = stage.run(|stage| {
            let closed = stage.journal.close();
            assert_eq!(closed, Ok(()));
            assert!(stage.journal.durable().is_err());
            let late = stage.journal.append(&topic(), Partition(2), record("late"), None);
            assert!(matches!(late, Err(AppendError::Stopped(_))), "{late:?}");
        });
        for thread in appenders.into_iter().chain([reader, closer]) {
            thread.join().unwrap();
        }
        let taken = stage.taken();
        let ended = stage.end().drop_journal();
        ended.check();
        ended.nothing_but(taken, true);
    });
}

#[test]
fn after_a_failed_flush_nothing_is_acknowledged_and_nobody_waits_for_ever() {
    explore(2000, || {
        let stage = Stage::open(options(Duration::ZERO));
        let appenders: Vec<_> =
            (0..2).map(|partition| stage.run(move |stage| stage.append_until_stopped(partition, 2))).collect();
        let disk = stage.disk.clone();
        let saboteur = spawn(move || disk.set_faults(Faults { fail_next_flush: true, ..Faults::default() }));
        let reader = stage.run(|stage| {
            stage.read(4, None);
        });
        for thread in appenders.into_iter().chain([saboteur, reader]) {
            thread.join().unwrap();
        }
        // The fault may have come after the last flush.
        if stage.journal.durable().is_err() {
            assert!(stage.journal.append(&topic(), Partition(2), record("late"), None).is_err());
            assert!(wait(stage.journal.durable_after(Commit(u64::MAX - 1))).is_err(), "who waits is told");
        }
        stage.end().drop_journal().check();
    });
}

#[test]
fn a_close_after_a_flush_that_failed_acknowledges_nothing() {
    explore(2000, || {
        let stage = Stage::open(options(Duration::ZERO));
        stage.disk.set_faults(Faults { fail_next_flush: true, ..Faults::default() });
        let appenders: Vec<_> =
            (0..2).map(|partition| stage.run(move |stage| stage.append_until_stopped(partition, 2))).collect();
        let closer = stage.run(|stage| assert!(stage.journal.close().is_err()));
        for thread in appenders.into_iter().chain([closer]) {
            thread.join().unwrap();
        }
        assert!(stage.end().drop_journal().nothing_acknowledged(), "the first flush failed: no later one counts");
    });
}

#[test]
fn a_journal_that_is_dropped_wakes_its_threads_and_keeps_what_it_acknowledged() {
    explore(2000, || {
        let stage = Stage::open(options(Duration::ZERO));
        let appender = stage.run(|stage| stage.append_and_forget(0, 2));
        appender.join().unwrap();
        stage.end().drop_journal().check();
    });
}

#[test]
fn segments_are_recycled_behind_the_durable_cursor_while_others_wait_for_room() {
    explore(200, || {
        let mut options = options(Duration::ZERO);
        options.required = vec![group()];
        options.cursor_deadline = Duration::from_millis(5);
        let stage = Stage::open(options);
        let events = 36;
        let appenders: Vec<_> =
            (0..2).map(|partition| stage.run(move |stage| stage.append_large(partition, events))).collect();
        let consumer = stage.run(move |stage| assert_eq!(stage.read(2 * events, Some(&group())), 2 * events));
        // Nothing waits for this one: it may be told that something was recycled before it was read, and loses nothing else.
        let idler = stage.run(move |stage| stage.read_what_is_left(2 * events));
        for thread in appenders.into_iter().chain([consumer, idler]) {
            thread.join().unwrap();
        }
        let stats = stage.journal.stats();
        assert!(stats.recycled + stats.cooled > 0, "the quota holds fewer events than were stored: {stats:?}");
        assert_eq!(stats.unreadable, 0, "no segment is recycled under a reader");
        stage.journal.close().unwrap();
        let platter = Arc::clone(&stage.platter);
        drop(stage);
        let (journal, _hand, recovery) = open(&platter::restored(&platter.image()), &small_options(2));
        assert!(recovery.clean);
        let expected = [0, 1].map(|partition| Cursor { at: at(partition), next: Offset(events) });
        assert_eq!(journal.resume(&group()).unwrap().cursors, expected, "a close makes the cursors durable");
    });
}

fn options(linger: Duration) -> Options {
    Options { linger, ..small_options(1) }
}
