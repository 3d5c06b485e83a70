use lamppost_event::{AUDIT_TRAIL, Group, Offset, buried};

use super::*;
use crate::{Judge, Lane, Record, Verdict};

fn forward() -> Group {
    Group::new(MAIN_SINK).unwrap()
}

/// What a cluster holds, record by record.
struct Cluster {
    judge: Judge,
    records: i64,
}

const JOURNAL: &str = "00000000000000000000000000000001";

impl Cluster {
    fn new() -> Self {
        Self { judge: Judge::new(), records: 0 }
    }

    fn observe(&mut self, id: &str, notice: Option<&Notice>, reason: Option<&str>, time_ms: i64) {
        self.observe_in(Lane::Only, id, notice, reason, time_ms);
    }

    fn observe_in(&mut self, lane: Lane, id: &str, notice: Option<&Notice>, reason: Option<&str>, time_ms: i64) {
        let notice = notice.map(|notice| serde_json::to_vec(notice).unwrap());
        self.records += 1;
        self.judge.observe(&Record {
            topic: "all",
            partition: Partition(0),
            partitions: 1,
            offset: self.records,
            key: b"post",
            id: Some(id),
            mark: None,
            time_ms,
            lane,
            reason,
            notice: notice.as_deref(),
        });
    }

    fn events(mut self, epoch: u64, offsets: impl IntoIterator<Item = u64>) -> Self {
        for offset in offsets {
            self.observe(&format!("post/{epoch:016x}/air/0/{offset}"), None, None, 0);
        }
        self
    }

    fn lane(mut self, lane: Lane, epoch: u64, offsets: impl IntoIterator<Item = u64>) -> Self {
        for offset in offsets {
            self.observe_in(lane, &format!("post/{epoch:016x}/air/0/{offset}"), None, None, 0);
        }
        self
    }

    fn notice(mut self, epoch: u64, notice: &Notice, time_ms: i64) -> Self {
        let id = format!("post/{epoch:016x}/{AUDIT_TRAIL}/0/{}", self.records);
        self.observe(&id, Some(notice), None, time_ms);
        self
    }

    fn gap(self, epoch: u64, from: u64, to: u64, reason: &str) -> Self {
        let (journal, topic, partition) = (JOURNAL.to_owned(), Topic::new("air").unwrap(), Partition(0));
        let (from, to, reason) = (Offset(from), Offset(to), reason.to_owned());
        self.notice(epoch, &Notice::Gap { journal, topic, partition, from, to, reason, sink: None }, 0)
    }

    /// All of what it tells of was delivered.
    fn manifest(self, epoch: u64, journal: &str, first: u64, next: u64, time_ms: i64) -> Self {
        self.manifest_with(epoch, journal, [first, next, next], time_ms)
    }

    fn manifest_with(self, epoch: u64, journal: &str, extent: [u64; 3], time_ms: i64) -> Self {
        self.manifest_of("air", epoch, journal, extent, time_ms)
    }

    fn manifest_of(self, topic: &str, epoch: u64, journal: &str, [first, next, done]: [u64; 3], time_ms: i64) -> Self {
        let (first, next, done) = (Offset(first), Offset(next), Offset(done));
        let partitions = vec![Extent { partition: Partition(0), first, next, done }];
        let notice =
            Notice::Manifest { journal: journal.to_owned(), topic: Topic::new(topic).unwrap(), partitions, sink: None };
        self.notice(epoch, &notice, time_ms)
    }

    fn dead_letter(mut self, epoch: u64, of: u64, at: u64) -> Self {
        let reason = buried(&forward(), &format!("post/{epoch:016x}/air/0/{of}").parse().unwrap(), "too large");
        self.observe(&format!("post/{epoch:016x}/dead-letters/0/{at}"), None, Some(&reason), 0);
        self
    }

    /// The audit trail's own offsets are of no concern here.
    fn verdict(self) -> Report {
        let mut report = self.judge.verdict(&[]);
        report.partitions.retain(|partition| partition.topic.as_str() == "air");
        report
    }
}

