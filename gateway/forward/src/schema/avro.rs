//! An Avro schema, read from its JSON (Avro specification 1.12, "Schema Declaration"). Pure.
//!
//! What is written into the cluster is what counts here: aliases and a reader's defaults of enums are passed over, and a logical type is the
//! type below it.

use std::collections::HashMap;
use std::fmt;

use serde_json::{Map, Value};

use super::datum;

/// So many types a schema may have, each use of a primitive one counted.
const NODES_MAX: usize = 10_000;
/// The largest `fixed`, bytes.
const FIXED_BYTES_MAX: u64 = 1 << 20;

/// A type's place in its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeId(usize);

/// One type.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed { name: String, size: usize },
    Enum { name: String, symbols: Vec<String> },
    Record { name: String, fields: Vec<Field>, places: HashMap<String, usize> },
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) node: NodeId,
    /// What stands in for it, as JSON.
    pub(super) default: Option<String>,
}

/// A schema.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Avro {
    nodes: Vec<Node>,
    root: NodeId,
}

/// What is wrong with a schema, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AvroError {
    at: String,
    why: String,
}

impl fmt::Display for AvroError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.is_empty() { f.write_str(&self.why) } else { write!(f, "{}: {}", self.at, self.why) }
    }
}

impl Avro {
    /// Reads a schema.
    pub(super) fn read(json: &Value) -> Result<Self, AvroError> {
        let mut reader = Reader { nodes: Vec::new(), names: HashMap::new(), at: Vec::new() };
        let root = reader.node(json, "")?;
        let avro = Self { nodes: reader.nodes, root };
        avro.check_defaults()?;
        Ok(avro)
    }

    pub(super) const fn root(&self) -> NodeId {
        self.root
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id.0).unwrap_or(&Node::Null)
    }

    /// The full name, if the schema as a whole has one.
    pub(super) fn name(&self) -> Option<&str> {
        match self.node(self.root) {
            Node::Record { name, .. } | Node::Enum { name, .. } | Node::Fixed { name, .. } => Some(name),
            _ => None,
        }
    }

    fn check_defaults(&self) -> Result<(), AvroError> {
        for node in &self.nodes {
            let Node::Record { name, fields, .. } = node else { continue };
            for field in fields {
                let Some(default) = &field.default else { continue };
                datum::encode_default(self, field.node, default).map_err(|misfit| AvroError {
                    at: format!("field {:?} of {name}", field.name),
                    why: format!("its default does not fit: {misfit}"),
                })?;
            }
        }
        Ok(())
    }
}

/// The words for a type.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
            Self::Fixed { name, .. } | Self::Enum { name, .. } | Self::Record { name, .. } => name,
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Union(_) => "union",
        })
    }
}

struct Reader {
    nodes: Vec<Node>,
    names: HashMap<String, NodeId>,
    /// Where in the schema it is, for a human.
    at: Vec<String>,
}

impl Reader {
    fn wrong<T>(&self, why: impl Into<String>) -> Result<T, AvroError> {
        Err(AvroError { at: self.at.last().cloned().unwrap_or_default(), why: why.into() })
    }

    fn add(&mut self, node: Node) -> Result<NodeId, AvroError> {
        if self.nodes.len() >= NODES_MAX {
            return self.wrong(format!("more than {NODES_MAX} types"));
        }
        self.nodes.push(node);
        Ok(NodeId(self.nodes.len() - 1))
    }

    /// `space`: the namespace that names without one belong to.
    fn node(&mut self, json: &Value, space: &str) -> Result<NodeId, AvroError> {
        match json {
            Value::String(name) => self.named(name, space),
            Value::Array(branches) => self.union(branches, space),
            Value::Object(object) => match object.get("type") {
                Some(Value::String(kind)) => self.complex(kind, object, space),
                // As in {"type": {"type": "array", …}}.
                Some(inner) => self.node(inner, space),
                None => self.wrong("a type without `type`"),
            },
            _ => self.wrong(format!("{json} is no type: a name, an object or a list of types")),
        }
    }

    fn named(&mut self, name: &str, space: &str) -> Result<NodeId, AvroError> {
        let node = match name {
            "null" => Node::Null,
            "boolean" => Node::Boolean,
            "int" => Node::Int,
            "long" => Node::Long,
            "float" => Node::Float,
            "double" => Node::Double,
            "bytes" => Node::Bytes,
            "string" => Node::String,
            _ => {
                let known = self.names.get(&full(name, space)).or_else(|| self.names.get(name));
                return match known {
                    Some(id) => Ok(*id),
                    None => self.wrong(format!("unknown type {name:?}")),
                };
            }
        };
        self.add(node)
    }

