//! A newer format than known is refused, whichever file says so, and nothing is changed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lamppost_journal::{Directory, Inspect, Journal, OpenError, SegmentFile};

use super::gateway::Turned;
use super::{Golden, files_in, goldens, put_files};

const PAGE: usize = 4096;
/// Where segments and checkpoints say their version.
const VERSION_AT: usize = 8;
/// Where frames say of what kind they are.
const KIND_AT: usize = 10;

/// Both heads of a segment say another version, and are sound.
fn raise_segment(bytes: &mut [u8], version: u16) {
    for head in bytes[..2 * PAGE].chunks_mut(PAGE) {
        head[VERSION_AT..VERSION_AT + 2].copy_from_slice(&version.to_le_bytes());
        let crc = crc32c::crc32c(&head[..PAGE - 4]);
        head[PAGE - 4..].copy_from_slice(&crc.to_le_bytes());
    }
}

/// A checkpoint says another version, and is sound.
fn raise_checkpoint(bytes: &mut [u8], version: u16) {
    bytes[VERSION_AT..VERSION_AT + 2].copy_from_slice(&version.to_le_bytes());
    let tail = bytes.len() - 40;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..48]), &bytes[tail..tail + 32]);
    bytes[tail + 32..tail + 36].copy_from_slice(&crc.to_le_bytes());
}

/// The error names the file, its version and the newest known one.
fn assert_newer(error: Option<OpenError>, name: &str, version: u16, known: u16, what: &str) {
    let error = error.unwrap_or_else(|| panic!("{what}: {name} of version {version} was taken"));
    assert!(matches!(error, OpenError::Newer { .. }), "{what}: {error}");
    let message = error.to_string();
    for part in [name, &format!("version {version};"), &format!("up to {known}:")] {
        assert!(message.contains(part), "{what}: {part:?} is not in {message:?}");
    }
}

/// The golden files with one of them raised, refused by a writer; then handed to `look`.
fn refused(golden: &Golden, name: &str, raise: fn(&mut [u8], u16), known: u16, look: &dyn Fn(&Path, u16)) {
    for version in [known + 1, u16::MAX] {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("journal");
        let mut files: BTreeMap<String, Vec<u8>> = golden.files.clone();
        raise(files.get_mut(name).unwrap(), version);
        put_files(&folder, &files);
        let disk = Arc::new(Directory::existing(&folder).unwrap());
        let opened = Journal::open(disk, golden.options(), Turned::new());
        assert_newer(opened.err(), name, version, known, &golden.what());
        look(&folder, version);
        let mut after = files_in(&folder);
        assert_eq!(after.remove("lock"), Some(Vec::new()), "a writer has locked it, and no more");
        assert!(after == files, "{}: {name} of version {version}: a file was changed", golden.what());
    }
}

/// The newest version.
pub(super) fn known(goldens: &[Golden]) -> u16 {
    goldens.iter().map(|golden| golden.version).max().unwrap()
}

#[test]
fn a_segment_of_a_newer_version_is_refused_and_left_as_it_is() {
    let (goldens, mut tried) = (goldens(), 0);
    for golden in &goldens {
        let known = known(&goldens);
        for name in golden.files.keys().filter(|name| name.starts_with("hot-") || name.starts_with("cold-")) {
            refused(golden, name, raise_segment, known, &|folder, version| {
                let looked = Inspect::open(Arc::new(Directory::existing(folder).unwrap())).err();
                assert_newer(looked, name, version, known, "looking at all");
                let looked = SegmentFile::open(&Directory::existing(folder).unwrap(), name).err();
                assert_newer(looked, name, version, known, "looking at one");
            });
            tried += 1;
        }
    }
    assert!(tried > 4, "{tried} segments");
}

#[test]
fn a_checkpoint_of_a_newer_version_is_refused_and_left_as_it_is() {
    let goldens = goldens();
    for golden in &goldens {
        let known = known(&goldens);
        // The newest counts; those before it are not opened.
        let name = golden.files.keys().rfind(|name| name.starts_with("checkpoint-")).unwrap();
        refused(golden, name, raise_checkpoint, known, &|folder, version| match Inspect::open(Arc::new(
            Directory::existing(folder).unwrap(),
        )) {
            Ok(inspect) => {
                let problems = inspect.verify(&mut |_, _| {}).unwrap().problems;
                let told = problems.iter().find(|problem| problem.name == **name).unwrap();
                assert!(told.what.contains(&format!("version {version} ")), "{told:?}");
            }
            Err(error) => assert_newer(Some(error), name, version, known, "looking"),
        });
    }
}

/// The frames at these bytes of a hot segment say another version, and are sound.
fn raise_frames(segment: &mut [u8], places: &[usize], version: u16) {
    let salt = crc32c::crc32c(&segment[40..48]);
    for at in places {
        let length = u32::from_le_bytes(segment[at + 16..at + 20].try_into().unwrap()) as usize;
        let frame = &mut segment[*at..at + length];
        assert!(frame.starts_with(b"LMPFRAME"));
        frame[VERSION_AT..VERSION_AT + 2].copy_from_slice(&version.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c_append(salt, &frame[..20]), &frame[24..]);
        frame[20..24].copy_from_slice(&crc.to_le_bytes());
    }
}

#[test]
fn a_sound_frame_of_a_newer_version_at_the_end_is_no_damage_but_refused() {
    let goldens = goldens();
    for golden in goldens.iter().filter(|golden| golden.ledger.closed) {
        let name = golden.files.keys().rfind(|name| name.starts_with("hot-")).unwrap();
        // The last three frames and the close.
        let raise: fn(&mut [u8], u16) = |bytes, version| {
            let frames = (2 * PAGE..bytes.len()).step_by(PAGE).filter(|at| bytes[*at..].starts_with(b"LMPFRAME"));
            // Behind the close may lie what the segment held before it was recycled.
            let (mut frames, close): (Vec<usize>, u8) = (frames.collect(), 1);
            let end = frames.iter().rposition(|at| bytes[at + KIND_AT] == close).unwrap() + 1;
            raise_frames(bytes, &frames.drain(end - 4..end).collect::<Vec<_>>(), version);
        };
        refused(golden, name, raise, known(&goldens), &|_, _| {});
    }
}

#[test]
fn a_flipped_bit_in_a_version_is_damage_and_no_newer_format() {
    for golden in goldens() {
        let newest = golden.files.keys().rfind(|name| name.starts_with("checkpoint-")).unwrap();
        for name in golden.files.keys().filter(|name| *name == newest || name.starts_with("hot-")) {
            let (_top, folder) = golden.copy();
            let mut bytes = golden.files[name].clone();
            bytes[VERSION_AT] ^= 4;
            std::fs::write(folder.join(name), bytes).unwrap();
            let disk = Arc::new(Directory::existing(&folder).unwrap());
            let opened = Journal::open(disk, golden.options(), Turned::new());
            assert!(opened.is_ok(), "{}, {name}: {}", golden.what(), opened.err().unwrap());
        }
    }
}
