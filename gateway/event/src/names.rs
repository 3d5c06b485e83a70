//! Names, parsed once: whoever holds one holds a valid one. Cloning is a reference count.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a {what} can't be empty")]
    Empty {
        /// The kind of name.
        what: &'static str,
    },
    /// The text is longer than allowed, in bytes.
    #[error("a {what} has at most {bytes_max} bytes, this one has {bytes}")]
    TooLong {
        /// The kind of name.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The longest allowed.
        bytes_max: usize,
    },
    /// The text holds a character that is not allowed.
    #[error("a {what} can't contain {character:?}; allowed: {allowed}")]
    Character {
        /// The kind of name.
        what: &'static str,
        /// The first offending character.
        character: char,
        /// What would be right.
        allowed: &'static str,
    },
    /// The text is a reserved word.
    #[error("{name:?} is reserved and can't be a {what}")]
    Reserved {
        /// The kind of name.
        what: &'static str,
        /// The reserved word.
        name: String,
    },
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $bytes_max:literal, $allowed:literal, $fits:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub struct $name(Arc<str>);

        impl Ord for $name {
            /// By the text; clones of one name need not be looked at.
            fn cmp(&self, other: &Self) -> Ordering {
                if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl $name {
            /// The longest allowed, in bytes.
            pub const BYTES_MAX: usize = $bytes_max;

            /// Parses the name.
            ///
            /// # Errors
            /// [`NameError`] if the text is empty, too long, or holds a character that is not allowed.
            pub fn new(text: &str) -> Result<Self, NameError> {
                let what = $what;
                if text.is_empty() {
                    return Err(NameError::Empty { what });
                }
                if text.len() > $bytes_max {
                    return Err(NameError::TooLong { what, bytes: text.len(), bytes_max: $bytes_max });
                }
                let fits: fn(char) -> bool = $fits;
                if let Some(character) = text.chars().find(|c| !fits(*c)) {
                    return Err(NameError::Character { what, character, allowed: $allowed });
                }
                Ok(Self(Arc::from(text)))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

fn kafka_legal(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

name!(
    /// A named stream of events; legal as a Kafka topic name (`org.apache.kafka.common.internals.Topic`), except that a
    /// leading `__` belongs to the journal's own partitions and `.`/`..` are refused (see [`Topic::user`]).
    Topic, "topic", 249, "letters, digits, '.', '_' and '-'", kafka_legal
);

impl Topic {
    /// Parses a name that a configuration may use: neither `.` nor `..` (Kafka refuses them), nor starting with `__`
    /// (the journal's own, and Kafka's own).
    ///
    /// # Errors
    /// [`NameError`], with [`NameError::Reserved`] for the reserved ones.
    pub fn user(text: &str) -> Result<Self, NameError> {
        let topic = Self::new(text)?;
        if text == "." || text == ".." || text.starts_with("__") {
            return Err(NameError::Reserved { what: "topic", name: text.to_owned() });
        }
        Ok(topic)
    }
}

name!(
    /// Who reported: a sensor's or a client's own name, 1 to 128 bytes without control characters.
    DeviceId, "device id", 128, "any character but control characters", |c| !c.is_control()
);
name!(
    /// This gateway's name, unique in the city. Part of every outward id.
    GatewayId, "gateway id", 64, "letters, digits, '.', '_' and '-'", kafka_legal
);
name!(
    /// A consumer group: who keeps a cursor.
    Group, "group", 64, "letters, digits, '.', '_' and '-'", kafka_legal
);
name!(
    /// Where an arrival came in, as an MQTT-like path: `city/north/air/17`, `link/node-7/temperature`.
    Address, "address", 1024, "any character but control characters", |c| !c.is_control()
);
name!(
    /// The payload's media type (RFC 2046), for example `application/json`.
    ContentType, "content type", 128, "visible ASCII and spaces", |c| c.is_ascii_graphic() || c == ' '
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_a_legal_kafka_name() {
        assert!(Topic::user("air-quality").is_ok());
        assert!(matches!(Topic::user("air quality"), Err(NameError::Character { character: ' ', .. })));
        assert!(matches!(Topic::user(""), Err(NameError::Empty { .. })));
        assert!(matches!(Topic::user(&"a".repeat(250)), Err(NameError::TooLong { bytes: 250, .. })));
    }

    #[test]
    fn reserved_topics_are_refused_to_users_and_open_to_the_journal() {
        for text in [".", "..", "__state"] {
            assert!(matches!(Topic::user(text), Err(NameError::Reserved { .. })), "{text}");
        }
        assert!(Topic::new("__state").is_ok());
    }

    #[test]
    fn an_error_names_the_character_and_the_remedy() {
        let error = DeviceId::new("a\u{7}b").unwrap_err().to_string();
        assert!(error.contains("'\\u{7}'") && error.contains("control characters"), "{error}");
    }
}
