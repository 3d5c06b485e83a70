//! `lamppost journal` as an operator uses it: the program itself, on journals that were made here.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test: a panic is how it fails, and its files need not outlive a crash"
)]

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::*;
use lamppost_forward::{LaneGroups, Lanes};
use lamppost_journal::{Directory, Hand, Journal, OpenError, Options, SplitMix64, TopicOptions};
use serde_json::Value;

/// 2026-03-02 06:00 UTC, ms.
const SIX: i64 = 1_772_431_200_000;
const MIB: u64 = 1 << 20;

/// A process that another test starts holds this one's lock as well, between its fork and its exec.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Turned by the test.
struct Turned(Mutex<Now>);

impl Turned {
    fn new(boot: u64) -> Arc<Self> {
        let now = Now { wall: WallTime(0), monotonic: Monotonic(0), boot: BootId(boot), quality: ClockQuality::Unset };
        Arc::new(Self(Mutex::new(now)))
    }

    fn turn(&self, monotonic_ms: u64, wall_ms: i64, quality: ClockQuality) {
        let mut now = self.0.lock().unwrap();
        (now.monotonic, now.wall, now.quality) = (Monotonic(monotonic_ms), WallTime(wall_ms), quality);
    }
}

impl Clock for Turned {
    fn now(&self) -> Now {
        *self.0.lock().unwrap()
    }
}

fn air() -> Topic {
    Topic::new("air").unwrap()
}

fn group() -> Group {
    Group::new("forward").unwrap()
}

/// A journal in a folder, and the configuration of the gateway that it is of.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        let state = world.folder.path().display();
        let config = format!(
            "[gateway]\nid = \"post\"\nstate_dir = \"{state}\"\n[journal]\nsegment = \"1MiB\"\nquota = \"8MiB\"\nevent_max = \"64KiB\"\n\
             [topics.air]\npartitions = 2\n[kafka]\nbootstrap = [\"kafka-1:9092\"]\n"
        );
        std::fs::write(world.path("lamppost.toml"), config).unwrap();
        std::fs::create_dir(world.path("journal")).unwrap();
        world
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self, clock: &Arc<Turned>) -> (Journal, Hand) {
        let options = Options {
            quota_bytes: 8 * MIB,
            segment_bytes: MIB,
            frame_bytes_max: 192 << 10,
            event_bytes_max: 64 << 10,
            topics: vec![TopicOptions { topic: air(), partitions: 2, linger: None }],
            required: vec![group()],
            ..Options::default()
        };
        for _ in 0..LOCK_TRIES {
            let disk = Arc::new(Directory::existing(self.path("journal")).unwrap());
            match Journal::open_by_hand(disk, options.clone(), clock.clone()) {
                Ok((journal, hand, _)) => return (journal, hand),
                Err(OpenError::Locked { .. }) => std::thread::sleep(LOCK_PAUSE),
                Err(error) => panic!("{error}"),
            }
        }
        panic!("the journal stays locked");
    }

    fn run(&self, args: &[&str]) -> Output {
        let journal = self.path("journal");
        let config = self.path("lamppost.toml");
        let own = match args[0] {
            "reset" | "repair" | "forget" => ["--config", config.to_str().unwrap()],
            _ => ["--dir", journal.to_str().unwrap()],
        };
        let run = || Command::new(env!("CARGO_BIN_EXE_lamppost")).arg("journal").args(args).args(own).output().unwrap();
        let locked = |done: &Output| String::from_utf8_lossy(&done.stderr).contains("in use by another process");
        let mut done = run();
        for _ in 0..LOCK_TRIES {
            if !locked(&done) {
                break;
            }
            std::thread::sleep(LOCK_PAUSE);
            done = run();
        }
        done
    }

    /// The lines of a run that has to end well.
    fn lines(&self, args: &[&str]) -> Vec<String> {
        let done = self.run(args);
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    fn json(&self, args: &[&str]) -> Vec<Value> {
        self.lines(args).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn files(&self, prefix: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("journal")).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.starts_with(prefix));
        names.sort();
        names
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.path("journal").join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    }
}

