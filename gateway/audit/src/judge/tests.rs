use std::ops::Range;

use super::*;
use crate::report::Verdict;

/// An honest run: `keys` senders, `each` events of each, delivered as they were journalled.
struct Run {
    records: Vec<Owned>,
    ledger: Vec<LedgerEntry>,
}

#[derive(Clone)]
struct Owned {
    key: String,
    partition: Partition,
    id: String,
    sender: String,
    lane: Lane,
}

const PARTITIONS: u16 = 4;

/// A record of which nothing is known.
const NOTHING: Record<'static> = Record {
    topic: "air",
    partition: Partition(0),
    partitions: 1,
    offset: 0,
    key: b"k",
    id: None,
    mark: None,
    time_ms: 0,
    lane: Lane::Only,
    reason: None,
    notice: None,
};

fn run(keys: u64, each: u64) -> Run {
    let (mut records, mut ledger) = (Vec::new(), Vec::new());
    let mut ends = [0_u64; PARTITIONS as usize];
    for n in 0..each {
        for key in 0..keys {
            let key = format!("dev-{key}");
            let partition = partition_of(key.as_bytes(), PARTITIONS);
            let end = &mut ends[usize::from(partition.0)];
            let (id, sender) = (format!("g/00000000000000aa/air/{partition}/{end}"), format!("{key}:{n}"));
            *end += 1;
            let mark = Mark::Id { id: sender.clone() };
            ledger.push(LedgerEntry { topic: Some("air".into()), key: Some(key.clone()), mark });
            records.push(Owned { key, partition, id, sender, lane: Lane::Only });
        }
    }
    Run { records, ledger }
}

/// The verdict; the same whenever the ledger is heard.
fn judge(run: &Run) -> Report {
    let mut judge = Judge::new();
    hear(&mut judge, run);
    see(&mut judge, run, 0, run.records.len());
    let report = judge.verdict(&["dev.ledger".to_owned()]);
    for before in [0, run.records.len() / 2, run.records.len()] {
        let mut judge = Judge::of_a_run();
        see(&mut judge, run, 0, before);
        hear(&mut judge, run);
        judge.hear_no_more();
        see(&mut judge, run, before, run.records.len());
        assert_eq!(judge.verdict(&["dev.ledger".to_owned()]), report, "{before} records before the ledger");
    }
    report
}

/// The same where there are more faults than examples: which of them are kept depends on when the ledger is heard.
fn judge_once(run: &Run) -> Report {
    let mut judge = Judge::new();
    hear(&mut judge, run);
    see(&mut judge, run, 0, run.records.len());
    judge.verdict(&["dev.ledger".to_owned()])
}

fn hear(judge: &mut Judge, run: &Run) {
    for (line, entry) in (1..).zip(&run.ledger) {
        judge.expect(LedgerIndex(0), line, entry);
    }
}

fn see(judge: &mut Judge, run: &Run, from: usize, to: usize) {
    for (offset, record) in (0..).zip(&run.records).take(to).skip(from) {
        judge.observe(&Record {
            topic: "air",
            partition: record.partition,
            partitions: PARTITIONS,
            offset,
            key: record.key.as_bytes(),
            id: Some(&record.id),
            mark: Some(MarkRef::Id(&record.sender)),
            lane: record.lane,
            ..NOTHING
        });
    }
}

/// The indexes of the records of one sender.
fn of(run: &Run, key: &str) -> Vec<usize> {
    run.records.iter().enumerate().filter(|(_, record)| record.key == key).map(|(at, _)| at).collect()
}

#[test]
fn an_honest_run_has_no_fault() {
    let report = judge(&run(5, 20));
    assert_eq!((report.acknowledged, report.journaled, report.delivered, report.found), (100, 100, 100, 100));
    assert_eq!((report.out_of_order(), report.duplicated(), report.lost), (0, 0, 0));
    assert!(report.is_kept(), "{report}");
}

