//! What the fuzzer's targets take (`fuzz/`), without a fuzzer: its seeds, what once made it crash, and inputs worth keeping
//! (`tests/regressions/`, a folder for each target).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

#[path = "regressions/bounded.rs"]
mod bounded;

use std::fs;
use std::path::Path;

use lamppost_journal::fuzzing;

type Target = (&'static str, fn(&[u8]) -> bool);

const TARGETS: [Target; 4] = [
    ("frame", fuzzing::frame),
    ("batch", fuzzing::batch),
    ("checkpoint", fuzzing::checkpoint),
    ("recovery", fuzzing::recovery),
];

#[test]
fn every_kept_input_is_taken_without_harm() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions");
    let mut harmed = Vec::new();
    for (target, take) in TARGETS {
        let inputs: Vec<_> = fs::read_dir(folder.join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!inputs.is_empty(), "{target} has inputs");
        for input in inputs {
            // What ends the whole process is told by the last line.
            println!("{}", input.display());
            let bytes = fs::read(&input).unwrap();
            if std::panic::catch_unwind(|| take(&bytes)).is_err() {
                harmed.push(input);
            }
        }
    }
    assert!(harmed.is_empty(), "{harmed:?}");
}

#[test]
fn every_seed_is_taken_for_what_it_is_and_each_target_has_some() {
    let seeds = fuzzing::seeds();
    for (target, take) in TARGETS {
        let inputs = seeds.iter().filter(|(of, _)| *of == target);
        assert!(inputs.clone().count() > 4, "{target} has seeds");
        for (index, (_, input)) in inputs.enumerate() {
            // Scripts of damage may leave nothing that can be opened.
            assert!(take(input) || input.len() > 1 && target == "recovery", "seed {index} of {target}");
        }
    }
}
