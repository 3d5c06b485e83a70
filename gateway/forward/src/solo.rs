//! A topic apart in exactly-once mode: each of its events goes in a transaction of its own, by the common producer, between two
//! of the common transactions. A producer of its own would have a name of its own, and the gateway that takes this one's place would not
//! fence it.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lamppost_event::{Offset, Partition, TopicPartition};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::alone::Outcome;
use crate::config::ForwardConfig;
use crate::failure::{Class, classify};
use crate::kafka::{Kafka, Outgoing, lock};
use crate::reach::Reach;
use crate::transactional::{Remedy, TransactionError};
use crate::window::Slot;

/// How long all other topics wait for one event of a topic apart.
const SOLO_MAX: Duration = Duration::from_secs(10);

/// What the engine has to know beside the event's outcome.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    /// The cursor that was committed with it.
    pub(crate) committed: Option<(TopicPartition, Reach)>,
    /// The event was not sent: its epoch has no room in the cursor of its partition.
    pub(crate) without_room: Option<(TopicPartition, Offset)>,
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
        let at = TopicPartition { topic: stored.event.topic.clone(), partition: stored.partition };
        if !reach.takes(stored.epoch) {
            lock(&self.aftermath).without_room = Some((at, stored.offset));
            let why = "the journal's own cursors are not on disk yet".to_owned();
            return Outcome::Failed { code: Code::Unknown, why };
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
        Outcome::Failed { code, why }
    }

    fn broken(&self, error: TransactionError) -> Outcome {
        let why = error.why.clone();
        lock(&self.aftermath).broken = Some(error);
        Outcome::Failed { code: Code::Unknown, why }
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

#[cfg(test)]
mod tests {
    use lamppost_event::{Epoch, GatewayId, WallTime};
    use rdkafka::mocking::MockCluster;

    use super::*;
    use crate::config::Delivery;
    use crate::counters::Counters;
    use crate::sample::stored;
    use crate::stamp::Stamp;

    #[tokio::test]
    async fn an_event_whose_epoch_has_no_room_is_not_sent_and_it_is_said_which() {
        let cluster = MockCluster::new(1).unwrap();
        let mut config = ForwardConfig::new(GatewayId::new("post").unwrap(), &cluster.bootstrap_servers());
        config.delivery = Delivery::ExactlyOnce;
        let mut reach = Reach::default();
        let epochs = (0..).find(|epoch| {
            let takes = reach.takes(Epoch(*epoch));
            if takes {
                reach.extend(Epoch(*epoch), Offset(epoch + 1));
            }
            !takes
        });
        let epochs = epochs.unwrap();
        let solo = Solo {
            kafka: Kafka::connect(&config, 100_000, false, &Arc::new(Counters::unheard())).unwrap(),
            partition: 0,
            key: "post/forward/air/".into(),
            reached: HashMap::from([(Partition(0), reach)]),
            aftermath: Arc::default(),
        };
        let late = stored(epochs, epochs);
        let stamp = Stamp { time: WallTime(1), received: WallTime(1), clock: "synced" };
        let name = late.event.topic.clone();
        let out = |stored| Outgoing {
            name: &name,
            partition: Partition(0),
            stored,
            payload: b"",
            encoder: None,
            stamp,
            lane: None,
        };
        let outcome = solo.send(&config, &out(&late)).await;
        assert!(matches!(outcome, Outcome::Failed { code: Code::Unknown, .. }), "{outcome:?}");
        let Aftermath { committed, without_room, broken } = std::mem::take(&mut *lock(&solo.aftermath));
        assert!(committed.is_none() && broken.is_none());
        assert_eq!(without_room.map(|(at, offset)| (at.partition, offset)), Some((Partition(0), Offset(epochs))));
        assert_eq!(solo.send(&config, &out(&stored(3, 3))).await, Outcome::Delivered, "what is covered is there");
    }
}
