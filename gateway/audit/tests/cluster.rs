//! The audit against librdkafka's mock cluster.

#![expect(clippy::unwrap_used, reason = "what helps a test fails it by panicking")]

use std::time::Duration;

use lamppost_audit::{AuditConfig, AuditError, Follower, Ledger, LedgerEntry, Mark, Report, Verdict, audit};
use lamppost_event::{GatewayId, WallTime, header, partition_of};
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

const PARTITIONS: u16 = 3;

fn produce(bootstrap: &str, topic: &str, numbers: impl Iterator<Item = u64>) {
    produce_with(bootstrap, topic, numbers, b"x");
}

fn produce_with(bootstrap: &str, topic: &str, numbers: impl Iterator<Item = u64>, payload: &[u8]) {
    produce_in(None, bootstrap, topic, numbers, payload);
}

fn produce_in(lane: Option<&str>, bootstrap: &str, topic: &str, numbers: impl Iterator<Item = u64>, payload: &[u8]) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    for n in numbers {
        let key = "dev-3";
        let partition = partition_of(key.as_bytes(), PARTITIONS);
        let (id, sender) = (format!("g/00000000000000aa/{topic}/{partition}/{n}"), format!("{key}:{n}"));
        let headers = OwnedHeaders::new()
            .insert(Header { key: header::ID, value: Some(&id) })
            .insert(Header { key: header::SENDER_ID, value: Some(&sender) });
        let headers = match lane {
            Some(lane) => headers.insert(Header { key: header::LANE, value: Some(lane) }),
            None => headers,
        };
        let partition = i32::from(partition.0);
        let record = BaseRecord::to(topic).key(key).payload(payload).partition(partition).headers(headers);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();
}

fn note(ledger: &mut Ledger, topic: &str, numbers: impl Iterator<Item = u64>) {
    for n in numbers {
        let mark = Mark::Id { id: format!("dev-3:{n}") };
        ledger.note(&LedgerEntry { topic: Some(topic.into()), key: Some("dev-3".into()), mark });
    }
    ledger.sync().unwrap();
}

fn judged(config: &AuditConfig) -> Report {
    let mut seen = 0;
    let report = audit(config, &mut |progress| seen = progress.records).unwrap();
    assert_eq!(seen, report.records, "progress is told to the end");
    report
}

#[test]
fn the_cluster_is_read_to_its_ends_and_judged_by_the_ledger() {
    let cluster = MockCluster::new(3).unwrap();
    for topic in ["air", "traffic", "empty"] {
        cluster.create_topic(topic, i32::from(PARTITIONS), 1).unwrap();
    }
    let bootstrap = cluster.bootstrap_servers();
    let dir = tempfile::tempdir().unwrap();
    let mut config = AuditConfig::new(&bootstrap);
    config.ledgers = vec![dir.path().join("ledger")];
    let mut ledger = Ledger::append_to(&config.ledgers[0]).unwrap();
    produce(&bootstrap, "air", 0..2000);
    produce(&bootstrap, "traffic", 0..10);
    note(&mut ledger, "air", 0..2000);
    note(&mut ledger, "traffic", 0..10);
    let report = judged(&config);
    assert_eq!((report.acknowledged, report.found, report.records), (2010, 2010, 2010));
    assert!(report.is_kept(), "{report}");

    produce(&bootstrap, "air", 2001..2010);
    note(&mut ledger, "air", 2000..2011);
    let report = judged(&config);
    assert_eq!((report.lost, report.missing_offsets), (2, 1), "one in the middle, one at the end");
    assert!(!report.is_kept());

    config.topics = vec!["traffic".into()];
    config.ledgers.clear();
    assert_eq!(judged(&config).records, 10);
    config.gateways = vec![GatewayId::new("g").unwrap()];
    assert!(judged(&config).is_kept());
    config.gateways = vec![GatewayId::new("another").unwrap()];
    let report = judged(&config);
    assert_eq!((report.others, report.unmet.len(), report.verdict()), (10, 1, Verdict::Open), "{report}");
    config.topics = vec!["nowhere".into()];
    assert!(matches!(audit(&config, &mut |_| {}), Err(AuditError::NoTopic(topic)) if topic == "nowhere"));
}

