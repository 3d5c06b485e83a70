//! From the configuration to the options of each room.

use std::collections::BTreeMap;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use lamppost_event::{Clock, Group, Outlet, Topic, TopicShape};
use lamppost_forward::{ForwardConfig, Forwarder};
use lamppost_journal::{Journal, Options, Policy, Priority, TopicOptions};
use lamppost_route::{DEFAULT_TOPIC, PARTITIONS_DEFAULT, RouteSettings, Routes};

use super::intake::{JournalIntake, REASON_ROOM_BYTES, dead_letters};
use super::trail::{Trail, audit_trail};
use crate::config::Config;

/// How often the forwarder's cursor is remembered. While events come in it rides their commits and costs nothing; the
/// oftener, the less is delivered again after a crash.
const CURSOR_INTERVAL: Duration = Duration::from_millis(100);

/// What a segment's two head pages take.
const SEGMENT_HEAD_BYTES: u64 = 8192;

/// The group whose cursors say what the cluster has.
pub(crate) fn forward_group() -> Group {
    #[expect(clippy::unwrap_used, reason = "a literal that is legal")]
    Group::new("forward").unwrap()
}

/// The topic of what no route matches.
fn default_topic() -> Topic {
    #[expect(clippy::unwrap_used, reason = "a literal that is legal")]
    Topic::new(DEFAULT_TOPIC).unwrap()
}

/// Every topic that events can come to: the configured ones, those that routes name, the default and the dead letters. What a
/// route makes of captures must be among the configured ones.
pub(crate) fn topics(config: &Config) -> Vec<TopicShape> {
    let mut shapes: BTreeMap<Topic, u16> = [default_topic(), dead_letters()].map(|t| (t, PARTITIONS_DEFAULT)).into();
    // One gateway's notices need no more, and keep one order.
    shapes.insert(audit_trail(), 1);
    let named = config.routes.iter().filter_map(|rule| rule.topic.literal()).filter_map(|name| Topic::user(name).ok());
    shapes.extend(named.map(|topic| (topic, PARTITIONS_DEFAULT)));
    for (topic, settings) in &config.topics {
        shapes.insert(topic.clone(), settings.partitions.unwrap_or(PARTITIONS_DEFAULT));
    }
    shapes.into_iter().map(|(topic, partitions)| TopicShape { topic, partitions }).collect()
}

/// The journal's options.
pub(crate) fn journal_options(config: &Config) -> Options {
    let linger_of = |topic: &Topic| config.topics.get(topic).and_then(|settings| settings.linger);
    let topics = topics(config).into_iter().map(|shape| TopicOptions {
        linger: linger_of(&shape.topic),
        topic: shape.topic,
        partitions: shape.partitions,
    });
    let defaults = Options::default();
    Options {
        quota_bytes: config.journal.quota.0,
        segment_bytes: config.journal.segment.0,
        frame_bytes_max: frame_bytes_max(config, defaults.frame_bytes_max),
        event_bytes_max: event_bytes_max(config).saturating_add(REASON_ROOM_BYTES),
        linger: config.journal.linger,
        linger_bytes: usize::try_from(config.journal.linger_bytes.0).unwrap_or(usize::MAX),
        topics: topics.collect(),
        policies: policies(config),
        required: config.kafka.iter().map(|_| forward_group()).collect(),
        compression: config.journal.compression.into(),
        read_patience: config.journal.read_patience,
        ..defaults
    }
}

/// What may become of the topics' events. The dead letters have a reserve, configured or not: a full journal must still be able to bury
/// what the cluster can never accept, and to tell of its gaps.
fn policies(config: &Config) -> BTreeMap<Topic, Policy> {
    let set = config.topics.iter().map(|(topic, settings)| (topic.clone(), settings.policy));
    let buried = (dead_letters(), Policy { priority: Priority::DeadLetter, ..Policy::default() });
    let told = (audit_trail(), buried.1);
    // What is configured for them stands: its priority is the same.
    [buried, told].into_iter().chain(set).collect()
}

/// The largest event.
pub(crate) fn event_bytes_max(config: &Config) -> usize {
    usize::try_from(config.journal.event_max.0).unwrap_or(usize::MAX)
}

