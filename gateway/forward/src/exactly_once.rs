//! Exactly once: the engine's side of Kafka's transactions.
//!
//! ```text
//! begin ── events … ── cursors ── commit ──► window done ──► the journal's cursor
//! ```
//!
//! Invariants:
//! - An event is done only once the transaction that holds it and its cursor is committed; so the journal's cursor never passes what the
//!   cluster's does not cover, but for what is in no transaction: gaps that were told and events that were buried.
//! - Within a partition nothing is sent behind what is not done and not in the same transaction: a cursor covers all below it.
//! - A partition's cursor in the cluster holds a bounded number of epochs. Before it would have to forget one that a crash could bring back,
//!   nothing more is sent until the journal's own cursors are on disk.
//! - After a failure nothing is assumed. Either the transaction was aborted, by the cluster's own word, or the next producer asks the
//!   cluster for the cursors before it sends anything.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lamppost_event::{JournalStopped, Offset, Stored, TopicPartition};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::config::ForwardConfig;
use crate::cursors::ClusterCursors;
use crate::denial::Denial;
use crate::ending::Broken;
use crate::engine::{Done, Engine, Failures};
use crate::enlist::Standing;
use crate::kafka::{Kafka, lock};
use crate::reach::Reach;
use crate::register::Register;
use crate::session::{Ended, Pumped, Stop, TICK_MAX, TICK_MIN, until};
use crate::solo::{Aftermath, Solo};
use crate::transaction::Transaction;
use crate::transactional::Remedy;
use crate::window::{Slot, TrackId, Window};

/// How long a stop waits until what it gave up is aborted.
const ABORT_AT_STOP_MAX: Duration = Duration::from_secs(2);

/// What the engine keeps for it, between producers too.
pub(crate) struct ExactlyOnce {
    pub(crate) transaction: Transaction,
    /// Events of the open transaction that the cluster has acknowledged.
    pub(crate) acknowledged: Vec<Slot>,
    /// What the cluster covers.
    pub(crate) cluster: ClusterCursors,
    pub(crate) register: Register,
    pub(crate) standing: Standing,
    /// The journal's own cursors have to be on disk before the next transaction.
    settle: bool,
    /// The event that waits for that, since its epoch had no room.
    without_room: Option<(TopicPartition, Offset)>,
    /// A producer whose transaction was aborted and that goes on, and which credentials it was made with.
    pub(crate) kept: Option<(u64, Kafka)>,
    /// The producer of this session, for topics apart.
    lent: Option<Kafka>,
    aftermath: Arc<Mutex<Aftermath>>,
}

impl ExactlyOnce {
    pub(crate) fn new(config: &ForwardConfig) -> Self {
        Self {
            transaction: Transaction::new(
                config.transaction_linger,
                config.transaction_timeout,
                config.in_flight_bytes_max,
            ),
            acknowledged: Vec::new(),
            cluster: ClusterCursors::new(&config.gateway, &config.group),
            register: Register::default(),
            standing: Standing::new(),
            // What is on disk at the start need not be remembered.
            settle: true,
            without_room: None,
            kept: None,
            lent: None,
            aftermath: Arc::default(),
        }
    }

    /// That event has to wait until the journal's own cursors are on disk.
    fn settle_for(&mut self, at: TopicPartition, offset: Offset) {
        (self.settle, self.without_room) = (true, Some((at, offset)));
    }

    /// A cursor was committed.
    pub(crate) fn reached(&mut self, at: TopicPartition, reach: Reach) {
        self.settle |= reach.is_long();
        self.cluster.reached(at, reach);
    }

    /// Whether the producer outlives the transaction that was given up.
    pub(crate) const fn keeps_producer(&self) -> bool {
        self.kept.is_some()
    }
}

/// Whether so many bytes more may go out now. Where they do not fit into the open transaction, that one ends.
pub(crate) fn has_room(window: &Window, exactly: &mut Option<Box<ExactlyOnce>>, bytes: usize) -> bool {
    let has_room = window.has_room(bytes);
    let Some(exactly) = exactly else { return has_room };
    let fits = has_room && exactly.transaction.has_room(bytes);
    if !fits {
        exactly.transaction.fill();
    }
    fits
}

