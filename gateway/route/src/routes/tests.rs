use lamppost_event::{Address, BootId, ClockQuality, Monotonic, SourceKind, WallTime};
use proptest::prelude::*;

use super::*;
use crate::Decode;

const NOW: Now =
    Now { wall: WallTime(1_700_000_000_000), monotonic: Monotonic(7), boot: BootId(3), quality: ClockQuality::Synced };

fn arrival(address: &str, payload: &'static str) -> Arrival {
    Arrival {
        source: SourceKind::Mqtt,
        device: DeviceId::new("client-1").unwrap(),
        address: Address::new(address).unwrap(),
        origin: Origin::Unmarked,
        device_time: None,
        content_type: None,
        payload: Bytes::from_static(payload.as_bytes()),
        refused: false,
    }
}

fn rule(from: &str, topic: &str) -> Rule {
    Rule::new(from.parse().unwrap(), topic.parse().unwrap())
}

fn settings(rules: Vec<Rule>) -> RouteSettings {
    RouteSettings { rules, ..RouteSettings::new(Topic::new(DEFAULT_TOPIC).unwrap()) }
}

fn routes(rules: Vec<Rule>) -> Routes {
    Routes::new(settings(rules)).unwrap()
}

fn shape(topic: &str, partitions: u16) -> TopicShape {
    TopicShape { topic: Topic::new(topic).unwrap(), partitions }
}

fn assert_dead(routed: &Routed, part: &str) {
    assert_eq!(routed.event.topic.as_str(), DEAD_LETTERS);
    let reason = routed.event.reason.as_deref().expect("a dead letter says why");
    assert!(reason.contains(part), "{reason}");
    assert_eq!(routed.event.key, "client-1");
    assert_eq!(routed.partition, partition_of(b"client-1", PARTITIONS_DEFAULT));
}

#[test]
fn without_rules_everything_is_kept_under_the_default_topic() {
    let sent = arrival("any/where", "17");
    let Routed { event, partition } = routes(vec![]).route(sent.clone(), NOW);
    assert_eq!((event.topic.as_str(), &*event.key), (DEFAULT_TOPIC, "client-1".as_bytes()));
    assert_eq!(partition, partition_of(b"client-1", PARTITIONS_DEFAULT));
    assert_eq!((event.device, event.address, event.payload), (sent.device, sent.address, sent.payload));
    assert_eq!((event.time, event.reason), (EventTime::received(NOW, None), None));
}

#[test]
fn captures_make_topic_device_and_key() {
    let table = routes(vec![Rule {
        device: Some("{device}".parse().unwrap()),
        decode: Decode::Json,
        ..rule("city/{district}/air/{device}/#", "{district}-air")
    }]);
    let event = table.route(arrival("city/north/air/17/pm", "12"), NOW).event;
    assert_eq!((event.topic.as_str(), event.device.as_str(), &*event.key), ("north-air", "17", "17".as_bytes()));
    assert_eq!(event.content_type.unwrap().as_str(), "application/json");
    assert_eq!(event.reason, None);
}

#[test]
fn device_in_topic_and_key_is_the_device_that_results() {
    let named = Rule {
        device: Some("{post}-{device}".parse().unwrap()),
        key: Some("{device}/{source}".parse().unwrap()),
        ..rule("p/{post}", "events")
    };
    let event = routes(vec![named]).route(arrival("p/17", ""), NOW).event;
    assert_eq!((event.device.as_str(), &*event.key), ("17-client-1", "17-client-1/mqtt".as_bytes()));
}

#[test]
fn the_first_rule_that_fits_address_and_source_decides() {
    let table = routes(vec![
        Rule { source: Some(SourceKind::Serial), ..rule("#", "serial") },
        rule("a/+", "first"),
        rule("a/#", "second"),
    ]);
    let topic = |arrival| table.route(arrival, NOW).event.topic.to_string();
    assert_eq!(topic(Arrival { source: SourceKind::Serial, ..arrival("a/b", "") }), "serial");
    assert_eq!(topic(arrival("a/b", "")), "first");
    assert_eq!(topic(arrival("a/b/c", "")), "second");
    assert_eq!(topic(arrival("b", "")), DEFAULT_TOPIC);
}

#[test]
fn a_sender_that_counts_keeps_its_own_name() {
    let renamed = Rule { device: Some("all".parse().unwrap()), ..rule("#", "events") };
    let table = routes(vec![renamed]);
    let counted = Arrival { origin: Origin::Sequence { boot: 1, sequence: 2 }, ..arrival("a", "") };
    assert_eq!(table.route(counted, NOW).event.device.as_str(), "client-1");
    assert_eq!(table.route(arrival("a", ""), NOW).event.device.as_str(), "all");
}

