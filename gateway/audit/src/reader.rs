//! Reads the cluster, topic by topic, up to the ends as they are.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use lamppost_event::{AUDIT_TRAIL, Partition, header};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::metadata::Metadata;
use rdkafka::{Offset, TopicPartitionList};

use crate::audit::{AuditConfig, AuditError, Progress};
use crate::heard::Heard;
use crate::judge::{Judge, Lane, MarkRef, Record};

/// What the dead letters' topic is called, with whatever a cluster's template puts around it.
const DEAD_LETTERS: &str = "dead-letters";

/// How often progress is told, in records.
const PROGRESS_RECORDS: u64 = 50_000;

/// How long metadata is waited for between two looks at why it does not come.
const METADATA_SLICE: Duration = Duration::from_secs(3);

/// How long and how often librdkafka is listened to.
const LISTEN: Duration = Duration::from_millis(10);
const WORDS_MAX: usize = 100;

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For an answer of the cluster.
    pub(crate) request: Duration,
    /// For the next record, where there is one.
    pub(crate) record: Duration,
}

impl Patience {
    /// Of one who wants to have read all.
    pub(crate) const fn of(config: &AuditConfig) -> Self {
        Self { request: Duration::from_secs(15), record: config.idle_max }
    }
}

/// A reader of the cluster, and where it is.
pub(crate) struct Reader {
    consumer: BaseConsumer<Heard>,
    heard: Heard,
    /// The topics that were asked for; none: all.
    wanted: Vec<String>,
    payload_id: Option<String>,
    pub(crate) patience: Patience,
    /// What is not in `next` is new, and read from 0 on; else from where the cluster has it.
    begun: bool,
    /// Only what is from then on is read, but of the audit trail; milliseconds since 1970.
    since_ms: Option<i64>,
    /// Where each partition was begun, and where it is read on, by topic.
    first: BTreeMap<String, Vec<i64>>,
    next: BTreeMap<String, Vec<i64>>,
    /// Where each partition ends, if all has been read once.
    ends: Option<BTreeMap<String, Vec<i64>>>,
}

impl Reader {
    /// Makes a consumer. It connects with the first request.
    pub(crate) fn connect(config: &AuditConfig) -> Result<Self, AuditError> {
        let mut client = ClientConfig::new();
        // A request that waits at a broker's end holds up the next topic: it waits shortly.
        client
            .set("fetch.message.max.bytes", "1048576")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.wait.max.ms", "50");
        for (key, value) in &config.properties {
            client.set(key, value);
        }
        client
            .set("bootstrap.servers", &config.bootstrap)
            .set("group.id", "lamppost-audit")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("isolation.level", if config.uncommitted { "read_uncommitted" } else { "read_committed" })
            .set("allow.auto.create.topics", "false");
        let heard = Heard::default();
        let consumer = client.create_with_context(heard.clone());
        let consumer = consumer.map_err(|source| heard.failed("the consumer", source))?;
        let (wanted, payload_id, patience) = (config.topics.clone(), config.payload_id.clone(), Patience::of(config));
        let since_ms = config.since.map(|time| time.0);
        let (first, next, ends) = Default::default();
        Ok(Self { consumer, heard, wanted, payload_id, patience, begun: false, since_ms, first, next, ends })
    }

    /// From now on all is to be read: what is there by now, and what is added to any topic.
    pub(crate) fn begin(&mut self) -> Result<(), AuditError> {
        for (topic, count) in self.topics()? {
            let lows = self.lows(&topic, count)?;
            self.next.insert(topic, lows);
        }
        self.begun = true;
        Ok(())
    }

    /// Where each partition of a topic is to be begun: with what the cluster still has, or the first that is recent enough.
    fn lows(&self, topic: &str, count: usize) -> Result<Vec<i64>, AuditError> {
        let ends = (0_i32..).take(count).map(|partition| self.ends(topic, partition)).collect::<Result<Vec<_>, _>>()?;
        // The trail is small, and says whose the epochs are and what became of holes.
        let Some(since_ms) = self.since_ms.filter(|_| !topic.contains(AUDIT_TRAIL)) else {
            return Ok(ends.into_iter().map(|(low, _)| low).collect());
        };
        let failed = |error| self.heard.failed(&format!("the offsets of {topic} by time"), error);
        let mut times = TopicPartitionList::new();
        for (partition, _) in (0_i32..).zip(&ends) {
            times.add_partition_offset(topic, partition, Offset::Offset(since_ms.max(0))).map_err(failed)?;
        }
        let found = self.consumer.offsets_for_times(times, self.patience.request).map_err(failed)?;
        let first = |(partition, ends): (i32, &(i64, i64))| {
            let found = found.find_partition(topic, partition).map(|found| found.error().map(|()| found.offset()));
            Ok(begun_at(found.transpose().map_err(failed)?, *ends))
        };
        (0_i32..).zip(&ends).map(first).collect()
    }

