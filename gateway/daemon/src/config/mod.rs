//! The configuration: a TOML file, parsed once and strictly into types that no later code has to check again.
//!
//! [`parse`] either returns a [`Config`] or every mistake it found, each with its line and its remedy.

mod broker;
mod clock;
mod control;
mod delivery;
mod file;
mod i2c;
mod kafka;
mod lanes;
mod mqtt;
mod problem;
mod rate;
mod refused;
mod schema;
mod serial;
mod sink;
mod topic;
pub(crate) mod value;
mod vehicles;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lamppost_event::{DeviceId, GatewayId, Topic, WallTime};
use lamppost_forward::{Compression, Delivery, LiveFirst, Security, TopicTemplate};
use lamppost_i2c::VehicleSettings;
use lamppost_route::{Rule, RuleError};
use serde::Deserialize;

pub(crate) use clock::Battery;
pub(crate) use control::ControlSocket;
pub(crate) use kafka::is_handed_over;
pub(crate) use mqtt::{AclFrom, Listener, Mqtt, TlsPaths};
pub(crate) use problem::{Problem, Problems};
pub(crate) use refused::{Refused, load_without_refused};
pub(crate) use schema::Encoding;
pub(crate) use serial::{Serial, Spoken};
pub(crate) use sink::{Files, Packing as FilePacking, Sink, SinkTo, WhenFull as WhenFolderFull};
use topic::policy;
pub(crate) use topic::{Packing, Priority, TopicSettings, WhenFull};
use value::Size;

/// Everything that `lamppost run` needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) gateway: GatewayId,
    pub(crate) state_dir: PathBuf,
    pub(crate) journal: Journal,
    pub(crate) mqtt: Option<Mqtt>,
    pub(crate) brokers: Vec<lamppost_mqtt::Broker>,
    pub(crate) serial: Vec<Serial>,
    pub(crate) i2c: Vec<I2c>,
    pub(crate) routes: Vec<Rule>,
    pub(crate) topics: BTreeMap<Topic, TopicSettings>,
    pub(crate) kafka: Option<Kafka>,
    pub(crate) sinks: Vec<Sink>,
    pub(crate) http: SocketAddr,
    pub(crate) control: ControlSocket,
    pub(crate) battery: Option<Battery>,
    /// What is in the file, and is not started: [`load_without_refused`].
    pub(crate) refused: Vec<Refused>,
}

/// The journal's bounds and its linger.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    pub(crate) quota: Size,
    pub(crate) segment: Size,
    pub(crate) linger: Duration,
    pub(crate) linger_bytes: Size,
    pub(crate) event_max: Size,
    pub(crate) compression: Packing,
    pub(crate) read_patience: Duration,
    /// What the marks of all devices may take; the journal's own bound if none is set.
    pub(crate) marks_max: Option<Size>,
}

/// A chip on an I2C bus.
#[derive(Debug, Clone)]
pub(crate) struct I2c {
    pub(crate) name: String,
    pub(crate) bus: PathBuf,
    pub(crate) chip: lamppost_i2c::Chip,
    pub(crate) address: u8,
    pub(crate) every: Duration,
    pub(crate) device: DeviceId,
    /// The multiplexer that it is behind, and its channel.
    pub(crate) mux: Option<(u8, u8)>,
    /// The source of the barometer that tells it the pressure.
    pub(crate) pressure_from: Option<String>,
}

/// The chips that there are drivers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Chip {
    Tmp105,
    Bme280,
    Dps310,
    Scd41,
    Sps30,
    Ina226,
    Lsm303dlhc,
}

impl Chip {
    /// The chip as it is built in. That an INA226 has its shunt has been checked, and so has how vehicles are told.
    fn with(self, shunt_uohm: Option<u32>, vehicles: Option<VehicleSettings>) -> lamppost_i2c::Chip {
        match self {
            Self::Tmp105 => lamppost_i2c::Chip::Tmp105,
            Self::Bme280 => lamppost_i2c::Chip::Bme280,
            Self::Dps310 => lamppost_i2c::Chip::Dps310,
            Self::Scd41 => lamppost_i2c::Chip::Scd41,
            Self::Sps30 => lamppost_i2c::Chip::Sps30,
            Self::Ina226 => lamppost_i2c::Chip::Ina226 { shunt_uohm: shunt_uohm.unwrap_or(0) },
            Self::Lsm303dlhc => lamppost_i2c::Chip::Lsm303dlhc { vehicles },
        }
    }
}

