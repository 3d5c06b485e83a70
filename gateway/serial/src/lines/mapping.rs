//! From a line to its fields: JSON by pointer (RFC 6901), delimited text by column. Pure.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::value::RawValue;

use crate::number::{Factor, NumberError, json_number, shown};

/// The deepest that a pointer reaches.
const DEPTH_MAX: usize = 8;

/// How a line is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineFormat {
    /// One JSON value a line.
    Json,
    /// Columns between separators. There is no quoting: a separator always separates. A single space stands for any run of
    /// blanks; otherwise blanks around a column are not part of it.
    Delimited {
        /// 1 to 8 bytes.
        separator: String,
    },
}

/// Where a value stands in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldFrom {
    /// In JSON: a pointer, as in `/sds011/pm25`.
    Pointer(Pointer),
    /// In delimited text: which column, from 1.
    Column(usize),
}

/// A JSON pointer (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    tokens: Vec<String>,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldKind {
    /// A number; in JSON also one in quotes.
    #[default]
    Number,
    /// A text; in JSON also `true`, `false` and `null`, as they are.
    Text,
}

/// One value of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// What it measures: the last part of the arrival's address.
    pub name: String,
    /// Where it stands.
    pub from: FieldFrom,
    /// Its unit, as SenML writes it (RFC 8428, section 12.1).
    pub unit: Option<String>,
    /// What it is multiplied by.
    pub scale: Option<Factor>,
    /// Number or text.
    pub kind: FieldKind,
    /// A line without it is right all the same.
    pub optional: bool,
}

/// Why a line can't be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineError {
    #[error("not UTF-8 from byte {0} on")]
    Utf8(usize),
    #[error("not JSON: {0}")]
    Json(String),
    #[error("field {name:?}: nothing at {at}")]
    Missing { name: String, at: String },
    #[error("field {name:?}: {error}")]
    Number { name: String, error: NumberError },
    #[error("field {name:?} is neither a number nor a text: {found}")]
    Shape { name: String, found: String },
    #[error("the device {name:?} is not legal: {reason}")]
    Device { name: String, reason: String },
    #[error("longer than {bytes_max} bytes; this is its beginning")]
    TooLong { bytes_max: usize },
}

impl FromStr for Pointer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let right = || format!("{text:?} is not a JSON pointer; write one as in \"/sds011/pm25\"");
        let tokens = text.strip_prefix('/').ok_or_else(right)?;
        let tokens: Vec<_> = tokens.split('/').map(|token| token.replace("~1", "/").replace("~0", "~")).collect();
        if tokens.len() > DEPTH_MAX { Err(right()) } else { Ok(Self { text: text.to_owned(), tokens }) }
    }
}

impl std::fmt::Display for FieldFrom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pointer(pointer) => f.write_str(&pointer.text),
            Self::Column(column) => write!(f, "column {column}"),
        }
    }
}

/// A line, taken apart as far as its format says.
pub(crate) enum Parsed<'a> {
    Object(BTreeMap<String, &'a RawValue>),
    Other(&'a RawValue),
    Columns(Vec<&'a str>),
}

impl<'a> Parsed<'a> {
    pub(crate) fn new(format: &LineFormat, line: &'a [u8]) -> Result<Self, LineError> {
        let text = std::str::from_utf8(line).map_err(|error| LineError::Utf8(error.valid_up_to() + 1))?;
        match format {
            LineFormat::Delimited { separator } if separator == " " => {
                Ok(Self::Columns(text.split_ascii_whitespace().collect()))
            }
            LineFormat::Delimited { separator } => {
                Ok(Self::Columns(text.split(separator.as_str()).map(str::trim_ascii).collect()))
            }
            LineFormat::Json => {
                let value: &RawValue =
                    serde_json::from_str(text).map_err(|error| LineError::Json(error.to_string()))?;
                Ok(serde_json::from_str(value.get()).map_or(Self::Other(value), Self::Object))
            }
        }
    }

    /// The value at a place as JSON text, or as a column's text. An empty column is none, nor is JSON's null.
    fn at(&self, from: &FieldFrom) -> Option<&'a str> {
        match (self, from) {
            (Self::Columns(columns), FieldFrom::Column(column)) => {
                columns.get(column.checked_sub(1)?).copied().filter(|text| !text.is_empty())
            }
            (Self::Object(object), FieldFrom::Pointer(pointer)) => {
                let (first, rest) = pointer.tokens.split_first()?;
                down(object.get(first)?, rest).map(RawValue::get)
            }
            (Self::Other(value), FieldFrom::Pointer(pointer)) => down(value, &pointer.tokens).map(RawValue::get),
            _ => None,
        }
    }

    /// A field's value as JSON; nothing, if it is not there and may be missing.
    pub(crate) fn value(&self, field: &Field) -> Result<Option<String>, LineError> {
        let name = || field.name.clone();
        let found = self.at(&field.from).filter(|text| *text != "null" || field.kind == FieldKind::Text);
        let Some(found) = found else {
            let missing = LineError::Missing { name: name(), at: field.from.to_string() };
            return if field.optional { Ok(None) } else { Err(missing) };
        };
        let shape = || LineError::Shape { name: name(), found: shown(found) };
        let is_json = !matches!(self, Self::Columns(_));
        if is_json && found.starts_with(['{', '[']) {
            return Err(shape());
        }
        match field.kind {
            FieldKind::Text if is_json => Ok(Some(found.to_owned())),
            FieldKind::Text => Ok(Some(serde_json::Value::from(found).to_string())),
            FieldKind::Number => {
                let number = |error| LineError::Number { name: name(), error };
                let text = if is_json { found.trim_matches('"') } else { found };
                let value = json_number(text).map_err(number)?;
                field.scale.map_or(Ok(value.clone()), |scale| scale.times(&value)).map(Some).map_err(number)
            }
        }
    }

    /// A text or number at a place, as plain text.
    pub(crate) fn text(&self, from: &FieldFrom) -> Option<String> {
        let found = self.at(from)?;
        match self {
            Self::Columns(_) => Some(found.to_owned()),
            _ if found.starts_with('"') => serde_json::from_str(found).ok(),
            _ => Some(found.to_owned()),
        }
    }
}

fn down<'a>(value: &'a RawValue, tokens: &[String]) -> Option<&'a RawValue> {
    let Some((first, rest)) = tokens.split_first() else { return Some(value) };
    let text = value.get();
    let inner: &'a RawValue = if text.starts_with('[') {
        let list: Vec<&'a RawValue> = serde_json::from_str(text).ok()?;
        list.get(first.parse::<usize>().ok()?).copied()?
    } else {
        let object: BTreeMap<String, &'a RawValue> = serde_json::from_str(text).ok()?;
        object.get(first).copied()?
    };
    down(inner, rest)
}

#[cfg(test)]
mod tests;
