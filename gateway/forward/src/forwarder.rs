//! The forwarder as the daemon sees it.

use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use lamppost_event::{Clock, Gap, Interest, JournalStopped, Outlet, Stored, Topic, Waiting};

use crate::config::{Delivery, ForwardConfig, ForwardConfigError};
use crate::counters::Counters;
use crate::doubt;
use crate::engine::Engine;
use crate::kafka;
use crate::session::Ended;
use crate::split::LaneGroups;

/// An event that the cluster can never accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// The event and its place.
    pub stored: Stored,
    /// Why, with its `ce_id`: the reason of the dead letter.
    pub reason: String,
}

/// Where poison is buried. The daemon offers it to the intake as a dead letter.
pub trait DeadLetters: Send + Sync + 'static {
    /// Completes once the dead letter is durable; only then does the cursor pass the event. Waits while there is no room, and not
    /// for the room that everybody waits for: a journal that is full of what lies behind this event makes none before the cursor
    /// has passed it. So dead letters need a reserve of their own. Several events may wait at a time, each once between two
    /// starts; after a start the last ones may come again.
    ///
    /// # Errors
    /// [`JournalStopped`], through the future.
    fn bury(&self, poison: Poison) -> Waiting<'_, Result<(), JournalStopped>>;
}

/// Where gaps of the journal are told, for those who check it from the cluster. The daemon stores them as notices
/// ([`lamppost_event::Notice`]).
pub trait AuditTrail: Send + Sync + 'static {
    /// Completes once the notice is durable; only then does the cursor pass the gap. It may give up for want of room after a while, with
    /// false: events behind the gap must not wait for ever for a word about it. Several gaps may wait at a time, each once between two
    /// starts; after a start the last ones may come again.
    ///
    /// # Errors
    /// [`JournalStopped`], through the future.
    fn tell(&self, gap: Gap) -> Waiting<'_, Result<bool, JournalStopped>>;
}

/// What a stop left undelivered of what was in flight. The cursors stand before it: the next start sends it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undelivered {
    /// Events handed to librdkafka whose delivery was not reported in time.
    pub events: u64,
    /// Their bytes, as counted against the window.
    pub bytes: u64,
    /// Whether all that was durable had been handed over.
    pub caught_up: bool,
}

/// Why forwarding ended by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// The journal has to be opened again first.
    #[error(transparent)]
    Stopped(#[from] JournalStopped),
}

/// Carries durable events to the cluster.
pub struct Forwarder {
    pub(crate) config: Arc<ForwardConfig>,
    pub(crate) outlet: Arc<dyn Outlet>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dead_letters: Option<Arc<dyn DeadLetters>>,
    pub(crate) trail: Option<Arc<dyn AuditTrail>>,
    pub(crate) interest: Interest,
    /// Of those only these topics.
    pub(crate) only: Option<Arc<HashSet<Topic>>>,
    pub(crate) counters: Arc<Counters>,
}

impl Forwarder {
    /// Checks the configuration; connects nowhere yet. Without `dead_letters` an event that can never be accepted pauses its
    /// topic.
    ///
    /// # Errors
    /// [`ForwardConfigError`] names the property that is wrong.
    pub fn new(
        config: ForwardConfig,
        outlet: Arc<dyn Outlet>,
        clock: Arc<dyn Clock>,
        dead_letters: Option<Arc<dyn DeadLetters>>,
    ) -> Result<Self, ForwardConfigError> {
        kafka::check(&config)?;
        if config.live_first.is_some() {
            LaneGroups::of(&config.group).map_err(|_| ForwardConfigError::GroupTooLong(config.group.to_string()))?;
            if config.delivery == Delivery::ExactlyOnce {
                return Err(ForwardConfigError::LiveFirstExactlyOnce);
            }
        }
        Ok(Self {
            config: Arc::new(config),
            outlet,
            clock,
            dead_letters,
            trail: None,
            interest: Interest::all(),
            only: None,
            counters: Arc::default(),
        })
    }

    /// Gaps are told there before they are passed. Without it they are only counted.
    #[must_use]
    pub fn with_trail(self, trail: Arc<dyn AuditTrail>) -> Self {
        Self { trail: Some(trail), ..self }
    }

    /// Only these topics are forwarded. The cursors pass the others as they are met, gaps included: a topic that is taken later begins there.
    #[must_use]
    pub fn with_interest(self, interest: Interest) -> Self {
        Self { interest, ..self }
    }

    /// It counts on there, where one before it has counted.
    #[must_use]
    pub fn with_counters(self, counters: Arc<Counters>) -> Self {
        Self { counters, ..self }
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Forwards until `shutdown` completes, then waits up to [`ForwardConfig::stop_deadline`] for what is in flight.
    ///
    /// # Errors
    /// [`ForwardError`]: only the journal can end it. Whatever the cluster does is tried again.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<Undelivered, ForwardError> {
        let Self { config, outlet, clock, dead_letters, trail, interest, only, counters } = self;
        let resume = doubt::resume(Arc::clone(&outlet), config.group.clone()).await?;
        let cursors = resume.cursors.clone();
        let mut engine = Engine::new(Arc::clone(&config), outlet, clock, dead_letters, Arc::clone(&counters), resume);
        engine.trail = trail;
        engine.interest = interest;
        engine.only = only;
        engine.prepare_split(&cursors);
        let left = engine.run(shutdown).await?;
        Ok(engine.end_live(left).await?)
    }

    /// The same, to be run beside another one.
    pub(crate) fn run_boxed(
        self,
        shutdown: Waiting<'static, ()>,
    ) -> Waiting<'static, Result<Undelivered, ForwardError>> {
        Box::pin(self.run(shutdown))
    }
}

impl Engine {
    async fn run(&mut self, shutdown: impl Future<Output = ()> + Send) -> Result<Undelivered, JournalStopped> {
        let engine = self;
        let mut shutdown = pin!(shutdown);
        loop {
            if !engine.has_credentials() {
                engine.show();
                let delay = engine.delay_denied();
                tokio::select! {
                    () = &mut shutdown => return Ok(engine.undelivered()),
                    () = engine.pause(delay) => continue,
                }
            }
            let connected = tokio::select! {
                () = &mut shutdown => return Ok(engine.undelivered()),
                connected = engine.connect() => connected,
            };
            let delay = match connected {
                Ok(kafka) => match engine.run_session(kafka, shutdown.as_mut()).await? {
                    Ended::Failed(delay) => delay,
                    Ended::Stopped => return Ok(engine.undelivered()),
                },
                Err(delay) => delay,
            };
            tokio::select! {
                () = &mut shutdown => return Ok(engine.undelivered()),
                () = engine.pause(delay) => {}
            }
        }
    }
}
