//! The edge: reads the ledgers and the cluster, topic by topic, up to the ends.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use lamppost_event::{Partition, header};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::judge::{Judge, LedgerIndex, MarkRef, Record};
use crate::ledger::{LedgerError, read_ledger};
use crate::report::Report;

/// How often progress is told, in records.
const PROGRESS_RECORDS: u64 = 50_000;
/// How long one request to the cluster may take.
const REQUEST_MAX: Duration = Duration::from_secs(15);
/// How often the ends are looked at again while settling.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What to audit.
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// `host:port,…` of some of the cluster's brokers.
    pub bootstrap: String,
    /// The cluster's topics; none: all but those that begin with `__`.
    pub topics: Vec<String>,
    /// The senders' ledgers.
    pub ledgers: Vec<PathBuf>,
    /// How long to wait for what is still on its way: reading goes on until all ledger entries are found, or the ends have not
    /// moved for so long. Zero: up to the ends as they are at the start.
    pub settle: Duration,
    /// How long a read may bring nothing before the audit is given up.
    pub idle_max: Duration,
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
            ledgers: Vec::new(),
            settle: Duration::ZERO,
            idle_max: Duration::from_secs(30),
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
    let mut judge = Judge::new();
    for (index, path) in config.ledgers.iter().enumerate() {
        let index = LedgerIndex(u32::try_from(index).unwrap_or(u32::MAX));
        if read_ledger(path, &mut |line, entry| judge.expect(index, line, &entry))? {
            judge.note_broken_tail();
        }
    }
    let mut reader = Reader::connect(config)?;
    let (mut quiet, mut first) = (Duration::ZERO, true);
    loop {
        let before = judge.progress().0;
        reader.read_on(&mut judge, progress)?;
        let found_all = !config.ledgers.is_empty() && judge.has_found_all();
        quiet = if judge.progress().0 > before || first { Duration::ZERO } else { quiet + LOOK_AGAIN };
        first = false;
        if found_all && quiet > Duration::ZERO || quiet >= config.settle {
            break;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    let names: Vec<String> = config.ledgers.iter().map(|path| path.display().to_string()).collect();
    let mut report = judge.verdict(&names);
    report.seconds = began.elapsed().unwrap_or_default().as_secs_f64();
    Ok(report)
}

struct Reader<'a> {
    config: &'a AuditConfig,
    consumer: BaseConsumer,
    /// Where each partition is read on, by topic.
    next: BTreeMap<String, Vec<i64>>,
}

impl<'a> Reader<'a> {
    fn connect(config: &'a AuditConfig) -> Result<Self, AuditError> {
        let mut client = ClientConfig::new();
        client.set("fetch.message.max.bytes", "1048576").set("queued.max.messages.kbytes", "16384");
        for (key, value) in &config.properties {
            client.set(key, value);
        }
        client
            .set("bootstrap.servers", &config.bootstrap)
            .set("group.id", "lamppost-audit")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("allow.auto.create.topics", "false");
        let consumer = client.create().map_err(|source| cluster("the consumer", source))?;
        Ok(Self { config, consumer, next: BTreeMap::new() })
    }

    /// Reads what has been added to all topics since the last call.
    fn read_on(&mut self, judge: &mut Judge, progress: &mut dyn FnMut(Progress)) -> Result<(), AuditError> {
        let metadata = self.consumer.fetch_metadata(None, REQUEST_MAX).map_err(|e| cluster("metadata", e))?;
        let partitions: BTreeMap<&str, usize> =
            metadata.topics().iter().map(|topic| (topic.name(), topic.partitions().len())).collect();
        let topics: Vec<String> = if self.config.topics.is_empty() {
            partitions.keys().filter(|name| !name.starts_with("__")).map(|name| (*name).to_owned()).collect()
        } else {
            self.config.topics.clone()
        };
        for topic in topics {
            let count = partitions.get(topic.as_str()).copied().filter(|count| *count > 0);
            let count = count.ok_or_else(|| AuditError::NoTopic(topic.clone()))?;
            self.read_topic(&topic, count, judge, progress)?;
        }
        Ok(())
    }

