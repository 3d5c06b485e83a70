use bytes::Bytes;
use lamppost_event::{
    Address, Arrival, BootId, ClockQuality, DeviceId, Intake, Monotonic, Now, Origin, SourceKind, WallTime,
};
use lamppost_journal::Directory;

use super::*;
use crate::config;
use crate::gateway::devices::Devices;
use crate::gateway::owner::Owner;
use crate::gateway::{journal_options, setup};

/// A clock that the test turns: ms.
#[derive(Default)]
struct Turned(AtomicU64);

impl Clock for Turned {
    fn now(&self) -> Now {
        let ms = self.0.load(Ordering::Relaxed);
        let wall = WallTime(1_800_000_000_000 + i64::try_from(ms).unwrap());
        Now { wall, monotonic: Monotonic(ms), boot: BootId(7), quality: ClockQuality::Synced }
    }
}

fn overview(dir: &std::path::Path, clock: &Arc<Turned>) -> Overview {
    lingering(dir, clock, "linger = \"0ms\"\n")
}

fn lingering(dir: &std::path::Path, clock: &Arc<Turned>, linger: &str) -> Overview {
    let small = "[journal]\nsegment = \"1MiB\"\nquota = \"8MiB\"\nevent_max = \"64KiB\"\n";
    let config = config::parse(&format!("{small}{linger}")).unwrap();
    let disk = Arc::new(Directory::create(dir).unwrap());
    let (journal, recovery) = Journal::open(disk, journal_options(&config), clock.clone()).unwrap();
    let (devices, _) = Devices::open(&dir.join("views"), &journal, recovery.continued, BootId(7)).unwrap();
    let routes = setup::routes(&config).unwrap();
    let intake =
        JournalIntake::new(journal.clone(), routes, clock.clone(), Arc::new(devices), setup::event_bytes_max(&config));
    let linger_max = setup::linger_max(&config);
    let found = Found::new(&recovery, &Owner::Ours, &config.gateway);
    Overview::new(journal, Arc::new(intake), Seen::default(), Vec::new(), clock.clone(), linger_max, found)
}

#[test]
fn a_gateway_without_anything_to_do_is_well_for_ever() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(Turned::default()));
    let overview = overview(dir.path(), &clock);
    // What opening asks for is done in real time, and the hour below is over in no time.
    let busy = |stats: lamppost_journal::Stats| stats.gathered_bytes > 0 || stats.full;
    for _ in 0..30_000 {
        if !busy(overview.journal.stats()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    for minute in 0..60 {
        clock.0.store(minute * 60_000, Ordering::Relaxed);
        assert!(overview.health().well(), "{}", overview.health().json());
    }
}

#[test]
fn a_source_that_was_refused_is_ill_and_says_why_and_the_watchdog_is_told_all_the_same() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(Turned::default()));
    let mut overview = overview(dir.path(), &clock);
    let why = "lamppost.toml:8:8: unknown value `bmp999`".to_owned();
    overview.seen.refused = vec![Refused { source: "i2c at line 5".to_owned(), why }];
    let report = overview.health();
    assert!(!report.well() && report.well_here());
    assert!(report.json().contains(r#""i2c at line 5":{"status":"stalled","#), "{}", report.json());
    assert!(report.json().contains("lamppost.toml:8:8: unknown value `bmp999`"), "{}", report.json());
    assert_eq!(overview.status().refused, overview.seen.refused);
}

#[test]
fn an_event_may_wait_for_company_as_long_as_the_configuration_says() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(Turned::default()));
    let overview = lingering(dir.path(), &clock, "linger = \"1min\"\n[topics.bulk]\nlinger = \"2min\"\n");
    let arrival = Arrival {
        source: SourceKind::Serial,
        device: DeviceId::new("node-7").unwrap(),
        address: Address::new("air").unwrap(),
        origin: Origin::Unmarked,
        device_time: None,
        content_type: None,
        payload: Bytes::from_static(b"21.5"),
        refused: false,
    };
    // The first room is made ready while the journal runs already.
    for _ in 0..30_000 {
        if overview.intake.offer(arrival.clone()).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(overview.health().well());
    clock.0.store(59_000, Ordering::Relaxed);
    assert!(overview.journal.stats().gathered_bytes > 0, "it waits");
    assert!(overview.health().well(), "{}", overview.health().json());
}

/// Whoever waits for an acknowledgement sends nothing more: while a flush hangs nothing need gather.
#[test]
fn what_was_taken_is_work_until_it_is_on_disk_though_nothing_gathers() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(Turned::default()));
    let stats = Stats { gathered_bytes: 0, full: false, ..overview(dir.path(), &clock).journal.stats() };
    let has_work = |ahead: u64| journal(&stats, Commit(stats.durable.0 + ahead), false, 0).has_work;
    assert_eq!([has_work(0), has_work(1)], [false, true]);
}

#[test]
fn a_journal_that_has_stopped_is_ill_at_once() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(Turned::default()));
    let overview = overview(dir.path(), &clock);
    assert!(overview.health().well());
    overview.journal.close().unwrap();
    assert!(overview.intake.durable().is_err());
    clock.0.store(1, Ordering::Relaxed);
    assert!(!overview.health().well_here());
}

