//! A reader holds on to a hot segment while the keeper comes by: what was made of that segment meanwhile stays until the reader is
//! gone, and readers cost no room for good.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lamppost_event::{Cursor, Offset, Partition};
use lamppost_journal::sim::SimDisk;
use lamppost_journal::{AppendError, Hand, Journal, Options, ReadItem, SegmentFile};
use world::hooked::{Hooked, Hooks};
use world::{HandClock, PARTITIONS, at, group, hot, open, read_all, record, small_options, text_of, topic};

fn options(seed: u64) -> Options {
    let mut options = small_options(seed);
    options.quota_bytes = 40 * options.segment_bytes;
    options.required = vec![group()];
    options
}

fn cold(disk: &SimDisk) -> usize {
    disk.contents().keys().filter(|name| name.starts_with("cold-")).count()
}

struct Site {
    disk: SimDisk,
    hooks: Arc<Hooks>,
    journal: Journal,
    hand: Arc<Hand>,
    /// What was taken, by partition.
    taken: Vec<Vec<String>>,
}

impl Site {
    fn new(options: Options) -> Self {
        let disk = SimDisk::new(1);
        let (hooked, hooks) = Hooked::new(&disk);
        let (journal, hand, _) = Journal::open_by_hand(hooked, options, HandClock::new()).unwrap();
        hand.keep().unwrap();
        Self { disk, hooks, journal, hand: Arc::new(hand), taken: vec![Vec::new(); usize::from(PARTITIONS)] }
    }

    /// False if it was refused for want of room.
    fn offer(&mut self, n: usize) -> bool {
        let partition = n % usize::from(PARTITIONS);
        let text = format!("{{\"device\":\"lamp-{partition}\",\"reading\":{n},\"unit\":\"lux\",\"state\":\"fine\"}}");
        let taken = try_append(&self.journal, partition as u16, &text);
        if taken {
            self.taken[partition].push(text);
        }
        taken
    }

    /// Reads in the oldest hot segment; while the reader holds on to it, `meanwhile` happens, with that segment's name.
    fn read_the_oldest(&self, meanwhile: impl FnOnce(&str) + Send + 'static) {
        let name = hot(&self.disk)[0].clone();
        let base = SegmentFile::open(&self.disk, &name).unwrap().head().unwrap().base;
        let happened = Arc::new(AtomicBool::new(false));
        let (mut meanwhile, happens) = (Some(meanwhile), Arc::clone(&happened));
        *self.hooks.on_read.lock().unwrap() = Some(Box::new(move |_, _, _| {
            if let Some(meanwhile) = meanwhile.take() {
                meanwhile(&name);
                happens.store(true, Ordering::Relaxed);
            }
            Ok(())
        }));
        self.journal.read(base, 1).unwrap();
        *self.hooks.on_read.lock().unwrap() = None;
        assert!(happened.load(Ordering::Relaxed), "nothing was read");
    }
}

