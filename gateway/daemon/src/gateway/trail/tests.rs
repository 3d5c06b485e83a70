use lamppost_event::{ClockQuality, Monotonic, Now, Offset, Position, WallTime};
use lamppost_journal::sim::SimDisk;
use lamppost_journal::{Hand, Options, ReadItem, TopicOptions};

use super::*;

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Now {
        let (wall, quality) = (WallTime(1_800_000_000_000), ClockQuality::Synced);
        Now { wall, monotonic: Monotonic(5), boot: lamppost_event::BootId(7), quality }
    }
}

fn topic(name: &str) -> Topic {
    Topic::new(name).unwrap()
}

/// A journal with two topics, and a writer of notices.
fn site() -> (Journal, Hand, Trail) {
    let of = |(name, partitions): (&str, u16)| TopicOptions { topic: topic(name), partitions, linger: None };
    let topics = [("air", 2), ("noise", 40), (AUDIT_TRAIL, 1)].map(of).to_vec();
    let mut options = Options { topics, segment_bytes: 1 << 20, ..Options::default() };
    (options.frame_bytes_max, options.event_bytes_max) = (128 << 10, 2_049);
    options.quota_bytes = options.quota_min();
    let (journal, hand, _) = Journal::open_by_hand(Arc::new(SimDisk::new(1)), options, Arc::new(Noon)).unwrap();
    let trail = Trail::new(
        journal.clone(),
        Arc::new(Noon),
        GatewayId::new("post-17").unwrap(),
        vec![(forward(), Interest::all())],
    );
    (journal, hand, trail)
}

fn forward() -> Group {
    Group::new(MAIN_SINK).unwrap()
}

fn append(journal: &Journal, name: &str, partition: u16, events: u64) {
    for _ in 0..events {
        let record = StoredRecord {
            timestamp: WallTime(1),
            key: Bytes::from_static(b"dev"),
            value: Some(Bytes::from_static(b"21.5")),
            header: Bytes::new(),
        };
        journal.append(&topic(name), Partition(partition), record, None).unwrap();
    }
}

/// The notices that are durable, with their sources and addresses.
fn notices(journal: &Journal) -> Vec<Notice> {
    let chunk = journal.read(Position(0), usize::MAX).unwrap();
    let records = chunk.items.into_iter().filter_map(|item| match item {
        ReadItem::Record(record) if record.topic.as_str() == AUDIT_TRAIL => Some(record),
        _ => None,
    });
    let notice = |record: lamppost_journal::ReadRecord| {
        let event = lamppost_event::decode_event(&record.topic, record.record).unwrap();
        assert_eq!(
            (event.source, event.device.as_str(), &event.key[..]),
            (SourceKind::Gateway, "post-17", &b"post-17"[..])
        );
        serde_json::from_slice(&event.payload).unwrap()
    };
    records.map(notice).collect()
}

/// A partition, and its first and next offset, and the first that is not forwarded.
type Told = (u16, u64, u64, u64);

/// Of each manifest: topic, and partitions with their first and next offsets.
fn extents(notices: &[Notice]) -> Vec<(&str, Vec<Told>)> {
    let extent = |extent: &Extent| (extent.partition.0, extent.first.0, extent.next.0, extent.done.0);
    let told = notices.iter().filter_map(|notice| match notice {
        Notice::Manifest { topic, partitions, .. } => Some((topic.as_str(), partitions.iter().map(extent).collect())),
        Notice::Gap { .. } => None,
    });
    told.collect()
}

#[test]
fn a_manifest_tells_what_is_durable_of_each_topic_that_has_come_further() {
    let (journal, hand, trail) = site();
    trail.manifest().unwrap();
    hand.commit().unwrap();
    assert_eq!(notices(&journal), [], "nothing is there yet");
    append(&journal, "air", 1, 3);
    trail.manifest().unwrap();
    hand.commit().unwrap();
    assert_eq!(notices(&journal), [], "what is not durable is not told");
    trail.manifest().unwrap();
    trail.manifest().unwrap();
    append(&journal, "air", 0, 1);
    hand.commit().unwrap();
    trail.manifest().unwrap();
    hand.commit().unwrap();
    let notices = notices(&journal);
    assert_eq!(extents(&notices), [("air", vec![(1, 0, 3, 0)]), ("air", vec![(0, 0, 1, 0)])]);
    let Notice::Manifest { journal: identity, .. } = &notices[0] else { panic!("{notices:?}") };
    assert_eq!(*identity, format!("{:032x}", journal.identity()));
}

