//! The journal against a model in memory: any sequence of appends, commits, reads, cursors, state, upkeep and openings, without faults. What
//! the model says is exact: after a kill there is what was committed, neither less nor more.
//!
//! A step that fails shrinks to the few that it takes: steps don't depend on each other, places are given as shares of what is there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::collections::BTreeMap;

use lamppost_event::{Cursor, Epoch, Group, Offset, Partition, Position};
use lamppost_journal::sim::SimDisk;
use lamppost_journal::{AppendError, Entropy, Hand, Journal, Options, PutError, ReadItem};
use proptest::collection::vec;
use proptest::prelude::*;
use world::*;

/// What is done to the journal. A share is in 255ths.
#[derive(Debug, Clone)]
enum Step {
    Append { partition: u16, length: usize, count: u8 },
    Commit,
    Keep,
    Checkpoint,
    Cursor { group: usize, partition: u16, share: u8 },
    Put { key: u8, value: Option<u8> },
    Read { bytes: usize },
    ReadPartition { partition: u16, share: u8, bytes: usize },
    Reopen { clean: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let partition = || 0..PARTITIONS;
    let step = prop_oneof![
        8 => (partition(), 0..1500_usize, 1..12_u8)
            .prop_map(|(partition, length, count)| Step::Append { partition, length, count }),
        6 => Just(Step::Commit),
        3 => Just(Step::Keep),
        1 => Just(Step::Checkpoint),
        2 => (0..2_usize, partition(), any::<u8>())
            .prop_map(|(group, partition, share)| Step::Cursor { group, partition, share }),
        2 => (0..4_u8, any::<Option<u8>>()).prop_map(|(key, value)| Step::Put { key, value }),
        3 => (0..30_000_usize).prop_map(|bytes| Step::Read { bytes }),
        2 => (partition(), any::<u8>(), 0..30_000_usize)
            .prop_map(|(partition, share, bytes)| Step::ReadPartition { partition, share, bytes }),
        1 => any::<bool>().prop_map(|clean| Step::Reopen { clean }),
    ];
    vec(step, 1..300)
}

/// A partition as the model has it: every event by its offset.
#[derive(Debug, Default)]
struct Log {
    texts: Vec<String>,
    durable: usize,
    first: usize,
}

/// A value with one that is on its way.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Twice<T> {
    asked: T,
    durable: T,
}

impl<T: Copy> Twice<T> {
    const fn commit(&mut self) {
        self.durable = self.asked;
    }

    const fn lose(&mut self) {
        self.asked = self.durable;
    }
}

struct Run {
    disk: SimDisk,
    options: Options,
    open: Option<(Journal, Hand)>,
    epoch: Epoch,
    openings: u64,
    serial: u64,
    logs: [Log; PARTITIONS as usize],
    cursors: [[Twice<u64>; PARTITIONS as usize]; 2],
    state: BTreeMap<u8, Twice<Option<u8>>>,
    /// The place of a reader, and the next offset of each partition for it.
    reader: (Position, [u64; PARTITIONS as usize]),
}

/// The first is required, in every other run.
fn groups() -> [Group; 2] {
    [group(), Group::new("other").unwrap()]
}

impl Run {
    fn new(required: bool, segments_more: u64) -> Self {
        let (disk, mut options) = (SimDisk::new(1), small_options(1));
        options.required = if required { vec![group()] } else { Vec::new() };
        options.quota_bytes += segments_more * options.segment_bytes;
        let (journal, hand, recovery) = open(&disk, &options);
        let (cursors, state) = (Default::default(), BTreeMap::new());
        let (logs, reader) = (Default::default(), Default::default());
        let open = Some((journal, hand));
        Self { disk, options, open, epoch: recovery.epoch, openings: 1, serial: 0, logs, cursors, state, reader }
    }

    fn journal(&self) -> Journal {
        self.open.as_ref().unwrap().0.clone()
    }

