//! Seeded histories with power cuts against a model of what the journal promises.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lamppost_event::{Commit, Cursor, Epoch, Offset, Partition, TopicPartition};
use lamppost_journal::sim::{Faults, SimDisk};
use lamppost_journal::{AppendError, Hand, Journal, Options, ReadItem, SplitMix64};
use world::{HandClock, PARTITIONS, device, group, mark, read_all, record, small_options, text_of, topic};

#[derive(Default)]
struct Model {
    /// Appended in this life and not acknowledged yet: commit, partition, offset, text.
    pending: Vec<(Commit, u16, u64, String)>,
    /// Acknowledged: text by partition and offset.
    acknowledged: BTreeMap<(u16, u64), String>,
    /// Everything that was ever acknowledged or read.
    named: HashMap<(Epoch, u16, u64), String>,
    /// The next sequence of each partition's device.
    next_sequence: [u64; PARTITIONS as usize],
    cursor_asked: [u64; PARTITIONS as usize],
    cursor_durable: [u64; PARTITIONS as usize],
    state_asked: u64,
    state_durable: u64,
    cuts: u64,
    acked_total: u64,
    recycled: u64,
}

struct World {
    disk: SimDisk,
    options: Options,
    clock: Arc<HandClock>,
    random: SplitMix64,
    model: Model,
    seed: u64,
}

type Open = (Journal, Hand);
type Outcome = Result<(), String>;

fn at(partition: u16) -> TopicPartition {
    TopicPartition { topic: topic(), partition: Partition(partition) }
}

macro_rules! ensure {
    ($holds:expr, $($message:tt)*) => {
        if !$holds {
            return Err(format!($($message)*));
        }
    };
}

impl World {
    fn new(seed: u64, faults: Faults) -> Self {
        let disk = SimDisk::new(seed);
        disk.set_faults(faults);
        let mut options = small_options(seed);
        options.required = if seed.is_multiple_of(2) { vec![group()] } else { Vec::new() };
        let (clock, random) = (HandClock::new(), SplitMix64::new(seed ^ 0xabcd));
        Self { disk, options, clock, random, model: Model::default(), seed }
    }

    /// Opens, with the power failing now and then while it does.
    fn open(&mut self) -> Result<Open, String> {
        loop {
            if self.random.chance(1, 3) {
                self.disk.cut_after(self.random.below(40));
            }
            self.options.entropy = lamppost_journal::Entropy::Seed(self.random.next_u64());
            let opened = Journal::open_by_hand(Arc::new(self.disk.clone()), self.options.clone(), self.clock.clone());
            match opened {
                Ok((journal, hand, recovery)) => {
                    // The power stays for now.
                    self.disk.cut_after(u64::MAX / 2);
                    ensure!(recovery.damage.is_empty(), "damage without a cause: {:?}", recovery.damage);
                    self.check(&journal)?;
                    return Ok((journal, hand));
                }
                Err(_) if self.disk.is_cut() => {
                    self.disk.power_cut();
                    self.model.cuts += 1;
                }
                Err(error) => return Err(format!("does not open: {error}")),
            }
        }
    }

