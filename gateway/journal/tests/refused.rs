//! A disk that refuses to read is not a disk whose bytes are wrong: it is asked again, and nothing is given up meanwhile.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::sync::Arc;
use std::time::Duration;

use lamppost_journal::sim::SimDisk;
use lamppost_journal::{Hand, Journal, OpenError, Options, Recovery};
use world::hooked::{Hooked, Hooks};
use world::{FRAMES_AT, HandClock, PAGE, append, open, read_all, small_options, texts};

/// The next `times` reads that touch `page` of a hot segment fail.
fn refuse(hooks: &Hooks, page: usize, mut times: u32) {
    *hooks.on_read.lock().unwrap() = Some(Box::new(move |name, at, length| {
        let touched = name.starts_with("hot-") && (at..at + length as u64).contains(&(page as u64));
        if times == 0 || !touched {
            return Ok(());
        }
        times -= 1;
        Err(std::io::Error::from_raw_os_error(5))
    }));
}

fn try_open(disk: &SimDisk, page: usize, options: &Options) -> Result<(Journal, Hand, Recovery), OpenError> {
    let (hooked, hooks) = Hooked::new(disk);
    refuse(&hooks, page, u32::MAX);
    Journal::open_by_hand(hooked, options.clone(), HandClock::new())
}

/// The events "a" to "e" are acknowledged, and the power fails.
fn five_and_a_cut() -> SimDisk {
    let disk = SimDisk::new(1);
    let (journal, hand, _) = open(&disk, &small_options(1));
    for text in ["a", "b", "c", "d", "e"] {
        append(&journal, 0, text);
        hand.commit().unwrap();
    }
    disk.power_cut();
    drop((journal, hand));
    disk
}

#[test]
fn a_reader_waits_for_a_disk_that_refuses_for_a_while() {
    let disk = five_and_a_cut();
    let (hooked, hooks) = Hooked::new(&disk);
    let options = Options { read_patience: Duration::from_secs(2), ..small_options(2) };
    let (journal, _hand, _) = Journal::open_by_hand(hooked, options, HandClock::new()).unwrap();
    // More often than one read tries at once.
    refuse(&hooks, FRAMES_AT + PAGE, 9);
    assert_eq!(texts(&read_all(&journal)), ["a", "b", "c", "d", "e"]);
    assert_eq!(journal.stats().unreadable, 0);
}

#[test]
fn an_end_that_the_disk_refuses_to_read_is_not_opened_without_at_once() {
    for page in [0, FRAMES_AT + 4 * PAGE] {
        let disk = five_and_a_cut();
        let before = disk.contents();
        let options = Options { refusals_max: 3, ..small_options(2) };
        for openings in 1..=2 {
            match try_open(&disk, page, &options) {
                Err(OpenError::Refused { openings: counted, openings_max: 3, .. }) => assert_eq!(counted, openings),
                // The second copy of a head serves as well.
                Ok((_, _, recovery)) if page == 0 => assert_eq!(recovery.events, 5),
                other => panic!("{:?}", other.map(|(_, _, recovery)| recovery)),
            }
        }
        if page == 0 {
            continue;
        }
        let mut after = disk.contents();
        assert_eq!(after.remove("refusals").map(|bytes| bytes.len()), Some(2), "the openings are counted");
        assert_eq!(after, before, "nothing else was touched");
        let (journal, _hand, _) = open(&disk, &options);
        assert_eq!(texts(&read_all(&journal)), ["a", "b", "c", "d", "e"], "the disk answers again");
        assert!(!disk.contents().contains_key("refusals"), "the count begins anew");
    }
}

