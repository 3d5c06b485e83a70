//! The forwarder as the daemon sees it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use lamppost_event::{Clock, Gap, JournalStopped, Outlet, Stored, Waiting};

use crate::config::{ForwardConfig, ForwardConfigError};
use crate::counters::Counters;
use crate::doubt;
use crate::engine::Engine;
use crate::kafka::{self, Kafka};
use crate::session::Ended;

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
    config: Arc<ForwardConfig>,
    outlet: Arc<dyn Outlet>,
    clock: Arc<dyn Clock>,
    dead_letters: Option<Arc<dyn DeadLetters>>,
    trail: Option<Arc<dyn AuditTrail>>,
    counters: Arc<Counters>,
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
        Ok(Self { config: Arc::new(config), outlet, clock, dead_letters, trail: None, counters: Arc::default() })
    }

    /// Gaps are told there before they are passed. Without it they are only counted.
    #[must_use]
    pub fn with_trail(self, trail: Arc<dyn AuditTrail>) -> Self {
        Self { trail: Some(trail), ..self }
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
        let Self { config, outlet, clock, dead_letters, trail, counters } = self;
        let resume = doubt::resume(Arc::clone(&outlet), config.group.clone()).await?;
        let mut engine = Engine::new(Arc::clone(&config), outlet, clock, dead_letters, Arc::clone(&counters), resume);
        engine.trail = trail;
        let mut shutdown = pin!(shutdown);
        loop {
            let delay = match Kafka::connect(&config, engine.batch_bytes(), &counters) {
                Ok(kafka) => match engine.run_session(kafka, shutdown.as_mut()).await? {
                    Ended::Failed(delay) => delay,
                    Ended::Stopped => return Ok(engine.undelivered()),
                },
                Err(error) => {
                    // Checked at the start; what can still fail is, for example, a certificate that is gone.
                    tracing::error!(%error, "no producer");
                    engine.denied = Some(error.to_string());
                    engine.show();
                    engine.backoff.next()
                }
            };
            tokio::select! {
                () = &mut shutdown => return Ok(engine.undelivered()),
                () = tokio::time::sleep(delay) => {}
            }
        }
    }
}
