//! Topics with a schema: what arrives is the registry's wire format, what does not fit is a dead letter, and a registry that gives no schema
//! keeps its topics waiting and no others. Against librdkafka's mock cluster and a registry of a few lines.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what helps a test fails it by panicking"
)]

#[allow(dead_code, unreachable_pub, reason = "shared by the tests of this folder, none of which uses all")]
mod journal;
#[allow(dead_code, unreachable_pub, reason = "shared by the tests of this folder, none of which uses all")]
mod running;

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU16, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use journal::{Grave, Journal, Seen, Still, read_topic};
use lamppost_event::{Clock as _, EventTime, Interest, Topic};
use lamppost_forward::{
    Counters, DeadLetters, Delivery, ForwardConfig, RegistrySettings, SchemaFormat, SchemaRule, Schemas,
    SubjectTemplate,
};
use running::{Cluster, Running, cluster, config, until};

/// One field: a whole number.
const SCHEMA: &str = r#"{"type": "record", "name": "Count", "fields": [{"name": "n", "type": "int"}]}"#;

/// Answers each question with the same status, and in a good one with the id 7.
struct Registry {
    url: String,
    status: AtomicU16,
    asked: AtomicUsize,
    last: Mutex<String>,
}

impl Registry {
    fn start(status: u16) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (status, asked, last) = (AtomicU16::new(status), AtomicUsize::new(0), Mutex::default());
        let registry = Arc::new(Self { url, status, asked, last });
        let answering = Arc::downgrade(&registry);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.unwrap());
                let (mut line, mut first, mut length) = (String::new(), String::new(), 0);
                while reader.read_line(&mut line).unwrap_or(0) > 2 {
                    if first.is_empty() {
                        first.clone_from(&line);
                    }
                    if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                        length = bytes.trim().parse().unwrap();
                    }
                    line.clear();
                }
                reader.read_exact(&mut vec![0; length]).unwrap();
                let Some(registry) = answering.upgrade() else { return };
                registry.asked.fetch_add(1, Relaxed);
                *registry.last.lock().unwrap() = first;
                let status = registry.status.load(Relaxed);
                let body = if status == 200 { "{\"id\": 7}" } else { "{\"message\": \"as it was told\"}" };
                let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        registry
    }

    /// `air` and `noise` are encoded, by the schema in that folder.
    fn schemas(&self, dir: &Path, format: SchemaFormat) -> Arc<Schemas> {
        let file = dir.join("count.avsc");
        #[expect(clippy::disallowed_methods, reason = "a test's file")]
        std::fs::write(&file, SCHEMA).unwrap();
        let settings = RegistrySettings { url: self.url.parse().unwrap(), ca: None, login: None };
        let topics = Interest::new(["air", "dead-*"]).unwrap();
        let rule = SchemaRule { topics, format, file, subject: SubjectTemplate::default(), register: true };
        Arc::new(Schemas::new(settings, vec![rule], vec![Topic::new("dead-letters").unwrap()]))
    }
}

fn with_schemas(cluster: &Cluster, schemas: Arc<Schemas>) -> ForwardConfig {
    ForwardConfig { schemas: Some(schemas), ..config(cluster) }
}

/// Counts that fit, and others between them; all of one device.
fn fill(journal: &Journal, misfits: &[&str]) {
    for n in 0..20 {
        journal.append("air", "dev-0", format!("{{\"n\": {n}}}").as_bytes());
        if let Some(misfit) = misfits.get(n) {
            journal.append("air", "dev-0", misfit.as_bytes());
        }
    }
}

/// Avro's int below 64 in the wire format.
fn encoded(n: u8) -> Vec<u8> {
    vec![0, 0, 0, 0, 7, 2 * n]
}

fn payloads(seen: &[Seen]) -> Vec<Vec<u8>> {
    seen.iter().map(|record| record.payload.clone()).collect()
}

fn records(cluster: &Cluster, topic: &str) -> Vec<Seen> {
    read_topic(&cluster.bootstrap_servers(), topic)
}

const MISFITS: [&str; 3] = ["{\"n\": 0.5}", "n=3", "{\"n\": 1, \"m\": 2}"];

