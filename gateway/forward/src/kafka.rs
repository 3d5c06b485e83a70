//! The edge to librdkafka: one producer, its delivery reports and what it says of its connections.
//!
//! Order rests on five properties: idempotence (the broker refuses what overtakes), the gap-less guarantee (a batch that
//! fails for good stops the whole producer, so that nothing behind it is written), no time-out, retries without end, and care where the broker may
//! know nothing of the producer (`care.rs`).

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lamppost_event::{Partition, Stored, Topic, header};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;

use crate::config::{Delivery, ForwardConfig, ForwardConfigError};
use crate::counters::Counters;
use crate::denial::meant;
use crate::failure::{Class, classify};
use crate::schema::Encoder;
use crate::security::{is_secret, said_otherwise};
use crate::stamp::Stamp;
use crate::transactional;
use crate::window::Slot;
use crate::wire::Wire;
use crate::{pace, record};

/// The property that says how many requests may be on their way to a broker at once.
const REQUESTS_MAX: &str = "max.in.flight.requests.per.connection";

/// The fate of one event in flight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    pub(crate) slot: Slot,
    /// `None`: the cluster has it.
    pub(crate) error: Option<RDKafkaErrorCode>,
}

/// What one producer has reported and nobody has taken yet. Bounded by what is in flight.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    queue: Mutex<Vec<Report>>,
    trouble: Mutex<Option<(RDKafkaErrorCode, String)>>,
    /// Of an open transaction: what the cluster has acknowledged and not committed, events and bytes.
    pub(crate) held: Mutex<[u64; 2]>,
    /// Of an open transaction: librdkafka counts something as delivered that no broker has acknowledged.
    pub(crate) is_doubtful: AtomicBool,
    wake: Notify,
}

impl Reports {
    /// Swaps the reports out into `into`, whose allocation takes the next ones.
    pub(crate) fn take(&self, into: &mut Vec<Report>) {
        into.clear();
        std::mem::swap(&mut *lock(&self.queue), into);
    }

    /// What the client itself said: a fatal error, or that it may not connect.
    pub(crate) fn take_trouble(&self) -> Option<(RDKafkaErrorCode, String)> {
        lock(&self.trouble).take()
    }

    /// Completes when there is something to take.
    pub(crate) async fn wait(&self) {
        self.wake.notified().await;
    }

    fn push(&self, report: Report) {
        let mut queue = lock(&self.queue);
        let first = queue.is_empty();
        queue.push(report);
        drop(queue);
        if first {
            self.wake.notify_one();
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What librdkafka's callbacks reach.
pub(crate) struct Context {
    reports: Arc<Reports>,
    counters: Arc<Counters>,
    wire: Mutex<Wire>,
    /// What is acknowledged counts as delivered only once its transaction is committed.
    transactional: bool,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|broker| broker.state == "UP") {
            self.counters.set_reached();
        } else {
            // Between two tries, or not asked yet: that it is down is said by the client's own error.
            self.counters.connected.store(false, Relaxed);
        }
        lock(&self.wire).apply(&statistics, &self.counters);
        self.reports.wake.notify_one();
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let KafkaError::Global(code) = error else { return };
        let code = meant(code, reason);
        match classify(code) {
            _ if code == RDKafkaErrorCode::AllBrokersDown => self.counters.set_unreached(reason),
            Class::Denied => {
                *lock(&self.reports.trouble) = Some((code, reason.to_owned()));
                self.reports.wake.notify_one();
            }
            Class::Echo if code == RDKafkaErrorCode::Fatal => {
                // The gap-less guarantee failed, or the producer's id was refused: the reports say which.
                lock(&self.reports.trouble).get_or_insert((code, reason.to_owned()));
                self.reports.wake.notify_one();
            }
            _ => tracing::debug!(target: "librdkafka", %code, reason, "client error"),
        }
    }
}

/// librdkafka's own log, in ours. Broken connections are its daily bread: only errors are worth a warning.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::warn!(target: "librdkafka", facility, "{message}");
        }
        _ => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, slot: usize) {
        let error = match result {
            // librdkafka's own conclusion from what came behind it, and no broker's word.
            Ok(message) if message.offset() < 0 => {
                self.reports.is_doubtful.store(true, Relaxed);
                Some(RDKafkaErrorCode::Inconsistent)
            }
            Ok(_) if Slot::CURSOR.0 as usize == slot => None,
            Ok(message) if self.transactional => {
                let [events, bytes] = &mut *lock(&self.reports.held);
                *events += 1;
                *bytes += (message.payload_len() + message.key_len()) as u64;
                None
            }
            Ok(message) => {
                let bytes = message.payload_len() + message.key_len();
                self.counters.delivered.fetch_add(1, Relaxed);
                self.counters.delivered_bytes.fetch_add(bytes as u64, Relaxed);
                None
            }
            Err((error, _)) => Some(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)),
        };
        self.reports.push(Report { slot: Slot(u32::try_from(slot).unwrap_or(u32::MAX)), error });
    }
}

