//! The client of a schema registry that speaks Confluent's API (Confluent, Apicurio below `/apis/ccompat/v7`, Karapace, Redpanda): one
//! question at a time, each with a time-out, and answers up to a bound.
//!
//! | asked | when | answered |
//! |---|---|---|
//! | `POST /subjects/{subject}/versions?normalize=true` | the schema is to be registered | its id, also if it was there already |
//! | `POST /subjects/{subject}?normalize=true` | it is to be looked up only | its id, or 404 |
//!
//! **Invariant:** a password leaves this module only towards the registry, and what the registry says is shown without it.

use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::SchemaFormat;
use crate::credentials::{self, CredentialError, Secret};

/// How long one question may take in all.
const ASK_MAX: Duration = Duration::from_secs(5);
/// The longest answer that is read, bytes: a lookup's has the schema in it.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// So much of the registry's words is shown, characters.
const SHOWN_CHARS: usize = 300;
/// Where a system has its roots.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Where a registry is: `http://` or `https://`, a host, and the path that its API is below. No name and password in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryUrl(String);

/// Why a text is not a [`RegistryUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryUrlError {
    /// Not an address on the web.
    #[error("not the address of a registry: it begins with https:// or http://, and a host follows")]
    Form,
    /// What is secret must not stand in a configuration.
    #[error("a name or a password in the address")]
    Login,
    /// It has to be put in front of the API's paths.
    #[error("a question or a mark behind the address")]
    Query,
}

impl RegistryUrl {
    /// Whether it is spoken to by TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        // As in any address, upper case is the same (RFC 3986, section 3.1).
        self.0.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
    }
}

impl FromStr for RegistryUrl {
    type Err = RegistryUrlError;

    fn from_str(text: &str) -> Result<Self, RegistryUrlError> {
        // Anywhere: a password with '#', '/' or a space ends the host before it, and whatever is wrong with the rest, a human is shown the line.
        if text.contains('@') {
            return Err(RegistryUrlError::Login);
        }
        if text.contains(['?', '#']) {
            return Err(RegistryUrlError::Query);
        }
        let uri: Uri = text.parse().map_err(|_| RegistryUrlError::Form)?;
        let host = uri.authority().filter(|_| matches!(uri.scheme_str(), Some("http" | "https")));
        host.map(|_| Self(text.trim_end_matches('/').to_owned())).ok_or(RegistryUrlError::Form)
    }
}

impl fmt::Display for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who we are to the registry (RFC 7617).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryLogin {
    /// The user's name.
    pub user: String,
    /// A file with the password; a line break at its end does not count.
    pub password: PathBuf,
}

/// How the registry is spoken to. The files are read at each question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Where it is.
    pub url: RegistryUrl,
    /// Roots that its certificate must come from, PEM; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// `None`: nobody.
    pub login: Option<RegistryLogin>,
}

/// Why the registry gave no schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// A file of ours can't be used.
    #[error("for the schema registry, {0}")]
    Files(CredentialError),
    /// No connection, no answer in time, or none that can be understood.
    #[error("the schema registry {url} is not reached: {why}")]
    Unreached {
        /// Where it is.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// It can't answer now (429, 5xx).
    #[error("the schema registry can't answer ({status}): {why}")]
    Unavailable {
        /// The status of HTTP.
        status: u16,
        /// Its words.
        why: String,
    },
    /// Name, password or rights (401, 403).
    #[error("the schema registry does not let us in ({status}): {why}")]
    Denied {
        /// The status of HTTP.
        status: u16,
        /// Its words.
        why: String,
    },
    /// It was to be looked up, and is not there.
    #[error("the schema registry does not have this schema as {subject:?}: {why}")]
    Unknown {
        /// What it was asked for.
        subject: String,
        /// Its words.
        why: String,
    },
    /// The subject has another schema, which this one does not go with (409).
    #[error("the schema registry finds this schema incompatible with {subject:?}: {why}")]
    Incompatible {
        /// What it was to be registered as.
        subject: String,
        /// Its words.
        why: String,
    },
    /// Anything else: 422, a schema that it takes for none; 404, no registry.
    #[error("the schema registry refuses this schema ({status}): {why}")]
    Refused {
        /// The status of HTTP.
        status: u16,
        /// Its words.
        why: String,
    },
}

