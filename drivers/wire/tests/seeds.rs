//! What the fuzzer begins with, in ordinary tests.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "outside `#[test]` functions too, a test fails by panicking; and it writes plain files"
)]

mod fuzzing;

#[test]
fn every_seed_is_understood_and_so_is_what_is_left_of_it_after_any_cut_or_flip() {
    for (target, bytes, frames) in fuzzing::seeds() {
        let take: fn(&[u8]) -> usize = if target == "node" { fuzzing::node } else { fuzzing::gateway };
        assert_eq!(take(&bytes), frames, "{target}");
        for at in 0..bytes.len() {
            assert!(take(&bytes[..at]) <= frames);
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(take(&flipped) <= frames + 1, "{target}: bit {bit} of byte {at}");
            }
        }
    }
}

/// Written for the fuzzer with `LINK_FUZZ_CORPUS=FOLDER cargo test -p lamppost-wire --test seeds`.
#[test]
fn seeds_differ_and_are_written_where_asked_for() {
    let seeds = fuzzing::seeds();
    for (number, (target, bytes, _)) in seeds.iter().enumerate() {
        assert!(seeds.iter().skip(number + 1).all(|(_, other, _)| other != bytes), "{target} {number}");
        if let Some(corpus) = std::env::var_os("LINK_FUZZ_CORPUS") {
            let folder = std::path::PathBuf::from(corpus).join(target);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("seed-{number:04}")), bytes).unwrap();
        }
    }
}
