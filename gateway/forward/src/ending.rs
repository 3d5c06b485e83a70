//! How a transaction ends: committed with its cursors, or given up.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lamppost_event::{JournalStopped, Offset, TopicPartition};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::time::{Instant, interval_at, sleep};

use crate::engine::{Engine, Failures};
use crate::failure::{Class, classify};
use crate::kafka::Kafka;
use crate::reach::Reach;
use crate::session::{Stop, TICK_MAX, until};
use crate::solo::panicked;
use crate::transactional::{Patience, Remedy, TransactionError};

/// A transaction that has to be given up.
pub(crate) struct Broken {
    failures: Failures,
    pub(crate) remedy: Remedy,
    /// What was said of the transaction as a whole.
    code: Option<Code>,
}

impl Broken {
    pub(crate) fn new(error: TransactionError) -> Self {
        let failures = Failures { refused: Vec::new(), client: Some((error.code, error.why)) };
        Self { failures, remedy: error.remedy, code: Some(error.code) }
    }

    /// Records failed, or the producer itself.
    pub(crate) fn of(failures: Failures) -> Self {
        Self { failures, remedy: Remedy::Abort, code: None }
    }
}

/// Takes in what else was reported. That we are kept out counts more than what follows from it.
fn gather(failures: &mut Failures, more: Option<Failures>) {
    let Some(more) = more else { return };
    failures.refused.extend(more.refused);
    failures.client = more.client.filter(is_denial).or(failures.client.take());
}

fn is_denial((code, _): &(Code, String)) -> bool {
    classify(*code) == Class::Denied
}

impl Engine {
    /// Writes the cursors and commits, if a transaction is open. A stop sets the deadline, and is waited for no longer.
    pub(crate) async fn end_transaction(
        &mut self,
        kafka: &Kafka,
        stop: &mut Stop<'_>,
        deadline: &mut Option<Instant>,
    ) -> Result<Result<(), Broken>, JournalStopped> {
        let Some(exactly) = self.exactly_once.as_ref().filter(|exactly| exactly.transaction.is_open()) else {
            return Ok(Ok(()));
        };
        let reached = exactly.transaction.reached();
        let partition = exactly.register.partition.unwrap_or_default();
        for (at, reach) in &reached {
            let (key, value) = (exactly.cluster.key(at), reach.to_value());
            if let Err(code) = kafka.note(&self.config.cursors_topic, partition, &key, &value) {
                let why = format!("a cursor can't be handed over: {code}");
                return Ok(Err(Broken::new(TransactionError { remedy: Remedy::Abort, code, why })));
            }
        }
        let (patience, lent) = (Patience::new(), kafka.clone());
        let given_up = Arc::clone(&patience.0);
        let mut commit = tokio::task::spawn_blocking(move || lent.commit(&given_up));
        let mut look = interval_at(Instant::now() + TICK_MAX, TICK_MAX);
        let (mut gathered, mut outdated) = (Failures::default(), false);
        let committed = loop {
            self.look_at_wire();
            self.read_ahead();
            self.show();
            let late = deadline.filter(|_| !patience.0.load(Relaxed));
            tokio::select! {
                biased;
                committed = &mut commit => break committed.unwrap_or_else(|_| Err(panicked())),
                () = stop.as_mut(), if deadline.is_none() => *deadline = Some(Instant::now() + self.config.stop_deadline),
                Some(done) = self.work.join_next(), if !self.work.is_empty() => self.joined(done)?,
                // All reports are taken below; what librdkafka tells of the wire counts at once.
                () = kafka.reports.wait() => {}
                () = until(late), if late.is_some() => {
                    patience.0.store(true, Relaxed);
                }
                _ = look.tick(), if !outdated => {
                    gather(&mut gathered, self.take_reports(kafka, &mut Vec::new()));
                    outdated = gathered.client.is_some() || self.has_new_credentials();
                    // With its credentials this producer may never get an answer. The next one asks what has become of the transaction.
                    patience.0.fetch_or(outdated, Relaxed);
                }
            }
        };
        // All was flushed before the commit: every report is there.
        gather(&mut gathered, self.take_reports(kafka, &mut Vec::new()));
        if let Err(error) = committed {
            let mut broken = Broken::new(error);
            broken.remedy = if outdated { Remedy::Rebuild } else { broken.remedy };
            gather(&mut broken.failures, Some(gathered));
            return Ok(Err(broken));
        }
        self.transaction_committed(kafka, reached);
        Ok(Ok(()))
    }

