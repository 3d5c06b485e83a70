//! A checkpoint in layers: what it costs, what is read out of it, and what is left when a layer is lost.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::collections::BTreeMap;

use bytes::Bytes;
use lamppost_event::*;
use lamppost_journal::sim::SimDisk;
use lamppost_journal::*;
use world::*;

/// Checkpoints are written where a test asks for them.
fn options(seed: u64) -> Options {
    Options { quota_bytes: 8 << 20, checkpoint_bytes: 1 << 20, ..small_options(seed) }
}

type Model = BTreeMap<Vec<u8>, Bytes>;

fn put(journal: &Journal, model: &mut Model, key: &str, value: Option<String>) {
    let value = value.map(Bytes::from);
    journal.put_state(key.as_bytes(), value.clone()).unwrap();
    match value {
        Some(value) => model.insert(key.as_bytes().to_vec(), value),
        None => model.remove(key.as_bytes()),
    };
}

/// Many keys, in a checkpoint of one layer.
fn fill(journal: &Journal, hand: &Hand, model: &mut Model, keys: u64) {
    for number in 0..keys {
        put(journal, model, &format!("key {number:05}"), Some(format!("value {number} {}", "-".repeat(40))));
        if number % 40 == 39 {
            settle(hand);
        }
    }
    settle(hand);
    hand.checkpoint().unwrap();
}

/// Commits, and makes room for more.
fn settle(hand: &Hand) {
    hand.commit().unwrap();
    while hand.keep().unwrap() {}
}

fn assert_state(journal: &Journal, model: &Model) {
    let mut found = Model::new();
    journal
        .state_scan(b"", &mut |key, value| {
            let last = found.insert(key.to_vec(), value.clone());
            assert_eq!(last, None, "{key:?} was told twice");
        })
        .unwrap();
    assert_eq!(&found, model);
}

/// By falling commit.
fn checkpoints(disk: &SimDisk) -> Vec<(String, usize)> {
    let files = disk.contents().into_iter().filter(|(name, _)| name.starts_with("checkpoint-"));
    files.map(|(name, bytes)| (name, bytes.len())).rev().collect()
}

/// The lowest layer: what lies over it is at most half of it, what it stands for no more than all.
fn largest(files: &[(String, usize)]) -> String {
    files.iter().max_by_key(|(_, bytes)| *bytes).unwrap().0.clone()
}

#[test]
fn a_checkpoint_costs_what_changed_and_not_what_there_is() {
    let disk = SimDisk::new(1);
    let (journal, hand, _) = open(&disk, &options(1));
    let mut model = Model::new();
    fill(&journal, &hand, &mut model, 4000);
    let whole: usize = checkpoints(&disk).iter().map(|(_, bytes)| bytes).sum();
    let written = journal.stats().bytes_written;
    for number in 0..10 {
        put(&journal, &mut model, &format!("key {number:05}"), Some(format!("changed {number}")));
        hand.commit().unwrap();
        hand.checkpoint().unwrap();
    }
    // Ten commits of a page, and their layers.
    let cost = journal.stats().bytes_written - written - 10 * 4096;
    println!("ten checkpoints of one changed key each: {cost} bytes, over a state of {whole}");
    assert!(whole > 200_000 && cost < whole as u64 / 10, "{cost} bytes over {whole}");
    assert_state(&journal, &model);
}

#[test]
fn state_in_layers_is_what_was_put_there_over_power_cuts_and_closings() {
    for seed in 1..=8 {
        println!("seed {seed}");
        let (disk, mut random) = (SimDisk::new(seed), SplitMix64::new(seed));
        let mut model = Model::new();
        let (mut journal, mut hand, _) = open(&disk, &options(seed));
        fill(&journal, &hand, &mut model, 1500);
        let mut layers = 0;
        for round in 0..60 {
            for _ in 0..random.below(25) {
                let key = format!("key {:05}", random.below(1600));
                let value =
                    (!random.chance(1, 4)).then(|| format!("round {round} {}", "+".repeat(random.below(90) as usize)));
                put(&journal, &mut model, &key, value);
            }
            settle(&hand);
            match random.below(8) {
                0..=4 => drop(hand.checkpoint().unwrap()),
                5 => {}
                way => {
                    if way == 6 {
                        journal.close().unwrap();
                    }
                    drop((journal, hand));
                    disk.power_cut();
                    let (again, by_hand, recovery) = open(&disk, &options(100 * seed + round));
                    assert!(recovery.unproved.is_none() && recovery.checkpoints_refused.is_empty(), "{recovery:?}");
                    (journal, hand) = (again, by_hand);
                }
            }
            layers = layers.max(checkpoints(&disk).len());
            let key = format!("key {:05}", random.below(1600));
            assert_eq!(journal.state_get(key.as_bytes()).unwrap().as_ref(), model.get(key.as_bytes()), "{key}");
        }
        assert_state(&journal, &model);
        assert!(layers > 3, "{layers} files of checkpoints at the most");
    }
}

