//! `lamppost journal dump`: a journal's files, place by place.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use lamppost_event::Now;
use lamppost_journal::{Compression, Directory, Disk, FrameFigures, Place, SegmentFile, StoredBatch};
use serde_json::{Value, json};

use super::progress::Progress;
use super::shown::{Times, event, event_json};
use super::{instant, open, right};
use crate::cli::Dump;
use crate::gateway::event_item;

/// Prints the frames one by one.
pub(super) fn dump(args: &Dump, out: &mut impl Write) -> anyhow::Result<()> {
    let (dir, names) = match &args.file {
        Some(file) => {
            let name =
                file.file_name().and_then(|name| name.to_str()).context("the file has no name that can be read")?;
            let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (dir, vec![name.to_owned()])
        }
        None => (args.at.dir.as_path(), segments(&args.at.dir)?),
    };
    let disk = Directory::existing(dir).with_context(|| right(dir))?;
    // A file on its own need not lie in a journal's folder; then its times stay as they are.
    let times = open(dir).map_or_else(|_| Times::none(), |inspect| Times::of(&inspect));
    let disk = Arc::new(disk);
    let sizes: BTreeMap<String, u64> = disk.list()?.into_iter().map(|entry| (entry.name, entry.bytes)).collect();
    let size = |name: &String| sizes.get(name).copied().unwrap_or_default();
    let (mut done, whole) = (0, names.iter().map(size).sum());
    // Where the frames are printed to a terminal, they are the progress.
    let mut progress = (!console::user_attended()).then(|| Progress::new("reading"));
    for name in names {
        let before = done;
        done += size(&name);
        let file = match SegmentFile::open(&*disk, &name) {
            Ok(file) => file,
            // A running gateway has just recycled it.
            Err(error) if args.file.is_none() => {
                head_line(args, &name, &format!("can't be read: {error}"), out)?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        head(args, &file, out)?;
        file.places(&mut |place| {
            if let Some(progress) = &mut progress {
                progress.at(before + place.byte(), whole);
            }
            show(args, &name, &place, &times, out)
        })?;
    }
    Ok(())
}

/// The names of the folder's segments, those that were set aside too, in the order of their numbers.
fn segments(dir: &Path) -> anyhow::Result<Vec<String>> {
    drop(open(dir)?);
    let entries = Directory::existing(dir).and_then(|disk| disk.list()).with_context(|| right(dir))?;
    let is_segment = |name: &String| name.ends_with(".seg") && !name.starts_with("free-");
    let mut names: Vec<String> = entries.into_iter().map(|entry| entry.name).filter(is_segment).collect();
    let number = |name: &String| name.rsplit('-').next().map(str::to_owned);
    names.sort_by_key(|name| (number(name), name.clone()));
    Ok(names)
}

fn head_line(args: &Dump, name: &str, what: &str, out: &mut impl Write) -> std::io::Result<()> {
    if args.at.json {
        writeln!(out, "{}", json!({"file": name, "what": what}))
    } else {
        writeln!(out, "{name}: {what}")
    }
}

fn head(args: &Dump, file: &SegmentFile, out: &mut impl Write) -> std::io::Result<()> {
    let (name, bytes, sound) = (file.name(), file.bytes(), file.sound_heads());
    let heads = match (sound, file.is_readable()) {
        ([true, true], _) => "",
        ([true, false], _) => "; the second copy of its head is damaged",
        ([false, true], _) => "; the first copy of its head is damaged",
        ([false, false], true) => {
            "; both copies of its head are damaged: the frames are told by their checksums' agreement"
        }
        ([false, false], false) => {
            "; both copies of its head are damaged, and no two frames agree: no frame can be told from garbage"
        }
    };
    let Some(head) = file.head() else { return head_line(args, name, &format!("{bytes} bytes{heads}"), out) };
    if args.at.json {
        let line = json!({
            "file": name, "bytes": bytes, "number": head.number, "base": head.base, "epoch": head.epoch.to_string(),
            "identity": format!("{:032x}", head.identity), "first_commit": head.first_commit, "cold": head.cold,
            "sound_heads": sound,
        });
        return writeln!(out, "{line}");
    }
    let tier = if head.cold { "cold" } else { "hot" };
    writeln!(
        out,
        "{name}: {tier}, {bytes} bytes, number {}, base {}, epoch {}, first commit {}, journal {:032x}{heads}",
        head.number, head.base, head.epoch, head.first_commit, head.identity
    )
}

fn show(args: &Dump, name: &str, place: &Place, times: &Times, out: &mut impl Write) -> anyhow::Result<()> {
    match place {
        Place::Frame(frame) => return frame_lines(args, name, frame, times, out),
        Place::Damaged { byte, bytes, what } if args.at.json => {
            writeln!(out, "{}", json!({"file": name, "byte": byte, "bytes": bytes, "damaged": what}))?;
        }
        Place::Damaged { byte, bytes, what } => writeln!(out, "  {byte:>10}  {bytes} bytes DAMAGED: {what}")?,
        Place::Unwritten { byte, bytes } if args.at.json => {
            writeln!(out, "{}", json!({"file": name, "byte": byte, "bytes": bytes, "unwritten": true}))?;
        }
        Place::Unwritten { byte, bytes } => writeln!(out, "  {byte:>10}  {bytes} bytes not written to")?,
    }
    Ok(())
}

fn frame_lines(
    args: &Dump,
    name: &str,
    frame: &FrameFigures,
    times: &Times,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if args.at.json {
        writeln!(out, "{}", frame_json(args, name, frame, times))?;
        return Ok(());
    }
    let commits = if frame.first == frame.commit {
        frame.commit.to_string()
    } else {
        format!("{}-{}", frame.first, frame.commit)
    };
    let flags: String = frame.flags.iter().map(|flag| format!(" {flag}")).collect();
    writeln!(
        out,
        "  {:>10}  {}{flags}, {} bytes, position {}, commit {commits}, epoch {}, {}",
        frame.byte,
        frame.kind,
        frame.bytes,
        frame.position,
        frame.epoch,
        clock(&frame.now, times)
    )?;
    for batch in &frame.batches {
        let count = batch.next.0 - batch.base.0;
        writeln!(
            out,
            "              {}  base {}, {count} records, {} bytes, {}",
            batch.at,
            batch.base,
            batch.bytes.len(),
            packing(batch)
        )?;
    }
    if frame.kind == "footer" {
        for (at, from, next) in &frame.ranges {
            writeln!(out, "              {at}  offsets {from} up to {next} (not included)")?;
        }
    }
    if args.records {
        for record in frame.records() {
            if let lamppost_event::Item::Event(stored) = event_item(lamppost_journal::ReadItem::Record(record)) {
                write!(out, "                ")?;
                event(&stored, times, false, out)?;
            }
        }
    }
    Ok(())
}

fn clock(now: &Now, times: &Times) -> String {
    let said = format!("{} ({})", instant::show(now.wall), now.quality.as_str());
    let corrected = times.of_frame(*now).filter(|time| *time != now.wall);
    let corrected = corrected.map_or_else(String::new, |time| format!(", corrected {}", instant::show(time)));
    format!("boot {:016x} + {} ms, {said}{corrected}", now.boot.0, now.monotonic.0)
}

fn packing(batch: &StoredBatch) -> String {
    match &batch.compression {
        Ok(Compression::None) => "not compressed".to_owned(),
        Ok(Compression::Lz4) => "lz4".to_owned(),
        Ok(Compression::Zstd) => "zstd".to_owned(),
        Err(error) => format!("UNREADABLE: {error}"),
    }
}

fn frame_json(args: &Dump, name: &str, frame: &FrameFigures, times: &Times) -> Value {
    let batch = |batch: &StoredBatch| {
        json!({
            "topic": batch.at.topic, "partition": batch.at.partition, "base": batch.base, "next": batch.next,
            "bytes": batch.bytes.len(), "compression": packing(batch),
        })
    };
    let range = |(at, from, to): &(lamppost_event::TopicPartition, _, _)| json!({"topic": at.topic, "partition": at.partition, "from": from, "to": to});
    let mut line = json!({
        "file": name, "byte": frame.byte, "bytes": frame.bytes, "position": frame.position, "first_commit": frame.first,
        "commit": frame.commit, "epoch": frame.epoch.to_string(), "kind": frame.kind, "flags": frame.flags,
        "boot": format!("{:016x}", frame.now.boot.0), "monotonic_ms": frame.now.monotonic.0, "wall_ms": frame.now.wall.0,
        "clock": frame.now.quality.as_str(), "time_ms": times.of_frame(frame.now).map(|time| time.0),
        "batches": frame.batches.iter().map(batch).collect::<Vec<_>>(),
        "ranges": frame.ranges.iter().map(range).collect::<Vec<_>>(),
    });
    if let (true, Value::Object(line)) = (args.records, &mut line) {
        let events =
            frame.records().filter_map(|record| match event_item(lamppost_journal::ReadItem::Record(record)) {
                lamppost_event::Item::Event(stored) => Some(event_json(&stored, times.corrected(&stored.event.time))),
                lamppost_event::Item::Gap(_) => None,
            });
        line.insert("records".to_owned(), events.collect());
    }
    line
}
