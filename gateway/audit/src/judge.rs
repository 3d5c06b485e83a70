//! The verdict. Pure. A judge hears the ledgers first, then sees the cluster's records in each partition's order
//! ([`Judge::new`]); or sees records while the senders still write, and hears the ledgers later ([`Judge::of_a_run`]). Both give
//! the same verdict.
//!
//! Memory has a bound ([`Judge::within`]), and does not grow with the records: offsets and sequences are kept as ranges. What it takes, and what becomes of what
//! does not fit: `README.md` of this crate. Only a judge who hears the ledgers later keeps 48 bytes of each event with a sender's mark, until then (the list doubles
//! as it grows: up to 144 bytes of each in that moment). Marks and keys are kept as 64-bit hashes: among a billion, two are taken for one with a chance of 3 in a hundred. Of
//! two ledger lines one then counts as repeated; of two senders, one as having sent twice. What a ledger has is looked for all the same.
//!
//! What is judged:
//!
//! | count | is |
//! |---|---|
//! | lost | ledger entries that no record of the cluster answers to |
//! | lost untold | of these, what is more than was dropped: by gateway and topic, as far as the ledger's other lines of that key say whose they are |
//! | lost for good | the same, what is more than was dropped or can be late or open |
//! | missing offsets | holes in the offsets of a journal's partition, from the first to the last one seen, that nothing explains |
//! | lost tail | offsets behind the last one seen that a manifest calls delivered, unexplained |
//! | late | offsets that a manifest says are on the gateway's disk and does not call delivered; or so newly that they may have come since |
//! | open | holes that a backfill under way may still fill, where no manifest says how far it has come |
//! | dropped | offsets of which a gap notice says why they never come: a topic's policy, or damage |
//! | buried | offsets that a dead letter stands for |
//! | delivered twice | a `ce_id` that was seen before: the forwarder sent again |
//! | sent twice | a sender's mark that was seen under another `ce_id`: the sender sent again |
//! | sequence holes | numbers of a (device, boot), between its first and its last, that were not seen; no fault |
//! | sequence out of order | first occurrences behind a higher number of their (device, boot), in one partition of the cluster and in their lane; no fault |
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
//! with something open, or with something lost untold of which nothing is lost for good, there is no verdict yet ([`crate::Verdict::Open`]). Nor where the
//! partition ends: a tail shows by manifests alone.
//!
//! Lost is what a ledger says was acknowledged, and nothing else. The sequence of a (device, boot) may have holes: a node drops
//! what it has no room for, and what it dropped was never acknowledged. Such holes are no fault, whether there is a ledger or not;
//! *missing offsets* are holes in the journal's own count, which has none but those it tells of.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher as _};

use lamppost_event::{EventId, GatewayId, Partition, buried_id, partition_of};

use crate::account::{Account, Place, Stand, Stands, Track};
use crate::intervals::Intervals;
use crate::ledger::{LedgerEntry, Mark};
use crate::proof::{Proof, Sighting, Standing, position};
use crate::report::{Examples, Report};
use crate::senders::{self, Numbered, Senders};

/// What may be used by default, in bytes.
pub const MEMORY_MAX: u64 = 2 << 30;

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
    pub(crate) fn hash(self, topic: Option<&str>) -> u64 {
        match self {
            Self::Id(id) => hash(&(0, topic, id)),
            Self::Sequence { device, boot, sequence } => hash(&(1, topic, device, boot, sequence)),
        }
    }
}

/// With fixed keys: the same input gives the same verdict.
pub(crate) fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Which ledger, from 0, in the order in which they were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LedgerIndex(pub u32);

/// Takes ledgers and records, and judges.
#[derive(Debug)]
pub struct Judge {
    proof: Proof,
    senders: Senders,
    tracks: HashMap<Track, Intervals>,
    /// Of a track in a partition of one of the cluster's topics: places in two topics can't be compared.
    stands: HashMap<(Track, Place), Stands>,
    /// What the ranges of `tracks` take beside it, in bytes.
    heap_bytes: usize,
    bytes_max: usize,
    /// The cluster's topics, as they were met.
    topics: Vec<String>,
    /// What was seen before the ledgers are heard; `None`: they have been.
    kept: Option<Vec<Sighting>>,
    /// Records seen, in all passes.
    seen: u64,
    /// All has been judged but the rest of the ledgers.
    only_proves: bool,
    account: Account,
    /// The gateways that are asked for, and whether anything of each was met. None: all are.
    asked: BTreeMap<GatewayId, bool>,
    report: Report,
}

/// What a track takes beside the ranges of its offsets, at most, in bytes: as measured (`examples/billion.rs`), also while it is judged.
const TRACK_BYTES: usize = 1_000;

impl Default for Judge {
    fn default() -> Self {
        Self::new()
    }
}