#[test]
fn when_the_lowest_layer_is_lost_what_changed_since_is_kept_and_the_epoch_changes() {
    let disk = SimDisk::new(1);
    let (journal, hand, first) = open(&disk, &options(1));
    let mut model = Model::new();
    fill(&journal, &hand, &mut model, 2000);
    put(&journal, &mut model, "new", Some("yes".to_owned()));
    append(&journal, 0, "an event");
    hand.commit().unwrap();
    journal.commit_cursors(&group(), &[Cursor { at: at(0), next: Offset(1) }]).unwrap();
    hand.commit().unwrap();
    hand.checkpoint().unwrap();
    journal.close().unwrap();
    let files = checkpoints(&disk);
    let lowest = largest(&files);
    assert!(lowest != files[0].0, "{files:?}");
    disk.flip(&lowest, 5000, 1);
    let (journal, _hand, second) = open(&disk, &options(2));
    assert_eq!(second.checkpoints_refused.len(), 1, "{second:?}");
    assert!(second.unproved.is_some() && second.epoch != first.epoch, "{second:?}");
    assert_eq!(journal.state_get(b"new").unwrap(), Some("yes".into()));
    assert_eq!(journal.resume(&group()).unwrap().cursors, [Cursor { at: at(0), next: Offset(1) }]);
}

#[test]
fn when_layers_that_were_put_together_are_lost_those_that_they_came_from_stand_in() {
    let disk = SimDisk::new(1);
    let (journal, hand, _) = open(&disk, &options(1));
    let mut model = Model::new();
    fill(&journal, &hand, &mut model, 1000);
    // Half of it changes: it is written whole again.
    for number in 0..700 {
        put(&journal, &mut model, &format!("key {number:05}"), Some("changed".repeat(8)));
        if number % 40 == 39 {
            settle(&hand);
        }
    }
    settle(&hand);
    hand.checkpoint().unwrap();
    journal.close().unwrap();
    let files = checkpoints(&disk);
    assert!(files.len() >= 2, "{files:?}");
    disk.flip(&largest(&files), 5000, 1);
    let (journal, _hand, second) = open(&disk, &options(2));
    assert_eq!(second.checkpoints_refused.len(), 1, "{second:?}");
    assert_eq!(journal.state_get(b"key 00900").unwrap(), model.get(b"key 00900".as_slice()).cloned());
}

#[test]
fn a_missing_layer_is_noticed() {
    let disk = SimDisk::new(1);
    let (journal, hand, first) = open(&disk, &options(1));
    let mut model = Model::new();
    fill(&journal, &hand, &mut model, 2000);
    for text in ["one", "two"] {
        put(&journal, &mut model, text, Some(text.to_owned()));
        hand.commit().unwrap();
        hand.checkpoint().unwrap();
    }
    journal.close().unwrap();
    let files = checkpoints(&disk);
    lamppost_journal::Disk::remove(&disk, &files[1].0).unwrap();
    let (journal, hand, second) = open(&disk, &options(2));
    let reason = second.unproved.clone().unwrap();
    assert!(reason.contains("missing") && second.epoch != first.epoch, "{reason}");
    assert_eq!(journal.state_get(b"two").unwrap(), Some("two".into()));
    assert_eq!(journal.state_get(b"key 00100").unwrap(), model.get(b"key 00100".as_slice()).cloned());
    // The next one stands on its own feet, though only little changed.
    put(&journal, &mut model, "three", Some("three".to_owned()));
    hand.commit().unwrap();
    hand.checkpoint().unwrap();
    journal.close().unwrap();
    let (journal, _hand, third) = open(&disk, &options(3));
    assert!(third.unproved.is_none() && third.continued == Some(second.epoch), "{third:?}");
    model.remove(b"one".as_slice());
    assert_state(&journal, &model);
}

