//! The file with a schema.

use std::path::{Path, PathBuf};

use serde_json::Value;
use serde_json::value::RawValue;

use super::SchemaFormat;
use super::avro::Avro;
use crate::credentials;

/// The largest schema, bytes.
const BYTES_MAX: usize = 256 << 10;

/// What is wrong with the file of a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct SchemaFault {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, and where in it.
    pub why: String,
}

impl SchemaFault {
    pub(super) fn new(path: &Path, why: impl Into<String>) -> Self {
        Self { path: path.to_owned(), why: why.into() }
    }
}

/// Looks whether a schema can be used.
///
/// # Errors
/// [`SchemaFault`]: it can't be read, or is none of that format.
pub fn look_at_schema(path: &Path, format: SchemaFormat) -> Result<(), SchemaFault> {
    SchemaFile::read(path, format).map(drop)
}

/// What a schema is used for.
#[derive(Debug)]
pub(super) enum Form {
    Avro(Box<Avro>),
    JsonSchema,
}

/// A schema that was read.
#[derive(Debug)]
pub(super) struct SchemaFile {
    text: String,
    name: Option<String>,
    form: Form,
}

impl SchemaFile {
    pub(super) fn read(path: &Path, format: SchemaFormat) -> Result<Self, SchemaFault> {
        let bytes = credentials::bytes(path).map_err(|error| SchemaFault { path: error.path, why: error.why })?;
        Self::parse(&bytes, format).map_err(|why| SchemaFault::new(path, why))
    }

    fn parse(bytes: &[u8], format: SchemaFormat) -> Result<Self, String> {
        if bytes.len() > BYTES_MAX {
            return Err(format!("has more than {} KiB", BYTES_MAX >> 10));
        }
        let of = |error: serde_json::Error| format!("is not JSON: {error}");
        let json: Value = serde_json::from_slice(bytes).map_err(of)?;
        let raw: &RawValue = serde_json::from_slice(bytes).map_err(of)?;
        let (form, name) = match (format, &json) {
            (SchemaFormat::Avro, _) => {
                let avro = Avro::read(&json).map_err(|error| format!("is no Avro schema: {error}"))?;
                let name = avro.name().map(str::to_owned);
                (Form::Avro(Box::new(avro)), name)
            }
            (SchemaFormat::JsonSchema, Value::Object(object)) => {
                (Form::JsonSchema, object.get("title").and_then(Value::as_str).map(str::to_owned))
            }
            (SchemaFormat::JsonSchema, Value::Bool(_)) => (Form::JsonSchema, None),
            (SchemaFormat::JsonSchema, _) => return Err("is no JSON Schema: it has to be an object".to_owned()),
        };
        Ok(Self { text: compact(raw.get()), name, form })
    }

    /// As it is sent to the registry.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(super) fn into_form(self) -> Form {
        self.form
    }
}

/// JSON without what stands between its tokens: how a file is laid out must not make it another schema for the registry.
fn compact(json: &str) -> String {
    let (mut out, mut in_text, mut escaped) = (String::with_capacity(json.len()), false, false);
    for c in json.chars() {
        if in_text || !c.is_ascii_whitespace() {
            out.push(c);
        }
        in_text ^= c == '"' && !escaped;
        escaped = in_text && c == '\\' && !escaped;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_of_a_file_is_left_out_and_nothing_within_texts() {
        let json = "{ \"type\" :\t\"record\",\r\n \"doc\": \"two  words, a \\\" and a \\\\\" , \"x\": [ 1, 2 ] }";
        assert_eq!(compact(json), r#"{"type":"record","doc":"two  words, a \" and a \\","x":[1,2]}"#);
    }

    #[test]
    fn a_fault_is_told_with_its_line_or_its_field() {
        let why = |text: &str, format| SchemaFile::parse(text.as_bytes(), format).unwrap_err();
        assert_eq!(
            why("{\n  \"type\": \"record\"\n  \"name\": \"A\"\n}", SchemaFormat::Avro),
            "is not JSON: expected `,` or `}` at line 3 column 3"
        );
        let flot = r#"{"type": "record", "name": "A", "fields": [{"name": "x", "type": "flot"}]}"#;
        assert_eq!(why(flot, SchemaFormat::Avro), "is no Avro schema: field \"x\" of A: unknown type \"flot\"");
        assert!(why("[]", SchemaFormat::JsonSchema).contains("it has to be an object"));
        assert!(why(&" ".repeat(BYTES_MAX + 1), SchemaFormat::Avro).contains("more than 256 KiB"));
        let missing = look_at_schema(Path::new("/nowhere/air.avsc"), SchemaFormat::Avro).unwrap_err();
        assert!(missing.to_string().starts_with("/nowhere/air.avsc: can't be read: "), "{missing}");
    }

    #[test]
    fn a_schema_is_called_by_its_full_name_or_its_title() {
        let name = |text: &str, format| SchemaFile::parse(text.as_bytes(), format).unwrap().name().map(str::to_owned);
        let avro = r#"{"type": "record", "name": "Air", "namespace": "city", "fields": []}"#;
        assert_eq!(name(avro, SchemaFormat::Avro).as_deref(), Some("city.Air"));
        assert_eq!(name("\"double\"", SchemaFormat::Avro), None);
        assert_eq!(name(r#"{"title": "Air"}"#, SchemaFormat::JsonSchema).as_deref(), Some("Air"));
    }
}
