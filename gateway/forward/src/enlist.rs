//! Taking one's place in the cluster: one process forwards for a gateway, whichever started last.
//!
//! `transactional.id` is the gateway's and the group's name, so `init_transactions` fences whoever used it before: nothing of
//! an old process is committed any more. Who was fenced can't tell by Kafka's error alone whether another process has come, or the cluster has
//! only ended a transaction that took too long (KIP-588). So who starts leaves its random name in the cursors' topic:
//!
//! - A *start* takes the place, whoever has it, and writes its name.
//! - A producer that is built anew first looks whose name stands there. Another's: it stands by, and fences nobody.
//! - Who stands by looks again from time to time. Only when nothing was heard of the other for
//!   [`crate::ForwardConfig::fenced_wait`] does it start again: two that run for ever do not take turns, and a
//!   copy that was switched off again does not leave the gateway silent.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lamppost_event::{Rfc3339, WallTime};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::ForwardConfig;
use crate::cursors::{ClusterCursors, Incumbent};
use crate::denial::Denial;
use crate::engine::Engine;
use crate::failure::{Class, classify};
use crate::kafka::Kafka;
use crate::register::RegisterError;
use crate::solo::panicked;
use crate::transactional::{Patience, Remedy, TransactionError};

/// How often one that stands by looks, at most.
const LOOK_MAX: Duration = Duration::from_secs(60);

/// So long a topic may be new. Brokers hear of one within a second or two.
const NEW_MAX: Duration = Duration::from_secs(30);

/// So long a call goes on after a broker has kept us out: another may let us in.
const KEPT_OUT_MAX: Duration = Duration::from_secs(5);

/// Whether this process is the one that forwards.
#[derive(Debug)]
pub(crate) struct Standing {
    instance: String,
    /// Its name stood in the cluster once.
    is_established: bool,
    /// Since when not every broker knows of the cursors' topic, though it is there.
    is_new_since: Option<Instant>,
    /// Another's stands there: when it was heard of last, and how much was heard by then.
    heard: Option<(Instant, u64)>,
}

impl Standing {
    pub(crate) fn new() -> Self {
        // The standard library's keys of hash tables are random.
        let random = || RandomState::new().build_hasher().finish();
        Self {
            instance: format!("{:016x}{:016x}", random(), random()),
            is_established: false,
            is_new_since: None,
            heard: None,
        }
    }

    fn is_usurped(&self, cursors: &ClusterCursors) -> bool {
        let other = |incumbent: &Incumbent| incumbent.instance != self.instance;
        self.is_established && cursors.incumbent.as_ref().is_some_and(other)
    }

    /// Not every broker knows of the cursors' topic, though it is there.
    fn wait_for_topic(&mut self, now: Instant) -> NewTopic {
        let since = match self.is_new_since {
            None => {
                self.is_new_since = Some(now);
                return NewTopic::First;
            }
            Some(since) => since,
        };
        if now.saturating_duration_since(since) < NEW_MAX { NewTopic::Again } else { NewTopic::TooLong }
    }

    /// How long to stand by before looking again. A start of its own once nothing was heard for `wait`.
    fn stand_by(&mut self, heard: u64, now: Instant, wait: Duration) -> Duration {
        let (since, known) = *self.heard.get_or_insert((now, heard));
        if known != heard {
            self.heard = Some((now, heard));
        } else if now.saturating_duration_since(since) >= wait {
            (self.is_established, self.heard) = (false, None);
            return Duration::ZERO;
        }
        LOOK_MAX.min(wait / 4).max(Duration::from_millis(10))
    }
}

/// What to make of a cursors' topic that not every broker knows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NewTopic {
    /// It is worth a word.
    First,
    Again,
    /// That is no new topic any more.
    TooLong,
}

/// Why this process does not forward yet.
enum Later {
    Register(RegisterError),
    Transaction(TransactionError),
    /// The brokers do not let us in.
    Denied(Code, String),
    Usurped,
}

