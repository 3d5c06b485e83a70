use std::path::Path;

use bytes::Bytes;
use lamppost_event::{Address, BootId, ClockQuality, Item, Monotonic, Now, Position, SourceKind, WallTime};
use lamppost_journal::Directory;

use super::*;
use crate::config;
use crate::gateway::devices::Fed;
use crate::gateway::outlet::item;
use crate::gateway::{journal_options, setup};

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Now {
        Now {
            wall: WallTime(1_800_000_000_000),
            monotonic: Monotonic(5_000),
            boot: BootId(7),
            quality: ClockQuality::Synced,
        }
    }
}

/// The gateway's inner half over a real folder, without sources and cluster.
struct Inner {
    journal: Journal,
    devices: Arc<Devices>,
    fed: Fed,
    intake: JournalIntake,
}

const CONFIG: &str = "[journal]\nsegment = \"1MiB\"\nquota = \"8MiB\"\nlinger = \"0ms\"\nevent_max = \"64KiB\"\n\
    [[route]]\nfrom = \"json/#\"\ntopic = \"json\"\ndecode = \"json\"\n";

impl Inner {
    fn open(dir: &Path) -> Self {
        Self::configured(dir, CONFIG)
    }

    fn configured(dir: &Path, config: &str) -> Self {
        let config = config::parse(config).unwrap();
        let journal_dir = dir.join("journal");
        std::fs::create_dir_all(&journal_dir).unwrap();
        let disk = Arc::new(Directory::create(&journal_dir).unwrap());
        let (journal, recovery) = Journal::open(disk, journal_options(&config), Arc::new(Noon)).unwrap();
        let (devices, fed) = Devices::open(&dir.join("views"), &journal, recovery.continued, BootId(7)).unwrap();
        let devices = Arc::new(devices);
        let routes = setup::routes(&config).unwrap();
        let intake = JournalIntake::new(
            journal.clone(),
            routes,
            Arc::new(Noon),
            devices.clone(),
            setup::event_bytes_max(&config),
        );
        Self { journal, devices, fed, intake }
    }

    /// Offers, and waits until it is on disk.
    fn store(&self, arrival: Arrival) {
        self.store_by(arrival, |arrival| self.intake.offer(arrival));
    }

    fn store_by(&self, arrival: Arrival, offer: impl Fn(Arrival) -> Result<Commit, Refusal>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut offered = offer(arrival);
        // A journal that was just opened may still prepare its segments, as any full one makes room.
        while let Err(Refusal::Full(arrival)) = offered {
            runtime.block_on(self.intake.room());
            offered = offer(*arrival);
        }
        let commit = offered.unwrap();
        runtime.block_on(async {
            while self.intake.durable().unwrap() < commit {
                self.intake.durable_after(Commit(commit.0 - 1)).await.unwrap();
            }
        });
    }

    fn stored(&self) -> Vec<Event> {
        let chunk = self.journal.read(Position(0), usize::MAX).unwrap();
        let events = chunk.items.into_iter().map(item).map(|item| match item {
            Item::Event(stored) => stored.event,
            Item::Gap(gap) => panic!("{gap:?}"),
        });
        events.collect()
    }

    fn close(mut self) {
        self.devices.feed(&self.journal, &mut self.fed).unwrap();
        self.devices.close();
        self.journal.close().unwrap();
    }
}

fn reading(sequence: u64) -> Arrival {
    Arrival {
        source: SourceKind::Serial,
        device: DeviceId::new("node-7").unwrap(),
        address: Address::new("link/node-7/temperature").unwrap(),
        origin: Origin::Sequence { boot: 3, sequence },
        device_time: None,
        content_type: None,
        payload: Bytes::from(sequence.to_string()),
        refused: false,
    }
}

#[test]
fn a_resent_sequence_is_acknowledged_and_not_stored_again() {
    let dir = tempfile::tempdir().unwrap();
    let inner = Inner::open(dir.path());
    for sequence in [1, 2, 2, 1, 3, 2] {
        inner.store(reading(sequence));
    }
    let payloads: Vec<Bytes> = inner.stored().into_iter().map(|event| event.payload).collect();
    assert_eq!(payloads, ["1", "2", "3"]);
    assert_eq!(inner.intake.count.resent.load(Ordering::Relaxed), 3);
    assert_eq!(inner.intake.high_water(&reading(1).device, 3), Some(3));
    assert_eq!(inner.intake.high_water(&reading(1).device, 4), None);
}

