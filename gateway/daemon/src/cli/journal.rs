//! `lamppost journal`'s part of the command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use lamppost_event::{Group, Offset, Partition, Topic, TopicPartition, WallTime};

use crate::command::journal::instant;
use crate::config::DEFAULT_PATH;
use crate::wear::ENDURANCE_TBW;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Journal {
    #[command(subcommand)]
    pub(crate) command: JournalCommand,
}

const EXAMPLES: &str = "\
Examples:
  lamppost journal ls                                        what is in it, and how long the card lasts
  lamppost journal tail --follow                             events as they come
  lamppost journal replay --from-time 2026-03-02T06:00:00Z   events again, as JSON lines with --json
  lamppost journal verify                                    is every byte as it should be?
  lamppost journal export --to /mnt/usb/export               as Kafka's own segment files

ls, tail, replay, verify, dump and export change nothing and work while the gateway runs; reset, forget and repair --yes need it stopped.";

#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// What is in it: sizes, partitions with their offsets and times, gaps, groups and their lag, wear of the card.
    #[command(
        after_help = "Example:\n  lamppost journal ls --endurance-tbw 64    for a card whose data sheet says 64 TB written"
    )]
    Ls(Ls),
    /// Print the last events, oldest first; --follow goes on as more arrive.
    #[command(after_help = "Example:\n  lamppost journal tail --topic air-quality -n 3 --follow")]
    Tail(Tail),
    /// Print events from an offset or a time on. Times are right across jumps of the clock: within a boot of the machine they are by
    /// the clock when it was at its best. Of a boot whose clock was never set, what may be of the time is printed. reset --to a
    /// time goes by the same rule.
    #[command(after_help = "Examples:
  lamppost journal replay --from-time 2026-03-02T06:00:00Z --to-time 2026-03-02T07:00:00Z --topic air-quality
  lamppost journal replay --from-offset air-quality/0:1700 --from-offset air-quality/1:1650 --json")]
    Replay(Replay),
    /// Read every byte and check it: checksums, order, density of offsets. Exit status 1: something is wrong; 2: it could not be
    /// read.
    #[command(after_help = "Example:\n  lamppost journal verify --json")]
    Verify(JournalAt),
    /// Print the frames one by one: where, when, and what is in them. Damaged places are shown where they are.
    #[command(
        after_help = "Example:\n  lamppost journal dump --file /var/lib/lamppost/journal/hot-0000000000000003.seg --records"
    )]
    Dump(Dump),
    /// See to files that were set aside as damaged: say what can still be read of them, and with --yes append it to the journal
    /// again, or remove them. Nothing is ever changed without --yes.
    #[command(after_help = "Examples:
  lamppost journal repair                              what could be done
  lamppost journal repair --salvage-to found.jsonl     what is missing in the journal and can be read, as JSON lines
  lamppost journal repair --yes                        append it again: at the end, with new offsets
  lamppost journal repair --yes --drop-set-aside       remove the files instead")]
    Repair(Repair),
    /// Write the events as Kafka's own segment files: a folder for each partition, as `kafka.tools.DumpLogSegments` reads them.
    #[command(after_help = "Example:\n  lamppost journal export --topic air-quality --to /mnt/usb/export")]
    Export(Export),
    /// Move a group's cursors: what comes behind them is delivered (again). The gateway must be stopped.
    #[command(after_help = "Examples:
  lamppost journal reset --group forward --to start
  lamppost journal reset --group forward --to 2026-03-02T06:00:00Z --topic air-quality
  lamppost journal reset --group forward --to 1700 --topic air-quality/0")]
    Reset(Reset),
    /// Forget a group: how far a sink has come that is not in the configuration any more. The gateway must be stopped.
    #[command(after_help = "Example:\n  lamppost journal forget --group analytics")]
    Forget(Forget),
}

#[derive(Debug, Args)]
pub(crate) struct JournalAt {
    /// The journal's folder.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/lamppost/journal")]
    pub(crate) dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    #[command(flatten)]
    pub(crate) at: JournalAt,
    /// How many terabytes can be written to the card before it wears out: TBW in its data sheet. The default is an assumption for
    /// a plain card of 32 GB.
    #[arg(long, value_name = "TB", default_value_t = ENDURANCE_TBW, value_parser = terabytes)]
    pub(crate) endurance_tbw: f64,
}

fn terabytes(text: &str) -> Result<f64, String> {
    let right = || format!("{text:?} is not a number of terabytes; write one above 0, as in 30");
    text.parse().ok().filter(|tb: &f64| tb.is_finite() && *tb > 0.0).ok_or_else(right)
}

#[derive(Debug, Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    pub(crate) at: JournalAt,
    /// Only this topic.
    #[arg(long)]
    pub(crate) topic: Option<Topic>,
    /// How many of the last events to print.
    #[arg(long, short = 'n', default_value_t = 10)]
    pub(crate) lines: usize,
    /// Go on as events arrive, until interrupted.
    #[arg(long, short)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    #[command(flatten)]
    pub(crate) at: JournalAt,
    /// Only this topic; may be given several times.
    #[arg(long)]
    pub(crate) topic: Vec<Topic>,
    /// From this event of a partition on, and only partitions that are named so; may be given several times.
    #[arg(long, value_name = "TOPIC/PARTITION:OFFSET")]
    pub(crate) from_offset: Vec<OffsetArg>,
    /// Only what was received at this time (RFC 3339) or later.
    #[arg(long, value_name = "TIME", value_parser = instant::parse)]
    pub(crate) from_time: Option<WallTime>,
    /// Only what was received before this time (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = instant::parse)]
    pub(crate) to_time: Option<WallTime>,
}

