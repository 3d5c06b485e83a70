//! What the journals say of themselves in the audit trail ([`Notice`]), set against what is there. Pure.
//!
//! A hole in the offsets is a loss unless a notice says what became of it. Offsets go on through the epochs of a journal (a wiped one is
//! another journal), so holes are looked for from the first offset seen in any epoch up to where the last manifest says that the partition
//! had come: a lost tail, and what fell out between two epochs, show like any other hole.

use std::collections::{BTreeMap, HashMap, HashSet};

use lamppost_event::{Epoch, EventId, Extent, GatewayId, MAIN_SINK, Notice, Partition, Topic};

use crate::intervals::Intervals;
use crate::report::{Examples, PartitionReport, Report};

/// More reasons are not told apart.
const REASONS_MAX: usize = 32;
const OTHER_REASONS: &str = "other reasons";

/// A partition of a journal in one epoch.
#[derive(Debug, PartialEq, Eq, Hash, Clone, PartialOrd, Ord)]
pub(crate) struct Track {
    pub(crate) gateway: GatewayId,
    pub(crate) topic: Topic,
    pub(crate) partition: Partition,
    pub(crate) epoch: Epoch,
}

impl From<EventId> for Track {
    fn from(id: EventId) -> Self {
        let EventId { gateway, epoch, topic, partition, .. } = id;
        Self { gateway, topic, partition, epoch }
    }
}

/// A partition of the cluster, with the judge's number of its topic.
pub(crate) type Place = (u32, Partition);

/// Where first occurrences of a track stand in a partition of the cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stand {
    /// The journal's offsets.
    lowest: u64,
    pub(crate) highest: u64,
    /// The cluster's.
    first: i64,
    last: i64,
}

impl Stand {
    /// The journal's `offset` stands at `place`, behind the others.
    pub(crate) fn with(before: Option<Self>, offset: u64, place: i64) -> Self {
        let before = before.unwrap_or(Self { lowest: offset, highest: offset, first: place, last: place });
        Self { lowest: before.lowest.min(offset), highest: before.highest.max(offset), last: place, ..before }
    }
}

/// What stands of a track in a partition of the cluster.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stands {
    /// But for what came as backfill.
    pub(crate) live: Option<Stand>,
    pub(crate) backfill: Option<Stand>,
    /// The highest offset but for what came in the lane `live`: below it nothing is to come.
    pub(crate) settled: Option<u64>,
}

/// A partition of a journal through its epochs.
#[derive(Debug, PartialEq, Eq, Hash, Clone, PartialOrd, Ord)]
pub(crate) struct Series {
    gateway: GatewayId,
    topic: Topic,
    partition: Partition,
    journal: Journal,
}

/// A journal's identity; where no notice tells it, each epoch stands for itself.
#[derive(Debug, PartialEq, Eq, Hash, Clone, PartialOrd, Ord)]
enum Journal {
    Known(String),
    Epoch(Epoch),
}

/// What manifests say of a partition.
#[derive(Debug, Clone, Copy)]
struct Claim {
    epoch: Epoch,
    /// The first offset that the journal still kept by the last of them.
    first: u64,
    /// The offset behind the last, by any of them.
    next: u64,
    /// The first that was not done with, by any of them: of what lies before, all notices had been stored before that one.
    done: u64,
    /// The same, by those from before the audit began: what lies before was in the cluster by then.
    due: u64,
}

