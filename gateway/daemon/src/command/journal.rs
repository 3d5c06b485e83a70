//! `lamppost journal`: looks into a journal without taking it from a running gateway.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use console::Term;
use lamppost_event::{Item, Position, Stored};
use lamppost_journal::{Damage, Directory, Inspect};
use serde_json::{Value, json};

use crate::cli::{JournalAt, Tail};
use crate::gateway::event_item;

/// How much is read at once, bytes.
const READ_BYTES: usize = 256 << 10;
/// How often a followed journal is looked at again.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);
const MIB: u64 = 1 << 20;

fn open(dir: &Path) -> anyhow::Result<Inspect> {
    let right = || {
        let dir = dir.display();
        format!("no journal can be read in {dir}; it is the folder \"journal\" in the gateway's state_dir")
    };
    let disk = Directory::existing(dir).with_context(right)?;
    let inspect = Inspect::open(Arc::new(disk)).with_context(right)?;
    anyhow::ensure!(inspect.figures().identity.is_some(), right());
    Ok(inspect)
}

/// What is in it.
pub(crate) fn ls(args: &JournalAt, out: &mut impl Write) -> anyhow::Result<()> {
    let figures = open(&args.dir)?.figures();
    if args.json {
        let partitions = figures
            .partitions
            .iter()
            .map(|p| json!({"topic": p.at.topic, "partition": p.at.partition, "first": p.first, "next": p.next}));
        let cursors = |group: &lamppost_journal::GroupFigures| {
            let cursors = group.cursors.iter();
            cursors
                .map(|c| json!({"topic": c.at.topic, "partition": c.at.partition, "next": c.next}))
                .collect::<Vec<_>>()
        };
        let groups = figures
            .groups
            .iter()
            .map(|group| json!({"group": group.group, "lag": group.lag, "cursors": cursors(group)}));
        let line = json!({
            "epoch": figures.epoch.map(|epoch| epoch.to_string()),
            "commit": figures.commit,
            "events": figures.events,
            "disk_bytes": figures.disk_bytes,
            "segments": figures.segments.len(),
            "segments_free": figures.segments_free,
            "clean": figures.closed,
            "partitions": partitions.collect::<Vec<_>>(),
            "groups": groups.collect::<Vec<_>>(),
            "gaps": figures.gaps.iter().map(|gap| json!({"topic": gap.at.topic, "partition": gap.at.partition, "from": gap.from, "to": gap.to, "reason": gap.reason})).collect::<Vec<_>>(),
        });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    let epoch = figures.epoch.map_or_else(|| "none".to_owned(), |epoch| epoch.to_string());
    let state = if figures.closed { "closed cleanly" } else { "open, or not closed cleanly" };
    writeln!(out, "epoch {epoch}   commit {}   {state}", figures.commit)?;
    writeln!(
        out,
        "{} events in {} segments ({} free), {} MiB on disk",
        figures.events,
        figures.segments.len(),
        figures.segments_free,
        figures.disk_bytes / MIB
    )?;
    writeln!(out, "\n{:<32}{:>10}{:>14}{:>14}{:>12}", "topic", "partition", "first", "next", "events")?;
    for p in &figures.partitions {
        let events = p.next.0.saturating_sub(p.first.0);
        writeln!(
            out,
            "{:<32}{:>10}{:>14}{:>14}{events:>12}",
            p.at.topic.as_str(),
            p.at.partition.0,
            p.first.0,
            p.next.0
        )?;
    }
    writeln!(out, "\n{:<32}{:>14}", "group", "lag")?;
    for group in &figures.groups {
        writeln!(out, "{:<32}{:>14}", group.group.as_str(), group.lag)?;
    }
    for gap in &figures.gaps {
        writeln!(out, "gap: {} offsets {} up to {} (not included): {}", gap.at, gap.from, gap.to, gap.reason)?;
    }
    if let Some(tail) = &figures.tail {
        writeln!(out, "at the end: {tail}")?;
    }
    Ok(())
}

/// The last events; with `follow`, also those to come.
pub(crate) fn tail(args: &Tail, out: &mut impl Write) -> anyhow::Result<()> {
    let mut inspect = open(&args.at.dir)?;
    if let Some(topic) = &args.topic {
        let mut topics: Vec<String> = inspect.figures().partitions.iter().map(|p| p.at.topic.to_string()).collect();
        topics.dedup();
        let known = topics.iter().any(|known| known == topic.as_str());
        anyhow::ensure!(
            known || args.follow,
            "there is no event of the topic {topic}; there are: {}",
            topics.join(", ")
        );
    }
    let mut last = std::collections::VecDeque::with_capacity(args.lines.min(10_000));
    let mut at = each(&inspect, inspect.start(), &mut |stored| {
        if wanted(args, &stored) && args.lines > 0 {
            if last.len() >= args.lines {
                last.pop_front();
            }
            last.push_back(stored);
        }
        Ok(())
    })?;
    last.iter().try_for_each(|stored| print(args, stored, out))?;
    if !args.follow {
        return Ok(());
    }
    loop {
        std::thread::sleep(FOLLOW_INTERVAL);
        inspect = open(&args.at.dir)?;
        at = each(&inspect, at, &mut |stored| if wanted(args, &stored) { print(args, &stored, out) } else { Ok(()) })?;
        out.flush()?;
    }
}

fn wanted(args: &Tail, stored: &Stored) -> bool {
    args.topic.as_ref().is_none_or(|topic| stored.event.topic == *topic)
}

/// Hands over each event from `at` on; gives where to go on.
fn each(
    inspect: &Inspect,
    mut at: Position,
    take: &mut dyn FnMut(Stored) -> anyhow::Result<()>,
) -> anyhow::Result<Position> {
    loop {
        let chunk = inspect.read(at, READ_BYTES);
        at = chunk.next;
        for item in chunk.items {
            if let Item::Event(stored) = event_item(item) {
                take(stored)?;
            }
        }
        if chunk.caught_up {
            return Ok(at);
        }
    }
}

fn print(args: &Tail, stored: &Stored, out: &mut impl Write) -> anyhow::Result<()> {
    let event = &stored.event;
    let payload = String::from_utf8_lossy(&event.payload);
    if args.at.json {
        let line: Value = json!({
            "topic": event.topic, "partition": stored.partition, "offset": stored.offset, "epoch": stored.epoch.to_string(),
            "device": event.device, "address": event.address, "key": String::from_utf8_lossy(&event.key),
            "time_ms": event.time.wall.0, "clock": event.time.quality.as_str(), "source": event.source.as_str(),
            "reason": event.reason, "payload": payload,
        });
        writeln!(out, "{line}")?;
    } else {
        let place = format!("{}/{}/{}", event.topic, stored.partition, stored.offset);
        let time = seconds_of_day(event.time.wall.0);
        writeln!(out, "{time} {place:<36} {:<20} {}", event.device.as_str(), printable(&payload))?;
    }
    Ok(())
}

/// The time of day, UTC.
fn seconds_of_day(wall_ms: i64) -> String {
    let ms = wall_ms.rem_euclid(86_400_000);
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000)
}

