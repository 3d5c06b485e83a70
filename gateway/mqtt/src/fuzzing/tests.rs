//! What the fuzzer's targets take, without a fuzzer: its seeds, and what once made it crash or is worth keeping
//! (`tests/regressions/`, a folder for each target).

use std::path::Path;

use super::*;

type Target = (&'static str, fn(&[u8]) -> bool);

const TARGETS: [Target; 4] = [("connect", connect), ("session", session), ("certificate", certificate), ("note", note)];

#[test]
fn every_kept_input_is_taken_without_harm() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions");
    for (target, take) in TARGETS {
        let inputs: Vec<_> =
            std::fs::read_dir(folder.join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!inputs.is_empty(), "{target} has inputs");
        for input in inputs {
            // What panics is told by the last line.
            println!("{}", input.display());
            take(&std::fs::read(&input).unwrap());
        }
    }
}

#[test]
fn every_seed_is_taken_for_what_it_is_and_each_target_has_some() {
    let seeds = seeds();
    for (target, take) in TARGETS {
        let inputs = seeds.iter().filter(|(of, _)| *of == target);
        assert!(inputs.clone().count() > 0, "{target} has seeds");
        for (index, (_, input)) in inputs.enumerate() {
            assert!(take(input), "seed {index} of {target}");
        }
    }
}