    fn hand(&self) -> &Hand {
        &self.open.as_ref().unwrap().1
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Append { partition, length, count } => (0..count).for_each(|_| self.append(partition, length)),
            Step::Commit => {
                if self.hand().commit().unwrap() {
                    self.commit();
                }
            }
            Step::Keep => drop(self.hand().keep().unwrap()),
            Step::Checkpoint => drop(self.hand().checkpoint().unwrap()),
            Step::Cursor { group, partition, share } => self.move_cursor(group, partition, share),
            Step::Put { key, value } => match self.journal().put_state(&[key], value.map(|value| vec![value].into())) {
                Ok(_) => self.state.entry(key).or_default().asked = value,
                Err(PutError::Full) => {}
                Err(error) => panic!("{error}"),
            },
            Step::Read { bytes } => self.read(bytes),
            Step::ReadPartition { partition, share, bytes } => self.read_partition(partition, share, bytes),
            Step::Reopen { clean } => self.reopen(clean),
        }
        self.check();
    }

    fn append(&mut self, partition: u16, length: usize) {
        self.serial += 1;
        let log = &self.logs[usize::from(partition)];
        let text = format!("{}{}", "z".repeat(length), self.serial);
        let mark = mark(partition, log.texts.len() as u64 + 1);
        match self.journal().append(&topic(), Partition(partition), record(&text), Some(&mark)) {
            Ok(appended) => {
                assert_eq!(appended.offset.0, log.texts.len() as u64, "offsets are dense");
                self.logs[usize::from(partition)].texts.push(text);
            }
            Err(AppendError::Full(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// All that has gathered is on the disk.
    fn commit(&mut self) {
        self.logs.iter_mut().for_each(|log| log.durable = log.texts.len());
        self.cursors.as_flattened_mut().iter_mut().for_each(Twice::commit);
        self.state.values_mut().for_each(Twice::commit);
    }

    fn move_cursor(&mut self, group: usize, partition: u16, share: u8) {
        let log = &self.logs[usize::from(partition)];
        let next = (log.durable * usize::from(share) / 255) as u64;
        let cursor = Cursor { at: at(partition), next: Offset(next) };
        self.journal().commit_cursors(&groups()[group], &[cursor]).unwrap();
        let asked = &mut self.cursors[group][usize::from(partition)].asked;
        *asked = next.max(*asked);
    }

    fn reopen(&mut self, clean: bool) {
        let (journal, hand) = self.open.take().unwrap();
        if clean {
            journal.close().unwrap();
            self.commit();
        }
        drop((journal, hand));
        self.disk.process_killed();
        self.openings += 1;
        self.options.entropy = Entropy::Seed(self.openings);
        let (journal, hand, recovery) = open(&self.disk, &self.options);
        let continued = Some(self.epoch).filter(|_| clean);
        assert_eq!((recovery.clean, recovery.continued), (clean, continued), "{recovery:?}");
        assert_ne!(recovery.epoch, self.epoch);
        assert!(
            recovery.damage.is_empty() && recovery.gaps.is_empty() && recovery.set_aside.is_empty(),
            "{recovery:?}"
        );
        self.epoch = recovery.epoch;
        for log in &mut self.logs {
            log.texts.truncate(log.durable);
        }
        self.state.values_mut().for_each(Twice::lose);
        self.reader = Default::default();
        for (group, cursors) in groups().iter().zip(&mut self.cursors) {
            let resumed = journal.resume(group).unwrap().cursors;
            for (partition, cursor) in (0..PARTITIONS).zip(cursors) {
                let found = resumed.iter().find(|cursor| cursor.at == at(partition)).map_or(0, |cursor| cursor.next.0);
                // A checkpoint may have taken it along without a commit.
                assert!(
                    (cursor.durable..=cursor.asked).contains(&found),
                    "{group} in {partition}: {found}, not {cursor:?}"
                );
                *cursor = Twice { asked: found, durable: found };
            }
        }
        self.open = Some((journal, hand));
    }

    /// What can be asked at any time, and everything that is there to read.
    fn check(&mut self) {
        let journal = self.journal();
        assert!(self.disk.bytes() <= self.options.quota_bytes, "the files are above the quota");
        for bounds in journal.partitions().into_iter().filter(|bounds| bounds.at.topic == topic()) {
            let slot = usize::from(bounds.at.partition.0);
            let (log, first) = (&mut self.logs[slot], bounds.first.0 as usize);
            assert_eq!(bounds.next.0, log.durable as u64, "{slot}");
            assert!((log.first..=log.durable).contains(&first), "{slot} begins at {first}, after {}", log.first);
            let passed = self.options.required.is_empty() || first as u64 <= self.cursors[0][slot].asked;
            assert!(passed, "{slot} begins at {first}, before its group has done that");
            log.first = first;
        }
        for (key, value) in &self.state {
            let there = journal.state_get(&[*key]).unwrap();
            assert_eq!(there.as_deref(), value.durable.as_ref().map(std::slice::from_ref), "state {key}");
        }
        for partition in 0..PARTITIONS {
            let durable = self.logs[usize::from(partition)].durable as u64;
            let marked = journal.mark(&device(partition), 1).unwrap();
            assert_eq!(marked, (durable > 0).then_some(durable), "mark of {partition}");
        }
    }

    /// Checks events of one pass, from `next` on, each partition without a hole but for what was recycled.
    fn follow(&self, items: &[ReadItem], next: &mut [u64; PARTITIONS as usize]) {
        for item in items {
            match item {
                ReadItem::Gap(gap) => {
                    let slot = usize::from(gap.at.partition.0);
                    assert!(gap.to.0 <= self.logs[slot].first as u64, "a gap in what is kept: {gap:?}");
                    next[slot] = next[slot].max(gap.to.0);
                }
                ReadItem::Record(record) => {
                    let slot = usize::from(record.partition.0);
                    let (log, offset) = (&self.logs[slot], record.offset.0);
                    if offset < next[slot] {
                        // What has gone cold is read again from the beginning of its run.
                        assert!(self.disk.has("cold-"), "{slot}: {offset} after {}", next[slot]);
                    } else {
                        assert_eq!(offset, next[slot], "{slot}: a hole");
                        next[slot] = offset + 1;
                    }
                    assert!(offset < log.durable as u64, "{slot}: {offset} is not durable");
                    assert_eq!(text_of(record), log.texts[offset as usize], "{slot}: {offset}");
                }
            }
        }
    }

    fn read(&mut self, bytes: usize) {
        let (from, mut next) = self.reader;
        let chunk = self.journal().read(from, bytes).unwrap();
        self.follow(&chunk.items, &mut next);
        if chunk.caught_up {
            let durable = self.logs.each_ref().map(|log| log.durable as u64);
            assert_eq!(next, durable, "caught up, and not all was there");
        }
        self.reader = (chunk.next, next);
    }

    fn read_partition(&mut self, partition: u16, share: u8, bytes: usize) {
        let (slot, mut next) = (usize::from(partition), [0; PARTITIONS as usize]);
        let durable = self.logs[slot].durable;
        next[slot] = (durable * usize::from(share) / 255) as u64;
        let chunk = self.journal().read_partition(&topic(), Partition(partition), Offset(next[slot]), bytes).unwrap();
        self.follow(&chunk.items, &mut next);
        assert_eq!((chunk.next.0, chunk.caught_up), (next[slot], next[slot] == durable as u64));
    }

    /// Whoever resumes gets all that its cursors have not passed.
    fn check_resume(&mut self) {
        for (group, cursors) in groups().iter().zip(self.cursors) {
            let resume = self.journal().resume(group).unwrap();
            let mut next = cursors.map(|cursor| cursor.asked);
            let items = self.journal().read(resume.position, usize::MAX).unwrap().items;
            let undone = items.into_iter().filter(|item| match item {
                ReadItem::Record(record) => record.offset.0 >= next[usize::from(record.partition.0)],
                ReadItem::Gap(_) => true,
            });
            self.follow(&undone.collect::<Vec<_>>(), &mut next);
            assert_eq!(next, self.logs.each_ref().map(|log| log.durable as u64), "{group}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn the_journal_does_what_its_model_does(steps in steps(), required in any::<bool>(), segments_more in 0..8_u64) {
        let mut run = Run::new(required, segments_more);
        for step in &steps {
            run.take(step);
        }
        run.check_resume();
        run.reader = Default::default();
        run.read(usize::MAX);
        run.reopen(true);
        run.check();
        run.read(usize::MAX);
    }
}

fn cases() -> u32 {
    std::env::var("MODEL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(48)
}