/// Opens a transaction if none is open.
pub(crate) fn begin_transaction(exactly: &mut Option<Box<ExactlyOnce>>, kafka: &Kafka) -> Result<(), Failures> {
    let Some(exactly) = exactly.as_mut().filter(|exactly| !exactly.transaction.is_open()) else { return Ok(()) };
    if let Err(error) = kafka.begin() {
        return Err(Failures { refused: Vec::new(), client: Some((error.code, error.why)) });
    }
    exactly.transaction.begin(Instant::now());
    Ok(())
}

impl Engine {
    /// The next producer: the one that was kept, or a new one that has taken its place in the cluster. Else how long to wait.
    pub(crate) async fn connect(&mut self) -> Result<Kafka, Duration> {
        if let Some((made_with, kafka)) = self.exactly_once.as_mut().and_then(|exactly| exactly.kept.take()) {
            if made_with == self.config.keyring.generation() {
                return Ok(kafka);
            }
            drop(kafka.close().await);
        }
        // What an earlier producer met, perhaps with other credentials, says nothing of this one.
        self.kept_out = None;
        let kafka = match Kafka::connect(&self.config, self.batch_bytes(), self.care.is_one_at_a_time(), &self.counters)
        {
            Ok(kafka) => kafka,
            Err(error) => {
                // Checked at the start; what can still fail is, for example, a certificate that is gone.
                self.deny(Denial::Files, &error.to_string());
                self.show();
                return Err(self.delay_denied());
            }
        };
        if self.exactly_once.is_none() {
            return Ok(kafka);
        }
        match self.enlist(&kafka).await {
            Ok(()) => Ok(kafka),
            Err(delay) => {
                drop(kafka.close().await);
                self.show();
                Err(delay)
            }
        }
    }

    /// Runs one transactional producer until it fails or `stop` completes.
    pub(crate) async fn run_transactions(&mut self, kafka: Kafka, mut stop: Stop<'_>) -> Result<Ended, JournalStopped> {
        self.session += 1;
        self.begin_unheard();
        let mut tick = interval(self.config.commit_interval.clamp(TICK_MIN, TICK_MAX));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut reports = Vec::new();
        let made_with = self.config.keyring.generation();
        // When a stop gives up waiting; none: nobody has stopped us.
        let mut deadline = None;
        let broken = loop {
            if let Some(failures) = self.take_reports(&kafka, &mut reports) {
                break Some(Broken::of(failures));
            }
            self.commit(false)?;
            self.forget_bounds();
            self.look_at_wire();
            if self.has_new_credentials() || self.config.keyring.generation() != made_with || self.turns() {
                self.stop_transactions(kafka, &mut stop, None, None).await?;
                if let Some(exactly) = self.exactly_once.as_mut().filter(|exactly| exactly.transaction.is_open()) {
                    exactly.transaction.given_up(false);
                    exactly.acknowledged.clear();
                }
                self.settle(Failures::default());
                return Ok(Ended::Failed(Duration::ZERO));
            }
            if self.exactly_once.as_ref().is_some_and(|exactly| exactly.transaction.is_due(Instant::now()))
                && let Err(broken) = self.end_transaction(&kafka, &mut stop, &mut deadline).await?
            {
                break Some(broken);
            }
            self.settle_cursors(&mut stop, &mut deadline).await?;
            if deadline.is_some() {
                break None;
            }
            if let Some(broken) = self.step_apart(&kafka).await? {
                break Some(broken);
            }
            let more = match self.pump(&kafka) {
                Pumped::More => true,
                Pumped::Blocked => false,
                Pumped::Failed(failures) => break Some(Broken::of(failures)),
            };
            self.read_ahead();
            self.show();
            let ends_at = self.exactly_once.as_ref().and_then(|exactly| exactly.transaction.ends_at());
            let paced = self.pace.as_mut().and_then(|pace| pace.ask_again(Instant::now()));
            tokio::select! {
                biased;
                () = &mut stop => break None,
                Some(done) = self.work.join_next(), if !self.work.is_empty() => self.joined(done)?,
                () = kafka.reports.wait() => {}
                _ = tick.tick() => {}
                () = until(ends_at), if ends_at.is_some() => {}
                () = until(paced), if paced.is_some() => {}
                () = tokio::task::yield_now(), if more => {}
            }
        };
        match broken {
            Some(broken) if deadline.is_none() => Ok(Ended::Failed(self.give_up_transaction(kafka, broken).await?)),
            broken => {
                self.stop_transactions(kafka, &mut stop, deadline, broken).await?;
                Ok(Ended::Stopped)
            }
        }
    }

