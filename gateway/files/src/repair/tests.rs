#![expect(clippy::disallowed_methods, reason = "a test writes what a crash may leave")]

use crate::pack::Packer;

use super::*;

const NAME: &str = "air+20260302T061500.123Z+00c0ffee00000001-3-00000000000000000042.jsonl";

/// What is left of these bytes in a part, and what was cut off.
fn left(ending: &str, bytes: &[u8]) -> (Option<Vec<u8>>, u64) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(format!("{NAME}{ending}.part")), bytes).unwrap();
    std::fs::write(dir.path().join("notes.part"), b"not ours").unwrap();
    let torn = repair(dir.path(), 1 << 20).unwrap();
    assert!(dir.path().join("notes.part").exists());
    assert!(!dir.path().join(format!("{NAME}{ending}.part")).exists());
    (std::fs::read(dir.path().join(format!("{NAME}{ending}"))).ok(), torn)
}

#[test]
fn wherever_a_plain_file_was_torn_its_whole_lines_stay_and_nothing_else() {
    let lines = ["{\"a\":1}\n", "{\"b\":\"}\"}\n", "{\"c\":[2]}\n"];
    let bytes = lines.concat();
    for end in 0..=bytes.len() {
        let whole: String = lines
            .iter()
            .scan(0, |at, line| {
                *at += line.len();
                (*at <= end).then_some(*line)
            })
            .collect();
        for junk in [&b""[..], b"\0\0\0\0", b"\xff{}\n"] {
            let torn = [&bytes.as_bytes()[..end], junk].concat();
            let cut = (torn.len() - whole.len()) as u64;
            let expected = (!whole.is_empty()).then(|| whole.clone().into_bytes());
            assert_eq!(left("", &torn), (expected, cut), "{end} {junk:?}");
        }
    }
}

#[test]
fn wherever_a_compressed_file_was_torn_its_whole_frames_stay_and_nothing_else() {
    let mut packer = Packer::new(Packing::Zstd);
    let texts: Vec<String> = (0..3).map(|n| format!("{{\"n\":{n}}}\n").repeat(40_000 * (n % 2) + 3)).collect();
    let frames: Vec<Vec<u8>> = texts.iter().map(|text| packer.pack(text.as_bytes()).unwrap().to_vec()).collect();
    let bytes = frames.concat();
    for end in 0..=bytes.len() {
        let whole: Vec<u8> = frames
            .iter()
            .scan(0, |at, frame| {
                *at += frame.len();
                (*at <= end).then(|| frame.clone())
            })
            .flatten()
            .collect();
        let expected = (!whole.is_empty()).then(|| whole.clone());
        assert_eq!(left(".zst", &bytes[..end]), (expected, (end - whole.len()) as u64), "{end} of {}", bytes.len());
    }
    for at in [0, 5, frames[0].len() + 9, bytes.len() - 1] {
        let mut turned = bytes.clone();
        turned[at] ^= 0x10;
        let (kept, _) = left(".zst", &turned);
        let kept = kept.unwrap_or_default();
        assert!(bytes.starts_with(&kept) && kept.len() <= at, "a bit turned at {at}: {} kept", kept.len());
    }
}

#[test]
fn a_line_longer_than_any_that_is_written_ends_what_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let long = format!("{{\"a\":\"{}\"}}\n", "x".repeat(2000));
    std::fs::write(dir.path().join(format!("{NAME}.part")), format!("{{\"a\":1}}\n{long}")).unwrap();
    assert_eq!(repair(dir.path(), 1000).unwrap(), long.len() as u64);
    assert_eq!(std::fs::read(dir.path().join(NAME)).unwrap(), b"{\"a\":1}\n");
}
