//! The disk does to what was not flushed whatever a disk may, and nothing to what was.

use std::collections::BTreeSet;

use super::*;
use crate::disk::{Access, Disk, DiskFile};

/// A disk with a durable file of `pages` pages of zeros.
fn disk(seed: u64, name: &str, pages: usize) -> (SimDisk, Arc<dyn DiskFile>) {
    let disk = SimDisk::new(seed);
    let file = disk.create_zeroed(name, (pages * PAGE) as u64).unwrap();
    disk.flush_dir().unwrap();
    (disk, file)
}

fn bytes(disk: &SimDisk, name: &str) -> Vec<u8> {
    disk.contents().remove(name).unwrap()
}

#[test]
fn of_what_was_not_flushed_any_version_of_any_sector_survives_and_what_was_flushed_stays() {
    let (mut patterns, mut garbage) = (BTreeSet::new(), 0);
    for seed in 0..400 {
        let (disk, file) = disk(seed, "a", 2);
        file.write_at(&[1; PAGE], PAGE as u64).unwrap();
        file.flush().unwrap();
        file.write_at(&[2; 2 * SECTOR], 0).unwrap();
        file.write_at(&[3; 2 * SECTOR], 0).unwrap();
        disk.power_cut();
        let bytes = bytes(&disk, "a");
        assert_eq!(bytes[PAGE..], [1; PAGE], "seed {seed}: what was flushed");
        if bytes[2 * SECTOR..PAGE].iter().any(|byte| *byte != 0) {
            garbage += 1;
            continue;
        }
        assert!(bytes[..SECTOR].iter().all(|byte| *byte == bytes[0]), "seed {seed}: a sector is whole");
        patterns.insert((bytes[0], bytes[SECTOR]));
    }
    let all: BTreeSet<(u8, u8)> = [0, 2, 3].into_iter().flat_map(|a| [0, 2, 3].map(|b| (a, b))).collect();
    assert_eq!(patterns, all, "old, first and second write, in any mixture");
    assert!((20..200).contains(&garbage), "{garbage} of 400 pages that were being written are garbage");
}

#[test]
fn after_a_failed_flush_the_cache_shows_what_the_platter_may_not_have() {
    let (mut there, mut gone) = (0, 0);
    for seed in 0..40 {
        let (disk, file) = disk(seed, "a", 1);
        file.write_at(&[7; SECTOR], 0).unwrap();
        disk.set_faults(Faults { fail_next_flush: true, ..Faults::default() });
        assert!(file.flush().is_err());
        assert_eq!(bytes(&disk, "a")[0], 7, "the cache");
        // The pages count as clean: nothing is left to be flushed.
        assert!(file.flush().is_ok());
        file.forget_cache();
        *(if bytes(&disk, "a")[0] == 7 { &mut there } else { &mut gone }) += 1;
    }
    assert!(there > 5 && gone > 5, "{there} reached the platter, {gone} did not");
}

#[test]
fn some_first_changes_of_a_directory_survive() {
    let mut found = BTreeSet::new();
    for seed in 0..60 {
        let (disk, _file) = disk(seed, "a", 1);
        disk.rename("a", "b").unwrap();
        disk.rename("b", "c").unwrap();
        disk.remove("c").unwrap();
        disk.power_cut();
        found.insert(disk.names());
    }
    let expected = [vec!["a".to_owned()], vec!["b".to_owned()], vec!["c".to_owned()], Vec::new()];
    assert_eq!(found, BTreeSet::from(expected));
}

#[test]
fn a_file_that_was_growing_may_end_anywhere() {
    let mut sizes = BTreeSet::new();
    for seed in 0..200 {
        let (disk, file) = disk(seed, "a", 0);
        file.write_at(&[1; 4 * SECTOR], 0).unwrap();
        disk.power_cut();
        sizes.insert(bytes(&disk, "a").len());
    }
    assert_eq!(sizes, (0..=4).map(|sectors| sectors * SECTOR).collect());
}