#[test]
fn a_dropped_record_is_lost_and_leaves_a_hole() {
    let mut run = run(5, 20);
    let at = of(&run, "dev-3")[7];
    let id = run.records.remove(at).id;
    let report = judge(&run);
    assert_eq!((report.lost, report.missing_offsets, report.delivered, report.journaled), (1, 1, 99, 100));
    assert_eq!(report.examples.lost, [format!("dev.ledger:{}", at + 1)]);
    assert!(id.starts_with(report.examples.missing_offsets[0].split(':').next().unwrap()));
    assert!(!report.is_kept());
}

#[test]
fn a_lost_tail_is_seen_by_the_ledger_although_no_offset_is_missing() {
    let mut run = run(5, 20);
    run.records.truncate(90);
    let report = judge(&run);
    assert_eq!((report.lost, report.missing_offsets), (10, 0));
    assert!(!report.is_kept());
}

#[test]
fn what_is_delivered_twice_is_told_from_what_is_sent_twice() {
    let mut run = run(5, 20);
    let last = of(&run, "dev-2");
    let again = run.records[last[3]].clone();
    run.records.push(again);
    let mut resent = run.records[last[4]].clone();
    resent.id = resent.id.rsplit_once('/').map(|(front, _)| format!("{front}/40")).unwrap();
    run.records.push(resent);
    let report = judge(&run);
    assert_eq!((report.delivered_twice, report.sent_twice), (1, 1));
    assert_eq!((report.out_of_order(), report.lost), (0, 0), "order is judged on first occurrences");
}

#[test]
fn a_whole_stretch_that_is_delivered_again_is_no_disorder() {
    let mut run = run(5, 20);
    let again = run.records[40..80].to_vec();
    run.records.splice(80..80, again);
    let report = judge(&run);
    assert_eq!((report.delivered_twice, report.out_of_order()), (40, 0));
    assert!(report.is_kept(), "{report}");
}

#[test]
fn two_records_of_a_key_that_changed_places_are_out_of_order_by_both_judgements() {
    let mut run = run(5, 20);
    let places = of(&run, "dev-1");
    run.records.swap(places[5], places[6]);
    let report = judge(&run);
    assert_eq!(report.out_of_order_by_ledger, 1);
    assert!(report.out_of_order_by_journal >= 1, "{report}");
    assert!(!report.is_kept());
}

/// Events 40 to 80 come behind 80 to 100, each with the mark of its lane.
fn live_first() -> Run {
    let mut run = run(5, 20);
    let backlog = run.records.drain(40..80).map(|record| Owned { lane: Lane::Backfill, ..record });
    let backlog: Vec<Owned> = backlog.collect();
    run.records.iter_mut().skip(40).for_each(|record| record.lane = Lane::Live);
    run.records.extend(backlog);
    run
}

#[test]
fn a_backlog_behind_what_was_live_is_no_disorder_if_it_is_marked() {
    let report = judge(&live_first());
    assert_eq!((report.out_of_order(), report.backfilled, report.lost, report.missing_offsets), (0, 40, 0, 0));
    assert!(report.is_kept(), "{report}");

    let mut unmarked = live_first();
    unmarked.records.iter_mut().for_each(|record| record.lane = Lane::Only);
    let report = judge_once(&unmarked);
    assert!(report.out_of_order_by_journal > 0 && report.out_of_order_by_ledger > 0, "{report}");
}

#[test]
fn each_lane_is_in_order_by_itself_and_loses_nothing_for_being_marked() {
    let key = |run: &Run, at: usize| run.records[at].key.clone();
    for lane in [false, true] {
        let mut run = live_first();
        let of: Vec<usize> = (0..100).filter(|at| (run.records[*at].lane == Lane::Backfill) == lane).collect();
        let first = of[0];
        let second = of.iter().copied().find(|at| *at != first && key(&run, *at) == key(&run, first)).unwrap();
        run.records.swap(first, second);
        let report = judge_once(&run);
        assert!(report.out_of_order_by_journal > 0 && report.out_of_order_by_ledger > 0, "backfill {lane}: {report}");
    }
    let mut run = live_first();
    run.records.remove(90);
    let report = judge(&run);
    assert_eq!((report.lost, report.missing_offsets, report.out_of_order()), (1, 1, 0));
}

