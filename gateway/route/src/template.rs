//! Texts with holes: `{district}-air`. A hole is filled from the rule's captures or from what is built in. `{{` and `}}`
//! stand for braces.

use std::fmt;
use std::str::FromStr;

use crate::filter::is_name;

/// The longest key that a template may make, in bytes: as long as the longest address.
pub const KEY_BYTES_MAX: usize = 1024;

/// What can be used in any template: the device (see [`crate::Rule::device`]), the kind of source and the address.
pub const BUILT_IN: [&str; 3] = ["device", "source", "address"];

/// The longest template, in bytes.
const BYTES_MAX: usize = 512;

/// A parsed template. Its names are checked against a filter by [`crate::Rule::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    pub(crate) parts: Box<[Part<Box<str>>]>,
}

/// Text, or a hole with what fills it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part<Hole> {
    Text(Box<str>),
    Hole(Hole),
}

/// Why a text is not a template. Places are bytes from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The text is empty.
    #[error("a template can't be empty; write a name, or one with captures such as \"{{device}}\"")]
    Empty,
    /// The text is too long.
    #[error("a template has at most {BYTES_MAX} bytes, this one has {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// `{` without `}`.
    #[error("the '{{' at byte {at} is never closed; add '}}', or write '{{{{' for a brace itself")]
    Open {
        /// Where.
        at: usize,
    },
    /// `}` without `{`.
    #[error("the '}}' at byte {at} closes nothing; remove it, or write '}}}}' for a brace itself")]
    Close {
        /// Where.
        at: usize,
    },
    /// What stands in the braces is not a name.
    #[error("{name:?} at byte {at} is not a name; a name has lower-case letters, digits and '_', a letter first")]
    Name {
        /// Where.
        at: usize,
        /// What stands there.
        name: String,
    },
}

impl Template {
    /// The template that is just `{device}`.
    #[must_use]
    pub fn device() -> Self {
        Self { text: "{device}".into(), parts: Box::new([Part::Hole("device".into())]) }
    }

    /// The template as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names it uses, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Hole(name) => Some(&**name),
            Part::Text(_) => None,
        })
    }

    /// The text it always makes, if it has no holes.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match &*self.parts {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        if text.is_empty() {
            return Err(TemplateError::Empty);
        }
        if text.len() > BYTES_MAX {
            return Err(TemplateError::TooLong { bytes: text.len() });
        }
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(brace);
            plain.push_str(before);
            let at = text.len() - from.len() + 1;
            if let Some(after) = from.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else if let Some(inner) = from.strip_prefix('{') {
                let (name, after) = inner.split_once('}').ok_or(TemplateError::Open { at })?;
                if !is_name(name) {
                    return Err(TemplateError::Name { at: at + 1, name: name.to_owned() });
                }
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain).into()));
                }
                parts.push(Part::Hole(name.into()));
                rest = after;
            } else {
                return Err(TemplateError::Close { at });
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into()));
        }
        Ok(Self { text: text.into(), parts: parts.into() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_template_is_text_and_holes() {
        let template: Template = "{district}-air/{{x}}".parse().unwrap();
        assert_eq!(template.names().collect::<Vec<_>>(), ["district"]);
        assert_eq!(*template.parts, [Part::Hole("district".into()), Part::Text("-air/{x}".into())]);
        assert_eq!(template.literal(), None);
        assert_eq!("{{a}}".parse::<Template>().unwrap().literal(), Some("{a}"));
        assert_eq!("{device}".parse::<Template>().unwrap(), Template::device());
    }

    #[test]
    fn each_mistake_names_the_place_and_the_remedy() {
        let cases = [
            ("", "can't be empty"),
            ("air-{district", "the '{' at byte 5 is never closed"),
            ("air}", "the '}' at byte 4 closes nothing"),
            ("{}", "\"\" at byte 2 is not a name"),
            ("a{Big}", "\"Big\" at byte 3 is not a name"),
            ("a{rest...}", "\"rest...\""),
        ];
        for (text, part) in cases {
            let error = text.parse::<Template>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(matches!("a".repeat(513).parse::<Template>(), Err(TemplateError::TooLong { bytes: 513 })));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}|[ab{}]{0,20}") {
            if let Ok(template) = text.parse::<Template>() {
                prop_assert_eq!(template.as_str(), &text);
            }
        }
    }
}