/// The account of all journals.
#[derive(Debug)]
pub(crate) struct Account {
    journals: HashMap<(GatewayId, Epoch), String>,
    gaps: HashMap<Series, Vec<(usize, Intervals)>>,
    reasons: Vec<String>,
    claims: HashMap<Series, Claim>,
    /// The offset behind the last, by the manifests of each epoch.
    ends: HashMap<Series, BTreeMap<Epoch, u64>>,
    /// The topics that manifests speak of.
    claimed: HashSet<Topic>,
    buried: HashMap<Track, Intervals>,
    /// What manifests from later on call delivered may have come after its topic was read; milliseconds since 1970.
    pub(crate) late_from: i64,
    /// The cluster's topics that are read, if not all are: of others, manifests count for nothing.
    pub(crate) wanted: Vec<String>,
    /// The sink whose cluster it is: what is told of others says nothing of it.
    pub(crate) sink: String,
    /// The cluster's topics of which something has been dropped, or that are not read from their beginnings.
    trimmed: HashSet<String>,
    /// They are read from some time on: what was told of earlier offsets is not counted.
    pub(crate) since: bool,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            journals: HashMap::new(),
            gaps: HashMap::new(),
            reasons: Vec::new(),
            claims: HashMap::new(),
            ends: HashMap::new(),
            claimed: HashSet::new(),
            buried: HashMap::new(),
            late_from: i64::MAX,
            wanted: Vec::new(),
            sink: MAIN_SINK.to_owned(),
            trimmed: HashSet::new(),
            since: false,
        }
    }
}

impl Account {
    /// Takes a notice in: by its own id, and when it was stored.
    pub(crate) fn note(&mut self, id: &EventId, notice: Notice, time_ms: i64) {
        let (gateway, epoch) = (id.gateway.clone(), id.epoch);
        let series = |journal: &str, topic, partition| {
            let journal = Journal::Known(journal.to_owned());
            Series { gateway: gateway.clone(), topic, partition, journal }
        };
        if !notice.is_of(&self.sink) {
            // Of the epoch it speaks all the same.
            let (Notice::Gap { journal, .. } | Notice::Manifest { journal, .. }) = notice;
            self.journals.insert((gateway, epoch), journal);
            return;
        }
        match notice {
            Notice::Gap { journal, topic, partition, from, to, reason, .. } => {
                let reason = self.reason(reason);
                let gaps = self.gaps.entry(series(&journal, topic, partition)).or_default();
                let at = gaps.iter().position(|(other, _)| *other == reason).unwrap_or_else(|| {
                    gaps.push((reason, Intervals::default()));
                    gaps.len() - 1
                });
                if let Some(((_, gaps), last)) = gaps.get_mut(at).zip(to.0.checked_sub(1)) {
                    gaps.insert_range(from.0, last);
                }
                self.journals.insert((gateway.clone(), epoch), journal);
            }
            Notice::Manifest { journal, topic, partitions, .. } => {
                if !self.claimed.contains(&topic) {
                    self.claimed.insert(topic.clone());
                }
                for Extent { partition, first, next, done } in partitions {
                    let series = series(&journal, topic.clone(), partition);
                    let end = self.ends.entry(series.clone()).or_default().entry(epoch).or_default();
                    *end = next.0.max(*end);
                    let claim = self.claims.entry(series);
                    let claim = claim.or_insert(Claim { epoch, first: first.0, next: 0, done: 0, due: 0 });
                    if next.0 >= claim.next {
                        (claim.epoch, claim.first, claim.next) = (epoch, first.0, next.0);
                    }
                    claim.done = claim.done.max(done.0);
                    if time_ms < self.late_from {
                        claim.due = claim.due.max(done.0);
                    }
                }
                self.journals.insert((gateway.clone(), epoch), journal);
            }
        }
    }

    fn reason(&mut self, reason: String) -> usize {
        self.reasons.iter().position(|known| *known == reason).unwrap_or_else(|| {
            if self.reasons.len() < REASONS_MAX {
                self.reasons.push(reason);
            } else if self.reasons.len() == REASONS_MAX {
                self.reasons.push(OTHER_REASONS.to_owned());
            }
            self.reasons.len() - 1
        })
    }

    /// A dead letter stands for that event. False if one was seen before.
    pub(crate) fn bury(&mut self, id: EventId) -> bool {
        let offset = id.offset.0;
        self.buried.entry(Track::from(id)).or_default().insert(offset)
    }

