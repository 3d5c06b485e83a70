//! Journals of each format version, kept as files (`tests/golden/`), are read and gone on with for ever; what is newer than this program
//! is refused, and left as it is.
//!
//! The files are made by one command alone, which never overwrites any (`tests/golden/README.md`):
//! `cargo run -p lamppost-journal --example golden -- gateway/journal/tests/golden/vN`
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]
#![allow(clippy::disallowed_methods, reason = "golden files are files")]

#[path = "golden/contents.rs"]
mod contents;
#[path = "golden/gateway.rs"]
mod gateway;
#[path = "golden/history.rs"]
mod history;
#[path = "golden/ledger.rs"]
mod ledger;
#[path = "golden/newer.rs"]
mod newer;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gateway::{Turned, lost};
use lamppost_event::{
    Commit, Cursor, DeviceId, Group, Offset, Partition, Position, StoredRecord, Topic, TopicPartition,
};
use lamppost_journal::{
    Directory, Figures, Inspect, Journal, Mark, Options, ReadItem, ReadRecord, Recovery, TopicOptions,
};
use ledger::{Kept, Ledger, checksum, hex, place, sorted};

/// A journal among the golden files.
struct Golden {
    version: u16,
    name: String,
    files: BTreeMap<String, Vec<u8>>,
    ledger: Ledger,
}

fn files_in(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// All of them, of every version.
fn goldens() -> Vec<Golden> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut goldens = Vec::new();
    for version in 1.. {
        let folder = top.join(format!("v{version}"));
        let Ok(text) = fs::read_to_string(folder.join("expected.json")) else { break };
        for (name, ledger) in ledger::from_text(&text) {
            goldens.push(Golden { version, files: files_in(&folder.join(&name)), name, ledger });
        }
    }
    assert!(goldens.len() >= 2, "version 1 is always read");
    goldens
}

impl Golden {
    /// What it is called in messages.
    fn what(&self) -> String {
        format!("v{}/{}", self.version, self.name)
    }

    /// The same files in a folder of their own.
    fn copy(&self) -> (tempfile::TempDir, PathBuf) {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("journal");
        put_files(&folder, &self.files);
        (top, folder)
    }

    /// Room for all that is there, and for more.
    fn options(&self) -> Options {
        let mut topics: BTreeMap<&str, u16> = BTreeMap::new();
        for at in self.ledger.partitions.keys() {
            let (topic, partition) = parse(at);
            let partitions = topics.entry(topic).or_default();
            *partitions = (*partitions).max(partition + 1);
        }
        let of = |(name, partitions)| TopicOptions { topic: Topic::user(name).unwrap(), partitions, linger: None };
        Options {
            segment_bytes: 72 << 10,
            frame_bytes_max: 16 << 10,
            event_bytes_max: 4 << 10,
            quota_bytes: 64 * (72 << 10),
            topics: topics.into_iter().map(of).collect(),
            required: vec![Group::new("cluster").unwrap()],
            ..Options::default()
        }
    }

    fn open(&self, folder: &Path) -> (Journal, Recovery) {
        let disk = Arc::new(Directory::existing(folder).unwrap());
        Journal::open(disk, self.options(), Turned::new()).unwrap_or_else(|error| panic!("{}: {error}", self.what()))
    }
}