/// The cluster to forward to.
#[derive(Debug, Clone)]
pub(crate) struct Kafka {
    pub(crate) bootstrap: Vec<String>,
    pub(crate) compression: Compression,
    pub(crate) replication: i32,
    pub(crate) create_topics: bool,
    pub(crate) in_flight: Size,
    pub(crate) clock_wait: Duration,
    pub(crate) manifest_every: Duration,
    /// Bytes a second on the wire; `None`: no limit.
    pub(crate) bandwidth_max: Option<NonZeroU64>,
    /// `None`: all topics in strict order.
    pub(crate) live_first: Option<LiveFirst>,
    pub(crate) topic_template: TopicTemplate,
    pub(crate) delivery: Delivery,
    pub(crate) transaction_linger: Duration,
    pub(crate) cursors_topic: Topic,
    /// `None`: all topics go as received.
    pub(crate) encoding: Option<Encoding>,
    pub(crate) security: Security,
    /// librdkafka's own, none of which is a secret.
    pub(crate) properties: BTreeMap<String, String>,
}

impl Kafka {
    /// What of the files can be looked at from here.
    pub(crate) fn security_in_sight(&self) -> Security {
        without_credential(self.security.clone())
    }
}

fn without_credential(mut security: Security) -> Security {
    security.sasl = security.sasl.filter(|login| !kafka::is_out_of_sight(&login.password));
    security
}

/// Where the configuration is looked for when none is named.
pub(crate) const DEFAULT_PATH: &str = "/etc/lamppost/lamppost.toml";

/// Reads and parses a file.
pub(crate) fn load(path: &Path) -> Result<Config, Problems> {
    let text = read(path)?;
    parse(&text).map_err(|list| Problems::new(path, &text, list))
}

fn read(path: &Path) -> Result<String, Problems> {
    std::fs::read_to_string(path).map_err(|error| {
        let problem = Problem {
            span: None,
            what: format!("can't be read: {error}"),
            remedy: Some("name a file with --config, or start from one in hardware/".to_owned()),
        };
        Problems::new(path, "", vec![problem])
    })
}

/// Looks whether the files that a right configuration names for its brokers and its cluster can be used. Not done by [`load`]: one that
/// is missing keeps its broker waiting, and nothing else. `now`: what certificates are compared with, if the time is known.
pub(crate) fn look_at_files(path: &Path, now: Option<WallTime>) -> Result<(), Problems> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let Ok(file) = toml::from_str::<file::File>(&text) else { return Ok(()) };
    let mut problems = Vec::new();
    file.broker.iter().for_each(|broker| broker.look_at_files(&mut problems));
    file.clusters().for_each(|kafka| kafka::look_at_files(kafka, now, &mut problems));
    file.clusters().for_each(|kafka| schema::look_at_files(kafka, now, &mut problems));
    if problems.is_empty() { Ok(()) } else { Err(Problems::new(path, &text, problems)) }
}

/// Parses a configuration.
pub(crate) fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    let file: file::File = toml::from_str(text).map_err(|error| vec![from_serde(&error)])?;
    let mut problems = Vec::new();
    check(&file, &mut problems);
    if let Some(mqtt) = &file.mqtt {
        mqtt::check(mqtt, &mut problems);
    }
    broker::check(&file, &mut problems);
    i2c::check(&file.i2c, &mut problems);
    file.control.check(&mut problems);
    file.clock.iter().for_each(|clock| clock.check(&file.i2c, &mut problems));
    file.serial.iter().for_each(|serial| serial.check(&mut problems));
    sink::check(&file.sink, *file.journal.event_max.get_ref(), &mut problems);
    let topics = topics(&file, &mut problems);
    if problems.is_empty() { Ok(convert(file, topics)) } else { Err(problems) }
}