impl Engine {
    /// Takes the gateway's place with a new producer, and learns how far the cluster is. Else how long to wait.
    pub(crate) async fn enlist(&mut self, kafka: &Kafka) -> Result<(), Duration> {
        let later = match self.try_enlist(kafka).await {
            Ok(()) => {
                self.counters.fenced.store(false, Relaxed);
                self.held_up = None;
                if let Some(exactly) = &mut self.exactly_once {
                    exactly.standing.is_new_since = None;
                }
                // Whoever gets that far is kept out by nothing. To be clear about it must not wait for the next event.
                self.denied.clear();
                return Ok(());
            }
            // Why nobody answers the consumer, the producer has heard.
            Err(Later::Register(RegisterError::Unreachable(why))) => denial_of(kafka)
                .map_or(Later::Register(RegisterError::Unreachable(why)), |(code, why)| Later::Denied(code, why)),
            Err(later) => later,
        };
        self.counters.retries.fetch_add(1, Relaxed);
        match later {
            Later::Usurped => return Err(self.stand_by()),
            Later::Register(RegisterError::Unreachable(why)) => self.counters.set_unreached(&why),
            Later::Register(error @ RegisterError::New { .. }) => self.wait_for_topic(&error),
            Later::Register(RegisterError::Denied { denial, why }) => {
                self.deny(denial, &why);
                return Err(self.delay_denied());
            }
            Later::Register(error) => self.held_up = Some(error.to_string()),
            Later::Denied(code, why) => {
                self.deny(Denial::of(code), &why);
                return Err(self.delay_denied());
            }
            Later::Transaction(TransactionError { remedy, code, why }) => {
                if code == Code::TransactionalIdAuthorizationFailed || classify(code) == Class::Denied {
                    self.deny(
                        Denial::of(code),
                        &format!("the cluster does not let this gateway use transactions: {why}"),
                    );
                    return Err(self.delay_denied());
                }
                tracing::debug!(why, "the gateway's place in the cluster is not taken yet");
                // What passes by itself was tried again by then.
                if matches!(remedy, Remedy::Abort | Remedy::Rebuild) {
                    self.held_up = Some(format!("the cluster refuses this gateway's transactions: {why}"));
                }
            }
        }
        Err(self.backoff.next())
    }

    fn wait_for_topic(&mut self, error: &RegisterError) {
        let Some(exactly) = &mut self.exactly_once else { return };
        match exactly.standing.wait_for_topic(Instant::now()) {
            NewTopic::First => tracing::info!("{error}; it is tried again"),
            NewTopic::Again => tracing::debug!(%error, "still"),
            NewTopic::TooLong => self.held_up = Some(error.to_string()),
        }
    }

    async fn try_enlist(&mut self, kafka: &Kafka) -> Result<(), Later> {
        // A producer that is built anew must not fence who has come since.
        if self.exactly_once.as_ref().is_some_and(|exactly| exactly.standing.is_established) {
            self.read_register().await?;
        }
        self.take_place(kafka).await?;
        // What the last producer left is committed or aborted now: what is read from here on is how it ended.
        self.read_register().await?;
        self.announce(kafka).await
    }

    /// What the cluster has not ended of the last transaction is waited for without end: nobody but the cluster can tell how it ended. A person may
    /// have to help it, and is told so after some time.
    async fn take_place(&mut self, kafka: &Kafka) -> Result<(), Later> {
        let mut taking = pin!(blocking(kafka, |kafka, stop| kafka.init_transactions(stop)));
        tokio::select! {
            taken = &mut taking => return taken,
            () = sleep(self.config.transaction_timeout) => {}
        }
        // Else it is told that the cluster is out of reach.
        if self.counters.connected.load(Relaxed) {
            self.held_up = Some(unended(&self.config));
            self.show();
        }
        taking.await
    }