    /// Judges all partitions, into the report. `settled`: the offset below which nothing of a track is to come, by the order of its lanes.
    /// `floors`: the offset below which holes of a series may have been filled by what is not read.
    pub(crate) fn judge(
        self,
        tracks: HashMap<Track, Intervals>,
        settled: &HashMap<Track, u64>,
        floors: &HashMap<Series, u64>,
        report: &mut Report,
    ) {
        report.trimmed_topics = self.trimmed.len() as u64;
        let mut all: BTreeMap<Series, Vec<(Track, Intervals)>> = BTreeMap::new();
        for (track, offsets) in tracks {
            all.entry(self.series_of(&track)).or_default().push((track, offsets));
        }
        // Of what something was met is read.
        let met: HashSet<Topic> = all.keys().map(|series| series.topic.clone()).collect();
        for series in self.claims.keys().filter(|series| met.contains(&series.topic) || self.is_read(series)) {
            all.entry(series.clone()).or_default();
        }
        let mut buried: HashMap<Series, Intervals> = HashMap::new();
        for (track, offsets) in &self.buried {
            let buried = buried.entry(self.series_of(track)).or_default();
            offsets.ranges().for_each(|(first, last)| buried.insert_range(first, last));
        }
        for (series, mut tracks) in all {
            tracks.sort_by_key(|(track, offsets)| (offsets.first(), track.epoch));
            let buried = buried.remove(&series).unwrap_or_default();
            let settled = tracks.iter().filter_map(|(track, _)| settled.get(track)).max().copied().unwrap_or(0);
            let floor = floors.get(&series).copied().unwrap_or(0);
            self.judge_series(&series, &tracks, [floor, settled], buried, report);
        }
    }

    /// Where the beginning of a topic is not read, nothing is known of what lies below the first offset in any of its partitions and lanes: each begins somewhere
    /// else, in its own order.
    pub(crate) fn floors(&self, stands: &HashMap<(Track, Place), Stands>) -> HashMap<Series, u64> {
        let mut lowest: HashMap<(Series, Place, usize), u64> = HashMap::new();
        for ((track, place), Stands { live, backfill, .. }) in stands.iter().filter(|_| !self.trimmed.is_empty()) {
            for (lane, stand) in [live, backfill].into_iter().enumerate() {
                let Some(stand) = stand else { continue };
                let lowest = lowest.entry((self.series_of(track), *place, lane)).or_insert(stand.lowest);
                *lowest = stand.lowest.min(*lowest);
            }
        }
        let mut floors: HashMap<Series, u64> = HashMap::new();
        for ((series, ..), lowest) in lowest {
            if self.is_trimmed(&series.topic) {
                let floor = floors.entry(series).or_default();
                *floor = lowest.max(*floor);
            }
        }
        floors
    }

    fn is_trimmed(&self, topic: &Topic) -> bool {
        self.trimmed.iter().any(|name| self.holds(name, topic))
    }

    /// Epochs of one journal that do not stand one behind the other in a partition of the cluster, though their offsets do; in words.
    pub(crate) fn turned_round(&self, stands: &HashMap<(Track, Place), Stands>) -> Vec<String> {
        let mut all: BTreeMap<(Series, Place, usize), Vec<(Epoch, Stand)>> = BTreeMap::new();
        for ((track, place), Stands { live, backfill, .. }) in stands {
            for (lane, stand) in [live, backfill].into_iter().enumerate() {
                let Some(stand) = *stand else { continue };
                all.entry((self.series_of(track), *place, lane)).or_default().push((track.epoch, stand));
            }
        }
        let mut turned = Vec::new();
        for ((series, (_, partition), _), mut epochs) in all {
            epochs.sort_by_key(|(_, stand)| stand.lowest);
            for (one, two) in epochs.iter().zip(epochs.iter().skip(1)) {
                if one.1.highest < two.1.lowest && one.1.last > two.1.first {
                    let Series { gateway, topic, partition: of, .. } = &series;
                    turned.push(format!(
                        "{gateway}/{}/{topic}/{of} after epoch {}, in partition {partition}",
                        one.0, two.0
                    ));
                }
            }
        }
        turned
    }

    /// Something of that topic has been dropped by the cluster: what is not there may have been.
    pub(crate) fn trimmed(&mut self, topic: &str) {
        if !self.trimmed.contains(topic) {
            self.trimmed.insert(topic.to_owned());
        }
    }

