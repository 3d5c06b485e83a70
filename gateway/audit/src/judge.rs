//! The verdict. Pure. A judge hears the ledgers first, then sees the cluster's records in each partition's order
//! ([`Judge::new`]); or sees records while the senders still write, and hears the ledgers later ([`Judge::of_a_run`]). Both give
//! the same verdict.
//!
//! Memory: a ledger entry takes 60 to 120 bytes, and a sender's id in the cluster 10 to 20 (hash tables fill up and double; both are kept as 64-bit hashes: among
//! ten million of them, two are taken for one with a chance of 3 in a million). Offsets and sequences are kept as ranges: some 50
//! bytes for each hole, each gap that is told, and for each partition and each (device, boot). Nothing is kept of a record besides, but by a judge who
//! hears the ledgers later: 40 bytes of each event with a sender's mark, until then (the list doubles as it grows: up to 120
//! bytes of each in that moment).
//!
//! What is judged:
//!
//! | count | is |
//! |---|---|
//! | lost | ledger entries that no record of the cluster answers to |
//! | missing offsets | holes in the offsets of a journal's partition, from the first to the last one seen, that nothing explains |
//! | lost tail | offsets behind the last one seen that a manifest calls delivered, unexplained |
//! | late | offsets that a manifest says are on the gateway's disk and does not call delivered; or so newly that they may have come since |
//! | open | holes that a backfill under way may still fill, where no manifest says how far it has come |
//! | dropped | offsets of which a gap notice says why they never come: a topic's policy, or damage |
//! | buried | offsets that a dead letter stands for |
//! | delivered twice | a `ce_id` that was seen before: the forwarder sent again |
//! | sent twice | a sender's mark that was seen under another `ce_id`: the sender sent again |
//! | out of order by ledger | a first occurrence that comes after a later one of the same key in the same ledger, in its lane |
//! | out of order by journal | a first occurrence that comes after a higher offset of the same journal partition, in one partition of the cluster and in its lane; and each epoch of a journal of which something comes after the next one's beginning |
//! | backfilled | first occurrences marked as backlog that was delivered beside what was live: a lane of its own, in order by itself |
//! | misplaced | a record that is not in the partition that Kafka's murmur2 chooses for its key |
//! | wrong key | a record whose key is another than its ledger's |
//!
//! A hole is *open* if no manifest tells of its partition and all that lies above it came in the lane `live`. While a topic's backlog is delivered
//! beside what is live, all above the backlog's end is marked `live`; each lane is in order by itself; and the first record behind that end without the mark
//! is sent only when the backlog is delivered, or given up for a reason that a notice tells. So a record above the hole that is marked `backfill`, or not at all, proves
//! that what lies below is not to come any more: then the hole is *missing*. Without one nobody can know whether it is late or lost, and neither is said:
//! with something open, or with no more lost by the ledgers than is open or late, there is no verdict yet ([`crate::Verdict::Open`]). Nor where the
//! partition ends: a tail shows by manifests alone.
//!
//! Lost is what a ledger says was acknowledged, and nothing else. The sequence of a (device, boot) may have holes: a node drops
//! what it has no room for, and what it dropped was never acknowledged. Such holes are no fault, whether there is a ledger or not;
//! *missing offsets* are holes in the journal's own count, which has none but those it tells of.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher as _};

use lamppost_event::{EventId, Partition, Topic, buried_id, partition_of};

use crate::account::{Account, Place, Stand, Stands, Track};
use crate::intervals::Intervals;
use crate::ledger::{LedgerEntry, Mark};
use crate::report::{Examples, Report};

/// A record of the cluster.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The cluster's topic.
    pub topic: &'a str,
    /// The partition in it.
    pub partition: Partition,
    /// How many partitions it has.
    pub partitions: u16,
    /// The offset in the cluster.
    pub offset: i64,
    /// The key.
    pub key: &'a [u8],
    /// `ce_id`.
    pub id: Option<&'a str>,
    /// The sender's mark, if it has one.
    pub mark: Option<MarkRef<'a>>,
    /// When it was stored, by its timestamp, in milliseconds since 1970.
    pub time_ms: i64,
    /// In which lane it was delivered ([`lamppost_event::header::LANE`]).
    pub lane: Lane,
    /// Why it is a dead letter, if it is one.
    pub reason: Option<&'a str>,
    /// Its payload, if it is a gateway's notice in the audit trail ([`lamppost_event::Notice`]).
    pub notice: Option<&'a [u8]>,
}