#[test]
fn a_backlog_that_comes_again_is_delivered_twice_with_a_mark_or_without() {
    let mut run = live_first();
    let again: Vec<Owned> = run.records[70..75].iter().map(|r| Owned { lane: Lane::Only, ..r.clone() }).collect();
    run.records.extend(again);
    let report = judge(&run);
    assert_eq!((report.delivered_twice, report.out_of_order(), report.backfilled), (5, 0, 40));
}

#[test]
fn a_journal_that_took_events_in_the_wrong_order_is_caught_by_the_ledger_alone() {
    let mut run = run(1, 20);
    let (a, b) = (run.records[5].sender.clone(), run.records[6].sender.clone());
    (run.records[5].sender, run.records[6].sender) = (b, a);
    let report = judge(&run);
    assert_eq!((report.out_of_order_by_ledger, report.out_of_order_by_journal), (1, 0));
}

#[test]
fn a_record_in_the_wrong_partition_or_under_another_key_is_seen() {
    let mut run = run(5, 20);
    let at = *of(&run, "dev-4").last().unwrap();
    run.records[at].partition = Partition((run.records[at].partition.0 + 1) % PARTITIONS);
    let report = judge(&run);
    assert_eq!((report.misplaced, report.wrong_key), (1, 0));

    let mut run = self::run(1, 20);
    run.ledger[3].key = Some("somebody else".into());
    assert_eq!(judge(&run).wrong_key, 1);
}

#[test]
fn a_node_is_judged_by_device_boot_and_sequence_in_any_topic() {
    let mut judge = Judge::new();
    let mark = |sequence| Mark::Sequence { device: "node-1".into(), boot: 3, sequence };
    for (line, sequence) in [(1, 1), (2, 2), (3, 3)] {
        judge.expect(LedgerIndex(0), line, &LedgerEntry { topic: None, key: None, mark: mark(sequence) });
    }
    for (topic, offset, sequence) in [("air", 0, 2), ("energy", 0, 1), ("air", 1, 2)] {
        judge.observe(&Record {
            topic,
            partition: Partition(0),
            partitions: 1,
            offset,
            key: b"node-1",
            id: Some(&format!("g/00000000000000aa/{topic}/0/{offset}")),
            mark: Some(MarkRef::from(&mark(sequence))),
            ..NOTHING
        });
    }
    let report = judge.verdict(&[]);
    assert_eq!((report.lost, report.sent_twice), (1, 1));
    assert_eq!(report.out_of_order_by_ledger, 0, "between topics there is no order");
}

#[test]
fn holes_in_the_sequence_of_a_sender_are_no_loss() {
    let mark = |sequence| Mark::Sequence { device: "node-1".into(), boot: 3, sequence };
    // The node dropped 3, 4, 6, 7 and 8 itself, and was acknowledged the rest, but for 10: its acknowledgement was lost.
    let (sent, acknowledged) = ([1, 2, 5, 9, 10], [1, 2, 5, 9]);
    for heard in [&acknowledged[..], &[]] {
        let mut judge = Judge::new();
        for (line, sequence) in (1..).zip(heard) {
            judge.expect(LedgerIndex(0), line, &LedgerEntry { topic: None, key: None, mark: mark(*sequence) });
        }
        for (offset, sequence) in (0..).zip(sent) {
            judge.observe(&Record {
                topic: "energy",
                partition: Partition(0),
                partitions: 1,
                offset,
                key: b"node-1",
                id: Some(&format!("g/00000000000000aa/energy/0/{offset}")),
                mark: Some(MarkRef::from(&mark(sequence))),
                ..NOTHING
            });
        }
        let report = judge.verdict(&[]);
        assert_eq!((report.found, report.lost, report.missing_offsets), (heard.len() as u64, 0, 0));
        assert!(report.is_kept(), "{report}");
    }
}

#[test]
fn another_epoch_begins_anew_and_a_foreign_record_is_only_counted() {
    let mut judge = Judge::new();
    let ids = ["g/00000000000000aa/air/0/7", "g/00000000000000bb/air/0/0", "g/00000000000000bb/air/0/1", "not an id"];
    for (offset, id) in (0..).zip(ids) {
        let (topic, key) = ("air", b"k".as_slice());
        judge.observe(&Record { topic, partition: Partition(0), partitions: 1, offset, key, id: Some(id), ..NOTHING });
    }
    let report = judge.verdict(&[]);
    assert_eq!((report.delivered, report.foreign, report.missing_offsets, report.out_of_order()), (3, 1, 0, 0));
    assert_eq!(report.partitions.len(), 2);
}

