//! The configuration file's shape, as serde reads it: names and single values. What concerns several values is checked in
//! [`super::parse`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use lamppost_event::{DeviceId, GatewayId};
use lamppost_route::{Decode, Filter, Template};
use serde::Deserialize;
use toml::Spanned;

use super::value::{Listen, Size, Span, Text, Whole};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) gateway: Gateway,
    #[serde(default)]
    pub(super) journal: Journal,
    pub(super) mqtt: Option<Mqtt>,
    #[serde(default)]
    pub(super) broker: Vec<super::broker::Written>,
    #[serde(default)]
    pub(super) serial: Vec<super::serial::Written>,
    #[serde(default)]
    pub(super) i2c: Vec<I2c>,
    #[serde(default)]
    pub(super) route: Vec<Route>,
    #[serde(default)]
    pub(super) topics: BTreeMap<Spanned<String>, Topic>,
    pub(super) kafka: Option<Kafka>,
    #[serde(default)]
    pub(super) sink: Vec<super::sink::Written>,
    #[serde(default)]
    pub(super) http: Http,
    #[serde(default)]
    pub(super) control: super::control::Written,
    pub(super) clock: Option<super::clock::Written>,
}

impl File {
    /// The cluster of `[kafka]`, and those of sinks.
    pub(super) fn clusters(&self) -> impl Iterator<Item = &Kafka> {
        self.kafka.iter().chain(self.sink.iter().filter_map(|sink| sink.kafka.as_ref()))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gateway {
    pub(super) id: Option<Text<GatewayId>>,
    pub(super) state_dir: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Journal {
    pub(super) quota: Spanned<Size>,
    pub(super) segment: Spanned<Size>,
    pub(super) linger: Span,
    pub(super) linger_bytes: Size,
    pub(super) event_max: Spanned<Size>,
    pub(super) compression: super::Packing,
    pub(super) read_patience: Span,
    pub(super) marks_max: Option<Size>,
}

pub(super) fn unplaced<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            quota: unplaced(Size(256 << 20)),
            segment: unplaced(Size(16 << 20)),
            linger: Span(std::time::Duration::from_millis(50)),
            linger_bytes: Size(64 << 10),
            event_max: unplaced(Size(256 << 10)),
            compression: super::Packing::default(),
            read_patience: Span(lamppost_journal::Options::default().read_patience),
            marks_max: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Mqtt {
    pub(super) listen: Option<Spanned<Listen>>,
    pub(super) anonymous: Option<Spanned<bool>>,
    pub(super) passwords: Option<Spanned<PathBuf>>,
    pub(super) acl: Option<Vec<Spanned<String>>>,
    pub(super) acl_file: Option<Spanned<PathBuf>>,
    pub(super) listener: Vec<MqttListener>,
    pub(super) limits: MqttLimits,
    pub(super) connections_max: Whole<1, 100_000>,
    pub(super) packet_max: Spanned<Size>,
    pub(super) window: Whole<1, 65_535>,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            listen: None,
            anonymous: None,
            passwords: None,
            acl: None,
            acl_file: None,
            listener: Vec::new(),
            limits: MqttLimits::default(),
            connections_max: Whole(1000),
            packet_max: unplaced(Size(256 << 10)),
            window: Whole(64),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MqttListener {
    pub(super) listen: Spanned<Listen>,
    pub(super) anonymous: Option<Spanned<bool>>,
    pub(super) certificate: Option<Spanned<PathBuf>>,
    pub(super) key: Option<Spanned<PathBuf>>,
    pub(super) client_ca: Option<Spanned<PathBuf>>,
    pub(super) crl: Option<Spanned<PathBuf>>,
    pub(super) identity: Option<Spanned<super::mqtt::Identity>>,
    pub(super) password: Option<Spanned<bool>>,
    pub(super) client_id_is_user: Option<Spanned<bool>>,
}

/// What one client and all of them together may use. A limit that is not written is the front's own.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MqttLimits {
    pub(super) window_strict: Option<bool>,
    pub(super) publishes_per_s: Option<Whole<0, 1_000_000>>,
    pub(super) bytes_per_s: Option<Size>,
    pub(super) connections_per_address: Option<Whole<1, 100_000>>,
    pub(super) connects_per_s: Option<Whole<0, 100_000>>,
    pub(super) connects_per_s_per_address: Option<Whole<0, 100_000>>,
    pub(super) coming: Option<Whole<1, 100_000>>,
    pub(super) coming_per_address: Option<Whole<1, 100_000>>,
    pub(super) handshake: Option<Span>,
    pub(super) connect: Option<Span>,
    pub(super) packet: Option<Span>,
    pub(super) inflight: Option<Spanned<Size>>,
    pub(super) begun: Option<Spanned<Size>>,
    pub(super) verifications: Option<Whole<1, 16>>,
    pub(super) subscriptions: Option<Whole<1, 10_000>>,
    pub(super) subscribes_per_s: Option<Whole<0, 100_000>>,
    pub(super) sessions: Option<Whole<0, 1_000_000>>,
    pub(super) session_records: Option<Size>,
    pub(super) queues: Option<Size>,
    pub(super) filters: Option<Size>,
    pub(super) fanout: Option<Spanned<Size>>,
    pub(super) retained: Option<Size>,
    pub(super) wills: Option<Size>,
}

impl MqttListener {
    pub(super) fn new(listen: Spanned<Listen>) -> Self {
        Self {
            listen,
            anonymous: None,
            certificate: None,
            key: None,
            client_ca: None,
            crl: None,
            identity: None,
            password: None,
            client_id_is_user: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct I2c {
    pub(super) name: Spanned<Text<DeviceId>>,
    pub(super) bus: PathBuf,
    pub(super) chip: Spanned<super::Chip>,
    /// 7 bits, without the reserved ones (I2C specification UM10204, section 3.1.12).
    pub(super) address: Spanned<Whole<0x08, 0x77>>,
    #[serde(default = "every")]
    pub(super) every: Spanned<Span>,
    pub(super) device: Option<Text<DeviceId>>,
    /// An INA226's. What the shunt has to be for its calibration.
    pub(super) shunt_uohm: Option<Spanned<Whole<100, 2_500_000>>>,
    /// An SCD41's: the source of the barometer that tells it the pressure.
    pub(super) pressure_from: Option<Spanned<Text<DeviceId>>>,
    /// An LSM303DLHC's: how vehicles are told.
    pub(super) vehicles: Option<Spanned<super::vehicles::Written>>,
    /// The multiplexer that the chip is behind.
    pub(super) mux: Option<Spanned<Whole<0x70, 0x77>>>,
    pub(super) channel: Option<Spanned<Whole<0, 7>>>,
}

fn every() -> Spanned<Span> {
    unplaced(Span(std::time::Duration::from_secs(10)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    pub(super) from: Spanned<Text<Filter>>,
    pub(super) topic: Spanned<Text<Template>>,
    pub(super) key: Option<Spanned<Text<Template>>>,
    pub(super) device: Option<Spanned<Text<Template>>>,
    pub(super) decode: Option<Text<Decode>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Topic {
    pub(super) partitions: Option<Whole<1, 1024>>,
    pub(super) linger: Option<Span>,
    pub(super) priority: Option<Spanned<super::Priority>>,
    pub(super) when_full: Option<super::WhenFull>,
    pub(super) keep_for: Option<Spanned<Span>>,
    pub(super) keep_bytes: Option<Spanned<Size>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kafka {
    pub(super) bootstrap: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) compression: lamppost_forward::Compression,
    #[serde(default = "replication")]
    pub(super) replication: Whole<1, 32>,
    #[serde(default = "yes")]
    pub(super) create_topics: bool,
    #[serde(default = "in_flight")]
    pub(super) in_flight: Size,
    #[serde(default = "clock_wait")]
    pub(super) clock_wait: Span,
    #[serde(default = "manifest_every")]
    pub(super) manifest_every: Span,
    pub(super) bandwidth_max: Option<Spanned<super::rate::Rate>>,
    pub(super) live_first: Option<Spanned<Vec<String>>>,
    pub(super) live_first_after: Option<Spanned<Span>>,
    pub(super) topic_template: Option<Text<lamppost_forward::TopicTemplate>>,
    #[serde(default)]
    pub(super) delivery: lamppost_forward::Delivery,
    #[serde(default = "transaction_linger")]
    pub(super) transaction_linger: Spanned<Span>,
    #[serde(default = "cursors_topic")]
    pub(super) cursors_topic: Spanned<String>,
    pub(super) schema_registry: Option<super::schema::Registry>,
    #[serde(default)]
    pub(super) schema: Vec<super::schema::Written>,
    pub(super) tls: Option<super::kafka::Tls>,
    pub(super) sasl: Option<super::kafka::Sasl>,
    #[serde(default)]
    pub(super) properties: super::kafka::Properties,
}

fn transaction_linger() -> Spanned<Span> {
    unplaced(Span(std::time::Duration::from_millis(150)))
}

fn cursors_topic() -> Spanned<String> {
    unplaced("lamppost-cursors".to_owned())
}

fn replication() -> Whole<1, 32> {
    Whole(3)
}

fn yes() -> bool {
    true
}

fn in_flight() -> Size {
    Size(8 << 20)
}

fn clock_wait() -> Span {
    Span(std::time::Duration::from_secs(600))
}

fn manifest_every() -> Span {
    Span(std::time::Duration::from_secs(3600))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Http {
    pub(super) listen: Spanned<Listen>,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: unplaced(Listen(SocketAddr::from(([127, 0, 0, 1], 9464)))) }
    }
}
