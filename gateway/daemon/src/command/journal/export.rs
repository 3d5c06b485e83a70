//! `lamppost journal export`: the events as Kafka's own segment files.
//!
//! ```text
//! OUT/TOPIC-PARTITION/00000000000000000000.log   the batches as they are, one after the other; named after the first offset in it
//! ```
//!
//! A file ends before 1 GiB (Kafka's `segment.bytes`), and before a gap: Kafka allows jumps of offsets within a file, but
//! `kafka.tools.DumpLogSegments` complains of them. (That of Kafka 4.1 complains of nothing else in these files; that of 4.3,
//! `org.apache.kafka.tools.DumpLogSegments`, of every file that does not begin at offset 0. tests/e2e/test_export.py has both read them.)

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use lamppost_event::{Gap, Offset, TopicPartition};
use lamppost_journal::StoredBatch;
use serde_json::json;

use super::progress::Progress;
use super::shown::{Seen, gap, gap_json};
use super::{known, open};
use crate::cli::Export;
use crate::durable::{flush_folder, make_folder};

/// Kafka's `segment.bytes`.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// So many files are open at a time.
const OPEN_MAX: usize = 64;

/// What was written of a partition.
#[derive(Default)]
struct Written {
    folder: PathBuf,
    /// The file being written to; closed now and then, and opened again.
    path: PathBuf,
    file: Option<BufWriter<File>>,
    file_bytes: u64,
    first: Offset,
    next: Offset,
    events: u64,
    bytes: u64,
    files: u64,
}