#[test]
fn the_report_is_json_and_a_table() {
    let mut run = run(2, 5);
    run.records.remove(4);
    let report = judge(&run);
    let json: serde_json::Value = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["acknowledged"], &json["lost"]), (&10.into(), &1.into()));
    assert_eq!(json["partitions"][0]["epoch"], "00000000000000aa");
    let table = report.to_string();
    assert!(table.contains("lost                                   1   e.g. dev.ledger:5"), "{table}");
    assert!(table.contains("THE PROMISE WAS BROKEN"), "{table}");
}

#[test]
fn what_the_ledgers_lack_is_not_called_lost_while_as_much_may_be_on_its_way() {
    let mut run = live_first();
    run.records.truncate(70);
    let report = judge_once(&run);
    assert_eq!((report.lost, report.missing_offsets, report.open, report.verdict()), (30, 0, 30, Verdict::Open));
    // One more than can be on its way.
    run.ledger.push(LedgerEntry {
        topic: Some("air".into()),
        key: Some("dev-0".into()),
        mark: Mark::Id { id: "dev-0:never".into() },
    });
    let report = judge_once(&run);
    assert_eq!((report.lost, report.open, report.verdict()), (31, 30, Verdict::Broken));
}

/// A device's events: which (gateway, topic, offset) had which number of its count.
fn counted(judge: &mut Judge, of: &[(&str, &str, u64, u64)]) {
    for (place, (gateway, topic, offset, sequence)) in (0..).zip(of) {
        judge.observe(&Record {
            topic,
            offset: place,
            key: b"node-1",
            id: Some(&format!("{gateway}/00000000000000aa/{topic}/0/{offset}")),
            mark: Some(MarkRef::Sequence { device: "node-1", boot: 3, sequence: *sequence }),
            ..NOTHING
        });
    }
}

fn line(topic: &str, sequence: u64) -> LedgerEntry {
    let mark = Mark::Sequence { device: "node-1".into(), boot: 3, sequence };
    LedgerEntry { topic: Some(topic.into()), key: None, mark }
}

#[test]
fn what_looks_as_if_it_were_sent_twice_is_found_all_the_same() {
    // Two hashes that are taken for one do the same as a number that is used in two topics.
    let mut judge = Judge::new();
    judge.expect(LedgerIndex(0), 1, &line("air", 5));
    judge.expect(LedgerIndex(0), 2, &line("energy", 5));
    counted(&mut judge, &[("g", "air", 0, 5), ("g", "energy", 0, 5)]);
    let report = judge.verdict(&[]);
    assert_eq!((report.sent_twice, report.found, report.lost), (1, 2, 0));
}

#[test]
fn holes_and_disorder_in_a_devices_count_are_told_and_are_no_fault() {
    let mut judge = Judge::new();
    let sent = [1, 2, 5, 4, 9, 1].into_iter().enumerate();
    let of: Vec<_> = sent.map(|(offset, sequence)| ("g", "air", offset as u64, sequence)).collect();
    counted(&mut judge, &of);
    // In another topic, which is read later, there is no order between.
    counted(&mut judge, &[("g", "energy", 0, 3), ("g", "energy", 1, 7)]);
    let report = judge.verdict(&[]);
    let counts = (report.sequences, report.sequence_holes, report.sequence_out_of_order, report.sent_twice);
    assert_eq!(counts, (1, 2, 1, 1));
    assert_eq!(report.examples.sequence_holes, ["node-1 in boot 3: 6 to 6"]);
    assert_eq!(report.examples.sequence_out_of_order, ["node-1 in boot 3: 4 comes after 5, at air/0@3"]);
    assert!(report.is_kept(), "{report}");
    let table = report.to_string();
    assert!(table.contains("2   e.g. node-1 in boot 3: 6 to 6"), "{table}");
    assert!(!table.contains("senders only"), "{table}");
}