/// How a record was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lane {
    /// In order with all others of its partition.
    #[default]
    Only,
    /// As it came in, while a backlog was delivered beside it.
    Live,
    /// As backlog beside what was live.
    Backfill,
}

/// A sender's mark, as the headers have it.
#[derive(Debug, Clone, Copy)]
pub enum MarkRef<'a> {
    /// `ce_senderid`.
    Id(&'a str),
    /// `ce_device`, `ce_senderboot`, `ce_senderseq`.
    Sequence {
        /// Who sent.
        device: &'a str,
        /// Which boot of it.
        boot: u64,
        /// Its number in that boot.
        sequence: u64,
    },
}

impl<'a> From<&'a Mark> for MarkRef<'a> {
    fn from(mark: &'a Mark) -> Self {
        match mark {
            Mark::Id { id } => Self::Id(id),
            Mark::Sequence { device, boot, sequence } => Self::Sequence { device, boot: *boot, sequence: *sequence },
        }
    }
}

impl MarkRef<'_> {
    fn hash(self, topic: Option<&str>) -> u64 {
        match self {
            Self::Id(id) => hash(&(0, topic, id)),
            Self::Sequence { device, boot, sequence } => hash(&(1, topic, device, boot, sequence)),
        }
    }
}

/// With fixed keys: the same input gives the same verdict.
fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Which ledger, from 0, in the order in which they were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LedgerIndex(pub u32);

#[derive(Debug)]
struct Expected {
    ledger: LedgerIndex,
    line: u32,
    /// The hash of ledger and key: entries of one group have an order. `None`: no order is judged.
    group: Option<u64>,
    key: u64,
    found: bool,
}

/// The first occurrence of a sender's mark.
#[derive(Debug, Clone, Copy)]
struct Sighting {
    /// The mark's hash with the journal's topic, and without.
    named: u64,
    unnamed: u64,
    key: u64,
    offset: i64,
    /// Which of the judge's topics.
    topic: u32,
    partition: Partition,
    backfill: bool,
}

/// Takes ledgers and records, and judges.
#[derive(Debug, Default)]
pub struct Judge {
    expected: HashMap<u64, Expected>,
    tracks: HashMap<Track, Intervals>,
    /// Of a track in a partition of one of the cluster's topics: places in two topics can't be compared.
    stands: HashMap<(Track, Place), Stands>,
    /// The latest ledger line of a group seen in a topic, in each lane.
    latest: HashMap<(u64, u32, bool), u32>,
    /// The cluster's topics, as they were met.
    topics: Vec<String>,
    /// What was seen before the ledgers are heard; `None`: they have been.
    kept: Option<Vec<Sighting>>,
    sender_ids: HashSet<u64>,
    sender_sequences: HashMap<u64, Intervals>,
    account: Account,
    report: Report,
}

impl Judge {
    /// A judge who hears all ledgers before the first record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A judge who sees records while the run goes on, and hears the ledgers at its end: [`Judge::hear_no_more`] says when.
    #[must_use]
    pub fn of_a_run() -> Self {
        Self { kept: Some(Vec::new()), ..Self::default() }
    }

    /// What manifests from that time on (milliseconds since 1970) call delivered may have come after it was looked for: it counts as late.
    /// What they do not call delivered does so without this.
    #[must_use]
    pub fn with_late_from(mut self, time_ms: i64) -> Self {
        self.account.late_from = time_ms;
        self
    }

    /// Only these topics of the cluster are shown, if any are named: what manifests say of others is no evidence.
    #[must_use]
    pub fn with_topics(mut self, wanted: &[String]) -> Self {
        self.account.wanted = wanted.to_vec();
        self
    }

    /// It is the cluster of that sink, and not of the one that `[kafka]` names.
    #[must_use]
    pub fn of_sink(mut self, sink: &str) -> Self {
        sink.clone_into(&mut self.account.sink);
        self
    }

