//! Going on to the next segment while the keeper works.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use lamppost_event::{Commit, JournalStopped, Partition, Waiting};
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

/// Somebody who waits for a commit, and looks again each time it is woken, like a task does.
struct Sleeper {
    commit: Commit,
    asleep: AtomicBool,
    waiting: Mutex<Waiting<'static, Result<Commit, JournalStopped>>>,
}

impl Sleeper {
    fn new(journal: &'static Journal, commit: Commit) -> Arc<Self> {
        let waiting = Mutex::new(journal.durable_after(Commit(commit.0 - 1)));
        let sleeper = Arc::new(Self { commit, asleep: AtomicBool::new(true), waiting });
        Arc::clone(&sleeper).wake();
        sleeper
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        let waker = Waker::from(Arc::clone(&self));
        let mut waiting = self.waiting.lock().unwrap();
        if self.asleep.load(Ordering::SeqCst) && waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            self.asleep.store(false, Ordering::SeqCst);
        }
    }
}

#[test]
fn who_waits_for_a_commit_is_woken_before_the_next_one_begins_a_segment() {
    let (disk, hooks) = hooked::Hooked::new(&SimDisk::new(2));
    // The least number of bytes that are due at once: the next commit begins when one ends.
    let options = Options { quota_bytes: 64 << 20, linger_bytes: 1, ..small_options(2) };
    let (journal, _) = Journal::open(disk, options, HandClock::new()).unwrap();
    // What waits borrows it.
    let journal: &'static Journal = Box::leak(Box::new(journal));
    let (sleepers, rolls) = (Arc::new(Mutex::new(Vec::<Arc<Sleeper>>::new())), Arc::new(Mutex::new(Vec::new())));
    let (held, noted) = (Arc::clone(&sleepers), Arc::clone(&rolls));
    *hooks.on_write.lock().unwrap() = Some(Box::new(move |bytes| {
        if std::thread::current().name() != Some("journal-writer") {
            return;
        }
        if bytes.starts_with(b"LMPSEGMT") {
            let durable = journal.durable().unwrap();
            let mut sleepers = held.lock().unwrap();
            let asleep = |sleeper: &Sleeper| sleeper.commit <= durable && sleeper.asleep.load(Ordering::SeqCst);
            noted.lock().unwrap().push(sleepers.iter().filter(|sleeper| asleep(sleeper)).count());
            sleepers.retain(|sleeper| sleeper.commit > durable);
        } else {
            // Time for more to gather while a commit is written.
            std::thread::sleep(Duration::from_micros(100));
        }
    }));
    let mut last = Commit(0);
    while last.0 < 500 {
        let offered = journal.append(&topic(), Partition(0), record(&"x".repeat(3500)), None);
        let Ok(taken) = offered else {
            std::thread::yield_now();
            continue;
        };
        last = taken.commit;
        let sleeper = Sleeper::new(journal, last);
        sleepers.lock().unwrap().push(sleeper);
    }
    block_on(journal.durable_after(Commit(last.0 - 1))).unwrap();
    let rolls = rolls.lock().unwrap();
    assert!(rolls.len() > 10 && rolls.iter().all(|asleep| *asleep == 0), "{rolls:?}");
}
