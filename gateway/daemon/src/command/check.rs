//! `lamppost check`: is the configuration right, and what does it mean for the card?

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use lamppost_event::{Clock, ClockQuality, Topic};
use lamppost_forward::{Security, examine};
use lamppost_journal::{Directory, Inspect, Policy, Priority, WhenFull};
use lamppost_mqtt::{Limits, QUEUE_PLACE_BYTES};

use crate::clock::MachineClock;
use crate::config::value::Size;
use crate::config::{self, Config};
use crate::wear::{self, Wear};

/// The rates that the table shows, events/s.
const RATES: [f64; 3] = [1.0, 10.0, 100.0];
/// The payload that the table reckons with, bytes.
const EVENT_BYTES: f64 = 200.0;

/// Prints what the configuration means; every mistake is the error.
pub(crate) fn check(path: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let config = config::load(path)?;
    crate::gateway::fits(&config)?;
    config::look_at_files(path, now())?;
    writeln!(out, "{}: right", path.display())?;
    describe(&config, out)?;
    for warning in warnings(&config).into_iter().chain(stale_groups(&config)) {
        writeln!(out, "note: {warning}")?;
    }
    Ok(())
}

fn describe(config: &Config, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "  gateway   {}   state in {}", config.gateway, config.state_dir.display())?;
    if let Some(mqtt) = &config.mqtt {
        for listener in &mqtt.listeners {
            writeln!(out, "  mqtt      {}   {}", listener.listen, lets_in(listener))?;
        }
        writeln!(out, "            up to {} connections", mqtt.connections_max)?;
    }
    for broker in &config.brokers {
        writeln!(out, "  broker    {}   {}", broker.name, reads(broker))?;
    }
    for serial in &config.serial {
        let (port, baud) = (serial.port.path.display(), serial.port.baud);
        writeln!(out, "  serial    {}   {} on {port} at {baud} baud", serial.name, spoken(&serial.spoken))?;
    }
    for i2c in &config.i2c {
        let behind = i2c.mux.map(|(mux, channel)| format!(", mux 0x{mux:02x} channel {channel},")).unwrap_or_default();
        let (bus, every) = (format!("{}{behind}", i2c.bus.display()), i2c.every);
        writeln!(out, "  i2c       {}   {} at 0x{:02x} of {bus} every {every:?}", i2c.name, i2c.chip, i2c.address)?;
    }
    for route in &config.routes {
        writeln!(out, "  route     {} -> {}", route.from.as_str(), route.topic)?;
    }
    if let Some(kafka) = &config.kafka {
        let (brokers, order) = (kafka.bootstrap.join(", "), order(kafka));
        writeln!(out, "  kafka     {brokers}   {}{order}", let_in(&kafka.security))?;
        schemas(kafka, out)?;
    }
    for sink in &config.sinks {
        writeln!(out, "  sink      {}", leads(sink))?;
        if let config::SinkTo::Kafka(kafka) = &sink.to {
            schemas(kafka, out)?;
        }
    }
    let (linger, topic) = shortest_linger(config);
    let whose = topic.map_or_else(String::new, |topic| format!(" (the shortest, of {topic})"));
    topics(config, out)?;
    let (quota, packing) = (config.journal.quota, crate::gateway::journal_options(config).compression);
    writeln!(
        out,
        "\n  the journal: quota {quota}, compression {packing:?}, linger {linger:?}{whose}; if all events of {EVENT_BYTES} bytes have that linger"
    )?;
    writeln!(out, "  {:>9}  {:>14}  {:>18}  {:>13}", "events/s", "written a day", "years of a card", "hours offline")?;
    for rate in RATES {
        let Wear { events_per_s, bytes_per_day, card_years, offline_hours } = estimate(config, rate);
        let day = format!("{:.2} GB", bytes_per_day / 1e9);
        writeln!(out, "  {events_per_s:>9}  {day:>14}  {card_years:>18.1}  {offline_hours:>13.1}")?;
    }
    writeln!(
        out,
        "  (an estimate: whole pages of 4 KiB a commit, compression as measured on JSON telemetry, a card of {} TB written;\n   your card's data sheet is better, and what really is written is in the metrics and in lamppost journal ls)",
        wear::ENDURANCE_TBW
    )
}