/// Turns serde's message into what and remedy.
fn from_serde(error: &toml::de::Error) -> Problem {
    let message = error.message().trim();
    let (what, remedy) = if let Some((what, right)) = message.split_once(", expected ") {
        let what = what.replace("unknown field", "unknown key").replace("unknown variant", "unknown value");
        let list = if what.ends_with("map") {
            "double brackets, as in [[serial]]"
        } else {
            "a list, as in [\"kafka-1:9092\"]"
        };
        let right = right.replace("a sequence", list).replace("a map", "a table");
        let nearest = nearest(&what, &right).map(|name| format!("did you mean `{name}`? ")).unwrap_or_default();
        (what, Some(format!("{nearest}expected {right}")))
    } else if let Some((what, remedy)) = message.split_once("; ") {
        (what.to_owned(), Some(remedy.to_owned()))
    } else if message.starts_with("missing field") {
        (message.replace("missing field", "missing key"), Some("add it to this table".to_owned()))
    } else if message.starts_with("duplicate key") {
        (message.to_owned(), Some("a key stands once in its table: remove one of the two".to_owned()))
    } else {
        (message.to_owned(), None)
    };
    Problem { span: error.span(), what, remedy }
}

/// Of the names in backticks in `right`, the one that the name in `what` may have meant.
fn nearest<'a>(what: &str, right: &'a str) -> Option<&'a str> {
    let wrong = what.split('`').nth(1)?;
    let names = right.split('`').skip(1).step_by(2);
    names
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}

fn check(file: &file::File, problems: &mut Vec<Problem>) {
    for kafka in file.clusters() {
        delivery::check(kafka, file, problems);
        lanes::check(kafka, problems);
        kafka::check(kafka, problems);
        schema::check(kafka, problems);
    }
    let mut problem = |span: Range<usize>, what: String, remedy: &str| problems.push(Problem::at(span, what, remedy));

    let journal = &file.journal;
    let (quota, segment, event_max) =
        (*journal.quota.get_ref(), *journal.segment.get_ref(), *journal.event_max.get_ref());
    if !(Size(1 << 20)..=Size(1 << 30)).contains(&segment) || segment.0 % 4096 != 0 {
        problem(journal.segment.span(), format!("a segment of {segment}"), "from 1MiB to 1GiB, a multiple of 4KiB");
    }
    let is_alarm = |topic: &file::Topic| topic.priority.as_ref().is_some_and(|it| *it.get_ref() == Priority::Alarm);
    let (segments, words) = if file.topics.values().any(is_alarm) { (7, "seven") } else { (6, "six") };
    if quota.0 < segment.0.saturating_mul(segments) {
        // Where only the segment was written, it is the segment that does not fit.
        let written = if journal.quota.span().is_empty() { journal.segment.span() } else { journal.quota.span() };
        problem(
            written,
            format!("a quota of {quota} holds less than {words} segments of {segment}"),
            "raise `quota`, or lower `segment`",
        );
    }
    if event_max.0 == 0 || event_max.0 > segment.0 / 10 {
        let written =
            if journal.event_max.span().is_empty() { journal.segment.span() } else { journal.event_max.span() };
        problem(
            written,
            format!("an event of {event_max} does not fit: at most a tenth of a segment of {segment}"),
            "lower `event_max`, or raise `segment`",
        );
    }
    let http = file.http.listen.get_ref().0;
    if file.mqtt.iter().flat_map(mqtt::addresses).any(|address| mqtt::meet(address, http)) {
        let what = format!("mqtt and http both listen on {http}");
        problem(file.http.listen.span(), what, "give one of them another port");
    }
    if let Some(dir) = &file.gateway.state_dir
        && !dir.get_ref().is_absolute()
    {
        let what = format!("state_dir = {:?} depends on where the program is started", dir.get_ref());
        problem(dir.span(), what, "write a path that begins with /");
    }
    let mut names = BTreeMap::new();
    let named = file.serial.iter().map(|serial| &serial.name).chain(file.i2c.iter().map(|i2c| &i2c.name));
    let named = named.chain(file.broker.iter().map(|broker| &broker.name));
    for name in named {
        if names.insert(name.get_ref().0.as_str(), ()).is_some() {
            problem(
                name.span(),
                format!("a second source named {:?}", name.get_ref().0),
                "give each source its own name",
            );
        }
    }
    let mut ports = BTreeMap::new();
    for serial in &file.serial {
        if ports.insert(serial.port.get_ref(), ()).is_some() {
            let what = format!("a second source on the port {}", serial.port.get_ref().display());
            problem(serial.port.span(), what, "a serial port has one source");
        }
    }
    for i2c in &file.i2c {
        let chip = i2c.chip.get_ref().with(None, None);
        let (first, last) = chip.addresses();
        let address = i2c.address.get_ref().0;
        if !(i64::from(first)..=i64::from(last)).contains(&address) {
            let what = format!("a {chip} can't have the address 0x{address:02x}");
            problem(i2c.address.span(), what, &format!("from 0x{first:02x} to 0x{last:02x}"));
        }
        match (i2c.chip.get_ref(), &i2c.shunt_uohm) {
            (Chip::Ina226, None) => {
                let remedy = "write `shunt_uohm = 100000` for one of 0.1 Ω, marked R100";
                problem(
                    i2c.chip.span(),
                    "an ina226 measures current by its shunt, which is not told".to_owned(),
                    remedy,
                );
            }
            (Chip::Ina226, Some(_)) | (_, None) => {}
            (_, Some(shunt)) => problem(shunt.span(), format!("a {chip} has no shunt"), "remove it"),
        }
        if i2c.every.get_ref().0 < Duration::from_millis(10) {
            problem(i2c.every.span(), "polled too often".to_owned(), "10ms or more");
        }
    }
    for route in &file.route {
        if let Err(error) = rule(route).check() {
            let (span, remedy) = match &error {
                RuleError::UnknownName { field, .. } => (field_span(route, field), "use a name that is available"),
                RuleError::Name { field, .. } => (field_span(route, field), "write another name"),
            };
            problem(span, error.to_string(), remedy);
        }
    }
    for kafka in file.clusters() {
        if let Some((span, what, remedy)) = kafka.bandwidth_max.as_ref().and_then(rate::ceiling) {
            problem(span, what, &remedy);
        }
        if kafka.bootstrap.get_ref().is_empty() {
            problem(kafka.bootstrap.span(), "no broker".to_owned(), "name at least one, as in [\"kafka-1:9092\"]");
        }
        for broker in kafka.bootstrap.get_ref() {
            let host_is_plain = |host: &str| !host.is_empty() && !host.contains('/');
            let port = broker.get_ref().rsplit_once(':').filter(|(host, _)| host_is_plain(host)).map(|(_, port)| port);
            if port.and_then(|port| port.parse::<u16>().ok()).is_none_or(|port| port == 0) {
                let what = format!("{:?} is not a broker's address", broker.get_ref());
                problem(broker.span(), what, "write host:port, as in \"kafka-1:9092\"");
            }
        }
    }
}

