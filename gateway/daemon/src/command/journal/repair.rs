//! `lamppost journal repair`: sees to the files that were set aside as damaged.
//!
//! What is sound in them and missing in the journal can be appended to it again: behind everything else, with new offsets, under the
//! present epoch. The files themselves are only read; once what is in them is durable again, they get a name that begins with
//! `salvaged-`, so that it is not done twice.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use lamppost_event::{Clock, Epoch, Offset, TopicPartition};
use lamppost_journal::{AppendError, Directory, Disk, Inspect, Journal, Place, ReadRecord, SegmentFile};
use serde_json::json;

use super::progress::Progress;
use super::shown::{Times, event_json};
use super::{configured, folder, instant, open, right, take};
use crate::cli::Repair;
use crate::clock::MachineClock;
use crate::durable::{flush_folder, folder_of};
use crate::gateway::event_item;

/// How long to wait for room: with the gateway stopped, only the keeper makes any.
const ROOM_MAX: Duration = Duration::from_secs(10);

/// A file that was set aside.
struct Aside {
    name: String,
    bytes: u64,
    frames: u64,
    events: u64,
    /// Events that are not in the journal, as ranges of offsets.
    missing: BTreeMap<TopicPartition, Vec<(Offset, Offset)>>,
    missing_count: u64,
    what: &'static str,
}

pub(super) fn repair(args: &Repair, out: &mut impl Write) -> anyhow::Result<()> {
    let dir = folder(&args.of)?;
    let inspect = open(&dir)?;
    let disk = Directory::existing(&dir).with_context(|| right(&dir))?;
    let present = Present::of(&inspect);
    let aside = inspect.figures().set_aside;
    let mut progress = Progress::new("reading what was set aside");
    let (mut done, whole) = (0, aside.iter().map(|(_, bytes)| bytes).sum());
    let files = aside.iter().map(|(name, bytes)| {
        let looked = look(&disk, name, *bytes, &present, &mut |at| progress.at(done + at, whole));
        done += bytes;
        looked
    });
    let files = files.collect::<anyhow::Result<Vec<_>>>()?;
    drop(progress);
    tell(args, &files, out)?;
    if let Some(path) = &args.salvage_to {
        salvage(path, &disk, &files, &present, &Times::of(&inspect))?;
    }
    if files.is_empty() || !args.yes {
        return Ok(());
    }
    drop(inspect);
    let journal = take(&configured(&args.of)?, &dir)?;
    let done = if args.drop_set_aside {
        remove(args, &disk, &files, out)
    } else {
        append_all(args, &dir, &disk, &files, &present, &journal, out)
    };
    journal.close()?;
    done
}

/// Which events the log holds: ranges of offsets and their epochs, by partition.
struct Present(BTreeMap<TopicPartition, Vec<(Offset, Offset, Epoch)>>);

impl Present {
    fn of(inspect: &Inspect) -> Self {
        let mut ranges: BTreeMap<TopicPartition, Vec<(Offset, Offset, Epoch)>> = BTreeMap::new();
        let mut progress = Progress::new("reading the journal");
        let taken = inspect.batches(&mut |done, whole| progress.at(done, whole), &mut |batch| {
            let ranges = ranges.entry(batch.at).or_default();
            match ranges.last_mut() {
                Some((_, next, epoch)) if *next == batch.base && *epoch == batch.epoch => *next = batch.next,
                _ => ranges.push((batch.base, batch.next, batch.epoch)),
            }
            Ok::<(), std::convert::Infallible>(())
        });
        match taken {
            Ok(()) => Self(ranges),
            Err(never) => match never {},
        }
    }

    fn holds(&self, record: &ReadRecord) -> bool {
        let at = TopicPartition { topic: record.topic.clone(), partition: record.partition };
        let mut ranges = self.0.get(&at).into_iter().flatten();
        ranges.any(|(from, next, epoch)| *from <= record.offset && record.offset < *next && *epoch == record.epoch)
    }
}

