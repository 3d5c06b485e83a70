//! What a writer tells, one word a line on its standard output. The other end of the pipe is the independent ledger.
//!
//! | line | what is so |
//! |---|---|
//! | `opened` | the store is open; what it holds follows |
//! | `first P O` | the store keeps partition P from offset O on |
//! | `kept P O ID` | it holds this event |
//! | `garbled P O` | it serves an event there whose bytes were never written |
//! | `gap P FROM TO` | it says that these offsets are lost |
//! | `damage N` | it says that N frames that should be there are not |
//! | `mark P ID` | its mark of the partition's sender |
//! | `read` | that was all; from here on it writes |
//! | `asking P O` | it is about to give up what lies below offset O; waits for a line before it does |
//! | `acknowledged P O ID` | this event is safe |
//! | `turned R C` | so many segments recycled and checkpoints written since it opened |
//! | `failed TEXT` | it can't go on |

use std::fmt;
use std::str::FromStr;

/// One word of a writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// The store is open.
    Opened,
    /// A partition and the first offset it keeps.
    First(u16, u64),
    /// An event that it holds: partition, offset, id.
    Kept(u16, u64, u64),
    /// An event with wrong bytes: partition, offset.
    Garbled(u16, u64),
    /// Offsets that are lost, it says: partition, from, up to.
    Gap(u16, u64, u64),
    /// Frames that are missing, it says.
    Damage(u64),
    /// The mark of the partition's sender.
    Mark(u16, u64),
    /// All that it holds was told.
    Read,
    /// What lies below the offset will be given up.
    Asking(u16, u64),
    /// An event is safe: partition, offset, id.
    Acknowledged(u16, u64, u64),
    /// Segments recycled and checkpoints written since opening.
    Turned(u64, u64),
    /// It can't go on.
    Failed(String),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened => write!(f, "opened"),
            Self::First(partition, offset) => write!(f, "first {partition} {offset}"),
            Self::Kept(partition, offset, id) => write!(f, "kept {partition} {offset} {id}"),
            Self::Garbled(partition, offset) => write!(f, "garbled {partition} {offset}"),
            Self::Gap(partition, from, to) => write!(f, "gap {partition} {from} {to}"),
            Self::Damage(count) => write!(f, "damage {count}"),
            Self::Mark(partition, id) => write!(f, "mark {partition} {id}"),
            Self::Read => write!(f, "read"),
            Self::Asking(partition, offset) => write!(f, "asking {partition} {offset}"),
            Self::Acknowledged(partition, offset, id) => write!(f, "acknowledged {partition} {offset} {id}"),
            Self::Turned(recycled, checkpoints) => write!(f, "turned {recycled} {checkpoints}"),
            Self::Failed(text) => write!(f, "failed {}", text.replace('\n', " ")),
        }
    }
}

/// A line that is no word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoWord;

impl FromStr for Word {
    type Err = NoWord;

    fn from_str(line: &str) -> Result<Self, NoWord> {
        if let Some(text) = line.strip_prefix("failed ") {
            return Ok(Self::Failed(text.to_owned()));
        }
        let mut parts = line.split(' ');
        let name = parts.next().unwrap_or_default();
        let numbers: Vec<u64> = parts.map(str::parse).collect::<Result<_, _>>().map_err(|_| NoWord)?;
        let partition = |number: &u64| u16::try_from(*number).map_err(|_| NoWord);
        Ok(match (name, &*numbers) {
            ("opened", []) => Self::Opened,
            ("first", [at, offset]) => Self::First(partition(at)?, *offset),
            ("kept", [at, offset, id]) => Self::Kept(partition(at)?, *offset, *id),
            ("garbled", [at, offset]) => Self::Garbled(partition(at)?, *offset),
            ("gap", [at, from, to]) => Self::Gap(partition(at)?, *from, *to),
            ("damage", [count]) => Self::Damage(*count),
            ("mark", [at, id]) => Self::Mark(partition(at)?, *id),
            ("read", []) => Self::Read,
            ("asking", [at, offset]) => Self::Asking(partition(at)?, *offset),
            ("acknowledged", [at, offset, id]) => Self::Acknowledged(partition(at)?, *offset, *id),
            ("turned", [recycled, checkpoints]) => Self::Turned(*recycled, *checkpoints),
            _ => return Err(NoWord),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_understood_as_it_was_told() {
        let words = [
            Word::Opened,
            Word::First(3, 7),
            Word::Kept(1, 2, 3),
            Word::Garbled(1, 2),
            Word::Gap(1, 2, 9),
            Word::Damage(4),
            Word::Mark(2, u64::MAX),
            Word::Read,
            Word::Asking(0, 5),
            Word::Acknowledged(1, 2, 3),
            Word::Turned(4, 5),
            Word::Failed("the disk is gone".to_owned()),
        ];
        for word in words {
            assert_eq!(word.to_string().parse(), Ok(word));
        }
    }

    #[test]
    fn a_line_that_is_no_word_or_half_a_word_is_refused() {
        for line in ["", "kept 1 2", "kept 1 2 x", "acknowledged 70000 1 2", "thread panicked", "read 1"] {
            assert_eq!(line.parse::<Word>(), Err(NoWord), "{line}");
        }
    }
}
