//! Rules with their names resolved: a hole is an index, so that routing looks up no name.

use std::borrow::Cow;

use lamppost_event::{Arrival, ContentType, DeviceId, SourceKind};

use crate::filter::Captures;
use crate::rule::{Rule, RuleError};
use crate::template::{BUILT_IN, Part, Template};
use crate::{Decode, Filter};

/// A rule whose templates use only what there is.
#[derive(Debug)]
pub(crate) struct BoundRule {
    pub(crate) from: Filter,
    pub(crate) source: Option<SourceKind>,
    pub(crate) topic: BoundTemplate,
    pub(crate) key: Option<BoundTemplate>,
    pub(crate) device: Option<BoundTemplate>,
    pub(crate) decode: Decode,
    pub(crate) content_type: Option<ContentType>,
}

/// A template whose holes are resolved.
#[derive(Debug)]
pub(crate) struct BoundTemplate(Box<[Part<Hole>]>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hole {
    Capture(usize),
    Device,
    Source,
    Address,
}

/// What holes are filled from.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    pub(crate) captures: &'a Captures<'a>,
    pub(crate) device: &'a DeviceId,
    pub(crate) arrival: &'a Arrival,
}

impl BoundRule {
    pub(crate) fn new(rule: &Rule) -> Result<Self, RuleError> {
        let bind = |field, template: &Template| BoundTemplate::new(field, template, &rule.from);
        Ok(Self {
            topic: bind("topic", &rule.topic)?,
            key: rule.key.as_ref().map(|key| bind("key", key)).transpose()?,
            device: rule.device.as_ref().map(|device| bind("device", device)).transpose()?,
            from: rule.from.clone(),
            source: rule.source,
            decode: rule.decode,
            content_type: rule.decode.content_type(),
        })
    }

    /// What the filter captured if the rule is for this arrival.
    pub(crate) fn matches<'a>(&self, arrival: &'a Arrival) -> Option<Captures<'a>> {
        if self.source.is_some_and(|source| source != arrival.source) {
            return None;
        }
        self.from.matches(arrival.address.as_str())
    }
}

impl BoundTemplate {
    fn new(field: &'static str, template: &Template, from: &Filter) -> Result<Self, RuleError> {
        let bind = |part: &Part<Box<str>>| match part {
            Part::Text(text) => Ok(Part::Text(text.clone())),
            Part::Hole(name) => hole(name, from).map(Part::Hole).ok_or_else(|| RuleError::UnknownName {
                field,
                name: name.to_string(),
                from: from.as_str().to_owned(),
                available: available(from),
            }),
        };
        template.parts.iter().map(bind).collect::<Result<_, _>>().map(Self)
    }

    /// Fills the holes. Allocates only where there is more than one part.
    pub(crate) fn fill<'a>(&'a self, values: &Values<'a>) -> Cow<'a, str> {
        match &*self.0 {
            [part] => Cow::Borrowed(values.of(part)),
            parts => Cow::Owned(parts.iter().map(|part| values.of(part)).collect()),
        }
    }
}

impl<'a> Values<'a> {
    fn of(&self, part: &'a Part<Hole>) -> &'a str {
        match part {
            Part::Text(text) => text,
            // Bound against the same filter, so the capture is there.
            Part::Hole(Hole::Capture(index)) => self.captures.get(*index).unwrap_or_default(),
            Part::Hole(Hole::Device) => self.device.as_str(),
            Part::Hole(Hole::Source) => self.arrival.source.as_str(),
            Part::Hole(Hole::Address) => self.arrival.address.as_str(),
        }
    }
}

fn hole(name: &str, from: &Filter) -> Option<Hole> {
    if let Some(index) = from.names().position(|capture| capture == name) {
        return Some(Hole::Capture(index));
    }
    match name {
        "device" => Some(Hole::Device),
        "source" => Some(Hole::Source),
        "address" => Some(Hole::Address),
        _ => None,
    }
}

fn available(from: &Filter) -> String {
    let built_in = BUILT_IN.into_iter().filter(|name| from.names().all(|capture| capture != *name));
    from.names().chain(built_in).map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", ")
}
