//! The files that the MQTT server's doors are locked with: certificates, keys, passwords, rules. Read at the start, and again
//! when they change or SIGHUP says so. What can't be used is refused as a whole, and the old goes on.

use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use lamppost_mqtt::{Acl, Keys, Listener, Passwords, Rules, Tls, TlsFiles};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::config::{self, AclFrom, TlsPaths};

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// A file that is read, in bytes: more is not what it should be.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Reads all files of the listeners.
pub(crate) fn listeners(mqtt: &config::Mqtt) -> anyhow::Result<Vec<Listener>> {
    let listener = |it: &config::Listener| {
        let tls = it.tls.as_ref().map(read_tls).transpose();
        let tls = tls.with_context(|| format!("no TLS for mqtt on {}", it.listen))?;
        Ok(Listener { address: it.listen, tls, entry: it.entry })
    };
    mqtt.listeners.iter().map(listener).collect()
}

/// Reads passwords and rules.
pub(crate) fn rules(mqtt: &config::Mqtt) -> anyhow::Result<Rules> {
    let passwords = mqtt.passwords.as_deref().map(|path| {
        let text = text(path)?;
        let read = Passwords::parse(&text).with_context(|| path.display().to_string())?;
        if read.is_empty() {
            tracing::warn!(path = %path.display(), "no user in the password file: nobody comes in by password");
        }
        anyhow::Ok(Arc::new(read))
    });
    let acl = match &mqtt.rules {
        AclFrom::Here(acl) => Arc::clone(acl),
        AclFrom::File(path) => {
            let read = Acl::parse(&text(path)?).with_context(|| path.display().to_string())?;
            // Without rules everything is allowed: an empty file is rather a mistake, or half a file.
            anyhow::ensure!(
                !read.is_empty(),
                "{}: not a single rule; to allow everything write: allow * both #",
                path.display()
            );
            Arc::new(read)
        }
    };
    Ok(Rules { passwords: passwords.transpose()?, acl })
}

fn read_tls(paths: &TlsPaths) -> anyhow::Result<Tls> {
    let optional = |path: &Option<PathBuf>| path.as_deref().map(bytes).transpose();
    let (certificate, key) = (bytes(&paths.certificate)?, bytes(&paths.key)?);
    let (client_ca, crl) = (optional(&paths.client_ca)?, optional(&paths.crl)?);
    let files = TlsFiles { certificate: &certificate, key: &key, client_ca: client_ca.as_deref(), crl: crl.as_deref() };
    Tls::new(files).with_context(|| format!("{} with {}", paths.certificate.display(), paths.key.display()))
}

fn text(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(bytes(path)?).with_context(|| format!("{} is not UTF-8", path.display()))
}

fn bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    #[expect(clippy::disallowed_methods, reason = "an operator's file, not the journal's")]
    let file = std::fs::File::open(path).with_context(|| format!("{} can't be read", path.display()))?;
    let mut read = Vec::new();
    let count = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut read);
    count.with_context(|| format!("{} can't be read", path.display()))?;
    anyhow::ensure!(read.len() as u64 <= FILE_BYTES_MAX, "{} has more than 16 MiB", path.display());
    Ok(read)
}

/// What is right and may still surprise.
pub(crate) fn warnings(mqtt: &config::Mqtt) -> Vec<String> {
    let mut warnings = Vec::new();
    for listener in &mqtt.listeners {
        let beyond = !listener.listen.ip().is_loopback();
        if beyond && listener.entry.anonymous {
            warnings.push(format!("mqtt listens on {}: anyone who reaches it may come in", listener.listen));
        }
        if beyond && listener.tls.is_none() && listener.entry.password {
            warnings.push(format!("mqtt on {} is not encrypted: passwords can be read on the way", listener.listen));
        }
    }
    let no_rules = matches!(&mqtt.rules, AclFrom::Here(acl) if acl.is_empty());
    if no_rules && mqtt.listeners.iter().any(|listener| !listener.listen.ip().is_loopback()) {
        warnings.push("there is no acl: whoever comes in may publish and subscribe to everything".to_owned());
    }
    let keys = mqtt.listeners.iter().filter_map(|listener| Some(listener.tls.as_ref()?.key.as_path()));
    for path in keys.chain(mqtt.passwords.as_deref()) {
        if std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0) {
            warnings.push(format!("{} can be read by everybody on this machine: chmod o-r", path.display()));
        }
    }
    warnings
}

