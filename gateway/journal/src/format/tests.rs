//! The bytes of format version 2, pinned, and what must hold for any bytes.

use bytes::Bytes;
use lamppost_event::{
    BootId, ClockQuality, Commit, Epoch, Monotonic, Now, Offset, Partition, Position, StoredRecord, Topic,
    TopicPartition, WallTime,
};
use proptest::prelude::*;

use super::batch::{Batch, BatchBuilder, BatchError};
use super::checkpoint::{
    CheckpointHead, CheckpointTail, cursor_key, mark_commit, mark_device, mark_key, mark_value, read_cursor_key,
    read_number, read_partition_key, take_entry,
};
use super::fields::Fields;
use super::frame::{BatchPart, Frame, FrameParts, Front, Kind, Range, copy_to, encode, encode_head, front};
use super::segment::{HeadError, SegmentHead};

/// Made by kafka-python 3.0.12 (`DefaultRecordBatchBuilder`, base offset 42, leader epoch 0).
const KAFKAS_OWN: &str = "000000000000002a0000005e00000000025defc18a0000000000020000018bcfe568000000018bcfe5692c\
    ffffffffffffffffffffffffffff0000000328000000066b65790a666972737402046c700401022000d80402066b65790c7365636f6e64\
    000c000904000100";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn record(timestamp: i64, key: &'static str, value: Option<&'static str>, header: &'static [u8]) -> StoredRecord {
    let value = value.map(|value| Bytes::from_static(value.as_bytes()));
    let (key, header) = (Bytes::from_static(key.as_bytes()), Bytes::from_static(header));
    StoredRecord { timestamp: WallTime(timestamp), key, value, header }
}

fn records() -> [StoredRecord; 3] {
    [
        record(1_700_000_000_000, "key", Some("first"), &[1, 2]),
        record(1_700_000_000_300, "key", Some("second"), &[]),
        record(1_699_999_999_995, "", None, &[]),
    ]
}

fn batch_of(base: Offset, records: &[StoredRecord]) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    builder.begin(base, records[0].timestamp);
    for record in records {
        let before = builder.cost(record);
        builder.push(record);
        assert!(before.bytes() > 0);
    }
    builder.finish().to_vec()
}

#[test]
fn a_batch_is_byte_for_byte_that_of_kafkas_python_client() {
    assert_eq!(hex(&batch_of(Offset(42), &records())), KAFKAS_OWN.replace(char::is_whitespace, ""));
}

#[test]
fn a_batch_reads_as_it_was_written() {
    let batch = Batch::parse(batch_of(Offset(42), &records()).into()).unwrap();
    batch.check_crc().unwrap();
    let read: Vec<(Offset, StoredRecord)> = batch.records().collect::<Result<_, _>>().unwrap();
    let expected = records().into_iter().zip(42..).map(|(record, offset)| (Offset(offset), record));
    assert_eq!(read, expected.collect::<Vec<_>>());
}

const HEAD: SegmentHead = SegmentHead {
    number: 3,
    base: Position(0x3000_0000),
    bytes: 0x100_0000,
    salt: 0x1122_3344_5566_7788,
    epoch: Epoch(0xe0e1_e2e3_e4e5_e6e7),
    identity: 0x000f_0e0d_0c0b_0a09_0807_0605_0403_0201,
    first_commit: Commit(77),
    virgin: true,
    cold: false,
    span: 0x100_0000,
};

#[test]
fn a_segments_head_has_the_bytes_of_version_2() {
    let pages = HEAD.encode();
    assert_eq!(pages.len(), 8192);
    assert_eq!(pages[..4096], pages[4096..]);
    assert_eq!(
        hex(&pages[..80]),
        "4c4d505345474d54020001000010000003000000000000000000003000000000000000010000000088776655443322\
         11e7e6e5e4e3e2e1e00102030405060708090a0b0c0d0e0f004d00000000000000"
            .replace(char::is_whitespace, "")
    );
    assert_eq!(hex(&pages[4092..4096]), "aa5d8155");
    assert_eq!(SegmentHead::decode(&pages), Ok(HEAD));
}

#[test]
fn a_head_of_a_newer_version_is_told_from_a_damaged_one() {
    let mut page = HEAD.encode();
    let versions = [(1, Ok(HEAD)), (2, Ok(HEAD)), (3, Err(HeadError::Newer(3))), (0, Err(HeadError::Damaged))];
    for (version, expected) in versions {
        page[8] = version;
        page[4092] ^= 1;
        assert_eq!(SegmentHead::decode(&page), Err(HeadError::Damaged));
        let crc = crc32c::crc32c(&page[..4092]).to_le_bytes();
        page[4092..4096].copy_from_slice(&crc);
        assert_eq!(SegmentHead::decode(&page), expected);
    }
}