/// Missing, lost tail, late, dropped, buried.
fn counts(report: &Report) -> [u64; 5] {
    let sum = |of: fn(&PartitionReport) -> u64| report.partitions.iter().map(of).sum();
    [sum(|p| p.missing), sum(|p| p.lost_tail), sum(|p| p.late), sum(|p| p.dropped), sum(|p| p.buried)]
}

#[test]
fn a_gap_that_is_told_is_no_loss_and_what_it_does_not_cover_is() {
    let cluster = Cluster::new().events(1, (0..10).chain(20..30)).gap(1, 8, 18, "given up for want of room");
    let report = cluster.verdict();
    assert_eq!(counts(&report), [2, 0, 0, 8, 0]);
    assert_eq!(report.dropped_for, BTreeMap::from([("given up for want of room".to_owned(), 8)]));
    assert!(!report.is_kept());
    assert_eq!(report.examples.missing_offsets.len(), 1);
    assert!(report.examples.missing_offsets[0].ends_with("/air/0: 18 to 19"), "{:?}", report.examples);
}

#[test]
fn below_the_first_offset_seen_what_is_told_of_counts_and_the_rest_may_have_been_there() {
    let report = Cluster::new().events(1, 20..30).gap(1, 0, 15, "too old").dead_letter(1, 17, 0).verdict();
    assert_eq!((counts(&report), report.is_kept()), ([0, 0, 0, 15, 1], true));
    let nothing_else = Cluster::new().gap(1, 0, 15, "too old").manifest(1, JOURNAL, 15, 18, 1).verdict();
    assert_eq!(counts(&nothing_else), [0, 3, 0, 15, 0]);
}

#[test]
fn gaps_that_are_told_twice_or_overlap_count_once_and_each_reason_for_itself() {
    let cluster = Cluster::new().events(1, [0, 30]).gap(1, 1, 10, "too old").gap(1, 1, 10, "too old");
    let report = cluster.gap(1, 5, 30, "damaged on the disk").verdict();
    assert_eq!(counts(&report), [0, 0, 0, 29, 0]);
    let reasons = [("too old".to_owned(), 9), ("damaged on the disk".to_owned(), 20)];
    assert_eq!(report.dropped_for, BTreeMap::from(reasons));
    assert!(report.is_kept());
}

#[test]
fn a_dead_letter_stands_for_its_event() {
    let report = Cluster::new().events(1, [0, 1, 4]).dead_letter(1, 2, 0).dead_letter(1, 2, 1).verdict();
    assert_eq!(counts(&report), [1, 0, 0, 0, 1]);
}

#[test]
fn a_lost_tail_shows_by_a_manifest_and_a_late_one_is_told_from_it() {
    let lost = Cluster::new().events(1, 0..5).manifest(1, JOURNAL, 0, 9, 100).verdict();
    assert_eq!((counts(&lost), lost.is_kept()), ([0, 4, 0, 0, 0], false));
    let mut cluster = Cluster::new();
    cluster.judge = cluster.judge.with_late_from(1_000);
    let late = cluster.events(1, 0..5).manifest(1, JOURNAL, 0, 6, 999).manifest(1, JOURNAL, 0, 9, 1_000).verdict();
    assert_eq!((counts(&late), late.late, late.lost_tail), ([0, 1, 3, 0, 0], 3, 1));
    let there = Cluster::new().events(1, 0..9).manifest(1, JOURNAL, 0, 9, 100).verdict();
    assert_eq!((counts(&there), there.is_kept()), ([0; 5], true));
}

