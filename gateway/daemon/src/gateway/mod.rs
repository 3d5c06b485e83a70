//! The gateway, assembled: the one place where sources, routes, journal, views and forwarder meet.
//!
//! ```text
//! sources ──► JournalIntake ──► Journal ──► JournalOutlet ──► sinks: clusters, folders
//!                                  └──────► Devices (a view, in sled)
//! ```

mod battery;
mod behind;
mod broker_pages;
mod client_pages;
mod devices;
mod figures;
mod forward_pages;
mod found;
mod intake;
mod journal_pages;
mod keys;
mod notes;
mod outlet;
mod owner;
mod pages;
mod reload;
mod serial_pages;
mod setup;
mod sink_pages;
mod sinks;
mod sources;
mod subscriptions;
mod supervise;
mod trail;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use lamppost_event::{Clock, Commit, JournalStopped};
use lamppost_journal::{Directory, Journal, Recovery};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::clock::MachineClock;
use crate::config::{Config, ControlSocket};
use crate::control::{Control, Nodes};
use crate::health::Report;
use crate::{heap, http};
pub(crate) use battery::BatteryReport;
use battery::Keeper;
use devices::{Devices, Fed};
pub(crate) use figures::Figures;
use found::Found;
use intake::JournalIntake;
pub(crate) use keys::warnings as key_warnings;
use outlet::JournalOutlet;
pub(crate) use outlet::item as event_item;
use pages::Overview;
pub(crate) use reload::Started;
pub(crate) use setup::{fits, forward_config, forward_group, journal_options, known_groups, sink_names, topics};
use sinks::Given;
pub(crate) use sources::{Buses, LinkSeen, MODEL_BUS};
use sources::{Memory, Seen, Sources};
use supervise::{Stop, supervise};
use trail::Trail;

/// How often the view of the devices is brought up to date.
const FEED_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is written to the card.
const SETTLE_INTERVAL: Duration = Duration::from_secs(300);
/// How often a commit is begun while the sources stop.
const STOP_COMMIT_INTERVAL: Duration = Duration::from_millis(20);
/// How long the parts may take to stop. Each has a shorter deadline of its own.
const STOP_MAX: Duration = Duration::from_secs(15);

/// A running gateway.
pub(crate) struct Gateway {
    overview: Arc<Overview>,
    intake: Arc<JournalIntake>,
    mqtt_addresses: Vec<SocketAddr>,
    http_address: SocketAddr,
    sources: Sources,
    stop_forward: Arc<Stop>,
    sinks: Vec<JoinHandle<Result<(), JournalStopped>>>,
    trail: Arc<Trail>,
    stop_trail: Stop,
    telling: Option<JoinHandle<Result<(), JournalStopped>>>,
    stop_feed: Stop,
    feed: JoinHandle<Result<(), JournalStopped>>,
    http: JoinHandle<std::io::Result<()>>,
    control: Option<Control>,
    keeper: Option<JoinHandle<()>>,
    /// Takes the looks that the estimate is made of.
    looking: JoinHandle<()>,
    /// Gives back memory that is free.
    giving_back: JoinHandle<()>,
    devices: Arc<Devices>,
    owner: owner::Note,
    failed: watch::Receiver<Option<String>>,
}

/// What a stopped gateway leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped {
    /// Events in the journal, ever.
    pub(crate) events: u64,
    /// Of those, not forwarded.
    pub(crate) backlog: u64,
}