/// Hands over each event that can be read of a file and is missing in the journal, once.
fn missing(
    disk: &dyn Disk,
    name: &str,
    present: &Present,
    progress: &mut dyn FnMut(u64),
    take: &mut dyn FnMut(ReadRecord) -> anyhow::Result<()>,
) -> anyhow::Result<(u64, u64)> {
    let (mut frames, mut events) = (0, 0);
    let mut next: BTreeMap<TopicPartition, Offset> = BTreeMap::new();
    SegmentFile::open(disk, name)?.places(&mut |place| {
        progress(place.byte());
        let Place::Frame(frame) = place else { return Ok(()) };
        frames += 1;
        for record in frame.records() {
            events += 1;
            let at = TopicPartition { topic: record.topic.clone(), partition: record.partition };
            // A copy within the file comes behind what it is a copy of.
            let next = next.entry(at).or_default();
            if record.offset >= *next && !present.holds(&record) {
                *next = record.offset.next();
                take(record)?;
            }
        }
        anyhow::Ok(())
    })?;
    Ok((frames, events))
}

/// `progress` gets the byte that has been come to.
fn look(
    disk: &dyn Disk,
    name: &str,
    bytes: u64,
    present: &Present,
    progress: &mut dyn FnMut(u64),
) -> anyhow::Result<Aside> {
    let mut aside = Aside {
        name: name.to_owned(),
        bytes,
        frames: 0,
        events: 0,
        missing: BTreeMap::new(),
        missing_count: 0,
        what: "no segment: what it held is derived from the log, and made anew",
    };
    if !name.ends_with(".seg") {
        return Ok(aside);
    }
    let readable = SegmentFile::open(disk, name)?.is_readable();
    aside.what = if readable { "a segment" } else { "a segment of which nothing can be told from garbage" };
    let (missing, count) = (&mut aside.missing, &mut aside.missing_count);
    (aside.frames, aside.events) = self::missing(disk, name, present, progress, &mut |record| {
        let ranges = missing.entry(TopicPartition { topic: record.topic, partition: record.partition }).or_default();
        match ranges.last_mut() {
            Some((_, next)) if *next == record.offset => *next = record.offset.next(),
            _ => ranges.push((record.offset, record.offset.next())),
        }
        *count += 1;
        Ok(())
    })?;
    Ok(aside)
}

fn tell(args: &Repair, files: &[Aside], out: &mut impl Write) -> anyhow::Result<()> {
    if args.of.json {
        let range = |at: &TopicPartition, (from, to): &(Offset, Offset)| json!({"topic": at.topic, "partition": at.partition, "from": from, "to": to});
        let file = |file: &Aside| {
            let missing = file.missing.iter().flat_map(|(at, ranges)| ranges.iter().map(move |found| range(at, found)));
            json!({
                "file": file.name, "bytes": file.bytes, "frames": file.frames, "events": file.events,
                "missing_events": file.missing_count, "missing": missing.collect::<Vec<_>>(), "what": file.what,
            })
        };
        writeln!(out, "{}", json!({"set_aside": files.iter().map(file).collect::<Vec<_>>()}))?;
        return Ok(());
    }
    if files.is_empty() {
        writeln!(out, "no file was set aside: there is nothing to repair")?;
        return Ok(());
    }
    for file in files {
        writeln!(out, "{} ({} bytes): {}", file.name, file.bytes, file.what)?;
        if file.frames > 0 {
            let Aside { frames, events, missing_count, .. } = file;
            writeln!(
                out,
                "  {frames} sound frames with {events} events, of which {missing_count} are missing in the journal:"
            )?;
        }
        if file.missing_count == 0 {
            writeln!(out, "  nothing of it is missing that can be read: it can be removed (--yes --drop-set-aside)")?;
        }
        for (at, ranges) in &file.missing {
            let ranges: Vec<String> = ranges.iter().map(|(from, to)| format!("{from} up to {to}")).collect();
            writeln!(out, "  {at} offsets {} (not included)", ranges.join(", "))?;
        }
    }
    if !args.yes {
        writeln!(
            out,
            "nothing was changed. With the gateway stopped:\n  \
             --yes                   appends what is missing to the journal again, at its end: the cluster gets it (again, where it had it already)\n  \
             --yes --drop-set-aside  removes the files, and what is in them"
        )?;
    }
    Ok(())
}