#[test]
fn what_no_manifest_calls_delivered_is_late_however_old_and_below_that_it_is_lost() {
    let paused = Cluster::new().events(1, 0..5).manifest_with(1, JOURNAL, [0, 50, 5], 1).verdict();
    assert_eq!((counts(&paused), paused.is_kept()), ([0, 0, 45, 0, 0], true));
    // A gap's notice comes at the journal's end: until a manifest behind it is there, the hole is not judged.
    let catching_up = Cluster::new().events(1, (0..5).chain(8..20)).manifest_with(1, JOURNAL, [0, 50, 5], 1).verdict();
    assert_eq!((counts(&catching_up), catching_up.is_kept()), ([0, 0, 33, 0, 0], true));
    let passed = Cluster::new().events(1, (0..5).chain(8..20)).manifest_with(1, JOURNAL, [0, 50, 7], 1).verdict();
    assert_eq!((counts(&passed), passed.is_kept()), ([2, 0, 31, 0, 0], false));
}

#[test]
fn an_epoch_without_a_notice_is_the_gateways_only_journals_and_what_the_cluster_dropped_is_not_judged() {
    let quiet = Cluster::new().events(1, 0..100).manifest(2, JOURNAL, 0, 100, 1).verdict();
    assert_eq!((counts(&quiet), quiet.is_kept()), ([0; 5], true));
    let mut expired = Cluster::new().manifest(1, JOURNAL, 0, 100, 1);
    expired.judge.note_trimmed("city.air");
    assert_eq!(counts(&expired.verdict()), [0; 5]);
}

#[test]
fn an_epoch_without_a_notice_is_given_to_none_of_several_journals() {
    let cluster = Cluster::new().events(1, 0..10).events(2, 20..30).events(3, 40..45);
    let cluster = cluster.manifest(2, JOURNAL, 20, 30, 1).manifest(3, "00000000000000000000000000000002", 40, 45, 1);
    let report = cluster.verdict();
    assert_eq!((counts(&report), report.partitions.len()), ([0; 5], 3));
}

#[test]
fn a_dead_letter_of_another_gateway_stands_for_nothing_of_ours() {
    let mut cluster = Cluster::new().events(1, [0, 1, 3]);
    let reason = buried(&forward(), &"post/0000000000000001/air/0/2".parse().unwrap(), "too large");
    cluster.observe("other/0000000000000001/dead-letters/0/0", None, Some(&reason), 0);
    assert_eq!(counts(&cluster.verdict()), [1, 0, 0, 0, 0]);
}

#[test]
fn of_topics_that_were_not_asked_for_manifests_count_for_nothing_and_of_those_that_were_they_do() {
    for (wanted, lost) in [("air", 9), ("noise", 0)] {
        let mut cluster = Cluster::new();
        cluster.judge = cluster.judge.with_topics(&[wanted.to_owned()]);
        assert_eq!(counts(&cluster.manifest(1, JOURNAL, 0, 9, 1).verdict()), [0, lost, 0, 0, 0]);
    }
}

#[test]
fn a_topic_whose_name_is_a_part_of_anothers_is_not_taken_for_it() {
    let both = || Cluster::new().manifest(1, JOURNAL, 0, 9, 1).manifest_of("air-quality", 1, JOURNAL, [0, 5, 5], 1);
    let mut asked = both();
    asked.judge = asked.judge.with_topics(&["city.air-quality".to_owned()]);
    assert_eq!(counts(&asked.verdict()), [0; 5], "air was not read: nothing of it is lost");
    let mut trimmed = both();
    trimmed.judge.note_trimmed("city.air-quality");
    assert_eq!(
        counts(&trimmed.verdict()),
        [0, 9, 0, 0, 0],
        "all of air is lost, whatever the cluster dropped of another"
    );
}

#[test]
fn a_partition_of_which_nothing_came_shows_by_its_manifest() {
    let report = Cluster::new().manifest(1, JOURNAL, 3, 9, 100).verdict();
    assert_eq!((counts(&report), report.is_kept()), ([0, 6, 0, 0, 0], false));
    assert_eq!((report.partitions[0].first, report.partitions[0].last), (3, 8));
}