#[test]
fn what_is_forwarded_is_told_too_and_each_start_says_whose_epoch_it_is() {
    let (journal, hand, trail) = site();
    trail.identify().unwrap();
    append(&journal, "air", 1, 3);
    hand.commit().unwrap();
    for done in [2, 3] {
        let at = TopicPartition { topic: topic("air"), partition: Partition(1) };
        journal.commit_cursors(&forward(), &[lamppost_event::Cursor { at, next: Offset(done) }]).unwrap();
        trail.manifest().unwrap();
        trail.manifest().unwrap();
        hand.commit().unwrap();
    }
    let notices = notices(&journal);
    let expected = [(AUDIT_TRAIL, vec![]), ("air", vec![(1, 0, 3, 2)]), ("air", vec![(1, 0, 3, 3)])];
    assert_eq!(extents(&notices), expected);
}

#[test]
fn a_topic_of_many_partitions_fits_into_events_of_the_smallest_size() {
    let (journal, hand, trail) = site();
    (0..40).for_each(|partition| append(&journal, "noise", partition, 1));
    hand.commit().unwrap();
    trail.manifest().unwrap();
    hand.commit().unwrap();
    let notices = notices(&journal);
    let all: Vec<_> = extents(&notices).into_iter().flat_map(|(_, extents)| extents).collect();
    assert_eq!(all, (0..40).map(|partition| (partition, 0, 1, 0)).collect::<Vec<_>>());
    assert_eq!(notices.len(), 3);
}

#[tokio::test]
async fn a_gap_is_told_once_its_notice_is_durable() {
    let (journal, hand, trail) = site();
    let at = TopicPartition { topic: topic("air"), partition: Partition(1) };
    let forward = forward();
    let mut told = trail.tell(Gap { at, from: Offset(4), to: Offset(9), reason: "too old".into() }, &forward);
    assert!(timeout(Duration::from_millis(20), &mut told).await.is_err(), "it is not durable");
    hand.commit().unwrap();
    assert_eq!(told.await, Ok(true));
    let (identity, topic) = (format!("{:032x}", journal.identity()), topic("air"));
    let (partition, from, to, reason) = (Partition(1), Offset(4), Offset(9), "too old".to_owned());
    assert_eq!(notices(&journal), [Notice::Gap { journal: identity, topic, partition, from, to, reason, sink: None }]);
}

#[tokio::test]
async fn each_sink_has_its_own_notices_of_the_topics_that_it_takes() {
    let (journal, hand, mut trail) = site();
    let other = Group::new("analytics").unwrap();
    trail.sinks.push((other.clone(), Interest::new(["air"]).unwrap()));
    append(&journal, "air", 1, 3);
    append(&journal, "noise", 0, 1);
    hand.commit().unwrap();
    let at = TopicPartition { topic: topic("air"), partition: Partition(1) };
    journal.commit_cursors(&other, &[lamppost_event::Cursor { at: at.clone(), next: Offset(2) }]).unwrap();
    trail.manifest().unwrap();
    let trail = Arc::new(trail);
    let gap = Gap { at, from: Offset(2), to: Offset(3), reason: "lapped".into() };
    let sink_trail = trail.of(other.clone());
    let mut told = sink_trail.tell(gap);
    assert!(timeout(Duration::from_millis(20), &mut told).await.is_err(), "it is not durable");
    hand.commit().unwrap();
    assert_eq!(told.await, Ok(true));
    let notices = notices(&journal);
    let (theirs, ours): (Vec<_>, Vec<_>) = notices.into_iter().partition(|notice| notice.is_of("analytics"));
    assert_eq!(extents(&ours), [("air", vec![(1, 0, 3, 0)]), ("noise", vec![(0, 0, 1, 0)])]);
    assert_eq!(extents(&theirs), [("air", vec![(1, 0, 3, 2)])]);
    assert!(matches!(&theirs[1], Notice::Gap { sink: Some(sink), .. } if *sink == other), "{theirs:?}");
}
