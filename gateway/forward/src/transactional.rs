//! The edge to librdkafka's transactions: blocking calls, made where blocking is allowed, each bounded in time.
//!
//! librdkafka's rules (rdkafka.h, "Transactional producer API"), as they are kept here:
//! - An error says what to do: call again, abort, or give the producer up (fatal). Whatever is neither is given up as well.
//! - A call that timed out is made again before any other.
//! - After a transaction whose fate is not known nothing is assumed: `init_transactions` of the next producer ends it one way or the
//!   other before it returns, and then the cursors tell.
//! - `send_offsets_to_transaction` is not used: it is for offsets of a consumer group that reads Kafka (KIP-447). Our input is
//!   the journal, so the cursors are records of their own, in the same transaction.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lamppost_event::{Topic, header};
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::config::ForwardConfig;
use crate::kafka::{Kafka, lock};
use crate::window::Slot;

/// The property that makes a producer transactional.
pub(crate) const ID: &str = "transactional.id";

/// How long one call may take before it is made again: how soon a stop is noticed.
const CALL_MAX: Duration = Duration::from_secs(2);

/// What to do after a transactional call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Abort the transaction; the producer goes on.
    Abort,
    /// Give the producer up. What became of the transaction is not known.
    Rebuild,
    /// The same, and perhaps another process has taken the place of this one.
    Fenced,
    /// We gave up ourselves, since we were told to stop.
    Stopped,
}

/// A transactional call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TransactionError {
    pub(crate) remedy: Remedy,
    pub(crate) code: Code,
    pub(crate) why: String,
}

impl TransactionError {
    /// A record was not taken.
    pub(crate) fn of_code(code: Code) -> Self {
        Self { remedy: Remedy::Abort, code, why: code.to_string() }
    }
}

/// The properties of a transactional producer.
pub(crate) fn producer_config(client: ClientConfig, config: &ForwardConfig) -> ClientConfig {
    let mut client = crate::kafka::producer_config(client, config);
    // A message can't outlive its transaction (librdkafka refuses that). And where all or nothing counts, a batch that fails makes no
    // gap: the transaction fails with it.
    client.remove("message.timeout.ms");
    client
        .set("enable.gapless.guarantee", "false")
        .set("transaction.timeout.ms", config.transaction_timeout.as_millis().max(1000).to_string())
        .set(ID, id(config));
    client
}

/// The name under which a gateway's transactions go.
pub(crate) fn id(config: &ForwardConfig) -> String {
    format!("lamppost-{}-{}", config.gateway, config.group.as_str())
}

/// What librdkafka's error asks for.
fn failed(error: &KafkaError) -> Result<TransactionError, ()> {
    let (code, why) = (error.rdkafka_error_code().unwrap_or(Code::Unknown), error.to_string());
    let fenced = matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch);
    let remedy = match error {
        // The messages were not flushed in time: that is only the first part of the call.
        KafkaError::Flush(Code::OperationTimedOut) => return Err(()),
        // Another call was left half-way. librdkafka says so at once and calls it retriable: to ask again would spin, and change nothing.
        _ if matches!(code, Code::Conflict | Code::PreviousInProgress) => Remedy::Rebuild,
        KafkaError::Transaction(error) if error.txn_requires_abort() => Remedy::Abort,
        KafkaError::Transaction(error) if error.is_retriable() => return Err(()),
        _ if fenced => Remedy::Fenced,
        _ => Remedy::Rebuild,
    };
    let why = if let KafkaError::Transaction(error) = error { error.string() } else { why };
    Ok(TransactionError { remedy, code, why })
}

/// Ends a blocking call soon after nobody waits for it any more.
pub(crate) struct Patience(pub(crate) Arc<AtomicBool>);

impl Patience {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Makes a call again as long as librdkafka asks for it, until `stop`.
fn persist(stop: &AtomicBool, call: impl Fn() -> Result<(), KafkaError>) -> Result<(), TransactionError> {
    loop {
        let error = match call() {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match failed(&error) {
            Ok(failed) => return Err(failed),
            Err(()) if stop.load(Relaxed) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                return Err(TransactionError { remedy: Remedy::Stopped, code, why: error.to_string() });
            }
            Err(()) => {}
        }
    }
}

impl Kafka {
    /// Takes the place of every other producer of that name, and ends what it left open. Blocks until the coordinator is reached
    /// or `stop`.
    pub(crate) fn init_transactions(&self, stop: &AtomicBool) -> Result<(), TransactionError> {
        persist(stop, || self.producer.init_transactions(CALL_MAX))
    }

    /// Nothing is said to the cluster yet.
    pub(crate) fn begin(&self) -> Result<(), TransactionError> {
        self.reports.is_doubtful.store(false, Relaxed);
        persist(&AtomicBool::new(true), || self.producer.begin_transaction())
    }