/// The time, where the clock has been set: certificates are compared with nothing else.
pub(crate) fn now() -> Option<lamppost_event::WallTime> {
    let now = MachineClock::new().now();
    (now.quality != ClockQuality::Unset).then_some(now.wall)
}

/// How the cluster is spoken to, in words.
fn let_in(security: &Security) -> String {
    let how = match &security.tls {
        None => "plain",
        Some(tls) if tls.own.is_some() => "TLS with a certificate of our own",
        Some(_) => "TLS",
    };
    match &security.sasl {
        None => how.to_owned(),
        Some(login) => format!("{how}, as user {:?} by {}", login.user, login.mechanism.as_str()),
    }
}

/// What goes in a schema registry's wire format.
fn schemas(kafka: &config::Kafka, out: &mut impl Write) -> std::io::Result<()> {
    let Some(encoding) = &kafka.encoding else { return Ok(()) };
    for rule in &encoding.rules {
        let how = if rule.register { "registered" } else { "looked up" };
        let (topics, file, url) = (&rule.topics, rule.file.display(), &encoding.registry.url);
        writeln!(out, "  schema    {topics}   {} by {file}, {how} as {} at {url}", rule.format, rule.subject)?;
    }
    Ok(())
}

/// What is right in the way to the cluster, and may still surprise.
fn cluster_warnings(kafka: &config::Kafka) -> Vec<String> {
    let mut warnings: Vec<_> =
        examine(&kafka.security_in_sight(), now()).warnings.iter().map(ToString::to_string).collect();
    if kafka.security.sasl.is_some() && kafka.security.tls.is_none() {
        warnings.push("kafka is told who we are without TLS: it can be read on the way".to_owned());
    }
    if kafka.security.tls.as_ref().is_some_and(|tls| !tls.verify_host_name) {
        warnings.push("kafka: who has any certificate of the ca can play a broker: verify_host_name is off".to_owned());
    }
    if kafka.encoding.as_ref().is_some_and(|of| of.registry.login.is_some() && !of.registry.url.is_tls()) {
        warnings.push("the schema registry is told the password without TLS: it can be read on the way".to_owned());
    }
    let of_registry = kafka.encoding.iter().flat_map(|of| examine(&of.security_in_sight(), now()).warnings);
    warnings.extend(of_registry.map(|warning| warning.to_string()));
    if kafka.security != kafka.security_in_sight() {
        warnings.push("kafka: the credential can only be read by the unit itself, and was not looked at".to_owned());
    }
    warnings
}

/// Who comes in by a listener, in words.
fn lets_in(listener: &config::Listener) -> String {
    let how = if listener.tls.is_some() { "TLS" } else { "plain" };
    let entry = listener.entry;
    let who = match (entry.identity.is_some(), entry.password, entry.anonymous) {
        (true, true, _) => "who has a certificate and a password",
        (true, false, _) => "who has a certificate",
        (false, true, true) => "everybody; who gives a user name has to prove it",
        (false, true, false) => "who has a password",
        (false, false, _) => "everybody",
    };
    let bound = if entry.client_id_is_user { "; the client id is the user name" } else { "" };
    format!("{how}; lets in {who}{bound}")
}

/// What is spoken on a serial port, in words.
fn spoken(spoken: &config::Spoken) -> String {
    match spoken {
        config::Spoken::Link => "the link".to_owned(),
        config::Spoken::Lines(lines) => {
            let format = if matches!(lines.format, lamppost_serial::LineFormat::Json) { "JSON" } else { "delimited" };
            let fields: Vec<_> = lines.fields.iter().map(|field| field.name.as_str()).collect();
            let fields = if fields.is_empty() { "whole".to_owned() } else { fields.join(", ") };
            format!("{format} lines of {} ({fields})", lines.device)
        }
        config::Spoken::Modbus(modbus) => {
            let slave = |slave: &lamppost_serial::SlaveOptions| {
                let (id, device, every, values) = (slave.id, &slave.device, slave.every, slave.registers.len());
                format!("{id} as {device}: {values} values every {every:?}")
            };
            let slaves: Vec<_> = modbus.slaves.iter().map(slave).collect();
            format!("Modbus RTU ({})", slaves.join("; "))
        }
        config::Spoken::Dust(dust) => format!("PMS5003 as {}: means of {:?}", dust.device, dust.every),
    }
}

