//! Compressed batches: what we make is Kafka's, what Kafka's clients make is read, and no bytes do harm.

use bytes::Bytes;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression as KafkaCompression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use lamppost_event::{Offset, StoredRecord, WallTime};
use proptest::prelude::*;

use super::compression::RECORDS_MAX;
use super::{BATCH_HEAD, Batch, BatchBuilder, BatchError, Compression, Compressor, lz4};

const BOTH: [Compression; 2] = [Compression::Lz4, Compression::Zstd];

fn telemetry(count: usize) -> Vec<StoredRecord> {
    let record = |index: usize| StoredRecord {
        timestamp: WallTime(1_700_000_000_000 + index as i64 * 200),
        key: Bytes::from(format!("sensor-{}", index % 7)),
        value: Some(format!("{{\"temperature_c\":{}.{},\"pressure_pa\":101325}}", 20 + index % 3, index % 10).into()),
        header: Bytes::from(vec![1, index as u8, 9]),
    };
    (0..count).map(record).collect()
}

fn plain(base: Offset, records: &[StoredRecord]) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    builder.begin(base, records[0].timestamp);
    records.iter().for_each(|record| builder.push(record));
    builder.finish().to_vec()
}

fn packed(batch: &[u8], compression: Compression) -> Vec<u8> {
    let mut out = Vec::new();
    Compressor::default().compress(batch, compression, &mut out);
    out
}

fn read(batch: &[u8]) -> Result<Vec<(Offset, StoredRecord)>, BatchError> {
    let batch = Batch::parse(Bytes::copy_from_slice(batch))?;
    batch.check_crc()?;
    batch.records().collect()
}

fn numbered(base: u64, records: &[StoredRecord]) -> Vec<(Offset, StoredRecord)> {
    (base..).map(Offset).zip(records.iter().cloned()).collect()
}

/// A batch whose records are these bytes, said to be compressed so. Its CRC holds.
fn claim(records: &[u8], code: u8, count: u32) -> Vec<u8> {
    let mut batch = plain(Offset(42), &telemetry(1))[..BATCH_HEAD].to_vec();
    batch.extend_from_slice(records);
    let length = (batch.len() - 12) as u32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[22] = code;
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

#[test]
fn a_compressed_batch_is_smaller_and_reads_as_it_was_written() {
    let records = telemetry(100);
    let batch = plain(Offset(42), &records);
    for compression in BOTH {
        let made = packed(&batch, compression);
        assert!(made.len() * 2 < batch.len(), "{compression:?}: {} of {} bytes", made.len(), batch.len());
        assert_eq!(read(&made).unwrap(), numbered(42, &records), "{compression:?}");
        assert_eq!(made[..8], batch[..8]);
        assert_eq!(made[23..BATCH_HEAD], batch[23..BATCH_HEAD], "only length, CRC and attributes change in the head");
    }
}

#[test]
fn a_batch_that_would_not_shrink_stays_as_it_is() {
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    });
    let value = Bytes::from(noise.take(5000).collect::<Vec<u8>>());
    let record = StoredRecord { timestamp: WallTime(1), key: Bytes::new(), value: Some(value), header: Bytes::new() };
    let batch = plain(Offset(1), &[record]);
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        assert_eq!(packed(&batch, compression), batch, "{compression:?}");
    }
    let compressible = plain(Offset(1), &telemetry(100));
    assert_eq!(packed(&compressible, Compression::None), compressible);
}

#[test]
fn batches_are_appended_to_what_is_there_and_a_used_compressor_makes_the_same_bytes() {
    let (large, small) = (plain(Offset(5), &telemetry(3000)), plain(Offset(7), &telemetry(20)));
    for compression in BOTH {
        let (mut compressor, mut out) = (Compressor::default(), b"before".to_vec());
        compressor.compress(&large, compression, &mut out);
        let at = out.len();
        compressor.compress(&small, compression, &mut out);
        assert_eq!(&out[..6], b"before");
        assert_eq!(out[6..at], packed(&large, compression));
        // A used LZ4 table may be the larger kind, which finds other matches.
        assert_eq!(read(&out[at..]).unwrap(), numbered(7, &telemetry(20)), "{compression:?}");
    }
}

#[test]
fn a_batch_of_many_blocks_reads_as_it_was_written() {
    let value = Bytes::from(b"0123456789abcdef".repeat(4096));
    let record = |index| StoredRecord {
        timestamp: WallTime(index),
        key: Bytes::new(),
        value: Some(value.clone()),
        header: Bytes::new(),
    };
    let records: Vec<StoredRecord> = (0..150).map(record).collect();
    let batch = plain(Offset(0), &records);
    assert!(batch.len() > 8 << 20);
    for compression in BOTH {
        assert_eq!(read(&packed(&batch, compression)).unwrap(), numbered(0, &records), "{compression:?}");
    }
}