impl RegistryError {
    /// Asking for another topic at once would end in the same way. Not so where rights are wanting (403): they are given by subject.
    pub(super) const fn is_unreached(&self) -> bool {
        matches!(self, Self::Unreached { .. } | Self::Unavailable { .. } | Self::Denied { status: 401, .. })
    }
}

/// A schema's number in the registry, 1 to 2³¹ − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SchemaId(NonZeroU32);

impl SchemaId {
    pub(super) fn new(id: i64) -> Option<Self> {
        i32::try_from(id).ok().and_then(|id| u32::try_from(id).ok()).and_then(NonZeroU32::new).map(Self)
    }

    pub(super) const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One question.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) subject: &'a str,
    pub(super) text: &'a str,
    pub(super) format: SchemaFormat,
    pub(super) register: bool,
}

/// Asks for a schema's id. Blocks, for [`ASK_MAX`] at most.
pub(super) fn ask(settings: &RegistrySettings, ask: &Ask<'_>) -> Result<SchemaId, RegistryError> {
    let caller = Caller::new(settings)?;
    let versions = if ask.register { "/versions" } else { "" };
    let url = format!("{}/subjects/{}{versions}?normalize=true", settings.url, in_path(ask.subject));
    // Avro is what a registry takes a schema for that does not say; older ones know no other.
    let body = match ask.format {
        SchemaFormat::Avro => serde_json::json!({ "schema": ask.text }),
        SchemaFormat::JsonSchema => serde_json::json!({ "schema": ask.text, "schemaType": ask.format.in_registry() }),
    };
    let mut request = caller.agent.post(&url).header("Content-Type", MEDIA_TYPE).header("Accept", MEDIA_TYPE);
    if let Some(authorization) = caller.authorization() {
        request = request.header("Authorization", authorization);
    }
    let (status, answer) = caller.read(request.send(body.to_string()))?;
    understand(ask, status, &answer).map_err(|error| caller.censored(error))
}

/// Asks whether a registry answers as one, and lets us in. Blocks, for five seconds at most.
///
/// # Errors
/// [`RegistryError`].
pub fn look_at_registry(settings: &RegistrySettings) -> Result<(), RegistryError> {
    let caller = Caller::new(settings)?;
    let mut request = caller.agent.get(format!("{}/schemas/types", settings.url)).header("Accept", MEDIA_TYPE);
    if let Some(authorization) = caller.authorization() {
        request = request.header("Authorization", authorization);
    }
    let (status, answer) = caller.read(request.call())?;
    match status {
        200 => Ok(()),
        _ => Err(caller.censored(refusal("", false, status, words(&answer)))),
    }
}

/// What one question is asked with.
struct Caller<'a> {
    agent: Agent,
    settings: &'a RegistrySettings,
    password: Option<Secret>,
}

impl<'a> Caller<'a> {
    fn new(settings: &'a RegistrySettings) -> Result<Self, RegistryError> {
        let login = settings.login.as_ref();
        let password = login.map(|login| credentials::password(&login.password)).transpose();
        let roots = if settings.url.is_tls() { roots(settings.ca.as_deref())? } else { Vec::new() };
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(roots))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(0)
            .proxy(None)
            .timeout_global(Some(ASK_MAX))
            .user_agent("lamppost")
            .tls_config(tls)
            .build()
            .new_agent();
        Ok(Self { agent, settings, password: password.map_err(RegistryError::Files)? })
    }

    fn authorization(&self) -> Option<String> {
        let (login, password) = self.settings.login.as_ref().zip(self.password.as_ref())?;
        let pair = format!("{}:{}", login.user, password.as_str());
        Some(format!("Basic {}", openssl::base64::encode_block(pair.as_bytes())))
    }

    /// The status and the whole answer.
    fn read(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<(u16, Vec<u8>), RegistryError> {
        let unreached = |error: ureq::Error| {
            let url = self.settings.url.to_string();
            self.censored(RegistryError::Unreached { url, why: plain(&error) })
        };
        let mut answer = answer.map_err(unreached)?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        Ok((status, body.map_err(unreached)?))
    }

    /// The same without the password, should the registry repeat it.
    fn censored(&self, mut error: RegistryError) -> RegistryError {
        let secrets = self.password.as_ref().map(|password| password.as_str().to_owned()).into_iter();
        let coded = self.authorization().and_then(|it| it.strip_prefix("Basic ").map(str::to_owned));
        let (RegistryError::Unreached { why, .. }
        | RegistryError::Unavailable { why, .. }
        | RegistryError::Denied { why, .. }
        | RegistryError::Unknown { why, .. }
        | RegistryError::Incompatible { why, .. }
        | RegistryError::Refused { why, .. }) = &mut error
        else {
            return error;
        };
        for secret in secrets.chain(coded) {
            *why = why.replace(&secret, "(hidden)");
        }
        if let Some((end, _)) = why.char_indices().nth(SHOWN_CHARS) {
            why.truncate(end);
            why.push('…');
        }
        error
    }
}

