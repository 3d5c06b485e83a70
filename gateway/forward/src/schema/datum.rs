//! From JSON to Avro's binary form by a schema (Avro specification 1.12, "Binary Encoding"). Pure.
//!
//! | Avro | from this JSON | bytes |
//! |---|---|---|
//! | null | `null` | none |
//! | boolean | `true`, `false` | 1 or 0 |
//! | int, long | a whole number in range, also as `20.0` or `2e1` | zigzag varint |
//! | float, double | a number that it holds ([`super::number`]) | 4 or 8, IEEE 754, little-endian |
//! | string | a string | length, UTF-8 |
//! | bytes, fixed | a string of characters up to U+00FF, each a byte, as in the specification's defaults | (length,) bytes |
//! | enum | a string that is one of the symbols | its index, as an int |
//! | array, map | a list, an object | one block: number, items; then 0 |
//! | record | an object with these fields; one that is missing has its default | its fields, in the schema's order |
//! | union | what the first branch that fits takes, in the schema's order | the branch's index, as a long; the branch |
//!
//! **Invariant:** what does not fit is an error that names the place: no field is left out, no number rounded, no text cut.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::avro::{Avro, Field, Node, NodeId};
use super::number::Decimal;

/// So deep values may lie in each other: a schema may contain itself.
const DEPTH_MAX: usize = 64;
/// So many values are looked at for one event; branches that are tried in vain count.
const VALUES_MAX: u32 = 1_000_000;
/// So many bytes of JSON are read for one event, and besides so many times its own: each level reads what is below it once more, and so does each
/// branch of a union that is tried.
const READ_BYTES: usize = 64 << 20;
const READ_TIMES: usize = DEPTH_MAX;
/// The longest default, in its binary form, bytes.
const DEFAULT_BYTES_MAX: usize = 1 << 20;
/// So much of a value is shown to a human, characters.
const SHOWN_CHARS: usize = 40;

/// Why a value does not fit the schema, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misfit {
    /// From the innermost outwards.
    path: Vec<String>,
    why: String,
    /// It is no fault of one branch of a union: there is no use in trying another.
    is_final: bool,
}

impl Misfit {
    fn new(why: impl Into<String>) -> Self {
        Self { path: Vec::new(), why: why.into(), is_final: false }
    }

    fn last(why: impl Into<String>) -> Self {
        Self { is_final: true, ..Self::new(why) }
    }

    fn below(mut self, place: impl FnOnce() -> String) -> Self {
        self.path.push(place());
        self
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            let path: Vec<&str> = self.path.iter().rev().map(String::as_str).collect();
            write!(f, "{}: ", shown(&path.join(".")))?;
        }
        f.write_str(&self.why)
    }
}

/// Appends `payload`, one JSON text, in Avro's binary form; up to `bytes_max` in all.
pub(super) fn encode(avro: &Avro, payload: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let raw = raw(payload)?;
    Encoding::new(avro, out, bytes_max, raw).value(avro.root(), raw, 0)
}

/// Whether a default fits its field.
pub(super) fn encode_default(avro: &Avro, node: NodeId, json: &str) -> Result<(), Misfit> {
    let mut out = Vec::new();
    let raw = raw(json.as_bytes())?;
    Encoding::new(avro, &mut out, DEFAULT_BYTES_MAX, raw).value(node, raw, 0)
}

/// The one JSON text that `payload` has to be (RFC 8259).
pub(super) fn raw(payload: &[u8]) -> Result<&str, Misfit> {
    let raw: Result<&RawValue, _> = serde_json::from_slice(payload);
    raw.map(RawValue::get).map_err(|error| Misfit::last(format!("it is not JSON: {error}")))
}

struct Encoding<'a> {
    avro: &'a Avro,
    out: &'a mut Vec<u8>,
    bytes_max: usize,
    values: u32,
    /// So many bytes may still be read.
    to_read: usize,
}

impl<'a> Encoding<'a> {
    const fn new(avro: &'a Avro, out: &'a mut Vec<u8>, bytes_max: usize, raw: &str) -> Self {
        let to_read = raw.len().saturating_mul(READ_TIMES).saturating_add(READ_BYTES);
        Self { avro, out, bytes_max, values: 0, to_read }
    }

