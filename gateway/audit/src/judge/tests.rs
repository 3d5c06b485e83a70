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
