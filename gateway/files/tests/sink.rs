//! The file sink as a whole, on a real folder.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may panic; its helper functions too"
)]

mod shelf;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lamppost_event::{Gap, GatewayId, Group, Interest, Item, JournalStopped, Offset};
use lamppost_files::{Counters, FileSink, FilesConfig, Packing, WhenFull};
use shelf::{HandClock, Shelf, at, event, lines, names, offsets, until};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

fn config(folder: &Path) -> FilesConfig {
    FilesConfig {
        rotate_bytes: 4096,
        quota_bytes: 1 << 20,
        flush_interval: Duration::ZERO,
        retry_delay_min: Duration::from_millis(10),
        ..FilesConfig::new(GatewayId::new("post-17").unwrap(), Group::new("disk").unwrap(), folder.to_owned())
    }
}

struct Running {
    counters: Arc<Counters>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), JournalStopped>>,
}

impl Running {
    fn start(config: FilesConfig, shelf: &Arc<Shelf>, clock: &Arc<HandClock>) -> Self {
        let sink = FileSink::new(config, shelf.clone(), clock.clone()).unwrap();
        let (stop, stopped) = oneshot::channel();
        let counters = sink.counters();
        let stopped = async move { drop(stopped.await) };
        Self { counters, stop, task: tokio::spawn(sink.run(stopped)) }
    }

    async fn end(self) {
        drop(self.stop);
        self.task.await.unwrap().unwrap();
    }
}

fn fill(shelf: &Shelf, clock: &HandClock, topic: &str, offsets: std::ops::Range<u64>) {
    for offset in offsets {
        shelf.put(event(clock, topic, 0, offset, "{\"c\":21.5}"));
    }
}

#[tokio::test]
async fn every_event_is_on_a_line_once_in_order_in_files_that_sort_and_no_part_is_left() {
    for packing in [Packing::None, Packing::Zstd] {
        let (dir, shelf, clock) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()), HandClock::new());
        let running = Running::start(FilesConfig { packing, ..config(dir.path()) }, &shelf, &clock);
        fill(&shelf, &clock, "air", 0..400);
        fill(&shelf, &clock, "noise", 0..3);
        until("all is committed", || shelf.cursor("air", 0) == 400 && shelf.cursor("noise", 0) == 3).await;
        let counters = running.counters.clone();
        running.end().await;
        let lines = lines(dir.path());
        assert_eq!(offsets(&lines, "air", 0), (0..400).collect::<Vec<_>>());
        assert_eq!(offsets(&lines, "noise", 0), [0, 1, 2]);
        let names = names(dir.path());
        assert!(names.len() >= 3 && names.iter().all(|name| !name.ends_with(".part")), "{names:?}");
        assert_eq!(counters.delivered.load(Relaxed), 403);
        assert_eq!(counters.finished.load(Relaxed), names.len() as u64);
    }
}

