//! A damaged journal is looked at, verified, opened, read, written to and opened again.

use std::collections::BTreeMap;
use std::sync::Arc;

use lamppost_event::{Epoch, Offset, Partition, Position, StoredRecord, TopicPartition};

use super::history::{LookClock, PARTITIONS, device, group, histories, options, record, topic};
use super::script::{Image, Script};
use crate::disk::Disk;
use crate::sim::SimDisk;
use crate::{Hand, Inspect, Journal, OpenError, ReadItem, ReadRecord};

/// Reading has an end.
const CHUNKS_MAX: usize = 10_000;
/// Upkeep has one too.
const STEPS_MAX: usize = 1_000;

type Events = BTreeMap<(TopicPartition, Offset), (Epoch, StoredRecord)>;

/// First byte: with which journal to begin; the others, what is done to its files. Gives whether it could be opened.
pub fn recovery(data: &[u8]) -> bool {
    let mut script = Script::new(data);
    let histories = histories();
    let mut image = histories[usize::from(script.byte()) % histories.len()].clone();
    let forged = script.play(&mut image);
    let swollen = image.values().map(|bytes| bytes.len() as u64).sum::<u64>() > options(0).quota_bytes;
    let disk = laid(&image);
    look(&disk);
    let Ok((journal, hand, _)) = Journal::open_by_hand(Arc::new(disk.clone()), options(101), LookClock::new()) else {
        return false;
    };
    let mut served = read_all(&journal, forged);
    ask(&journal, forged);
    write(&journal, &hand, &mut served);
    drop((journal, hand));
    disk.power_cut();
    let again = Journal::open_by_hand(Arc::new(disk), options(102), LookClock::new());
    if forged || (swollen && matches!(again, Err(OpenError::NoRoom { .. }))) {
        return true;
    }
    let (journal, _hand, _) = again.expect("what could be opened once can be opened again");
    let found = read_all(&journal, forged);
    for ((at, offset), event) in &served {
        let recycled = journal.partitions().iter().any(|kept| kept.at == *at && *offset < kept.first);
        let same = found.get(&(at.clone(), *offset)) == Some(event);
        assert!(same || recycled, "{at} {offset} was served, and is another or none after a power cut");
    }
    true
}

fn laid(image: &Image) -> SimDisk {
    let disk = SimDisk::new(1);
    for (name, bytes) in image {
        let file = disk.create_zeroed(name, bytes.len() as u64).unwrap();
        file.write_at(bytes, 0).unwrap();
        file.flush().unwrap();
    }
    disk.flush_dir().unwrap();
    disk
}

/// What the command line does.
fn look(disk: &SimDisk) {
    let Ok(inspect) = Inspect::open(Arc::new(disk.clone())) else { return };
    let figures = inspect.figures();
    let mut from = inspect.start();
    for _ in 0..CHUNKS_MAX {
        let chunk = inspect.read(from, 10_000);
        if chunk.caught_up {
            break;
        }
        assert!(chunk.next > from, "looking goes forward: {from} in {figures:?}");
        from = chunk.next;
    }
    if let Ok(verified) = inspect.verify(&mut |done, total| assert!(done <= total)) {
        assert!(verified.bytes <= figures.disk_bytes, "no more is read than there is");
    }
}

/// Everything there is to read: in each partition all offsets from the first one on, each once, or a gap that names it.
fn read_all(journal: &Journal, forged: bool) -> Events {
    let mut events = Events::new();
    let mut next = BTreeMap::new();
    let mut from = Position(0);
    for _ in 0..CHUNKS_MAX {
        let chunk = journal.read(from, 10_000).expect("an open journal can be read");
        for item in chunk.items {
            match item {
                ReadItem::Record(ReadRecord { topic, partition, offset, epoch, record }) => {
                    let at = TopicPartition { topic, partition };
                    let next = next.entry(at.clone()).or_insert(offset);
                    assert!(forged || offset == *next, "{at} {offset} comes where {next} should");
                    *next = offset.next();
                    events.insert((at, offset), (epoch, record));
                }
                ReadItem::Gap(gap) => {
                    let next = next.entry(gap.at.clone()).or_insert(gap.from);
                    assert!(forged || gap.from <= *next, "{gap:?} comes where {next} should");
                    *next = gap.to.max(*next);
                }
            }
        }
        if chunk.caught_up {
            return events;
        }
        assert!(chunk.next > from, "reading goes forward");
        from = chunk.next;
    }
    panic!("reading has no end");
}

/// What consumers and views ask for.
fn ask(journal: &Journal, forged: bool) {
    for kept in journal.partitions() {
        assert!(forged || kept.first <= kept.next, "{kept:?}");
        let mut from = Offset(0);
        for _ in 0..CHUNKS_MAX {
            let chunk = journal.read_partition(&kept.at.topic, kept.at.partition, from, 10_000).unwrap();
            if chunk.caught_up || chunk.next == from {
                break;
            }
            from = chunk.next;
        }
    }
    // What can't be read is an error, and said.
    drop(journal.marks(&mut |_| {}));
    drop(journal.state_scan(b"", &mut |_, _| {}));
    drop(journal.mark(&device(0), 1));
    drop(journal.state_since(journal.known_since()));
    drop(journal.resume(&group()));
    drop((journal.groups(), journal.stats()));
}

/// New events; those that became durable are noted.
fn write(journal: &Journal, hand: &Hand, served: &mut Events) {
    let mut taken = Events::new();
    for number in 0..4 {
        let (partition, record) = (Partition(number as u16 % PARTITIONS), record(9000 + number, 500));
        // With the quota used up there is no room.
        let Ok(appended) = journal.append(&topic(), partition, record.clone(), None) else { continue };
        let at = TopicPartition { topic: topic(), partition };
        let key = (at, appended.offset);
        assert!(!served.contains_key(&key), "offset {} of {partition:?} names an event already", appended.offset);
        taken.insert(key, (journal.epoch(), record));
    }
    if hand.commit().is_ok() {
        served.extend(taken);
    }
    for _ in 0..STEPS_MAX {
        if !hand.keep().is_ok_and(|done| done) {
            return;
        }
    }
    panic!("upkeep has no end");
}
