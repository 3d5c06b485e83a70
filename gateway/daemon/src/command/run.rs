//! `lamppost run`: the gateway, until it is told to stop.

use std::path::Path;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::config;
use crate::descriptors;
use crate::gateway::{Buses, Gateway, Started};
use crate::notify;

/// How often the service manager's status line is renewed where there is no watchdog.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT; an error if a part of the gateway ended by itself.
pub(crate) async fn run(path: &Path) -> anyhow::Result<()> {
    let config = config::load_without_refused(path)?;
    for refused in &config.refused {
        let (source, why) = (&refused.source, &refused.why);
        tracing::error!(source, why, "started without this source: mend the file, and restart");
    }
    let connections_max = config.mqtt.as_ref().map_or(0, |mqtt| mqtt.connections_max as u64);
    if let Some(reason) = descriptors::too_few(descriptors::raise(), connections_max) {
        tracing::warn!(reason, "connections will be turned away for want of file descriptors");
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let started = Started::new(&config, path);
    let gateway = Gateway::start(&config, Buses::Real).await?;
    let mqtt: Vec<String> = gateway.mqtt_addresses().iter().map(ToString::to_string).collect();
    let mqtt = if mqtt.is_empty() { "off".to_owned() } else { mqtt.join(",") };
    tracing::info!(gateway = %config.gateway, mqtt, http = %gateway.http_address(), "ready");
    notify::tell(&[NotifyState::Ready]);

    let mut heartbeat = interval(notify::watchdog_interval().unwrap_or(STATUS_INTERVAL));
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = loop {
        tokio::select! {
            _ = heartbeat.tick() => beat(&gateway),
            _ = hangup.recv() => reload(&gateway, &started, path),
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            error = gateway.failed() => break Err(error),
        }
    };
    notify::tell(&[NotifyState::Stopping]);
    if let Err(error) = &ended {
        tracing::error!(%error, "stopping: the gateway can't go on");
    }
    let stopped = gateway.stop().await?;
    tracing::info!(
        unforwarded = stopped.backlog,
        events = stopped.events,
        "stopped; what is unforwarded is on disk and goes first next time"
    );
    ended
}

/// Reads the configuration again. A wrong one is refused, and the old goes on.
fn reload(gateway: &Gateway, started: &Started, path: &Path) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify::tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager is not told of the reload"),
    }
    let status = match gateway.reload(started, path) {
        Ok(reloaded) if reloaded.waits.is_empty() => {
            tracing::info!(
                "the configuration was read again: routes, certificates, passwords and rules are the new ones"
            );
            "reloaded".to_owned()
        }
        Ok(reloaded) => {
            let waits = reloaded.waits.join(", ");
            tracing::warn!(waits, "the configuration was read again, and some of it needs a restart");
            format!("reloaded; needs a restart: {waits}")
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the new configuration is refused: the old one goes on");
            "a new configuration was refused: the old one goes on".to_owned()
        }
    };
    notify::tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The watchdog hears of the gateway only while the parts that a restart could help get on.
fn beat(gateway: &Gateway) {
    let figures = gateway.figures();
    let status = format!("{} events on disk, {} to forward", figures.events, figures.backlog);
    if gateway.health().well_here() {
        notify::tell(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
    } else {
        tracing::error!(health = gateway.health().json(), "no progress: the watchdog is not told");
        notify::tell(&[NotifyState::Status("no progress")]);
    }
}