    fn complex(&mut self, kind: &str, object: &Map<String, Value>, space: &str) -> Result<NodeId, AvroError> {
        match kind {
            "record" | "error" => self.record(object, space),
            "enum" => self.symbols(object, space),
            "fixed" => self.fixed(object, space),
            "array" => {
                let items = self.inner(object, "items", space)?;
                self.add(Node::Array(items))
            }
            "map" => {
                let values = self.inner(object, "values", space)?;
                self.add(Node::Map(values))
            }
            _ => self.named(kind, space),
        }
    }

    fn inner(&mut self, object: &Map<String, Value>, key: &str, space: &str) -> Result<NodeId, AvroError> {
        match object.get(key) {
            Some(inner) => self.node(inner, space),
            None => self.wrong(format!("the type lacks `{key}`")),
        }
    }

    /// The full name that a definition gives, and the namespace for what is in it.
    fn define(&mut self, object: &Map<String, Value>, space: &str) -> Result<(String, String), AvroError> {
        let Some(Value::String(name)) = object.get("name") else { return self.wrong("a named type lacks `name`") };
        let own = match object.get("namespace") {
            Some(Value::String(own)) => own,
            Some(other) => return self.wrong(format!("namespace {other} of {name} is no text")),
            None => space,
        };
        let name = full(name, own);
        if !name.split('.').all(is_name) {
            return self.wrong(format!("{name:?} can't be a name: letters, digits and '_', and no digit first"));
        }
        if self.names.contains_key(&name) {
            return self.wrong(format!("a second definition of {name}"));
        }
        let space = name.rsplit_once('.').map_or("", |(space, _)| space).to_owned();
        Ok((name, space))
    }

    fn record(&mut self, object: &Map<String, Value>, space: &str) -> Result<NodeId, AvroError> {
        let (name, space) = self.define(object, space)?;
        // Its fields may be of its own type.
        let id = self.add(Node::Record { name: name.clone(), fields: Vec::new(), places: HashMap::new() })?;
        self.names.insert(name.clone(), id);
        let Some(Value::Array(list)) = object.get("fields") else {
            return self.wrong(format!("the record {name} lacks `fields`, a list"));
        };
        let (mut fields, mut places) = (Vec::new(), HashMap::new());
        for (index, json) in list.iter().enumerate() {
            let Some(Value::String(field)) = json.get("name") else {
                return self.wrong(format!("field {} of {name} lacks `name`", index + 1));
            };
            self.at.push(format!("field {field:?} of {name}"));
            if !is_name(field) {
                return self.wrong("it can't be called so: letters, digits and '_', and no digit first");
            }
            if places.insert(field.clone(), index).is_some() {
                return self.wrong("a second field of this name");
            }
            let Some(kind) = json.get("type") else { return self.wrong("it lacks `type`") };
            let node = self.node(kind, &space)?;
            let default = json.get("default").map(Value::to_string);
            fields.push(Field { name: field.clone(), node, default });
            self.at.pop();
        }
        if let Some(node) = self.nodes.get_mut(id.0) {
            *node = Node::Record { name, fields, places };
        }
        Ok(id)
    }

    fn symbols(&mut self, object: &Map<String, Value>, space: &str) -> Result<NodeId, AvroError> {
        let (name, _) = self.define(object, space)?;
        let Some(Value::Array(list)) = object.get("symbols") else {
            return self.wrong(format!("the enum {name} lacks `symbols`, a list"));
        };
        let mut symbols: Vec<String> = Vec::new();
        for symbol in list {
            match symbol.as_str() {
                Some(symbol) if is_name(symbol) && !symbols.iter().any(|known| known == symbol) => {
                    symbols.push(symbol.to_owned());
                }
                _ => return self.wrong(format!("the symbol {symbol} of {name}: each once, letters, digits and '_'")),
            }
        }
        let id = self.add(Node::Enum { name: name.clone(), symbols })?;
        self.names.insert(name, id);
        Ok(id)
    }

    fn fixed(&mut self, object: &Map<String, Value>, space: &str) -> Result<NodeId, AvroError> {
        let (name, _) = self.define(object, space)?;
        let size = object.get("size").and_then(Value::as_u64).filter(|size| *size <= FIXED_BYTES_MAX);
        let Some(size) = size.and_then(|size| usize::try_from(size).ok()) else {
            return self.wrong(format!("the fixed {name} lacks `size`, up to {FIXED_BYTES_MAX}"));
        };
        let id = self.add(Node::Fixed { name: name.clone(), size })?;
        self.names.insert(name, id);
        Ok(id)
    }

