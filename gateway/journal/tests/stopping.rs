//! How the journal stops: closed, failed or panicked, and nothing is acknowledged that is not stored.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lamppost_event::*;
use lamppost_journal::sim::{Faults, SimDisk};
use lamppost_journal::*;
use world::*;

#[test]
fn a_failed_flush_or_write_stops_the_journal_for_good() {
    for faults in
        [Faults { fail_next_flush: true, ..Faults::default() }, Faults { fail_next_write: true, ..Faults::default() }]
    {
        let disk = SimDisk::new(1);
        let (journal, hand, _) = open(&disk, &small_options(1));
        append(&journal, 0, "a");
        disk.set_faults(faults);
        let mut waiting = journal.durable_after(Commit(0));
        assert!(poll_once(&mut waiting).is_none());
        assert!(hand.commit().is_err());
        assert!(poll_once(&mut waiting).unwrap().is_err(), "who waits is told");
        assert!(hand.commit().is_err() && journal.durable().is_err(), "there is no second try");
        assert!(journal.append(&topic(), Partition(0), record("b"), None).is_err());
        drop(waiting);
        drop((journal, hand));
        disk.power_cut();
        let (journal, hand, _) = open(&disk, &small_options(2));
        append(&journal, 0, "b");
        assert!(hand.commit().unwrap(), "opened again it goes on");
    }
}

#[test]
fn what_comes_while_it_is_being_closed_is_refused_and_not_acknowledged() {
    let disk = SimDisk::new(1);
    let (hooked, hooks) = hooked::Hooked::new(&disk);
    let (journal, hand, _) = Journal::open_by_hand(hooked, small_options(1), HandClock::new()).unwrap();
    append(&journal, 0, "first");
    hand.commit().unwrap();
    let refused = Arc::new(AtomicU64::new(0));
    let (late, counted) = (journal.clone(), Arc::clone(&refused));
    *hooks.on_write.lock().unwrap() = Some(Box::new(move |bytes| {
        let close_frame = bytes.starts_with(b"LMPFRAME") && bytes[10] == 1;
        if close_frame {
            let closing = |stopped: &JournalStopped| stopped.reason.contains("being closed");
            let append = late.append(&topic(), Partition(0), record("late"), Some(&mark(0, 9)));
            let put = late.put_state(b"late", Some("late".into()));
            let cursors = late.commit_cursors(&group(), &[Cursor { at: at(0), next: Offset(1) }]);
            let append = matches!(append, Err(AppendError::Stopped(stopped)) if closing(&stopped));
            let put = matches!(put, Err(PutError::Stopped(stopped)) if closing(&stopped));
            let closed = late.close().is_err_and(|stopped| closing(&stopped));
            let refusals = [append, put, cursors.is_err_and(|stopped| closing(&stopped)), closed];
            counted.store(refusals.into_iter().filter(|refused| *refused).count() as u64, Ordering::SeqCst);
        }
    }));
    let seen = journal.durable().unwrap();
    journal.close().unwrap();
    *hooks.on_write.lock().unwrap() = None;
    assert_eq!(refused.load(Ordering::SeqCst), 4, "append, put, cursors, a second close");
    assert_eq!(poll_once(&mut journal.durable_after(seen.next())).map(|told| told.is_err()), Some(true));
    drop((journal, hand));
    let (journal, _hand, recovery) = open(&disk, &small_options(2));
    assert!(recovery.clean);
    assert_eq!(texts(&read_all(&journal)), ["first"]);
}

#[test]
fn a_panic_in_either_thread_stops_the_journal_and_who_waits_is_told() {
    for thread in ["journal-writer", "journal-keeper"] {
        let (hooked, hooks) = hooked::Hooked::new(&SimDisk::new(1));
        let mut options = small_options(1);
        options.linger = Duration::ZERO;
        let (journal, _) = Journal::open(hooked, options, MachineClock::new()).unwrap();
        *hooks.on_write.lock().unwrap() = Some(Box::new(move |_| {
            assert!(std::thread::current().name() != Some(thread), "a disk that panics, as this test asks it to");
        }));
        let mut full = 0;
        let told = loop {
            let size = "x".repeat(3000);
            match journal.append(&topic(), Partition(0), record(&size), Some(&mark(0, 1))) {
                Err(AppendError::Stopped(stopped)) => break stopped,
                Ok(appended) => match wait_durable(&journal, appended.commit) {
                    Some(Err(stopped)) => break stopped,
                    Some(Ok(_)) => {}
                    None => panic!("{thread}: who waits is never told"),
                },
                Err(AppendError::Full(_)) => {
                    full += 1;
                    assert!(full < 5000, "{thread}: full for ever");
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("{error}"),
            }
        };
        assert!(told.reason.contains("panicked"), "{told:?}");
        assert!(journal.durable().is_err());
    }
}

/// Waits for a commit, for ten seconds at most.
fn wait_durable(journal: &Journal, commit: Commit) -> Option<Result<Commit, JournalStopped>> {
    let mut waiting = journal.durable_after(Commit(commit.0 - 1));
    (0..10_000).find_map(|_| {
        let told = poll_once(&mut waiting);
        if told.is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        told
    })
}

/// Whether the new layer's name is durable is not known then: nothing may go on as if there were no such layer, or as if there were.
#[test]
fn a_folder_that_can_not_be_flushed_after_a_checkpoint_was_named_stops_the_journal() {
    let (full, broken) = (
        Faults { fill_next_dir_flush: true, ..Faults::default() },
        Faults { fail_next_dir_flush: true, ..Faults::default() },
    );
    let mut named = [0; 2];
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let (journal, hand, _) = open(&disk, &small_options(1));
        journal.put_state(b"first", Some("1".into())).unwrap();
        hand.commit().unwrap();
        assert!(hand.checkpoint().unwrap());
        journal.put_state(b"second", Some("2".into())).unwrap();
        hand.commit().unwrap();
        let before = disk.names();
        disk.set_faults(if seed % 2 == 0 { full } else { broken });
        let stopped = hand.checkpoint().expect_err("the flush of the folder failed");
        assert!(stopped.reason.contains("flush the folder for checkpoint-"), "{stopped:?}");
        assert!(before.iter().all(|name| disk.names().contains(name)), "what it was made from is there still");
        assert!(hand.checkpoint().is_err() && hand.commit().is_err() && journal.durable().is_err(), "no second try");
        drop((journal, hand));
        disk.power_cut();
        named[usize::from(disk.names().len() > before.len())] += 1;
        let (journal, hand, recovery) = open(&disk, &small_options(2));
        assert!(recovery.unproved.is_none() && recovery.checkpoints_refused.is_empty(), "{recovery:?}");
        for (key, value) in [(&b"first"[..], "1"), (b"second", "2")] {
            assert_eq!(journal.state_get(key).unwrap(), Some(value.into()), "seed {seed}");
        }
        assert!(hand.checkpoint().unwrap(), "opened again it goes on");
        let bytes = disk.bytes();
        assert_eq!(journal.stats().disk_bytes, bytes, "each file is counted");
    }
    assert!(named.iter().all(|times| *times > 3), "the name was lost and was there: {named:?}");
}