    /// Blocks until it is committed, or can't be, or `stop`. Not while something in it is not certain to be there: librdkafka would.
    pub(crate) fn commit(&self, stop: &AtomicBool) -> Result<(), TransactionError> {
        persist(stop, || self.producer.flush(CALL_MAX))?;
        if self.is_doubtful() {
            return Err(TransactionError { remedy: Remedy::Rebuild, ..TransactionError::of_code(Code::Inconsistent) });
        }
        persist(stop, || self.producer.commit_transaction(CALL_MAX))
    }

    /// Whether something in the transaction that was begun last counted as delivered though no broker has acknowledged it.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.reports.is_doubtful.load(Relaxed)
    }

    /// Blocks until it is aborted, or can't be, or `stop`. What was in flight is purged; its reports are of no use.
    pub(crate) fn abort(&self, stop: &AtomicBool) -> Result<(), TransactionError> {
        persist(stop, || self.producer.abort_transaction(CALL_MAX))
    }

    /// A record of our own, in the transaction that is open.
    pub(crate) fn note(&self, topic: &Topic, partition: i32, key: &str, value: &[u8]) -> Result<(), Code> {
        let record = BaseRecord {
            topic: topic.as_str(),
            partition: Some(partition),
            payload: Some(value),
            key: Some(key),
            timestamp: None,
            headers: Some(OwnedHeaders::new().insert(Header { key: header::KIND, value: Some(header::CURSOR) })),
            delivery_opaque: Slot::CURSOR.0 as usize,
        };
        let sent = self.producer.send(record);
        sent.map_err(|(error, _)| error.rdkafka_error_code().unwrap_or(Code::Unknown))
    }

    /// Events and bytes that were acknowledged since the last call.
    pub(crate) fn take_held(&self) -> [u64; 2] {
        std::mem::take(&mut *lock(&self.reports.held))
    }
}

#[cfg(test)]
mod tests {
    use lamppost_event::GatewayId;
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;
    use crate::config::Delivery;
    use crate::counters::Counters;

    #[test]
    fn a_commit_that_was_given_up_half_way_can_not_be_aborted_and_is_not_asked_for_again_and_again() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("cursors", 1, 1).unwrap();
        let mut config = ForwardConfig::new(GatewayId::new("post").unwrap(), &cluster.bootstrap_servers());
        config.delivery = Delivery::ExactlyOnce;
        let kafka = Kafka::connect(&config, 100_000, false, &Arc::new(Counters::unheard())).unwrap();
        let (at_once, in_the_end) = (AtomicBool::new(true), Arc::new(AtomicBool::new(false)));
        kafka.init_transactions(&AtomicBool::new(false)).unwrap();
        kafka.begin().unwrap();
        kafka.note(&Topic::new("cursors").unwrap(), 0, "key", b"value").unwrap();
        // Longer than one call: the coordinator is asked again and again meanwhile.
        let loading = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
        cluster.request_errors(RDKafkaApiKey::EndTxn, &[loading; 1000]);
        assert_eq!(kafka.commit(&at_once).unwrap_err().remedy, Remedy::Stopped);
        let (lent, stop) = (kafka.clone(), Arc::clone(&in_the_end));
        let aborting = std::thread::spawn(move || lent.abort(&stop));
        // Enough for one answer; without one it would go on until it is told to stop.
        std::thread::sleep(Duration::from_secs(1));
        in_the_end.store(true, Relaxed);
        assert_eq!(aborting.join().unwrap().unwrap_err().remedy, Remedy::Rebuild);
    }

    /// librdkafka takes a batch for delivered that a broker calls a repetition, or that comes before one which was taken.
    #[test]
    fn a_transaction_with_something_in_it_that_no_broker_has_acknowledged_is_not_committed() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("cursors", 1, 1).unwrap();
        let mut config = ForwardConfig::new(GatewayId::new("post").unwrap(), &cluster.bootstrap_servers());
        config.delivery = Delivery::ExactlyOnce;
        let kafka = Kafka::connect(&config, 100_000, false, &Arc::new(Counters::unheard())).unwrap();
        let (topic, stop) = (Topic::new("cursors").unwrap(), AtomicBool::new(false));
        let transaction = || {
            kafka.begin().unwrap();
            kafka.note(&topic, 0, "key", b"value").unwrap();
            kafka.commit(&stop)
        };
        kafka.init_transactions(&stop).unwrap();
        transaction().unwrap();
        cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER]);
        let refused = transaction().unwrap_err();
        assert_eq!((refused.remedy, refused.code), (Remedy::Rebuild, Code::Inconsistent));
    }
}
