//! A topic apart in exactly-once mode: each of its events goes in a transaction of its own, by the common producer, between two
//! of the common transactions. A producer of its own would have a name of its own, and the gateway that takes this one's place would not
//! fence it.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lamppost_event::{Partition, TopicPartition};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::alone::Outcome;
use crate::config::ForwardConfig;
use crate::cursors::Reach;
use crate::failure::{Class, classify};
use crate::kafka::{Kafka, Outgoing, lock};
use crate::transactional::{Remedy, TransactionError};
use crate::window::Slot;

/// How long all other topics wait for one event of a topic apart.
const SOLO_MAX: Duration = Duration::from_secs(10);

/// What the engine has to know beside the event's outcome.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    /// The cursor that was committed with it.
    pub(crate) committed: Option<(TopicPartition, Reach)>,
    /// The producer has to go.
    pub(crate) broken: Option<TransactionError>,
}

/// The common producer, lent to one topic for one event.
#[derive(Clone)]
pub(crate) struct Solo {
    pub(crate) kafka: Kafka,
    /// Where the cursors are.
    pub(crate) partition: i32,
    /// The keys of the topic's cursors begin so: `<gateway>/<group>/<topic>/`.
    pub(crate) key: String,
    /// How far the topic's partitions have come in the cluster.
    pub(crate) reached: HashMap<Partition, Reach>,
    pub(crate) aftermath: Arc<Mutex<Aftermath>>,
}

impl Solo {
    /// Sends one event in a transaction with its cursor.
    pub(crate) async fn send(&self, config: &ForwardConfig, out: &Outgoing<'_>) -> Outcome {
        let stored = out.stored;
        let mut reach = self.reached.get(&stored.partition).cloned().unwrap_or_default();
        if reach.covers(stored.epoch, stored.offset) {
            return Outcome::Delivered;
        }
        reach.extend(stored.epoch, stored.offset.next());
        if let Err(error) = self.kafka.begin() {
            return self.broken(error);
        }
        let key = format!("{}{}", self.key, stored.partition);
        let sent = self.kafka.send(config, out, Slot(0), &mut String::new());
        let noted = sent.and_then(|()| self.kafka.note(&config.cursors_topic, self.partition, &key, &reach.to_value()));
        let failed = match noted {
            Err(code) => TransactionError { remedy: Remedy::Abort, code, why: code.to_string() },
            Ok(()) => match self.call(Kafka::commit).await {
                Ok(()) => {
                    self.kafka.reports.take(&mut Vec::new());
                    let at = TopicPartition { topic: stored.event.topic.clone(), partition: stored.partition };
                    lock(&self.aftermath).committed = Some((at, reach));
                    return Outcome::Delivered;
                }
                Err(error) => error,
            },
        };
        self.give_up(failed).await
    }

    /// Aborts, and says what the failure means for the event.
    async fn give_up(&self, failed: TransactionError) -> Outcome {
        if !matches!(failed.remedy, Remedy::Abort | Remedy::Stopped) {
            return self.broken(failed);
        }
        if let Err(error) = self.call(Kafka::abort).await {
            return self.broken(error);
        }
        let mut reports = Vec::new();
        self.kafka.reports.take(&mut reports);
        self.kafka.take_held();
        // What the event's own report says counts more than what was said of the transaction.
        let own = reports.iter().filter(|report| report.slot == Slot(0)).find_map(|report| report.error);
        let code = own.filter(|code| classify(*code) != Class::Echo).unwrap_or(failed.code);
        let why = if code == failed.code { failed.why } else { code.to_string() };
        Outcome::Failed { class: classify(code), why }
    }

    fn broken(&self, error: TransactionError) -> Outcome {
        let why = error.why.clone();
        lock(&self.aftermath).broken = Some(error);
        Outcome::Failed { class: Class::Retry, why }
    }

    /// Makes a blocking call, for a while.
    async fn call(
        &self,
        call: fn(&Kafka, &AtomicBool) -> Result<(), TransactionError>,
    ) -> Result<(), TransactionError> {
        let (kafka, stop) = (self.kafka.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let mut called = tokio::task::spawn_blocking(move || call(&kafka, &stopped));
        let result = tokio::select! {
            result = &mut called => result,
            () = tokio::time::sleep(SOLO_MAX) => {
                stop.store(true, Relaxed);
                called.await
            }
        };
        result.unwrap_or_else(|_| Err(panicked()))
    }
}

/// A blocking call panicked: nothing is known of the producer.
pub(crate) fn panicked() -> TransactionError {
    TransactionError { remedy: Remedy::Rebuild, code: Code::Unknown, why: "a transactional call panicked".into() }
}