/// An event received now, in a commit of its own.
fn store(journal: &Journal, hand: &Hand, clock: &Turned, payload: impl Into<Bytes>) {
    let device = DeviceId::new("dev-1").unwrap();
    let event = Event {
        source: SourceKind::Mqtt,
        address: Address::new("city/air").unwrap(),
        topic: air(),
        key: Bytes::copy_from_slice(device.as_str().as_bytes()),
        device,
        origin: Origin::Unmarked,
        time: EventTime::received(clock.now(), None),
        content_type: None,
        reason: None,
        payload: payload.into(),
    };
    // Upkeep prepares the segments.
    hand.keep().unwrap();
    assert!(journal.append(&air(), Partition(0), encode_event(&event), None).is_ok(), "no room");
    hand.commit().unwrap();
}

fn payloads(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["payload"].as_str().unwrap_or("(gap)")).collect()
}

/// One boot that wakes up in 1970 and hears the time an hour later, and one that never does.
fn over_a_clock_that_becomes_right() -> World {
    let world = World::new();
    let clock = Turned::new(1);
    let (journal, hand) = world.open(&clock);
    for (minute, payload) in [(0, "a"), (30, "b")] {
        clock.turn(minute * 60_000, 1_000, ClockQuality::Unset);
        store(&journal, &hand, &clock, payload);
    }
    clock.turn(60 * 60_000, SIX, ClockQuality::Synced);
    store(&journal, &hand, &clock, "c");
    journal.close().unwrap();
    let clock = Turned::new(2);
    clock.turn(5_000, 5_000, ClockQuality::Unset);
    let (journal, hand) = world.open(&clock);
    store(&journal, &hand, &clock, "d");
    journal.close().unwrap();
    world
}

#[test]
fn replay_by_time_is_right_across_a_clock_that_was_set_later() {
    let world = over_a_clock_that_becomes_right();
    let found = world.json(&[
        "replay",
        "--json",
        "--from-time",
        "2026-03-02T05:30:00Z",
        "--to-time",
        "2026-03-02T07:00:00+01:00",
    ]);
    assert_eq!(payloads(&found), ["b"]);
    assert_eq!((&found[0]["time"], &found[0]["stored_time_ms"]), (&"2026-03-02T05:30:00.000Z".into(), &1_000.into()));
    let all = world.json(&["replay", "--json"]);
    assert_eq!(payloads(&all), ["a", "b", "c", "d"]);
    assert_eq!((&all[0]["time"], &all[3]["time"]), (&"2026-03-02T05:00:00.000Z".into(), &Value::Null));
    // Nobody knows when "d" was, but that it was behind "c": it may be of any later time, and is passed over for none.
    for (from, expected) in [("2026-03-02T05:45:00Z", vec!["c", "d"]), ("2026-03-02T09:00:00Z", vec!["d"])] {
        assert_eq!(payloads(&world.json(&["replay", "--json", "--from-time", from])), expected, "{from}");
    }
    let in_doubt = world.run(&["replay", "--from-time", "1970-01-01T00:00:00Z"]);
    assert!(String::from_utf8_lossy(&in_doubt.stderr).contains("1 events may be of that time or not"), "{in_doubt:?}");
    assert_eq!(payloads(&world.json(&["replay", "--json", "--from-offset", "air/0:2"])), ["c", "d"]);
}

#[test]
fn a_topic_without_an_event_is_no_mistake_and_said_to_have_none() {
    let done = over_a_clock_that_becomes_right().run(&["replay", "--topic", "water", "--json"]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && done.stdout.is_empty(), "{done:?}");
    assert!(said.contains("there is no event of the topic water; there are: air"), "{said}");
}

#[test]
fn mistakes_say_what_would_be_right() {
    let world = over_a_clock_that_becomes_right();
    for (args, remedy) in [
        (vec!["replay", "--from-offset", "air/0:99"], "offsets 0 up to 4"),
        (vec!["replay", "--from-offset", "air:99"], "air-quality/0:1700"),
        (vec!["replay", "--from-time", "noon"], "RFC 3339"),
        (vec!["ls", "--endurance-tbw", "0"], "above 0"),
        (vec!["export", "--to", "/proc/no/such"], "can't export to /proc/no/such"),
        (vec!["reset", "--group", "nobody", "--to", "start"], "there are: "),
        (vec!["reset", "--group", "forward", "--to", "soon"], "start, end"),
    ] {
        let done = world.run(&args);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && said.contains(remedy), "{args:?}: {said}");
    }
}