/// Writes what is missing as JSON lines.
fn salvage(path: &Path, disk: &dyn Disk, files: &[Aside], present: &Present, times: &Times) -> anyhow::Result<()> {
    let can = || format!("can't write {}", path.display());
    let mut lines = new_file(path).with_context(can)?;
    for file in files.iter().filter(|file| file.missing_count > 0) {
        missing(disk, &file.name, present, &mut |_| {}, &mut |record| {
            if let lamppost_event::Item::Event(stored) = event_item(lamppost_journal::ReadItem::Record(record)) {
                writeln!(lines, "{}", event_json(&stored, times.corrected(&stored.event.time)))?;
            }
            Ok(())
        })?;
    }
    lines.sync_all().with_context(can)
}

/// An empty file, whose name is on the disk.
fn new_file(path: &Path) -> std::io::Result<std::fs::File> {
    #[expect(clippy::disallowed_methods, reason = "a report is no journal data: a file of the user's")]
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    flush_folder(folder_of(path))?;
    Ok(file)
}

fn remove(args: &Repair, disk: &dyn Disk, files: &[Aside], out: &mut impl Write) -> anyhow::Result<()> {
    for file in files {
        disk.remove(&file.name).with_context(|| format!("can't remove {}", file.name))?;
        say(args, &format!("removed {}", file.name), out)?;
    }
    disk.flush_dir().context("the removals may not be durable")
}

fn say(args: &Repair, line: &str, out: &mut impl Write) -> std::io::Result<()> {
    if args.of.json { writeln!(out, "{}", json!({"done": line})) } else { writeln!(out, "{line}") }
}

/// Appends what is missing, waits until it is durable, and only then gives the files another name.
fn append_all(
    args: &Repair,
    dir: &Path,
    disk: &Directory,
    files: &[Aside],
    present: &Present,
    journal: &Journal,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let path = report_path(dir);
    let mut report = new_file(&path).with_context(|| format!("can't write the report {}", path.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let epoch = journal.epoch().to_string();
    for file in files.iter().filter(|file| file.missing_count > 0) {
        let mut progress = Progress::new("appending");
        let mut appended = 0_u64;
        let mut last = journal.durable()?;
        let outcome = missing(disk, &file.name, present, &mut |at| progress.at(at, file.bytes), &mut |record| {
            let ReadRecord { topic, partition, offset, epoch: from_epoch, record } = record;
            let done = loop {
                match journal.append(&topic, partition, record.clone(), None) {
                    Ok(done) => break done,
                    Err(AppendError::Full(_)) => {
                        let room = async { tokio::time::timeout(ROOM_MAX, journal.room()).await };
                        runtime
                            .block_on(room)
                            .context("the journal is full: deliver what is in it first, or raise its quota")?;
                    }
                    Err(error) => return Err(error.into()),
                }
            };
            last = done.commit;
            appended += 1;
            let line = json!({
                "file": file.name, "topic": topic, "partition": partition, "was_offset": offset,
                "was_epoch": from_epoch.to_string(), "offset": done.offset, "epoch": epoch,
            });
            writeln!(report, "{line}").context("the report can't be written")
        });
        drop(progress);
        journal.commit_now();
        runtime.block_on(async {
            let mut durable = journal.durable()?;
            while durable < last {
                durable = journal.durable_after(durable).await?;
            }
            anyhow::Ok(())
        })?;
        report.sync_all()?;
        outcome.with_context(|| {
            format!(
                "of {}, {appended} events were appended and are in {}; it is kept, and a second try appends them again",
                file.name,
                path.display()
            )
        })?;
        let salvaged = format!("salvaged-{}", file.name);
        disk.rename(&file.name, &salvaged)
            .and_then(|()| disk.flush_dir())
            .with_context(|| format!("can't rename {}", file.name))?;
        say(
            args,
            &format!("{appended} events of {} are in the journal again; the file is {salvaged} now", file.name),
            out,
        )?;
    }
    say(args, &format!("which offset became which: {}", path.display()), out)?;
    Ok(())
}

/// Beside the journal's folder, named after the time.
fn report_path(dir: &Path) -> PathBuf {
    let clock: Arc<dyn Clock> = Arc::new(MachineClock::new());
    let time = instant::show(clock.now().wall).replace([':', '.'], "-");
    dir.parent().unwrap_or(dir).join(format!("repair-{time}.jsonl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_report_is_flushed() {
        let dir = tempfile::tempdir().unwrap();
        new_file(&dir.path().join("report")).unwrap();
        assert_eq!(crate::durable::flushed::folders(), [dir.path()]);
    }
}