/// Stores 1 and 2, closes, harms the view, and stores 2 and 3 in the next life.
fn over_a_restart(harm: impl FnOnce(&Path)) -> Vec<Bytes> {
    let dir = tempfile::tempdir().unwrap();
    let inner = Inner::open(dir.path());
    inner.store(reading(1));
    inner.store(reading(2));
    inner.close();
    harm(&dir.path().join("views"));
    let inner = Inner::open(dir.path());
    inner.store(reading(2));
    inner.store(reading(3));
    inner.stored().into_iter().map(|event| event.payload).collect()
}

#[test]
fn a_resend_is_recognised_after_a_restart() {
    assert_eq!(over_a_restart(|_| {}), ["1", "2", "3"]);
}

#[test]
fn a_resend_is_recognised_although_the_view_is_gone() {
    assert_eq!(over_a_restart(|views| std::fs::remove_dir_all(views).unwrap()), ["1", "2", "3"]);
}

#[test]
fn a_resend_is_recognised_although_the_view_is_garbage() {
    let garbage = |views: &Path| {
        let mut folders = vec![views.to_owned()];
        let mut spoilt = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    std::fs::remove_file(&path).unwrap();
                    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
                    spoilt += 1;
                }
            }
        }
        assert!(spoilt > 0, "there was no view to spoil");
    };
    assert_eq!(over_a_restart(garbage), ["1", "2", "3"]);
}

#[test]
fn a_resend_is_recognised_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let inner = Inner::open(dir.path());
    inner.store(reading(1));
    drop(inner);
    let inner = Inner::open(dir.path());
    inner.store(reading(1));
    assert_eq!(inner.stored().len(), 1);
}

#[test]
fn what_can_not_be_decoded_is_a_dead_letter_that_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let inner = Inner::open(dir.path());
    let payload = Bytes::from_static(b"{\"cut\":");
    let address = Address::new("json/a").unwrap();
    inner.store(Arrival { address, origin: Origin::Unmarked, payload: payload.clone(), ..reading(1) });
    let stored = inner.stored();
    assert_eq!((stored[0].topic.as_str(), &stored[0].payload), ("dead-letters", &payload));
    assert!(stored[0].reason.as_ref().unwrap().contains("JSON"), "{:?}", stored[0].reason);
}

#[test]
fn what_its_source_could_not_decode_is_a_dead_letter_with_that_reason() {
    let dir = tempfile::tempdir().unwrap();
    let inner = Inner::open(dir.path());
    let arrival = Arrival { origin: Origin::Unmarked, payload: Bytes::from_static(b"1;x"), ..reading(1) };
    let reason = "field \"pm\": \"x\" is not a number";
    inner.store_by(arrival, |arrival| inner.intake.offer_dead(arrival, reason));
    let stored = inner.stored();
    assert_eq!((stored[0].topic.as_str(), &stored[0].payload[..]), ("dead-letters", &b"1;x"[..]));
    assert_eq!(stored[0].reason.as_deref(), Some(reason));
    assert_eq!(inner.intake.count.dead_letters.load(Ordering::Relaxed), 1);
}

#[test]
fn what_is_too_large_is_refused_with_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let inner = Inner::open(dir.path());
    let arrival = Arrival { payload: Bytes::from(vec![0; 70_000]), ..reading(1) };
    let refusal = inner.intake.offer(arrival).unwrap_err();
    assert!(matches!(refusal, Refusal::TooLarge { bytes: 70_000.., bytes_max: 65_536 }), "{refusal:?}");
    // The sequence is not taken for stored.
    inner.store(reading(1));
    assert_eq!(inner.stored().len(), 1);
}

