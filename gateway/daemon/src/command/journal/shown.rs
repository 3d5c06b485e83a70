//! How events are shown: as a line for people, or as JSON; and which of them a reader has had already.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lamppost_event::{Epoch, EventTime, Gap, Item, Now, Offset, Origin, Position, Stored, TopicPartition, WallTime};
use lamppost_journal::{Inspect, PartitionFigures, ReadItem};
use serde_json::{Map, Value, json};

use super::{READ_BYTES, instant};
use crate::gateway::event_item;

/// By what times are corrected: the rule of the journal, by which it also finds a time ([`lamppost_journal::Times`]).
pub(super) struct Times(lamppost_journal::Times);

/// What the clocks said when an event was received.
const fn moment(time: &EventTime) -> Now {
    Now { wall: time.wall, monotonic: time.monotonic, boot: time.boot, quality: time.quality }
}

impl Times {
    pub(super) fn of(inspect: &Inspect) -> Self {
        Self(inspect.times())
    }

    /// Where no log is known: times stay as they are.
    pub(super) fn none() -> Self {
        Self(lamppost_journal::Times::default())
    }

    /// When it really was, as far as that can be known.
    pub(super) fn corrected(&self, time: &EventTime) -> Option<WallTime> {
        self.0.of(&moment(time))
    }

    /// The earliest and the latest that it may have been.
    pub(super) fn between(&self, time: &EventTime) -> (WallTime, WallTime) {
        self.0.between(&moment(time))
    }

    /// The same for when a frame was written.
    pub(super) fn of_frame(&self, now: Now) -> Option<WallTime> {
        self.0.of(&now)
    }

    /// Where to begin to read for what may have been received then or later.
    pub(super) fn begin(&self, inspect: &Inspect, from: WallTime) -> Position {
        inspect.begin_at_time(&self.0, from)
    }
}

/// Why an offset is missing of which no gap tells.
const UNREADABLE: &str = "can't be read; lamppost journal verify says where";

/// How far a reader has come in each partition. Where segments have been made denser since, it gets some events again.
#[derive(Default)]
pub(super) struct Seen {
    next: BTreeMap<TopicPartition, Offset>,
    /// An epoch that was not met before makes offsets anew: what was read and not durable at a power cut is not what has them now.
    epochs: HashSet<Epoch>,
}

impl Seen {
    /// Whether this event is new; and what is missing just before it, though no gap was told: a footer vouched for what can't be
    /// read.
    pub(super) fn is_new(&mut self, at: &TopicPartition, offset: Offset, epoch: Epoch) -> (bool, Option<Gap>) {
        let another_epoch = self.epochs.insert(epoch);
        let known = self.next.get(at).copied();
        let new = another_epoch || known.is_none_or(|next| offset >= next);
        if new {
            self.next.insert(at.clone(), offset.next());
        }
        let from = known.filter(|next| new && *next < offset);
        (new, from.map(|from| Gap { at: at.clone(), from, to: offset, reason: UNREADABLE.to_owned() }))
    }

    /// These offsets, all at once; gives what is missing just before them.
    pub(super) fn passed(&mut self, at: &TopicPartition, from: Offset, next: Offset) -> Option<Gap> {
        let known = self.next.get(at).copied();
        self.next.insert(at.clone(), next.max(known.unwrap_or_default()));
        let missing = known.filter(|known| *known < from)?;
        Some(Gap { at: at.clone(), from: missing, to: from, reason: UNREADABLE.to_owned() })
    }

    /// What is missing at the ends of the partitions.
    pub(super) fn missing_at_the_end(&self, partitions: &[PartitionFigures]) -> Vec<Gap> {
        let missing = |p: &PartitionFigures| {
            let from = self.next.get(&p.at).copied().unwrap_or(p.first).max(p.first);
            (from < p.next).then(|| Gap { at: p.at.clone(), from, to: p.next, reason: UNREADABLE.to_owned() })
        };
        partitions.iter().filter_map(missing).collect()
    }

    /// The part of a gap that is new.
    pub(super) fn new_part(&mut self, gap: Gap) -> Option<Gap> {
        let next = self.next.entry(gap.at.clone()).or_default();
        let from = gap.from.max(*next);
        *next = gap.to.max(*next);
        (from < gap.to).then_some(Gap { from, ..gap })
    }
}

