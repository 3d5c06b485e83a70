//! MQTT topic filters (MQTT 5.0 section 4.7) with names for what the wildcards matched.
//!
//! | level | matches | captures |
//! |---|---|---|
//! | `text` | itself | – |
//! | `+` | one level, also an empty one | – |
//! | `{name}` | as `+` | that level |
//! | `#`, last | the rest, also none of it (`a/#` matches `a`) | – |
//! | `{name...}`, last | as `#` | the rest, without the slash before it; empty for none |
//!
//! A wildcard as the first level does not match an address that begins with `$` (section 4.7.2).

use std::str::FromStr;

use lamppost_event::Address;

/// The most captures that one filter may have.
pub const CAPTURES_MAX: usize = 16;

/// A parsed filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    text: Box<str>,
    levels: Box<[Level]>,
    names: Box<[Box<str>]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Text(Box<str>),
    One { capture: bool },
    Rest { capture: bool },
}

/// Why a text is not a filter. Levels are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The text is empty.
    #[error("a filter can't be empty; to match everything, write \"#\"")]
    Empty,
    /// Longer than any address.
    #[error("a filter has at most {bytes_max} bytes, this one has {bytes}", bytes_max = Address::BYTES_MAX)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A control character: no address can hold one.
    #[error("level {level} contains the control character {character:?}, which no address can; remove it")]
    Control {
        /// Which level.
        level: usize,
        /// The character.
        character: char,
    },
    /// A wildcard with something beside it in its level.
    #[error(
        "level {level} ({text:?}) has a wildcard beside other characters; '+', '#' and '{{name}}' each stand for a whole \
         level: put them between slashes of their own"
    )]
    WildcardInside {
        /// Which level.
        level: usize,
        /// Its text.
        text: String,
    },
    /// `#` or `{name...}` before the end.
    #[error("level {level} ({text:?}) matches the rest and must be the last; for one level use '+' or '{{name}}'")]
    RestNotLast {
        /// Which level.
        level: usize,
        /// Its text.
        text: String,
    },
    /// A capture's name is not one.
    #[error(
        "level {level} ({text:?}) is not a capture; write '{{name}}' or, at the end, '{{name...}}', the name of lower-case \
         letters, digits and '_', a letter first"
    )]
    CaptureName {
        /// Which level.
        level: usize,
        /// Its text.
        text: String,
    },
    /// A capture has the name of something built in.
    #[error("level {level} captures {name:?}, but {{{name}}} always is the arrival's own; choose another name")]
    Reserved {
        /// Which level.
        level: usize,
        /// The name.
        name: String,
    },
    /// Two captures of one name.
    #[error("level {level} captures {name:?} a second time; give it another name, or use '+'")]
    Duplicate {
        /// Which level.
        level: usize,
        /// The name.
        name: String,
    },
    /// More captures than allowed.
    #[error("level {level} is capture number {}; a filter has at most {CAPTURES_MAX}: use '+' where no name is needed", CAPTURES_MAX + 1)]
    TooMany {
        /// Which level.
        level: usize,
    },
}

/// What a filter's captures matched, in the filter's order. Borrows the address.
#[derive(Debug, Clone, Copy)]
pub struct Captures<'a> {
    values: [&'a str; CAPTURES_MAX],
    count: usize,
}

impl<'a> Captures<'a> {
    const NONE: Self = Self { values: [""; CAPTURES_MAX], count: 0 };

    /// What the capture at `index` matched.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&'a str> {
        self.values.get(..self.count)?.get(index).copied()
    }

    /// Everything captured, in the filter's order.
    #[must_use]
    pub fn as_slice(&self) -> &[&'a str] {
        self.values.get(..self.count).unwrap_or_default()
    }

    fn push(&mut self, value: &'a str) {
        // Parsing allows no more captures than there is room for.
        if let Some(slot) = self.values.get_mut(self.count) {
            *slot = value;
            self.count += 1;
        }
    }
}

impl Filter {
    /// The filter as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of its captures, in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// What the captures hold if `address` fits, else `None`. Allocates nothing.
    #[must_use]
    pub fn matches<'a>(&self, address: &'a str) -> Option<Captures<'a>> {
        let mut captures = Captures::NONE;
        if address.starts_with('$') && !matches!(self.levels.first(), Some(Level::Text(_))) {
            return None;
        }
        // `None` once the address is used up; an address that ends in a slash still has an empty level.
        let mut rest = Some(address);
        for level in &self.levels {
            if let Level::Rest { capture } = level {
                if *capture {
                    captures.push(rest.unwrap_or_default());
                }
                return Some(captures);
            }
            let (head, after) = split_level(rest?);
            match level {
                Level::Text(text) if **text != *head => return None,
                Level::One { capture: true } => captures.push(head),
                _ => {}
            }
            rest = after;
        }
        rest.is_none().then_some(captures)
    }
}

fn split_level(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(head, after)| (head, Some(after)))
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        if text.is_empty() {
            return Err(FilterError::Empty);
        }
        if text.len() > Address::BYTES_MAX {
            return Err(FilterError::TooLong { bytes: text.len() });
        }
        let mut levels = Vec::new();
        let mut names: Vec<Box<str>> = Vec::new();
        let mut rest = Some(text);
        while let Some(here) = rest {
            let (head, after) = split_level(here);
            rest = after;
            let number = levels.len() + 1;
            let (level, name) = parse_level(number, head)?;
            if matches!(level, Level::Rest { .. }) && after.is_some() {
                return Err(FilterError::RestNotLast { level: number, text: head.to_owned() });
            }
            if let Some(name) = name {
                add_name(&mut names, number, name)?;
            }
            levels.push(level);
        }
        Ok(Self { text: text.into(), levels: levels.into(), names: names.into() })
    }
}

fn parse_level(level: usize, text: &str) -> Result<(Level, Option<&str>), FilterError> {
    if let Some(character) = text.chars().find(|c| c.is_control()) {
        return Err(FilterError::Control { level, character });
    }
    match text {
        "+" => return Ok((Level::One { capture: false }, None)),
        "#" => return Ok((Level::Rest { capture: false }, None)),
        _ if !text.contains(['+', '#', '{', '}']) => return Ok((Level::Text(text.into()), None)),
        _ => {}
    }
    let Some(inner) = text.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) else {
        return Err(FilterError::WildcardInside { level, text: text.to_owned() });
    };
    let (name, parsed) = match inner.strip_suffix("...") {
        Some(name) => (name, Level::Rest { capture: true }),
        None => (inner, Level::One { capture: true }),
    };
    if !is_name(name) {
        return Err(FilterError::CaptureName { level, text: text.to_owned() });
    }
    Ok((parsed, Some(name)))
}

fn add_name(names: &mut Vec<Box<str>>, level: usize, name: &str) -> Result<(), FilterError> {
    // `device` may be captured: it is how a device's name is taken out of its address.
    if matches!(name, "source" | "address") {
        return Err(FilterError::Reserved { level, name: name.to_owned() });
    }
    if names.iter().any(|known| **known == *name) {
        return Err(FilterError::Duplicate { level, name: name.to_owned() });
    }
    if names.len() == CAPTURES_MAX {
        return Err(FilterError::TooMany { level });
    }
    names.push(name.into());
    Ok(())
}

/// Whether `text` can be the name of a capture.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests;
