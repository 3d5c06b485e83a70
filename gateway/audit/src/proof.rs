//! The ledgers against what is there. Pure. A ledger too large for the memory it may take is heard in parts, each of which takes a pass over the cluster
//! ([`crate::plan`]); all lines of a key are in one part.
//!
//! - **Invariant:** a line counts as found only by a record with its mark, and every record is looked up: what was seen or sent before does not matter here.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::mem::take;

use lamppost_event::{GatewayId, Partition};

use crate::judge::{LedgerIndex, MarkRef, add, hash};
use crate::ledger::LedgerEntry;
use crate::report::{Examples, PartitionReport, Report};

/// What a line takes at most, in bytes: an entry of 17 in a table that is 7/16 full.
pub(crate) const LINE_BYTES: u64 = 40;
/// What a group takes at most beside its lines, in bytes: an entry in each of two such tables and one in a list, all of which may just have doubled.
pub(crate) const GROUP_BYTES: u64 = 200;

/// A line of a ledger.
#[derive(Debug)]
struct Expected {
    group: u32,
    /// 0: it was found.
    line: u32,
}

/// The lines of a ledger that have one key and one topic: they have an order.
#[derive(Debug)]
struct Group {
    ledger: LedgerIndex,
    /// `None`: its order is not judged.
    key: Option<u64>,
    topic: Option<u32>,
    /// The first line of it that was found.
    first: Option<u32>,
    gateway: Gateway,
}

/// Who delivered what was found of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Gateway {
    /// Nothing was found, or it came from several.
    Any,
    One(u32),
}

/// The first occurrence of a mark.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sighting {
    /// The mark's hash with the journal's topic, and without.
    named: u64,
    unnamed: u64,
    key: u64,
    offset: i64,
    gateway: u32,
    /// Which of the judge's topics.
    topic: u32,
    partition: Partition,
    backfill: bool,
}

/// Where a record with a mark stands.
pub(crate) struct Standing<'a> {
    pub(crate) gateway: &'a GatewayId,
    /// The journal's topic, and the cluster's as the judge counts them.
    pub(crate) of: &'a str,
    pub(crate) topic: u32,
    pub(crate) partition: Partition,
    pub(crate) offset: i64,
    pub(crate) key: &'a [u8],
    pub(crate) backfill: bool,
}

/// Whose it is that something is accounted for, and of which topic; `None`: of any.
type Whose = (Gateway, Option<u32>);

/// What the ledgers say, and what was found of it.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    expected: HashMap<u64, Expected>,
    groups: Vec<Group>,
    group_of: HashMap<u64, u32>,
    /// The latest ledger line of a group seen in a topic of the cluster, in each lane.
    latest: HashMap<(u32, u32, bool), u32>,
    topics: Vec<String>,
    gateways: HashMap<GatewayId, u32>,
    /// What was not found, by whose it may be and of which topic.
    lost: HashMap<Whose, u64>,
    lost_lines: BTreeSet<(u32, u32)>,
    /// The cluster was read from some time on: what a ledger says before that was not looked for.
    pub(crate) since: bool,
}

impl Proof {
    /// The hash of an entry's group, for all entries without a key that of its mark.
    pub(crate) fn part(ledger: LedgerIndex, entry: &LedgerEntry) -> u64 {
        match entry.key() {
            Some(key) => hash(&(ledger, entry.topic.as_deref(), key)),
            None => MarkRef::from(&entry.mark).hash(entry.topic.as_deref()),
        }
    }

    /// Makes room for so many lines at once: a table that doubles is there twice in that moment.
    pub(crate) fn reserve(&mut self, lines: usize) {
        self.expected.reserve(lines);
    }

    pub(crate) fn expect(&mut self, ledger: LedgerIndex, line: u32, entry: &LedgerEntry, report: &mut Report) {
        let mark = MarkRef::from(&entry.mark).hash(entry.topic.as_deref());
        let group = self.group(ledger, entry);
        if let std::collections::hash_map::Entry::Vacant(vacant) = self.expected.entry(mark) {
            vacant.insert(Expected { group, line });
            report.acknowledged += 1;
        } else {
            report.ledger_repeats += 1;
        }
    }

    fn group(&mut self, ledger: LedgerIndex, entry: &LedgerEntry) -> u32 {
        let key = entry.key();
        let next = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        let group = *self.group_of.entry(hash(&(ledger, entry.topic.as_deref(), key))).or_insert(next);
        if group == next {
            let topic = entry.topic.as_deref().map(|topic| position(&mut self.topics, topic));
            let key = key.map(|key| hash(&key.as_bytes()));
            self.groups.push(Group { ledger, key, topic, first: None, gateway: Gateway::Any });
        }
        group
    }

    pub(crate) fn sighting(&mut self, mark: MarkRef<'_>, at: &Standing<'_>) -> Sighting {
        let next = u32::try_from(self.gateways.len()).unwrap_or(u32::MAX);
        let gateway = self.gateways.get(at.gateway).copied().unwrap_or_else(|| {
            self.gateways.insert(at.gateway.clone(), next);
            next
        });
        Sighting {
            named: mark.hash(Some(at.of)),
            unnamed: mark.hash(None),
            key: hash(&at.key),
            offset: at.offset,
            gateway,
            topic: at.topic,
            partition: at.partition,
            backfill: at.backfill,
        }
    }