#[test]
fn what_says_its_id_in_the_payload_alone_is_found_where_the_auditor_says_in_which_member() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("air", i32::from(PARTITIONS), 1).unwrap();
    let bootstrap = cluster.bootstrap_servers();
    let dir = tempfile::tempdir().unwrap();
    let mut config = AuditConfig { ledgers: vec![dir.path().join("ledger")], ..AuditConfig::new(&bootstrap) };
    note(&mut Ledger::append_to(&config.ledgers[0]).unwrap(), "air", 0..4);
    let partition = partition_of(b"dev-3", PARTITIONS).0;
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &bootstrap).create().unwrap();
    let payloads = [
        r#"{"id":"dev-3:0"}"#,
        r#"{"no":1,"id":"dev-3:1"}"#,
        "21.5",
        r#"{"id":7}"#,
        r#"{"id":"dev-3:2"}"#,
        r#"{"id":"dev-3:3"}"#,
    ];
    for (n, payload) in payloads.iter().enumerate() {
        let id = format!("g/00000000000000aa/air/{partition}/{n}");
        let headers = OwnedHeaders::new().insert(Header { key: header::ID, value: Some(&id) });
        let record = BaseRecord::to("air").key("dev-3").payload(*payload).partition(partition.into()).headers(headers);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();
    assert_eq!(judged(&config).lost, 4, "by the headers nobody knows whose they are");
    config.payload_id = Some("no".into());
    assert_eq!(judged(&config).lost, 4);
    config.payload_id = Some("id".into());
    let report = judged(&config);
    assert_eq!((report.found, report.lost, report.missing_offsets), (4, 0, 0));
    assert!(report.is_kept(), "{report}");
}

#[test]
fn a_backfill_under_way_is_open_until_all_is_there_or_the_lanes_are_one_again() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("air", i32::from(PARTITIONS), 1).unwrap();
    let bootstrap = cluster.bootstrap_servers();
    let config = AuditConfig::new(&bootstrap);
    produce(&bootstrap, "air", 0..10);
    produce_in(Some("live"), &bootstrap, "air", 40..50, b"x");
    produce_in(Some("backfill"), &bootstrap, "air", 10..15, b"x");
    let report = judged(&config);
    assert_eq!((report.open, report.missing_offsets, report.verdict()), (25, 0, Verdict::Open), "{report}");
    produce_in(Some("backfill"), &bootstrap, "air", 15..39, b"x");
    let report = judged(&config);
    assert_eq!((report.open, report.missing_offsets, report.verdict()), (1, 0, Verdict::Open), "{report}");
    produce(&bootstrap, "air", 50..51);
    let report = judged(&config);
    assert_eq!((report.open, report.missing_offsets, report.verdict()), (0, 1, Verdict::Broken), "{report}");
}

#[test]
fn a_record_that_is_there_twice_breaks_the_promise_only_where_exactly_once_was_promised() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("air", i32::from(PARTITIONS), 1).unwrap();
    let bootstrap = cluster.bootstrap_servers();
    let mut config = AuditConfig::new(&bootstrap);
    config.exactly_once = true;
    produce(&bootstrap, "air", 0..50);
    assert!(judged(&config).is_kept());
    produce(&bootstrap, "air", 47..60);
    let report = judged(&config);
    assert_eq!((report.delivered, report.delivered_twice, report.is_kept()), (60, 3, false));
    assert!(report.to_string().contains("BROKEN (63 records, 3 of them delivered twice"), "{report}");
    config.exactly_once = false;
    assert!(judged(&config).is_kept(), "at least once: allowed");

    // Another gateway's notices, which are read beside the topic that is asked for, are another matter.
    cluster.create_topic("audit-trail", i32::from(PARTITIONS), 1).unwrap();
    cluster.create_topic("traffic", i32::from(PARTITIONS), 1).unwrap();
    produce(&bootstrap, "audit-trail", [0, 0].into_iter());
    produce(&bootstrap, "traffic", 0..5);
    (config.exactly_once, config.topics) = (true, vec!["traffic".into()]);
    let report = judged(&config);
    assert_eq!((report.delivered_twice, report.is_kept()), (0, true), "{report}");
}

#[test]
fn the_forwarders_cursors_are_no_deliveries_and_nobody_elses_records_either() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("lamppost-cursors", i32::from(PARTITIONS), 1).unwrap();
    let bootstrap = cluster.bootstrap_servers();
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &bootstrap).create().unwrap();
    for kind in [Some(header::CURSOR), None] {
        let headers = kind.map_or_else(OwnedHeaders::new, |kind| {
            OwnedHeaders::new().insert(Header { key: header::KIND, value: Some(kind) })
        });
        let record = BaseRecord::to("lamppost-cursors").key("g/forward/air/0").payload("{}").headers(headers);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();
    let report = judged(&AuditConfig::new(&bootstrap));
    assert_eq!((report.records, report.foreign), (1, 1), "only the one that is not marked");
}