fn kafkas(compression: Compression) -> KafkaCompression {
    match compression {
        Compression::None => KafkaCompression::None,
        Compression::Lz4 => KafkaCompression::Lz4,
        Compression::Zstd => KafkaCompression::Zstd,
    }
}

fn as_kafka(offset: Offset, record: &StoredRecord) -> Record {
    let header = (StrBytes::from_static_str(StoredRecord::HEADER_KEY), Some(record.header.clone()));
    Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 0,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: offset.0 as i64,
        sequence: -1,
        timestamp: record.timestamp.0,
        key: Some(record.key.clone()),
        value: record.value.clone(),
        headers: IndexMap::from_iter([header]),
    }
}

/// So many that the LZ4 frame has each of its four kinds of blocks.
const COUNTS: [usize; 5] = [3, 50, 2000, 8000, 16_000];

#[test]
fn another_client_reads_our_compressed_batches() {
    for (count, compression) in COUNTS.into_iter().flat_map(|count| BOTH.map(|compression| (count, compression))) {
        let records = telemetry(count);
        let mut made = Bytes::from(packed(&plain(Offset(1 << 40), &records), compression));
        let set = RecordBatchDecoder::decode(&mut made).unwrap();
        assert_eq!(set.compression, kafkas(compression));
        assert!(made.is_empty());
        let expected: Vec<Record> =
            numbered(1 << 40, &records).iter().map(|(offset, record)| as_kafka(*offset, record)).collect();
        for (ours, theirs) in expected.iter().zip(&set.records) {
            assert_eq!((theirs.offset, theirs.timestamp), (ours.offset, ours.timestamp));
            assert_eq!((&theirs.key, &theirs.value, &theirs.headers), (&ours.key, &ours.value, &ours.headers));
        }
        assert_eq!(set.records.len(), expected.len());
    }
}

#[test]
fn we_read_another_clients_compressed_batches() {
    let records = telemetry(2000);
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let theirs: Vec<Record> =
            numbered(7, &records).iter().map(|(offset, record)| as_kafka(*offset, record)).collect();
        let options = RecordEncodeOptions { version: 2, compression: kafkas(compression) };
        let mut out = bytes::BytesMut::new();
        RecordBatchEncoder::encode(&mut out, &theirs, &options).unwrap();
        let mut read_back = Vec::new();
        // The encoder begins a new batch where it sees fit.
        while !out.is_empty() {
            let length = u32::from_be_bytes(out[8..12].try_into().unwrap()) as usize + 12;
            read_back.extend(read(&out.split_to(length)).unwrap());
        }
        assert_eq!(read_back, numbered(7, &records), "{compression:?}");
    }
}

#[test]
fn an_unknown_compression_is_refused_by_name_and_a_changed_batch_by_its_crc() {
    for code in [1, 2, 5, 6, 7] {
        let refused = Batch::parse(claim(b"anything", code, 1).into()).unwrap_err();
        assert_eq!(refused, BatchError::Compression(code));
    }
    for compression in BOTH {
        let mut made = packed(&plain(Offset(1), &telemetry(100)), compression);
        made[70] ^= 1;
        assert_eq!(Batch::parse(made.into()).unwrap().check_crc(), Err(BatchError::Crc));
    }
}

#[test]
fn what_is_not_compressed_as_claimed_gives_one_error_and_no_record() {
    for code in [3, 4] {
        for garbage in [&b""[..], b"anything", &[0xff; 300], &[0; 300]] {
            let batch = Batch::parse(claim(garbage, code, 3).into()).unwrap();
            let all: Vec<_> = batch.records().collect();
            assert_eq!(all, [Err(BatchError::Packed)], "{code}, {garbage:x?}");
        }
    }
}

#[test]
fn a_compressed_batch_that_was_cut_short_or_has_more_behind_it_is_refused() {
    for (compression, code) in [(Compression::Lz4, 3), (Compression::Zstd, 4)] {
        let whole = packed(&plain(Offset(1), &telemetry(50)), compression)[BATCH_HEAD..].to_vec();
        assert_eq!(read(&claim(&whole, code, 50)).unwrap().len(), 50);
        for length in 0..whole.len() {
            assert_eq!(
                read(&claim(&whole[..length], code, 50)),
                Err(BatchError::Packed),
                "{compression:?} of {length} bytes"
            );
        }
        let more = [&whole[..], &whole[..]].concat();
        assert_eq!(read(&claim(&more, code, 50)), Err(BatchError::Packed), "{compression:?} twice");
    }
}