    /// Reads the cursors on to their end.
    async fn read_register(&mut self) -> Result<(), Later> {
        let Some(exactly) = &mut self.exactly_once else { return Ok(()) };
        let (config, mut register) = (Arc::clone(&self.config), exactly.register.clone());
        let empty = ClusterCursors::new(&config.gateway, &config.group);
        let mut cursors = std::mem::replace(&mut exactly.cluster, empty);
        let read = tokio::task::spawn_blocking(move || {
            let read = register.read_on(&config, &mut cursors);
            (register, cursors, read)
        });
        let (register, cursors, read) = match read.await {
            Ok(read) => read,
            Err(error) => {
                // What was known is lost with the thread: from the beginning, then.
                exactly.register = crate::register::Register::default();
                return Err(Later::Register(RegisterError::Unreachable(error.to_string())));
            }
        };
        (exactly.register, exactly.cluster) = (register, cursors);
        read.map_err(Later::Register)?;
        if exactly.standing.is_usurped(&exactly.cluster) { Err(Later::Usurped) } else { Ok(()) }
    }

    /// Leaves this start's name in the cluster.
    async fn announce(&mut self, kafka: &Kafka) -> Result<(), Later> {
        let resumes = self.window.has_cursors();
        let Some(exactly) = &mut self.exactly_once else { return Ok(()) };
        if exactly.standing.is_established {
            return Ok(());
        }
        if exactly.cluster.is_empty() && resumes {
            tracing::warn!(
                topic = %self.config.cursors_topic,
                "the cluster has no cursors of this gateway, and the journal has: it goes on at the journal's. What was delivered and not remembered there (at least once before, or with a cursors' topic that was lost) comes twice"
            );
        }
        let since_ms = self.clock.now().wall.0;
        let ours = Incumbent { instance: exactly.standing.instance.clone(), since_ms };
        let (key, value) = (exactly.cluster.incumbent_key().to_owned(), ours.to_value());
        let (topic, partition) = (self.config.cursors_topic.clone(), exactly.register.partition.unwrap_or_default());
        blocking(kafka, move |kafka, stop| {
            kafka.begin()?;
            kafka.note(&topic, partition, &key, &value).map_err(TransactionError::of_code)?;
            kafka.commit(stop)
        })
        .await?;
        exactly.cluster.incumbent = Some(ours);
        (exactly.standing.is_established, exactly.standing.heard) = (true, None);
        tracing::info!(instance = exactly.standing.instance, "this process forwards for the gateway, exactly once");
        Ok(())
    }

    fn stand_by(&mut self) -> Duration {
        let Some(exactly) = &mut self.exactly_once else { return Duration::ZERO };
        let wait = self.config.fenced_wait;
        let delay = exactly.standing.stand_by(exactly.cluster.heard, Instant::now(), wait);
        if !exactly.standing.is_established {
            tracing::warn!(?wait, "nothing was heard of the process that took this one's place: it is taken back");
            return delay;
        }
        self.counters.fenced.store(true, Relaxed);
        self.held_up = Some(usurped(&self.config, exactly.cluster.incumbent.as_ref()));
        delay
    }
}

/// The words for a human.
fn usurped(config: &ForwardConfig, other: Option<&Incumbent>) -> String {
    let since = other.and_then(|other| Rfc3339::new(WallTime(other.since_ms)));
    let since = since.map_or_else(String::new, |since| format!(" since {since}"));
    let name = other.map_or("", |other| &other.instance);
    format!(
        "another process forwards as gateway {:?}, group {:?}{since} (instance {name}): this one was fenced and stands by. Is it an old process, or a copy of this gateway's card? Stop one of them; a restart here takes the place back",
        config.gateway.as_str(),
        config.group.as_str(),
    )
}

/// The words for a human.
fn unended(config: &ForwardConfig) -> String {
    format!(
        "the cluster does not take this gateway's transactions ({}): none of its coordinators answers, or the one that does has not ended the last transaction. Where a leader's disk was full Kafka can forget to (its log: \"Unexpected error … while sending txn marker\"), until the broker that leads the gateway's partition of __transaction_state is restarted. Nothing is dropped; it is tried again",
        crate::transactional::id(config),
    )
}

