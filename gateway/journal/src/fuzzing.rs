//! Where bytes from outside come in, for the fuzzer (`fuzz/`) and for what it found (`tests/regressions/`). Only with the feature
//! `fuzzing`, which nothing but those turns on.
//!
//! Each function takes any bytes. It panics where the journal does, and where what the journal says of the bytes contradicts
//! itself. It gives whether they were taken for what they should be: seeds are.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a harness panics where something is wrong")]

mod history;
mod recovery;
mod script;
mod seal;

use bytes::Bytes;
use lamppost_event::{Offset, Position, StoredRecord};

use crate::checkpoint::Layer;
use crate::disk::{Access, Disk};
use crate::format::batch::{Batch, BatchError, Compression, Compressor};
use crate::format::frame::{Frame, Front, cold_front, copy_to, front};
use crate::format::{PAGE, padded};
use crate::sim::SimDisk;

pub use recovery::recovery;

/// No batch may come to more than this, decompressed.
const RECORDS_BYTES_MAX: usize = 64 << 20;
const SALT: u64 = 7;
const ATTRIBUTES_AT: usize = 21;
const CODEC: u8 = 0b111;

/// Bytes as what stands in a segment where a frame may begin. First byte: bit 0, make length, place and checksum right.
pub fn frame(data: &[u8]) -> bool {
    let Some((how, bytes)) = data.split_first() else { return false };
    let mut sound = false;
    let (base, place) = (Position(PAGE as u64), Position(3 * PAGE as u64));
    let mut bytes = bytes.to_vec();
    if how & 1 == 1 {
        seal::frame(&mut bytes, place, SALT);
    }
    let room = padded(bytes.len()) as u64;
    let mut page = bytes.clone();
    page.resize(PAGE, 0);
    for front in [front(&page, place, base, room), cold_front(&page, base..=Position(u64::MAX), room)] {
        let Front::Length(length) = front else { continue };
        let mut whole = bytes.clone();
        whole.resize(length, 0);
        let Some(frame) = Frame::decode(whole.into(), SALT) else { continue };
        assert!(frame.first <= frame.commit, "a run does not end before it begins");
        assert!(frame.padded() <= room, "a frame lies where it was announced");
        for entry in &frame.batches {
            if let Ok(batch) = entry.batch() {
                assert_eq!((batch.base, batch.count), (entry.base, entry.count));
                records(&batch);
            }
        }
        copied(&frame);
        sound = true;
    }
    sound
}

/// A copy says what the frame said, but for its place.
fn copied(frame: &Frame) {
    let (mut out, position, salt) = (Vec::new(), Position(99 * PAGE as u64), SALT + 1);
    copy_to(&mut out, &frame.bytes, position, salt, true);
    assert_eq!(out.len() as u64, frame.padded());
    out.truncate(frame.bytes.len());
    let copy = Frame::decode(out.into(), salt).expect("a copy of a sound frame is sound");
    assert!(copy.position == position && copy.is_copy() && copy.is_last_copy());
    assert_eq!(
        (copy.commit, copy.epoch, copy.kind, copy.events),
        (frame.commit, frame.epoch, frame.kind, frame.events)
    );
    assert_eq!((copy.previous, copy.body.len()), (frame.previous.clone(), frame.body.len()));
}

/// Bytes as a batch of Kafka's. First byte: bit 0, make magic, length and checksum right. One that is not compressed is compressed, too.
pub fn batch(data: &[u8]) -> bool {
    let Some((how, bytes)) = data.split_first() else { return false };
    let mut bytes = bytes.to_vec();
    if how & 1 == 1 {
        seal::batch(&mut bytes);
    }
    let bytes = Bytes::from(bytes);
    let Ok(batch) = Batch::parse(bytes.clone()) else { return false };
    let sound = batch.check_crc() != Err(BatchError::Crc);
    assert!(sound || how & 1 == 0, "a checksum that was just made holds");
    if bytes[ATTRIBUTES_AT + 1] & CODEC == 0 {
        compressed(&bytes, &batch);
    }
    sound && records(&batch)
}

/// The records do not change by being compressed.
fn compressed(bytes: &[u8], batch: &Batch) {
    for compression in [Compression::Lz4, Compression::Zstd] {
        let mut out = Vec::new();
        Compressor::default().compress(bytes, compression, &mut out);
        let packed = Batch::parse(out.into()).expect("a batch stays one");
        assert_eq!((packed.base, packed.count), (batch.base, batch.count));
        assert!(packed.records().eq(batch.records()), "{compression:?} changes the records");
    }
}

/// Whether all of them can be read.
fn records(batch: &Batch) -> bool {
    let (mut count, mut bytes, mut failed) = (0_u64, 0, false);
    for record in batch.records() {
        assert!(!failed, "nothing comes after an error");
        match record {
            Ok((offset, record)) => {
                assert!(offset >= batch.base && offset != Offset(u64::MAX), "{offset} in a batch from {}", batch.base);
                count += 1;
                bytes += size(&record);
            }
            Err(_) => failed = true,
        }
    }
    assert!(count <= u64::from(batch.count), "no more records than were announced");
    assert!(bytes <= RECORDS_BYTES_MAX, "{bytes} bytes out of one batch");
    !failed
}

fn size(record: &StoredRecord) -> usize {
    record.key.len() + record.value.as_ref().map_or(0, Bytes::len) + record.header.len()
}

/// Bytes as a checkpoint's file. First byte: bit 0, make the checksums right.
pub fn checkpoint(data: &[u8]) -> bool {
    let Some((how, bytes)) = data.split_first() else { return false };
    let mut sound = false;
    let mut bytes = bytes.to_vec();
    if how & 1 == 1 {
        seal::checkpoint(&mut bytes);
    }
    let disk = SimDisk::new(0);
    let file = disk.create_zeroed("file", bytes.len() as u64).unwrap();
    file.write_at(&bytes, 0).unwrap();
    for verify in [false, true] {
        let Ok(layer) = Layer::open(&disk, "file", Access::Read, verify) else { continue };
        for change in layer.entries(&[]) {
            let Ok((key, value)) = change else {
                assert!(!verify, "what was verified can be read");
                break;
            };
            assert!(key.len() + value.map_or(0, |value| value.len()) <= bytes.len());
            assert!(layer.get(&key).is_ok() || !verify, "what was verified can be read");
        }
        sound = verify;
    }
    sound
}

/// Inputs to begin with, by the function's name: frames, batches and checkpoints of sound journals, and a script for each step.
#[must_use]
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    history::seeds()
}