    /// Ends what is open, for a while, and closes. What does not get through in time is aborted: readers of committed records need not
    /// wait until the cluster does so itself.
    async fn stop_transactions(
        &mut self,
        kafka: Kafka,
        stop: &mut Stop<'_>,
        deadline: Option<Instant>,
        broken: Option<Broken>,
    ) -> Result<(), JournalStopped> {
        let mut deadline = Some(deadline.unwrap_or_else(|| Instant::now() + self.config.stop_deadline));
        let broken = match broken {
            Some(broken) => Some(broken),
            None => self.end_transaction(&kafka, stop, &mut deadline).await?.err(),
        };
        if let Some(Broken { remedy: Remedy::Abort | Remedy::Stopped, .. }) = broken
            && let Err(error) = self.abort(&kafka, ABORT_AT_STOP_MAX).await
        {
            tracing::debug!(why = error.why, "a transaction could not be aborted");
        }
        drop(kafka.close().await);
        self.commit(true)?;
        self.show();
        Ok(())
    }

    /// Waits until the journal's own cursors are on disk, where that is wanted and no transaction is open, and forgets the epochs that they have
    /// passed. A stop sets the deadline, and is not kept waiting.
    async fn settle_cursors(
        &mut self,
        stop: &mut Stop<'_>,
        deadline: &mut Option<Instant>,
    ) -> Result<(), JournalStopped> {
        let is_wanted = |exactly: &ExactlyOnce| exactly.settle && !exactly.transaction.is_open();
        if deadline.is_some() || !self.exactly_once.as_deref().is_some_and(is_wanted) {
            return Ok(());
        }
        self.commit(true)?;
        // Meanwhile no cursor moves: what is on disk then is what the window says.
        tokio::select! {
            biased;
            settled = self.outlet.settled(&self.config.group) => settled?,
            () = stop.as_mut() => {
                *deadline = Some(Instant::now() + self.config.stop_deadline);
                return Ok(());
            }
        }
        let Some(exactly) = &mut self.exactly_once else { return Ok(()) };
        exactly.settle = false;
        exactly.cluster.passed(|at| self.window.cursor(at));
        if let Some((at, offset)) = exactly.without_room.take()
            && self.window.cursor(&at).unwrap_or(Offset(0)) == offset
        {
            exactly.cluster.make_room(&at);
        }
        Ok(())
    }

    /// Whether the cursor of its partition can take in an event's epoch. If not, what is open ends, and the event waits until the journal's own
    /// cursors are on disk.
    pub(crate) fn takes_epoch(&mut self, track: TrackId, stored: &Stored) -> bool {
        let Some(exactly) = self.exactly_once.as_deref_mut() else { return true };
        let at = || TopicPartition { topic: stored.event.topic.clone(), partition: stored.partition };
        let takes = match exactly.transaction.reach(track) {
            Some(reach) => reach.takes(stored.epoch),
            None => exactly.cluster.takes(&at(), stored.epoch),
        };
        if !takes {
            exactly.transaction.fill();
            exactly.settle_for(at(), stored.offset);
        }
        takes
    }