#[test]
fn dump_shows_each_frame_and_damage_where_it_is() {
    let world = over_a_clock_that_becomes_right();
    let frames = world.json(&["dump", "--json", "--records"]);
    let of_air: Vec<&Value> =
        frames.iter().filter(|frame| frame["records"].as_array().is_some_and(|records| !records.is_empty())).collect();
    assert_eq!(of_air.len(), 4, "{frames:?}");
    assert_eq!((&of_air[1]["records"][0]["payload"], &of_air[1]["batches"][0]["base"]), (&"b".into(), &1.into()));
    assert_eq!((&of_air[1]["time_ms"], &of_air[1]["clock"]), (&(SIX - 1_800_000).into(), &"unset".into()));
    let (file, byte) = (of_air[1]["file"].as_str().unwrap(), of_air[1]["byte"].as_u64().unwrap());
    world.change(file, |bytes| bytes[byte as usize + 150] ^= 1);
    let damaged = world.lines(&["dump"]);
    let there = damaged.iter().find(|line| line.contains("DAMAGED")).unwrap();
    assert!(there.trim_start().starts_with(&format!("{byte} ")) && there.contains("4096 bytes"), "{there}");
    assert!(damaged.iter().any(|line| line.contains("commit 3,")), "what lies behind is shown as well");
}

#[test]
fn ls_tells_the_wear_and_what_it_is_derived_from() {
    let world = over_a_clock_that_becomes_right();
    let shown = world.lines(&["ls"]).join("\n");
    assert!(shown.contains("1 hot segments") && shown.contains("written from"), "{shown}");
    // The last boot's time is not known.
    assert!(shown.contains("too little to tell"), "{shown}");
    let world = World::new();
    let clock = Turned::new(1);
    let (journal, hand) = world.open(&clock);
    for hour in 0..24 {
        clock.turn(hour * 3_600_000, SIX + hour as i64 * 3_600_000, ClockQuality::Synced);
        store(&journal, &hand, &clock, "x");
    }
    journal.close().unwrap();
    let wear = &world.json(&["ls", "--json", "--endurance-tbw", "1"])[0]["wear"];
    let (bytes, span) = (wear["written_bytes"].as_u64().unwrap(), wear["span_ms"].as_u64().unwrap());
    assert_eq!(span, 23 * 3_600_000);
    assert!((24 * 4096..30 * 4096).contains(&bytes), "{wear}");
    let years = 1e12 / (bytes as f64 / 23.0 * 24.0 * 365.25);
    assert!((wear["card_years"].as_f64().unwrap() / years - 1.0).abs() < 1e-9, "{wear}");
}

#[test]
fn ls_shows_the_cursors_of_lanes_as_no_consumers() {
    let world = over_a_clock_that_becomes_right();
    let (journal, hand) = world.open(&Turned::new(3));
    let lanes = LaneGroups::of(&group()).unwrap();
    let cursor = [Cursor { at: TopicPartition { topic: air(), partition: Partition(0) }, next: Offset(3) }];
    for group in [group(), lanes.horizon, lanes.live] {
        journal.commit_cursors(&group, &cursor).unwrap();
    }
    hand.commit().unwrap();
    journal.close().unwrap();
    let shown = world.json(&["ls", "--json"]);
    let groups = shown[0]["groups"].as_array().unwrap().iter();
    let groups: Vec<_> = groups.map(|group| (group["lane_of"].as_str(), group["lag"].as_u64())).collect();
    assert_eq!(groups, [(None, Some(1)), (Some("forward"), None), (Some("forward"), None)]);
    let lines = world.lines(&["ls"]);
    let of_lanes: Vec<_> = lines.iter().filter(|line| line.ends_with("where forward goes live first")).collect();
    assert!(of_lanes.len() == 2 && of_lanes.iter().all(|line| line.contains("  -  ")), "{lines:?}");
}

#[test]
fn reset_moves_a_groups_cursor_and_needs_the_gateway_stopped() {
    let world = over_a_clock_that_becomes_right();
    let clock = Turned::new(3);
    let (journal, hand) = world.open(&clock);
    let at = TopicPartition { topic: air(), partition: Partition(0) };
    journal.commit_cursors(&group(), &[Cursor { at, next: Offset(4) }]).unwrap();
    hand.commit().unwrap();
    let locked = world.run(&["reset", "--group", "forward", "--to", "start"]);
    assert!(String::from_utf8_lossy(&locked.stderr).contains("is its gateway stopped"), "{locked:?}");
    journal.close().unwrap();
    let lag = |world: &World| world.json(&["ls", "--json"])[0]["groups"][0]["lag"].as_u64().unwrap();
    assert_eq!(lag(&world), 0);
    for (to, expected) in [("start", 4), ("end", 0), ("2", 2), ("2026-03-02T06:00:00Z", 2)] {
        let done = world.run(&["reset", "--group", "forward", "--to", to, "--topic", "air/0"]);
        assert!(done.status.success(), "{done:?}");
        assert_eq!(lag(&world), expected, "{to}");
    }
}

