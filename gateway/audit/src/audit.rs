//! The edge: ledgers and cluster in, the report out; at the end of a run, or along with it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use lamppost_event::{MAIN_SINK, Partition};
use rdkafka::error::KafkaError;

use crate::judge::{Judge, LedgerIndex};
use crate::ledger::{LedgerError, read_ledger};
use crate::reader::Reader;
use crate::report::Report;

/// How often the ends are looked at again while settling.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What to audit.
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// `host:port,…` of some of the cluster's brokers.
    pub bootstrap: String,
    /// The cluster's topics; none: all but those that begin with `__`. The audit trail and the dead letters are read beside them.
    pub topics: Vec<String>,
    /// The sink of the gateways whose cluster it is: what they tell of their others is no evidence here.
    pub sink: String,
    /// The senders' ledgers.
    pub ledgers: Vec<PathBuf>,
    /// How long to wait for what is still on its way: reading goes on until all ledger entries are found, or the ends have not
    /// moved for so long. Zero: up to the ends as they are at the start.
    pub settle: Duration,
    /// What a manifest of so long ago or less calls delivered may have come after it was looked for: late, not lost. Zero: all that any
    /// manifest calls delivered is due.
    pub late_after: Duration,
    /// How long a read may bring nothing before the audit is given up.
    pub idle_max: Duration,
    /// Whether what was aborted, or is not committed yet, counts as delivered too. By default it does not: who reads the cluster for its
    /// events never sees it.
    pub uncommitted: bool,
    /// Whether a record that is there twice breaks the promise: the gateways forward exactly once.
    pub exactly_once: bool,
    /// Any property of librdkafka, for example for TLS and SASL.
    pub properties: BTreeMap<String, String>,
}

impl AuditConfig {
    /// All topics, no ledger, no settling, 30 s of patience.
    #[must_use]
    pub fn new(bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            topics: Vec::new(),
            sink: MAIN_SINK.to_owned(),
            ledgers: Vec::new(),
            settle: Duration::ZERO,
            late_after: Duration::ZERO,
            idle_max: Duration::from_secs(30),
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
    let mut judge = Judge::new().with_topics(reader.wanted()).of_sink(&config.sink);
    if !config.late_after.is_zero() {
        judge = judge.with_late_from(i64::try_from(due.as_millis()).unwrap_or(i64::MAX));
    }
    let mut report = conclude(reader, judge, &config.ledgers, config.settle, progress)?;
    report.exactly_once = config.exactly_once;
    report.seconds = began.elapsed().unwrap_or_default().as_secs_f64();
    Ok(report)
}

/// Hears the ledgers, reads to the ends, and judges; the judge may have seen what was read before.
pub(crate) fn conclude(
    mut reader: Reader,
    mut judge: Judge,
    ledgers: &[PathBuf],
    settle: Duration,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, AuditError> {
    for (index, path) in ledgers.iter().enumerate() {
        let index = LedgerIndex(u32::try_from(index).unwrap_or(u32::MAX));
        if read_ledger(path, &mut |line, entry| judge.expect(index, line, &entry))? {
            judge.note_broken_tail();
        }
    }
    judge.hear_no_more();
    let (mut quiet, mut first) = (Duration::ZERO, true);
    loop {
        let before = judge.progress().0;
        reader.read_on(&mut judge, progress)?;
        let found_all = !ledgers.is_empty() && judge.has_found_all();
        quiet = if judge.progress().0 > before || first { Duration::ZERO } else { quiet + LOOK_AGAIN };
        first = false;
        if found_all && quiet > Duration::ZERO || quiet >= settle {
            break;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    let names: Vec<String> = ledgers.iter().map(|path| path.display().to_string()).collect();
    Ok(judge.verdict(&names))
}