/// A payload may hold anything; a terminal must not be steered by it.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// Reads every byte; true if nothing is wrong.
pub(crate) fn verify(args: &JournalAt, out: &mut impl Write) -> anyhow::Result<bool> {
    let inspect = open(&args.dir)?;
    let term = Term::stderr();
    let verified = inspect.verify(&mut |done, whole| {
        if term.is_term() {
            // A terminal that can't be drawn on is no reason to end.
            drop(term.clear_line());
            drop(term.write_str(&format!("{} of {} MiB", done / MIB, whole / MIB)));
        }
    });
    if term.is_term() {
        drop(term.clear_line());
    }
    let good = verified.problems.is_empty() && verified.damage.is_empty();
    if args.json {
        let problems = verified
            .problems
            .iter()
            .map(|p| json!({"file": p.name, "byte": p.byte, "position": p.position, "what": p.what}));
        let line = json!({
            "good": good, "frames": verified.frames, "events": verified.events, "bytes": verified.bytes,
            "problems": problems.collect::<Vec<_>>(), "gaps": verified.gaps.len(), "tail": verified.tail,
        });
        writeln!(out, "{line}")?;
        return Ok(good);
    }
    writeln!(out, "{} frames, {} events, {} KiB read", verified.frames, verified.events, verified.bytes / 1024)?;
    for problem in &verified.problems {
        writeln!(out, "{} at byte {} (position {}): {}", problem.name, problem.byte, problem.position, problem.what)?;
    }
    for damage in &verified.damage {
        let Damage { position, from, to } = damage;
        writeln!(out, "damage: commits {from} to {to}, the last not included, can't be read (at position {position})")?;
    }
    for gap in &verified.gaps {
        writeln!(out, "gap: {} offsets {} up to {} (not included): {}", gap.at, gap.from, gap.to, gap.reason)?;
    }
    if let Some(tail) = &verified.tail {
        writeln!(out, "at the end: {tail}")?;
    }
    writeln!(out, "{}", if good { "nothing is wrong" } else { "SOMETHING IS WRONG" })?;
    Ok(good)
}