impl Gateway {
    /// Opens the journal and starts everything that the configuration names.
    pub(crate) async fn start(config: &Config, buses: Buses) -> anyhow::Result<Self> {
        let listener = http::bind(config.http).await.with_context(|| {
            format!("http can't listen on {0}; if another program does (ss -ltnp), change [http] listen", config.http)
        })?;
        let machine = Arc::new(MachineClock::new());
        let mut keeper = config.battery.as_ref().map(|battery| Keeper::new(battery, machine.clone()));
        if let Some(keeper) = &mut keeper {
            // Before the first event.
            keeper.look().await;
        }
        let Opened { journal, devices, fed, owner, found } = open(config, &machine).await?;
        let clock: Arc<dyn Clock> = machine;
        let devices = Arc::new(devices);
        let routes = setup::routes(config)?;
        let shapes = setup::readable(config, &journal);
        let intake = Arc::new(JournalIntake::new(
            journal.clone(),
            routes,
            clock.clone(),
            devices.clone(),
            setup::event_bytes_max(config),
        ));
        let outlet = Arc::new(JournalOutlet::new(journal.clone(), shapes));
        let (fail, failed) = watch::channel(None);

        let stop_forward = Arc::new(Stop::new());
        let trail = Trail::new(journal.clone(), clock.clone(), config.gateway.clone(), setup::audited(config));
        let trail = Arc::new(trail);
        trail.identify()?;
        let (intake_too, trail_too) = (intake.clone(), trail.clone());
        let given =
            Given { journal: journal.clone(), outlet, clock: clock.clone(), intake: intake_too, trail: trail_too };
        let sinks = sinks::all(config, &given)?;
        sinks::tell_stale(&journal, config);
        let sinks_seen = sinks.iter().map(|sink| sink.seen.clone()).collect();
        let memory = Memory { journal: journal.clone(), clock: clock.clone() };
        let sources = Sources::start(config, buses, &intake, &memory, &fail).await?;
        let control = control(config, Nodes { links: sources.seen().links(), clock: clock.clone() })?;
        let seen = Seen { battery: keeper.as_ref().map(Keeper::status), ..sources.seen() };
        let keeper = keeper.map(|keeper| tokio::spawn(keeper.run()));
        let linger_max = setup::linger_max(config);
        let overview = Overview::new(journal.clone(), intake.clone(), seen, sinks_seen, clock, linger_max, found);
        let overview = Arc::new(overview);
        let http_address = listener.local_addr()?;
        let http = tokio::spawn(http::serve(listener, overview.clone()));
        let looking = tokio::spawn(pages::look_on(overview.clone()));
        let giving_back = tokio::spawn(heap::stay_small());

        let sinks = sinks.into_iter().map(|sink| sink.start(&fail, &stop_forward)).collect();
        let stop_trail = Stop::new();
        let telling = setup::manifest_every(config).map(|every| {
            let run = trail.clone().run(every, stop_trail.stopped());
            supervise("trail", &fail, run)
        });
        let stop_feed = Stop::new();
        let feed = feed(journal, devices.clone(), fed, stop_feed.stopped());
        let feed = supervise("devices", &fail, feed);
        let mqtt_addresses = sources.mqtt_addresses().to_vec();
        Ok(Self {
            overview,
            intake,
            mqtt_addresses,
            http_address,
            sources,
            stop_forward,
            sinks,
            trail,
            stop_trail,
            telling,
            stop_feed,
            feed,
            http,
            control,
            keeper,
            looking,
            giving_back,
            devices,
            owner,
            failed,
        })
    }

    /// Where the MQTT server listens first.
    pub(crate) fn mqtt_address(&self) -> Option<SocketAddr> {
        self.mqtt_addresses.first().copied()
    }

    /// Where it listens, in the order of the listeners.
    pub(crate) fn mqtt_addresses(&self) -> &[SocketAddr] {
        &self.mqtt_addresses
    }

    pub(crate) fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    pub(crate) fn figures(&self) -> Figures {
        self.overview.figures()
    }

    pub(crate) fn health(&self) -> Report {
        http::Pages::health(&*self.overview)
    }

    /// Completes if a part has ended for good, with the reason.
    pub(crate) async fn failed(&self) -> anyhow::Error {
        let mut failed = self.failed.clone();
        let journal = self.overview.journal();
        tokio::select! {
            reason = async { failed.wait_for(Option::is_some).await.map(|reason| reason.clone()) } => {
                let reason = reason.ok().flatten().unwrap_or_else(|| "all parts have ended".to_owned());
                anyhow::anyhow!(reason)
            }
            // No commit has that number, so only the journal's end answers.
            stopped = journal.durable_after(Commit(u64::MAX)) => match stopped {
                Err(stopped) => stopped.into(),
                Ok(_) => anyhow::anyhow!("the journal has run out of commit numbers"),
            },
        }
    }

    /// Takes nothing more from any source. What was taken is on disk and acknowledged when this returns, and a manifest says how far all
    /// has come; it is forwarded if the gateway runs on for a moment.
    pub(crate) async fn stop_sources(&self) {
        self.end_sources().await;
        if self.telling.is_some() {
            let told = self.trail.manifest();
            told.unwrap_or_else(|error| tracing::warn!(%error, "no last manifest"));
        }
        self.overview.journal().commit_now();
    }

    async fn end_sources(&self) {
        self.stop_trail.stop();
        let stop = self.sources.stop();
        let mut stop = std::pin::pin!(stop);
        // They wait for what they have taken: it need not wait for company any more.
        while timeout(STOP_COMMIT_INTERVAL, &mut stop).await.is_err() {
            self.overview.journal().commit_now();
        }
        self.overview.journal().commit_now();
    }

    /// Stops everything in the direction of the data: sources, forwarder, views, journal.
    pub(crate) async fn stop(mut self) -> anyhow::Result<Stopped> {
        // No commands any more to nodes that will not be heard.
        drop(self.control.take());
        // The next start says how far all has come: what is stored now would not be forwarded any more.
        self.end_sources().await;
        let journal = self.overview.journal().clone();
        self.stop_forward.stop();
        let stopped = async {
            for sink in self.sinks.drain(..) {
                drop(sink.await);
            }
        };
        if timeout(STOP_MAX, stopped).await.is_err() {
            tracing::warn!("a sink did not stop in time; what is in flight is sent again next time");
        }
        self.stop_feed.stop();
        if timeout(STOP_MAX, self.feed).await.is_err() {
            tracing::warn!("the view of the devices was not brought up to date in time");
        }
        if let Some(keeper) = self.keeper.take() {
            keeper.abort();
        }
        self.http.abort();
        self.looking.abort();
        self.giving_back.abort();
        let figures = self.overview.figures();
        let (devices, owner) = (self.devices, self.owner);
        spawn_blocking(move || {
            devices.close();
            // The least that the journal has come to: closing adds to it.
            owner.stop(journal.durable()?);
            journal.close()
        })
        .await??;
        Ok(Stopped { events: figures.events, backlog: figures.backlog })
    }
}

