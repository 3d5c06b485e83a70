//! The edge: ledgers and cluster in, the report out; at the end of a run, or along with it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use lamppost_event::{GatewayId, MAIN_SINK, Partition, WallTime};
use rdkafka::error::KafkaError;

use crate::judge::{Judge, MEMORY_MAX};
use crate::ledger::LedgerError;
use crate::plan::Plan;
use crate::reader::Reader;
use crate::report::Report;

/// How often the ends are looked at again while settling.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What to audit.
#[derive(Clone)]
pub struct AuditConfig {
    /// `host:port,…` of some of the cluster's brokers.
    pub bootstrap: String,
    /// The cluster's topics; none: all but those that begin with `__`. The audit trail and the dead letters are read beside them.
    pub topics: Vec<String>,
    /// Only these gateways; none: all that delivered anything there.
    pub gateways: Vec<GatewayId>,
    /// The sink of the gateways whose cluster it is: what they tell of their others is no evidence here.
    pub sink: String,
    /// The senders' ledgers.
    pub ledgers: Vec<PathBuf>,
    /// The member of a JSON payload whose text is the sender's id, where the headers have no mark: MQTT 3.1.1 has no place for one. `None`: headers
    /// alone are looked at.
    pub payload_id: Option<String>,
    /// How long to wait for what is still on its way: reading goes on until all ledger entries are found, or the ends have not
    /// moved for so long. Zero: up to the ends as they are at the start.
    pub settle: Duration,
    /// What a manifest of so long ago or less calls delivered may have come after it was looked for: late, not lost. Zero: all that any
    /// manifest calls delivered is due.
    pub late_after: Duration,
    /// How long a read may bring nothing before the audit is given up.
    pub idle_max: Duration,
    /// Only what each partition has from its first record of that time or a later one on, by the records' times (those at which the gateways received the
    /// events); what lies before it may have been there. The audit trail is read whole. `None`: all there is.
    pub since: Option<WallTime>,
    /// What the audit may use, in bytes, beside librdkafka's buffers: [`crate::Judge::within`]. Ledgers for which half of it is too little take several passes
    /// over the cluster.
    pub memory_max: u64,
    /// Whether what was aborted, or is not committed yet, counts as delivered too. By default it does not: who reads the cluster for its
    /// events never sees it.
    pub uncommitted: bool,
    /// Whether a record that is there twice breaks the promise: the gateways forward exactly once.
    pub exactly_once: bool,
    /// Any property of librdkafka, those of TLS and SASL too: passwords may be among them.
    pub properties: BTreeMap<String, String>,
}

impl fmt::Debug for AuditConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.properties.keys().collect();
        let mut shown = f.debug_struct("AuditConfig");
        shown.field("bootstrap", &self.bootstrap).field("topics", &self.topics).field("ledgers", &self.ledgers);
        shown.field("properties", &names).finish_non_exhaustive()
    }
}

impl AuditConfig {
    /// All topics from their beginnings, no ledger, no settling, 30 s of patience, [`MEMORY_MAX`].
    #[must_use]
    pub fn new(bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            topics: Vec::new(),
            gateways: Vec::new(),
            sink: MAIN_SINK.to_owned(),
            ledgers: Vec::new(),
            payload_id: None,
            settle: Duration::ZERO,
            late_after: Duration::ZERO,
            idle_max: Duration::from_secs(30),
            since: None,
            memory_max: MEMORY_MAX,
            uncommitted: false,
            exactly_once: false,
            properties: BTreeMap::new(),
        }
    }
}

