//! How many partitions a topic of the cluster has; creates it where that is allowed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lamppost_event::Topic;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::bounds::Bounds;
use crate::config::ForwardConfig;
use crate::failure::{Class, classify};
use crate::kafka::{client_config, log};

/// How long the cluster is asked before it counts as not reached.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// How often a created topic is looked for, and how long between.
const LOOKS_MAX: u32 = 50;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What the cluster said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// It has so many partitions.
    Found { partitions: u16 },
    /// It is not there and was not created, or must not be seen: this topic waits.
    Missing { why: String },
    /// The cluster was not reached: all topics wait.
    Unreachable { why: String },
    /// The cluster does not let us in: all topics wait for somebody.
    Denied { why: String },
}

#[derive(Default)]
struct Notes {
    denied: Mutex<Option<String>>,
}

struct Context(Arc<Notes>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code().is_some_and(|code| classify(code) == Class::Denied) {
            *self.0.denied.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }
}

/// Asks the cluster for `name`. Blocks for up to half a minute: call it where blocking is allowed.
pub(crate) fn resolve(config: &ForwardConfig, name: &Topic, partitions: u16) -> Resolution {
    let partitions = config.partitions.map_or(partitions.max(1), Into::into);
    resolve_with(config, name, partitions, &[])
}

/// The same for a topic of our own: if it is created, with exactly so many partitions and those settings.
pub(crate) fn resolve_with(
    config: &ForwardConfig,
    name: &Topic,
    partitions: u16,
    settings: &[(&str, &str)],
) -> Resolution {
    let notes = Arc::new(Notes::default());
    let admin = match AdminClient::from_config_and_context(&client_config(config), Context(Arc::clone(&notes))) {
        Ok(admin) => admin,
        Err(error) => return Resolution::Unreachable { why: error.to_string() },
    };
    let mut resolution = look(&admin, name);
    if matches!(resolution, Resolution::Missing { .. }) && config.create_topics {
        resolution = create(&admin, config, name, partitions, settings);
    }
    let denied = notes.denied.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (resolution, denied) {
        (Resolution::Unreachable { .. }, Some(why)) => Resolution::Denied { why },
        (resolution, _) => resolution,
    }
}

/// Asks the cluster which times it takes. `None`: it does not say.
pub(crate) async fn bounds(config: &ForwardConfig, name: &Topic) -> Option<Bounds> {
    let context = Context(Arc::new(Notes::default()));
    let admin = AdminClient::from_config_and_context(&client_config(config), context).ok()?;
    let options = AdminOptions::new().request_timeout(Some(REQUEST_MAX));
    let described = admin.describe_configs([&ResourceSpecifier::Topic(name.as_str())], &options).await;
    // Destroying it waits for its threads.
    tokio::task::spawn_blocking(move || drop(admin));
    let topic = match described.map(|resources| resources.into_iter().next()) {
        Ok(Some(Ok(topic))) => topic,
        Ok(Some(Err(code))) => {
            tracing::info!(topic = %name, %code, "the cluster does not say which times it takes: events are tried one at a time");
            return None;
        }
        Ok(None) => return None,
        Err(error) => {
            tracing::info!(topic = %name, %error, "the cluster does not say which times it takes: events are tried one at a time");
            return None;
        }
    };
    let entries = topic.entry_map();
    Some(Bounds::of(|entry| entries.get(entry)?.value.as_deref()))
}

fn look(admin: &AdminClient<Context>, name: &Topic) -> Resolution {
    let metadata = match admin.inner().fetch_metadata(Some(name.as_str()), REQUEST_MAX) {
        Ok(metadata) => metadata,
        Err(error) => return of_error(&error),
    };
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name.as_str()) else {
        return Resolution::Missing { why: "the cluster does not know it".into() };
    };
    if let Some(error) = topic.error() {
        let code = Code::from(error);
        let why = code.to_string();
        return match classify(code) {
            Class::Topic => Resolution::Missing { why },
            Class::Denied => Resolution::Denied { why },
            _ => Resolution::Unreachable { why },
        };
    }
    match u16::try_from(topic.partitions().len()).unwrap_or(u16::MAX) {
        0 => Resolution::Unreachable { why: "it has no partitions yet".into() },
        partitions => Resolution::Found { partitions },
    }
}

fn create(
    admin: &AdminClient<Context>,
    config: &ForwardConfig,
    name: &Topic,
    partitions: u16,
    settings: &[(&str, &str)],
) -> Resolution {
    let replication = TopicReplication::Fixed(config.replication.map_or(-1, |replicas| i32::from(replicas.get())));
    let topic = NewTopic::new(name.as_str(), i32::from(partitions), replication);
    let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
    let options = AdminOptions::new().request_timeout(Some(REQUEST_MAX)).operation_timeout(Some(REQUEST_MAX));
    let created = tokio::runtime::Handle::current().block_on(admin.create_topics([&topic], &options));
    match created.map(|results| results.into_iter().next()) {
        Ok(Some(Ok(_))) => tracing::info!(topic = %name, partitions, "created the topic"),
        Ok(Some(Err((_, Code::TopicAlreadyExists)))) => {}
        Ok(Some(Err((_, code)))) => return Resolution::Missing { why: format!("it can't be created: {code}") },
        Ok(None) => return Resolution::Unreachable { why: "no answer to its creation".into() },
        Err(error) => {
            return match of_error(&error) {
                Resolution::Unreachable { why } => Resolution::Missing { why: format!("it can't be created: {why}") },
                other => other,
            };
        }
    }
    for _ in 0..LOOKS_MAX {
        match look(admin, name) {
            Resolution::Missing { .. } | Resolution::Unreachable { .. } => std::thread::sleep(LOOK_AGAIN),
            other => return other,
        }
    }
    Resolution::Unreachable { why: "it was created and does not appear".into() }
}

fn of_error(error: &KafkaError) -> Resolution {
    let why = error.to_string();
    match error.rdkafka_error_code().map_or(Class::Retry, classify) {
        Class::Denied => Resolution::Denied { why },
        Class::Topic => Resolution::Missing { why },
        _ => Resolution::Unreachable { why },
    }
}