/// False if it was refused for want of room.
fn try_append(journal: &Journal, partition: u16, text: &str) -> bool {
    match journal.append(&topic(), Partition(partition), record(text), None) {
        Ok(_) => true,
        Err(AppendError::Full(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn cold_segments_are_not_put_together_while_a_reader_holds_the_original_of_one() {
    let mut site = Site::new(options(1));
    let met = Arc::new(AtomicBool::new(false));
    for n in 0..3_000 {
        assert!(site.offer(n));
        if n % 3 != 0 {
            continue;
        }
        site.hand.commit().unwrap();
        let (keeper, disk, meets) = (Arc::clone(&site.hand), site.disk.clone(), Arc::clone(&met));
        site.read_the_oldest(move |held| {
            let before = cold(&disk);
            keeper.keep().unwrap();
            keeper.keep().unwrap();
            // Eight small ones side by side, or one in their place, and the last one's original is still there.
            let enough = cold(&disk) >= 8 || cold(&disk) + 3 < before;
            meets.store(enough && hot(&disk).iter().any(|name| name == held), Ordering::Relaxed);
        });
        if met.load(Ordering::Relaxed) {
            break;
        }
        site.hand.keep().unwrap();
    }
    assert!(met.load(Ordering::Relaxed), "there never were enough to put together while the reader read");
    site.hand.commit().unwrap();
    drop((site.journal, site.hand));
    site.disk.power_cut();
    let (journal, _hand, recovery) = open(&site.disk, &options(3));
    assert!(recovery.damage.is_empty() && recovery.gaps.is_empty(), "{:?} {:?}", recovery.damage, recovery.gaps);
    let mut read = vec![Vec::new(); usize::from(PARTITIONS)];
    for item in read_all(&journal) {
        match item {
            ReadItem::Record(record) => read[usize::from(record.partition.0)].push(text_of(&record)),
            ReadItem::Gap(gap) => panic!("{gap:?}"),
        }
    }
    assert_eq!(read, site.taken);
}

#[test]
fn readers_do_not_turn_the_quota_into_hot_files() {
    for slow_reader in [false, true] {
        let mut options = options(1);
        options.quota_bytes = 12 * options.segment_bytes;
        let hot_files_max = options.hot_segments_max();
        let mut site = Site::new(options);
        for n in 0..3_500 {
            // A source that is refused tries again.
            let mut tries = 0;
            while !site.offer(n) {
                tries += 1;
                assert!(tries < 50, "slow reader {slow_reader}: full at event {n}: {:?}", site.journal.stats());
                site.hand.commit().unwrap();
                site.hand.keep().unwrap();
            }
            if n % 3 != 0 {
                continue;
            }
            site.hand.commit().unwrap();
            if slow_reader && n < 600 {
                let keeper = Arc::clone(&site.hand);
                site.read_the_oldest(move |_| assert!(keeper.keep().is_ok()));
            }
            site.hand.keep().unwrap();
        }
        let (files, names) = (hot_files(&site.disk), site.disk.names());
        assert!(files <= hot_files_max, "slow reader {slow_reader}: {files} of at most {hot_files_max}: {names:?}");
        assert!(site.journal.stats().given_up.is_empty());
    }
}

/// Files of hot segments, and such as can become one.
fn hot_files(disk: &SimDisk) -> usize {
    disk.names().iter().filter(|name| name.starts_with("hot-") || name.starts_with("free-")).count()
}

#[test]
fn for_a_segment_that_a_reader_holds_though_it_was_rewritten_there_is_one_more_and_no_more() {
    let options = options(1);
    let most = options.hot_segments_max();
    let mut site = Site::new(options);
    let mut n = 0;
    while site.journal.stats().cooled < 3 {
        assert!(site.offer(n));
        site.hand.commit().unwrap();
        site.hand.keep().unwrap();
        n += 1;
    }
    while site.hand.keep().unwrap() {}
    assert_eq!(hot_files(&site.disk), most);
    let (keeper, journal, disk) = (Arc::clone(&site.hand), site.journal.clone(), site.disk.clone());
    site.read_the_oldest(move |held| {
        let before = journal.stats();
        let (mut taken, mut rewritten) = (0, 0);
        // All that is taken as long as the reader holds on: each is a commit, and so a page at least.
        while try_append(&journal, 0, "event") {
            taken += 1;
            assert!(taken < 1_000, "the reader turns the quota into hot files: {:?}", disk.names());
            keeper.commit().unwrap();
            while keeper.keep().unwrap() {}
            rewritten = journal.stats().cooled - before.cooled;
        }
        assert!(rewritten > 0 && hot(&disk).iter().any(|name| name == held), "nothing rewritten is held");
        assert_eq!(
            hot_files(&disk),
            most + 1,
            "{taken} were taken, {rewritten} segments rewritten: {:?}",
            disk.names()
        );
    });
    while site.hand.keep().unwrap() {}
    assert!(site.offer(n), "room again, once the reader has gone");
}

#[test]
fn a_cold_segment_is_not_recycled_before_its_hot_original() {
    const COOLED: u64 = 3;
    let site = Site::new(options(1));
    let caught_up = Arc::new(AtomicU64::new(0));
    for n in 1..1_000 {
        assert!(try_append(&site.journal, 0, &format!("event {n}")));
        site.hand.commit().unwrap();
        let (keeper, journal) = (Arc::clone(&site.hand), site.journal.clone());
        let (disk, catches_up) = (site.disk.clone(), Arc::clone(&caught_up));
        site.read_the_oldest(move |held| {
            keeper.keep().unwrap();
            if journal.stats().cooled < COOLED {
                return;
            }
            journal.commit_cursors(&group(), &[Cursor { at: at(0), next: Offset(n) }]).unwrap();
            keeper.commit().unwrap();
            for more in 0..40 {
                // There may be no room for more while the reader holds on.
                try_append(&journal, 0, &format!("more {more}"));
                keeper.commit().unwrap();
                keeper.keep().unwrap();
            }
            assert!(hot(&disk).iter().any(|name| name == held), "the reader still holds the original");
            catches_up.store(n, Ordering::Relaxed);
        });
        if caught_up.load(Ordering::Relaxed) > 0 {
            break;
        }
        site.hand.keep().unwrap();
    }
    assert!(caught_up.load(Ordering::Relaxed) > 0, "no segment was made cold while the reader read it");
    drop((site.journal, site.hand));
    site.disk.power_cut();
    let (_journal, _hand, recovery) = open(&site.disk, &options(3));
    assert!(recovery.damage.is_empty() && recovery.gaps.is_empty(), "{:?} {:?}", recovery.damage, recovery.gaps);
}
