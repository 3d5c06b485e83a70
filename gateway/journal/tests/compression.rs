//! A journal that compresses: fewer bytes on the disk, and otherwise as one that does not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use bytes::Bytes;
use lamppost_event::*;
use lamppost_journal::sim::SimDisk;
use lamppost_journal::*;
use world::*;

const BOTH: [Compression; 2] = [Compression::Lz4, Compression::Zstd];

fn options(compression: Compression) -> Options {
    Options { compression, ..small_options(1) }
}

fn reading(count: usize) -> String {
    format!("{{\"temperature_c\":{}.{},\"pressure_pa\":101325,\"count\":{count}}}", 20 + count % 4, count % 10)
}

/// Two commits of sixty events each. Gives what the frames took.
fn two_commits(journal: &Journal, hand: &Hand) -> u64 {
    let before = journal.stats().bytes_written;
    for count in 0..120 {
        append(journal, (count % 3) as u16, &reading(count));
        if count % 60 == 59 {
            hand.commit().unwrap();
        }
    }
    journal.stats().bytes_written - before
}

#[test]
fn compressed_commits_take_fewer_bytes_and_read_the_same_before_and_after_opening_again() {
    let plain = SimDisk::new(1);
    let (journal, hand, _) = open(&plain, &options(Compression::None));
    let plain_bytes = two_commits(&journal, &hand);
    let expected = texts(&read_all(&journal));
    assert_eq!(expected.len(), 120);
    for compression in BOTH {
        let disk = SimDisk::new(1);
        let (journal, hand, _) = open(&disk, &options(compression));
        let bytes = two_commits(&journal, &hand);
        assert!(bytes * 2 <= plain_bytes, "{compression:?}: {bytes} of {plain_bytes} bytes");
        assert_eq!(texts(&read_all(&journal)), expected, "{compression:?}");
        drop((journal, hand));
        disk.power_cut();
        // What is read does not depend on what is written now.
        let (journal, _hand, _) = open(&disk, &options(Compression::None));
        assert_eq!(texts(&read_all(&journal)), expected, "{compression:?}, opened again");
        let chunk = journal.read_partition(&topic(), Partition(1), Offset(30), 10_000).unwrap();
        assert_eq!(texts(&chunk.items)[0], reading(91));
        journal.close().unwrap();
        let verified = Inspect::open(std::sync::Arc::new(disk)).unwrap().verify(&mut |_, _| {}).unwrap();
        assert!(verified.problems.is_empty(), "{compression:?}: {verified:?}");
    }
}

#[test]
fn a_commit_that_fits_into_one_page_is_not_compressed() {
    let holds = |disk: &SimDisk, text: &str| {
        disk.contents().values().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    for compression in BOTH {
        let disk = SimDisk::new(1);
        let (journal, hand, _) = open(&disk, &options(compression));
        let text = "0123456789".repeat(20);
        append(&journal, 0, &text);
        hand.commit().unwrap();
        assert!(holds(&disk, &text), "{compression:?}");
        let text = "abcdefghij".repeat(20);
        for _ in 0..40 {
            append(&journal, 0, &text);
        }
        hand.commit().unwrap();
        assert!(!holds(&disk, &text), "{compression:?}");
        assert_eq!(texts(&read_all(&journal)).len(), 41);
    }
}

#[test]
fn whatever_was_taken_fits_also_where_nothing_can_be_compressed() {
    let mut random = SplitMix64::new(5);
    for compression in BOTH {
        let options = Options { required: vec![group()], ..options(compression) };
        let (journal, hand, _) = open(&SimDisk::new(1), &options);
        let (mut taken, mut refused) = (0, 0);
        while refused < 50 {
            let value: Vec<u8> = (0..300).map(|_| random.next_u64() as u8).collect();
            let event = StoredRecord { value: Some(Bytes::from(value)), ..record("") };
            match journal.append(&topic(), Partition((taken % 3) as u16), event, None) {
                Ok(_) => taken += 1,
                Err(AppendError::Full(_)) => {
                    refused += 1;
                    hand.commit().unwrap();
                    hand.keep().unwrap();
                }
                Err(error) => panic!("{compression:?}: {error}"),
            }
        }
        assert!(journal.stats().full && taken > 500, "{compression:?}: {taken} taken");
        assert_eq!(journal.stats().events, taken);
        assert_eq!(read_all(&journal).len() as u64, taken);
    }
}

#[test]
fn marks_that_were_compressed_are_known_after_opening_again() {
    for compression in BOTH {
        let disk = SimDisk::new(1);
        let (journal, hand, _) = open(&disk, &options(compression));
        for sequence in 0..100 {
            let device = DeviceId::new(&format!("device-with-a-long-name-{sequence}")).unwrap();
            let mark = Mark { device, boot: 1, sequence };
            journal.append(&topic(), Partition(0), record("x"), Some(&mark)).unwrap();
        }
        hand.commit().unwrap();
        drop((journal, hand));
        disk.power_cut();
        let (journal, ..) = open(&disk, &options(Compression::None));
        let device = DeviceId::new("device-with-a-long-name-77").unwrap();
        assert_eq!(journal.mark(&device, 1).unwrap(), Some(77), "{compression:?}");
    }
}

#[test]
fn bytes_of_events_count_once_they_are_written() {
    let (journal, hand, _) = open(&SimDisk::new(1), &options(Compression::Zstd));
    append(&journal, 0, "four");
    assert_eq!(journal.stats().event_bytes, 0);
    hand.commit().unwrap();
    assert_eq!(journal.stats().event_bytes, 4 + 3 + 6, "value, key and header");
}

#[test]
fn compressed_or_not_a_commit_is_one_write_of_whole_pages_with_zeros_behind_the_frame() {
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let (disk, hooks) = hooked::Hooked::new(&SimDisk::new(1));
        let (journal, hand, _) = Journal::open_by_hand(disk, options(compression), HandClock::new()).unwrap();
        let writes = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let kept = std::sync::Arc::clone(&writes);
        *hooks.on_write.lock().unwrap() = Some(Box::new(move |bytes| kept.lock().unwrap().push(bytes.to_vec())));
        two_commits(&journal, &hand);
        let writes = writes.lock().unwrap();
        assert_eq!(writes.len(), 2, "{compression:?}");
        for write in writes.iter() {
            let length = u32::from_le_bytes(write[16..20].try_into().unwrap()) as usize;
            assert_eq!((&write[..8], write.len()), (&b"LMPFRAME"[..], length.div_ceil(PAGE) * PAGE));
            assert!(write[length..].iter().all(|byte| *byte == 0), "{compression:?}");
        }
    }
}