/// That the brokers do not let us in, if the producer has heard so.
fn denial_of(kafka: &Kafka) -> Option<(Code, String)> {
    kafka.reports.take_trouble().filter(|(code, _)| classify(*code) == Class::Denied)
}

/// Makes a blocking call that ends soon after nobody waits for it any more, or once we are kept out: librdkafka would go on asking with
/// credentials that nobody takes.
async fn blocking(
    kafka: &Kafka,
    call: impl FnOnce(&Kafka, &std::sync::atomic::AtomicBool) -> Result<(), TransactionError> + Send + 'static,
) -> Result<(), Later> {
    let (patience, lent) = (Patience::new(), kafka.clone());
    let stop = Arc::clone(&patience.0);
    let mut call = tokio::task::spawn_blocking(move || call(&lent, &stop));
    let (mut denial, mut until) = (None, None);
    let called = loop {
        let until_now = until.filter(|_| !patience.0.load(Relaxed));
        tokio::select! {
            biased;
            called = &mut call => break called.unwrap_or_else(|_| Err(panicked())),
            () = kafka.reports.wait() => {
                if let Some(said) = denial_of(kafka) {
                    until = until.or(Some(Instant::now() + KEPT_OUT_MAX));
                    denial = Some(said);
                }
            }
            () = sleep_until(until_now.unwrap_or_else(Instant::now)), if until_now.is_some() => {
                patience.0.store(true, Relaxed);
            }
        }
    };
    called.map_err(|error| match denial {
        Some((code, why)) if error.remedy == Remedy::Stopped => Later::Denied(code, why),
        _ => Later::Transaction(error),
    })
}

#[cfg(test)]
mod tests {
    use lamppost_event::{GatewayId, Group};

    use super::*;

    fn cursors_of(instance: &str) -> ClusterCursors {
        let mut cursors = ClusterCursors::new(&GatewayId::new("g").unwrap(), &Group::new("forward").unwrap());
        cursors.incumbent = Some(Incumbent { instance: instance.into(), since_ms: 1_700_000_000_000 });
        cursors
    }

    #[tokio::test]
    async fn a_start_takes_the_place_and_who_had_it_stands_by() {
        let (mut old, new) = (Standing::new(), Standing::new());
        assert_ne!(old.instance, new.instance);
        assert!(!new.is_usurped(&cursors_of(&old.instance)), "a start does not ask");
        old.is_established = true;
        assert!(!old.is_usurped(&cursors_of(&old.instance)));
        assert!(old.is_usurped(&cursors_of(&new.instance)));
    }

    #[tokio::test]
    async fn who_stands_by_starts_again_only_when_nothing_was_heard_for_long() {
        let (mut standing, now, wait) = (Standing::new(), Instant::now(), Duration::from_secs(100));
        standing.is_established = true;
        assert_eq!(standing.stand_by(5, now, wait), Duration::from_secs(25));
        standing.stand_by(6, now + wait, wait);
        assert!(standing.is_established, "something was heard meanwhile");
        standing.stand_by(6, now + wait + wait / 2, wait);
        assert!(standing.is_established);
        assert_eq!(standing.stand_by(6, now + 2 * wait, wait), Duration::ZERO);
        assert!(!standing.is_established);
    }

    #[test]
    fn a_topic_that_was_just_made_is_worth_one_word_and_no_alarm_before_it_lasts() {
        let (mut standing, now) = (Standing::new(), Instant::now());
        let seen = [0, 1, 29, 30, 31].map(|s| standing.wait_for_topic(now + Duration::from_secs(s)));
        assert_eq!(seen, [NewTopic::First, NewTopic::Again, NewTopic::Again, NewTopic::TooLong, NewTopic::TooLong]);
    }

    #[test]
    fn a_person_is_told_who_and_since_when_and_what_to_do() {
        let config = ForwardConfig::new(GatewayId::new("post-17").unwrap(), "localhost:1");
        let text = usurped(&config, cursors_of("abc").incumbent.as_ref());
        assert!(text.contains("post-17") && text.contains("2023-11-14T22:13:20") && text.contains("abc"), "{text}");
    }
}