#[test]
fn what_is_still_on_its_way_is_waited_for() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("air", i32::from(PARTITIONS), 1).unwrap();
    let bootstrap = cluster.bootstrap_servers();
    let dir = tempfile::tempdir().unwrap();
    let mut config = AuditConfig::new(&bootstrap);
    config.ledgers = vec![dir.path().join("ledger")];
    note(&mut Ledger::append_to(&config.ledgers[0]).unwrap(), "air", 0..100);
    produce(&bootstrap, "air", 0..50);
    assert_eq!(judged(&config).lost, 50, "no settling: judged at once");
    config.settle = Duration::from_secs(20);
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        produce(&bootstrap, "air", 50..100);
    });
    let report = judged(&config);
    late.join().unwrap();
    assert!(report.is_kept() && report.seconds < 10.0, "{report}");
}

#[test]
fn a_run_that_is_read_along_is_judged_as_one_that_is_read_afterwards() {
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic("air", i32::from(PARTITIONS), 1).unwrap();
    let bootstrap = cluster.bootstrap_servers();
    produce(&bootstrap, "air", 0..100);
    let follower = Follower::start(AuditConfig::new(&bootstrap)).unwrap();
    for hundred in 1..10 {
        produce(&bootstrap, "air", hundred * 100..hundred * 100 + 99);
        std::thread::sleep(Duration::from_millis(50));
    }
    // A topic that was not there at first, and a record that is written twice.
    cluster.create_topic("traffic", i32::from(PARTITIONS), 1).unwrap();
    produce(&bootstrap, "traffic", (0..50).chain(49..60));
    std::thread::sleep(Duration::from_millis(400));
    produce(&bootstrap, "air", 1000..1010);
    let dir = tempfile::tempdir().unwrap();
    let mut config = AuditConfig::new(&bootstrap);
    config.ledgers = vec![dir.path().join("air"), dir.path().join("traffic")];
    note(&mut Ledger::append_to(&config.ledgers[0]).unwrap(), "air", 0..1010);
    note(&mut Ledger::append_to(&config.ledgers[1]).unwrap(), "traffic", 0..60);
    let along = follower.finish(&config.ledgers, Duration::ZERO).unwrap();
    let mut afterwards = judged(&config);
    assert_eq!((along.records, along.lost, along.missing_offsets, along.delivered_twice), (1062, 9, 9, 1));
    afterwards.seconds = along.seconds;
    assert_eq!(along, afterwards);
}

/// The mock cluster keeps 5 MiB of a partition.
/// A notice in the audit trail: so many events of a partition of `air` were forwarded. From the gateway itself, or from something else.
fn claim(bootstrap: &str, source: &str, offset: u64, partition: u16, events: u64) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let id = format!("g/00000000000000aa/audit-trail/0/{offset}");
    let headers = OwnedHeaders::new()
        .insert(Header { key: header::ID, value: Some(&id) })
        .insert(Header { key: header::SOURCE, value: Some(source) });
    let extent = format!("{{\"partition\":{partition},\"first\":0,\"next\":{events},\"done\":{events}}}");
    let notice = format!("{{\"notice\":\"manifest\",\"journal\":\"1\",\"topic\":\"air\",\"partitions\":[{extent}]}}");
    let record = BaseRecord::to("audit-trail").key("g").payload(&notice).partition(0).headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(Duration::from_secs(10)).unwrap();
}

#[test]
fn what_a_gateway_itself_says_was_forwarded_and_is_not_there_is_lost_unless_the_cluster_has_dropped_something() {
    let cluster = MockCluster::new(1).unwrap();
    for (topic, partitions) in [("air", PARTITIONS), ("audit-trail", 1)] {
        cluster.create_topic(topic, i32::from(partitions), 1).unwrap();
    }
    let bootstrap = cluster.bootstrap_servers();
    produce(&bootstrap, "air", 0..10);
    let mut without = (0..PARTITIONS).filter(|partition| *partition != partition_of(b"dev-3", PARTITIONS).0);
    claim(&bootstrap, "/lamppost/g/gateway", 0, without.next().unwrap(), 9);
    claim(&bootstrap, "/lamppost/g/mqtt", 1, without.next().unwrap(), 7);
    let config = AuditConfig::new(&bootstrap);
    let report = judged(&config);
    assert_eq!((report.lost_tail, report.is_kept()), (9, false), "{report}");

    // The mock cluster keeps 5 MiB of a partition.
    produce_with(&bootstrap, "air", 10..1000, &[b'x'; 10_000]);
    assert_eq!(judged(&config).lost_tail, 0);
}