/// A frame holds at least two of the largest events, and is at most a quarter of what a segment has for frames.
fn frame_bytes_max(config: &Config, usual: usize) -> usize {
    let journal = &config.journal;
    let wanted = event_bytes_max(config).saturating_add(REASON_ROOM_BYTES).saturating_mul(2).max(usual);
    wanted.min(usize::try_from(journal.segment.0.saturating_sub(SEGMENT_HEAD_BYTES) / 4).unwrap_or(usize::MAX))
}

/// Whether the journal and the routes take the configuration, and the files that it names can be used: what concerns many values
/// together.
pub(crate) fn fits(config: &Config) -> anyhow::Result<()> {
    journal_options(config).check().context("the journal can't be set up so")?;
    if let Some(mqtt) = &config.mqtt {
        super::keys::listeners(mqtt)?;
        super::keys::rules(mqtt)?;
    }
    routes(config).map(drop)
}

/// The routes, which lead nowhere but to the journal's topics.
pub(crate) fn routes(config: &Config) -> anyhow::Result<Routes> {
    let settings = RouteSettings {
        rules: config.routes.clone(),
        topics: topics(config),
        topics_closed: true,
        ..RouteSettings::new(default_topic())
    };
    Routes::new(settings).context("the routes do not fit together")
}

/// What consumers may meet: the configured topics, and what an earlier configuration left in the journal.
pub(crate) fn readable(config: &Config, journal: &Journal) -> Vec<TopicShape> {
    let mut shapes: BTreeMap<Topic, u16> = topics(config).into_iter().map(|s| (s.topic, s.partitions)).collect();
    for bounds in journal.partitions().into_iter().filter(|bounds| is_of_users(&bounds.at.topic)) {
        let count = shapes.entry(bounds.at.topic).or_default();
        *count = (*count).max(bounds.at.partition.0 + 1);
    }
    shapes.into_iter().map(|(topic, partitions)| TopicShape { topic, partitions }).collect()
}

/// Not one of the journal's own.
pub(crate) fn is_of_users(topic: &Topic) -> bool {
    !topic.as_str().starts_with("__")
}

/// The forwarder, if there is a cluster.
pub(crate) fn forwarder(
    config: &Config,
    outlet: Arc<dyn Outlet>,
    clock: &Arc<dyn Clock>,
    intake: &Arc<JournalIntake>,
    trail: &Arc<Trail>,
) -> anyhow::Result<Option<Forwarder>> {
    let Some(forward) = forward_config(config) else { return Ok(None) };
    let forwarder = Forwarder::new(forward, outlet, clock.clone(), Some(intake.clone()));
    Ok(Some(forwarder.context("the forwarder can't be set up")?.with_trail(trail.clone())))
}

/// What the forwarder is told, if there is a cluster.
pub(crate) fn forward_config(config: &Config) -> Option<ForwardConfig> {
    let kafka = config.kafka.as_ref()?;
    Some(ForwardConfig {
        group: forward_group(),
        compression: kafka.compression,
        in_flight_bytes_max: usize::try_from(kafka.in_flight.0).unwrap_or(usize::MAX),
        bandwidth_max: kafka.bandwidth_max,
        create_topics: kafka.create_topics,
        replication: u8::try_from(kafka.replication).ok().and_then(NonZeroU8::new),
        clock_wait_max: kafka.clock_wait,
        commit_interval: CURSOR_INTERVAL,
        ..ForwardConfig::new(config.gateway.clone(), &kafka.bootstrap.join(","))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// What `check` calls right must start: the journal's own bounds are never narrower than the configuration's.
    #[test]
    fn every_size_that_the_configuration_allows_the_journal_takes() {
        for (segment, event) in
            [("1MiB", "1B"), ("1MiB", "104857B"), ("4MiB", "419430B"), ("16MiB", "256KiB"), ("1GiB", "107374182B")]
        {
            for quota in [6_u64, 7, 64] {
                let bytes = segment.parse::<config::value::Size>().unwrap().0 * quota;
                let text = format!(
                    "[journal]\nsegment = \"{segment}\"\nevent_max = \"{event}\"\nquota = \"{bytes}B\"\nlinger_bytes = \"1GiB\"\n"
                );
                let options = journal_options(&config::parse(&text).unwrap());
                assert_eq!(options.check(), Ok(()), "{text}");
            }
        }
    }
}