/// How a broker elsewhere is read, in words.
fn reads(broker: &lamppost_mqtt::Broker) -> String {
    let how = if broker.tls.is_some() { "TLS" } else { "plain" };
    let version = if broker.version == lamppost_mqtt::BrokerVersion::V5 { "5.0" } else { "3.1.1" };
    let filters: Vec<_> = broker.filters.iter().map(lamppost_mqtt::BrokerFilter::as_str).collect();
    let (host, port, id) = (&broker.host, broker.port, &broker.client_id);
    format!("{host}:{port}, {how}, MQTT {version}, as {id:?}; reads {}", filters.join(", "))
}

/// In which order topics go after an outage, in words; nothing of strict order.
fn order(kafka: &config::Kafka) -> String {
    kafka.live_first.as_ref().map_or_else(String::new, |live_first| {
        format!("; {} live first once {} s behind", live_first.topics, live_first.after.as_secs())
    })
}

/// Where a sink leads, in words.
fn leads(sink: &config::Sink) -> String {
    let (name, topics) = (&sink.name, &sink.topics);
    let to = match &sink.to {
        config::SinkTo::Kafka(kafka) => format!("kafka {}{}", kafka.bootstrap.join(", "), order(kafka)),
        config::SinkTo::Files(files) => {
            let full = match files.when_full {
                config::WhenFolderFull::Pause => "then it waits",
                config::WhenFolderFull::DeleteOldest => "then the oldest files are deleted",
            };
            format!("files in {}, up to {}, {full}", files.folder.display(), files.quota)
        }
    };
    let holds = match (sink.required, sink.hold_max) {
        (false, _) => "holds nothing back".to_owned(),
        (true, None) => "holds events back until it has them".to_owned(),
        (true, Some(hold_max)) => format!("holds events back for {} h at most", hold_max.as_secs_f64() / 3600.0),
    };
    format!("{name}   {topics}; to {to}; {holds}")
}

/// Groups that the gateway's journal remembers, if it can be looked into, and that are no sinks: what was removed from the configuration.
fn stale_groups(config: &Config) -> Vec<String> {
    let known = crate::gateway::known_groups(config);
    let dir = config.state_dir.join("journal");
    let inspect = Directory::existing(&dir).ok().and_then(|disk| Inspect::open(std::sync::Arc::new(disk)).ok());
    let groups = inspect.map(|inspect| inspect.figures().groups).unwrap_or_default();
    let stale = groups.into_iter().filter(|figures| !known.contains(&figures.group));
    let told = stale.map(|figures| {
        let (group, lag) = (figures.group, figures.lag);
        format!("the journal remembers how far {group} has come, {lag} events back, which is no sink: it holds nothing back; lamppost journal forget --group {group} removes it")
    });
    told.collect()
}

/// What may become of the topics' events for want of room or for their age, where that is not the usual.
fn topics(config: &Config, out: &mut impl Write) -> std::io::Result<()> {
    for (topic, policy) in crate::gateway::journal_options(config).policies {
        if policy == Policy::default() {
            continue;
        }
        let priority = match policy.priority {
            Priority::Bulk => "bulk",
            Priority::Normal => "normal",
            Priority::DeadLetter => "above all but alarms",
            Priority::Alarm => "alarm",
        };
        let full = match policy.when_full {
            WhenFull::Refuse => "when full its senders wait",
            WhenFull::GiveUpOldest => "when full its oldest events go, delivered or not",
        };
        let aged =
            policy.keep_for.map_or_else(String::new, |keep| format!("; kept for {} h", keep.as_secs_f64() / 3600.0));
        let bounded = policy.keep_bytes.map_or_else(String::new, |bytes| {
            format!("; kept up to {}, delivered or not, beside what is hot", Size(bytes))
        });
        writeln!(out, "  topic     {topic}   priority {priority}; {full}{aged}{bounded}")?;
    }
    Ok(())
}

/// The shortest linger, and the topic that has it: the costliest for the card.
fn shortest_linger(config: &Config) -> (Duration, Option<&Topic>) {
    let own = config.topics.iter().filter_map(|(topic, settings)| Some((settings.linger?, Some(topic))));
    own.chain([(config.journal.linger, None)])
        .min_by_key(|(linger, _)| *linger)
        .unwrap_or((config.journal.linger, None))
}

