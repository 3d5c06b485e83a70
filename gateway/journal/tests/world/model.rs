//! What the journal has promised, as far as a history has come, and what it means to break it.

use std::collections::{BTreeMap, HashMap};

use lamppost_event::{Commit, Epoch, Gap, Offset, Topic, TopicPartition};
use lamppost_journal::{Journal, ReadItem, ReadRecord};

use super::cursors::Follower;
use super::state::State;
use super::topics::{Topics, is_beyond_bytes};
use super::{PARTITIONS, device, text_of};

/// How a promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// So many acknowledged events are neither there nor named as missing.
    Lost(u64),
    /// An event came after one that is later.
    OutOfOrder,
    /// Epoch, partition and offset name two events.
    Reused,
    /// Anything else.
    Other,
}

/// A promise that was broken.
#[derive(Debug, Clone)]
pub struct Failure {
    pub wrong: Wrong,
    pub what: String,
}

pub type Outcome<T = ()> = Result<T, Failure>;

pub fn fail<T>(wrong: Wrong, what: impl Into<String>) -> Outcome<T> {
    Err(Failure { wrong, what: what.into() })
}

/// For errors of calls that have to succeed.
pub fn must<T, E: std::fmt::Display>(result: Result<T, E>) -> Outcome<T> {
    result.or_else(|error| fail(Wrong::Other, error.to_string()))
}

/// Fails with `Wrong::Other` unless it holds.
macro_rules! ensure {
    ($holds:expr, $($message:tt)*) => {
        if !$holds {
            return $crate::world::model::fail($crate::world::model::Wrong::Other, format!($($message)*));
        }
    };
}
pub(crate) use ensure;

/// Slot and offset.
pub type Key = (u16, u64);

/// An event, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    pub sequence: u64,
    /// Of its text.
    pub crc: u32,
}

impl Event {
    /// The text ends with the sequence.
    pub fn of(text: &str) -> Self {
        let sequence = text.rsplit(' ').next().unwrap().parse().unwrap();
        Self { sequence, crc: crc(text) }
    }
}

