//! `[kafka.tls]`, `[kafka.sasl]` and `[kafka.properties]`: how the cluster is spoken to, and who we are there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lamppost_event::WallTime;
use lamppost_forward::{ClientTls, ForwardConfigError, Login, Mechanism, OwnCertificate, Security};
use lamppost_forward::{check_property, examine};
use serde::Deserialize;
use toml::Spanned;

use super::file;
use super::problem::Problem;

/// Where systemd puts a unit's credentials, if it has not said so in the environment.
const CREDENTIALS: &str = "/run/credentials/lamppost.service";

/// What to write for the name of a credential.
pub(super) const CREDENTIAL_REMEDY: &str = "the name after LoadCredential= in the unit, as in \"kafka-password\"";

/// The table `[kafka.tls]`, as serde reads it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    ca: Option<Spanned<PathBuf>>,
    certificate: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
    key_password_file: Option<Spanned<PathBuf>>,
    #[serde(default = "yes")]
    verify_host_name: bool,
}

/// The table `[kafka.sasl]`, as serde reads it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sasl {
    mechanism: Spanned<Mechanism>,
    user: Spanned<String>,
    password_file: Option<Spanned<PathBuf>>,
    credential: Option<Spanned<String>>,
    #[serde(default)]
    insecure: bool,
}

/// A property's value: what librdkafka takes as a text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Whole(i64),
    Fraction(f64),
    Truth(bool),
}

impl Scalar {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Whole(number) => number.to_string(),
            Self::Fraction(number) => number.to_string(),
            Self::Truth(truth) => truth.to_string(),
        }
    }
}

/// The table `[kafka.properties]`, as serde reads it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Properties(BTreeMap<Spanned<String>, Spanned<Scalar>>);

fn yes() -> bool {
    true
}

pub(super) fn check(kafka: &file::Kafka, problems: &mut Vec<Problem>) {
    if let Some(tls) = &kafka.tls {
        tls.check(problems);
    }
    if let Some(sasl) = &kafka.sasl {
        sasl.check(kafka.tls.is_some(), problems);
    }
    for (key, value) in &kafka.properties.0 {
        let Err(error) = check_property(key.get_ref(), &value.get_ref().text()) else { continue };
        problems.push(match error {
            ForwardConfigError::SaidOtherwise { property, remedy } => {
                Problem::at(key.span(), format!("the property {property:?} has a place of its own"), remedy)
            }
            ForwardConfigError::Reserved(_) => Problem::at(key.span(), error.to_string(), "remove this line"),
            ForwardConfigError::Property { why, .. } => Problem::at(
                key.span(),
                format!("librdkafka does not take it: {why}"),
                "see librdkafka's CONFIGURATION.md",
            ),
            other => Problem::at(key.span(), other.to_string(), "see librdkafka's CONFIGURATION.md"),
        });
    }
}

impl Tls {
    fn files(&self) -> impl Iterator<Item = &Spanned<PathBuf>> {
        [&self.ca, &self.certificate, &self.key, &self.key_password_file].into_iter().flatten()
    }

    fn check(&self, problems: &mut Vec<Problem>) {
        let mut problem = |span, what: &str, remedy: &str| problems.push(Problem::at(span, what, remedy));
        match (&self.certificate, &self.key, &self.key_password_file) {
            (Some(certificate), None, _) => problem(certificate.span(), "a certificate without its key", "add `key`"),
            (None, Some(key), _) => problem(key.span(), "a key without its certificate", "add `certificate`"),
            (None, None, Some(password)) => {
                problem(password.span(), "a password of no key", "add `certificate` and `key`, or remove this line");
            }
            _ => {}
        }
        self.files().for_each(|path| absolute(path, problems));
    }

    fn convert(&self) -> ClientTls {
        let path = |path: &Option<Spanned<PathBuf>>| path.as_ref().map(|path| path.get_ref().clone());
        let own = path(&self.certificate).zip(path(&self.key)).map(|(certificate, key)| OwnCertificate {
            certificate,
            key,
            key_password: path(&self.key_password_file),
        });
        ClientTls { ca: path(&self.ca), own, verify_host_name: self.verify_host_name }
    }
}