fn estimate(config: &Config, events_per_s: f64) -> Wear {
    let options = crate::gateway::journal_options(config);
    wear::estimate(events_per_s, EVENT_BYTES, shortest_linger(config).0, &options)
}

/// What is right and may still surprise.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.mqtt.is_none() && config.brokers.is_empty() && config.serial.is_empty() && config.i2c.is_empty() {
        warnings.push("there is no source: add [mqtt], [[broker]], [[serial]] or [[i2c]]".to_owned());
    }
    if config.kafka.is_none() && !config.sinks.iter().any(|sink| sink.required) {
        let but = if config.sinks.is_empty() { "there is no [kafka]" } else { "no sink is required" };
        warnings.push(format!("{but}: events stay in the journal, and the oldest make room for new ones"));
    }
    let dead_letters = Topic::new(lamppost_route::DEAD_LETTERS).ok();
    let takes_none = |sink: &&config::Sink| dead_letters.as_ref().is_some_and(|topic| !sink.topics.takes(topic));
    let clusters = config.sinks.iter().filter(|sink| matches!(sink.to, config::SinkTo::Kafka(_)));
    for sink in clusters.filter(takes_none) {
        let name = &sink.name;
        warnings.push(format!("sink {name} does not take dead-letters: what its cluster can't accept will look like a loss to an audit of it"));
    }
    if let Some(mqtt) = &config.mqtt {
        warnings.extend(crate::gateway::key_warnings(mqtt));
        warnings.extend(few_places(&mqtt.limits));
    }
    if let Some(mqtt) = &config.mqtt
        && mqtt.packet_max > config.journal.event_max
    {
        let (packet, event) = (mqtt.packet_max, config.journal.event_max);
        warnings.push(format!(
            "mqtt takes packets of {packet}, the journal events of {event}: what lies between is refused"
        ));
    }
    let beyond = |policy: &Policy| policy.keep_bytes.is_some_and(|bytes| bytes >= config.journal.quota.0);
    for (topic, _) in config.topics.iter().filter(|(_, settings)| beyond(&settings.policy)) {
        let quota = config.journal.quota;
        warnings
            .push(format!("topic {topic}: keep_bytes is not below the quota of {quota}, so it will never be reached"));
    }
    for broker in &config.brokers {
        let name = &broker.name;
        if broker.tls.is_none() && broker.login.is_some() && !is_near(&broker.host) {
            warnings.push(format!("broker {name} is told the password without TLS: it can be read on the way"));
        }
        if broker.filters.iter().any(|filter| !filter.is_at_least_once()) {
            warnings
                .push(format!("broker {name} is read with QoS 0: what is under way when a connection ends is lost"));
        }
    }
    let sinks = config.sinks.iter().filter_map(|sink| match &sink.to {
        config::SinkTo::Kafka(kafka) => Some(kafka.as_ref()),
        config::SinkTo::Files(_) => None,
    });
    warnings.extend(config.kafka.iter().chain(sinks).flat_map(cluster_warnings));
    if !config.http.ip().is_loopback() {
        warnings.push(format!("http listens on {}: anyone who reaches it may read the metrics", config.http));
    }
    warnings
}

/// A message that waits for all sessions has to find a place in the queue of each.
fn few_places(limits: &Limits) -> Option<String> {
    let (places, sessions) = (limits.queues_bytes_max / QUEUE_PLACE_BYTES, limits.sessions_max);
    let size = |bytes: usize| Size(bytes as u64);
    let (queues, enough) =
        (size(limits.queues_bytes_max), size(sessions.saturating_mul(QUEUE_PLACE_BYTES).next_multiple_of(1 << 20)));
    (places < sessions).then(|| {
        format!(
            "mqtt.limits: `queues` of {queues} let a message wait for {places} sessions at the most, and `sessions` allows {sessions}: what is for more \
             of them reaches only some; {enough} or more would do, or fewer `sessions`"
        )
    })
}