/// How far the audit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Records read.
    pub records: u64,
    /// Ledger entries not found yet.
    pub missing: u64,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A ledger can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The cluster can't be read.
    #[error("{what}: {source}")]
    Cluster {
        /// What was being done.
        what: String,
        /// What librdkafka said.
        source: KafkaError,
    },
    /// The cluster does not let us in, or not to what is to be read.
    #[error("{what}: the cluster does not let us in: {why}")]
    Denied {
        /// What was being done.
        what: String,
        /// What the cluster, or TLS, said.
        why: String,
    },
    /// A named topic is not there.
    #[error("the cluster has no topic {0:?}")]
    NoTopic(String),
    /// The cluster has dropped records before they could be read.
    #[error("{topic}/{partition}: records {next} to {last} were dropped by the cluster before they were read", last = low - 1)]
    FellBehind {
        /// The topic.
        topic: String,
        /// The partition.
        partition: Partition,
        /// The first offset that was not read.
        next: i64,
        /// The first offset that the cluster still has.
        low: i64,
    },
    /// The cluster's offsets have more holes, or more journals and epochs, than there is memory for.
    #[error("the offsets of topic {topic:?} and those before it take more memory than they may: allow more")]
    Offsets {
        /// The topic that was being read.
        topic: String,
    },
    /// A ledger has so many lines of one key that they can't be divided.
    #[error("one key's lines of the ledgers take {bytes} bytes, {bytes_max} are allowed: allow twice as much and more")]
    LedgerMemory {
        /// What they take.
        bytes: u64,
        /// What there is for a part of the ledgers.
        bytes_max: u64,
    },
    /// The system gives no thread to read along in.
    #[error("no thread to read along in: {0}")]
    Thread(#[from] io::Error),
    /// Records are there, and do not come.
    #[error("topic {topic:?}: nothing came for {} s, {left} partitions are not read to their ends", idle_max.as_secs())]
    Stalled {
        /// The topic.
        topic: String,
        /// How many of its partitions are not read to the end.
        left: usize,
        /// The patience.
        idle_max: Duration,
    },
}

/// Reads ledgers and cluster, and judges. Blocks; `progress` is called every 50,000 records and at each topic's end.
///
/// # Errors
/// [`AuditError`]: no verdict is given on what was not read whole.
#[expect(clippy::disallowed_methods, reason = "how long it took is shown to a person, nothing depends on it")]
pub fn audit(config: &AuditConfig, progress: &mut dyn FnMut(Progress)) -> Result<Report, AuditError> {
    let began = SystemTime::now();
    let reader = Reader::connect(config)?;
    let since_1970 = began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let due = since_1970.saturating_sub(config.late_after);
    let judge = Judge::new().with_topics(reader.wanted()).of_gateways(&config.gateways).of_sink(&config.sink);
    let mut judge = judge.within(config.memory_max);
    if !config.late_after.is_zero() {
        judge = judge.with_late_from(i64::try_from(due.as_millis()).unwrap_or(i64::MAX));
    }
    if config.since.is_some() {
        judge = judge.since_some_time();
    }
    let plan = Plan::of(&config.ledgers, config.memory_max / 2)?;
    if let Some(bytes) = plan.too_many {
        return Err(AuditError::LedgerMemory { bytes, bytes_max: config.memory_max / 2 });
    }
    let mut report = conclude(reader, judge, &config.ledgers, &plan, config.settle, progress)?;
    report.exactly_once = config.exactly_once;
    report.seconds = began.elapsed().unwrap_or_default().as_secs_f64();
    Ok(report)
}

/// Hears the ledgers, reads to the ends, and judges; the judge may have seen what was read before. For each further part of the ledgers the same is read again.
pub(crate) fn conclude(
    mut reader: Reader,
    mut judge: Judge,
    ledgers: &[PathBuf],
    plan: &Plan,
    settle: Duration,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, AuditError> {
    hear(&mut judge, ledgers, plan, 0)?;
    judge.hear_no_more();
    let (mut quiet, mut first) = (Duration::ZERO, true);
    loop {
        let before = judge.progress().0;
        reader.read_on(&mut judge, progress)?;
        let found_all = !ledgers.is_empty() && plan.passes() == 1 && judge.has_found_all();
        quiet = if judge.progress().0 > before || first { Duration::ZERO } else { quiet + LOOK_AGAIN };
        first = false;
        if found_all && quiet > Duration::ZERO || quiet >= settle {
            break;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    for pass in 1..plan.passes() {
        judge.hear_on();
        hear(&mut judge, ledgers, plan, pass)?;
        reader.read_again(&mut judge, progress)?;
    }
    let names: Vec<String> = ledgers.iter().map(|path| path.display().to_string()).collect();
    Ok(judge.verdict(&names))
}

/// Hears one part of the ledgers.
fn hear(judge: &mut Judge, ledgers: &[PathBuf], plan: &Plan, pass: u32) -> Result<(), LedgerError> {
    judge.reserve(plan.lines(pass));
    let broken = plan.read(ledgers, &mut |ledger, line, entry| {
        if plan.has(pass, ledger, entry) {
            judge.expect(ledger, line, entry);
        }
    })?;
    if pass == 0 {
        judge.note_broken_tails(broken);
    }
    Ok(())
}
