//! Going on to the next segment while the keeper works.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::sync::Arc;

use lamppost_journal::sim::SimDisk;
use lamppost_journal::*;
use world::*;

#[test]
fn the_quota_holds_and_there_is_always_room_though_the_keeper_works_while_a_segment_is_begun() {
    let (disk, hooks) = hooked::Hooked::new(&SimDisk::new(1));
    // More than what is kept free for checkpoints.
    let mut options = Options { segment_bytes: 256 << 10, ..small_options(1) };
    options.quota_bytes = options.quota_min();
    let (quota, files) = (options.quota_bytes, disk.disk.clone());
    let (journal, hand, _) = Journal::open_by_hand(disk, options, HandClock::new()).unwrap();
    let hand = Arc::new(hand);
    let keeper = Arc::clone(&hand);
    // At every write, those of a segment's heads among them.
    *hooks.on_write.lock().unwrap() = Some(Box::new(move |_| while keeper.keep().unwrap() {}));
    for count in 0..1000 {
        append(&journal, count % PARTITIONS, &"x".repeat(3000));
        hand.commit().unwrap();
        assert!(files.bytes() <= quota, "{} bytes of {quota} after {count} commits", files.bytes());
    }
    assert!(journal.stats().recycled > 5);
}