/// Bytes that decompress to `bytes` zeros.
fn bomb(compression: Compression, bytes: usize) -> Vec<u8> {
    let zeros = vec![0; bytes];
    match compression {
        Compression::None => zeros,
        Compression::Lz4 => {
            let mut out = vec![0; lz4::bound(bytes)];
            let length = lz4::pack(&zeros, &mut out, &mut lz4::Table::default()).unwrap();
            out.truncate(length);
            out
        }
        Compression::Zstd => {
            let mut out = Vec::with_capacity(zstd_safe::compress_bound(bytes));
            zstd_safe::compress(&mut out, &zeros, 1).unwrap();
            out
        }
    }
}

/// The same as a Zstandard stream that does not say how long its content is.
fn bomb_of_unstated_size(bytes: usize) -> Vec<u8> {
    let (mut context, zeros) = (zstd_safe::CCtx::create(), vec![0; bytes]);
    context.set_parameter(zstd_safe::CParameter::ContentSizeFlag(false)).unwrap();
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(bytes));
    context.compress2(&mut out, &zeros).unwrap();
    assert_eq!(zstd_safe::get_frame_content_size(&out).unwrap(), None);
    out
}

#[test]
fn a_decompression_bomb_is_refused_within_the_bound() {
    const BEYOND: usize = RECORDS_MAX + 1;
    let bombs =
        [(3, bomb(Compression::Lz4, BEYOND)), (4, bomb(Compression::Zstd, BEYOND)), (4, bomb_of_unstated_size(BEYOND))];
    for (code, bomb) in bombs {
        assert!(bomb.len() < BEYOND / 200, "{} bytes", bomb.len());
        assert_eq!(read(&claim(&bomb, code, 1)), Err(BatchError::Packed));
    }
    // What is just below is decompressed: zeros are records of no length, which are none.
    for (code, bomb) in [(3, bomb(Compression::Lz4, RECORDS_MAX)), (4, bomb_of_unstated_size(1 << 20))] {
        assert_eq!(read(&claim(&bomb, code, 1)), Err(BatchError::Field("records")));
    }
}

#[test]
fn a_size_that_is_a_lie_takes_no_memory() {
    // A frame that claims 2^40 bytes: magic, a descriptor with an 8-byte size and a window, the size, one empty last block.
    let mut lie = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1100_0000, 0x58];
    lie.extend_from_slice(&(1_u64 << 40).to_le_bytes());
    lie.extend_from_slice(&[1, 0, 0]);
    assert_eq!(zstd_safe::get_frame_content_size(&lie).unwrap(), Some(1 << 40));
    assert_eq!(read(&claim(&lie, 4, 1)), Err(BatchError::Packed));
    // One that asks for a window of 2 GiB, of unstated size.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0, 0b1010_1000, 1, 0, 0];
    assert_eq!(read(&claim(&window, 4, 1)), Err(BatchError::Packed));
}

#[test]
fn records_too_large_to_be_read_back_are_not_compressed() {
    let mut batch = claim(&[], 0, 1);
    batch.resize(BATCH_HEAD + RECORDS_MAX + 1, 0);
    let out = packed(&batch, Compression::Zstd);
    assert!(out == batch, "a batch of {} bytes came out with {}", batch.len(), out.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_records_survive_compression(
        base in 0..u64::MAX / 4,
        parts in proptest::collection::vec(
            (any::<i64>(), any::<Vec<u8>>(), any::<Option<Vec<u8>>>(), any::<Vec<u8>>(), 1..20_usize), 1..20),
    ) {
        let records: Vec<StoredRecord> = parts.into_iter().map(|(timestamp, key, value, header, times)| StoredRecord {
            timestamp: WallTime(timestamp),
            key: key.into(),
            value: value.map(|value| Bytes::from(value.repeat(times))),
            header: header.into(),
        }).collect();
        let batch = plain(Offset(base), &records);
        for compression in BOTH {
            let made = packed(&batch, compression);
            prop_assert!(made.len() <= batch.len());
            prop_assert_eq!(read(&made), Ok(numbered(base, &records)));
        }
    }

    #[test]
    fn no_bytes_make_decompression_panic(
        bytes in any::<Vec<u8>>(),
        flips in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..8),
        cut in any::<u16>(),
    ) {
        for (compression, code) in [(Compression::Lz4, 3), (Compression::Zstd, 4)] {
            let mut whole = packed(&plain(Offset(1), &telemetry(30)), compression)[BATCH_HEAD..].to_vec();
            for (at, mask) in &flips {
                let at = usize::from(*at) % whole.len();
                whole[at] ^= mask;
            }
            let kept = usize::from(cut) % (2 * whole.len());
            whole.truncate(kept);
            for records in [&whole[..], &bytes[..], &[&whole[..whole.len().min(8)], &bytes[..]].concat()] {
                // Changed bytes may decompress to something else. What counts is that there is an end: one error at most.
                prop_assert!(Batch::parse(claim(records, code, 30).into()).unwrap().records().count() <= 31);
            }
        }
    }
}
