//! What the audit found, for machines (JSON) and for people.

use std::collections::BTreeMap;
use std::fmt;

use lamppost_event::{GatewayId, Partition, Topic};
use serde::Serialize;

use crate::account::Track;
use crate::intervals::Intervals;

/// The verdict. Counts are of events unless they say otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Distinct entries of the senders' ledgers.
    pub acknowledged: u64,
    /// What the journals must hold, judged by the offsets seen: from the first to the last of each partition and epoch.
    pub journaled: u64,
    /// Distinct events in the cluster, by `ce_id`.
    pub delivered: u64,
    /// Acknowledged and in the cluster.
    pub found: u64,
    /// Acknowledged and not in the cluster.
    pub lost: u64,
    /// Of the lost, how many there are beyond what was dropped and said so: of a gateway's topic, of a gateway, of a topic, or of all, whichever shows most. A
    /// line is a gateway's if all of its key and topic that was found came by that gateway.
    pub lost_untold: u64,
    /// The same, beyond what was dropped, is late or is open.
    pub lost_for_good: u64,
    /// Acknowledged and not looked for: in a ledger before the first of its key and topic that was found, where the cluster was read from some time on.
    pub before_since: u64,
    /// Offsets between the first and the last of their partition that are not in the cluster, and that nothing accounts for.
    pub missing_offsets: u64,
    /// Offsets behind the last one seen of a partition that a manifest says were there, and that are due.
    pub lost_tail: u64,
    /// The same, not due yet.
    pub late: u64,
    /// Offsets that a backfill under way may still bring, where no manifest says how far it has come.
    pub open: u64,
    /// Offsets that a gap notice accounts for.
    pub dropped: u64,
    /// The same, by the reason.
    pub dropped_for: BTreeMap<String, u64>,
    /// Offsets that a dead letter stands for.
    pub buried: u64,
    /// Notices that this program does not understand.
    pub unread_notices: u64,
    /// Records whose `ce_id` was there before.
    pub delivered_twice: u64,
    /// Events whose sender's mark was there before under another `ce_id`.
    pub sent_twice: u64,
    /// First occurrences that come after a later one of their key, by the ledger's order.
    pub out_of_order_by_ledger: u64,
    /// First occurrences that come after a higher offset of their journal partition.
    pub out_of_order_by_journal: u64,
    /// First occurrences marked as backlog that was delivered beside what was live. Each of the two lanes is in order by itself.
    pub backfilled: u64,
    /// Records in another partition than Kafka's murmur2 chooses for their key.
    pub misplaced: u64,
    /// Records whose key is not their ledger's.
    pub wrong_key: u64,
    /// Senders that count, each a (device, boot).
    pub sequences: u64,
    /// Numbers between the first and the last of a (device, boot) that are not in the cluster. No loss: a device may have dropped them, and what it was
    /// acknowledged is in its ledger.
    pub sequence_holes: u64,
    /// First occurrences that come after a higher number of their (device, boot), in one partition of the cluster and in their lane. No fault of the gateway's:
    /// a device may send so.
    pub sequence_out_of_order: u64,
    /// The senders' own marks were looked at of one in so many senders; 1: of all. Else `sent_twice` and the sequences count less than there is.
    pub senders_one_of: u64,
    /// Topics of the cluster that were not read from their beginning, because it has dropped that, or by `--since`.
    pub trimmed_topics: u64,
    /// Records read.
    pub records: u64,
    /// Records that are not a gateway's.
    pub foreign: u64,
    /// Records of gateways that were not asked for: passed over.
    pub others: u64,
    /// Gateways that were asked for, and of which nothing was met.
    pub unmet: Vec<GatewayId>,
    /// Ledger lines that repeat an earlier one.
    pub ledger_repeats: u64,
    /// Ledgers that end in a broken line: their sender was killed while writing.
    pub ledger_broken_tails: u64,
    /// Whether a record that is there twice breaks the promise.
    pub exactly_once: bool,
    /// How long the audit took.
    pub seconds: f64,
    /// Each partition and epoch of the journals.
    pub partitions: Vec<PartitionReport>,
    /// Some of each fault.
    pub examples: Examples,
}