#[test]
fn with_too_little_memory_for_all_senders_the_report_says_of_how_many_it_speaks() {
    let mut judge = Judge::new().within(64 << 10);
    let (run, key) = (run(2_000, 2), MarkRef::Id("dev-0:0"));
    see(&mut judge, &run, 0, run.records.len());
    assert!(!judge.is_full(), "{key:?}");
    let report = judge.verdict(&[]);
    let one_of = report.senders_one_of;
    assert!(one_of > 1 && report.is_kept(), "{report}");
    assert!(report.to_string().contains(&format!("of one in {one_of} senders only")), "{report}");
    let holes = (0..40_000).map(|n| ("g", "air", 2 * n, n)).collect::<Vec<_>>();
    let mut judge = Judge::new().within(64 << 10);
    counted(&mut judge, &holes);
    assert!(judge.is_full(), "a hole at every second offset");
}

/// A ledger has ten events of a gateway, of which those of `there` came.
fn ten_acknowledged(judge: &mut Judge, gateway: &str, there: impl IntoIterator<Item = u64>) {
    for n in 0..10 {
        let mark = Mark::Id { id: format!("{gateway}:{n}") };
        let entry = LedgerEntry { topic: Some("air".into()), key: Some(gateway.into()), mark };
        judge.expect(LedgerIndex(0), 1, &entry);
    }
    for n in there {
        judge.observe(&Record {
            key: gateway.as_bytes(),
            id: Some(&format!("{gateway}/00000000000000aa/air/0/{n}")),
            mark: Some(MarkRef::Id(&format!("{gateway}:{n}"))),
            ..NOTHING
        });
    }
}