#[tokio::test]
async fn what_was_written_and_not_committed_comes_again_and_first_occurrences_stay_in_order() {
    let (dir, shelf, clock) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()), HandClock::new());
    fill(&shelf, &clock, "air", 0..30);
    let running = Running::start(FilesConfig { rotate_bytes: 64 << 10, ..config(dir.path()) }, &shelf, &clock);
    until("all is committed", || shelf.cursor("air", 0) == 30).await;
    // As a crash leaves it: the task is gone, the part stays, the cursor is behind, and the last line is torn.
    running.task.abort();
    drop(running.task.await);
    shelf.cursors.lock().unwrap().insert(at("air", 0), Offset(20));
    let part = names(dir.path()).into_iter().find(|name| name.ends_with(".part")).unwrap();
    let path = dir.path().join(part);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 7]).unwrap();
    let running = Running::start(FilesConfig { rotate_bytes: 64 << 10, ..config(dir.path()) }, &shelf, &clock);
    until("all is committed again", || shelf.cursor("air", 0) == 30).await;
    assert!(running.counters.torn_bytes.load(Relaxed) > 0);
    running.end().await;
    let found = offsets(&lines(dir.path()), "air", 0);
    assert_eq!(found, (0..29).chain(20..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_folder_pauses_the_sink_until_somebody_takes_files_away() {
    let (dir, shelf, clock) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()), HandClock::new());
    let quota_bytes = 4 * 4096;
    let running = Running::start(FilesConfig { quota_bytes, ..config(dir.path()) }, &shelf, &clock);
    fill(&shelf, &clock, "air", 0..200);
    until("it is full", || running.counters.paused_reason().is_some()).await;
    let reason = running.counters.paused_reason().unwrap();
    assert!(reason.contains("take files away"), "{reason}");
    assert!(running.counters.folder_bytes.load(Relaxed) <= quota_bytes);
    assert!(names(dir.path()).iter().all(|name| !name.ends_with(".part")), "all that is there can be taken away");
    let mut taken = lines(dir.path());
    for name in names(dir.path()).into_iter().filter(|name| !name.ends_with(".part")) {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    until("it has gone on", || shelf.cursor("air", 0) > taken.len() as u64 + 5).await;
    // Whoever takes files away for as long as it lasts has all in the end.
    while shelf.cursor("air", 0) < 200 {
        for name in names(dir.path()).into_iter().filter(|name| !name.ends_with(".part")) {
            let path = dir.path().join(name);
            let text = std::fs::read_to_string(&path).unwrap();
            taken.extend(text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()));
            std::fs::remove_file(path).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    running.end().await;
    taken.extend(lines(dir.path()));
    assert_eq!(offsets(&taken, "air", 0), (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_folder_loses_its_oldest_files_where_that_is_configured_and_they_are_counted() {
    let (dir, shelf, clock) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()), HandClock::new());
    let config = FilesConfig { quota_bytes: 4 * 4096, when_full: WhenFull::DeleteOldest, ..config(dir.path()) };
    let running = Running::start(FilesConfig { read_bytes: 1_000, ..config }, &shelf, &clock);
    fill(&shelf, &clock, "air", 0..400);
    until("all is committed", || shelf.cursor("air", 0) == 400).await;
    assert!(running.counters.deleted.load(Relaxed) > 0 && running.counters.deleted_bytes.load(Relaxed) > 0);
    running.end().await;
    let left = offsets(&lines(dir.path()), "air", 0);
    let bytes: u64 = names(dir.path()).iter().map(|name| dir.path().join(name).metadata().unwrap().len()).sum();
    assert!(bytes <= 4 * 4096, "{bytes}");
    assert_eq!(left, (400 - left.len() as u64..400).collect::<Vec<_>>(), "the newest stay, without a hole");
}

#[tokio::test]
async fn a_file_is_finished_when_it_is_old_enough_by_elapsed_time() {
    let (dir, shelf, clock) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()), HandClock::new());
    let rotate_after = Duration::from_millis(200);
    let running = Running::start(FilesConfig { rotate_after, ..config(dir.path()) }, &shelf, &clock);
    fill(&shelf, &clock, "air", 0..1);
    until("it is committed", || shelf.cursor("air", 0) == 1).await;
    assert!(names(dir.path())[0].ends_with(".part"), "{:?}", names(dir.path()));
    clock.turn(Duration::from_millis(199));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(names(dir.path())[0].ends_with(".part"), "the machine's own time does not count");
    clock.turn(Duration::from_millis(1));
    until("it is finished", || names(dir.path()).iter().all(|name| !name.ends_with(".part"))).await;
    running.end().await;
    assert_eq!(lines(dir.path()).len(), 1);
}

#[tokio::test]
async fn what_the_sink_does_not_take_is_passed_and_what_the_journal_lost_is_a_line() {
    let (dir, shelf, clock) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()), HandClock::new());
    let gap = |topic, from, to| {
        Item::Gap(Gap { at: at(topic, 0), from: Offset(from), to: Offset(to), reason: "a worn card".into() })
    };
    shelf.put(gap("noise", 0, 5));
    fill(&shelf, &clock, "noise", 5..8);
    shelf.put(gap("air", 0, 2));
    fill(&shelf, &clock, "air", 2..4);
    // Nothing tells of 4 and 5.
    fill(&shelf, &clock, "air", 6..7);
    let interest = Interest::new(["air"]).unwrap();
    let running = Running::start(FilesConfig { interest, ..config(dir.path()) }, &shelf, &clock);
    until("all is committed", || shelf.cursor("air", 0) == 7 && shelf.cursor("noise", 0) == 8).await;
    assert_eq!((running.counters.gaps.load(Relaxed), running.counters.gap_events.load(Relaxed)), (2, 4));
    running.end().await;
    let lines = lines(dir.path());
    let place = |line: &serde_json::Value| match &line["gap"] {
        serde_json::Value::Null => format!("{}", line["offset"]),
        gap => format!("{} to {}: {}", gap["from"], gap["to"], gap["reason"].as_str().unwrap()),
    };
    let expected = ["0 to 2: a worn card", "2", "3", "4 to 6: missing in the journal without a word", "6"];
    assert_eq!(lines.iter().map(place).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_folder_that_can_not_be_used_pauses_the_sink_which_says_so_and_goes_on_once_it_can() {
    let (dir, shelf, clock) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()), HandClock::new());
    let folder = dir.path().join("events");
    std::fs::write(&folder, b"a file where the folder should be").unwrap();
    fill(&shelf, &clock, "air", 0..5);
    let running = Running::start(config(&folder), &shelf, &clock);
    until("it is paused", || running.counters.paused_reason().is_some_and(|reason| reason.contains("events"))).await;
    assert_eq!(shelf.cursor("air", 0), 0);
    std::fs::remove_file(&folder).unwrap();
    until("all is committed", || shelf.cursor("air", 0) == 5).await;
    assert!(running.counters.retries.load(Relaxed) > 0);
    // Under way as well: somebody removes the folder, and what was in it. The next file is begun in a new one.
    std::fs::remove_dir_all(&folder).unwrap();
    fill(&shelf, &clock, "noise", 0..5);
    until("it has gone on", || shelf.cursor("noise", 0) == 5).await;
    assert_eq!(running.counters.paused_reason(), None);
    running.end().await;
    assert_eq!(offsets(&lines(&folder), "noise", 0), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn where_nothing_is_mounted_nothing_is_written_and_it_says_so() {
    let (dir, shelf, clock) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()), HandClock::new());
    let folder = dir.path().join("events");
    let config = FilesConfig { mount_point: Some(dir.path().to_owned()), ..config(&folder) };
    let running = Running::start(config, &shelf, &clock);
    fill(&shelf, &clock, "air", 0..4);
    let counters = running.counters.clone();
    until("it is paused", || counters.paused_reason().is_some_and(|why| why.contains("nothing is mounted"))).await;
    running.end().await;
    assert!(!folder.exists() && shelf.cursor("air", 0) == 0);
}

#[test]
fn a_folder_that_can_not_be_told_from_another_is_refused() {
    let refused = |folder: &str, mount_point: Option<&str>| {
        let config = FilesConfig { mount_point: mount_point.map(Into::into), ..config(Path::new(folder)) };
        config.check().map_err(|error| error.to_string())
    };
    assert_eq!(refused("/media/stick/events", Some("/media/stick")), Ok(()));
    assert!(refused("/media/stick/../events", None).unwrap_err().contains(".."));
    assert!(refused("/srv/events", Some("/media/stick")).unwrap_err().contains("not below the mount point"));
}