/// One event, ready to be sent.
pub(crate) struct Outgoing<'a> {
    pub(crate) name: &'a Topic,
    pub(crate) partition: Partition,
    pub(crate) stored: &'a Stored,
    /// As it goes out.
    pub(crate) payload: &'a [u8],
    /// What made that of the payload as received.
    pub(crate) encoder: Option<&'a Encoder>,
    pub(crate) stamp: Stamp,
    /// In which of two lanes it goes ([`header::LANE`]); `None`: there is one.
    pub(crate) lane: Option<&'static str>,
}

/// A producer with its reports.
#[derive(Clone)]
pub(crate) struct Kafka {
    pub(crate) producer: Arc<ThreadedProducer<Context>>,
    pub(crate) reports: Arc<Reports>,
    counters: Arc<Counters>,
}

impl Kafka {
    /// A producer that lets batches gather as configured, up to so many bytes, with one request at a time on its way to a broker or as many as
    /// librdkafka lets (`care.rs`).
    pub(crate) fn connect(
        config: &ForwardConfig,
        batch_bytes_max: usize,
        one_at_a_time: bool,
        counters: &Arc<Counters>,
    ) -> KafkaResult<Self> {
        let mut client = client_config(config);
        if one_at_a_time {
            client.set(REQUESTS_MAX, "1");
        }
        Self::connect_as(client, config, batch_bytes_max, counters)
    }

    /// As the mode of delivery wants it.
    fn connect_as(
        client: ClientConfig,
        config: &ForwardConfig,
        batch_bytes_max: usize,
        counters: &Arc<Counters>,
    ) -> KafkaResult<Self> {
        let mut client = match config.delivery {
            Delivery::AtLeastOnce => producer_config(client, config),
            Delivery::ExactlyOnce => transactional::producer_config(client, config),
        };
        Self::connect_with(client.set("batch.size", batch_bytes_max.to_string()), counters)
    }

    /// A producer for one event at a time: nothing to wait for. Nothing can overtake what is alone, so an event that is refused need not end
    /// the producer: it goes on with the next.
    pub(crate) fn connect_for_one(config: &ForwardConfig, counters: &Arc<Counters>) -> KafkaResult<Self> {
        Self::connect_for_one_with(client_config(config), config, counters)
    }

    fn connect_for_one_with(
        client: ClientConfig,
        config: &ForwardConfig,
        counters: &Arc<Counters>,
    ) -> KafkaResult<Self> {
        let mut client = producer_config(client, config);
        client.set("linger.ms", "0").set("enable.gapless.guarantee", "false");
        Self::connect_with(&client, counters)
    }

    pub(crate) fn connect_with(client: &ClientConfig, counters: &Arc<Counters>) -> KafkaResult<Self> {
        let reports = Arc::new(Reports::default());
        let transactional = client.get(transactional::ID).is_some();
        let (counters, wire) = (Arc::clone(counters), Mutex::default());
        let context = Context { reports: Arc::clone(&reports), counters: Arc::clone(&counters), wire, transactional };
        let producer = ThreadedProducer::from_config_and_context(client, context)?;
        Ok(Self { producer: Arc::new(producer), reports, counters })
    }

