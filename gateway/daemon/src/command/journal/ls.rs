//! `lamppost journal ls`: what is in it, and what it costs the card.

use std::io::Write;

use lamppost_event::{ClockQuality, Now};
use lamppost_forward::LaneGroups;
use lamppost_journal::{Figures, GroupFigures, PartitionFigures};
use serde_json::{Value, json};

use super::shown::{Times, gap, gap_json};
use super::{instant, open};
use crate::cli::Ls;
use crate::wear;

/// Rates that were measured over less than this say little, ms.
const SPAN_MS_MIN: u64 = 60_000;
const MS_A_DAY: f64 = 86_400_000.0;

/// What is in it.
pub(super) fn ls(args: &Ls, out: &mut impl Write) -> anyhow::Result<()> {
    let inspect = open(&args.at.dir)?;
    let (figures, times) = (inspect.figures(), Times::of(&inspect));
    let (sizes, wear) = (Sizes::of(&figures), Written::of(&figures, &times));
    if args.at.json {
        writeln!(out, "{}", in_json(args, &figures, &times, &sizes, wear))?;
        return Ok(());
    }
    head(&figures, &sizes, out)?;
    partitions(&figures.partitions, &times, out)?;
    groups(&figures.groups, out)?;
    for missing in &figures.gaps {
        gap(missing, false, out)?;
    }
    if let Some(tail) = &figures.tail {
        writeln!(out, "at the end: {tail}")?;
    }
    told(args, wear, out)
}

/// Bytes of files, by what they are for.
struct Sizes {
    hot: u64,
    cold: u64,
    set_aside: u64,
    other: u64,
}

impl Sizes {
    fn of(figures: &Figures) -> Self {
        let bytes = |cold| figures.segments.iter().filter(|s| s.cold == cold).map(|s| s.bytes).sum();
        let (hot, cold) = (bytes(false), bytes(true));
        let set_aside = figures.set_aside.iter().map(|(_, bytes)| bytes).sum();
        let known = hot + cold + set_aside + figures.free_bytes + figures.checkpoint_bytes;
        Self { hot, cold, set_aside, other: figures.disk_bytes.saturating_sub(known) }
    }
}

/// What was written for the events that are kept, and in which time.
#[derive(Debug, Clone, Copy)]
struct Written {
    bytes: u64,
    span_ms: u64,
    events: u64,
}

impl Written {
    /// `None` where the time is not known, or too short to tell.
    fn of(figures: &Figures, times: &Times) -> Option<Self> {
        let (first, last) = figures.span?;
        let span_ms = if first.boot == last.boot {
            last.monotonic.0.saturating_sub(first.monotonic.0)
        } else {
            let (first, last) = (times.of_frame(first)?, times.of_frame(last)?);
            u64::try_from(last.0.saturating_sub(first.0)).ok()?
        };
        let bytes = figures.segments.iter().map(|segment| segment.written_bytes).sum();
        (span_ms >= SPAN_MS_MIN).then_some(Self { bytes, span_ms, events: figures.events })
    }

    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn per_day(self) -> f64 {
        self.bytes as f64 / self.span_ms as f64 * MS_A_DAY
    }

    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn per_event(self) -> f64 {
        self.bytes as f64 / self.events.max(1) as f64
    }
}

fn head(figures: &Figures, sizes: &Sizes, out: &mut impl Write) -> std::io::Result<()> {
    let epoch = figures.epoch.map_or_else(|| "none".to_owned(), |epoch| epoch.to_string());
    let state = if figures.closed { "closed cleanly" } else { "open, or not closed cleanly" };
    writeln!(out, "epoch {epoch}   commit {}   {state}", figures.commit)?;
    let cold = figures.segments.iter().filter(|segment| segment.cold).count();
    let (hot, free) = (figures.segments.len() - cold, figures.segments_free);
    writeln!(out, "{} events, {} on disk:", figures.events, size(figures.disk_bytes))?;
    writeln!(out, "  {:>10}  {hot} hot segments, as they were written", size(sizes.hot))?;
    writeln!(out, "  {:>10}  {cold} cold segments, dense and compressed", size(sizes.cold))?;
    writeln!(out, "  {:>10}  {free} prepared segments", size(figures.free_bytes))?;
    writeln!(out, "  {:>10}  checkpoints of the state", size(figures.checkpoint_bytes))?;
    if sizes.set_aside > 0 {
        let count = figures.set_aside.len();
        writeln!(
            out,
            "  {:>10}  {count} files set aside as damaged: see lamppost journal repair",
            size(sizes.set_aside)
        )?;
    }
    if sizes.other > 0 {
        writeln!(out, "  {:>10}  other files", size(sizes.other))?;
    }
    Ok(())
}

fn partitions(partitions: &[PartitionFigures], times: &Times, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "\n{:<32}{:>10}{:>14}{:>14}{:>12}  {:<24}  to",
        "topic", "partition", "first", "next", "events", "written from (at the earliest)"
    )?;
    for p in partitions {
        let events = p.next.0.saturating_sub(p.first.0);
        let (from, to) =
            p.span.map_or_else(|| ("-".into(), "-".into()), |(from, to)| (when(from, times), when(to, times)));
        let (topic, partition) = (p.at.topic.as_str(), p.at.partition.0);
        writeln!(out, "{topic:<32}{partition:>10}{:>14}{:>14}{events:>12}  {from:<30}  {to}", p.first.0, p.next.0)?;
    }
    Ok(())
}