    /// The topics to read, with their numbers of partitions; 0: not there. In the order to read them in: manifests first, so that what they call
    /// delivered is there when it is looked for, and dead letters, which come after what they stand for, last.
    pub(crate) fn topics(&self) -> Result<Vec<(String, usize)>, AuditError> {
        let mut topics = self.named_topics()?;
        topics.sort_by_key(|(name, _)| match name {
            name if name.contains(AUDIT_TRAIL) => 0,
            name if name.contains(DEAD_LETTERS) => 2,
            _ => 1,
        });
        Ok(topics)
    }

    fn named_topics(&self) -> Result<Vec<(String, usize)>, AuditError> {
        let metadata = self.metadata()?;
        let there: BTreeMap<&str, usize> =
            metadata.topics().iter().map(|topic| (topic.name(), topic.partitions().len())).collect();
        if self.wanted.is_empty() {
            let all = there.into_iter().filter(|(name, _)| !name.starts_with("__"));
            return Ok(all.map(|(name, count)| (name.to_owned(), count)).collect());
        }
        let count = |name: &String| there.get(name.as_str()).copied().unwrap_or(0);
        let wanted = self.wanted.iter().map(|name| (name.clone(), count(name)));
        // What became of holes stands there.
        let beside = there.iter().filter(|(name, _)| {
            [AUDIT_TRAIL, DEAD_LETTERS].iter().any(|kind| name.contains(kind))
                && !self.wanted.iter().any(|wanted| wanted == *name)
        });
        Ok(wanted.chain(beside.map(|(name, count)| ((*name).to_owned(), *count))).collect())
    }

    /// Takes in what librdkafka has said beside; nothing is assigned meanwhile, so no record is lost by it.
    fn listen(&self) {
        for _ in 0..WORDS_MAX {
            if self.consumer.poll(LISTEN).is_none() {
                return;
            }
        }
    }

    /// Who is not let in is told so at once, and not after all the patience.
    fn metadata(&self) -> Result<Metadata, AuditError> {
        let mut left = self.patience.request;
        loop {
            let slice = left.min(METADATA_SLICE);
            left -= slice;
            let fetched = self.consumer.fetch_metadata(None, slice);
            if fetched.is_err() {
                self.listen();
            }
            match fetched {
                Ok(metadata) => return Ok(metadata),
                Err(error) if left.is_zero() || self.heard.is_denied() => {
                    return Err(self.heard.failed("metadata", error));
                }
                Err(_) => {}
            }
        }
    }

    /// The topics that were asked for by name; none: all.
    pub(crate) fn wanted(&self) -> &[String] {
        &self.wanted
    }

    fn ends(&self, topic: &str, partition: i32) -> Result<(i64, i64), AuditError> {
        let ends = self.consumer.fetch_watermarks(topic, partition, self.patience.request);
        ends.map_err(|e| self.heard.failed(&format!("the ends of {topic}/{partition}"), e))
    }

    /// Reads all once more, from where it was begun to where it was ended.
    pub(crate) fn read_again(
        &mut self,
        judge: &mut Judge,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), AuditError> {
        let ends = self.ends.take().unwrap_or_else(|| self.next.clone());
        let topics: Vec<(String, usize)> = ends.iter().map(|(topic, ends)| (topic.clone(), ends.len())).collect();
        self.next = self.first.clone();
        self.ends = Some(ends);
        for (topic, count) in topics {
            self.read_topic(&topic, count, judge, progress)?;
        }
        Ok(())
    }

