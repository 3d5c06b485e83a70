//! The clusters: their brokers' names and ports, whether they speak Kafka, and whether they can hold what is configured.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use lamppost_event::Topic;
use lamppost_forward::{ClusterSeen, RegistrySettings, look_at_registry};

use super::finding::Finding;
use crate::config::{Config, Kafka, Sink, SinkTo};

/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long the cluster may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(8);
/// The brokers that are tried one by one at most: more only delay the verdict.
const BROKERS_MAX: usize = 16;

/// A cluster that events go to.
pub(super) struct Cluster<'a> {
    /// None: it is that of `[kafka]`.
    sink: Option<&'a Sink>,
    pub(super) kafka: &'a Kafka,
}

impl Cluster<'_> {
    /// In words.
    pub(super) fn whose(&self) -> String {
        self.sink.map_or_else(|| "the cluster".to_owned(), |sink| format!("the cluster of the sink {}", sink.name))
    }

    /// What its topics are called there.
    fn topics(&self, config: &Config) -> Vec<String> {
        let all = crate::gateway::topics(config).into_iter().map(|shape| shape.topic);
        let taken = all.filter(|topic| self.sink.is_none_or(|sink| sink.topics.takes(topic)));
        let name = |topic: Topic| self.kafka.topic_template.name(&config.gateway, &topic).unwrap_or(topic);
        taken.map(|topic| name(topic).as_str().to_owned()).collect()
    }
}

/// All clusters of the configuration.
pub(super) fn clusters(config: &Config) -> Vec<Cluster<'_>> {
    let main = config.kafka.iter().map(|kafka| Cluster { sink: None, kafka });
    let others = config.sinks.iter().filter_map(|sink| match &sink.to {
        SinkTo::Kafka(kafka) => Some(Cluster { sink: Some(sink), kafka }),
        SinkTo::Files(_) => None,
    });
    main.chain(others).collect()
}

/// Looks at each.
pub(crate) fn look(config: &Config) -> Vec<Finding> {
    clusters(config).iter().flat_map(|cluster| look_at(cluster, config)).collect()
}

fn look_at(cluster: &Cluster<'_>, config: &Config) -> Vec<Finding> {
    let mut findings = look_into(cluster, config);
    if let Some(sink) = cluster.sink {
        findings.iter_mut().for_each(|it| it.found = format!("sink {}: {}", sink.name, it.found));
    }
    findings
}

fn look_into(cluster: &Cluster<'_>, config: &Config) -> Vec<Finding> {
    let mut findings = look_at_brokers(cluster, config);
    findings.extend(cluster.kafka.encoding.as_ref().map(|encoding| look_at_schemas(&encoding.registry)));
    findings
}

fn look_at_schemas(registry: &RegistrySettings) -> Finding {
    let url = &registry.url;
    match look_at_registry(registry) {
        Ok(()) => Finding::ok("schemas", format!("the schema registry {url} answers")),
        Err(error) => Finding::fail(
            "schemas",
            error.to_string(),
            "are url, ca, user and password those of [kafka.schema_registry]? topics with a schema wait until then, and nothing is lost",
        ),
    }
}

fn look_at_brokers(cluster: &Cluster<'_>, config: &Config) -> Vec<Finding> {
    let kafka = cluster.kafka;
    let group = cluster.sink.map_or_else(crate::gateway::forward_group, |sink| sink.name.clone());
    let forward = crate::gateway::forward_config(config, kafka, group);
    let mut findings: Vec<_> =
        kafka.bootstrap.iter().take(BROKERS_MAX).map(|broker| judge_reached("kafka", broker, reach(broker))).collect();
    if findings.iter().all(|finding| finding.level == super::finding::Level::Fail) {
        return findings;
    }
    match lamppost_forward::probe(&forward, ANSWER_MAX) {
        Ok(seen) => {
            findings.extend(judge_brokers(&seen, &kafka.bootstrap));
            findings.extend(judge_topics(&seen, kafka, cluster.topics(config)));
        }
        Err(why) => findings.push(Finding::fail(
            "kafka",
            format!("the brokers can be reached, and do not answer as Kafka: {why}"),
            "are the listener's port and its security (TLS, SASL) those of the configuration? the brokers' own log says more",
        )),
    }
    findings
}

/// Looks at the MQTT brokers that are read: whether something listens there. Their certificates are looked at elsewhere.
pub(crate) fn look_at_sources(config: &Config) -> Vec<Finding> {
    let place = |broker: &lamppost_mqtt::Broker| match broker.host.contains(':') {
        true => format!("[{}]:{}", broker.host, broker.port),
        false => format!("{}:{}", broker.host, broker.port),
    };
    let brokers = config.brokers.iter().take(BROKERS_MAX).map(|broker| (broker.name.to_string(), place(broker)));
    brokers.map(|(name, place)| judge_reached("broker", &format!("{name}, {place}"), reach(&place))).collect()
}

