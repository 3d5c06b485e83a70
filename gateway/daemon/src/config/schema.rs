//! `[kafka.schema_registry]` and `[[kafka.schema]]`: which topics go in the wire format of a schema registry.

use std::path::PathBuf;

use lamppost_event::{AUDIT_TRAIL, Interest, WallTime};
use lamppost_forward::{
    ClientTls, Login, Mechanism, RegistryLogin, RegistrySettings, RegistryUrl, RegistryUrlError, SchemaFormat,
    SchemaRule, Security, SubjectTemplate, examine, look_at_schema,
};
use serde::Deserialize;
use toml::Spanned;

use super::value::Text;
use super::{Problem, file, kafka};

/// More would be a mistake, or made by a machine.
const SCHEMAS_MAX: usize = 256;

/// The table `[kafka.schema_registry]`, as serde reads it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Registry {
    url: Spanned<String>,
    ca: Option<Spanned<PathBuf>>,
    user: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    credential: Option<Spanned<String>>,
    #[serde(default)]
    insecure: bool,
}

/// A table of `[[kafka.schema]]`, as serde reads it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    topics: Spanned<Vec<Spanned<String>>>,
    format: SchemaFormat,
    file: Spanned<PathBuf>,
    subject: Option<Text<SubjectTemplate>>,
    #[serde(default = "yes")]
    register: bool,
}

/// What is encoded, and by whose schemas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoding {
    pub(crate) registry: RegistrySettings,
    pub(crate) rules: Vec<SchemaRule>,
}

impl Encoding {
    /// The registry's files, to be judged as those of a cluster are, without what can only be read by the unit itself.
    pub(crate) fn security_in_sight(&self) -> Security {
        let registry = &self.registry;
        let tls = ClientTls { ca: registry.ca.clone(), own: None, verify_host_name: true };
        let login =
            |login: RegistryLogin| Login { mechanism: Mechanism::Plain, user: login.user, password: login.password };
        let sasl = registry.login.clone().map(login);
        super::without_credential(Security { tls: registry.url.is_tls().then_some(tls), sasl })
    }
}

fn yes() -> bool {
    true
}

/// What does not fit.
pub(super) fn check(kafka: &file::Kafka, problems: &mut Vec<Problem>) {
    match (&kafka.schema_registry, kafka.schema.first()) {
        (Some(registry), None) => {
            let remedy = "add [[kafka.schema]], or remove [kafka.schema_registry]";
            problems.push(Problem::at(registry.url.span(), "a schema registry, and no topic has a schema", remedy));
        }
        (None, Some(schema)) => {
            let remedy = "add [kafka.schema_registry] with its `url`";
            problems.push(Problem::at(schema.topics.span(), "a schema without a schema registry", remedy));
        }
        _ => {}
    }
    if let Some(registry) = &kafka.schema_registry {
        registry.check(problems);
    }
    for (index, schema) in kafka.schema.iter().enumerate() {
        if index == SCHEMAS_MAX {
            let what = format!("more than {SCHEMAS_MAX} schemas");
            problems.push(Problem::at(schema.topics.span(), what, "take several topics together by a pattern"));
        }
        schema.check(kafka.schema.get(..index).unwrap_or_default(), problems);
    }
}

impl Registry {
    fn files(&self) -> impl Iterator<Item = &Spanned<PathBuf>> {
        [&self.ca, &self.password_file].into_iter().flatten()
    }

    fn check(&self, problems: &mut Vec<Problem>) {
        self.files().for_each(|path| kafka::absolute(path, problems));
        let tls = match self.url.get_ref().parse::<RegistryUrl>() {
            Ok(url) => url.is_tls(),
            Err(error @ RegistryUrlError::Login) => {
                // The line has the password in it, and must not be shown.
                let remedy = Some("write `user`, and `password_file` or `credential`".to_owned());
                problems.push(Problem { span: None, what: format!("url of a schema registry: {error}"), remedy });
                return;
            }
            Err(error) => {
                let remedy = "as in \"https://registry.city:8081\"";
                problems.push(Problem::at(self.url.span(), error.to_string(), remedy));
                return;
            }
        };
        let mut problem = |span, what: &str, remedy: &str| problems.push(Problem::at(span, what, remedy));
        if let Some(ca) = self.ca.as_ref().filter(|_| !tls) {
            problem(ca.span(), "a file of TLS, and a registry without", "write https:// in `url`, or remove this line");
        }
        let password = self.password_file.as_ref().map(Spanned::span).or(self.credential.as_ref().map(Spanned::span));
        match (&self.user, password) {
            (Some(user), None) => {
                problem(user.span(), "a user without a password", "add `password_file` or `credential`")
            }
            (None, Some(password)) => problem(password, "a password of nobody", "add `user`"),
            _ => {}
        }
        if let (Some(_), Some(second)) = (&self.password_file, &self.credential) {
            let remedy = "keep one of `password_file` and `credential`";
            problem(second.span(), "two places for one password", remedy);
        }
        if let Some(name) = &self.credential
            && !kafka::is_credential(name.get_ref())
        {
            problem(name.span(), "not the name of a credential", kafka::CREDENTIAL_REMEDY);
        }
        // It ends the name where a password begins (RFC 7617, section 2).
        if let Some(user) = self.user.as_ref().filter(|user| user.get_ref().contains(':') || user.get_ref().is_empty())
        {
            problem(user.span(), "not the name of a user", "write the name that the registry knows, without ':'");
        }
        if self.user.is_some() && !tls && !self.insecure {
            let remedy = "write https:// in `url`; or `insecure = true` here, if that is what you want";
            problem(self.url.span(), "without TLS everybody on the way can read the password", remedy);
        }
    }

