//! The credentials that the next connection is made with, and whether they have changed since the last.
//!
//! What can't be used is refused as a whole, and what was read before goes on: a certificate that is replaced a moment before its key
//! ends no connection.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lamppost_event::WallTime;
use rdkafka::config::ClientConfig;

use crate::credentials::{CredentialError, Credentials};
use crate::security::Security;

/// What changes when a file is written or replaced.
type Stamp = (u64, u64, u64, i64, i64);

/// The credentials of one cluster, shared by all its clients.
#[derive(Debug, Default)]
pub struct Keyring {
    security: Security,
    held: Mutex<Held>,
    /// Rises whenever other credentials are held.
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct Held {
    stamps: Option<Vec<Option<Stamp>>>,
    credentials: Option<Credentials>,
    refused: Option<CredentialError>,
}

impl Keyring {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(security: Security) -> Self {
        Self { security, ..Self::default() }
    }

    /// How the cluster is spoken to.
    #[must_use]
    pub const fn security(&self) -> &Security {
        &self.security
    }

    /// Reads the files if they look other than the last time. True: other credentials are held now. Blocks for as long as the disk
    /// takes.
    ///
    /// # Errors
    /// [`CredentialError`]: they can't be used; those held before stay.
    pub fn refresh(&self) -> Result<bool, CredentialError> {
        let mut held = self.held();
        // Before they are read: what changes meanwhile is seen the next time.
        let stamps: Vec<_> = self.security.files().into_iter().map(|path| stamp(path)).collect();
        if held.stamps.as_ref() == Some(&stamps) {
            return held.refused.clone().map_or(Ok(false), Err);
        }
        held.stamps = Some(stamps);
        match Credentials::read(&self.security) {
            Ok(read) => {
                held.refused = None;
                let changed = held.credentials.as_ref() != Some(&read);
                if changed {
                    held.credentials = Some(read);
                    self.generation.fetch_add(1, Relaxed);
                }
                Ok(changed)
            }
            Err(error) => {
                if error.unread {
                    held.stamps = None;
                }
                held.refused = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Which credentials are held: another number, other credentials.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// Whether no credentials could be read yet: nobody must be asked to let us in.
    pub(crate) fn is_empty(&self) -> bool {
        self.held().credentials.is_none()
    }

    /// When our own certificate expires, if there is one.
    #[must_use]
    pub fn expires(&self) -> Option<WallTime> {
        self.held().credentials.as_ref().and_then(|credentials| credentials.expires)
    }

    /// librdkafka's properties, secrets among them: for a client's configuration and nothing else.
    #[must_use]
    pub fn properties(&self) -> Vec<(&'static str, String)> {
        let held = self.held();
        let secret = |of: fn(&Credentials) -> Option<&crate::credentials::Secret>| {
            held.credentials.as_ref().and_then(of).map(|secret| secret.as_str().to_owned())
        };
        let mut properties = vec![("security.protocol", self.security.protocol().to_owned())];
        if let Some(tls) = &self.security.tls {
            // By its path: of a text librdkafka takes the first certificate alone, and leaves the intermediate ones out.
            properties.push(("ssl.ca.location", tls.ca.as_deref().map_or_else(|| "probe".to_owned(), shown)));
            properties.push(("enable.ssl.certificate.verification", "true".to_owned()));
            let names = if tls.verify_host_name { "https" } else { "none" };
            properties.push(("ssl.endpoint.identification.algorithm", names.to_owned()));
            if let Some(own) = &tls.own {
                properties.push(("ssl.certificate.location", shown(&own.certificate)));
                properties.push(("ssl.key.location", shown(&own.key)));
            }
            if let Some(password) = secret(|it| it.key_password.as_ref()) {
                properties.push(("ssl.key.password", password));
            }
        }
        if let Some(login) = &self.security.sasl {
            properties.push(("sasl.mechanisms", login.mechanism.as_str().to_owned()));
            properties.push(("sasl.username", login.user.clone()));
            properties.push(("sasl.password", secret(|it| it.password.as_ref()).unwrap_or_default()));
        }
        properties
    }

    pub(crate) fn apply(&self, client: &mut ClientConfig) {
        for (key, value) in self.properties() {
            client.set(key, value);
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let of = |file: Metadata| (file.dev(), file.ino(), file.size(), file.ctime(), file.ctime_nsec());
    std::fs::metadata(path).ok().map(of)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::security::{Login, Mechanism};

    fn keyring(password: PathBuf) -> Keyring {
        let login = Login { mechanism: Mechanism::ScramSha256, user: "post".into(), password };
        Keyring::new(Security { tls: None, sasl: Some(login) })
    }

    fn write(path: &Path, text: &str) {
        #[expect(clippy::disallowed_methods, reason = "a test's file")]
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn new_contents_are_taken_up_and_the_same_again_are_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let keyring = keyring(path.clone());
        assert!(keyring.refresh().is_err() && keyring.is_empty());
        write(&path, "one\n");
        assert_eq!(keyring.refresh(), Ok(true));
        assert_eq!((keyring.refresh(), keyring.generation()), (Ok(false), 1));
        write(&path, "one");
        assert_eq!(keyring.refresh(), Ok(false), "the same password");
        write(&path, "two\n");
        assert_eq!((keyring.refresh(), keyring.generation()), (Ok(true), 2));
        assert!(keyring.properties().contains(&("sasl.password", "two".to_owned())));
    }

    #[test]
    fn what_can_not_be_used_leaves_what_was_held_and_is_said_until_it_is_right() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        write(&path, "one\n");
        let keyring = keyring(path.clone());
        assert_eq!(keyring.refresh(), Ok(true));
        write(&path, "\n");
        let error = keyring.refresh().unwrap_err();
        assert_eq!(keyring.refresh(), Err(error), "it is still so");
        assert!(keyring.properties().contains(&("sasl.password", "one".to_owned())));
        write(&path, "one\n");
        assert_eq!((keyring.refresh(), keyring.generation()), (Ok(false), 1), "back at the old one");
    }

    #[test]
    fn what_could_not_be_read_is_read_again_though_the_file_looks_the_same() {
        let dir = tempfile::tempdir().unwrap();
        // A folder can be opened, but not read.
        let keyring = keyring(dir.path().to_owned());
        let error = keyring.refresh().unwrap_err();
        assert!(error.unread && keyring.held().stamps.is_none(), "{error}");
        assert_eq!(keyring.refresh(), Err(error), "and told the same way");
    }

    #[test]
    fn nothing_that_is_printed_shows_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        write(&path, "s3cr3t\n");
        let keyring = keyring(path);
        keyring.refresh().unwrap();
        assert!(!format!("{keyring:?}").contains("s3cr3t"));
    }
}
