//! What a golden journal holds, as it was noted when it was appended: `expected.json`.
//!
//! Bytes are written as text where they are UTF-8, else as `{"hex": "…"}`; a place is `topic/partition`; epochs and identities are
//! hexadecimal. An event is `[offset, epoch, timestamp, key, value, header]`. A gap whose reason is `null` is not on the disk as one:
//! whoever reads comes upon it.
#![allow(unreachable_pub, reason = "a module of a test")]

use std::collections::BTreeMap;

use lamppost_event::{Gap, TopicPartition};
use lamppost_journal::{ReadItem, ReadRecord};
use serde_json::{Value, json};

/// A partition.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Kept {
    /// The offset after the last.
    pub next: u64,
    pub gaps: Vec<Missing>,
    /// By offset.
    pub events: BTreeMap<u64, Value>,
}

/// Offsets from `from` up to, not with, `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub from: u64,
    pub to: u64,
    pub reason: Option<String>,
}

/// A journal.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ledger {
    pub identity: String,
    pub epoch: String,
    /// The last commit.
    pub commit: u64,
    pub closed: bool,
    /// The CRC32C of each file.
    pub files: BTreeMap<String, String>,
    /// Commits that are damaged: the first, and the one that comes next.
    pub damage: Vec<[u64; 2]>,
    /// By place.
    pub partitions: BTreeMap<String, Kept>,
    /// By group and place.
    pub cursors: BTreeMap<String, BTreeMap<String, u64>>,
    /// By device, then boot.
    pub marks: BTreeMap<String, BTreeMap<String, u64>>,
    /// `None`: was there once, and was removed.
    pub state: BTreeMap<String, Option<String>>,
}

pub fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

pub fn place(at: &TopicPartition) -> String {
    format!("{}/{}", at.topic, at.partition.0)
}

pub fn event(read: &ReadRecord) -> Value {
    let record = &read.record;
    let value = record.value.as_ref().map_or(Value::Null, |value| text(value));
    json!([read.offset.0, hex(read.epoch.0), record.timestamp.0, text(&record.key), value, text(&record.header)])
}

pub fn checksum(bytes: &[u8]) -> String {
    format!("{:08x}", crc32c::crc32c(bytes))
}

pub fn hex(number: u64) -> String {
    format!("{number:016x}")
}

impl From<&Gap> for Missing {
    fn from(gap: &Gap) -> Self {
        Self { from: gap.from.0, to: gap.to.0, reason: Some(gap.reason.clone()) }
    }
}

/// Events by place and offset, and gaps by place, from what was read. An event or a gap may come twice; twice the same.
pub fn sorted(items: &[ReadItem]) -> BTreeMap<String, Kept> {
    let mut sorted: BTreeMap<String, Kept> = BTreeMap::new();
    for item in items {
        match item {
            ReadItem::Record(record) => {
                let at = TopicPartition { topic: record.topic.clone(), partition: record.partition };
                let before = sorted.entry(place(&at)).or_default().events.insert(record.offset.0, event(record));
                assert!(before.is_none_or(|before| before == event(record)), "two events at {at} {}", record.offset);
            }
            ReadItem::Gap(gap) => {
                let gaps = &mut sorted.entry(place(&gap.at)).or_default().gaps;
                let gap = Missing::from(gap);
                if !gaps.contains(&gap) {
                    gaps.push(gap);
                }
            }
        }
    }
    sorted
}

impl Kept {
    /// As told by a reader who began at the beginning: the events, the gaps, and no offset that is neither.
    pub fn compare(&self, read: &Kept, what: &str) {
        for (offset, event) in &self.events {
            assert_eq!(read.events.get(offset), Some(event), "{what}: offset {offset}");
        }
        let more: Vec<_> = read.events.keys().filter(|offset| !self.events.contains_key(offset)).collect();
        assert!(more.is_empty(), "{what}: offsets {more:?} were never stored");
        // What lies before the first kept event has been recycled, or given up.
        let first = self.events.keys().next().copied().unwrap_or(self.next);
        for offset in first..self.next {
            let missing = |gaps: &[Missing]| gaps.iter().any(|gap| (gap.from..gap.to).contains(&offset));
            assert_eq!(missing(&read.gaps), missing(&self.gaps), "{what}: offset {offset} in a gap: {:?}", read.gaps);
        }
        for known in self.gaps.iter().filter(|gap| gap.reason.is_some()) {
            for offset in known.from..known.to {
                let told = |gap: &&Missing| gap.reason == known.reason && (gap.from..gap.to).contains(&offset);
                assert!(read.gaps.iter().any(|gap| told(&gap)), "{what}: {known:?} is not told: {:?}", read.gaps);
            }
        }
    }
}