    fn read_topic(
        &mut self,
        topic: &str,
        count: usize,
        judge: &mut Judge,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), AuditError> {
        let mut next = self.next.remove(topic).unwrap_or_default();
        next.resize(count, 0);
        // Partitions that hold something unread, with their ends.
        let mut open: HashMap<i32, i64> = HashMap::new();
        let mut list = TopicPartitionList::new();
        for (partition, next) in (0_i32..).zip(&mut next) {
            let ends = self.consumer.fetch_watermarks(topic, partition, REQUEST_MAX);
            let (low, high) = ends.map_err(|e| cluster(&format!("the ends of {topic}/{partition}"), e))?;
            *next = (*next).max(low);
            if *next < high {
                open.insert(partition, high);
                let added = list.add_partition_offset(topic, partition, Offset::Offset(*next));
                added.map_err(|e| cluster(&format!("{topic}/{partition}"), e))?;
            }
        }
        if !open.is_empty() {
            self.consumer.assign(&list).map_err(|e| cluster(topic, e))?;
            self.drain(topic, &mut open, &mut next, judge, progress)?;
            self.consumer.unassign().map_err(|e| cluster(topic, e))?;
        }
        self.next.insert(topic.to_owned(), next);
        let (records, missing) = judge.progress();
        progress(Progress { records, missing });
        Ok(())
    }

    /// Reads the assigned partitions of one topic until each has reached its end.
    fn drain(
        &self,
        topic: &str,
        open: &mut HashMap<i32, i64>,
        next: &mut [i64],
        judge: &mut Judge,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), AuditError> {
        let partitions = u16::try_from(next.len()).unwrap_or(u16::MAX);
        while !open.is_empty() {
            let message = match self.consumer.poll(self.config.idle_max) {
                None => {
                    let (topic, left) = (topic.to_owned(), open.len());
                    return Err(AuditError::Stalled { topic, left, idle_max: self.config.idle_max });
                }
                // Behind the last record there can be marks of transactions, which nobody is shown.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(end) = open.remove(&partition)
                        && let Some(next) = usize::try_from(partition).ok().and_then(|at| next.get_mut(at))
                    {
                        *next = end.max(*next);
                    }
                    continue;
                }
                Some(Err(error)) if is_passing(&error) => continue,
                Some(Err(error)) => return Err(cluster(topic, error)),
                Some(Ok(message)) => message,
            };
            let place = usize::try_from(message.partition()).ok().and_then(|at| next.get_mut(at));
            // What was fetched for an earlier assignment, or twice, is not counted twice.
            let Some(place) = place.filter(|place| message.topic() == topic && message.offset() >= **place) else {
                continue;
            };
            *place = message.offset() + 1;
            observe(judge, &message, partitions);
            if open.get(&message.partition()).is_some_and(|end| *place >= *end) {
                open.remove(&message.partition());
            }
            let (records, missing) = judge.progress();
            if records % PROGRESS_RECORDS == 0 {
                progress(Progress { records, missing });
            }
        }
        Ok(())
    }
}

/// librdkafka tells of these and goes on by itself.
fn is_passing(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::AllBrokersDown | Code::BrokerTransportFailure | Code::OperationTimedOut | Code::Resolve)
    )
}

fn cluster(what: &str, source: KafkaError) -> AuditError {
    AuditError::Cluster { what: what.to_owned(), source }
}

fn observe(judge: &mut Judge, message: &BorrowedMessage<'_>, partitions: u16) {
    let (mut id, mut sender_id, mut device, mut boot, mut sequence) = (None, None, None, None, None);
    for field in message.headers().into_iter().flat_map(|headers| headers.iter()) {
        let value = field.value.and_then(|value| std::str::from_utf8(value).ok());
        match field.key {
            header::ID => id = value,
            header::SENDER_ID => sender_id = value,
            header::DEVICE => device = value,
            header::SENDER_BOOT => boot = value.and_then(|value| value.parse().ok()),
            header::SENDER_SEQUENCE => sequence = value.and_then(|value| value.parse().ok()),
            _ => {}
        }
    }
    let counted = || Some(MarkRef::Sequence { device: device?, boot: boot?, sequence: sequence? });
    judge.observe(&Record {
        topic: message.topic(),
        partition: Partition(u16::try_from(message.partition()).unwrap_or(u16::MAX)),
        partitions,
        offset: message.offset(),
        key: message.key().unwrap_or_default(),
        id,
        mark: sender_id.map(MarkRef::Id).or_else(counted),
    });
}