/// A sink whose topic is split: of four events the first is delivered, and of those from the third on all went live.
fn split(world: &World, sink: &Group) {
    let (journal, hand) = world.open(&Turned::new(3));
    let lanes = LaneGroups::of(sink).unwrap();
    for (group, next) in [(sink, 1), (&lanes.horizon, 2), (&lanes.live, 4)] {
        let at = TopicPartition { topic: air(), partition: Partition(0) };
        journal.commit_cursors(group, &[Cursor { at, next: Offset(next) }]).unwrap();
    }
    hand.commit().unwrap();
    journal.close().unwrap();
}

/// Where a sink and its two lanes stand by the journal, and whether its topic is split still.
fn lanes_of(world: &World, sink: &Group) -> ([Option<u64>; 3], bool) {
    let (journal, _) = world.open(&Turned::new(4));
    let groups = journal.groups();
    let lanes = LaneGroups::of(sink).unwrap();
    let of = |group: &Group| groups.iter().find(|(known, _)| known == group).map(|(_, cursors)| cursors.clone());
    let three = [sink, &lanes.horizon, &lanes.live].map(of);
    let [own, horizon, live] = three.clone().map(Option::unwrap_or_default);
    let found = Lanes::found(&own, &horizon, &live);
    journal.close().unwrap();
    (three.map(|cursors| cursors.map(|cursors| cursors[0].next.0)), found.is_some_and(|found| found.holds(&air())))
}

#[test]
fn a_reset_of_a_sink_that_is_split_sends_what_went_live_again_and_keeps_the_mark_of_what_lies_below() {
    for (to, after) in [
        ("start", ([Some(0), Some(2), None], true)),
        ("2", ([Some(2), Some(2), None], false)),
        ("end", ([Some(4), Some(2), None], false)),
    ] {
        let world = &over_a_clock_that_becomes_right();
        split(world, &group());
        assert_eq!(lanes_of(world, &group()), ([Some(1), Some(2), Some(4)], true));
        let done = world.run(&["reset", "--group", "forward", "--to", to, "--topic", "air/0"]);
        assert!(done.status.success(), "{done:?}");
        assert_eq!(lanes_of(world, &group()), after, "{to}");
    }
}

#[test]
fn with_a_sink_its_lanes_are_forgotten_too_and_those_of_a_sink_that_there_is_are_not() {
    let world = over_a_clock_that_becomes_right();
    let gone = Group::new("analytics").unwrap();
    split(&world, &gone);
    split(&world, &group());
    for (kept, why) in [("forward", "forward is a sink of"), ("forward.live", "forward.live belongs to a sink of")] {
        let refused = world.run(&["forget", "--group", kept]);
        assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains(why), "{refused:?}");
    }
    let done = world.run(&["forget", "--group", "analytics"]);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(lanes_of(&world, &gone), ([None, None, None], false));
    assert_eq!(lanes_of(&world, &group()), ([Some(1), Some(2), Some(4)], true));
}

/// Two segments and more, the first of which has lost both copies of its head, and a gateway that has met it.
fn with_a_segment_set_aside() -> (World, usize) {
    let world = World::new();
    let clock = Turned::new(1);
    clock.turn(1_000, SIX, ClockQuality::Synced);
    let (journal, hand) = world.open(&clock);
    let mut random = SplitMix64::new(7);
    let mut payload = || -> Vec<u8> {
        let text = std::iter::repeat_with(|| format!("{:016x}", random.next_u64()));
        text.take(2_000).collect::<String>().into_bytes()
    };
    let count = 50;
    (0..count).for_each(|_| store(&journal, &hand, &clock, payload()));
    journal.close().unwrap();
    let first = world.files("hot-")[0].clone();
    world.change(&first, |bytes| {
        bytes[100] ^= 0xff;
        bytes[4_196] ^= 0xff;
    });
    let (journal, _) = world.open(&clock);
    journal.close().unwrap();
    assert_eq!(world.files("damaged-").len(), 1);
    (world, count)
}