#[test]
fn the_metrics_can_be_read() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(Turned::default()));
    let text = overview(dir.path(), &clock).metrics().encode().unwrap();
    assert!(text.contains("\nlamppost_journal_quota_bytes 8388608\n"), "{text}");
    assert!(text.contains("\nlamppost_journal_tier_bytes{tier=\"cold\"} 0\n"), "{text}");
    assert!(!text.contains("lamppost_journal_written_bytes_per_day"), "a rate of no time says nothing: {text}");
}

#[test]
fn bytes_written_are_told_by_the_day_and_by_the_event_once_there_is_something_to_tell() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(Turned::default()));
    let overview = overview(dir.path(), &clock);
    clock.0.store(86_400_000 / 2, Ordering::Relaxed);
    let text = overview.metrics().encode().unwrap();
    let sample = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let written = sample("lamppost_journal_written_bytes_total");
    assert!(written > 0.0, "opening writes");
    assert!((sample("lamppost_journal_written_bytes_per_day") - 2.0 * written).abs() < 1.0, "{text}");
    assert!(!text.contains("lamppost_journal_written_bytes_per_event"), "there is no event: {text}");
}

#[test]
fn a_clock_with_a_battery_is_told_of_and_makes_no_gateway_ill() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(Turned::default()));
    let mut overview = overview(dir.path(), &clock);
    assert!(!overview.health().json().contains("battery_clock"), "there is none");
    overview.seen.battery = Some(Arc::default());
    let health = overview.health();
    assert!(health.well());
    let told = r#""battery_clock":{"present":false,"stopped":false,"in_use":false,"read_ms_ago":null,"ahead_ms":null}"#;
    assert!(health.json().contains(told), "{}", health.json());
    assert!(overview.metrics().encode().unwrap().contains("\nlamppost_battery_clock_present 0\n"));
}

#[test]
fn damage_that_was_found_at_the_start_can_be_read_from_the_metrics() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(Turned::default()));
    let sample = |overview: &Overview, name: &str| -> u64 {
        let text = overview.metrics().encode().unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let whole = overview(dir.path(), &clock);
    for n in 0..3 {
        let key = Bytes::from(format!("key {n}"));
        let commit = loop {
            // The first room is made ready while the journal runs already.
            match whole.journal.put_state(&key, Some(Bytes::from_static(b"value"))) {
                Ok(commit) => break commit,
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        whole.journal.commit_now();
        while whole.journal.durable().unwrap() < commit {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert_eq!((sample(&whole, "lamppost_journal_damage"), sample(&whole, "lamppost_journal_set_aside")), (0, 0));
    whole.journal.close().unwrap();
    drop(whole);
    let segment = only_segment(dir.path());
    let mut bytes = std::fs::read(&segment).unwrap();
    // The first frame behind the two heads, of one page.
    bytes[8192 + 200] ^= 0xff;
    write_file(&segment, &bytes);
    write_file(&dir.path().join("hot-0000000000000000.seg"), &vec![0x55; 1 << 20]);
    let found = overview(dir.path(), &clock);
    assert_eq!((sample(&found, "lamppost_journal_damage"), sample(&found, "lamppost_journal_set_aside")), (1, 1));
}

fn only_segment(dir: &std::path::Path) -> std::path::PathBuf {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let hot = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("hot-");
    let mut found = names.filter(hot);
    let segment = found.next().unwrap();
    assert_eq!(found.next(), None);
    segment
}

fn write_file(path: &std::path::Path, bytes: &[u8]) {
    #[expect(clippy::disallowed_methods, reason = "a test damages it")]
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn what_the_mqtt_server_counts_is_shown() {
    let counters = MqttCounters::default();
    let counts = [
        (&counters.clients_total, "clients"),
        (&counters.accepts_failed, "accepts_failed"),
        (&counters.stalls, "stalls"),
        (&counters.wills, "wills"),
        (&counters.wills_dropped, "wills_dropped"),
        (&counters.subscriptions_unnoted, "subscriptions_unnoted"),
    ];
    for (number, (count, _)) in (1..).zip(counts) {
        count.store(number, Ordering::Relaxed);
    }
    let mut out = Exposition::default();
    mqtt(&mut out, &counters);
    let text = out.encode().unwrap();
    for (number, (_, name)) in (1..).zip(counts) {
        assert!(text.contains(&format!("lamppost_mqtt_{name}_total {number}\n")), "{name}: {text}");
    }
    for cause in SubscriptionCause::ALL {
        let line = format!("lamppost_mqtt_subscriptions_refused_total{{cause=\"{}\"}} 0\n", cause.as_str());
        assert!(text.contains(&line), "{line}: {text}");
    }
}

#[test]
fn what_the_mqtt_server_holds_is_shown_beside_its_bound() {
    let mut out = Exposition::default();
    let holding = |limit, bytes| Holding { limit, bytes, bytes_max: 100 };
    mqtt_held(&mut out, &[holding("inflight", 7), holding("queues", 8)]);
    let text = out.encode().unwrap();
    for (limit, bytes) in [("inflight", 7), ("queues", 8)] {
        assert!(text.contains(&format!("lamppost_mqtt_held_bytes{{limit=\"{limit}\"}} {bytes}\n")), "{text}");
        assert!(text.contains(&format!("lamppost_mqtt_held_bytes_max{{limit=\"{limit}\"}} 100\n")), "{text}");
    }
}