impl Judge {
    /// A judge who hears all ledgers before the first record.
    #[must_use]
    pub fn new() -> Self {
        let (proof, tracks, stands, topics, account, asked, report) = Default::default();
        let judge = Self {
            proof,
            senders: Senders::new(0),
            tracks,
            stands,
            heap_bytes: 0,
            bytes_max: 0,
            topics,
            kept: None,
            seen: 0,
            only_proves: false,
            account,
            asked,
            report,
        };
        judge.within(MEMORY_MAX)
    }

    /// A judge who sees records while the run goes on, and hears the ledgers at its end: [`Judge::hear_no_more`] says when.
    #[must_use]
    pub fn of_a_run() -> Self {
        Self { kept: Some(Vec::new()), ..Self::new() }
    }

    /// So many bytes may be used, [`MEMORY_MAX`] by default: a quarter for offsets, and a quarter for the senders' numbers. The other half is for the ledgers.
    #[must_use]
    pub fn within(mut self, bytes_max: u64) -> Self {
        let quarter = usize::try_from(bytes_max / 4).unwrap_or(usize::MAX / 4);
        (self.bytes_max, self.senders.bytes_max) = (quarter, quarter);
        self
    }

    /// The cluster is read from some time on, with [`Judge::note_trimmed`] for each topic: what a ledger has of a key before the first that is found
    /// was not looked for.
    #[must_use]
    pub const fn since_some_time(mut self) -> Self {
        (self.proof.since, self.account.since) = (true, true);
        self
    }

    /// Whether the offsets take more bytes than they may.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.tracks.len().saturating_mul(TRACK_BYTES).saturating_add(self.heap_bytes) > self.bytes_max
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

    /// Only what comes of these gateways is judged, if any are named. Of one that nothing is met of, nobody can say anything: [`Verdict::Open`].
    ///
    /// [`Verdict::Open`]: crate::Verdict::Open
    #[must_use]
    pub fn of_gateways(mut self, gateways: &[GatewayId]) -> Self {
        self.asked = gateways.iter().map(|gateway| (gateway.clone(), false)).collect();
        self
    }

    /// It is the cluster of that sink, and not of the one that `[kafka]` names.
    #[must_use]
    pub fn of_sink(mut self, sink: &str) -> Self {
        sink.clone_into(&mut self.account.sink);
        self
    }

    /// The cluster has dropped something of that topic, or it is not read from its beginning: what lies before what is there may have been.
    pub fn note_trimmed(&mut self, topic: &str) {
        self.account.trimmed(topic);
    }

    /// Hears an entry of a ledger; each ledger in its own order. From [`Judge::new`] on all come before the first record, from
    /// [`Judge::of_a_run`] on at any time before [`Judge::hear_no_more`].
    pub fn expect(&mut self, ledger: LedgerIndex, line: u32, entry: &LedgerEntry) {
        self.proof.expect(ledger, line, entry, &mut self.report);
    }

    /// Makes room for so many lines of the ledgers at once: without, a table that is full is there twice while it doubles.
    pub fn reserve(&mut self, lines: usize) {
        self.proof.reserve(lines);
    }

    /// All ledgers have been heard: what was seen before is judged by them now. Changes nothing after [`Judge::new`].
    pub fn hear_no_more(&mut self) {
        for sighting in self.kept.take().into_iter().flatten() {
            self.proof.find(&sighting, &self.topics, &mut self.report);
        }
    }

    /// All records have been seen, and are to be seen once more for another part of the ledgers, which is heard now.
    pub(crate) fn hear_on(&mut self) {
        self.proof.settle(&mut self.report);
        self.only_proves = true;
    }

    /// So many ledgers ended in a broken line.
    pub const fn note_broken_tails(&mut self, ledgers: u64) {
        self.report.ledger_broken_tails += ledgers;
    }

    /// Sees a record. Records of one partition come in its order.
    pub fn observe(&mut self, record: &Record<'_>) {
        self.seen += 1;
        self.report.records += u64::from(!self.only_proves);
        let Some(id) = record.id.and_then(|id| id.parse::<EventId>().ok()) else {
            self.report.foreign += u64::from(!self.only_proves);
            return;
        };
        if !self.asked.is_empty() {
            let Some(met) = self.asked.get_mut(&id.gateway) else {
                self.report.others += u64::from(!self.only_proves);
                let named = &mut self.report.examples.others;
                if named.len() < Examples::MAX && !named.contains(&id.gateway) {
                    named.push(id.gateway);
                }
                return;
            };
            *met = true;
        }
        // A dead letter answers for the event that it stands for.
        let buried = record
            .reason
            .and_then(|reason| buried_id(&self.account.sink, reason))
            .filter(|buried| buried.gateway == id.gateway);
        let of = buried.as_ref().map_or(&id.topic, |buried| &buried.topic).clone();
        let topic = position(&mut self.topics, record.topic);
        if !self.only_proves && !self.judge(record, &id, buried, topic) {
            return;
        }
        let Some(mark) = record.mark else { return };
        let backfill = record.lane == Lane::Backfill;
        if !self.only_proves {
            self.judge_sender(record, mark, of.as_str(), topic);
        }
        let at = Standing {
            gateway: &id.gateway,
            of: of.as_str(),
            topic,
            partition: record.partition,
            offset: record.offset,
            key: record.key,
            backfill,
        };
        let sighting = self.proof.sighting(mark, &at);
        match &mut self.kept {
            Some(kept) => kept.push(sighting),
            None => self.proof.find(&sighting, &self.topics, &mut self.report),
        }
    }