    /// Everything that must hold after a recovery.
    fn check(&mut self, journal: &Journal) -> Outcome {
        let model = &mut self.model;
        let mut seen: BTreeMap<(u16, u64), String> = BTreeMap::new();
        let mut next = [0; PARTITIONS as usize];
        for item in read_all(journal) {
            let record = match item {
                ReadItem::Record(record) => record,
                ReadItem::Gap(gap) if gap.reason.contains("recycled") => continue,
                ReadItem::Gap(gap) => return Err(format!("a gap without damage: {gap:?}")),
            };
            let (partition, offset, text) = (record.partition.0, record.offset.0, text_of(&record));
            let slot = &mut next[usize::from(partition)];
            ensure!(offset >= *slot, "offset {offset} after {slot} in {partition}: out of order");
            *slot = offset + 1;
            let named = model.named.entry((record.epoch, partition, offset)).or_insert_with(|| text.clone());
            ensure!(*named == text, "offset {offset} of {partition} names two events: {named} and {text}");
            seen.insert((partition, offset), text);
        }
        let first: BTreeMap<u16, u64> =
            journal.partitions().into_iter().map(|bounds| (bounds.at.partition.0, bounds.first.0)).collect();
        for ((partition, offset), text) in &model.acknowledged {
            let kept = *offset >= first[partition];
            ensure!(!kept || seen.get(&(*partition, *offset)) == Some(text), "acknowledged {text} is lost");
        }
        for partition in 0..PARTITIONS {
            let slot = usize::from(partition);
            if !self.options.required.is_empty() {
                let passed = first[&partition] <= model.cursor_asked[slot];
                ensure!(passed, "recycled beyond the required cursor in {partition}");
            }
            let stored = journal.mark(&device(partition), 1).map_err(|e| e.to_string())?;
            if let Some((_, text)) = seen.range((partition, 0)..(partition + 1, 0)).next_back() {
                let sequence = text.rsplit(' ').next().unwrap().parse().unwrap();
                ensure!(stored == Some(sequence), "mark {stored:?} and the last event {text} disagree");
            }
            // A sender goes on behind what is stored.
            model.next_sequence[slot] = stored.unwrap_or(0) + 1;
        }
        self.check_cursors(journal)?;
        let model = &mut self.model;
        let state = journal.state_get(b"state").map_err(|e| e.to_string())?;
        let state = state.map_or(0, |value| String::from_utf8(value.to_vec()).unwrap().parse().unwrap());
        ensure!(state >= model.state_durable && state <= model.state_asked, "state {state} was never this");
        (model.state_durable, model.state_asked) = (state, state);
        model.pending.clear();
        model.acknowledged = seen;
        Ok(())
    }

    fn check_cursors(&mut self, journal: &Journal) -> Outcome {
        let resume = journal.resume(&group()).map_err(|e| e.to_string())?;
        let mut cursors = [0; PARTITIONS as usize];
        for cursor in &resume.cursors {
            cursors[usize::from(cursor.at.partition.0)] = cursor.next.0;
        }
        let model = &mut self.model;
        for (slot, next) in cursors.into_iter().enumerate() {
            ensure!(next >= model.cursor_durable[slot], "a durable cursor went back in {slot}");
            ensure!(next <= model.cursor_asked[slot], "a cursor is ahead of what was asked in {slot}");
            (model.cursor_durable[slot], model.cursor_asked[slot]) = (next, next);
        }
        let chunk = journal.read(resume.position, usize::MAX).map_err(|e| e.to_string())?;
        let mut undone: BTreeMap<(u16, u64), ()> = BTreeMap::new();
        for item in &chunk.items {
            if let ReadItem::Record(record) = item {
                undone.insert((record.partition.0, record.offset.0), ());
            }
        }
        for ((partition, offset), text) in &model.acknowledged {
            let done = *offset < model.cursor_durable[usize::from(*partition)];
            let kept = journal.partitions().iter().any(|b| b.at == at(*partition) && b.first.0 <= *offset);
            ensure!(done || !kept || undone.contains_key(&(*partition, *offset)), "resume passes over {text}");
        }
        Ok(())
    }

    fn settle(&mut self, durable: Commit, epoch: Epoch) {
        let model = &mut self.model;
        let (done, pending) = std::mem::take(&mut model.pending).into_iter().partition(|entry| entry.0 <= durable);
        model.pending = pending;
        let done: Vec<(Commit, u16, u64, String)> = done;
        for (_, partition, offset, text) in done {
            model.acked_total += 1;
            model.named.insert((epoch, partition, offset), text.clone());
            model.acknowledged.insert((partition, offset), text);
        }
    }