impl Sasl {
    fn check(&self, tls: bool, problems: &mut Vec<Problem>) {
        if let Some(path) = &self.password_file {
            absolute(path, problems);
        }
        let mut problem = |span, what: &str, remedy: &str| problems.push(Problem::at(span, what, remedy));
        match (&self.password_file, &self.credential) {
            (None, None) => {
                problem(self.user.span(), "a user without a password", "add `password_file` or `credential`")
            }
            (Some(_), Some(second)) => {
                problem(second.span(), "two places for one password", "keep one of `password_file` and `credential`");
            }
            _ => {}
        }
        if let Some(name) = &self.credential
            && !is_credential(name.get_ref())
        {
            problem(name.span(), "not the name of a credential", CREDENTIAL_REMEDY);
        }
        if self.user.get_ref().is_empty() {
            problem(self.user.span(), "a user without a name", "write the name that the brokers know");
        }
        if !tls && !self.insecure {
            let what = match self.mechanism.get_ref() {
                Mechanism::Plain => "without TLS everybody on the way can read the password",
                _ => "without TLS everybody on the way can read the events, and guess at the password",
            };
            let remedy = "add [kafka.tls]; or write `insecure = true` here, if that is what you want";
            problem(self.mechanism.span(), what, remedy);
        }
    }

    fn convert(&self) -> Login {
        let password = password(self.password_file.as_ref(), self.credential.as_ref());
        Login { mechanism: *self.mechanism.get_ref(), user: self.user.get_ref().clone(), password }
    }
}

/// Where a password lies: in a file, or where systemd puts a credential.
pub(super) fn password(file: Option<&Spanned<PathBuf>>, credential: Option<&Spanned<String>>) -> PathBuf {
    let credential = || {
        let dir = std::env::var_os("CREDENTIALS_DIRECTORY").map_or_else(|| PathBuf::from(CREDENTIALS), PathBuf::from);
        credential.map(|name| dir.join(name.get_ref()))
    };
    file.map(|path| path.get_ref().clone()).or_else(credential).unwrap_or_default()
}

/// Whether a credential of a unit can be called so.
pub(super) fn is_credential(name: &str) -> bool {
    !(name.is_empty() || name.contains('/') || name.starts_with('.'))
}

pub(super) fn absolute(path: &Spanned<PathBuf>, problems: &mut Vec<Problem>) {
    if !path.get_ref().is_absolute() {
        let what = format!("{:?} depends on where the program is started", path.get_ref());
        problems.push(Problem::at(path.span(), what, "write a path that begins with /"));
    }
}

/// What was checked, as the forwarder wants it.
pub(super) fn security(kafka: &file::Kafka) -> Security {
    Security { tls: kafka.tls.as_ref().map(Tls::convert), sasl: kafka.sasl.as_ref().map(Sasl::convert) }
}

pub(super) fn properties(kafka: &file::Kafka) -> BTreeMap<String, String> {
    kafka.properties.0.iter().map(|(key, value)| (key.get_ref().clone(), value.get_ref().text())).collect()
}

/// Whether what it names can be read by who asks, belongs together, and counts at this time.
pub(super) fn look_at_files(kafka: &file::Kafka, now: Option<WallTime>, problems: &mut Vec<Problem>) {
    let security = super::without_credential(security(kafka));
    for fault in examine(&security, now).faults {
        let of_tls = kafka.tls.iter().flat_map(Tls::files);
        let mut paths = of_tls.chain(kafka.sasl.iter().filter_map(|sasl| sasl.password_file.as_ref()));
        let place = paths.find(|path| *path.get_ref() == fault.path);
        let credential = kafka.sasl.iter().find_map(|sasl| sasl.credential.as_ref()).map(Spanned::span);
        let span = place.map(Spanned::span).or(credential).unwrap_or_default();
        let remedy = "nothing is forwarded before it is right; run `check` as the gateway's user";
        problems.push(Problem::at(span, fault.to_string(), remedy));
    }
}

/// Only the unit itself can read its credentials: elsewhere that file is not looked at.
pub(super) fn is_out_of_sight(password: &std::path::Path) -> bool {
    std::env::var_os("CREDENTIALS_DIRECTORY").is_none() && is_handed_over(password)
}

/// Whether the unit hands this file over to its user.
pub(crate) fn is_handed_over(path: &std::path::Path) -> bool {
    path.starts_with(CREDENTIALS)
}

#[cfg(test)]
mod tests;
