//! From the configuration to the options of each room.

use std::collections::BTreeMap;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use lamppost_event::{Group, Interest, MAIN_SINK, Topic, TopicShape};
use lamppost_files::FilesConfig;
use lamppost_forward::{ForwardConfig, Keyring, LaneGroups, Schemas};
use lamppost_journal::{Journal, Options, Policy, Priority, TopicOptions};
use lamppost_route::{DEFAULT_TOPIC, PARTITIONS_DEFAULT, RouteSettings, Routes};
use lamppost_serial::LinkOptions;

use super::intake::{REASON_ROOM_BYTES, dead_letters};
use super::trail::audit_trail;
use crate::config::{Config, FilePacking, Files, Kafka, Sink, SinkTo, WhenFolderFull};

/// How often the forwarder's cursor is remembered. While events come in it rides their commits and costs nothing; the
/// oftener, the less is delivered again after a crash.
const CURSOR_INTERVAL: Duration = Duration::from_millis(100);

/// What a segment's two head pages take.
const SEGMENT_HEAD_BYTES: u64 = 8192;

/// The group whose cursors say what the cluster has.
pub(crate) fn forward_group() -> Group {
    #[expect(clippy::unwrap_used, reason = "a literal that is legal")]
    Group::new(MAIN_SINK).unwrap()
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
    let (required, hold_max) = required(config);
    Options {
        quota_bytes: config.journal.quota.0,
        segment_bytes: config.journal.segment.0,
        frame_bytes_max: frame_bytes_max(config, defaults.frame_bytes_max),
        event_bytes_max: event_bytes_max(config).saturating_add(REASON_ROOM_BYTES),
        linger: config.journal.linger,
        linger_bytes: usize::try_from(config.journal.linger_bytes.0).unwrap_or(usize::MAX),
        topics: topics.collect(),
        policies: policies(config),
        required,
        hold_max,
        compression: config.journal.compression.into(),
        read_patience: config.journal.read_patience,
        marks_bytes_max: config.journal.marks_max.map(|max| max.0),
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

/// The longest that any event may wait for company.
pub(crate) fn linger_max(config: &Config) -> Duration {
    let own = config.topics.values().filter_map(|settings| settings.linger);
    own.chain([config.journal.linger]).max().unwrap_or_default()
}

/// How links are spoken: a node waits for an acknowledgement for longer than a commit takes, linger included.
pub(crate) fn link_options(config: &Config) -> LinkOptions {
    let usual = LinkOptions::default();
    let linger_ms = u32::try_from(linger_max(config).as_millis()).unwrap_or(u32::MAX);
    LinkOptions { patience_ms: usual.patience_ms.saturating_add(linger_ms), ..usual }
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
    routes_over(config, topics(config))
}

/// The same over topics that are given.
pub(crate) fn routes_over(config: &Config, topics: Vec<TopicShape>) -> anyhow::Result<Routes> {
    let settings = RouteSettings {
        rules: config.routes.clone(),
        topics,
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

/// librdkafka's name for the largest record, which the forwarder has to know.
const MESSAGE_BYTES_MAX: &str = "message.max.bytes";

/// What a forwarder is told that leads to this cluster.
pub(crate) fn forward_config(config: &Config, kafka: &Kafka, sink: Group) -> ForwardConfig {
    let usual = ForwardConfig::new(config.gateway.clone(), &kafka.bootstrap.join(","));
    let client_id = if sink.as_str() == MAIN_SINK { usual.client_id } else { format!("{}-{sink}", usual.client_id) };
    let said = kafka.properties.get(MESSAGE_BYTES_MAX).and_then(|bytes| bytes.parse().ok());
    ForwardConfig {
        message_bytes_max: said.unwrap_or(usual.message_bytes_max),
        group: sink,
        client_id,
        compression: kafka.compression,
        in_flight_bytes_max: usize::try_from(kafka.in_flight.0).unwrap_or(usize::MAX),
        bandwidth_max: kafka.bandwidth_max,
        live_first: kafka.live_first.clone(),
        create_topics: kafka.create_topics,
        replication: u8::try_from(kafka.replication).ok().and_then(NonZeroU8::new),
        clock_wait_max: kafka.clock_wait,
        commit_interval: CURSOR_INTERVAL,
        topic_template: kafka.topic_template.clone(),
        delivery: kafka.delivery,
        transaction_linger: kafka.transaction_linger,
        cursors_topic: kafka.cursors_topic.clone(),
        schemas: kafka.encoding.clone().map(|of| Arc::new(Schemas::new(of.registry, of.rules, vec![dead_letters()]))),
        keyring: Arc::new(Keyring::new(kafka.security.clone())),
        properties: kafka.properties.clone(),
        ..usual
    }
}

/// What a file sink is told.
pub(crate) fn files_config(config: &Config, files: &Files, sink: &Sink) -> FilesConfig {
    let packing = match files.compression {
        FilePacking::None => lamppost_files::Packing::None,
        FilePacking::Zstd => lamppost_files::Packing::Zstd,
    };
    let when_full = match files.when_full {
        WhenFolderFull::Pause => lamppost_files::WhenFull::Pause,
        WhenFolderFull::DeleteOldest => lamppost_files::WhenFull::DeleteOldest,
    };
    FilesConfig {
        interest: sink.topics.clone(),
        rotate_bytes: files.rotate.0,
        rotate_after: files.rotate_after,
        packing,
        quota_bytes: files.quota.0,
        when_full,
        mount_point: files.mount_point.clone(),
        line_bytes_max: files.line_max.0,
        flush_interval: files.flush,
        ..FilesConfig::new(config.gateway.clone(), sink.name.clone(), files.folder.clone())
    }
}

/// The sinks, by their names.
pub(crate) fn sink_names(config: &Config) -> Vec<Group> {
    let main = config.kafka.iter().map(|_| forward_group());
    main.chain(config.sinks.iter().map(|sink| sink.name.clone())).collect()
}

/// All groups that the journal may know: the sinks, and the lanes of those that go to a cluster, now or by an earlier configuration.
pub(crate) fn known_groups(config: &Config) -> Vec<Group> {
    with_lanes(sink_names(config))
}

/// The sinks, and the groups of their lanes.
pub(crate) fn with_lanes(sinks: Vec<Group>) -> Vec<Group> {
    let lanes: Vec<Group> =
        sinks.iter().filter_map(|sink| LaneGroups::of(sink).ok()).flat_map(|of| [of.horizon, of.live]).collect();
    [sinks, lanes].concat()
}

/// The clusters, and what they are told of.
pub(crate) fn audited(config: &Config) -> Vec<(Group, Interest)> {
    let main = config.kafka.iter().map(|_| (forward_group(), Interest::all()));
    let others = config.sinks.iter().filter(|sink| matches!(sink.to, SinkTo::Kafka(_)));
    main.chain(others.map(|sink| (sink.name.clone(), sink.topics.clone()))).collect()
}

/// How often the clusters are told how far all has come; `None` without any.
pub(crate) fn manifest_every(config: &Config) -> Option<Duration> {
    let others = config.sinks.iter().filter_map(|sink| match &sink.to {
        SinkTo::Kafka(kafka) => Some(kafka.manifest_every),
        SinkTo::Files(_) => None,
    });
    config.kafka.iter().map(|kafka| kafka.manifest_every).chain(others).min()
}

/// The groups without which no event is given up, and for how long some of them hold any back.
fn required(config: &Config) -> (Vec<Group>, BTreeMap<Group, Duration>) {
    let others = || config.sinks.iter().filter(|sink| sink.required);
    let main = config.kafka.iter().map(|_| forward_group());
    let hold_max = others().filter_map(|sink| Some((sink.name.clone(), sink.hold_max?)));
    (main.chain(others().map(|sink| sink.name.clone())).collect(), hold_max.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn a_node_waits_longer_for_its_acknowledgement_than_its_reading_may_wait_for_company() {
        let patience_ms = |text: &str| link_options(&config::parse(text).unwrap()).patience_ms;
        assert_eq!(patience_ms("[journal]\nlinger = \"0ms\"\n"), 2_000);
        assert_eq!(patience_ms("[journal]\nlinger = \"1s\"\n[topics.bulk]\nlinger = \"5s\"\n"), 7_000);
    }

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