#[test]
fn an_event_of_the_largest_size_can_still_be_buried_as_a_dead_letter() {
    let dir = tempfile::tempdir().unwrap();
    let inner = Inner::open(dir.path());
    let around = encode_event(&inner.intake.routes().route(reading(1), Noon.now()).event).bytes() - 1;
    let largest = Arrival { payload: Bytes::from(vec![b'x'; 65_536 - around]), ..reading(1) };
    inner.store(largest);
    let Item::Event(stored) = item(inner.journal.read(Position(0), usize::MAX).unwrap().items.remove(0)) else {
        panic!("no event")
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(inner.intake.bury(Poison { stored, reason: "é".repeat(5_000) })).unwrap();
    let buried = inner.stored().remove(1);
    assert_eq!((buried.topic.as_str(), buried.payload.len()), ("dead-letters", 65_536 - around));
    assert_eq!(buried.reason.unwrap().len(), 1_024);
}

#[test]
fn an_event_that_was_stored_while_more_was_allowed_is_buried_with_the_beginning_of_its_payload() {
    let dir = tempfile::tempdir().unwrap();
    let inner = Inner::configured(dir.path(), &CONFIG.replace("64KiB", "96KiB"));
    inner.store(Arrival { payload: Bytes::from(vec![b'x'; 90_000]), ..reading(1) });
    inner.close();
    let inner = Inner::open(dir.path());
    let Item::Event(stored) = item(inner.journal.read(Position(0), usize::MAX).unwrap().items.remove(0)) else {
        panic!("no event")
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(inner.intake.bury(Poison { stored, reason: "too large for the cluster".to_owned() })).unwrap();
    let buried = inner.stored().remove(1);
    assert!((65_536..67_584).contains(&buried.payload.len()), "{}", buried.payload.len());
    let reason = "too large for the cluster; of its 90000 bytes this is the beginning";
    assert_eq!((buried.topic.as_str(), buried.reason.as_deref()), ("dead-letters", Some(reason)));
}

/// Payloads that no compression makes smaller.
fn noise(bytes: usize) -> impl Iterator<Item = Bytes> {
    let mut random = lamppost_journal::SplitMix64::new(7);
    std::iter::repeat_with(move || {
        std::iter::repeat_with(|| random.next_u64().to_le_bytes()).flatten().take(bytes).collect()
    })
}

/// A journal that nothing may leave, since there is a cluster, and a runtime to wait for its room with.
fn with_a_cluster(dir: &std::path::Path) -> (Inner, tokio::runtime::Runtime) {
    let inner = Inner::configured(dir, &format!("{CONFIG}[kafka]\nbootstrap = [\"kafka-1:9092\"]\n"));
    (inner, tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap())
}

/// Longer than a busy machine takes to make room.
const ROOM_LIMIT: std::time::Duration = std::time::Duration::from_secs(6);

/// Offers until there is no room, and none comes. How many events were taken, and what came back last.
fn fill(inner: &Inner, runtime: &tokio::runtime::Runtime) -> (usize, Box<Arrival>) {
    for (taken, payload) in noise(3_000).take(10_000).enumerate() {
        match inner.intake.offer(Arrival { origin: Origin::Unmarked, payload, ..reading(1) }) {
            Ok(_) => {}
            Err(Refusal::Full(back)) => {
                let room = async { tokio::time::timeout(ROOM_LIMIT, inner.intake.room()).await };
                if runtime.block_on(room).is_err() {
                    return (taken, back);
                }
            }
            Err(refusal) => panic!("{refusal:?}"),
        }
    }
    panic!("a quota of 8 MiB that is not used up")
}

#[test]
fn an_event_that_waits_for_room_is_counted_as_refused_once() {
    let dir = tempfile::tempdir().unwrap();
    let (inner, runtime) = with_a_cluster(dir.path());
    let (_, mut waiting) = fill(&inner, &runtime);
    let (refused, payload) = (inner.intake.count.refused.load(Ordering::Relaxed), waiting.payload.clone());
    for _ in 0..100 {
        let Err(Refusal::Full(back)) = inner.intake.offer(*waiting) else { panic!("there is room") };
        waiting = back;
    }
    assert_eq!(inner.intake.count.refused.load(Ordering::Relaxed), refused);
    assert_eq!(waiting.payload, payload);
    // Sent again by its sender, it is another one.
    inner.intake.offer(Arrival { refused: false, ..*waiting }).unwrap_err();
    assert_eq!(inner.intake.count.refused.load(Ordering::Relaxed), refused + 1);
}

#[test]
fn a_full_journal_can_still_bury_a_dead_letter() {
    let dir = tempfile::tempdir().unwrap();
    let (inner, runtime) = with_a_cluster(dir.path());
    let (taken, _) = fill(&inner, &runtime);
    assert!(taken > 1_000, "{taken} events of 3 KB");
    let Item::Event(stored) = item(inner.journal.read(Position(0), 1).unwrap().items.remove(0)) else {
        panic!("no event")
    };
    let poison = Poison { stored, reason: "too large for the cluster".to_owned() };
    let bury = async { tokio::time::timeout(ROOM_LIMIT, inner.intake.bury(poison)).await };
    runtime.block_on(bury).expect("buried in time").unwrap();
    assert_eq!(inner.intake.count.dead_letters.load(Ordering::Relaxed), 1);
}