fn place(topic: &str, partition: u16) -> TopicPartition {
    TopicPartition { topic: Topic::new(topic).unwrap(), partition: Partition(partition) }
}

const NOW: Now = Now {
    wall: WallTime(1_700_000_000_000),
    monotonic: Monotonic(5000),
    boot: BootId(9),
    quality: ClockQuality::Synced,
};

fn frame() -> Vec<u8> {
    let (air, state) = (place("air", 1), place("__state", 0));
    let batch = batch_of(Offset(42), &records());
    let previous = [Range { at: place("noise", 2), from: Offset(5), to: Offset(8) }];
    let parts = FrameParts {
        kind: Kind::Data,
        run: None,
        position: Position(0x3000_2000),
        commit: Commit(77),
        epoch: HEAD.epoch,
        now: NOW,
        events: 3,
        batches: vec![
            BatchPart { at: &air, base: Offset(42), count: 3, bytes: &batch },
            BatchPart { at: &state, base: Offset(42), count: 3, bytes: &batch },
        ],
        previous: &previous,
        body: &[],
    };
    let mut out = Vec::new();
    encode(&mut out, &parts, HEAD.salt);
    out
}

#[test]
fn a_frame_has_the_bytes_of_version_2() {
    let frame = frame();
    assert_eq!(frame.len(), 4096);
    let head = "4c4d504652414d45 0200 00 02 00000000 82010000 c9f36162 0020003000000000 4d00000000000000 e7e6e5e4e3e2e1e0 \
        0900000000000000 8813000000000000 0068e5cf8b010000 ae000000 0300 0200 0100 0000 03000000 0000000000000000 \
        03616972 075f5f7374617465 056e6f697365 \
        0000 0100 2a00000000000000 03000000 6a000000 0100 0000 2a00000000000000 03000000 6a000000 \
        0200 0200 0500000000000000 0800000000000000";
    let head = head.replace(char::is_whitespace, "");
    assert_eq!(hex(&frame[..head.len() / 2]), head);
    assert!(frame[0x182..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_frame_written_in_pieces_has_the_same_bytes() {
    let (air, whole) = (place("air", 1), frame());
    let batch = batch_of(Offset(42), &records());
    for body in [&[][..], b"a body"] {
        let part = || BatchPart { at: &air, base: Offset(42), count: 3, bytes: &batch };
        let read = decode(&whole, Position(0x3000_2000), HEAD.salt).unwrap();
        let parts = FrameParts {
            kind: Kind::Footer,
            run: None,
            position: Position(0x3000_2000),
            commit: Commit(77),
            epoch: HEAD.epoch,
            now: NOW,
            events: 3,
            batches: vec![part(), part()],
            previous: &read.previous,
            body,
        };
        let (mut together, mut pieces) = (Vec::new(), Vec::new());
        encode(&mut together, &parts, HEAD.salt);
        let length = encode_head(&mut pieces, &parts, HEAD.salt);
        for bytes in [&batch[..], &batch, body] {
            pieces.extend_from_slice(bytes);
        }
        assert_eq!((pieces.len(), &pieces[..]), (length, &together[..length]));
    }
}

fn decode(frame: &[u8], place: Position, salt: u64) -> Option<Frame> {
    match front(frame, place, HEAD.base, HEAD.bytes) {
        Front::Length(length) => Frame::decode(Bytes::copy_from_slice(frame.get(..length)?), salt),
        Front::Foreign | Front::Trace => None,
    }
}

#[test]
fn a_frame_reads_as_it_was_written() {
    let read = decode(&frame(), Position(0x3000_2000), HEAD.salt).unwrap();
    assert_eq!((read.commit, read.epoch, read.now, read.events), (Commit(77), HEAD.epoch, NOW, 3));
    assert_eq!(read.previous, [Range { at: place("noise", 2), from: Offset(5), to: Offset(8) }]);
    assert_eq!(read.batches[0].at, place("air", 1));
    assert_eq!(read.batches[1].batch().unwrap().records().count(), 3);
}

#[test]
fn a_frame_of_another_place_or_another_life_is_not_taken() {
    assert!(decode(&frame(), Position(0x3000_3000), HEAD.salt).is_none(), "another place");
    assert!(decode(&frame(), Position(0x3000_2000), HEAD.salt + 1).is_none(), "another salt");
    let old = front(&frame(), Position(0x5000_2000), Position(0x5000_0000), HEAD.bytes);
    assert_eq!(old, Front::Foreign, "a former life's frame is no trace of this one");
    let misplaced = front(&frame(), Position(0x3000_5000), HEAD.base, HEAD.bytes);
    assert_eq!(misplaced, Front::Trace);
}

#[test]
fn any_flipped_bit_of_a_frame_is_noticed() {
    let frame = frame();
    for bit in 0..0x182 * 8 {
        let mut changed = frame.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&changed, Position(0x3000_2000), HEAD.salt).is_none(), "bit {bit}");
    }
}

#[test]
fn a_copy_says_that_it_is_one_and_keeps_its_content() {
    let original = decode(&frame(), Position(0x3000_2000), HEAD.salt).unwrap();
    let mut out = Vec::new();
    copy_to(&mut out, &original.bytes, Position(0x3000_4000), 5, true);
    let copy = decode(&out, Position(0x3000_4000), 5).unwrap();
    assert!(copy.is_copy() && copy.is_last_copy() && !original.is_copy());
    assert_eq!((copy.commit, copy.epoch, copy.batches.len()), (original.commit, original.epoch, 2));
}

#[test]
fn a_cursors_key_reads_as_it_was_written() {
    let group = lamppost_event::Group::new("cluster").unwrap();
    let key = cursor_key(&group, &place("air", 258));
    assert_eq!(hex(&key), "6307636c7573746572616972000102".replace(' ', ""));
    assert_eq!(read_cursor_key(&key), Some((group, place("air", 258))));
}

#[test]
fn a_mark_has_the_bytes_of_version_1_and_a_value_without_a_commit_counts_as_the_oldest() {
    let device = lamppost_event::DeviceId::new("node").unwrap();
    let (key, value) = (mark_key(&device, 258), mark_value(5, Commit(9)));
    assert_eq!(hex(&key), "6d046e6f64650000000000000102");
    assert_eq!(hex(&value), "05000000000000000900000000000000");
    assert_eq!((read_number(&value), mark_commit(&value)), (Some(5), Commit(9)));
    assert_eq!(mark_commit(&value[..8]), Commit(0));
    assert_eq!(mark_device(&key), Some(b"m\x04node".as_slice()));
    assert_eq!(mark_device(&cursor_key(&lamppost_event::Group::new("cluster").unwrap(), &place("air", 258))), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_records_read_as_they_were_written(
        base in 0..u64::MAX / 4,
        parts in proptest::collection::vec(
            (any::<i64>(), any::<Vec<u8>>(), any::<Option<Vec<u8>>>(), any::<Vec<u8>>()), 1..20),
    ) {
        let records: Vec<StoredRecord> = parts.into_iter().map(|(timestamp, key, value, header)| StoredRecord {
            timestamp: WallTime(timestamp), key: key.into(), value: value.map(Bytes::from), header: header.into(),
        }).collect();
        let batch = Batch::parse(batch_of(Offset(base), &records).into()).unwrap();
        let read: Vec<StoredRecord> = batch.records().map(|record| record.unwrap().1).collect();
        prop_assert_eq!(read, records);
    }

    #[test]
    fn decoders_take_any_bytes_without_a_panic(bytes in any::<Vec<u8>>(), flips in any::<Vec<(u16, u8)>>()) {
        let drain = |batch: Result<Batch, BatchError>| batch.map(|batch| batch.records().count()).unwrap_or(0);
        let mut changed = batch_of(Offset(42), &records());
        let mut page = frame();
        for (at, mask) in flips {
            let (in_batch, in_frame) = (usize::from(at) % changed.len(), usize::from(at) % 0x182);
            changed[in_batch] ^= mask;
            page[in_frame] ^= mask;
        }
        drain(Batch::parse(changed.into()));
        drain(Batch::parse(bytes.clone().into()));
        decode(&page, Position(0x3000_2000), HEAD.salt);
        // With a CRC that holds, so that the fields behind it are read.
        let mut sealed = Vec::new();
        if page.len() > 96 {
            copy_to(&mut sealed, &page[..0x182], Position(0x3000_2000), HEAD.salt, false);
            if let Some(frame) = Frame::decode(Bytes::copy_from_slice(&sealed[..0x182]), HEAD.salt) {
                frame.batches.iter().for_each(|entry| { drain(entry.batch()); });
            }
        }
        Frame::decode(bytes.clone().into(), 0);
        prop_assert!(SegmentHead::decode(&bytes).is_err());
        prop_assert!(CheckpointTail::decode(&[], &bytes).is_none());
        CheckpointHead::decode(&bytes).ok();
        take_entry(&mut Fields::new(&bytes));
        read_cursor_key(&bytes);
        read_partition_key(&bytes);
    }
}
