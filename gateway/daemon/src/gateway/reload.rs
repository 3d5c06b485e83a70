//! `systemctl reload`, or SIGHUP: the configuration is read again, and what can be exchanged while events come in is: routes, and the
//! MQTT server's certificates, passwords and rules. No connection ends by it, and each event meets the old routes or the new ones, whole.
//!
//! - A configuration that `lamppost check` would not call right changes nothing at all.
//! - What needs a restart is named and goes on as it is. Routes to topics that the journal does not have yet are among that: all
//!   of them wait then, since half a table of routes is nobody's.

use std::path::Path;
use std::sync::Arc;

use lamppost_route::Routes;
use toml::{Table, Value};

use super::keys::Told;
use super::setup;
use crate::command::check;
use crate::config::{self, Config, Mqtt};

/// What became of a configuration that was read again.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reloaded {
    /// The keys whose changes wait for a restart.
    pub(crate) waits: Vec<String>,
}

/// The configuration that the gateway was started with, to compare with.
pub(crate) struct Started {
    config: Config,
    written: Table,
}

impl Started {
    /// The text that it was read from is read once more, so it must be there still.
    pub(crate) fn new(config: &Config, path: &Path) -> Self {
        Self { config: config.clone(), written: written(path) }
    }
}

/// The tables as they are written. What is no table is told by [`config::load`].
fn written(path: &Path) -> Table {
    std::fs::read_to_string(path).unwrap_or_default().parse().unwrap_or_default()
}

/// Where what was read again goes.
pub(super) struct Doors<'a> {
    pub(super) routes: &'a dyn Fn(Routes),
    pub(super) keys: &'a Told,
}

/// Reads the file and exchanges what can be.
///
/// # Errors
/// The configuration is not right: nothing was changed.
pub(super) fn again(started: &Started, path: &Path, doors: &Doors<'_>) -> anyhow::Result<Reloaded> {
    let new = config::load(path)?;
    setup::fits(&new)?;
    config::look_at_files(path, check::now())?;
    let mqtt = new.mqtt.as_ref().filter(|new| started.config.mqtt.as_ref().is_some_and(|old| same_doors(old, new)));
    let mut waits = needs_restart(&started.written, &written(path), mqtt.is_some());
    match routes(&started.config, &new) {
        Ok(routes) => (doors.routes)(routes),
        Err(why) => waits.push(why),
    }
    match mqtt {
        Some(mqtt) => doors.keys.look_at(mqtt.clone()),
        // The files of the old ones may have changed all the same.
        None => doors.keys.look(),
    }
    Ok(Reloaded { waits })
}

/// The new routes over the topics that there are, or why not.
fn routes(started: &Config, new: &Config) -> Result<Routes, String> {
    let (there, wanted) = (setup::topics(started), setup::topics(new));
    let beyond: Vec<_> = wanted.iter().filter(|shape| !there.contains(shape)).map(|it| it.topic.as_str()).collect();
    if !beyond.is_empty() {
        return Err(format!("route (leads to topics that are new, or have other partitions: {})", beyond.join(", ")));
    }
    setup::routes_over(new, there).map_err(|error| format!("route ({error:#})"))
}

/// Whether the listeners are the same but for the files that they are locked with.
fn same_doors(old: &Mqtt, new: &Mqtt) -> bool {
    let same = |(old, new): (&config::Listener, &config::Listener)| {
        let asks = |listener: &config::Listener| listener.tls.as_ref().map(|tls| tls.client_ca.is_some());
        old.listen == new.listen && old.entry == new.entry && asks(old) == asks(new)
    };
    old.listeners.len() == new.listeners.len() && old.listeners.iter().zip(&new.listeners).all(same)
}

/// The keys of a listener that are exchanged while it listens.
const OF_A_LISTENER: [&str; 4] = ["certificate", "key", "client_ca", "crl"];
/// Those of `[mqtt]`.
const OF_MQTT: [&str; 3] = ["acl", "acl_file", "passwords"];

/// What is written differently and is not exchanged, as `section.key`. Behind other doors than before (`same_doors`) nothing of `[mqtt]` is.
fn needs_restart(old: &Table, new: &Table, same_doors: bool) -> Vec<String> {
    let mut waits = Vec::new();
    let none = Table::new();
    for section in keys(old, new).filter(|section| *section != "route") {
        let (old, new) = match (old.get(section), new.get(section)) {
            (Some(Value::Table(old)), Some(Value::Table(new))) => (old, new),
            // Its keys say more than its name, if it has any.
            (Some(Value::Table(only)), None) if !only.is_empty() => (only, &none),
            (None, Some(Value::Table(only))) if !only.is_empty() => (&none, only),
            (old, new) if old == new => continue,
            _ => {
                waits.push(section.to_owned());
                continue;
            }
        };
        let lives = |key: &str| same_doors && section == "mqtt" && OF_MQTT.contains(&key);
        let same = |key: &str| match same_doors {
            true => bare(section, old.get(key)) == bare(section, new.get(key)),
            false => old.get(key) == new.get(key),
        };
        let differs = |key: &str| !same(key);
        let differ = keys(old, new).filter(|key| !lives(key) && differs(key));
        waits.extend(differ.map(|key| format!("{section}.{key}")));
    }
    waits
}

fn keys<'a>(old: &'a Table, new: &'a Table) -> impl Iterator<Item = &'a str> {
    let added = new.keys().filter(|key| !old.contains_key(*key));
    old.keys().chain(added).map(String::as_str)
}

/// The value without what is exchanged: of `[[mqtt.listener]]` the paths, whose being there still counts.
fn bare(section: &str, value: Option<&Value>) -> Option<Value> {
    let mut value = value?.clone();
    if let Value::Array(list) = &mut value
        && section == "mqtt"
    {
        for listener in list.iter_mut().filter_map(Value::as_table_mut) {
            for key in OF_A_LISTENER {
                if let Some(path) = listener.get_mut(key) {
                    *path = Value::String(String::new());
                }
            }
        }
    }
    Some(value)
}

impl super::Gateway {
    /// Reads the configuration again; see this file's head.
    ///
    /// # Errors
    /// It is not right, and nothing was changed.
    pub(crate) fn reload(&self, started: &Started, path: &Path) -> anyhow::Result<Reloaded> {
        let intake = Arc::clone(&self.intake);
        again(started, path, &Doors { routes: &move |routes| intake.exchange(routes), keys: self.sources.keys() })
    }
}

#[cfg(test)]
mod tests;