#[test]
fn a_write_that_the_power_fails_in_may_have_its_effect() {
    let mut found = BTreeSet::new();
    for seed in 0..60 {
        let (disk, file) = disk(seed, "a", 1);
        disk.cut_after(0);
        assert!(file.write_at(&[1; SECTOR], 0).is_err() && file.write_at(&[2; SECTOR], 0).is_err());
        assert!(disk.is_cut() && disk.names() == ["a"]);
        disk.power_cut();
        assert!(!disk.is_cut() && file.flush().is_err(), "files of before are dead");
        found.insert(bytes(&disk, "a")[0].min(2));
    }
    assert!(found.contains(&0) && found.contains(&1), "{found:?}");
}

#[test]
fn a_place_fails_as_often_as_was_asked() {
    let (disk, file) = disk(1, "a", 4);
    let mut page = [0; PAGE];
    disk.fail_reads("a", 5000..5001, Times::Next(2));
    disk.fail_reads("a", 9000..9001, Times::Always);
    let mut tries = |at: u64| (0..4).map(|_| file.read_at(&mut page, at * PAGE as u64).is_ok()).collect::<Vec<_>>();
    assert_eq!(tries(0), [true; 4]);
    assert_eq!(tries(1), [false, false, true, true]);
    assert_eq!(tries(2), [false; 4]);
    disk.mend_reads();
    assert_eq!(tries(2), [true; 4]);
}

#[test]
fn reads_that_fail_by_chance_succeed_when_tried_again() {
    let (disk, file) = disk(1, "a", 1);
    disk.set_faults(Faults { read_error_one_in: 5, ..Faults::default() });
    let reads: Vec<bool> = (0..500).map(|_| file.read_at(&mut [0; 8], 0).is_ok()).collect();
    let failed: Vec<usize> = (0..reads.len()).filter(|index| !reads[*index]).collect();
    assert!((20..60).contains(&failed.len()), "{failed:?}");
    assert!(failed.windows(2).all(|two| two[1] - two[0] > Faults::READS_BETWEEN as usize), "{failed:?}");
}

#[test]
fn a_misdirected_page_lands_elsewhere_once_it_is_on_the_platter() {
    let (disk, file) = disk(3, "a", 8);
    disk.set_faults(Faults { misdirect_one_in: 1, ..Faults::default() });
    let mut astray = 0;
    for round in 1..=20 {
        file.write_at(&[round; PAGE], 3 * PAGE as u64).unwrap();
        assert_eq!(bytes(&disk, "a")[3 * PAGE], round, "the cache has it right");
        file.flush().unwrap();
        file.forget_cache();
        let bytes = bytes(&disk, "a");
        astray += usize::from((0..8).any(|page| page != 3 && bytes[page * PAGE..][..PAGE] == [round; PAGE]));
    }
    assert!(astray > 10, "{astray} of 20");
}

#[test]
fn a_stale_read_is_an_older_version_of_a_sector() {
    let (disk, file) = disk(3, "a", 1);
    disk.set_faults(Faults { stale_one_in: 2, ..Faults::default() });
    for round in 1..=9 {
        file.write_at(&[round; PAGE], 0).unwrap();
        file.flush().unwrap();
    }
    let mut stale = 0;
    for _ in 0..50 {
        let mut page = [0; PAGE];
        file.read_at(&mut page, 0).unwrap();
        assert!(page.chunks(SECTOR).all(|sector| sector == [sector[0]; SECTOR] && (8..=9).contains(&sector[0])));
        stale += usize::from(page.contains(&8));
    }
    assert!(stale > 10, "{stale} of 50");
}

#[test]
fn a_full_disk_takes_nothing_more() {
    let (disk, file) = disk(3, "a", 2);
    disk.set_faults(Faults { capacity_bytes: Some(3 * PAGE as u64), ..Faults::default() });
    let full = |result: std::io::Result<()>| result.is_err_and(|error| error.kind() == std::io::ErrorKind::StorageFull);
    assert!(full(disk.create_zeroed("b", 2 * PAGE as u64).map(drop)));
    assert!(file.write_at(&[1; PAGE], PAGE as u64).is_ok(), "there was room for that already");
    assert!(full(file.write_at(&[1; 2 * PAGE], 2 * PAGE as u64)));
    assert!(file.write_at(&[1; PAGE], 2 * PAGE as u64).is_ok());
}