#[test]
fn what_fell_out_between_two_epochs_of_a_journal_is_missed_and_another_journal_begins_anew() {
    let epochs = || Cluster::new().events(1, 0..5).events(2, 8..10).manifest(1, JOURNAL, 0, 4, 1);
    let same = epochs().manifest(2, JOURNAL, 0, 10, 2).verdict();
    assert_eq!(counts(&same), [3, 0, 0, 0, 0]);
    let told = epochs().manifest(2, JOURNAL, 0, 10, 2).gap(2, 5, 8, "damaged on the disk").verdict();
    assert_eq!(counts(&told), [0, 0, 0, 3, 0]);
    let wiped = epochs().manifest(2, "00000000000000000000000000000002", 8, 10, 2).verdict();
    assert_eq!(counts(&wiped), [0; 5]);
}

#[test]
fn an_epoch_that_comes_behind_a_later_one_of_its_journal_is_out_of_order() {
    const OTHER: &str = "00000000000000000000000000000002";
    for (second, out_of_order) in [(JOURNAL, 1), (OTHER, 0)] {
        let turned = Cluster::new().events(2, 5..8).events(1, 0..5);
        let report = turned.manifest(1, JOURNAL, 0, 5, 1).manifest(2, second, 5, 8, 2).verdict();
        assert_eq!((report.out_of_order_by_journal, report.is_kept()), (out_of_order, out_of_order == 0));
    }
    let right =
        Cluster::new().events(1, 0..5).events(2, 5..8).manifest(1, JOURNAL, 0, 5, 1).manifest(2, JOURNAL, 5, 8, 2);
    assert!(right.verdict().is_kept());
}

#[test]
fn places_in_two_topics_of_the_cluster_say_nothing_of_an_order_between_them() {
    // The cluster's topic got another name, and the new one is read first.
    for epochs in [[1_u64, 2], [1, 1]] {
        let mut cluster = Cluster::new();
        for (topic, epoch, offsets, place) in [("air", epochs[1], 5..8_u64, 0), ("town.air", epochs[0], 0..5, 1_000)] {
            for (place, offset) in (place..).zip(offsets) {
                cluster.judge.observe(&Record {
                    topic,
                    partition: Partition(0),
                    partitions: 1,
                    offset: place,
                    key: b"post",
                    id: Some(&format!("post/{epoch:016x}/air/0/{offset}")),
                    mark: None,
                    time_ms: 0,
                    lane: Lane::Only,
                    reason: None,
                    notice: None,
                });
            }
        }
        let cluster = cluster.manifest(epochs[0], JOURNAL, 0, 5, 1).manifest(epochs[1], JOURNAL, 5, 8, 2);
        let report = cluster.verdict();
        assert_eq!((report.out_of_order_by_journal, report.is_kept()), (0, true), "{report}");
    }
}

#[test]
fn reasons_beyond_a_bound_are_counted_together_and_a_notice_that_is_not_understood_is_counted() {
    let mut cluster = Cluster::new().events(1, [0, 101]);
    for n in 0..100 {
        cluster = cluster.gap(1, 1 + n, 2 + n, &format!("reason {n}"));
    }
    cluster.judge.observe(&Record {
        topic: "all",
        partition: Partition(0),
        partitions: 1,
        offset: 1_000,
        key: b"post",
        id: Some("post/0000000000000001/audit-trail/0/1000"),
        mark: None,
        time_ms: 0,
        lane: Lane::Only,
        reason: None,
        notice: Some(b"{\"notice\":\"later\"}"),
    });
    let report = cluster.verdict();
    assert_eq!((report.dropped, report.dropped_for.len(), report.unread_notices), (100, REASONS_MAX + 1, 1));
    assert_eq!(report.dropped_for[OTHER_REASONS], 100 - REASONS_MAX as u64);
}