/// Why a broker can't be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Unreached {
    /// Its name leads to no address.
    Name(String),
    /// No connection came about.
    Connection(String),
}

fn reach(broker: &str) -> Result<(), Unreached> {
    let addresses = broker.to_socket_addrs().map_err(|error| Unreached::Name(error.to_string()))?;
    let mut last = Unreached::Name("it leads to no address".to_owned());
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_MAX) {
            Ok(_) => return Ok(()),
            Err(error) => last = Unreached::Connection(format!("{address}: {error}")),
        }
    }
    Err(last)
}

fn judge_reached(area: &'static str, broker: &str, reached: Result<(), Unreached>) -> Finding {
    match reached {
        Ok(()) => Finding::ok(area, format!("{broker} can be reached")),
        Err(Unreached::Name(why)) => Finding::fail(
            area,
            format!("{broker}: the name can't be resolved ({why})"),
            "is the name right, and is there a resolver? getent hosts NAME; resolvectl status; or an entry in /etc/hosts",
        ),
        Err(Unreached::Connection(why)) => Finding::fail(
            area,
            format!("{broker} can't be reached ({why})"),
            "does the broker run, and does the way lead there? ip route get ADDRESS; firewalls. It is tried again without end: nothing is lost here meanwhile",
        ),
    }
}

/// Metadata name the brokers by what they call themselves, which is where producers connect.
fn judge_brokers(seen: &ClusterSeen, bootstrap: &[String]) -> Vec<Finding> {
    let others = seen.brokers.iter().filter(|broker| !bootstrap.contains(broker)).take(BROKERS_MAX);
    let mut findings: Vec<_> = others
        .filter_map(|broker| {
            let why = reach(broker).err()?;
            let why = match why {
                Unreached::Name(why) | Unreached::Connection(why) => why,
            };
            Some(Finding::fail(
                "kafka",
                format!("the cluster calls a broker {broker}, which can't be reached from here ({why})"),
                "the broker's advertised.listeners must be a name that this gateway can resolve and reach",
            ))
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok("kafka", format!("the cluster answers: {} brokers", seen.brokers.len())));
    }
    findings
}

