//! The contents of the files that prove who we are, and what can be said of them before a broker does.
//!
//! Invariants:
//! - A secret leaves this module only towards librdkafka. Neither `Debug` nor an error shows one.
//! - The files are judged by the same OpenSSL that the connections are made with.

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use lamppost_event::WallTime;
use openssl::asn1::Asn1Time;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use crate::security::{ClientTls, OwnCertificate, Security};

/// The largest file that is read, bytes: a system's roots are below half of it.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The longest password, bytes.
const PASSWORD_BYTES_MAX: usize = 4096;

/// What is wrong with a file of the credentials. Tells nothing of what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct CredentialError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
    /// It could not be read, for a reason that may pass without the file changing (no descriptors left, a card that hesitates).
    pub unread: bool,
}

/// A secret text, which nobody is shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// What was read, and found to fit together.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) password: Option<Secret>,
    pub(crate) key_password: Option<Secret>,
    /// The contents of the PEM files, to tell whether they are others than before.
    pems: Vec<Vec<u8>>,
    /// When our own certificate ends.
    pub(crate) expires: Option<WallTime>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads all files that `security` names. Blocks for as long as the disk takes.
    pub(crate) fn read(security: &Security) -> Result<Self, CredentialError> {
        let mut read = Self { password: None, key_password: None, pems: Vec::new(), expires: None };
        if let Some(tls) = &security.tls {
            read.tls(tls)?;
        }
        if let Some(login) = &security.sasl {
            read.password = Some(password(&login.password)?);
        }
        Ok(read)
    }

    fn tls(&mut self, tls: &ClientTls) -> Result<(), CredentialError> {
        if let Some(ca) = &tls.ca {
            let pem = bytes(ca)?;
            certificates(ca, &pem)?;
            self.pems.push(pem);
        }
        let Some(own) = &tls.own else { return Ok(()) };
        let (certificate, key) = (bytes(&own.certificate)?, bytes(&own.key)?);
        self.key_password = own.key_password.as_deref().map(password).transpose()?;
        let chain = certificates(&own.certificate, &certificate)?;
        let private = private_key(own, &key, self.key_password.as_ref())?;
        let Some(first) = chain.first() else { return Ok(()) };
        let public = first.public_key().map_err(|_| wrong(&own.certificate, "its public key can't be understood"))?;
        if !private.public_eq(&public) {
            let why = format!("is not the certificate of the key in {}", own.key.display());
            return Err(wrong(&own.certificate, why));
        }
        self.expires = expiry(first);
        self.pems.extend([certificate, key]);
        Ok(())
    }
}

/// What `check` tells of the files of one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    /// What keeps the gateway from the cluster.
    pub faults: Vec<CredentialError>,
    /// What works, and should not be so.
    pub warnings: Vec<CredentialError>,
}

/// Looks at the files as a start would, and for what will be wrong soon. `now`: the time that certificates are compared with;
/// `None` where it is not known.
#[must_use]
pub fn examine(security: &Security, now: Option<WallTime>) -> Examination {
    let mut found = Examination { faults: Vec::new(), warnings: Vec::new() };
    if let Err(fault) = Credentials::read(security) {
        found.faults.push(fault);
    }
    let own = security.tls.as_ref().and_then(|tls| tls.own.as_ref());
    let secrets = own.map(|own| &own.key).into_iter().chain(own.and_then(|own| own.key_password.as_ref()));
    for path in secrets.chain(security.sasl.as_ref().map(|login| &login.password)) {
        if is_open_to_all(path) {
            found.warnings.push(wrong(path, "can be read by everybody on this machine: chmod o-r"));
        }
    }
    let Some(now) = now else { return found };
    let ca = security.tls.as_ref().and_then(|tls| tls.ca.as_ref());
    for path in ca.into_iter().chain(own.map(|own| &own.certificate)) {
        let Ok(list) = bytes(path).and_then(|pem| certificates(path, &pem)) else { continue };
        let ends: Vec<_> = list.iter().map(|one| (one, term(one, now))).collect();
        // Of a list of roots one may have ended; of our own chain each counts.
        let all_of_roots = ca == Some(path) && ends.iter().any(|(_, term)| *term != Term::Over);
        for (one, term) in ends {
            match term {
                Term::Over if all_of_roots => {}
                Term::Over => found.faults.push(wrong(path, format!("expired on {}", one.not_after()))),
                Term::NotYet => found.faults.push(wrong(path, format!("counts only from {} on", one.not_before()))),
                Term::Soon if ca != Some(path) => {
                    found.warnings.push(wrong(path, format!("expires on {}", one.not_after())))
                }
                Term::Soon | Term::Runs => {}
            }
        }
    }
    found
}