/// How the watch is told to look at once, and where.
#[derive(Default)]
pub(super) struct Told {
    now: Notify,
    next: Mutex<Option<config::Mqtt>>,
}

impl Told {
    /// What looks the same is read again too.
    pub(super) fn look(&self) {
        self.now.notify_one();
    }

    /// At the files that this names, for the same listeners.
    pub(super) fn look_at(&self, mqtt: config::Mqtt) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(mqtt);
        self.look();
    }

    pub(super) fn take(&self) -> Option<config::Mqtt> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Looks at the files and exchanges what has changed.
pub(super) struct Watch {
    mqtt: config::Mqtt,
    keys: Keys,
    seen: Vec<Option<Stamp>>,
}

/// What changes when a file is written or replaced.
type Stamp = (u64, u64, u64, i64, i64);

fn stamp(path: &Path) -> Option<Stamp> {
    let of = |file: Metadata| (file.dev(), file.ino(), file.size(), file.ctime(), file.ctime_nsec());
    std::fs::metadata(path).ok().map(of)
}

impl Watch {
    pub(super) fn new(mqtt: config::Mqtt, keys: Keys) -> Self {
        let mut watch = Self { mqtt, keys, seen: Vec::new() };
        watch.seen = watch.stamps();
        watch
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        let of_tls = |tls: &TlsPaths| {
            [Some(tls.certificate.clone()), Some(tls.key.clone()), tls.client_ca.clone(), tls.crl.clone()]
        };
        let tls = self.mqtt.listeners.iter().filter_map(|listener| listener.tls.as_ref()).flat_map(of_tls).flatten();
        let rules = match &self.mqtt.rules {
            AclFrom::File(path) => Some(path.clone()),
            AclFrom::Here(_) => None,
        };
        tls.chain(self.mqtt.passwords.clone()).chain(rules).map(|path| stamp(&path)).collect()
    }

    /// Runs until dropped.
    pub(super) async fn run(mut self, tell: Arc<Told>) {
        loop {
            let told = timeout(LOOK_INTERVAL, tell.now.notified()).await.is_ok();
            if let Some(mqtt) = tell.take() {
                self.mqtt = mqtt;
            }
            let looked = spawn_blocking(move || {
                self.look(told);
                self
            });
            match looked.await {
                Ok(watch) => self = watch,
                Err(error) => {
                    tracing::error!(%error, "certificates and passwords are not looked at any more");
                    return std::future::pending().await;
                }
            }
        }
    }

    fn look(&mut self, told: bool) {
        let stamps = self.stamps();
        if !told && stamps == self.seen {
            return;
        }
        // Before they are read: what changes meanwhile is seen the next time.
        self.seen = stamps;
        for (number, listener) in self.mqtt.listeners.iter().enumerate() {
            let Some(paths) = &listener.tls else { continue };
            let (listen, certificate) = (listener.listen, paths.certificate.display());
            match read_tls(paths) {
                Ok(tls) => {
                    if self.keys.set_tls(number, tls) {
                        tracing::info!(%listen, %certificate, "certificates were read again");
                    }
                }
                Err(error) => {
                    tracing::error!(%listen, error = format!("{error:#}"), "new certificates can't be used: the old ones go on");
                }
            }
        }
        match rules(&self.mqtt) {
            Ok(rules) => {
                let users = rules.passwords.as_ref().map_or(0, |passwords| passwords.len());
                tracing::info!(users, rules = rules.acl.len(), "passwords and rules were read again");
                self.keys.set_rules(rules);
            }
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "new passwords or rules can't be used: the old ones go on"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