/// CRC-32 (bitwise; a history has few bytes).
fn crc(text: &str) -> u32 {
    !text.bytes().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// What a number of each slot is kept for.
pub type Each = [u64; PARTITIONS as usize];

#[derive(Default)]
pub struct Model {
    pub topics: Topics,
    /// Only what no required group has to have may be recycled.
    pub required: bool,
    /// When each event was appended, and when it was written as far as that is known, by the hand clock in ms.
    pub appended_ms: HashMap<Key, u64>,
    pub written_ms: HashMap<Key, u64>,
    /// Appended in this life and not acknowledged yet.
    pub pending: Vec<(Commit, Key, Event)>,
    /// Acknowledged, or read after a recovery: it is on the disk.
    pub stored: BTreeMap<Key, Event>,
    /// Everything that was ever acknowledged or read.
    pub named: HashMap<(Epoch, Key), Event>,
    /// The next sequence of each partition's device.
    pub next_sequence: Each,
    /// The highest sequence of each partition that was acknowledged.
    pub acknowledged_sequence: Each,
    pub followers: Vec<Follower>,
    /// What the topic of an event had been given up to it, and each topic until now, in bytes as they may lie on the disk, at most.
    pub weight_upto: HashMap<Key, u64>,
    pub weight: HashMap<Topic, u64>,
    /// Gaps that a topic's bound in bytes made, as often as they were met.
    pub beyond: u64,
    pub state: State,
    /// The first offset kept, as the journal last said before its end. Recovery gives up nothing.
    pub first: Each,
    pub acknowledged: u64,
    /// Of what was acknowledged, what damage cost and a gap names.
    pub named_lost: u64,
    /// Of what was acknowledged, what damage cost at the end of the log, where nothing can name it.
    pub end_lost: u64,
}

/// What one reading of everything found.
#[derive(Default)]
pub struct Found {
    pub events: BTreeMap<Key, Event>,
    /// Slot, first and next offset.
    pub gaps: Vec<(u16, u64, u64)>,
    /// Gaps that nothing but damage would explain.
    pub damage: Vec<String>,
    pub first: Each,
    pub next: Each,
}

impl Found {
    /// Whether something says that it is missing.
    pub fn names(&self, (partition, offset): Key) -> bool {
        self.gaps.iter().any(|gap| gap.0 == partition && (gap.1..gap.2).contains(&offset))
    }
}

impl Model {
    /// Everything up to the commit is on the disk.
    pub fn settle(&mut self, durable: Commit, epoch: Epoch, now_ms: u64) -> Outcome {
        let behind = self.pending.iter().position(|entry| entry.0 > durable).unwrap_or(self.pending.len());
        for (_, key, event) in self.pending.drain(..behind).collect::<Vec<_>>() {
            self.acknowledged += 1;
            self.name(epoch, key, event)?;
            let sequence = &mut self.acknowledged_sequence[usize::from(key.0)];
            *sequence = event.sequence.max(*sequence);
            self.stored.insert(key, event);
            self.written_ms.insert(key, now_ms);
        }
        Ok(())
    }

    /// Epoch and place name this event, and no other, for ever.
    fn name(&mut self, epoch: Epoch, key: Key, event: Event) -> Outcome {
        let named = self.named.entry((epoch, key)).or_insert(event);
        let same = *named == event;
        if same { Ok(()) } else { fail(Wrong::Reused, format!("{key:?} of {epoch:?} names {named:?} and {event:?}")) }
    }

    /// Takes what was read, in the order of reading; `next` is where each partition's reading is.
    pub fn follow(&mut self, next: &mut Each, record: &ReadRecord) -> Outcome<(Key, Event)> {
        let at = TopicPartition { topic: record.topic.clone(), partition: record.partition };
        let Some(partition) = self.topics.slot(&at) else {
            return fail(Wrong::Other, format!("an event of {at:?}, which there is not"));
        };
        let key = (partition, record.offset.0);
        let event = Event::of(&text_of(record));
        let slot = &mut next[usize::from(key.0)];
        if key.1 < *slot {
            return fail(Wrong::OutOfOrder, format!("{key:?} came after offset {}", *slot - 1));
        }
        *slot = key.1 + 1;
        self.name(record.epoch, key, event)?;
        Ok((key, event))
    }

    /// Reads everything.
    pub fn find(&mut self, journal: &Journal, damaged: bool) -> Outcome<Found> {
        let (mut found, mut next, mut told) = (Found::default(), Each::default(), Told::default());
        let mut from = lamppost_event::Position(0);
        loop {
            let chunk = must(journal.read(from, 100_000))?;
            for item in chunk.items {
                match item {
                    ReadItem::Record(record) => {
                        let (key, event) = self.follow(&mut next, &record)?;
                        ensure!(
                            damaged || told.event(key),
                            "{key:?} came, and nothing told of what is missing before it"
                        );
                        found.events.insert(key, event);
                    }
                    ReadItem::Gap(gap) => {
                        if let Some(slot) = self.topics.slot(&gap.at) {
                            told.gap(slot, &gap);
                            found.gaps.push((slot, gap.from.0, gap.to.0));
                        }
                        self.beyond += u64::from(is_beyond_bytes(&gap.reason));
                        if !self.topics.explains(&gap) {
                            found.damage.push(format!("{gap:?}"));
                        }
                    }
                }
            }
            from = chunk.next;
            if chunk.caught_up {
                break;
            }
        }
        for (slot, first, next) in self.bounds(journal) {
            (found.first[slot], found.next[slot]) = (first, next);
        }
        Ok(found)
    }

    /// Slots, with the first offset that is kept, and the next.
    pub fn bounds(&self, journal: &Journal) -> Vec<(usize, u64, u64)> {
        let all = journal.partitions().into_iter();
        all.filter_map(|b| Some((usize::from(self.topics.slot(&b.at)?), b.first.0, b.next.0))).collect()
    }

    /// The sequences that are marked must be those of the last events.
    pub fn check_marks(&mut self, journal: &Journal, found: &Found, damaged: bool) -> Outcome {
        for partition in 0..PARTITIONS {
            let slot = usize::from(partition);
            let stored = patient(|| journal.mark(&device(partition), 1));
            let stored = if damaged { stored.unwrap_or_default() } else { must(stored)? }.unwrap_or(0);
            let last =
                found.events.range((partition, 0)..(partition + 1, 0)).next_back().map(|(_, event)| event.sequence);
            if !damaged {
                let acknowledged = self.acknowledged_sequence[slot];
                // The last ones may have been given up, which a gap must say. That they may go is judged where events are.
                let given_up = found.next[slot].checked_sub(1).is_some_and(|last| found.names((partition, last)));
                ensure!(
                    last.is_none_or(|last| stored == last || (stored > last && given_up)),
                    "mark {stored} of {partition}; its last event is {last:?}"
                );
                ensure!(stored >= acknowledged, "mark {stored} of {partition}; {acknowledged} was acknowledged");
            }
            // A sender goes on behind what is stored.
            self.next_sequence[slot] = stored.max(last.unwrap_or(0)) + 1;
        }
        Ok(())
    }

    pub fn check_cursors(&mut self, journal: &Journal, found: &Found, damaged: bool) -> Outcome {
        (0..self.followers.len()).try_for_each(|index| self.check_follower(index, journal, found, damaged))
    }

    fn check_follower(&mut self, index: usize, journal: &Journal, found: &Found, damaged: bool) -> Outcome {
        let resume = must(journal.resume(&self.followers[index].group))?;
        let mut cursors = Each::default();
        for cursor in &resume.cursors {
            let Some(slot) = self.topics.slot(&cursor.at) else { continue };
            cursors[usize::from(slot)] = cursor.next.0;
        }
        for (slot, next) in cursors.into_iter().enumerate() {
            let ways = &mut self.followers[index].cursors[slot];
            ensure!(damaged || ways.may_be(next), "the cursor of {slot} is {next}, not on one of {ways:?}");
            ways.found(next);
        }
        let (mut undone, mut next) = (Vec::new(), Each::default());
        for item in must(journal.read(resume.position, usize::MAX))?.items {
            if let ReadItem::Record(record) = item {
                undone.push(self.follow(&mut next, &record)?.0);
            }
        }
        undone.sort_unstable();
        let mut expected =
            found.events.keys().filter(|(partition, offset)| *offset >= cursors[usize::from(*partition)]);
        let passed = expected.find(|key| undone.binary_search(key).is_err());
        ensure!(passed.is_none() || damaged, "resuming passes over {passed:?}");
        Ok(())
    }

    /// Takes note of an event that was appended just now.
    pub fn appended(&mut self, key: Key, bytes: usize, now_ms: u64) {
        self.appended_ms.insert(key, now_ms);
        let weight = self.weight.entry(self.topics.at(key.0).topic.clone()).or_default();
        // Key, header, and what a record and a batch of its own cost.
        *weight += bytes as u64 + 160;
        self.weight_upto.insert(key, *weight);
    }

    /// What its topic was given after it, at most.
    fn newer(&self, key: Key) -> u64 {
        let all = self.weight.get(&self.topics.at(key.0).topic).copied().unwrap_or_default();
        all - self.weight_upto.get(&key).copied().unwrap_or_default()
    }

    /// What all required groups may have passed.
    pub fn passed(&self, slot: usize) -> u64 {
        let required = self.followers.iter().filter(|follower| follower.required);
        required.map(|follower| follower.cursors[slot].most()).min().unwrap_or(u64::MAX)
    }

    /// Whether an event may be gone without damage.
    fn may_be_gone(&self, key: Key, now_ms: u64) -> bool {
        let (slot, policy) = (usize::from(key.0), self.topics.policy(key.0));
        let recycled = key.1 < self.first[slot] && key.1 < self.passed(slot);
        let for_room = self.required && self.topics.may_make_room(key.0);
        let age_ms = self.appended_ms.get(&key).map_or(0, |appended| now_ms - appended);
        let beyond = policy.keep_bytes.is_some_and(|keep| self.newer(key) >= keep);
        recycled || for_room || beyond || policy.keep_for.is_some_and(|keep| u128::from(age_ms) > keep.as_millis())
    }

    /// What was acknowledged is there, or something says that it is not, and it may be so.
    pub fn check_events(&mut self, found: &Found, now_ms: u64, damaged: bool) -> Outcome {
        let (mut lost, mut example) = (0, None);
        for (key, event) in &self.stored {
            let slot = usize::from(key.0);
            if found.events.get(key) == Some(event) {
                continue;
            }
            let told = found.names(*key);
            if (damaged && key.1 < found.first[slot]) || (!damaged && told && self.may_be_gone(*key, now_ms)) {
                continue;
            }
            if damaged && told {
                self.named_lost += 1;
            } else if damaged && key.1 >= found.next[slot] {
                self.end_lost += 1;
            } else {
                lost += 1;
                example = example.or(Some((*key, *event, found.events.get(key))));
            }
        }
        if let Some((key, event, instead)) = example {
            let appended = self.appended_ms.get(&key);
            let (first, next, gaps) = (found.first, found.next, &found.gaps);
            let there = format!("there is {instead:?}, from {first:?} to {next:?}, gaps {gaps:?}");
            return fail(
                Wrong::Lost(lost),
                format!("acknowledged {event:?} at {key:?} of {appended:?} ms is lost at {now_ms} ms, {there}"),
            );
        }
        Ok(())
    }

    /// One partition from an offset on, where reading may fail once.
    pub fn check_partition(&mut self, journal: &Journal, partition: u16, from: u64, damaged: bool) -> Outcome {
        let place = self.topics.at(partition).clone();
        let chunk = must(journal.read_partition(&place.topic, place.partition, Offset(from), 5_000))?;
        let (mut next, mut told) = (Each::default(), Told::default());
        next[usize::from(partition)] = from;
        told.0[usize::from(partition)] = from;
        for item in chunk.items {
            match item {
                ReadItem::Record(record) => {
                    let (key, event) = self.follow(&mut next, &record)?;
                    ensure!(damaged || told.event(key), "{key:?} came, and nothing told of what is missing before it");
                    let stored = self.stored.get(&key);
                    ensure!(damaged || stored == Some(&event), "{key:?} is {event:?}, stored was {stored:?}");
                }
                ReadItem::Gap(gap) => {
                    ensure!(damaged || self.topics.explains(&gap), "a gap without damage: {gap:?}");
                    told.gap(partition, &gap);
                }
            }
        }
        Ok(())
    }
}

/// What a reader has had of each slot, or was told that it is missing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told(pub Each);

impl Told {
    /// False if there is something before it that it was not told of.
    pub fn event(&mut self, key: Key) -> bool {
        let next = &mut self.0[usize::from(key.0)];
        let whole = key.1 <= *next;
        *next = (key.1 + 1).max(*next);
        whole
    }

    pub fn gap(&mut self, slot: u16, gap: &Gap) {
        let next = &mut self.0[usize::from(slot)];
        if gap.from.0 <= *next {
            *next = gap.to.0.max(*next);
        }
    }
}

/// Asks again when the disk refuses: it may have been busy.
pub fn patient<T, E>(mut ask: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    for _ in 0..3 {
        if let Ok(answer) = ask() {
            return Ok(answer);
        }
    }
    ask()
}