    /// Reads what has been added to all topics since the last call.
    pub(crate) fn read_on(&mut self, judge: &mut Judge, progress: &mut dyn FnMut(Progress)) -> Result<(), AuditError> {
        for (topic, count) in self.topics()? {
            if count == 0 {
                return Err(AuditError::NoTopic(topic));
            }
            self.read_topic(&topic, count, judge, progress)?;
        }
        Ok(())
    }

    /// Reads what has been added to a topic since the last call. After a failure the next call goes on where this one was.
    pub(crate) fn read_topic(
        &mut self,
        topic: &str,
        count: usize,
        judge: &mut Judge,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), AuditError> {
        let mut next = match self.next.remove(topic) {
            Some(next) => next,
            None if self.begun => Vec::new(),
            None => self.lows(topic, count)?,
        };
        next.resize(count.max(next.len()), 0);
        let first = self.first.entry(topic.to_owned()).or_default();
        first.extend(next.iter().skip(first.len()));
        let read = self.read_partitions(topic, &mut next, judge, progress);
        self.next.insert(topic.to_owned(), next);
        let (records, missing) = judge.progress();
        progress(Progress { records, missing });
        read
    }

    fn read_partitions(
        &self,
        topic: &str,
        next: &mut [i64],
        judge: &mut Judge,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), AuditError> {
        // Partitions that hold something unread, with their ends.
        let mut open: HashMap<i32, i64> = HashMap::new();
        let mut list = TopicPartitionList::new();
        for (partition, next) in (0_i32..).zip(next.iter().copied()) {
            let (low, high) = self.ends(topic, partition)?;
            let high = self.end(topic, partition).unwrap_or(high);
            if low > 0 || self.first(topic, partition) > Some(0) {
                judge.note_trimmed(topic);
            }
            if low > next {
                let (topic, partition) = (topic.to_owned(), numbered(partition));
                return Err(AuditError::FellBehind { topic, partition, next, low });
            }
            if next < high {
                open.insert(partition, high);
                let added = list.add_partition_offset(topic, partition, Offset::Offset(next));
                added.map_err(|e| self.heard.failed(&format!("{topic}/{partition}"), e))?;
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        self.consumer.assign(&list).map_err(|e| self.heard.failed(topic, e))?;
        let drained = self.drain(topic, &mut open, next, judge, progress);
        self.consumer.unassign().map_err(|e| self.heard.failed(topic, e))?;
        drained
    }

    /// Where a partition was begun.
    fn first(&self, topic: &str, partition: i32) -> Option<i64> {
        self.first.get(topic)?.get(usize::try_from(partition).ok()?).copied()
    }

    /// Where a partition ends, if all has been read once.
    fn end(&self, topic: &str, partition: i32) -> Option<i64> {
        self.ends.as_ref()?.get(topic)?.get(usize::try_from(partition).ok()?).copied()
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
            let message = match self.consumer.poll(self.patience.record) {
                None => {
                    let (topic, left) = (topic.to_owned(), open.len());
                    return Err(AuditError::Stalled { topic, left, idle_max: self.patience.record });
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
                Some(Err(error)) => return Err(self.heard.failed(topic, error)),
                Some(Ok(message)) => message,
            };
            let place = usize::try_from(message.partition()).ok().and_then(|at| next.get_mut(at));
            // What was fetched for an earlier assignment, or twice, is not counted twice.
            let Some(place) = place.filter(|place| message.topic() == topic && message.offset() >= **place) else {
                continue;
            };
            *place = message.offset() + 1;
            // What came since belongs to another audit.
            if self.end(topic, message.partition()).is_none_or(|end| message.offset() < end) {
                observe(judge, &message, partitions, self.payload_id.as_deref());
            }
            if open.get(&message.partition()).is_some_and(|end| *place >= *end) {
                open.remove(&message.partition());
            }
            let (records, missing) = judge.progress();
            if records % PROGRESS_RECORDS == 0 {
                if judge.is_full() {
                    return Err(AuditError::Offsets { topic: topic.to_owned() });
                }
                progress(Progress { records, missing });
            }
        }
        Ok(())
    }
}

/// Where to begin a partition that has these ends, by what the cluster says of a time: behind all where nothing is so recent.
fn begun_at(found: Option<Offset>, (low, high): (i64, i64)) -> i64 {
    match found {
        Some(Offset::Offset(offset)) => offset.clamp(low, high.max(low)),
        _ => high,
    }
}

/// librdkafka tells of these and goes on by itself.
fn is_passing(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        // Of our group nothing is wanted: it need not be allowed.
        Some(
            Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::OperationTimedOut
                | Code::Resolve
                | Code::GroupAuthorizationFailed
        )
    )
}

fn numbered(partition: i32) -> Partition {
    Partition(u16::try_from(partition).unwrap_or(u16::MAX))
}

fn observe(judge: &mut Judge, message: &BorrowedMessage<'_>, partitions: u16, payload_id: Option<&str>) {
    let (mut id, mut sender_id, mut device, mut boot, mut sequence) = (None, None, None, None, None);
    let (mut source, mut reason, mut kind, mut lane) = (None, None, None, Lane::Only);
    for field in message.headers().into_iter().flat_map(|headers| headers.iter()) {
        let value = field.value.and_then(|value| std::str::from_utf8(value).ok());
        match field.key {
            header::ID => id = value,
            header::SOURCE => source = value,
            header::REASON => reason = value,
            header::KIND => kind = value,
            header::LANE if value == Some(header::BACKFILL) => lane = Lane::Backfill,
            header::LANE if value == Some(header::LIVE) => lane = Lane::Live,
            header::SENDER_ID => sender_id = value,
            header::DEVICE => device = value,
            header::SENDER_BOOT => boot = value.and_then(|value| value.parse().ok()),
            header::SENDER_SEQUENCE => sequence = value.and_then(|value| value.parse().ok()),
            _ => {}
        }
    }
    if id.is_none() && kind == Some(header::CURSOR) {
        return;
    }
    let counted = || Some(MarkRef::Sequence { device: device?, boot: boot?, sequence: sequence? });
    let mark = sender_id.map(MarkRef::Id).or_else(counted);
    // Looked for only where it is needed: reading JSON takes longer than all else here.
    let said = payload_id.filter(|_| mark.is_none()).and_then(|member| text_at(member, message.payload()?));
    judge.observe(&Record {
        topic: message.topic(),
        partition: numbered(message.partition()),
        partitions,
        offset: message.offset(),
        key: message.key().unwrap_or_default(),
        id,
        mark: mark.or_else(|| said.as_deref().map(MarkRef::Id)),
        time_ms: message.timestamp().to_millis().unwrap_or_default(),
        lane,
        reason,
        notice: message.payload().filter(|_| is_notice(id, source)),
    });
}

/// The text that a JSON object has as this member.
fn text_at(member: &str, payload: &[u8]) -> Option<String> {
    match serde_json::from_slice::<serde_json::Map<_, _>>(payload).ok()?.remove(member)? {
        serde_json::Value::String(text) => Some(text),
        _ => None,
    }
}

/// Only the gateway itself gives notice: what a device sends to that topic, by whatever route, comes from another source.
fn is_notice(id: Option<&str>, source: Option<&str>) -> bool {
    let in_trail = id.is_some_and(|id| id.split('/').nth(2) == Some(AUDIT_TRAIL));
    in_trail && source.is_some_and(|source| source.ends_with("/gateway"))
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::*;

    #[test]
    fn what_manifests_call_delivered_is_looked_for_after_they_are_read() {
        let cluster = MockCluster::new(1).unwrap();
        for name in ["city.air", "city.audit-trail", "city.dead-letters", "city.traffic"] {
            cluster.create_topic(name, 1, 1).unwrap();
        }
        let order = |wanted: &[&str]| {
            let topics = wanted.iter().map(|name| (*name).to_owned()).collect();
            let config = AuditConfig { topics, ..AuditConfig::new(&cluster.bootstrap_servers()) };
            let topics = Reader::connect(&config).unwrap().topics().unwrap();
            topics.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(order(&[]), ["city.audit-trail", "city.air", "city.traffic", "city.dead-letters"]);
        assert_eq!(order(&["city.air"]), ["city.audit-trail", "city.air", "city.dead-letters"]);
    }

    #[test]
    fn a_partition_is_begun_at_the_time_or_behind_all_but_never_where_the_cluster_has_nothing() {
        let at = |found| begun_at(found, (10, 90));
        assert_eq!(
            [at(Some(Offset::Offset(40))), at(Some(Offset::Offset(3))), at(Some(Offset::End)), at(None)],
            [40, 10, 90, 90]
        );
    }
}