#[test]
fn what_has_no_legal_place_is_a_dead_letter_with_everything_kept() {
    let table = routes(vec![
        rule("t/{x...}", "{x}"),
        Rule { device: Some("{x}".parse().unwrap()), ..rule("d/{x...}", "events") },
        Rule { key: Some("{x}".parse().unwrap()), ..rule("k/{x...}", "events") },
        Rule { key: Some("{address}{address}".parse().unwrap()), ..rule("long/#", "events") },
        Rule { decode: Decode::Json, ..rule("j/#", "events") },
    ]);
    let long = format!("long/{}", "x".repeat(600));
    let cases = [
        ("t/not legal", "the topic \"not legal\" is not legal: a topic can't contain ' '"),
        ("t/__state", "is reserved"),
        ("t", "can't be empty"),
        ("d", "the device \"\" is not legal"),
        ("k", "the key is empty"),
        (&long, "the key has 1210 bytes"),
        ("j/1", "not JSON: expected value at line 1 column 1"),
    ];
    for (address, part) in cases {
        let sent = Arrival {
            content_type: Some(ContentType::new("text/plain").unwrap()),
            origin: Origin::Id("id-1".into()),
            device_time: Some(WallTime(5)),
            ..arrival(address, "lost?")
        };
        let routed = table.route(sent.clone(), NOW);
        assert_dead(&routed, part);
        let event = routed.event;
        assert_eq!((event.address, event.payload, event.origin), (sent.address, sent.payload, sent.origin));
        assert_eq!((event.content_type, event.device), (sent.content_type, sent.device));
        assert_eq!(event.time, EventTime::received(NOW, sent.device_time));
    }
}

#[test]
fn a_reason_is_bounded() {
    let table = routes(vec![rule("{x...}", "{x}")]);
    let routed = table.route(arrival(&"é".repeat(500), ""), NOW);
    let reason = routed.event.reason.unwrap();
    assert!(reason.len() <= REASON_BYTES_MAX && reason.ends_with('…'), "{reason}");
}

#[test]
fn the_number_of_topics_that_templates_make_is_bounded_and_survives_a_restart() {
    let bounded = |existing| {
        let rules = vec![rule("t/{x}", "{x}"), rule("fixed", "named")];
        Routes::new(RouteSettings { topics_max: 2, existing, ..settings(rules) }).unwrap()
    };
    let table = bounded(vec![]);
    for address in ["t/a", "t/b", "t/a", "t/named", "fixed"] {
        assert_eq!(table.route(arrival(address, ""), NOW).event.reason, None, "{address}");
    }
    assert_dead(&table.route(arrival("t/c", ""), NOW), "one more than the 2");
    let names = |table: &Routes| table.topics().iter().map(|shape| shape.topic.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&table), ["a", "b", DEAD_LETTERS, DEFAULT_TOPIC, "named"]);

    let again = bounded(vec![shape("c", 7), shape("named", 9)]);
    let kept = again.route(arrival("t/c", ""), NOW);
    assert_eq!((kept.event.reason, kept.partition), (None, partition_of(b"client-1", 7)));
    assert_eq!(again.route(arrival("t/a", ""), NOW).event.reason, None);
    assert_dead(&again.route(arrival("t/b", ""), NOW), "one more than the 2");
}

#[test]
fn a_closed_set_of_topics_takes_no_other() {
    let closed =
        |rules| Routes::new(RouteSettings { topics: vec![shape("air", 8)], topics_closed: true, ..settings(rules) });
    let table = closed(vec![rule("t/{x}", "{x}")]).unwrap();
    let air = table.route(arrival("t/air", ""), NOW);
    assert_eq!((air.event.reason, air.partition), (None, partition_of(b"client-1", 8)));
    assert_dead(&table.route(arrival("t/water", ""), NOW), "not configured");
    assert_eq!(table.route(arrival("else", ""), NOW).event.topic.as_str(), DEFAULT_TOPIC);

    let error = closed(vec![rule("a", "air"), rule("b", "water")]).unwrap_err();
    assert!(error.to_string().contains("rule 2: topic \"water\" is not configured; add [topics.water]"), "{error}");
}

#[test]
fn a_wrong_table_is_refused_with_the_place() {
    let error = Routes::new(settings(vec![rule("a", "b"), rule("a/{x}", "{y}")])).unwrap_err();
    assert!(matches!(error, RoutesError::Rule { index: 1, .. }), "{error}");
    for partitions in [0, Partition::COUNT_MAX + 1] {
        let wrong = RouteSettings { topics: vec![shape("air", partitions)], ..settings(vec![]) };
        assert!(matches!(Routes::new(wrong), Err(RoutesError::Partitions { .. })));
        let wrong = RouteSettings { partitions_default: partitions, ..settings(vec![]) };
        assert!(matches!(Routes::new(wrong), Err(RoutesError::Partitions { .. })));
    }
    let reserved = RouteSettings { topics: vec![shape("__state", 1)], ..settings(vec![]) };
    assert!(matches!(Routes::new(reserved), Err(RoutesError::Reserved { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_whatever_arrives(address in "\\PC{1,60}", payload in prop::collection::vec(any::<u8>(), 0..40)) {
        let table = routes(vec![
            Rule { decode: Decode::Json, ..rule("+/{x}", "{x}") },
            rule("{x...}", "{x}"),
        ]);
        let sent = Arrival { payload: Bytes::from(payload), ..arrival(&address, "") };
        let Routed { event, partition } = table.route(sent.clone(), NOW);
        prop_assert_eq!(event.payload, sent.payload);
        prop_assert_eq!(event.address, sent.address);
        prop_assert_eq!(partition, partition_of(&event.key, PARTITIONS_DEFAULT));
        prop_assert_eq!(event.reason.is_some(), event.topic.as_str() == DEAD_LETTERS);
    }
}