impl Ledger {
    /// As JSON, an event a line.
    pub fn to_json(&self) -> Value {
        let partitions: BTreeMap<&String, Value> = self
            .partitions
            .iter()
            .map(|(at, kept)| {
                let gaps = kept.gaps.iter().map(|gap| json!([gap.from, gap.to, gap.reason])).collect::<Vec<_>>();
                let events = kept.events.values().collect::<Vec<_>>();
                (at, json!({ "next": kept.next, "gaps": gaps, "events": events }))
            })
            .collect();
        json!({
            "identity": self.identity, "epoch": self.epoch, "commit": self.commit, "closed": self.closed, "files": self.files,
            "damage": self.damage, "partitions": partitions, "cursors": self.cursors, "marks": self.marks,
            "state": self.state,
        })
    }

    pub fn from_json(value: &Value) -> Self {
        let string = |key: &str| value[key].as_str().unwrap().to_owned();
        let partitions = map(&value["partitions"], |kept| Kept {
            next: kept["next"].as_u64().unwrap(),
            gaps: list(&kept["gaps"], |gap| Missing {
                from: gap[0].as_u64().unwrap(),
                to: gap[1].as_u64().unwrap(),
                reason: gap[2].as_str().map(str::to_owned),
            }),
            events: list(&kept["events"], |event| (event[0].as_u64().unwrap(), event.clone())).into_iter().collect(),
        });
        let numbers = |value: &Value| map(value, |number| number.as_u64().unwrap());
        Self {
            identity: string("identity"),
            epoch: string("epoch"),
            commit: value["commit"].as_u64().unwrap(),
            closed: value["closed"].as_bool().unwrap(),
            files: map(&value["files"], |crc| crc.as_str().unwrap().to_owned()),
            damage: list(&value["damage"], pair),
            partitions,
            cursors: map(&value["cursors"], numbers),
            marks: map(&value["marks"], numbers),
            state: map(&value["state"], |value| value.as_str().map(str::to_owned)),
        }
    }

    /// How many events are kept.
    pub fn events(&self) -> u64 {
        self.partitions.values().map(|kept| kept.events.len() as u64).sum()
    }
}

fn map<T>(value: &Value, take: impl Fn(&Value) -> T) -> BTreeMap<String, T> {
    value.as_object().unwrap().iter().map(|(key, value)| (key.clone(), take(value))).collect()
}

fn list<T>(value: &Value, take: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().unwrap().iter().map(take).collect()
}

fn pair(value: &Value) -> [u64; 2] {
    [value[0].as_u64().unwrap(), value[1].as_u64().unwrap()]
}

/// All ledgers of a version, by journal.
pub fn from_text(text: &str) -> BTreeMap<String, Ledger> {
    map(&serde_json::from_str(text).unwrap(), Ledger::from_json)
}

/// The same, written so that a difference shows by the line.
pub fn to_text(ledgers: &BTreeMap<String, Ledger>) -> String {
    let all: BTreeMap<&String, Value> = ledgers.iter().map(|(name, ledger)| (name, ledger.to_json())).collect();
    let mut out = String::new();
    put(&json!(all), 0, &mut out);
    out.push('\n');
    out
}

/// Lists of plain values stay on one line.
fn put(value: &Value, depth: usize, out: &mut String) {
    let plain = |value: &Value| !value.is_object() && !value.is_array();
    let (open, close, rows): (_, _, Vec<(Option<&String>, &Value)>) = match value {
        Value::Object(map) if !map.contains_key("hex") => {
            ('{', '}', map.iter().map(|(key, value)| (Some(key), value)).collect())
        }
        Value::Array(rows) if !rows.iter().all(plain) && rows.iter().all(|row| !plain(row)) => {
            ('[', ']', rows.iter().map(|row| (None, row)).collect())
        }
        _ => return out.push_str(&value.to_string()),
    };
    out.push(open);
    for (index, (key, value)) in rows.iter().enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        out.push_str(&" ".repeat(depth + 1));
        if let Some(key) = key {
            out.push_str(&format!("{}: ", json!(key)));
        }
        put(value, depth + 1, out);
    }
    out.push('\n');
    out.push_str(&" ".repeat(depth));
    out.push(close);
}