impl Report {
    /// First occurrences out of order, by either judgement; one that both judge so counts in each.
    #[must_use]
    pub const fn out_of_order(&self) -> u64 {
        self.out_of_order_by_ledger + self.out_of_order_by_journal
    }

    /// Records that are there again, for either reason.
    #[must_use]
    pub const fn duplicated(&self) -> u64 {
        self.delivered_twice + self.sent_twice
    }

    /// Whether the promise was kept: nothing lost, nothing missing without a word, nothing out of order or out of place. Duplicates are allowed (but for
    /// records delivered twice where [`Self::exactly_once`] is asked for), and what was dropped by policy or lost with the disk and said so.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        // What the ledgers lack may be what was dropped, or what is still to come: they do not know offsets.
        let is_whole = self.lost_for_good == 0
            && self.missing_offsets == 0
            && self.lost_tail == 0
            && self.out_of_order() == 0
            && self.misplaced == 0
            && self.wrong_key == 0
            && (!self.exactly_once || self.delivered_twice == 0);
        match is_whole {
            false => Verdict::Broken,
            true if self.open > 0 || self.lost_untold > 0 || !self.unmet.is_empty() => Verdict::Open,
            true => Verdict::Kept,
        }
    }

    /// Whether the verdict is that the promise was kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.verdict() == Verdict::Kept
    }
}

/// What an audit comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The promise was kept, as far as is due.
    Kept,
    /// Nothing speaks against it; but whether something is lost or only late nobody can say yet, or what was asked for was not met.
    Open,
    /// The promise was broken.
    Broken,
}

/// Up to [`Examples::MAX`] of each fault, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Examples {
    /// `ledger:line`.
    pub lost: Vec<String>,
    /// `gateway/epoch/topic/partition: first to last`.
    pub missing_offsets: Vec<String>,
    /// The `ce_id`, and where it is again.
    pub delivered_twice: Vec<String>,
    /// The sender's mark, and its other `ce_id`.
    pub sent_twice: Vec<String>,
    /// What comes after what.
    pub out_of_order: Vec<String>,
    /// `device in boot n: first to last`, the first hole of each.
    pub sequence_holes: Vec<String>,
    /// What comes after what.
    pub sequence_out_of_order: Vec<String>,
    /// `topic/partition@offset` in the cluster.
    pub misplaced: Vec<String>,
    /// `topic/partition@offset` in the cluster.
    pub wrong_key: Vec<String>,
    /// Gateways that were not asked for.
    pub others: Vec<GatewayId>,
}

impl Examples {
    /// The most that are kept of each.
    pub const MAX: usize = 10;
}

/// One partition of one journal in one epoch, as the cluster shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionReport {
    /// Whose journal.
    pub gateway: GatewayId,
    /// Which incarnation, in hexadecimal.
    pub epoch: String,
    /// The journal's topic.
    pub topic: Topic,
    /// The journal's partition.
    pub partition: Partition,
    /// The first offset seen.
    pub first: u64,
    /// The last offset seen.
    pub last: u64,
    /// How many offsets there are from the first to the last.
    pub journaled: u64,
    /// Distinct offsets seen.
    pub delivered: u64,
    /// Holes between, and to the epoch before, in offsets, that nothing accounts for.
    pub missing: u64,
    /// Of the holes, and below the first offset, what a gap notice accounts for.
    pub dropped: u64,
    /// Of the same, what dead letters stand for.
    pub buried: u64,
    /// Behind the last offset: what manifests say was there, and is due.
    pub lost_tail: u64,
    /// The same, not due yet.
    pub late: u64,
    /// Of the holes, what a backfill under way may still fill.
    pub open: u64,
}