#[test]
fn a_disk_that_never_answers_does_not_keep_the_journal_shut_and_its_file_is_kept() {
    let disk = five_and_a_cut();
    let options = Options { refusals_max: 1, ..small_options(2) };
    let page = FRAMES_AT + 4 * PAGE;
    assert!(matches!(try_open(&disk, page, &options), Err(OpenError::Refused { .. })));
    let (journal, hand, recovery) = try_open(&disk, page, &options).unwrap();
    assert!(recovery.unproved.is_some(), "{recovery:?}");
    assert_eq!(texts(&read_all(&journal)), ["a", "b", "c", "d"]);
    // The file is not used again, however long the journal goes on.
    for n in 0..200 {
        append(&journal, 0, &format!("{n} {}", "x".repeat(900)));
        hand.commit().unwrap();
        hand.keep().unwrap();
    }
    assert!(journal.stats().recycled > 2);
    let aside: Vec<_> = disk.contents().into_iter().filter(|(name, _)| name.starts_with("damaged-hot-")).collect();
    assert_eq!(aside.len(), 1);
    assert!(aside[0].1.windows(1).len() > page && aside[0].1[page..].starts_with(b"LMPFRAME"), "as it was");
    let quota = journal.stats().quota_bytes;
    let bytes: usize = disk.contents().values().map(Vec::len).sum();
    assert!(bytes as u64 <= quota, "{bytes} of {quota}");
    drop(Arc::new(journal));
}

/// What is refused is gone without at the first opening.
fn at_once() -> Options {
    Options { refusals_max: 0, required: vec![world::group()], ..small_options(1) }
}

/// The process was killed behind a checkpoint, which the disk gives no more. Gives its name, too.
fn with_a_checkpoint_that_is_refused() -> (SimDisk, String) {
    let disk = SimDisk::new(1);
    let (journal, hand, _) = open(&disk, &at_once());
    append(&journal, 0, "an event");
    hand.commit().unwrap();
    assert!(hand.checkpoint().unwrap());
    drop((journal, hand));
    disk.process_killed();
    let refused = disk.names().into_iter().find(|name| name.starts_with("checkpoint-")).unwrap();
    disk.fail_reads(&refused, 0..u64::MAX, lamppost_journal::sim::Times::Always);
    (disk, refused)
}

#[test]
fn a_file_that_was_set_aside_and_that_somebody_took_away_since_stops_nothing() {
    let (disk, refused) = with_a_checkpoint_that_is_refused();
    let (journal, hand, _) = open(&disk, &at_once());
    lamppost_journal::Disk::remove(&disk, &refused).unwrap();
    assert_ne!(journal.stats().disk_bytes, disk.bytes(), "it is still reckoned with");
    for n in 0..4_000 {
        let record = world::record(&format!("{n} {}", "x".repeat(900)));
        drop(journal.append(&world::topic(), lamppost_event::Partition(1), record, None));
        hand.commit().unwrap();
        hand.keep().unwrap();
        if journal.stats().disk_bytes == disk.bytes() {
            return;
        }
    }
    panic!("room was not made of it: {:?}", journal.stats());
}

/// A disk that never gives the newest checkpoint: the journal goes on without it, and it is not in the way for good.
#[test]
fn a_checkpoint_that_opening_was_refused_gives_way_to_the_next_or_to_events() {
    for again in [false, true] {
        let (disk, refused) = with_a_checkpoint_that_is_refused();
        let (journal, hand, recovery) = open(&disk, &at_once());
        assert_eq!(recovery.checkpoints_refused.len(), 1, "{recovery:?}");
        if again {
            // The next one has the same name.
            disk.mend_reads();
            assert!(hand.checkpoint().unwrap());
            assert!(disk.names().contains(&refused));
        }
        assert_eq!(journal.stats().disk_bytes, disk.bytes(), "each file is counted once");
        for n in 0..4_000 {
            let record = world::record(&format!("{n} {}", "x".repeat(900)));
            drop(journal.append(&world::topic(), lamppost_event::Partition(1), record, None));
            hand.commit().unwrap();
            hand.keep().unwrap();
            if !disk.names().contains(&refused) {
                break;
            }
        }
        assert!(!disk.names().contains(&refused), "it is there still: {:?}", disk.names());
        assert_eq!(journal.stats().disk_bytes, disk.bytes(), "and is counted no more");
    }
}
