//! The sinks, side by side: each with its own cursors, its own counters and its own life. One that is down, slow or wrongly set up stops
//! no other, and not the gateway: it is begun again at its cursors, after a pause.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use lamppost_event::{Clock, Group, Interest, JournalStopped, MAIN_SINK};
use lamppost_files::{FileSink, FilesConfig};
use lamppost_forward::{ForwardConfig, Forwarder};
use lamppost_journal::Journal;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::behind::Behind;
use super::figures::{self, Figures};
use super::intake::JournalIntake;
use super::outlet::JournalOutlet;
use super::setup;
use super::supervise::{Fail, Stop, supervise};
use super::trail::Trail;
use crate::config::{Config, SinkTo};

/// The pause before a sink that has ended is begun again; doubled each time, up to the longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What a sink counts.
#[derive(Clone)]
pub(crate) enum Counted {
    Kafka(Arc<lamppost_forward::Counters>),
    Files(Arc<lamppost_files::Counters>),
}

/// A sink, as the pages show it.
pub(crate) struct SinkSeen {
    pub(crate) name: Group,
    pub(crate) interest: Interest,
    pub(crate) counted: Counted,
    /// Times that it was begun again.
    pub(crate) restarts: AtomicU64,
    /// How it was behind over the last minute.
    pub(crate) behind: Behind,
    ended: Mutex<Option<String>>,
}

impl SinkSeen {
    /// Of its topics.
    pub(crate) fn figures(&self, journal: &Journal) -> Figures {
        figures::of_sink(journal, &self.name, &self.interest)
    }

    /// The sink of `[kafka]`.
    pub(crate) fn is_main(&self) -> bool {
        self.name.as_str() == MAIN_SINK
    }

    /// Why it does not move, if it says so.
    pub(crate) fn paused(&self) -> Option<String> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ended.or_else(|| match &self.counted {
            Counted::Kafka(counters) => counters.paused_reason(),
            Counted::Files(counters) => counters.paused_reason(),
        })
    }

    fn set_ended(&self, why: Option<String>) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

/// Where a sink leads, with all that it is told.
#[derive(Clone)]
enum Target {
    Kafka(Box<ForwardConfig>),
    Files(Box<FilesConfig>),
}

/// What all sinks are given.
#[derive(Clone)]
pub(crate) struct Given {
    pub(crate) journal: Journal,
    pub(crate) outlet: Arc<JournalOutlet>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) intake: Arc<JournalIntake>,
    pub(crate) trail: Arc<Trail>,
}

/// A sink that is not started.
pub(crate) struct Sink {
    target: Target,
    given: Given,
    pub(crate) seen: Arc<SinkSeen>,
}

/// All that are configured, the main one first.
///
/// # Errors
/// The main one is looked at before anything is started.
pub(crate) fn all(config: &Config, given: &Given) -> anyhow::Result<Vec<Sink>> {
    let mut sinks = Vec::new();
    if let Some(kafka) = &config.kafka {
        let target = Target::Kafka(Box::new(setup::forward_config(config, kafka, setup::forward_group())));
        let main = Sink::new(target, setup::forward_group(), Interest::all(), given);
        main.build().context("the forwarder can't be set up")?;
        sinks.push(main);
    }
    for sink in &config.sinks {
        let target = match &sink.to {
            SinkTo::Kafka(kafka) => Target::Kafka(Box::new(setup::forward_config(config, kafka, sink.name.clone()))),
            SinkTo::Files(files) => Target::Files(Box::new(setup::files_config(config, files, sink))),
        };
        sinks.push(Sink::new(target, sink.name.clone(), sink.topics.clone(), given));
    }
    Ok(sinks)
}

/// What runs.
enum Running {
    Kafka(Forwarder),
    Files(FileSink),
}

impl Running {
    async fn run(self, stopped: impl Future<Output = ()> + Send) -> Result<(), JournalStopped> {
        match self {
            Self::Kafka(forwarder) => match forwarder.run(stopped).await {
                Ok(_) => Ok(()),
                Err(lamppost_forward::ForwardError::Stopped(stopped)) => Err(stopped),
            },
            Self::Files(files) => files.run(stopped).await,
        }
    }
}

impl Sink {
    fn new(target: Target, name: Group, interest: Interest, given: &Given) -> Self {
        let counted = match target {
            Target::Kafka(_) => Counted::Kafka(Arc::default()),
            Target::Files(_) => Counted::Files(Arc::default()),
        };
        let (restarts, behind, ended) = (AtomicU64::new(0), Behind::default(), Mutex::default());
        let seen = Arc::new(SinkSeen { name, interest, counted, restarts, behind, ended });
        Self { target, given: given.clone(), seen }
    }

    fn build(&self) -> anyhow::Result<Running> {
        let Given { outlet, clock, intake, trail, .. } = self.given.clone();
        match (&self.target, &self.seen.counted) {
            (Target::Kafka(config), Counted::Kafka(counters)) => {
                let forwarder = Forwarder::new(ForwardConfig::clone(config), outlet, clock, Some(intake))?;
                let forwarder = forwarder.with_trail(trail.of(self.seen.name.clone()));
                let forwarder = forwarder.with_interest(self.seen.interest.clone());
                Ok(Running::Kafka(forwarder.with_counters(Arc::clone(counters))))
            }
            (Target::Files(config), Counted::Files(counters)) => {
                let files = FileSink::new(FilesConfig::clone(config), outlet, clock)?;
                Ok(Running::Files(files.with_counters(Arc::clone(counters))))
            }
            _ => anyhow::bail!("a sink counts as another kind"),
        }
    }

    /// Starts it; it ends when it is told to, or when the journal does.
    pub(crate) fn start(self, fail: &Fail, stop: &Arc<Stop>) -> JoinHandle<Result<(), JournalStopped>> {
        let stop = Arc::clone(stop);
        supervise("sink", fail, async move { self.keep_running(&stop).await })
    }

    async fn keep_running(self, stop: &Stop) -> Result<(), JournalStopped> {
        let name = self.seen.name.clone();
        let mut pause = PAUSE_MIN;
        loop {
            let began = Instant::now();
            let why = match self.build() {
                Ok(running) => {
                    self.seen.set_ended(None);
                    match tokio::spawn(running.run(stop.stopped())).await {
                        Ok(Ok(())) => return Ok(()),
                        Ok(Err(stopped)) => stopped.reason,
                        Err(panic) => panic.to_string(),
                    }
                }
                Err(error) => format!("{error:#}"),
            };
            // With the journal all ends; what else has happened is this sink's own.
            self.given.journal.durable()?;
            if began.elapsed() > PAUSE_MAX {
                pause = PAUSE_MIN;
            }
            tracing::error!(sink = %name, why, ?pause, "a sink has ended; it is begun again at its cursors");
            self.seen.set_ended(Some(why));
            self.seen.restarts.fetch_add(1, Ordering::Relaxed);
            tokio::select! {
                () = stop.stopped() => return Ok(()),
                () = sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
            }
        }
    }
}

/// Says which groups the journal remembers that no sink has: they hold nothing back, and wait for nobody.
pub(crate) fn tell_stale(journal: &Journal, config: &Config) {
    let known = setup::known_groups(config);
    for (group, _) in journal.groups().into_iter().filter(|(group, _)| !known.contains(group)) {
        tracing::warn!(%group, "the journal remembers how far a group has come that is no sink any more; it holds nothing back. lamppost journal forget removes it");
    }
}
