//! Sound journals to begin with: small, each with something that the others lack. The same ones in every run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::{
    BootId, Clock, ClockQuality, Cursor, DeviceId, Group, Monotonic, Now, Offset, Partition, StoredRecord, Topic,
    TopicPartition, WallTime,
};

use super::script::{Image, SEAL, STEPS};
use super::seal;
use crate::disk::Disk;
use crate::format::PAGE;
use crate::format::frame::Frame;
use crate::format::segment::{FRAMES_AT, SegmentHead};
use crate::sim::SimDisk;
use crate::walk::{Look, Walk};
use crate::{Compression, Entropy, Hand, Journal, Mark, Options, TopicOptions};

pub(super) const PARTITIONS: u16 = 2;

pub(super) fn topic() -> Topic {
    Topic::user("air").unwrap()
}

pub(super) fn group() -> Group {
    Group::new("cluster").unwrap()
}

pub(super) fn options(seed: u64) -> Options {
    let mut options = Options {
        segment_bytes: 80 << 10,
        frame_bytes_max: 16 << 10,
        event_bytes_max: 4 << 10,
        checkpoint_bytes: 4096,
        entropy: Entropy::Seed(seed),
        topics: vec![TopicOptions { topic: topic(), partitions: PARTITIONS, linger: None }],
        read_patience: Duration::ZERO,
        compression: [Compression::None, Compression::Lz4, Compression::Zstd][seed as usize % 3],
        ..Options::default()
    };
    options.quota_bytes = options.quota_min();
    options
}

/// With a group that never comes: all has to be kept.
fn keeping(seed: u64) -> Options {
    let options = options(seed);
    Options { required: vec![group()], quota_bytes: 16 * options.segment_bytes, ..options }
}

/// A millisecond for each look.
pub(super) struct LookClock(AtomicU64);

impl LookClock {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(1_000)))
    }
}

impl Clock for LookClock {
    fn now(&self) -> Now {
        let ms = self.0.fetch_add(1, Ordering::Relaxed);
        let (wall, monotonic) = (WallTime(1_700_000_000_000 + ms.cast_signed()), Monotonic(ms));
        Now { wall, monotonic, boot: BootId(7), quality: ClockQuality::Synced }
    }
}

/// An event of its own number.
pub(super) fn record(number: u64, bytes: usize) -> StoredRecord {
    let key = Bytes::from(number.to_string());
    let value = Some(Bytes::from(vec![b'v'; bytes]));
    StoredRecord { timestamp: WallTime(1_700_000_000_000), key, value, header: Bytes::from_static(b"header") }
}

pub(super) fn device(partition: u16) -> DeviceId {
    DeviceId::new(&format!("device-{partition}")).unwrap()
}

struct Writing {
    disk: SimDisk,
    journal: Journal,
    hand: Hand,
    number: u64,
}

impl Writing {
    fn open(disk: &SimDisk, seed: u64, options: Options) -> Self {
        let disk = disk.clone();
        let (journal, hand, _) = Journal::open_by_hand(Arc::new(disk.clone()), options, LookClock::new()).unwrap();
        Self { disk, journal, hand, number: 1000 * seed }
    }

    /// So many commits of some events, marks and state each, with cursors now and then.
    fn commits(&mut self, count: u64, bytes: usize) {
        for commit in 0..count {
            for partition in 0..PARTITIONS {
                self.number += 1;
                let mark = Mark { device: device(partition), boot: 1, sequence: self.number };
                let record = record(self.number, bytes);
                let taken = self.journal.append(&topic(), Partition(partition), record, Some(&mark));
                assert!(taken.is_ok(), "a history fits: {taken:?}");
            }
            let value = vec![b's'; 600];
            self.journal.put_state(&self.number.to_be_bytes(), Some(value.into())).unwrap();
            if commit % 3 == 2 {
                let at = TopicPartition { topic: topic(), partition: Partition(0) };
                self.journal.commit_cursors(&group(), &[Cursor { at, next: Offset(commit) }]).unwrap();
            }
            self.hand.commit().unwrap();
            while self.hand.keep().unwrap() {}
        }
    }

