//! What the golden files of a version must hold.

use std::collections::{BTreeMap, BTreeSet};

use lamppost_journal::{Compression, Directory, Place, SegmentFile};

use super::newer::known;
use super::{Golden, goldens};

/// What stands in the files of one version.
#[derive(Default, Debug)]
struct Contents {
    kinds: BTreeSet<String>,
    /// Of files, by the beginning of their names.
    files: BTreeMap<String, usize>,
    /// The most commits that one cold segment stands for.
    commits_max: u64,
}

fn contents(goldens: &[&Golden]) -> Contents {
    let mut contents = Contents::default();
    for golden in goldens {
        let (_top, folder) = golden.copy();
        let disk = Directory::existing(&folder).unwrap();
        for name in golden.files.keys() {
            let (prefix, _) = name.split_once('-').unwrap();
            *contents.files.entry(prefix.to_owned()).or_default() += 1;
            if prefix != "hot" && prefix != "cold" {
                continue;
            }
            let (mut first, mut last) = (u64::MAX, 0);
            let take = &mut |place: Place| {
                let Place::Frame(frame) = place else { return Ok::<_, ()>(()) };
                (first, last) = (first.min(frame.first.0), last.max(frame.commit.0));
                let kinds = frame.flags.iter().copied().chain([frame.kind]);
                contents.kinds.extend(kinds.map(|kind| format!("{prefix} {kind}")));
                for batch in &frame.batches {
                    let compression = match batch.compression.unwrap() {
                        Compression::None => "none",
                        Compression::Lz4 => "lz4",
                        Compression::Zstd => "zstd",
                    };
                    contents.kinds.insert(format!("{prefix} {compression}"));
                }
                Ok(())
            };
            SegmentFile::open(&disk, name).unwrap().places(take).unwrap();
            if prefix == "cold" {
                contents.commits_max = contents.commits_max.max(last + 1 - first);
            }
        }
    }
    contents
}

#[test]
fn everything_that_version_1_knows_is_in_the_golden_files_of_each() {
    let all = goldens();
    for version in 1..=known(&all) {
        let goldens: Vec<&Golden> = all.iter().filter(|golden| golden.version == version).collect();
        holds_all_of_version_1(&goldens);
    }
}

/// A checkpoint of version 2 may lie over another: its first entry says so.
#[test]
fn a_checkpoint_in_layers_is_in_the_golden_files_of_version_2() {
    let goldens = goldens();
    let closed = goldens.iter().find(|golden| golden.version == 2 && golden.ledger.closed).unwrap();
    let layers =
        closed.files.iter().filter(|(name, bytes)| name.starts_with("checkpoint-") && lies_over_another(bytes));
    assert!(layers.count() >= 2);
    let removed = closed.ledger.state.iter().filter(|(key, value)| key.starts_with("session/0") && value.is_none());
    assert_eq!(removed.count(), 2);
}

fn lies_over_another(checkpoint: &[u8]) -> bool {
    const FIRST_ENTRY: usize = 48 + 8;
    checkpoint[FIRST_ENTRY..].starts_with(&[1, 0, 0, 0, 12, 0, 0, 0, b'b'])
}

fn holds_all_of_version_1(goldens: &[&Golden]) {
    let contents = contents(goldens);
    let hot = ["data", "close", "footer", "copy", "last-copy", "none", "lz4", "zstd"].map(|kind| format!("hot {kind}"));
    let cold = ["data", "footer", "run", "zstd"].map(|kind| format!("cold {kind}"));
    assert_eq!(contents.kinds, hot.into_iter().chain(cold).collect(), "{contents:?}");
    let files = &contents.files;
    assert!(files["cold"] >= 2 && files["hot"] >= 3 && files["free"] >= 1, "{contents:?}");
    assert!(files["checkpoint"] >= 3, "two of one journal: {contents:?}");
    // A hot segment of theirs has no room for more than sixteen.
    assert!(contents.commits_max > 4 * 16, "one was put together from several: {contents:?}");
    let of = |closed: bool| goldens.iter().find(|golden| golden.ledger.closed == closed).map(|golden| &golden.ledger);
    let (closed, cut) = (of(true).unwrap(), of(false).unwrap());
    for ledger in [closed, cut] {
        assert!(!ledger.damage.is_empty() && !ledger.cursors.is_empty() && !ledger.marks.is_empty());
        assert!(ledger.state.values().any(Option::is_none));
    }
    let reasons: BTreeSet<_> = closed.partitions.values().flat_map(|kept| &kept.gaps).map(|gap| &gap.reason).collect();
    assert_eq!(reasons.len(), 2, "by damage and by policy: {reasons:?}");
}