/// When a frame was written, corrected.
fn when(now: Now, times: &Times) -> String {
    let corrected = if now.quality == ClockQuality::Unset { " (corrected)" } else { "" };
    times.of_frame(now).map_or_else(|| "by a clock never set".to_owned(), |time| instant::show(time) + corrected)
}

fn groups(groups: &[GroupFigures], out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "\n{:<32}{:>14}{:>14}", "group", "lag", "missed")?;
    for group in groups {
        let name = group.group.as_str();
        match LaneGroups::sink_of(name) {
            Some(sink) => writeln!(out, "{name:<32}{:>14}{:>14}  where {sink} goes live first", "-", "-")?,
            None => writeln!(out, "{name:<32}{:>14}{:>14}", group.lag, group.missed)?,
        }
    }
    Ok(())
}

/// Wear, and what that is derived from.
fn told(args: &Ls, written: Option<Written>, out: &mut impl Write) -> anyhow::Result<()> {
    let Some(written) = written else {
        writeln!(out, "\nwear: less than a minute is kept, or its times are unknown: too little to tell")?;
        return Ok(());
    };
    #[expect(clippy::cast_precision_loss, reason = "shown to one digit")]
    let hours = written.span_ms as f64 / 3_600_000.0;
    writeln!(
        out,
        "\nwear: {:.3} GB a day, {:.0} bytes an event: a card that takes {} TB lasts {}",
        written.per_day() / 1e9,
        written.per_event(),
        args.endurance_tbw,
        years(wear::years(args.endurance_tbw, written.per_day())),
    )?;
    writeln!(
        out,
        "  (from the {} written for what is kept, cold rewriting included, over the {hours:.1} h between its first and last\n   \
         commit; checkpoints, and what the file system and the card add, are not in it; --endurance-tbw: your card's)",
        size(written.bytes)
    )?;
    Ok(())
}

fn years(years: f64) -> String {
    if years > 100.0 { "more than 100 years".to_owned() } else { format!("{years:.1} years") }
}

fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown to one digit")]
    let kib = bytes as f64 / 1024.0;
    if kib >= 1024.0 { format!("{:.1} MiB", kib / 1024.0) } else { format!("{kib:.1} KiB") }
}

fn in_json(args: &Ls, figures: &Figures, times: &Times, sizes: &Sizes, written: Option<Written>) -> Value {
    let ms = |now: Now| times.of_frame(now).map(|time| time.0);
    let partition = |p: &PartitionFigures| {
        let (from, to) = p.span.map_or((None, None), |(from, to)| (ms(from), ms(to)));
        json!({
            "topic": p.at.topic, "partition": p.at.partition, "first": p.first, "next": p.next,
            "written_from_ms": from, "written_to_ms": to,
        })
    };
    let group = |group: &GroupFigures| {
        let cursors = group.cursors.iter();
        let cursors = cursors.map(|c| json!({"topic": c.at.topic, "partition": c.at.partition, "next": c.next}));
        let lane_of = LaneGroups::sink_of(group.group.as_str());
        // It is no consumer: its cursors only say where its sink's lanes stand.
        let of_consumer = |events: u64| lane_of.is_none().then_some(events);
        json!({
            "group": group.group, "lane_of": lane_of, "lag": of_consumer(group.lag), "missed": of_consumer(group.missed),
            "cursors": cursors.collect::<Vec<_>>(),
        })
    };
    let wear = written.map(|written| {
        json!({
            "written_bytes": written.bytes, "span_ms": written.span_ms, "bytes_per_day": written.per_day(),
            "bytes_per_event": written.per_event(), "endurance_tbw": args.endurance_tbw,
            "card_years": wear::years(args.endurance_tbw, written.per_day()),
        })
    });
    json!({
        "epoch": figures.epoch.map(|epoch| epoch.to_string()),
        "commit": figures.commit,
        "events": figures.events,
        "disk_bytes": figures.disk_bytes,
        "hot_bytes": sizes.hot,
        "cold_bytes": sizes.cold,
        "free_bytes": figures.free_bytes,
        "checkpoint_bytes": figures.checkpoint_bytes,
        "set_aside": figures.set_aside.iter().map(|(name, bytes)| json!({"file": name, "bytes": bytes})).collect::<Vec<_>>(),
        "segments": figures.segments.len(),
        "segments_cold": figures.segments.iter().filter(|segment| segment.cold).count(),
        "segments_free": figures.segments_free,
        "clean": figures.closed,
        "partitions": figures.partitions.iter().map(partition).collect::<Vec<_>>(),
        "groups": figures.groups.iter().map(group).collect::<Vec<_>>(),
        "gaps": figures.gaps.iter().map(gap_json).collect::<Vec<_>>(),
        "tail": figures.tail,
        "wear": wear,
    })
}
