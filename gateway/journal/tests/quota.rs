//! The quota is another one than when the files were made.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use lamppost_event::{Cursor, Offset, Partition};
use lamppost_journal::sim::SimDisk;
use lamppost_journal::{Entropy, Options};
use world::{append, at, group, hot, open, record, small_options, topic};

#[test]
fn a_quota_that_was_lowered_is_come_down_to_and_stops_nothing_that_is_delivered() {
    let disk = SimDisk::new(31);
    let least = Options { required: vec![group()], ..small_options(1) };
    let roomy = Options { quota_bytes: 40 * least.segment_bytes, ..least.clone() };
    let (journal, hand, _) = open(&disk, &roomy);
    let mut sent = 0;
    // The cluster is away: as many hot files as a quarter of the larger quota has room for.
    while hot(&disk).len() < 9 {
        append(&journal, 0, "event");
        sent += 1;
        hand.commit().unwrap();
        while hand.keep().unwrap() {}
    }
    let done = |next| [Cursor { at: at(0), next: Offset(next) }];
    journal.commit_cursors(&group(), &done(sent)).unwrap();
    journal.close().unwrap();
    drop((journal, hand));
    assert!(disk.bytes() > least.quota_bytes);

    let (journal, hand, _) = open(&disk, &Options { entropy: Entropy::Seed(2), ..least.clone() });
    for _ in 0..300 {
        append(&journal, 0, "event");
        sent += 1;
        hand.commit().unwrap();
        journal.commit_cursors(&group(), &done(sent)).unwrap();
        while hand.keep().unwrap() {}
    }
    assert!(disk.bytes() <= least.quota_bytes, "{} bytes of {}", disk.bytes(), least.quota_bytes);
}

/// Nothing is delivered: the hot segments are rewritten in lent files, one after the other.
#[test]
fn while_a_lowered_quota_is_come_down_to_there_is_always_a_file_for_recovery() {
    let disk = SimDisk::new(32);
    let least = Options { required: vec![group()], ..small_options(1) };
    let roomy = Options { quota_bytes: 40 * least.segment_bytes, ..least.clone() };
    let (journal, hand, _) = open(&disk, &roomy);
    while hot(&disk).len() < 9 {
        append(&journal, 0, "event");
        hand.commit().unwrap();
        while hand.keep().unwrap() {}
    }
    journal.close().unwrap();
    drop((journal, hand));
    assert!(disk.bytes() > least.quota_bytes);

    let (journal, hand, _) = open(&disk, &Options { entropy: Entropy::Seed(2), ..least.clone() });
    for _ in 0..200 {
        drop(journal.append(&topic(), Partition(0), record(&"x".repeat(900)), None));
        hand.commit().unwrap();
        while hand.keep().unwrap() {}
        assert!(journal.stats().segments_free > 0, "none for recovery: {:?}", disk.names());
    }
    assert!(journal.stats().cooled > 0, "nothing was rewritten: {:?}", journal.stats());
    drop((journal, hand));
    disk.power_cut();
    // Without a free file, and with no room for one, it would not open.
    open(&disk, &Options { entropy: Entropy::Seed(3), ..least });
}