    /// The cluster has dropped something of that topic: what is not there may have been.
    pub fn note_trimmed(&mut self, topic: &str) {
        self.account.trimmed(topic);
    }

    /// Hears an entry of a ledger; each ledger in its own order. From [`Judge::new`] on all come before the first record, from
    /// [`Judge::of_a_run`] on at any time before [`Judge::hear_no_more`].
    pub fn expect(&mut self, ledger: LedgerIndex, line: u32, entry: &LedgerEntry) {
        let mark = MarkRef::from(&entry.mark).hash(entry.topic.as_deref());
        let group = entry.key().map(|key| hash(&(ledger, key)));
        let key = entry.key().map_or(0, |key| hash(&key.as_bytes()));
        let expected = Expected { ledger, line, group, key, found: false };
        if let std::collections::hash_map::Entry::Vacant(vacant) = self.expected.entry(mark) {
            vacant.insert(expected);
            self.report.acknowledged += 1;
        } else {
            self.report.ledger_repeats += 1;
        }
    }

    /// All ledgers have been heard: what was seen before is judged by them now. Changes nothing after [`Judge::new`].
    pub fn hear_no_more(&mut self) {
        for sighting in self.kept.take().into_iter().flatten() {
            self.find(&sighting);
        }
    }

    /// A ledger ended in a broken line.
    pub fn note_broken_tail(&mut self) {
        self.report.ledger_broken_tails += 1;
    }