#[test]
fn what_is_freed_on_a_shared_disk_is_gone_but_what_was_written_has_its_place() {
    let (disk, file) = disk(3, "a", 2);
    drop(disk.create_zeroed("b", PAGE as u64).unwrap());
    disk.set_faults(Faults { others_take_room: true, ..Faults::default() });
    drop(disk.create_zeroed("c", PAGE as u64).unwrap());
    disk.remove("b").unwrap();
    assert!(disk.create_zeroed("b", 1).is_err(), "others have taken that room");
    assert!(file.write_at(&[1; PAGE], PAGE as u64).is_ok());
    disk.rename("c", "a").unwrap();
    assert_eq!(disk.faults().capacity_bytes, Some(PAGE as u64));
    disk.open("a", Access::Write).unwrap().shorten(100).unwrap();
    assert_eq!(disk.faults().capacity_bytes, Some(100));
}

#[test]
fn a_file_that_was_shortened_may_be_as_long_as_before_after_a_power_cut_until_it_was_flushed() {
    let sizes: BTreeSet<usize> = (0..20)
        .map(|seed| {
            let (disk, file) = disk(seed, "a", 2);
            file.write_at(&[7; 2 * PAGE], 0).unwrap();
            file.flush().unwrap();
            file.shorten(PAGE as u64).unwrap();
            assert_eq!((disk.bytes(), file.len().unwrap()), (PAGE as u64, PAGE as u64));
            if seed >= 10 {
                file.flush().unwrap();
            }
            disk.power_cut();
            let content = disk.contents()["a"].clone();
            assert!(content.iter().all(|byte| *byte == 7) && (seed < 10 || content.len() == PAGE));
            content.len()
        })
        .collect();
    assert_eq!(sizes, [PAGE, 2 * PAGE].into());
}

/// What the journal does, as it is seen from below: which I/O the power fails in if it is to fail in that phase.
#[test]
fn the_phase_of_an_io_is_told_by_what_it_is() {
    type Act = fn(&SimDisk) -> std::io::Result<()>;
    let acts: [(Act, Option<Phase>); 14] = [
        (|disk| disk.open("hot-1.seg", Access::Write)?.write_at(&[1], 0), Some(Phase::Append)),
        (|disk| disk.open("hot-1.seg", Access::Write)?.flush(), Some(Phase::Append)),
        (|disk| disk.open("free-2.seg", Access::Write)?.write_at(&[1], 0), Some(Phase::Roll)),
        (|disk| disk.rename("free-2.seg", "hot-3.seg"), Some(Phase::Roll)),
        (|disk| disk.rename("hot-1.seg", "free-3.seg"), Some(Phase::Recycle)),
        (|disk| disk.rename("hot-1.seg", "free-3.seg").and_then(|()| disk.flush_dir()), Some(Phase::Recycle)),
        (|disk| disk.create_zeroed("cold-1.tmp", 0).map(drop), Some(Phase::ColdRewrite)),
        (|disk| disk.remove("cold-1.seg"), Some(Phase::ColdRewrite)),
        (|disk| disk.create_zeroed("checkpoint-1.ckp.tmp", 0)?.flush(), Some(Phase::Checkpoint)),
        (|disk| disk.rename("free-2.seg", "cold-2.tmp"), Some(Phase::ColdRewrite)),
        (|disk| disk.open("cold-1.seg", Access::Write)?.shorten(1), Some(Phase::ColdRewrite)),
        (|disk| disk.create_zeroed("free-9.seg", 9).map(drop), None),
        (|disk| disk.open("hot-1.seg", Access::Read)?.read_at(&mut [0], 0), None),
        (|disk| disk.list().map(drop), None),
    ];
    for (index, (act, expected)) in acts.into_iter().enumerate() {
        for phase in Phase::ALL {
            let disk = SimDisk::new(1);
            for name in ["hot-1.seg", "free-2.seg", "cold-1.seg", "checkpoint-1.ckp"] {
                disk.create_zeroed(name, 9).unwrap();
            }
            disk.flush_dir().unwrap();
            disk.cut_in(phase, 0);
            let failed = act(&disk).is_err();
            assert_eq!(
                (failed, disk.cut_phase()),
                (expected == Some(phase), expected.filter(|it| *it == phase)),
                "act {index}"
            );
            disk.set_opening(true);
            disk.cut_in(Phase::Recovery, 0);
            assert!(failed || (disk.list().is_err() && disk.cut_phase() == Some(Phase::Recovery)));
        }
    }
}