    fn transaction_committed(&mut self, kafka: &Kafka, reached: Vec<(TopicPartition, Reach)>) {
        let Some(exactly) = &mut self.exactly_once else { return };
        exactly.transaction.committed(Instant::now());
        for (at, reach) in reached {
            exactly.reached(at, reach);
        }
        for slot in std::mem::take(&mut exactly.acknowledged) {
            self.window.done(slot);
        }
        self.count_committed(kafka);
    }

    pub(crate) fn count_committed(&mut self, kafka: &Kafka) {
        let [events, bytes] = kafka.take_held();
        self.counters.delivered.fetch_add(events, Relaxed);
        self.counters.delivered_bytes.fetch_add(bytes, Relaxed);
        self.counters.transactions.fetch_add(1, Relaxed);
        self.delivered();
    }

    /// Aborts; where that can't be, the producer goes. Returns how long to wait before the next transaction.
    pub(crate) async fn give_up_transaction(
        &mut self,
        kafka: Kafka,
        broken: Broken,
    ) -> Result<Duration, JournalStopped> {
        let Broken { mut failures, mut remedy, code } = broken;
        if let Some((code, why)) = kafka.fatal() {
            remedy = Remedy::Rebuild;
            failures.client = Some((code, why));
        } else if kafka.is_doubtful() {
            // Its sequence numbers may be others than the brokers'.
            remedy = Remedy::Rebuild;
        }
        let is_open = self.exactly_once.as_ref().is_some_and(|exactly| exactly.transaction.is_open());
        let mut kept = None;
        if is_open && matches!(remedy, Remedy::Abort | Remedy::Stopped) {
            match self.abort(&kafka, self.config.transaction_timeout).await {
                Ok(()) => kept = Some((self.config.keyring.generation(), kafka.clone())),
                Err(error) => tracing::debug!(why = error.why, "a transaction could not be aborted"),
            }
        }
        gather(&mut failures, self.take_reports(&kafka, &mut Vec::new()));
        let kafka = if kept.is_some() { None } else { Some(kafka) };
        if let Some(kafka) = kafka {
            let last = kafka.close().await;
            self.apply(&last, &mut failures);
            self.counters.rebuilds.fetch_add(1, Relaxed);
        }
        self.blame_all(code, &mut failures);
        let timed_out = |code: Code| matches!(code, Code::MessageTimedOut | Code::OperationTimedOut);
        let in_vain = failures.refused.iter().filter(|(_, _, code)| timed_out(*code));
        // A topic that was deleted meanwhile looks the same: it is asked for anew.
        let late: Vec<_> = in_vain.map(|(at, _, _)| at.topic.clone()).collect();
        for topic in &late {
            self.targets.remove(topic);
        }
        if let Some(exactly) = &mut self.exactly_once {
            exactly.transaction.given_up(!late.is_empty());
            exactly.acknowledged.clear();
            exactly.kept = kept;
        }
        if is_open {
            self.counters.transactions_aborted.fetch_add(1, Relaxed);
        }
        let delay = self.settle(failures);
        self.commit(true)?;
        self.show();
        Ok(delay)
    }

    /// A topic of the transaction can't be written to, and librdkafka does not say which: all of them go apart. The right ones are back with
    /// their next event.
    fn blame_all(&self, code: Option<Code>, failures: &mut Failures) {
        let is_of_topic = |code: Code| classify(code) == Class::Topic;
        let Some(code) = code.filter(|code| is_of_topic(*code)) else { return };
        let Some(exactly) = &self.exactly_once else { return };
        if !failures.refused.iter().any(|(_, _, code)| is_of_topic(*code)) {
            let all = exactly.transaction.reached().into_iter().map(|(at, _)| (at, Offset(0), code));
            failures.refused.extend(all);
        }
    }

    /// Aborts what is open.
    pub(crate) async fn abort(&self, kafka: &Kafka, wait: Duration) -> Result<(), TransactionError> {
        let (patience, lent) = (Patience::new(), kafka.clone());
        let given_up = Arc::clone(&patience.0);
        let mut abort = tokio::task::spawn_blocking(move || lent.abort(&given_up));
        let aborted = tokio::select! {
            aborted = &mut abort => aborted,
            () = sleep(wait) => {
                patience.0.store(true, Relaxed);
                abort.await
            }
        };
        kafka.take_held();
        aborted.unwrap_or_else(|_| Err(panicked()))
    }
}