    fn is_read(&self, series: &Series) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|name| self.holds(name, &series.topic))
    }

    /// Whether one of the cluster's topics may be the journal's, whatever the cluster's template puts around it. Where one of the journals' names
    /// is a part of another (`air` of `air-quality`), the longer one that fits is meant.
    fn holds(&self, name: &str, topic: &Topic) -> bool {
        let fits = |topic: &Topic| name.contains(topic.as_str());
        let is_part_of = |other: &Topic| other != topic && other.as_str().contains(topic.as_str());
        fits(topic) && !self.claimed.iter().any(|other| is_part_of(other) && fits(other))
    }

    /// The journal of an epoch that no notice names: the gateway's only one, if it has one.
    fn only_journal(&self, gateway: &GatewayId) -> Option<String> {
        let mut journals = self.journals.iter().filter(|((of, _), _)| of == gateway).map(|(_, journal)| journal);
        let first = journals.next()?;
        journals.all(|other| other == first).then(|| first.clone())
    }

    fn series_of(&self, track: &Track) -> Series {
        let Track { gateway, topic, partition, epoch } = track.clone();
        let known = self.journals.get(&(gateway.clone(), epoch)).cloned().or_else(|| self.only_journal(&gateway));
        let journal = known.map_or(Journal::Epoch(epoch), Journal::Known);
        Series { gateway, topic, partition, journal }
    }

    fn judge_series(
        &self,
        series: &Series,
        tracks: &[(Track, Intervals)],
        [floor, settled]: [u64; 2],
        buried: Intervals,
        report: &mut Report,
    ) {
        let explained = Explained {
            buried,
            gaps: self.gaps.get(series).map(Vec::as_slice).unwrap_or_default(),
            reasons: &self.reasons,
        };
        // Below the first offset seen a cluster may have had all, and dropped it since: there only what is told of counts.
        let claim = self.claims.get(series).copied();
        let first_seen = tracks.first().and_then(|(_, offsets)| offsets.first()).or(claim.map(|claim| claim.first));
        let below = first_seen.and_then(|first| first.checked_sub(1)).map(|last| (0, last));
        let mut below = below.filter(|_| !self.since);
        // The first offset that no track before has reached.
        let mut reached: Option<u64> = None;
        for (track, offsets) in tracks {
            let mut partition = PartitionReport::new(track, offsets);
            if let Some(below) = below.take() {
                explained.leave(below, &mut partition, report);
            }
            let before = reached.zip(offsets.first()).filter(|(reached, first)| reached < first);
            let before = before.map(|(reached, first)| (reached, first - 1));
            for hole in before.into_iter().chain(offsets.holes()) {
                let done = claim.map_or(settled, |claim| claim.done);
                let (from, to) = hole;
                if from < floor {
                    explained.leave((from, to.min(floor - 1)), &mut partition, report);
                }
                let hole = (from.max(floor), to);
                let (missing, to_come) = explained.weigh(hole, done, &mut partition, report);
                partition.missing = partition.missing.saturating_add(missing);
                let count = if claim.is_some() { &mut partition.late } else { &mut partition.open };
                *count = count.saturating_add(to_come);
            }
            let last = offsets.last().map_or(0, |last| last.saturating_add(1));
            reached = Some(last.max(reached.unwrap_or(0)));
            report.add(partition);
        }
        self.judge_forks(series, tracks, floor, &explained, report);
        let Some(claim) = claim else { return };
        let from = reached.unwrap_or(claim.first);
        // Where nothing is left of it, the cluster may have dropped it.
        let trimmed = tracks.is_empty() && self.is_trimmed(&series.topic);
        if from >= claim.next || trimmed {
            return;
        }
        let Series { gateway, topic, partition, .. } = series.clone();
        let track = Track { gateway, topic, partition, epoch: claim.epoch };
        let mut tail = PartitionReport::new(&track, &Intervals::default());
        (tail.first, tail.last) = (from, claim.next - 1);
        if let Some(below) = below {
            explained.leave(below, &mut tail, report);
        }
        // Behind the last offset seen, up to where manifests say that the partition had come.
        (tail.lost_tail, tail.late) = explained.weigh((from, claim.next - 1), claim.due, &mut tail, report);
        report.add(tail);
    }
}