    /// Looks a mark up in the ledgers. Only its first occurrence counts.
    pub(crate) fn find(&mut self, sighting: &Sighting, topics: &[String], report: &mut Report) {
        let which = if self.expected.contains_key(&sighting.named) { sighting.named } else { sighting.unnamed };
        let Some(expected) = self.expected.get_mut(&which).filter(|expected| expected.line > 0) else { return };
        let line = take(&mut expected.line);
        report.found += 1;
        let Some(group) = self.groups.get_mut(expected.group as usize) else { return };
        let came_by = Gateway::One(sighting.gateway);
        group.gateway = if group.first.is_none() || group.gateway == came_by { came_by } else { Gateway::Any };
        group.first = Some(group.first.map_or(line, |first| first.min(line)));
        let Some(key) = group.key else { return };
        let place = || {
            let topic = topics.get(sighting.topic as usize).map_or("", String::as_str);
            format!("{topic}/{}@{}", sighting.partition, sighting.offset)
        };
        if key != sighting.key {
            report.wrong_key += 1;
            add(&mut report.examples.wrong_key, place);
        }
        let latest = self.latest.entry((expected.group, sighting.topic, sighting.backfill)).or_insert(line);
        if line < *latest {
            report.out_of_order_by_ledger += 1;
            let example = || format!("{} of line {line} comes after line {latest}", place());
            add(&mut report.examples.out_of_order, example);
        }
        *latest = line.max(*latest);
    }

    /// All has been looked at for what was heard: what was not found of it is counted, and the next part can be heard.
    pub(crate) fn settle(&mut self, report: &mut Report) {
        for expected in take(&mut self.expected).into_values().filter(|expected| expected.line > 0) {
            let Some(group) = self.groups.get(expected.group as usize) else { continue };
            if self.since && group.first.is_none_or(|first| expected.line < first) {
                report.before_since += 1;
                continue;
            }
            report.lost += 1;
            *self.lost.entry((group.gateway, group.topic)).or_default() += 1;
            self.lost_lines.insert((group.ledger.0, expected.line));
            if self.lost_lines.len() > Examples::MAX {
                self.lost_lines.pop_last();
            }
        }
        (self.groups, self.group_of, self.latest) = Default::default();
    }

    /// After the last part: what is lost, in examples, and how much of it cannot be what was dropped or is still to come.
    pub(crate) fn judge(self, names: &[String], report: &mut Report) {
        report.examples.lost = (self.lost_lines.iter())
            .map(|(ledger, line)| {
                let name = names.get(*ledger as usize).map_or("ledger", String::as_str);
                format!("{name}:{line}")
            })
            .collect();
        let [told, told_or_to_come]: [fn(&PartitionReport) -> u64; 2] =
            [|p| p.dropped, |p| p.dropped.saturating_add(p.late).saturating_add(p.open)];
        report.lost_untold = self.beyond(&report.partitions, told);
        report.lost_for_good = self.beyond(&report.partitions, told_or_to_come);
    }

    /// How many of the lost there are beyond what is accounted for: of a gateway's topic, of a gateway, of a topic, or of all.
    fn beyond(&self, partitions: &[PartitionReport], accounted_for: fn(&PartitionReport) -> u64) -> u64 {
        let mut accounts: HashMap<Whose, u64> = HashMap::new();
        for partition in partitions.iter().filter(|partition| accounted_for(partition) > 0) {
            let gateway = self.gateways.get(&partition.gateway).map_or(Gateway::Any, |gateway| Gateway::One(*gateway));
            let topic = self.topics.iter().position(|topic| topic == partition.topic.as_str());
            let topic = topic.and_then(|topic| u32::try_from(topic).ok());
            let places: HashSet<_> = VIEWS.iter().map(|view| view(gateway, topic)).collect();
            for place in places {
                let sum = accounts.entry(place).or_default();
                *sum = sum.saturating_add(accounted_for(partition));
            }
        }
        let beyond = VIEWS.iter().map(|view| {
            let mut sums: HashMap<_, u64> = HashMap::new();
            for ((gateway, topic), lost) in &self.lost {
                *sums.entry(view(*gateway, *topic)).or_default() += lost;
            }
            sums.into_iter().map(|(of, lost)| lost.saturating_sub(accounts.get(&of).copied().unwrap_or(0))).sum()
        });
        beyond.max().unwrap_or(0)
    }
}

/// In what sums the lost are compared with what is accounted for.
const VIEWS: [fn(Gateway, Option<u32>) -> Whose; 4] = [
    |gateway, topic| (gateway, topic),
    |gateway, _| (gateway, None),
    |_, topic| (Gateway::Any, topic),
    |_, _| (Gateway::Any, None),
];

/// The number of one of a few names.
pub(crate) fn position(names: &mut Vec<String>, name: &str) -> u32 {
    let at = names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    u32::try_from(at).unwrap_or(u32::MAX)
}