#[test]
fn what_another_sink_has_lost_had_or_buried_says_nothing_of_this_one() {
    let other = || Some(Group::new("analytics").unwrap());
    let (journal, topic, partition) = (JOURNAL.to_owned(), Topic::new("air").unwrap(), Partition(0));
    let (from, to, reason) = (Offset(2), Offset(4), "lapped".to_owned());
    let extent = Extent { partition, first: Offset(0), next: Offset(9), done: Offset(9) };
    let of_another = [
        Notice::Gap { journal: journal.clone(), topic: topic.clone(), partition, from, to, reason, sink: other() },
        Notice::Manifest { journal, topic, partitions: vec![extent], sink: other() },
    ];
    let told = |sink: &str| {
        let mut cluster = Cluster::new();
        cluster.judge = cluster.judge.of_sink(sink);
        cluster = of_another.iter().fold(cluster.events(1, [0, 1, 4]), |cluster, notice| cluster.notice(1, notice, 0));
        let reason = buried(&other().unwrap(), &"post/0000000000000001/air/0/2".parse().unwrap(), "too large");
        cluster.observe("post/0000000000000001/dead-letters/0/0", None, Some(&reason), 0);
        cluster.verdict()
    };
    let (ours, theirs) = (told(MAIN_SINK), told("analytics"));
    assert_eq!((ours.missing_offsets, ours.dropped, ours.buried, ours.lost_tail), (2, 0, 0, 0));
    assert_eq!((theirs.missing_offsets, theirs.dropped, theirs.buried, theirs.lost_tail), (0, 1, 1, 4));
}

/// Missing, open, and what it comes to.
fn opened(cluster: Cluster) -> (u64, u64, Verdict) {
    let report = cluster.verdict();
    assert_eq!((report.lost_tail, report.late), (0, 0), "no manifest, no tail");
    (report.missing_offsets, report.open, report.verdict())
}

/// Delivered before the outage, of the backlog, and live: up to 40 was stored when the topic was split.
fn backfill_under_way() -> Cluster {
    Cluster::new().events(1, 0..5).lane(Lane::Backfill, 1, 5..8).lane(Lane::Live, 1, 40..50)
}

#[test]
fn in_the_middle_of_a_backfill_without_a_manifest_nothing_is_called_lost_and_nothing_clean() {
    let cluster = backfill_under_way().verdict();
    assert_eq!((cluster.missing_offsets, cluster.open, cluster.verdict()), (0, 32, Verdict::Open));
    assert!(!cluster.is_kept() && cluster.to_string().contains("NO VERDICT YET: a backfill is under way"), "{cluster}");
    assert!(cluster.examples.missing_offsets[0].ends_with("/air/0: 8 to 39"), "{:?}", cluster.examples);
    // What is live may come before the first of the backlog does.
    let first = Cluster::new().events(1, 0..5).lane(Lane::Live, 1, 40..50);
    assert_eq!(opened(first), (0, 35, Verdict::Open));
    // After a crash what is live is of another epoch.
    let crashed = backfill_under_way().lane(Lane::Live, 2, 50..60).lane(Lane::Backfill, 1, 8..10);
    assert_eq!(opened(crashed), (0, 30, Verdict::Open));
    let done = backfill_under_way().lane(Lane::Backfill, 1, 8..40);
    assert_eq!(opened(done), (0, 0, Verdict::Kept));
}

#[test]
fn what_a_backfill_has_passed_is_lost_and_so_is_all_below_once_the_topic_goes_in_one_lane_again() {
    let passed = backfill_under_way().lane(Lane::Backfill, 1, 12..20);
    assert_eq!(opened(passed), (4, 20, Verdict::Broken));
    let over = || backfill_under_way().events(1, 50..60);
    assert_eq!(opened(over()), (32, 0, Verdict::Broken), "its end was lost");
    let again = over().lane(Lane::Backfill, 1, 60..65).lane(Lane::Live, 1, 80..81);
    assert_eq!(opened(again), (32, 15, Verdict::Broken), "another split, and the lost end of the first");
    // That two epochs are of one journal a notice has to say.
    let after_a_crash = backfill_under_way().events(2, 50..60);
    assert_eq!(opened(after_a_crash), (0, 32, Verdict::Open));
    let told = backfill_under_way().events(2, 50..60).gap(2, 38, 40, "damaged");
    assert_eq!(opened(told), (30, 0, Verdict::Broken));
    let never_split = Cluster::new().events(1, (0..5).chain(8..10));
    assert_eq!(opened(never_split), (3, 0, Verdict::Broken));
}