impl PartitionReport {
    pub(crate) fn new(track: &Track, offsets: &Intervals) -> Self {
        let (first, last) = (offsets.first().unwrap_or(0), offsets.last().unwrap_or(0));
        let delivered = offsets.count();
        let journaled = (last - first).saturating_add(u64::from(delivered > 0));
        let Track { gateway, topic, partition, epoch } = track.clone();
        let (missing, dropped, buried, lost_tail, late, open) = (0, 0, 0, 0, 0, 0);
        let epoch = epoch.to_string();
        Self {
            gateway,
            epoch,
            topic,
            partition,
            first,
            last,
            journaled,
            delivered,
            missing,
            dropped,
            buried,
            lost_tail,
            late,
            open,
        }
    }
}

impl fmt::Display for PartitionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.gateway, self.epoch, self.topic, self.partition)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let examples = &self.examples;
        let none = Vec::new();
        let dropped = self.dropped_for.iter().map(|(reason, events)| format!("{events}: {reason}")).collect();
        let rows: [(&str, u64, &Vec<String>); 25] = [
            ("acknowledged", self.acknowledged, &none),
            ("journaled", self.journaled, &none),
            ("delivered", self.delivered, &none),
            ("lost", self.lost, &examples.lost),
            ("lost, and not dropped", self.lost_untold, &examples.lost),
            ("missing offsets", self.missing_offsets, &examples.missing_offsets),
            ("lost tail", self.lost_tail, &examples.missing_offsets),
            ("late", self.late, &examples.missing_offsets),
            ("open, backfill under way", self.open, &examples.missing_offsets),
            ("dropped, and said so", self.dropped, &dropped),
            ("dead letters for events", self.buried, &none),
            ("out of order, by ledger", self.out_of_order_by_ledger, &examples.out_of_order),
            ("out of order, by journal", self.out_of_order_by_journal, &examples.out_of_order),
            ("backfilled", self.backfilled, &none),
            ("misplaced", self.misplaced, &examples.misplaced),
            ("wrong key", self.wrong_key, &examples.wrong_key),
            ("delivered twice", self.delivered_twice, &examples.delivered_twice),
            ("sent twice", self.sent_twice, &examples.sent_twice),
            ("holes in senders' counts", self.sequence_holes, &examples.sequence_holes),
            ("senders' counts, turned", self.sequence_out_of_order, &examples.sequence_out_of_order),
            ("before --since", self.before_since, &none),
            ("topics without beginning", self.trimmed_topics, &none),
            ("not ours", self.foreign, &none),
            ("of other gateways", self.others, &none),
            ("broken ledger tails", self.ledger_broken_tails, &none),
        ];
        for (name, count, examples) in rows {
            write!(f, "{name:<26}{count:>14}")?;
            match examples.first() {
                Some(example) if count > 0 => writeln!(f, "   e.g. {example}")?,
                _ => writeln!(f)?,
            }
        }
        if self.senders_one_of > 1 {
            let (one_of, few) = (self.senders_one_of, "what was sent twice, and the senders' counts, were looked at");
            writeln!(f, "{few} of one in {one_of} senders only: more would take more memory")?;
        }
        for gateway in &self.unmet {
            write!(f, "nothing of a gateway called {gateway} is in these topics")?;
            for (n, other) in examples.others.iter().enumerate() {
                write!(f, "{}{other}", if n == 0 { "; but of " } else { ", " })?;
            }
            let and_more = if examples.others.len() == Examples::MAX { ", ..." } else { "" };
            writeln!(f, "{and_more}")?;
        }
        let verdict = match self.verdict() {
            Verdict::Kept => "the promise was kept",
            Verdict::Broken => "THE PROMISE WAS BROKEN",
            Verdict::Open if !self.unmet.is_empty() => "NO VERDICT: of a gateway that was asked for nothing was met",
            Verdict::Open if self.open > 0 => {
                "NO VERDICT YET: a backfill is under way, and what is not there may be still to come; audit again when it is done"
            }
            Verdict::Open => {
                "NO VERDICT YET: what the ledgers lack may be what is late; audit again when that is there"
            }
        };
        write!(
            f,
            "{verdict} ({} records, {} of them delivered twice, of {} partitions in {:.1} s)",
            self.records,
            self.delivered_twice,
            self.partitions.len(),
            self.seconds
        )
    }
}