    /// Sees a record. Records of one partition come in its order.
    pub fn observe(&mut self, record: &Record<'_>) {
        self.report.records += 1;
        let Some(id) = record.id.and_then(|id| id.parse::<EventId>().ok()) else {
            self.report.foreign += 1;
            return;
        };
        let place = |record: &Record<'_>| format!("{}/{}@{}", record.topic, record.partition, record.offset);
        let (offset, track) = (id.offset, Track::from(id.clone()));
        if !self.tracks.entry(track.clone()).or_default().insert(offset.0) {
            // What stands beside the topics that were asked for is evidence, and not judged.
            let wanted = &self.account.wanted;
            if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == record.topic) {
                return;
            }
            self.report.delivered_twice += 1;
            let example = || format!("{} again at {}", record.id.unwrap_or_default(), place(record));
            add(&mut self.report.examples.delivered_twice, example);
            return;
        }
        self.report.delivered += 1;
        if partition_of(record.key, record.partitions) != record.partition {
            self.report.misplaced += 1;
            add(&mut self.report.examples.misplaced, || place(record));
        }
        if let Some(notice) = record.notice {
            match serde_json::from_slice(notice) {
                Ok(notice) => self.account.note(&id, notice, record.time_ms),
                Err(_) => self.report.unread_notices += 1,
            }
        }
        // A dead letter answers for the event that it stands for.
        let buried = record
            .reason
            .and_then(|reason| buried_id(&self.account.sink, reason))
            .filter(|buried| buried.gateway == id.gateway);
        let topic = buried.as_ref().map_or(&track.topic, |buried| &buried.topic).clone();
        if let Some(buried) = buried {
            self.account.bury(buried);
        }
        let at = (self.topic(record.topic), record.partition);
        let stands = self.stands.entry((track, at)).or_default();
        if record.lane != Lane::Live {
            stands.settled = stands.settled.max(Some(offset.0));
        }
        let is_backfill = record.lane == Lane::Backfill;
        let stand = if is_backfill { &mut stands.backfill } else { &mut stands.live };
        if let Some(highest) = stand.map(|stand| stand.highest).filter(|highest| offset.0 < *highest) {
            self.report.out_of_order_by_journal += 1;
            let lane = if is_backfill { " in the backfill" } else { "" };
            let example = || format!("{} after {highest}{lane}, at {}", record.id.unwrap_or_default(), place(record));
            add(&mut self.report.examples.out_of_order, example);
        }
        *stand = Some(Stand::with(*stand, offset.0, record.offset));
        self.report.backfilled += u64::from(is_backfill);
        if let Some(mark) = record.mark {
            self.observe_mark(record, &topic, mark);
        }
    }

    fn observe_mark(&mut self, record: &Record<'_>, topic: &Topic, mark: MarkRef<'_>) {
        let first = match mark {
            MarkRef::Id(_) => self.sender_ids.insert(mark.hash(Some(topic.as_str()))),
            MarkRef::Sequence { device, boot, sequence } => {
                self.sender_sequences.entry(hash(&(device, boot))).or_default().insert(sequence)
            }
        };
        if !first {
            self.report.sent_twice += 1;
            add(&mut self.report.examples.sent_twice, || {
                format!("{mark:?} again as {}", record.id.unwrap_or_default())
            });
            return;
        }
        let sighting = Sighting {
            named: mark.hash(Some(topic.as_str())),
            unnamed: mark.hash(None),
            key: hash(&record.key),
            offset: record.offset,
            topic: self.topic(record.topic),
            partition: record.partition,
            backfill: record.lane == Lane::Backfill,
        };
        match &mut self.kept {
            Some(kept) => kept.push(sighting),
            None => self.find(&sighting),
        }
    }

    /// Looks the first occurrence of a mark up in the ledgers.
    fn find(&mut self, sighting: &Sighting) {
        let which = if self.expected.contains_key(&sighting.named) { sighting.named } else { sighting.unnamed };
        let Some(expected) = self.expected.get_mut(&which) else { return };
        expected.found = true;
        self.report.found += 1;
        let Some(group) = expected.group else { return };
        let place = || {
            let topic = self.topics.get(sighting.topic as usize).map_or("", String::as_str);
            format!("{topic}/{}@{}", sighting.partition, sighting.offset)
        };
        if expected.key != sighting.key {
            self.report.wrong_key += 1;
            add(&mut self.report.examples.wrong_key, place);
        }
        let line = expected.line;
        let latest = self.latest.entry((group, sighting.topic, sighting.backfill)).or_insert(line);
        if line < *latest {
            self.report.out_of_order_by_ledger += 1;
            let example = || format!("{} of line {line} comes after line {latest}", place());
            add(&mut self.report.examples.out_of_order, example);
        }
        *latest = line.max(*latest);
    }

    /// The number of one of the cluster's topics, of which there are few.
    fn topic(&mut self, name: &str) -> u32 {
        let at = self.topics.iter().position(|topic| topic == name).unwrap_or_else(|| {
            self.topics.push(name.to_owned());
            self.topics.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// Whether every ledger entry has been found: nothing more has to be waited for.
    #[must_use]
    pub fn has_found_all(&self) -> bool {
        self.report.found == self.report.acknowledged
    }

    /// How many records were seen, and how many ledger entries are not found yet.
    #[must_use]
    pub const fn progress(&self) -> (u64, u64) {
        (self.report.records, self.report.acknowledged - self.report.found)
    }

    /// The verdict. `names` are the ledgers', for the examples.
    #[must_use]
    pub fn verdict(mut self, names: &[String]) -> Report {
        self.hear_no_more();
        let mut lost: Vec<(u32, u32)> =
            self.expected.values().filter(|expected| !expected.found).map(|e| (e.ledger.0, e.line)).collect();
        self.report.lost = lost.len() as u64;
        lost.sort_unstable();
        for (ledger, line) in lost {
            let name = names.get(ledger as usize).map_or("ledger", String::as_str);
            add(&mut self.report.examples.lost, || format!("{name}:{line}"));
        }
        for example in self.account.turned_round(&self.stands) {
            self.report.out_of_order_by_journal += 1;
            add(&mut self.report.examples.out_of_order, || example);
        }
        let mut settled: HashMap<Track, u64> = HashMap::new();
        for ((track, _), stands) in self.stands {
            if let Some(highest) = stands.settled {
                let settled = settled.entry(track).or_default();
                *settled = highest.saturating_add(1).max(*settled);
            }
        }
        self.account.judge(self.tracks, &settled, &mut self.report);
        self.report
    }
}

fn add(examples: &mut Vec<String>, example: impl FnOnce() -> String) {
    if examples.len() < Examples::MAX {
        examples.push(example());
    }
}

#[cfg(test)]
mod tests;
