//! Payloads in the wire format of Confluent's schema registry, for the topics that the configuration names; all others go as received.
//!
//! ```text
//! byte 0       1 2 3 4                5 …
//! 0            the schema's id,       json-schema: the payload as received, which has to be one JSON text
//!              big-endian             avro: the payload, in Avro's binary form (schema/datum.rs)
//! ```
//!
//! - What can't be brought into that form goes to the dead letters, as it was received.
//! - An empty payload is no value (null: a tombstone). Dead letters, the audit trail and the cursors never are encoded.
//! - The id is asked for when a topic is met first, and kept. While the registry gives none, the topic is set apart like one that the
//!   cluster does not have: nothing is dropped, the others go on.
//! - The file of the schema, its login and its roots are read at each asking: what was mended counts at the next one.

mod avro;
mod datum;
mod file;
mod number;
mod registry;
mod subject;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lamppost_event::{AUDIT_TRAIL, Interest, Topic};
use tokio::time::Instant;

use crate::kafka::lock;
use file::{Form, SchemaFile};
use registry::{Ask, SchemaId};

pub use file::{SchemaFault, look_at_schema};
pub use registry::{RegistryError, RegistryLogin, RegistrySettings, RegistryUrl, RegistryUrlError, look_at_registry};
pub use subject::{SubjectTemplate, SubjectTemplateError};

/// So long at least a registry that was not reached is not asked for another topic: each would wait for the time-out again.
const HOLD: Duration = Duration::from_secs(2);

/// The same once an answer was waited for in vain. Nothing else is asked of the cluster meanwhile: two thirds of the time have to be left for that.
fn hold(waited: Duration) -> Duration {
    HOLD.max(2 * waited)
}

/// How a topic's payloads are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SchemaFormat {
    /// Avro's binary form, made of JSON.
    Avro,
    /// JSON as received.
    JsonSchema,
}

impl SchemaFormat {
    /// As it is written in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Avro => "avro",
            Self::JsonSchema => "json-schema",
        }
    }

    /// As the registry calls it.
    const fn in_registry(self) -> &'static str {
        match self {
            Self::Avro => "AVRO",
            Self::JsonSchema => "JSON",
        }
    }
}

/// Which topics have which schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaRule {
    /// The topics, by their names in the journal.
    pub topics: Interest,
    /// How they are encoded.
    pub format: SchemaFormat,
    /// The schema.
    pub file: PathBuf,
    /// What it is called in the registry.
    pub subject: SubjectTemplate,
    /// Whether it is registered there; else it is only looked up, and has to be there.
    pub register: bool,
}

/// What is encoded, and the registry that knows the schemas. Shared by all that forward to one cluster.
#[derive(Debug)]
pub struct Schemas {
    registry: RegistrySettings,
    rules: Vec<SchemaRule>,
    plain: Vec<Topic>,
    known: Mutex<HashMap<Topic, Arc<Encoder>>>,
    /// The registry was not reached: what it said, and when it may be asked again.
    held: Mutex<Option<(Instant, RegistryError)>>,
}

/// Why a topic can't be encoded yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotYet {
    #[error("its schema {0}")]
    File(#[from] SchemaFault),
    #[error("{0}")]
    Registry(#[from] RegistryError),
}

impl Schemas {
    /// Nothing is read or asked yet. Of several rules that take a topic the first counts; none counts for those of `plain`, nor for the
    /// audit trail.
    #[must_use]
    pub fn new(registry: RegistrySettings, rules: Vec<SchemaRule>, plain: Vec<Topic>) -> Self {
        Self { registry, rules, plain, known: Mutex::default(), held: Mutex::default() }
    }

    fn rule(&self, topic: &Topic) -> Option<&SchemaRule> {
        if topic.as_str() == AUDIT_TRAIL || self.plain.contains(topic) {
            return None;
        }
        self.rules.iter().find(|rule| rule.topics.takes(topic))
    }

    /// What encodes a topic, called `name` in the cluster; `None`: it goes as received. Blocks for seconds: call it where that is allowed.
    pub(crate) fn encoder(&self, topic: &Topic, name: &Topic) -> Result<Option<Arc<Encoder>>, NotYet> {
        let Some(rule) = self.rule(topic) else { return Ok(None) };
        if let Some(known) = lock(&self.known).get(topic) {
            return Ok(Some(Arc::clone(known)));
        }
        let schema = SchemaFile::read(&rule.file, rule.format)?;
        let subject = rule.subject.name(name, schema.name()).map_err(|why| SchemaFault::new(&rule.file, why))?;
        if let Some((_, why)) = lock(&self.held).as_ref().filter(|(until, _)| Instant::now() < *until) {
            return Err(why.clone().into());
        }
        let ask = Ask { subject: &subject, text: schema.text(), format: rule.format, register: rule.register };
        let began = Instant::now();
        let id = match registry::ask(&self.registry, &ask) {
            Ok(id) => id,
            Err(error) => {
                if error.is_unreached() {
                    let until = Instant::now() + hold(began.elapsed());
                    *lock(&self.held) = Some((until, error.clone()));
                }
                return Err(error.into());
            }
        };
        *lock(&self.held) = None;
        tracing::info!(%topic, subject, %id, format = rule.format.as_str(), "the schema registry knows the topic's schema");
        let encoder = Arc::new(Encoder::new(id, schema.into_form(), &self.registry.url));
        lock(&self.known).insert(topic.clone(), Arc::clone(&encoder));
        Ok(Some(encoder))
    }
}

/// What brings the payloads of a topic into the registry's wire format.
#[derive(Debug)]
pub(crate) struct Encoder {
    head: [u8; 5],
    form: Form,
    uri: String,
}

impl Encoder {
    fn new(id: SchemaId, form: Form, registry: &RegistryUrl) -> Self {
        let [a, b, c, d] = id.get().to_be_bytes();
        Self { head: [0, a, b, c, d], form, uri: format!("{registry}/schemas/ids/{id}") }
    }

    /// Writes the payload as it goes out, in place of what is in `out`. Else why it can't be; `out` is of no use then.
    pub(crate) fn encode(&self, payload: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<(), String> {
        out.clear();
        if payload.is_empty() {
            return Ok(());
        }
        out.extend_from_slice(&self.head);
        let encoded = match &self.form {
            Form::Avro(avro) => datum::encode(avro, payload, bytes_max, out),
            Form::JsonSchema => datum::raw(payload).map(|_| out.extend_from_slice(payload)),
        };
        encoded.map_err(|misfit| format!("it does not fit the schema: {misfit}"))
    }

    /// The media type of what is encoded (CloudEvents `datacontenttype`); `None`: that of the payload as received.
    pub(crate) const fn content_type(&self) -> Option<&'static str> {
        match self.form {
            Form::Avro(_) => Some("application/avro"),
            Form::JsonSchema => None,
        }
    }

    /// Where the schema can be read (CloudEvents `dataschema`).
    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }
}

impl fmt::Display for SchemaFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