    /// Judges all but the sender's mark; false: it was delivered before.
    fn judge(&mut self, record: &Record<'_>, id: &EventId, buried: Option<EventId>, topic: u32) -> bool {
        let (offset, track) = (id.offset, Track::from(id.clone()));
        let offsets = self.tracks.entry(track.clone()).or_default();
        let before = offsets.heap_bytes();
        let first = offsets.insert(offset.0);
        self.heap_bytes = self.heap_bytes + offsets.heap_bytes() - before;
        if !first {
            // What stands beside the topics that were asked for is evidence, and not judged.
            let wanted = &self.account.wanted;
            if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == record.topic) {
                return false;
            }
            self.report.delivered_twice += 1;
            let example = || format!("{} again at {}", record.id.unwrap_or_default(), place(record));
            add(&mut self.report.examples.delivered_twice, example);
            return false;
        }
        self.report.delivered += 1;
        if partition_of(record.key, record.partitions) != record.partition {
            self.report.misplaced += 1;
            add(&mut self.report.examples.misplaced, || place(record));
        }
        if let Some(notice) = record.notice {
            match serde_json::from_slice(notice) {
                Ok(notice) => self.account.note(id, notice, record.time_ms),
                Err(_) => self.report.unread_notices += 1,
            }
        }
        if let Some(buried) = buried {
            self.account.bury(buried);
        }
        let stands = self.stands.entry((track, (topic, record.partition))).or_default();
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
        true
    }

    /// Judges what the sender marked it with, as far as that goes without a ledger.
    fn judge_sender(&mut self, record: &Record<'_>, mark: MarkRef<'_>, of: &str, topic: u32) {
        let numbered = Numbered::of(mark, of);
        if self.senders.is_again(numbered, mark) {
            self.report.sent_twice += 1;
            add(&mut self.report.examples.sent_twice, || {
                format!("{mark:?} again as {}", record.id.unwrap_or_default())
            });
            return;
        }
        // Each lane is in order by itself; nothing is said of two topics, or of two partitions.
        let lane = u32::from(record.lane == Lane::Backfill);
        let at = topic << 17 | u32::from(record.partition.0) << 1 | lane;
        if let Some(highest) = self.senders.stands(numbered, at) {
            self.report.sequence_out_of_order += 1;
            add(&mut self.report.examples.sequence_out_of_order, || {
                format!("{} comes after {highest}, at {}", senders::event(mark), place(record))
            });
        }
    }

    /// Whether every ledger entry has been found: nothing more has to be waited for.
    #[must_use]
    pub fn has_found_all(&self) -> bool {
        self.report.found == self.report.acknowledged
    }

    /// How many records were seen, in all passes over the cluster, and how many ledger entries are not found yet.
    #[must_use]
    pub const fn progress(&self) -> (u64, u64) {
        (self.seen, self.report.acknowledged - self.report.found)
    }

    /// The verdict. `names` are the ledgers', for the examples.
    #[must_use]
    pub fn verdict(mut self, names: &[String]) -> Report {
        self.hear_no_more();
        self.proof.settle(&mut self.report);
        self.senders.judge(&mut self.report);
        self.report.unmet = self.asked.into_iter().filter_map(|(gateway, met)| (!met).then_some(gateway)).collect();
        for example in self.account.turned_round(&self.stands) {
            self.report.out_of_order_by_journal += 1;
            add(&mut self.report.examples.out_of_order, || example);
        }
        let floors = self.account.floors(&self.stands);
        let mut settled: HashMap<Track, u64> = HashMap::new();
        for ((track, _), stands) in self.stands {
            if let Some(highest) = stands.settled {
                let settled = settled.entry(track).or_default();
                *settled = highest.saturating_add(1).max(*settled);
            }
        }
        self.account.judge(self.tracks, &settled, &floors, &mut self.report);
        self.proof.judge(names, &mut self.report);
        self.report
    }
}

/// Where it stands in the cluster.
fn place(record: &Record<'_>) -> String {
    format!("{}/{}@{}", record.topic, record.partition, record.offset)
}

pub(crate) fn add(examples: &mut Vec<String>, example: impl FnOnce() -> String) {
    if examples.len() < Examples::MAX {
        examples.push(example());
    }
}

#[cfg(test)]
mod tests;