/// An event or a gap that a reader has not had.
pub(super) enum Fresh {
    Event(Box<Stored>),
    Gap(Gap),
}

/// Hands over what is new from `at` on; gives where to go on. `progress` gets positions.
pub(super) fn each(
    inspect: &Inspect,
    mut at: Position,
    seen: &mut Seen,
    progress: &mut dyn FnMut(Position),
    take: &mut dyn FnMut(Fresh) -> anyhow::Result<()>,
) -> anyhow::Result<Position> {
    loop {
        let chunk = inspect.read(at, READ_BYTES);
        at = chunk.next;
        for item in chunk.items {
            let (gap, fresh) = fresh(item, seen);
            gap.map_or(Ok(()), |gap| take(Fresh::Gap(gap)))?;
            fresh.map_or(Ok(()), &mut *take)?;
        }
        progress(at);
        if chunk.caught_up {
            return Ok(at);
        }
    }
}

fn fresh(item: ReadItem, seen: &mut Seen) -> (Option<Gap>, Option<Fresh>) {
    match event_item(item) {
        Item::Event(stored) => {
            let at = TopicPartition { topic: stored.event.topic.clone(), partition: stored.partition };
            let (new, gap) = seen.is_new(&at, stored.offset, stored.epoch);
            (gap, new.then(|| Fresh::Event(Box::new(stored))))
        }
        Item::Gap(gap) => (None, seen.new_part(gap).map(Fresh::Gap)),
    }
}

/// One line for an event.
pub(super) fn event(stored: &Stored, times: &Times, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let event = &stored.event;
    let time = times.corrected(&event.time);
    if json {
        writeln!(out, "{}", event_json(stored, time))?;
    } else {
        let place = format!("{}/{}/{}", event.topic, stored.partition, stored.offset);
        let time = time.map_or_else(|| format!("{:<24}", "at an unknown time"), instant::show);
        let payload = String::from_utf8_lossy(&event.payload);
        writeln!(out, "{time} {place:<36} {:<20} {}", event.device.as_str(), printable(&payload))?;
    }
    Ok(())
}

/// An event as JSON. `time` is the corrected one, `stored_time` what the clock said then.
pub(super) fn event_json(stored: &Stored, time: Option<WallTime>) -> Value {
    let event = &stored.event;
    let line = json!({
        "topic": event.topic, "partition": stored.partition, "offset": stored.offset, "epoch": stored.epoch.to_string(),
        "device": event.device, "address": event.address,
        "time": time.map(instant::show), "time_ms": time.map(|time| time.0), "stored_time_ms": event.time.wall.0,
        "clock": event.time.quality.as_str(), "source": event.source.as_str(), "reason": event.reason,
    });
    let mut line = if let Value::Object(line) = line { line } else { Map::new() };
    match &event.origin {
        Origin::Unmarked => {}
        Origin::Sequence { boot, sequence } => {
            line.insert("sender_boot".to_owned(), json!(boot));
            line.insert("sender_sequence".to_owned(), json!(sequence));
        }
        Origin::Id(id) => drop(line.insert("sender_id".to_owned(), json!(id))),
    }
    put_bytes(&mut line, "key", &event.key);
    put_bytes(&mut line, "payload", &event.payload);
    Value::Object(line)
}

/// Text as text; what is none, in base64 under another name.
pub(super) fn put_bytes(line: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => line.insert(name.to_owned(), json!(text)),
        Err(_) => line.insert(format!("{name}_base64"), json!(STANDARD.encode(bytes))),
    };
}

/// One line for a gap.
pub(super) fn gap(gap: &Gap, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if json {
        writeln!(out, "{}", json!({"gap": gap_json(gap)}))?;
    } else {
        writeln!(out, "gap: {} offsets {} up to {} (not included): {}", gap.at, gap.from, gap.to, gap.reason)?;
    }
    Ok(())
}

pub(super) fn gap_json(gap: &Gap) -> Value {
    json!({"topic": gap.at.topic, "partition": gap.at.partition, "from": gap.from, "to": gap.to, "reason": gap.reason})
}