    fn union(&mut self, branches: &[Value], space: &str) -> Result<NodeId, AvroError> {
        let (mut ids, mut kinds): (Vec<NodeId>, Vec<String>) = (Vec::new(), Vec::new());
        for branch in branches {
            let id = self.node(branch, space)?;
            let kind = match self.nodes.get(id.0) {
                Some(Node::Union(_)) => return self.wrong("a union directly in a union"),
                node => node.map(ToString::to_string).unwrap_or_default(),
            };
            if kinds.contains(&kind) {
                return self.wrong(format!("a union with {kind} twice"));
            }
            kinds.push(kind);
            ids.push(id);
        }
        if ids.is_empty() {
            return self.wrong("a union of nothing");
        }
        self.add(Node::Union(ids))
    }
}

fn full(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() { name.to_owned() } else { format!("{space}.{name}") }
}

fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(is_letter) && name.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Avro, String> {
        Avro::read(&serde_json::from_str(text).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_found_in_their_namespace_and_a_record_may_hold_itself() {
        let avro = read(
            r#"{"type": "record", "name": "Link", "namespace": "city.air", "fields": [
                {"name": "next", "type": ["null", "Link"], "default": null},
                {"name": "unit", "type": {"type": "enum", "name": "Unit", "symbols": ["UG", "PPM"]}},
                {"name": "other", "type": "city.air.Unit"},
                {"name": "id", "type": {"type": "fixed", "name": "other.Id", "size": 4}}]}"#,
        )
        .unwrap();
        assert_eq!(avro.name(), Some("city.air.Link"));
        let Node::Record { fields, .. } = avro.node(avro.root()) else { panic!("{avro:?}") };
        let Node::Union(branches) = avro.node(fields[0].node) else { panic!("{avro:?}") };
        assert_eq!(branches[1], avro.root());
        assert_eq!(fields[1].node, fields[2].node);
        assert_eq!(avro.node(fields[3].node).to_string(), "other.Id");
    }

    #[test]
    fn a_mistake_is_told_with_its_field() {
        for (text, wanted) in [
            (r#"{"type": "recor", "name": "A"}"#, "unknown type \"recor\""),
            (r#"{"type": "record", "name": "A"}"#, "the record A lacks `fields`"),
            (r#"{"type": "record", "fields": []}"#, "lacks `name`"),
            (r#"{"type": "record", "name": "9A", "fields": []}"#, "\"9A\" can't be a name"),
            (
                r#"{"type": "record", "name": "A", "fields": [{"name": "x", "type": "flot"}]}"#,
                "field \"x\" of A: unknown type \"flot\"",
            ),
            (r#"{"type": "record", "name": "A", "fields": [{"name": "x"}]}"#, "field \"x\" of A: it lacks `type`"),
            (r#"{"type": "record", "name": "A", "fields": [{"type": "int"}]}"#, "field 1 of A lacks `name`"),
            (
                r#"{"type": "record", "name": "A", "fields": [{"name": "x", "type": "int"}, {"name": "x", "type": "int"}]}"#,
                "field \"x\" of A: a second field",
            ),
            (
                r#"{"type": "record", "name": "A", "fields": [{"name": "x", "type": "int", "default": 0.5}]}"#,
                "field \"x\" of A: its default does not fit: 0.5",
            ),
            (r#"["int", "string", "int"]"#, "a union with int twice"),
            (r#"["int", ["null"]]"#, "a union directly in a union"),
            ("[]", "a union of nothing"),
            ("3", "3 is no type"),
            (r#"{"type": "array"}"#, "lacks `items`"),
            (r#"{"type": "fixed", "name": "F", "size": -1}"#, "lacks `size`"),
            (r#"{"type": "enum", "name": "E", "symbols": ["A", "A"]}"#, "the symbol \"A\" of E"),
            (
                r#"[{"type": "fixed", "name": "F", "size": 1}, {"type": "fixed", "name": "F", "size": 2}]"#,
                "a second definition of F",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn the_record_that_is_being_defined_stands_in_a_union_once() {
        let of = |union: &str| {
            read(&format!(r#"{{"type": "record", "name": "n.A", "fields": [{{"name": "x", "type": {union}}}]}}"#))
        };
        assert!(of(r#"["A", "null"]"#).is_ok());
        assert!(of(r#"["A", "n.A"]"#).unwrap_err().contains("twice"));
    }
}
