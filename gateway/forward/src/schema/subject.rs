//! What a schema is called in the registry. Pure.

use std::fmt;
use std::str::FromStr;

use lamppost_event::Topic;

/// The longest subject, bytes.
const BYTES_MAX: usize = 255;

/// A pattern for subjects: `{topic}` stands for the cluster's topic, `{record}` for the schema's full name (of a JSON Schema, its `title`).
/// `{topic}-value`, the default, is what Confluent calls the TopicNameStrategy, `{record}` the RecordNameStrategy, `{topic}-{record}` the
/// TopicRecordNameStrategy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectTemplate(String);

/// Why a text is not a [`SubjectTemplate`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectTemplateError {
    /// Nothing, or too much.
    #[error("a subject has 1 to {BYTES_MAX} bytes")]
    Length,
    /// Something that no subject has.
    #[error("{0:?} can't be in a subject")]
    Character(char),
    /// Not one that is known.
    #[error("{{{0}}} stands for nothing: write {{topic}} or {{record}}")]
    Unknown(String),
}

impl SubjectTemplate {
    /// The subject of a topic's schema.
    pub(super) fn name(&self, topic: &Topic, record: Option<&str>) -> Result<String, String> {
        let name = self.0.replace("{topic}", topic.as_str());
        if !name.contains("{record}") {
            return Ok(name);
        }
        match record {
            Some(record) => Ok(name.replace("{record}", record)),
            None => Err(format!("has no name, as the subject {:?} wants it", self.0)),
        }
    }
}

impl Default for SubjectTemplate {
    fn default() -> Self {
        Self("{topic}-value".to_owned())
    }
}

impl fmt::Display for SubjectTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SubjectTemplate {
    type Err = SubjectTemplateError;

    fn from_str(text: &str) -> Result<Self, SubjectTemplateError> {
        if text.is_empty() || text.len() > BYTES_MAX {
            return Err(SubjectTemplateError::Length);
        }
        if let Some(c) = text.chars().find(|c| c.is_control()) {
            return Err(SubjectTemplateError::Character(c));
        }
        let rest = text.replace("{topic}", "").replace("{record}", "");
        match rest.split_once(['{', '}']) {
            None => Ok(Self(text.to_owned())),
            Some((_, unknown)) => {
                let unknown = unknown.split('}').next().unwrap_or_default();
                Err(SubjectTemplateError::Unknown(unknown.to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_strategies_of_confluent_can_be_written() {
        let topic = Topic::new("city.air").unwrap();
        for (template, expected) in [
            ("{topic}-value", "city.air-value"),
            ("{record}", "city.Air"),
            ("{topic}-{record}", "city.air-city.Air"),
            ("fixed", "fixed"),
        ] {
            let template: SubjectTemplate = template.parse().unwrap();
            assert_eq!(template.name(&topic, Some("city.Air")).as_deref(), Ok(expected));
        }
        assert_eq!(SubjectTemplate::default().to_string(), "{topic}-value");
    }

    #[test]
    fn what_no_subject_can_be_made_of_is_refused() {
        assert_eq!("".parse::<SubjectTemplate>(), Err(SubjectTemplateError::Length));
        assert_eq!("a\nb".parse::<SubjectTemplate>(), Err(SubjectTemplateError::Character('\n')));
        assert_eq!("{topik}-value".parse::<SubjectTemplate>(), Err(SubjectTemplateError::Unknown("topik".to_owned())));
        let named: SubjectTemplate = "{record}".parse().unwrap();
        assert!(named.name(&Topic::new("air").unwrap(), None).is_err());
    }
}