fn put_files(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    fs::create_dir(folder).unwrap();
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// `topic/partition`.
fn parse(at: &str) -> (&str, u16) {
    let (topic, partition) = at.split_once('/').unwrap();
    (topic, partition.parse().unwrap())
}

fn by_place(cursors: &[Cursor]) -> BTreeMap<String, u64> {
    cursors.iter().map(|cursor| (place(&cursor.at), cursor.next.0)).collect()
}

impl Ledger {
    /// Against what a reader got who began at the beginning.
    fn compare(&self, read: &BTreeMap<String, Kept>, what: &str) {
        let places: BTreeSet<&String> = self.partitions.keys().chain(read.keys()).collect();
        let none = Kept::default();
        for at in places {
            let (known, read) = (self.partitions.get(at).unwrap_or(&none), read.get(at).unwrap_or(&none));
            known.compare(read, &format!("{what}, {at}"));
        }
    }

    /// Where each partition ends.
    fn ends(&self) -> BTreeMap<String, u64> {
        self.partitions.iter().map(|(at, kept)| (at.clone(), kept.next)).collect()
    }
}

#[test]
fn golden_files_are_as_they_were_made() {
    for golden in goldens() {
        let sums: BTreeMap<_, _> = golden.files.iter().map(|(name, bytes)| (name.clone(), checksum(bytes))).collect();
        assert_eq!(sums, golden.ledger.files, "{}", golden.what());
    }
}

#[test]
fn whoever_looks_at_a_golden_journal_sees_what_was_stored_and_changes_nothing() {
    for golden in goldens() {
        let (what, ledger) = (golden.what(), &golden.ledger);
        let (_top, folder) = golden.copy();
        let inspect = Inspect::open(Arc::new(Directory::existing(&folder).unwrap())).unwrap();
        compare_figures(&inspect.figures(), ledger, &what);
        ledger.compare(&sorted(&inspect.read(Position(0), usize::MAX).items), &format!("{what}, read from outside"));
        let verified = inspect.verify(&mut |_, _| {}).unwrap();
        assert_eq!(verified.events, ledger.events(), "{what}");
        let damage: Vec<[u64; 2]> = verified.damage.iter().map(|damage| [damage.from.0, damage.to.0]).collect();
        assert_eq!(damage, ledger.damage, "{what}");
        for problem in &verified.problems {
            let of_the_damage = verified.damage.iter().any(|damage| damage.position == problem.position);
            assert!(of_the_damage, "{what}: more is wrong than what was damaged: {problem:?}");
        }
        assert_eq!(verified.tail.is_none(), ledger.closed, "{what}: {:?}", verified.tail);
        assert!(files_in(&folder) == golden.files, "{what}: a file was changed");
    }
}

fn compare_figures(figures: &Figures, ledger: &Ledger, what: &str) {
    let identity = figures.identity.map(|identity| format!("{identity:032x}"));
    assert_eq!(identity.as_ref(), Some(&ledger.identity), "{what}");
    assert_eq!(figures.epoch.map(|epoch| hex(epoch.0)).as_ref(), Some(&ledger.epoch), "{what}");
    assert_eq!((figures.commit, figures.closed), (Commit(ledger.commit), ledger.closed), "{what}");
    assert_eq!(figures.events, ledger.events(), "{what}");
    let ends: BTreeMap<String, u64> = figures.partitions.iter().map(|p| (place(&p.at), p.next.0)).collect();
    assert_eq!(ends, ledger.ends(), "{what}");
    let cursors = figures.groups.iter().map(|group| (group.group.to_string(), by_place(&group.cursors)));
    assert_eq!(cursors.collect::<BTreeMap<_, _>>(), ledger.cursors, "{what}");
}

#[test]
fn a_golden_journal_is_opened_read_gone_on_with_closed_and_opened_again() {
    for golden in goldens() {
        let (what, mut ledger) = (golden.what(), golden.ledger.clone());
        let (_top, folder) = golden.copy();
        let (journal, recovery) = golden.open(&folder);
        assert_eq!((recovery.created, recovery.clean), (false, ledger.closed), "{what}: {recovery:?}");
        assert_eq!(recovery.commit, Commit(ledger.commit), "{what}: {recovery:?}");
        assert_eq!(recovery.unproved.is_none(), ledger.closed, "{what}: {recovery:?}");
        // An end that is not proved is not gone on from.
        let continued = Some(ledger.epoch.clone()).filter(|_| ledger.closed);
        assert_eq!(recovery.continued.map(|epoch| hex(epoch.0)), continued, "{what}: {recovery:?}");
        assert_ne!(hex(recovery.epoch.0), ledger.epoch, "{what}: {recovery:?}");
        assert!(recovery.set_aside.is_empty() && recovery.checkpoints_refused.is_empty(), "{what}: {recovery:?}");
        compare_journal(&journal, &ledger, &what);
        go_on(&journal, &mut ledger, &what);
        compare_journal(&journal, &ledger, &format!("{what}, gone on with"));
        journal.close().unwrap();
        let (journal, recovery) = golden.open(&folder);
        assert!(recovery.clean, "{what}: {recovery:?}");
        compare_journal(&journal, &ledger, &format!("{what}, opened again"));
        journal.close().unwrap();
    }
}

fn compare_journal(journal: &Journal, ledger: &Ledger, what: &str) {
    assert_eq!(format!("{:032x}", journal.identity()), ledger.identity, "{what}");
    ledger.compare(&sorted(&read_all(journal)), what);
    let ends: BTreeMap<String, u64> = journal.partitions().iter().map(|p| (place(&p.at), p.next.0)).collect();
    assert_eq!(ends, ledger.ends(), "{what}");
    for (at, kept) in &ledger.partitions {
        let (topic, partition) = parse(at);
        let topic = Topic::user(topic).unwrap();
        let from = Offset(kept.events.keys().next().copied().unwrap_or(0));
        let chunk = journal.read_partition(&topic, Partition(partition), from, usize::MAX).unwrap();
        let read = sorted(&chunk.items).remove(at).unwrap_or_default();
        assert_eq!(read.events, kept.events, "{what}, {at} by offset");
    }
    compare_state(journal, ledger, what);
}

/// Everything there is to read, in small pieces.
fn read_all(journal: &Journal) -> Vec<ReadItem> {
    let (mut items, mut from) = (Vec::new(), Position(0));
    loop {
        let chunk = journal.read(from, 10_000).unwrap();
        items.extend(chunk.items);
        from = chunk.next;
        if chunk.caught_up {
            return items;
        }
    }
}

/// Cursors, marks, and state.
fn compare_state(journal: &Journal, ledger: &Ledger, what: &str) {
    let cursors = journal.groups().into_iter().map(|(group, cursors)| (group.to_string(), by_place(&cursors)));
    assert_eq!(cursors.collect::<BTreeMap<_, _>>(), ledger.cursors, "{what}");
    let mut marks: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    let mut take = |mark: Mark| {
        let boots = marks.entry(mark.device.to_string()).or_default();
        boots.insert(mark.boot.to_string(), mark.sequence);
    };
    journal.marks(&mut take).unwrap();
    assert_eq!(marks, ledger.marks, "{what}");
    let mut state = BTreeMap::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    journal.state_scan(b"", &mut |key, value| drop(state.insert(text(key), Some(text(value))))).unwrap();
    let kept = ledger.state.iter().filter(|(_, value)| value.is_some());
    assert_eq!(state, kept.map(|(key, value)| (key.clone(), value.clone())).collect(), "{what}");
    for (key, value) in &ledger.state {
        let found = journal.state_get(key.as_bytes()).unwrap();
        assert_eq!(found.map(|found| text(&found)).as_ref(), value.as_ref(), "{what}, {key}");
    }
}

/// An event with a mark in each partition, a cursor, and a value.
fn go_on(journal: &Journal, ledger: &mut Ledger, what: &str) {
    let mark = Mark { device: DeviceId::new("a new lamp").unwrap(), boot: 1, sequence: 7 };
    let mut last = Commit(0);
    for (at, kept) in &mut ledger.partitions {
        let (topic, partition) = parse(at);
        let (topic, stored) = (Topic::user(topic).unwrap(), StoredRecord { value: Some("new".into()), ..lost() });
        let appended = journal.append(&topic, Partition(partition), stored.clone(), Some(&mark)).unwrap();
        assert_eq!(appended.offset.0, kept.next, "{what}, {at}");
        let read = ReadRecord {
            topic,
            partition: Partition(partition),
            offset: appended.offset,
            epoch: journal.epoch(),
            record: stored,
        };
        kept.events.insert(kept.next, ledger::event(&read));
        kept.next += 1;
        last = appended.commit;
    }
    ledger.marks.insert(mark.device.to_string(), [("1".to_owned(), 7)].into());
    journal.put_state(b"new", Some("value".into())).unwrap();
    ledger.state.insert("new".to_owned(), Some("value".to_owned()));
    let air = TopicPartition { topic: Topic::user("air").unwrap(), partition: Partition(1) };
    let next = ledger.partitions["air/1"].next - 1;
    journal.commit_cursors(&Group::new("new").unwrap(), &[Cursor { at: air, next: Offset(next) }]).unwrap();
    ledger.cursors.entry("new".to_owned()).or_default().insert("air/1".to_owned(), next);
    journal.commit_now();
    let mut waits = 0;
    while journal.durable().unwrap() < last {
        waits += 1;
        assert!(waits < 10_000, "{what}: the commit does not become durable");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_histories_make_the_same_bytes_each_time() {
    assert!(history::all() == history::all());
}

#[test]
fn a_ledger_reads_as_it_was_written() {
    let ledgers: BTreeMap<String, Ledger> =
        history::all().into_iter().map(|(name, made)| (name, made.ledger)).collect();
    assert!(ledger::from_text(&ledger::to_text(&ledgers)) == ledgers);
}
