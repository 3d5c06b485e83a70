//! Which topics a sink takes. Whole topics, and no parts of them: only of a whole topic are the offsets dense, so that anyone can see
//! whether something is missing.

use std::fmt;

use crate::{AUDIT_TRAIL, Topic};

/// The most patterns of one sink.
const PATTERNS_MAX: usize = 256;

/// The topics that a sink takes, by names and patterns; `*` stands for any number of characters. The audit trail is always among them:
/// without it nobody could tell at the sink what is missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interest {
    /// None: all topics.
    patterns: Option<Vec<Box<str>>>,
}

/// Why texts are not an [`Interest`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterestError {
    /// No pattern at all: the sink would take nothing.
    #[error("no topic: the sink would take nothing")]
    Nothing,
    /// Too many.
    #[error("{0} patterns; at most {PATTERNS_MAX}")]
    TooMany(usize),
    /// No topic has such a name.
    #[error(
        "{0:?} can't be the name of a topic, nor a pattern for some: letters, digits, '.', '_', '-', and '*' for any"
    )]
    Pattern(String),
}

impl Interest {
    /// All topics.
    #[must_use]
    pub const fn all() -> Self {
        Self { patterns: None }
    }

    /// The topics with these names, or that these patterns fit.
    ///
    /// # Errors
    /// [`InterestError`].
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, InterestError> {
        let patterns: Vec<Box<str>> = patterns.into_iter().map(Box::from).collect();
        if patterns.is_empty() {
            return Err(InterestError::Nothing);
        }
        if patterns.len() > PATTERNS_MAX {
            return Err(InterestError::TooMany(patterns.len()));
        }
        for pattern in &patterns {
            let letters = pattern.replace('*', "");
            if pattern.is_empty() || (!letters.is_empty() && Topic::new(&letters).is_err()) {
                return Err(InterestError::Pattern(pattern.chars().take(200).collect()));
            }
        }
        Ok(Self { patterns: Some(patterns) })
    }

    /// Whether the sink takes that topic.
    #[must_use]
    pub fn takes(&self, topic: &Topic) -> bool {
        let Some(patterns) = &self.patterns else { return true };
        topic.as_str() == AUDIT_TRAIL || patterns.iter().any(|pattern| fits(pattern, topic.as_str()))
    }
}

impl fmt::Display for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.patterns {
            None => f.write_str("all topics"),
            Some(patterns) => f.write_str(&patterns.join(", ")),
        }
    }
}

/// Piece by piece: the first at the beginning, the last at the end, each of the others at the first place where it fits.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some(at) = left.find(piece) else { return false };
        left = left.get(at + piece.len()..).unwrap_or_default();
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_the_topics_that_they_fit_and_no_others() {
        for (pattern, name, taken) in [
            ("air", "air", true),
            ("air", "air-quality", false),
            ("air*", "air", true),
            ("air*", "air-quality", true),
            ("*air", "fair", true),
            ("*air", "airs", false),
            ("*", "x", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("a**a", "aa", true),
            ("a**a", "a", false),
        ] {
            let interest = Interest::new([pattern]).unwrap();
            assert_eq!(interest.takes(&Topic::new(name).unwrap()), taken, "{pattern} {name}");
        }
    }

    #[test]
    fn the_audit_trail_is_always_taken() {
        let interest = Interest::new(["air"]).unwrap();
        assert!(
            interest.takes(&Topic::new(AUDIT_TRAIL).unwrap()) && !interest.takes(&Topic::new("dead-letters").unwrap())
        );
        assert!(Interest::all().takes(&Topic::new("dead-letters").unwrap()));
    }

    #[test]
    fn what_no_topic_can_be_called_is_refused() {
        assert_eq!(Interest::new([]), Err(InterestError::Nothing));
        for pattern in ["", "air quality", "a/b", "ä*"] {
            assert!(matches!(Interest::new([pattern]), Err(InterestError::Pattern(_))), "{pattern}");
        }
        assert_eq!(Interest::new(vec!["a"; 257]), Err(InterestError::TooMany(257)));
    }
}