fn topics(file: &file::File, problems: &mut Vec<Problem>) -> BTreeMap<Topic, TopicSettings> {
    let mut topics = BTreeMap::new();
    for (name, settings) in &file.topics {
        match Topic::user(name.get_ref()) {
            Ok(topic) => {
                let policy = policy(&topic, settings, problems);
                let partitions = settings.partitions.map(value::Whole::to);
                let linger = settings.linger.map(|span| span.0);
                topics.insert(topic, TopicSettings { partitions, linger, policy });
            }
            Err(error) => problems.push(Problem::at(
                name.span(),
                error.to_string(),
                "a topic has 1 to 249 letters, digits, '.', '_' and '-', and does not begin with \"__\"",
            )),
        }
    }
    topics
}

fn convert(file: file::File, topics: BTreeMap<Topic, TopicSettings>) -> Config {
    let gateway = gateway_id(&file);
    let event_max = file.journal.event_max.into_inner();
    Config {
        brokers: file.broker.into_iter().map(|broker| broker.convert(&gateway)).collect(),
        gateway,
        state_dir: file.gateway.state_dir.map_or_else(default_state_dir, toml::Spanned::into_inner),
        journal: Journal {
            quota: file.journal.quota.into_inner(),
            segment: file.journal.segment.into_inner(),
            linger: file.journal.linger.0,
            linger_bytes: file.journal.linger_bytes,
            event_max,
            compression: file.journal.compression,
            read_patience: file.journal.read_patience.0,
            marks_max: file.journal.marks_max,
        },
        mqtt: file.mqtt.map(|mqtt| mqtt::convert(mqtt, event_max)),
        serial: file.serial.into_iter().map(serial::Written::convert).collect(),
        i2c: file.i2c.into_iter().map(convert_i2c).collect(),
        routes: file.route.iter().map(rule).collect(),
        topics,
        kafka: file.kafka.map(convert_kafka),
        sinks: file.sink.into_iter().filter_map(|sink| sink.convert(event_max)).collect(),
        http: file.http.listen.into_inner().0,
        control: file.control.convert(),
        battery: file.clock.map(clock::Written::convert),
        refused: Vec::new(),
    }
}