/// How a certificate stands to a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Term {
    NotYet,
    Runs,
    /// It ends within two weeks.
    Soon,
    Over,
}

fn term(certificate: &X509, now: WallTime) -> Term {
    let at = |seconds: i64| Asn1Time::from_unix(seconds);
    let (Ok(today), Ok(soon)) = (at(now.0 / 1000), at(now.0 / 1000 + 14 * 86_400)) else { return Term::Runs };
    if certificate.not_after() < today {
        Term::Over
    } else if certificate.not_before() > today {
        Term::NotYet
    } else if certificate.not_after() < soon {
        Term::Soon
    } else {
        Term::Runs
    }
}

fn expiry(certificate: &X509) -> Option<WallTime> {
    let epoch = Asn1Time::from_unix(0).ok()?;
    let since = epoch.diff(certificate.not_after()).ok()?;
    Some(WallTime((i64::from(since.days) * 86_400 + i64::from(since.secs)) * 1000))
}

fn wrong(path: &Path, why: impl Into<String>) -> CredentialError {
    CredentialError { path: path.to_owned(), why: why.into(), unread: false }
}

pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, CredentialError> {
    let unread = |error: io::Error| CredentialError {
        unread: error.kind() != io::ErrorKind::NotFound,
        ..wrong(path, format!("can't be read: {error}"))
    };
    #[expect(clippy::disallowed_methods, reason = "a file of the operator's, no journal data")]
    let file = std::fs::File::open(path).map_err(unread)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > FILE_BYTES_MAX { Err(wrong(path, "has more than 1 MiB")) } else { Ok(bytes) }
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<X509>, CredentialError> {
    match X509::stack_from_pem(pem) {
        Ok(list) if list.is_empty() => Err(wrong(path, "has no certificate in it (PEM: -----BEGIN CERTIFICATE-----)")),
        Ok(list) => Ok(list),
        Err(_) => Err(wrong(path, "has something in it that is not a certificate, or half of one")),
    }
}

fn private_key(own: &OwnCertificate, pem: &[u8], password: Option<&Secret>) -> Result<PKey<Private>, CredentialError> {
    let mut asked = false;
    let read = PKey::private_key_from_pem_callback(pem, |buffer| {
        asked = true;
        let secret = password.map_or("", Secret::as_str).as_bytes();
        // A longer one can't be right: OpenSSL takes at most its buffer.
        let fits = buffer.get_mut(..secret.len()).map(|room| room.copy_from_slice(secret));
        Ok(fits.map_or(0, |()| secret.len()))
    });
    read.map_err(|_| match (asked, &own.key_password) {
        (true, None) => wrong(&own.key, "is encrypted, and there is no `key_password_file`"),
        (true, Some(password)) => wrong(&own.key, format!("the password in {} does not open it", password.display())),
        (false, _) => wrong(&own.key, "has no private key in it (PEM: -----BEGIN PRIVATE KEY-----)"),
    })
}

pub(crate) fn password(path: &Path) -> Result<Secret, CredentialError> {
    let text = String::from_utf8(bytes(path)?).map_err(|_| wrong(path, "is not UTF-8"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line {
        "" => Err(wrong(path, "is empty")),
        line if line.contains(['\n', '\0']) => Err(wrong(path, "has more than one line")),
        line if line.len() > PASSWORD_BYTES_MAX => Err(wrong(path, "has more than 4096 bytes")),
        line => Ok(Secret(line.to_owned())),
    }
}

fn is_open_to_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests;