/// The control socket. One that was configured and can't be made is an error; without the usual one the gateway does its work all the same.
fn control(config: &Config, nodes: Nodes) -> anyhow::Result<Option<Control>> {
    let Some(path) = config.control.serve_at(&config.state_dir) else { return Ok(None) };
    match Control::start(&path, nodes) {
        Ok(control) => Ok(Some(control)),
        Err(error) if config.control == ControlSocket::Usual => {
            tracing::warn!(path = %path.display(), %error, "no control socket: nodes can't be commanded");
            Ok(None)
        }
        Err(error) => {
            let path = path.display();
            let told = format!(
                "the control socket {path} can't be made; does its folder exist, and may it be written ([control] socket)?"
            );
            Err(anyhow::Error::new(error).context(told))
        }
    }
}

/// The journal, and what stands beside it.
struct Opened {
    journal: Journal,
    devices: Devices,
    fed: Fed,
    owner: owner::Note,
    found: Found,
}

async fn open(config: &Config, clock: &Arc<MachineClock>) -> anyhow::Result<Opened> {
    let options = journal_options(config);
    let (dir, gateway, clock) = (config.state_dir.clone(), config.gateway.clone(), clock.clone());
    spawn_blocking(move || {
        let journal_dir = dir.join("journal");
        // It makes what is missing, and flushes the folders above: made by anybody else, all could be gone after a loss of power.
        let disk = Directory::create(&journal_dir)
            .with_context(|| format!("{} can't be made; is [gateway] state_dir right?", journal_dir.display()))?;
        let disk = Arc::new(disk);
        let (journal, recovery) = Journal::open(disk, options, clock.clone())
            .with_context(|| format!("the journal in {} can't be opened", journal_dir.display()))?;
        tell(&recovery);
        if let Some(best) = journal.best_clock() {
            // What ran before in this boot may have seen a better one.
            clock.learn(best);
        }
        let owner = owner::Note::new(&dir, &gateway, journal.identity());
        let found = Found::new(&recovery, &owner.start(recovery.commit), &gateway);
        let (devices, fed) = Devices::open(&dir.join("views"), &journal, recovery.continued, clock.now().boot)?;
        Ok(Opened { journal, devices, fed, owner, found })
    })
    .await?
}

/// Says how the journal was found.
fn tell(recovery: &Recovery) {
    let Recovery { clean, epoch, commit, frames, events, .. } = recovery;
    if recovery.created {
        tracing::info!(%epoch, "a new journal");
    } else if *clean {
        tracing::info!(%epoch, %commit, frames, events, "the journal was closed cleanly");
    } else {
        tracing::info!(%epoch, %commit, frames, events, "the journal was not closed cleanly: recovered");
    }
    if let Some(reason) = &recovery.unproved {
        tracing::warn!(reason, %epoch, "the end of the journal is in doubt: something that was acknowledged may be lost");
    }
    for file in &recovery.set_aside {
        tracing::warn!(?file, "a file of the journal was set aside; it counts against the quota until it is removed");
    }
    for damage in &recovery.damage {
        tracing::error!(?damage, "damage in the journal was set aside");
    }
}

/// Keeps the view of the devices up to date until told to stop.
async fn feed(
    journal: Journal,
    devices: Arc<Devices>,
    mut fed: Fed,
    stopped: impl Future<Output = ()>,
) -> Result<(), JournalStopped> {
    let mut stopped = std::pin::pin!(stopped);
    let mut since_settled = Duration::ZERO;
    loop {
        let stop = tokio::select! {
            () = sleep(FEED_INTERVAL) => false,
            () = &mut stopped => true,
        };
        let (journal, devices) = (journal.clone(), devices.clone());
        since_settled += FEED_INTERVAL;
        let settle = since_settled >= SETTLE_INTERVAL;
        if settle {
            since_settled = Duration::ZERO;
        }
        let work = move || {
            let result = devices.feed(&journal, &mut fed);
            if settle {
                devices.settle();
            }
            result.map(|()| fed)
        };
        fed = match spawn_blocking(work).await {
            Ok(result) => result?,
            Err(panic) => return Err(JournalStopped { reason: format!("the view of the devices panicked: {panic}") }),
        };
        if stop {
            return Ok(());
        }
    }
}