    fn value(&mut self, id: NodeId, raw: &str, depth: usize) -> Result<(), Misfit> {
        self.values += 1;
        let Some(to_read) = self.to_read.checked_sub(raw.len()) else {
            return Err(Misfit::last("too many branches of unions would have to be tried for what is so large"));
        };
        self.to_read = to_read;
        if depth > DEPTH_MAX {
            return Err(Misfit::last(format!("nested more than {DEPTH_MAX} deep")));
        }
        if self.values > VALUES_MAX {
            return Err(Misfit::last(format!("more than {VALUES_MAX} values")));
        }
        if self.out.len() > self.bytes_max {
            return Err(Misfit::last(format!("larger than the cluster takes ({} bytes)", self.bytes_max)));
        }
        let avro = self.avro;
        let node = avro.node(id);
        match node {
            Node::Null if raw == "null" => {}
            Node::Boolean if raw == "true" || raw == "false" => self.out.push(u8::from(raw == "true")),
            Node::Int => self.long(number(raw, node)?.whole().filter(|it| i32::try_from(*it).is_ok()), raw, node)?,
            Node::Long => self.long(number(raw, node)?.whole(), raw, node)?,
            Node::Float => self.float(number(raw, node)?.float().map(f32::to_le_bytes), raw, node)?,
            Node::Double => self.float(number(raw, node)?.double().map(f64::to_le_bytes), raw, node)?,
            Node::String => self.text(text(raw, node)?.as_bytes()),
            Node::Bytes => {
                let bytes = bytes(raw, node)?;
                self.text(&bytes);
            }
            Node::Fixed { size, .. } => {
                let bytes = bytes(raw, node)?;
                if bytes.len() != *size {
                    return Err(Misfit::new(format!("{} bytes, where {node} has {size}", bytes.len())));
                }
                self.out.extend_from_slice(&bytes);
            }
            Node::Enum { symbols, .. } => {
                let symbol = text(raw, node)?;
                let index = symbols.iter().position(|known| *known == symbol);
                self.length(index.ok_or_else(|| Misfit::new(format!("{} is no symbol of {node}", shown(raw))))?);
            }
            Node::Record { fields, .. } => self.record(node, fields, raw, depth)?,
            Node::Array(items) => self.array(node, *items, raw, depth)?,
            Node::Map(values) => self.map(node, *values, raw, depth)?,
            Node::Union(branches) => self.union(branches, raw, depth)?,
            Node::Null | Node::Boolean => return Err(other(raw, node)),
        }
        Ok(())
    }

    fn record(&mut self, node: &Node, fields: &'a [Field], raw: &str, depth: usize) -> Result<(), Misfit> {
        let Node::Record { places, .. } = node else { return Err(other(raw, node)) };
        let mut values: Vec<Option<&str>> = vec![None; fields.len()];
        for (name, value) in object(raw, node)? {
            let Some(slot) = places.get(&*name).and_then(|place| values.get_mut(*place)) else {
                return Err(Misfit::new(format!("{node} has no field {}", shown(&format!("{name:?}")))));
            };
            if slot.replace(value).is_some() {
                return Err(Misfit::new(format!("the field {:?} twice", shown(&name))));
            }
        }
        for (field, value) in fields.iter().zip(values) {
            let Some(value) = value.or(field.default.as_deref()) else {
                return Err(Misfit::new(format!("the field {:?} of {node} is missing", field.name)));
            };
            self.value(field.node, value, depth + 1).map_err(|misfit| misfit.below(|| field.name.clone()))?;
        }
        Ok(())
    }

    fn array(&mut self, node: &Node, items: NodeId, raw: &str, depth: usize) -> Result<(), Misfit> {
        let list = list(raw, node)?;
        if !list.is_empty() {
            self.length(list.len());
        }
        for (index, item) in list.into_iter().enumerate() {
            self.value(items, item, depth + 1).map_err(|misfit| misfit.below(|| index.to_string()))?;
        }
        self.length(0);
        Ok(())
    }

    fn map(&mut self, node: &Node, values: NodeId, raw: &str, depth: usize) -> Result<(), Misfit> {
        let entries = object(raw, node)?;
        if !entries.is_empty() {
            self.length(entries.len());
        }
        let mut met = HashSet::new();
        for (name, value) in &entries {
            if !met.insert(&**name) {
                return Err(Misfit::new(format!("{:?} twice", shown(name))));
            }
            self.text(name.as_bytes());
            self.value(values, value, depth + 1).map_err(|misfit| misfit.below(|| name.to_string()))?;
        }
        self.length(0);
        Ok(())
    }

    fn union(&mut self, branches: &[NodeId], raw: &str, depth: usize) -> Result<(), Misfit> {
        let (begin, mut of_kind) = (self.out.len(), Vec::new());
        for (index, branch) in branches.iter().enumerate() {
            if !is_of_kind(self.avro.node(*branch), raw) {
                continue;
            }
            self.length(index);
            match self.value(*branch, raw, depth + 1) {
                Err(misfit) if !misfit.is_final => of_kind.push(misfit),
                done => return done,
            }
            self.out.truncate(begin);
        }
        // Where only one could have been meant, what is wrong with that one says more.
        if of_kind.len() == 1 {
            return of_kind.pop().map_or(Ok(()), Err);
        }
        let names: Vec<String> = branches.iter().map(|branch| self.avro.node(*branch).to_string()).collect();
        Err(Misfit::new(format!("{} is none of {}", shown(raw), names.join(", "))))
    }

    fn long(&mut self, value: Option<i64>, raw: &str, node: &Node) -> Result<(), Misfit> {
        let value = value.ok_or_else(|| Misfit::new(format!("{} does not fit into {node}", shown(raw))))?;
        self.varint(value);
        Ok(())
    }