fn is_near(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_surprise_is_said() {
        let config =
            config::parse("[mqtt]\nlisten = \"0.0.0.0:1883\"\nanonymous = true\n[topics.air]\nkeep_bytes = \"1GiB\"\n")
                .unwrap();
        let warnings = warnings(&config).join("\n");
        assert!(warnings.contains("0.0.0.0:1883") && warnings.contains("no [kafka]"), "{warnings}");
        assert!(warnings.contains("topic air: keep_bytes is not below the quota of 256MiB"), "{warnings}");
    }

    #[test]
    fn queues_with_fewer_places_than_there_may_be_sessions_are_said() {
        let said = |limits: &str| {
            let config = config::parse(&format!("[mqtt]\n[mqtt.limits]\n{limits}")).unwrap();
            warnings(&config).into_iter().find(|warning| warning.contains("`queues`"))
        };
        let small = said("queues = \"64KiB\"\n").unwrap();
        assert!(small.contains("queues` of 64KiB let a message wait for 341 sessions at the most"), "{small}");
        assert!(small.contains("2MiB or more"), "{small}");
        assert_eq!(said("queues = \"64KiB\"\nsessions = 341\n"), None);
        assert_eq!((said("queues = \"2MiB\"\n"), said("")), (None, None));
        assert!(said("sessions = 100000\n").is_some(), "the usual queues are too small for so many");
    }

    #[test]
    fn a_topic_without_linger_shows_what_it_costs() {
        let cost = |text: &str| estimate(&config::parse(text).unwrap(), 100.0).bytes_per_day;
        assert!(cost("[topics.air]\nlinger = \"0ms\"\n") > 5.0 * cost(""));
    }

    #[test]
    fn what_may_become_of_events_is_said_and_dead_letters_come_next_to_alarms() {
        let mut out = Vec::new();
        let text = "[topics.air]\npriority = \"bulk\"\nwhen_full = \"give-up-oldest\"\nkeep_for = \"7d\"\nkeep_bytes = \"48MiB\"\n";
        describe(&config::parse(text).unwrap(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("air   priority bulk; when full its oldest events go, delivered or not; kept for 168 h; kept up to 48MiB, delivered or not"),
            "{text}"
        );
        assert!(text.contains("dead-letters   priority above all but alarms"), "{text}");
    }

    #[test]
    fn topics_that_go_live_first_are_said() {
        let described = |kafka: &str| {
            let mut out = Vec::new();
            describe(&config::parse(&format!("[kafka]\nbootstrap = [\"k:9092\"]\n{kafka}")).unwrap(), &mut out)
                .unwrap();
            String::from_utf8(out).unwrap()
        };
        let split = described("live_first = [\"city-*\"]\nlive_first_after = \"2min\"\n");
        assert!(split.contains("city-* live first once 120 s behind"), "{split}");
        assert!(!described("").contains("live first"));
    }

    #[test]
    fn topics_with_a_schema_are_said_and_a_password_in_the_clear_is_warned_of() {
        let mut out = Vec::new();
        let text = "[kafka]\nbootstrap = [\"k:9092\"]\n[kafka.schema_registry]\nurl = \"http://r:8081\"\nuser = \"u\"\npassword_file = \"/p\"\ninsecure = true\n[[kafka.schema]]\ntopics = [\"air\", \"city-*\"]\nformat = \"avro\"\nfile = \"/etc/air.avsc\"\nregister = false\n";
        let config = config::parse(text).unwrap();
        describe(&config, &mut out).unwrap();
        let said = String::from_utf8(out).unwrap();
        assert!(
            said.contains("schema    air, city-*   avro by /etc/air.avsc, looked up as {topic}-value at http://r:8081"),
            "{said}"
        );
        let is_warned_of = |text: &str| {
            let list = warnings(&config::parse(text).unwrap());
            list.iter().any(|it| it.contains("schema registry is told the password without TLS"))
        };
        assert!(is_warned_of(text));
        let of_sink = text.replace("[kafka", "[sink.kafka");
        assert!(is_warned_of(&format!("[[sink]]\nname = \"second\"\n{of_sink}")), "and so is that of a sink");
    }

    #[test]
    fn the_cost_for_the_card_is_printed_for_each_rate() {
        let mut out = Vec::new();
        describe(&config::parse("").unwrap(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("written a day") && text.contains("hours offline"), "{text}");
        assert!(text.contains("0.35 GB") && text.contains("3.54 GB"), "{text}");
        assert!(text.contains("an estimate") && text.contains("30 TB"), "{text}");
    }
}
