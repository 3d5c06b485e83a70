//! `lamppost journal reset`: moves a group's cursors.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use lamppost_event::{Cursor, Group, Offset, TopicPartition};
use lamppost_forward::LaneGroups;
use lamppost_journal::{Journal, PartitionBounds};
use serde_json::json;

use super::{configured, folder, take};
use crate::cli::{Reset, Target};

/// A cursor, before and after.
struct Move {
    bounds: PartitionBounds,
    before: Offset,
    after: Offset,
}

pub(super) fn reset(args: &Reset, out: &mut impl Write) -> anyhow::Result<()> {
    let config = configured(&args.of)?;
    let dir = folder(&args.of)?;
    let journal = take(&config, &dir)?;
    let required = crate::gateway::journal_options(&config).required;
    let moved = moves(args, &required, &journal).and_then(|moves| {
        let moved = moves.iter().filter(|m| m.before != m.after);
        let cursors: Vec<Cursor> = moved.map(|m| Cursor { at: m.bounds.at.clone(), next: m.after }).collect();
        journal.reset_cursors(&args.group, &cursors)?;
        // What went live is sent again from the horizon on. The horizon stays: what lies below has to come with the mark, since what lies
        // behind may stand before it in the cluster.
        if let Ok(lanes) = LaneGroups::of(&args.group) {
            journal.forget_group(&lanes.live)?;
        }
        Ok(moves)
    });
    // Whatever came of it, the journal ends cleanly: that makes the cursors durable.
    journal.close()?;
    tell(args, &moved?, out)
}

/// `required`: groups that there are by the configuration, also if they have not come anywhere yet.
fn moves(args: &Reset, required: &[Group], journal: &Journal) -> anyhow::Result<Vec<Move>> {
    let groups = journal.groups();
    let cursors = groups.iter().find(|(group, _)| *group == args.group).map(|(_, cursors)| cursors);
    if cursors.is_none() && !required.contains(&args.group) {
        let names: BTreeSet<&str> = groups.iter().map(|(group, _)| group).chain(required).map(Group::as_str).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        anyhow::bail!("no group is called {}; there are: {names}", args.group);
    }
    let cursors = cursors.into_iter().flatten();
    let before: BTreeMap<&TopicPartition, Offset> = cursors.map(|cursor| (&cursor.at, cursor.next)).collect();
    let chosen = |bounds: &PartitionBounds| args.topic.as_ref().is_none_or(|place| place.holds(&bounds.at));
    let partitions: Vec<PartitionBounds> = journal.partitions().into_iter().filter(chosen).collect();
    anyhow::ensure!(!partitions.is_empty(), "there is no such topic or partition; see lamppost journal ls");
    let at_time = match args.to {
        Target::Time(time) => journal.offsets_at(time)?,
        Target::Start | Target::End | Target::Offset(_) => Vec::new(),
    };
    if let Target::Offset(offset) = args.to {
        let [bounds] = partitions.as_slice() else {
            anyhow::bail!("an offset is of one partition: name it, as in --topic air-quality/0")
        };
        anyhow::ensure!(
            (bounds.first..=bounds.next).contains(&offset),
            "{} keeps offsets {} up to {} (its end); {offset} is outside",
            bounds.at,
            bounds.first,
            bounds.next
        );
    }
    let moves = partitions.into_iter().map(|bounds| {
        let before = before.get(&bounds.at).copied().unwrap_or_default();
        let after = match args.to {
            Target::Start => bounds.first,
            Target::End => bounds.next,
            Target::Offset(offset) => offset,
            Target::Time(_) => {
                at_time.iter().find(|cursor| cursor.at == bounds.at).map_or(bounds.next, |cursor| cursor.next)
            }
        };
        Move { bounds, before, after }
    });
    Ok(moves.collect())
}

fn tell(args: &Reset, moves: &[Move], out: &mut impl Write) -> anyhow::Result<()> {
    if args.of.json {
        let line = moves.iter().map(|m| {
            json!({"topic": m.bounds.at.topic, "partition": m.bounds.at.partition, "before": m.before, "after": m.after})
        });
        writeln!(out, "{}", json!({"group": args.group, "cursors": line.collect::<Vec<_>>()}))?;
        return Ok(());
    }
    for m in moves.iter().filter(|m| m.before != m.after) {
        let again = m.before.0.max(m.bounds.first.0).saturating_sub(m.after.0);
        let skipped = m.after.0.saturating_sub(m.before.0.max(m.bounds.first.0));
        let what = match (again, skipped) {
            (0, 0) => "the first that is kept".to_owned(),
            (0, skipped) => format!("{skipped} events are passed over"),
            (again, _) => format!("{again} events come again"),
        };
        writeln!(out, "{} {}: from {} to {}: {what}", args.group, m.bounds.at, m.before, m.after)?;
    }
    let as_before = moves.iter().filter(|m| m.before == m.after).count();
    if as_before > 0 {
        writeln!(out, "{as_before} partitions as before")?;
    }
    Ok(())
}