    /// Hands an event over. Never blocks.
    pub(crate) fn send(
        &self,
        config: &ForwardConfig,
        out: &Outgoing<'_>,
        slot: Slot,
        text: &mut String,
    ) -> Result<(), RDKafkaErrorCode> {
        let mut headers = Some(OwnedHeaders::new_with_capacity(16));
        let mut bytes = 0;
        let mut put = |key: &'static str, value: &str| {
            bytes += record::header_bytes(key, value);
            headers = headers.take().map(|headers| headers.insert(Header { key, value: Some(value) }));
        };
        record::headers(out.stored, &config.gateway, out.stamp, out.encoder, text, &mut put);
        if let Some(lane) = out.lane {
            put(header::LANE, lane);
        }
        let event = &out.stored.event;
        let mut payload = out.payload;
        if let Some(room) = record::cut(out.stored, config.message_bytes_max) {
            put(header::PAYLOAD_BYTES, &payload.len().to_string());
            payload = payload.get(..room).unwrap_or(payload);
        }
        bytes += record::body_bytes(&event.key, payload);
        // A reader by the registry's wire format takes null for nothing, and stops at an empty value for want of its five bytes.
        let is_null = out.encoder.is_some() && payload.is_empty();
        let record = BaseRecord {
            topic: out.name.as_str(),
            partition: Some(i32::from(out.partition.0)),
            payload: (!is_null).then_some(payload),
            key: Some(&*event.key),
            // 0 would mean "now" to librdkafka.
            timestamp: Some(out.stamp.time.0.max(1)),
            headers,
            delivery_opaque: slot.0 as usize,
        };
        let sent = self.producer.send(record);
        if sent.is_ok() {
            self.counters.record_bytes.fetch_add(bytes as u64, Relaxed);
        }
        sent.map_err(|(error, _)| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown))
    }

    /// Purges what is in flight, waits for the connections to close, and hands out the reports that came till then.
    /// An event reported as delivered here is: it need not be sent again.
    pub(crate) async fn close(self) -> Vec<Report> {
        let Self { producer, reports, .. } = self;
        // Joins librdkafka's threads: some hundred milliseconds.
        if tokio::task::spawn_blocking(move || drop(producer)).await.is_err() {
            tracing::warn!("closing the producer panicked");
        }
        let mut last = Vec::new();
        reports.take(&mut last);
        last
    }

    /// Why the producer stopped for good, if it did.
    pub(crate) fn fatal(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.producer.client().fatal_error()
    }
}

/// What all clients of this gateway share. Secrets are in it: it is never printed.
pub(crate) fn client_config(config: &ForwardConfig) -> ClientConfig {
    let mut client = plain_config(config);
    config.keyring.apply(&mut client);
    client
}

/// The same without credentials.
fn plain_config(config: &ForwardConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    let reconnect_ms_max = config.retry_delay_max.as_millis().clamp(200, 5000);
    client
        .set("client.id", &config.client_id)
        .set("log.connection.close", "false")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.max.ms", reconnect_ms_max.to_string());
    for (key, value) in &config.properties {
        client.set(key, value);
    }
    client
        .set("bootstrap.servers", &config.bootstrap)
        // Asking after a topic must not make one, with whatever defaults the brokers have.
        .set("allow.auto.create.topics", "false");
    client
}