/// What two gateways have delivered of a topic, and how much of it is late by the second one's manifest; both have senders of one ledger.
fn of_two_gateways(first: u64, second: u64, late: u64) -> Report {
    let mut judge = Judge::new();
    ten_acknowledged(&mut judge, "a", 0..first);
    ten_acknowledged(&mut judge, "b", 0..second);
    let extent = format!(r#"{{"partition":0,"first":0,"next":{},"done":{second}}}"#, second + late);
    let notice = format!(r#"{{"notice":"manifest","journal":"1","topic":"air","partitions":[{extent}]}}"#);
    judge.observe(&Record {
        topic: "audit-trail",
        id: Some("b/00000000000000aa/audit-trail/0/0"),
        notice: Some(notice.as_bytes()),
        ..NOTHING
    });
    judge.verdict(&[])
}

#[test]
fn what_one_gateway_has_lost_is_not_excused_by_what_another_has_still_to_bring() {
    let behind = of_two_gateways(10, 7, 3);
    assert_eq!((behind.lost, behind.late, behind.lost_for_good, behind.verdict()), (3, 3, 0, Verdict::Open));
    let lost = of_two_gateways(9, 8, 3);
    assert_eq!((lost.lost, lost.late, lost.lost_for_good, lost.verdict()), (3, 3, 1, Verdict::Broken));
    // Of whose gateway nothing is known may be to come from any.
    let unknown = of_two_gateways(10, 0, 10);
    assert_eq!((unknown.lost, unknown.lost_for_good, unknown.verdict()), (10, 0, Verdict::Open));
}

#[test]
fn what_another_gateway_lost_or_dropped_is_not_in_the_verdict_of_the_one_that_is_asked_for() {
    let of = |gateways: &[&str]| {
        let gateways: Vec<_> = gateways.iter().map(|name| GatewayId::new(name).unwrap()).collect();
        let mut judge = Judge::new().of_gateways(&gateways);
        for id in ["a/00000000000000aa/air/0/0", "a/00000000000000aa/air/0/1", "b/00000000000000aa/air/0/0"] {
            judge.observe(&Record { id: Some(id), ..NOTHING });
        }
        // Of b an event is missing, and its trail tells of a damaged notice.
        judge.observe(&Record { id: Some("b/00000000000000aa/air/0/2"), ..NOTHING });
        for (offset, from) in [(0, 7), (2, 1)] {
            let id = format!("b/00000000000000aa/audit-trail/0/{offset}");
            let (notice, to) =
                (r#"{"notice":"gap","journal":"1","topic":"audit-trail","partition":0,"from""#, from + 1);
            let notice = format!(r#"{notice}:{from},"to":{to},"reason":"damaged on the disk"}}"#);
            judge.observe(&Record { topic: "audit-trail", id: Some(&id), notice: Some(notice.as_bytes()), ..NOTHING });
        }
        judge.verdict(&[])
    };
    let counts = |report: &Report| (report.delivered, report.missing_offsets, report.dropped, report.others);
    let all = of(&[]);
    assert_eq!((counts(&all), all.verdict()), ((6, 1, 1, 0), Verdict::Broken), "{all}");
    let first = of(&["a"]);
    assert_eq!((counts(&first), first.verdict()), ((2, 0, 0, 4), Verdict::Kept), "{first}");
    assert_eq!(counts(&of(&["b"])), (4, 1, 1, 2));
    assert_eq!(counts(&of(&["a", "b"])), counts(&all));
    // One that is not there did not keep its promise: nobody knows.
    let unknown = of(&["a", "c"]);
    assert_eq!((counts(&unknown), unknown.verdict()), (counts(&first), Verdict::Open), "{unknown}");
    assert!(unknown.to_string().contains("nothing of a gateway called c is in these topics; but of b\n"), "{unknown}");
}

/// Of ten acknowledged events of each of two gateways, those of `there` came; the first one's trail names the offsets of `damaged`.
fn of_a_damaged_journal(there: [&[u64]; 2], damaged: Range<u64>) -> Report {
    let mut judge = Judge::new();
    ten_acknowledged(&mut judge, "a", there[0].iter().copied());
    ten_acknowledged(&mut judge, "b", there[1].iter().copied());
    let Range { start, end } = damaged;
    let notice = format!(
        r#"{{"notice":"gap","journal":"1","topic":"air","partition":0,"from":{start},"to":{end},"reason":"damaged on the disk"}}"#
    );
    judge.observe(&Record {
        topic: "audit-trail",
        id: Some("a/00000000000000aa/audit-trail/0/0"),
        notice: Some(notice.as_bytes()),
        ..NOTHING
    });
    judge.verdict(&[])
}

#[test]
fn what_the_ledger_lacks_is_no_broken_promise_as_far_as_a_gap_notice_of_its_gateway_and_topic_names_as_much() {
    let (whole, but_three): (Vec<u64>, _) = ((0..10).collect(), [0, 1, 2, 3, 7, 8, 9]);
    let counts = |report: &Report| (report.lost, report.dropped, report.lost_untold, report.lost_for_good);
    let told = of_a_damaged_journal([&but_three, &whole], 4..7);
    assert_eq!((counts(&told), told.verdict()), ((3, 3, 0, 0), Verdict::Kept));
    // One of the three offsets is not named.
    let less = of_a_damaged_journal([&but_three, &whole], 4..6);
    assert_eq!((counts(&less), less.verdict()), ((3, 2, 1, 1), Verdict::Broken));
    // One more of this gateway's, and one of another's.
    let other = of_a_damaged_journal([&but_three[1..], &whole[..9]], 4..7);
    assert_eq!((counts(&other), other.verdict()), ((5, 3, 2, 2), Verdict::Broken));
}

#[test]
fn of_a_ledger_nothing_before_the_first_event_that_is_found_was_looked_for_where_reading_began_later() {
    let mut run = run(2, 10);
    let (lost, before) = (of(&run, "dev-1")[6], of(&run, "dev-1")[3]);
    let left: Vec<Owned> =
        run.records.drain(..).enumerate().filter(|(at, _)| *at >= 8 && *at != lost).map(|(_, r)| r).collect();
    run.records = left;
    assert!(before < 8);
    let mut judge = Judge::new().since_some_time();
    judge.note_trimmed("air");
    hear(&mut judge, &run);
    see(&mut judge, &run, 0, run.records.len());
    let report = judge.verdict(&[]);
    assert_eq!((report.before_since, report.lost, report.missing_offsets), (8, 1, 1), "{report}");
    assert!(!report.is_kept());
    assert_eq!(judge_once(&run).lost, 9);
}