#[test]
fn repair_changes_nothing_until_it_is_told_to_and_then_appends_what_is_missing_once() {
    let (world, count) = with_a_segment_set_aside();
    let before: Vec<Value> = world.json(&["replay", "--json"]);
    let events = |lines: &[Value]| lines.iter().filter(|line| line.get("payload").is_some()).count();
    assert!(events(&before) < count, "nothing is missing");
    let plan = world.json(&["repair", "--json"]);
    let missing = plan[0]["set_aside"][0]["missing_events"].as_u64().unwrap() as usize;
    assert_eq!(missing + events(&before), count, "{plan:?}");
    assert_eq!((world.files("damaged-").len(), world.json(&["replay", "--json"])), (1, before.clone()));

    let found = world.path("found.jsonl");
    world.lines(&["repair", "--salvage-to", found.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(&found).unwrap().lines().count(), missing);

    let said = world.lines(&["repair", "--yes"]).join("\n");
    assert!(said.contains(&format!("{missing} events")) && world.files("salvaged-").len() == 1, "{said}");
    let after = world.json(&["replay", "--json"]);
    assert_eq!(events(&after), count);
    let salvaged: Vec<Value> =
        std::fs::read_to_string(&found).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (was, is) in salvaged.iter().zip(&after[after.len() - missing..]) {
        assert_eq!((&was["payload"], &was["key"], &was["time"]), (&is["payload"], &is["key"], &is["time"]));
        assert!(is["offset"].as_u64() >= Some(count as u64), "a new offset: {is}");
    }
    assert!(report(world.folder.path()).lines().count() == missing);
    world.lines(&["repair", "--yes"]);
    assert_eq!(events(&world.json(&["replay", "--json"])), count, "not twice");
}

/// The service's user may open nothing of root's.
#[test]
fn what_root_repairs_and_resets_stays_the_gateways_own() {
    let (world, _) = with_a_segment_set_aside();
    let journal = world.path("journal");
    let all = || std::fs::read_dir(&journal).unwrap().map(|entry| entry.unwrap().path()).chain([journal.clone()]);
    if rustix::process::geteuid().is_root() {
        all().for_each(|path| std::os::unix::fs::chown(path, Some(4_000_000), Some(4_000_001)).unwrap());
    }
    let before = all().count();
    world.lines(&["repair", "--yes"]);
    world.lines(&["reset", "--group", "forward", "--to", "start"]);
    assert!(all().count() > before, "no file was made");
    let owner = |path: &Path| std::fs::metadata(path).map(|meta| (meta.uid(), meta.gid())).unwrap();
    for path in all() {
        assert_eq!(owner(&path), owner(&journal), "{}", path.display());
    }
}

fn report(folder: &Path) -> String {
    let mut entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let report = entries.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("repair-")).unwrap();
    std::fs::read_to_string(report).unwrap()
}

#[test]
fn what_the_journal_has_is_not_appended_again() {
    let world = over_a_clock_that_becomes_right();
    let sound = world.files("hot-")[0].clone();
    let aside = world.path("journal").join(format!("damaged-{sound}"));
    std::fs::copy(world.path("journal").join(&sound), aside).unwrap();
    let plan = &world.json(&["repair", "--json"])[0]["set_aside"][0];
    assert!(plan["events"].as_u64() > Some(0) && plan["missing_events"] == 0, "{plan}");
    world.lines(&["repair", "--yes"]);
    assert_eq!(payloads(&world.json(&["replay", "--json"])), ["a", "b", "c", "d"]);
}

#[test]
fn what_was_set_aside_is_removed_only_when_told_to() {
    let (world, _) = with_a_segment_set_aside();
    world.lines(&["repair", "--drop-set-aside"]);
    assert_eq!(world.files("damaged-").len(), 1);
    world.lines(&["repair", "--drop-set-aside", "--yes"]);
    assert!(world.files("damaged-").is_empty() && world.files("salvaged-").is_empty());
}

#[test]
fn a_verdict_whose_reader_has_gone_is_not_taken_for_a_good_one() {
    let world = over_a_clock_that_becomes_right();
    let status = |command: &str| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let program = Command::new(env!("CARGO_BIN_EXE_lamppost"))
            .args(["journal", command, "--dir"])
            .arg(world.path("journal"))
            .stdout(writer)
            .status();
        program.unwrap().code()
    };
    assert_eq!([status("verify"), status("ls")], [Some(2), Some(0)]);
}