    fn killed(self) -> SimDisk {
        drop(self.journal);
        self.disk.process_killed();
        self.disk
    }

    fn closed(self) -> SimDisk {
        self.journal.close().unwrap();
        self.disk
    }
}

/// The files of each journal.
pub(super) fn histories() -> &'static [Image] {
    static HISTORIES: OnceLock<Vec<Image>> = OnceLock::new();
    HISTORIES.get_or_init(|| {
        let written = |seed, options: Options, commits, bytes| {
            let mut writing = Writing::open(&SimDisk::new(seed), seed, options);
            writing.commits(commits, bytes);
            writing
        };
        let few = |seed| written(seed, options(seed), 4, 100);
        let many = |seed| written(seed, options(seed), 45, 3000);
        let again = |disk: &SimDisk, seed| {
            let mut writing = Writing::open(disk, seed, options(seed));
            writing.commits(3, 1000);
            writing
        };
        let reopened = again(&again(&many(5).killed(), 6).closed(), 7).killed();
        let kept = written(10, keeping(10), 45, 3000).killed();
        let disks = [few(1).killed(), few(2).closed(), many(3).killed(), many(4).closed(), reopened, torn(8), kept];
        disks.iter().map(SimDisk::contents).collect()
    })
}

/// The power fails in the middle of a commit.
fn torn(seed: u64) -> SimDisk {
    let mut writing = Writing::open(&SimDisk::new(seed), seed, options(seed));
    writing.commits(5, 3000);
    writing.disk.cut_after(0);
    for partition in 0..PARTITIONS {
        writing.journal.append(&topic(), Partition(partition), record(1, 3000), None).unwrap();
    }
    assert!(writing.hand.commit().is_err());
    writing.disk.power_cut();
    writing.disk
}

/// See [`super::seeds`].
pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (number, image) in histories().iter().enumerate() {
        seeds.push(("recovery", vec![number as u8]));
        seeds.extend((0..STEPS).flat_map(|step| [step, SEAL | step]).map(|step| {
            let script = [number as u8, step, 1, 2, 3, 2, 1, 0, 60, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
            ("recovery", script.to_vec())
        }));
        for (name, bytes) in image {
            if name.starts_with("checkpoint-") {
                seeds.push(("checkpoint", [&[1], bytes.as_slice()].concat()));
            } else if !name.starts_with("free-") {
                of_segment(bytes, &mut seeds);
            }
        }
    }
    seeds
}

/// The first frame of each kind, and its batches.
fn of_segment(bytes: &[u8], seeds: &mut Vec<(&'static str, Vec<u8>)>) {
    let Ok(head) = SegmentHead::decode(&bytes[..PAGE]) else { return };
    let disk = SimDisk::new(0);
    let file = disk.create_zeroed("file", bytes.len() as u64).unwrap();
    file.write_at(bytes, 0).unwrap();
    let mut walk = Walk::new(&*file, &head, bytes.len() as u64);
    let (mut at, mut kinds) = (FRAMES_AT, Vec::new());
    while at < bytes.len() as u64 {
        let Look::Frame(frame) = walk.look(at) else {
            at += PAGE as u64;
            continue;
        };
        if !kinds.contains(&frame.kind) {
            kinds.push(frame.kind);
            seeds.push(("frame", [&[1], frame.bytes.as_ref()].concat()));
            of_batches(&frame, seeds);
        }
        at += frame.padded();
    }
}

/// They follow each other at the end, and each says its length.
fn of_batches(frame: &Frame, seeds: &mut Vec<(&'static str, Vec<u8>)>) {
    let mut rest = &frame.bytes[seal::number_32(&frame.bytes, 72)..];
    for _ in &frame.batches {
        let length = u32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize + 12;
        let (batch, behind) = rest.split_at(length);
        seeds.push(("batch", [&[1], batch].concat()));
        rest = behind;
    }
}
