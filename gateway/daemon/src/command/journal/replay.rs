//! `lamppost journal replay`: events from an offset or a time on.

use std::io::Write;

use lamppost_event::{Gap, Offset, Position, Topic, TopicPartition, WallTime};
use lamppost_journal::{Inspect, PartitionFigures};

use super::open;
use super::progress::{Progress, ahead};
use super::shown::{Fresh, Seen, Times, each, event, gap};
use crate::cli::Replay;

/// Goes through what is kept, from the first segment on that can hold what is wanted.
pub(super) fn replay(args: &Replay, out: &mut impl Write) -> anyhow::Result<()> {
    let inspect = open(&args.at.dir)?;
    say_empty(&inspect.figures(), &args.topic)?;
    in_the_journal(args, &inspect.figures())?;
    let times = Times::of(&inspect);
    let timed = args.from_time.is_some() || args.to_time.is_some();
    let mut in_doubt = 0_u64;
    // Where events are printed to a terminal, they are the progress.
    let mut progress = (!console::user_attended()).then(|| Progress::new("replaying"));
    let start = begin(args, &inspect, &times);
    let whole = ahead(&inspect, start);
    let mut at = |position: Position| {
        if let Some(progress) = &mut progress {
            progress.at(position.0 - start.0, whole);
        }
    };
    let mut seen = Seen::default();
    for PartitionFigures { at, first, .. } in &inspect.figures().partitions {
        // Whatever is missing from there on is told.
        if let Some(from) = from_offset(args, at).map(|from| from.max(*first)).filter(|_| !args.from_offset.is_empty())
        {
            seen.passed(at, from, from);
        }
    }
    each(&inspect, start, &mut seen, &mut at, &mut |fresh| match fresh {
        Fresh::Event(stored) => {
            let place = TopicPartition { topic: stored.event.topic.clone(), partition: stored.partition };
            if !wanted(args, &place, stored.offset) {
                return Ok(());
            }
            let (earliest, latest) = times.between(&stored.event.time);
            if !may_be_within(args, earliest, latest) {
                return Ok(());
            }
            in_doubt += u64::from(timed && earliest != latest);
            event(&stored, &times, args.at.json, out)
        }
        Fresh::Gap(missing) => match wanted_part(args, missing) {
            Some(missing) if !timed => gap(&missing, args.at.json, out),
            _ => Ok(()),
        },
    })?;
    for missing in seen.missing_at_the_end(&inspect.figures().partitions) {
        if let Some(missing) = wanted_part(args, missing).filter(|_| !timed) {
            gap(&missing, args.at.json, out)?;
        }
    }
    if in_doubt > 0 {
        writeln!(
            std::io::stderr(),
            "{in_doubt} events may be of that time or not: their clock was never set, and all that is known is what came before and behind them"
        )?;
    }
    Ok(())
}

/// No event that is wanted lies before this.
fn begin(args: &Replay, inspect: &Inspect, times: &Times) -> Position {
    let offsets = args.from_offset.iter().map(|from| inspect.begin_at_offset(&from.at, from.offset)).min();
    let time = args.from_time.map(|from| times.begin(inspect, from));
    offsets.max(time).unwrap_or_else(|| inspect.start())
}

/// A topic without an event is no mistake: its first may be to come. It may be a wrong name, so the right ones are named.
fn say_empty(figures: &lamppost_journal::Figures, topics: &[Topic]) -> anyhow::Result<()> {
    let mut known: Vec<&Topic> = figures.partitions.iter().map(|partition| &partition.at.topic).collect();
    known.dedup();
    for topic in topics.iter().filter(|topic| !known.contains(topic)) {
        let names = known.iter().map(|topic| topic.as_str()).collect::<Vec<_>>().join(", ");
        writeln!(std::io::stderr(), "there is no event of the topic {topic}; there are: {names}")?;
    }
    Ok(())
}

/// Whether the events to begin with can be there.
fn in_the_journal(args: &Replay, figures: &lamppost_journal::Figures) -> anyhow::Result<()> {
    for from in &args.from_offset {
        let found = figures.partitions.iter().find(|partition| partition.at == from.at);
        let Some(partition) = found else { anyhow::bail!("there is no event of {}; see lamppost journal ls", from.at) };
        anyhow::ensure!(
            from.offset <= partition.next,
            "{} has offsets {} up to {} (not included); {} is beyond",
            from.at,
            partition.first,
            partition.next,
            from.offset
        );
    }
    Ok(())
}

fn wanted(args: &Replay, at: &TopicPartition, offset: Offset) -> bool {
    let topic = args.topic.is_empty() || args.topic.contains(&at.topic);
    topic && from_offset(args, at).is_some_and(|from| offset >= from)
}

/// Where a partition begins. `None` if others are named and it is not.
fn from_offset(args: &Replay, at: &TopicPartition) -> Option<Offset> {
    if args.from_offset.is_empty() {
        return Some(Offset(0));
    }
    args.from_offset.iter().filter(|from| from.at == *at).map(|from| from.offset).min()
}

fn wanted_part(args: &Replay, gap: Gap) -> Option<Gap> {
    let from = gap.from.max(from_offset(args, &gap.at)?);
    let topic = args.topic.is_empty() || args.topic.contains(&gap.at.topic);
    (topic && from < gap.to).then_some(Gap { from, ..gap })
}

/// What may be of that time is: as for a group that is set to a time, nothing is passed over that may be.
fn may_be_within(args: &Replay, earliest: WallTime, latest: WallTime) -> bool {
    args.from_time.is_none_or(|from| latest >= from) && args.to_time.is_none_or(|to| earliest < to)
}