pub(crate) fn producer_config(mut client: ClientConfig, config: &ForwardConfig) -> ClientConfig {
    // Our own bound is met first; librdkafka's is the net below, and above one event of any size.
    let queue_kbytes = (config.in_flight_bytes_max + 2 * config.message_bytes_max) / 1024 + 1;
    // Each under both of its names: of two that say different things librdkafka takes the one that it is told last.
    let set_unless_given = [
        (["linger.ms", "queue.buffering.max.ms"], format!("{}", config.linger.as_secs_f64() * 1000.0)),
        (["compression.codec", "compression.type"], config.compression.as_str().to_owned()),
        (["statistics.interval.ms"; 2], "5000".to_owned()),
    ];
    for (names, value) in set_unless_given {
        if !names.iter().any(|name| config.properties.contains_key(*name)) {
            client.set(names[0], value);
        }
    }
    if config.bandwidth_max.is_some() {
        // The ceiling is kept by them.
        client.set("statistics.interval.ms", pace::TOLD_EVERY.as_millis().to_string());
    }
    client
        .set("enable.idempotence", "true")
        .set("enable.gapless.guarantee", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("message.max.bytes", config.message_bytes_max.max(1000).to_string())
        .set("queue.buffering.max.kbytes", queue_kbytes.to_string())
        .set("queue.buffering.max.messages", "0");
    client
}

/// What the producer that delivers at least once is set to, each property of librdkafka that is not at its default, without the credentials:
/// for who measures another beside it.
#[must_use]
pub fn producer_properties(config: &ForwardConfig) -> BTreeMap<String, String> {
    let mut client = producer_config(plain_config(config), config);
    client.set("batch.size", config.message_bytes_max.to_string());
    client.config_map().iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Whether librdkafka takes the configuration. The credentials are not looked at: their files may be there later.
pub(crate) fn check(config: &ForwardConfig) -> Result<(), ForwardConfigError> {
    for key in config.properties.keys() {
        check_name(key)?;
    }
    let unheard = Arc::new(Counters::unheard());
    let plain = plain_config(config);
    let whole = || match config.delivery {
        Delivery::AtLeastOnce => Kafka::connect_for_one_with(plain.clone(), config, &unheard).map(drop),
        Delivery::ExactlyOnce => Kafka::connect_as(plain.clone(), config, config.message_bytes_max, &unheard).map(drop),
    };
    let native = producer_config(plain.clone(), config).create_native_config();
    native.map(drop).and_then(|()| whole()).map_err(refused)
}

/// Whether a property may be set to that value.
///
/// # Errors
/// [`ForwardConfigError`] says why not.
pub fn check_property(key: &str, value: &str) -> Result<(), ForwardConfigError> {
    check_name(key)?;
    ClientConfig::new().set(key, value).create_native_config().map(drop).map_err(refused)
}

fn check_name(key: &str) -> Result<(), ForwardConfigError> {
    if ForwardConfig::RESERVED.contains(&key) {
        return Err(ForwardConfigError::Reserved(key.to_owned()));
    }
    let owned = |remedy| ForwardConfigError::SaidOtherwise { property: key.to_owned(), remedy };
    said_otherwise(key).map_or(Ok(()), |remedy| Err(owned(remedy)))
}

fn refused(error: KafkaError) -> ForwardConfigError {
    match error {
        KafkaError::ClientConfig(_, why, key, value) => {
            let value = if is_secret(&key) { "(hidden)".into() } else { value };
            ForwardConfigError::Property { key, value, why }
        }
        other => ForwardConfigError::Refused(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use lamppost_event::GatewayId;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    use rdkafka::{Offset, TopicPartitionList};

    use super::*;

    /// What librdkafka makes of a batch that was refused before one that was taken.
    #[test]
    fn what_no_broker_has_acknowledged_is_not_delivered_whatever_came_behind_it() {
        const RECORDS: usize = 200;
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("air", 1, 1).unwrap();
        cluster.broker_round_trip_time(1, Duration::from_millis(40)).unwrap();
        let mut answers = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR; 30];
        answers
            .iter_mut()
            .step_by(3)
            .for_each(|answer| *answer = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS);
        cluster.request_errors(RDKafkaApiKey::Produce, &answers);
        let config = ForwardConfig::new(GatewayId::new("post").unwrap(), &cluster.bootstrap_servers());
        let mut client = producer_config(client_config(&config), &config);
        client.set("batch.num.messages", "2");
        let kafka = Kafka::connect_with(&client, &Arc::new(Counters::unheard())).unwrap();
        for slot in 0..RECORDS {
            let payload = slot.to_string();
            let record = BaseRecord::with_opaque_to("air", slot).partition(0).key("x").payload(&payload);
            kafka.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        let (mut delivered, mut implied, mut reports) = (HashSet::new(), 0, Vec::new());
        while delivered.len() + implied < RECORDS {
            kafka.producer.poll(Duration::from_millis(50));
            kafka.reports.take(&mut reports);
            for report in &reports {
                match report.error {
                    None => drop(delivered.insert(report.slot.0.to_string())),
                    Some(code) => {
                        assert_eq!(classify(code), Class::Retry, "{code:?}");
                        implied += 1;
                    }
                }
            }
        }
        assert!(implied > 0, "librdkafka concluded nothing: this test shows nothing");
        let reader: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("group.id", "reader")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let mut all = TopicPartitionList::new();
        all.add_partition_offset("air", 0, Offset::Beginning).unwrap();
        reader.assign(&all).unwrap();
        let there: HashSet<String> = std::iter::from_fn(|| reader.poll(Duration::from_secs(10)))
            .map_while(Result::ok)
            .filter_map(|message| Some(String::from_utf8_lossy(message.payload()?).into_owned()))
            .collect();
        assert!(delivered.is_subset(&there), "lost: {:?}", delivered.difference(&there));
        assert!(there.len() < RECORDS, "all that was implied was there");
    }
}