#[test]
fn what_the_cluster_no_longer_has_was_read_along() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("air", i32::from(PARTITIONS), 1).unwrap();
    let bootstrap = cluster.bootstrap_servers();
    let follower = Follower::start(AuditConfig::new(&bootstrap)).unwrap();
    for part in 0..5 {
        produce_with(&bootstrap, "air", part * 200..part * 200 + 200, &[b'x'; 10_000]);
        std::thread::sleep(Duration::from_millis(500));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut config = AuditConfig::new(&bootstrap);
    config.ledgers = vec![dir.path().join("air")];
    note(&mut Ledger::append_to(&config.ledgers[0]).unwrap(), "air", 0..1000);
    assert!(judged(&config).lost > 0, "the cluster has dropped something");
    let report = follower.finish(&config.ledgers, Duration::ZERO).unwrap();
    assert_eq!((report.records, report.found), (1000, 1000));
    assert!(report.is_kept(), "{report}");
}

#[test]
fn ledgers_too_large_for_the_memory_take_several_passes_and_give_the_same_verdict() {
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["air", "traffic"] {
        cluster.create_topic(topic, i32::from(PARTITIONS), 1).unwrap();
    }
    let bootstrap = cluster.bootstrap_servers();
    let dir = tempfile::tempdir().unwrap();
    let mut config = AuditConfig::new(&bootstrap);
    config.ledgers = vec![dir.path().join("ledger")];
    let mut ledger = Ledger::append_to(&config.ledgers[0]).unwrap();
    // Two changed places, one is not there, one has another key, and the last two are lost.
    produce(&bootstrap, "air", (0..50).chain([51, 50]).chain(52..70).chain(71..98));
    produce(&bootstrap, "traffic", 0..100);
    for n in 0..100 {
        for topic in ["air", "traffic"] {
            let key = if n == 10 { "dev-4".to_owned() } else { "dev-3".to_owned() };
            ledger.note(&LedgerEntry {
                topic: Some(topic.into()),
                key: Some(key),
                mark: Mark::Id { id: format!("dev-3:{n}") },
            });
        }
    }
    for n in 0..100 {
        ledger.note(&LedgerEntry {
            topic: None,
            key: Some(format!("other-{n}")),
            mark: Mark::Id { id: format!("other:{n}") },
        });
    }
    ledger.sync().unwrap();
    let of = |memory_max: u64| {
        let config = AuditConfig { memory_max, ..config.clone() };
        let mut seen = 0;
        let mut report = audit(&config, &mut |progress| seen = progress.records).unwrap();
        report.seconds = 0.0;
        (report, seen)
    };
    let (one, seen) = of(1 << 30);
    let counts = (one.acknowledged, one.lost, one.wrong_key, one.out_of_order_by_ledger, one.missing_offsets);
    assert_eq!((counts, seen), ((300, 103, 2, 1, 1), 197), "{one}");
    let (several, seen) = of(16_000);
    assert!(seen >= 3 * 197 && seen % 197 == 0, "{seen} records seen");
    assert_eq!(several, one);
    let error = audit(&AuditConfig { memory_max: 4_000, ..config }, &mut |_| {}).unwrap_err();
    assert!(matches!(error, AuditError::LedgerMemory { bytes: 2_001.., bytes_max: 2_000 }), "{error}");
}

/// That it begins at the first record of the time is librdkafka's and Kafka's part; the mock cluster has nothing so recent, whatever the time.
#[test]
fn where_nothing_is_so_recent_nothing_is_judged_but_the_audit_trail_is_read() {
    let cluster = MockCluster::new(1).unwrap();
    for (topic, partitions) in [("air", PARTITIONS), ("audit-trail", 1)] {
        cluster.create_topic(topic, i32::from(partitions), 1).unwrap();
    }
    let bootstrap = cluster.bootstrap_servers();
    produce(&bootstrap, "air", (0..10).chain(11..20));
    claim(&bootstrap, "/lamppost/g/gateway", 0, partition_of(b"dev-3", PARTITIONS).0, 20);
    let mut config = AuditConfig::new(&bootstrap);
    let report = judged(&config);
    assert_eq!((report.records, report.missing_offsets, report.trimmed_topics), (20, 1, 0), "{report}");
    config.since = Some(WallTime(4_000_000_000_000));
    let report = judged(&config);
    let counts = (report.records, report.missing_offsets, report.lost_tail, report.trimmed_topics);
    assert_eq!((counts, report.is_kept()), ((1, 0, 0, 1), true), "{report}");
}