/// A payload may hold anything; a terminal must not be steered by it.
pub(super) fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use lamppost_event::{Address, BootId, ClockQuality, DeviceId, Event, Monotonic, Partition, SourceKind, Topic};

    use super::*;

    fn at() -> TopicPartition {
        TopicPartition { topic: Topic::new("air").unwrap(), partition: Partition(0) }
    }

    #[test]
    fn the_senders_own_mark_is_shown_where_there_is_one() {
        let now = Now { wall: WallTime(5), monotonic: Monotonic(5), boot: BootId(1), quality: ClockQuality::Synced };
        let marked = |origin| {
            let device = DeviceId::new("node-7").unwrap();
            let event = Event {
                source: SourceKind::Serial,
                address: Address::new("link/node-7/temperature").unwrap(),
                topic: at().topic,
                key: bytes::Bytes::new(),
                device,
                origin,
                time: EventTime::received(now, None),
                content_type: None,
                reason: None,
                payload: bytes::Bytes::new(),
            };
            let stored = Stored { partition: Partition(0), offset: Offset(0), epoch: Epoch(1), event };
            let line = event_json(&stored, None);
            (line["sender_boot"].clone(), line["sender_sequence"].clone(), line["sender_id"].clone())
        };
        assert_eq!(marked(Origin::Sequence { boot: 3, sequence: 17 }), (json!(3), json!(17), Value::Null));
        assert_eq!(marked(Origin::Id("a-1".into())), (Value::Null, Value::Null, json!("a-1")));
        assert_eq!(marked(Origin::Unmarked), (Value::Null, Value::Null, Value::Null));
    }

    #[test]
    fn what_was_read_before_is_skipped_and_an_epoch_not_met_before_begins_anew() {
        let mut seen = Seen::default();
        let new = |seen: &mut Seen, offset, epoch| seen.is_new(&at(), Offset(offset), Epoch(epoch)).0;
        assert!(new(&mut seen, 0, 1) && new(&mut seen, 1, 1) && !new(&mut seen, 0, 1) && !new(&mut seen, 1, 1));
        let gap = |from, to| Gap { at: at(), from: Offset(from), to: Offset(to), reason: String::new() };
        assert_eq!(seen.new_part(gap(0, 2)), None);
        assert_eq!(seen.new_part(gap(0, 5)).map(|gap| gap.from), Some(Offset(2)));
        assert!(new(&mut seen, 3, 2) && !new(&mut seen, 3, 2) && new(&mut seen, 4, 2) && !new(&mut seen, 1, 1));
    }

    #[test]
    fn offsets_that_are_missing_without_a_word_are_told_as_a_gap() {
        let mut seen = Seen::default();
        assert_eq!(seen.is_new(&at(), Offset(7), Epoch(1)), (true, None), "what comes before the first is not known");
        let (new, gap) = seen.is_new(&at(), Offset(10), Epoch(1));
        assert_eq!((new, gap.map(|gap| (gap.from, gap.to))), (true, Some((Offset(8), Offset(10)))));
        let end = PartitionFigures { at: at(), first: Offset(7), next: Offset(20), span: None };
        let gaps: Vec<_> = seen.missing_at_the_end(&[end]).iter().map(|gap| (gap.from, gap.to)).collect();
        assert_eq!(gaps, [(Offset(11), Offset(20))]);
    }

    #[test]
    fn a_time_is_corrected_by_the_same_boots_later_clock_or_not_at_all() {
        let stamped = |boot, wall, monotonic, quality| EventTime {
            device: None,
            wall: WallTime(wall),
            monotonic: Monotonic(monotonic),
            boot: BootId(boot),
            quality,
        };
        let right =
            Now { wall: WallTime(9_000), monotonic: Monotonic(500), boot: BootId(1), quality: ClockQuality::Synced };
        let mut known = lamppost_journal::Times::default();
        known.learn(&right);
        let times = Times(known);
        assert_eq!(times.corrected(&stamped(1, 3, 100, ClockQuality::Unset)), Some(WallTime(8_600)));
        assert_eq!(times.corrected(&stamped(2, 3, 100, ClockQuality::Unset)), None);
        assert_eq!(times.corrected(&stamped(2, 7_000, 100, ClockQuality::Holdover)), Some(WallTime(7_000)));
    }

    #[test]
    fn bytes_that_are_no_text_are_base64_under_another_name() {
        let mut line = Map::new();
        put_bytes(&mut line, "payload", b"21.5");
        put_bytes(&mut line, "key", &[0xff, 0]);
        assert_eq!(Value::Object(line), json!({"payload": "21.5", "key_base64": "/wA="}));
    }
}
