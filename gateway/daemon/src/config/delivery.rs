//! `[kafka] delivery`: at least once or exactly once, and what belongs to the second.

use std::time::Duration;

use lamppost_event::Topic;

use super::{Problem, file};

/// A transaction holds back who reads committed records of its partitions.
const LINGER_MAX: Duration = Duration::from_secs(10);

/// What does not fit.
pub(super) fn check(kafka: &file::Kafka, file: &file::File, problems: &mut Vec<Problem>) {
    let linger = kafka.transaction_linger.get_ref().0;
    if linger.is_zero() || linger > LINGER_MAX {
        let what = format!("a transaction can't gather for {linger:?}");
        problems.push(Problem::at(kafka.transaction_linger.span(), what, "from 1ms to 10s; 100ms to 200ms serve most"));
    }
    let (name, span) = (kafka.cursors_topic.get_ref(), kafka.cursors_topic.span());
    if let Err(error) = Topic::user(name) {
        let remedy = "a topic has 1 to 249 letters, digits, '.', '_' and '-', and does not begin with \"__\"";
        problems.push(Problem::at(span.clone(), error.to_string(), remedy));
    }
    let template =
        kafka.topic_template.as_ref().map_or_else(|| "{topic}".to_owned(), |template| template.0.to_string());
    let gateway = super::gateway_id(file);
    let is_it = |topic: &str| template.replace("{topic}", topic).replace("{gateway}", gateway.as_str()) == *name;
    let own = [lamppost_route::DEFAULT_TOPIC, lamppost_route::DEAD_LETTERS, lamppost_event::AUDIT_TRAIL].into_iter();
    let routed = file.route.iter().filter_map(|route| route.topic.get_ref().0.literal());
    if own.chain(routed).chain(file.topics.keys().map(|topic| topic.get_ref().as_str())).any(is_it) {
        // The topic of the cursors is compacted: of events, the last one of each device would stay.
        let what = format!("{name:?} is a topic of events: its cursors would stand between them");
        problems.push(Problem::at(span, what, "give the cursors a topic of their own"));
    }
}

/// The cursors' topic. That its name is legal has been checked.
pub(super) fn cursors_topic(name: &str) -> Topic {
    #[expect(clippy::expect_used, reason = "checked above, and what was not checked is not converted")]
    Topic::user(name).expect("a checked name")
}