fn judge_topics(seen: &ClusterSeen, kafka: &Kafka, wanted: Vec<String>) -> Vec<Finding> {
    let missing: Vec<_> =
        wanted.into_iter().filter(|topic| !seen.topics.iter().any(|(name, _)| name == topic)).collect();
    if missing.is_empty() {
        return vec![Finding::ok("kafka", "all topics are there")];
    }
    let list = missing.join(", ");
    let brokers = i32::try_from(seen.brokers.len()).unwrap_or(i32::MAX);
    if !kafka.create_topics {
        let remedy = "have them made, or set [kafka] create_topics = true";
        return vec![Finding::fail(
            "kafka",
            format!("the cluster does not have (or show us) the topics {list}"),
            remedy,
        )];
    }
    if kafka.replication > brokers {
        return vec![Finding::fail(
            "kafka",
            format!("topics are to be made with {} replicas, on {brokers} brokers: {list}", kafka.replication),
            format!("[kafka] replication = {brokers}, or have them made by whoever runs the cluster"),
        )];
    }
    vec![Finding::ok("kafka", format!("not there yet, and made when they are needed: {list}"))]
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn kafka(more: &str) -> Kafka {
        crate::config::parse(&format!("[kafka]\nbootstrap = [\"a:1\"]\n{more}")).unwrap().kafka.unwrap()
    }

    fn seen(brokers: &[&str]) -> ClusterSeen {
        let brokers = brokers.iter().map(|&broker| broker.to_owned()).collect();
        ClusterSeen { brokers, topics: vec![("air".to_owned(), 4)] }
    }

    #[test]
    fn a_broker_that_listens_is_reached_and_one_that_does_not_is_told_from_a_wrong_name() {
        let listens = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let broker = listens.local_addr().unwrap().to_string();
        assert_eq!(judge_reached("kafka", &broker, reach(&broker)).level, Level::Ok);
        drop(listens);
        let refused = judge_reached("kafka", &broker, reach(&broker));
        assert!(refused.level == Level::Fail && refused.found.contains("refused"), "{refused:?}");
        let unnamed = judge_reached("kafka", "no-such-host.invalid:9092", reach("no-such-host.invalid:9092"));
        assert!(unnamed.level == Level::Fail && unnamed.found.contains("can't be resolved"), "{unnamed:?}");
    }

    #[test]
    fn a_broker_that_calls_itself_by_a_name_of_nobody_is_told() {
        let findings = judge_brokers(&seen(&["a:1", "kafka-internal.invalid:9092"]), &["a:1".to_owned()]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(
            findings[0].level == Level::Fail && findings[0].remedy.as_ref().unwrap().contains("advertised.listeners")
        );
        assert_eq!(judge_brokers(&seen(&["a:1"]), &["a:1".to_owned()])[0].level, Level::Ok);
    }

    #[test]
    fn topics_that_can_not_be_made_fail() {
        let air = || vec!["air".to_owned()];
        let new = || vec!["air".to_owned(), "new".to_owned()];
        let level = |more: &str, topics| judge_topics(&seen(&["a:1"]), &kafka(more), topics)[0].level;
        assert_eq!(level("create_topics = false\n", air()), Level::Ok);
        assert_eq!(level("create_topics = false\n", new()), Level::Fail);
        assert_eq!(level("replication = 3\n", new()), Level::Fail);
        assert_eq!(level("replication = 1\n", new()), Level::Ok);
    }

    #[test]
    fn an_mqtt_broker_that_is_read_is_looked_for_at_its_own_port() {
        let listens = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listens.local_addr().unwrap().port();
        let text = format!("[[broker]]\nname = \"plant\"\nurl = \"mqtt://127.0.0.1:{port}\"\nsubscribe = [\"#\"]\n");
        let config = crate::config::parse(&text).unwrap();
        assert_eq!(look_at_sources(&config)[0].level, Level::Ok);
        drop(listens);
        let told = &look_at_sources(&config)[0];
        assert!(
            told.level == Level::Fail && told.area == "broker" && told.found.starts_with("plant, 127.0.0.1"),
            "{told:?}"
        );
    }

    #[test]
    fn a_sinks_cluster_is_looked_at_by_its_own_name_and_topics() {
        let text = "[gateway]\nid = \"post-7\"\n[kafka]\nbootstrap = [\"no-such-host.invalid:1\"]\n[topics.air]\n\
                    [[sink]]\nname = \"second\"\ntopics = [\"air\"]\n[sink.kafka]\nbootstrap = [\"no-such-host.invalid:2\"]\n\
                    topic_template = \"{gateway}.{topic}\"\n\
                    [[sink]]\nname = \"disk\"\n[sink.files]\nfolder = \"/f\"\n";
        let config = crate::config::parse(text).unwrap();
        let found: Vec<_> = look(&config).into_iter().map(|it| it.found).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("no-such-host.invalid:1") && found[1].starts_with("sink second: no-such-host"));
        let [main, second] = &clusters(&config)[..] else { panic!("two clusters") };
        assert!(main.topics(&config).contains(&"events".to_owned()));
        let topics = second.topics(&config);
        assert!(
            topics.contains(&"post-7.air".to_owned()) && !topics.iter().any(|it| it.contains("events")),
            "{topics:?}"
        );
    }

    #[test]
    fn a_schema_registry_that_is_not_there_fails_and_one_that_nobody_wants_is_not_looked_for() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text = format!(
            "[kafka]\nbootstrap = [\"127.0.0.1:{port}\"]\n[kafka.schema_registry]\nurl = \"http://127.0.0.1:{port}\"\n[[kafka.schema]]\ntopics = [\"*\"]\nformat = \"avro\"\nfile = \"/f\"\n"
        );
        let found = look(&crate::config::parse(&text).unwrap());
        let told: Vec<_> = found.iter().filter(|it| it.area == "schemas").collect();
        assert!(
            told.len() == 1 && told[0].level == Level::Fail && told[0].found.contains("is not reached"),
            "{found:?}"
        );
        let without = look(&crate::config::parse(&format!("[kafka]\nbootstrap = [\"127.0.0.1:{port}\"]\n")).unwrap());
        assert!(without.iter().all(|it| it.area != "schemas"), "{without:?}");
    }

    #[test]
    fn a_port_that_speaks_no_kafka_is_told_as_such() {
        let listens = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listens.local_addr().unwrap();
        std::thread::spawn(move || listens.incoming().for_each(drop));
        let text = format!("[kafka]\nbootstrap = [\"{address}\"]\n");
        let findings = look(&crate::config::parse(&text).unwrap());
        assert_eq!(findings.iter().map(|it| it.level).collect::<Vec<_>>(), [Level::Ok, Level::Fail], "{findings:?}");
        assert!(findings[1].found.contains("do not answer as Kafka"), "{findings:?}");
    }
}
