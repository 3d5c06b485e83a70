//! The names of files. Pure.
//!
//! ```text
//! air-quality+20260302T061500.123Z+00c0ffee00000001-3-00000000000000000042.jsonl
//! topic       time of the first    epoch            p offset of the first line's event or gap
//!             line's event
//! ```
//!
//! While it is written to, `.part` follows; `.zst` before that where it is compressed. `+` can't occur in a topic, and sorts before all
//! that can: names sort by topic, then by time. Of one topic the times rise strictly from file to file, whatever the clocks say: where the
//! first event's time is not later than that of the file before, that time and a millisecond more stands in.

use lamppost_event::{Rfc3339, Stored, TopicPartition, WallTime};

use crate::config::Packing;

pub(crate) const PART: &str = ".part";

/// The longest topic that stands in a name as it is, bytes: a name may have 255.
const TOPIC_BYTES_MAX: usize = 160;

/// The last time that a name can hold: the end of the year 9999.
const LAST_MS: i64 = 253_402_300_799_999;

/// How a topic is called in names. A very long one is cut, and a number that follows from the whole keeps it apart from others.
pub(crate) fn of_topic(topic: &str) -> String {
    if topic.len() <= TOPIC_BYTES_MAX {
        return topic.to_owned();
    }
    // FNV-1a, 64 bits.
    let hash = topic
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let end = TOPIC_BYTES_MAX - 17;
    format!("{}~{hash:016x}", topic.get(..end).unwrap_or_default())
}

/// What a file begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) at: TopicPartition,
    /// In hexadecimal; of a gap, none.
    pub(crate) epoch: u64,
    pub(crate) offset: u64,
    pub(crate) time: WallTime,
}

impl First {
    pub(crate) fn of(stored: &Stored, time: WallTime) -> Self {
        let at = TopicPartition { topic: stored.event.topic.clone(), partition: stored.partition };
        Self { at, epoch: stored.epoch.0, offset: stored.offset.0, time }
    }

    /// The name of a finished file; `after` is the time in the name of the topic's last one.
    pub(crate) fn name(&self, after: Option<i64>, packing: Packing) -> (String, i64) {
        let least = after.map_or(0, |after| after.saturating_add(1));
        let ms = self.time.0.max(least).clamp(0, LAST_MS);
        let time = Rfc3339::new(WallTime(ms)).map(|time| time.to_string()).unwrap_or_default().replace(['-', ':'], "");
        let ending = match packing {
            Packing::None => "jsonl",
            Packing::Zstd => "jsonl.zst",
        };
        let (topic, partition) = (of_topic(self.at.topic.as_str()), self.at.partition);
        (format!("{topic}+{time}+{:016x}-{partition}-{:020}.{ending}", self.epoch, self.offset), ms)
    }
}

/// What a name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// As [`of_topic`] gives it.
    pub(crate) topic: String,
    pub(crate) ms: i64,
    pub(crate) packing: Packing,
    pub(crate) is_part: bool,
}

/// Reads a name; `None`: it is none of ours.
pub(crate) fn parse(name: &str) -> Option<Parsed> {
    let (rest, is_part) = name.strip_suffix(PART).map_or((name, false), |rest| (rest, true));
    let (rest, packing) = match rest.strip_suffix(".jsonl.zst") {
        Some(rest) => (rest, Packing::Zstd),
        None => (rest.strip_suffix(".jsonl")?, Packing::None),
    };
    let mut fields = rest.split('+');
    let (topic, time, place) = (fields.next()?, fields.next()?, fields.next()?);
    if topic.is_empty() || fields.next().is_some() || place.split('-').count() != 3 {
        return None;
    }
    Some(Parsed { topic: topic.to_owned(), ms: unix_ms(time)?, packing, is_part })
}

/// Milliseconds since 1970 of `20260302T061500.123Z`.
fn unix_ms(text: &str) -> Option<i64> {
    let digits = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok().filter(|n| *n >= 0);
    let shape = text.len() == 20 && text.get(8..9)? == "T" && text.get(15..16)? == "." && text.ends_with('Z');
    if !shape {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(4, 6)?, digits(6, 8)?);
    let (hour, minute, second, ms) = (digits(9, 11)?, digits(11, 13)?, digits(13, 15)?, digits(16, 19)?);
    // Counts from 1 March of the year 0, so that the leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = days + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms)
}

#[cfg(test)]
mod tests {
    use lamppost_event::{Partition, Topic};

    use super::*;

    fn first(topic: &str, ms: i64) -> First {
        let at = TopicPartition { topic: Topic::new(topic).unwrap(), partition: Partition(3) };
        First { at, epoch: 0xc0_ffee, offset: 42, time: WallTime(ms) }
    }

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let (name, ms) = first("air-quality", 1_772_432_100_123).name(None, Packing::None);
        assert_eq!(name, "air-quality+20260302T061500.123Z+0000000000c0ffee-3-00000000000000000042.jsonl");
        let parsed = Parsed { topic: "air-quality".into(), ms, packing: Packing::None, is_part: false };
        assert_eq!(parse(&name), Some(parsed));
        for ms in [0, 1, 951_782_400_000, 1_709_164_799_999, 4_107_542_400_000, LAST_MS] {
            let (name, _) = first("t", ms).name(None, Packing::Zstd);
            let part = parse(&format!("{name}.part")).unwrap();
            assert_eq!((part.ms, part.packing, part.is_part), (ms, Packing::Zstd, true), "{name}");
        }
    }

    #[test]
    fn of_one_topic_names_rise_whatever_the_clock_says() {
        let (before, ms) = first("air", 5_000_000_000_000).name(None, Packing::None);
        for late in [5_000_000_000_000, 0, -7, i64::MIN] {
            let (name, next) = first("air", late).name(Some(ms), Packing::None);
            assert!(name > before && next == ms + 1, "{name} after {before}");
        }
        assert!(first("air", 9).name(None, Packing::None).0 < first("air-2", 0).name(None, Packing::None).0);
    }

    #[test]
    fn the_longest_topic_still_makes_a_name_that_a_folder_takes_and_no_two_are_called_alike() {
        let (one, two) = ("a".repeat(249), format!("{}b", "a".repeat(248)));
        let name = |topic: &str| first(topic, 0).name(None, Packing::Zstd).0 + PART;
        assert!(name(&one).len() <= 255 && name(&one) != name(&two), "{}", name(&one).len());
        assert_eq!(parse(&name(&one)).unwrap().topic, of_topic(&one));
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        for name in [
            "",
            "notes.txt",
            "a+b+c.jsonl",
            "air.jsonl",
            "x+20260302T061500.123Z+1-2.jsonl",
            "+20260302T061500.123Z+1-2-3.jsonl",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