    /// Whether a gap in front of the partition's next event is being told: a cursor can't cover what is behind it yet.
    pub(crate) fn waits_for_telling(&self, track: TrackId) -> bool {
        self.exactly_once.is_some() && self.window.is_telling(track)
    }

    /// An event went into the open transaction.
    pub(crate) fn entered_transaction(&mut self, track: TrackId, stored: &Stored, bytes: usize) {
        let Some(exactly) = self.exactly_once.as_mut() else { return };
        let ExactlyOnce { transaction, cluster, .. } = &mut **exactly;
        let before = || {
            let at = TopicPartition { topic: stored.event.topic.clone(), partition: stored.partition };
            let reach = cluster.reach(&at);
            (at, reach)
        };
        transaction.sent(track, (stored.epoch, stored.offset), bytes, before);
    }

    /// Whether the cluster has an event already, in a transaction of which the journal's cursor knows nothing.
    pub(crate) fn is_there_already(&self, stored: &Stored) -> bool {
        let Some(exactly) = &self.exactly_once else { return false };
        let at = TopicPartition { topic: stored.event.topic.clone(), partition: stored.partition };
        let covered = exactly.cluster.covers(&at, stored.epoch, stored.offset);
        if covered {
            self.counters.already_there.fetch_add(1, Relaxed);
        }
        covered
    }

    /// librdkafka's own queue is full: what is open has to go first.
    pub(crate) fn fill_transaction(&mut self) {
        if let Some(exactly) = &mut self.exactly_once {
            exactly.transaction.fill();
        }
    }

    /// The cluster has acknowledged an event. True if it counts now; else it does once its transaction is committed.
    pub(crate) fn acknowledge(&mut self, slot: Slot) -> bool {
        self.heard(slot);
        match &mut self.exactly_once {
            None => self.window.done(slot),
            Some(_) if slot == Slot::CURSOR => false,
            Some(exactly) => {
                exactly.acknowledged.push(slot);
                false
            }
        }
    }

    /// Lets topics apart send their next events, each in a transaction of its own; for as long as a transaction gathers, not longer.
    async fn step_apart(&mut self, kafka: &Kafka) -> Result<Option<Broken>, JournalStopped> {
        let until = Instant::now() + self.config.transaction_linger;
        while self.exactly_once.as_ref().is_some_and(|exactly| !exactly.transaction.is_open()) {
            let Some((topic, target)) = self.lane_that_is_due() else { break };
            if let Some(exactly) = &mut self.exactly_once {
                exactly.lent = Some(kafka.clone());
            }
            self.step_lane(topic, target);
            loop {
                let Some(done) = self.work.join_next().await else { break };
                let stepped = matches!(done, Ok(Done::Step { .. }));
                self.joined(done)?;
                if stepped {
                    break;
                }
            }
            if let Some(broken) = self.after_step(kafka) {
                return Ok(Some(broken));
            }
            if Instant::now() >= until {
                break;
            }
        }
        Ok(None)
    }

    fn after_step(&mut self, kafka: &Kafka) -> Option<Broken> {
        let exactly = self.exactly_once.as_mut()?;
        exactly.lent = None;
        let Aftermath { committed, without_room, broken } = std::mem::take(&mut *lock(&exactly.aftermath));
        if let Some((at, offset)) = without_room {
            exactly.settle_for(at, offset);
        }
        if let Some((at, reach)) = committed {
            exactly.reached(at, reach);
            self.count_committed(kafka);
        }
        broken.map(Broken::new)
    }

    /// The common producer for one event of a topic apart; none in at-least-once mode.
    pub(crate) fn solo(&self, topic: &lamppost_event::Topic) -> Option<Solo> {
        let exactly = self.exactly_once.as_ref()?;
        Some(Solo {
            kafka: exactly.lent.clone()?,
            partition: exactly.register.partition?,
            key: format!("{}/{topic}/", exactly.cluster.incumbent_key()),
            reached: exactly.cluster.reached_of(topic),
            aftermath: Arc::clone(&exactly.aftermath),
        })
    }
}