fn convert_i2c(i2c: file::I2c) -> I2c {
    let name = i2c.name.into_inner().0;
    I2c {
        name: name.as_str().to_owned(),
        bus: i2c.bus,
        chip: i2c.chip.into_inner().with(
            i2c.shunt_uohm.map(|shunt| shunt.into_inner().to()),
            i2c.vehicles.map(|vehicles| vehicles.into_inner().convert()),
        ),
        address: i2c.address.into_inner().to(),
        every: i2c.every.into_inner().0,
        device: i2c.device.map_or(name, |device| device.0),
        pressure_from: i2c.pressure_from.map(|name| name.into_inner().0.as_str().to_owned()),
        mux: i2c.mux.zip(i2c.channel).map(|(mux, channel)| (mux.into_inner().to(), channel.into_inner().to())),
    }
}

fn rule(route: &file::Route) -> Rule {
    Rule {
        key: route.key.as_ref().map(|key| key.get_ref().0.clone()),
        device: route.device.as_ref().map(|device| device.get_ref().0.clone()),
        decode: route.decode.as_ref().map(|decode| decode.0).unwrap_or_default(),
        ..Rule::new(route.from.get_ref().0.clone(), route.topic.get_ref().0.clone())
    }
}

/// Where the field of a rule that an error names was written.
fn field_span(route: &file::Route, field: &str) -> Range<usize> {
    match (field, &route.key, &route.device) {
        ("key", Some(key), _) => key.span(),
        ("device", _, Some(device)) => device.span(),
        _ => route.topic.span(),
    }
}

fn convert_kafka(kafka: file::Kafka) -> Kafka {
    Kafka {
        live_first: lanes::live_first(&kafka),
        encoding: schema::encoding(&kafka),
        security: kafka::security(&kafka),
        properties: kafka::properties(&kafka),
        bootstrap: kafka.bootstrap.into_inner().into_iter().map(toml::Spanned::into_inner).collect(),
        compression: kafka.compression,
        replication: kafka.replication.to(),
        create_topics: kafka.create_topics,
        in_flight: kafka.in_flight,
        clock_wait: kafka.clock_wait.0,
        manifest_every: kafka.manifest_every.0,
        bandwidth_max: kafka.bandwidth_max.and_then(|rate| NonZeroU64::new(rate.into_inner().0)),
        topic_template: kafka.topic_template.map(|template| template.0).unwrap_or_default(),
        delivery: kafka.delivery,
        transaction_linger: kafka.transaction_linger.into_inner().0,
        cursors_topic: delivery::cursors_topic(kafka.cursors_topic.get_ref()),
    }
}

/// systemd hands the unit's state directory over in the environment.
fn default_state_dir() -> PathBuf {
    std::env::var_os("STATE_DIRECTORY").map_or_else(|| PathBuf::from("/var/lib/lamppost"), PathBuf::from)
}

fn gateway_id(file: &file::File) -> GatewayId {
    file.gateway.id.as_ref().map_or_else(gateway_by_host, |id| id.0.clone())
}

/// A gateway without a name is called after its host; what a gateway's name can't contain becomes `-`.
fn gateway_by_host() -> GatewayId {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let legal: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .take(GatewayId::BYTES_MAX)
        .collect();
    GatewayId::new(&legal).unwrap_or_else(|_| unnamed())
}

fn unnamed() -> GatewayId {
    #[expect(clippy::unwrap_used, reason = "a literal that is legal")]
    GatewayId::new("gateway").unwrap()
}

#[cfg(test)]
mod tests;