    fn float<const N: usize>(&mut self, bytes: Option<[u8; N]>, raw: &str, node: &Node) -> Result<(), Misfit> {
        let lost = || Misfit::new(format!("{} does not fit into {node} without being rounded", shown(raw)));
        self.out.extend_from_slice(&bytes.ok_or_else(lost)?);
        Ok(())
    }

    fn text(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    fn length(&mut self, length: usize) {
        self.varint(i64::try_from(length).unwrap_or(i64::MAX));
    }

    /// Zigzag, seven bits a byte, the low ones first.
    #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "the bits are what is meant")]
    fn varint(&mut self, value: i64) {
        let mut rest = ((value << 1) ^ (value >> 63)) as u64;
        while rest >= 0x80 {
            self.out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.out.push(rest as u8);
    }
}

/// Whether a value of that JSON could be meant for a type.
fn is_of_kind(node: &Node, raw: &str) -> bool {
    match node {
        Node::Null => raw.starts_with('n'),
        Node::Boolean => raw.starts_with(['t', 'f']),
        Node::Int | Node::Long | Node::Float | Node::Double => {
            raw.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        }
        Node::Bytes | Node::String | Node::Fixed { .. } | Node::Enum { .. } => raw.starts_with('"'),
        Node::Record { .. } | Node::Map(_) => raw.starts_with('{'),
        Node::Array(_) => raw.starts_with('['),
        Node::Union(_) => true,
    }
}

/// A value cut to what a human wants to see of it, on one line: it ends up in a header, a log and a terminal.
fn shown(raw: &str) -> Cow<'_, str> {
    let end = raw.char_indices().nth(SHOWN_CHARS).map(|(end, _)| end);
    let cut = end.and_then(|end| raw.get(..end)).unwrap_or(raw);
    if end.is_none() && !cut.contains(char::is_control) {
        return Cow::Borrowed(raw);
    }
    let mut line = cut.replace(char::is_control, " ");
    line.push_str(if end.is_some() { "…" } else { "" });
    Cow::Owned(line)
}

fn other(raw: &str, node: &Node) -> Misfit {
    Misfit::new(format!("{} is no {node}", shown(raw)))
}

fn number<'r>(raw: &'r str, node: &Node) -> Result<Decimal<'r>, Misfit> {
    Decimal::read(raw).ok_or_else(|| match is_of_kind(node, raw) {
        true => Misfit::new(format!("{} does not fit into {node}", shown(raw))),
        false => other(raw, node),
    })
}

fn text<'r>(raw: &'r str, node: &Node) -> Result<Cow<'r, str>, Misfit> {
    if !raw.starts_with('"') {
        return Err(other(raw, node));
    }
    let Text(text) = serde_json::from_str(raw).map_err(|error| Misfit::new(format!("{}: {error}", shown(raw))))?;
    Ok(text)
}

fn bytes(raw: &str, node: &Node) -> Result<Vec<u8>, Misfit> {
    let wide = |c: char| Misfit::new(format!("the character {c:?} is no byte of {node}: up to U+00FF"));
    text(raw, node)?.chars().map(|c| u8::try_from(u32::from(c)).map_err(|_| wide(c))).collect()
}

type Entry<'r> = (Cow<'r, str>, &'r str);

fn object<'r>(raw: &'r str, node: &Node) -> Result<Vec<Entry<'r>>, Misfit> {
    if !raw.starts_with('{') {
        return Err(other(raw, node));
    }
    let read = serde_json::Deserializer::from_str(raw).deserialize_map(Entries);
    read.map_err(|error| Misfit::new(format!("{}: {error}", shown(raw))))
}

fn list<'r>(raw: &'r str, node: &Node) -> Result<Vec<&'r str>, Misfit> {
    if !raw.starts_with('[') {
        return Err(other(raw, node));
    }
    let read = serde_json::Deserializer::from_str(raw).deserialize_seq(Items);
    read.map_err(|error| Misfit::new(format!("{}: {error}", shown(raw))))
}

/// A JSON string, borrowed where nothing in it is escaped.
struct Text<'de>(Cow<'de, str>);

impl<'de> de::Deserialize<'de> for Text<'de> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

/// What stands in an object, in its order.
struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<Entry<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            entries.push((name, map.next_value_seed(Raw)?));
        }
        Ok(entries)
    }
}

/// What stands in a list.
struct Items;

impl<'de> Visitor<'de> for Items {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Raw)? {
            items.push(item);
        }
        Ok(items)
    }
}

/// A value as it is written.
struct Raw;

impl<'de> DeserializeSeed<'de> for Raw {
    type Value = &'de str;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<&'de str, D::Error> {
        let raw: &'de RawValue = de::Deserialize::deserialize(deserializer)?;
        Ok(raw.get())
    }
}

#[cfg(test)]
mod tests;