pub(super) fn export(args: &Export, out: &mut impl Write) -> anyhow::Result<()> {
    let inspect = open(&args.at.dir)?;
    known(&inspect, &args.topic)?;
    prepare(&args.to)?;
    let mut written: BTreeMap<TopicPartition, Written> = BTreeMap::new();
    let (mut unreadable, mut seen, mut gaps) = (Vec::new(), Seen::default(), Vec::new());
    let mut progress = Progress::new("exporting");
    inspect.batches(&mut |done, whole| progress.at(done, whole), &mut |batch| {
        if !args.topic.is_empty() && !args.topic.contains(&batch.at.topic) {
            return Ok(());
        }
        if let Err(error) = &batch.compression {
            unreadable
                .push(format!("{} offsets {} up to {} (not included): {error}", batch.at, batch.base, batch.next));
            return Ok(());
        }
        gaps.extend(seen.passed(&batch.at, batch.base, batch.next));
        if written.values().filter(|partition| partition.file.is_some()).count() >= OPEN_MAX {
            written.values_mut().try_for_each(Written::close)?;
        }
        let partition = written.entry(batch.at.clone()).or_insert_with(|| {
            let folder = args.to.join(format!("{}-{}", batch.at.topic, batch.at.partition));
            Written { folder, first: batch.base, ..Written::default() }
        });
        partition.take(&batch).with_context(|| format!("{} can't be written", partition.path.display()))
    })?;
    drop(progress);
    for partition in written.values_mut() {
        let closed = partition.close().and_then(|()| flush_folder(&partition.folder));
        closed.with_context(|| format!("{} can't be written", partition.path.display()))?;
    }
    let wanted = |gap: &Gap| args.topic.is_empty() || args.topic.contains(&gap.at.topic);
    let figures = inspect.figures();
    gaps.extend(seen.missing_at_the_end(&figures.partitions).into_iter().filter(wanted));
    // Those that are known have a better reason.
    for gap in &mut gaps {
        let known =
            figures.gaps.iter().find(|known| known.at == gap.at && known.from <= gap.from && gap.to <= known.to);
        gap.reason = known.map_or_else(|| std::mem::take(&mut gap.reason), |known| known.reason.clone());
    }
    if args.at.json {
        let partition = |(at, p): (&TopicPartition, &Written)| {
            json!({
                "topic": at.topic, "partition": at.partition, "folder": p.folder, "first": p.first, "next": p.next,
                "events": p.events, "bytes": p.bytes, "files": p.files,
            })
        };
        let line = json!({
            "partitions": written.iter().map(partition).collect::<Vec<_>>(),
            "gaps": gaps.iter().map(gap_json).collect::<Vec<_>>(), "unreadable": unreadable,
        });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    for (at, Written { first, next, events, bytes, files, .. }) in &written {
        writeln!(
            out,
            "{at}: {events} events, offsets {first} up to {next} (not included), {bytes} bytes in {files} files"
        )?;
    }
    gaps.iter().try_for_each(|missing| gap(missing, false, out))?;
    unreadable.iter().try_for_each(|what| writeln!(out, "NOT exported: {what}"))?;
    writeln!(out, "Kafka's own tool reads them: kafka-dump-log.sh --deep-iteration --print-data-log --files FILE.log")?;
    Ok(())
}

/// Nothing that is there is written over or mixed with.
fn prepare(to: &Path) -> anyhow::Result<()> {
    let can = || format!("can't export to {}", to.display());
    make_folder(to).with_context(can)?;
    let empty = std::fs::read_dir(to).with_context(can)?.next().is_none();
    anyhow::ensure!(empty, "{} is not empty; name a new folder", to.display());
    Ok(())
}

impl Written {
    fn take(&mut self, batch: &StoredBatch) -> anyhow::Result<()> {
        // The log's order is that of the offsets; what comes again is a copy.
        if self.files > 0 && batch.next <= self.next {
            return Ok(());
        }
        anyhow::ensure!(
            self.files == 0 || batch.base >= self.next,
            "{} has a batch from offset {} on, behind offset {}: run lamppost journal verify",
            batch.at,
            batch.base,
            self.next
        );
        let bytes = batch.bytes.len() as u64;
        if self.files == 0 || batch.base != self.next || self.file_bytes + bytes > FILE_BYTES_MAX {
            self.begin(batch.base)?;
        }
        self.file()?.write_all(&batch.bytes)?;
        self.next = batch.next;
        self.file_bytes += bytes;
        self.bytes += bytes;
        self.events += batch.next.0 - batch.base.0;
        Ok(())
    }

    fn begin(&mut self, base: Offset) -> anyhow::Result<()> {
        self.close()?;
        make_folder(&self.folder)?;
        self.path = self.folder.join(format!("{:020}.log", base.0));
        self.file_bytes = 0;
        self.files += 1;
        Ok(())
    }

    fn file(&mut self) -> std::io::Result<&mut BufWriter<File>> {
        if self.file.is_none() {
            #[expect(clippy::disallowed_methods, reason = "an export is no journal data: a file of the user's")]
            let file = std::fs::OpenOptions::new().create(true).append(true).open(&self.path)?;
            self.file = Some(BufWriter::new(file));
        }
        self.file.as_mut().ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    /// What was written is on its disk then: an export may be all that is left of a card.
    fn close(&mut self) -> std::io::Result<()> {
        match self.file.take() {
            Some(file) => file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lamppost_event::Topic;
    use lamppost_journal::{Directory, Journal, Options, TopicOptions};

    use super::*;
    use crate::cli::JournalAt;
    use crate::clock::MachineClock;
    use crate::durable::flushed;

    #[test]
    fn the_names_of_what_is_exported_are_flushed_up_to_the_folder_that_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let (journal_dir, to) = (dir.path().join("journal"), dir.path().join("rescued/today"));
        let topic = Topic::new("air").unwrap();
        let options = Options {
            quota_bytes: 8 << 20,
            segment_bytes: 1 << 20,
            frame_bytes_max: 192 << 10,
            event_bytes_max: 64 << 10,
            topics: vec![TopicOptions { topic: topic.clone(), partitions: 1, linger: None }],
            ..Options::default()
        };
        let disk = Arc::new(Directory::create(&journal_dir).unwrap());
        let (journal, hand, _) = Journal::open_by_hand(disk, options, Arc::new(MachineClock::new())).unwrap();
        let record = lamppost_event::StoredRecord {
            timestamp: lamppost_event::WallTime(0),
            key: Default::default(),
            value: Some("an event".into()),
            header: Default::default(),
        };
        journal.append(&topic, lamppost_event::Partition(0), record, None).unwrap();
        hand.commit().unwrap();
        journal.close().unwrap();
        flushed::folders();
        let at = JournalAt { dir: journal_dir, json: false };
        export(&Export { at, to: to.clone(), topic: Vec::new() }, &mut Vec::new()).unwrap();
        let folders = [dir.path().to_owned(), dir.path().join("rescued"), to.clone(), to.join("air-0")];
        assert_eq!(flushed::folders(), folders);
        assert_eq!(std::fs::read_dir(to.join("air-0")).unwrap().count(), 1);
    }
}