async fn what_has_a_schema_is_encoded(delivery: Delivery) {
    let (cluster, dir, registry) =
        (cluster(&["air", "noise", "lamppost-cursors"]), tempfile::tempdir().unwrap(), Registry::start(200));
    let (journal, grave) = (Arc::new(Journal::default()), Arc::new(Grave::default()));
    fill(&journal, &MISFITS);
    journal.append("noise", "dev-0", b"n=3");
    let mut config = with_schemas(&cluster, registry.schemas(dir.path(), SchemaFormat::Avro));
    config.delivery = delivery;
    config.transaction_linger = Duration::from_millis(20);
    let running = Running::start(config, &journal, Some(Arc::clone(&grave) as Arc<dyn DeadLetters>));
    let counters = Arc::clone(&running.counters);
    until("all done", || journal.is_done()).await;
    running.stop().await;

    let seen = records(&cluster, "air");
    assert_eq!(payloads(&seen), (0..20).map(encoded).collect::<Vec<_>>(), "in order, and each once");
    assert_eq!(seen[0].headers["content-type"], "application/avro");
    assert_eq!(seen[0].headers["ce_dataschema"], format!("{}/schemas/ids/7", registry.url));
    let plain = records(&cluster, "noise");
    assert_eq!(payloads(&plain), [b"n=3"]);
    assert!(!plain[0].headers.contains_key("ce_dataschema") && !plain[0].headers.contains_key("content-type"));
    assert_eq!(registry.asked.load(Relaxed), 1, "once for one topic");
    assert!(registry.last.lock().unwrap().starts_with("POST /subjects/air-value/versions?"));

    let buried = grave.0.lock().unwrap();
    let buried: HashMap<_, _> =
        buried.iter().map(|poison| (poison.stored.event.payload.to_vec(), poison.reason.clone())).collect();
    assert_eq!(buried.len(), MISFITS.len(), "{buried:?}");
    for (misfit, why) in MISFITS.into_iter().zip([
        "it does not fit the schema: n: 0.5 does not fit into int",
        "it does not fit the schema: it is not JSON: ",
        "it does not fit the schema: Count has no field \"m\"",
    ]) {
        let reason = &buried[misfit.as_bytes()];
        assert!(
            reason.starts_with("the cluster can't take post-17/0000000000000abc/air/") && reason.contains(why),
            "{reason}"
        );
    }
    let count = |of: fn(&Counters) -> &std::sync::atomic::AtomicU64| of(&counters).load(Relaxed);
    assert_eq!((count(|of| &of.poison), count(|of| &of.misfits), count(|of| &of.schema_failures)), (3, 3, 0));
    assert_eq!((count(|of| &of.rebuilds), count(|of| &of.gaps)), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_a_schema_is_encoded_and_what_does_not_fit_is_buried_as_it_was() {
    what_has_a_schema_is_encoded(Delivery::AtLeastOnce).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_transactions_it_is_the_same() {
    what_has_a_schema_is_encoded(Delivery::ExactlyOnce).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_goes_as_received_behind_the_id_what_is_empty_as_null_and_a_dead_letter_as_it_is() {
    let (cluster, dir, registry) =
        (cluster(&["air", "dead-letters"]), tempfile::tempdir().unwrap(), Registry::start(200));
    let (journal, grave) = (Arc::new(Journal::default()), Arc::new(Grave::default()));
    let time = EventTime::received(Still.now(), None);
    journal.append("air", "dev-0", b"{\"n\" : 1.50 }");
    journal.append("air", "dev-0", b"");
    journal.append("air", "dev-0", b"{\"n\": ");
    journal.append_because("air", "dev-0", b"no json", time, Some("a dead letter, wherever it lies"));
    journal.append_because("dead-letters", "dev-0", b"none either", time, Some("why"));
    let config = with_schemas(&cluster, registry.schemas(dir.path(), SchemaFormat::JsonSchema));
    let running = Running::start(config, &journal, Some(Arc::clone(&grave) as Arc<dyn DeadLetters>));
    until("all done", || journal.is_done()).await;
    running.stop().await;
    let seen = records(&cluster, "air");
    assert_eq!(payloads(&seen), [&b"\0\0\0\0\x07{\"n\" : 1.50 }"[..], b"", b"no json"]);
    let null: Vec<_> = seen.iter().map(|record| record.is_null).collect();
    assert_eq!(null, [false, true, false], "an empty value has no magic byte: a reader would stop at it");
    let told: Vec<_> = seen.iter().map(|record| record.headers.contains_key("ce_dataschema")).collect();
    assert_eq!(told, [true, false, false]);
    assert_eq!(payloads(&records(&cluster, "dead-letters")), [b"none either"]);
    assert_eq!(grave.0.lock().unwrap().len(), 1, "what was cut short on its way");
}

async fn a_registry_that_gives_no_schema(status: u16, words: &str) {
    let (cluster, dir, registry) = (cluster(&["air", "noise"]), tempfile::tempdir().unwrap(), Registry::start(status));
    let (journal, grave) = (Arc::new(Journal::default()), Arc::new(Grave::default()));
    fill(&journal, &MISFITS[..1]);
    journal.fill("noise", 3, 50);
    let config = with_schemas(&cluster, registry.schemas(dir.path(), SchemaFormat::Avro));
    let running = Running::start(config, &journal, Some(Arc::clone(&grave) as Arc<dyn DeadLetters>));
    let counters = Arc::clone(&running.counters);
    until("the others delivered", || counters.delivered.load(Relaxed) == 50).await;
    let asked = || registry.asked.load(Relaxed).min(counters.schema_failures.load(Relaxed) as usize);
    until("asked again, in vain", || asked() >= 2).await;
    let why = counters.paused_reason().unwrap();
    assert!(why.starts_with("topic air: the schema registry ") && why.contains(words), "{why}");
    assert_eq!((counters.paused_topics.load(Relaxed), counters.delivered.load(Relaxed)), (1, 50));
    assert!(grave.0.lock().unwrap().is_empty());
    assert!(counters.connected.load(Relaxed), "the cluster is reached all the same");

    registry.status.store(200, Relaxed);
    until("all done", || journal.is_done()).await;
    running.stop().await;
    assert_eq!(payloads(&records(&cluster, "air")), (0..20).map(encoded).collect::<Vec<_>>());
    assert_eq!((counters.paused_reason(), grave.0.lock().unwrap().len()), (None, 1));
    assert_eq!(counters.rebuilds.load(Relaxed), 0, "nothing was torn down for it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_registry_is_away_its_topics_wait_and_no_others() {
    a_registry_that_gives_no_schema(503, "can't answer (503): as it was told").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incompatible_schema_keeps_its_topics_waiting_until_it_is_taken() {
    a_registry_that_gives_no_schema(409, "incompatible with \"air-value\": as it was told").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_is_mended_counts_at_the_next_try() {
    let (cluster, dir, registry) = (cluster(&["air"]), tempfile::tempdir().unwrap(), Registry::start(200));
    let journal = Arc::new(Journal::default());
    fill(&journal, &[]);
    let schemas = registry.schemas(dir.path(), SchemaFormat::Avro);
    #[expect(clippy::disallowed_methods, reason = "a test's file")]
    let write = |text: &str| std::fs::write(dir.path().join("count.avsc"), text).unwrap();
    write("{\"type\": \"recor\"}");
    let running = Running::start(with_schemas(&cluster, schemas), &journal, None);
    let counters = Arc::clone(&running.counters);
    until("it is said", || counters.paused_reason().is_some_and(|why| why.contains("unknown type \"recor\""))).await;
    assert_eq!(registry.asked.load(Relaxed), 0);
    write(SCHEMA);
    until("all done", || journal.is_done()).await;
    running.stop().await;
    assert_eq!(records(&cluster, "air").len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misfit_without_dead_letters_pauses_its_topic_and_nothing_passes_it() {
    let (cluster, dir, registry) = (cluster(&["air", "noise"]), tempfile::tempdir().unwrap(), Registry::start(200));
    let journal = Arc::new(Journal::default());
    fill(&journal, &MISFITS[..1]);
    journal.fill("noise", 3, 50);
    let config = with_schemas(&cluster, registry.schemas(dir.path(), SchemaFormat::Avro));
    let running = Running::start(config, &journal, None);
    let counters = Arc::clone(&running.counters);
    until("the others delivered", || counters.delivered.load(Relaxed) == 51).await;
    until("it is said", || counters.paused_reason().is_some_and(|why| why.contains("0.5 does not fit into int"))).await;
    // It is tried again meanwhile.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let count = |of: fn(&Counters) -> &std::sync::atomic::AtomicU64| of(&counters).load(Relaxed);
    assert_eq!((count(|of| &of.poison), count(|of| &of.misfits)), (0, 0), "of those that were buried");
    running.stop().await;
    assert_eq!(payloads(&records(&cluster, "air")), [encoded(0)], "what lies before it, and nothing behind");
}