#[derive(Debug, Args)]
pub(crate) struct Dump {
    #[command(flatten)]
    pub(crate) at: JournalAt,
    /// Only this file; it may have any name.
    #[arg(long, value_name = "FILE", conflicts_with = "dir")]
    pub(crate) file: Option<PathBuf>,
    /// Print the events of each frame too.
    #[arg(long)]
    pub(crate) records: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) at: JournalAt,
    /// The folder to write to; it must be empty or not exist.
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
    /// Only this topic; may be given several times.
    #[arg(long)]
    pub(crate) topic: Vec<Topic>,
}

/// A journal that is to be written to, as its gateway would.
#[derive(Debug, Args)]
pub(crate) struct JournalOf {
    /// The gateway's configuration: it says where the journal is, which topics there are, and what it may take.
    #[arg(long, short, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub(crate) config: PathBuf,
    /// The journal's folder, if it is another than the configuration says.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Repair {
    #[command(flatten)]
    pub(crate) of: JournalOf,
    /// Do it.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Remove the files that were set aside instead of appending what can be read of them.
    #[arg(long)]
    pub(crate) drop_set_aside: bool,
    /// Write what can be read and is missing in the journal to this file, as JSON lines; it must not exist.
    #[arg(long, value_name = "FILE")]
    pub(crate) salvage_to: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Forget {
    #[command(flatten)]
    pub(crate) of: JournalOf,
    /// The group: the name that the sink had.
    #[arg(long)]
    pub(crate) group: Group,
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    #[command(flatten)]
    pub(crate) of: JournalOf,
    /// The group: a sink's name. The one of `[kafka]` is called forward.
    #[arg(long)]
    pub(crate) group: Group,
    /// Where it goes on: start, end, an offset, or a time (RFC 3339).
    #[arg(long, value_name = "start|end|OFFSET|TIME")]
    pub(crate) to: Target,
    /// Only this topic, or this partition of it.
    #[arg(long, value_name = "TOPIC[/PARTITION]")]
    pub(crate) topic: Option<PlaceArg>,
}

/// An event of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OffsetArg {
    pub(crate) at: TopicPartition,
    pub(crate) offset: Offset,
}

impl FromStr for OffsetArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let right =
            || format!("{text:?} is not an event's place; write TOPIC/PARTITION:OFFSET, as in air-quality/0:1700");
        let (place, offset) = text.rsplit_once(':').ok_or_else(right)?;
        let PlaceArg { topic, partition: Some(partition) } = place.parse().map_err(|_| right())? else {
            return Err(right());
        };
        let offset = Offset(offset.parse().map_err(|_| right())?);
        Ok(Self { at: TopicPartition { topic, partition }, offset })
    }
}

/// A topic, or a partition of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlaceArg {
    pub(crate) topic: Topic,
    pub(crate) partition: Option<Partition>,
}

impl PlaceArg {
    pub(crate) fn holds(&self, at: &TopicPartition) -> bool {
        self.topic == at.topic && self.partition.is_none_or(|partition| partition == at.partition)
    }
}

impl FromStr for PlaceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (topic, partition) = match text.split_once('/') {
            Some((topic, partition)) => {
                let right = |_| format!("{partition:?} is not a partition; write its number, as in air-quality/0");
                (topic, Some(Partition(partition.parse().map_err(right)?)))
            }
            None => (text, None),
        };
        Ok(Self { topic: Topic::new(topic).map_err(|error| error.to_string())?, partition })
    }
}

/// Where a group goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Start,
    End,
    Offset(Offset),
    Time(WallTime),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "start" => return Ok(Self::Start),
            "end" => return Ok(Self::End),
            _ => {}
        }
        if let Ok(offset) = text.parse() {
            return Ok(Self::Offset(Offset(offset)));
        }
        let right =
            |_| format!("{text:?} is none of: start, end, an offset as in 1700, a time as in 2026-03-02T06:00:00Z");
        instant::parse(text).map(Self::Time).map_err(right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_targets_are_read_and_mistakes_say_what_would_be_right() {
        let at = TopicPartition { topic: Topic::new("air").unwrap(), partition: Partition(3) };
        assert_eq!("air/3:17".parse(), Ok(OffsetArg { at, offset: Offset(17) }));
        for wrong in ["air", "air/3", "air:17", "air/x:17", "air/3:x", "/3:1", "a b/3:1", "air/3:-1"] {
            let error = wrong.parse::<OffsetArg>().unwrap_err();
            assert!(error.contains("air-quality/0:1700"), "{wrong}: {error}");
        }
        assert_eq!("start".parse(), Ok(Target::Start));
        assert_eq!("17".parse(), Ok(Target::Offset(Offset(17))));
        assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(Target::Time(WallTime(1000))));
        assert!("noon".parse::<Target>().unwrap_err().contains("start, end"));
    }
}