#[test]
fn a_manifest_says_more_than_the_lanes_do_and_what_is_told_of_is_not_open() {
    let told = backfill_under_way().manifest_with(1, JOURNAL, [0, 50, 10], 1).verdict();
    assert_eq!((counts(&told), told.open, told.verdict()), ([2, 0, 30, 0, 0], 0, Verdict::Broken));
    let gaps = backfill_under_way().gap(1, 8, 20, "too old").dead_letter(1, 20, 0);
    assert_eq!(opened(gaps), (0, 19, Verdict::Open));
    let whole = backfill_under_way().gap(1, 8, 40, "too old").verdict();
    assert_eq!((whole.open, whole.dropped, whole.verdict()), (0, 32, Verdict::Kept));
}

#[test]
fn of_a_topic_that_is_not_read_from_its_beginning_nothing_below_the_first_of_each_lane_is_missed() {
    // Read from the middle of a backfill on: what was live before that was not read, nor was the first of the backfill.
    let from_the_middle =
        || Cluster::new().lane(Lane::Live, 1, 60..70).lane(Lane::Backfill, 1, 20..40).events(1, 70..75);
    assert_eq!(opened(from_the_middle()), (20, 0, Verdict::Broken));
    let mut trimmed = from_the_middle();
    trimmed.judge.note_trimmed("all");
    assert_eq!(opened(trimmed), (20, 0, Verdict::Broken), "of another topic");
    let mut trimmed = from_the_middle();
    trimmed.judge.note_trimmed("city.air");
    assert_eq!(opened(trimmed), (0, 0, Verdict::Kept));
    let mut above = from_the_middle().events(1, 80..90);
    above.judge.note_trimmed("city.air");
    assert_eq!(opened(above), (5, 0, Verdict::Broken), "above it is");
}

#[test]
fn what_was_dropped_before_the_time_from_which_on_is_read_is_not_counted() {
    for (since, dropped) in [(false, 30), (true, 10)] {
        let mut cluster = Cluster::new();
        if since {
            cluster.judge = cluster.judge.since_some_time();
        }
        cluster.judge.note_trimmed("city.air");
        let report =
            cluster.events(1, (50..60).chain(70..80)).gap(1, 0, 20, "too old").gap(1, 60, 70, "too old").verdict();
        assert_eq!((counts(&report), report.trimmed_topics, report.is_kept()), ([0, 0, 0, dropped, 0], 1, true));
    }
}

#[test]
fn what_an_older_copy_of_the_journal_gives_numbers_to_again_is_still_missing_of_the_first() {
    // The first had come to 100, of which 50 were delivered; a copy that ended at 30 was put back, and went further.
    let forked = |cluster: Cluster| {
        let cluster = cluster.events(1, 0..50).manifest_with(1, JOURNAL, [0, 100, 50], 0);
        cluster.events(2, 30..120).manifest(2, JOURNAL, 0, 120, 1)
    };
    assert_eq!(counts(&forked(Cluster::new()).verdict()), [0, 50, 0, 0, 0]);
    let told = forked(Cluster::new().gap(1, 50, 100, "given up for want of room"));
    assert_eq!(counts(&told.verdict()), [0, 0, 0, 50, 0]);
    // One that goes on behind the first, and one that was delivered to its end before.
    let behind = Cluster::new().events(1, 0..100).manifest(1, JOURNAL, 0, 100, 0).events(2, 100..120);
    let forked = Cluster::new().events(1, 0..100).manifest(1, JOURNAL, 0, 100, 0).events(2, 30..120);
    for cluster in [behind, forked] {
        assert_eq!(counts(&cluster.manifest(2, JOURNAL, 0, 120, 1).verdict()), [0; 5]);
    }
}