    /// After [`Self::check`] has found nothing.
    fn convert(&self) -> Option<RegistrySettings> {
        let login = self.user.as_ref().map(|user| RegistryLogin {
            user: user.get_ref().clone(),
            password: kafka::password(self.password_file.as_ref(), self.credential.as_ref()),
        });
        let ca = self.ca.as_ref().map(|ca| ca.get_ref().clone());
        Some(RegistrySettings { url: self.url.get_ref().parse().ok()?, ca, login })
    }
}

impl Written {
    fn check(&self, before: &[Self], problems: &mut Vec<Problem>) {
        kafka::absolute(&self.file, problems);
        let mut problem = |span, what: String, remedy: &str| problems.push(Problem::at(span, what, remedy));
        if let Err(error) = Interest::new(self.topics.get_ref().iter().map(|topic| topic.get_ref().as_str())) {
            problem(self.topics.span(), error.to_string(), "names or patterns, as in [\"air-quality\", \"city-*\"]");
            return;
        }
        for topic in self.topics.get_ref() {
            if [AUDIT_TRAIL, lamppost_route::DEAD_LETTERS].contains(&topic.get_ref().as_str()) {
                let what = format!("{} always goes as it is", topic.get_ref());
                problem(topic.span(), what, "remove it: it is never encoded");
            }
            let both = before
                .iter()
                .flat_map(|other| other.topics.get_ref())
                .find(|other| overlap(other.get_ref(), topic.get_ref()));
            if let Some(other) = both {
                let what = format!(
                    "{:?} may take a topic that {:?} of a schema before it takes",
                    topic.get_ref(),
                    other.get_ref()
                );
                problem(topic.span(), what, "a topic has one schema: write patterns that have no topic in common");
            }
        }
    }
}

/// Whether a name could fit both patterns; `*` stands for any number of characters.
fn overlap(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    // Whether what is left of `one` and the first `n` rests of `other` have a name in common; from the ends on.
    let mut below = vec![false; other.len() + 1];
    for i in (0..=one.len()).rev() {
        let mut now = vec![false; other.len() + 1];
        for j in (0..=other.len()).rev() {
            let (a, b) = (one.get(i), other.get(j));
            let of = |list: &[bool], index: usize| list.get(index).copied().unwrap_or(false);
            let fits = match (a, b) {
                (None, None) => true,
                (Some(b'*'), _) if of(&below, j) => true,
                (_, Some(b'*')) if of(&now, j + 1) => true,
                (Some(b'*'), Some(_)) => of(&now, j + 1),
                (Some(_), Some(b'*')) => of(&below, j),
                (Some(a), Some(b)) => a == b && of(&below, j + 1),
                _ => false,
            };
            if let Some(slot) = now.get_mut(j) {
                *slot = fits;
            }
        }
        below = now;
    }
    below.first().copied().unwrap_or(false)
}

/// After [`check`] has found nothing.
pub(super) fn encoding(kafka: &file::Kafka) -> Option<Encoding> {
    let registry = kafka.schema_registry.as_ref()?.convert()?;
    let rule = |schema: &Written| {
        let topics = Interest::new(schema.topics.get_ref().iter().map(|topic| topic.get_ref().as_str())).ok()?;
        Some(SchemaRule {
            topics,
            format: schema.format,
            file: schema.file.get_ref().clone(),
            subject: schema.subject.as_ref().map(|subject| subject.0.clone()).unwrap_or_default(),
            register: schema.register,
        })
    };
    Some(Encoding { registry, rules: kafka.schema.iter().filter_map(rule).collect() })
}

/// Whether the schemas can be read and are some, and the registry's files can be used.
pub(super) fn look_at_files(kafka: &file::Kafka, now: Option<WallTime>, problems: &mut Vec<Problem>) {
    for schema in &kafka.schema {
        if let Err(fault) = look_at_schema(schema.file.get_ref(), schema.format) {
            let remedy = "its topics wait before it is right; run `check` as the gateway's user";
            problems.push(Problem::at(schema.file.span(), fault.to_string(), remedy));
        }
    }
    let Some((registry, encoding)) = kafka.schema_registry.as_ref().zip(encoding(kafka)) else { return };
    for fault in examine(&encoding.security_in_sight(), now).faults {
        let place = registry.files().find(|path| *path.get_ref() == fault.path).map(Spanned::span);
        let span = place.or(registry.credential.as_ref().map(Spanned::span)).unwrap_or_default();
        let remedy = "what has a schema waits before it is right; run `check` as the gateway's user";
        problems.push(Problem::at(span, fault.to_string(), remedy));
    }
}

#[cfg(test)]
mod tests;