impl Account {
    /// An epoch that another one begins in the middle of: an older copy of the journal was put back. What the first had beyond what was delivered is
    /// nowhere now, though the other has offsets of the same numbers.
    fn judge_forks(
        &self,
        series: &Series,
        tracks: &[(Track, Intervals)],
        floor: u64,
        explained: &Explained<'_>,
        report: &mut Report,
    ) {
        let Some(ends) = self.ends.get(series) else { return };
        let firsts: Vec<_> =
            tracks.iter().filter_map(|(track, offsets)| Some((track.epoch, offsets.first()?))).collect();
        for (track, offsets) in tracks {
            let (Some(first), Some(last), Some(end)) = (offsets.first(), offsets.last(), ends.get(&track.epoch)) else {
                continue;
            };
            let from = last.saturating_add(1).max(floor);
            let begins_within = |(epoch, other): &(Epoch, u64)| *epoch != track.epoch && (first..*end).contains(other);
            if from >= *end || !firsts.iter().any(begins_within) {
                continue;
            }
            let mut tail = PartitionReport::new(track, &Intervals::default());
            (tail.first, tail.last) = (from, end - 1);
            (tail.lost_tail, _) = explained.weigh((from, end - 1), u64::MAX, &mut tail, report);
            report.add(tail);
        }
    }
}

/// What became of a partition's holes.
struct Explained<'a> {
    buried: Intervals,
    gaps: &'a [(usize, Intervals)],
    reasons: &'a [String],
}

impl Explained<'_> {
    /// Counts what was buried and dropped in a hole (first to last), and gives how much nothing explains: below `done`, where all is told
    /// that there is to tell, and from there on, where it may still come.
    fn weigh(&self, hole: (u64, u64), done: u64, partition: &mut PartitionReport, report: &mut Report) -> (u64, u64) {
        let left = self.leave(hole, partition, report);
        for (from, to) in &left {
            report.examples.missing(|| format!("{partition}: {from} to {to}"));
        }
        let count = |from: u64, to: u64| if from > to { 0 } else { (to - from).saturating_add(1) };
        left.iter().fold((0, 0), |(missing, late): (u64, u64), (from, to)| {
            let below = done.checked_sub(1).map_or(0, |last| count(*from, last.min(*to)));
            (missing.saturating_add(below), late.saturating_add(count(*from, *to) - below))
        })
    }

    /// The same; gives what is left.
    fn leave(
        &self,
        (first, last): (u64, u64),
        partition: &mut PartitionReport,
        report: &mut Report,
    ) -> Vec<(u64, u64)> {
        let mut left = self.buried.lacking(first, last);
        partition.buried = partition.buried.saturating_add(self.buried.count_in(first, last));
        for (reason, gaps) in self.gaps {
            let count = left.iter().fold(0_u64, |sum, (from, to)| sum.saturating_add(gaps.count_in(*from, *to)));
            if count == 0 {
                continue;
            }
            partition.dropped = partition.dropped.saturating_add(count);
            let reason = self.reasons.get(*reason).cloned().unwrap_or_default();
            let dropped = report.dropped_for.entry(reason).or_default();
            *dropped = dropped.saturating_add(count);
            left = left.iter().flat_map(|(from, to)| gaps.lacking(*from, *to)).collect();
        }
        left
    }
}

impl Report {
    fn add(&mut self, partition: PartitionReport) {
        let sums = [
            (&mut self.journaled, partition.journaled),
            (&mut self.missing_offsets, partition.missing),
            (&mut self.dropped, partition.dropped),
            (&mut self.buried, partition.buried),
            (&mut self.lost_tail, partition.lost_tail),
            (&mut self.late, partition.late),
            (&mut self.open, partition.open),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
        self.partitions.push(partition);
    }
}

impl Examples {
    fn missing(&mut self, example: impl FnOnce() -> String) {
        if self.missing_offsets.len() < Self::MAX {
            self.missing_offsets.push(example());
        }
    }
}

#[cfg(test)]
mod tests;