fn roots(ca: Option<&Path>) -> Result<Vec<Certificate<'static>>, RegistryError> {
    let system = || SYSTEM_ROOTS.map(Path::new).into_iter().find(|path| path.exists());
    let path = ca.or_else(system).unwrap_or_else(|| Path::new("/etc/ssl/certs/ca-certificates.crt"));
    let pem = credentials::bytes(path).map_err(RegistryError::Files)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let unfit = |why: String| RegistryError::Files(CredentialError { path: path.to_owned(), why, unread: false });
    let read = read.map_err(|error| unfit(format!("can't be understood: {error}")))?;
    if read.is_empty() {
        return Err(unfit("has no certificate in it (PEM: -----BEGIN CERTIFICATE-----)".to_owned()));
    }
    Ok(read.iter().map(|der| Certificate::from_der(der).to_owned()).collect())
}

/// The words for what did not come about; the same each time.
fn plain(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => format!("no answer within {} s", ASK_MAX.as_secs()),
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::BodyExceedsLimit(limit) => format!("its answer has more than {} KiB", limit >> 10),
        other => other.to_string(),
    }
}

/// What an answer means.
fn understand(ask: &Ask<'_>, status: u16, answer: &[u8]) -> Result<SchemaId, RegistryError> {
    if status != 200 {
        return Err(refusal(ask.subject, ask.register, status, words(answer)));
    }
    let answer: Option<Value> = serde_json::from_slice(answer).ok();
    let id = answer.and_then(|answer| answer.get("id")?.as_i64()).and_then(SchemaId::new);
    id.ok_or_else(|| RegistryError::Refused { status, why: "its answer has no id from 1 to 2147483647".to_owned() })
}

fn refusal(subject: &str, register: bool, status: u16, why: String) -> RegistryError {
    let subject = subject.to_owned();
    match status {
        401 | 403 => RegistryError::Denied { status, why },
        404 if !register && !subject.is_empty() => RegistryError::Unknown { subject, why },
        409 => RegistryError::Incompatible { subject, why },
        429 | 500..=599 => RegistryError::Unavailable { status, why },
        _ => RegistryError::Refused { status, why },
    }
}

/// The registry's own words in a refusal, on one line.
fn words(answer: &[u8]) -> String {
    let refusal: Option<Value> = serde_json::from_slice(answer).ok();
    let said = refusal.and_then(|refusal| refusal.get("message")?.as_str().map(str::to_owned));
    let said = said.unwrap_or_else(|| String::from_utf8_lossy(answer.get(..4096).unwrap_or(answer)).into_owned());
    let said: Vec<&str> =
        said.split(|c: char| c.is_whitespace() || c.is_control()).filter(|it| !it.is_empty()).collect();
    if said.is_empty() { "it does not say why".to_owned() } else { said.join(" ") }
}

/// A subject as one piece of a path (RFC 3986, section 2.1).
fn in_path(subject: &str) -> String {
    let mut path = String::new();
    for byte in subject.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(char::from(byte)),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

#[cfg(test)]
mod tests;