#[test]
fn a_layer_alone_still_says_what_it_holds() {
    let disk = SimDisk::new(1);
    let (journal, hand, first) = open(&disk, &options(1));
    let mut model = Model::new();
    fill(&journal, &hand, &mut model, 2000);
    put(&journal, &mut model, "new", Some("yes".to_owned()));
    hand.commit().unwrap();
    hand.checkpoint().unwrap();
    journal.close().unwrap();
    for (name, _) in &checkpoints(&disk)[1..] {
        lamppost_journal::Disk::remove(&disk, name).unwrap();
    }
    let (journal, _hand, second) = open(&disk, &options(2));
    assert!(second.unproved.is_some() && second.epoch != first.epoch, "{second:?}");
    assert_eq!(journal.state_get(b"new").unwrap(), Some("yes".into()));
}

#[test]
fn a_boot_that_is_forgotten_is_not_found_in_a_layer_beneath() {
    let disk = SimDisk::new(1);
    let (journal, hand, _) = open(&disk, &options(1));
    let take = |boot, sequence| {
        journal.append(&topic(), Partition(0), record("x"), Some(&Mark { boot, ..mark(0, sequence) })).unwrap();
        settle(&hand);
    };
    take(7, 1);
    fill(&journal, &hand, &mut Model::new(), 2000);
    let layers = checkpoints(&disk).len();
    for boot in 7..20 {
        take(boot, 2);
    }
    hand.checkpoint().unwrap();
    assert!(checkpoints(&disk).len() > layers, "a layer of its own");
    journal.close().unwrap();
    let (journal, _hand, _) = open(&disk, &options(2));
    // It is not among the eight latest; and that it got as far as 1 is not true any more.
    assert_eq!(journal.mark(&device(0), 7).unwrap(), None);
    assert_eq!(journal.mark(&device(0), 19).unwrap(), Some(2));
}

#[test]
fn boots_of_a_device_stay_bounded_in_layers() {
    let disk = SimDisk::new(1);
    let (journal, hand, _) = open(&disk, &options(1));
    fill(&journal, &hand, &mut Model::new(), 4000);
    for boot in 0..2000 {
        let mark = Mark { boot, ..mark(0, boot + 1) };
        while journal.append(&topic(), Partition(0), record("x"), Some(&mark)).is_err() {
            hand.commit().unwrap();
            hand.keep().unwrap();
        }
        if boot % 20 == 19 {
            hand.commit().unwrap();
            hand.checkpoint().unwrap();
        }
    }
    assert!(checkpoints(&disk).len() > 2, "layers");
    let mut boots = Vec::new();
    journal.marks(&mut |mark| boots.push(mark.boot)).unwrap();
    let max = options(1).boots_max.get();
    assert!(boots.ends_with(&(2000 - max as u64..2000).collect::<Vec<_>>()), "{boots:?}");
    assert!(boots.len() <= 25 * max, "{} boots", boots.len());
    assert_eq!(journal.mark(&device(0), 1999).unwrap(), Some(2000));
}

#[test]
fn verify_tells_which_layer_is_missing_or_damaged_and_what_that_means() {
    let verify = |disk: &SimDisk| {
        Inspect::open(std::sync::Arc::new(disk.clone())).unwrap().verify(&mut |_, _| {}).unwrap().problems
    };
    for damaged in [false, true] {
        let disk = SimDisk::new(1);
        let (journal, hand, _) = open(&disk, &options(1));
        fill(&journal, &hand, &mut Model::new(), 2000);
        for text in ["one", "two"] {
            put(&journal, &mut Model::new(), text, Some(text.to_owned()));
            hand.commit().unwrap();
            hand.checkpoint().unwrap();
        }
        journal.close().unwrap();
        assert_eq!(verify(&disk), [], "all is well");
        let lost = checkpoints(&disk)[1].0.clone();
        if damaged {
            disk.flip(&lost, 60, 1);
        } else {
            lamppost_journal::Disk::remove(&disk, &lost).unwrap();
        }
        let problems = verify(&disk);
        let of_chain = problems.iter().find(|problem| problem.what.contains("laid over")).expect("the chain is broken");
        assert_eq!(of_chain.name, lost);
        let how = if damaged { "can't be used" } else { "is missing" };
        assert!(of_chain.what.contains(how) && of_chain.what.contains("lost or old"), "{problems:?}");
        assert_eq!(problems.len(), 1 + usize::from(damaged), "{problems:?}");
        assert!(open(&disk, &options(2)).2.unproved.is_some(), "and so it is");
    }
}