    fn append(&mut self, journal: &Journal) -> Result<(), String> {
        let partition = self.random.below(u64::from(PARTITIONS)) as u16;
        let slot = usize::from(partition);
        for _ in 0..=self.random.below(12) {
            let sequence = self.model.next_sequence[slot];
            let text = format!("{}{partition} {sequence}", "x".repeat(self.random.below(900) as usize));
            let mark = mark(partition, sequence);
            match journal.append(&topic(), Partition(partition), record(&text), Some(&mark)) {
                Ok(appended) => {
                    self.model.pending.push((appended.commit, partition, appended.offset.0, text));
                    self.model.next_sequence[slot] += 1;
                }
                Err(AppendError::Full(_) | AppendError::Stopped(_)) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    fn move_cursor(&mut self, journal: &Journal) {
        let partition = self.random.below(u64::from(PARTITIONS)) as u16;
        let bounds = journal.partitions().into_iter().find(|bounds| bounds.at == at(partition)).unwrap();
        let next = bounds.first.0 + self.random.below(bounds.next.0 - bounds.first.0 + 1);
        if journal.commit_cursors(&group(), &[Cursor { at: at(partition), next: Offset(next) }]).is_ok() {
            let asked = &mut self.model.cursor_asked[usize::from(partition)];
            *asked = next.max(*asked);
        }
    }

    fn commit(&mut self, (journal, hand): &Open) {
        let (cursors, state) = (self.model.cursor_asked, self.model.state_asked);
        if hand.commit() == Ok(true) {
            // A commit takes all cursors along, in histories as small as these.
            (self.model.cursor_durable, self.model.state_durable) = (cursors, state);
        }
        if let Ok(durable) = journal.durable() {
            self.settle(durable, journal.epoch());
        }
    }

    fn step(&mut self, open: &Open) -> Outcome {
        let (journal, hand) = open;
        match self.random.below(20) {
            0..=7 => self.append(journal)?,
            8..=13 => self.commit(open),
            14 | 15 => drop(hand.keep()),
            16 | 17 => self.move_cursor(journal),
            18 => {
                let value = self.model.state_asked + 1;
                if journal.put_state(b"state", Some(value.to_string().into())).is_ok() {
                    self.model.state_asked = value;
                }
            }
            _ => drop(hand.checkpoint()),
        }
        self.clock.turn(7);
        let bytes: usize = self.disk.contents().values().map(Vec::len).sum();
        ensure!(bytes as u64 <= self.options.quota_bytes, "{bytes} bytes are above the quota");
        Ok(())
    }

    fn life(&mut self) -> Outcome {
        let open = self.open()?;
        let steps = 20 + self.random.below(150);
        let cut = self.random.below(8);
        if cut < 5 {
            self.disk.cut_after(self.random.below(300));
        }
        for _ in 0..steps {
            self.step(&open)?;
            if open.0.durable().is_err() {
                break;
            }
        }
        self.model.recycled += open.0.stats().recycled;
        match cut {
            0..=5 => {
                drop(open);
                self.disk.power_cut();
                self.model.cuts += 1;
            }
            6 => {
                drop(open);
                self.disk.process_killed();
            }
            _ => {
                let durable = self.model.pending.last().map(|entry| entry.0);
                if open.0.close().is_ok() {
                    if let Some(durable) = durable {
                        self.settle(durable, open.0.epoch());
                    }
                    self.model.cursor_durable = self.model.cursor_asked;
                    self.model.state_durable = self.model.state_asked;
                }
            }
        }
        Ok(())
    }
}

fn history(seed: u64, faults: Faults, lives: usize) -> Result<World, String> {
    let mut world = World::new(seed, faults);
    for life in 0..lives {
        world.life().map_err(|error| format!("seed {}, life {life}: {error}", world.seed))?;
    }
    world.open().map_err(|error| format!("seed {seed}, at the end: {error}"))?;
    Ok(world)
}

#[test]
fn power_cuts_lose_nothing_that_was_acknowledged() {
    let (mut cuts, mut acked, mut recycled) = (0, 0, 0);
    for seed in 0..seeds() {
        let world = history(seed, Faults::default(), 8).unwrap();
        cuts += world.model.cuts;
        acked += world.model.acked_total;
        recycled += world.model.recycled;
    }
    println!("{cuts} cuts, {acked} events acknowledged, {recycled} segments recycled");
    assert!(cuts > seeds() && acked > 100 * seeds() && recycled > 0, "the histories are too tame");
}

#[test]
fn a_journal_without_flushes_is_caught_losing_events() {
    let faults = Faults { ignore_flushes: true, ..Faults::default() };
    let caught = (0..20).filter(|seed| history(*seed, faults, 8).is_err()).count();
    assert!(caught >= 15, "only {caught} of 20 histories without flushes were caught");
}

#[test]
fn one_seed_gives_one_run() {
    let [one, two] = [(); 2].map(|()| history(5, Faults::default(), 4).unwrap());
    assert_eq!(one.disk.contents(), two.disk.contents());
    assert_eq!(one.disk.ios(), two.disk.ios());
}

fn seeds() -> u64 {
    std::env::var("POWERCUT_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}
