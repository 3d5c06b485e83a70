//! One line of the routing table, as configured.

use lamppost_event::{DeviceId, NameError, SourceKind, Topic};

use crate::bound::BoundRule;
use crate::{Decode, Filter, Template};

/// What becomes of the arrivals that fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Which addresses it is for.
    pub from: Filter,
    /// Which kind of source it is for; `None` for all.
    pub source: Option<SourceKind>,
    /// The topic of the event.
    pub topic: Template,
    /// The key of the event; `None` for its device.
    pub key: Option<Template>,
    /// The device of the event; `None` for the arrival's, which for MQTT is the client. Not used where the sender counts
    /// its events ([`lamppost_event::Origin::Sequence`]): resends are recognised by device, boot and sequence, so a sender that
    /// counts keeps its own name. In [`Rule::topic`] and [`Rule::key`], `{device}` is the device that results, unless
    /// [`Rule::from`] captures a `device`.
    pub device: Option<Template>,
    /// What is done with the payload.
    pub decode: Decode,
}

/// Why a rule can't work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A template uses a name that nothing defines.
    #[error(
        "{field} uses {{{name}}}, which is neither captured by from = {from:?} nor built in; available: {available}"
    )]
    UnknownName {
        /// `topic`, `key` or `device`.
        field: &'static str,
        /// The unknown name.
        name: String,
        /// The rule's filter.
        from: String,
        /// What could be used, separated by commas.
        available: String,
    },
    /// A template without holes is not a legal name.
    #[error("{field} = {text:?} is not legal: {reason}")]
    Name {
        /// `topic` or `device`.
        field: &'static str,
        /// The text.
        text: String,
        /// What is wrong with it.
        #[source]
        reason: NameError,
    },
}

impl Rule {
    /// A rule for every source that keeps the payload, the device and the device as key.
    #[must_use]
    pub const fn new(from: Filter, topic: Template) -> Self {
        Self { from, source: None, topic, key: None, device: None, decode: Decode::Keep }
    }

    /// Whether the rule's parts fit together. [`crate::Routes::new`] checks this too; here a configuration can find out
    /// which rule is wrong while it still knows where the rule was written.
    ///
    /// # Errors
    /// [`RuleError`] names the field and what would be right.
    pub fn check(&self) -> Result<(), RuleError> {
        if let Some(text) = self.topic.literal() {
            Topic::user(text).map_err(|reason| RuleError::Name { field: "topic", text: text.to_owned(), reason })?;
        }
        if let Some(text) = self.device.as_ref().and_then(Template::literal) {
            DeviceId::new(text).map_err(|reason| RuleError::Name { field: "device", text: text.to_owned(), reason })?;
        }
        BoundRule::new(self).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(from: &str, topic: &str) -> Rule {
        Rule::new(from.parse().unwrap(), topic.parse().unwrap())
    }

    #[test]
    fn an_unknown_name_lists_what_is_available() {
        let error = rule("city/{district}/{rest...}", "{distrikt}-air").check().unwrap_err().to_string();
        assert!(error.contains("topic uses {distrikt}"), "{error}");
        assert!(error.contains("available: {district}, {rest}, {device}, {source}, {address}"), "{error}");
        let keyed = Rule { key: Some("{post}".parse().unwrap()), ..rule("#", "events") };
        assert!(keyed.check().unwrap_err().to_string().starts_with("key uses {post}"));
    }

    #[test]
    fn a_fixed_name_must_be_legal_and_not_the_journals_own() {
        for topic in ["air quality", "__state", ".."] {
            let error = rule("#", topic).check().expect_err(topic);
            assert!(matches!(error, RuleError::Name { field: "topic", .. }), "{error}");
        }
        let long = Rule { device: Some("d".repeat(129).parse().unwrap()), ..rule("#", "events") };
        assert!(matches!(long.check(), Err(RuleError::Name { field: "device", .. })));
    }

    #[test]
    fn captures_and_built_in_names_may_be_used_everywhere() {
        let name: Template = "{a}{b}{device}{source}{address}".parse().unwrap();
        let full = Rule { key: Some(name.clone()), device: Some(name.clone()), ..rule("{a}/{b...}", name.as_str()) };
        assert_eq!(full.check(), Ok(()));
    }
}
